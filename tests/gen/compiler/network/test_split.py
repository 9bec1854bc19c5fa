"""Networks with attention: which parts are for the array, and that all parts together are the network."""

import numpy as np
import pytest

from wingbeat.gen.compiler.network.compile import compile_network
from wingbeat.gen.compiler.network.load import LoadedNetwork
from wingbeat.gen.compiler.network.reference import forward
from wingbeat.gen.compiler.network.split import Add, HostAttention, compile_split, split_network
from wingbeat.hw.errors import WingbeatError
from wingbeat.sim.reference.metrics import sqnr_db


def shown(parts):
    """Programs in brackets, what the host does between them."""
    words = []
    for part in parts:
        if isinstance(part, LoadedNetwork):
            words.append("[" + " ".join(layer.kind for layer in part.layers) + "]")
        elif isinstance(part, HostAttention):
            words.append(f"softmax({shown(part.projections)})")
        else:
            assert isinstance(part, Add)
            words.append(f"x + ({shown(part.parts)})")
    return " ".join(words)


PARTS = {
    "attention": "softmax([butterfly] [butterfly] [butterfly]) [butterfly]",
    "attention/dbbd": "softmax([linear] [butterfly] [butterfly]) [linear]",
    "b16 norm attention/dddd relu": "[butterfly] softmax([layernorm linear] [layernorm linear] [layernorm linear]) "
                                    "[linear relu]",
    "(attention)": "x + (softmax([butterfly] [butterfly] [butterfly]) [butterfly])",
    "b16 (norm attention/dddd) (norm d24 gelu d16) mean d5":
        "[butterfly] x + (softmax([layernorm linear] [layernorm linear] [layernorm linear]) [linear]) "
        "[residual mean linear]",
    "(norm b16 attention gelu b16)": "x + ([layernorm butterfly] softmax([butterfly] [butterfly] [butterfly]) "
                                     "[butterfly gelu butterfly])",
    "attention/dddd attention/dddd": "softmax([linear] [linear] [linear]) [linear] "
                                     "softmax([linear] [linear] [linear]) [linear]",
    "(norm attention/dddd) (attention/dddd)":
        "x + (softmax([layernorm linear] [layernorm linear] [layernorm linear]) [linear]) "
        "x + (softmax([linear] [linear] [linear]) [linear])",
}


@pytest.mark.parametrize("text", PARTS)
def test_what_runs_on_the_array(networks, text):
    network, _ = networks.load(text)
    parts = split_network(network)
    assert shown(parts) == PARTS[text]


@pytest.mark.parametrize("vocabulary", [False, True])
@pytest.mark.parametrize("text", PARTS)
def test_parts_together_are_the_network(networks, text, vocabulary):
    network, inputs = networks.load(text, vocabulary=vocabulary)
    split = compile_split(network, networks.ring(), inputs, 4)
    exact = forward(network, inputs)[-1][1]
    seen = []

    def run(compiled, x):
        seen.append(compiled)
        return forward(compiled.network, x)[-1][1]

    np.testing.assert_allclose(split.execute(inputs, run), exact, rtol=1e-10, atol=1e-12)
    assert seen == list(split.programs.values())
    found = split.execute_model(inputs)
    assert sqnr_db(exact, found.results) > 60 and found.results.shape == exact.shape
    assert not any(each.elements for each in found.clamped)


def test_an_embedding_gets_the_numbers_of_tokens(networks):
    network, inputs = networks.load("e16 (norm attention/dddd) mean d5", features=24, vocabulary=True)
    split = compile_split(network, networks.ring(row_ids=64), inputs, 4)
    assert shown(split.parts).startswith("[embedding] x + (softmax(")
    assert sqnr_db(forward(network, inputs)[-1][1], split.execute_model(inputs).results) > 60


def test_a_network_without_attention_is_its_only_part(networks):
    network, inputs = networks.load("b16 position (norm mix) (norm d24 gelu b16) mean d5", vocabulary=True)
    assert split_network(network) == (network,)
    split, whole = (compile_(network, networks.ring(), inputs, 4) for compile_ in (
        compile_split, lambda *arguments: compile_network(*arguments, check=False)))
    assert split.host_steps == [] and len(split.programs) == 1
    found, wanted = split.execute_model(inputs), whole.execute_model(inputs)
    assert np.array_equal(found.results, wanted.results) and found.clamped == wanted.clamped


def test_steps_of_the_host_have_the_names_of_their_layers(networks):
    network, inputs = networks.load("b16 (norm attention) attention/dddd")
    split = compile_split(network, networks.ring(), inputs, 4)
    assert split.host_steps == ["softmax of layers[1].layers[1] (a2)", "sum of layers[1]", "softmax of layers[2] (a3)"]
    names = [operation.step.name for compiled in split.programs.values() for operation in compiled.operations]
    assert names == ["b0", "a2.q", "a2.k", "a2.v", "a2.out", "a3.q", "a3.k", "a3.v", "a3.out"]


def test_clamps_of_all_programs_are_counted(networks):
    network, inputs = networks.load("norm attention/dddd")
    split = compile_split(network, networks.ring(), inputs, 4)
    clamped = {each.place: each.elements for each in split.execute_model(8 * inputs).clamped}
    outside = sum(compiled.execute_model(8 * inputs).clamped[0].elements for compiled in split.programs.values()
                  if compiled.network.layers[0].kind == "layernorm")
    assert outside and clamped["inputs"] == outside


@pytest.mark.parametrize("text, line", [
    ("attention/bbbd", "a0.out: "), ("b16 (norm attention/bdbb)", "a2.k: ")])
def test_a_dense_projection_needs_a_ring(networks, text, line):
    network, inputs = networks.load(text)
    with pytest.raises(WingbeatError, match="ring") as caught:
        compile_split(network, networks.config(), inputs, 4)
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)
