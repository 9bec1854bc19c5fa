"""Linear layers: the float reference, what is refused, and networks of them on the integer model.

Every size is padded inside; nothing of that may be seen.
"""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from wingbeat.gen.compiler.network.compile import compile_network
from wingbeat.gen.compiler.network.load import load_network
from wingbeat.gen.compiler.network.reference import forward
from wingbeat.gen.compiler.quality import SaturationWarning
from wingbeat.hw.errors import WingbeatError
from wingbeat.sim.reference.metrics import sqnr_db

TOML = 'name = "net"\nlayers = [{kind = "linear", weights = "up"}]\n[input]\ntokens = 3\nfeatures = 5\n'


def write(folder, **tensors):
    (folder / "net.toml").write_text(TOML)
    save_file({name.replace("__", "."): value for name, value in tensors.items()}, folder / "net.safetensors")
    return folder / "net.toml", folder / "net.safetensors"


@pytest.mark.parametrize("bias", [True, False])
def test_reference_is_that_of_torch(tmp_path, bias):
    """y = x A^T + b, A (out, in)."""
    rng = np.random.default_rng(1)
    matrix, offset, x = rng.standard_normal((7, 5)), rng.standard_normal(7), rng.standard_normal((2, 3, 5))
    network = load_network(*write(tmp_path, up__weight=matrix, **({"up__bias": offset} if bias else {})))
    want = np.einsum("btf,of->bto", x, matrix) + (offset if bias else 0)
    np.testing.assert_allclose(forward(network, x)[-1][1], want)
    assert network.output == (3, 7)


@pytest.mark.parametrize("tensors, message", [
    ({"up__weight": np.ones((7, 6))},
     r"^layers\[0\] \(linear\): up.weight: shape \(7, 6\); allowed are \(1..65536, 5\)$"),
    ({"up__weight": np.ones(5)}, r"up.weight: shape \(5,\); allowed are"),
    ({"up__weight": np.ones((0, 5))}, r"up.weight: shape \(0, 5\); allowed are"),
    ({"up__weight": np.ones((7, 5)), "up__bias": np.ones(6)}, r"up.bias: shape \(6,\); allowed is \(7,\)$"),
    ({"up__bias": np.ones(7)}, r"up.weight"),
    ({"up__weight": np.full((7, 5), np.nan)}, r"up.weight"),
    ({"up__weight": np.ones((7, 5)), "up__extra": np.ones(1)}, r"^up.extra: no layer uses this tensor")])
def test_refused_tensors(tmp_path, tensors, message):
    with pytest.raises(WingbeatError, match=message):
        load_network(*write(tmp_path, **tensors))


CASES = [
    ("d16", 4, 16), ("d10", 3, 6), ("d1", 3, 9), ("d7", 1, 1), ("d300", 2, 20), ("d24!", 4, 100),
    ("d24 relu d8", 4, 16),
    ("d40! d24! d3", 4, 6), ("d24! norm", 4, 16), ("norm d24 gelu d8", 5, 13), ("d16 position", 4, 16),
    ("(norm d40 gelu d16)", 4, 16), ("(d16) (d16)", 4, 16), ("flatten d10", 4, 16), ("flatten d10", 3, 6),
    ("norm flatten d4", 5, 12), ("d24 flatten d3", 7, 5), ("mean d5", 4, 16), ("d8 mean", 4, 16),
    ("b16 d24 b8", 4, 16), ("d20! b16! d4", 4, 16), ("(norm mix) d32 relu b16", 8, 16), ("d33 tanh d65", 2, 31),
    ("d24/2:4", 4, 16), ("(norm d64/2:4 gelu d16/1:4)", 4, 16), ("d16/1:2 b16 d24 d8/2:8", 3, 32),
    ("norm flatten d10/4:8", 4, 16), ("d40!/2:4 flatten d3", 4, 64)]


@pytest.mark.thin(3)
@pytest.mark.parametrize("text, tokens, features", CASES)
def test_networks(networks, text, tokens, features):
    network, x = networks.load(text, tokens, features)
    found = compile_network(network, networks.ring(), x, 8)
    assert len(found.segments) == 1
    assert sqnr_db(forward(network, x)[-1][1], found.run_model(x)) > 69


def test_more_outputs_and_rows_than_a_block_has(networks):
    """Tiles of outputs, blocks of rows, several FETCHes of a matrix; a LayerNorm for which few rows have sums."""
    network, x = networks.load("norm d70 gelu d40", 9, 40)
    found = compile_network(network, networks.ring(half_words=128, statistics_rows=16), x[:4], 4)
    assert sqnr_db(forward(network, x[:4])[-1][1], found.run_model(x[:4])) > 69
    blocks = [task.block for task in found.operations[0].tasks if hasattr(task, "block")]
    assert len({block.read_at for block in blocks}) > 1 and len({block.matrix_at for block in blocks}) > 1


