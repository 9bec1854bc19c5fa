"""The shuffle network, the lane orders of the walks and the lane reversal against their models."""

import random

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
import numpy as np
import pytest

from wingbeat.hw.shapes import lanes
from wingbeat.hw.shuffle import LaneReversal, XorShuffle, lane_order, lane_orders, permuted
from wingbeat.sim import shuffle as model

WIDTH = 5
SEED = 11
LAYERS = pytest.mark.parametrize("layers", [1, 2, 3, 4])


def random_beats(layers, n, seed):
    """Words (n, P, 2)."""
    return np.random.default_rng(seed).integers(-1 << WIDTH - 1, 1 << WIDTH - 1, (n, 1 << layers, 2))


@LAYERS
def test_every_constant(drive, lane_bits, layers):
    """Beats with every constant, back to back: S cycles later they leave in the model's order."""
    constants = [*range(1 << layers), *random.Random(SEED).choices(range(1 << layers), k=40)]
    beats = random_beats(layers, len(constants), SEED)
    steps = [{"i": lane_bits(beat, WIDTH), "select": c} for beat, c in zip(beats, constants)] + [{}] * layers
    seen = drive(XorShuffle(WIDTH, layers), steps, ("o",))["o"][layers:]
    for number, (beat, constant, got) in enumerate(zip(beats, constants, seen, strict=True)):
        assert got == lane_bits(model.xor_lanes(beat, constant), WIDTH), f"beat {number}, seed {SEED}"


@LAYERS
@pytest.mark.parametrize("reset", [False, True])
def test_nothing_moves_while_en_is_low(drive, lane_bits, layers, reset):
    """Words count in enabled cycles; the payload is noise in the others. A reset changes nothing."""
    rng = random.Random(SEED)
    beats, waiting, steps, enabled = random_beats(layers, 60, SEED), list(range(60)), [], []
    constants = [rng.randrange(1 << layers) for _ in beats]
    while waiting:
        en = rng.random() < 0.5
        at = waiting.pop(0) if en else rng.randrange(60)
        steps.append({"en": en, "i": lane_bits(beats[at], WIDTH), "select": constants[at] if en else 0})
        enabled.append(en)
    resets = range(3, len(steps), 9) if reset else ()
    seen = drive(XorShuffle(WIDTH, layers), steps, ("o",), resets)["o"]
    want = [lane_bits(model.xor_lanes(beat, c), WIDTH) for beat, c in zip(beats, constants)]
    taken = 0  # beats that have entered
    for cycle, got in enumerate(seen):
        if taken >= layers:
            assert got == want[taken - layers], f"cycle {cycle}, seed {SEED}"
        taken += enabled[cycle]


@LAYERS
def test_lane_orders_are_those_of_the_model(layers):
    for number, order in enumerate(lane_orders(layers)):
        reverse, rotation = divmod(number, layers)
        banks = [sum((lane >> j & 1) << order[j] for j in range(layers)) for lane in range(1 << layers)]
        assert banks == model.lane_order(rotation, bool(reverse), layers).tolist(), (rotation, reverse)


class Permutation(wiring.Component):
    """``permuted`` in both directions."""

    def __init__(self, layers):
        self.layers = layers
        beat = lanes(WIDTH, 1 << layers)
        super().__init__({"command": In(data.StructLayout({"rotation": 2, "reverse": 1})), "i": In(beat),
                          "to_banks": Out(beat), "to_lanes": Out(beat)})

    def elaborate(self, platform):
        m = Module()
        order = lane_order(m, self.command, self.layers)
        for port, to_banks in ((self.to_banks, True), (self.to_lanes, False)):
            m.d.comb += port.eq(permuted(m, self.i, order, self.layers, to_banks=to_banks))
        return m


@LAYERS
def test_permuted_and_its_inverse(drive, lane_bits, layers):
    orders = [(rotation, reverse) for rotation in range(layers) for reverse in range(2)]
    beats = random_beats(layers, len(orders), SEED)
    steps = [{"command": {"rotation": rotation, "reverse": reverse}, "i": lane_bits(beat, WIDTH)}
             for (rotation, reverse), beat in zip(orders, beats) for _ in range(2)]
    seen = drive(Permutation(layers), steps, ("to_banks", "to_lanes"))
    seen = {port: values[1::2] for port, values in seen.items()}  # the order takes a cycle
    for number, ((rotation, reverse), beat) in enumerate(zip(orders, beats)):
        banks = model.lane_order(rotation, bool(reverse), layers)
        by_bank = np.empty_like(beat)
        by_bank[banks] = beat
        context = f"rotation {rotation}, reverse {reverse}, seed {SEED}"
        assert seen["to_banks"][number] == lane_bits(by_bank, WIDTH), context
        assert seen["to_lanes"][number] == lane_bits(beat[banks], WIDTH), context


@LAYERS
def test_lane_reversal(drive, lane_bits, layers):
    """One cycle later in bit-reversed order where enabled; one layer passes its words on at once."""
    latency, rng = int(layers > 1), random.Random(SEED)
    beats, enables = random_beats(layers, 40, SEED), [rng.getrandbits(1) for _ in range(40)]
    steps = [{"i": lane_bits(beat, WIDTH), "enable": on} for beat, on in zip(beats, enables)] + [{}] * latency
    seen = drive(LaneReversal(WIDTH, layers), steps, ("o",), resets=(7, 20))["o"][latency:]
    for number, (beat, on, got) in enumerate(zip(beats, enables, seen, strict=True)):
        want = beat[model.reverse_lanes(layers)] if on else beat
        assert got == lane_bits(want, WIDTH), f"beat {number}, seed {SEED}"
