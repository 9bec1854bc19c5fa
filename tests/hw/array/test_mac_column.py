"""The MAC column against its model and Python integers: rounding, clamping, extremes, pauses, latency, reset; the sums
of a softmax."""

from dataclasses import replace
import random

import numpy as np
import pytest

from wingbeat.hw.array.mac_column import MacColumn, MacColumnParameters
from wingbeat.hw.array.parameters import partial_lead
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.numeric import (LOGIT_BITS, MAC_TERMS, coefficient_fraction_bits, largest, mac_guard_bits, pack_signed,
                                 smallest, streamed_coefficient, unpack_signed)
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


# --- softmax --------------------------------------------------------------------------------------

def down(value, bits):
    """Shifted right with round half up."""
    return value + (1 << bits >> 1) >> bits


class SoftmaxLine:
    """What a column of a softmax is given in each cycle, noise where nothing is said; kept sums; what it is to show."""

    def __init__(self, parameters, seed, pauses=0.0, aligns=True):
        self.p, self.rng, self.pauses, self.aligns = parameters, random.Random(seed), pauses, aligns
        self.note = f"{parameters}, seed {seed}, pauses {pauses}"
        self.steps, self.expected, self.kept = [], {}, {}
        self.is_logit = {}                                # of each value: whether it is one
        self._said, self.first, self._last = {}, -2, -2   # groups of the output before

    def say(self, cycle, *path, value):
        assert (cycle, *path) not in self._said, f"{path} twice, {self.note}"
        self._said[cycle, *path] = value

    def idle(self, cycles=1):
        bits = self.rng.getrandbits
        for _ in range(cycles):
            self.steps.append({
                "valid": 0, "first": bits(1), "last": bits(1), "dots": bits(self.p.dot_bits * self.p.lanes),
                "partial": {"r_addr": bits(30) % (2 * self.p.partial_words), "merge": bits(1), "w_en": 0,
                            "w_addr": bits(30) % (2 * self.p.partial_words)},
                "softmax": {"align": [{"shift": bits(6), "is_dead": bits(1)} for _ in range(2)], "merge": bits(6),
                            "shifts": [bits(5), bits(5)], "divides": 0, "is_logit": 0}})

    def begin(self, shift, divides=False, is_logit=False):
        """A MAC: all values of the one before have left."""
        self.idle(self._last + self.p.latency + 3 - len(self.steps))
        self.still = {"shift": shift, "divides": int(divides), "is_logit": int(is_logit)}

    def output(self, groups, merge=None, keep=None, shifts=None):
        """An output of ``groups`` (groups, units, 2). ``merge``: the place of a kept sum, and how far it is shifted,
        re and im; ``keep``: where its own is kept; ``shifts``: of a division, re and im."""
        p, total = self.p, [0, 0]
        for number, group in enumerate(groups):
            is_first, is_last = number == 0, number == len(groups) - 1
            while self.rng.random() < self.pauses:
                self._tick()
            while (is_first and len(self.steps) < self.first + 2) or (is_last and len(self.steps) < self._last + 2):
                self._tick()
            at = len(self.steps)
            self._tick(group, is_first, is_last)
            for part in range(2):
                amount = self.aligns * self.rng.choice((0, 0, self.rng.randint(1, 33)))
                is_dead = self.aligns and self.rng.random() < 0.1
                self.say(at + p.tree_levels, "align", part, value={"shift": amount, "is_dead": int(is_dead)})
                total[part] += 0 if is_dead else down(int(group[:, part].sum()), amount)
            begin = at + p.tree_levels + p.align_stages  # the sum of the group is there
            if is_first:
                self.first = at
                self._merge(total, begin, merge)
        self._last = at
        self._end(total, begin, keep, shifts or [self.rng.randrange(32) for _ in range(2)])

    def _tick(self, group=None, is_first=False, is_last=False):
        self.idle()
        step = self.steps[-1] | {"shift": self.still["shift"]}
        if group is not None:
            bits = 0
            for value in reversed(group.reshape(-1).tolist()):
                bits = bits << self.p.dot_bits | pack_signed(value, self.p.dot_bits)
            step |= {"valid": 1, "first": int(is_first), "last": int(is_last), "dots": bits}
        self.steps[-1] = step

    def _merge(self, total, begin, merge):
        for part in range(2):
            self.say(begin - 1 + part, "merge", value=int(merge is not None))
            if merge is not None:
                place, amounts = merge
                self.say(begin - p_lead(self.p) + part, "r_addr", value=2 * place + part)
                self.say(begin - self.p.align_stages + part, "softmax merge", value=amounts[part])
                total[part] += down(self.kept[place][part], amounts[part])

    def _end(self, total, begin, keep, shifts):
        shown = self._last + self.p.latency
        if keep is not None:
            self.kept[keep] = tuple(total)
        for part in range(2):
            if keep is not None:
                self.say(begin + 2 + part, "w_addr", value=2 * keep + part)
            self.say(begin + 2, "shifts", part, value=shifts[part])
            width = LOGIT_BITS if self.still["is_logit"] else self.p.width
            shift = shifts[part] if self.still["divides"] else self.still["shift"]
            self.expected[shown + part] = rounded(total[part], shift, width)
            self.is_logit[shown + part] = self.still["is_logit"]
            # Both stand for all values of a MAC; of this one as long as it is in the column.
        for cycle in range(begin, shown + 2):
            self._said[cycle, "still"] = self.still

    def check(self, drive):
        self.idle(2 * self.p.latency)
        for (cycle, name, *part), value in self._said.items():
            step = self.steps[cycle]
            if name in ("align", "shifts"):
                step["softmax"][name][part[0]] = value
            elif name == "still":
                step["softmax"] |= {each: value[each] for each in ("divides", "is_logit")}
            elif name == "softmax merge":
                step["softmax"]["merge"] = value
            else:
                step["partial"][name] = value
                step["partial"]["w_en"] |= name == "w_addr"
        seen = drive(MacColumn(self.p), self.steps, ("o", "o_valid", "saturated"))
        shown = {cycle for cycle, valid in enumerate(seen["o_valid"]) if valid}
        assert shown == set(self.expected), self.note
        for cycle, (value, flag) in self.expected.items():
            bits = seen["o"][cycle] & (1 << self.p.value_bits) - 1
            if not self.is_logit[cycle]:  # a word is the sign and the lowest bits
                bits = bits >> self.p.value_bits - 1 << self.p.width - 1 | bits & largest(self.p.width)
            found = unpack_signed(bits, LOGIT_BITS if self.is_logit[cycle] else self.p.width), seen["saturated"][cycle]
            assert found == (value, flag), f"cycle {cycle}, logit {self.is_logit[cycle]}, {self.note}"
        return self.expected.values()


