"""Proofs of the vector unit: streams keep valid and payload under stall, no word is lost, doubled or out of its turn,
and beats of memory reach who has asked for them.

The arithmetic may be anything: lanes, sums and tables are free here, and so are all data and the reset. Sizes are the
smallest. Every proof has a planted fault that refutes it.
"""

from amaranth.hdl import Array, Assert, Const, Module, Mux, Signal, Value
from amaranth.lib import stream
import pytest

from wingbeat.hw.argmax import Argmax
from wingbeat.hw.config import ArrayConfig, Pipeline
from wingbeat.hw.normalise import Normalise
from wingbeat.hw.readarbiter import BeatQueue, ReadArbiter
from wingbeat.hw.reader import TokenQueue
from wingbeat.hw.rescale import Rescale
from wingbeat.hw.residual import Residual

ONE = ArrayConfig(engines=1, layers=1, width=8, element_width=8, coefficient_width=8, half_words=4, coefficient_words=4,
                  program_words=32, stream_words=2, memory_bits=3, descriptors=1, in_flight=4, pipeline=Pipeline.SHORT)
DEEP = ONE.model_copy(update={"pipeline": Pipeline.DEEP})
FRAMES = 24
ARITHMETIC = ("wingbeat.hw.rescale.ScaleLane", "wingbeat.hw.rescale.ActivationLane", "wingbeat.hw.rescale.Ram",
              "wingbeat.hw.normalise.NormaliseLane", "wingbeat.hw.normalise.RowSums",
              "wingbeat.hw.normalise.RowStatistics", "wingbeat.hw.normalise.Ram", "wingbeat.hw.residual.SelectAdder")


@pytest.fixture
def any_values(free):
    free.outputs_of(*ARITHMETIC)
    return free


def queue(config):
    return BeatQueue(config, 2, 4)


def arbiter(config):
    return ReadArbiter(config, 4)


def residual(config):
    return Residual(config, 8)


def rescale(lanes):
    return lambda config: Rescale(config, lanes, 1)


def normalise(lanes):
    return lambda config: Normalise(config, lanes, 2, 1)


# --- streams hold ---------------------------------------------------------------------------------------------

# The part, its streams that go out, those that come in, and the file whose buffer is broken to refute it.
STREAMS = {
    "queue": (queue, ["o"], [], None), "arbiter": (arbiter, ["read", "reader_beats", "residual_beats"], ["beats"],
                                                   "readarbiter"),
    "residual": (residual, ["o", "read"], ["beats"], "residual"), "argmax": (Argmax, ["o"], [], "argmax"),
    "rescale": (rescale(4), ["o"], [], "rescale"), "rescale in steps": (rescale(2), ["o"], [], "rescale"),
    "normalise": (normalise(4), ["o"], [], "normalise"), "normalise in steps": (normalise(2), ["o"], [], "normalise")}


def streams_hold(holds, free, steady, part, config, frames=None):
    make, going, coming, _ = STREAMS[part]

    def what(m, dut):
        for port in coming:
            free.drive(m, getattr(dut, port))
        for port in going:
            steady(m, getattr(dut, port))
    return holds(make(config), what, frames)


@pytest.mark.parametrize("config", [ONE, DEEP], ids=["short", "deep"])
@pytest.mark.parametrize("part", STREAMS)
def test_streams_hold(holds, any_values, steady, part, config):
    assert streams_hold(holds, any_values, steady, part, config)


