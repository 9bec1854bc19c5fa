"""Attention maps, the integer model in the place of the Verilog: probabilities as in float64, and what is counted."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from wingbeat.gen.compiler.network.compile import compile_network
from wingbeat.gen.explore import attention_map
from wingbeat.gen.explore.attention_map import attention_maps
from wingbeat.hw.errors import WingbeatError


@pytest.fixture(autouse=True)
def model_as_simulator(monkeypatch):
    """A list of the operations of every program that ran, and how many elements it is to get wrong."""
    seen = SimpleNamespace(programs=[], wrong=0)

    def simulate_segment(config, build, segment, memories, predicted, name):
        seen.programs.append([operation.step.name for operation in segment.operations])
        runs = []
        for memory in memories:
            segment.run_model(config, memory)
            runs.append(SimpleNamespace(data=memory))
        return attention_map.SegmentRun(runs, [], seen.wrong)

    monkeypatch.setattr(attention_map, "simulate_segment", simulate_segment)
    return seen


def softmax(queries, keys, seen):
    """By hand: (tokens, features) each, ``seen`` (query, key) whether a key counts."""
    logits = queries @ keys.T / np.sqrt(queries.shape[1])
    weights = np.exp(logits - logits.max()) * seen
    return weights / weights.sum(axis=1, keepdims=True)


def projected(layer, x, part):
    projection = layer.projections["qkv".index(part)]
    return x @ projection.matrix.T + projection.bias


@pytest.mark.parametrize("tokens, causal", [(16, False), (20, True), (37, False)])  # keys of one run, two and three
def test_probabilities_are_those_of_float64(networks, model_as_simulator, tokens, causal):
    network, inputs = networks.load("attention/dddd", tokens=tokens, features=32)
    [layer] = network.layers
    layer = replace(layer, spec=layer.spec.model_copy(update={"causal": causal}))
    network = replace(network, layers=(layer,))
    compiled = compile_network(network, networks.ring(partial_words=256, softmax_pairs=16), inputs, 4, check=False)
    maps = attention_maps(compiled, None, inputs[:3])
    assert maps.layer == "a0.softmax" and maps.mismatches == 0
    assert maps.probabilities.shape == (3, 2, tokens, tokens)
    seen = np.tri(tokens) if causal else np.ones((tokens, tokens))
    queries, keys = projected(layer, inputs[:3], "q"), projected(layer, inputs[:3], "k")
    wanted = np.array([[softmax(q[:, head], k[:, head], seen) for head in (slice(16), slice(16, 32))]
                       for q, k in zip(queries, keys)])
    error = np.abs(maps.probabilities - wanted).max()
    assert error < 2e-3 and maps.error == pytest.approx(error, abs=1e-9)
    np.testing.assert_allclose(maps.probabilities.sum(axis=-1), 1, atol=2e-3)
    assert model_as_simulator.programs == [["a0.q", "a0.k", "a0.v"], ["a0.softmax"]]


def test_programs_in_front_of_the_softmax_run_one_after_the_other(networks, model_as_simulator):
    network, inputs = networks.load("(norm mix) (norm mix) (norm attention/dddd)", tokens=16, features=32)
    config = networks.ring(partial_words=256, softmax_pairs=16)
    whole = attention_maps(compile_network(network, config, inputs, 2, check=False), None, inputs[:1])
    cut = compile_network(network, config.changed(program_words=256), inputs, 2, check=False)
    assert len(cut.segments) > 1
    model_as_simulator.programs.clear()
    np.testing.assert_array_equal(attention_maps(cut, None, inputs[:1]).probabilities, whole.probabilities)
    mixings = [f"layers[{block}].layers[1].mixing" for block in (0, 1)]
    assert model_as_simulator.programs == [[*mixings, "a5.q", "a5.k"], ["a5.v"], ["a5.softmax"]]


def test_mismatches_of_all_runs_are_counted(networks, model_as_simulator):
    network, inputs = networks.load("attention/dddd", tokens=16, features=32)
    compiled = compile_network(network, networks.ring(partial_words=256, softmax_pairs=16), inputs, 1, check=False)
    model_as_simulator.wrong = 3
    assert attention_maps(compiled, None, inputs[:1]).mismatches == 6


def test_a_network_without_attention_is_refused(networks):
    network, inputs = networks.load("(norm d64 gelu d32)", tokens=4, features=32)
    compiled = compile_network(network, networks.ring(), inputs, 1, check=False)
    with pytest.raises(WingbeatError, match="^network: 'net' has no layer of kind attention; allowed is one that has$"):
        attention_maps(compiled, None, inputs[:1])
