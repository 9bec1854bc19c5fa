"""Block floating point: shifts from the largest magnitude so far, exponents and flags of both halves."""

from collections import Counter
import random

import pytest

from wingbeat.hw.array.block_float import BlockFloat
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Mode, Pass

OUTPUTS = ("shifts", "exponent", "saturated")


def small(layers, engines, width=12):
    return CoreConfig.of(layers=layers, engines=engines, width=width, element_width=8, half_words=16 << layers,
                         stream_words=1)


def free_bits(magnitude, c):
    """z: zeros above the highest set bit."""
    return c.magnitude_bits - magnitude.bit_length()


class Plan:
    """Cycle-by-cycle inputs, noise where nothing is said, and what the outputs must show when.

    ``result_valid`` and the pulses are zero unless set; exponents and flags are kept as the rule says.
    """

    def __init__(self, c, seed, field_bits):
        self.c, self.rng, self.field_bits = c, random.Random(seed), field_bits
        self.steps, self.want = [], []  # want: (cycle, output, bit, bits, value)
        self.exponents, self.flags, self.loaded = [0, 0], [0, 0], [0, 0]
        self.computed, self.half = 0, 0
        self.fields = 0
        self.met = Counter()
        self.pending = {}  # magnitudes by cycle

    def cycle(self, **inputs):
        c, rng = self.c, self.rng
        step = {"pass_fields": self.fields, "half": self.half, "start": 0, "load_done": 0,
                "load_half": rng.getrandbits(1), "load_magnitude": rng.getrandbits(c.magnitude_bits),
                "magnitudes": rng.getrandbits(c.magnitude_bits * c.engines),
                "saturations": rng.getrandbits(c.layers * c.engines), "result_valid": 0,
                "result_half": rng.getrandbits(c.layers), "result_start": 0, "shift_start": 0}
        self.steps.append(step | inputs)

    def random_magnitude(self):
        return self.rng.getrandbits(self.c.magnitude_bits) >> self.rng.randint(0, self.c.magnitude_bits)

    def load(self, half):
        magnitude = self.random_magnitude()
        self.loaded[half] = magnitude
        self.cycle(load_done=1, load_half=half, load_magnitude=magnitude)

    def expect(self, name, shift, bits, value, at=None):
        self.want.append((len(self.steps) if at is None else at, name, shift, bits, value))

    def run(self, p, half):
        """A pass at its least distance from the one before: shifts valid maximum_tree_latency + 3 cycles
        after the last result; its own results follow when those of the pass before have all been seen.
        """
        c, latency = self.c, self.c.maximum_tree_latency
        self.fields, self.half = self.field_bits(p), half
        z = free_bits(self.loaded[half] if p.first else self.computed, c)
        self.cycle(start=1)
        if p.first:
            self.flags[half] = self.exponents[half] = 0
        for _ in range(latency + 1):
            self.cycle()
        self.expect("saturated", half, 1, self.flags[half])
        together = [max(0, growth - z) for growth in p.growth]
        self.met[together[-1] if p.block_float else None] += 1
        for q in range(c.layers):
            # The cycle in which column q takes its shift.
            shift = together[q] - (together[q - 1] if q else 0)
            if p.block_float:
                self.expect("shifts", c.shift_bits * q, c.shift_bits, shift)
            self.cycle(shift_start=1 << q)
            if q + 1 < c.layers:
                for _ in range(c.butterfly_latency - 1):
                    self.cycle()
        self.exponents[half] += together[-1] if p.block_float else 0
        self.expect("exponent", 6 * half, 6, self.exponents[half] % 64, len(self.steps) + 1)
        self.results(half)

    def results(self, half):
        """Groups with gaps; each column reports the clamps of its own results only where they are valid."""
        c, rng = self.c, self.rng
        self.computed, groups = 0, rng.randint(1, 6)
        clamping = rng.random() < 0.5
        for g in range(groups):
            while g and rng.random() < 0.3:
                self.cycle()
            found = [self.random_magnitude() for _ in range(c.engines)]
            clamps = rng.getrandbits(c.layers * c.engines) if clamping and rng.random() < 0.4 else 0
            self.cycle(result_valid=(1 << c.layers) - 1, result_start=g == 0, saturations=clamps,
                       result_half=half * ((1 << c.layers) - 1))
            # The engine holds its magnitudes for one cycle, so they come behind the valid bit.
            self.late_magnitudes(found)
            self.flags[half] |= clamps != 0
            for magnitude in found:
                self.computed |= magnitude

    def late_magnitudes(self, found):
        self.pending[len(self.steps)] = sum(
            magnitude << self.c.magnitude_bits * e for e, magnitude in enumerate(found)
        )

    def settle(self):
        for _ in range(self.c.maximum_tree_latency + 4):
            self.cycle()

    def check(self, drive, context, resets=()):
        self.settle()
        for at, bits in self.pending.items():
            self.steps[at]["magnitudes"] = bits
        seen = drive(BlockFloat(self.c), self.steps, OUTPUTS, resets)
        for at, name, shift, bits, value in self.want:
            got = seen[name][at] >> shift & (1 << bits) - 1
            assert got == value, f"{context}: {name} of {shift} in cycle {at}"


