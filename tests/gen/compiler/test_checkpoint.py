"""Checkpoints: what is read, and that everything malformed is one line: field, value, what is allowed."""

import io
import json
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file

from wingbeat.gen.compiler.checkpoint import Checkpoint, butterfly_weights, read_checkpoint, read_layer
from wingbeat.hw.errors import WingbeatError


def twiddle(n_stacks=1, n_blocks=1, log_n=3, dtype=np.float32):
    rng = np.random.default_rng(11)
    return rng.standard_normal((n_stacks, n_blocks, log_n, 1 << log_n >> 1, 2, 2)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_named_layers(tmp_path, suffix, dtype):
    tensors = {"q.twiddle": twiddle(2, 1, 3, dtype), "q.bias": np.arange(11, dtype=dtype),
               "ffn.0.twiddle": twiddle(1, 2, 4, dtype), "head.weight": np.ones((3, 4), dtype=dtype)}
    path = tmp_path / f"model.{suffix}"
    if suffix == "npz":
        np.savez(path, **tensors, **{"q.in_size": 6, "q.increasing_stride": False})
    else:
        save_file(tensors, path, metadata={"q.in_size": "6", "q.increasing_stride": "false", "seed": "1"})
    layers = read_checkpoint(path)
    assert sorted(layers) == ["ffn.0", "q"]
    q = layers["q"]
    assert (q.n_stacks, q.log2_size, q.size, q.in_size, q.out_size) == (2, 3, 8, 6, 11)
    assert not q.increasing_stride
    assert q.twiddle.dtype == np.float64 and np.array_equal(q.twiddle, tensors["q.twiddle"])
    assert np.array_equal(q.bias, np.arange(11))
    assert layers["ffn.0"].bias is None and layers["ffn.0"].out_size == 16
    assert read_layer(path, "ffn.0", in_size=10).in_size == 10


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors"])
def test_single_layer_needs_no_name(tmp_path, suffix):
    path = tmp_path / f"layer.{suffix}"
    if suffix == "npy":
        np.save(path, twiddle())
    elif suffix == "npz":
        np.savez(path, twiddle=twiddle())
    else:
        save_file({"twiddle": twiddle()}, path)
    assert np.array_equal(read_layer(path, increasing_stride=False).twiddle, twiddle())
    assert not read_layer(path, increasing_stride=False).increasing_stride


def poisoned(value):
    array = twiddle()
    array[0, 0, 1, 2, 1, 0] = value
    return array


GOOD = twiddle()
MALFORMED = [
    (GOOD[0], {}, "twiddle: shape (1, 3, 4, 2, 2) has 5 dimensions"),
    (np.float32(1), {}, "twiddle: shape () has 0 dimensions"),
    (GOOD.reshape(1, 1, 3, 4, 4, 1), {}, "ends in (4, 1)"),
    (GOOD[:, :, :, :3], {}, "n/2 = 3 with log_n = 3; allowed is 4"),
    (GOOD[:, :, :2], {}, "n/2 = 4 with log_n = 2; allowed is 2"),
    (GOOD[:0], {}, "is empty"),
    (GOOD[:, :0], {}, "is empty"),
    (GOOD[:, :, :0], {}, "log_n = 0"),
    (poisoned(np.nan), {}, "twiddle: nan at [0, 0, 1, 2, 1, 0]"),
    (poisoned(-np.inf), {}, "twiddle: -inf at"),
    (poisoned(-(1 << 60)), {}, "twiddle: -1.152921504606847e+18 at [0, 0, 1, 2, 1, 0]; allowed are -1e+15..1e+15"),
    (GOOD.astype(np.complex64), {}, "complex"),
    (np.stack([GOOD, GOOD], axis=-1), {}, "holds complex blocks"),
    (GOOD > 0, {}, "dtype bool"),
    (GOOD.astype(str), {}, "dtype <U"),
    (np.array(["x", None], dtype=object), {}, "dtype object"),
    (None, {}, "dtype object"),
    ("twiddle", {}, "dtype <U7"),
    (GOOD, {"in_size": 0}, "in_size: 0 does not match the twiddle; allowed are 1..8"),
    (GOOD, {"in_size": 9}, "in_size: 9"),
    (GOOD, {"in_size": 4.0}, "in_size: 4.0"),
    (GOOD, {"in_size": True}, "in_size: True"),
    (GOOD, {"in_size": "six"}, "in_size: 'six'"),
    (GOOD, {"out_size": 0}, "out_size: 0"),
    (GOOD, {"out_size": 9}, "out_size: 9 does not match the twiddle; allowed are 1..8"),
    (twiddle(2), {"out_size": 8}, "out_size: 8 does not match the twiddle; allowed are 9..16"),
    (GOOD, {"bias": np.ones(9)}, "bias: 9 does not match"),
    (GOOD, {"bias": np.ones(7), "out_size": 8}, "bias: length 7; allowed is out_size = 8"),
    (GOOD, {"bias": np.ones((8, 1))}, "bias: shape (8, 1)"),
    (GOOD, {"bias": np.full(8, np.nan)}, "bias: nan at [0]"),
    (GOOD, {"bias": np.ones(8) * 1j}, "bias: dtype complex128 is complex"),
    (GOOD, {"increasing_stride": 1}, "increasing_stride: 1"),
    (GOOD, {"increasing_stride": "up"}, "increasing_stride: 'up'"),
]


@pytest.mark.parametrize("array, options, message", MALFORMED, ids=[case[2] for case in MALFORMED])
def test_malformed_arrays(array, options, message):
    with pytest.raises(WingbeatError) as caught:
        butterfly_weights(array, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value) and "allowed" in str(caught.value)


def write_safetensors(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def tensor(dtype, shape, size):
    return {"twiddle": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}


def huge_npy(size=1 << 50):
    """A header that asks for far more than is there."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (size,)})
    return file.getvalue() + bytes(64)


def write_npz(path, member, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)


def garbled_npz(path):
    """Compressed data that begin with a kind of block that there is not."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("twiddle.npy", GOOD.tobytes())
    content = bytearray(path.read_bytes())
    content[30 + len("twiddle.npy")] = 0xff
    path.write_bytes(content)


SHAPE = [1, 1, 1, 1, 2, 2]
FILES = {
    "empty.safetensors": lambda path: path.write_bytes(b""),
    "text.safetensors": lambda path: path.write_bytes(b"this is not a checkpoint\nat all"),
    "pickle.safetensors": lambda path: path.write_bytes(b"\x80\x04\x95" + b"\n" * 40),
    "huge-header.safetensors": lambda path: path.write_bytes(b"\xff" * 8 + b"{}"),
    "bad-json.safetensors": lambda path: write_safetensors(path, b"{{{{"),
    "short.safetensors": lambda path: write_safetensors(path, tensor("F32", SHAPE, 16), b"\0" * 7),
    "sizes.safetensors": lambda path: write_safetensors(path, tensor("F32", SHAPE, 12), b"\0" * 12),
    "bfloat.safetensors": lambda path: write_safetensors(path, tensor("F8_E4M3", SHAPE, 8), b"\0" * 8),
    "dtype.safetensors": lambda path: write_safetensors(path, tensor("Q7", SHAPE, 8), b"\0" * 8),
    "scalar.safetensors": lambda path: write_safetensors(path, tensor("F32", [], 4), b"\0" * 4),
    "missing.safetensors": lambda path: save_file({"head.weight": np.ones(3)}, path),
    "in-size.safetensors": lambda path: save_file({"twiddle": GOOD}, path, metadata={"in_size": "many"}),
    "stride.safetensors":
        lambda path: save_file({"twiddle": GOOD}, path, metadata={"increasing_stride": "up"}),
    "bias.safetensors": lambda path: save_file({"a.twiddle": GOOD, "a.bias": np.ones(20)}, path),
    "newline.safetensors": lambda path: save_file({"a\nb.twiddle": poisoned(np.nan)}, path),
    "huge.npy": lambda path: path.write_bytes(huge_npy()),
    "huge.npz": lambda path: write_npz(path, "twiddle.npy", huge_npy()),
    "overflow.npz": lambda path: write_npz(path, "twiddle.npy", huge_npy(1 << 80)),
    "header.npz": lambda path: write_npz(path, "twiddle.npy", GOOD.tobytes()),
    "garbled.npz": garbled_npz,
    "archive.npy": lambda path: write_npz(path, "twiddle.npy", huge_npy()),
    "empty.npy": lambda path: path.write_bytes(b""),
    "pickle.npy": lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True),
    "cut.npy": lambda path: (np.save(path, GOOD), path.write_bytes(path.read_bytes()[:-9])),
    "shape.npy": lambda path: np.save(path, GOOD[0]),
    "text.npz": lambda path: path.write_bytes(b"PK\x03\x04 but not a zip"),
    "pickle.npz": lambda path: np.savez(path, twiddle=np.array([None])),
    "missing.npz": lambda path: np.savez(path, weight=GOOD),
    "option.npz": lambda path: np.savez(path, twiddle=GOOD, in_size=np.ones(3)),
    "folder.npz": lambda path: path.mkdir(),
    "absent.npz": lambda path: None,
    "model.pt": lambda path: path.write_bytes(b""),
    "model": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("name", FILES)
def test_malformed_files(tmp_path, name):
    FILES[name](tmp_path / name)
    with pytest.raises(WingbeatError) as caught:
        read_checkpoint(tmp_path / name)
    assert "\n" not in str(caught.value) and ": " in str(caught.value)


def test_tensors_are_read_one_by_one(tmp_path):
    """One that cannot be read spoils only what asks for it."""
    path = tmp_path / "m.safetensors"
    entries = tensor("F32", SHAPE, 16) | {"half": {"dtype": "F8_E5M2", "shape": [4], "data_offsets": [16, 20]}}
    write_safetensors(path, entries | {"__metadata__": {"in_size": "1", "increasing_stride": "False"}}, bytes(20))
    assert read_layer(path).in_size == 1 and not read_layer(path).increasing_stride
    file = Checkpoint(path)
    assert file.names == ("half", "twiddle") and file.layers == ("",)
    assert file.options("") == {"in_size": 1, "increasing_stride": False} and file.options("q") == {}
    assert file.tensor("twiddle").shape == tuple(SHAPE)
    with pytest.raises(WingbeatError, match="^half: cannot be read from 'm.safetensors'.*; allowed are bfloat16"):
        file.tensor("half")
    with pytest.raises(WingbeatError, match="^q.bias: no tensor of 'm.safetensors'; allowed are half, twiddle$"):
        file.tensor("q.bias")


def test_bfloat16_is_read_exactly(tmp_path):
    """Sign, exponent and the upper 7 bits of the mantissa of a float32."""
    values = np.array([1.0, -2.5, 0.15625, 3.0e38, -1.0e-38, 0.0, 1.9921875, -0.0078125], dtype="<f4")
    upper = (values.view("<u4") >> 16).astype("<u2")
    path = tmp_path / "m.safetensors"
    write_safetensors(path, tensor("BF16", [2, 4], 16), upper.tobytes())
    found = Checkpoint(path).tensor("twiddle")
    want = (upper.astype("<u4") << 16).view("<f4")
    assert found.shape == (2, 4) and np.array_equal(found.ravel(), want) and found.ravel()[1] == -2.5


def test_a_butterfly_of_bfloat16(tmp_path):
    path, twiddle = tmp_path / "m.safetensors", np.linspace(-1, 1, 4, dtype="<f4").reshape(1, 1, 1, 1, 2, 2)
    upper = (twiddle.view("<u4") >> 16).astype("<u2")
    write_safetensors(path, tensor("BF16", SHAPE, 8), upper.tobytes())
    assert np.abs(read_layer(path).twiddle - twiddle).max() < 2 ** -7


def test_unknown_layer_lists_the_known(tmp_path):
    save_file({"q.twiddle": GOOD, "k.twiddle": GOOD}, tmp_path / "m.safetensors")
    for name in (None, "v"):
        with pytest.raises(WingbeatError, match=r"name: .* allowed are 'k', 'q'"):
            read_layer(tmp_path / "m.safetensors", name)
