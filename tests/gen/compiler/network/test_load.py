"""Networks from two files: the float reference against dense matrices, what is inferred, and malformed files.

The tensors are written here with numpy from torch-butterfly's convention; nothing of `wingbeat.gen` makes them.
"""

import json
import math

import numpy as np
import pytest
from safetensors.numpy import save_file

from wingbeat.gen.compiler.network.inputs import encode_inputs
from wingbeat.gen.compiler.network.load import load_network
from wingbeat.gen.compiler.network.reference import forward
from wingbeat.hw.errors import WingbeatError

def layer(kind, **fields):
    """One entry of `layers`, written inline."""
    return "{" + ", ".join(f"{key} = {json.dumps(value)}" if not isinstance(value, list) else
                           f"{key} = [{', '.join(value)}]" for key, value in {"kind": kind, **fields}.items()) + "}"


def text(*layers, tokens=1, features=8, top=""):
    return f'name = "net"\n{top}\nlayers = [{", ".join(layers)}]\n[input]\ntokens = {tokens}\nfeatures = {features}\n'


def write(folder, toml, tensors, metadata=None):
    folder.mkdir(exist_ok=True)
    (folder / "net.toml").write_text(toml)
    save_file({name: np.array(value, order="C") for name, value in tensors.items()}, folder / "net.safetensors",
              metadata=metadata)
    return folder / "net.toml", folder / "net.safetensors"


def torch_twiddle(rng, in_size, out_size, n_blocks=1, dtype=np.float32):
    log_n = max(1, math.ceil(math.log2(in_size)))
    shape = (math.ceil(out_size / (1 << log_n)), n_blocks, log_n, 1 << log_n >> 1, 2, 2)
    return (rng.standard_normal(shape) / math.sqrt(2)).astype(dtype)


def dense(twiddle, in_size, out_size, increasing=True):
    """The matrix (out_size, in_size): each factor written out entry by entry."""
    n_stacks, n_blocks, log_n, half = twiddle.shape[:4]
    stacks = []
    for stack in range(n_stacks):
        product = np.eye(2 * half)
        for block in range(n_blocks):
            for idx in range(log_n):
                up = increasing if block % 2 == 0 else not increasing
                stride = 2 ** (idx if up else log_n - 1 - idx)
                factor = np.zeros((2 * half, 2 * half))
                for p in range(half):
                    a = p // stride * 2 * stride + p % stride
                    b = a + stride
                    factor[np.ix_([a, b], [a, b])] = twiddle[stack, block, idx, p]
                product = factor @ product
        stacks.append(product)
    return np.concatenate(stacks)[:out_size, :in_size]


CASES = [  # in_size, out_size, nblocks, increasing stride
    (8, 8, 1, True), (8, 8, 1, False), (8, 8, 2, True), (8, 8, 2, False), (8, 8, 3, False),
    (6, 6, 1, False), (5, 5, 2, True), (13, 13, 2, False),
    (8, 24, 1, True), (8, 20, 2, False), (6, 20, 2, False), (5, 17, 1, True), (4, 64, 2, False),
    (16, 4, 1, True), (16, 4, 1, False), (12, 3, 2, False), (32, 10, 2, True), (9, 1, 2, False),
    (2, 2, 2, False), (1, 3, 1, True), (64, 10, 1, False),
]


