"""The digits network: data, shipped weights, and the same network on float, model and simulated Verilog."""

import json
from pathlib import Path

import numpy as np
import pytest

from wingbeat.gen import demo, digits, simulator
from wingbeat.gen.demo import (ModelRunner, VerilogRunner, compile_network, pack_images, run_network,
                               unpack_images)
from wingbeat.gen.presets import load_preset
from wingbeat.hw.errors import WingbeatError
from wingbeat.sim.array import ArrayModel
from wingbeat.sim.cycles import Cycles
from wingbeat.sim.reference import mixing

SEED = 4
NETWORKS = Path(digits.__file__).parent / "networks"


@pytest.fixture(scope="module")
def network():
    return digits.load_network()


@pytest.fixture(scope="module")
def split():
    return digits.load_split()


@pytest.fixture(scope="module")
def config():
    """The array of the demonstration: one engine, large enough for the head, built in seconds."""
    return load_preset("ulx3s-16")


@pytest.fixture(scope="module")
def kernels(network, split, config):
    return compile_network(network, config, split.train_images)


# --- data and weights ---------------------------------------------------------------------------


def test_split_is_the_one_the_weights_were_trained_with(network, split):
    assert network.record["held_out_sha256"] == split.fingerprint
    assert network.record["held_out_images"] == len(split.held_labels)


def test_split_holds_out_30_percent_of_every_class_and_shares_no_image(split):
    for label in range(10):
        held, trained = (int(np.sum(part == label)) for part in (split.held_labels, split.train_labels))
        assert held == round(0.3 * (held + trained))
    assert len(split.held_labels) + len(split.train_labels) == 1797
    assert len(np.unique(split.held_indices)) == len(split.held_indices)
    # Indices of both parts cover the data: the pixels of all images add up.
    everything = np.concatenate([split.held_images, split.train_images])
    assert len(np.unique(everything.reshape(1797, -1), axis=0)) == 1797


def test_float_accuracy_on_held_out_images(network, split):
    score = digits.accuracy(digits.forward(network, split.held_images), split.held_labels)
    assert score >= 0.97
    assert score == pytest.approx(network.record["held_out_accuracy"], abs=1 / len(split.held_labels))


def test_log_tells_the_same_as_the_record(network):
    log = (NETWORKS / "digits.log").read_text(encoding="utf-8").splitlines()
    assert log[0].startswith(f"seed {network.record['seed']}, {network.record['epochs']} epochs")
    assert f"held-out accuracy {network.record['held_out_accuracy']:.4f}" in log[-1]


def test_weights_that_do_not_fit_the_sizes_are_refused(tmp_path, monkeypatch):
    for name in ("digits.json", "digits.safetensors"):
        (tmp_path / "networks").mkdir(exist_ok=True)
        (tmp_path / "networks" / name).write_bytes((NETWORKS / name).read_bytes())
    record = json.loads((NETWORKS / "digits.json").read_text(encoding="utf-8"))
    record["sizes"]["blocks"] += 1
    (tmp_path / "networks" / "digits.json").write_text(json.dumps(record), encoding="utf-8")
    monkeypatch.setattr(digits.resources, "files", lambda package: tmp_path)
    with pytest.raises(WingbeatError, match="digits.safetensors: butterfly layers"):
        digits.load_network()


# --- the forward pass ---------------------------------------------------------------------------


def test_every_layer_is_called_once_in_order_and_its_result_is_used(network, split):
    calls = []
    reference = digits.float_butterfly(network)

    def butterfly(name, rows):
        calls.append((name, rows.shape[1]))
        return reference(name, rows)

    def fft2(name, x):
        calls.append((name, x.shape[1:]))
        return digits.float_mixing(name, x)

    images, sizes = split.held_images[:6], network.sizes
    logits = digits.forward(network, images, butterfly, fft2)
    expected = {name: n_in for name, n_in, _, _ in sizes.butterflies()}
    expected |= {name: (sizes.tokens, sizes.hidden) for name in sizes.mixings()}
    assert dict(calls) == expected and len(calls) == len(expected)
    np.testing.assert_array_equal(logits, digits.forward(network, images))
    for broken in expected:
        spoilt = digits.forward(network, images,
                                lambda name, rows, b=broken: reference(name, rows) * (name != b),
                                lambda name, x, b=broken: digits.float_mixing(name, x) * (name != b))
        assert not np.allclose(spoilt, logits), broken


