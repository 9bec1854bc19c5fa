"""A core as something that can be simulated: its Verilog, what stands around it, and cached builds of both.

    core = Core(config)
    [run] = core.build().simulate([job_trial("fft", kernel.jobs(x)[0])])              # an array
    [run] = core.build().simulate([Trial("fft", setup, program, memory, MemoryTiming())])  # a processor
    run.data, run.blocks, run.counters, run.cycles

The simulator runs under cocotb in a process of its own (gen/cosim/testbench/); one start runs any number of trials, and
costs about a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
import hashlib
import json
import os
from pathlib import Path
import shutil
import tempfile

from amaranth.lib import wiring

from ...hw.config import CoreConfig, MemoryBus, Target
from ...hw.core.top import core as component_of
from ...hw.errors import WingbeatError
from ..rtl.verilog import emit
from .axi import AxiHarness
from .harness import Harness
from .job import Run, Trial
from .memory import MemoryHarness
from .streams import StreamHarness
from .testbench import simulators
from .testbench.simulators import SimulatorError

__all__ = ["Build", "Core", "build_verilog", "cache_folder", "lint_core"]

_HERE = Path(__file__).resolve().parent


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
        return [_HERE / "verilog" / "ecp5.v"] if self.config.target is Target.ECP5 else []

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

    folder: Path
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
        if vcd:
            vcd.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary:
            folder = (keep or Path(temporary)).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            self.harness.write(folder, trials)
            n_tests, n_failed = simulators.run_cocotb(self.folder, self.harness.top, self.simulator, folder, folder,
                                                      self.harness.benches[0], vcd)
            reports = [_report(folder, trial) for trial in trials]
            errors = [f"{trial.name} ({trial.timing.note}): {report['error']}"
                      for trial, report in zip(trials, reports) if report["error"]]
            if errors or n_failed or n_tests != len(trials):
                raise SimulatorError(f"{n_failed} of {n_tests} trials failed on {self.simulator}: "
                                     + "; ".join(errors))
            return [self.harness.run(folder, trial, report) for trial, report in zip(trials, reports)]


def _report(folder: Path, trial: Trial) -> dict:
    path = folder / f"{trial.name}.result.json"
    return json.loads(path.read_text()) if path.exists() else {"error": "it left no result"}


def cache_folder() -> Path:
    """Where builds are kept: $WINGBEAT_CACHE, else wingbeat/ in the user's cache folder."""
    own = os.environ.get("WINGBEAT_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wingbeat"


def build_verilog(sources: Sequence[Path], top: str, simulator: str = "verilator", vcd: bool = False) -> Path:
    """Folder of a build of ``sources`` with top module ``top``, from the cache if it was built before. With ``vcd`` it
    is another build, larger and slower, that can record its waves.

    Raises :class:`SimulatorError` when the simulator is missing or refuses the design.
    """
    versions = simulators.tool_versions(simulator)
    digest = hashlib.sha256(Path(simulators.__file__).read_bytes())
    for text in (top, *versions, *(["vcd"] if vcd else [])):
        digest.update(text.encode() + b"\0")
    for source in sources:
        digest.update(source.read_bytes() + b"\0")
    folder = cache_folder() / "builds" / digest.hexdigest()[:32]
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=folder.parent))
    tools = hashlib.sha256("\0".join([*versions, *(["vcd"] if vcd else [])]).encode()).hexdigest()[:16]
    simulators.compile_verilog(sources, top, partial, simulator,
                               runtime=cache_folder() / "runtime" / tools, vcd=vcd)
    try:
        partial.rename(folder)  # whoever comes first wins; a half-made build never has the final name
    except OSError:
        shutil.rmtree(partial)
    return folder


def lint_core(sources: Sequence[Path], top: str) -> list[str]:
    """Complaints of ``verilator --lint-only -Wall`` beyond gen/cosim/testbench/waivers.vlt; empty is clean."""
    return simulators.lint(sources, top, _HERE / "testbench" / "waivers.vlt")
