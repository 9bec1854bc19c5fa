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
from wingbeat.gen.explore.attention_map import AttentionMaps
from wingbeat.gen.workloads.shipped import load_dataset
from wingbeat.hw.errors import WingbeatError
from wingbeat.sim.cycles.estimate import Cycles

FIGURES = {"target": "ecp5", "device": "85k", "lut": 1, "ff": 2, "bram": 3, "dsp": 4, "utilisation": {"dsp": 0.5},
           "tools": {"yosys": "yosys 1"}}


def some_of(whole):
    return replace(whole, inputs=whole.inputs[:40], labels=whole.labels[:40], calibration=whole.calibration[:64])


@pytest.fixture(scope="module")
def task():
    return some_of(load_dataset("digits"))


@pytest.fixture
def model_as_simulator(monkeypatch, task):
    """The model in place of simulator and synthesis; what stands in the set is made wrong."""
    spoil = set()

    def simulate_network(compiled, build, inputs, trace):
        (segment,) = compiled.segments
        blocks = list(range(len(segment.program.stages)))
        cycles = Cycles(total=9000 * len(blocks), block_begin=[9000 * each for each in blocks])
        modelled = compiled.run_model(inputs)
        results = -modelled if "class" in spoil else modelled
        runs = [[type("Run", (), {"counters": CounterValues(0, 0, cycles.total, 1, 1, 1, 1, 1)})]]
        return NetworkRun(results=results, model_results=modelled, runs=runs, mismatches=int("element" in spoil),
                          saturated=False, model_cycles=[cycles], predicted="cycle" not in spoil, clamped=[],
                          operations=operation_cycles(segment, cycles))

    monkeypatch.setattr(demo, "simulate_network", simulate_network)
    monkeypatch.setattr(demo, "Core", lambda config: SimpleNamespace(build=lambda: None))
    def attention_maps(compiled, build, inputs):
        probabilities = np.full((len(inputs), 4, 16, 16), 1 / 16)
        return AttentionMaps("block0.attention.softmax", probabilities, int("map" in spoil), 0.25)

    tasks = {"digits": task, "digits_attention": some_of(load_dataset("digits_attention"))}
    monkeypatch.setattr(demo, "attention_maps", attention_maps)
    monkeypatch.setattr(demo, "synthesize", lambda config, target: FIGURES)
    monkeypatch.setattr(demo, "load_dataset", tasks.__getitem__)
    monkeypatch.setattr(demo, "trace_timeline", lambda run, stages, title: None)
    return spoil


def test_it_prints_and_writes_its_numbers(model_as_simulator, tmp_path, capsys):
    json_file, page = tmp_path / "demo.json", tmp_path / "demo.html"
    assert demo.run_demo(images=20, json=json_file, page=page) == 0
    text, record = capsys.readouterr().out, json.loads(json_file.read_text(encoding="utf-8"))
    assert text.count("layers on the host: 0") == 2 and text.count("synthesis of hybrid_16") == 1
    assert "probabilities of 2 inputs read off the Verilog, 0 mismatches with the integer model, float64 differs by " \
        "0.2500 at most" in text
    assert record["synthesis"] == FIGURES
    assert [(each["network"], each["config"]["array"]["softmax_pairs"] > 0) for each in record["networks"]] == [
        ("digits", False), ("digits_attention", True)]
    for each in record["networks"]:
        assert each["host_layers"] == each["mismatches"] == 0
        assert [(row["by"], row["inputs"]) for row in each["accuracy"]] == [
            ("float64", 20), ("integer model", 20), ("simulated Verilog", 20)]
        names = {layer["layer"] for layer in each["layers"]}
        assert {"embed", "block0.w1", "block1.w2", "head"} <= names <= set(text.split())
        assert sum(layer["cycles"] for layer in each["layers"]) == each["cycles"]
    widths = {row["width"]: row for row in record["widths"]}
    assert set(widths) == {16, 12, 8} and widths[16]["accuracy"] >= 0.9
    first, second = (each["attention"] for each in record["networks"])
    assert first is None and np.array(second["probabilities"]).shape == (2, 4, 16, 16)


