"""La nuit où le disque se remplit : un quota déclaré, et un voisin qui le mange."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fabrique.entrainement.disque import quota_declare


def taille(dossier: Path) -> int:
    """Les octets des fichiers d'un dossier."""
    return sum(fichier.stat().st_size for fichier in dossier.rglob("*") if fichier.is_file())


@contextmanager
def nuit_agitee(sortie: str | Path, quota: int) -> Iterator[Path]:
    """Un quota pour un dossier, que le fichier d'un voisin remplit dès le premier point de reprise.

    Remplir le vrai disque d'une session demanderait des dizaines de gigaoctets : le quota est déclaré
    au contrôle du disque, qui le respecte. Rien d'autre n'est simulé : l'arrêt, les points de
    reprise et la reprise sont ceux de toujours.

    Args:
        sortie: le dossier de l'apprentissage ; le voisin écrit à côté.
        quota: octets accordés aux deux ensemble.

    Yields:
        Le fichier du voisin, à retirer pour libérer la place.
    """
    sortie = Path(sortie)
    voisin = sortie.with_name(f"{sortie.name}-voisin.bin")

    def libre(_: Path) -> int:
        reste = quota - taille(sortie)
        if not voisin.exists() and any(sortie.glob("checkpoint-*")):
            # Un fichier creux : il annonce sa taille, et n'occupe rien.
            with voisin.open("wb") as flux:
                flux.truncate(max(0, reste))
        return reste - (voisin.stat().st_size if voisin.exists() else 0)

    with quota_declare(libre):
        yield voisin
