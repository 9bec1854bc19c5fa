"""Generated Verilog on a simulator: cached builds, trials with stall profiles, results as numpy arrays.

    build = build_array(config)  # or from the cache
    runs = simulate(build, [trial(f"fft{k}", job) for k, job in enumerate(kernel.jobs(x))])
    y = kernel.unpack([block for run in runs for block in run.blocks], len(x))
    runs[0].counters, runs[0].cycles

The simulator runs under cocotb in a process of its own (gen/cosim/testbench/array_bench.py); one start runs any
number of trials, and costs about a second.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
import hashlib
import json
import os
from pathlib import Path
import shutil
import tempfile

import numpy as np

from ...hw.config import CoreConfig, Target
from ...hw.isa.encoding import encode
from ...hw.isa.fields import field_places
from ...hw.isa.instruction import Instruction, Load, Loop, Pass, Store
from ...hw.isa.setup import BLOCK_FIELDS, CONTROL_START, SETUP_CONTROL, SETUP_PROGRAM
from ...sim.model.array import BlockResult
from ..compiler.beats import pack_beats, pack_setup, unpack_beats
from ..compiler.kernel.kernel import Job
from .testbench import simulators
from .testbench.simulators import SimulatorError, find

__all__ = ["Build", "Counters", "PROFILES", "Run", "SimulatorError", "Trial", "build_array", "build_verilog",
           "cache_folder", "find", "lint", "models", "simulate", "start_writes", "trial", "with_profiles",
           "write_trials"]

_HERE = Path(__file__).resolve().parent

# Stalls of the three streams: chance to be willing in a cycle, or runs of 1..burst cycles, willing and not.
PROFILES: dict[str, dict[str, dict]] = {
    "none": {},
    "input_gaps": {"setup": {"chance": 0.7}, "input": {"chance": 0.4}},
    "output_stalls": {"output": {"chance": 0.4}},
    "both": {"setup": {"chance": 0.5}, "input": {"chance": 0.6}, "output": {"chance": 0.6}},
    "bursty": {"setup": {"burst": 8}, "input": {"burst": 24}, "output": {"burst": 24}},
    "shy": {"input": {"chance": 0.9}, "output": {"shy": True}},
}


@dataclass(frozen=True)
class Build:
    """A simulator ready to run: where it is, and the widths of the streams of its top module."""

    folder: Path
    top: str
    simulator: str
    element_width: int
    stream_words: int


@dataclass(frozen=True, eq=False)
class Trial:
    """One run of the array.

    ``setup`` holds (target, address, data) of each setup write, the start of the program among them.
    ``words`` are the words of the input stream, int64 (n, 2) = (re, im) in stream order, n a multiple of the
    words of a beat. ``output_words`` and ``n_blocks`` say how much must come out, within ``deadline`` cycles.
    Without ``reset`` the trial continues in the state that the trial before has left. ``seed`` fixes the
    stalls of ``profile``.
    """

    name: str
    setup: Sequence[tuple[int, int, int]] = field(repr=False)
    words: np.ndarray = field(repr=False)
    output_words: int
    n_blocks: int
    deadline: int
    profile: str = "none"
    seed: int = 0
    reset: bool = True


@dataclass(frozen=True)
class Counters:
    """The ``status`` port at the end of a trial; cycles as the hardware counts them, since its last start."""

    busy: int
    saturated: int
    total: int
    computing: int
    waiting_input: int
    waiting_output: int
    waiting_hazard: int
    blocks: int

    @classmethod
    def from_bits(cls, bits: int) -> "Counters":
        """Fields of the flat ``status`` vector: two flags, then 32 bits each."""
        return cls(bits & 1, bits >> 1 & 1, *(bits >> at & 0xFFFFFFFF for at in range(2, 2 + 6 * 32, 32)))


@dataclass(frozen=True, eq=False)
class Run:
    """What one trial delivered.

    ``blocks`` as the model returns them, words in stream order. ``last_cycles``, int64 (blocks,): the cycle
    of the last beat of each block; ``start_cycle``: of the write that started the program, the last one if
    there were several.
    """

    trial: Trial
    blocks: list[BlockResult] = field(repr=False)
    last_cycles: np.ndarray = field(repr=False)
    start_cycle: int
    counters: Counters

    @property
    def words(self) -> np.ndarray:
        """Words of all blocks, int64 (n, 2)."""
        return np.concatenate([block.words for block in self.blocks])

    @property
    def cycles(self) -> int:
        """Cycles from the start of the program to the last beat of the last block."""
        return int(self.last_cycles[-1]) - self.start_cycle


# --- trials -------------------------------------------------------------------------------------


def start_writes(program: Sequence[Instruction]) -> list[tuple[int, int, int]]:
    """Setup writes that load ``program`` and start it."""
    words = [(SETUP_PROGRAM, address, word) for address, word in enumerate(encode(list(program)))]
    return [*words, (SETUP_CONTROL, 0, CONTROL_START)]


def trial(name: str, job: Job, profile: str = "none", seed: int = 0) -> Trial:
    """Trial of one job of a compiled kernel, with a deadline that no stall profile comes near."""
    setup = [*job.setup, *start_writes(job.program)]
    busy = _cycles_bound(job.program) + len(job.words)
    deadline = 2000 + 10 * len(setup) + 12 * busy
    return Trial(name, setup, job.words, len(job.words), job.blocks, deadline, profile, seed)


def _cycles_bound(program: Sequence[Instruction]) -> int:
    """Cycles of the units one after the other, beats not counted, with room for the latency of each."""
    costs: list[int] = []
    for instruction in program:
        if isinstance(instruction, Loop):
            costs.append((instruction.count - 1) * sum(costs[instruction.target:]))
        elif isinstance(instruction, Pass):
            costs.append(instruction.groups + instruction.gap + 100)
        else:
            costs.append(instruction.walk.beats + 100 if isinstance(instruction, Load | Store) else 0)
    return sum(costs)


def with_profiles(trial: Trial, profiles: Iterable[str] = PROFILES) -> list[Trial]:
    """``trial`` once under each stall profile."""
    return [replace(trial, name=f"{trial.name}-{profile}", profile=profile) for profile in profiles]


# --- builds -------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Where builds are kept: $WINGBEAT_CACHE, else wingbeat/ in the user's cache folder."""
    own = os.environ.get("WINGBEAT_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wingbeat"


def models(config: CoreConfig) -> list[Path]:
    """Simulation models that the Verilog of ``config`` needs besides itself."""
    return [_HERE / "verilog" / "ecp5.v"] if config.target is Target.ECP5 else []


def build_verilog(config: CoreConfig, sources: Sequence[Path], simulator: str = "verilator",
                  top: str | None = None, vcd: bool = False) -> Build:
    """Build the Verilog of an array (``sources`` with top module ``top``, else ``config.name``), or take it from the
    cache. With ``vcd`` it is another build, larger and slower, that can record its waves.

    Raises :class:`SimulatorError` when the simulator is missing or refuses the design.
    """
    top = top or config.name
    versions = simulators.tool_versions(simulator)
    digest = hashlib.sha256(Path(simulators.__file__).read_bytes())
    for text in (top, *versions, *(["vcd"] if vcd else [])):
        digest.update(text.encode() + b"\0")
    for source in sources:
        digest.update(source.read_bytes() + b"\0")
    folder = cache_folder() / "builds" / digest.hexdigest()[:32]
    build = Build(folder, top, simulator, config.element_width, config.stream_words)
    if folder.exists():
        return build
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=folder.parent))
    tools = hashlib.sha256("\0".join([*versions, *(["vcd"] if vcd else [])]).encode()).hexdigest()[:16]
    simulators.compile_verilog(sources, top, partial, simulator,
                               runtime=cache_folder() / "runtime" / tools, vcd=vcd)
    try:
        partial.rename(folder)  # whoever comes first wins; a half-made build never has the final name
    except OSError:
        shutil.rmtree(partial)
    return build


