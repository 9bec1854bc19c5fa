"""Reciprocal: of totals of every size, as the model divides."""

import random

import numpy as np
import pytest

from amaranth.sim import Simulator

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.numeric import RECIPROCAL_BITS
from wingbeat.hw.softmax.parameters import reciprocal_latency, total_bits
from wingbeat.hw.softmax.reciprocal import Reciprocal
from wingbeat.sim.model.softmax import divided


@pytest.mark.parametrize("width", [18, 16, 8])
def test_reciprocals_of_the_model(width):
    seed = 2
    rng, config = random.Random(seed), CoreConfig.of(layers=2, width=width, element_width=min(16, width))
    totals = [0, 1, 2, 3, (1 << total_bits(config)) - 1, *(1 << bit for bit in range(total_bits(config)))]
    totals += [rng.getrandbits(rng.randint(1, total_bits(config))) for _ in range(1500)]
    rng.shuffle(totals)
    dut, found = Reciprocal(config), []

    async def bench(ctx):
        for total in totals + [0] * reciprocal_latency(config):
            ctx.set(dut.total, total)
            found.append((ctx.get(dut.is_empty), ctx.get(dut.highest), ctx.get(dut.reciprocal)))
            await ctx.tick()
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    # A sum that is the largest word behind its shift, times the reciprocal, tells all of its bits in turn.
    for total, (is_empty, highest, reciprocal) in zip(totals, found[reciprocal_latency(config):]):
        assert is_empty == (total == 0), f"seed {seed}, {total}"
        if total:
            assert highest == total.bit_length() - 1, f"seed {seed}, {total}"
            assert reciprocal == reciprocal_by_model(total, highest, width), f"seed {seed}, {total}"


def reciprocal_by_model(total, highest, width):
    """From words of growing sums: sum * reciprocal / 2^(RECIPROCAL_BITS - 1 - 8), which a small sum leaves whole."""
    sums = np.array([[1 << RECIPROCAL_BITS - 1 - 8]])
    words, _ = divided(sums, np.array([total]), -8 - highest, 40)
    return int(words[0, 0])
