"""Self test of a generated processor: small programs under several timings of the memory, and their expected memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
import json
from pathlib import Path
import shutil

from amaranth.lib import wiring
import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ..compiler.beats import pack_beats
from ..compiler.kernel.compile import compile_fft
from ..compiler.program.assemble import Program, assemble
from ..compiler.program.coefficients import CoefficientSpace
from ..compiler.program.matrix import Matrix
from ..compiler.program.operations import transform_rows
from ..workloads.fabnet import BlockShape, compile_block
from ..workloads.kernels import ffn_workload, mixing_workload, random_rows
from .memory import (STALLS, MemoryTiming, ProcessorBuild, ProcessorTrial, memory_top, trial_entries, vector_fields,
                     write_lines)

__all__ = ["SmallProgram", "small_programs", "write_processor_test"]

_MODELS = ("memory.v", "driver.v")
_SEED = 2024
_LATENCY = 40        # cycles, of the slow memory


@dataclass(frozen=True, eq=False)
class SmallProgram:
    """A program, the memory int64 (beats, 2K) before it and, by the integer model, after it."""

    name: str
    config: CoreConfig
    program: Program = field(repr=False)
    memory: np.ndarray = field(repr=False)

    def expected(self) -> np.ndarray:
        """The memory after a run, int64 (beats, 2K)."""
        memory = self.memory.copy()
        self.program.run_model(self.config, memory)
        return memory

    def trial(self, timing: MemoryTiming, name: str) -> ProcessorTrial:
        """A run with the memory at this speed, and a deadline that no timing of the self test comes near."""
        stages = self.program.stages
        beats = sum(stage.load.walk.beats + stage.store.walk.beats for stage in stages) * self.config.beat_groups
        groups = sum(step.groups + step.gap for stage in stages for step in stage.passes)
        deadline = 10_000 + 4 * len(self.program.setup) + 40 * (beats + groups) + 1000 * len(stages)
        return ProcessorTrial(f"{self.name}-{name}", self.program.setup, self.program.instructions, self.memory, timing,
                              deadline=deadline)


def small_programs(config: CoreConfig, seed: int = _SEED) -> Iterator[SmallProgram]:
    """Programs that ``config`` takes: a butterfly matrix and the way back, a Fourier transform of rows, real mixing,
    and with a vector unit a FABNet block; each in two sizes, all with static scaling.

    Raises :class:`WingbeatError`, the last refusal, when the processor is too small for all of them.
    """
    refusal, found = None, False
    for points in (config.memory_elements, 2 * config.memory_elements):  # a row fills a beat, or two
        for make in (_butterfly, _fft, _mixing, *((_network,) if config.vector_lanes else ())):
            try:
                made = make(config, points, seed)
            except WingbeatError as fault:
                refusal = fault  # a memory of this processor is too small for it
                continue
            yield made
            found = True
    if refusal and not found:
        raise refusal


def _butterfly(config: CoreConfig, points: int, seed: int) -> SmallProgram:
    """Rows times two butterfly matrices, points -> 2 * points -> points: stacks, truncation, a dependency."""
    work = ffn_workload(config, 4 * config.engines + 3, points, 2, seed)
    return SmallProgram(f"butterfly{points}", config, work.program, work.memory)


def _mixing(config: CoreConfig, points: int, seed: int) -> SmallProgram:
    work = mixing_workload(config, min(16, points), points, seed)
    return SmallProgram(f"mixing{points}", config, work.program, work.memory)


def _fft(config: CoreConfig, points: int, seed: int) -> SmallProgram:
    """Two full blocks of the smallest kind and a row."""
    rng = np.random.default_rng([seed, points])
    kernel = compile_fft(points, config, scaling="static", calibration=random_rows(points, 64, True, rng), rows=1)
    rows = kernel.quantise(random_rows(points, 2 * kernel.rows_per_block + 1, True, rng))[0]
    source = Matrix.at(0, len(rows), 2 * points, config)
    target = replace(source, base=source.end)
    if target.end > 1 << config.memory_bits:
        raise WingbeatError(f"memory.address_bits: {config.memory_bits} are too few for {target.end} beats; "
                            f"allowed are {(target.end - 1).bit_length()} and more")
    memory = np.zeros((target.end, config.memory_elements), dtype=np.int64)
    elements = np.stack([rows.real, rows.imag], axis=-1).reshape(len(rows), -1).astype(np.int64)
    memory[:source.end] = source.pack(elements, config)
    tasks = transform_rows(kernel, source, target, CoefficientSpace(config), "fft")
    return SmallProgram(f"fft{points}", config, assemble(config, tasks), memory)


def _network(config: CoreConfig, points: int, seed: int) -> SmallProgram:
    """LayerNorms, mixing, butterflies, GELU, biases and residuals: everything of the vector unit but argmax."""
    compiled, x = compile_block(config, BlockShape(8, points, 2 * points), 1, seed)
    if len(compiled.segments) > 1:
        raise WingbeatError(f"program_words: {config.program_words} are too few for a block in one program")
    return SmallProgram(f"network{points}", config, compiled.segments[0].program, compiled.memory(x)[0])


def _timings(config: CoreConfig, number: int) -> dict[str, MemoryTiming]:
    """Timings of the memory for program ``number``, by name: ideal, slow, and one profile of stalls in turn."""
    profiles = [name for name in STALLS if name != "none"]
    stalls = profiles[number % len(profiles)]
    return {"ideal": MemoryTiming(), "slow": MemoryTiming(_LATENCY, Fraction(config.stream_words, 2)),
            stalls: MemoryTiming(_LATENCY // 4, stalls=stalls, seed=number, overtaking=number % 2 == 1)}


def write_processor_test(config: CoreConfig, processor: wiring.Component, folder: Path) -> tuple[str, list[str]]:
    """Fill ``folder``, the ``tb/`` of a generated processor, with models, their top module and vectors; always the
    same bytes.

    ``processor`` is the component that was made from ``config``. Returns the name of the top module and the Verilog
    files that stand in ``folder``. Raises as :func:`small_programs` does.
    """
    programs = list(small_programs(config))
    depth = max(len(small.memory) for small in programs)
    top = f"{config.name}_with_memory"
    status, block, activity = (vector_fields(processor, port) for port in ("status", "block", "activity"))
    (folder / f"{top}.v").write_text(memory_top(top, config, depth, status, block, activity))
    for name in _MODELS:
        shutil.copyfile(Path(__file__).resolve().parent / "verilog" / name, folder / name)
    build = ProcessorBuild(folder, top, "", config.element_width, config.stream_words, depth, status, block, activity)
    _write_vectors(folder / "vectors", build, programs)
    return top, [f"{top}.v", *_MODELS]


def _write_vectors(folder: Path, build: ProcessorBuild, programs: list[SmallProgram]) -> None:
    """Trials of all programs as gen/cosim/testbench/processor_bench.py reads them."""
    folder.mkdir()
    trials, expected = [], []
    for number, small in enumerate(programs):
        after = f"{small.name}.expected.hex"
        write_lines(folder / after, pack_beats(small.expected(), build.element_width, build.stream_words))
        for name, timing in _timings(small.config, number).items():
            trials.append(small.trial(timing, name))
            expected.append(after)
    entries = [entry | {"expected": after} for entry, after in
               zip(trial_entries(folder, build, trials), expected, strict=True)]
    (folder / "trials.json").write_text(json.dumps(entries, indent=1) + "\n")
