"""The MAC column against its model and Python integers: rounding, clamping, extremes, pauses, latency, reset."""

from dataclasses import replace
import random

import numpy as np
import pytest

from wingbeat.hw.array.mac_column import MacColumn, MacColumnParameters
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.numeric import (MAC_TERMS, coefficient_fraction_bits, largest, mac_guard_bits, pack_signed, smallest,
                                 streamed_coefficient, unpack_signed)
from wingbeat.sim.model.mac import mac

SEED = 53
TINY = MacColumnParameters(8, 8, 8, 2)
REAL = MacColumnParameters(18, 17, 16, 4)


def rounded(total, shift, width):
    """floor(total / 2^shift + 1/2), clamped, and whether it was."""
    value = (2 * total + 2**shift) // 2 ** (shift + 1)
    clamped = min(max(value, -(2 ** (width - 1))), 2 ** (width - 1) - 1)
    return clamped, int(clamped != value)


def products(p, x, c):
    """Cut products of words and coefficients that broadcast."""
    return x * c >> coefficient_fraction_bits(p.coefficient_width) - mac_guard_bits(p.coefficient_width)


def groups_of(p, x, weights):
    """Dots (outputs, groups, units, 2) of the two rows of ``x`` (2, K) with ``weights`` (outputs, K)."""
    cut = products(p, x[:, None], weights[None])
    return np.moveaxis(cut.reshape(2, len(weights), -1, p.lanes // 2, 2).sum(axis=-1), 0, -1)


def outputs_of(p, pairs):
    """Outputs whose sums are the ``pairs`` (re, im): each in as few groups as the dots allow, for the bits of a dot
    hold more than two products."""
    units, most = p.lanes // 2, largest(p.dot_bits)
    outputs = []
    for sums in pairs:
        n_groups = max(1, -(-max(map(abs, sums)) // (units * most)))
        share = [[total // (n_groups * units)] * (n_groups * units) for total in sums]
        for part, total in zip(share, sums):
            for i in range(total - sum(part)):
                part[i] += 1
        outputs.append(np.array(share).T.reshape(n_groups, units, 2))
    return outputs


class Timeline:
    """What a column is given in each cycle, and {cycle: (value, flag)}, what it is to show."""

    def __init__(self, parameters, seed=SEED, pauses=False):
        self.p, self.note = parameters, f"{parameters}, seed {seed}, pauses {pauses}"
        self.steps, self.expected, self.resets = [], {}, []
        self._rng, self._pauses = random.Random(seed), pauses
        self._end = -2       # cycle of the last ``last``
        self._free = 0       # first cycle in which ``shift`` may change

    def idle(self, cycles=1):
        """Without ``valid``, all else is noise."""
        for _ in range(cycles):
            self.steps.append({"valid": 0, "first": self._rng.getrandbits(1), "last": self._rng.getrandbits(1),
                               "dots": self._rng.getrandbits(self.p.dot_bits * self.p.lanes)})

    def outputs(self, outputs, shift, wanted=None):
        """A pass: groups as soon as the rules allow; the shift changes behind the last value of the pass before."""
        for number, groups in enumerate(outputs):
            sums = groups.sum(axis=(0, 1)).tolist()
            values = [rounded(total, shift, self.p.width) for total in sums]
            assert wanted is None or values == wanted[number], f"model: {self.note}, shift {shift}, sums {sums}"
            for i, group in enumerate(groups):
                while self._pauses and self._rng.random() < 0.4:
                    self.idle()
                is_last = i == len(groups) - 1
                if is_last and not number:
                    self.idle(max(0, self._free - len(self.steps)))
                if is_last:
                    self.idle(self._end + 2 - len(self.steps))
                self._group(group, i == 0, is_last)
                if is_last and not number:
                    self.steps[-1]["shift"] = shift
            self._end = len(self.steps) - 1
            self.expected |= {self._end + self.p.latency + i: value for i, value in enumerate(values)}
        self._free = self._end + self.p.latency + 2

    def _group(self, group, is_first, is_last):
        bits = 0
        for value in reversed(group.reshape(-1).tolist()):
            bits = bits << self.p.dot_bits | pack_signed(value, self.p.dot_bits)
        self.steps.append({"valid": 1, "first": int(is_first), "last": int(is_last), "dots": bits})

    def reset(self):
        """The edge behind the last step resets: what has not been seen by then never is."""
        last = len(self.steps) - 1
        self.resets.append(last)
        self.expected = {cycle: value for cycle, value in self.expected.items() if cycle <= last}
        self._end, self._free = -2, 0

    def check(self, drive):
        self.idle(2 * self.p.latency)
        seen = drive(MacColumn(self.p), self.steps, ("o", "o_valid", "saturated"), self.resets)
        got = {cycle: (unpack_signed(o, self.p.width), flag)
               for cycle, (o, valid, flag) in enumerate(zip(seen["o"], seen["o_valid"], seen["saturated"])) if valid}
        cycles = sorted(got.keys() | self.expected.keys())
        wrong = [cycle for cycle in cycles if got.get(cycle) != self.expected.get(cycle)]
        assert not wrong, (f"{self.note}: {len(wrong)} of {len(cycles)} cycles, first {wrong[0]}: "
                           f"{got.get(wrong[0])} where {self.expected.get(wrong[0])}")
        return [value for value, _ in self.expected.values()], [flag for _, flag in self.expected.values()]


@pytest.mark.parametrize("values, message", [
    ((7, 17, 7, 4), "^width: 7 is not allowed; allowed are 8..18$"),
    ((19, 17, 16, 4), "^width: 19 is not allowed; allowed are 8..18$"),
    ((18, 7, 16, 4), "^coefficient_width: 7 is not allowed; allowed are 8..18$"),
    ((18, 19, 16, 4), "^coefficient_width: 19 is not allowed; allowed are 8..18$"),
    ((16, 17, 17, 4), "^element_width: 17 is not allowed; allowed are 8..16$"),
    ((16, 17, 16, 6), "^lanes: 6 is not allowed; allowed are 2, 4, 8 and 16$"),
    ((16, 17, 16, 32), "^lanes: 32 is not allowed; allowed are 2, 4, 8 and 16$")])
@pytest.mark.thin(1)
def test_refuses(values, message):
    with pytest.raises(ValueError, match=message):
        MacColumnParameters(*values)


def test_parameters_of_a_configuration():
    config = CoreConfig.of(layers=2, width=18, coefficient_width=17, half_words=64, stream_words=4)
    p = MacColumnParameters.of(config)
    assert p == REAL
    assert (p.dot_bits, p.sum_bits, p.accumulator_bits) == (29, 30, 39)
    assert [replace(p, lanes=lanes).latency for lanes in (2, 4, 8, 16)] == [7, 8, 9, 10]


def test_every_sum_around_the_range(drive):
    """Every sum from well below the smallest value to well above the largest, where shifts are small."""
    line = Timeline(TINY)
    for shift in range(4):
        sums = list(range(-160 << shift, 160 << shift))
        line.outputs(outputs_of(TINY, zip(sums[::2], reversed(sums[1::2]))), shift)
    values, flags = line.check(drive)
    assert set(values) == set(range(-128, 128)) and 0 < sum(flags) < len(flags), line.note


@pytest.mark.parametrize("p", [TINY, REAL], ids=["tiny", "real"])
def test_every_shift(drive, p):
    """The sums at which the rounded value changes: around zero, at both ends of the range, at powers of two above."""
    p = replace(p, lanes=16)
    line, most, half = Timeline(p), 1 << p.accumulator_bits - 3, 1 << p.width - 1
    rng = random.Random(SEED)
    for shift in range(32):
        middles = [(2 * value + 1 << shift) // 2 for value in (-half - 1, -half, -2, -1, 0, 1, half - 2, half - 1)]
        powers = [sign << bit for sign in (-1, 1) for bit in range(shift + p.width - 1, shift + p.width + 10)]
        sums = [middle + near for middle in middles + powers for near in (-1, 0, 1)]
        sums = sorted((total for total in sums if -most <= total < most), key=abs)
        pairs = [rng.sample(pair, 2) for pair in zip(sums[::2], sums[1::2])]
        line.outputs(outputs_of(p, pairs), shift)
    values, flags = line.check(drive)
    assert {-half, half - 1, 0} <= set(values) and 0 < sum(flags) < len(flags), line.note


@pytest.mark.parametrize("widths", [(8, 8, 8), (18, 17, 16), (18, 18, 18)])
@pytest.mark.parametrize("lanes", [2, 16])
def test_extremes_of_the_longest_sum(drive, widths, lanes):
    """MAC_TERMS products, each the largest or the smallest there is: nothing overflows, and shifts bring it back."""
    p = MacColumnParameters(*widths, lanes)
    ends = smallest(p.width), largest(p.width)
    c_low, c_high = (streamed_coefficient(end(p.element_width), p.element_width, p.coefficient_width)
                     for end in (smallest, largest))
    x = np.repeat(np.array(ends), MAC_TERMS).reshape(2, -1)  # re smallest, im largest
    weights = np.repeat(np.array([c_low, c_high]), MAC_TERMS).reshape(2, -1)
    line = Timeline(p)
    for shift in ((0, p.accumulator_bits - p.width) if lanes == 2 else (0, 1, p.accumulator_bits - p.width - 1,
                                                                         p.accumulator_bits - p.width, 31)):
        values, clamped = mac(x, weights, shift, p.width, p.coefficient_width)
        wanted = [list(zip(values[:, i].tolist(), clamped[:, i].tolist())) for i in range(2)]
        line.outputs(groups_of(p, x, weights), shift, wanted)
    _, flags = line.check(drive)
    assert all(flags[:4]) and not any(flags[-4:]), line.note


@pytest.mark.parametrize("pauses", [False, True])
@pytest.mark.parametrize("lanes", [2, 4, 16])
def test_random_operands(drive, lanes, pauses):
    """Passes of every length against the model, at shifts that clamp some of the outputs and at any other."""
    p = replace(REAL, lanes=lanes)
    rng = np.random.default_rng([SEED, lanes])
    line = Timeline(p, SEED, pauses)
    fraction = mac_guard_bits(p.coefficient_width)
    for n_groups in (1, 2, 3, 5, 20):
        terms = n_groups * lanes
        for shift in (fraction + terms.bit_length() // 2 - 1, int(rng.integers(0, 32))):
            x = rng.integers(smallest(p.width), largest(p.width) + 1, (2, terms))
            weights = rng.integers(smallest(p.coefficient_width), largest(p.coefficient_width) + 1, (12, terms))
            values, clamped = mac(x, weights, shift, p.width, p.coefficient_width)
            wanted = [list(zip(values[:, i].tolist(), clamped[:, i].tolist())) for i in range(12)]
            line.outputs(groups_of(p, x, weights), shift, wanted)
    _, flags = line.check(drive)
    assert 10 < sum(flags) < len(flags) - 60, line.note


@pytest.mark.parametrize("groups", [1, 2])
def test_outputs_that_end_every_two_cycles(drive, groups):
    """A value in every cycle from the first one on."""
    p = REAL
    rng = np.random.default_rng(SEED)
    dots = rng.integers(smallest(p.dot_bits), largest(p.dot_bits) + 1, (40, groups, p.lanes // 2, 2))
    line = Timeline(p)
    line.outputs(dots, 11)
    line.check(drive)
    begin = groups - 1 + p.latency
    assert list(line.expected) == list(range(begin, begin + 80)), line.note


@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
@pytest.mark.thin(1)
def test_latency(drive, lanes):
    """One output alone: re ``latency`` cycles behind its dots, im in the next one."""
    p = replace(TINY, lanes=lanes)
    dots = sum(unit + 1 << 2 * p.dot_bits * unit for unit in range(lanes // 2)) | 100 << p.dot_bits
    steps = [{"dots": dots, "first": 1, "last": 1, "valid": 1, "shift": 0}] + 20 * [{"valid": 0}]
    seen = drive(MacColumn(p), steps, ("o", "o_valid", "saturated"))
    shown = [(cycle, seen["o"][cycle], seen["saturated"][cycle]) for cycle in range(21) if seen["o_valid"][cycle]]
    level = lanes.bit_length() - 2
    assert p.latency == level + 7
    assert shown == [(level + 7, sum(range(lanes // 2 + 1)), 0), (level + 8, 100, 0)]


def test_reset_forgets_what_is_on_its_way(drive):
    """A reset after every number of cycles: inside an output, behind its end, between re and im. The next begins with
    ``first``."""
    p = REAL
    line, rng = Timeline(p), np.random.default_rng(SEED)
    shapes = (3, 5, p.lanes // 2, 2)
    kept = []
    for cycles in range(1, 15 + p.latency + 4):
        begin, seen = len(line.steps), len(line.expected)
        line.outputs(rng.integers(-1 << 24, 1 << 24, shapes), 9)
        line.idle(p.latency + 4)
        del line.steps[begin + cycles:]
        line.reset()
        kept.append(len(line.expected) - seen)
    line.outputs(rng.integers(-1 << 24, 1 << 24, shapes), 9)
    line.check(drive)
    assert set(kept) == set(range(7)), line.note
