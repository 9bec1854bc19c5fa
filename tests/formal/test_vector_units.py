"""Proofs of the vector unit: streams keep valid and payload under stall, no word is lost, doubled or out of its turn,
and beats of memory reach who has asked for them.

The arithmetic may be anything: lanes, sums and tables are free here, and so are all data and the reset. Sizes are the
smallest. Every proof has a planted fault that refutes it.
"""

from amaranth.hdl import Assert, Cat, Const, Mux, Signal
from amaranth.lib import stream
import pytest

from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.memory.read_arbiter import ReadArbiter
from wingbeat.hw.primitives.queue import BeatQueue, TokenQueue
from wingbeat.hw.vector.argmax import Argmax
from wingbeat.hw.vector.normalise import Normalise
from wingbeat.hw.vector.parameters import LaneTiming, NormaliseTiming
from wingbeat.hw.vector.rescale import Rescale
from wingbeat.hw.vector.residual import ResidualAdder

ONE = CoreConfig.of(engines=1, layers=1, width=8, element_width=8, coefficient_width=8, half_words=4,
                    coefficient_words=4, program_words=32, stream_words=2, memory_bits=3, descriptors=1, in_flight=4,
                    pipeline=Pipeline.SHORT)
DEEP = ONE.changed(pipeline=Pipeline.DEEP)
FRAMES = 24
ARITHMETIC = ("wingbeat.hw.vector.rescale.ScaleLane", "wingbeat.hw.vector.rescale.ActivationLane",
              "wingbeat.hw.vector.rescale.Ram",
              "wingbeat.hw.vector.normalise.NormaliseLane", "wingbeat.hw.vector.normalise.RowSums",
              "wingbeat.hw.vector.normalise.StatisticsUnit", "wingbeat.hw.vector.normalise.Ram",
              "wingbeat.hw.vector.residual.SelectAdder")


@pytest.fixture
def any_values(free):
    free.outputs_of(*ARITHMETIC)
    return free


def queue(config):
    return BeatQueue(config.target, config.pipeline, 2, 4)


def arbiter(config):
    return ReadArbiter(config, 4)


def residual(config):
    return ResidualAdder(config, 8)


def rescale(lanes):
    return lambda config: Rescale(config, lanes, 1)


def normalise(lanes):
    return lambda config: Normalise(config, lanes, 2, 2, 1)


# --- streams hold ---------------------------------------------------------------------------------------------

# The part, its streams that go out, those that come in, and the file whose buffer is broken to refute it.
STREAMS = {
    "queue": (queue, ["o"], [], None), "arbiter": (arbiter, ["read", "reader_beats", "residual_beats"], ["beats"],
                                                   "memory.read_arbiter"),
    "residual": (residual, ["o", "read"], ["beats"], "vector.residual"),
    "argmax": (Argmax, ["o"], [], "vector.argmax"),
    "rescale": (rescale(4), ["o"], [], "vector.rescale"),
    "rescale in steps": (rescale(2), ["o"], [], "vector.rescale"),
    "normalise": (normalise(4), ["o"], [], "vector.normalise"),
    "normalise in steps": (normalise(2), ["o"], [], "vector.normalise")}


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
        def leaky(config):
            return Leaky(config.target, config.pipeline, 2, 4)
        monkeypatch.setitem(STREAMS, part, (leaky, going, coming, file))
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
    return holds(kind(config.target, config.pipeline, 1, 4), what, frames)


@pytest.mark.parametrize("config,frames", [(ONE, None), (DEEP, 13)], ids=["short", "deep"])
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
    """As lanes may give any values they may as well give them at once."""
    for name in ("scale_latency", "activation_latency"):
        monkeypatch.setattr(LaneTiming, name, 1)
    monkeypatch.setattr(NormaliseTiming, "lane_latency", 1)
    monkeypatch.setattr(NormaliseTiming, "least_depth", 4)
    return any_values


def writes_in_turn(holds, free, make, frames):
    """Writes of a filter, by a bit of their address: all bits go the same way."""
    def what(m, dut):
        free.drive(m, dut.i)
        out = dut.o.payload.write if "write" in dut.o.payload.shape().members else dut.o.payload
        in_turn(m, free, moves(dut.i), dut.i.payload.write.address[:1], moves(dut.o), out.address[:1], 15, ~dut.busy)
    return holds(make(ONE), what, frames)


