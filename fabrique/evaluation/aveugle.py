"""Lire à l'aveugle : deux réponses côte à côte, sans savoir quel modèle a écrit laquelle.

Chaque préférence s'ajoute aussitôt à un fichier JSONL qui est un corpus de préférences, prêt
pour l'optimisation directe (DPO) : ``prompt``, ``chosen`` et ``rejected`` y sont des messages.
Source : Rafailov et al., 2023 (arXiv:2305.18290) ; format conversationnel de TRL.
Une égalité n'apprend rien à DPO : elle est gardée à côté, pour mesurer l'accord des lecteurs.
"""

from __future__ import annotations

import html
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

from IPython.display import display
from ipywidgets import HTML, Button, HBox, Layout, Text, VBox

from fabrique.evaluation.paires import (
    EGALITE,
    PREMIERE,
    SECONDE,
    Accord,
    Paire,
    accord,
    relire_lignes,
)
from fabrique.socle.emplacements import ajouter_ligne
from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.suivi import dans_un_carnet

#: Ce que le lecteur peut répondre, et la place qu'il désigne.
CHOIX = {"1": PREMIERE, "0": EGALITE, "2": SECONDE}
BOUTONS = {"1": "La 1 est meilleure", "0": "Égalité", "2": "La 2 est meilleure"}


@dataclass(frozen=True)
class Presentation:
    """Une paire telle que le lecteur la voit ; ``inverse`` dit si la seconde est à gauche."""

    paire: Paire
    inverse: bool

    @property
    def reponses(self) -> tuple[str, str]:
        """Les deux réponses, dans l'ordre montré."""
        return self.paire.presentations[self.inverse]


class Lecture:
    """Une séance de lecture : ce qu'il reste à lire, et où noter les préférences.

    L'ordre des paires et la place des réponses sont tirés au sort pour chaque annotateur. Une
    paire qu'il a déjà notée ne lui est pas remontrée ; deux réponses identiques jamais.

    Args:
        paires: ce qu'il y a à lire.
        fichier: le corpus de préférences, que plusieurs annotateurs peuvent partager.
        annotateur: un prénom ou un code, qui paraît dans le fichier.
        modeles: le nom du premier modèle et du second, écrits dans le fichier seulement.
        graine: change le tirage.

    Raises:
        ErreurFabrique: l'annotateur n'a pas de nom.
    """

    def __init__(
        self,
        paires: Sequence[Paire],
        fichier: Path,
        annotateur: str,
        modeles: tuple[str, str] = ("base", "affiné"),
        graine: int = 0,
    ) -> None:
        self.annotateur = annotateur.strip()
        if not self.annotateur:
            raise ErreurFabrique("l’annotateur n’a pas de nom", "Donnez un prénom ou un code")
        self.fichier, self.modeles = fichier, modeles
        deja = lire_preferences(fichier).get(self.annotateur, {})
        utiles = {p.empreinte: p for p in paires if p.reponses[0] != p.reponses[1]}
        self.total = len(utiles)
        hasard = random.Random(f"{self.annotateur} {graine}")
        presentations = [Presentation(p, hasard.random() < 0.5) for p in utiles.values()]
        hasard.shuffle(presentations)
        self.restantes = [p for p in presentations if p.paire.empreinte not in deja]
        self.depart = time.monotonic()

    @property
    def courante(self) -> Presentation | None:
        """La paire à lire maintenant ; None quand tout est lu."""
        return self.restantes[0] if self.restantes else None

    @property
    def avancement(self) -> str:
        """« Paire 3 sur 20 », ou que tout est lu."""
        lues = self.total - len(self.restantes)
        return f"Paire {lues + 1} sur {self.total}" if self.restantes else "Tout est lu. Merci."

    def noter(self, choix: str, raison: str = "") -> None:
        """Écrit la préférence pour la paire courante, puis passe à la suivante.

        Args:
            choix: « 1 » ou « 2 », la réponse préférée ; « 0 », une égalité.
            raison: pourquoi, en quelques mots.
        """
        vue = self.restantes[0]
        preference = -CHOIX[choix] if vue.inverse else CHOIX[choix]
        commun = {
            "paire": vue.paire.empreinte,
            "preference": preference,
            "modele_vu_en_premier": self.modeles[vue.inverse],
            "annotateur": self.annotateur,
            "heure": datetime.now(UTC).isoformat(timespec="seconds"),
            "secondes": round(time.monotonic() - self.depart, 1),
            "raison": raison.strip(),
        }
        if preference == EGALITE:
            ligne = {"prompt": _prompt(vue.paire), "reponses": list(vue.paire.reponses), **commun}
            ajouter_ligne(egalites(self.fichier), ligne)
        else:
            ajouter_ligne(self.fichier, self._preference(vue.paire, preference) | commun)
        self.restantes.pop(0)
        self.depart = time.monotonic()

    def _preference(self, paire: Paire, preference: int) -> dict:
        """Ce que DPO lira, et de quel modèle vient chaque réponse."""
        gagnante = int(preference == SECONDE)
        return {
            "prompt": _prompt(paire),
            "chosen": [{"role": "assistant", "content": paire.reponses[gagnante]}],
            "rejected": [{"role": "assistant", "content": paire.reponses[1 - gagnante]}],
            "modele_choisi": self.modeles[gagnante],
            "modele_ecarte": self.modeles[1 - gagnante],
        }


def _prompt(paire: Paire) -> list[dict[str, str]]:
    return [dict(message) for message in paire.prompt]


def egalites(fichier: Path) -> Path:
    """Où sont les égalités d'un corpus de préférences : à côté, sous un nom voisin."""
    return fichier.with_name(f"{fichier.stem}.egalites.jsonl")


# ---------------------------------------------------------------- lire, au carnet ou au terminal


