"""The ``tb/`` of a generated core, run as a stranger would: by its own script, with no wingbeat to import."""

import json
import os
import re
import subprocess
import sys

import pytest

from support.campaign import presets
from wingbeat.gen.cosim.core import Core, lint_core
from wingbeat.gen.cosim.selftest import write_testbench
from wingbeat.gen.presets.select import load_preset
from wingbeat.hw.config import CoreConfig, Target

PROCESSOR = CoreConfig.of(name="runner", engines=2, layers=1, width=16, element_width=16, coefficient_width=16,
                          half_words=64, coefficient_words=256, program_words=512, stream_words=4, memory_bits=12)


@pytest.fixture
def make_core(tmp_path):
    """Call with a configuration: a folder with its rtl/ and tb/, on a path that a shell and make would take apart."""
    def make(config):
        core, folder = Core(config), tmp_path / "a b$c'd#e"
        for name in ("rtl", "tb"):
            (folder / name).mkdir(parents=True)
        (folder / "rtl" / f"{config.name}.v").write_text(core.verilog)
        write_testbench(core, folder / "tb")
        return folder
    return make


def run(folder, simulator, *goals):
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MAKEFLAGS")}
    command = ["make", "-C", str(folder / "tb"), f"PYTHON={sys.executable}", f"SIMULATOR={simulator}", *goals]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


def spoil(path, number, bit=0):
    """Change a bit of line ``number`` of a file of vectors."""
    lines = path.read_text().split()
    lines[number] = f"{int(lines[number], 16) ^ 1 << bit:0{len(lines[number])}x}"
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("simulator, settings", [
    ("verilator", ["target=portable"]), ("icarus", ["target=ecp5"]), ("verilator", ["bus.stream=axi4-stream"]),
    ("verilator", ["bus.stream=axi4-stream", "bus.control=wishbone", "stream_words=1"])])
def test_core_passes_its_own_test(make_core, need, simulator, settings):
    need(simulator)
    folder = make_core(load_preset("tiny", ["engines=1", *settings]))
    done = run(folder, simulator)
    trials = json.loads((folder / "tb" / "vectors" / "trials.json").read_text())
    assert len(trials) >= 20 and [each["name"] for each in trials[-2:]] == ["bpmm64_largest", "fft64_largest"]
    assert f"{len(trials)} of {len(trials)} trials passed" in done.stdout, done.stdout + done.stderr


def test_a_planted_fault_is_found(make_core, need):
    need("icarus")
    folder = make_core(load_preset("tiny", ["engines=1"]))
    done = run(folder, "icarus", "fault")
    assert re.search(r"with wrong coefficients: [1-9]\d* of \d+ trials failed$", done.stdout, re.M), done.stdout
    assert done.returncode == 0, done.stderr


def test_a_wrong_core_fails(make_core, need):
    need("icarus")
    folder = make_core(load_preset("tiny", ["engines=1"]))
    spoil(folder / "tb" / "vectors" / "fft4_safe_0.expected.hex", 1)
    done = run(folder, "icarus")
    assert "fft4_safe_0: output beat 1 is" in done.stdout and done.returncode, done.stdout + done.stderr


def test_a_wrong_tlast_fails(make_core, need):
    """A block of one beat comes in without: a flag of that block, and of no other trial."""
    need("icarus")
    config = load_preset("tiny", ["engines=1", "bus.stream=axi4-stream"])
    folder = make_core(config)
    spoil(folder / "tb" / "vectors" / "fft4_safe_0.input.hex", 1, bit=config.memory_elements * 16)
    done = run(folder, "icarus")
    assert "fft4_safe_0: output beat 1 is" in done.stdout and done.returncode, done.stdout + done.stderr
    assert "31 of 32 trials passed" in done.stdout, done.stdout


@pytest.mark.parametrize("simulator, target", [
    pytest.param("icarus", Target.ECP5, marks=pytest.mark.campaign),
    pytest.param("icarus", Target.PORTABLE, marks=pytest.mark.campaign),
    pytest.param("verilator", Target.PORTABLE, marks=pytest.mark.slow)])
def test_processor_passes_its_own_test(make_core, need, simulator, target):
    need(simulator)
    folder = make_core(PROCESSOR.changed(target=target))
    done = run(folder, simulator)
    trials = json.loads((folder / "tb" / "vectors" / "trials.json").read_text())
    assert {"bpmm64_largest", "fft64_largest"} <= {each["name"] for each in trials}
    assert f"{len(trials)} of {len(trials)} trials passed" in done.stdout, done.stdout + done.stderr
    assert not done.returncode and len(trials) >= 15
    results = [json.loads(path.read_text()) for path in (folder / "tb" / "build").rglob("*.result.json")]
    deadlines = {trial["name"]: trial["settings"]["deadline"] for trial in trials}
    # No run ends with an error code, nor near its deadline.
    error_at, error_bits = trials[0]["error_bits"]
    assert [result["name"] for result in results if int(result["status"], 16) >> error_at & (1 << error_bits) - 1] == []
    assert all(4 * result["end_cycle"] < deadlines[result["name"]] for result in results)


def test_a_wrong_processor_fails(make_core, need):
    need("icarus")
    folder = make_core(PROCESSOR)
    vectors = folder / "tb" / "vectors"
    spoil(vectors / "fft8.expected.hex", 13)
    spoil(vectors / "butterfly16-ideal.setup.hex", 0, bit=24 + 10)  # the data of a write: another coefficient
    spoil(vectors / "mixing8-ideal.setup.hex", -1)                  # the start becomes a write to the program
    lines = (vectors / "fft16-ideal.setup.hex").read_text().split()
    program = next(number for number, line in enumerate(lines) if line.endswith("000080"))
    spoil(vectors / "fft16-ideal.setup.hex", program, bit=24 + 3)   # the first instruction has an unknown opcode
    done = run(folder, "icarus")
    for message in ("14 of 20 trials", "fft16-ideal: cycle", "stopped with error 1", "fft8-ideal: beat 13 is",
                    "fft8-slow: beat 13 is", "butterfly16-ideal: beat", "mixing8-ideal: deadline of"):
        assert message in done.stdout, done.stdout + done.stderr
    assert done.returncode


@pytest.mark.parametrize("preset", presets())
def test_vectors_are_the_same_bytes_twice(tmp_path, preset):
    config = load_preset(preset)
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        write_testbench(Core(config), folder)
    files = [{p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
             for folder in folders]
    assert files[0] == files[1] and len(files[0]) > 20


@pytest.mark.parametrize("preset", [*presets(later=("processor-16", "ulx3s-16", "ulx3s-25f", "ulx3s-processor")), None])
def test_verilog_is_lint_clean(tmp_path, need, preset):
    need("verilator")
    config = load_preset(preset) if preset else PROCESSOR
    path, core = tmp_path / f"{config.name}.v", Core(config)
    path.write_text(core.verilog)
    assert lint_core([path, *core.primitives], config.name) == []


def test_lint_sees_a_fault(tmp_path, need):
    need("verilator")
    path = tmp_path / "loop.v"
    path.write_text("module loop(a, y);\n  input a;\n  output y;\n  wire b;\n  assign y = b & a;\n"
                    "endmodule\n")
    assert any("UNDRIVEN" in line for line in lint_core([path], "loop"))