FILTERS = {"argmax": (Argmax, "vector.argmax", 14),
           "rescale": (lambda config: SmallRescale(config, 4, 1), "vector.rescale", 16),
           "rescale in steps": (lambda config: SmallRescale(config, 2, 1), "vector.rescale", 13)}


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


def beats_in_turn(holds, free, kind, lanes, frames):
    """Beats that pass, with one bit of them, and beats that are normalised."""
    def what(m, dut):
        wish, o, passes = stream.Signature(dut.i.payload.shape()).create(), dut.o.payload, dut.i.payload.sideband
        free.drive(m, wish)
        m.d.comb += [dut.i.payload.eq(wish.payload), dut.i.valid.eq(wish.valid), wish.ready.eq(dut.i.ready),
                     passes.eq((wish.payload.set == 0) & ~wish.payload.sums)]
        words = [Signal(2, name=name) for name in ("entering", "leaving")]
        m.d.comb += [words[0].eq(Cat(passes, passes & dut.i.payload.beat.elements[0][0])),
                     words[1].eq(Cat(o.sideband, o.sideband & o.beat.elements[0][0]))]
        in_turn(m, free, moves(dut.i) & ~dut.i.payload.sums, words[0], moves(dut.o), words[1], 24, ~dut.busy)
    return holds(kind(ONE, lanes, 2, 2, 1), what, frames)


class Impatient(Normalise):
    """A beat that passes does not wait for those that are normalised."""

    def _results(self, *arguments):
        return super()._results(*arguments)[0], Const(1)


@pytest.mark.parametrize("lanes", [4, 2])
def test_normalised_beats_keep_their_order(holds, fast_lanes, lanes):
    assert beats_in_turn(holds, fast_lanes, Normalise, lanes, 11)


@pytest.mark.parametrize("fault", ["impatient", "loses", "invents"])
def test_normalised_beats_out_of_order_are_refuted(holds, fast_lanes, break_buffer, fault):
    if fault != "impatient":
        break_buffer("vector.normalise", fault == "invents")
    assert not beats_in_turn(holds, fast_lanes, Impatient if fault == "impatient" else Normalise, 2, 12)


# --- what was asked of memory is what arrives -----------------------------------------------------------------


def echo(m, free, requests, beats, places=2):
    """A memory that answers every request once, in order and when it likes, with the beat number in every element; so
    many requests are inside at most. Returns how many."""
    waiting = [Signal.like(requests.payload, name=f"asked{n}") for n in range(places)]
    inside, held, taken, put = Signal(range(places + 1)), Signal(), moves(beats), moves(requests)
    m.d.comb += [requests.ready.eq(free.signal() & (inside < places)),
                 beats.valid.eq(held | (free.signal() & (inside != 0)))]
    m.d.comb += [element.eq(waiting[0]) for element in beats.payload.elements]
    m.d.sync += [held.eq(beats.valid & ~beats.ready), inside.eq(inside + put - taken)]
    for n, here in enumerate(waiting):
        behind = waiting[n + 1] if n + 1 < places else Const(0)
        m.d.sync += here.eq(Mux(put & (inside - taken == n), requests.payload, Mux(taken, behind, here)))
    return inside


_OFFSET = 3


def sums_are_right(holds, free, kind, frames):
    """Zeros to which a memory is added that holds the number of each beat: a write has become the number of the beat
    that stands _OFFSET behind its address, or has stayed what it was; all of this in the order of the writes."""
    def what(m, dut):
        wish, to = stream.Signature(dut.i.payload.shape()).create(), dut.i.payload
        free.drive(m, wish)
        inside, strobe = echo(m, free, dut.read, dut.beats), wish.payload.write.strobe
        count = len(strobe)
        m.d.comb += [
            dut.i.valid.eq(wish.valid), wish.ready.eq(dut.i.ready), to.first.eq(wish.payload.first),
            to.residual.eq(wish.payload.residual), to.set.eq(wish.payload.residual), to.offset.eq(_OFFSET),
            to.write.address.eq(wish.payload.write.address),
            to.write.strobe.eq(Mux(strobe[0], Mux(strobe[1], ~0, 1), (1 << count) - 2))]
        out = dut.o.payload
        added = Mux(out.set[0], (out.write.address + _OFFSET)[:len(out.write.address)], 0)
        with m.If(dut.o.valid):
            m.d.comb += [Assert(~out.write.strobe[n] | (element == added))
                         for n, element in enumerate(out.write.beat.elements)]
        with m.If(~dut.busy):
            m.d.comb += Assert(inside == 0)
        in_turn(m, free, moves(dut.i), to.write.address[:1], moves(dut.o), out.write.address[:1], 15, ~dut.busy)
    return holds(kind(ONE, 8), what, frames)


