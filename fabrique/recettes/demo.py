"""La démonstration : affiner le Falcon de poche en 4 bits, puis le faire répondre en citant ses sources."""

from __future__ import annotations

import json
import time
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from fabrique.corpus import jeu, lire_corpus
from fabrique.entrainement import Reglages, entrainer, memoire_pic
from fabrique.evaluation import comparer_pertes, mesurer_reponses, pertes
from fabrique.machine.profil import POCHE
from fabrique.modeles.chargement import charger, couches_quatre_bits
from fabrique.modeles.generation import generer
from fabrique.recherche.affichage_reponse import en_terminal
from fabrique.recherche.index import Index
from fabrique.recherche.reponse import Reponse, repondre
from fabrique.socle.emplacements import ecrire_signe, programme, verifier_sortie
from fabrique.socle.nombres import en_duree, en_francais, en_go, en_pourcent

#: Trois questions du jeu de test, montrées avant et après : parmi les mieux réussies, de domaines différents.
MONTREES = ("question-0911", "question-1035", "question-1062")
#: Deux passages, au taux choisi sur le jeu de validation (benchmarks/RESULTATS.md, « La démonstration »).
REGLAGES = Reglages.du_profil(POCHE, epochs=2, learning_rate=2.5e-3)
#: Trois questions auxquelles les fiches répondent, et une à laquelle elles ne répondent pas.
QUESTIONS_SOURCEES = (
    "Une copie d’acte de naissance est-elle gratuite ?",
    "Le passeport d’un enfant est valable combien de temps ?",
    "Qui contrôle l’accessibilité des sites publics ?",
    "Combien coûte une place en crèche ?",
)
#: Le premier carnet, depuis la racine du cours.
CARNET = Path("notebooks", "00_demarrage.ipynb")


def demontrer(sortie: Path = Path("sorties/demo")) -> dict:
    """Affine, mesure avant et après sur le jeu de test, écrit ``rapport.json``.

    Returns:
        Le contenu de ``rapport.json`` (section « contrats » de la conception).
    """
    verifier_sortie(sortie / "rapport.json")
    depart, console = time.monotonic(), Console(highlight=False)
    tokenizer, modele = charger(POCHE.modele, quantification=POCHE.quantification)
    corpus = lire_corpus("questions")
    test = jeu(corpus, "test")
    montres = [exemple for exemple in test if exemple["id"] in MONTREES]
    console.print("\nMesure avant apprentissage, sur des questions jamais apprises…")
    perte_avant = pertes(modele, tokenizer, test)
    avant = [_repondre(modele, tokenizer, exemple) for exemple in montres]
    resultat = entrainer(modele, tokenizer, corpus, REGLAGES, sortie / "adaptateur")
    console.print("\nMesure après apprentissage…")
    ecart = comparer_pertes(perte_avant, pertes(resultat.modele, tokenizer, test))
    reponses = mesurer_reponses(resultat.modele, tokenizer, test)
    apres = [reponses.textes[test["id"].index(exemple["id"])] for exemple in montres]
    console.print(
        f"\nTrois questions parmi les mieux réussies ; les {len(test)} comptent dans les mesures."
    )
    for exemple, reponse_avant, reponse_apres in zip(montres, avant, apres, strict=True):
        _montrer(console, exemple, reponse_avant, reponse_apres)
    rapport = {
        "couches_4bits": len(couches_quatre_bits(resultat.modele)),
        "perte_avant": round(ecart.avant, 4),
        "perte_apres": round(ecart.apres, 4),
        "gain": round(ecart.gain, 4),
        "gain_ic95": [round(borne, 4) for borne in ecart.ic95],
        "taux_fin": round(reponses.taux_fin, 4),
        "longueur_mediane": reponses.longueur_mediane,
        "longueur_reference": reponses.longueur_reference,
        "jetons_par_seconde": round(resultat.jetons_par_seconde, 1),
        "memoire_pic": memoire_pic(),
        "duree_s": round(time.monotonic() - depart, 1),
        "questions_de_test": len(test),
        "adaptateur": str(resultat.dossier),
    }
    sourcees = repondre_en_citant(modele, tokenizer, console)
    rapport["reponses_sourcees"] = [reponse.contrat() for reponse in sourcees]
    ecrire_signe(sortie / "rapport.json", json.dumps(rapport, ensure_ascii=False, indent=2))
    _conclure(console, rapport, resultat.duree_s, sortie)
    return rapport


