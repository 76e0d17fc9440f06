"""Les « À vous » : une réponse, une vérification immédiate, un retour utile."""

from __future__ import annotations

from collections.abc import Callable

A_VOUS = "À vous : remplacez les trois points … par votre réponse, puis relancez la cellule."


def verifier(
    reponse: object,
    attendu: object | Callable[[object], bool],
    *,
    indice: str,
    bravo: str = "",
    tolerance: float = 0.0,
) -> None:
    """Vérifie une réponse et dit quoi faire ensuite.

    Une réponse laissée à ``...`` n'est pas une faute : « Tout exécuter » continue.

    Args:
        reponse: ce que l'apprenant a écrit, ou ``...``.
        attendu: la bonne réponse, ou une fonction qui dit si une réponse convient.
        indice: ce qui aide à trouver, sans donner la réponse.
        bravo: ce qu'il faut retenir, montré quand c'est juste.
        tolerance: écart permis entre deux nombres.
    """
    if reponse is ...:
        print(A_VOUS)
        return
    try:
        juste = attendu(reponse) if callable(attendu) else _egal(reponse, attendu, tolerance)
    except (TypeError, ValueError, AttributeError, KeyError, IndexError):
        juste = False
    if juste:
        print(f"Juste ! {bravo}".strip())
    else:
        print(f"Pas encore. {indice}")


def _egal(reponse: object, attendu: object, tolerance: float) -> bool:
    if isinstance(attendu, int | float) and not isinstance(attendu, bool):
        return abs(float(reponse) - attendu) <= tolerance
    if isinstance(attendu, str):
        return str(reponse).strip().casefold() == attendu.strip().casefold()
    return reponse == attendu
