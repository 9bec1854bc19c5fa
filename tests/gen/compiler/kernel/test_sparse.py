"""N:M patterns: what is kept, what streams and where it belongs, the stride that weights keep to, and refusals."""

import numpy as np
import pytest

from wingbeat.gen.compiler.kernel.sparse import Pattern, compress, find_stride, kept_weights
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError

SEED = 17
PATTERNS = [Pattern(1, 2, 4), Pattern(2, 4, 16), Pattern(1, 4, 4), Pattern(2, 8, 8), Pattern(4, 8, 32),
            Pattern(3, 16, 4), Pattern(16, 16, 4)]
ALL_PATTERNS = pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: f"{pattern}-{pattern.stride}")


def config_of(layers):
    return CoreConfig.of(engines=4 if layers == 1 else 2, layers=layers, width=18, element_width=16,
                         coefficient_width=17, half_words=512, coefficient_words=64, ring_words=64, stream_words=4,
                         memory_bits=12, records=True, sparse=True)


def random_weights(outputs, inputs, pattern, shared):
    rng = np.random.default_rng([SEED, *pattern, shared])
    weights = rng.integers(1, 1000, (outputs, inputs)) * rng.choice([-1, 1], (outputs, inputs))
    return weights * kept_weights(weights, pattern, shared)


@pytest.mark.parametrize("text, pattern", [("2:4", (2, 4)), ("1:2", (1, 2)), ("16:16", (16, 16)), ("3:8", (3, 8))])
def test_parse(text, pattern):
    assert Pattern.parse(text) == (*pattern, 0) and str(Pattern.parse(text)) == text


@pytest.mark.thin(1)
@pytest.mark.parametrize("text", ["", "2", "2:3", "5:4", "0:4", "2:32", "1:1", "2:4:8", "a:b", "-1:4", "2 : 4", "²:4"])
def test_refused_patterns(text):
    with pytest.raises(WingbeatError, match="^pattern: '.*'; allowed are N:M with M of 2, 4, 8, 16 and N of 1..M$"):
        Pattern.parse(text)


@pytest.mark.parametrize("shared", [1, 2, 4])
@ALL_PATTERNS
def test_the_largest_are_kept(pattern, shared):
    """N of every M, of ``shared`` outputs those whose squares together are the largest; input by input."""
    inputs = 2 * pattern.span
    weights = np.random.default_rng(SEED).standard_normal((3 * shared, inputs))
    kept = kept_weights(weights, pattern, shared)
    for row in range(0, len(weights), shared):
        squares = (weights[row:row + shared] ** 2).sum(axis=0)
        for first in range(pattern.stride):
            for block in (0, pattern.span):
                members = [block + first + member * pattern.stride for member in range(pattern.m)]
                largest = sorted(members, key=lambda at: -squares[at])[:pattern.n]
                for output in range(row, row + shared):
                    assert {at for at in members if kept[output, at]} == set(largest), f"row {output}, input {first}"


def test_what_has_no_whole_group_and_no_whole_rows():
    """Inputs and outputs of any number."""
    kept = kept_weights(np.arange(1.0, 31.0).reshape(3, 10), Pattern(1, 4, 2), 2)
    assert kept.shape == (3, 10)
    assert np.flatnonzero(kept[0]).tolist() == [6, 7, 8, 9] == np.flatnonzero(kept[2]).tolist()


@pytest.mark.parametrize("layers", [1, 2])
@ALL_PATTERNS
def test_elements_stream_with_their_places(pattern, layers):
    """Group by group, of each N times P lanes; every weight at its place, zeros where a group has less than N."""
    config = config_of(layers)
    inputs = pattern.m * max(pattern.stride, config.memory_elements) * 2
    weights = random_weights(8, inputs, pattern, layers)
    weights[:, ::3] = 0
    elements, picks = compress(config, weights, pattern)
    assert elements.shape == (8, pattern.terms(inputs)) and picks.shape == (8 // layers, pattern.terms(inputs))
    spread = np.zeros_like(weights)
    lanes, apart = config.lanes, pattern.stride // config.lanes
    for output in range(8):
        for at in range(elements.shape[1]):
            group, lane = divmod(at, lanes)
            high, low = divmod(group // pattern.n, apart)
            row = (high * pattern.m + picks[output // layers, at]) * apart + low
            assert spread[output, row * lanes + lane] == 0
            spread[output, row * lanes + lane] = elements[output, at]
    assert np.array_equal(spread, weights), f"seed {SEED}"
    taken = picks.reshape(len(picks), -1, pattern.n, lanes)
    assert np.all(np.diff(np.sort(taken, axis=2), axis=2) > 0), "two of a group are one member"


def test_rows_that_break_the_pattern():
    weights = np.zeros((6, 64), dtype=np.int64)
    weights[3, [5, 21, 53]] = 1
    with pytest.raises(WingbeatError, match="^row 3: 3 of the inputs 5, 21, 37, 53 have weights; allowed are 2, for "
                                            "2:4 with a stride of 16$"):
        compress(config_of(1), weights, Pattern(2, 4, 16))
    weights[3, 53] = 0
    weights[2, 37] = 1
    compress(config_of(1), weights, Pattern(2, 4, 16))
    with pytest.raises(WingbeatError, match="^rows 2 to 3, which share a pattern: 3 of the inputs 5, 21, 37, 53 have"):
        compress(config_of(2), weights, Pattern(2, 4, 16))


@pytest.mark.parametrize("pattern", PATTERNS[:-1], ids=lambda pattern: f"{pattern}-{pattern.stride}")
def test_the_stride_that_weights_keep_to(pattern):
    weights = random_weights(16, 4 * pattern.span, pattern, 2)
    found = find_stride(weights, pattern._replace(stride=0), 2, 4)
    assert found == pattern.stride or find_stride(weights, pattern, 2, 4) == found  # a larger one by chance
    compress(config_of(2), weights, pattern._replace(stride=found))


def test_no_stride():
    """The fault of the stride that goes furthest."""
    weights = random_weights(16, 64, Pattern(2, 4, 16), 1)
    weights[9, [0, 16, 32]] = 1
    with pytest.raises(WingbeatError, match="^row 9: [34] of the inputs 0, 16, 32, 48 have weights; allowed are 2, "):
        find_stride(weights, Pattern(2, 4), 1, 4)


@pytest.mark.parametrize("inputs, m, stride", [(64, 4, 16), (64, 2, 32), (300, 4, 16), (96, 4, 8), (16, 8, 4),
                                               (1024, 8, 128)])
def test_the_stride_of_fewest_zeros(inputs, m, stride):
    assert Pattern(1, m).fitted(config_of(2), inputs).stride == stride
