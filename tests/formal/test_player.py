"""Proofs of the player: no record is lost, repeated or reordered, and it is idle only when all are written.

Of all records in free beats two are marked, at any places, one behind the other. That is enough: a block that does not
look at what it moves cannot know them from others. Every proof has a planted fault that refutes it.
"""

from amaranth.hdl import Assert, Signal, Value
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.bit_fields import field_places
from wingbeat.hw.isa.setup import SETUP
from wingbeat.hw.memory.parameters import PLAYED_CYCLES
from wingbeat.hw.memory.player import Player

TWO = CoreConfig.of(engines=2, layers=1, width=18, element_width=16, coefficient_width=8, half_words=16,
                    coefficient_words=4, program_words=32, stream_words=4, memory_bits=12, records=True)
ONE = TWO.changed(stream_words=2)
FOUR = TWO.changed(engines=4, stream_words=8)
FIRST, SECOND = 1, 2
FRAMES = 24


def mark(record):
    """The field of a record that bears its mark, and that which says where it goes."""
    places = field_places(SETUP)
    address, target = places["address"][0], places["target"]
    return record[address:address + 2], record[target[0]:target[0] + target[1]]


def plays_all(holds, free, config, frames=None, marks=True, kind=None):
    """``marks``: false to ask whether none is ever written, which must be refuted."""
    record_bits = config.record_elements * config.element_width
    most = config.memory_elements // config.record_elements + PLAYED_CYCLES + 1  # cycles until a beat is played

    def what(m, dut):
        beat = dut.i
        fresh = Signal.like(Value.cast(beat.payload))
        offered = Signal()
        given, written, now = ({code: Signal(name=f"{name}_{code}") for code in (FIRST, SECOND)}
                               for name in ("given", "written", "now"))
        # A beat stays until it is taken; its marks are its own bits where they are legal, so they stay too.
        held, kept = Signal(), Signal.like(fresh)
        m.d.comb += [offered.eq(held | free.signal()), beat.valid.eq(offered), fresh.eq(kept)]
        new = free.signal(fresh.shape())
        with m.If(~held):
            m.d.comb += fresh.eq(new)
        m.d.sync += [held.eq(offered & ~beat.ready), kept.eq(fresh)]
        whole, seen = Signal.like(fresh), dict(given)
        m.d.comb += whole.eq(fresh)
        for at in range(0, len(fresh), record_bits):
            code, target = mark(whole[at:])
            asked = mark(fresh[at:])[0]
            is_first = (asked == FIRST) & ~seen[FIRST]
            is_second = (asked == SECOND) & seen[FIRST] & ~seen[SECOND]
            m.d.comb += code.eq(0)
            for number, chosen in ((FIRST, is_first), (SECOND, is_second)):
                with m.If(chosen):
                    m.d.comb += [code.eq(number), target.eq(0)]
                seen[number] = seen[number] | chosen
        m.d.comb += Value.cast(beat.payload).eq(whole)
        code, _ = mark(Value.cast(dut.write))
        for number in given:
            with m.If(offered & beat.ready):
                m.d.sync += given[number].eq(seen[number])
            m.d.comb += now[number].eq(dut.write_valid & (code == number))
            with m.If(now[number]):
                m.d.sync += written[number].eq(1)
                m.d.comb += [Assert(given[number]), Assert(~written[number])]
            with m.If(dut.idle):
                m.d.comb += Assert(written[number] == given[number])
        with m.If(now[SECOND]):
            m.d.comb += [Assert(written[FIRST]), Assert(marks)]
        # Without another beat it becomes idle.
        quiet = Signal(range(most + 1))
        with m.If(offered & beat.ready):
            m.d.sync += quiet.eq(0)
        with m.Elif(quiet < most):
            m.d.sync += quiet.eq(quiet + 1)
        with m.Else():
            m.d.comb += Assert(dut.idle)

    return holds((kind or Player)(config), what, frames)


@pytest.mark.parametrize("config", [ONE, TWO, FOUR], ids=["one", "two", "four"])
def test_every_record_is_written_once_and_in_order(holds, free, config):
    assert plays_all(holds, free, config)


def test_both_marks_are_written(holds, free):
    assert not plays_all(holds, free, TWO, FRAMES, marks=False)


class Hasty(Player):
    """It takes a beat while records of the one before wait."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.i.ready.eq(1)
        return m


class Repeating(Player):
    """It writes on when it has no record."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.sync += self.write_valid.eq(1)
        return m


class Early(Player):
    """It is idle with a record on its way."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.idle.eq(self.i.ready)
        return m


@pytest.mark.parametrize("fault", [Hasty, Repeating, Early])
def test_faults_are_refuted(holds, free, fault):
    assert not plays_all(holds, free, TWO, FRAMES, kind=fault)
