"""Le rapport d'évaluation : une page à remettre à qui décide, et sa version en texte."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from fabrique.evaluation.comparaison import (
    FORME_SEULE,
    INDECIS,
    MEILLEUR,
    MOINS_BON,
    Ecart,
    Evaluation,
)
from fabrique.evaluation.epreuve import Rapport
from fabrique.evaluation.epreuve_sourcee import EpreuveSourcee, PointDeCourbe
from fabrique.evaluation.metriques import MESURES
from fabrique.socle.colonnes import en_colonnes
from fabrique.socle.emplacements import ecrire_signe, verifier_sortie
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.figures import (
    BLEU,
    NOIR,
    ORANGE,
    VERT,
    en_image,
    nouvelle_figure,
    tracer_intervalles,
)
from fabrique.socle.nombres import accorder, en_duree, en_francais, en_mo, en_pourcent
from fabrique.socle.page import composer

#: Exemples montrés de chaque côté : gagnés, perdus.
MONTRES = 3
Rangee = Sequence[str]


def compagnons(page: Path) -> tuple[Path, Path]:
    """Les mêmes résultats, à côté de la page : en JSON et en Markdown.

    Leur nom n'est jamais celui d'un autre de nos fichiers : la page « rapport.html » d'un dossier
    d'adaptateur ne touche pas au « rapport.json » de son apprentissage.
    """
    return page.with_suffix(".evaluation.json"), page.with_suffix(".evaluation.md")


def journal_de(page: Path) -> Path:
    """Où les réponses sont gardées, le temps de l'évaluation."""
    return page.with_suffix(".evaluation.jsonl")


def verifier(page: Path, *entrees: str | Path) -> None:
    """Vérifie, avant tout calcul, que le rapport pourra s'écrire sans rien écraser d'autre.

    Args:
        entrees: ce que l'évaluation lit.

    Raises:
        ErreurFabrique: la page n'est pas en .html, ou un fichier qui n'est pas à nous est à sa place.
    """
    if page.suffix.lower() != ".html":
        raise ErreurFabrique(
            "la page du rapport ne se termine pas par .html",
            f"Donnez par exemple « {page.with_suffix('.html').name} » ; le JSON s’écrit à côté",
            page,
            champ="rapport",
        )
    for sortie in (page, *compagnons(page)):
        verifier_sortie(sortie, *entrees)


def ecrire(rapport: Rapport, page: Path) -> None:
    """Écrit et signe la page, et à côté d'elle les mêmes résultats en JSON et en Markdown."""
    en_json, en_md = compagnons(page)
    ecrire_signe(page, en_page(rapport))
    ecrire_signe(en_json, json.dumps(rapport.en_dictionnaire(), ensure_ascii=False, indent=2))
    ecrire_signe(en_md, en_markdown(rapport))


# ---------------------------------------------------------------- les phrases et les tableaux


def conclusion(ecarts: Sequence[Ecart]) -> str:
    """Ce que l'on a le droit de conclure, en une ou deux phrases."""
    debuts = {
        MEILLEUR: "est meilleur sur",
        MOINS_BON: "est moins bon sur",
        FORME_SEULE: "gagne, sans que l’on puisse établir que cela tienne à la question posée, sur",
    }
    phrases = [
        f"Le second modèle {debut} : {titres}."
        for verdict, debut in debuts.items()
        if (titres := _titres(ecarts, verdict))
    ]
    return " ".join(phrases) or "Rien ne permet de dire que l’un des deux répond mieux que l’autre."


def _titres(ecarts: Sequence[Ecart], verdict: str) -> str:
    return ", ".join(MESURES[e.nom].titre for e in ecarts if e.verdict == verdict)


COLONNES = (
    "Mesure",
    "Premier",
    "Second",
    "Écart",
    "À 95 %",
    "p corrigée",
    "Plus petit écart visible",
    "Verdict",
)


def rangees_des_ecarts(ecarts: Sequence[Ecart]) -> list[Rangee]:
    """Une ligne par mesure, en clair."""
    lignes: list[Rangee] = []
    for e in ecarts:
        mesure = MESURES[e.nom]
        bornes = " à ".join(mesure.ecrire_ecart(borne) for borne in e.ic95)
        valeurs = (mesure.ecrire(e.base), mesure.ecrire(e.affine), mesure.ecrire_ecart(e.ecart))
        visible = mesure.ecrire_grandeur(e.detectable)
        lignes.append((mesure.titre, *valeurs, bornes, _petite(e.p_corrigee), visible, e.verdict))
    return lignes


def _petite(p: float) -> str:
    return "< 0,001" if p < 0.001 else en_francais(p, 3)


