"""Nos corpus sont les nôtres : aucune suite de douze mots des textes d'épreuve n'y est, hors noms officiels."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator

import numpy as np
import pytest

from fabrique.corpus import lire_corpus
from fabrique.corpus.formats import textes
from fabrique.evaluation.aveugle import lecture_de_secours
from fabrique.socle.emplacements import CORPUS_LIVRES, dossier_data
from outils.tester import RACINE

DONNEES = RACINE.parent / "shared" / "donnees"
SUITE = 12
#: Les seuls passages qu'on peut avoir en commun : le nom d'une loi, d'un code, d'un organisme ou
#: d'un titre ne se récrit pas. Un nom par ligne, tel qu'il s'écrit ; jamais une phrase.
NOMS = RACINE / "tests" / "noms_officiels.txt"


def mots(texte: str) -> list[str]:
    """Les mots d'un texte, sans casse ni apostrophe."""
    return re.findall(r"\w+", texte.casefold())


class Vocabulaire(dict):
    """Un numéro par mot, donné à la première rencontre."""

    def __missing__(self, mot: str) -> int:
        self[mot] = len(self) + 1
        return self[mot]


def suites(numeros: list[int]) -> np.ndarray:
    """Une empreinte de 64 bits par suite de douze mots."""
    codes = np.array(numeros, np.uint64)
    hachees = np.zeros(max(0, len(codes) - SUITE + 1), np.uint64)
    for rang in range(SUITE):
        hachees = hachees * np.uint64(6364136223846793005) + codes[rang : rang + len(hachees)]
    return hachees


def chaines(valeur: object) -> Iterator[str]:
    """Toutes les chaînes d'un objet JSON."""
    if isinstance(valeur, str):
        yield valeur
    for contenu in (
        valeur.values() if isinstance(valeur, dict) else valeur if isinstance(valeur, list) else ()
    ):
        yield from chaines(contenu)


def textes_d_epreuve() -> Iterator[str]:
    """Les textes du dossier partagé, un par un."""
    for fichier in sorted(DONNEES.glob("*.json*.gz")):
        with gzip.open(fichier, "rt", encoding="utf-8") as flux:
            for ligne in flux:
                yield "\n".join(chaines(json.loads(ligne)))


def communes(corpus: dict[str, str], epreuves: Iterator[str]) -> set[str]:
    """Les suites de douze mots des corpus présentes dans les textes d'épreuve, avec leur exemple."""
    vocabulaire, notres = Vocabulaire(), {}
    for nom, texte in corpus.items():
        lus = mots(texte)
        for rang, code in enumerate(suites([vocabulaire[m] for m in lus]).tolist()):
            notres[code] = f"{nom} : {' '.join(lus[rang : rang + SUITE])}"
    if not notres:
        return set()
    connues = np.array(sorted(notres), np.uint64)
    trouvees: set[int] = set()
    for texte in epreuves:
        numeros = [vocabulaire.get(m, 0) for m in mots(texte)]
        vues = suites(numeros)
        rangs = np.searchsorted(connues[:-1], vues)
        trouvees.update(vues[connues[rangs] == vues].tolist())
    return {notres[code] for code in trouvees}


def sans_noms(texte: str) -> str:
    """Le texte, chaque nom officiel remplacé par un mot qui n'existe pas."""
    lus = f" {' '.join(mots(texte))} "
    for nom in NOMS.read_text("utf-8").splitlines():
        lus = lus.replace(f" {' '.join(mots(nom))} ", " nomofficiel ")
    return lus


@pytest.mark.skipif(not DONNEES.is_dir(), reason="les textes d’épreuve ne sont pas là")
def test_aucune_suite_de_douze_mots_ne_vient_des_textes_d_epreuve():
    """Hors titres de lois, de codes, de règlements et d'organismes."""
    corpus = {
        f"{nom}/{exemple['id']}/{champ}": sans_noms(texte)
        for nom in CORPUS_LIVRES
        for exemple in lire_corpus(nom)
        for champ, texte in textes(exemple)
    }
    corpus |= {
        f"sources/{exemple['id']}/{champ}": sans_noms(exemple[champ])
        for exemple in map(json.loads, (dossier_data() / "sources.jsonl").open(encoding="utf-8"))
        for champ in ("question", "reponse")
    }
    corpus |= preferences()
    # Ce que nos modèles ont écrit et que nous livrons : ils ont pu retenir ces textes.
    corpus |= {
        f"lecture de secours/{paire.empreinte}/{rang}": sans_noms(texte)
        for paire in lecture_de_secours()[0]
        for rang, texte in enumerate(paire.reponses)
    }
    assert sorted(communes(corpus, textes_d_epreuve())) == []


def preferences() -> dict[str, str]:
    """Les questions et les réponses du corpus *preferences*."""
    return {
        f"preferences/{paire['id']}/{champ}": sans_noms(paire[champ])
        for paire in map(json.loads, (dossier_data() / "preferences.jsonl").open(encoding="utf-8"))
        for champ in ("prompt", "chosen", "rejected")
    }


def test_les_preferences_ne_recopient_pas_nos_autres_corpus():
    """Ni une fiche, ni une réponse déjà écrite : une phrase recopiée serait déjà apprise."""
    autres = (
        sans_noms(texte)
        for nom in CORPUS_LIVRES
        for exemple in lire_corpus(nom)
        for _, texte in textes(exemple)
    )
    assert sorted(communes(preferences(), autres)) == []


def test_une_copie_est_vue():
    """Douze mots recopiés au milieu d'un texte, casse et ponctuation changées."""
    source = "Le petit chat de la voisine dort toute la journée sur le vieux mur du jardin."
    copie = {
        "a": "On dit que le petit chat de la voisine dort, toute la journée, sur LE vieux mur !"
    }
    assert communes(copie, iter([source]))
    autre = {"a": "Le chien de la voisine, lui, court toute la nuit sur le vieux chemin du bois."}
    assert not communes(autre, iter([source]))


def test_un_nom_officiel_se_cite_mais_pas_une_phrase_autour():
    """Le titre d'un code est permis ; les douze mots qui l'entourent ne le sont pas."""
    loi = (
        "Selon l’article 3 du code de l’entrée et du séjour des étrangers et du droit d’asile, oui."
    )
    assert communes({"a": loi}, iter([loi]))
    assert not communes({"a": sans_noms(loi)}, iter([loi]))
    suite = f"{loi} Le préfet statue dans un délai de deux mois à compter du dépôt de la demande."
    assert communes({"a": sans_noms(suite)}, iter([suite]))
