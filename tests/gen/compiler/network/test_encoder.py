"""Layers of kind encoder against torch's nn.TransformerEncoderLayer written out in numpy; what is refused."""

import json
import math

import numpy as np
import pytest
from safetensors.numpy import save_file

from wingbeat.gen.compiler.network.compile import compile_network
from wingbeat.gen.compiler.network.load import load_network
from wingbeat.gen.compiler.network.reference import forward
from wingbeat.gen.compiler.network.split import compile_split
from wingbeat.hw.errors import WingbeatError
from wingbeat.sim.reference.metrics import sqnr_db

TOKENS, FEATURES, HEADS, HIDDEN = 6, 32, 2, 48


def encoder_tensors(seed=1, bias=True):
    """The state dict of an nn.TransformerEncoderLayer."""
    rng = np.random.default_rng(seed)
    shapes = {"self_attn.in_proj_weight": (3 * FEATURES, FEATURES), "self_attn.out_proj.weight": (FEATURES, FEATURES),
              "linear1.weight": (HIDDEN, FEATURES), "linear2.weight": (FEATURES, HIDDEN)}
    tensors = {name: rng.standard_normal(shape) / math.sqrt(shape[1]) for name, shape in shapes.items()}
    tensors |= {f"norm{number}.weight": rng.uniform(0.5, 1.5, FEATURES) for number in (1, 2)}
    sizes = {"self_attn.in_proj_bias": 3 * FEATURES, "self_attn.out_proj.bias": FEATURES, "linear1.bias": HIDDEN,
             "linear2.bias": FEATURES, "norm1.bias": FEATURES, "norm2.bias": FEATURES}
    return tensors | ({name: 0.2 * rng.standard_normal(size) for name, size in sizes.items()} if bias else {})


def attend(x, t):
    q, k, v = (part.reshape(len(x), TOKENS, HEADS, -1).swapaxes(1, 2) for part in np.split(
        x @ t["self_attn.in_proj_weight"].T + t.get("self_attn.in_proj_bias", 0), 3, axis=-1))
    share = np.exp(q @ k.swapaxes(2, 3) / math.sqrt(FEATURES / HEADS))
    mixed = (share / share.sum(axis=-1, keepdims=True) @ v).swapaxes(1, 2).reshape(x.shape)
    return mixed @ t["self_attn.out_proj.weight"].T + t.get("self_attn.out_proj.bias", 0)


def feed_forward(x, t, activation):
    y = x @ t["linear1.weight"].T + t.get("linear1.bias", 0)
    if activation == "gelu":
        y = y * np.vectorize(lambda value: math.erfc(-value / math.sqrt(2)) / 2)(y)
    else:
        y = np.maximum(y, 0)
    return y @ t["linear2.weight"].T + t.get("linear2.bias", 0)


def normed(x, t, number, epsilon):
    y = (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + epsilon)
    return y * t[f"norm{number}.weight"] + t.get(f"norm{number}.bias", 0)


def torch_layer(x, t, norm_first=False, activation="relu", epsilon=1e-5):
    if norm_first:
        x = x + attend(normed(x, t, 1, epsilon), t)
        return x + feed_forward(normed(x, t, 2, epsilon), t, activation)
    x = normed(x + attend(x, t), t, 1, epsilon)
    return normed(x + feed_forward(x, t, activation), t, 2, epsilon)


def write(folder, tensors, *, weights="encoder.layers.0", layers="", **fields):
    fields = {"kind": "encoder", "weights": weights, "heads": HEADS, **fields}
    inline = ", ".join(f"{name} = {json.dumps(value)}" for name, value in fields.items())
    (folder / "net.toml").write_text(f'name = "net"\nlayers = [{{{inline}}}{layers}]\n[input]\ntokens = {TOKENS}\n'
                                     f"features = {FEATURES}\n")
    stem = f"{weights}." if weights else ""
    save_file({stem + name: np.ascontiguousarray(value) for name, value in tensors.items()},
              folder / "net.safetensors")
    return folder / "net.toml", folder / "net.safetensors"


@pytest.fixture
def inputs():
    return np.random.default_rng(2).standard_normal((6, TOKENS, FEATURES))


@pytest.mark.parametrize("fields", [{}, {"norm_first": True}, {"activation": "gelu", "epsilon": 0.1},
                                    {"norm_first": True, "activation": "gelu"}], ids=str)
