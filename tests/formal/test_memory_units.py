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


def holds(prove, free, dut, what):
    return prove(Bench(free.inputs_of(dut), what), free.ports, seconds=120)


def patient(m, free, port):
    """Beats of a memory: they come when they like, and stay until they are taken."""
    offer, fresh = Signal(name="offer"), Signal.like(Value.cast(port.payload), name="fresh")
    free.ports += [offer, fresh]
    held, kept = Signal(), Signal.like(fresh)
    m.d.comb += [port.valid.eq(held | offer), Value.cast(port.payload).eq(Mux(held, kept, fresh))]
    m.d.sync += [held.eq(port.valid & ~port.ready), kept.eq(port.payload)]


# --- streams hold ---------------------------------------------------------------------------------------------


class Overrun(wiring.Component):
    """A SkidBuffer without its second register: it takes everything and forgets what waits."""

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)), "moving": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.i.ready.eq(1), self.moving.eq(1)]
        m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        return m


def reader(config):
    return Reader(config, 4)


# The part, its stream, and the file whose skid buffer ends it.
STREAMS = {"sequence": (BeatSequence, "o", "sequence"), "requests": (reader, "read", "sequence"),
           "reader": (reader, "o", "reader"), "gather": (Gather, "o", "gather"), "scatter": (Scatter, "o", "gather"),
           "emit": (Emit, "memory", "emit"), "writer": (Writer, "memory", "emit")}


def stream_holds(prove, free, steady, part, config):
    make, port, _ = STREAMS[part]
    free.outputs_of(TABLE)

    def what(m, dut):
        if make is reader:
            patient(m, free, dut.beats)
        steady(m, getattr(dut, port))
    return holds(prove, free, make(config), what)


@pytest.mark.parametrize("config", [ONE, TWO, DEEP], ids=["one", "two", "deep"])
@pytest.mark.parametrize("part", STREAMS)
def test_stream_holds(prove, free, steady, part, config):
    assert stream_holds(prove, free, steady, part, config)


@pytest.mark.parametrize("part", STREAMS)
def test_stream_without_a_buffer_is_refuted(prove, free, steady, monkeypatch, part):
    monkeypatch.setattr(f"wingbeat.hw.{STREAMS[part][2]}.SkidBuffer", Overrun)
    assert not stream_holds(prove, free, steady, part, TWO)


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
        came, valid = Signal(), Signal()
        m.d.sync += [came.eq(moved), valid.eq(position.valid)]
        token = data.View(data.StructLayout({"valid": 1}), tokens.w_data[:1])
        m.d.comb += [
            Assert(asked == (moved & position.valid)), Assert(tokens.w_en == came), Assert(~tokens.w_en | tokens.w_rdy),
            Assert(~came | (token.valid == valid)), Assert((skid.i.valid & skid.i.ready) == (tokens.r_en & tokens.r_rdy)),
            Assert(given == (skid.o.valid & skid.o.ready)), Assert(answered == (given & go.valid))]
        with m.If(self.idle):
            m.d.comb += [Assert(tokens.level == 0), Assert(~tokens.w_en), Assert(~skid.o.valid), Assert(~self.read.valid)]
        return m


def accounted(prove, free, fault=None):
    free.outputs_of(TABLE)
    dut = Accounted(ONE, 4)
    dut.fault = fault
    return holds(prove, free, dut, lambda m, dut: patient(m, free, dut.beats))


def test_reader_loses_nothing(prove, free):
    assert accounted(prove, free)


@pytest.mark.parametrize("fault", ["no space", "beat dropped", "idle early"])
def test_reader_that_loses_is_refuted(prove, free, fault):
    assert not accounted(prove, free, fault)


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


def counted(m, dut, config, fault):
    """Beats that are inside, halves counted as one where half of them leave: never less than none, never more than
    there is room for. So in all time no more than ``room`` are lost, and none is invented."""
    half = dut.i.payload.mode >= MemoryMode.REAL
    room = 4 * config.engines_per_beat + 3
    inside = Signal(6)
    entering, leaving = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
    gone = Mux(dut.o.payload.mode >= MemoryMode.REAL, 2, 1) if "mode" in dut.o.payload.shape().members else Const(1)
    if fault == "repeated":
        leaving = dut.o.valid
    if fault == "lost":
        leaving &= ~dut.i.payload.last
    del half
    m.d.comb += [Assert(~leaving | (inside >= gone)), Assert(inside <= room)]
    m.d.sync += inside.eq(inside + entering - Mux(leaving, gone, 0))


def beats_counted(prove, free, kind, config, fault=None):
    modes = {Gather: MemoryMode.PAIRS + 1, Scatter: MemoryMode.SPLIT + 1}[kind]

    def what(m, dut):
        whole_tiles(m, free, config, dut.i, modes)
        counted(m, dut, config, fault)
    return holds(prove, free, kind(config), what)


@pytest.mark.parametrize("config", [ONE, TWO], ids=["one", "two"])
@pytest.mark.parametrize("kind", [Gather, Scatter])
def test_no_beat_is_lost(prove, free, kind, config):
    assert beats_counted(prove, free, kind, config)


@pytest.mark.parametrize("fault", ["repeated", "lost"])
@pytest.mark.parametrize("kind", [Gather, Scatter])
def test_a_lost_beat_is_refuted(prove, free, kind, fault):
    assert not beats_counted(prove, free, kind, TWO, fault)
