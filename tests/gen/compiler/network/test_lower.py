"""Which layers go through memory together, and that the float values of every step are those of the reference."""

import math

import numpy as np
import pytest

from wingbeat.gen.compiler.network.lower import Value, lower
from wingbeat.gen.compiler.network.reference import apply_layer, forward
from wingbeat.hw.errors import WingbeatError
from wingbeat.sim.reference.linear import butterfly_multiply, mixing


def shown(step):
    """A step in short: [norm>] [flat>] kind [+ bias] [activation] [+ what is added]."""
    words = ["norm>"] if step.norm is not None else []
    words += ["flat>"] if step.flat else []
    words += [step.kind] + ([step.activation.kind] if step.activation else [])
    return " ".join(words) + ("" if step.added is None else " +x" if isinstance(step.added, Value) else " +p")


STEPS = {
    "b16": "butterfly", "b16 relu": "butterfly relu", "b16 gelu": "butterfly gelu", "b16 position": "butterfly +p",
    "relu": "copy relu", "position": "copy +p", "norm": "norm> copy", "flatten": "flat> copy", "mean": "mean",
    "mix": "mixing", "norm b16": "norm> butterfly", "norm mix": "norm> mixing", "norm mean": "norm> mean",
    "flatten b3": "flat> butterfly", "norm flatten b3": "norm> flat> butterfly", "norm flatten": "norm> flat> copy",
    "flatten mean": "flat> copy, mean", "flatten norm b3": "flat> copy, norm> butterfly",
    "flatten norm": "flat> copy, norm> copy", "norm norm": "norm> copy, norm> copy", "norm relu": "norm> copy relu",
    "norm position": "norm> copy +p", "b16 relu relu": "butterfly relu, copy relu",
    "b16 position position": "butterfly +p, copy +p", "b16 position relu": "butterfly +p, copy relu",
    "b16 relu position": "butterfly relu +p", "mix gelu position": "mixing gelu +p", "mean relu": "mean relu",
    "(b16)": "butterfly +x", "(norm mix)": "norm> mixing +x", "(norm)": "norm> copy +x", "(gelu)": "copy gelu +x",
    "(position)": "copy +p, copy +x", "b16 (relu)": "butterfly, copy relu +x",
    "b16 (relu) relu": "butterfly, copy relu +x, copy relu", "b16 relu (position) b8":
        "butterfly relu, copy +p, copy +x, butterfly",
    "(norm b24 gelu b16)": "norm> butterfly gelu, butterfly +x", "(b16 relu)": "butterfly relu +x",
    "(norm mix) (norm b16)": "norm> mixing +x, norm> butterfly +x", "(b16 norm)": "butterfly, norm> copy +x",
    "b16 b16": "butterfly, butterfly", "flatten flatten": "flat> copy", "mean flatten": "mean",
    "norm flatten relu": "norm> flat> copy relu", "b16 (b16 position)": "butterfly, butterfly +p, copy +x",
}


@pytest.mark.parametrize("text", STEPS)
def test_what_goes_through_memory_together(networks, text):
    network, inputs = networks.load(text)
    assert ", ".join(map(shown, lower(network, inputs).steps)) == STEPS[text]


@pytest.mark.parametrize("text, steps", [
    ("e24", "embedding"), ("e24 position relu", "embedding +p, copy relu"),
    ("e16 norm b3", "embedding, norm> butterfly"), ("e16 gelu (b16)", "embedding gelu, butterfly +x"),
    ("e16 flatten b3", "embedding, flat> butterfly"), ("e16 mean", "embedding, mean"), ("b16 relu", None)])
def test_embeddings_and_vocabularies(networks, text, steps):
    """An embedding goes with what follows it as a butterfly does; without one tokens are one-hot rows."""
    network, inputs = networks.load(text, features=9, vocabulary=True)
    lowered = lower(network, inputs)
    assert lowered.takes_ids is network.takes_ids is (steps is not None)
    assert ", ".join(map(shown, lowered.steps)) == (steps or STEPS[text])
    assert np.array_equal(lowered.input.floats, inputs[..., None] if steps else np.eye(9)[inputs])
    assert np.allclose(lowered.output.floats, forward(network, inputs)[-1][1])