class NotKept(ResidualAdder):
    """Element 0 always comes from the beat on offer."""

    def _element_zero(self, m, valid, tag):
        super()._element_zero(m, valid, tag)
        return self.beats.payload.elements[0]


class Unsure(ResidualAdder):
    """It takes every element 0 for one that it has kept."""

    def _mirrored(self, m, accept, offered, moving):
        kept, place = super()._mirrored(m, accept, offered, moving)
        alone = Signal()
        with m.If(moving):
            m.d.sync += alone.eq(offered.residual & ~offered.write.strobe[1])
        return kept | alone, place


def test_what_is_added_is_what_stands_there(holds, free):
    assert sums_are_right(holds, free, ResidualAdder, 14)


@pytest.mark.parametrize("kind", [NotKept, Unsure])
def test_a_wrong_element_is_refuted(holds, free, kind):
    assert not sums_are_right(holds, free, kind, 14)


def test_a_lost_sum_is_refuted(holds, free, break_buffer):
    break_buffer("vector.residual")
    assert not sums_are_right(holds, free, ResidualAdder, 14)


def each_its_own(holds, free, kind):
    """Both clients mark and number their requests: the beats come back to them, in order."""
    def what(m, dut):
        echo(m, free, dut.read, dut.beats)
        for mark, requests, beats in ((1, dut.reader_read, dut.reader_beats),
                                      (0, dut.residual_read, dut.residual_beats)):
            held, asked, given = Signal(), Signal(), Signal()
            m.d.comb += [requests.valid.eq(held | free.signal()), requests.payload.eq(Cat(Const(mark, 1), asked))]
            m.d.sync += [held.eq(requests.valid & ~requests.ready), asked.eq(asked ^ moves(requests)),
                         given.eq(given ^ moves(beats))]
            with m.If(beats.valid):
                m.d.comb += Assert(beats.payload.elements[0] == Cat(Const(mark, 1), given))
    return holds(kind(ONE, 4), what, 11)


class Blind(ReadArbiter):
    """All beats are the reader's."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += m.submodules.owners.w_data.eq(1)
        return m


def test_every_client_gets_its_beats(holds, free):
    assert each_its_own(holds, free, ReadArbiter)


def test_beats_without_an_owner_are_refuted(holds, free):
    assert not each_its_own(holds, free, Blind)


class Checked(TokenQueue):
    """Asserts that every word finds a place."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += Assert(~self.w_en | (self.level < self._places))
        return m


def all_find_a_place(holds, free, monkeypatch, frames):
    """Clients ask and take when they like; three requests at most are in the memory."""
    monkeypatch.setattr("wingbeat.hw.primitives.queue.TokenQueue", Checked)

    def what(m, dut):
        inside = Signal(2)
        m.d.comb += dut.read.ready.eq(free.signal() & (inside < 3))
        m.d.sync += inside.eq(inside + moves(dut.read) - moves(dut.beats))
        free.drive(m, dut.beats, inside != 0)
    return holds(ReadArbiter(ONE, 4), what, frames)


def test_every_beat_has_its_place(holds, free, monkeypatch):
    assert all_find_a_place(holds, free, monkeypatch, 14)


def test_a_beat_too_many_is_refuted(holds, free, monkeypatch):
    monkeypatch.setattr("wingbeat.hw.memory.read_arbiter.LATE_WORDS", 0)
    assert not all_find_a_place(holds, free, monkeypatch, 14)
