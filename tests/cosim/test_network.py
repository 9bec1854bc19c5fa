"""Whole networks in generated Verilog: every element of the memory and every counter equals the models."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from safetensors.numpy import save_file

from wingbeat.gen.compiler.network.compile import compile_network
from wingbeat.gen.compiler.network.file import Attention
from wingbeat.gen.compiler.network.load import LoadedLayer, LoadedNetwork, Shape, load_network
from wingbeat.gen.compiler.network.reference import forward
from wingbeat.gen.compiler.network.split import compile_split
from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.network import simulate_network
from wingbeat.gen.cosim.testbench.simulators import find
from wingbeat.gen.cosim.timing import MEMORY_STALLS, MemoryTiming
from wingbeat.gen.explore.attention_map import attention_maps
from wingbeat.gen.presets.select import load_preset
from wingbeat.gen.workloads.fabnet import BlockShape, compile_block, fabnet_network, random_matrix
from wingbeat.gen.workloads.shipped import load_dataset
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Destination, Fetch
from wingbeat.hw.isa.record import records_of
from wingbeat.sim.reference.metrics import sqnr_db

CONFIG = CoreConfig.of(engines=4, layers=2, width=18, element_width=16, coefficient_width=17, half_words=256,
                       coefficient_words=450, program_words=4096, stream_words=8, memory_bits=14, descriptors=48,
                       vector_lanes=8, channel_beats=48, statistics_rows=128, records=True, row_ids=64)
SHAPE = BlockShape(tokens=16, hidden=64, ffn=128)


@pytest.fixture(scope="module")
def build():
    if find("verilator") is None:
        pytest.skip("verilator is not installed: no network was simulated on it")
    return Core(CONFIG).build()


@pytest.mark.parametrize("timing", [MemoryTiming(), MemoryTiming(40, Fraction(6)), MemoryTiming(3, Fraction(1))],
                         ids=lambda timing: f"{timing.latency},{timing.words_per_cycle}")
def test_fabnet_blocks(build, timing):
    compiled, x = compile_block(CONFIG, SHAPE, 1, 3)
    run = simulate_network(compiled, build, x, timing)
    assert run.mismatches == 0 and run.predicted
    assert sqnr_db(forward(compiled.network, x)[-1][1], run.results) > 70


@pytest.mark.parametrize("stalls", sorted(MEMORY_STALLS))
def test_stalls_change_nothing(build, stalls):
    compiled, x = compile_block(CONFIG, SHAPE, 1, 4)
    run = simulate_network(compiled, build, x, MemoryTiming(5, Fraction(6), stalls, 7))
    assert run.mismatches == 0, stalls


def chain(config, blocks):
    """Blocks with weights of their own on ``config``, and three inputs: two batches of two."""
    rng = np.random.default_rng(5)
    compiled = compile_network(fabnet_network(SHAPE, blocks, 3), config, rng.standard_normal((4, 16, 64)), 2)
    return compiled, rng.standard_normal((3, 16, 64))


def check_chain(compiled, build, x):
    run = simulate_network(compiled, build, x)
    assert run.mismatches == 0 and run.predicted and run.batches == 2
    assert sum(each.cycles for each in run.operations) == run.cycles
    np.testing.assert_array_equal(run.results, compiled.run_model(x))


def test_one_program_with_coefficients_from_memory(build):
    """Coefficients, channels and sets of six blocks take turns; the host writes one descriptor."""
    compiled, x = chain(CONFIG, 6)
    (segment,) = compiled.segments
    fetched = np.array(records_of(CONFIG, segment.records.beats))
    assert len(segment.program.setup) <= 64 and (fetched[:, 0] == 0).sum() > CONFIG.coefficient_words
    check_chain(compiled, build, x)


def test_several_programs(build):
    compiled, x = chain(CONFIG.changed(program_words=512), 3)
    assert len(compiled.segments) > 1
    check_chain(replace(compiled, config=CONFIG), build, x)


def check_split(split, build, x):
    """All programs on the Verilog, attention on the host between them."""
    runs = []

    def run(compiled, values):
        runs.append(simulate_network(compiled, build, values))
        return runs[-1].results

    np.testing.assert_array_equal(split.execute(x, run), split.execute_model(x).results)
    assert len(runs) == len(split.programs) and all(each.mismatches == 0 and each.predicted for each in runs)


def test_attention_on_the_host(build):
    """A block, an attention behind it, and three inputs in batches of two."""
    rng, size = np.random.default_rng(6), Shape(SHAPE.tokens, SHAPE.hidden)
    projections = []
    for name in ("a.q", "a.k", "a.v", "a.out"):
        spec, weights, *_ = random_matrix(name, SHAPE.hidden, SHAPE.hidden, rng)
        projections.append(LoadedLayer(name, spec, size, size, weights))
    attention = LoadedLayer("layers[2]", Attention(kind="attention", weights="a", heads=4), size, size,
                            projections=tuple(projections))
    network = LoadedNetwork("attends", size, None, (*fabnet_network(SHAPE, 1, 3).layers, attention))
    x = rng.standard_normal((3, *size))
    check_split(compile_split(network, CONFIG, rng.standard_normal((4, *size)), 2), build, x)


@pytest.mark.campaign
def test_the_dense_listops(need):
    need("verilator")
    task, config = load_dataset("listops_dense"), load_preset("matrix-16")
    check_split(compile_split(task.network, config, task.calibration, 16), Core(config).build(), task.inputs[:16])


EMBEDDING = """name = "net"
layers = [{kind = "embedding", weights = "e"}, {kind = "position", weights = "p"}, {kind = "layernorm", weights = "n"}]
[input]
tokens = 48
vocabulary = 500
"""


@pytest.mark.parametrize("timing", [MemoryTiming(), MemoryTiming(40, Fraction(6)), MemoryTiming(5, stalls="bursts")],
                         ids=lambda timing: f"{timing.latency},{timing.words_per_cycle},{timing.stalls}")
def test_an_embedding(build, tmp_path, timing):
    """The ids of a batch come in two FETCHes; a row is no multiple of a beat."""
    rng = np.random.default_rng(6)
    (tmp_path / "net.toml").write_text(EMBEDDING)
    save_file({"e.weight": rng.standard_normal((500, 20)), "p": rng.standard_normal((48, 20)),
               "n.weight": np.ones(20)}, tmp_path / "net.safetensors")
    network, x = load_network(tmp_path / "net.toml", tmp_path / "net.safetensors"), rng.integers(500, size=(5, 48))
    x[0, :3] = 0, 499, 499
    compiled = compile_network(network, CONFIG, x, 2)
    fetched = [step for step in compiled.segments[0].program.instructions if isinstance(step, Fetch)]
    assert sum(step.destination is Destination.IDS for step in fetched) == 2
    run = simulate_network(compiled, build, x[:3], timing)
    assert run.mismatches == 0 and run.predicted == (timing.stalls == "none")
    assert sqnr_db(forward(network, x[:3])[-1][1], run.results) > 65


def test_the_shipped_attention(need):
    """Held-out digits, and the probabilities behind them, which are read off the Verilog."""
    need("verilator")
    task, config = load_dataset("digits_attention"), load_preset("attention-16")
    compiled, build = compile_network(task.network, config, task.calibration, 2), Core(config).build()
    run = simulate_network(compiled, build, task.inputs[:3])
    assert run.mismatches == 0 and run.predicted and np.array_equal(run.results, run.model_results)
    assert (run.results[:, 0].argmax(axis=1) == task.labels[:3]).all()
    maps = attention_maps(compiled, build, task.inputs[:2])
    assert maps.mismatches == 0 and maps.error < 2e-3 and maps.probabilities.shape == (2, 4, 16, 16)
    np.testing.assert_allclose(maps.probabilities.sum(axis=-1), 1, atol=1e-3)


@pytest.mark.campaign
def test_the_shipped_digits(need):
    need("verilator")
    task, config = load_dataset("digits"), load_preset("hybrid-16")
    compiled = compile_network(task.network, config, task.calibration, 32)
    run = simulate_network(compiled, Core(config).build(), task.inputs[:20])
    assert run.mismatches == 0 and run.predicted
    assert (run.results[:, 0].argmax(axis=1) == task.labels[:20]).mean() > 0.9
