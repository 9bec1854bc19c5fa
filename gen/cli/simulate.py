"""Small kernels on the simulated Verilog of an array, word for word against the integer model."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ...sim.model.array import BlockResult
from ..cosim.compare import count_mismatches
from ..cosim.core import PROFILES, Trial, build_array, simulate, trial
from ..cosim.selftest import model_blocks, random_rows, small_kernels
from ..cosim.testbench.simulators import SIMULATORS

__all__ = ["check_array"]


def check_array(config: CoreConfig, *, simulator: str = "verilator", seed: int = 1,
                report: Callable[[str], None] | None = None) -> list[dict[str, Any]]:
    """Build ``config`` on ``simulator`` and run the kernels of its self test, each under every stall profile.

    ``seed`` draws weights, data and stalls. ``report`` is called with the name of each of the three steps
    that ends. Returns one entry per run: ``kernel``, ``profile``, ``blocks``, ``cycles`` from start to the
    last word, ``computing`` (hardware counter), ``mismatches``. Raises :class:`WingbeatError` for an unknown
    simulator and :class:`~wingbeat.gen.cosim.testbench.simulators.SimulatorError` when the array breaks a rule of
    its streams.
    """
    if simulator not in SIMULATORS:
        raise WingbeatError(f"--simulator: {simulator!r} is not one of {', '.join(SIMULATORS)}")
    if not 0 <= seed < 1 << 32:
        raise WingbeatError(f"--seed: {seed}; allowed are 0..{(1 << 32) - 1}")
    step = report or (lambda name: None)
    rng = np.random.default_rng(seed)
    trials: list[Trial] = []
    expected: dict[str, tuple[str, list[BlockResult]]] = {}
    for name, kernel in small_kernels(config, rng):
        jobs = kernel.jobs(random_rows(kernel, kernel.rows_per_block + 1, rng))
        for number, job in enumerate(jobs):
            blocks = model_blocks(config, job)
            for profile in PROFILES:
                made = trial(f"{name}_{number}-{profile}", job, profile, seed + len(trials))
                trials.append(made)
                expected[made.name] = (name, blocks)
    step("model")
    build = build_array(config, simulator)
    step("build")
    runs = simulate(build, trials)
    step("simulation")
    return [{"kernel": expected[run.trial.name][0], "profile": run.trial.profile,
             "blocks": run.counters.blocks, "cycles": run.cycles, "computing": run.counters.computing,
             "mismatches": count_mismatches(run.blocks, expected[run.trial.name][1])} for run in runs]