@pytest.mark.parametrize("how", ["field", "metadata"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_butterfly_is_its_dense_matrix(tmp_path, case, how):
    in_size, out_size, n_blocks, increasing = case
    n_twiddle = 1 << (in_size - 1).bit_length()
    rng = np.random.default_rng(CASES.index(case))
    twiddle, bias = torch_twiddle(rng, in_size, out_size, n_blocks), rng.standard_normal(out_size).astype(np.float32)
    # torch-butterfly's default needs no field, the other direction one or the text metadata
    fields = {} if increasing or how == "metadata" else {"increasing_stride": False}
    metadata = None if how == "field" else {"q.in_size": str(in_size), "q.out_size": str(out_size),
                                            "q.increasing_stride": str(increasing)}
    files = write(tmp_path, text(layer("butterfly", weights="q", **fields), tokens=3, features=in_size),
                  {"q.twiddle": twiddle, "q.bias": bias}, metadata)
    network = load_network(*files)
    assert network.assumed == (("q.increasing_stride = true",) if not fields and not metadata and n_twiddle > 2 else ())
    assert (network.input, network.output) == ((3, in_size), (3, out_size))
    x = rng.standard_normal((2, 3, in_size))
    [(path, y)] = forward(network, x)
    assert path == "layers[0]"
    expected = x @ dense(twiddle.astype(np.float64), in_size, out_size, increasing).T + bias
    assert np.allclose(y, expected, rtol=1e-12, atol=1e-12), f"case {case}"


def test_the_direction_matters(tmp_path):
    """Nothing in a twiddle tells the direction, so the two answers must differ and the field must decide."""
    rng = np.random.default_rng(3)
    tensors = {"q.twiddle": torch_twiddle(rng, 8, 8), "q.bias": np.zeros(8)}
    x = rng.standard_normal((1, 1, 8))
    found = []
    for fields in ({}, {"increasing_stride": True}, {"increasing_stride": False}):
        network = load_network(*write(tmp_path, text(layer("butterfly", weights="q", **fields)), tensors))
        found.append(forward(network, x)[-1][1])
        assert network.assumed == (() if fields else ("q.increasing_stride = true",))
    assert np.array_equal(found[0], found[1]) and not np.allclose(found[0], found[2])


@pytest.mark.parametrize("weights, prefix, stem", [
    ("", "", ""), ("", "model.", "model."), ("ffn.0", "model.", "model.ffn.0."), ("q", "a.b.", "a.b.q."),
])
def test_prefixes_and_layers_without_a_name(tmp_path, weights, prefix, stem):
    tensors = {f"{stem}twiddle": torch_twiddle(np.random.default_rng(1), 6, 11),
               f"{stem}bias": np.zeros(11, np.float16)}
    toml = text(layer("butterfly", weights=weights), features=6, top=f"prefix = {json.dumps(prefix)}")
    assert load_network(*write(tmp_path, toml, tensors)).output == (1, 11)


B = layer("butterfly", weights="q")
NORM, PLACE, GELU = layer("layernorm", weights="n"), layer("position", weights="p"), layer("gelu")
INFERRED = {
    "layernorm": ([B, NORM], {"n.weight": (1, 13)}, {}),
    "position": ([B, PLACE], {"p": (2, 13)}, {}),
    "behind others": ([B, GELU, layer("relu"), layer("mean"), NORM], {"n.weight": (1, 13)}, {}),
    "inside of a residual": ([B, layer("residual", layers=[NORM, GELU])], {"n.weight": (1, 13)}, {}),
    "behind a residual": ([B, layer("residual", layers=[GELU]), NORM], {"n.weight": (1, 13)}, {}),
    "metadata": ([B], {}, {"q.out_size": "13"}),
    "field": ([layer("butterfly", weights="q", out_features=13)], {}, {}),
    "metadata of the next": ([B, GELU, layer("butterfly", weights="r", out_features=3)],
                             {"r.twiddle": (1, 1, 4, 8, 2, 2)}, {"r.in_size": "13"}),
}


@pytest.mark.parametrize("case", INFERRED)
def test_out_size_without_a_bias(tmp_path, case):
    layers, shapes, metadata = INFERRED[case]
    tensors = {"q.twiddle": torch_twiddle(np.random.default_rng(2), 8, 13)}
    tensors |= {name: np.ones(shape[1:] if name == "n.weight" else shape) for name, shape in shapes.items()}
    network = load_network(*write(tmp_path, text(*layers, tokens=2), tensors, metadata))
    assert network.layers[0].output == (2, 13)


def test_out_size_at_the_end_of_a_residual(tmp_path):
    rng = np.random.default_rng(4)
    inner = [layer("butterfly", weights="w1"), GELU, layer("butterfly", weights="w2")]
    tensors = {"w1.twiddle": torch_twiddle(rng, 6, 20), "w1.bias": np.zeros(20)}
    tensors["w2.twiddle"] = torch_twiddle(rng, 20, 6)
    network = load_network(*write(tmp_path, text(layer("residual", layers=inner), features=6), tensors))
    assert [(each.path, each.output) for each in network.walk()] == [
        ("layers[0].layers[0]", (1, 20)), ("layers[0].layers[1]", (1, 20)), ("layers[0].layers[2]", (1, 6)),
        ("layers[0]", (1, 6))]


def norm(x, weight, bias, epsilon):
    rows = [[(value - row.mean()) / math.sqrt(((row - row.mean()) ** 2).mean() + epsilon) for value in row]
            for row in x.reshape(-1, x.shape[-1])]
    return np.array(rows).reshape(x.shape) * weight + bias


def dft(n):
    return np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n)


@pytest.mark.parametrize("pooling", ["mean", "flatten"])
@pytest.mark.parametrize("scale, approximate", [("ortho", "none"), ("none", "tanh")])
def test_a_whole_network(tmp_path, pooling, scale, approximate):
    """FABNet-style, every kind of layer but attention, against matrices written out."""
    rng = np.random.default_rng(5)
    t = {"embed.twiddle": torch_twiddle(rng, 6, 16), "embed.bias": rng.standard_normal(16), "place":
         rng.standard_normal((4, 16)), "n1.weight": rng.standard_normal(16), "n2.weight": rng.standard_normal(16),
         "n2.bias": rng.standard_normal(16), "w1.twiddle": torch_twiddle(rng, 16, 40), "w1.bias":
         rng.standard_normal(40), "w2.twiddle": torch_twiddle(rng, 40, 16, 2), "w2.bias": rng.standard_normal(16),
         "head.twiddle": torch_twiddle(rng, 16 if pooling == "mean" else 64, 5), "head.bias": rng.standard_normal(5)}
    toml = text(
        layer("butterfly", weights="embed"), layer("position", weights="place"),
        layer("residual", layers=[layer("layernorm", weights="n1", epsilon=0.01), layer("mixing", norm=scale)]),
        layer("residual", layers=[
            layer("layernorm", weights="n2"), layer("butterfly", weights="w1"), layer("gelu", approximate=approximate),
            layer("butterfly", weights="w2", increasing_stride=False)]),
        layer("relu"), layer(pooling), layer("butterfly", weights="head"), tokens=4, features=6)
    network = load_network(*write(tmp_path, toml, t))
    x = rng.standard_normal((3, 4, 6))

    y = x @ dense(t["embed.twiddle"], 6, 16).T + t["embed.bias"] + t["place"]
    mixed = (dft(4) @ norm(y, t["n1.weight"], 0, 0.01) @ dft(16)).real
    y = y + mixed / (8 if scale == "ortho" else 1)
    wide = norm(y, t["n2.weight"], t["n2.bias"], 1e-5) @ dense(t["w1.twiddle"], 16, 40).T + t["w1.bias"]
    if approximate == "tanh":
        wide = wide / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide ** 3)))
    else:
        wide = wide * np.vectorize(lambda v: math.erfc(-v / math.sqrt(2)) / 2)(wide)
    y = np.maximum(y + wide @ dense(t["w2.twiddle"], 40, 16, False).T + t["w2.bias"], 0)
    y = y.sum(axis=1) / 4 if pooling == "mean" else y.reshape(3, 64)
    y = y @ dense(t["head.twiddle"], y.shape[-1], 5).T + t["head.bias"]

    results = forward(network, x)
    assert [path for path, _ in results] == [each.path for each in network.walk()]
    assert [value.shape[1:] for _, value in results] == [each.output for each in network.walk()]
    assert np.allclose(results[-1][1][:, 0], y, rtol=1e-10, atol=1e-10)