def p_lead(p):
    """From the address of a kept sum to the sum of a group: its RAM, and the stages that align it."""
    return p.partial_ram.latency + p.align_stages


def random_groups(rng, p, count, bits):
    return rng.integers(-1 << bits, 1 << bits, (count, p.lanes // 2, 2))


SOFT = replace(REAL, partial_words=16, has_softmax=True)


@pytest.mark.parametrize("pauses", [0.0, 0.3])
@pytest.mark.parametrize("p", [SOFT, replace(SOFT, lanes=2), MacColumnParameters(9, 8, 8, 4, 8, has_softmax=True),
                               MacColumnParameters(8, 8, 8, 4, 8, has_softmax=True)],
                         ids=["four lanes", "two lanes", "nine bits", "eight bits"])
def test_a_softmax(drive, p, pauses):
    """Every group is shifted by an amount of its own, re and im; sums are kept, merged, and end as words of one shift,
    of a shift of each row, or as logits."""
    line, rng = SoftmaxLine(p, f"{SEED} softmax", pauses), np.random.default_rng(SEED)
    for _ in range(6):
        draw = line.rng
        count, groups = draw.choice((1, 3, 8)), draw.choice((1, 2, 5))
        bits = draw.randint(6, p.dot_bits - 1)
        places = draw.sample(range(p.partial_words), count)
        for chunk in range(3):
            is_last = chunk == 2
            kind = draw.choice(("words", "logits", "divides")) if is_last else "words"
            line.begin(draw.randrange(24), kind == "divides", kind == "logits")
            for place in places:
                amounts = [draw.choice((0, draw.randint(1, 20), 63)) for _ in range(2)]
                line.output(random_groups(rng, p, groups, bits), (place, amounts) if chunk else None,
                            None if is_last else place)
    flags = [flag for _, flag in line.check(drive)]
    assert 0 < sum(flags) < len(flags), line.note


@pytest.mark.parametrize("kind", ["words", "logits", "divides"])
def test_values_of_a_softmax_at_the_ends_of_their_range(drive, kind):
    """Sums around both ends of the range of words and of logits, shifts of every size."""
    p, line = SOFT, SoftmaxLine(SOFT, SEED, aligns=False)
    for shift in range(0, 13):
        line.begin(31 - shift if kind == "divides" else shift, kind == "divides", kind == "logits")
        for width in (p.width, LOGIT_BITS):
            for end in (smallest(width), largest(width)):
                middle = (2 * end + (1 if end > 0 else -1) << shift) // 2
                for near in (-1, 0, 1):
                    line.output(outputs_of(p, [(middle + near, middle - near)])[0], shifts=[shift, shift])
    flags = [flag for _, flag in line.check(drive)]
    assert {0, 1} == set(flags), line.note


@pytest.mark.parametrize("kind", ["words", "logits", "divides"])
def test_values_of_a_softmax_far_beyond_their_range(drive, kind):
    """Whatever is left of a value that has lost its high bits: it is the largest or the smallest there is."""
    line = SoftmaxLine(SOFT, SEED, aligns=False)
    for shift in (0, 1, 9):
        line.begin(31 - shift if kind == "divides" else shift, kind == "divides", kind == "logits")
        for bit in range(LOGIT_BITS + shift, SOFT.accumulator_bits - 2, 3):
            for total in (1 << bit, 3 << bit - 1, (1 << bit) - 1 << 1, line.rng.getrandbits(bit) | 1 << bit):
                line.output(outputs_of(SOFT, [(total, -total)])[0], shifts=[shift, shift])
    width = LOGIT_BITS if kind == "logits" else SOFT.width
    assert set(line.check(drive)) == {(largest(width), 1), (smallest(width), 1)}, line.note


@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
@pytest.mark.thin(1)
def test_latency_with_softmax(drive, lanes):
    """Three more cycles for the alignment; values have the bits of logits."""
    p = replace(SOFT, lanes=lanes)
    line = SoftmaxLine(p, SEED)
    line.begin(3, is_logit=True)
    line.output(random_groups(np.random.default_rng(SEED), p, 1, 20))
    line.check(drive)
    assert p.latency == lanes.bit_length() - 2 + 10 == min(line.expected) - line.first
    assert (p.value_bits, p.align_stages, replace(p, has_softmax=False).align_stages) == (21, 3, 0)


def test_parameters_of_a_softmax():
    config = CoreConfig.of(layers=2, width=18, coefficient_width=17, half_words=64, stream_words=4, memory_bits=8,
                           records=True, ring_words=64, partial_words=16, softmax_pairs=2)
    assert MacColumnParameters.of(config) == SOFT
    assert p_lead(SOFT) == partial_lead(config)