class Leaky(BeatQueue):
    """It forgets the word that waits."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.o.valid.eq(m.submodules.bits0.r_valid)
        return m


@pytest.mark.parametrize("part", STREAMS)
def test_streams_without_a_buffer_are_refuted(holds, any_values, steady, break_buffer, monkeypatch, part):
    make, going, coming, file = STREAMS[part]
    if file:
        break_buffer(file)
    else:
        monkeypatch.setitem(STREAMS, part, (lambda config: Leaky(config, 2, 4), going, coming, file))
    assert not streams_hold(holds, any_values, steady, part, ONE, 40)


# --- words come out in their turn -----------------------------------------------------------------------------


def in_turn(m, free, entering, before, leaving, after, room, idle):
    """One word, any, is marked as it enters: it leaves behind those before it, as it was. No more than ``room`` words
    are inside, none when ``idle``."""
    counts = range(2 * room + 1)
    inside, ahead, waiting, kept, mark = Signal(counts), Signal(counts), Signal(), Signal.like(before), free.signal()
    m.d.comb += [Assert(inside >= leaving), Assert(inside <= room)]
    m.d.sync += inside.eq(inside + entering - leaving)
    with m.If(idle):
        m.d.comb += Assert(inside == 0)
    with m.If(~waiting & mark & entering):
        m.d.sync += [waiting.eq(1), ahead.eq(inside - leaving), kept.eq(before)]
    with m.If(waiting & leaving):
        m.d.sync += ahead.eq(ahead - 1)
        with m.If(ahead == 0):
            m.d.sync += waiting.eq(0)
            m.d.comb += Assert(kept == after)


def moves(port):
    return port.valid & port.ready


def queue_in_turn(holds, free, kind, config, frames=None):
    """``w_en`` where in the cycle before there was space."""
    def what(m, dut):
        may = Signal(init=1)
        m.d.sync += may.eq(dut.space)
        m.d.comb += dut.w_en.eq(free.signal() & may)
        in_turn(m, free, dut.w_en, dut.w_data, moves(dut.o), dut.o.payload, 4 + config.ram_latency + 1, dut.empty)
    return holds(kind(config, 1, 4), what, frames)


@pytest.mark.parametrize("config,frames", [(ONE, None), (DEEP, 14)], ids=["short", "deep"])
def test_queue_keeps_order(holds, free, config, frames):
    assert queue_in_turn(holds, free, BeatQueue, config, frames)


class Late(BeatQueue):
    """It says that there is space until there is none."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.sync += self.space.eq(m.submodules.bits0.level < 4)
        return m


@pytest.mark.parametrize("kind", [Leaky, Late])
def test_a_queue_that_loses_words_is_refuted(holds, free, kind):
    assert not queue_in_turn(holds, free, kind, ONE, FRAMES)


class SmallRescale(Rescale):
    """It has places for four writes. With lanes of one cycle: a write leaves soon, and four fill it."""

    places = 4


@pytest.fixture
def fast_lanes(any_values, monkeypatch):
    for kind in ("ScaleLane", "ActivationLane"):
        monkeypatch.setattr(f"wingbeat.hw.rescale.{kind}.latency", 1)
    return any_values


def writes_in_turn(holds, free, make, frames):
    """Writes of a filter, by a bit of their address: all bits go the same way."""
    def what(m, dut):
        free.drive(m, dut.i)
        out = dut.o.payload.write if "write" in dut.o.payload.shape().members else dut.o.payload
        in_turn(m, free, moves(dut.i), dut.i.payload.write.address[:1], moves(dut.o), out.address[:1], 15, ~dut.busy)
    return holds(make(ONE), what, frames)


FILTERS = {"argmax": (Argmax, "argmax", 12), "rescale": (lambda config: SmallRescale(config, 4, 1), "rescale", 14),
           "rescale in steps": (lambda config: SmallRescale(config, 2, 1), "rescale", 15)}


@pytest.mark.parametrize("part", FILTERS)
def test_writes_keep_their_order(holds, fast_lanes, part):
    make, _, frames = FILTERS[part]
    assert writes_in_turn(holds, fast_lanes, make, frames)


@pytest.mark.parametrize("repeats", [False, True], ids=["loses", "invents"])
@pytest.mark.parametrize("part", FILTERS)
def test_writes_out_of_order_are_refuted(holds, fast_lanes, break_buffer, part, repeats):
    make, file, frames = FILTERS[part]
    break_buffer(file, repeats)
    assert not writes_in_turn(holds, fast_lanes, make, frames)