def test_the_page_has_samples_of_the_first_network_and_maps_of_the_second(model_as_simulator, monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "width_figures", lambda *arguments, report: [])
    page = tmp_path / "demo.html"
    assert demo.run_demo(images=20, page=page) == 0
    html = page.read_text(encoding="utf-8")
    above, section = html.split('<section id="attention">')
    assert above.count("<img") == 20 and "block1.w2" in above and "softmax" not in above.split("</header>")[1]
    assert section.count("head 4, at most 0.06") == 2 and "block0.attention.softmax" in section
    assert "digits_attention on attention_16" in section and section.count("simulated Verilog") > 0
    assert "float64 differs by 0.2500 at most" in section


def test_one_network_alone_has_its_maps_beside_its_samples(model_as_simulator, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(demo, "width_figures", lambda *arguments, report: [])
    page, json_file = tmp_path / "demo.html", tmp_path / "demo.json"
    assert demo.run_demo(images=3, network="digits_attention", page=page, json=json_file) == 0
    record = json.loads(json_file.read_text(encoding="utf-8"))
    assert [each["network"] for each in record["networks"]] == ["digits_attention"]
    assert "synthesis of attention_16" in capsys.readouterr().out
    section = page.read_text(encoding="utf-8").split('<section id="attention">')[1]
    assert "<table" not in section and section.count('class="map"') == 2


def test_a_preset_alone_is_for_the_first_network(model_as_simulator, monkeypatch, capsys):
    monkeypatch.setattr(demo, "width_figures", lambda *arguments, report: [])
    assert demo.run_demo(images=3, preset="matrix-16") == 0
    text = capsys.readouterr().out
    assert "digits on matrix_16" in text and "digits_attention" not in text


@pytest.mark.parametrize("what, network", [("element", "digits"), ("class", "digits"), ("cycle", "digits"),
                                           ("map", "digits_attention")])
def test_it_fails_when_something_differs(model_as_simulator, monkeypatch, what, network):
    monkeypatch.setattr(demo, "width_figures", lambda *arguments, report: [])
    model_as_simulator.add(what)
    assert demo.run_demo(images=4, network=network) == 1


@pytest.mark.parametrize("images", [0, -1, 41])
def test_a_bad_number_of_images_is_refused(model_as_simulator, images):
    with pytest.raises(WingbeatError, match=f"^--images: {images}; allowed are 1..40$"):
        demo.run_demo(images=images)


@pytest.mark.parametrize("arguments, line", [
    (["--network", "letters"], "network: 'letters' is not one of digits, digits_dense, digits_2of4, digits_1of4, "
                               "digits_attention, listops, listops_attention, listops_dense"),
    (["--preset", "tiny"], "memory: tiny has no [memory]; allowed is a processor"),
    (["--preset", "processor-16"], "embed: vector: processor_16 has no [vector]; allowed is a processor with one, "
                                   "for LayerNorm, scales, bias, activations and sums of tensors"),
    (["--network", "listops_attention", "--preset", "hybrid-16"], "block2.attention.softmax: array.softmax_pairs: 0; "
                                           "allowed are powers of two, for attention")])
def test_what_cannot_run_is_refused_in_one_line(arguments, line, capsys):
    assert main(["demo", *arguments]) == 2
    error = capsys.readouterr().err.splitlines()
    assert line in error[-1] and not any("Traceback" in each for each in error)


@pytest.mark.campaign
def test_the_integer_model_keeps_the_accuracy(task):
    """16 bits within 0.3 points of float, 12 within 1, on all held-out images (the demonstration prints both)."""
    whole = load_dataset("digits")
    from wingbeat.gen.explore.network import width_figures
    from wingbeat.gen.presets.select import load_preset

    config = load_preset("hybrid-16").changed(statistics_rows=1 << 16, memory_bits=22)
    found = {each.width: each for each in width_figures(whole.network, config, whole.calibration, whole.inputs, 256,
                                                        whole.labels, widths=(16, 12))}
    assert found[16].accuracy >= found[16].float_accuracy - 0.003
    assert found[12].accuracy >= found[12].float_accuracy - 0.01
    assert np.isfinite(found[12].sqnr_db)
