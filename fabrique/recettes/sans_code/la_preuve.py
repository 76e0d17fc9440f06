"""Quatrième étape : le modèle affiné contre sa base, mesuré, puis lu à l'aveugle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from fabrique.evaluation.aveugle import BOUTONS, Lecture, lire_preferences
from fabrique.evaluation.comparaison import evaluation_de
from fabrique.evaluation.epreuve import AFFINE, BASE
from fabrique.evaluation.metriques import MESURES
from fabrique.evaluation.paires import Paire, apparier, part_de_la_seconde
from fabrique.evaluation.rapport import compagnons
from fabrique.recettes.sans_code.accueil import Accueil, Demande
from fabrique.recettes.sans_code.composants import Code, Etape, en_phrases, en_tableau
from fabrique.recettes.sans_code.espace import Espace, choisi
from fabrique.service.taches import REUSSI, lire_json
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import accorder

GENRE = "preuve"
#: Questions posées à chaque modèle : assez pour un intervalle, en quelques minutes sans carte.
QUESTIONS = 40
PYTHON = """import fabrique
from fabrique.corpus import jeu

tokenizer, base = fabrique.charger({modele!r})
test = jeu(fabrique.lire_corpus({corpus!r}), "test")
avant = fabrique.evaluer(base, tokenizer, test)
affine = fabrique.charger_adaptateur(base, {adaptateur!r})
print(avant, fabrique.evaluer(affine, tokenizer, test), sep="\\n")"""


def construire(accueil: Accueil, modele: str) -> Etape:
    """Mesurer, lire à l'aveugle, télécharger."""
    etape, espace = Etape(accueil), accueil.espace
    gr.Markdown(
        "La **preuve** pose les mêmes questions, jamais apprises, au modèle affiné et à sa base. Une "
        "différence ne compte que si le **verdict** le dit : son intervalle exclut zéro, et l’on a tenu "
        "compte du nombre de mesures."
    )
    affine = etape.liste("juge", espace.adaptateurs, label="Modèle affiné")
    corpus = etape.liste("epreuve", espace.corpus, label="Exemples dont on prend le jeu de test")
    combien = gr.Slider(10, 200, QUESTIONS, step=10, label="Questions posées, au plus")
    mesurer = gr.Button("Mesurer", variant="primary")
    dit, tableau = gr.HTML(), gr.HTML()
    page = gr.DownloadButton("Télécharger le rapport", visible=False)
    gr.Markdown(
        "## Lire à l’aveugle\nDeux réponses à la même question, sans savoir qui a écrit laquelle. Vos "
        "préférences restent dans le dossier de la page ; « fabrique preferer » sait en apprendre."
    )
    lecteur = gr.Textbox(label="Votre prénom, ou un code", max_lines=1)
    commencer = gr.Button("Commencer à lire")
    paire = gr.HTML()
    with gr.Row():
        choix = {cle: gr.Button(nom, interactive=False) for cle, nom in BOUTONS.items()}
    verdict = gr.HTML()

    etape.lancer(
        mesurer, lambda *s: _mesurer(accueil, modele, *s), [affine, corpus, combien], [dit]
    )
    etape.relire(lambda: _resultat(accueil), tableau, page)
    montres = [paire, *choix.values(), verdict]
    etape.lancer(commencer, lambda nom: _montrer(_lecture(accueil, nom)), [lecteur], montres)
    for cle, bouton in choix.items():
        etape.lancer(bouton, _noter(accueil, cle), [lecteur], montres)
    etape.voir_le_code(lambda *s: _code(espace, modele, *s), affine, corpus, combien)
    return etape


def mots(modele: str, adaptateur: str, corpus: str, combien: float, page: Path) -> list[str]:
    """La commande d'une épreuve."""
    quoi = ["--model", modele, "--adaptateur", adaptateur, "--dataset", corpus]
    combien_de = ["--questions", str(int(combien)), "--exemples", "0", "--general", ""]
    return ["evaluer", *quoi, *combien_de, "--rapport", str(page)]


def _code(
    espace: Espace, modele: str, montre: str | None, epreuve: str | None, combien: float
) -> Code:
    adaptateur = choisi(espace.adaptateurs(), montre, "modèle affiné")
    corpus = choisi(espace.corpus(), epreuve, "corpus")
    page = espace.racine / "preuves" / f"{Path(adaptateur).name}.html"
    python = PYTHON.format(modele=modele, corpus=corpus, adaptateur=adaptateur)
    return Code(python, mots(modele, adaptateur, corpus, combien, page))


