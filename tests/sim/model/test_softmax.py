"""Softmax in integers: bounds of its error for scores of many kinds, chunks, masks, limits, against float64."""

import math

import numpy as np
import pytest

from wingbeat.hw.numeric import (LEAST_LOGIT, LOGIT_BITS, LOGIT_FRACTION_BITS, RECIPROCAL_BITS, TOTAL_GUARD_BITS,
                                 largest, reciprocal_table, round_half_up, saturate, segment_table, smallest,
                                 streamed_coefficient)
from wingbeat.sim.model.softmax import (Probabilities, RowState, aligned, divided, logits_of, probabilities,
                                        weighted_sums)

C, EW, LANES = 17, 16, 4
SEED = 21


def quantised(values, headroom=1.25):
    """Elements of EW bits, and the power of two that is one of them."""
    peak = float(np.abs(values).max())
    unit = 2.0 ** math.ceil(math.log2(max(peak, 1e-30) * headroom / largest(EW)))
    return np.rint(values / unit).astype(np.int64), unit


def exact(scores, values, allowed):
    """Softmax attention in float64 of scores, base 2; zeros for a row without a key."""
    inside = np.where(allowed, scores, -np.inf)
    top = np.where(allowed.any(axis=1), inside.max(axis=1, initial=-1e9, where=allowed), 0)[:, None]
    share = np.where(allowed, np.exp2(np.minimum(inside - top, 0)), 0)
    return share @ values / np.maximum(share.sum(axis=1, keepdims=True), 1e-300)


def attend(logits, v, allowed, unit, width, chunk):
    """Elements of the attention with integer ``logits`` (rows, keys), whose unit is ``unit`` of one of ``v``."""
    pad = -logits.shape[1] % LANES  # what stands in the padding must not matter
    logits = np.pad(logits, ((0, 0), (0, pad)), constant_values=largest(LOGIT_BITS))
    allowed, v = np.pad(allowed, ((0, 0), (0, pad))), np.pad(v, ((0, pad), (0, 0)), constant_values=largest(EW))
    state, rows = RowState.empty(len(logits)), len(logits)
    sums = np.zeros((rows, v.shape[1]), dtype=np.int64)
    for first in range(0, logits.shape[1], chunk):
        keys, before = slice(first, first + chunk), state.maximum.copy()
        found = probabilities(logits[:, keys].reshape(rows, -1, LANES), allowed[:, keys].reshape(rows, -1, LANES),
                              width)
        state.add(found)
        values = np.ascontiguousarray(streamed_coefficient(v[keys], EW, C).T)
        sums = aligned(sums, before, state.maximum) + weighted_sums(found, values, state.maximum, C)
    assert np.abs(sums).max() < 1 << 36
    # A sum is in units of 2^11 of an element of v for a total of one, a word in 2^(EW - W) of a result.
    words, _ = divided(sums, state.total, 1 - 11 + round(math.log2(unit)) - (width - EW), width)
    return saturate(round_half_up(words, width - EW), EW)[0]


def decibels(scores, values, allowed=None, width=18, chunk=512):
    """SQNR of the elements of an attention with ``scores``, base 2, against that of the quantised scores and values."""
    allowed = np.ones(scores.shape, bool) if allowed is None else allowed
    logits = np.clip(np.rint(scores * 4096), smallest(LOGIT_BITS), largest(LOGIT_BITS)).astype(np.int64)
    v, unit = quantised(values)
    wanted = exact(logits / 4096, v * unit, allowed)
    _, unit_out = quantised(wanted)
    found = attend(logits, v, allowed, unit_out / unit, width,
                   min(chunk, scores.shape[1] + -scores.shape[1] % LANES)) * unit_out
    return 10 * math.log10((wanted ** 2).sum() / max(((found - wanted) ** 2).sum(), 1e-300))


