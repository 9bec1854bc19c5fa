"""The butterfly unit against its model: every mode, every shift, clamping, latency, and no reset anywhere; the sums of
a MAC."""

from dataclasses import replace

import numpy as np
import pytest

from wingbeat.hw.array.butterfly import ButterflyParameters, ButterflyUnit
from wingbeat.hw.array.mac_column import MacColumnParameters
from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.isa.instruction import Mode
from wingbeat.hw.numeric import largest, mac_guard_bits, pack_signed, smallest
from wingbeat.sim.model.butterfly import Coefficients, butterfly, pack_coefficients

pytestmark = pytest.mark.thin(3)

SIZES = [(16, 16, 2), (18, 17, 2), (18, 18, 3), (8, 18, 2), (17, 8, 3)]
SEED = 31


def presented(mode, coefficients):
    """The coefficient word of a unit as the coefficient memory hands it over in ``mode``."""
    c0, c1, s0, s1 = coefficients
    zero = np.zeros_like(c0)
    return {Mode.BPMM: coefficients, Mode.FFT: Coefficients(c0, c1, zero, zero),
            Mode.SCALE: Coefficients(c0, c1, zero + 1, zero),
            Mode.PASS: Coefficients(zero, zero, zero, zero + 1)}[mode]


class Stimulus:
    """Butterflies in the order in which they enter the unit, one per cycle: arrays a, b (2, n),
    coefficients (n), shifts (n) and modes (n).
    """

    def __init__(self, parameters, a, b, coefficients, shifts, modes):
        self.p, self.a, self.b, self.c = parameters, a, b, coefficients
        self.shifts, self.modes = np.asarray(shifts), np.asarray(modes)

    def steps(self):
        """Shifts come shift_delay cycles after the words; in the cycles that follow the last words are
        noise-free.
        """
        width, c_width, n = self.p.width, self.p.coefficient_width, len(self.shifts)
        mask = (1 << width) - 1
        words = [(x[0] & mask | (x[1] & mask) << width).tolist() for x in (self.a, self.b)]
        coefs = np.zeros(n, dtype=object)
        for mode in Mode:
            fields = presented(mode, self.c)
            bits = pack_coefficients(fields, c_width).astype(object)
            bits = (
                bits | int(mode is Mode.FFT) << 2 * c_width + 2 | int(mode is Mode.SCALE) << 2 * c_width + 3
            )
            coefs = np.where(self.modes == mode, bits, coefs)
        delay = self.p.pipeline.shift_delay
        for cycle in range(n + self.p.pipeline.butterfly_latency):
            step = {"shift": int(self.shifts[cycle - delay])} if 0 <= cycle - delay < n else {}
            if cycle < n:
                step |= {"a": words[0][cycle], "b": words[1][cycle], "coef": coefs[cycle]}
            yield step

    def expected(self):
        """Bit patterns of y1 and y2, and the flag, per butterfly."""
        n, width = len(self.shifts), self.p.width
        y1, y2, flags = np.zeros((2, n), int), np.zeros((2, n), int), np.zeros(n, int)
        for mode in Mode:
            for shift in range(1 << self.p.shift_bits):
                at = np.flatnonzero((self.modes == mode) & (self.shifts == shift))
                fields = Coefficients(*(field[at] for field in self.c))
                y1[:, at], y2[:, at], clamped = butterfly(
                    mode, self.a[:, at], self.b[:, at], fields, shift, width=width,
                    coefficient_width=self.p.coefficient_width)
                flags[at] = clamped.any(axis=(0, 1))
        mask = (1 << width) - 1
        return [(y[0] & mask | (y[1] & mask) << width).tolist() for y in (y1, y2)], flags.tolist()


def check(drive, stimulus, context, resets=()):
    seen = drive(ButterflyUnit(stimulus.p), stimulus.steps(), ("y1", "y2", "saturated"), resets)
    (y1, y2), flags = stimulus.expected()
    for name, want in (("y1", y1), ("y2", y2), ("saturated", flags)):
        got = seen[name][stimulus.p.pipeline.butterfly_latency:]
        wrong = [i for i, (g, w) in enumerate(zip(got, want, strict=True)) if g != w]
        assert not wrong, (f"{context}: {name} of {len(wrong)} butterflies, first {wrong[0]} "
                           f"({stimulus.modes[wrong[0]]!r}): {got[wrong[0]]:#x} where {want[wrong[0]]:#x}")
    return flags


