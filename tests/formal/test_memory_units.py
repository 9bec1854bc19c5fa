"""Proofs of the memory units: streams keep valid and payload under stall, and no beat is lost or invented.

Whatever stands in a table is a free input in every cycle, so the proofs hold for every descriptor; so are commands,
beats and the reset. Widths are the smallest; J is 1 or 2 engines per beat. Every proof has a planted fault that
refutes it.
"""

from amaranth.hdl import Array, Assert, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
import pytest

from wingbeat.hw.config import ArrayConfig, Pipeline
from wingbeat.hw.emit import Emit
from wingbeat.hw.gather import Gather
from wingbeat.hw.program import MemoryMode
from wingbeat.hw.reader import Reader
from wingbeat.hw.scatter import Scatter
from wingbeat.hw.sequence import BeatSequence
from wingbeat.hw.writer import Completion, Writer

ONE = ArrayConfig(engines=1, layers=1, width=8, element_width=8, coefficient_width=8, half_words=4, coefficient_words=4,
                  program_words=32, stream_words=2, memory_bits=3, descriptors=1, pipeline=Pipeline.SHORT)
TWO = ONE.model_copy(update={"engines": 2, "stream_words": 4})
DEEP = ONE.model_copy(update={"pipeline": Pipeline.DEEP})
FRAMES = 32  # longer than the way of a first command through any unit
TABLE = "wingbeat.hw.sequence.Ram"


class Bench(wiring.Component):
    """``dut`` with free inputs but for what ``what(m, dut)`` drives, which also asserts."""

    def __init__(self, dut, what):
        self.dut, self.what = dut, what
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = self.dut
        self.what(m, self.dut)
        return m


def holds(prove, free, dut, what, frames=None):
    return prove(Bench(free.inputs_of(dut), what), free.ports, seconds=120, frames=frames)


def patient(m, free, port):
    """Beats of a memory: they come when they like, and stay until they are taken."""
    offer, fresh = Signal(name="offer"), Signal.like(Value.cast(port.payload), name="fresh")
    free.ports += [offer, fresh]
    held, kept = Signal(), Signal.like(fresh)
    m.d.comb += [port.valid.eq(held | offer), Value.cast(port.payload).eq(Mux(held, kept, fresh))]
    m.d.sync += [held.eq(port.valid & ~port.ready), kept.eq(port.payload)]


# --- streams hold ---------------------------------------------------------------------------------------------


class Forgetful(wiring.Component):
    """A SkidBuffer that takes everything and forgets what waits."""

    repeats = False

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)), "moving": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.i.ready.eq(1), self.moving.eq(1)]
        m.d.sync += [self.o.valid.eq(self.i.valid | (self.o.valid & self.repeats)), self.o.payload.eq(self.i.payload)]
        return m


class Repetitive(Forgetful):
    """It gives its first word again and again."""

    repeats = True


def reader(config):
    return Reader(config, 4)


# The part, its stream, and the file whose skid buffer ends it.
STREAMS = {"sequence": (BeatSequence, "o", "sequence"), "requests": (reader, "read", "sequence"),
           "reader": (reader, "o", "reader"), "gather": (Gather, "o", "gather"), "scatter": (Scatter, "o", "gather"),
           "emit": (Emit, "memory", "emit"), "writer": (Writer, "memory", "emit")}


def stream_holds(prove, free, steady, part, config, frames=None):
    make, port, _ = STREAMS[part]
    free.outputs_of(TABLE)

    def what(m, dut):
        if make is reader:
            patient(m, free, dut.beats)
        steady(m, getattr(dut, port))
    return holds(prove, free, make(config), what, frames)


@pytest.mark.parametrize("config", [ONE, TWO, DEEP], ids=["one", "two", "deep"])
@pytest.mark.parametrize("part", STREAMS)
def test_stream_holds(prove, free, steady, part, config):
    assert stream_holds(prove, free, steady, part, config)


@pytest.mark.parametrize("part", STREAMS)
def test_stream_without_a_buffer_is_refuted(prove, free, steady, monkeypatch, part):
    monkeypatch.setattr(f"wingbeat.hw.{STREAMS[part][2]}.SkidBuffer", Forgetful)
    assert not stream_holds(prove, free, steady, part, ONE, FRAMES)


# --- the reader: every request is answered by one beat, every position of a block by one beat on ``o`` ----------------


