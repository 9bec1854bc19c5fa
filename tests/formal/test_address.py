"""Proofs of the bank map: every beat of every legal window, and every group of every digit, hits P
different banks, and the address blocks ask each bank for the right row. And of the walker: the second beat of every
mirror pair is the negative of the first. All indices, windows, masks, digits and lanes are free inputs.
"""

from functools import reduce
from operator import or_, xor

from amaranth.hdl import Assert, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In
import pytest

from wingbeat.hw.array.address import BankAddress, GroupAddress, Walker
from wingbeat.hw.config import Pipeline
from wingbeat.hw.isa.walk import SubOrder

SHAPES = [(layers, bits) for layers in (1, 2, 3, 4) for bits in (layers + 1, 3 * layers + 1, 12)]
# The group counter is state, so these halves are smaller; a partly filled top digit and a whole one.
GROUP_SHAPES = [(1, 2), (1, 3), (1, 6), (2, 4), (2, 5), (2, 7), (3, 6), (3, 7), (4, 8), (4, 9)]


def digit_hash(index, layers):
    """Bank of an index: XOR of its S-bit digits."""
    return reduce(xor, (index[at:at + layers] for at in range(0, len(index), layers)))[:layers]


def low_digit(index, layers):
    """A bank map without the hash, to be refuted."""
    return index[:layers]


def one_bit_per_residue(choices, layers, bits):
    """Mask with bit r + S*choices[r] for every residue r, and whether all of them lie inside ``bits``."""
    masks = [1 << (r + layers * choice) for r, choice in enumerate(choices)]
    mask = reduce(or_, masks)
    return mask[:bits], (mask >> bits) == 0


def one_residue_twice(choices, layers, bits):
    """Like :func:`one_bit_per_residue`, but residue 1 stands in for residue 0: not legal, to be refuted."""
    mask, inside = one_bit_per_residue([Const(1), *choices[1:]], layers, bits)
    return ((mask & ~Const(1, bits) & ~Const(1 << layers, bits)) | (2 << layers))[:bits], inside