def test_attention_with_a_long_name_and_dense_projections_without_bias(tmp_path):
    name = "n" * 128
    tensors = {f"{name}.{part}.weight": np.eye(8) for part in ("q", "k", "v", "out")}
    network = load_network(*write(tmp_path, text(layer("attention", weights=name, heads=1), tokens=2), tensors))
    assert [each.path for each in network.layers[0].projections] == [f"layers[0].{part}"
                                                                     for part in ("q", "k", "v", "out")]
    assert all(each.bias is None for each in network.layers[0].projections)


def test_vocabulary(tmp_path):
    toml = f'name = "net"\nlayers = [{B}]\n[input]\ntokens = 3\nvocabulary = 5\n'
    tensors = {"q.twiddle": torch_twiddle(np.random.default_rng(7), 5, 4), "q.bias": np.zeros(4)}
    network = load_network(*write(tmp_path, toml, tensors))
    tokens = np.array([[0, 4, 2], [1, 1, 3]])
    assert np.allclose(forward(network, tokens)[-1][1], dense(tensors["q.twiddle"], 5, 4).T[tokens])
    assert np.array_equal(encode_inputs(network, np.eye(5)[tokens]), encode_inputs(network, tokens))
    for bad, message in ((tokens + 1, "inputs: tokens 1..5; allowed are 0..4"),
                         (tokens - 1, "inputs: tokens -1..3"), (tokens[:, :2], "inputs: shape (2, 2)"),
                         (tokens.astype(float), "inputs: shape (2, 3)"),
                         (np.ones((1, 3, 4)), "inputs: shape (1, 3, 4)"),
                         (np.full((1, 3, 5), np.nan), "inputs: nan"), (np.ones((1, 3, 5)) * 1j, "inputs: dtype")):
        with pytest.raises(WingbeatError) as caught:
            encode_inputs(network, bad)
        assert message in str(caught.value)