@pytest.mark.parametrize("count", [1, 2, 5])
def test_two_images_in_one_complex_row(count):
    x = np.random.default_rng(SEED).standard_normal((count, 8, 16))
    rows = pack_images(x)
    assert rows.shape == (-(-count // 2), 128)
    z = np.fft.fft2(rows.reshape(-1, 8, 16)).reshape(rows.shape)
    np.testing.assert_allclose(unpack_images(z, x.shape), mixing(x), atol=1e-12, err_msg=f"seed {SEED}")


# --- on the array -------------------------------------------------------------------------------


def test_model_agrees_with_float(network, split, kernels):
    images, labels = split.held_images[:200], split.held_labels[:200]
    runner = ModelRunner(kernels)
    logits, exact = run_network(network, images, runner), digits.forward(network, images)
    assert np.max(np.abs(logits - exact)) < 0.01 * np.max(np.abs(exact))
    assert digits.accuracy(logits, labels) == pytest.approx(digits.accuracy(exact, labels), abs=0.005)


def test_calibration_covers_held_out_images(network, split, kernels):
    """Saturation may happen, but it is rare on data of the same kind, and it is counted."""
    runner = ModelRunner(kernels)
    run_network(network, split.held_images, runner)
    assert runner.saturated_blocks <= 10
    loud = ModelRunner(kernels)
    run_network(network, 4 * split.held_images[:8], loud)
    assert loud.clamped_inputs > 0


def test_an_array_that_is_too_small_is_refused(network, split):
    with pytest.raises(WingbeatError, match="^[a-z_]+: [0-9]+ is too small for .*; allowed are"):
        compile_network(network, load_preset("tiny"), split.train_images[:8])


@pytest.mark.slow
def test_verilog_agrees_with_the_model_word_by_word(network, split, kernels, config):
    if simulator.find("verilator") is None:
        pytest.skip("VERILATOR IS NOT INSTALLED: the digits did not run on Verilog")
    images = split.held_images[:6]
    build = simulator.build_array(config)
    runner = VerilogRunner(kernels, build, network)
    logits = run_network(network, images, runner)
    assert {report.layer for report in runner.reports} == set(kernels)
    assert [report.layer for report in runner.reports if report.mismatches] == []
    np.testing.assert_array_equal(logits, run_network(network, images, ModelRunner(kernels)))
    for report in runner.reports:
        assert report.predicted and 0 < report.utilization <= report.utilization_limit, report


# --- the command --------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [0, -1, 540])
def test_a_bad_number_of_images_is_refused(images):
    with pytest.raises(WingbeatError, match=f"^--images: {images}; allowed are 1..539$"):
        demo.run_demo(images=images)


@pytest.fixture
def model_as_simulator(monkeypatch, config):
    """The models in place of simulator and synthesis; a switch makes a word or a cycle of each run wrong."""
    spoil = set()

    def simulate(build, trials):
        runs = []
        for trial in trials:
            model = ArrayModel(config)
            for write in trial.setup:
                model.write_setup(*write)
            blocks = model.run(None, trial.words)
            if "word" in spoil:
                blocks[0].words[0, 0] ^= 1
            counters = simulator.Counters(0, 0, 100, 80, 5, 5, 10, len(blocks))
            runs.append(simulator.Run(trial, blocks, np.zeros(len(blocks), np.int64), 0, counters))
        return runs

    figures = {"target": "ecp5", "device": "85k", "lut": 1, "ff": 2, "bram": 3, "dsp": 4,
               "utilisation": {"dsp": 0.5}, "tools": {"yosys": "yosys 1"}}
    monkeypatch.setattr(demo, "estimate",
                        lambda config, program: Cycles(100, 80, 5 + ("cycle" in spoil), 5, 10))
    monkeypatch.setattr(simulator, "build_array", lambda config: None)
    monkeypatch.setattr(simulator, "simulate", simulate)
    monkeypatch.setattr(demo, "synthesize", lambda config, target: figures)
    return spoil


def test_the_demonstration_prints_and_writes_its_numbers(model_as_simulator, tmp_path, capsys):
    assert demo.run_demo(images=4, json=tmp_path / "demo.json") == 0
    text, record = capsys.readouterr().out, json.loads((tmp_path / "demo.json").read_text(encoding="utf-8"))
    assert {layer["layer"] for layer in record["layers"]} <= set(text.split())
    assert [score["images"] for score in record["accuracy"]] == [539, 539, 4, 4, 4]
    assert record["total"]["mismatches"] == 0 and record["total"]["cycles"] == 800
    assert "in numpy, not on the array: LayerNorm" in text and "4 multipliers" in text


@pytest.mark.parametrize("what", ["word", "cycle"])
def test_the_demonstration_fails_when_something_differs(model_as_simulator, what):
    model_as_simulator.add(what)
    assert demo.run_demo(images=4) == 1


# --- the training -------------------------------------------------------------------------------


def test_training_script_computes_the_same_network(network, split):
    torch = pytest.importorskip("torch", reason="TORCH IS NOT INSTALLED: training is not tested")
    from safetensors.torch import load_file

    from wingbeat.gen.train.digits import DigitsNetwork

    trained = DigitsNetwork(network.sizes, torch.Generator())
    trained.load_state_dict(load_file(NETWORKS / "digits.safetensors"))
    trained.eval()
    images = split.held_images[:50]
    with torch.no_grad():
        logits = trained(torch.tensor(images, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(digits.forward(network, images), logits, atol=1e-4)


def test_training_learns_and_writes_what_the_package_loads(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="TORCH IS NOT INSTALLED: training is not tested")
    from wingbeat.gen.train.digits import main

    main(["-o", str(tmp_path / "networks"), "--epochs", "2", "--hidden", "16", "--blocks", "1"])
    monkeypatch.setattr(digits.resources, "files", lambda package: tmp_path)
    small = digits.load_network()
    assert small.sizes.hidden == 16 and small.record["seed"] == 1
    assert digits.forward(small, np.zeros((1, 8, 8))).shape == (1, 10)
