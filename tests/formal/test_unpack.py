"""Proofs of Unpack: every element comes once, in order and at its place; the ring is never overrun; filled is true.

One element is marked, any of any beat, and where it has to appear is counted: that is enough, as a block that does not
look at what it moves cannot know it from others. The counts also say when a beat is taken and when a word is written,
so nothing waits without a reason. Every proof has planted faults that refute it.
"""

from amaranth.hdl import Assert, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.memory.unpack import Unpack

TWO = CoreConfig.of(engines=1, layers=2, width=18, element_width=8, coefficient_width=8, coefficient_words=8,
                    ring_words=4, half_words=16, program_words=32, stream_words=4, memory_bits=12, records=True)
ONE = TWO.changed(layers=1, engines=2, ring_words=8)
FOUR = TWO.changed(layers=4, half_words=64, stream_words=16, ring_words=8)
LONG = TWO.changed(engines=2, stream_words=8, ring_words=8)
CONFIGS = pytest.mark.parametrize("config", [ONE, TWO, FOUR, LONG], ids=["one", "two", "four", "long"])
FRAMES = 20


def steps_back(m, value, clear):
    """``value`` as it was 0, 1 and 2 cycles ago; zero since ``clear``."""
    history = [value]
    for at in (1, 2):
        register = Signal.like(value, name=f"{value.name}_{at}")
        m.d.sync += register.eq(Mux(clear, 0, history[-1]))
        history.append(register)
    return history


class Counts:
    """What was taken, written and released, counted outside of the block.

    ``late``: cycles until the block sees what is released; ``early``: cycles before it is.
    """

    def __init__(self, m, dut, free, config, late=0, early=0):
        size, words = config.ring_words, config.memory_elements // config.lanes
        taken = dut.i.valid & dut.i.ready
        self.place, self.inside = Signal(range(config.layers + 1)), Signal(range(words + 1))
        self.written, released = Signal(range(2 * size)), Signal(range(2 * size), name="released")
        self.seen = Signal(range(2 * size))  # words in use as far as the block knows
        asked = free.signal(released.shape())
        history = steps_back(m, released, dut.clear)
        now, used, unread = (Signal.like(released, name=name) for name in ("now", "used", "unread"))
        self.used = used  # words in use
        self.is_last = self.place == config.layers - 1
        m.d.comb += [now.eq(self.written + dut.write_en), used.eq(self.written - history[early]),
                     unread.eq(self.written - released), dut.released.eq(history[late])]
        m.d.sync += [self.written.eq(now), self.seen.eq(now - dut.released),
                     released.eq(released + Mux(asked <= unread, asked, 0)),
                     self.inside.eq(self.inside - dut.write_en + Mux(taken & self.is_last, words, 0))]
        with m.If(taken):
            m.d.sync += self.place.eq(Mux(self.is_last, 0, self.place + 1))
        with m.If(dut.clear):
            m.d.sync += [each.eq(0) for each in (self.written, self.seen, released, self.inside, self.place)]


def control(holds, free, config, frames=None, fault=None, never_full=False, **owner):
    """Addresses, counters and the moments of every move. ``never_full``: that the ring never fills up."""
    size = config.ring_words

    def what(m, dut):
        free.drive(m, dut.i)
        counts = Counts(m, dut, free, config, **owner)
        has_word = counts.inside != 0
        m.d.comb += [
            Assert(dut.filled == counts.written), Assert(counts.used <= size),
            Assert(dut.write_en == (has_word & ~dut.hold & (counts.seen != size))),
            Assert(dut.i.ready == (~counts.is_last | ~has_word | ((counts.inside == 1) & dut.write_en))),
            Assert(dut.idle == (~has_word & (counts.place == 0)))]
        with m.If(dut.write_en):
            m.d.comb += [Assert(dut.write.address == counts.written[:-1]), Assert(counts.used != size)]
        if never_full:
            m.d.comb += Assert(counts.used != size)

    return holds(planted(Unpack(config), fault), what, frames)


