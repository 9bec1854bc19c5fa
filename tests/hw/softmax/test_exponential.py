"""Exponential: every probability and exponent as the model has them, latency, gaps, masks, reset."""

import random

import numpy as np
import pytest

from amaranth.sim import Simulator

from wingbeat.hw.config import CoreConfig, Target
from wingbeat.hw.numeric import LOGIT_BITS, largest, smallest
from wingbeat.hw.softmax.exponential import Exponential
from wingbeat.hw.softmax.parameters import exponential_latency
from wingbeat.sim.model.softmax import probabilities


def config_of(layers, width, target=Target.PORTABLE):
    return CoreConfig.of(layers=layers, width=width, element_width=min(16, width), target=target)


def random_rows(rng, lanes, count):
    """Logits near each other, far apart, at the limits; masks."""
    rows = []
    for _ in range(count):
        centre, spread = rng.randint(smallest(LOGIT_BITS), largest(LOGIT_BITS)), rng.choice((0, 9, 12, 15, 18, 21))
        logits = [max(smallest(LOGIT_BITS), min(largest(LOGIT_BITS), centre + rng.randint(-(1 << spread), 1 << spread)))
                  for _ in range(lanes)]
        mask = rng.choice((0, (1 << lanes) - 1, rng.getrandbits(lanes)))
        rows.append((logits, [mask >> lane & 1 for lane in range(lanes)]))
    return rows


def run(config, rows, gaps):
    """What leaves: (cycle, first, p, exponent); and the cycle of every logit."""
    dut, found, given = Exponential(config), [], []

    async def bench(ctx):
        cycle, inputs = 0, []
        for (logits, allowed), gap in zip(rows, gaps):
            inputs += [None] * gap + [(at == 0, *pair) for at, pair in enumerate(zip(logits, allowed))]
        for each in inputs + [None] * (exponential_latency(config) + 3):
            ctx.set(dut.valid, each is not None)
            ctx.set(dut.first, each is not None and each[0])
            if each is not None:
                given.append(cycle)
                ctx.set(dut.logit, each[1])
                ctx.set(dut.allowed, each[2])
            if ctx.get(dut.o_valid):
                found.append((cycle, ctx.get(dut.o_first), ctx.get(dut.p), ctx.get(dut.exponent)))
            await ctx.tick()
            cycle += 1
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return found, given


@pytest.mark.parametrize("layers, width", [(2, 18), (1, 16), (4, 18), (2, 12), (1, 8)])
def test_probabilities_of_the_model(layers, width):
    seed = 5
    rng, config = random.Random(seed), config_of(layers, width)
    rows = random_rows(rng, config.lanes, 300)
    gaps = [rng.choice((0, 0, 0, 1, 7)) for _ in rows]
    found, given = run(config, rows, gaps)
    logits, allowed = (np.array([row[part] for row in rows])[None] for part in (0, 1))
    wanted = probabilities(logits, allowed.astype(bool), width)
    assert [cycle for cycle, *_ in found] == [cycle + exponential_latency(config) for cycle in given], seed
    assert [p for _, _, p, _ in found] == wanted.p.reshape(-1).tolist(), seed
    assert [exponent for *_, exponent in found] == np.repeat(wanted.exponents[0], config.lanes).tolist(), seed
    assert [first for _, first, *_ in found] == [int(at % config.lanes == 0) for at in range(len(found))], seed
