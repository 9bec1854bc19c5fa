"""The demonstration as a command: its tables, its page, and that it fails when something differs."""

from dataclasses import replace
import json
from types import SimpleNamespace

import numpy as np
import pytest

from wingbeat.gen.cli import demo
from wingbeat.gen.cli.app import main
from wingbeat.gen.cosim.job import CounterValues
from wingbeat.gen.cosim.network import NetworkRun, operation_cycles
from wingbeat.gen.workloads.shipped import load_dataset
from wingbeat.hw.errors import WingbeatError
from wingbeat.sim.cycles.estimate import Cycles

FIGURES = {"target": "ecp5", "device": "85k", "lut": 1, "ff": 2, "bram": 3, "dsp": 4, "utilisation": {"dsp": 0.5},
           "tools": {"yosys": "yosys 1"}}


@pytest.fixture(scope="module")
def task():
    whole = load_dataset(demo.NETWORK)
    return replace(whole, inputs=whole.inputs[:40], labels=whole.labels[:40], calibration=whole.calibration[:64])


@pytest.fixture
def model_as_simulator(monkeypatch, task):
    """The model in place of simulator and synthesis; what stands in the set is made wrong."""
    spoil = set()

    def simulate_network(compiled, build, inputs, trace):
        (segment,) = compiled.segments
        blocks = list(range(len(segment.program.stages)))
        cycles = Cycles(total=9000 * len(blocks), block_begin=[9000 * each for each in blocks])
        results = compiled.run_model(inputs)
        if "class" in spoil:
            results = -results
        runs = [[type("Run", (), {"counters": CounterValues(0, 0, cycles.total, 1, 1, 1, 1, 1)})]]
        return NetworkRun(results=results, runs=runs, mismatches=int("element" in spoil), saturated=False,
                          model_cycles=[cycles], predicted="cycle" not in spoil, clamped=[],
                          operations=operation_cycles(segment, cycles))

    monkeypatch.setattr(demo, "simulate_network", simulate_network)
    monkeypatch.setattr(demo, "Core", lambda config: SimpleNamespace(build=lambda: None))
    monkeypatch.setattr(demo, "synthesize", lambda config, target: FIGURES)
    monkeypatch.setattr(demo, "load_dataset", lambda name: task)
    monkeypatch.setattr(demo, "trace_timeline", lambda run, stages, title: None)
    return spoil


def test_it_prints_and_writes_its_numbers(model_as_simulator, task, tmp_path, capsys):
    json_file, page = tmp_path / "demo.json", tmp_path / "demo.html"
    assert demo.run_demo(images=20, json=json_file, page=page) == 0
    text, record = capsys.readouterr().out, json.loads(json_file.read_text(encoding="utf-8"))
    assert "layers on the host: 0" in text and record["host_layers"] == 0
    assert [(row["by"], row["inputs"]) for row in record["accuracy"]] == [
        ("float64", 20), ("integer model", 20), ("simulated Verilog", 20)]
    names = {layer["layer"] for layer in record["layers"]}
    assert {"embed", "block0.w1", "block1.w2", "head"} <= names <= set(text.split())
    assert sum(layer["cycles"] for layer in record["layers"]) == record["cycles"]
    widths = {row["width"]: row for row in record["widths"]}
    assert set(widths) == {16, 12, 8} and widths[16]["accuracy"] >= 0.9
    html = page.read_text(encoding="utf-8")
    assert html.count("<img") >= 20 and "block0.w1" in html


@pytest.mark.parametrize("what", ["element", "class", "cycle"])
def test_it_fails_when_something_differs(model_as_simulator, monkeypatch, what):
    monkeypatch.setattr(demo, "width_figures", lambda *arguments, report: [])
    model_as_simulator.add(what)
    assert demo.run_demo(images=4) == 1


@pytest.mark.parametrize("images", [0, -1, 41])
def test_a_bad_number_of_images_is_refused(model_as_simulator, images):
    with pytest.raises(WingbeatError, match=f"^--images: {images}; allowed are 1..40$"):
        demo.run_demo(images=images)


@pytest.mark.parametrize("arguments, line", [
    (["--network", "letters"], "network: 'letters' is not one of digits, digits_dense, digits_2of4, digits_1of4, "
                               "listops, listops_attention, listops_dense"),
    (["--preset", "tiny"], "memory: tiny has no [memory]; allowed is a processor"),
    (["--preset", "processor-16"], "embed: vector: processor_16 has no [vector]; allowed is a processor with one, "
                                   "for LayerNorm, scales, bias, activations and sums of tensors"),
    (["--network", "listops_attention"], "block2.attention.softmax: array.softmax_pairs: 0; "
                                           "allowed are powers of two, for attention")])
def test_what_cannot_run_is_refused_in_one_line(arguments, line, capsys):
    assert main(["demo", *arguments]) == 2
    error = capsys.readouterr().err.splitlines()
    assert line in error[-1] and not any("Traceback" in each for each in error)


@pytest.mark.campaign
def test_the_integer_model_keeps_the_accuracy(task):
    """16 bits within 0.3 points of float, 12 within 1, on all held-out images (the demonstration prints both)."""
    whole = load_dataset(demo.NETWORK)
    from wingbeat.gen.explore.network import width_figures
    from wingbeat.gen.presets.select import load_preset

    config = load_preset(demo.PRESET).changed(statistics_rows=1 << 16, memory_bits=22)
    found = {each.width: each for each in width_figures(whole.network, config, whole.calibration, whole.inputs, 256,
                                                        whole.labels, widths=(16, 12))}
    assert found[16].accuracy >= found[16].float_accuracy - 0.003
    assert found[12].accuracy >= found[12].float_accuracy - 0.01
    assert np.isfinite(found[12].sqnr_db)
