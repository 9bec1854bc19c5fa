"""Softmax attention in generated Verilog: every element of the memory and every counter equals the models."""

from fractions import Fraction

import numpy as np
import pytest

from support.attention import SHAPES, AttentionCase, attention_config, limit_cases

from wingbeat.gen.compiler.program.attention import Heads
from wingbeat.gen.compiler.program.granularity import Keys
from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.job import Trial
from wingbeat.gen.cosim.testbench.simulators import find
from wingbeat.gen.cosim.timing import MEMORY_STALLS, MemoryTiming
from wingbeat.sim.cycles.estimate import estimate
from wingbeat.sim.cycles.memory import MemorySpeed

# Heads, rows of queries, keys, which of them count, inputs. Chunks where the ring is small.
CASES = {
    "one engine": [(Heads(2, 1, 16), 20, 41, Keys(length=2), 2), (Heads(1, 1, 48), 33, 33, Keys(True, None, 1), 1),
                   (Heads(1, 1, 16), 3, 5, Keys(length=1), 1),
                   (Heads(1, 1, 64), 40, 300, Keys(window=70, length=1), 1)],
    "four engines": [(Heads(1, 1, 64), 64, 256, Keys(), 1), (Heads(2, 2, 64), 70, 70, Keys(True, 40, 5), 1)],
    "one layer": [(Heads(1, 1, 32), 40, 96, Keys(True), 1), (Heads(2, 1, 32), 20, 37, Keys(length=9), 1)],
    "four layers": [(Heads(1, 1, 128), 9, 130, Keys(length=1), 1)]}


@pytest.mark.parametrize("shape", [pytest.param(name, marks=[pytest.mark.campaign] if name == "one layer" else [])
                                   for name in SHAPES])
def test_attention(shape):
    """On memories of every speed, and with all stalls."""
    if find("verilator") is None:
        pytest.skip("verilator is not installed: no attention was simulated on it")
    config = attention_config(shape)
    cases = [AttentionCase(config, heads, queries, keys, counts, inputs)
             for heads, queries, keys, counts, inputs in CASES[shape]]
    timings = [MemoryTiming(), MemoryTiming(30, Fraction(3 * config.stream_words, 4)),
               *(MemoryTiming(5, Fraction(2), stalls, 3) for stalls in sorted(MEMORY_STALLS) if stalls != "none")]
    trials, wanted = [], []
    for number, case in enumerate(cases):
        program, memory = case.program(), case.memory.copy()
        program.run_model(config, memory)
        for at, timing in enumerate(timings):
            trials.append(Trial(f"case{number}-{at}", program.setup, program.instructions, case.memory, timing))
            wanted.append((memory, program, timing, case.memory))
    for run, (memory, program, timing, image) in zip(Core(config).simulate(trials), wanted, strict=True):
        note = f"{shape}, {run.trial.name}, {timing}"
        assert run.error == 0 and np.array_equal(run.data, memory), note
        if timing.stalls == "none":
            speed = MemorySpeed(timing.latency, timing.words_per_cycle)
            found = estimate(config, program.instructions, program.setup, speed, image=image)
            assert run.counters.total == found.total and run.counters.computing == found.computing, note


def test_limits():
    """Elements and flags as in the model, on an ideal memory."""
    if find("verilator") is None:
        pytest.skip("verilator is not installed: no attention was simulated on it")
    limits = list(limit_cases())
    trials = [Trial(limit.name, limit.program.setup, limit.program.instructions, limit.case.memory, MemoryTiming())
              for limit in limits]
    for run, limit in zip(Core(limits[0].case.config).simulate(trials), limits, strict=True):
        memory = limit.case.memory.copy()
        outcomes = limit.program.run_model(limit.case.config, memory)
        assert run.error == 0 and np.array_equal(run.data, memory), limit.name
        assert [block.saturated for block in run.blocks] == [bool(each.saturated) for each in outcomes], limit.name
