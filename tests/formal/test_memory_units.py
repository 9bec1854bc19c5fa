"""Proofs of the memory units: streams keep valid and payload under stall, and no beat is lost or invented.

Whatever stands in a table is a free input in every cycle, so the proofs hold for every descriptor; so are commands,
beats and the reset. Widths are the smallest; J is 1 or 2 engines per beat. Every proof has a planted fault that
refutes it.
"""

from amaranth.hdl import Array, Assert, Const, Module, Mux, Signal
from amaranth.lib import stream
import pytest

from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.isa.instruction import MemoryMode
from wingbeat.hw.memory.emit import Emit
from wingbeat.hw.memory.gather import Gather
from wingbeat.hw.memory.reader import Reader
from wingbeat.hw.memory.scatter import Scatter
from wingbeat.hw.memory.sequence import BeatSequence
from wingbeat.hw.memory.writer import Completion, Writer

ONE = CoreConfig.of(engines=1, layers=1, width=8, element_width=8, coefficient_width=8, half_words=4,
                    coefficient_words=4, program_words=32, stream_words=2, memory_bits=3, descriptors=1,
                    pipeline=Pipeline.SHORT)
TWO = ONE.changed(engines=2, stream_words=4)
DEEP = ONE.changed(pipeline=Pipeline.DEEP)
FRAMES = 24  # longer than the way of a first command through any unit
TABLE = "wingbeat.hw.memory.sequence.Ram"


class SomeBlocks(BeatSequence):
    """What the proofs of the units know of a BeatSequence: from each start on beats with any content, the last of them
    marked. So nothing hangs on the counters; that the real one is so much is proved for it alone."""

    free = None

    def elaborate(self, platform):
        m = Module()
        going = Signal()
        self.free.drive(m, self.o, going)
        self.free.ports += [self.chunks, self.other]
        m.d.comb += self.start.ready.eq(~going)
        with m.If(self.start.ready):
            m.d.sync += going.eq(self.start.valid)
        with m.If(self.o.valid & self.o.ready & self.o.payload.last):
            m.d.sync += going.eq(0)
        return m


@pytest.fixture
def some_blocks(free, monkeypatch):
    monkeypatch.setattr(SomeBlocks, "free", free)
    for unit in ("reader", "writer"):
        monkeypatch.setattr(f"wingbeat.hw.memory.{unit}.BeatSequence", SomeBlocks)


# --- streams hold ---------------------------------------------------------------------------------------------


def reader(config):
    return Reader(config, 4)


class Deaf(Scatter):
    """It takes the next beat although the one in its register waits."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += m.submodules.regrouper.o.ready.eq(1)
        return m


# The part, its stream, and what is wrong with it: the buffer of that file, or all of it.
STREAMS = {"sequence": (BeatSequence, "o", "memory.sequence"), "reader": (reader, "o", "memory.reader"),
           "gather": (Gather, "o", "memory.gather"), "scatter": (Scatter, "o", Deaf),
           "emit": (Emit, "memory", "memory.emit"),
           "writer": (Writer, "memory", "memory.emit")}


def stream_holds(holds, free, steady, dut, port, frames=None):
    free.outputs_of(TABLE)

    def what(m, dut):
        if isinstance(dut, Reader):
            free.drive(m, dut.beats)
        steady(m, getattr(dut, port))
    return holds(dut, what, frames)


@pytest.mark.parametrize("config", [ONE, TWO, DEEP], ids=["one", "two", "deep"])
@pytest.mark.parametrize("part", STREAMS)
def test_stream_holds(holds, free, steady, some_blocks, part, config):
    make, port, _ = STREAMS[part]
    assert stream_holds(holds, free, steady, make(config), port)


@pytest.mark.parametrize("part", STREAMS)
def test_stream_without_a_buffer_is_refuted(holds, free, steady, some_blocks, break_buffer, part):
    make, port, fault = STREAMS[part]
    if isinstance(fault, str):
        break_buffer(fault)
    else:
        make = fault
    assert not stream_holds(holds, free, steady, make(ONE), port, FRAMES)


class Impatient(Reader):
    def elaborate(self, platform):
        m = super().elaborate(platform)
        place = m.submodules.sequence.o
        m.d.comb += self.read.valid.eq(place.valid & place.payload.valid & self.o.ready)
        return m


def requests_hold(holds, free, steady, kind, config, frames=None):
    return holds(kind(config, 4), lambda m, dut: steady(m, dut.read), frames)


@pytest.mark.parametrize("config", [ONE, DEEP], ids=["one", "deep"])
def test_requests_hold(holds, free, steady, some_blocks, config):
    assert requests_hold(holds, free, steady, Reader, config)


def test_requests_that_wait_for_the_output_are_refuted(holds, free, steady, some_blocks):
    assert not requests_hold(holds, free, steady, Impatient, ONE, FRAMES)


class Early(BeatSequence):
    """It takes the next start with its last beat."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.start.ready.eq(self.o.payload.last)
        return m


