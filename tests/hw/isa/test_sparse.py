"""How many sets a beat of picks serves."""

import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.sparse import LOG2_GROUPS, PICK_BITS, pick_sets


@pytest.mark.parametrize("width, sets", [(8, 2), (11, 2), (12, 3), (16, 4), (18, 4)])
def test_picks_fill_their_elements(width, sets):
    config = CoreConfig.of(width=18, element_width=width)
    assert pick_sets(config) == sets and PICK_BITS * sets <= width < PICK_BITS * (sets + 1)
    assert 1 << LOG2_GROUPS == 16 == 1 << PICK_BITS
