"""The command ``wingbeat simulate``: jobs on the simulated Verilog of a core against the integer model, and pictures of
where the cycles of a processor went."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ..cosim.core import Core
from ..cosim.job import Run, Trial
from ..cosim.selftest import Case, program_case, small_cases
from ..cosim.testbench.simulators import SIMULATORS
from ..cosim.timing import MemoryTiming
from ..explore.measure import run_deadline
from ..report.timeline import write
from ..report.trace import trace_timeline
from ..workloads.kernels import Workload

__all__ = ["check_core"]

_SLOWEST = MemoryTiming(400)


def check_core(config: CoreConfig, work: Sequence[Workload] = (), timing: MemoryTiming | None = None, *,
               simulator: str = "verilator", seed: int = 1, trace: Path | None = None, vcd: Path | None = None,
               report: Callable[[str], None] | None = None) -> list[dict[str, Any]]:
    """Run ``work``, or the small jobs of the self test where it is empty, and compare all that comes out, the output of
    an array or the whole memory of a processor, with the model.

    ``timing`` of the memory; without it every job runs under every profile of stalls, on a processor on an ideal memory
    too. ``seed`` draws weights, data and stalls. ``trace`` is a folder, which exists, for a timeline of each run,
    NAME.svg and NAME.html; ``vcd`` a file for the waves of all. ``report`` is called with the name of each of the three
    steps that ends. Returns one entry per run: ``kernel`` and ``profile`` or ``program`` and ``memory``; ``blocks``,
    ``cycles``, ``computing`` (hardware counters); ``error`` of a processor; ``mismatches`` in words or elements.

    Raises :class:`WingbeatError` for an unknown simulator or seed, and
    :class:`~wingbeat.gen.cosim.testbench.simulators.SimulatorError` when the core breaks a rule of its ports.
    """
    if simulator not in SIMULATORS:
        raise WingbeatError(f"--simulator: {simulator!r} is not one of {', '.join(SIMULATORS)}")
    if not 0 <= seed < 1 << 32:
        raise WingbeatError(f"--seed: {seed}; allowed are 0..{(1 << 32) - 1}")
    step, core = report or (lambda name: None), Core(config)
    trials: list[Trial] = []
    found: dict[str, tuple[Case, str]] = {}
    for case in [_case(one) for one in work] if work else small_cases(config, seed):
        timings = {"given": timing} if timing else core.harness.check_timings(seed, len(trials))
        for label, chosen in timings.items():
            trials.append(replace(case.under(chosen, "" if timing else label), trace=trace is not None))
            found[trials[-1].name] = (case, label)
    step("model")
    build = core.build(simulator, vcd=vcd is not None)
    step("build")
    runs = build.simulate(trials, vcd=vcd)
    step("simulation")
    if trace is not None:
        for run in runs:
            _draw(run, found[run.trial.name][0], trace)
    return [_row(config, run, *found[run.trial.name]) for run in runs]


def _case(work: Workload) -> Case:
    return program_case(work.config, f"{work.name}_{work.points}", work.program, work.memory,
                        run_deadline(work, _SLOWEST))


def _row(config: CoreConfig, run: Run, case: Case, label: str) -> dict[str, Any]:
    job, timing = ("program", "memory") if config.is_processor else ("kernel", "profile")
    return {job: case.job, timing: label, "blocks": run.counters.blocks, "cycles": run.cycles,
            "computing": run.counters.computing, **({"error": run.error} if config.is_processor else {}),
            "mismatches": case.mismatches(run)}


def _draw(run: Run, case: Case, folder: Path) -> None:
    timeline = trace_timeline(run, case.stages, run.trial.name)
    for suffix in ("svg", "html"):
        write(timeline, folder / f"{run.trial.name}.{suffix}")
