"""A core as something that can be simulated: its Verilog, what stands around it, and cached builds of both.

    core = Core(config)
    [run] = core.build().simulate([job_trial("fft", kernel.jobs(x)[0])])              # an array
    [run] = core.build().simulate([Trial("fft", setup, program, memory, MemoryTiming())])  # a processor
    run.data, run.blocks, run.counters, run.cycles

The simulator runs under cocotb in a process of its own (gen/cosim/testbench/); one start runs any number of trials, and
costs about a second.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
import hashlib
import json
from pathlib import Path
import shutil
import tempfile

from amaranth.lib import wiring

from ...hw.config import CoreConfig, Target
from ...hw.sections import MemoryBus
from ...hw.core.top import core as component_of
from ...hw.errors import WingbeatError
from ..files import keep_log, output_file
from ..rtl.verilog import emit
from .axi import AxiHarness
from .cache import LOCK, Cache, Entry
from .harness import Harness
from .job import Run, Trial
from .memory import MemoryHarness
from .streams import StreamHarness
from .testbench import simulators
from .testbench.simulators import SimulatorError

__all__ = ["Build", "Core", "build_verilog", "lint_core", "primitives", "waivers"]

_HERE = Path(__file__).resolve().parent


def primitives(config: CoreConfig) -> list[Path]:
    """Simulation models of the primitives that a core of ``config`` instantiates."""
    return [_HERE / "verilog" / "ecp5.v"] if config.target is Target.ECP5 else []


def _harness(config: CoreConfig, component: wiring.Component, depth: int | None) -> Harness:
    """The one place that says what stands around which core."""
    if config.is_processor:
        kind = AxiHarness if config.bus.memory is MemoryBus.AXI4 else MemoryHarness
        return kind(config, component, depth)
    if depth is not None:
        raise WingbeatError(f"depth: {depth} beats, and {config.name} has no [memory]; allowed is none")
    return StreamHarness(config, component)


class Core:
    """The core of one configuration.

    ``component``: anything with the ports of that core, else the core itself. ``verilog``: the text to simulate, else
    what the generator writes of ``component``. ``depth``: beats of the simulated memory of a processor, else what
    ``memory_bits`` can name, up to a limit. Raises :class:`WingbeatError` naming the field.
    """

    def __init__(self, config: CoreConfig, component: wiring.Component | None = None, *, verilog: str | None = None,
                 depth: int | None = None):
        self.config = config
        self.component = component or component_of(config)
        self.harness = _harness(config, self.component, depth)
        self._verilog = verilog

    @cached_property
    def verilog(self) -> str:
        """Verilog of the core, its top module called as the configuration."""
        return self._verilog or emit(self.component, self.config.name)

    @property
    def primitives(self) -> list[Path]:
        """Simulation models of the primitives that the core instantiates."""
        return primitives(self.config)

    def build(self, simulator: str = "verilator", *, vcd: bool = False) -> "Build":
        """The core with its harness on ``simulator``, from the cache if it was built before; with ``vcd`` so that it
        can record its waves. Raises as :func:`build_verilog` does."""
        simulators.need_packages(self.harness.needs)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            source = folder / f"{self.config.name}.v"
            source.write_text(self.verilog)
            around = [folder / name for name in self.harness.write_verilog(folder)]
            sources = [*around, source, *self.primitives]
            return Build(build_verilog(sources, self.harness.top, simulator, vcd), simulator, vcd, self.harness)

    def simulate(self, trials: Sequence[Trial], simulator: str = "verilator") -> list[Run]:
        """Build and run; see :meth:`Build.simulate`."""
        for trial in trials:
            self.harness.check(trial)
        return self.build(simulator).simulate(trials)


@dataclass(frozen=True)
class Build:
    """A simulator ready to run."""

    entry: Entry
    simulator: str
    vcd: bool
    harness: Harness = field(repr=False, compare=False)

    def simulate(self, trials: Sequence[Trial], keep: Path | None = None, vcd: Path | None = None) -> list[Run]:
        """Run ``trials`` one after the other on one start of the simulator.

        A processor that stops with an error is a result. Raises ValueError for a trial that does not fit the core, and
        :class:`SimulatorError` naming each trial that failed, and why: a broken rule of a stream or of the memory port,
        a missed deadline, a beat too many or too few, requests left over. ``keep`` is a folder for the files of the
        run; without it they are deleted. ``vcd`` is a file for the waves of all trials, of a build that can record
        them.
        """
        names = [trial.name for trial in trials]
        if len(set(names)) < len(names):
            raise ValueError(f"trials: the names {sorted(names)} are not all different")
        if vcd and not self.vcd:
            raise ValueError(f"vcd: {str(vcd)!r} needs a build for waves; allowed is one made with vcd = True")
        with tempfile.TemporaryDirectory() as temporary:
            folder = (keep or Path(temporary)).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            self.harness.write(folder, trials)
            n_tests, n_failed = self._run(folder, vcd)
            reports = [_report(folder, trial) for trial in trials]
            errors = [f"{trial.name} ({trial.timing.note}): {report['error']}"
                      for trial, report in zip(trials, reports) if report and report["error"]]
            if silent := reports.count(None):
                errors.append(f"{silent} left no result")
            if errors or n_failed or n_tests != len(trials):
                raise SimulatorError(f"{n_failed} of {n_tests} trials failed on {self.simulator}: " + "; ".join(errors),
                                     _keep(folder / "simulation.log") if silent else None)
            return [self.harness.run(folder, trial, report or {}) for trial, report in zip(trials, reports)]

    def _run(self, folder: Path, vcd: Path | None) -> tuple[int, int]:
        """Tests run, and failed, with the trials in ``folder``."""
        with ExitStack() as stack:
            waves = stack.enter_context(output_file(vcd)) if vcd else None
            stack.enter_context(_kept_log())
            return simulators.run_cocotb(self.entry.folder, self.harness.top, self.simulator, folder, folder,
                                         self.harness.benches[0], waves)


def _report(folder: Path, trial: Trial) -> dict | None:
    path = folder / f"{trial.name}.result.json"
    return json.loads(path.read_text()) if path.exists() else None


@contextmanager
def _kept_log() -> Iterator[None]:
    """The log that a fault in the block names outlives the folder it stands in."""
    try:
        yield
    except SimulatorError as fault:
        if fault.log and fault.log.exists():
            fault.log = _keep(fault.log)
        raise


def _keep(log: Path) -> Path:
    return keep_log(log.read_text(encoding="utf-8", errors="replace"))


def build_verilog(sources: Sequence[Path], top: str, simulator: str = "verilator", vcd: bool = False) -> Entry:
    """A build of ``sources`` with top module ``top``, from the cache if it was built before. With ``vcd`` it is another
    build, larger and slower, that can record its waves.

    Raises :class:`SimulatorError` when the simulator is missing or refuses the design, and :class:`WingbeatError` when
    the cache cannot be written.
    """
    tools = hashlib.sha256("\0".join([*simulators.tool_versions(simulator), str(vcd)]).encode())
    design = tools.copy()
    for part in (top.encode(), *(source.read_bytes() for source in sources)):
        design.update(part + b"\0")

    def make(folder: Path) -> None:
        runtime = _runtime(tools.hexdigest()[:32], vcd) if simulator == "verilator" else None
        with _kept_log():
            simulators.compile_verilog(sources, top, folder, simulator, runtime.folder if runtime else None, vcd)
        _keep_only(folder, ["build.log", *simulators.products(top, simulator)])

    return Cache("builds").entry(design.hexdigest()[:32], make)


def _runtime(name: str, vcd: bool) -> Entry:
    """The compiled runtime of Verilator, from the build of a design that holds nothing."""
    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as temporary, _kept_log():
            source = Path(temporary) / "nothing.v"
            source.write_text("module nothing(clk);\n  input clk;\nendmodule\n")
            simulators.compile_verilog([source], "nothing", folder, "verilator", vcd=vcd)
        _keep_only(folder, simulators.RUNTIME)

    return Cache("runtime").entry(name, make)


def _keep_only(folder: Path, names: Sequence[str]) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in (*names, LOCK):
            path.unlink()


def lint_core(sources: Sequence[Path], top: str) -> list[str]:
    """Complaints of ``verilator --lint-only -Wall`` beyond :func:`waivers`; empty is clean."""
    with tempfile.TemporaryDirectory() as temporary:
        accepted = Path(temporary) / "waivers.vlt"
        accepted.write_text(waivers(top))
        return simulators.lint(sources, top, accepted)


def waivers(name: str) -> str:
    """Warnings of Verilator that are accepted in NAME.v and nowhere else, each with its reason, as it reads them."""
    return (_HERE / "testbench" / "waivers.vlt").read_text(encoding="utf-8").replace("CORE.v", f"{name}.v")
