"""Programs on the simulated Verilog of a processor against the integer model, and pictures of where the cycles went."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ..compiler.program.assemble import Program
from ..cosim.memory import STALLS, MemoryTiming, ProcessorRun, ProcessorTrial, build_processor, simulate_processor
from ..cosim.processor_selftest import small_programs
from ..cosim.testbench.simulators import SIMULATORS
from ..explore.measure import run_deadline
from ..report.timeline import write
from ..report.trace import trace_timeline
from ..workloads.kernels import Workload

__all__ = ["check_processor"]


def check_processor(config: CoreConfig, work: Sequence[Workload], timing: MemoryTiming | None = None, *,
                    simulator: str = "verilator", seed: int = 1, trace: Path | None = None, vcd: Path | None = None,
                    report: Callable[[str], None] | None = None) -> list[dict[str, Any]]:
    """Run ``work``, or the small programs of the self test where it is empty, and compare the whole memory with the
    model.

    ``timing`` of the memory; without it every program runs on an ideal memory and under every profile of stalls.
    ``trace`` is a folder for a timeline of each run, NAME.svg and NAME.html; ``vcd`` a file for the waves of all.
    ``report`` is called with the name of each of the three steps that ends. Returns one entry per run: ``program``,
    ``memory``, ``blocks``, ``cycles``, ``computing`` (hardware counters), ``mismatches`` in elements of the memory.
    Raises :class:`WingbeatError` for an unknown simulator, and SimulatorError when a rule of the port is broken.
    """
    if simulator not in SIMULATORS:
        raise WingbeatError(f"--simulator: {simulator!r} is not one of {', '.join(SIMULATORS)}")
    step = report or (lambda name: None)
    programs = _programs(config, work, seed)
    stalled = {name: MemoryTiming(10, stalls=name, seed=seed) for name in STALLS if name != "none"}
    timings = {"given": timing} if timing else {"ideal": MemoryTiming(), **stalled}
    trials, expected = [], {}
    for name, program, memory, after, deadline in programs:
        for label, chosen in timings.items():
            own = name if timing else f"{name}-{label}"
            trials.append(ProcessorTrial(own, program.setup, program.instructions, memory, chosen, deadline=deadline,
                                         trace=trace is not None))
            expected[own] = (name, label, program, after)
    step("model")
    build = build_processor(config, simulator, vcd=vcd is not None)
    step("build")
    runs = simulate_processor(build, trials, vcd=vcd)
    step("simulation")
    rows = []
    for run in runs:
        name, label, program, after = expected[run.trial.name]
        if trace is not None:
            _draw(run, program, trace)
        rows.append({"program": name, "memory": label, "blocks": run.counters.blocks, "cycles": run.cycles,
                     "computing": run.counters.computing, "error": run.error,
                     "mismatches": int(np.count_nonzero(run.memory != after)) + bool(run.error)})
    return rows


def _programs(config: CoreConfig, work: Sequence[Workload],
              seed: int) -> list[tuple[str, Program, np.ndarray, np.ndarray, int]]:
    """Name, program, memory before and after, and a deadline of every program."""
    if work:
        return [(f"{one.name}_{one.points}", one.program, one.memory, one.run_model()[0],
                 run_deadline(one, MemoryTiming(400))) for one in work]
    return [(small.name, small.program, small.memory, small.expected(), small.trial(MemoryTiming(), "").deadline)
            for small in small_programs(config, seed)]


def _draw(run: ProcessorRun, program: Program, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    timeline = trace_timeline(run, program.stages, run.trial.name)
    for suffix in ("svg", "html"):
        write(timeline, folder / f"{run.trial.name}.{suffix}")
