"""A processor with an AXI4 master in generated Verilog, on the AxiRam of cocotbext-axi: programs, refusals, and that
the bench sees faults of the core."""

from dataclasses import replace
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tomllib

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
import numpy as np
import pytest

from wingbeat.gen.cli.app import main
from wingbeat.gen.cosim.axi import AxiHarness
from wingbeat.gen.cosim.core import Core, lint_core
from wingbeat.gen.cosim.selftest import small_programs, write_testbench
from wingbeat.gen.cosim.testbench.simulators import SimulatorError, need_packages
from wingbeat.gen.cosim.timing import MEMORY_STALLS, MemoryTiming
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.core.top import core as core_of
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.instruction import Fault

SEED = 17
FIELDS = {"name": "runner", "engines": 2, "layers": 1, "coefficient_width": 16, "half_words": 64,
          "coefficient_words": 256, "program_words": 512, "stream_words": 4, "memory_bits": 12}
BUSES = {  # width of an element, and the bus
    "two transfers a beat": (16, {"data_width": 64}),
    "slots of 32 bits, short bursts": (18, {"data_width": 128, "longest_burst": 4, "reads": 8, "writes": 2}),
    "narrow transfers": (8, {"data_width": 256, "id_width": 4, "address_width": 40}),
}
EVERY_CHANNEL = [name for name, (chances, _) in MEMORY_STALLS.items() if all(chances)]


def axi_config(bus="two transfers a beat", **changes):
    width, fields = BUSES[bus]
    config = CoreConfig.of(**FIELDS, width=width, element_width=width)
    return CoreConfig.model_validate({**config.choices(), "bus": {"memory": "axi4", **fields, **changes}})


def timings():
    yield "ideal", MemoryTiming()
    yield "rate", MemoryTiming(3, 2)
    for stalls in EVERY_CHANNEL:
        yield stalls, MemoryTiming(8, stalls=stalls, seed=SEED)


@pytest.mark.parametrize("simulator, bus", [
    ("icarus", "narrow transfers"), pytest.param("verilator", "two transfers a beat", marks=pytest.mark.slow),
    *(pytest.param("icarus", bus, marks=pytest.mark.campaign) for bus in ("two transfers a beat",
                                                                          "slots of 32 bits, short bursts"))])
def test_programs(need, simulator, bus):
    need(simulator)
    config = axi_config(bus)
    cases = {f"{case.name}-{name}": (case, case.under(timing, name)) for case in small_programs(config, SEED)
             if case.name in ("fft8", "mixing8") for name, timing in timings()}
    runs = Core(config).simulate([trial for _, trial in cases.values()], simulator)
    for run in runs:
        case, note = cases[run.trial.name][0], f"{bus}, {run.trial.name}, seed {SEED}"
        assert not run.error and case.mismatches(run) == 0, note
        assert run.reads and run.writes, note
    cycles = {run.trial.name: run.cycles for run in runs}
    for name in cycles:  # the memory is as slow as it was asked to be
        assert "ideal" in name or cycles[name] > cycles[f"{name.split('-')[0]}-ideal"], (bus, cycles)


@pytest.mark.slow
def test_operands_from_memory(need):
    """FETCHes of records and matrices, dense and sparse ones, over the bus."""
    need("verilator")
    fields = FIELDS | {"records": True, "ring_words": 64, "partial_words": 16, "sparse": True, "memory_bits": 13,
                       "half_words": 256}
    plain = CoreConfig.of(**fields, width=16, element_width=16)
    config = CoreConfig.model_validate({**plain.choices(), "bus": {"memory": "axi4", "data_width": 64}})
    cases = {f"{case.name}-{name}": (case, case.under(timing, name)) for case in small_programs(config, SEED)
             if case.name in ("dense16", "nm64", "nm128") for name, timing in timings()}
    assert len(cases) > 10
    for run in Core(config).simulate([trial for _, trial in cases.values()], "verilator"):
        case = cases[run.trial.name][0]
        assert not run.error and case.mismatches(run) == 0, f"{run.trial.name}, seed {SEED}"


def small(name="mixing8", **changes):
    [case] = [case for case in small_programs(axi_config(**changes), SEED) if case.name == name]
    return case


