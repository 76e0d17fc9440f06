"""Les nombres en français : unités, décimales, espaces."""

from __future__ import annotations

#: Unités décimales, celles des disques et des cartes : un gibioctet (Gio, 1024³) en fait 1,07.
MO, GO = 10**6, 10**9


def en_go(octets: float) -> str:
    """Une place lisible, en unités décimales : « 15,8 Go », « 12 Mo » sous le dixième de Go."""
    if octets < GO / 10:
        return f"{octets / MO:.0f}\u00a0Mo"
    return f"{octets / GO:.1f}\u00a0Go".replace(".", ",")


def en_mo(octets: float) -> str:
    """Une taille de fichier ou de poids, dans la même unité : « 22,3 Mo »."""
    return f"{octets / MO:,.1f}\u00a0Mo".replace(",", "\u202f").replace(".", ",")