@pytest.mark.parametrize("bias, weights", [(True, "encoder.layers.0"), (False, "")])
def test_it_is_the_layer_of_torch(tmp_path, inputs, fields, bias, weights):
    tensors = encoder_tensors(bias=bias)
    network = load_network(*write(tmp_path, tensors, weights=weights, **fields))
    assert np.allclose(forward(network, inputs)[-1][1], torch_layer(inputs, tensors, **fields))


@pytest.mark.parametrize("norm_first", [False, True])
def test_on_the_array_and_with_softmax_on_the_host(networks, tmp_path, inputs, norm_first):
    network = load_network(*write(tmp_path, encoder_tensors(), norm_first=norm_first))
    exact = forward(network, inputs)[-1][1]
    config = networks.ring(partial_words=256, softmax_pairs=16)
    compiled = compile_network(network, config, inputs, 2, check=False)
    found = compiled.execute_model(inputs)
    assert sqnr_db(exact, found.results) > 65 and not found.clamped
    split = compile_split(network, config.changed(softmax_pairs=0), inputs, 2)
    assert split.host_steps == ["softmax of layers[0].attention.layers[" + "01"[norm_first]
                                + "] (encoder.layers.0.self_attn)", "sum of layers[0].attention"]
    assert sqnr_db(exact, split.execute_model(inputs).results) > 65


def test_paths(tmp_path):
    network = load_network(*write(tmp_path, encoder_tensors()))
    assert [layer.path for layer in network.walk()] == [
        "layers[0].attention.layers[0]", "layers[0].attention", "layers[0].norm1",
        *(f"layers[0].feed_forward.layers[{number}]" for number in range(3)), "layers[0].feed_forward",
        "layers[0].norm2"]


def test_masks_and_butterflies(tmp_path, inputs):
    """The masks of an attention; matrices of the feed-forward part that are butterflies."""
    rng, tensors = np.random.default_rng(3), encoder_tensors()
    del tensors["linear1.weight"], tensors["linear2.weight"]
    tensors |= {"linear1.twiddle": rng.standard_normal((2, 1, 5, 16, 2, 2)),
                "linear2.twiddle": rng.standard_normal((1, 1, 6, 32, 2, 2))}
    network = load_network(*write(tmp_path, tensors, causal=True, norm_first=True))
    assert [layer.kind for layer in network.walk()] == ["layernorm", "attention", "residual", "layernorm", "butterfly",
                                                        "relu", "butterfly", "residual"]
    changed = inputs.copy()
    changed[:, -1] += 1
    one, other = (forward(network, x)[-1][1] for x in (inputs, changed))
    assert np.array_equal(one[:, :-1], other[:, :-1]) and not np.array_equal(one[:, -1], other[:, -1])


BAD = {
    "activation": ({"activation": "silu"}, {}, "layers[0].activation: 'silu': input should be 'relu' or 'gelu'"),
    "heads": ({"heads": 5}, {}, "layers[0].attention.layers[0] (attention): heads: 5; allowed are divisors of 32 "
                                "features"),
    "norm": ({}, {"norm1.weight": None}, "layers[0].norm1 (layernorm): encoder.layers.0.norm1.weight: no tensor of "),
    "matrix": ({}, {"linear1.weight": None}, "layers[0] (encoder): encoder.layers.0.linear1: none or both of its "
               "tensors are in 'net.safetensors'; allowed is encoder.layers.0.linear1.twiddle of a butterfly or "
               "encoder.layers.0.linear1.weight of a dense matrix"),
    "ends elsewhere": ({}, {"linear2.weight": np.ones((31, HIDDEN)), "linear2.bias": np.ones(31)},
                       "layers[0].feed_forward (residual): it ends in 6 tokens x 31 features; allowed is 6 tokens"),
    "more tensors": ({}, {"norm3.weight": np.ones(3)}, "encoder.layers.0.norm3.weight: no layer uses this tensor")}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(tmp_path, case):
    fields, changes, message = BAD[case]
    tensors = {name: value for name, value in (encoder_tensors() | changes).items() if value is not None}
    with pytest.raises(WingbeatError) as caught:
        load_network(*write(tmp_path, tensors, **fields))
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_an_encoder_in_a_residual(tmp_path):
    files = write(tmp_path, encoder_tensors(),
                  layers=', {kind = "residual", layers = [{kind = "encoder", weights = "e", heads = 1}]}')
    with pytest.raises(WingbeatError, match=r"^layers\[1\].layers\[0\].kind: 'encoder'; allowed are butterfly, .*, "
                                            "flatten$"):
        load_network(*files)
