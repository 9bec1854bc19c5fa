"""Row state: maxima and totals of the model for rows in any order, as soon as they may come again."""

import random

import numpy as np
import pytest

from amaranth.sim import Simulator

from wingbeat.hw.config import CoreConfig, Target
from wingbeat.hw.numeric import LEAST_LOGIT, MAC_TERMS
from wingbeat.hw.softmax import row_state
from wingbeat.hw.softmax.parameters import STATE_LATENCY, share_bits, state_cycles, total_bits
from wingbeat.sim.model.softmax import Probabilities, RowState

ROWS = 8


def random_steps(rng, config, count):
    """(cycle, row, update, fresh, share, exponent), rows again after state_cycles or more."""
    free, steps, cycle, seen = [0] * ROWS, [], 0, set()
    for _ in range(count):
        cycle += rng.choice((1, 1, 1, 2, 5))
        ready = [row for row in range(ROWS) if free[row] <= cycle]
        if not ready:
            continue
        row = rng.choice(ready)
        fresh = row not in seen or rng.random() < 0.05
        seen.add(row)
        update = fresh or rng.random() < 0.9
        exponent = rng.choice((LEAST_LOGIT, 255, rng.randint(-4, 4), rng.randint(LEAST_LOGIT, 255)))
        share = rng.choice((0, rng.getrandbits(share_bits(config) - 1), config.lanes * ((1 << config.width - 1) - 1)))
        steps.append((cycle, row, update, fresh, share, exponent))
        if update:
            free[row] = cycle + state_cycles(config)
    return steps


def run(config, steps):
    """(cycle, maximum, total) of every o_valid, and what ``old`` showed two cycles after each step."""
    dut, found, old = row_state.RowState(config, ROWS), [], {}
    by_cycle = {step[0]: step for step in steps}

    async def bench(ctx):
        for cycle in range(steps[-1][0] + STATE_LATENCY + 3):
            step = by_cycle.get(cycle)
            ctx.set(dut.valid, step is not None)
            if step:
                for port, value in zip((dut.row, dut.update, dut.fresh, dut.share, dut.exponent), step[1:]):
                    ctx.set(port, value)
            if ctx.get(dut.o_valid):
                found.append((cycle, ctx.get(dut.o.maximum), ctx.get(dut.o.total)))
            if cycle - 2 in by_cycle:
                old[cycle - 2] = ctx.get(dut.old.maximum), ctx.get(dut.old.total)
            await ctx.tick()
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return found, old


@pytest.mark.parametrize("layers, width", [(2, 18), (1, 16), (4, 18), (2, 8)])
def test_maxima_and_totals_of_the_model(layers, width):
    seed = 3
    rng, config = random.Random(seed), CoreConfig.of(layers=layers, width=width, element_width=min(16, width))
    steps = random_steps(rng, config, 900)
    found, old = run(config, steps)
    states = {}
    wanted = []
    for cycle, row, update, fresh, share, exponent in steps:
        if fresh:
            states[row] = RowState.empty(1)
        else:
            assert old[cycle] == (states[row].maximum[0], states[row].total[0]), f"seed {seed}, cycle {cycle}"
        if update:
            p = np.zeros((1, 1, config.lanes), dtype=np.int64)
            p[0, 0, 0] = share
            states[row].add(Probabilities(p, np.array([[exponent]])))
            wanted.append((cycle + STATE_LATENCY, states[row].maximum[0], states[row].total[0]))
            if states[row].total[0] >> total_bits(config) - 1:  # never so many keys
                states[row] = RowState.empty(1)
                break
    assert found[:len(wanted)] == wanted, f"seed {seed}"
    assert len(wanted) > 300


def test_the_total_of_most_keys_has_room():
    config = CoreConfig.of(layers=2, width=18, target=Target.PORTABLE)
    most = MAC_TERMS * ((1 << config.width - 1) - 1) << 2
    assert most < 1 << total_bits(config)