def between_blocks(holds, free, kind):
    """No beat from a BeatSequence that takes a start."""
    free.outputs_of(TABLE)

    def what(m, dut):
        m.d.comb += Assert(~(dut.start.ready & dut.o.valid))
    return holds(kind(ONE), what, FRAMES)


def test_no_beat_between_two_blocks(holds, free):
    assert between_blocks(holds, free, BeatSequence)


def test_a_beat_between_two_blocks_is_refuted(holds, free):
    assert not between_blocks(holds, free, Early)


# --- memory: every request is answered before a unit is idle --------------------------------------------------------


def honest(m, free, dut):
    """A memory that answers every request once, with two of them inside at most. Returns how many are inside."""
    inside, ready = Signal(2), free.signal()
    if isinstance(dut, Reader):
        port, answered = dut.read, dut.beats.valid & dut.beats.ready
        free.drive(m, dut.beats, inside != 0)
    else:
        port, answered = dut.memory, dut.written
        m.d.comb += dut.written.eq(free.signal() & (inside != 0))
    m.d.comb += port.ready.eq(ready & (inside < 2))
    m.d.sync += inside.eq(inside + (port.valid & port.ready) - answered)
    return inside


class SmallWriter(Writer):
    """Its counts wrap around early."""

    def __init__(self, config):
        super().__init__(config)
        self.count_bits = 4


class HastyReader(Reader):
    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.idle.eq(~self.running)
        return m


class HastyWriter(SmallWriter):
    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += m.submodules.completion.written.eq(self.memory.valid & self.memory.ready)
        return m


def idle_is_idle(holds, free, dut, frames):
    """``idle``: no request is on offer, none is without its answer."""
    def what(m, dut):
        inside = honest(m, free, dut)
        with m.If(dut.idle):
            m.d.comb += [Assert(inside == 0), Assert(~(dut.read if isinstance(dut, Reader) else dut.memory).valid)]
    return holds(dut, what, frames)


@pytest.mark.parametrize("make", [reader, SmallWriter])
def test_nothing_is_open_when_idle(holds, free, some_blocks, make):
    assert idle_is_idle(holds, free, make(ONE), 18 if make is reader else FRAMES)


@pytest.mark.parametrize("make", [lambda config: HastyReader(config, 4), HastyWriter], ids=["reader", "writer"])
def test_idle_too_early_is_refuted(holds, free, some_blocks, make):
    assert not idle_is_idle(holds, free, make(ONE), FRAMES)


# --- gather and scatter: beats are counted ------------------------------------------------------------------------


