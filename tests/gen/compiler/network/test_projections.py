"""Attention in the layouts of checkpoints against nn.MultiheadAttention written out in numpy; what is refused."""

import json
import math

import numpy as np
import pytest
from safetensors.numpy import save_file

from wingbeat.gen.compiler.network.load import load_network
from wingbeat.gen.compiler.network.reference import forward
from wingbeat.hw.errors import WingbeatError

TOKENS, FEATURES, HEADS = 5, 12, 3


def heads_of(x, count):
    """(inputs, tokens, features) as (inputs, heads, tokens, features of a head)."""
    return x.reshape(*x.shape[:2], count, -1).swapaxes(1, 2)


def multihead_attention(x, q, k, v, out, biases, heads=HEADS):
    """What torch computes, a head and a query at a time. ``biases``: of q, k, v and out."""
    queries, keys, values = (heads_of(x @ matrix.T + bias, heads) for matrix, bias in zip((q, k, v), biases))
    result = np.zeros(queries.shape)
    for number, head in np.ndindex(queries.shape[:2]):
        for token, query in enumerate(queries[number, head]):
            share = np.exp(keys[number, head] @ query / math.sqrt(len(query)))
            result[number, head, token] = share / share.sum() @ values[number, head]
    return result.swapaxes(1, 2).reshape(*x.shape[:2], -1) @ out.T + biases[3]


