"""What runs on a simulated core, and what it leaves: trials and runs.

An array is fed by streams, a processor works on a memory. A trial says what either is given, a run what it made of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from ...hw.isa.instruction import Instruction, Load, Loop, Pass, Store
from ...hw.isa.setup import SetupWrite
from ...sim.model.array import BlockResult
from ..compiler.beats import start_writes
from ..compiler.kernel.kernel import Job
from .timing import STREAM_STALLS, MemoryTiming, StreamTiming

__all__ = ["BlockReport", "CounterValues", "Run", "Trial", "job_trial", "with_stalls"]


@dataclass(frozen=True, eq=False)
class Trial:
    """One run of a core.

    ``setup`` holds (target, address, data) of each setup write; then ``program``, instructions or their 32-bit words,
    is written and started. Without a program (None) ``setup`` is all that is written.

    ``data``: of an array the words of its input stream, int64 (n, 2) = (re, im), n a multiple of the words of a beat;
    of a processor the memory before, int64 (beats, 2K) elements. ``timing``: of the streams or of the memory.
    It must end within ``deadline`` cycles.

    An array: ``output_words`` and ``n_blocks`` must come out. Without ``reset`` the trial continues in the state that
    the trial before has left. A processor: ``n_blocks``, where it is not 0, must have been stored when a run ends
    without an error; addresses from ``limit`` on (else the number of beats) are refused. With ``trace`` the changes of
    ``activity`` are recorded.
    """

    name: str
    setup: Sequence[SetupWrite] = field(repr=False)
    program: Sequence[Instruction] | Sequence[int] | None = field(repr=False)
    data: np.ndarray = field(repr=False)
    timing: StreamTiming | MemoryTiming
    deadline: int = 1_000_000
    output_words: int = 0
    n_blocks: int = 0
    reset: bool = True
    limit: int | None = None
    trace: bool = False

    @property
    def setup_writes(self) -> list[SetupWrite]:
        """``setup``, the program and its start."""
        return [*self.setup, *([] if self.program is None else start_writes(self.program))]


@dataclass(frozen=True)
class CounterValues:
    """What every core counts in its ``status``; cycles as the hardware counts them, since its last start."""

    busy: int
    saturated: int
    total: int
    computing: int
    waiting_input: int
    waiting_output: int
    waiting_hazard: int
    blocks: int


@dataclass(frozen=True, eq=False)
class BlockReport:
    """One block that has left the array, its last beat in ``cycle``; its ``words`` in stream order, int64 (n, 2), where
    it left on a stream."""

    cycle: int
    exponent: int
    saturated: bool
    words: np.ndarray = field(repr=False, default_factory=lambda: np.empty((0, 2), np.int64))

    @property
    def result(self) -> BlockResult:
        """As the model returns it."""
        return BlockResult(self.words, self.exponent, self.saturated)


@dataclass(frozen=True, eq=False)
class Run:
    """What one trial delivered.

    ``data``: the words of all blocks, int64 (n, 2), or the memory afterwards, int64 (beats, 2K). ``status``: every
    field of the port at the end.

    Cycles are clock edges since reset. ``start_cycle``: the start of the program was accepted, the last one if there
    were several. ``end_cycle``: the last beat of the last block; of a processor the first cycle in which it was not
    busy, or reported an error.

    A processor: ``written_cycle``, the last beat had been written. ``reads`` and ``writes`` count beats asked for (in
    AXI: data transfers); ``late_requests`` those asked for after ``end_cycle``, which only an error leaves behind, as
    ``reads_left`` and ``writes_left``, under way in that cycle. ``activity``: int64 (n,) of each field, and of
    ``cycle``, for the first cycle and every change; empty without ``trace``.
    """

    trial: Trial
    data: np.ndarray = field(repr=False)
    status: Mapping[str, int]
    blocks: list[BlockReport] = field(repr=False)
    start_cycle: int
    end_cycle: int
    written_cycle: int = 0
    reads: int = 0
    writes: int = 0
    late_requests: int = 0
    reads_left: int = 0
    writes_left: int = 0
    activity: Mapping[str, np.ndarray] = field(repr=False, default_factory=dict)

    @property
    def cycles(self) -> int:
        """Cycles from the start of the program to its end."""
        return self.end_cycle - self.start_cycle

    @property
    def results(self) -> list[BlockResult]:
        """The blocks as the model returns them."""
        return [block.result for block in self.blocks]

    @property
    def error(self) -> int:
        """Error code of a processor, 0 for none."""
        return self.status.get("error", 0)

    @property
    def tag(self) -> int:
        """Tag of the block in error, of a processor."""
        return self.status["tag"]

    @property
    def counters(self) -> CounterValues:
        """The counters that every core has."""
        return CounterValues(**{f.name: self.status[f.name] for f in fields(CounterValues)})



def job_trial(name: str, job: Job, timing: StreamTiming = StreamTiming()) -> Trial:
    """Trial of one job of a compiled kernel on an array, with a deadline that no stall profile comes near."""
    n_writes = len(job.setup) + len(start_writes(job.program))
    deadline = 2000 + 10 * n_writes + 12 * (_cycles_bound(job.program) + len(job.words))
    return Trial(name, job.setup, job.program, job.words, timing, deadline, output_words=len(job.words),
                 n_blocks=job.blocks)


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


def with_stalls(trial: Trial, profiles: Iterable[str] = STREAM_STALLS) -> list[Trial]:
    """``trial`` of an array once under each profile of STREAM_STALLS, with its own seed."""
    return [replace(trial, name=f"{trial.name}-{profile}", timing=StreamTiming(profile, trial.timing.seed))
            for profile in profiles]