def test_a_flat_tensor_of_one_token_is_as_it_was(networks):
    network, inputs = networks.load("flatten b3", tokens=1)
    assert [shown(step) for step in lower(network, inputs).steps] == ["butterfly"]


@pytest.mark.parametrize("text", [*STEPS, "b16 position (norm mix) (norm b24 tanh b16) norm flatten b10"])
def test_values_are_those_of_the_reference(networks, text):
    network, inputs = networks.load(text)
    lowered = lower(network, inputs)
    results = dict(forward(network, inputs))
    assert np.allclose(lowered.output.floats, [*results.values()][-1])
    assert np.array_equal(lowered.input.floats, inputs)
    for step in lowered.steps:
        assert step.result.floats.shape == (24, *step.result.shape)
        added = 0 if step.added is None else step.added.floats if isinstance(step.added, Value) else step.added
        assert np.allclose(step.activated + added, step.result.floats), step.name
        if step.activation is None:
            assert np.allclose(step.linear, step.activated), step.name
        elif step.activation.kind == "relu":
            assert np.allclose(np.maximum(step.linear, 0), step.activated), step.name


@pytest.mark.parametrize("text", ["norm b24", "norm! b24!", "flatten b3", "norm flatten b3!", "mix", "norm! mix",
                                  "mean", "norm mean", "relu", "norm", "flatten"])
def test_a_matrix_is_of_what_it_reads(networks, text):
    """Weight and bias of a norm stand between what is read and the layer."""
    network, inputs = networks.load(text)
    [step] = lower(network, inputs).steps
    read = step.standardised()
    if step.norm is not None:
        tile = read.shape[2] // step.norm.scale.size
        offset = 0 if step.norm.offset is None else np.tile(step.norm.offset, tile)
        assert np.allclose(read.reshape(24, -1, 16).mean(axis=2), 0, atol=1e-9)
        read = read * np.tile(step.norm.scale, tile) + offset
    if step.weights is not None:
        read = butterfly_multiply(step.weights.twiddle, read, step.weights.increasing_stride, step.weights.out_size)
        read = read if step.weights.bias is None else read + step.weights.bias
    elif step.kind == "mixing":
        read = mixing(read) / 8
    elif step.kind == "mean":
        read = read.mean(axis=1, keepdims=True)
    assert np.allclose(read, step.linear)


def test_readers_and_adders(networks):
    network, inputs = networks.load("b16 (norm b24 gelu b16) b3")
    first, second, third, last = lower(network, inputs).steps
    assert (first.result.readers, first.result.adders) == ([second], [third])
    assert (third.result.readers, third.result.adders) == ([last], []) and third.added is first.result
    assert last.result.readers == [] and second.source is first.result


def test_names_tell_the_layer(networks):
    network, inputs = networks.load("b16 (norm mix) relu norm mean flatten norm b3")
    names = [step.name for step in lower(network, inputs).steps]
    assert names == ["b0", "layers[1].layers[1].mixing", "2.copy", "layers[4].mean", "b8"]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("text", ["attention", "b16 (norm attention)", "attention/dddd"])
def test_attention_is_three_matrices_a_softmax_and_a_matrix(networks, text):
    """Queries come with the scale of the logits; keys and values stay until the softmax has read them."""
    network, inputs = networks.load(text)
    lowered = lower(network, inputs)
    q, k, v, together, out = lowered.steps[-5:]
    layer = next(layer for layer in network.walk() if layer.kind == "attention")
    assert together.kind == "attention" and together.source is q.result and together.operands == (k.result, v.result)
    assert q.source is k.source is v.source and q.norm is k.norm is v.norm and out.source is together.result
    scale = math.log2(math.e) / math.sqrt(layer.input.features // layer.spec.heads)
    reads = q.source.floats if q.norm is None else apply_layer(q.norm, q.source.floats)
    assert np.allclose(q.result.floats, apply_layer(layer.projections[0], reads) * scale)
    exact = forward(network, inputs)[-1][1]
    assert np.allclose(lowered.output.floats, exact)


def test_inputs_are_needed(networks):
    network, inputs = networks.load("b16")
    with pytest.raises(WingbeatError, match="^inputs: none; allowed are one or more$"):
        lower(network, inputs[:0])