def whole_tiles(m, free, config, port, modes):
    """Blocks of whole tiles, each of one mode. Before the first stands one of COLUMNS."""
    wish = stream.Signature(port.payload.shape()).create()
    free.drive(m, wish)
    j, place, tile, inside, mode = config.engines_per_beat, Signal(3), Signal(3), Signal(), Signal(3)
    tiles = [{MemoryMode.COLUMNS: 1, MemoryMode.ROWS: j, MemoryMode.SPLIT: 2}.get(mode, 2 * j) for mode in MemoryMode]
    m.d.comb += [
        port.payload.eq(wish.payload), port.valid.eq(wish.valid), wish.ready.eq(port.ready),
        port.payload.mode.eq(Mux(inside, mode, Mux(wish.payload.mode < modes, wish.payload.mode, 0))),
        tile.eq(Array(tiles[:modes])[port.payload.mode]), port.payload.changes.eq(port.payload.mode != mode),
        port.payload.last.eq(wish.payload.last & (place == tile - 1))]
    with m.If(port.valid & port.ready):
        m.d.sync += [mode.eq(port.payload.mode), inside.eq(~port.payload.last),
                     place.eq(Mux(place == tile - 1, 0, place + 1))]


def counted(m, dut, config):
    """Beats inside, where one that leaves may stand for two: never less than none, never more than there is room for.
    So in all time no more than ``room`` are lost, and none is invented."""
    room, inside = 4 * config.engines_per_beat + 3, Signal(6)
    entering, leaving = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
    two = dut.o.payload.mode >= MemoryMode.REAL if "mode" in dut.o.payload.shape().members else Const(0)
    gone = Mux(leaving, 1 + two, 0)
    m.d.comb += [Assert(inside >= gone), Assert(inside <= room)]
    m.d.sync += inside.eq(inside + entering - gone)


def beats_counted(holds, free, kind, config, frames=None):
    modes = {Gather: MemoryMode.PAIRS + 1, Scatter: MemoryMode.SPLIT + 1}[kind]

    def what(m, dut):
        whole_tiles(m, free, config, dut.i, modes)
        counted(m, dut, config)
    return holds(kind(config), what, frames)


@pytest.mark.parametrize("kind,config,frames", [(Gather, ONE, None), (Gather, TWO, None), (Scatter, ONE, 12),
                                                (Scatter, TWO, 12)], ids=["gather1", "gather2", "scatter1", "scatter2"])
def test_no_beat_is_lost_or_invented(holds, free, kind, config, frames):
    assert beats_counted(holds, free, kind, config, frames)


@pytest.mark.parametrize("repeats", [False, True], ids=["loses", "invents"])
@pytest.mark.parametrize("kind", [Gather, Scatter])
def test_a_buffer_that_loses_or_invents_is_refuted(holds, free, break_buffer, kind, repeats):
    break_buffer("memory.gather", repeats)
    assert not beats_counted(holds, free, kind, ONE, FRAMES)


# --- the writer: every place becomes its writes, and a WRITE is complete when all of them are visible ----------------


class Joined(Emit):
    """Asserts that a place that is gone gives the writes it asks for and no more, takes its beats, and that every write
    reaches ``memory``, before the part is not ``busy`` any more."""

    fault = None

    def elaborate(self, platform):
        m = super().elaborate(platform)
        if self.fault == "not busy":
            m.d.comb += self.busy.eq(self.memory.valid)
        elif self.fault == "pops twice":
            m.d.comb += self.i.ready.eq(m.submodules.out.i.ready & self.places.valid)
        elif self.fault == "drops":
            m.d.comb += m.submodules.out.i.valid.eq(0)
        # Writes and beats of places that are gone, less what has happened: of a place of several writes one may have
        # been issued before it is gone.
        writes, beats, flying, here = Signal(5), Signal(4), Signal(4), self.places.payload
        wanted = Mux(here.valid, 1 + Mux(here.fold, 2, here.twice), 0)
        gone, given = self.places.valid & self.places.ready, self.memory.valid & self.memory.ready
        m.d.sync += [writes.eq(writes + Mux(gone, wanted, 0) - self.issued), flying.eq(flying + self.issued - given),
                     beats.eq(beats + (gone & (~here.split | here.high)) - (self.i.valid & self.i.ready))]
        m.d.comb += [Assert(flying >= given), Assert(flying <= 5)]
        with m.If(~self.busy):
            m.d.comb += [Assert(writes == 0), Assert(beats == 0), Assert(flying == 0)]
        return m