class Accounted(Reader):
    """Every position that moves puts one token into the queue, with a request where it is valid; every token that
    leaves is a beat on ``o``, with one from memory where it is valid. So requests and beats differ by the valid tokens
    inside, and ``idle`` says that there are none."""

    fault = None

    def elaborate(self, platform):
        m = super().elaborate(platform)
        sequence, tokens, skid = m.submodules.sequence, m.submodules.tokens, m.submodules.skid
        position, go = sequence.o.payload, skid.o.payload
        if self.fault == "no space":
            m.d.comb += sequence.o.ready.eq(~position.valid | self.read.ready)
        elif self.fault == "beat dropped":
            m.d.comb += self.beats.ready.eq(1)
        elif self.fault == "idle early":
            m.d.comb += self.idle.eq(sequence.start.ready)
        moved, asked = sequence.o.valid & sequence.o.ready, self.read.valid & self.read.ready
        given, answered = self.o.valid & self.o.ready, self.beats.valid & self.beats.ready
        came, valid, inside = Signal(), Signal(), Signal(4)
        m.d.sync += [came.eq(moved), valid.eq(position.valid),
                     inside.eq(inside + tokens.w_en - (tokens.r_en & tokens.r_rdy))]
        token = data.View(data.StructLayout({"valid": 1}), tokens.w_data[:1])
        m.d.comb += [
            Assert(asked == (moved & position.valid)), Assert(tokens.w_en == came), Assert(~tokens.w_en | tokens.w_rdy),
            Assert(~came | (token.valid == valid)), Assert((skid.i.valid & skid.i.ready) == (tokens.r_en & tokens.r_rdy)),
            Assert(given == (skid.o.valid & skid.o.ready)), Assert(answered == (given & go.valid))]
        with m.If(self.idle):
            m.d.comb += [Assert(inside == 0), Assert(~tokens.w_en), Assert(~skid.o.valid), Assert(~self.read.valid)]
        return m


def accounted(prove, free, fault=None, frames=None):
    free.outputs_of(TABLE)
    dut = Accounted(ONE, 4)
    dut.fault = fault
    return holds(prove, free, dut, lambda m, dut: patient(m, free, dut.beats), frames)


def test_reader_loses_nothing(prove, free):
    assert accounted(prove, free)


@pytest.mark.parametrize("fault", ["no space", "beat dropped", "idle early"])
def test_reader_that_loses_is_refuted(prove, free, fault):
    assert not accounted(prove, free, fault, FRAMES)


# --- gather and scatter: beats are counted ------------------------------------------------------------------------


def whole_tiles(m, free, config, port, modes):
    """Blocks of whole tiles, each of one mode. Returns beats of a tile."""
    change, last, mode = Signal(name="change"), Signal(name="end"), Signal(len(port.payload.mode), name="wanted")
    free.ports += [change, last, mode]
    j, place, inside, now = config.engines_per_beat, Signal(3), Signal(), Signal.like(port.payload.mode)
    tiles = [{MemoryMode.COLUMNS: 1, MemoryMode.ROWS: j, MemoryMode.SPLIT: 2}.get(mode, 2 * j) for mode in MemoryMode]
    tile = Signal(3)
    m.d.comb += [port.payload.mode.eq(Mux(inside, now, Mux(mode < modes, mode, 0))),
                 tile.eq(Array(tiles[:modes])[port.payload.mode]), port.payload.last.eq(last & (place == tile - 1))]
    with m.If(port.valid & port.ready):
        m.d.sync += [now.eq(port.payload.mode), inside.eq(~port.payload.last),
                     place.eq(Mux(place == tile - 1, 0, place + 1))]


def counted(m, dut, config):
    """Beats inside, where one that leaves may stand for two: never less than none, never more than there is room for. So
    in all time no more than ``room`` are lost, and none is invented."""
    room, inside = 4 * config.engines_per_beat + 3, Signal(6)
    entering, leaving = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
    two = dut.o.payload.mode >= MemoryMode.REAL if "mode" in dut.o.payload.shape().members else Const(0)
    gone = Mux(leaving, 1 + two, 0)
    m.d.comb += [Assert(inside >= gone), Assert(inside <= room)]
    m.d.sync += inside.eq(inside + entering - gone)


def beats_counted(prove, free, kind, config, frames=None):
    modes = {Gather: MemoryMode.PAIRS + 1, Scatter: MemoryMode.SPLIT + 1}[kind]

    def what(m, dut):
        whole_tiles(m, free, config, dut.i, modes)
        counted(m, dut, config)
    return holds(prove, free, kind(config), what, frames)


@pytest.mark.parametrize("kind,config,frames", [(Gather, ONE, None), (Gather, TWO, None), (Scatter, ONE, None),
                                                (Scatter, TWO, FRAMES)], ids=["gather1", "gather2", "scatter1", "scatter2"])
def test_no_beat_is_lost_or_invented(prove, free, kind, config, frames):
    assert beats_counted(prove, free, kind, config, frames)


@pytest.mark.parametrize("buffer", [Forgetful, Repetitive])
@pytest.mark.parametrize("kind", [Gather, Scatter])
def test_a_buffer_that_loses_or_invents_is_refuted(prove, free, monkeypatch, kind, buffer):
    monkeypatch.setattr("wingbeat.hw.gather.SkidBuffer", buffer)
    assert not beats_counted(prove, free, kind, ONE, FRAMES)


# --- the writer: every place becomes its writes, and a WRITE is complete when all of them are visible ------------------