class BeatCheck(wiring.Component):
    """Asserts that lanes ``a`` and ``b`` of any beat lie in different banks and that ``BankAddress`` finds
    lane a.
    """

    def __init__(self, layers, bits, bank=digit_hash, window=one_bit_per_residue, wrong_select=False):
        self.layers, self.bits, self.bank, self.window = layers, bits, bank, window
        self.wrong_select = wrong_select
        choice = max(1, (-(-bits // layers) - 1).bit_length())
        super().__init__({"base": In(bits), "choices": In(choice * layers), "a": In(layers), "b": In(layers)})

    def elaborate(self, platform):
        m = Module()
        s, bits = self.layers, self.bits
        m.submodules.dut = dut = BankAddress(bits, s)
        width = len(self.choices) // s
        window, inside = self.window([self.choices.word_select(r, width) for r in range(s)], s, bits)
        base = self.base & ~window
        m.d.comb += [dut.en.eq(1), dut.base.eq(base), dut.window.eq(window)]

        # The index of a lane by the contract: window bit b takes bit b mod S of the lane.
        index_a, index_b = ((base | (window & Cat(lane[i % s] for i in range(bits))))[:bits]
                            for lane in (self.a, self.b))
        bank_a, bank_b = (self.bank(index, s) for index in (index_a, index_b))
        with m.If(inside & (self.a != self.b)):
            m.d.comb += Assert(bank_a != bank_b)

        was_inside, was_a, was_bank, was_row = Signal(), Signal(s), Signal(s), Signal(bits - s)
        m.d.sync += [was_inside.eq(inside), was_a.eq(self.a), was_bank.eq(bank_a), was_row.eq(index_a[s:])]
        with m.If(was_inside):
            m.d.comb += [Assert(was_bank ^ dut.select ^ self.wrong_select == was_a),
                         Assert(dut.rows.as_value().word_select(was_bank, bits - s) == was_row)]
        return m


class GroupCheck(wiring.Component):
    """Asserts that ``GroupAddress`` finds lane ``a`` of every group of every digit, two cycles later."""

    def __init__(self, layers, bits, latency=2):
        self.layers, self.bits, self.latency = layers, bits, latency
        super().__init__({"valid": In(1), "start": In(1), "digit": In(4), "a": In(layers)})

    def elaborate(self, platform):
        m = Module()
        s, bits = self.layers, self.bits
        m.submodules.dut = dut = GroupAddress(bits, s)
        m.d.comb += [dut.valid.eq(self.valid), dut.start.eq(self.start), dut.digit.eq(self.digit)]

        index = Const(0, bits)
        for d in range(bits // s):
            at_digit = Cat(dut.group[:d * s], self.a, dut.group[d * s:])
            index = Mux(self.digit == d, at_digit, index)
        expected, lane, checked = index[:bits], self.a, self.valid & (self.digit < bits // s)
        for stage in range(self.latency):
            now = Cat(expected, lane, checked)
            late = Signal(len(now), name=f"late{stage}")
            m.d.sync += late.eq(now)
            expected, lane, checked = late[:bits], late[bits:bits + s], late[-1]
        bank = digit_hash(expected, s)
        with m.If(checked):
            m.d.comb += [Assert(bank ^ dut.select == lane),
                         Assert(dut.rows.as_value().word_select(bank, bits - s) == expected[s:])]
        return m


class MirrorCheck(wiring.Component):
    """Asserts that the beats of a mirror pair are i and -i mod 2^n, whatever the masks, stalls and restarts.

    Masks and ``sub_at`` = n - 1 are arbitrary; they are caught a cycle before the walker restarts and then stand still,
    as the instruction does. A pair may come several times, for several groups of engines, before ``last_group``.
    """

    def __init__(self, bits, pipeline, fault=None):
        self.bits, self.fault = bits, fault
        self.dut = Walker(bits, pipeline, 1, mirror=True)
        super().__init__({"inner": In(bits), "outer": In(bits), "sub_at": In(range(bits)), "restart": In(1),
                          "go": In(1), "last_group": In(1)})

    def elaborate(self, platform):
        m = Module()
        bits = self.bits
        m.submodules.dut = dut = self.dut
        # One cycle between the masks and the restart, as a deep walker asks for.
        inner, outer, at = Signal(bits), Signal(bits), Signal(4)
        restarting, walking, sub, direct, known = Signal(), Signal(), Signal(), Signal(bits), Signal()
        free = ~(1 << at)[:bits]
        with m.If(self.restart & ~restarting):
            m.d.sync += [inner.eq(self.inner), outer.eq(self.outer & ~self.inner), at.eq(self.sub_at), walking.eq(0)]
        m.d.sync += restarting.eq(self.restart & ~restarting)
        with m.If(restarting):
            m.d.sync += [walking.eq(1), sub.eq(0), known.eq(0)]
        with m.Elif(walking & self.go):
            m.d.sync += [sub.eq(~sub), known.eq(~sub), direct.eq(dut.base)]
        m.d.comb += [
            dut.inner.eq(inner & free), dut.outer.eq(outer & free), dut.sub_at.eq(at), dut.restart.eq(restarting),
            dut.sub_order.eq(SubOrder.UP if self.fault == "order" else SubOrder.MIRROR), dut.sub.eq(sub),
            dut.step.eq(walking & self.go & sub & self.last_group)]
        low = ((2 << at) - 1)[:bits]
        negative = (0 - direct)[:bits] & low
        image = (direct & ~low) | Mux((direct & low) == 0, (1 << at)[:bits], negative)
        wrong = (direct == 3) if self.fault == "three" else 0
        with m.If(walking & sub & known):
            m.d.comb += Assert((dut.base == image) & ~wrong)
        return m


class StorageCheck(wiring.Component):
    """Asserts that no two indices share bank and row."""

    def __init__(self, layers, bits, bank=digit_hash):
        self.layers, self.bank = layers, bank
        super().__init__({"i": In(bits), "j": In(bits)})

    def elaborate(self, platform):
        m = Module()
        s = self.layers
        with m.If((self.i != self.j) & (self.i[s:] == self.j[s:])):
            m.d.comb += Assert(self.bank(self.i, s) != self.bank(self.j, s))
        return m


def holds(prove, check):
    return prove(check, [Value.cast(getattr(check, name)) for name in check.signature.members])


@pytest.mark.parametrize("layers,bits", SHAPES)
def test_beat_is_free_of_conflicts(prove, layers, bits):
    assert holds(prove, BeatCheck(layers, bits))


@pytest.mark.parametrize("layers,bits", GROUP_SHAPES)
def test_group_is_free_of_conflicts(prove, layers, bits):
    assert holds(prove, GroupCheck(layers, bits))


@pytest.mark.parametrize("layers,bits", SHAPES)
def test_no_two_words_share_a_place(prove, layers, bits):
    assert holds(prove, StorageCheck(layers, bits))


@pytest.mark.parametrize("pipeline", list(Pipeline))
def test_pairs_are_mirror_images(prove, pipeline):
    assert holds(prove, MirrorCheck(5, pipeline))


@pytest.mark.parametrize("fault", ["order", "three"])
def test_pairs_that_are_none_are_refuted(prove, fault):
    assert not holds(prove, MirrorCheck(5, Pipeline.DEEP, fault))


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_planted_faults_are_refuted(prove, layers):
    bits = 2 * layers + 1
    assert not holds(prove, BeatCheck(layers, bits, bank=low_digit))
    assert not holds(prove, BeatCheck(layers, bits, wrong_select=True))
    assert not holds(prove, GroupCheck(layers, bits, latency=3))
    assert not holds(prove, StorageCheck(layers, bits, bank=lambda index, s: digit_hash(index[s:], s)))
    if layers > 1:
        assert not holds(prove, BeatCheck(layers, bits, window=one_residue_twice))