def rangees_des_modeles(evaluations: Sequence[Evaluation], noms: Sequence[str]) -> list[Rangee]:
    """Un modèle par ligne : chaque mesure et son intervalle, puis ce qu'il coûte."""
    return [
        (
            evaluation.nom,
            *(_avec_intervalle(evaluation, nom) for nom in noms),
            f"{en_francais(evaluation.secondes, 2)}\u00a0s",
            en_mo(evaluation.memoire),
            en_mo(evaluation.disque) if evaluation.disque else "inconnu",
        )
        for evaluation in evaluations
    ]


def _avec_intervalle(evaluation: Evaluation, nom: str) -> str:
    if nom not in evaluation.releves:
        return "sans objet"
    mesure, bornes = MESURES[nom], evaluation.intervalle(nom)
    return f"{mesure.ecrire(evaluation.valeur(nom))} ({mesure.ecrire(bornes.bas)} à {mesure.ecrire(bornes.haut)})"


#: Les mesures du tableau des modèles.
RESUME = ("f1", "rouge_l", "chrf", "perplexite", "fin", "longueur")
COUTS = ("Temps par réponse", "Mémoire des poids", "Disque")


def colonnes_des_modeles(noms: Sequence[str]) -> Rangee:
    """Les titres du tableau des modèles."""
    return ("Modèle", *(MESURES[nom].titre for nom in noms), *COUTS)


def resumer(
    ecarts: Sequence[Ecart], duree_s: float | None = None, sources: EpreuveSourcee | None = None
) -> str:
    """Les écarts en texte, pour le terminal."""
    parties = [en_colonnes(COLONNES, rangees_des_ecarts(ecarts)), conclusion(ecarts)]
    if sources:
        parties += [
            "\nFiches à l’appui, sous la grammaire de « fabrique repondre » :",
            en_colonnes(colonnes_sourcees(sources), rangees_sourcees(sources)),
        ]
    if duree_s is not None:
        parties.append(f"Durée : {en_duree(duree_s)}.")
    return "\n".join(parties)


def colonnes_sourcees(sources: EpreuveSourcee) -> Rangee:
    """Les titres du tableau des réponses sourcées."""
    return ("Mesure", *(evaluation.nom for evaluation in sources.evaluations), "Écart", "Verdict")


def rangees_sourcees(sources: EpreuveSourcee) -> list[Rangee]:
    """Une mesure par ligne : chaque modèle et son intervalle, l'écart et le sien, le verdict."""
    rangees: list[Rangee] = []
    for ecart in sources.ecarts:
        mesure = MESURES[ecart.nom]
        bornes = " à ".join(mesure.ecrire_ecart(borne) for borne in ecart.ic95)
        rangees.append(
            (
                mesure.titre,
                *(_avec_intervalle(evaluation, ecart.nom) for evaluation in sources.evaluations),
                f"{mesure.ecrire_ecart(ecart.ecart)} ({bornes})",
                ecart.verdict,
            )
        )
    return rangees


# ---------------------------------------------------------------- le Markdown


def en_markdown(rapport: Rapport) -> str:
    """Le rapport en Markdown : conclusion et tableaux, sans les exemples."""
    parties = [
        f"# {_titre(rapport)}",
        conclusion(rapport.ecarts),
        "## Avant, après",
        _tableau_markdown(COLONNES, rangees_des_ecarts(rapport.ecarts)),
        "## Les modèles, et ce qu’ils coûtent",
        _tableau_markdown(
            colonnes_des_modeles(RESUME), rangees_des_modeles(rapport.evaluations, RESUME)
        ),
    ]
    if rapport.oubli:
        parties += [
            "## Français général",
            _tableau_markdown(COLONNES, rangees_des_ecarts(rapport.oubli)),
        ]
    if rapport.courbe:
        lignes = rangees_des_modeles(rapport.courbe, RESUME)
        parties += [
            "## Selon le nombre d’exemples",
            _tableau_markdown(colonnes_des_modeles(RESUME), lignes),
        ]
    if rapport.sources:
        parties += [
            "## Répondre d’après des fiches",
            _tableau_markdown(
                colonnes_sourcees(rapport.sources), rangees_sourcees(rapport.sources)
            ),
            _tableau_markdown(COLONNES_DES_SEUILS, rangees_des_seuils(rapport.sources)),
        ]
    parties += ["## Origine", _tableau_markdown(("Réglage", "Valeur"), _origine(rapport))]
    return "\n\n".join(parties) + "\n"


def _tableau_markdown(colonnes: Rangee, rangees: Iterable[Rangee]) -> str:
    lignes = [colonnes, ["---"] * len(colonnes), *rangees]
    return "\n".join(
        "| " + " | ".join(str(v).replace("|", "\\|") for v in ligne) + " |" for ligne in lignes
    )


def _titre(rapport: Rapport) -> str:
    return f"{rapport.modele} et {rapport.adaptateur} devant {rapport.corpus}"