class Joined(Emit):
    """Asserts that a place that has been taken gives one, two or three writes and no more, each with the address it
    has, and that every write on its way reaches ``memory``."""

    fault = None

    def elaborate(self, platform):
        m = super().elaborate(platform)
        out, places = m.submodules.out, self.places
        if self.fault == "not busy":
            m.d.comb += self.busy.eq(self.memory.valid)
        elif self.fault == "pops twice":
            m.d.comb += self.i.ready.eq(out.i.ready & self.places.valid)
        elif self.fault == "drops":
            m.d.comb += out.i.valid.eq(0)
        wanted = Mux(places.payload.valid, 1 + Mux(places.payload.fold, 2, Mux(places.payload.twice, 1, 0)), 0)
        owed, flying = Signal(3), Signal(4)
        done, given = places.valid & places.ready, self.memory.valid & self.memory.ready
        # Writes of places that are gone, less those issued: one may have gone before, the rest is issued before.
        m.d.sync += [owed.eq(owed + Mux(done, wanted, 0) - self.issued), flying.eq(flying + self.issued - given)]
        pops, splits = self.i.valid & self.i.ready, Signal(2)
        with m.If(~self.busy):
            m.d.comb += [Assert(owed == 0), Assert(flying == 0)]
        m.d.comb += [Assert(flying >= given), Assert(flying <= 5)]
        beats = done & (~places.payload.split | places.payload.high)
        m.d.sync += splits.eq(splits + beats - pops)
        m.d.comb += [Assert((splits <= 1) | (splits == 3))]
        return m


def joined(prove, free, fault=None, frames=None):
    dut = Joined(ONE)
    dut.fault = fault

    def what(m, dut):
        """Places that the Writer can give: fold and twice only where valid, twice only in a split."""
        fields = dut.places.payload.shape().members
        free_place = Signal(dut.places.payload.shape(), name="free_place")
        offer, held = Signal(name="offer"), Signal()
        kept = Signal.like(free_place)
        free.ports += [Value.cast(free_place), offer]
        now = dut.places.payload
        m.d.comb += [dut.places.valid.eq(held | offer)]
        for name in fields:
            m.d.comb += now[name].eq(Mux(held, kept[name], free_place[name]))
        chosen = Mux(held, kept.as_value(), free_place.as_value())
        place = data.View(free_place.shape(), chosen)
        m.d.comb += [now.fold.eq(place.fold & place.valid & ~place.split), now.twice.eq(place.twice & place.valid & place.split)]
        m.d.sync += [held.eq(dut.places.valid & ~dut.places.ready), kept.eq(now)]
    return holds(prove, free, dut, what, frames)


def test_every_place_becomes_its_writes(prove, free):
    assert joined(prove, free)


@pytest.mark.parametrize("fault", ["not busy", "pops twice", "drops"])
def test_a_lost_write_is_refuted(prove, free, fault):
    assert not joined(prove, free, fault, FRAMES)


class Completed(Completion):
    """Asserts that the queue of ends has room for each."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += Assert(~m.submodules.ends.w_en | m.submodules.ends.w_rdy)
        return m


def completes(prove, free, fault=None, frames=None):
    def what(m, dut):
        """Writes are issued and become visible when they like, six at most on their way. The final place of a WRITE is
        taken where there is ``room``, one at a time, and ends it a cycle later or more. One end is marked: it is not
        reported before its writes are visible."""
        issue, show, take, end, mark = (Signal(name=name) for name in ("issue", "show", "take", "end", "mark"))
        free.ports += [issue, show, take, end, mark]
        slot, flying, open_ends = Signal(), Signal(3), Signal(5)
        marked, left, ahead = Signal(), Signal(3), Signal(5)
        early = dut.completed if fault != "early" else dut.room & marked
        m.d.comb += [
            dut.issued.eq(issue & (flying < 6)), dut.written.eq(show & (flying != 0)), dut.ended.eq(slot & end)]
        room = dut.room if fault != "no room" else 1
        m.d.sync += [
            slot.eq((slot & ~end) | (take & room)), flying.eq(flying + dut.issued - dut.written),
            open_ends.eq(open_ends + dut.ended - dut.completed)]
        m.d.comb += Assert((open_ends != 0) | ~dut.completed)
        with m.If(mark & dut.ended & ~marked):
            m.d.sync += [marked.eq(1), left.eq(flying + dut.issued - dut.written), ahead.eq(open_ends - dut.completed)]
        with m.Elif(marked):
            m.d.sync += [left.eq(left - (dut.written & (left != 0))), ahead.eq(ahead - dut.completed)]
            with m.If(early & (ahead == 0)):
                m.d.comb += Assert(left == 0)
                m.d.sync += marked.eq(0)
    return holds(prove, free, Completed(4, 3), what, frames)


def test_a_write_is_complete_when_all_is_visible(prove, free):
    assert completes(prove, free, frames=FRAMES)


@pytest.mark.parametrize("fault", ["early", "no room"])
def test_a_write_complete_too_early_is_refuted(prove, free, fault):
    assert not completes(prove, free, fault, FRAMES)
