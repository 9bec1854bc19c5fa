"""The test bench in ``tb/`` of a generated core: its own vectors, and a runner that needs nothing of
wingbeat."""

from collections.abc import Iterator
import json
from pathlib import Path
import shutil
from typing import get_args

from amaranth.lib import wiring
import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ...sim.model.array import ArrayModel, BlockResult
from ..compiler.beats import pack_beats, tag_beats
from ..compiler.kernel.compile import compile_butterfly, compile_fft
from ..compiler.kernel.kernel import Job, Kernel
from ..compiler.kernel.passes import Scaling
from .core import PROFILES, Trial, models, trial, write_trials
from .processor_selftest import write_processor_test

__all__ = ["write_testbench", "model_blocks", "small_kernels", "expected_beats", "random_rows"]

_FILES = ("run.py", "simulators.py", "Makefile")
_SEED = 2024
_MOST_WORDS = 16384  # words of one block in all engines: vectors stay small on large arrays


def write_testbench(config: CoreConfig, folder: Path, component: wiring.Component) -> None:
    """Fill ``folder``, the ``tb/`` of a generated core, with runner, test and vectors; always the same bytes.

    ``component`` is the core made from ``config``. The vectors of an array are small kernels of several sizes in
    every scaling policy, with the output of the integer model; the stall profiles go round. Those of a processor are
    small programs with the memory after them. The simulation models of an ECP5 core are expected beside them
    (ecp5.v). Raises :class:`WingbeatError` when no small program fits a processor.
    """
    sources = [f"../rtl/{config.name}.v", *(path.name for path in models(config))]
    if config.is_processor:
        bench = "processor_bench"
        top, own = write_processor_test(config, component, folder)
        sources += own
    else:
        bench, top = "array_bench", config.name
        _write_vectors(config, folder / "vectors")
    here = Path(__file__).resolve().parent / "testbench"
    for name in (*_FILES, f"{bench}.py"):
        shutil.copyfile(here / name, folder / name)
    facts = {"top": top, "sources": sources, "bench": bench}
    (folder / "bench.json").write_text(json.dumps(facts, indent=1) + "\n")


def _write_vectors(config: CoreConfig, folder: Path) -> None:
    trials: list[Trial] = []
    expected: dict[str, list[str]] = {}
    rng = np.random.default_rng(_SEED)
    for name, kernel in small_kernels(config, rng):
        rows = kernel.rows_per_block + 1  # a second block, nearly empty
        for number, job in enumerate(kernel.jobs(random_rows(kernel, rows, rng))):
            profile = list(PROFILES)[len(trials) % len(PROFILES)]
            made = trial(f"{name}_{number}", job, profile, seed=len(trials))
            trials.append(made)
            expected[made.name] = expected_beats(config, model_blocks(config, job))
    folder.mkdir()
    write_trials(folder, trials, config.element_width, config.stream_words, expected)


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


def random_rows(kernel: Kernel, rows: int, rng: np.random.Generator) -> np.ndarray:
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


def expected_beats(config: CoreConfig, blocks: list[BlockResult]) -> list[str]:
    """Output beats of ``blocks``; ``saturated`` is given on the last beat of each block, where it is
    final."""
    lines: list[str] = []
    for block in blocks:
        words = pack_beats(block.words, config.element_width, config.stream_words)
        last = np.arange(len(words)) == len(words) - 1
        lines += tag_beats(words, np.full(len(words), block.exponent), last & bool(block.saturated), last,
                           config.element_width, config.stream_words)
    return lines
