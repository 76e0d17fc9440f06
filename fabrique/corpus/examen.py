"""Première passe d'un contrôle : chaque exemple seul, sans regarder les autres.

Elle peut se partager entre processus : rien n'y dépend d'un autre exemple.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import datasets
from datasets import Dataset

from fabrique.corpus import licences, noms as noms_de_personnes, personnelles, regles
from fabrique.corpus.constats import ALERTE, ERREUR, Alerte, Constat
from fabrique.corpus.doublons import empreinte, identite, jumeler, normaliser, signature
from fabrique.corpus.formats import champs_dits, demande, reponse, textes
from fabrique.corpus.lecture import Exemple, toutes_les_colonnes
from fabrique.corpus.structure import entier, montrer
from fabrique.modeles.gabarits import SANS_PERTE, coder, couper, exemple_en_jetons, neutraliser

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: En dessous, deux réponses identiques sont naturelles (« Oui. », une catégorie, une date).
MOTS_COMPARABLES = 12
#: Au-delà, la première passe se partage entre processus.
EXEMPLES_PAR_PROCESSUS = 5_000


def examiner(
    corpus: Dataset,
    tokenizer: PreTrainedTokenizerBase | None,
    max_length: int,
    processus: int,
    noms: str = "",
) -> Dataset:
    """Ce qu'on sait de chaque exemple sans regarder les autres : une rangée par exemple."""
    nombreux = len(corpus) > EXEMPLES_PAR_PROCESSUS
    with _barres_de_datasets(nombreux):
        return corpus.map(
            _examiner_un,
            fn_kwargs={"tokenizer": tokenizer, "max_length": max_length, "noms": noms},
            remove_columns=["exemple"],
            num_proc=processus if nombreux and processus > 1 else None,
            desc="Examen des exemples",
        )


@contextmanager
def _barres_de_datasets(montrer: bool) -> Iterator[None]:
    """Tait les barres de ``datasets`` le temps d'un petit calcul."""
    parlait = datasets.are_progress_bars_disabled() is False
    if parlait and not montrer:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if parlait:
            datasets.enable_progress_bars()


def _examiner_un(
    rangee: dict, tokenizer: PreTrainedTokenizerBase | None, max_length: int, noms: str = ""
) -> dict[str, object]:
    """Les constats d'un exemple, ses longueurs, et les résumés qui serviront à le comparer."""
    lu = json.loads(rangee["exemple"])
    contenu, situation = lu["contenu"], (rangee["rang"], rangee["ligne"])
    constats = [constat_de(defaut, *situation) for defaut in lu["defauts"]]
    champs = [champ for champ, _ in textes(contenu) if champ != "systeme"] or [""]
    question = dire = ""
    if not constats:
        question, dire = demande(contenu), reponse(contenu)
        colonnes = toutes_les_colonnes(contenu, lu["laisse"])
        constats = constats_trouves(contenu, colonnes, *situation, noms)
    constats += [constat_d_alerte(Alerte(**alerte), rangee["rang"]) for alerte in lu["alertes"]]
    jetons = 0
    if tokenizer and not lu["defauts"]:
        jetons, a_apprendre = _jetons(contenu, tokenizer, max_length)
        if jetons > max_length:
            regle, suite = LONGUEURS[a_apprendre]
            message = f"{jetons} jetons : {suite} à {max_length}"
            constats.append(Constat(regle, ALERTE, *situation, None, montrer(question), message))
    constats += _constat_de_licence(contenu, *situation)
    return {
        "forme": lu["forme"],
        "constats": json.dumps([asdict(constat) for constat in constats]),
        **{c: entier(str(contenu.get(c) or "")) for c in ("id", "jeu", "categorie", "licence")},
        "contexte": bool(contenu.get("input")),
        "bon": not lu["defauts"],
        "mots": len(dire.split()),
        "jetons": jetons,
        "extrait": montrer(question),
        "champ_demande": champs[0],
        "champ_reponse": champs[-1],
        "demande": empreinte(normaliser(question)),
        "jumelle": empreinte(jumeler(question)),
        "tout": identite(contenu),
        "resume_demande": resume(question),
        "resume_reponse": resume(dire),
    }


def constats_trouves(
    contenu: dict, colonnes: dict, rang: int, ligne: int, noms: str = ""
) -> list[Constat]:
    """Ce que les règles trouvent dans un exemple, puis les données personnelles de ses colonnes."""
    personnels = list(_constats_personnels(colonnes, rang, ligne, noms))
    touches = {constat.champ for constat in personnels}
    return [*_constats_du_texte(contenu, touches, rang, ligne, noms), *personnels]