def test_what_is_clamped_is_told(networks):
    network, x = networks.load("d16 relu d8")
    found = compile_network(network, networks.ring(), x, 8)
    with pytest.warns(SaturationWarning, match="^clamped in inputs"):
        found.run_model(50 * x)


@pytest.mark.parametrize("changes, message", [
    ({"ring_words": 0, "sparse": False}, "^d0: array.ring_words: 0; a dense product needs a ring$"),
    ({"ring_words": 16}, "^d0: array.ring_words: 16 are too few for a row of 200 inputs; allowed are 128 and more$"),
    ({"half_words": 128}, "^d0: array.half_words: 128 are too few for a row of 200 inputs and 8 outputs; allowed are"),
    ({"memory_bits": 8}, "memory.address_bits: 8 are too few")])
def test_cores_that_are_too_small(networks, changes, message):
    network, x = networks.load("d8", 4, 200)
    with pytest.raises(WingbeatError, match=message):
        compile_network(network, networks.ring(**changes), x, 8)


def test_too_many_inputs(networks):
    network, x = networks.load("flatten d3", 70, 60)
    with pytest.raises(WingbeatError, match=r"in: 4200 weights of a row are not zero; allowed are 1\.\.4096$"):
        compile_network(network, networks.ring(ring_words=4096, coefficient_words=8192), x, 8)


def test_matrices_stand_in_the_image_once(networks):
    """Whatever the batch; and a host finds them in the map."""
    network, x = networks.load("d24 relu d8")
    small, large = (compile_network(network, networks.ring(), x, batch) for batch in (1, 8))
    sizes = [[constant.stored.tensor.beats for operation in found.operations for constant in operation.constants]
             for found in (small, large)]
    assert sizes[0] == sizes[1] == [24 * 2, 8 * 3]
    assert [region.name for region in large.regions() if region.role.value == "matrix"] == ["d0", "d2"]


# --- N:M ----------------------------------------------------------------------------------------------------------


@pytest.mark.thin(1)
@pytest.mark.parametrize("fields, message", [
    ('sparsity = "2:3"', r"^layers\[0\] \(linear\): sparsity: '2:3'; allowed are N:M with M of 2, 4, 8, 16 and N of 1"),
    ('stride = 4', r"^layers\[0\] \(linear\): stride without sparsity; allowed beside sparsity$"),
    ('sparsity = "2:4", stride = 12', r"^layers\[0\] \(linear\): stride: 12; allowed are powers of two$"),
    ('sparsity = "2:4", stride = 0', r"stride: 0"), ('sparsity = 2', r"sparsity")])
def test_refused_sparsity(tmp_path, fields, message):
    network, checkpoint = write(tmp_path, up__weight=np.ones((7, 5)))
    network.write_text(TOML.replace('"up"}', f'"up", {fields}}}'))
    with pytest.raises(WingbeatError, match=message):
        load_network(network, checkpoint)


def test_only_what_is_kept_streams(networks):
    """And is counted: half of the multiplications, and for 16 bits picks of a sixteenth of the elements' beats more."""
    loaded = [networks.load(text, 4, 64) for text in ("d16!/2:4", "d16!")]
    found, dense = (compile_network(network, networks.ring(), x, 8) for network, x in loaded)
    assert found.operations[0].useful * 2 == dense.operations[0].useful
    beats = [each.operations[0].constants[0].stored.tensor.beats for each in (found, dense)]
    assert beats == [16 * 4 + 16 * 4 // 8, 16 * 8]


@pytest.mark.parametrize("change, changes, message", [
    (lambda w: w, {"sparse": False}, "^d0: array.sparse: false; a product with a matrix of 2:4 needs true$"),
    (np.ones_like, {}, "^d0: rows 0 to 1, which share a pattern: 4 of the inputs 0, .*; allowed are 2, for 2:4"),
    (lambda w: w * (np.arange(16)[:, None] != 2), {}, None)])
def test_weights_that_do_not_keep_to_it(networks, change, changes, message):
    network, x = networks.load("d16!/2:4", 4, 64)
    matrix = change(network.layers[0].matrix)
    network = replace(network, layers=(replace(network.layers[0], matrix=matrix), *network.layers[1:]))
    if message is None:
        assert len(compile_network(network, networks.ring(**changes), x, 8).operations) == 1
        return
    with pytest.raises(WingbeatError, match=message):
        compile_network(network, networks.ring(**changes), x, 8)