def build_array(config: CoreConfig, simulator: str = "verilator") -> Build:
    """Generate the Verilog of ``config`` and build it. Raises as :func:`build_verilog` does."""
    from ...hw.array.array import Array
    from ..rtl.verilog import emit

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / f"{config.name}.v"
        source.write_text(emit(Array(config), config.name))
        return build_verilog(config, [source, *models(config)], simulator)


def lint(sources: Sequence[Path], top: str) -> list[str]:
    """Complaints of ``verilator --lint-only -Wall`` beyond gen/cosim/testbench/waivers.vlt; empty is clean."""
    return simulators.lint(sources, top, _HERE / "testbench" / "waivers.vlt")


# --- runs ---------------------------------------------------------------------------------------


def write_trials(folder: Path, trials: Sequence[Trial], element_width: int, stream_words: int,
                 expected: dict[str, list[str]] | None = None) -> None:
    """Files of ``trials`` as gen/cosim/testbench/array_bench.py reads them; trials that share data share files.

    ``expected``: the output beats, by name of the trial, where the bench is to compare them.
    """
    written: dict[int, str] = {}
    entries = []

    def data(kind: str, owner: Trial, value: object, lines: Iterable[str]) -> str:
        if id(value) not in written:
            written[id(value)] = f"{owner.name}.{kind}.hex"
            (folder / written[id(value)]).write_text("".join(f"{line}\n" for line in lines))
        return written[id(value)]

    for t in trials:
        entry = {"name": t.name, "setup": data("setup", t, t.setup, pack_setup(t.setup)),
                 "input": data("input", t, t.words, pack_beats(t.words, element_width, stream_words)),
                 "beats": t.output_words // stream_words, "blocks": t.n_blocks, "deadline": t.deadline,
                 "reset": t.reset, "seed": t.seed, "stalls": PROFILES[t.profile]}
        if expected:
            entry["expected"] = data("expected", t, expected[t.name], expected[t.name])
        entries.append(entry)
    (folder / "trials.json").write_text(json.dumps(entries, indent=1) + "\n")
    contract = {"start_target": SETUP_CONTROL, "block_fields": field_places(BLOCK_FIELDS)}
    (folder / "contract.json").write_text(json.dumps(contract, indent=1) + "\n")