E = layer("embedding", weights="e")


def embedding(*layers, vocabulary=5, **top):
    return text(*layers, tokens=3, **top).replace("features = 8", f"vocabulary = {vocabulary}")


def test_results_beyond_float64_name_their_layer(tmp_path, recwarn):
    """A few layers of the largest weights are enough."""
    twiddle = torch_twiddle(np.random.default_rng(8), 8, 8)
    tensors = {f"q{k}.twiddle": 1e15 * np.ones_like(twiddle) for k in range(16)}
    layers = [f'{{kind = "butterfly", weights = "q{k}", out_features = 8}}' for k in range(16)]
    (tmp_path / "net.toml").write_text(f'name = "net"\nlayers = [{", ".join(layers)}]\n'
                                       "[input]\ntokens = 1\nfeatures = 8\n")
    save_file(tensors, tmp_path / "net.safetensors")
    network = load_network(tmp_path / "net.toml", tmp_path / "net.safetensors")
    with pytest.raises(WingbeatError, match=r"^q\d+: results of this butterfly are beyond float64; allowed are"):
        forward(network, np.ones((1, 1, 8)))
    assert not recwarn.list


def test_ignored_tensors(tmp_path):
    tensors = {"q.twiddle": torch_twiddle(np.random.default_rng(8), 8, 8), "q.bias": np.zeros(8), "step": np.zeros(1)}
    assert load_network(*write(tmp_path, text(B, top='ignore = ["step"]'), tensors)).output == (1, 8)


def test_numpy_archive(tmp_path):
    """Options are 0-d arrays there, and no tensors that a layer must use."""
    rng = np.random.default_rng(9)
    toml, _ = write(tmp_path, text(B, features=6), {})
    twiddle = torch_twiddle(rng, 6, 6)
    np.savez(tmp_path / "net.npz", **{"q.twiddle": twiddle, "q.bias": np.zeros(5), "q.in_size": 6,
                                      "q.increasing_stride": False})
    x = rng.standard_normal((1, 1, 6))
    y = forward(load_network(toml, tmp_path / "net.npz"), x)[-1][1]
    assert np.allclose(y, x @ dense(twiddle, 6, 5, False).T)


def one_line(error, parts):
    message = str(error.value)
    assert error.type is WingbeatError
    assert len(message.splitlines()) == 1 and len(message) < 500, message
    assert all(part in message for part in parts), message


# --- Checkpoints that do not fit --------------------------------------------------------------------------------


