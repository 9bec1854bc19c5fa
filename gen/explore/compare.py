"""Networks that do the same task, side by side on one processor: what each costs and how well it does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ..compiler.network.compile import compile_network, default_batch
from ..cosim.core import Core
from ..cosim.network import NetworkRun, simulate_network
from ..cosim.timing import MemoryTiming
from ..workloads.shipped import load_dataset
from .network import label_accuracy

__all__ = ["NetworkFigures", "compare_networks"]


@dataclass(frozen=True)
class NetworkFigures:
    """One network on a batch of ``inputs``, simulated. ``multiplications`` of its graph, an input. ``cycles``, beats
    ``read`` and ``written`` of a batch; ``utilisation``: multiplications of the batch through multipliers times cycles.
    ``accuracy`` on these inputs; ``mismatches``: elements of the memory that differ from the model."""

    network: str
    parameters: int
    not_zero: int
    multiplications: int
    inputs: int
    cycles: int
    read: int
    written: int
    utilisation: float
    accuracy: float | None
    mismatches: int


def compare_networks(names: Sequence[str], config: CoreConfig, images: int, timing: MemoryTiming,
                     simulator: str = "verilator", report: Callable[[str], None] | None = None) -> list[NetworkFigures]:
    """The shipped networks ``names`` on the simulated Verilog of ``config``, one batch of ``images`` held-out inputs
    each. Raises WingbeatError for an unknown network, or one that does not fit."""
    step, found = report or (lambda name: None), []
    tasks = [load_dataset(name) for name in names]
    most = min(default_batch(task.network, config) for task in tasks)
    if not 1 <= images <= most:
        raise WingbeatError(f"--images: {images}; allowed are 1..{most}, a batch")
    build = Core(config).build(simulator)
    step("build")
    for name, task in zip(names, tasks):
        batch = 1 << (images - 1).bit_length()
        compiled = compile_network(task.network, config, task.calibration, batch, check=False)
        run = simulate_network(compiled, build, task.inputs[:images], timing)
        useful = sum(operation.useful for operation in compiled.operations)
        found.append(NetworkFigures(
            name, task.record["parameters"], task.record.get("nonzero_parameters", task.record["parameters"]),
            useful // batch, images, run.cycles, _beats(run, "reader"), _beats(run, "writer"),
            useful / (config.n_multipliers * run.cycles),
            label_accuracy(run.results, np.asarray(task.labels[:images])), run.mismatches))
        step(name)
    return found


def _beats(run: NetworkRun, unit: str) -> int:
    """That a unit moves for a batch."""
    return sum(runs[0].status[f"{unit}_moving"] for runs in run.runs)
