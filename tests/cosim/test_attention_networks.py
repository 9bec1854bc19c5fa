"""Networks with softmax attention in generated Verilog: every element of the memory and every counter equals the
models, results are those of the float reference."""

from dataclasses import replace
import math

import numpy as np
import pytest
from safetensors.numpy import save_file

from wingbeat.gen.compiler.network.compile import compile_network
from wingbeat.gen.compiler.network.inputs import Padded
from wingbeat.gen.compiler.network.load import load_network
from wingbeat.gen.compiler.network.reference import forward
from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.network import simulate_network
from wingbeat.gen.cosim.testbench.simulators import find
from wingbeat.gen.presets.select import load_preset
from wingbeat.sim.reference.metrics import sqnr_db

CONFIG = load_preset("attention-16").changed(ring_words=64)  # chunks of 64 keys


@pytest.fixture(scope="module")
def build():
    if find("verilator") is None:
        pytest.skip("verilator is not installed: no network with attention was simulated on it")
    return Core(CONFIG).build()


def load(folder, layers, shapes, tokens, features, top=""):
    """A network of ``layers`` with random tensors of ``shapes``."""
    rng = np.random.default_rng(1)
    tensors = {name: rng.standard_normal(shape) / math.sqrt(shape[-1] if len(shape) > 1 else 9)
               for name, shape in shapes.items()}
    tensors |= {name: 1 + tensors[name] / 4 for name in tensors if "norm" in name and name.endswith("weight")}
    (folder / "net.toml").write_text(f'name = "net"\nlayers = [{layers}]\n[input]\ntokens = {tokens}\n'
                                     f"features = {features}\n{top}")
    save_file(tensors, folder / "net.safetensors")
    return load_network(folder / "net.toml", folder / "net.safetensors")


def check(build, network, x, batch=2, least=65):
    """One batch and a part of one; ``least`` dB against the float reference."""
    run = simulate_network(compile_network(network, CONFIG, x, batch, check=False), build, x[:batch + 1])
    assert run.mismatches == 0 and run.predicted and run.batches == 2
    assert sqnr_db(forward(network, x[:batch + 1])[-1][1], run.results) > least


def projections(query, key, features):
    """Shapes of the matrices of an attention `a`, dense ones."""
    outputs = {"q": query, "k": key, "v": key}
    return {**{f"a.{part}.weight": (out, features) for part, out in outputs.items()},
            "a.out.weight": (features, query), "a.out.bias": (features,)}


ENCODER = {"in_proj_weight": (96, 32), "in_proj_bias": (96,), "out_proj.weight": (32, 32), "out_proj.bias": (32,)}
ENCODER = {f"e.self_attn.{name}": shape for name, shape in ENCODER.items()} | {
    "e.linear1.weight": (40, 32), "e.linear1.bias": (40,), "e.linear2.weight": (32, 40), "e.linear2.bias": (32,),
    "e.norm1.weight": (32,), "e.norm1.bias": (32,), "e.norm2.weight": (32,), "e.norm2.bias": (32,)}


@pytest.mark.parametrize("fields", ['activation = "gelu", norm_first = true', "causal = true"])
def test_a_layer_of_a_transformer_encoder(build, tmp_path, fields):
    network = load(tmp_path, f'{{kind = "encoder", weights = "e", heads = 2, {fields}}}', ENCODER, 11, 32)
    check(build, network, np.random.default_rng(2).standard_normal((6, 11, 32)))


def test_a_kind_of_matrix_for_each_projection(build, tmp_path):
    """A butterfly, N:M, dense, N:M."""
    shapes = projections(32, 32, 32) | {"a.q.twiddle": (1, 1, 5, 16, 2, 2), "a.q.bias": (32,)}
    del shapes["a.q.weight"]
    network = load(tmp_path, '{kind = "attention", weights = "a", heads = 1, sparsity = {k = "1:2", out = "2:4"}}',
                   shapes, 10, 32)
    [layer] = network.layers
    kept = {1: np.arange(32) // 8 % 2 == 1, 3: np.arange(32) // 8 % 4 < 2}  # of each row: inputs 8 apart are a group
    parts = tuple(replace(part, matrix=part.matrix * kept[number]) if number in kept else part
                  for number, part in enumerate(layer.projections))
    network = replace(network, layers=(replace(layer, projections=parts),))
    check(build, network, np.random.default_rng(4).standard_normal((6, 10, 32)))


def test_heads_that_share_keys(build, tmp_path):
    """Four heads of 16 features, two of keys and values, on rows of 24 features."""
    layer = '{kind = "attention", weights = "a", heads = 4, key_heads = 2, head_features = 16}'
    network = load(tmp_path, layer, projections(64, 32, 24), 13, 24)
    check(build, network, np.random.default_rng(3).standard_normal((6, 13, 24)))


@pytest.mark.parametrize("tokens, mask, lengths", [(37, "", [0, 37, 1, 20, 36, 8]),
                                                   (37, ", causal = true", [37, 0, 20, 1, 30, 8]),
                                                   (37, ", causal = true, alibi = true", [37, 5, 20, 1, 30, 8]),
                                                   (100, "", [3, 100, 70]), (100, ", window = 30", [0, 64, 1])])
def test_lengths_of_the_inputs(build, tmp_path, tokens, mask, lengths):
    """No token, one, some and all; with 100 of them in chunks, of which none may count. A batch and a part of one."""
    layer = f'{{kind = "attention", weights = "a", heads = 2, key_heads = 1, head_features = 16{mask}}}'
    network = load(tmp_path, layer, projections(32, 16, 24), tokens, 24, "lengths = true\n")
    values = np.random.default_rng(5).standard_normal((len(lengths), tokens, 24))
    check(build, network, Padded(values, np.array(lengths)), batch=4 if tokens == 37 else 2)