def _constats_du_texte(
    contenu: dict, touches: Container[str | None], rang: int, ligne: int, noms: str
) -> Iterator[Constat]:
    """Ce que les règles trouvent dans chaque champ, les données personnelles masquées.

    Args:
        touches: les champs où il y en a ; les autres n'ont rien à masquer.
    """
    siennes = noms_de_personnes.avec_les_noms(noms)
    dits, contexte = champs_dits(contenu), personnelles.contexte_de(contenu)
    for champ, texte in textes(contenu):
        masque = personnelles.masquer(texte, contexte, siennes) if champ in touches else texte
        for regle in regles.REGLES:
            if regle.reponse_seule and champ not in dits:
                continue
            for extrait in regle.trouver(masque):
                yield Constat(regle.nom, regle.gravite, rang, ligne, champ, extrait, regle.message)


def _constats_personnels(contenu: dict, rang: int, ligne: int, noms: str) -> Iterator[Constat]:
    """Les données personnelles de toutes les colonnes, même de celles qu'on n'apprend pas."""
    siennes = noms_de_personnes.avec_les_noms(noms)
    contexte = personnelles.contexte_de(contenu)
    for champ, texte in personnelles.textes_et_colonnes(contenu):
        libre = 0  # jamais la fin de la donnée précédente dans l'extrait
        trouvees = personnelles.reperer(texte, contexte, siennes, personnelles.annonce(champ))
        for regle, debut, fin in sorted(trouvees, key=lambda t: t[1]):
            extrait = texte[max(libre, debut - 20) : debut] + f"[{regle.etiquette}]"
            incertain = regle.nom == noms_de_personnes.NOM
            gravite = ALERTE if incertain else ERREUR
            message = MESSAGE_NOM if incertain else MESSAGE_PERSONNEL
            yield Constat(regle.nom, gravite, rang, ligne, champ, extrait, message)
            libre = fin


def constats_d_encodage(exemples: Iterable[Exemple]) -> Iterator[Constat]:
    """Ce que les règles d'encodage trouvent : texte mal décodé, accents séparés, signes invisibles."""
    encodage = [regle for regle in regles.REGLES if regle.nom.startswith("encodage.")]
    for exemple in exemples:
        for champ, texte in textes(exemple.contenu):
            masque = personnelles.masquer(texte)
            for regle in encodage:
                for extrait in regle.trouver(masque):
                    situation = (exemple.rang, exemple.ligne, champ)
                    yield Constat(regle.nom, regle.gravite, *situation, extrait, regle.message)


MESSAGE_PERSONNEL = (
    "une donnée personnelle : retirez-la ou pseudonymisez-la, un modèle récite ce qu’il a lu"
)
MESSAGE_NOM = "peut-être le nom d’une personne : relisez, et pseudonymisez-le si c’en est un"


def _constat_de_licence(contenu: dict, rang: int, ligne: int) -> list[Constat]:
    """Une licence qui interdit de redistribuer, ou que nous ne connaissons pas."""
    licence = str(contenu.get("licence") or "")
    messages = {
        "fermee": (
            ERREUR,
            "cette licence interdit de redistribuer le corpus ou ce qui en est tiré",
        ),
        "inconnue": (ALERTE, "licence inconnue de nos listes : lisez-la avant de redistribuer"),
    }
    avis = licences.juger(licence)
    if avis not in messages:
        return []
    gravite, message = messages[avis]
    return [Constat(f"licence.{avis}", gravite, rang, ligne, "licence", montrer(licence), message)]


def constat_d_alerte(alerte: Alerte, rang: int) -> Constat:
    """Une alerte de lecture ; sans rang quand elle vaut pour tout le fichier."""
    situe = None if alerte.du_fichier else rang
    return Constat(
        alerte.regle, ALERTE, situe, alerte.ligne, alerte.champ or None, "", alerte.message
    )


def constat_de(defaut: dict, rang: int, ligne: int | None) -> Constat:
    message = f"{defaut['message']}. {defaut['remede']}"
    return Constat(defaut["regle"], ERREUR, rang, ligne, defaut["champ"] or None, "", message)


#: Ce que devient un exemple trop long, selon qu'il y reste ou non de quoi apprendre.
LONGUEURS = {
    True: ("longueur.coupe", "la fin sera coupée"),
    False: ("longueur.ecarte", "rien ne resterait à apprendre, l’exemple serait écarté"),
}


def _jetons(contenu: dict, tokenizer: PreTrainedTokenizerBase, max_length: int) -> tuple[int, bool]:
    """Les jetons d'un exemple tel qu'il s'apprend, gabarit compris, et s'il en reste à apprendre.

    Une fiche n'a pas de gabarit : ses textes seuls comptent.
    """
    if "texte" in contenu:
        fiche = [coder(neutraliser(texte, tokenizer), tokenizer) for _, texte in textes(contenu)]
        return sum(map(len, fiche)), True
    code = exemple_en_jetons(tokenizer, contenu)
    coupe = couper(code, max_length, tokenizer.eos_token_id)
    return len(code["input_ids"]), any(e != SANS_PERTE for e in coupe["labels"])


def resume(texte: str) -> list[int]:
    """La signature d'un texte assez long pour être comparé ; rien sinon."""
    return signature(texte).tolist() if len(texte.split()) >= MOTS_COMPARABLES else []
