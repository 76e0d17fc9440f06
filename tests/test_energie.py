"""L'énergie se relève quand on la demande, et pas autrement."""

from __future__ import annotations

import re
import sys

import pytest

from fabrique.machine.energie import energie_relevee
from fabrique.socle.erreurs import ErreurFabrique


def test_sans_demande_rien_n_est_releve(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with energie_relevee(False):
        pass
    assert capsys.readouterr().out == ""


def test_sans_l_extension_une_phrase_le_dit(monkeypatch):
    monkeypatch.setitem(sys.modules, "codecarbon", None)
    with (
        pytest.raises(ErreurFabrique, match=r"relevé d’énergie.*\[carbone\]"),
        energie_relevee(True),
    ):
        pass


def test_l_energie_relevee_est_dite(capsys):
    """Le vrai codecarbon, hors ligne."""
    pytest.importorskip("codecarbon", reason="extra [carbone] non installé")
    with energie_relevee(True):
        sum(i * i for i in range(3_000_000))
    dit = capsys.readouterr().out
    wh = re.search(r"Énergie  : (\d+,\d+) Wh et (\d+,\d+) g de CO₂", dit)
    assert wh, dit
