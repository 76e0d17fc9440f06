"""La notice des corpus dit les chiffres que le contrôle trouve."""

from outils.notices import NOTICE, a_jour


def test_les_chiffres_des_notices_sont_a_jour(livres):
    """Sinon : ``python -m outils.notices``."""
    texte = NOTICE.read_text("utf-8")
    assert a_jour(texte, livres.__getitem__) == texte
    perime = texte.replace("| exemples | 1296 |", "| exemples | 1 |")
    assert a_jour(perime, livres.__getitem__) == texte != perime