def _origine(rapport: Rapport) -> list[Rangee]:
    """Réglages, versions, graines, empreintes, durée : de quoi refaire l'épreuve."""
    origine = dict(rapport.origine)
    versions = ", ".join(f"{nom} {version}" for nom, version in origine.pop("versions").items())
    reglages = rapport.affine.reglages
    return [
        *(
            (nom.replace("_", " "), str(v))
            for nom, v in (origine | reglages).items()
            if v is not None
        ),
        *_hors_de_la_perplexite(rapport.affine),
        ("versions", versions),
        ("durée", en_duree(rapport.duree_s)),
    ]


def _hors_de_la_perplexite(evaluation: Evaluation) -> list[Rangee]:
    """Les questions dont la référence n'a pas pu être lue, nommées ; rien s'il n'y en a pas."""
    if "perplexite" not in evaluation.releves:
        return []
    jetons = evaluation.releves["perplexite"].denominateurs
    nommees = [str(e["id"]) for e, n in zip(evaluation.exemples, jetons, strict=True) if not n]
    phrase = (
        f"{accorder(len(nommees), 'question')} sur {len(jetons)}, où il ne reste rien de la référence (demande "
        f"trop longue, ou réponses de poids nul)\u00a0: {', '.join(nommees)}"
    )
    return [("hors de la perplexité et des bits par octet", phrase)] if nommees else []


# ---------------------------------------------------------------- la page


def en_page(rapport: Rapport) -> str:
    """Le rapport en une page HTML autonome : rien n'y vient d'ailleurs."""
    gagnes, perdus = _exemples(rapport)
    return composer(
        "evaluation/rapport.html",
        f"Évaluation : {_titre(rapport)}",
        questions=len(rapport.affine.exemples),
        conclusion=conclusion(rapport.ecarts),
        image_des_ecarts=_image_des_ecarts(rapport.ecarts),
        colonnes=COLONNES,
        ecarts=rangees_des_ecarts(rapport.ecarts),
        mesures=[MESURES[e.nom] for e in rapport.ecarts],
        forme_seule=FORME_SEULE,
        indecis=INDECIS,
        colonnes_des_modeles=colonnes_des_modeles(RESUME),
        modeles=rangees_des_modeles(rapport.evaluations, RESUME),
        oubli=rangees_des_ecarts(rapport.oubli),
        perdu=_titres(rapport.oubli, MOINS_BON),
        courbe=rangees_des_modeles(rapport.courbe, RESUME),
        image_de_la_courbe=en_image(*dessiner_courbe(rapport.courbe)) if rapport.courbe else "",
        sources=rapport.sources,
        **(_contenu_source(rapport.sources) if rapport.sources else {}),
        gagnes=gagnes,
        perdus=perdus,
        origine=_origine(rapport),
    )


def _contenu_source(sources: EpreuveSourcee) -> dict[str, object]:
    """Ce que la page nomme quand l'épreuve a eu des fiches à l'appui."""
    return {
        "colonnes_sourcees": colonnes_sourcees(sources),
        "rangees_sourcees": rangees_sourcees(sources),
        "mesures_sourcees": [MESURES[ecart.nom] for ecart in sources.ecarts],
        "image_des_seuils": en_image(*dessiner_seuils(sources)),
        "colonnes_des_seuils": COLONNES_DES_SEUILS,
        "rangees_des_seuils": rangees_des_seuils(sources),
    }


def _image_des_ecarts(ecarts: Sequence[Ecart]) -> str:
    """Les écarts des mesures en pour cent, avec leur intervalle ; la ligne du zéro fait foi."""
    montres = [e for e in ecarts if MESURES[e.nom].pourcent]
    if not montres:
        return ""
    surs = sum(e.verdict != INDECIS for e in montres)
    couleurs = {MEILLEUR: VERT, INDECIS: NOIR, MOINS_BON: ORANGE}
    return en_image(
        *tracer_intervalles(
            [f"{MESURES[e.nom].titre} ({e.verdict})" for e in montres],
            [100 * e.ecart for e in montres],
            [(100 * e.ic95[0], 100 * e.ic95[1]) for e in montres],
            titre=f"Zéro est hors de l’intervalle pour {accorder(surs, 'écart')} sur {len(montres)}",
            unite="points (écart et intervalle à 95 %)",
            couleurs=[couleurs.get(e.verdict, BLEU) for e in montres],
        )
    )