def lire_a_l_aveugle(
    paires: Sequence[Paire],
    fichier: Path,
    annotateur: str,
    *,
    modeles: tuple[str, str] = ("base", "affiné"),
    graine: int = 0,
) -> Lecture:
    """Ouvre une séance de lecture : des boutons dans le carnet, des questions au terminal."""
    lecture = Lecture(paires, fichier, annotateur, modeles, graine)
    if dans_un_carnet():
        display(panneau(lecture))
    else:
        lire_au_terminal(lecture)
    return lecture


def panneau(lecture: Lecture) -> VBox:
    """Les deux réponses, une ligne pour la raison, trois boutons.

    Au clavier : Tab passe d'un bouton à l'autre, Espace ou Entrée choisit. Les boutons restent
    en place d'une paire à l'autre, et le curseur avec eux.
    """
    texte = HTML(layout=Layout(width="100%"))
    raison = Text(description="Raison :", placeholder="facultative", layout=Layout(width="100%"))
    boutons = {
        choix: Button(description=nom, layout=Layout(width="auto"))
        for choix, nom in BOUTONS.items()
    }

    def montrer() -> None:
        texte.value, raison.value = _en_html(lecture), ""
        for commande in (raison, *boutons.values()):
            commande.disabled = lecture.courante is None

    def brancher(choix: str, bouton: Button) -> None:
        def au_clic(_: Button) -> None:
            lecture.noter(choix, raison.value)
            montrer()

        bouton.on_click(au_clic)

    for choix, bouton in boutons.items():
        brancher(choix, bouton)
    montrer()
    return VBox([texte, raison, HBox(list(boutons.values()))])


def _en_html(lecture: Lecture) -> str:
    """La paire courante, en deux colonnes annoncées aux lecteurs d'écran."""
    titre = f'<p role="status"><strong>{lecture.avancement}</strong></p>'
    vue = lecture.courante
    if vue is None:
        return titre
    style = "vertical-align:top;text-align:left;white-space:pre-wrap;overflow-wrap:anywhere"
    entetes = "".join(f'<th scope="col" style="{style}">Réponse {rang}</th>' for rang in (1, 2))
    cellules = "".join(f'<td style="{style}">{html.escape(r)}</td>' for r in vue.reponses)
    return (
        f'{titre}<table style="table-layout:fixed;width:100%">'
        f'<caption style="{style}">{html.escape(vue.paire.demande)}</caption>'
        f"<thead><tr>{entetes}</tr></thead><tbody><tr>{cellules}</tr></tbody></table>"
    )


def lire_au_terminal(lecture: Lecture, demander: Callable[[str], str] = input) -> None:
    """La même lecture, question après question ; « q » arrête, et l'on reprendra là."""
    try:
        while vue := lecture.courante:
            print(f"\n{lecture.avancement}\n\n{vue.paire.demande}")
            for rang, reponse in enumerate(vue.reponses, 1):
                print(f"\n--- Réponse {rang} ---\n{reponse}")
            choix = _choix(demander)
            if choix == "q":
                break
            lecture.noter(choix, demander("Pourquoi ? (facultatif) "))
    except (EOFError, KeyboardInterrupt):
        pass
    print(f"\n{lecture.avancement}")


def _choix(demander: Callable[[str], str]) -> str:
    """Redemande jusqu'à une réponse permise."""
    while True:
        choix = demander("\nLa meilleure : 1, 2, ou 0 pour une égalité (q arrête) ? ")
        if (choix := choix.strip().casefold()) in (*CHOIX, "q"):
            return choix


# ---------------------------------------------------------------- relire

_SECOURS = Path(__file__).parent / "lecture_secours.jsonl"
#: Qui a lu le jeu de secours : le dire vaut mieux que le laisser prendre pour un agent.
LECTEUR_DE_SECOURS = "un grand modèle de langage"


def lecture_de_secours() -> tuple[list[Paire], dict[str, int]]:
    """Une lecture faite d'avance, à l'aveugle, quand personne n'est là pour lire.

    Returns:
        Des paires (base, puis modèle de la salle, signatures retirées) et, par empreinte, les
        préférences de ``LECTEUR_DE_SECOURS``, qui ignorait quel modèle avait écrit laquelle.
    """
    lignes, _ = relire_lignes(_SECOURS, ("prompt", "reponses", "preference"))
    paires = [Paire(tuple(ligne["prompt"]), tuple(ligne["reponses"])) for ligne in lignes]
    return paires, {
        paire.empreinte: ligne["preference"] for paire, ligne in zip(paires, lignes, strict=True)
    }


def lire_preferences(fichier: Path) -> dict[str, dict[str, int]]:
    """Les préférences de chaque annotateur, par empreinte de paire, égalités comprises.

    Raises:
        ErreurFabrique: des lignes sont abîmées ; les oublier changerait le résultat.
    """
    preferences: dict[str, dict[str, int]] = {}
    for journal in (fichier, egalites(fichier)):
        lignes, abimees = relire_lignes(journal, ("annotateur", "paire", "preference"))
        if abimees:
            raise ErreurFabrique(
                f"des préférences sont illisibles (lignes : {abimees})",
                "Corrigez ou retirez-les, puis relancez",
                fichier=journal,
            )
        for ligne in lignes:
            preferences.setdefault(ligne["annotateur"], {})[ligne["paire"]] = ligne["preference"]
    return preferences


def accord_des_annotateurs(
    preferences: Mapping[str, Mapping[str, int]],
) -> dict[tuple[str, str], Accord]:
    """L'accord de chaque couple d'annotateurs, sur les paires que tous deux ont lues."""
    return {
        (un, autre): accord(preferences[un], preferences[autre])
        for un, autre in combinations(sorted(preferences), 2)
    }