def order(holds, free, config, frames=None, fault=None, never_there=False, lowest=8, of_lane=None):
    """The marked element, its ``lowest`` bits; of any lane or of one. ``never_there``: that it never comes out."""
    lanes, half = config.lanes, config.lanes // 2

    def what(m, dut):
        free.drive(m, dut.i)
        counts = Counts(m, dut, free, config)
        # Column by column, lane by lane: the coefficients of a word in the order of the elements.
        sides = [(dut.write.words[column * half + (lane >> column + 1 << column | lane & (1 << column) - 1)],
                  lane >> column & 1) for column in range(config.layers) for lane in range(lanes)]
        out = [Value.cast(pair.c0 if is_high else pair.c1)[:lowest] for pair, is_high in sides]
        elements = [Value.cast(element)[:lowest] for element in dut.i.payload.elements]

        marked, waiting, value = Signal(), Signal(), Signal(lowest)
        number, ahead = Signal(range(len(elements))), Signal(range(2 * len(elements) // lanes + 1))
        column, lane = Signal(range(max(2, config.layers))), Signal(range(lanes))
        m.d.comb += number.eq(free.signal(number.shape()))
        if of_lane is not None:
            m.d.comb += number[:len(lane)].eq(of_lane)
        arrives = waiting & dut.write_en & (ahead == 0)
        m.d.sync += [ahead.eq(ahead - dut.write_en), waiting.eq(waiting & ~arrives)]
        with m.If(dut.i.valid & dut.i.ready & ~marked & free.signal()):
            m.d.sync += [
                marked.eq(1), waiting.eq(1), column.eq(counts.place), lane.eq(number),
                ahead.eq(counts.inside - dut.write_en + number[len(lane):]),
                value.eq(Cat(elements).word_select(number, lowest))]
        with m.If(arrives):
            place = Cat(lane, column) if config.layers > 1 else lane
            m.d.comb += [Assert(Cat(out).word_select(place, lowest) == value), Assert(Const(not never_there))]
        with m.If(dut.clear):
            m.d.sync += waiting.eq(0)

    return holds(planted(Unpack(config), fault), what, frames)


class Fault(wiring.Component):
    """Wraps the block and breaks one thing on its way in or out."""

    def __init__(self, dut, name):
        self.dut, self.name = dut, name
        super().__init__(dut.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        wiring.connect(m, wiring.flipped(self), dut)
        if self.name == "the word under hold is lost":
            m.d.comb += [dut.hold.eq(0), self.write_en.eq(dut.write_en & ~self.hold)]
        elif self.name == "hold is late":
            late = Signal()
            m.d.sync += late.eq(self.hold)
            m.d.comb += dut.hold.eq(late)
        elif self.name == "one word too many":
            m.d.comb += dut.released.eq(self.released + 1)
        elif self.name == "one word too few":
            m.d.comb += dut.released.eq(self.released - (self.released != 0))
        elif self.name == "counted with the write":
            m.d.comb += self.filled.eq(dut.filled + dut.write_en)
        elif self.name == "takes what it cannot hold":
            m.d.comb += self.i.ready.eq(1)
        elif self.name == "takes a beat twice":
            again = Signal()
            m.d.sync += again.eq(self.i.valid & dut.i.ready & ~again)
            m.d.comb += self.i.ready.eq(dut.i.ready & again)
        elif self.name == "forgets to clear":
            m.d.comb += dut.clear.eq(0)
        elif self.name == "idle with a beat inside":
            m.d.comb += self.idle.eq(dut.idle | dut.i.ready)
        elif self.name == "swaps c0 and c1":
            for pair, inner in zip(self.write.words, dut.write.words):
                m.d.comb += [pair.c0.eq(inner.c1), pair.c1.eq(inner.c0)]
        elif self.name == "swaps columns":
            words = dut.write.words.as_value()
            m.d.comb += self.write.words.eq(Cat(words[len(words) // 2:], words[:len(words) // 2]))
        return m


def planted(dut, fault):
    return Fault(dut, fault) if fault else dut


CONTROL_FAULTS = ["the word under hold is lost", "hold is late", "one word too many", "one word too few",
                  "counted with the write", "takes what it cannot hold", "takes a beat twice", "forgets to clear",
                  "idle with a beat inside"]
ORDER_FAULTS = ["the word under hold is lost", "takes what it cannot hold", "takes a beat twice", "forgets to clear",
                "swaps c0 and c1", "swaps columns"]


@CONFIGS
def test_moves_and_counts(holds, free, config):
    assert control(holds, free, config)


@pytest.mark.parametrize("late", [1, 2])
def test_released_may_be_seen_late(holds, free, late):
    assert control(holds, free, TWO, late=late)


def test_released_must_not_be_seen_early(holds, free):
    assert not control(holds, free, TWO, FRAMES, early=2)


def test_the_ring_fills_up(holds, free):
    assert not control(holds, free, ONE, FRAMES, never_full=True)


@pytest.mark.thin(1)
@pytest.mark.parametrize("fault", CONTROL_FAULTS)
def test_faults_of_control_are_refuted(holds, free, fault):
    assert not control(holds, free, TWO, FRAMES, fault)


@pytest.mark.parametrize("config, lowest", [(ONE, 8), (TWO, 8), (LONG, 1)], ids=["one", "two", "long"])
def test_every_element_once_and_in_order(holds, free, config, lowest):
    assert order(holds, free, config, lowest=lowest)


@pytest.mark.parametrize("lane", range(FOUR.lanes))
def test_every_element_of_a_lane(holds, free, lane):
    """Four columns are too many for all lanes in one proof."""
    assert order(holds, free, FOUR, lowest=1, of_lane=lane)


def test_the_marked_element_comes(holds, free):
    assert not order(holds, free, TWO, FRAMES, never_there=True)


@pytest.mark.thin(1)
@pytest.mark.parametrize("fault", ORDER_FAULTS)
def test_faults_of_order_are_refuted(holds, free, fault):
    assert not order(holds, free, TWO, FRAMES, fault)
