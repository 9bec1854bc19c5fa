"""The evaluation as a command: what is printed and written of a network that the host runs a part of."""

from dataclasses import replace
import json
from types import SimpleNamespace

import numpy as np
import pytest

from wingbeat.gen.cli import evaluate
from wingbeat.gen.cli.app import main
from wingbeat.gen.compiler.network.inputs import Padded
from wingbeat.gen.compiler.network.reference import forward
from wingbeat.gen.compiler.network.split import compile_split
from wingbeat.gen.cosim.network import NetworkRun, operation_cycles, predict_network
from wingbeat.gen.explore.network import classes
from wingbeat.gen.presets.select import load_preset
from wingbeat.gen.workloads.shipped import Dataset
from wingbeat.sim.reference.metrics import sqnr_db

ROW = {"parameters": 7, "multiplications": 8, "accuracy": {"float": 0.5}}
PRESET = "matrix-16"  # has no softmax
HOST = ["softmax of layers[1].layers[1] (a2)", "sum of layers[1]"]


ATTENDS = "b16 (norm attention/dddd) (norm d24 gelu d16) mean d5"


@pytest.fixture(scope="module", params=[ATTENDS, "b16 (norm mix) mean b5", f"lengths {ATTENDS}"])
def task(request, networks):
    """Labels are what float says, but for the last of 24."""
    has_lengths = request.param.startswith("lengths")
    network, inputs = networks.load(request.param.removeprefix("lengths "))
    if has_lengths:
        network, inputs = replace(network, has_lengths=True), Padded(inputs, np.arange(24) % 5)
    labels = classes(forward(network, inputs)[-1][1])
    labels[-1] = (labels[-1] + 1) % 5
    record = ROW | {"data": "noise", "guesses": {"a coin": 0.5}, "beside": {"other": ROW}}
    return Dataset("tiny", network, record, inputs, inputs, labels, str)


@pytest.fixture
def command(monkeypatch, task, networks, tmp_path):
    """``wingbeat evaluate tiny``: exit code and what it writes. The model is in the place of the simulator; what stands
    in the set is wrong."""
    spoil = set()

    def simulate_network(compiled, build, inputs):
        predicted = predict_network(compiled)
        operations = [found for segment, model in zip(compiled.segments, predicted)
                      for found in operation_cycles(segment, model)]
        runs = [[SimpleNamespace(counters=model)] for model in predicted]
        results = compiled.execute_model(inputs).results
        return NetworkRun(results, results, runs, int("element" in spoil), False, predicted,
                          "cycle" not in spoil, [], operations)

    monkeypatch.setattr(evaluate, "simulate_network", simulate_network)
    monkeypatch.setattr(evaluate, "Core", lambda config: SimpleNamespace(build=lambda: "build"))
    monkeypatch.setattr(evaluate, "load_dataset", lambda name: task)
    monkeypatch.setattr(evaluate, "load_trained", lambda name: task.network)

    def run(*arguments):
        code = main(["evaluate", "tiny", "--preset", PRESET, "--json", str(tmp_path / "found.json"), *arguments])
        return code, json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))

    return SimpleNamespace(run=run, spoil=spoil)


def test_it_prints_and_writes_its_numbers(command, task, capsys):
    code, found = command.run()
    text = " ".join(capsys.readouterr().out.split())
    is_split = any(layer.kind == "attention" for layer in task.network.walk())
    assert code == 0 and found["verilog"] is None
    assert found["accuracy"]["float64"] == found["accuracy"]["16 bits"] == pytest.approx(23 / 24)
    assert list(found["accuracy"]) == ["float64", "16 bits", "12 bits", "8 bits"]
    assert "tiny 7 8 95.83 % 95.83 %" in text and "other 7 8 50.00 %" in text and "a coin: 50.00 %" in text
    assert found["host"] == HOST * is_split and found["programs"] == (6 if is_split else 1)
    assert f"{found['programs']} programs; on the host: {', '.join(HOST) if is_split else 'nothing'}" in text
    assert [each["clamped"] for each in found["widths"]] == [0, 0, 0]
    assert "clamped at 16 bits: 0 elements, and inside of 0 blocks" in text
    cycles = sum(layer["cycles"] for layer in found["layers"])
    assert cycles > 0 and str(cycles) in text and f"layer on the array, {found['batch']} inputs" in text


def test_cycles_are_those_of_all_programs(command, task):
    _, found = command.run()
    split = compile_split(task.network, load_preset(PRESET), task.calibration, found["batch"])
    assert found["batch"] == 32 and sum(layer["cycles"] for layer in found["layers"]) == sum(
        each.total for compiled in split.programs.values() for each in predict_network(compiled))


def test_larger_blocks_change_no_integer(command, task):
    _, found = command.run()
    split = compile_split(task.network, load_preset(PRESET), task.calibration, 4)
    assert found["widths"][0]["sqnr_db"] == sqnr_db(forward(task.network, task.inputs)[-1][1],
                                                    split.execute_model(task.inputs).results)


def test_lengths_on_the_array(monkeypatch, networks, capsys):
    """Accuracies are measured in batches as large as the table of lengths."""
    network, inputs = networks.load("attention/dddd:1,1,16 mean d3")
    network, inputs = replace(network, has_lengths=True), Padded(inputs, np.arange(24) % 5)
    labels = classes(forward(network, inputs)[-1][1])
    record = ROW | {"data": "noise", "guesses": {}, "beside": {}}
    monkeypatch.setattr(evaluate, "load_dataset",
                        lambda name: Dataset("tiny", network, record, inputs, inputs, labels, str))
    assert main(["evaluate", "tiny", "--preset", "attention-16"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "tiny 7 8 100.00 % 100.00 %" in text and "on the host: nothing" in text


@pytest.mark.parametrize("text, preset", [("b16 (norm attention) mean b5", "attention-16"),
                                          ("d16 mean b5", "matrix-16"),
                                          ("b16 (norm attention/bbbd) mean b5", "attention-16")])
def test_linear_layers_get_a_ring(monkeypatch, networks, text, preset):
    monkeypatch.setattr(evaluate, "load_trained", lambda name: networks.load(text)[0])
    assert evaluate.default_preset("tiny") == preset


@pytest.mark.parametrize("what, code", [(None, 0), ("element", 1), ("cycle", 1)])
def test_inputs_on_the_verilog(command, task, capsys, what, code):
    command.spoil.add(what)
    found_code, found = command.run("--images", "20")
    assert found_code == code and found["verilog"]["inputs"] == 20
    assert found["verilog"]["accuracy"] == 1.0 and found["verilog"]["predicted"] is (what != "cycle")
    assert found["verilog"]["cycles"] == sum(layer["cycles"] for layer in found["layers"])
    wrong = found["programs"] if what == "element" else 0
    assert found["verilog"]["mismatches"] == wrong
    assert f"20 inputs on the simulated Verilog: 100.00 %, {found['verilog']['cycles']} cycles, {wrong} mismatches" \
        in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("images", [0, -1, 25])
def test_a_bad_number_of_images_is_refused(monkeypatch, task, capsys, images):
    monkeypatch.setattr(evaluate, "load_dataset", lambda name: task)
    monkeypatch.setattr(evaluate, "load_trained", lambda name: task.network)
    assert main(["evaluate", "tiny", "--images", str(images)]) == 2
    assert f"--images: {images}; allowed are 1..24" in capsys.readouterr().err


def test_an_unknown_network_is_refused(capsys):
    assert main(["evaluate", "letters"]) == 2
    assert "network: 'letters' is not one of digits," in capsys.readouterr().err
