"""Refaire les calibrations livrées : ``python -m outils.calibrations``, après un changement de corpus."""

from __future__ import annotations

import json

from fabrique.recherche.abstention import LIVREES, MONTRES, apprendre_du_cours

#: Combien de passages sont montrés : un dans la démonstration, ``MONTRES`` ailleurs.
NOMBRES = (1, MONTRES)

if __name__ == "__main__":
    apprises = {montres: apprendre_du_cours(montres).en_dictionnaire() for montres in NOMBRES}
    LIVREES.write_text(json.dumps(apprises) + "\n", "utf-8")
