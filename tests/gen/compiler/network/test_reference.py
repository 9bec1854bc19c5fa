"""Attention in the float reference, against sums written out; test_load.py has the other layers."""

import math

import numpy as np
import pytest

from wingbeat.gen.compiler.network.reference import apply_layer, forward


@pytest.mark.parametrize("kinds", ["bbbb", "dddd", "dbbd"])
def test_attention(networks, kinds):
    """Of each projection the tensors tell whether it is a butterfly or dense."""
    network, x = networks.load(f"attention/{kinds}", tokens=3, features=6)
    [layer] = network.layers
    assert [each.kind for each in layer.projections] == [{"b": "butterfly", "d": "linear"}[kind] for kind in kinds]
    q, k, v = (apply_layer(each, x) for each in layer.projections[:3])
    joined = np.zeros(x.shape)
    for image in range(len(x)):
        for h in (slice(0, 3), slice(3, 6)):  # two heads
            e = np.exp(q[image, :, h] @ k[image, :, h].T / math.sqrt(3))
            joined[image, :, h] = e / e.sum(axis=1, keepdims=True) @ v[image, :, h]
    np.testing.assert_allclose(forward(network, x)[-1][1], apply_layer(layer.projections[3], joined))


def test_a_dense_projection_is_its_matrix_and_bias(networks):
    network, x = networks.load("attention/bbdd")
    value = network.layers[0].projections[2]
    assert value.matrix.shape == (16, 16) and value.bias.shape == (16,)
    rows = [[sum(w * each for w, each in zip(weights, row)) + bias for weights, bias in zip(value.matrix, value.bias)]
            for row in x[0]]
    np.testing.assert_allclose(apply_layer(value, x[:1])[0], rows)