def dessiner_courbe(courbe: Sequence[Evaluation], mesure: str = "f1") -> tuple[Figure, str]:
    """La courbe d'apprentissage d'une mesure et ses intervalles ; rend la figure et son texte."""
    tailles = [e.appris for e in courbe]
    valeurs, bornes = [e.valeur(mesure) for e in courbe], [e.intervalle(mesure) for e in courbe]
    vue = MESURES[mesure]
    debut, fin = vue.ecrire(valeurs[0]), vue.ecrire(valeurs[-1])
    figure, axe = nouvelle_figure(
        f"{vue.titre} : {debut} avec {tailles[0]} exemples, {fin} avec {tailles[-1]}"
    )
    axe.plot(tailles, valeurs, color=BLEU, marker="o")
    axe.fill_between(
        tailles, [b.bas for b in bornes], [b.haut for b in bornes], color=BLEU, alpha=0.2
    )
    axe.set(xlabel="exemples appris", ylabel=vue.titre, xscale="log")
    axe.set_xticks(tailles, [str(taille) for taille in tailles], minor=False)
    axe.minorticks_off()
    lues = " ; ".join(f"{e.nom} : {_avec_intervalle(e, mesure)}" for e in courbe)
    return (
        figure,
        f"{vue.titre} selon le nombre d’exemples, intervalle à 95 % entre parenthèses. {lues}.",
    )


COLONNES_DES_SEUILS = ("Modèle", "Seuil", "Répondues", "Justes", "Répondues à tort")


def rangees_des_seuils(sources: EpreuveSourcee) -> list[Rangee]:
    """Un seuil par ligne : ce qu'on répond, ce qui est juste, ce qu'il fallait taire."""
    return [
        (
            nom,
            en_francais(point.seuil, 2),
            en_pourcent(point.repondues),
            f"{en_pourcent(point.justes)} ({en_pourcent(point.ic95[0])} à {en_pourcent(point.ic95[1])})",
            en_pourcent(point.fausses),
        )
        for nom, points in sources.courbes.items()
        for point in points
    ]


def dessiner_seuils(sources: EpreuveSourcee) -> tuple[Figure, str]:
    """Les réponses justes selon la part de questions répondues ; rend la figure et son texte."""
    nom, points = list(sources.courbes.items())[-1]
    prudent, bavard = points[0], points[-1]
    figure, axe = nouvelle_figure(_titre_des_seuils(nom, prudent, bavard))
    traits = zip(sources.courbes.items(), ((ORANGE, "s", "--"), (BLEU, "o", "-")), strict=True)
    for (modele, siens), (couleur, marque, trait) in traits:
        parts = [point.repondues for point in siens]
        axe.plot(
            parts,
            [point.justes for point in siens],
            color=couleur,
            marker=marque,
            linestyle=trait,
            label=modele,
        )
        bas, haut = zip(*(point.ic95 for point in siens), strict=True)
        axe.fill_between(parts, bas, haut, color=couleur, alpha=0.15)
    axe.set(
        xlabel="part des questions auxquelles on répond",
        ylabel="réponses qui citent le bon passage",
        ylim=(0, 1.02),
    )
    axe.legend(frameon=False)
    lues = " ; ".join(_lu(modele, point) for modele, s in sources.courbes.items() for point in s)
    return figure, f"Courbes, réponses justes selon la part de questions répondues. {lues}."


def _titre_des_seuils(nom: str, prudent: PointDeCourbe, bavard: PointDeCourbe) -> str:
    return (
        f"Le modèle {nom} cite le bon passage dans {en_pourcent(prudent.justes)} de ses réponses à "
        f"{en_pourcent(prudent.repondues)} des questions,\n{en_pourcent(bavard.justes)} à "
        f"{en_pourcent(bavard.repondues)}"
    )


def _lu(modele: str, point: PointDeCourbe) -> str:
    return f"{modele}, {en_pourcent(point.repondues)} répondues : {en_pourcent(point.justes)}"


#: Une question et les textes à y comparer, nommés : la référence, puis les deux réponses.
Cas = tuple[str, list[tuple[str, str]]]


def _exemples(rapport: Rapport) -> tuple[list[Cas], list[Cas]]:
    """Les questions que l'affinage améliore le plus, puis celles qu'il abîme le plus."""
    avant, apres = rapport.evaluations[0], rapport.affine
    gains = apres.releves["f1"].numerateurs - avant.releves["f1"].numerateurs
    ordre = gains.argsort(kind="stable")
    gagnes = [rang for rang in ordre[::-1] if gains[rang] > 0][:MONTRES]
    perdus = [rang for rang in ordre if gains[rang] < 0][:MONTRES]
    return [_cas(r, avant, apres) for r in gagnes], [_cas(r, avant, apres) for r in perdus]


def _cas(rang: int, *evaluations: Evaluation) -> Cas:
    textes = [("Référence", evaluations[0].exemples[rang]["reference"])]
    for evaluation in evaluations:
        note = en_pourcent(evaluation.releves["f1"].numerateurs[rang])
        textes.append((f"{evaluation.nom} (F1 {note})", evaluation.exemples[rang]["reponse"]))
    return evaluations[0].exemples[rang]["question"], textes
