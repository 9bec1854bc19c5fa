"""Small jobs that every core can run, and the self test in ``tb/`` of a generated core made of them.

Those of an array are kernels of several sizes in every scaling policy; those of a processor are programs: butterfly
matrices, Fourier transforms of rows, real mixing, a FABNet block. What must come out is what the integer model says.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
import json
from pathlib import Path
import shutil
from typing import get_args

import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ...hw.isa.bit_fields import field_places
from ...hw.isa.setup import SETUP
from ...hw.isa.instruction import Mac, Pass
from ...sim.model.array import ArrayModel, BlockResult
from ...sim.model.ring import mac_groups
from ..compiler.kernel.compile import compile_butterfly, compile_fft
from ..compiler.kernel.kernel import Job, Kernel
from ..compiler.kernel.passes import Scaling
from ..compiler.kernel.sparse import Pattern
from ..compiler.program.assemble import Program, assemble
from ..compiler.program.coefficients import CoefficientSpace
from ..compiler.program.operations import multiply_butterfly, transform_rows
from ..compiler.program.stage import Stage
from ..workloads import kernels
from ..workloads.fabnet import BlockShape, compile_block
from .compare import count_mismatches
from .core import Core
from .job import Run, Trial, job_trial
from .timing import MemoryTiming, StreamTiming

__all__ = ["Case", "largest_cases", "model_blocks", "program_case", "kernel_rows", "small_cases", "small_kernels",
           "small_programs", "write_testbench"]

_FILES = ("run.py", "simulators.py", "trials.py", "Makefile")
_SEED = 2024
_FAULTY_BIT = 6      # of the data of a coefficient: what `make fault` turns over
_MOST_WORDS = 16384  # words of one block in all engines: vectors stay small on large arrays
_MOST_LARGE = 1 << 17  # elements of the rows of a largest transform


@dataclass(frozen=True, eq=False)
class Case:
    """A job of a core and what the integer model makes of it, ``expected``: blocks of an array, the memory of a
    processor afterwards, int64 (beats, 2K). ``job``: what table rows call it; several cases may have one. ``stages``:
    of a program."""

    name: str
    job: str
    trial: Trial = field(repr=False)
    expected: list[BlockResult] | np.ndarray = field(repr=False)
    stages: Sequence[Stage] = field(repr=False, default=())

    def under(self, timing: StreamTiming | MemoryTiming, label: str = "") -> Trial:
        """The trial under ``timing``; ``label`` becomes part of its name."""
        return replace(self.trial, name=f"{self.name}-{label}" if label else self.name, timing=timing)

    def mismatches(self, run: Run) -> int:
        """Words or elements that differ from the model; an error of a processor counts as one."""
        if isinstance(self.expected, np.ndarray):
            return int(np.count_nonzero(run.data != self.expected)) + bool(run.error)
        return count_mismatches(run.results, self.expected)


def small_cases(config: CoreConfig, seed: int = _SEED) -> Iterator[Case]:
    """The small jobs of ``config``. Raises :class:`WingbeatError` when no small program fits a processor."""
    if config.is_processor:
        yield from small_programs(config, seed)
        return
    rng = np.random.default_rng(seed)
    for name, kernel in small_kernels(config, rng):
        rows = kernel.rows_per_block + 1  # a second block, nearly empty
        for number, job in enumerate(kernel.jobs(kernel_rows(kernel, rows, rng))):
            yield Case(f"{name}_{number}", name, job_trial(name, job), model_blocks(config, job))


def largest_cases(config: CoreConfig, seed: int = _SEED) -> Iterator[Case]:
    """A block of the largest butterfly matrix and one of the largest Fourier transform that ``config`` takes, as many
    rows of it as keep its vectors small; static scaling."""
    for kind in ("bpmm", "fft"):
        for log2_size in range(config.largest_n, 0, -1):
            rng = np.random.default_rng([seed, log2_size])
            try:
                kernel = _kernel(kind, log2_size, "static", config, rng)
                rows = kernel_rows(kernel, max(1, min(kernel.rows_per_block, _MOST_LARGE >> log2_size)), rng)
                name = f"{kind}{1 << log2_size}_largest"
                if config.is_processor:
                    yield program_case(config, name, *_transform(kernel, rows))
                else:
                    (job,) = kernel.jobs(rows)
                    yield Case(name, name, job_trial(name, job), model_blocks(config, job))
                break
            except WingbeatError:
                continue  # a memory of this core is too small for it


# --- kernels of an array ------------------------------------------------------------------------


def small_kernels(config: CoreConfig, rng: np.random.Generator) -> Iterator[tuple[str, Kernel]]:
    """Kernels of a few sizes that ``config`` takes, with names: both kinds, all scaling policies."""
    s = config.layers
    for log2_size in sorted({1, s, s + 1, 2 * s + 1, 3 * s}):
        for scaling in get_args(Scaling):
            for kind in ("bpmm", "fft"):
                try:
                    kernel = _kernel(kind, log2_size, scaling, config, rng)
                except WingbeatError:
                    continue  # a memory of this core is too small for it
                if kernel.rows_per_block * kernel.size <= _MOST_WORDS or log2_size == 1:
                    yield f"{kind}{1 << log2_size}_{scaling}", kernel


def _kernel(kind: str, log2_size: int, scaling: Scaling, config: CoreConfig,
            rng: np.random.Generator) -> Kernel:
    size = 1 << log2_size
    if kind == "fft":
        rows = rng.uniform(-1, 1, (8, size)) + 1j * rng.uniform(-1, 1, (8, size))
        return compile_fft(size, config, scaling=scaling, calibration=rows, rows=1)
    weights = rng.standard_normal((1, 1, log2_size, size // 2, 2, 2)) / np.sqrt(2)
    rows = rng.uniform(-1, 1, (8, size))
    return compile_butterfly(weights, config, scaling=scaling, calibration=rows, rows=1)


def kernel_rows(kernel: Kernel, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Rows (rows, in_size) that fill the input range of ``kernel``, a little beyond full scale now and
    then."""
    limit = 1.1 * kernel.input_step * (1 << kernel.config.element_width - 1)
    x = rng.uniform(-limit, limit, (rows, kernel.in_size))
    return x if kernel.rows_per_word == 2 else x + 1j * rng.uniform(-limit, limit, x.shape)


