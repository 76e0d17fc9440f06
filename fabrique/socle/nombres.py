"""Les nombres en français : virgule, espaces, unités, durées. Aucun autre fichier n’en met en forme.

Babel, auquel les tests nous comparent, ne raccourcirait rien : un motif à composer à chaque appel,
et l’infini, les puissances de dix, les places et les durées resteraient à écrire.
"""

from __future__ import annotations

import math

#: Unités décimales, celles des disques et des cartes : un gibioctet (Gio, 1024³) en fait 1,07.
MO, GO = 10**6, 10**9
#: Des séparateurs de Python aux nôtres : l’espace fine insécable des milliers, la virgule.
_SEPARATEURS = str.maketrans({",": "\u202f", ".": ","})
#: Les mêmes, et le signe moins : le trait d’union de Python se lit mal, et se coupe en fin de ligne.
_NOMBRE = _SEPARATEURS | {ord("-"): "−"}
_EN_EXPOSANT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def en_francais(nombre: float, decimales: int = 0) -> str:
    """Un nombre à la française : « 2 359 296 », « 3,42 », « −0,5 », « ∞ »."""
    if math.isinf(nombre):
        return "∞" if nombre > 0 else "−∞"
    return f"{nombre:,.{decimales}f}".translate(_NOMBRE)


def en_bref(nombre: float, chiffres: int = 10) -> str:
    """Un nombre sans zéro inutile, arrondi à tant de chiffres : « 12 », « 0,5 », « 1 000 »."""
    return f"{nombre:,.{chiffres}g}".translate(_NOMBRE)


def accorder(nombre: float, un: str, plusieurs: str = "", decimales: int = 0) -> str:
    """Un nombre et ce qu'il compte : « 1 jeton », « 0 erreur », « 1,9 point », « 3 exemples traités ».

    Args:
        un: le nom, et ce qui s'accorde avec lui.
        plusieurs: le même au pluriel ; par défaut, un « s » de plus.
        decimales: chiffres après la virgule ; le nom s'accorde avec le nombre tel qu'il est écrit.
    """
    nom = un if abs(round(nombre, decimales)) < 2 else plusieurs or un + "s"
    return f"{en_francais(nombre, decimales)} {nom}"


def en_pourcent(part: float, decimales: int = 0) -> str:
    """Une part de 1, en pour cent : 0,413 donne « 41 % », ou « 41,3 % » à une décimale."""
    return f"{en_francais(100 * part, decimales)}\u00a0%"


def en_ecart(nombre: float, decimales: int = 0) -> str:
    """Un écart, toujours signé : « +4,2 », « −0,31 »."""
    return ("+" if nombre >= 0 else "−") + en_francais(abs(nombre), decimales)


def en_scientifique(nombre: float) -> str:
    """Un très petit nombre, lisible à voix haute : « 3,0 × 10⁻³ »."""
    chiffres, exposant = f"{nombre:.1e}".translate(_SEPARATEURS).split("e")
    return f"{chiffres} × 10{str(int(exposant)).translate(_EN_EXPOSANT)}"


def a_la_virgule(chiffres: str) -> str:
    """Des chiffres déjà choisis, sans espace des milliers : « 1234.5 » devient « 1234,5 »."""
    return chiffres.translate(_SEPARATEURS)


def en_go(octets: float) -> str:
    """Une place lisible, en unités décimales : « 15,8 Go », « 12 Mo » sous le dixième de Go."""
    if octets < GO / 10:
        return f"{octets / MO:.0f}\u00a0Mo"
    return f"{en_francais(octets / GO, 1)}\u00a0Go"


def en_mo(octets: float) -> str:
    """Une taille de fichier ou de poids, dans la même unité : « 22,3 Mo »."""
    return f"{en_francais(octets / MO, 1)}\u00a0Mo"


def en_duree(secondes: float) -> str:
    """Une durée lisible : « 45 s », « 3 min 20 s », « 1 h 15 min »."""
    secondes = round(secondes)
    if secondes < 60:
        return f"{secondes}\u00a0s"
    minutes, reste = divmod(secondes, 60)
    if minutes < 60:
        return f"{minutes}\u00a0min\u00a0{reste:02d}\u00a0s"
    return f"{minutes // 60}\u00a0h\u00a0{minutes % 60:02d}\u00a0min"


def en_minutes(minutes: float) -> str:
    """Une durée estimée, en une seule unité : « 35 s », « 12 min », « 3,5 h »."""
    if minutes < 1:
        return f"{en_francais(max(1, 60 * minutes))} s"
    return f"{en_francais(minutes)} min" if minutes < 120 else f"{en_francais(minutes / 60, 1)} h"
