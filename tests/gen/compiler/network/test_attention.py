"""Networks with softmax attention on the array: results, one program, formats, what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from wingbeat.gen.compiler.network.compile import compile_network
from wingbeat.gen.compiler.network.reference import forward
from wingbeat.gen.compiler.network.split import compile_split
from wingbeat.gen.cosim.network import predict_network
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.instruction import Mac, Mask, Softmax
from wingbeat.hw.isa.setup import SETUP_LENGTHS
from wingbeat.sim.reference.metrics import sqnr_db


def with_heads(network, heads, **others):
    def changed(layer):
        if layer.kind == "attention":
            return replace(layer, spec=layer.spec.model_copy(update={"heads": heads, **others}))
        return replace(layer, layers=tuple(map(changed, layer.layers))) if layer.layers else layer
    return replace(network, layers=tuple(map(changed, network.layers)))


def config_of(networks, **changes):
    return networks.ring(**{"partial_words": 256, "softmax_pairs": 16} | changes)


@pytest.mark.parametrize("text, tokens, features, heads, batch", [
    ("(norm attention/dddd)", 16, 32, 2, 2), ("(norm attention)", 12, 32, 1, 4),
    ("norm attention/dbdb mean d5", 20, 48, 3, 2), ("(norm attention/dddd) (norm d64 gelu d32)", 37, 32, 1, 2),
    ("attention/dddd attention/dddd", 5, 16, 1, 1)])
def test_results(networks, text, tokens, features, heads, batch):
    network, inputs = networks.load(text, tokens=tokens, features=features)
    network = with_heads(network, heads)
    compiled = compile_network(network, config_of(networks), inputs, batch, check=False)
    run = compiled.execute_model(inputs[:batch + 1])
    assert sqnr_db(forward(network, inputs[:batch + 1])[-1][1], run.results) > 68 and not run.clamped
    [segment] = compiled.segments
    macs = [step for step in segment.program.instructions if isinstance(step, Mac) and step.softmax]
    assert {step.softmax for step in macs} == {Softmax.LOGITS, Softmax.VALUES}
    assert any(isinstance(step, Mask) and step.length for step in segment.program.instructions) == (tokens % 8 > 0)


@pytest.mark.parametrize("text, tokens, features, batch", [
    ("(norm attention/dddd:4,2,16)", 20, 24, 2), ("attention/bdbd:3,1,16 mean d5", 9, 40, 1),
    ("(norm attention:2,1,32)", 16, 16, 2)])
def test_heads_of_keys_and_features_of_their_own(networks, text, tokens, features, batch):
    """Heads together are wider or narrower than what they read; several heads share one of keys and values."""
    network, inputs = networks.load(text, tokens=tokens, features=features)
    [heads] = [layer.heads for layer in network.walk() if layer.kind == "attention"]
    assert heads.features * heads.queries != features and heads.keys < heads.queries
    compiled = compile_network(network, config_of(networks), inputs, batch, check=False)
    run = compiled.execute_model(inputs[:batch + 1])
    exact = forward(network, inputs[:batch + 1])[-1][1]
    assert sqnr_db(exact, run.results) > 68 and not run.clamped
    split = compile_split(network, config_of(networks, softmax_pairs=0), inputs, batch)
    assert sqnr_db(exact, split.execute_model(inputs[:batch + 1]).results) > 68


def test_a_kind_of_matrix_for_each_projection(networks):
    """Butterfly, dense and N:M side by side; of the last only what is kept streams."""
    found, dense = (networks.load(f"(norm attention/{kinds})", tokens=9, features=32) for kinds in ("bdss", "bddd"))
    for config in (config_of(networks), config_of(networks, softmax_pairs=0)):
        split = compile_split(found[0], config, found[1], 2)
        assert sqnr_db(forward(*found)[-1][1], split.execute_model(found[1]).results) > 68
    useful = [{operation.step.name: operation.useful for operation in compile_network(
        network, config_of(networks), inputs, 2, check=False).operations} for network, inputs in (found, dense)]
    assert [2 * useful[0][name] == useful[1][name] for name in ("a1.q", "a1.k", "a1.v", "a1.out")] == [
        False, False, True, True]


def test_a_sparse_projection_that_breaks_its_pattern(networks):
    network, inputs = networks.load("attention/dsdd", tokens=9, features=32)
    [layer] = network.layers
    key = replace(layer.projections[1], matrix=np.ones((32, 32)))
    network = replace(network, layers=(replace(layer, projections=(layer.projections[0], key,
                                                                   *layer.projections[2:])),))
    with pytest.raises(WingbeatError, match="^a0.k: rows 0 to 1, which share a pattern: 4 of the inputs 0, "):
        compile_network(network, config_of(networks), inputs, 2)


@pytest.mark.parametrize("tokens", [37, 64])
@pytest.mark.parametrize("mask", [dict(causal=True), dict(window=6), dict(causal=True, window=9)], ids=str)
def test_keys_that_count(networks, tokens, mask):
    """Chunks in which nothing counts are not in the program."""
    network, inputs = networks.load("(norm attention/dddd)", tokens=tokens, features=32)
    network = with_heads(network, 2)
    masked = with_heads(network, 2, **mask)
    config = config_of(networks, ring_words=64)
    whole, compiled = (compile_network(each, config, inputs, 2, check=False) for each in (network, masked))
    found = compiled.execute_model(inputs[:3]).results
    exact = forward(masked, inputs[:3])[-1][1]
    assert sqnr_db(exact, found) > 68 and sqnr_db(forward(network, inputs[:3])[-1][1], found) < 40
    cycles = [sum(each.total for each in predict_network(compiled)) for compiled in (whole, compiled)]
    assert cycles[1] < cycles[0] if tokens == 64 else cycles[1] == cycles[0]  # 37: one chunk
    changed = inputs[:1].copy()
    changed[:, -1] += 1  # the first token does not see the last
    after = compiled.execute_model(changed).results
    assert np.array_equal(after[0, 0], found[0, 0]) and not np.array_equal(after[0, -1], found[0, -1])


@pytest.mark.parametrize("heads, tokens, window", [(2, 37, None), (4, 64, None), (3, 64, 9)])
def test_logits_that_fall_with_distance(networks, heads, tokens, window):
    """In chunks, too; the host does the same."""
    network, inputs = networks.load("(norm attention/dddd)", tokens=tokens, features=16 * heads)
    flat = with_heads(network, heads, causal=True, window=window)
    network = with_heads(network, heads, causal=True, window=window, alibi=True)
    exact = forward(network, inputs[:3])[-1][1]
    for config in (config_of(networks, ring_words=64), config_of(networks, softmax_pairs=0)):
        found = compile_split(network, config, inputs, 2).execute_model(inputs[:3]).results
        assert sqnr_db(exact, found) > 66 and sqnr_db(forward(flat, inputs[:3])[-1][1], found) < 40


def test_logits_that_fall_too_fast(networks):
    network, inputs = networks.load("attention/dddd", tokens=16, features=144)
    with pytest.raises(WingbeatError, match="^a0.softmax: alibi: 9 heads, a slope of 0.707; allowed are slopes below "):
        compile_network(with_heads(network, 9, causal=True, alibi=True), config_of(networks), inputs, 1)


def test_lengths_are_written_by_records(networks):
    """The host writes no more than without attention: the table of lengths comes with the other setup."""
    network, inputs = networks.load("(norm attention/dddd)", tokens=11, features=16)
    network = with_heads(network, 1)
    compiled = compile_network(network, config_of(networks), inputs, 1, check=False)
    assert all(target != SETUP_LENGTHS for target, _, _ in compiled.segments[0].program.setup)
    found = compiled.execute_model(inputs[:1]).results
    assert sqnr_db(forward(network, inputs[:1])[-1][1], found) > 68


@pytest.mark.parametrize("width, least", [(12, 44), (8, 18)])
def test_narrow_elements(networks, width, least):
    network, inputs = networks.load("(norm attention/dddd)", tokens=16, features=32)
    compiled = compile_network(network, config_of(networks, element_width=width), inputs, 2, check=False)
    assert sqnr_db(forward(network, inputs[:2])[-1][1], compiled.execute_model(inputs[:2]).results) > least


@pytest.mark.parametrize("changes, features, heads, message", [
    ({"softmax_pairs": 0}, 16, 1, "array.softmax_pairs: 0; allowed are powers of two, for attention"),
    ({}, 32, 4, "heads: of 8 features; allowed are 16 and more for array.finishers = 1"),
    ({}, 20, 1, "heads: of 20 features; allowed are multiples of 8, a beat")])
def test_what_no_core_like_this_runs(networks, changes, features, heads, message):
    network, inputs = networks.load("attention/dddd", tokens=16, features=features)
    with pytest.raises(WingbeatError) as caught:
        compile_network(with_heads(network, heads), config_of(networks, **changes), inputs, 1)
    assert str(caught.value) == f"a0.softmax: {message}"


def test_queries_of_zeros_are_the_mean(networks):
    network, inputs = networks.load("attention/dddd", tokens=16, features=16)
    network = with_heads(network, 1)
    [layer] = network.layers
    q = replace(layer.projections[0], matrix=np.zeros((16, 16)), bias=None)
    network = replace(network, layers=(replace(layer, projections=(q, *layer.projections[1:])),))
    compiled = compile_network(network, config_of(networks), inputs, 1, check=False)
    found = compiled.execute_model(inputs[:2]).results
    assert sqnr_db(forward(network, inputs[:2])[-1][1], found) > 60
    assert np.ptp(found, axis=1).max() == 0