def scores_of_every_kind(rng, keys, rows=16, features=32):
    """Name, scores in base 2, values, and which keys count."""
    values, normal = rng.standard_normal((keys, features)), rng.standard_normal((rows, keys))
    nats = math.log2(math.e)
    for sigma in (1, 3, 6):
        yield f"normal {sigma}", normal * sigma * nats, values, None
    one = np.zeros((rows, keys))
    one[np.arange(rows), rng.integers(keys, size=rows)] = 28
    yield "one-hot", one + normal, values, None
    yield "uniform", np.zeros((rows, keys)), values, None
    yield "values with a mean", normal * nats, values + 3, None
    ramp = np.linspace(-12, 12, keys)
    for name, slope in (("rising", ramp), ("falling", -ramp)):
        yield name, slope + 0.2 * normal, values, None
    ends = np.sort(rng.integers(keys, size=rows))
    yield "causal", normal * 3 * nats, values, np.arange(keys) <= ends[:, None]
    yield "padded", normal * 3 * nats, values, np.broadcast_to(np.arange(keys) < max(1, 2 * keys // 3), normal.shape)


@pytest.mark.parametrize("width, least", [(18, 74), (16, 72)])
@pytest.mark.parametrize("keys", [5, 64, 197, 1024, 4096])
def test_error_of_every_kind(keys, width, least):
    found = {name: decibels(scores, values, allowed, width)
             for name, scores, values, allowed in scores_of_every_kind(np.random.default_rng(SEED), keys)}
    assert min(found.values()) >= least, (SEED, found)


@pytest.mark.parametrize("above, least", [(4, 70), (6, 60), (8, 50), (10, 38)])
@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("keys", [256, 1024, 4096])
def test_a_key_far_above_the_rest_whose_value_is_zero(keys, place, above, least):
    """What a trained network does with its first token, or its last."""
    rng = np.random.default_rng(SEED)
    scores, values = rng.standard_normal((16, keys)) * 1.44, rng.standard_normal((keys, 32))
    scores[:, place] = -100
    scores[:, place], values[place] = scores.max() + above, 0
    assert decibels(scores, values) >= least, SEED


@pytest.mark.parametrize("keys", [64, 256, 1024, 4096])
def test_a_late_maximum_keeps_the_weight_of_those_before(keys):
    scores, values = np.zeros((8, keys)), np.random.default_rng(SEED).standard_normal((keys, 32)) * 0.1 + 3
    scores[:, -1] = 15
    assert decibels(scores, values) >= 88, SEED


@pytest.mark.parametrize("chunk", [4, 32, 64])
def test_chunks_change_little(chunk):
    rng = np.random.default_rng(SEED)
    scores, values = rng.standard_normal((16, 64)) * 4.3, rng.standard_normal((64, 32))
    assert abs(decibels(scores, values, chunk=chunk) - decibels(scores, values, chunk=64)) < 1.5


def test_limits_of_the_logits():
    """The largest and the smallest there are, everywhere and alone; rows without a key."""
    rng = np.random.default_rng(SEED)
    values = rng.standard_normal((64, 8))
    for level in (-256, -255.9, 255.9):
        assert decibels(np.full((4, 64), level), values) >= 80
    last = np.zeros((4, 64), bool)
    last[:, -1] = True
    assert decibels(np.full((4, 64), -256.0), values, last) >= 80
    v, unit = quantised(values)
    none = attend(np.zeros((3, 64), dtype=np.int64), v, np.zeros((3, 64), bool), unit, 18, 64)
    assert not none.any()


def test_logits_are_rounded_and_clamped():
    sums = np.array([[6, -6, 5 << 20, -(5 << 20)]])
    values, clamped = logits_of(sums, 2)
    assert values.tolist() == [[2, -1, largest(LOGIT_BITS), smallest(LOGIT_BITS)]]
    assert clamped.tolist() == [[False, False, True, True]]


def test_probabilities_lie_on_the_chords():
    """Below the exponent of the group: half of it and less, 17 bits and less than one."""
    logits = np.arange(-20 << LOGIT_FRACTION_BITS, 1 << LOGIT_FRACTION_BITS, 7)
    groups = np.stack([np.full(len(logits), (1 << LOGIT_FRACTION_BITS) - 1), logits], axis=1)
    found = probabilities(groups[None], np.ones((1, *groups.shape), bool), 18)
    assert set(found.exponents[0].tolist()) == {0}
    p = found.p[0, :, 1] / 2.0 ** 17
    assert np.abs(p - np.exp2(logits / 4096 - 1)).max() < 2.0 ** -13 and found.p.max() < 1 << 17
    assert (np.diff(found.p[0, :, 1]) >= -4).all()  # chords meet with a step
    assert not found.p[0, logits < -18.5 * 4096, 1].any()


def test_masked_logits_count_for_nothing():
    logits = np.array([[[5 << 12, 9 << 12, 7 << 12, 0]]])
    found = probabilities(logits, np.array([[[True, False, False, True]]]), 18)
    assert found.exponents.tolist() == [[5]] and found.p[0, 0, 1:3].tolist() == [0, 0] and found.p[0, 0, 0] > 0
    nothing = probabilities(logits, np.zeros((1, 1, 4), bool), 18)
    assert nothing.exponents.tolist() == [[LEAST_LOGIT]] and not nothing.p.any()


def test_totals_follow_the_maximum():
    state = RowState.empty(2)
    one = np.array([[[1 << 16, 0, 0, 0]], [[1 << 16, 1 << 16, 0, 0]]])
    state.add(Probabilities(one, np.array([[3], [-2]])))
    assert state.maximum.tolist() == [3, -2] and state.total.tolist() == [1 << 16 + TOTAL_GUARD_BITS,
                                                                         2 << 16 + TOTAL_GUARD_BITS]
    state.add(Probabilities(one, np.array([[1], [40]])))
    assert state.maximum.tolist() == [3, 40]
    assert state.total.tolist() == [5 << 14 + TOTAL_GUARD_BITS, 2 << 16 + TOTAL_GUARD_BITS]


def test_reciprocals_are_close_enough():
    """An error of 2^-16.4 at most, less than one, for mantissas of every size of total."""
    totals = np.unique(np.concatenate([np.arange(1 << 17, 1 << 18, 37), [(1 << 18) - 1, 1 << 30, 3, 1]]))
    words, clamped = divided(np.full((len(totals), 1), 1 << 40, dtype=np.int64), totals, 24, 18)
    highest = np.floor(np.log2(totals))
    exactly = 2.0 ** 40 / 2.0 ** (highest + 24) / (totals / 2.0 ** highest) * 2
    assert not clamped.any()
    assert np.abs(words[:, 0] / exactly - 1)[exactly > 1 << 15].max() < 2.0 ** -15


def test_tables_hold_what_their_words_hold():
    base, slope = np.array(segment_table()).T
    assert (1 << 17) - 200 < base.min() and base.max() < 1 << 18 and slope.max() < 1 << 14
    begin, fall = np.array(reciprocal_table()).T
    assert begin.max() < 1 << RECIPROCAL_BITS and begin.min() > 1 << RECIPROCAL_BITS - 1 and fall.max() < 1 << 11


def test_a_division_that_would_shift_left_is_refused():
    with pytest.raises(ValueError, match="^shift: -27 of the division; allowed are -26 and more$"):
        divided(np.ones((2, 1), dtype=np.int64), np.array([1 << 18, 0]), -27, 18)