def random_stimulus(parameters, n, seed):
    """Half of the operands random, half corners; pivot bits, modes and shifts random in every cycle."""
    rng = np.random.default_rng(seed)

    def values(width, *shape):
        low, high = smallest(width), largest(width)
        corners = rng.choice([low, low + 1, high, high - 1, -1, 0, 1, high // 2 + 1, low // 2], shape)
        return np.where(rng.random(shape) < 0.5, corners, rng.integers(low, high + 1, shape))

    c = parameters.coefficient_width
    one = 1 << c - 2
    unit = rng.choice([one, -one, largest(c), smallest(c)], (2, n))
    coefficients = np.where(rng.random((2, n)) < 0.2, unit, values(c, 2, n))
    return Stimulus(parameters, values(parameters.width, 2, n), values(parameters.width, 2, n),
                    Coefficients(*coefficients, *rng.integers(0, 2, (2, n))),
                    rng.integers(0, 1 << parameters.shift_bits, n), rng.integers(0, len(Mode), n))


@pytest.mark.parametrize("widths, message", [
    ((7, 16), "^width: 7 is not allowed; allowed are 8..18$"),
    ((19, 16), "^width: 19 is not allowed; allowed are 8..18$"),
    ((16, 7), "^coefficient_width: 7 is not allowed; allowed are 8..18$"),
    ((16, 19), "^coefficient_width: 19 is not allowed; allowed are 8..18$")])
def test_refuses(widths, message):
    with pytest.raises(ValueError, match=message):
        ButterflyParameters(*widths, 2)


def test_parameters_of_a_configuration():
    config = CoreConfig.of(layers=3, width=18, coefficient_width=17, half_words=64, stream_words=8)
    assert ButterflyParameters.of(config) == ButterflyParameters(18, 17, config.shift_bits)


@pytest.mark.parametrize("mode", list(Mode))
def test_every_value_of_eight_bits(drive, mode):
    """Each 8-bit value in each of the four places, under each shift and each corner of the coefficients."""
    p = ButterflyParameters(8, 8, 2)
    every = np.arange(-128, 128)
    corners = [-128, -64, 127]
    rng = np.random.default_rng(SEED)
    at = [(c, shift) for c in corners[:1 if mode is Mode.PASS else 3] for shift in range(4)]
    n = len(at) * 256
    a = np.stack([np.tile(every, len(at)), rng.permuted(np.tile(every, (len(at), 1)), axis=1).ravel()])
    b = np.stack([rng.permuted(np.tile(every, (len(at), 1)), axis=1).ravel() for _ in range(2)])
    c0, shifts = np.repeat(np.array(at), 256, axis=0).T
    stimulus = Stimulus(p, a, b, Coefficients(c0, rng.choice(corners, n), *rng.integers(0, 2, (2, n))),
                        shifts, np.full(n, mode))
    flags = check(drive, stimulus, f"{mode.name}, seed {SEED}")
    assert (0 < sum(flags) < n) or mode is Mode.PASS


@pytest.mark.parametrize("pipeline", list(Pipeline))
@pytest.mark.parametrize("width, coefficient_width, shift_bits", SIZES)
def test_corners_and_random(drive, width, coefficient_width, shift_bits, pipeline):
    p = ButterflyParameters(width, coefficient_width, shift_bits, pipeline=pipeline)
    flags = check(drive, random_stimulus(p, 800, SEED), f"{p}, seed {SEED}")
    assert 50 < sum(flags) < 750


@pytest.mark.parametrize("pipeline", list(Pipeline))
def test_latency_and_the_late_shift(drive, pipeline):
    """One butterfly alone: its result butterfly_latency cycles later, its shift sampled in exactly one
    cycle.
    """
    latency = pipeline.butterfly_latency
    period, steps = 2 * latency, [{"b": 0, "coef": 1 << 16 + 1}]
    for at in range(latency):
        steps += [{"a": 100 * (cycle == 0), "shift": cycle == at} for cycle in range(period)]
    seen = drive(ButterflyUnit(ButterflyParameters(8, 8, 2, pipeline=pipeline)), steps, ("y1",))["y1"][1:]
    shown = [(cycle % period, value) for cycle, value in enumerate(seen) if value]
    assert shown == [(latency, 50 if at == pipeline.shift_delay else 100) for at in range(latency)]


def test_reset_leaves_the_pipeline_alone(drive):
    p = ButterflyParameters(9, 10, 2)
    check(drive, random_stimulus(p, 80, SEED), f"reset, seed {SEED}", resets=range(10, 60, 7))


# --- Of a MAC -----------------------------------------------------------------------------------------------------

class MacStimulus(Stimulus):
    """As Stimulus, of a unit that has the sums of a MAC; where ``is_mac`` the butterfly is one of a MAC, whose words
    pass as in mode PASS."""

    def __init__(self, base, is_mac):
        super().__init__(replace(base.p, has_dots=True), base.a, base.b, base.c, base.shifts, base.modes)
        self.is_mac, self.modes = is_mac, np.where(is_mac, Mode.PASS, base.modes)

    def steps(self):
        """The coefficient memory gives a MAC both numbers and the pivot bits of PASS."""
        c_width = self.p.coefficient_width
        for cycle, step in enumerate(super().steps()):
            if cycle < len(self.is_mac) and self.is_mac[cycle]:
                numbers = [pack_signed(int(value[cycle]), c_width) for value in self.c[:2]]
                step["coef"] = numbers[0] | numbers[1] << c_width | 1 << 2 * c_width + 1 | 1 << 2 * c_width + 4
            yield step

    def dots(self):
        """Integers (re, im) of every butterfly: c0 * B + c1 * A, each product cut."""
        one = 2 ** (self.p.coefficient_width - 2 - mac_guard_bits(self.p.coefficient_width))
        c0, c1 = self.c[:2]
        return [[int(x) * int(y) // one + int(v) * int(w) // one for x, y, v, w in zip(c0, b, c1, a)]
                for a, b in zip(self.a, self.b)]


def check_dots(drive, stimulus, context):
    """Sums a cycle behind the multipliers, and both words as ever."""
    seen = drive(ButterflyUnit(stimulus.p), stimulus.steps(), ("y1", "y2", "saturated", "dots"))
    (y1, y2), flags = stimulus.expected()
    latency, bits = stimulus.p.pipeline.butterfly_latency, stimulus.p.dot_bits
    for name, want in (("y1", y1), ("y2", y2), ("saturated", flags)):
        wrong = [i for i, value in enumerate(want) if seen[name][latency + i] != value]
        assert not wrong, f"{context}: {name} of butterfly {wrong[0]}, MAC {stimulus.is_mac[wrong[0]]}"
    behind = stimulus.p.pipeline.multiplier_latency + 1
    for i, sums in enumerate(zip(*stimulus.dots())):
        want = pack_signed(sums[0], bits) | pack_signed(sums[1], bits) << bits
        got = seen["dots"][behind + i]
        assert not stimulus.is_mac[i] or got == want, f"{context}: dots of butterfly {i}: {got:#x} where {want:#x}"


@pytest.mark.parametrize("width, coefficient_width, shift_bits", [(16, 16, 2), (18, 17, 2), (8, 8, 2), (18, 18, 3),
                                                                  (17, 9, 2), (8, 18, 2)])
@pytest.mark.thin(1)
def test_macs_and_passes(drive, width, coefficient_width, shift_bits):
    """Butterflies of all modes with those of a MAC between them: each alone decides for itself."""
    p = ButterflyParameters(width, coefficient_width, shift_bits)
    base = random_stimulus(p, 400, SEED)
    is_mac = np.random.default_rng(SEED).random(400) < 0.5
    check_dots(drive, MacStimulus(base, is_mac), f"{p}, seed {SEED}")


@pytest.mark.parametrize("width, coefficient_width", [(8, 8), (18, 17), (18, 18)])
@pytest.mark.thin(1)
def test_extremes_of_a_mac(drive, width, coefficient_width):
    """Every combination of the ends: no sum overflows, and both words come out as they went in."""
    p = ButterflyParameters(width, coefficient_width, 2)
    ends, c_ends = (smallest(width), largest(width)), (smallest(coefficient_width), largest(coefficient_width))
    every = np.array(np.meshgrid(ends, ends, ends, ends, c_ends, c_ends)).reshape(6, -1)
    n, zero = every.shape[1], np.zeros(every.shape[1], dtype=np.int64)
    base = Stimulus(p, every[:2], every[2:4], Coefficients(*every[4:], zero, zero), zero, np.full(n, Mode.PASS))
    stimulus = MacStimulus(base, np.ones(n, dtype=bool))
    check_dots(drive, stimulus, f"{p}")
    (y1, y2), flags = stimulus.expected()
    words = [[pack_signed(int(re), width) | pack_signed(int(im), width) << width for re, im in zip(*x)]
             for x in (every[:2], every[2:4])]
    assert [list(y1), list(y2)] == words and not any(flags)


def test_a_core_with_a_ring_has_dots():
    config = CoreConfig.of(layers=2, stream_words=4, memory_bits=8, records=True, ring_words=16)
    p = ButterflyParameters.of(config)
    assert p.has_dots and not ButterflyParameters.of(config.changed(ring_words=0)).has_dots
    assert p.dot_bits == MacColumnParameters.of(config).dot_bits == 27
