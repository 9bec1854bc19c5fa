"""MACs of a softmax in the model: two chunks of keys against float64, what rows remember, lengths, slopes."""

import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Mac, Mask, Softmax
from wingbeat.hw.isa.setup import LENGTHS, SETUP_CHANNELS, SETUP_LENGTHS
from wingbeat.hw.numeric import LEAST_LOGIT
from wingbeat.sim.model.attention import SoftmaxState

SEED, KEYS, PAIRS, FEATURES = 4, 16, 2, 8
CONFIG = CoreConfig.of(engines=2, layers=2, width=18, element_width=16, coefficient_width=17, half_words=512,
                       coefficient_words=256, ring_words=256, partial_words=64, records=True, memory_bits=12,
                       stream_words=4, softmax_pairs=PAIRS)
ROWS = 2 * CONFIG.engines * PAIRS
LOGITS = Mac(4, KEYS // 4, PAIRS, 2, 32, 2, 0, softmax=Softmax.LOGITS, fresh=True)
VALUES = Mac(KEYS // 4, FEATURES // 4, PAIRS, 2, 32, 1, 12, softmax=Softmax.VALUES)


def numbers():
    """Of the rows in a block, in the order of the model: part, engine, row pair."""
    return np.array([2 * (pair * CONFIG.engines + engine) + part for part in range(2)
                     for engine in range(CONFIG.engines) for pair in range(PAIRS)])


def two_chunks(state, masks, logits, values):
    """Words of a softmax whose keys come in two chunks."""
    kept = np.zeros((ROWS, FEATURES), dtype=np.int64)
    for chunk, mask in enumerate(masks):
        keys = slice(chunk * KEYS, (chunk + 1) * KEYS)
        state.mask = mask
        p, _ = state.exponentials(LOGITS if not chunk else Mac(*LOGITS_AGAIN, softmax=Softmax.LOGITS), logits[:, keys])
        step = Mac(*VALUES_AGAIN, merge=chunk > 0, keep=not chunk, softmax=Softmax.VALUES)
        kept = state.weighed(step, p, np.ascontiguousarray(values[keys].T), kept)
    return state.divided(VALUES, kept)[0]


LOGITS_AGAIN = (4, KEYS // 4, PAIRS, 2, 32, 2, 0)
VALUES_AGAIN = (KEYS // 4, FEATURES // 4, PAIRS, 2, 32, 1, 12)


@pytest.mark.parametrize("mask", [Mask(), Mask(limit=9, upper=True), Mask(limit=20, upper=True, window=12),
                                  Mask(length=7), Mask(limit=31, upper=True, slope=20_000)], ids=str)
def test_against_float64(mask):
    rng, state = np.random.default_rng(SEED), SoftmaxState(CONFIG)
    state.write_setup(SETUP_LENGTHS, 6, 23)
    logits = rng.integers(-30_000, 30_000, (ROWS, 2 * KEYS))
    values = rng.integers(-20_000, 20_000, (2 * KEYS, FEATURES))
    masks = [Mask(key, mask.limit, mask.upper, mask.window, mask.length, mask.slope) for key in (0, KEYS)]
    found = two_chunks(state, masks, logits, values)
    distance = np.arange(2 * KEYS) - (mask.limit + numbers())[:, None]
    counts = np.ones(logits.shape, bool) if not mask.length else np.arange(2 * KEYS) < np.full((ROWS, 1), 23)
    counts = counts & (distance <= 0) if mask.upper else counts
    counts = counts & (distance >= -mask.window) if mask.window else counts
    p = np.where(counts, np.exp2(logits / 4096 + distance * mask.slope / 65536), 0)
    exact = 4 * (p @ values) / np.maximum(p.sum(axis=1, keepdims=True), 1e-300)  # words are 4 elements
    assert 10 * np.log10((exact ** 2).sum() / ((exact - found) ** 2).sum()) > 70, f"seed {SEED}"
    assert not found[~counts.any(axis=1)].any()


def test_exponents_stand_where_the_results_go():
    state = SoftmaxState(CONFIG)
    sums = np.zeros((ROWS, KEYS), dtype=np.int64)
    sums[:, 4:8] = 5 << 12
    _, clamped = state.exponentials(LOGITS, sums)
    assert not clamped
    for row in range(ROWS):
        base = 32 | row % PAIRS << 2
        assert state.exponents[row, base:base + 4].tolist() == [0, 5, 0, 0]
        assert not state.exponents[row, :32].any()


def test_only_logits_that_count_are_clamped():
    state = SoftmaxState(CONFIG)
    sums = np.zeros((ROWS, KEYS), dtype=np.int64)
    sums[:, -1] = 1 << 30
    assert state.exponentials(LOGITS, sums)[1]
    state.mask = Mask(limit=2, upper=True)
    assert not state.exponentials(LOGITS, sums)[1]


def test_a_fresh_softmax_forgets():
    state = SoftmaxState(CONFIG)
    state.exponentials(LOGITS, np.full((ROWS, KEYS), 9 << 12))
    state.exponentials(LOGITS, np.zeros((ROWS, KEYS), dtype=np.int64))
    assert set(state.rows.maximum.tolist()) == {0} and set(state.before.tolist()) == {LEAST_LOGIT}


def test_the_table_of_lengths():
    state = SoftmaxState(CONFIG)
    state.write_setup(SETUP_LENGTHS, 3, 0x1_2345)
    state.write_setup(SETUP_CHANNELS, 3, 7)
    assert state.lengths[3] == 0x2345
    with pytest.raises(ValueError, match=f"^address: {LENGTHS} is not in 0..{LENGTHS - 1} of setup target 136$"):
        state.write_setup(SETUP_LENGTHS, LENGTHS, 0)