def simulate(build: Build, trials: Sequence[Trial], keep: Path | None = None) -> list[Run]:
    """Run ``trials`` one after the other on one start of the simulator.

    Raises :class:`SimulatorError` naming each trial that failed, and why: a broken stream rule, a missed
    deadline, a beat too many or too few. ``keep`` is a folder for the files of the run; without it they are
    deleted.
    """
    names = [t.name for t in trials]
    if len(set(names)) < len(names):
        raise ValueError(f"trials: the names {sorted(names)} are not all different")
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        write_trials(folder, trials, build.element_width, build.stream_words)
        n_tests, n_failed = simulators.run_cocotb(build.folder, build.top, build.simulator, folder, folder)
        reports = [_report(folder, t) for t in trials]
        errors = [f"{t.name} ({t.profile}, seed {t.seed}): {report['error']}"
                  for t, report in zip(trials, reports) if report["error"]]
        if errors or n_failed or n_tests != len(trials):
            raise SimulatorError(f"{n_failed} of {n_tests} trials failed on {build.simulator}: "
                                 + "; ".join(errors))
        return [_run(folder, t, report, build) for t, report in zip(trials, reports)]


def _report(folder: Path, t: Trial) -> dict:
    path = folder / f"{t.name}.result.json"
    return json.loads(path.read_text()) if path.exists() else {"error": "it left no result"}


def _run(folder: Path, t: Trial, report: dict, build: Build) -> Run:
    lines = (folder / f"{t.name}.output.hex").read_text().split()
    words, exponents, saturated, last = unpack_beats(lines, build.element_width, build.stream_words)
    ends = np.flatnonzero(last)
    parts = np.split(words, (ends[:-1] + 1) * build.stream_words)
    blocks = [BlockResult(part, int(exponents[end]), bool(saturated[end])) for part, end in zip(parts, ends)]
    return Run(t, blocks, np.array(report["last_cycles"], np.int64), report["starts"][-1],
               Counters.from_bits(int(report["status"], 16)))