def joined(holds, free, fault=None, frames=None):
    """With places that the Writer can give: only a valid one is more than one write, twice only in a split."""
    dut = Joined(ONE)
    dut.fault = fault

    def what(m, dut):
        wish = stream.Signature(dut.places.payload.shape()).create()
        free.drive(m, wish)
        m.d.comb += [
            dut.places.payload.eq(wish.payload), dut.places.valid.eq(wish.valid), wish.ready.eq(dut.places.ready),
            dut.places.payload.fold.eq(wish.payload.fold & wish.payload.valid & ~wish.payload.split),
            dut.places.payload.twice.eq(wish.payload.twice & wish.payload.valid & wish.payload.split)]
    return holds(dut, what, frames)


def test_every_place_becomes_its_writes(holds, free):
    assert joined(holds, free, frames=13)


@pytest.mark.parametrize("fault", ["not busy", "pops twice", "drops"])
def test_a_lost_write_is_refuted(holds, free, fault):
    assert not joined(holds, free, fault, 13)


class Completed(Completion):
    """Asserts that the queue of ends has room for each."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += Assert(~m.submodules.ends.w_en | m.submodules.ends.w_rdy)
        return m


def some_writes(m, free, dut, fault=None):
    """Writes are issued and become visible when they like, three at most on their way. The final place of a WRITE is
    taken where there is ``room``, one at a time, and ends it a cycle later or more. Returns those on their way."""
    slot, flying, end = Signal(), Signal(2), free.signal()
    m.d.comb += [dut.issued.eq(free.signal() & (flying < 3)), dut.written.eq(free.signal() & (flying != 0)),
                 dut.ended.eq(slot & end)]
    m.d.sync += [slot.eq((slot & ~end) | (free.signal() & (dut.room | (fault == "no room")))),
                 flying.eq(flying + dut.issued - dut.written)]
    return flying


def ends_fit(holds, free, fault=None):
    return holds(Completed(3, 2), lambda m, dut: some_writes(m, free, dut, fault) is None)


def test_every_end_has_its_place(holds, free):
    assert ends_fit(holds, free)


def test_an_end_too_many_is_refuted(holds, free):
    assert not ends_fit(holds, free, "no room")


class Hasty(Completion):
    """A write is visible to it when it is issued."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = Completion(self._bits, len(self.progress))
        m.d.comb += [inner.issued.eq(self.issued), inner.ended.eq(self.ended), inner.written.eq(self.issued),
                     self.room.eq(inner.room), self.completed.eq(inner.completed), self.progress.eq(inner.progress)]
        return m


def completes(holds, free, kind):
    """One end is marked: it is reported, in its turn, when its writes are visible, and not before."""
    def what(m, dut):
        flying, mark = some_writes(m, free, dut), free.signal()
        opened, marked, left, ahead = Signal(5), Signal(), Signal(2), Signal(5)
        m.d.sync += opened.eq(opened + dut.ended - dut.completed)
        m.d.comb += Assert((opened != 0) | ~dut.completed)
        with m.If(mark & dut.ended & ~marked):
            m.d.sync += [marked.eq(1), left.eq(flying + dut.issued - dut.written), ahead.eq(opened - dut.completed)]
        with m.Elif(marked):
            m.d.sync += [left.eq(left - (dut.written & (left != 0))), ahead.eq(ahead - dut.completed)]
            with m.If(dut.completed & (ahead == 0)):
                m.d.comb += Assert(left == 0)
                m.d.sync += marked.eq(0)
    return holds(kind(3, 2), what, 18)


def test_a_write_is_complete_when_all_is_visible(holds, free):
    assert completes(holds, free, Completion)


def test_a_write_complete_too_early_is_refuted(holds, free):
    assert not completes(holds, free, Hasty)
