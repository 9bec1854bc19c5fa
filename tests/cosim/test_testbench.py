"""The ``tb/`` of a generated core, run as a stranger would: by its own script, with no wingbeat to import."""

import json
import os
import subprocess
import sys

import pytest

from wingbeat.gen.selftest import write_testbench
from wingbeat.gen.simulator import lint, models
from wingbeat.gen.presets import load_preset, names
from wingbeat.gen.verilog import emit
from wingbeat.hw.array import Array
from wingbeat.hw.config import Target


@pytest.fixture
def core(tmp_path):
    """Call with a configuration: a folder with its rtl/ and tb/."""
    def make(config):
        for name in ("rtl", "tb"):
            (tmp_path / name).mkdir()
        (tmp_path / "rtl" / f"{config.name}.v").write_text(emit(Array(config), config.name))
        for model in models(config):
            (tmp_path / "tb" / model.name).write_bytes(model.read_bytes())
        write_testbench(config, tmp_path / "tb")
        return tmp_path
    return make


def run(folder, simulator):
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MAKEFLAGS")}
    command = ["make", "-C", str(folder / "tb"), f"PYTHON={sys.executable}", f"SIMULATOR={simulator}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


@pytest.mark.parametrize("simulator, target", [("verilator", Target.PORTABLE), ("icarus", Target.ECP5)])
def test_core_passes_its_own_test(core, need, simulator, target):
    need(simulator)
    folder = core(load_preset("tiny", ["engines=1", f"target={target.value}"]))
    done = run(folder, simulator)
    trials = json.loads((folder / "tb" / "vectors" / "trials.json").read_text())
    assert len(trials) >= 20
    assert f"{len(trials)} of {len(trials)} trials passed" in done.stdout, done.stdout + done.stderr


def test_a_wrong_core_fails(core, need):
    need("icarus")
    folder = core(load_preset("tiny", ["engines=1"]))
    path = folder / "tb" / "vectors" / "fft4_safe_0.expected.hex"
    lines = path.read_text().split()
    lines[1] = f"{int(lines[1], 16) ^ 1:0{len(lines[1])}x}"
    path.write_text("\n".join(lines) + "\n")
    done = run(folder, "icarus")
    assert "fft4_safe_0: output beat 1 is" in done.stdout and done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("preset", names())
def test_vectors_are_the_same_bytes_twice(tmp_path, preset):
    config = load_preset(preset)
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        write_testbench(config, folder)
    files = [{p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
             for folder in folders]
    assert files[0] == files[1] and len(files[0]) > 20


@pytest.mark.parametrize("preset", names())
def test_verilog_is_lint_clean(tmp_path, need, preset):
    need("verilator")
    config = load_preset(preset)
    path = tmp_path / f"{config.name}.v"
    path.write_text(emit(Array(config), config.name))
    assert lint([path, *models(config)], config.name) == []


def test_lint_sees_a_fault(tmp_path, need):
    need("verilator")
    path = tmp_path / "loop.v"
    path.write_text("module loop(a, y);\n  input a;\n  output y;\n  wire b;\n  assign y = b & a;\n"
                    "endmodule\n")
    assert any("UNDRIVEN" in line for line in lint([path], "loop"))
