"""Le codage d'un fichier de texte : le reconnaître, ou dire qu'on ne le reconnaît pas.

Dans l'ordre : la marque de tête (UTF-8, UTF-16, UTF-32), les zéros d'un UTF-16 sans marque,
l'UTF-8, puis quatre codages à un octet par signe. Entre ceux-là, le seul juge est le texte qu'on
obtient : chaque accent doit être à sa place dans un mot français. La bibliothèque
charset-normalizer, essayée sur les corpus livrés, prenait souvent un CP850 pour du Windows-1252
quand le texte tenait en une ligne ; nous préférons refuser que d'apprendre de faux accents.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fabrique.socle.erreurs import ErreurFabrique
from fabrique.socle.nombres import MO


@dataclass(frozen=True)
class Codage:
    """Un codage.

    Args:
        python: son nom pour Python.
        nom: celui qu'on montre.
    """

    python: str
    nom: str


UTF8 = Codage("utf-8-sig", "UTF-8")
#: Les marques de tête, de la plus longue à la plus courte (UTF-32 commence comme UTF-16).
MARQUES = (
    (codecs.BOM_UTF32_LE, Codage("utf-32", "UTF-32")),
    (codecs.BOM_UTF32_BE, Codage("utf-32", "UTF-32")),
    (codecs.BOM_UTF16_LE, Codage("utf-16", "UTF-16 (PowerShell, « Texte Unicode » d’Excel)")),
    (codecs.BOM_UTF16_BE, Codage("utf-16", "UTF-16, grand-boutiste")),
)
SANS_MARQUE = {
    "utf-16-le": Codage("utf-16-le", "UTF-16 sans marque de tête"),
    "utf-16-be": Codage("utf-16-be", "UTF-16 grand-boutiste sans marque de tête"),
}
#: À un octet par signe ; à texte égal, le premier l'emporte.
UN_OCTET = (
    Codage("cp1252", "Windows-1252 (Excel)"),
    Codage("iso8859_15", "Latin-9 (ISO 8859-15)"),
    Codage("mac_roman", "Mac Roman (anciens Macintosh)"),
    Codage("cp850", "CP850 (DOS)"),
)


def codage_large(debut: bytes) -> Codage | None:
    """Le codage à deux ou quatre octets par signe d'un fichier, d'après son début.

    Sans marque, un UTF-16 se reconnaît à ses zéros : un octet sur deux dès que le texte est
    surtout fait de lettres latines, toujours du même côté.
    """
    for marque, codage in MARQUES:
        if debut.startswith(marque):
            return codage
    paires = len(debut) // 2
    for nom, (zeros, autres) in {
        "utf-16-le": (debut[1::2], debut[::2]),
        "utf-16-be": (debut[::2], debut[1::2]),
    }.items():
        if paires and zeros.count(0) > 0.7 * paires and not autres.count(0):
            return SANS_MARQUE[nom]
    return None


class EnUtf8(io.RawIOBase):
    """Un flux d'octets d'un autre codage, traduit en UTF-8 à mesure qu'on le lit.

    Raises:
        ErreurFabrique: le texte est abîmé, ou coupé au milieu d'un signe.
    """

    def __init__(self, flux: io.BufferedIOBase, codage: Codage, chemin: Path) -> None:
        self.flux, self.codage, self.chemin = flux, codage, chemin
        self.reste, self.fini, self.lignes = b"", False, 1
        self.decodeur = codecs.getincrementaldecoder(codage.python)()

    def readable(self) -> bool:
        return True

    def readinto(self, tampon: Any) -> int:
        while not self.reste and not self.fini:
            octets = self.flux.read(MO)
            self.fini = not octets
            try:
                self.reste = self.decodeur.decode(octets, self.fini).encode()
            except UnicodeDecodeError:
                raise ErreurFabrique(
                    f"le texte, en {self.codage.nom}, est abîmé ou coupé après la ligne {self.lignes}",
                    "Reprenez le fichier à sa source, ou réenregistrez-le en UTF-8",
                    self.chemin,
                    ligne=self.lignes,
                ) from None
            self.lignes += self.reste.count(b"\n")
        pris = self.reste[: len(tampon)]
        self.reste = self.reste[len(pris) :]
        tampon[: len(pris)] = pris
        return len(pris)

    def close(self) -> None:
        self.flux.close()
        super().close()


# ---------------------------------------------------------------- UTF-8, ou un octet par signe

#: Les octets étrangers à l'UTF-8, tels que « surrogateescape » les garde.
ETRANGER = re.compile("[\udc80-\udcff]")
#: Ce qu'un texte français écrit hors de l'ASCII : lettres, ponctuation, monnaie.
_FRANCAIS = re.compile("[\u00a0-\u017f\u2010-\u203a\u20ac]")
#: Ce qu'on lit, au plus, pour choisir entre les codages à un octet.
ESSAI_MAX = 64 * 1024


def reconnaitre(flux: io.BufferedIOBase) -> Codage | None:
    """Le codage d'un flux sans marque : UTF-8, un codage à un octet, ou ``None`` s'il échappe.

    Un fichier où les lettres accentuées de l'UTF-8 l'emportent sur les octets étrangers est de
    l'UTF-8 abîmé par endroits : c'est aux lignes en cause d'être refusées, pas aux autres d'être
    réinterprétées.
    """
    decodeur = codecs.getincrementaldecoder(UTF8.python)("surrogateescape")
    bons = etrangers = 0
    essai = bytearray()
    fini = False
    while not fini:
        octets = flux.read(MO)
        fini = not octets
        texte = decodeur.decode(octets, fini)
        if texte.isascii():
            continue
        bons += len(_FRANCAIS.findall(texte))
        etrangers += len(ETRANGER.findall(texte))
        if len(essai) < ESSAI_MAX:
            essai += b"\n".join(ligne for ligne in octets.splitlines() if not ligne.isascii())
    if bons >= etrangers:
        return UTF8
    return a_un_octet(bytes(essai[:ESSAI_MAX]))


def a_un_octet(octets: bytes) -> Codage | None:
    """Le codage à un octet dont le texte est le mieux écrit ; ``None`` si deux se valent."""
    textes = {codage: octets.decode(codage.python, "replace") for codage in UN_OCTET}
    places = {codage: _places(texte) for codage, texte in textes.items()}
    choisi = max(UN_OCTET, key=lambda codage: sum(places[codage].values()))
    tous = [rang for rang, octet in enumerate(octets) if octet >= 0x80]
    if _note(places[choisi], tous) < 0.5:
        return None
    for autre in UN_OCTET:
        # On ne les départage que sur les signes qu'ils lisent autrement.
        rangs = [rang for rang in tous if textes[choisi][rang] != textes[autre][rang]]
        if rangs and _note(places[choisi], rangs) - _note(places[autre], rangs) < ECART:
            return None
    return choisi


#: L'écart de note, de 0 à 1, en dessous duquel deux lectures se valent.
ECART = 0.25

_PETITES, _GRANDES = "àâäçéèêëîïôöùûüÿœæ", "ÀÂÄÇÉÈÊËÎÏÔÖÙÛÜŸŒÆ"
#: Un signe français là où l'orthographe et la typographie le mettent.
_A_SA_PLACE = re.compile(
    # « à » seul, ou à la fin de « déjà », « là », « voilà » ; les autres minuscules, dans un mot.
    rf"(?<!\S)[àÀ](?!\S)|(?<=[lj])à\b|(?<=[\w’'-])[{_PETITES[1:]}]|[{_PETITES}](?=[a-z{_PETITES}])"
    # Une majuscule au début d'une phrase, ou dans un mot tout en majuscules.
    rf"|(?<![\w’'-])(?<![a-z{_PETITES}] )[{_GRANDES}](?=[a-zA-Z’'{_PETITES}])"
    rf"|(?<=[A-Z])[{_GRANDES}](?![a-z{_PETITES}])"
    # Guillemets, apostrophe, points de suspension, tirets : chacun avec ses voisins.
    r"|(?<=\w)’(?=\w)|«(?=[\s\u00a0\w])|(?<=[\s\u00a0\w.!?…])»|(?<!\w)[“‘](?=\S)|(?<=\S)[”’](?!\w)"
    r"|(?<=\S)…(?!\w)|…(?=\])|(?<=\s)[–—](?=\s)|(?<=\d)[–—](?=\d)|(?<![^\n])[–—](?=\s)"
    # Unités, abréviations, espace insécable.
    r"|(?<=[nN\d\s\u00a0])[°€](?!\w)|(?<=\d)[°€²³½¼¾](?![^\W\d])|(?<=m)[²³]|§(?=[\s\u00a0\d])"
    r"|\u00a0(?=[;:!?»%€\d\w])|(?<=«)\u00a0|(?<=\w)·(?=\w)"
)
#: Moins probant : une majuscule au milieu d'une phrase (« l'État »), une lettre d'une langue voisine.
_PEUT_ETRE = re.compile(
    rf"(?<![a-zA-Z{_PETITES}{_GRANDES}])[{_GRANDES}](?=[a-z])|(?<=[a-zA-Z])[áíóúñãõåøßìòýšž](?=[a-z\s])"
)
_HORS_ASCII = re.compile(r"[^\x00-\x7f]")


def _places(texte: str) -> dict[int, float]:
    """La vraisemblance de chaque signe hors de l'ASCII, par rang : 1, 1/2 ou 0."""
    rangs = [trouve.start() for trouve in _HORS_ASCII.finditer(texte)]
    return {
        rang: 1.0 if _A_SA_PLACE.match(texte, rang) else 0.5 * bool(_PEUT_ETRE.match(texte, rang))
        for rang in rangs
    }


def _note(places: dict[int, float], rangs: list[int]) -> float:
    """La part des signes de ces rangs qui sont à leur place, de 0 à 1."""
    return sum(places.get(rang, 0.0) for rang in rangs) / max(1, len(rangs))


def coupe(octets: bytes) -> bool:
    """Vrai si ces octets sont de l'UTF-8 juste, coupé au milieu de son dernier caractère."""
    decodeur = codecs.getincrementaldecoder(UTF8.python)()
    try:
        decodeur.decode(octets)
    except UnicodeDecodeError:
        return False
    return bool(decodeur.getstate()[0])


def octets_etrangers(textes: list[str]) -> Iterator[bytes]:
    """Les textes qui portent un octet étranger, remis en octets."""
    return (t.encode("utf-8", "surrogateescape") for t in textes if ETRANGER.search(t))
