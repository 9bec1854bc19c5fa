"""The shuffle network and the lane orders of the walks against their models."""

import random

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
import numpy as np
import pytest

from wingbeat.hw.array.shuffle import LaneShuffle, lane_order, lane_orders, permuted, steer
from wingbeat.hw.layouts import lanes
from wingbeat.sim.model import shuffle as model

WIDTH = 5
SEED = 11
LAYERS = pytest.mark.parametrize("layers", [1, 2, 3, 4])


def random_beats(layers, n, seed):
    """Words (n, P, 2)."""
    return np.random.default_rng(seed).integers(-1 << WIDTH - 1, 1 << WIDTH - 1, (n, 1 << layers, 2))


class Steered(wiring.Component):
    """A shuffle behind its switches."""

    def __init__(self, layers, to_banks):
        self.layers, self.to_banks = layers, to_banks
        beat = lanes(WIDTH, 1 << layers)
        super().__init__({"en": In(1, init=1), "i": In(beat), "select": In(layers), "reverse": In(1), "o": Out(beat)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.shuffle = shuffle = LaneShuffle(WIDTH, self.layers)
        switches = steer(m, self.select, self.reverse, self.layers, to_banks=self.to_banks)
        m.d.comb += [shuffle.en.eq(self.en), shuffle.i.eq(self.i), shuffle.switches.eq(switches), self.o.eq(shuffle.o)]
        return m


def shuffled(beat, constant, reverse, to_banks):
    """Lanes from banks: the XOR, then the lanes in bit-reversed order; to banks the other way round."""
    order = model.reverse_lanes(len(beat).bit_length() - 1) if reverse else np.arange(len(beat))
    return model.xor_lanes(beat[order], constant) if to_banks else model.xor_lanes(beat, constant)[order]


@LAYERS
@pytest.mark.parametrize("to_banks", [False, True])
def test_every_permutation(drive, lane_bits, layers, to_banks):
    """Beats with every constant and both orders, back to back: S cycles later they leave in the model's order."""
    every = [(constant, reverse) for constant in range(1 << layers) for reverse in range(2)]
    orders = [*every, *random.Random(SEED).choices(every, k=40)]
    beats = random_beats(layers, len(orders), SEED)
    steps = [{"i": lane_bits(beat, WIDTH), "select": constant, "reverse": reverse}
             for beat, (constant, reverse) in zip(beats, orders)] + [{}] * layers
    seen = drive(Steered(layers, to_banks), steps, ("o",))["o"][layers:]
    for number, (beat, order, got) in enumerate(zip(beats, orders, seen, strict=True)):
        want = lane_bits(shuffled(beat, *order, to_banks), WIDTH)
        assert got == want, f"beat {number}, constant and reverse {order}, seed {SEED}"


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
        steps.append({"en": en, "i": lane_bits(beats[at], WIDTH), "select": constants[at] if en else 0,
                      "reverse": 0 if en else rng.getrandbits(1)})
        enabled.append(en)
    resets = range(3, len(steps), 9) if reset else ()
    seen = drive(Steered(layers, False), steps, ("o",), resets)["o"]
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
    orders = [(rotation, reverse) for rotation in range(4) for reverse in range(2)]  # from S on the straight order
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
