"""Every class of inputs is accurate or warned of: single layers here, shipped networks in the campaign."""

import pytest

from wingbeat.gen.explore.input_classes import INPUT_CLASSES, LAYERS, NETWORKS, class_rows
from wingbeat.gen.presets.select import load_preset

SEED = 4
WANTED = 60  # dB at 16 bits


def doubtful(rows):
    """Rows that are wrong without a word."""
    return [row for row in rows if not row.warned and (row.sqnr_db < WANTED or row.clamped)]


@pytest.mark.parametrize("layer", LAYERS)
def test_no_layer_is_wrong_without_a_word(layer):
    rows = class_rows(layer, load_preset("hybrid-16"), SEED)
    assert len(rows) == 2 * len(INPUT_CLASSES) - 1
    assert not doubtful(rows), f"seed {SEED}"
    own = {row.inputs: row for row in rows if row.inputs == row.calibration}
    least = {"noise": 65, "tone": 65, "constant": 70, "one-hot": 65}
    assert all(own[name].sqnr_db > floor and not own[name].warned for name, floor in least.items()), f"seed {SEED}"


@pytest.mark.campaign
@pytest.mark.parametrize("network", NETWORKS)
def test_no_network_is_wrong_without_a_word(network):
    assert not doubtful(class_rows(network, load_preset("hybrid-16"), SEED)), f"seed {SEED}"
