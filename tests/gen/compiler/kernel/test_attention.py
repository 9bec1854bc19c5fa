"""Shifts of softmax attention: units of logits and results, and what has none."""

import pytest

from wingbeat.gen.compiler.kernel.attention import attention_shifts
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError

CONFIG = CoreConfig.of(layers=2, width=18, element_width=16, coefficient_width=17, half_words=256, stream_words=4)


@pytest.mark.parametrize("query, key", [(-18, -13), (-10, -15), (-13, -13)])
def test_a_logit_keeps_its_unit(query, key):
    """Larger units of queries or keys are a smaller shift."""
    found = attention_shifts(CONFIG, query, key, -13, -13)
    assert found.logits + query + key == attention_shifts(CONFIG, -13, -13, -13, -13).logits - 26


def test_values_too_coarse_for_their_results():
    near, far = (attention_shifts(CONFIG, -13, -13, value, -40) for value in (-20, 0))
    assert far.exponent == near.exponent + 20 > -40 and far.divide == near.divide
    assert attention_shifts(CONFIG, -13, -13, -13, -10).exponent == -10


@pytest.mark.parametrize("query, key", [(0, -3), (-30, -30)])
def test_logits_without_a_shift(query, key):
    with pytest.raises(WingbeatError, match=r"^logits: a shift of -?\d+ bits; allowed are 0..31, for queries and keys"):
        attention_shifts(CONFIG, query, key, -13, -13)
