"""Cores behind a control bus in generated Verilog: on the benches of cores without, and with masters that are not ours
(control_bench.py)."""

from dataclasses import replace
import json

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
import pytest

from support.foreign import run_bench

from wingbeat.gen.cli.app import main
from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.selftest import small_programs
from wingbeat.gen.cosim.testbench import simulators
from wingbeat.gen.cosim.timing import MemoryTiming
from wingbeat.gen.output.registers import register_files
from wingbeat.hw.bus.axi4.burst import AxiParameters
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.core.top import core as core_of
from wingbeat.hw.isa.instruction import Fault
from wingbeat.hw.isa.record import record_beats
from wingbeat.hw.isa.registers import counter_names
from wingbeat.hw.isa.setup import SETUP_PROGRAM

SEED = 17
FIELDS = {"name": "runner", "engines": 2, "layers": 1, "coefficient_width": 16, "half_words": 64, "width": 16,
          "element_width": 16, "coefficient_words": 256, "program_words": 512, "stream_words": 4, "memory_bits": 12}


@pytest.mark.parametrize("bus", [{"control": "axi4-lite"}, {"control": "wishbone", "memory": "axi4"}])
def test_benches_of_other_cores(need, bus):
    """Results and counters over the registers; the log of blocks is compared by the bench."""
    need("icarus")
    config = CoreConfig.of(**FIELDS, block_log=16).changed(bus=bus)
    [case] = [case for case in small_programs(config, SEED) if case.name == "mixing8"]
    [run] = Core(config).simulate([case.under(MemoryTiming(4, stalls="gaps", seed=SEED))], "icarus")
    counters = run.counters
    assert not run.error and case.mismatches(run) == 0, f"seed {SEED}"
    assert counters.blocks == case.trial.n_blocks and counters.computing
    assert counters.total == (counters.computing + counters.waiting_input + counters.waiting_output
                              + counters.waiting_hazard)


def test_a_fault_is_seen(need):
    """Code and tag of a fault reach the bench over the registers."""
    need("icarus")
    config = CoreConfig.of(**FIELDS).changed(bus={"control": "axi4-lite"})
    [case] = [case for case in small_programs(config, SEED) if case.name == "mixing8"]
    trial = replace(case.under(MemoryTiming()), limit=len(case.trial.data) // 2)
    [run] = Core(config).simulate([trial], "icarus")
    assert run.error == Fault.REFUSED


class Refusing(wiring.Component):
    """A core that answers each write of a register with an error."""

    def __init__(self, config):
        self._core = core_of(config)
        super().__init__(self._core.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = self._core
        for (path, member, ours), (_, _, its) in zip(self.signature.flatten(self),
                                                     self._core.signature.flatten(self._core)):
            found = 0b10 if path == ("s_axi_ctrl_bresp",) else its
            m.d.comb += ours.eq(found) if member.flow is Out else its.eq(ours)
        return m


def test_an_error_of_the_registers_is_seen(need):
    """The benches of other cores do not go on behind an access that was refused."""
    need("icarus")
    config = CoreConfig.of(**FIELDS).changed(bus={"control": "axi4-lite"})
    [case] = [case for case in small_programs(config, SEED) if case.name == "fft8"]
    with pytest.raises(simulators.SimulatorError, match="deadline of 2000 cycles passed: 0 setup writes sent"):
        Core(config, Refusing(config)).simulate([replace(case.under(MemoryTiming()), deadline=2000)], "icarus")


@pytest.mark.parametrize("bus", ["axi4-lite", "wishbone"])
def test_a_foreign_master_runs_a_program(need, bus, tmp_path, monkeypatch):
    """The generated Verilog between a host and a memory that are not ours."""
    need("verilator")
    pytest.importorskip("cocotbext.axi", reason="cocotbext-axi is not installed: the registers met no foreign master")
    config = CoreConfig.of(**FIELDS).changed(bus={"control": bus, "memory": "axi4"})
    [case] = [case for case in small_programs(config, SEED) if case.name == "mixing8"]
    core, top = Core(config), config.name
    for name, text in {**register_files(config), f"{top}.v": core.verilog}.items():
        (tmp_path / name).write_text(text)
    facts = {"bus": bus, "seed": SEED, "registers": str(tmp_path / f"{top}_registers.py"),
             "setup": [list(map(int, write)) for write in case.trial.setup_writes[:-1]],
             "beat_bytes": AxiParameters.of(config).beat_bytes, "before": core.harness.lines(case.trial.data),
             "records": core.harness.lines(record_beats(config, case.trial.setup_writes[:-1])),
             "after": core.harness.lines(case.expected), "blocks": case.trial.n_blocks, "aborted": int(Fault.ABORTED),
             "counters": counter_names(config), "program_target": SETUP_PROGRAM,
             "program_words": sum(target == SETUP_PROGRAM for target, _, _ in case.trial.setup_writes)}
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    found, log = run_bench(monkeypatch, "control_bench", tmp_path / f"{top}.v", top, tmp_path,
                           {"CONTROL_FACTS": str(tmp_path / "facts.json")})
    assert found == (1, 0), f"seed {SEED}: {log[-3000:]}"


@pytest.mark.parametrize("arguments, line", [
    (["bench", "kernels", "--preset", "processor-16", "--set", "bus.control=wishbone"],
     "wingbeat: bus.control: 'wishbone'; allowed is native, the only control that the cycle model knows\n"),
    (["generate", "--preset", "tiny", "--set", "bus.control=uart", "-o", "out"],
     "wingbeat: bus.control: 'uart': Input should be 'native', 'axi4-lite' or 'wishbone'\n")])
def test_refused(tmp_path, monkeypatch, capsys, arguments, line):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert capsys.readouterr().err == line and not list(tmp_path.iterdir())