def toml(value):
    """``value`` as it stands in a line of the network file."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(each)}" for name, each in value.items()) + "}"
    return json.dumps(value)


def write(folder, tensors, *, weights="a", top="", **fields):
    layer = toml({"kind": "attention", "weights": weights, "heads": HEADS, **fields})
    (folder / "net.toml").write_text(f'name = "net"\n{top}\nlayers = [{layer}]\n[input]\ntokens = {TOKENS}\n'
                                     f"features = {FEATURES}\n")
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, folder / "net.safetensors")
    return folder / "net.toml", folder / "net.safetensors"


@pytest.fixture
def matrices():
    rng = np.random.default_rng(1)
    return list(rng.standard_normal((4, FEATURES, FEATURES)) / 2), list(rng.standard_normal((4, FEATURES)) / 3)


def layouts(matrices, biases):
    """The same attention as different models store it."""
    parts = ("q", "k", "v", "out")
    own = {f"a.{part}.weight": matrix for part, matrix in zip(parts, matrices)}
    own |= {f"a.{part}.bias": bias for part, bias in zip(parts, biases)}
    last = {"a.out_proj.weight": matrices[3], "a.out_proj.bias": biases[3],
            "a.in_proj_bias": np.concatenate(biases[:3])}
    return {
        "own": own, "modules": {name.replace(".weight", "_proj.weight").replace(".bias", "_proj.bias"): value
                                for name, value in own.items()},
        "packed": last | {"a.in_proj_weight": np.concatenate(matrices[:3])},
        "separate": last | {f"a.{part}_proj_weight": matrix for part, matrix in zip(parts, matrices[:3])}}


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("name", ["own", "modules", "packed", "separate"])
def test_every_layout_is_the_same_attention(tmp_path, matrices, name, prefix):
    tensors = {prefix + each: value for each, value in layouts(*matrices)[name].items()}
    network = load_network(*write(tmp_path, tensors, top=f'prefix = "{prefix}"'))
    x = np.random.default_rng(2).standard_normal((2, TOKENS, FEATURES))
    assert np.allclose(forward(network, x)[-1][1], multihead_attention(x, *matrices[0], matrices[1]))
    assert [each.path for each in network.layers[0].projections] == [f"layers[0].{part}"
                                                                     for part in ("q", "k", "v", "out")]


def test_without_bias_and_without_a_name(tmp_path, matrices):
    """The state dict of a single nn.MultiheadAttention."""
    tensors = {"in_proj_weight": np.concatenate(matrices[0][:3]), "out_proj.weight": matrices[0][3]}
    network = load_network(*write(tmp_path, tensors, weights=""))
    x = np.random.default_rng(3).standard_normal((2, TOKENS, FEATURES))
    assert np.allclose(forward(network, x)[-1][1], multihead_attention(x, *matrices[0], np.zeros((4, FEATURES))))
    assert all(each.bias is None for each in network.layers[0].projections)


def test_layouts_mix(tmp_path, matrices):
    """A matrix of its own beside those of torch, which lies in two layouts until one of them is ignored."""
    made = layouts(*matrices)
    tensors = made["separate"] | {"a.q.weight": np.eye(FEATURES)}
    with pytest.raises(WingbeatError, match=r"^layers\[0\] \(attention\): a.q: a.q.weight and a.q_proj_weight in"):
        load_network(*write(tmp_path, tensors))
    network = load_network(*write(tmp_path, tensors, top='ignore = ["a.q.weight"]'))
    assert np.array_equal(network.layers[0].projections[0].matrix, matrices[0][0])


@pytest.mark.parametrize("name", ["own", "modules", "packed", "separate"])
@pytest.mark.parametrize("heads, keys, size", [(4, 2, 5), (6, 1, 2), (2, 2, 7)])
def test_heads_of_their_own(tmp_path, name, heads, keys, size):
    """Heads of queries in a row share one of keys and values: that of torch with these repeated."""
    rng = np.random.default_rng(4)
    outputs = (heads * size, keys * size, keys * size, FEATURES)
    inputs = (FEATURES, FEATURES, FEATURES, heads * size)
    matrices, biases = [rng.standard_normal(shape) / 2 for shape in zip(outputs, inputs)], [
        rng.standard_normal(count) for count in outputs]
    network = load_network(*write(tmp_path, layouts(matrices, biases)[name], heads=heads, key_heads=keys,
                                  head_features=size))
    assert network.layers[0].heads == (heads, keys, size)
    x = rng.standard_normal((2, TOKENS, FEATURES))
    for part in (1, 2):
        for tensors in (matrices, biases):
            each = tensors[part].reshape(keys, size, -1).repeat(heads // keys, axis=0)
            tensors[part] = each.reshape(heads * size, -1).squeeze(-1 if tensors is biases else ())
    assert np.allclose(forward(network, x)[-1][1], multihead_attention(x, *matrices, biases, heads))


BAD_HEADS = {
    "key_heads": ({"heads": 6, "key_heads": 4}, "key_heads: 4; allowed are divisors of 6 heads"),
    "more of keys": ({"heads": 2, "key_heads": 4}, "key_heads: 4; allowed are divisors of 2 heads"),
    "heads": ({"heads": 5}, "heads: 5; allowed are divisors of 12 features, or head_features beside them"),
    "features": ({"head_features": 5},
                 "a.q: 12 features come out; allowed are 15, for 3 heads, 3 of keys, of 5 features"),
    "keys": ({"key_heads": 1}, "a.k: 12 features come out; allowed are 4, for 3 heads, 1 of keys, of 4 features")}


@pytest.mark.parametrize("case", BAD_HEADS)
def test_heads_that_do_not_fit(tmp_path, matrices, case):
    fields, message = BAD_HEADS[case]
    with pytest.raises(WingbeatError) as caught:
        load_network(*write(tmp_path, layouts(*matrices)["own"], **fields))
    assert str(caught.value) == f"layers[0] (attention): {message}"


@pytest.mark.parametrize("name", ["own", "packed", "separate"])
def test_sparsity_of_each_matrix(tmp_path, matrices, name):
    for fields, found in (({"sparsity": "2:4"}, ["2:4"] * 4), ({"sparsity": {"k": "1:2", "out": "2:8"}, "stride": 4},
                                                               [None, "1:2", None, "2:8"])):
        layer = load_network(*write(tmp_path, layouts(*matrices)[name], **fields)).layers[0]
        patterns = [each.pattern for each in layer.projections]
        assert [pattern and str(pattern) for pattern in patterns] == found
        assert {pattern.stride for pattern in patterns if pattern} == {fields.get("stride", 0)}


BAD_SPARSITY = {
    "pattern": ({"sparsity": {"q": "2:3"}}, "sparsity: '2:3'; allowed are N:M with M of 2, 4, 8, 16 and N of 1..M"),
    "stride": ({"sparsity": "2:4", "stride": 12}, "stride: 12; allowed are powers of two"),
    "lone stride": ({"stride": 4}, "stride without sparsity; allowed beside sparsity"),
    "butterfly": ({"sparsity": "2:4"}, "sparsity.q: '2:4' of a butterfly; allowed are dense matrices")}


@pytest.mark.parametrize("case", BAD_SPARSITY)
def test_sparsity_that_does_not_fit(tmp_path, matrices, case):
    fields, message = BAD_SPARSITY[case]
    tensors = layouts(*matrices)["own"]
    if case == "butterfly":
        del tensors["a.q.weight"]
        tensors["a.q.twiddle"] = np.ones((1, 1, 4, 8, 2, 2))
    with pytest.raises(WingbeatError) as caught:
        load_network(*write(tmp_path, tensors, **fields))
    assert str(caught.value) == f"layers[0] (attention): {message}"


PACKED = {"a.in_proj_weight": np.ones((36, 12)), "a.in_proj_bias": np.ones(36), "a.out_proj.weight": np.ones((12, 12))}
BAD = {
    "packed rows": ({"a.in_proj_weight": np.ones((35, 12))}, "a.in_proj_weight: shape (35, 12); allowed is (36, 12)"),
    "packed inputs": ({"a.in_proj_weight": np.ones((36, 11))}, "a.in_proj_weight: shape (36, 11); allowed is (36, 12)"),
    "packed bias": ({"a.in_proj_bias": np.ones(12)}, "a.in_proj_bias: shape (12,); allowed is (36,)"),
    "ignored bias": ({}, "a.in_proj_bias: stands in 'ignore' too; allowed are tensors that no layer uses"),
    "other keys": ({"a.in_proj_weight": None, "a.q_proj_weight": np.ones((12, 12)),
                    "a.k_proj_weight": np.ones((12, 7)), "a.v_proj_weight": np.ones((12, 12))},
                   "a.k_proj_weight: shape (12, 7); allowed is (12, 12)"),
    "learned keys": ({"a.bias_k": np.ones((1, 1, 12))},
                     "a.bias_k: a key beside those of the input (add_bias_kv); allowed are attentions without"),
    "learned values": ({"a.bias_v": np.ones((1, 1, 12))},
                       "a.bias_v: a value beside those of the input (add_bias_kv); allowed are attentions without"),
    "relative bias": ({"a.relative_position_bias_table": np.ones((9, 3))}, "a.relative_position_bias_table: a number "
                      "for every query and key; allowed are attentions without"),
    "rotary": ({"a.rotary_emb.inv_freq": np.ones(2)}, "a.rotary_emb.inv_freq: rotary positions; allowed are attentions "
                                                      "without"),
    "nothing of the last": ({"a.out_proj.weight": None},
                            "a.out: no tensor in 'net.safetensors'; allowed is one of a.out.twiddle, a.out.weight, "
                            "a.out_proj.twiddle and a.out_proj.weight, others in 'ignore'"),
    "both of a module": ({"a.out_proj.twiddle": np.ones((1, 1, 4, 8, 2, 2))},
                         "a.out: a.out_proj.twiddle and a.out_proj.weight in 'net.safetensors'; allowed is one of "
                         "a.out.twiddle, a.out.weight, a.out_proj.twiddle and a.out_proj.weight, others in 'ignore'")}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit(tmp_path, case):
    changes, message = BAD[case]
    tensors = {name: value for name, value in (PACKED | changes).items() if value is not None}
    top = 'ignore = ["a.in_proj_bias"]' if case == "ignored bias" else ""
    with pytest.raises(WingbeatError) as caught:
        load_network(*write(tmp_path, tensors, top=top))
    assert str(caught.value) == f"layers[0] (attention): {message}"
