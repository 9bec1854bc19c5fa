"""Formats, places and parameter sets that operations have in common: values of every size, constants in memory."""

import pytest

from wingbeat.gen.compiler.network.compile import compile_network
from wingbeat.gen.compiler.network.reference import forward
from wingbeat.sim.reference.metrics import sqnr_db

SQNR = 60  # dB at 16 bits


def compiled(networks, text):
    network, inputs = networks.load(text)
    return compile_network(network, networks.config(), inputs, 8), inputs


def quality(found, inputs):
    return sqnr_db(forward(found.network, inputs)[-1][1], found.run_model(inputs))


@pytest.mark.parametrize("factor", [0, 1e-9, 1e-5, 1e-3, 1e3, 1e9])
@pytest.mark.parametrize("text", ["norm b16", "(norm mix)", "(b16)", "(relu)", "b16 relu", "position", "norm mean",
                                  "(norm b24 gelu b16) (norm b8 b16)", "flatten position"])
def test_inputs_of_any_size(networks, text, factor):
    """A LayerNorm on less than its epsilon, a sum of tensors of very different sizes."""
    network, inputs = networks.load(text)
    inputs = inputs * factor
    found = compile_network(network, networks.config(), inputs, 8)
    exact = forward(network, inputs)[-1][1]
    assert exact.any() or not found.run_model(inputs).any()
    assert not exact.any() or sqnr_db(exact, found.run_model(inputs)) > 69


def test_a_position_of_zeros_costs_nothing(networks):
    network, inputs = networks.load("b16 position b8")
    network.layers[1].position[:] = 0
    found = compile_network(network, networks.config(), 1e-4 * inputs, 8)
    assert quality(found, 1e-4 * inputs) > SQNR


def test_positions_keep_their_place(networks):
    """They are in memory from the start, where no tensor may have been before."""
    found, inputs = compiled(networks, "b64 relu b8 relu b8 position relu b8 position b8")
    places = [constant.stored.tensor for operation in found.operations for constant in operation.constants]
    others = [found.input.tensor, *(operation.result.tensor for operation in found.operations)]
    assert len(places) == 2
    for place in places:
        for other in others:
            assert place.base + place.beats <= other.base or other.base + other.beats <= place.base
    assert quality(found, inputs) > 75
