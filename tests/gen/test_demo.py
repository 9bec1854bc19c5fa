"""The demonstration: the digits network as programs of a processor, on the integer model and on simulated Verilog."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from wingbeat.gen import demo, digits
from wingbeat.gen.demo import MixingLayer, ModelRunner, VerilogRunner, compile_network
from wingbeat.gen.presets import load_preset
from wingbeat.gen.processor_simulator import build_processor
from wingbeat.gen.simulator import Counters
from wingbeat.gen.testbench import simulators
from wingbeat.hw.errors import WingbeatError
from wingbeat.sim.cycles import Cycles
from wingbeat.sim.reference import sqnr_db

SEED = 4


@pytest.fixture(scope="module")
def network():
    return digits.load_network()


@pytest.fixture(scope="module")
def split():
    return digits.load_split()


@pytest.fixture(scope="module")
def config():
    return load_preset(demo.PRESET)


@pytest.fixture(scope="module")
def layers(network, split, config):
    return compile_network(network, config, split.train_images)


def logits_of(network, images, runner):
    return digits.forward(network, images, runner, runner)


# --- layers as programs -------------------------------------------------------------------------


def test_every_layer_is_a_program_in_order(network, layers):
    names = {name for name, *_ in network.sizes.butterflies()} | set(network.sizes.mixings())
    assert set(layers) == names
    assert {name for name, layer in layers.items() if isinstance(layer, MixingLayer)} == set(network.sizes.mixings())


@pytest.mark.parametrize("count", [1, 2, 5, 33])
def test_every_layer_on_the_model_is_the_float_layer(network, layers, count):
    """Any number of images, with blocks that are not full; the input is not touched."""
    rng, sizes = np.random.default_rng([SEED, count]), network.sizes
    for name, layer in layers.items():
        if isinstance(layer, MixingLayer):
            x = rng.standard_normal((count, sizes.tokens, sizes.hidden))
            want = digits.float_mixing(name, x)
        else:
            x = rng.uniform(-0.3, 0.3, (count, layer.kernel.in_size))
            want = digits.float_butterfly(network)(name, x)
        work = layer.workload(x)
        memory, outcomes = work.run_model()
        note = f"{name}, seed {SEED}, {count} images"
        assert not any(outcome.saturated for outcome in outcomes), note
        assert sqnr_db(want, layer.output(work, memory)) > 55, note
        changed = np.flatnonzero((memory != work.memory).any(axis=1))
        assert changed.min() >= x.size // work.config.memory_elements, note  # all rows are whole beats


def test_the_images_of_a_batch_do_not_meet(layers, network):
    """A mixed image is the same whatever the others are, in any place of the batch."""
    layer, sizes = layers["block0.mix"], network.sizes
    x = np.random.default_rng(SEED).standard_normal((7, sizes.tokens, sizes.hidden))
    mixed = run(layer, x)
    for number in range(len(x)):
        np.testing.assert_array_equal(mixed[number], run(layer, x[number:number + 1])[0], f"seed {SEED}, {number}")
    np.testing.assert_array_equal(mixed[::-1], run(layer, x[::-1]), f"seed {SEED}")


def run(layer, x):
    work = layer.workload(x)
    return layer.output(work, work.run_model()[0])


def test_every_held_out_image_fits_the_memory(layers, split, network):
    """The largest programs and layouts of the demonstration, and --images all the way up."""
    sizes, most = network.sizes, len(split.held_images)
    for count in (1, 255, 511, most):  # 511: blocks of all sizes
        for name, layer in layers.items():
            shape = ((count, sizes.tokens, sizes.hidden) if isinstance(layer, MixingLayer)
                     else (count * (1 if name == "head" else sizes.tokens), layer.kernel.in_size))
            layer.workload(np.zeros(shape))


def test_model_loses_nothing_on_all_held_out_images(network, split, layers):
    runner = ModelRunner(layers)
    logits, exact = logits_of(network, split.held_images, runner), digits.forward(network, split.held_images)
    assert np.max(np.abs(logits - exact)) < 0.01 * np.max(np.abs(exact))
    scores = [digits.accuracy(each, split.held_labels) for each in (logits, exact)]
    assert scores[0] >= scores[1] - 0.001
    # Clamping may happen, but it is rare on data of the same kind.
    assert runner.saturated_blocks <= 10 and runner.clamped_inputs <= 10


def test_clamping_is_counted(network, split, layers):
    loud = ModelRunner(layers)
    logits_of(network, 4 * split.held_images[:8], loud)
    assert loud.clamped_inputs > 0
    work = layers["block0.mix"].workload(np.ones((1, network.sizes.tokens, network.sizes.hidden)))
    assert any(outcome.saturated for outcome in work.run_model()[1]), "a constant has all its power in one element"


@pytest.mark.parametrize("fields, message", [
    ({"memory_bits": 0}, "memory_bits: 0 is an array without memory units; .*, allowed are 1..32"),
    ({"half_words": 256}, "half_words: 256 is too small for 512 points and layers = 2; allowed are 1024 and more")])
def test_a_processor_that_is_too_small_is_refused(network, split, config, fields, message):
    with pytest.raises(WingbeatError, match=f"^{message}$"):
        compile_network(network, config.model_copy(update=fields), split.train_images[:8])


def test_a_memory_that_is_too_small_is_refused(network, split, config):
    layers = compile_network(network, config.model_copy(update={"memory_bits": 8}), split.train_images[:8])
    with pytest.raises(WingbeatError, match="^memory_bits: 8 are too few for .*; allowed are"):
        layers["block0.mix"].workload(np.zeros((4, network.sizes.tokens, network.sizes.hidden)))


@pytest.mark.slow
def test_verilog_leaves_the_memory_that_the_model_leaves(network, split, layers, config):
    if simulators.find("verilator") is None:
        pytest.skip("VERILATOR IS NOT INSTALLED: the digits did not run on Verilog")
    images = split.held_images[:6]
    runner = VerilogRunner(layers, build_processor(config))
    logits = logits_of(network, images, runner)
    assert {report.layer for report in runner.reports} == set(layers)
    assert [report.layer for report in runner.reports if report.mismatches] == []
    np.testing.assert_array_equal(logits, logits_of(network, images, ModelRunner(layers)))
    for report in runner.reports:
        assert report.predicted and 0 < report.utilization <= report.utilization_limit <= 1, report


# --- the command --------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [0, -1, 540])
def test_a_bad_number_of_images_is_refused(images):
    with pytest.raises(WingbeatError, match=f"^--images: {images}; allowed are 1..539$"):
        demo.run_demo(images=images)


@pytest.fixture
def model_as_simulator(monkeypatch, layers):
    """The models in place of simulator and synthesis; a switch makes an element, a report or a cycle of each run
    wrong."""
    spoil = set()

    def run_workload(build, work, timing):
        memory, outcomes = work.run_model()
        if "element" in spoil:
            memory[-1, -1] ^= 1
        blocks = [SimpleNamespace(exponent=o.exponent, saturated=o.saturated ^ ("report" in spoil)) for o in outcomes]
        return SimpleNamespace(memory=memory, blocks=blocks, counters=Counters(0, 0, 100, 80, 5, 5, 10, len(blocks)))

    figures = {"target": "ecp5", "device": "85k", "lut": 1, "ff": 2, "bram": 3, "dsp": 4,
               "utilisation": {"dsp": 0.5}, "tools": {"yosys": "yosys 1"}}
    monkeypatch.setattr(demo, "compile_network", lambda network, config, images: layers)
    monkeypatch.setattr(demo, "estimate",
                        lambda config, program, setup: Cycles(100, 80, 5 + ("cycle" in spoil), 5, 10))
    monkeypatch.setattr(demo, "build_processor", lambda config: None)
    monkeypatch.setattr(demo, "run_workload", run_workload)
    monkeypatch.setattr(demo, "synthesize", lambda config, target: figures)
    held = digits.load_split()
    monkeypatch.setattr(demo, "load_split", lambda: digits.Split(
        held.train_images, held.train_labels, held.held_images[:20], held.held_labels[:20], held.held_indices))
    return spoil


def test_the_demonstration_prints_and_writes_its_numbers(model_as_simulator, tmp_path, capsys):
    assert demo.run_demo(images=4, json=tmp_path / "demo.json") == 0
    text, record = capsys.readouterr().out, json.loads((tmp_path / "demo.json").read_text(encoding="utf-8"))
    assert {layer["layer"] for layer in record["layers"]} <= set(text.split())
    assert [score["images"] for score in record["accuracy"]] == [20, 20, 4, 4, 4]
    assert record["total"]["mismatches"] == 0 and record["total"]["cycles"] == 800
    assert "in numpy, not on the processor: LayerNorm" in text and "4 multipliers" in text
    assert "separating" not in text


@pytest.mark.parametrize("what", ["element", "report", "cycle"])
def test_the_demonstration_fails_when_something_differs(model_as_simulator, what):
    model_as_simulator.add(what)
    assert demo.run_demo(images=4) == 1
