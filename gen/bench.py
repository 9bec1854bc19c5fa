"""Cycles, utilisation and accuracy of single kernels, measured on the simulated Verilog in steady state."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ..hw.config import ArrayConfig
from ..hw.errors import WingbeatError
from ..sim.cycles import estimate
from ..sim.reference import butterfly_multiply, fft, sqnr_db
from .compiler import Scaling, compile_butterfly, compile_fft
from .kernel import Kernel
from .selftest import model_blocks
from .simulate import count_mismatches
from .simulator import build_array, simulate, trial

__all__ = ["KERNELS", "KernelFigures", "bench_kernels"]

KERNELS = ("bpmm", "fft")


@dataclass(frozen=True)
class KernelFigures:
    """What one kernel of one size did.

    ``cycles`` lie between the last word of the first block and that of the last one; ``rows`` is what was
    transformed in them, load and store included. ``useful_multiplier_cycles`` counts one per multiplication
    of the butterfly graph, ``utilization`` divides it by multipliers * cycles. ``computing`` to
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
    utilization: float
    sqnr_db: float
    mismatches: int
    total: int
    model_total: int
    computing: int
    waiting_input: int
    waiting_output: int
    waiting_hazard: int


def bench_kernels(config: ArrayConfig, sizes: Sequence[int], kernels: Sequence[str] = KERNELS, *,
                  blocks: int = 4, scaling: Scaling = "static", seed: int = 1, simulator: str = "verilator",
                  report: Callable[[str], None] | None = None) -> list[dict]:
    """Run every kernel at every size (points per row) on the simulated Verilog of ``config``.

    Rows are random (butterfly: blocks randn/sqrt2 and normal rows; FFT: uniform complex rows), calibrated on
    other rows of the same kind; SQNR is against float64 of the quantised input. ``report`` is called after
    every run. Raises :class:`WingbeatError` for a size the array does not take or an unknown kernel.
    """
    if blocks < 2:
        raise WingbeatError(f"--blocks: {blocks}; allowed are 2 or more, the first block fills the pipeline")
    unknown = [kernel for kernel in kernels if kernel not in KERNELS]
    if unknown:
        raise WingbeatError(f"--kernel: {unknown[0]!r} is not one of {', '.join(KERNELS)}")
    step = report or (lambda name: None)
    work = [(kernel, n, *_compile(config, kernel, n, scaling, seed)) for kernel in kernels for n in sizes]
    build = build_array(config, simulator)
    step("build")
    rows = []
    for name, n, kernel, twiddle in work:
        rows.append(asdict(_measure(build, name, n, kernel, twiddle, blocks, seed)))
        step(f"{name} {n}")
    return rows


def _rows(name: str, n: int, count: int, rng: np.random.Generator) -> np.ndarray:
    if name == "bpmm":
        return rng.standard_normal((count, n))
    return rng.uniform(-1, 1, (count, n)) + 1j * rng.uniform(-1, 1, (count, n))


def _compile(config: ArrayConfig, name: str, n: int, scaling: Scaling,
             seed: int) -> tuple[Kernel, np.ndarray | None]:
    rng = np.random.default_rng([seed, n])
    calibration = _rows(name, n, max(256, 65536 // n), rng)  # small rows need more of them to show their tails
    if name == "fft":
        return compile_fft(n, config, scaling=scaling, calibration=calibration), None
    log2_n = n.bit_length() - 1
    twiddle = rng.standard_normal((1, 1, log2_n, n // 2, 2, 2)) / np.sqrt(2)
    return compile_butterfly(twiddle, config, scaling=scaling, calibration=calibration), twiddle


def _measure(build, name: str, n: int, kernel: Kernel, twiddle: np.ndarray | None, blocks: int,
             seed: int) -> KernelFigures:
    config = kernel.config
    x = _rows(name, n, blocks * kernel.rows_per_block, np.random.default_rng([seed, n, 1]))
    (job,) = kernel.jobs(x)
    expected = model_blocks(config, job)
    (run,) = simulate(build, [trial(f"{name}_{n}", job)])
    y = kernel.unpack(run.blocks, len(x))
    quantised = kernel.quantised_input(x)
    reference = fft(quantised) if twiddle is None else butterfly_multiply(twiddle, quantised)
    cycles = int(run.last_cycles[-1] - run.last_cycles[0])
    rows = (blocks - 1) * kernel.rows_per_block
    useful = rows * kernel.multiplications_per_row
    counters = run.counters
    return KernelFigures(
        name, n, rows, config.n_multipliers, cycles, useful, useful / (config.n_multipliers * cycles),
        sqnr_db(reference, y), count_mismatches(run.blocks, expected), counters.total,
        estimate(config, job.program).total, counters.computing, counters.waiting_input,
        counters.waiting_output, counters.waiting_hazard)