def _mesurer(
    accueil: Accueil, modele: str, montre: str | None, epreuve: str | None, combien: float
) -> str:
    espace = accueil.espace
    adaptateur = choisi(espace.adaptateurs(), montre, "modèle affiné")
    corpus = choisi(espace.corpus(), epreuve, "corpus")
    page = espace.libre("preuves", Path(adaptateur).name, ".html")
    demande = mots(modele, adaptateur, corpus, combien, page)
    accueil.demander(GENRE, f"Preuve de « {Path(adaptateur).name} »", demande, compagnons(page)[1])
    return en_phrases("La preuve est demandée : son avancement est en haut de la page.")


# ---------------------------------------------------------------- ce que la preuve donne


def _page(demande: Demande) -> Path:
    """La page d'une preuve : la dernière option de sa commande."""
    return Path(demande.mots[-1])


def _resultat(accueil: Accueil) -> tuple[str, Any]:
    demande = accueil.derniere(GENRE, REUSSI)
    if demande is None:
        return en_phrases("Aucune preuve n’a encore été faite."), gr.DownloadButton(visible=False)
    page = _page(demande)
    mesures = lire_json(compagnons(page)[0])["mesures"]
    rangees = [
        (
            MESURES[m["nom"]].titre,
            MESURES[m["nom"]].ecrire(m["base"]),
            MESURES[m["nom"]].ecrire(m["affine"]),
            " à ".join(MESURES[m["nom"]].ecrire(borne) for borne in m["ic95"]),
            m["verdict"],
        )
        for m in mesures
    ]
    colonnes = ("Mesure", "Base", "Affiné", "Écart, à 95 %", "Verdict")
    tableau = en_tableau(f"{demande.titre} : de la base au modèle affiné", colonnes, rangees)
    return tableau, gr.DownloadButton(value=str(page), visible=True)


# ---------------------------------------------------------------- lire à l'aveugle


def _paires(accueil: Accueil) -> list[Paire]:
    """Les réponses de la dernière preuve, deux à deux.

    Raises:
        ErreurFabrique: aucune preuve n'a été faite.
    """
    demande = accueil.derniere(GENRE, REUSSI)
    if demande is None:
        raise ErreurFabrique("il n’y a encore rien à lire", "Faites d’abord une preuve")
    lues = [evaluation_de(e) for e in lire_json(compagnons(_page(demande))[0])["evaluations"]]
    base, affine = (next(e for e in lues if e.nom == nom) for nom in (BASE, AFFINE))
    return apparier(
        [{"instruction": exemple["question"]} for exemple in base.exemples],
        [exemple["reponse"] for exemple in base.exemples],
        [exemple["reponse"] for exemple in affine.exemples],
    )


def _lecture(accueil: Accueil, nom: str) -> Lecture:
    return Lecture(_paires(accueil), accueil.espace.votes, nom)


def _noter(accueil: Accueil, cle: str) -> Any:
    def noter(nom: str) -> list[Any]:
        lecture = _lecture(accueil, nom)
        if lecture.courante:
            lecture.noter(cle)
        return _montrer(lecture)

    return noter


def _montrer(lecture: Lecture) -> list[Any]:
    """La paire courante, les boutons, et, quand tout est lu, ce que la lecture conclut."""
    vue = lecture.courante
    boutons = [gr.Button(interactive=vue is not None) for _ in BOUTONS]
    if vue is None:
        return [en_phrases(lecture.avancement), *boutons, _conclure(lecture)]
    cote_a_cote = en_tableau(
        f"{lecture.avancement} — {vue.paire.demande}",
        ("Réponse", "Ce qu’elle dit"),
        [(f"Réponse {rang}", reponse) for rang, reponse in enumerate(vue.reponses, 1)],
    )
    return [cote_a_cote, *boutons, ""]


def _conclure(lecture: Lecture) -> str:
    """Combien de fois le modèle affiné a été préféré, et si cela suffit pour le dire."""
    votes = lire_preferences(lecture.fichier).get(lecture.annotateur, {})
    part = part_de_la_seconde(votes)
    assez = "cela suffit" if part.tranche else "cela ne suffit pas"
    egales = accorder(len(votes) - part.total, "égalité")
    return en_phrases(
        f"Le modèle affiné est préféré {part}, {egales} : {assez} pour parler de préférence."
    )
