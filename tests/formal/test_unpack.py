"""Proofs of Unpack: every element comes once, in order and at its place; the ring is never overrun; filled is true.
The same with beats of picks between the sets, and every pick comes with its element.

One element is marked, any of any beat, and where it has to appear is counted: that is enough, as a block that does not
look at what it moves cannot know it from others. The counts also say when a beat is taken and when a word is written,
so nothing waits without a reason. Every proof has planted faults that refute it.
"""

from amaranth.hdl import Assert, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.sparse import PICK_BITS, pick_sets
from wingbeat.hw.memory.unpack import Unpack

TWO = CoreConfig.of(engines=1, layers=2, width=18, element_width=8, coefficient_width=8, coefficient_words=8,
                    ring_words=4, half_words=16, program_words=32, stream_words=4, memory_bits=12, records=True)
ONE = TWO.changed(layers=1, engines=2, ring_words=8)
FOUR = TWO.changed(layers=4, half_words=64, stream_words=16, ring_words=8)
LONG = TWO.changed(engines=2, stream_words=8, ring_words=8)
SPARSE_ONE, SPARSE_TWO = ONE.changed(sparse=True), TWO.changed(sparse=True)
SPARSE = pytest.mark.parametrize("config", [SPARSE_ONE, SPARSE_TWO], ids=["one", "two"])
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

    ``late``: cycles until the block sees what is released; ``early``: cycles before it is. Where matrices may be
    sparse, FETCHes of both kinds follow each other. A dense one may end anywhere; a sparse one has whole sets, and
    begins with one. ``is_picks``: the present beat is one of picks.
    """

    def __init__(self, m, dut, free, config, late=0, early=0):
        size, words = config.ring_words, config.memory_elements // config.lanes
        self.is_picks = Signal()
        taken = dut.i.valid & dut.i.ready & ~self.is_picks
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
        if config.sparse:
            self._drive_fetches(m, dut, free, config)
        with m.If(dut.clear):
            m.d.sync += [each.eq(0) for each in (self.written, self.seen, released, self.inside, self.place)]

    def _drive_fetches(self, m, dut, free, config):
        beat = Signal(range(pick_sets(config) * config.layers + 1))  # the present one, from that of picks on
        is_sparse, is_whole, moves = Signal(), Signal(), dut.i.valid & dut.i.ready
        m.d.comb += [
            dut.sparse.eq(is_sparse), self.is_picks.eq(is_sparse & (beat == 0)),
            is_whole.eq(Mux(moves & ~self.is_picks, self.is_last, self.place == 0)),
            dut.restart.eq(free.signal() & (is_whole | ~is_sparse))]
        with m.If(moves & is_sparse):
            m.d.sync += beat.eq(Mux(beat == pick_sets(config) * config.layers, 0, beat + 1))
        with m.If(dut.restart | dut.clear):
            m.d.sync += [beat.eq(0), is_sparse.eq(free.signal() & (is_whole | dut.clear))]


class Pick:
    """Any pick of any beat of picks, its ``value``, and ``is_due``: the present beat has its element, the one with its
    ``number``. Nothing is chosen any more once something is ``marked``."""

    def __init__(self, m, dut, free, config, counts, marked):
        elements, sets = dut.i.payload.elements, pick_sets(config)
        self.is_due, self.value, self.number = Signal(), Signal(PICK_BITS), Signal(range(len(elements)))
        waits, ahead = Signal(), Signal(range(sets))  # sets in front of that of the element
        number, ahead_now = free.signal(self.number.shape()), free.signal(ahead.shape())
        moves = dut.i.valid & dut.i.ready
        m.d.comb += self.is_due.eq(waits & (ahead == 0) & ~counts.is_picks)
        with m.If(moves & ~counts.is_picks & counts.is_last):
            m.d.sync += [ahead.eq(ahead - 1), waits.eq(waits & (ahead != 0))]
        with m.If(moves & counts.is_picks & ~marked & free.signal()):
            picks = Cat(Value.cast(element).word_select(ahead_now, PICK_BITS) for element in elements)
            m.d.sync += [waits.eq(1), ahead.eq(ahead_now), self.number.eq(number),
                         self.value.eq(picks.word_select(number, PICK_BITS))]
        with m.If(dut.restart | dut.clear):
            m.d.sync += waits.eq(0)


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
            Assert(dut.i.ready == (counts.is_picks | ~counts.is_last | ~has_word
                                   | ((counts.inside == 1) & dut.write_en))),
            Assert(dut.idle == (~has_word & (counts.place == 0)))]
        with m.If(dut.write_en):
            m.d.comb += [Assert(dut.write.address == counts.written[:-1]), Assert(counts.used != size)]
        if never_full:
            m.d.comb += Assert(counts.used != size)

    return holds(planted(Unpack(config), fault), what, frames)


def order(holds, free, config, frames=None, fault=None, never_there=False, lowest=8, of_lane=None):
    """The marked element, its ``lowest`` bits; of any lane or of one. ``never_there``: that it never comes
    out, of a sparse matrix where there may be one."""
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
        may_mark, pick, has_pick = Const(1), None, Signal()
        if config.sparse:
            pick = Pick(m, dut, free, config, counts, marked)
            may_mark = ~counts.is_picks & (~dut.sparse | pick.is_due)
            with m.If(dut.sparse):
                m.d.comb += number.eq(pick.number)
            with m.If(~marked):
                m.d.sync += has_pick.eq(dut.sparse)
        arrives = waiting & dut.write_en & (ahead == 0)
        m.d.sync += [ahead.eq(ahead - dut.write_en), waiting.eq(waiting & ~arrives)]
        with m.If(dut.i.valid & dut.i.ready & ~marked & may_mark & free.signal()):
            m.d.sync += [
                marked.eq(1), waiting.eq(1), column.eq(counts.place), lane.eq(number),
                ahead.eq(counts.inside - dut.write_en + number[len(lane):]),
                value.eq(Cat(elements).word_select(number, lowest))]
        with m.If(arrives):
            place = Cat(lane, column) if config.layers > 1 else lane
            m.d.comb += Assert(Cat(out).word_select(place, lowest) == value)
            if never_there:
                m.d.comb += Assert(~has_pick if pick else Const(0))
            if pick:
                m.d.comb += Assert(~has_pick | (dut.write.picks.as_value().word_select(lane, PICK_BITS) == pick.value))
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
        elif self.name == "swaps picks":
            picks = dut.write.picks.as_value()
            m.d.comb += self.write.picks.eq(Cat(picks[PICK_BITS:], picks[:PICK_BITS]))
        elif self.name == "picks of the word before":
            late = Signal.like(dut.write.picks)
            with m.If(dut.write_en):
                m.d.sync += late.eq(dut.write.picks)
            m.d.comb += self.write.picks.eq(late)
        elif self.name == "picks are elements":
            m.d.comb += dut.sparse.eq(0)
        elif self.name == "a FETCH goes on behind its end":
            m.d.comb += dut.restart.eq(0)
        return m


def planted(dut, fault):
    return Fault(dut, fault) if fault else dut


CONTROL_FAULTS = ["the word under hold is lost", "hold is late", "one word too many", "one word too few",
                  "counted with the write", "takes what it cannot hold", "takes a beat twice", "forgets to clear",
                  "idle with a beat inside"]
ORDER_FAULTS = ["the word under hold is lost", "takes what it cannot hold", "takes a beat twice", "forgets to clear",
                "swaps c0 and c1", "swaps columns"]


PICK_FAULTS = ["swaps picks", "picks of the word before", "picks are elements", "a FETCH goes on behind its end",
               "forgets to clear"]


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


@SPARSE
def test_beats_of_picks_move_at_once(holds, free, config):
    assert control(holds, free, config)


@SPARSE
def test_every_pick_with_its_element(holds, free, config):
    """And every element once and in order, of dense FETCHes between sparse ones too."""
    assert order(holds, free, config, lowest=1)


def test_the_marked_element_of_a_sparse_matrix_comes(holds, free):
    assert not order(holds, free, SPARSE_TWO, FRAMES, never_there=True)


@pytest.mark.thin(1)
@pytest.mark.parametrize("fault", PICK_FAULTS)
def test_faults_of_picks_are_refuted(holds, free, fault):
    assert not order(holds, free, SPARSE_TWO, FRAMES, fault, lowest=1)