def test_refusal_and_record(need):
    """Beyond the limit nothing is touched, and the program stops; the activity of the units is recorded."""
    need("icarus")
    case = small()
    trial = replace(case.under(MemoryTiming(4, stalls="gaps", seed=SEED)), limit=len(case.trial.data) // 2, trace=True)
    [run] = Core(axi_config()).simulate([trial], "icarus")
    assert run.error == Fault.REFUSED and run.activity["cycle"].size > 10
    assert np.array_equal(run.data[trial.limit:], trial.data[trial.limit:])


class Faulty(wiring.Component):
    """A processor with AXI in which ``fault`` makes something else of one pin."""

    def __init__(self, config, pin, fault):
        self._core, self._pin, self._fault = core_of(config), pin, fault
        super().__init__(self._core.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = self._core
        for (path, member, ours), (_, _, its) in zip(self.signature.flatten(self), core.signature.flatten(core)):
            found = self._fault(its, core) if path == (self._pin,) else its
            m.d.comb += ours.eq(found) if member.flow is Out else its.eq(ours)
        return m


# Pin, what becomes of it, and what the bench says.
FAULTS = {
    "burst of reads too long": ("m_axi_arlen", lambda pin, core: pin + 1, None),
    "burst of writes too long": ("m_axi_awlen", lambda pin, core: pin + 1, None),
    "address behind the limit": ("m_axi_araddr", lambda pin, core: pin + 0x10000, "a burst leaves the memory, crosses"),
    "a byte is not written": ("m_axi_wstrb", lambda pin, core: pin & 0xFE, None),
    "data change under stall": ("m_axi_wdata", lambda pin, core: pin ^ ~core.m_axi_wready, "a data transfer changed"),
    "address vanishes": ("m_axi_awvalid", lambda pin, core: pin & (core.m_axi_awready | core.m_axi_wready),
                         "a write burst changed or vanished"),
    "answers of the bus are lost": ("m_axi_bready", lambda pin, core: 0, None),
}


IN_SHORT = ("burst of reads too long", "a byte is not written", "address vanishes")  # a rule, data, a handshake


@pytest.mark.parametrize("name", [
    name if name in IN_SHORT else pytest.param(name, marks=pytest.mark.campaign) for name in FAULTS])
def test_sees_a_fault_of_the_core(need, name):
    """A rule of the bus, the deadline, or another memory afterwards."""
    need("icarus")
    config, case, (pin, fault, message) = axi_config(), small(), FAULTS[name]
    trial = replace(case.under(MemoryTiming(4, stalls="gaps", seed=SEED)), deadline=3000)
    core = Core(config, Faulty(config, pin, fault))
    if message:
        with pytest.raises(SimulatorError, match=message):
            core.simulate([trial], "icarus")
        return
    try:
        [run] = core.simulate([trial], "icarus")
    except SimulatorError as error:
        assert "1 of 1 trials failed on icarus: mixing8 (latency 4, " in str(error), name
    else:
        assert case.mismatches(run), name


def test_the_faulty_core_without_a_fault_is_none(need):
    need("icarus")
    config, case = axi_config(), small()
    core = Core(config, Faulty(config, "", None))
    [run] = core.simulate([replace(case.under(MemoryTiming(4, stalls="gaps", seed=SEED)), deadline=3000)], "icarus")
    assert case.mismatches(run) == 0


# --- the folder -----------------------------------------------------------------------------------


def run_make(folder, simulator):
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "MAKEFLAGS")}
    command = ["make", "-C", str(folder / "tb"), f"PYTHON={sys.executable}", f"SIMULATOR={simulator}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A generated core, by the command line."""
    config, tmp_path = axi_config(), tmp_path_factory.mktemp("axi")
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in config.choices().items()
                   if not isinstance(value, dict))
    for section, fields in config.choices().items():
        if isinstance(fields, dict) and section != "bus":
            text += f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())
    (tmp_path / "core.toml").write_text(text)
    target = tmp_path / "core"
    assert main(["generate", "--config", str(tmp_path / "core.toml"), "--set", "bus.memory=axi4",
                 "-o", str(target)]) == 0
    return target


@pytest.fixture
def folder(made, tmp_path):
    """A copy of it that a test may change."""
    return shutil.copytree(made, tmp_path / "core")


def test_the_folder_is_complete(folder):
    facts = json.loads((folder / "manifest.json").read_text())
    assert facts["axi4"] == {
        "prefix": "m_axi_", "data_width": 64, "address_width": 32, "id_width": 1, "longest_burst": 16,
        "outstanding": {"read_beats": 64, "write_bursts": 16}, "transfer_bytes": 8, "transfers_per_beat": 2,
        "beat_bytes": 16, "slot_bits": 16, "base_alignment": 4096}
    verilog = (folder / "rtl" / "runner.v").read_text()
    top = verilog[verilog.index("\nmodule runner("):]
    widths = {port["name"]: port["width"] for port in facts["ports"]}
    assert {"m_axi_awaddr": 32, "m_axi_wstrb": 8, "m_axi_rdata": 64, "base": 32, "limit": 13}.items() <= widths.items()
    assert not any(name.startswith("port__") for name in widths)
    for port in facts["ports"]:
        width = f"[{port['width'] - 1}:0] " if port["width"] > 1 else ""
        assert f"  {port['direction']} {width}{port['name']};" in top
    bench = json.loads((folder / "tb" / "bench.json").read_text())
    assert (bench["bench"], bench["top"]) == ("axi_bench", "runner_on_axi") and bench["needs"] == AxiHarness.needs
    names = {path.name for path in (folder / "tb").iterdir()}
    assert {"axi_bench.py", "processor_bench.py", "trials.py", "axi_watch.v", "driver.v", "run.py"} <= names
    assert "memory.v" not in names and "array_bench.py" not in names
    text = (folder / "README.md").read_text()
    for word in ("cocotbext-axi==0.1.28", "multiple of 4096", "`base` + 16·n", "`limit`", "64 bits of data",
                 "at most 16 transfers of 8 bytes", "all five channels", "`bus_error_address`",
                 "write 2 to the control register"):
        assert word in text, word
    assert "port__" not in text and "\n\n\n" not in text
    trials = json.loads((folder / "tb" / "vectors" / "trials.json").read_text())
    paused = [trial for trial in trials if all(trial["ram"]["pauses"].values())]
    assert (len(trials), len(paused)) == (20, 12)