def random_pass(c, rng, first, block_float=None):
    steps = [rng.randint(0, 2) for _ in range(c.layers)]
    growth = tuple(min(7, sum(steps[:q + 1])) for q in range(c.layers))
    block_float = rng.random() < 0.8 if block_float is None else block_float
    return Pass(Mode.FFT, 0, 1, 1, (0,) * c.layers, block_float=block_float, growth=growth, first=first)


def random_blocks(plan, n):
    """Blocks of 1..4 passes, alternating between the halves; the next block is loaded while this one is
    computed.
    """
    c, rng = plan.c, plan.rng
    plan.load(0)
    for k in range(n):
        half = k & 1
        count = rng.randint(1, 4)
        for number in range(count):
            if number == count - 1:
                plan.load(1 - half)
            plan.run(random_pass(c, rng, first=number == 0), half)
        kept = plan.exponents[half]
        plan.settle()
        plan.expect("exponent", 6 * half, 6, kept % 64)
        plan.expect("saturated", half, 1, plan.flags[half])
        plan.expect("saturated", 1 - half, 1, plan.flags[1 - half])
        plan.cycle()


@pytest.mark.parametrize("layers, engines", [(1, 1), (1, 5), (2, 4), (2, 17), (3, 2)])
def test_random_blocks(drive, field_bits, layers, engines):
    """Exponents and flags of both halves while noise stands wherever nothing is valid."""
    seed = 10 * layers + engines
    plan = Plan(small(layers, engines), seed, field_bits)
    random_blocks(plan, 12)
    plan.check(drive, f"seed {seed}")
    assert len(plan.met) > 2, f"only the shifts {plan.met} were met"


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_every_magnitude_and_growth(drive, field_bits, layers):
    """All first shifts: z from 0 to all magnitude bits, growth from 0 to 7."""
    plan = Plan(small(layers, 1), layers, field_bits)
    c = plan.c
    for magnitude in range(1 << c.magnitude_bits):
        for growth in range(min(8, 1 << c.shift_bits)):
            plan.cycle(load_done=1, load_half=0, load_magnitude=magnitude)
            plan.loaded[0] = magnitude
            p = Pass(
                Mode.FFT, 0, 1, 1, (0,) * c.layers, block_float=True, growth=(growth,) * c.layers, first=True
            )
            plan.run(p, 0)
    plan.check(drive, f"layers {layers}, seed {layers}")


@pytest.mark.parametrize("engines", [1, 4, 5])
def test_stated_latency(drive, field_bits, engines):
    """A result changes the shifts maximum_tree_latency + 3 cycles after it has left the last column."""
    c = small(1, engines)
    plan = Plan(c, 1, field_bits)
    plan.fields = field_bits(Pass(Mode.FFT, 0, 1, 1, (0,), block_float=True, growth=(2,)))
    quiet, loud = 0, (1 << c.magnitude_bits) - 1 << c.magnitude_bits * (engines - 1)
    plan.cycle(result_valid=1, result_start=1)
    plan.pending = {1: quiet}
    plan.settle()
    at = len(plan.steps)
    plan.cycle(result_valid=1, result_start=1)
    plan.pending[at + 1] = loud
    latency = c.maximum_tree_latency + 3
    plan.expect("shifts", 0, 2, 0, at + latency - 1)
    plan.expect("shifts", 0, 2, 2, at + latency)
    plan.check(drive, f"{engines} engines")
    # From a result of the last column to the cycle before the first column of the next pass takes its shift, and one.
    assert c.block_float_gap == latency + c.layers * c.butterfly_latency - c.shift_delay + 1


def test_reset(drive, field_bits):
    """Exponents are zero and flags clear; blocks that come later are not touched by what was in flight."""
    plan = Plan(small(2, 2), 4, field_bits)
    random_blocks(plan, 3)
    plan.want.clear()
    reset = len(plan.steps)
    plan.cycle()
    plan.exponents, plan.flags = [0, 0], [0, 0]
    for half in (0, 1):
        plan.expect("exponent", 6 * half, 6, 0)
        plan.expect("saturated", half, 1, 0)
    random_blocks(plan, 4)
    plan.check(drive, "seed 4", resets=(reset,))
