"""Inputs with lengths: what is taken, and what is refused in one line. Features and tokens: test_load.py."""

from dataclasses import replace

import numpy as np
import pytest

from wingbeat.gen.compiler.network.inputs import Padded, encode_inputs, input_lengths, random_inputs
from wingbeat.hw.errors import WingbeatError


@pytest.fixture
def network(networks):
    found, _ = networks.load("attention/dddd", tokens=5)
    return replace(found, has_lengths=True)


@pytest.mark.parametrize("lengths", [[0, 5, 3], np.array([0, 5, 3], dtype=np.uint8)])
def test_lengths_beside_the_values(network, lengths):
    values = np.random.default_rng(1).standard_normal((3, 5, 16))
    inputs = Padded(values, lengths)
    assert len(inputs) == 3 and np.array_equal(encode_inputs(network, inputs), values)
    found = input_lengths(network, inputs)
    assert found.dtype == np.int64 and found.tolist() == [0, 5, 3]
    assert input_lengths(network, inputs[1:]).tolist() == [5, 3] and len(inputs[1:].values) == 2
    assert input_lengths(replace(network, has_lengths=False), values) is None


VALUES = np.zeros((3, 5, 16))
BAD = {
    "missing": (VALUES, "lengths: missing; allowed are integers 0..5, one for each input: its tokens that count"),
    "too few": (Padded(VALUES, np.ones(2, dtype=int)), "lengths: int64 (2,); allowed are integers (3,)"),
    "of two dimensions": (Padded(VALUES, np.ones((3, 1), dtype=int)), "lengths: int64 (3, 1); allowed are integers "
                                                                      "(3,)"),
    "floats": (Padded(VALUES, np.ones(3)), "lengths: float64 (3,); allowed are integers (3,)"),
    "too long": (Padded(VALUES, np.array([5, 6, 5])), "lengths: 6; allowed are 0..5"),
    "negative": (Padded(VALUES, np.array([5, 4, -1])), "lengths: -1; allowed are 0..5"),
    "values": (Padded(VALUES[:, :4], np.ones(3, dtype=int)), "inputs: shape (3, 4, 16); allowed is (count, 5, 16)"),
    "one number": (Padded(np.float64(1), np.int64(1)), "inputs: shape (); allowed is (count, 5, 16)")}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(network, case):
    inputs, message = BAD[case]
    with pytest.raises(WingbeatError) as caught:
        encode_inputs(network, inputs)
    assert str(caught.value) == message


def test_a_network_without_lengths(network):
    with pytest.raises(WingbeatError) as caught:
        encode_inputs(replace(network, has_lengths=False), Padded(VALUES, np.ones(3, dtype=int)))
    assert str(caught.value) == ("lengths: int64 (3,); allowed are none, as the network file has no input.lengths")


def test_random_inputs(networks, network):
    """The same seed draws the same; they are what the network takes."""
    plain, _ = networks.load("b8", tokens=5)
    words, _ = networks.load("e8", tokens=5, vocabulary=True)
    for each in (plain, words, network):
        one, two, other = (random_inputs(each, 6, seed) for seed in (1, 1, 2))
        assert len(one) == len(encode_inputs(each, one)) == 6
        one, two, other = (np.asarray(getattr(drawn, "values", drawn)) for drawn in (one, two, other))
        assert np.array_equal(one, two) and not np.array_equal(one, other)
    assert input_lengths(network, random_inputs(network, 9, 1)).min() >= 1