def model_blocks(config: CoreConfig, job: Job) -> list[BlockResult]:
    """What the integer model of a fresh array gives for ``job``."""
    model = ArrayModel(config)
    for target, address, data in job.setup:
        model.write_setup(target, address, data)
    return model.run(job.program, job.words)


# --- programs of a processor --------------------------------------------------------------------


def small_programs(config: CoreConfig, seed: int = _SEED) -> Iterator[Case]:
    """Programs that ``config`` takes: a butterfly matrix and the way back, a Fourier transform of rows, real mixing,
    with a vector unit a FABNet block, with a ring a dense matrix and, where it may be, a sparse one; each in two sizes,
    all with static scaling.

    Raises :class:`WingbeatError`, the last refusal, when the processor is too small for all of them.
    """
    refusal, found = None, False
    for points in (config.memory_elements, 2 * config.memory_elements):  # a row fills a beat, or two
        for make in (_butterfly, _fft, _mixing, *((_network,) if config.vector_lanes else ()),
                     *((_dense,) if config.ring_words else ()), *((_sparse,) if config.sparse else ())):
            try:
                name, program, memory = make(config, points, seed)
            except WingbeatError as fault:
                refusal = fault  # a memory of this processor is too small for it
                continue
            yield program_case(config, name, program, memory)
            found = True
    if refusal and not found:
        raise refusal


def program_case(config: CoreConfig, name: str, program: Program, memory: np.ndarray,
                 deadline: int | None = None) -> Case:
    """A program of a processor on ``memory``, with a deadline that no timing of the self test comes near."""
    if deadline is None:
        beats = sum(stage.load.walk.beats + stage.store.walk.beats for stage in program.stages) * config.beat_groups
        groups = sum(mac_groups(config, step) if isinstance(step, Mac) else step.groups + step.gap
                     for stage in program.stages for step in stage.passes if isinstance(step, Mac | Pass))
        deadline = 10_000 + 4 * len(program.setup) + 40 * (beats + groups) + 1000 * len(program.stages)
    after = memory.copy()
    program.run_model(config, after)
    trial = Trial(name, program.setup, program.instructions, memory, MemoryTiming(), deadline,
                  n_blocks=len(program.stages))
    return Case(name, name, trial, after, program.stages)


_Made = tuple[str, Program, np.ndarray]  # name, program, the memory int64 (beats, 2K) before it


