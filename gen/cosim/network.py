"""A compiled network on the simulated Verilog of its processor, compared with the model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ...sim.cycles.estimate import Cycles, estimate
from ...sim.cycles.memory import MemorySpeed
from ..compiler.network.compile import CompiledNetwork, NetworkResult, ProgramSegment
from ..compiler.program.assemble import Transfer
from ..compiler.quality import Clamped, total_clamped
from .core import Build
from .job import Run, Trial
from .timing import MemoryTiming

__all__ = ["NetworkRun", "OperationCycles", "SegmentRun", "simulate_network", "simulate_segment", "predict_network",
           "operation_cycles"]


@dataclass(frozen=True)
class OperationCycles:
    """Cycles from the first pass of an operation to that of the next one, and its blocks.

    What stands in front of the first operation of a program belongs to it, what is behind the last one to that.
    """

    name: str
    cycles: int
    blocks: int


class SegmentRun(NamedTuple):
    """One program: its run on each memory, what each has clamped where, and elements that differ from the model."""

    runs: list[Run]
    clamped: list[list[Clamped]]
    mismatches: int


@dataclass(frozen=True, eq=False)
class NetworkRun:
    """``results`` (inputs, tokens, features) in float, and those of the integer model. ``runs``: of every program, one
    for each batch; ``mismatches``: elements of the memory behind each program that differ from the model.
    ``model_cycles``: what the cycle model says of a batch, for each program; ``predicted``: whether it is right about
    the counters of every run. ``clamped``: what was clamped where; ``saturated``: whether anything was, or a core says
    so."""

    results: np.ndarray = field(repr=False)
    model_results: np.ndarray = field(repr=False)
    runs: list[list[Run]] = field(repr=False)
    mismatches: int
    saturated: bool
    model_cycles: list[Cycles] = field(repr=False)
    predicted: bool
    clamped: list[Clamped]
    operations: list[OperationCycles]

    @property
    def cycles(self) -> int:
        """Of one batch, all programs; the slowest where they differ."""
        return sum(max(run.counters.total for run in runs) for runs in self.runs)

    @property
    def total_cycles(self) -> int:
        """Of all batches."""
        return sum(run.counters.total for runs in self.runs for run in runs)

    @property
    def batches(self) -> int:
        return len(self.runs[0])


def predict_network(compiled: CompiledNetwork, timing: MemoryTiming = MemoryTiming()) -> list[Cycles]:
    """The cycle model of every program."""
    speed = MemorySpeed(timing.latency, timing.words_per_cycle)
    image = compiled.image()
    return [estimate(compiled.config, segment.program.instructions, segment.program.setup, speed, image=image)
            for segment in compiled.segments]


def operation_cycles(segment: ProgramSegment, predicted: Cycles) -> list[OperationCycles]:
    """Cycles of each operation of a program out of those in which the passes of its blocks begin."""
    blocks = [sum(isinstance(task, Transfer) for task in operation.tasks) for operation in segment.operations]
    ends = [*(predicted.block_begin[first] for first in np.cumsum(blocks[:-1])), predicted.total]
    return [OperationCycles(operation.step.name, int(end - begin), count)
            for operation, begin, end, count in zip(segment.operations, [0, *ends], ends, blocks)]


def simulate_network(compiled: CompiledNetwork, build: Build, inputs: Any,
                     timing: MemoryTiming = MemoryTiming(), *, trace: bool = False,
                     report: Callable[[str], None] | None = None) -> NetworkRun:
    """All ``inputs``, batch after batch, from memory to memory. Only the last batch may be smaller.

    ``trace``: record the activity of the units in the first batch. ``report`` is called after every program. Warns
    as :meth:`CompiledNetwork.run_model`. Raises WingbeatError when the processor stops with an error, SimulatorError
    when the simulator fails.
    """
    step = report or (lambda name: None)
    parts = list(compiled.batches(inputs))
    filled = [compiled.memory(part) for part in parts]
    memories, clamped = [memory for memory, _ in filled], [[Clamped("inputs", outside)] for _, outside in filled]
    predictions, runs, mismatches = predict_network(compiled, timing), [], 0
    operations: list[OperationCycles] = []
    for number, (segment, predicted) in enumerate(zip(compiled.segments, predictions)):
        name = f"{compiled.network.name}_{number}"
        found = simulate_segment(compiled.config, build, segment, memories, predicted, name, timing, trace=trace)
        clamped += found.clamped
        mismatches += found.mismatches
        runs.append(found.runs)
        operations += operation_cycles(segment, predicted)
        step(f"program {number + 1}")
    results, model_results = (np.concatenate([compiled.results(memory, len(part)) for memory, part in zip(left, parts)])
                              for left in ([run.data for run in runs[-1]], memories))
    everything = [run for found in runs for run in found]
    total = total_clamped(clamped)
    compiled.warn(inputs, NetworkResult(results, total))
    return NetworkRun(results, model_results, runs, mismatches,
                      bool(total) or any(run.status["saturated"] for run in everything), predictions,
                      all(_agrees(run, predicted) for found, predicted in zip(runs, predictions) for run in found),
                      total, operations)


def simulate_segment(config: CoreConfig, build: Build, segment: ProgramSegment, memories: Sequence[np.ndarray],
                     predicted: Cycles, name: str, timing: MemoryTiming = MemoryTiming(), *,
                     trace: bool = False) -> SegmentRun:
    """One program on each of ``memories``, which become what the model leaves. ``name`` of the program; ``trace``: of
    the first run. Raises as :func:`simulate_network`."""
    program, clamped, mismatches = segment.program, [], 0
    runs = build.simulate([
        Trial(f"{name}_{number}", program.setup, program.instructions, memory.copy(), timing,
              deadline=2 * predicted.total + 10_000, n_blocks=len(program.stages), trace=trace and not number)
        for number, memory in enumerate(memories)])
    for memory, run in zip(memories, runs):
        if run.error:
            raise WingbeatError(f"{run.trial.name}: the processor stopped with error {run.error} at block {run.tag}")
        clamped.append(segment.run_model(config, memory))
        mismatches += int(np.count_nonzero(run.data != memory))
    return SegmentRun(runs, clamped, mismatches)


def _agrees(run: Run, predicted: Cycles) -> bool:
    names = ("total", "computing", "waiting_input", "waiting_output", "waiting_hazard")
    return (all(getattr(run.counters, name) == getattr(predicted, name) for name in names)
            and all(run.status[name] == count for name, count in predicted.units.items()))