def repondre_en_citant(
    modele: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, console: Console
) -> list[Reponse]:
    """Pose quatre questions à la base, fiches à l'appui : trois réponses qui citent, une abstention.

    Un petit modèle choisit mal entre plusieurs passages : on ne lui montre que le premier trouvé.
    """
    console.print("\nEt avec des fiches sous les yeux : citer mot pour mot, ou se taire…")
    index = Index.construire("fiches")
    reponses = []
    for question in QUESTIONS_SOURCEES:
        reponse = repondre(modele, tokenizer, question, index, montres=1, adaptateur=False)
        reponses.append(reponse)
        en_terminal(reponse, console)
    return reponses


def _repondre(modele: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, exemple: dict) -> str:
    return generer(
        modele,
        tokenizer,
        exemple["instruction"],
        exemple["input"],
        max_new_tokens=80,
        afficher=False,
    )


def _montrer(console: Console, exemple: dict, avant: str, apres: str) -> None:
    console.print(
        Panel(
            f"[bold]{_echapper(exemple['instruction'])}[/]\n\n"
            f"[bold]Avant[/]\n{_echapper(avant)} […]\n\n[bold]Après[/]\n{_echapper(apres)}"
        )
    )


def _echapper(texte: str) -> str:
    return texte.replace("[", r"\[")


def _conclure(console: Console, rapport: dict, duree_apprentissage: float, sortie: Path) -> None:
    table = Table(title="Ce que le réglage fin a changé", show_header=False)
    bas, haut = (en_francais(100 * borne, 1) for borne in rapport["gain_ic95"])
    avant, apres = (en_francais(rapport[cle], 3) for cle in ("perte_avant", "perte_apres"))
    longueurs = [en_francais(rapport[f"longueur_{de}"]) for de in ("mediane", "reference")]
    lignes = [
        ("Couches en 4 bits", str(rapport["couches_4bits"])),
        (
            f"Perte sur {rapport['questions_de_test']} réponses inconnues",
            f"{avant} → {apres} nats par jeton",
        ),
        (
            "Baisse relative",
            f"{en_pourcent(rapport['gain'], 1)} (à 95\u00a0% : {bas} à {haut}\u00a0%)",
        ),
        ("Réponses closes par la fin", en_pourcent(rapport["taux_fin"])),
        ("Longueur médiane", f"{longueurs[0]} jetons (références : {longueurs[1]})"),
        ("Jetons utiles par seconde", en_francais(rapport["jetons_par_seconde"])),
        ("Mémoire au plus haut", en_go(rapport["memoire_pic"])),
        (
            "Durée",
            f"{en_duree(rapport['duree_s'])}, dont apprentissage {en_duree(duree_apprentissage)}",
        ),
        ("Adaptateur", rapport["adaptateur"]),
        ("Rapport", str(sortie / "rapport.json")),
    ]
    for nom, valeur in lignes:
        table.add_row(nom, _echapper(valeur))
    console.print(table)
    console.print(
        "\nEt maintenant :\n"
        f"  {programme('fabrique')} generer --model falcon-poche --adaptateur {rapport['adaptateur']} "
        '--instruction "Comment obtenir un passeport ?"\n'
        f"  {programme('jupyter')} lab {CARNET}\n"
        f"  {programme('python')} -m outils.tester\n"
        "La deuxième ouvre le cours, la troisième vérifie tout.\n",
        soft_wrap=True,
        markup=False,
    )
