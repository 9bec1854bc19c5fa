"""Cycles, utilisation and accuracy of kernels, measured on the simulated Verilog.

An array alone is fed by streams, a processor works from its memory. Single transforms are measured in steady state,
real mixing and feed-forward layers from the start of the program to its end.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ...sim.cycles.estimate import estimate
from ...sim.cycles.memory import MemorySpeed
from ...sim.reference.metrics import sqnr_db
from ..compiler.kernel.passes import Scaling
from ..cosim.compare import count_mismatches
from ..cosim.core import Build, Core
from ..cosim.job import Run, Trial, job_trial
from ..cosim.selftest import model_blocks
from ..cosim.timing import MemoryTiming
from ..compiler.kernel.sparse import Pattern
from ..workloads.kernels import (ArrayWorkload, AttentionSize, Workload, array_workload, attention_workload,
                                 bpmm_workload, dense_workload, ffn_workload, fft_workload, mixing_workload)

__all__ = ["KERNELS", "PROGRAMS", "KernelFigures", "OperationSize", "array_workloads", "bench_kernels",
           "bench_processor", "run_deadline", "run_mismatches", "run_workload", "workloads"]

KERNELS = ("bpmm", "fft")        # of one size each
PROGRAMS = ("fft2-real", "ffn", "dense", "nm", "attention")  # whole operations of a processor


@dataclass(frozen=True)
class KernelFigures:
    """What one kernel of one size did.

    ``cycles`` lie between the last word of the first block and that of the last one; ``rows`` is what was
    transformed in them, load and store included. ``useful_multiplier_cycles`` counts one per multiplication
    of the butterfly graph, ``utilisation`` divides it by multipliers * cycles. ``computing`` to
    ``waiting_hazard`` are the hardware counters of the whole run, fill and drain included, and
    ``model_total`` the cycle model's total for it. ``mismatches`` counts words, exponents and flags that
    differ from the integer model.
    """

    kernel: str
    n: int
    rows: int
    multipliers: int
    cycles: int
    useful_multiplier_cycles: int
    utilisation: float
    sqnr_db: float
    mismatches: int
    total: int
    model_total: int
    computing: int
    waiting_input: int
    waiting_output: int
    waiting_hazard: int


def bench_kernels(config: CoreConfig, sizes: Sequence[int], kernels: Sequence[str] = KERNELS, *,
                  blocks: int = 4, scaling: Scaling = "static", seed: int = 1, simulator: str = "verilator",
                  report: Callable[[str], None] | None = None) -> list[dict]:
    """Run every kernel at every size (points per row) on the simulated Verilog of ``config``.

    Rows are random (butterfly: blocks randn/sqrt2 and normal rows; FFT: uniform complex rows), calibrated on
    other rows of the same kind; SQNR is against float64 of the quantised input. ``report`` is called after
    every run. Raises :class:`WingbeatError` for a size the array does not take or an unknown kernel.
    """
    step = report or (lambda name: None)
    work = array_workloads(config, kernels, sizes, blocks=blocks, scaling=scaling, seed=seed)
    build = Core(config).build(simulator)
    step("build")
    rows = []
    for each in work:
        rows.append(asdict(_measure(build, each, blocks)))
        step(f"{each.name} {each.points}")
    return rows


def _check(kernels: Sequence[str], known: Sequence[str], blocks: int) -> None:
    if blocks < 2:
        raise WingbeatError(f"--blocks: {blocks}; allowed are 2 or more, the first block fills the pipeline")
    unknown = [kernel for kernel in kernels if kernel not in known]
    if unknown:
        raise WingbeatError(f"--kernel: {unknown[0]!r} is not one of {', '.join(known)}")


def _measure(build: Build, work: ArrayWorkload, blocks: int) -> KernelFigures:
    kernel, config = work.kernel, work.kernel.config
    (job,) = kernel.jobs(work.x)
    expected = model_blocks(config, job)
    (run,) = build.simulate([job_trial(f"{work.name}_{work.points}", job)])
    y = kernel.unpack(run.results, len(work.x))
    cycles = run.blocks[-1].cycle - run.blocks[0].cycle
    rows = (blocks - 1) * kernel.rows_per_block
    useful = rows * kernel.multiplications_per_row
    counters = run.counters
    return KernelFigures(
        work.name, work.points, rows, config.n_multipliers, cycles, useful, useful / (config.n_multipliers * cycles),
        work.sqnr_db(y), count_mismatches(run.results, expected), counters.total,
        estimate(config, job.program).total, counters.computing, counters.waiting_input,
        counters.waiting_output, counters.waiting_hazard)


# --- from memory --------------------------------------------------------------------------------


@dataclass(frozen=True)
class OperationSize:
    """Size of a whole operation: ``expand`` is the width of the inner layer of a feed-forward network, in hidden;
    ``inputs`` and ``outputs`` are those of a dense or N:M matrix, ``pattern`` that of the latter; ``heads`` of
    ``features`` each, ``causal`` or not, those of attention, ``key_heads`` of keys and values, None for as many;
    ``length`` of the keys that count, None for all."""

    tokens: int = 1024
    hidden: int = 1024
    expand: int = 4
    inputs: int = 1024
    outputs: int = 1024
    pattern: str = "2:4"
    heads: int = 1
    features: int = 64
    causal: bool = False
    key_heads: int | None = None
    length: int | None = None


def array_workloads(config: CoreConfig, kernels: Sequence[str], sizes: Sequence[int], *, blocks: int = 4,
                    scaling: Scaling = "static", seed: int = 1) -> list[ArrayWorkload]:
    """The workloads of ``kernels``, each of all ``sizes``, on an array alone. Raises :class:`WingbeatError`."""
    _check(kernels, KERNELS, blocks)
    return [array_workload(config, kernel, n, blocks, scaling, seed) for kernel in kernels for n in sizes]


def workloads(config: CoreConfig, kernels: Sequence[str], sizes: Sequence[int],
              shape: OperationSize = OperationSize(), *, blocks: int = 4, scaling: Scaling = "static",
              seed: int = 1) -> list[Workload]:
    """The workloads of ``kernels``, those of KERNELS for each of ``sizes``. Raises :class:`WingbeatError`."""
    _check(kernels, (*KERNELS, *PROGRAMS), blocks)
    if not config.is_processor:
        raise WingbeatError(f"--kernel: {', '.join(kernels)} from memory, and {config.name} has no "
                            "[memory]; allowed is a processor")
    made = []
    for kernel in kernels:
        if kernel in KERNELS:
            make = bpmm_workload if kernel == "bpmm" else fft_workload
            made += [make(config, size, blocks, scaling, seed) for size in sizes]
        elif kernel == "ffn":
            made.append(ffn_workload(config, shape.tokens, shape.hidden, shape.expand, seed, scaling))
        elif kernel == "dense":
            made.append(dense_workload(config, shape.tokens, shape.inputs, shape.outputs, seed))
        elif kernel == "attention":
            size = AttentionSize(shape.tokens, shape.heads, shape.features, shape.causal, key_heads=shape.key_heads,
                                 length=shape.length)
            made.append(attention_workload(config, size, seed))
        elif kernel == "nm":
            made.append(dense_workload(config, shape.tokens, shape.inputs, shape.outputs, seed,
                                       Pattern.parse(shape.pattern)))
        else:
            made.append(mixing_workload(config, shape.tokens, shape.hidden, seed, scaling))
    return made


def bench_processor(config: CoreConfig, work: Sequence[Workload], *, timing: MemoryTiming = MemoryTiming(),
                    simulator: str = "verilator", report: Callable[[str], None] | None = None) -> list[dict]:
    """Run ``work`` on the simulated Verilog of the processor ``config``; figures as of :func:`bench_kernels`.

    ``report`` is called after the build and after every run.
    """
    step = report or (lambda name: None)
    build = Core(config).build(simulator)
    step("build")
    rows = []
    for workload in work:
        rows.append(asdict(_from_memory(build, workload, timing)))
        step(f"{workload.name} {workload.points}")
    return rows


def run_deadline(workload: Workload, timing: MemoryTiming) -> int:
    """Cycles that no run of ``workload`` comes near."""
    rate = float(timing.words_per_cycle) or workload.config.stream_words
    slow = max(1.0, 4 * workload.config.stream_words / rate)
    busy = workload.useful // workload.config.n_multipliers + len(workload.memory)
    return int(20_000 + 8 * slow * busy + 8 * timing.latency * len(workload.program.stages))


def run_workload(build: Build, workload: Workload, timing: MemoryTiming, *, trace: bool = False) -> Run:
    """One run of ``workload``. Raises SimulatorError when it does not end, or ends with an error of the processor."""
    deadline = run_deadline(workload, timing)
    (run,) = build.simulate([Trial(workload.name, workload.program.setup, workload.program.instructions,
                                   workload.memory, timing, deadline=deadline,
                                   n_blocks=len(workload.program.stages), trace=trace)])
    if run.error:
        raise WingbeatError(f"{workload.name}: the processor stopped with error {run.error} at block {run.tag}")
    return run


def run_mismatches(workload: Workload, run: Run) -> int:
    """Elements of the whole memory, and reports of blocks, that differ from the model."""
    memory, outcomes = workload.run_model()
    return (int(np.count_nonzero(run.data != memory)) + abs(len(run.blocks) - len(outcomes))
            + sum((found.exponent, found.saturated) != (want.exponent, want.saturated)
                  for found, want in zip(run.blocks, outcomes)))


def _from_memory(build: Build, workload: Workload, timing: MemoryTiming) -> KernelFigures:
    config = workload.config
    run = run_workload(build, workload, timing)
    predicted = estimate(config, workload.program.instructions, workload.program.setup,
                         MemorySpeed(timing.latency, timing.words_per_cycle), image=workload.memory)
    counters, cycles, useful, rows = run.counters, run.counters.total, workload.useful, workload.rows
    if workload.first_useful:  # steady state: what lies between the first block and the last one
        cycles, useful = run.blocks[-1].cycle - run.blocks[0].cycle, useful - workload.first_useful
        rows -= rows * workload.first_useful // workload.useful
    result = workload.result(run.data, [block.exponent for block in run.blocks])
    return KernelFigures(
        workload.name, workload.points, rows, config.n_multipliers, cycles, useful,
        useful / (config.n_multipliers * cycles), sqnr_db(workload.reference, result),
        run_mismatches(workload, run),
        counters.total, predicted.total, counters.computing,
        counters.waiting_input, counters.waiting_output, counters.waiting_hazard)