def _butterfly(config: CoreConfig, points: int, seed: int) -> _Made:
    """Rows times two butterfly matrices, points -> 2 * points -> points: stacks, truncation, a dependency."""
    work = kernels.ffn_workload(config, 4 * config.engines + 3, points, 2, seed)
    return f"butterfly{points}", work.program, work.memory


def _dense(config: CoreConfig, points: int, seed: int) -> _Made:
    """Several blocks, rows that fill none, results that fill no beat."""
    work = kernels.dense_workload(config, 4 * config.engines + 3, points, points - 1, seed)
    return f"dense{points}", work.program, work.memory


def _sparse(config: CoreConfig, points: int, seed: int) -> _Made:
    """As a dense one; groups of 8, of which as many stream as fills beats."""
    work = kernels.dense_workload(config, 4 * config.engines + 3, 8 * points, points - 1, seed, Pattern(3, 8))
    return f"nm{8 * points}", work.program, work.memory


def _mixing(config: CoreConfig, points: int, seed: int) -> _Made:
    work = kernels.mixing_workload(config, min(16, points), points, seed)
    return f"mixing{points}", work.program, work.memory


def _fft(config: CoreConfig, points: int, seed: int) -> _Made:
    """Two full blocks of the smallest kind and a row."""
    rng = np.random.default_rng([seed, points])
    kernel = compile_fft(points, config, scaling="static", calibration=kernels.random_rows(points, 64, True, rng),
                         rows=1)
    x = kernels.random_rows(points, 2 * kernel.rows_per_block + 1, True, rng)
    return f"fft{points}", *_transform(kernel, x)


def _transform(kernel: Kernel, x: np.ndarray) -> tuple[Program, np.ndarray]:
    """Program and memory for the rows ``x`` through ``kernel``."""
    config, whole = kernel.config, kernel.quantise(x)[0]
    elements = kernels.as_elements(whole)
    source, target = kernels.placed(config, elements.shape, elements.shape)
    memory = np.zeros((target.end, config.memory_elements), dtype=np.int64)
    memory[:source.end] = source.pack(elements, config)
    operation = transform_rows if np.iscomplexobj(whole) else multiply_butterfly
    return assemble(config, operation(kernel, source, target, CoefficientSpace(config), "rows")), memory


def _network(config: CoreConfig, points: int, seed: int) -> _Made:
    """LayerNorms, mixing, butterflies, GELU, biases and residuals: everything of the vector unit but argmax."""
    compiled, x = compile_block(config, BlockShape(8, points, 2 * points), 1, seed)
    if len(compiled.segments) > 1:
        raise WingbeatError(f"program_words: {config.program_words} are too few for a block in one program")
    return f"network{points}", compiled.segments[0].program, compiled.memory(x)[0]


# --- the test bench of a generated core ---------------------------------------------------------


def write_testbench(core: Core, folder: Path) -> None:
    """Fill ``folder``, the ``tb/`` of a generated core, with models, runner, test and vectors that need nothing of
    wingbeat; always the same bytes. Raises as :func:`small_cases` does."""
    cases, here = list(small_cases(core.config)), Path(__file__).resolve().parent / "testbench"
    large = list(largest_cases(core.config))
    harness = core.harness.fitted(case.trial for case in (*cases, *large))
    for path in core.primitives:
        shutil.copyfile(path, folder / path.name)
    around = harness.write_verilog(folder)
    for name in (*_FILES, *(f"{bench}.py" for bench in harness.benches)):
        shutil.copyfile(here / name, folder / name)
    sources = [f"../rtl/{core.config.name}.v", *(path.name for path in core.primitives), *around]
    places = field_places(SETUP)
    fault = {"target_mask": (1 << places["target"][1]) - 1, "targets": core.config.n_units,
             "bit": places["data"][0] + _FAULTY_BIT}
    facts = {"top": harness.top, "sources": sources, "bench": harness.benches[0], "fault": fault,
             **({"needs": harness.needs} if harness.needs else {})}
    (folder / "bench.json").write_text(json.dumps(facts, indent=1) + "\n")
    trials, expected = [], {}
    for number, case in enumerate(cases):
        lines = harness.lines(case.expected)
        for label, timing in harness.shipped_timings(number).items():
            trials.append(case.under(timing, label))
            expected[trials[-1].name] = (case.name, lines)
    for case in large:
        trials.append(case.under(next(iter(harness.shipped_timings(0).values()))))
        expected[trials[-1].name] = (case.name, harness.lines(case.expected))
    (folder / "vectors").mkdir()
    harness.write(folder / "vectors", trials, expected)
