"""Whether a network fits a board."""

import json

import pytest

from wingbeat.boards.fit import fit_board
from wingbeat.hw.errors import WingbeatError


def test_digits_fit_the_ulx3s(tmp_path):
    facts = tmp_path / "fit.json"
    assert fit_board("ulx3s", "digits", None, None, None, None, facts) == 0
    found = json.loads(facts.read_text())
    assert found["fits"] and found["core"] == "hybrid_16" and found["per_second"] > 10_000


def test_other_families_are_refused():
    with pytest.raises(WingbeatError, match="--board: 'icebreaker' has a iCE40UP5K; allowed are boards with an ECP5"):
        fit_board("icebreaker", "digits", None, None, None, None, None)
