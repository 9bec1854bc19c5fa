"""How utilisation depends on the memory: words per cycle and latency, on the simulated Verilog."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import product
from pathlib import Path

import matplotlib

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ..cosim.core import Core
from ..cosim.timing import MemoryTiming
from ..files import output_file
from .measure import KERNELS, run_workload, workloads

__all__ = ["WORDS", "LATENCIES", "Point", "measure_sensitivity", "plot"]

WORDS = (1, 2, 4, 6, 8, 10, 12, 16)   # per cycle, each way
LATENCIES = (1, 50, 100, 200)         # cycles from a request to its beat
_SIZE = (8.0, 3.6)                    # inches


@dataclass(frozen=True)
class Point:
    """Steady-state utilisation of a kernel: useful multiplications per multiplier and cycle."""

    kernel: str
    n: int
    words_per_cycle: int
    latency: int
    cycles: int
    utilisation: float


def measure_sensitivity(config: CoreConfig, kernels: Sequence[str], points: int, *, words: Sequence[int] = WORDS,
            latencies: Sequence[int] = LATENCIES, blocks: int = 4, seed: int = 1, simulator: str = "verilator",
            report: Callable[[str], None] | None = None) -> list[dict]:
    """Utilisation of ``kernels`` at ``points`` points for every pair of words per cycle and latency, counted from the
    first block that leaves to the last. ``report`` is called after the build and after every run.

    Raises WingbeatError.
    """
    step = report or (lambda name: None)
    for kernel in kernels:
        if kernel not in KERNELS:
            raise WingbeatError(f"--kernel: {kernel!r} is not one of {', '.join(KERNELS)}")
    work = workloads(config, kernels, [points], blocks=blocks, seed=seed)
    build = Core(config).build(simulator)
    step("build")
    rows = []
    for workload, rate, latency in product(work, words, latencies):
        run = run_workload(build, workload, MemoryTiming(latency, Fraction(rate)))
        cycles = run.blocks[-1].cycle - run.blocks[0].cycle
        useful = workload.useful - workload.first_useful
        rows.append(asdict(Point(workload.name, points, rate, latency, cycles,
                                 useful / (config.n_multipliers * cycles))))
        step(f"{workload.name}, {rate} words, {latency} cycles")
    return rows


def plot(rows: Sequence[dict], path: Path, title: str) -> None:
    """Curves of utilisation over words per cycle, one per latency, one picture per kernel, as SVG."""
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "wingbeat"  # the same numbers, the same bytes
    from matplotlib import pyplot  # after the choice of the backend

    kernels = list(dict.fromkeys(row["kernel"] for row in rows))
    figure, axes = pyplot.subplots(1, len(kernels), figsize=_SIZE, sharey=True, squeeze=False, layout="constrained")
    for axis, kernel in zip(axes[0], kernels):
        for latency in sorted({row["latency"] for row in rows}):
            line = [(row["words_per_cycle"], row["utilisation"]) for row in rows
                    if row["kernel"] == kernel and row["latency"] == latency]
            axis.plot(*zip(*line), marker=".", label=f"latency {latency}")
        axis.set(title=f"{kernel}, N = {rows[0]['n']}", xlabel="words per cycle, each way", ylim=(0, 1.05))
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("utilisation")
    axes[0][-1].legend(loc="lower right", title="cycles")
    figure.suptitle(title)
    with output_file(path) as fresh:
        figure.savefig(fresh, format="svg", metadata={"Date": None})
    pyplot.close(figure)