def base(**changes):
    """Tensors of BASE, with some replaced, or taken out where the value is None; `_` in a name stands for a dot."""
    rng = np.random.default_rng(10)
    tensors = {"q.twiddle": torch_twiddle(rng, 8, 8), "q.bias": np.zeros(8, np.float32), "p": np.zeros((2, 8)),
               "n.weight": np.ones(8), "n.bias": np.zeros(8)}
    tensors |= {name.replace("_", "."): value for name, value in changes.items()}
    return {name: value for name, value in tensors.items() if value is not None}


BASE = text(B, PLACE, NORM, tokens=2)
TWIDDLE = torch_twiddle(np.random.default_rng(10), 8, 8)


def poisoned(value):
    array = TWIDDLE.copy()
    array[0, 0, 1, 2, 1, 0] = value
    return array


def changed(*layers, **kwargs):
    return text(*layers, **{"tokens": 2} | kwargs)


ATTENTION = changed(layer("attention", weights="a", heads=2))
BAD_TENSORS = {
    # tensors, network file, metadata, what the one line must hold
    "twiddle missing": (base(q_twiddle=None), BASE, {}, ["layers[0] (butterfly)", "q.twiddle: no tensor"]),
    "position missing": (base(p=None), BASE, {}, ["layers[1] (position)", "p: no tensor"]),
    "weight missing": (base(n_weight=None), BASE, {}, ["layers[2] (layernorm)", "n.weight: no tensor"]),
    "superfluous": (base(extra=np.ones(3)), BASE, {}, ["extra: no layer uses", "ignore"]),
    "superfluous bias": (base(p_bias=np.ones(3)), BASE, {}, ["p.bias: no layer uses"]),
    "many superfluous": (base(**{f"x{i}": np.ones(1) for i in range(900)}), BASE, {}, ["x0", "and 895 more"]),
    "name of two lines": (base(**{"a\nb": np.ones(1)}), BASE, {}, ["'a\\nb'"]),
    "ignored but used": (base(), changed(B, PLACE, NORM, top='ignore = ["p"]'), {}, ["p: stands in 'ignore' too"]),
    "ignored but not there": (base(), changed(B, PLACE, NORM, top='ignore = ["z"]'), {}, ["ignore: 'z'"]),
    "wrong prefix": (base(), changed(B, PLACE, NORM, top='prefix = "model."'), {}, ["model.q.twiddle: no tensor"]),
    "same butterfly twice": (base(), changed(B, B, PLACE, NORM), {}, ["layers[1]", "q.twiddle: used by layers[0]"]),
    "same LayerNorm twice": (base(), changed(B, NORM, NORM, PLACE), {}, ["n.weight: used by layers[1]"]),
    "bias as a position": (base(), changed(B, layer("position", weights="q.bias"), PLACE, NORM), {},
                           ["q.bias: used by layers[0]"]),
    "five dimensions": (base(q_twiddle=TWIDDLE[0]), BASE, {}, ["q.twiddle: shape (1, 3, 4, 2, 2)", "allowed"]),
    "complex type": (base(q_twiddle=TWIDDLE.astype(np.complex64)), BASE, {}, ["q.twiddle", "complex", "allowed"]),
    "complex as pairs": (base(q_twiddle=np.stack([TWIDDLE, TWIDDLE], -1)), BASE, {}, ["q.twiddle", "complex blocks"]),
    "complex bias": (base(q_bias=np.ones(8, np.complex64)), BASE, {}, ["q.bias", "complex"]),
    "complex LayerNorm": (base(n_weight=np.ones(8, np.complex64)), BASE, {}, ["n.weight", "complex"]),
    "truth values": (base(q_twiddle=TWIDDLE > 0), BASE, {}, ["q.twiddle: dtype bool"]),
    "no stacks": (base(q_twiddle=TWIDDLE[:0]), BASE, {}, ["q.twiddle", "empty"]),
    "no blocks": (base(q_twiddle=TWIDDLE[:, :0]), BASE, {}, ["q.twiddle", "empty"]),
    "no factors": (base(q_twiddle=TWIDDLE[:, :, :0]), BASE, {}, ["q.twiddle: log_n = 0"]),
    "factors missing": (base(q_twiddle=TWIDDLE[:, :, :2]), BASE, {}, ["q.twiddle: n/2 = 4 with log_n = 2"]),
    "17 factors": (base(q_twiddle=np.zeros((1, 1, 17, 1, 2, 2))), BASE, {}, ["q.twiddle: log_n = 17"]),
    "transposed": (base(q_twiddle=TWIDDLE.T), BASE, {}, ["q.twiddle: shape"]),
    "nan": (base(q_twiddle=poisoned(np.nan)), BASE, {}, ["q.twiddle: nan at [0, 0, 1, 2, 1, 0]"]),
    "infinite": (base(q_twiddle=poisoned(-np.inf)), BASE, {}, ["q.twiddle: -inf at"]),
    "nan in the bias": (base(q_bias=np.full(8, np.nan)), BASE, {}, ["q.bias: nan at [0]"]),
    "nan in the position": (base(p=np.full((2, 8), np.nan)), BASE, {}, ["p: nan at [0, 0]"]),
    "infinite LayerNorm": (base(n_bias=np.full(8, np.inf)), BASE, {}, ["n.bias: inf at [0]"]),
    "bias of two dimensions": (base(q_bias=np.ones((8, 1))), BASE, {}, ["q.bias: shape (8, 1)"]),
    "bias too long": (base(q_bias=np.ones(9)), BASE, {}, ["q.bias: 9"]),
    "bias empty": (base(q_bias=np.ones(0)), BASE, {}, ["q.bias: 0"]),
    "bias a number": (base(q_bias=np.float32(1)), BASE, {}, ["q.bias: shape ()"]),
    "position transposed": (base(p=np.zeros((8, 2))), BASE, {}, ["p: shape (8, 2)", "(2, 8)"]),
    "position of one dimension": (base(p=np.zeros(16)), BASE, {}, ["p: shape (16,)"]),
    "weight too short": (base(n_weight=np.ones(7)), BASE, {}, ["n.weight: shape (7,)", "(8,)"]),
    "weight a number": (base(n_weight=np.float32(1)), BASE, {}, ["n.weight: shape ()"]),
    "LayerNorm bias too long": (base(n_bias=np.ones(9)), BASE, {}, ["n.bias: shape (9,)", "(8,)"]),
    "too many features": (base(), changed(B, PLACE, NORM, features=9), {}, ["layers[0]", "q.in_size: 9", "1..8"]),
    "out_features against the bias": (base(), changed(layer("butterfly", weights="q", out_features=7)), {},
                                      ["q.bias: length 8", "out_size = 7"]),
    "out_features too large": (base(q_bias=None), changed(layer("butterfly", weights="q", out_features=9)), {},
                               ["q.out_size: 9", "1..8"]),
    "nothing tells out_size": (base(q_bias=None), changed(B), {}, ["layers[0]", "out_features: missing", "1..8"]),
    "a butterfly does not tell out_size": (
        base(q_twiddle=torch_twiddle(np.random.default_rng(1), 8, 20), q_bias=None), changed(B, GELU, layer(
            "butterfly", weights="r")), {}, ["layers[0]", "out_features: missing", "17..24"]),
    "what follows does not fit": (base(q_bias=None, p=np.zeros((2, 9))), BASE, {}, ["q.out_size: 9", "1..8"]),
    "in_size no number": (base(), BASE, {"q.in_size": "many"}, ["q.in_size: 'many'", "8"]),
    "in_size of another place": (base(), BASE, {"q.in_size": "7"}, ["q.in_size: 7 in the checkpoint", "allowed is 8"]),
    "out_size no number": (base(), BASE, {"q.out_size": "-8"}, ["q.out_size: '-8'"]),
    "out_size against the field": (base(), changed(layer("butterfly", weights="q", out_features=8)),
                                   {"q.out_size": "6"}, ["q.out_size: 6 in the checkpoint", "allowed is 8"]),
    "out_size against the bias": (base(), BASE, {"q.out_size": "6"}, ["q.bias: length 8"]),
    "out_size of 5000 digits": (base(), BASE, {"q.out_size": "1" * 300}, ["q.out_size"]),
    "stride no truth value": (base(), BASE, {"q.increasing_stride": "up"}, ["q.increasing_stride: 'up'"]),
    "stride against the field": (base(), changed(layer("butterfly", weights="q", increasing_stride=True)),
                                 {"q.increasing_stride": "False"}, ["q.increasing_stride: False", "allowed is True"]),
    "mixing of 3 tokens": (base(), changed(layer("mixing"), tokens=3), {}, ["layers[0] (mixing)", "3 tokens x 8"]),
    "mixing of 6 features": (base(), changed(layer("mixing"), features=6), {}, ["layers[0] (mixing)", "powers of two"]),
    "residual changes features": (base(q_bias=np.ones(5)), changed(layer("residual", layers=[B])), {},
                                  ["layers[0] (residual)", "2 tokens x 5 features"]),
    "residual changes tokens": (base(), changed(layer("residual", layers=[layer("mean")])), {},
                                ["layers[0] (residual)", "1 tokens x 8 features"]),
    "fault inside of a residual": (base(q_bias=np.ones(9)), changed(layer("residual", layers=[GELU, B])), {},
                                   ["layers[0].layers[1] (butterfly)", "q.bias: 9"]),
    "flatten too large": (base(), changed(layer("flatten"), tokens=65536), {}, ["layers[0] (flatten)", "65536"]),
    "heads of 8 features": (base(), changed(layer("attention", weights="a", heads=3)), {},
                            ["heads: 3", "divisors of 8"]),
    "projection missing": (base(), ATTENTION, {}, ["layers[0] (attention)", "a.q: no tensor in 'net.safetensors'",
                                                   "one of a.q.twiddle, a.q.weight, a.q_proj.twiddle, ",
                                                   "a.q_proj_weight and a.in_proj_weight"]),
    "projection twice": ({"a.q.twiddle": TWIDDLE, "a.q.weight": np.eye(8)}, ATTENTION, {},
                         ["a.q: a.q.twiddle and a.q.weight in", "allowed is one of"]),
    "projection too small": ({"a.q.twiddle": TWIDDLE, "a.q.bias": np.ones(7)}, ATTENTION, {}, ["a.q: 7 features", "8"]),
    "dense projection too small": ({"a.q.weight": np.ones((7, 8))}, ATTENTION, {}, ["a.q: 7 features", "8"]),
    "dense projection too wide": ({"a.q.weight": np.ones((8, 9))}, ATTENTION, {},
                                  ["a.q.weight: shape (8, 9)", "(1..65536, 8)"]),
    "dense projection with a long bias": ({"a.q.weight": np.eye(8), "a.q.bias": np.ones(9)}, ATTENTION, {},
                                          ["a.q.bias: shape (9,)", "(8,)"]),
    "projection of another layer": ({"a.q.weight": np.eye(8)}, changed(layer("linear", weights="a.q"), layer(
        "attention", weights="a", heads=2)), {}, ["a.q.weight: used by layers[0] already"]),
    "embedding of features": ({"e.weight": np.ones((8, 4))}, changed(E), {},
                              ["layers[0] (embedding)", "it has no tokens", "behind an input with a vocabulary"]),
    "embedding behind another": ({"q.twiddle": TWIDDLE, "q.bias": np.ones(8), "e.weight": np.ones((8, 4))},
                                 embedding(B, E, vocabulary=8), {}, ["layers[1] (embedding)", "the first layer"]),
    "two embeddings": ({"e.weight": np.ones((5, 4)), "f.weight": np.ones((5, 4))},
                       embedding(E, layer("embedding", weights="f")), {}, ["layers[1] (embedding)", "no tokens"]),
    "embedding inside of a residual": ({"e.weight": np.ones((8, 8))}, embedding(layer("residual", layers=[E])), {},
                                       ["layers[0].layers[0] (embedding)", "the first layer"]),
    "table missing": ({"e": np.ones((5, 4))}, embedding(E), {}, ["layers[0] (embedding)", "e.weight: no tensor"]),
    "table too short": ({"e.weight": np.ones((4, 5))}, embedding(E), {}, ["e.weight: shape (4, 5)", "(5, 1..65536)"]),
    "table of one dimension": ({"e.weight": np.ones(5)}, embedding(E), {}, ["e.weight: shape (5,)", "allowed are"]),
    "table without features": ({"e.weight": np.ones((5, 0))}, embedding(E), {}, ["e.weight: shape (5, 0)"]),
    "nan in the table": ({"e.weight": np.full((5, 4), np.nan)}, embedding(E), {}, ["e.weight: nan at [0, 0]"]),
    "bias of an embedding": ({"e.weight": np.ones((5, 4)), "e.bias": np.ones(4)}, embedding(E), {},
                             ["e.bias: no layer uses"]),
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_tensors_that_do_not_fit(tmp_path, case):
    tensors, toml, metadata, parts = BAD_TENSORS[case]
    files = write(tmp_path, toml, tensors, metadata)
    with pytest.raises(ValueError) as caught:
        load_network(*files)
    one_line(caught, parts)


def test_the_base_of_these_files_is_good(tmp_path):
    assert load_network(*write(tmp_path, BASE, base())).output == (2, 8)


def raw(header, data=b""):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(content).to_bytes(8, "little") + content + data


def entry(dtype="F32", shape=(1, 1, 1, 1, 2, 2), end=16, start=0):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


BAD_BYTES = {
    "empty": (b"", ["checkpoint: 'net.safetensors'"]),
    "pickle": (b"\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94.", ["checkpoint"]),
    "torch zip": (b"PK\x03\x04" + b"\0" * 100, ["checkpoint"]),
    "header cut": (raw({"q.twiddle": entry()})[:30], ["checkpoint"]),
    "data cut": (raw({"q.twiddle": entry()}, b"\0" * 15), ["checkpoint"]),
    "data too long": (raw({"q.twiddle": entry()}, b"\0" * 17), ["checkpoint"]),
    "header of 2^60 bytes": ((1 << 60).to_bytes(8, "little") + b"{}", ["checkpoint"]),
    "no JSON": (raw(b"{{"), ["checkpoint"]),
    "a list": (raw([]), ["checkpoint"]),
    "huge shape": (raw({"q.twiddle": entry(shape=(1 << 40, 1 << 40))}, b"\0" * 16), ["checkpoint"]),
    "negative shape": (raw({"q.twiddle": entry(shape=(-1, 4))}, b"\0" * 16), ["checkpoint"]),
    "overlap": (raw({"q.twiddle": entry(), "q.bias": entry(shape=(2,), end=8)}, b"\0" * 16), ["checkpoint"]),
    "unknown type": (raw({"q.twiddle": entry("Q7")}, b"\0" * 16), ["checkpoint"]),
    "bfloat16 of a wrong length": (raw({"q.twiddle": entry("BF16", end=6)}, b"\0" * 6), ["checkpoint"]),
    "8-bit floats": (raw({"q.twiddle": entry("F8_E4M3", end=4)}, b"\0" * 4), ["q.twiddle: cannot be read"]),
    "metadata of numbers": (raw({"__metadata__": {"q.in_size": 8}, "q.twiddle": entry()}, b"\0" * 16), ["checkpoint"]),
    "no tensors": (raw({}), ["q.twiddle: no tensor", "none"]),
}


@pytest.mark.parametrize("case", BAD_BYTES)
def test_malformed_checkpoint(tmp_path, case):
    content, parts = BAD_BYTES[case]
    (tmp_path / "net.toml").write_text(text(B, features=2))
    (tmp_path / "net.safetensors").write_bytes(content)
    with pytest.raises(ValueError) as caught:
        load_network(tmp_path / "net.toml", tmp_path / "net.safetensors")
    one_line(caught, parts)


def test_nothing_is_unpickled(tmp_path):
    """The pickle would make a file; refusing by type of the error alone could come too late."""
    proof = tmp_path / "proof"
    command = f"cbuiltins\nopen\n(V{proof}\nVw\ntR.".encode()
    (tmp_path / "net.toml").write_text(text(B))
    for name in ("net.npy", "net.npz", "net.safetensors", "net.pt"):
        (tmp_path / name).write_bytes(command)
        with pytest.raises(WingbeatError):
            load_network(tmp_path / "net.toml", tmp_path / name)
    assert not proof.exists()
