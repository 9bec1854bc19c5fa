"""A compiled kernel on the simulated Verilog of its array."""

import numpy as np

from ..compiler.kernel.kernel import Kernel
from .core import Core
from .job import job_trial

__all__ = ["simulate_kernel"]


def simulate_kernel(kernel: Kernel, x: np.ndarray, simulator: str = "verilator") -> np.ndarray:
    """Rows (rows, out_size) of ``x`` (rows, in_size): bit for bit what :meth:`Kernel.run_model` gives, with the same
    warnings.

    The first call for a configuration generates and builds it (seconds to a minute), later ones find it in the cache.
    Raises :class:`~wingbeat.gen.cosim.testbench.simulators.SimulatorError` when the simulator is missing or the array
    breaks a rule of its streams.
    """
    x = np.asarray(x)
    trials = [job_trial(f"part{number}", job) for number, job in enumerate(kernel.jobs(x))]
    runs = Core(kernel.config).simulate(trials, simulator)
    found = kernel.gathered([block for run in runs for block in run.results], len(x), kernel.quantise(x)[1])
    kernel.warn(found)
    return found.y