@pytest.mark.campaign
@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
def test_its_own_test(folder, need, simulator):
    need(simulator)
    done = run_make(folder, simulator)
    assert not done.returncode and "20 of 20 trials passed" in done.stdout, done.stdout + done.stderr
    results = [json.loads(path.read_text()) for path in (folder / "tb" / "build").rglob("*.result.json")]
    trials = json.loads((folder / "tb" / "vectors" / "trials.json").read_text())
    deadlines = {trial["name"]: trial["settings"]["deadline"] for trial in trials}
    assert all(4 * result["end_cycle"] < deadlines[result["name"]] for result in results)
    vectors = folder / "tb" / "vectors"
    spoil(vectors / "fft8-ideal.before.hex", 1)
    spoil(vectors / "mixing8.expected.hex", 5)
    done = run_make(folder, simulator)
    assert done.returncode and "14 of 20 trials passed" in done.stdout, done.stdout
    assert "fft8-ideal: beat" in done.stdout and "mixing8-bursts: beat 5 is" in done.stdout


def spoil(path, number):
    lines = path.read_text().split()
    lines[number] = f"{int(lines[number], 16) ^ 1 << 9:0{len(lines[number])}x}"
    path.write_text("\n".join(lines) + "\n")


def test_a_missing_package_is_one_line(folder):
    path = folder / "tb" / "bench.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"needs": {"no_such.axi": "no-such-axi==1"}}))
    done = subprocess.run([sys.executable, str(folder / "tb" / "run.py")], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "bench: no_such.axi is not installed; pip install no-such-axi==1\n"


def test_the_package_is_the_one_of_the_project():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(AxiHarness.needs.values()) <= set(project["dependencies"])
    need_packages(AxiHarness.needs)


def test_vectors_are_the_same_bytes_twice(tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        write_testbench(Core(axi_config()), folder)
    files = [{path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
             for folder in folders]
    assert files[0] == files[1] and len(files[0]) > 20


@pytest.mark.thin(4)
@pytest.mark.parametrize("bus", BUSES)
def test_lint(tmp_path, need, bus):
    need("verilator")
    path, core = tmp_path / "runner.v", Core(axi_config(bus))
    path.write_text(core.verilog)
    assert lint_core([path], "runner") == []


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments, line", [
    (["generate", "--preset", "tiny", "--set", "bus.memory=axi4", "-o", "out"],
     "wingbeat: bus.memory: 'axi4' without a memory; give [memory], or allowed is native"),
    (["generate", "--preset", "processor-16", "--set", "bus.memory=axi4", "--set", "bus.data_width=24", "-o", "out"],
     "wingbeat: bus.data_width: 24 is not a power of two"),
    (["generate", "--preset", "processor-16", "--set", "bus.memory=axi4", "--set", "bus.longest_burst=1", "-o", "out"],
     "wingbeat: bus.longest_burst: 1 is less than the 2 transfers of 64 bits that one beat of 16 bytes takes"),
    (["bench", "kernels", "--preset", "processor-16", "--set", "bus.memory=axi4"],
     "wingbeat: bus.memory: 'axi4'; allowed is native, the only port that the cycle model knows"),
])
def test_refused(tmp_path, monkeypatch, capsys, arguments, line):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert capsys.readouterr().err == line + "\n" and not list(tmp_path.iterdir())


def test_addresses_must_reach():
    case = small()
    trial = replace(case.trial, data=np.zeros((600, 8), np.int64))
    with pytest.raises(WingbeatError, match="^bus.address_width: 13 is too small for 600 beats of 16 bytes; allowed "
                                            "are 14 and more$"):
        Core(axi_config(address_width=13)).simulate([trial])


def test_elements_must_fit():
    config = CoreConfig.model_validate({**axi_config().choices(), "array": {
        **axi_config().choices()["array"], "width": 12, "element_width": 12}})
    trial = replace(small().trial, data=np.full((4, 8), 2048))
    with pytest.raises(ValueError, match=r"^memory: 2048\.\.2048 does not fit 12 bits$"):
        Core(config).simulate([trial])
