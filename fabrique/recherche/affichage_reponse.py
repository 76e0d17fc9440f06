"""Une réponse qui cite, dans le terminal : chaque citation surlignée dans sa fiche."""

from __future__ import annotations

from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from fabrique.recherche.passages import Passage
from fabrique.recherche.reponse import CitationSourcee, Reponse

#: L'encre et le fond d'une citation, ensemble : lisibles sur un terminal clair comme sur un sombre.
_SURLIGNE = "black on yellow"
#: Les caractères du passage gardés de part et d'autre d'une citation.
_AUTOUR = 160


def en_terminal(reponse: Reponse, console: Console | None = None) -> None:
    """Écrit la réponse, ses sources surlignées, les contradictions et les sources non citées.

    Aucun texte des fiches n'est lu comme une mise en forme.
    """
    parties: list[Text] = [Text(reponse.question, style="bold")]
    if reponse.cherchee != reponse.question:
        parties.append(Text(f"Cherché : {reponse.cherchee}"))
    if reponse.abstention:
        parties.append(Text(f"Sans réponse. {reponse.texte}"))
    else:
        parties.append(Text(reponse.texte))
    for citation in reponse.citations:
        parties += [Text(""), Text(_origine(citation.passage), style="bold"), _extrait(citation)]
    for conflit in reponse.contradictions:
        ordre = "la plus récente d’abord" if conflit.datee else "aucune date ne les départage"
        parties += [
            Text(""),
            Text(f"Ces fiches se contredisent, {ordre} :", style="bold"),
            Text(f"« {conflit.dit_recent} » — {_origine(conflit.recent)}"),
            Text(f"« {conflit.dit_ancien} » — {_origine(conflit.ancien)}"),
        ]
    if not reponse.abstention:
        parties += [
            Text(f"À vérifier, sans appui dans les sources : {constat.texte}")
            for constat in reponse.controle.constats
        ]
    if reponse.non_citees:
        trouvees = "Trouvées" if reponse.abstention else "Trouvées, non citées"
        parties += [Text(""), Text(f"{trouvees} :")]
        parties += [Text(f"  {_origine(source)}") for source in reponse.non_citees]
    (console or Console(highlight=False)).print(Panel(Group(*parties)))


def _extrait(citation: CitationSourcee) -> Text:
    """La citation surlignée, entre ce qui la précède et ce qui la suit dans son passage."""
    texte, debut, fin = citation.passage.texte, citation.debut, citation.fin
    depart, bout = max(0, debut - _AUTOUR), min(len(texte), fin + _AUTOUR)
    return Text.assemble(
        "…" * (depart > 0),
        texte[depart:debut],
        (texte[debut:fin], _SURLIGNE),
        texte[fin:bout],
        "…" * (bout < len(texte)),
    )


def _origine(passage: Passage) -> str:
    """« Titre › Rubrique (adresse, page 3, du 2026-11-20) »."""
    titre = " › ".join(filter(None, (passage.titre, passage.rubrique)))
    page = f"page {passage.page}" if passage.page else ""
    date = f"du {passage.date}" if passage.date else ""
    origine = ", ".join(filter(None, (passage.source, page, date)))
    return f"{titre} ({origine})" if origine else titre
