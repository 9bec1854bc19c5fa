"""Proofs of a finisher's control, the chains of its engines and their row memory: no value is lost, repeated or
reordered, and what is known of a row is written before it is read.

Of all values of all runs one is marked, at any place of any run. Words, exponents and infos are made of values by
arithmetic, which unit tests look at; here the mark itself comes back in their place, as late as they do. Then every
engine must have it where its value was, and nowhere else. Every proof has a planted fault that refutes it.
"""

from amaranth.hdl import Assert, Cat, Module, Mux, Signal
from amaranth.lib import wiring
import pytest

from wingbeat.hw.array.flow import Flow
from wingbeat.hw.array.parameters import softmax_spacing
from wingbeat.hw.array.sequencer import Sequencer
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.bit_fields import bits_of_words, field_places
from wingbeat.hw.isa.encoding import FIELDS, OPCODE_BITS, encode
from wingbeat.hw.isa.instruction import Mac, Opcode, Softmax
from wingbeat.hw.primitives.pipeline import delay
from wingbeat.hw.softmax.chain import ValueChain
from wingbeat.hw.softmax.finisher import Finisher
from wingbeat.hw.softmax.parameters import LENGTH_LATENCY, infos_latency, words_latency

CONFIG = CoreConfig.of(layers=1, engines=2, width=8, element_width=8, coefficient_width=8, half_words=32,
                       coefficient_words=32, ring_words=32, partial_words=2, records=True, memory_bits=12,
                       stream_words=4, softmax_pairs=1)
VALUES = 2 * CONFIG.lanes * CONFIG.engines
FRAMES = 60  # a run and what comes of it


class Group(wiring.Component):
    """A finisher with the chains of its engines, which work on marks; runs begin as soon as they may, or later.

    ``divides``: of all runs. Totals are no matter here: nothing comes ``ahead``.
    """

    def __init__(self, free, divides, finisher=Finisher, chain=ValueChain):
        self.free, self.divides = free, divides
        self.finisher = finisher(CONFIG)
        self.chains = [chain(CONFIG) for _ in range(CONFIG.engines)]
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.finisher = dut = self.finisher
        for number, chain in enumerate(self.chains):
            m.submodules[f"chain{number}"] = chain
        begin, marks, marked = self._runs(m)
        m.d.comb += dut.divides.eq(self.divides)
        self._connect(m, begin, marks)
        self._back(m, marks, begin, marked)
        return m

    def _runs(self, m):
        """``begin`` of the runs, the marks of their values, and whether there is one."""
        left, place = Signal(range(VALUES)), self.free.signal(range(VALUES))
        started, used, marked, begin = Signal(), Signal(), Signal(), Signal()
        self.place, marks = Signal(range(VALUES)), Signal(VALUES)
        m.d.comb += [
            self.finisher.load.eq(~started), begin.eq(self.free.signal() & started & (left == 0)),
            marked.eq(begin & ~used & self.free.signal()), marks.eq(Mux(marked, 1 << place, 0))]
        m.d.sync += [started.eq(1), left.eq(Mux(begin, VALUES - 1, left - (left != 0))), used.eq(used | marked)]
        with m.If(marked):
            m.d.sync += self.place.eq(place)
        return begin, marks, marked

    def _connect(self, m, begin, marks):
        dut, chains = self.finisher, self.chains
        m.d.comb += [dut.begin.eq(begin), dut.value.eq(chains[0].o)]
        for number, chain in enumerate(chains):
            m.d.comb += [
                chain.control.load.eq(begin), chain.control.shift.eq(dut.shifts),
                chain.control.words.eq(dut.word_moves), chain.control.exponents.eq(dut.exponent_moves),
                chain.control.infos.eq(dut.info_moves)]
            m.d.comb += [value.eq(marks[number * 2 * CONFIG.lanes + at]) for at, value in enumerate(chain.values)]
            if number + 1 < len(chains):
                behind = chains[number + 1]
                m.d.comb += [chain.i.eq(behind.o), chain.i_word.eq(behind.o_word),
                             chain.i_exponent.eq(behind.o_exponent), chain.i_info.eq(behind.o_info)]

    def _back(self, m, marks, begin, marked):
        """Marks in the place of words, exponents and infos, and what the engines must have at their ends."""
        dut, last = self.finisher, self.chains[-1]
        late = words_latency(CONFIG, self.divides) - VALUES
        word = delay(m, self.chains[0].o[0] & dut.shifts, late, "mark", reset_less=False)
        m.d.comb += [last.i_word.eq(word), last.i_exponent.eq(word),
                     last.i_info.maximum.eq(delay(m, word, infos_latency(CONFIG) - words_latency(CONFIG, False), "info",
                                                  reset_less=False))]
        has = delay(m, marked, words_latency(CONFIG, self.divides) + 1, "marked_words", reset_less=False)
        ends = delay(m, dut.words_end, 1, "ended", reset_less=False)
        due = delay(m, begin, words_latency(CONFIG, self.divides) + 1, "due", reset_less=False)
        words = Cat(part[0] for chain in self.chains
                    for part in [word.re for word in chain.words] + [word.im for word in chain.words])
        m.d.comb += Assert(ends == due)
        with m.If(ends):
            m.d.comb += Assert(words == Mux(has, 1 << self.place, 0))
        if not self.divides:
            self._rows(m, begin, marked, ends, has)

    def _rows(self, m, begin, marked, ends, has):
        """Exponents come with the first word of their row, infos behind the last."""
        row, lane = self.place[CONFIG.layers:], self.place[:CONFIG.layers]
        exponents = Cat(exponent[0] for chain in self.chains for exponent in chain.exponents)
        infos = Cat(info.maximum[0] for chain in self.chains for info in chain.infos)
        with m.If(ends):
            m.d.comb += Assert(exponents == Mux(has & (lane == 0), 1 << row, 0))
        late = infos_latency(CONFIG) + 1
        infos_end = delay(m, self.finisher.infos_end, 1, "infos_ended", reset_less=False)
        m.d.comb += Assert(infos_end == delay(m, begin, late, "infos_due", reset_less=False))
        has = delay(m, marked, late, "marked_infos", reset_less=False)
        with m.If(infos_end):
            m.d.comb += Assert(infos == Mux(has & (lane == CONFIG.lanes - 1), 1 << row, 0))


def comes_back(prove, free, divides, frames=None, **blocks):
    return prove(Group(free, divides, **blocks), free.ports, seconds=300, frames=frames)


@pytest.mark.parametrize("divides, frames", [
    pytest.param(False, None, marks=pytest.mark.campaign), (False, 50), (True, None)],
    ids=["logits", "first logits", "sums"])
def test_every_value_comes_back_to_its_engine(prove, free, divides, frames):
    assert comes_back(prove, free, divides, frames)


class Short(Finisher):
    """It leaves the last value in its chain."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        left = Signal(range(VALUES))
        m.d.sync += left.eq(Mux(self.begin, VALUES - 1, left - (left != 0)))
        m.d.comb += self.shifts.eq(left != 0)
        return m


class Early(Finisher):
    """The word in front of the last one is the last for it."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        ends = [delay(m, self.begin, words_latency(CONFIG, divides) - 1, f"end{divides}", reset_less=False)
                for divides in (False, True)]
        m.d.comb += self.words_end.eq(Mux(self.divides, ends[True], ends[False]))
        return m


class Hurried(ValueChain):
    """It hands on the word that came last, not the one that came first."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        m.d.comb += self.o_word.eq(self.words[-1].im)
        return m


class Stuck(ValueChain):
    """It gives its first value again and again."""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        first = Signal()
        with m.If(self.control.load):
            m.d.sync += first.eq(self.values[0])
        m.d.comb += self.o.eq(first)
        return m


@pytest.mark.parametrize("divides", [False, True], ids=["logits", "sums"])
@pytest.mark.parametrize("blocks", [{"finisher": Short}, {"finisher": Early}, {"chain": Hurried}, {"chain": Stuck}],
                         ids=lambda blocks: next(iter(blocks.values())).__name__.lower())
def test_faults_are_refuted(prove, free, divides, blocks):
    assert not comes_back(prove, free, divides, FRAMES, **blocks)


# --- Row memory -------------------------------------------------------------------------------------------------------

MACS = CONFIG.changed(finishers=2, coefficient_words=64, ring_words=64, half_words=64)  # an engine for each finisher
SECOND = 110  # cycles until a MAC behind another one has begun


class Rows(wiring.Component):
    """Sequencer, flow unit and finisher with MACs of five inputs and P outputs of one row pair, each of logits or of
    values as it likes. A group of values is issued only when all that the MAC of logits before it tells of its rows
    stands in the row memory."""

    def __init__(self, free):
        self.free = free
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = sequencer = Sequencer(MACS)
        m.submodules.flow = flow = Flow(MACS)
        m.submodules.finisher = finisher = Finisher(MACS)
        is_values, keep = self.free.signal(), self.free.signal()
        fields = sequencer.i.payload.fields
        shape = encode([Mac(5, 1, 1, 3, 8, 0, 0, first=True, last=True)])
        whole = bits_of_words(shape) >> OPCODE_BITS
        places = field_places(FIELDS[Opcode.MAC])
        kind = Mux(is_values, Softmax.VALUES, Softmax.LOGITS)
        m.d.comb += [
            sequencer.i.valid.eq(self.free.signal()), sequencer.i.payload.mac.eq(1), sequencer.loaded.eq(1),
            sequencer.filled.eq(sequencer.released + MACS.ring_words),
            fields.eq(whole | kind << places["softmax"][0] | (is_values & keep) << places["keep"][0])]
        m.d.comb += [getattr(flow, name).eq(getattr(sequencer, name)) for name in (
            "valid", "start", "finish", "half", "pass_fields", "mac", "mac_fields", "row", "step_last", "pair")]
        own = sequencer.mac_fields
        load = delay(m, sequencer.start & sequencer.mac & ~own.keep, LENGTH_LATENCY, "load", reset_less=False)
        m.d.comb += [
            finisher.load.eq(load), finisher.divides.eq(own.softmax == Softmax.VALUES),
            finisher.begin.eq(flow.softmax.begin), finisher.ahead.eq(flow.softmax.ahead),
            flow.words_end.eq(finisher.words_end)]
        told = delay(m, finisher.infos_end, 2, "told", reset_less=False)  # they reach the engines, and are written
        waits, issued = Signal(), sequencer.valid & sequencer.mac
        with m.If(issued & (own.softmax == Softmax.LOGITS)):
            m.d.sync += waits.eq(1)
        with m.Elif(told):
            m.d.sync += waits.eq(0)
        with m.If(issued & (own.softmax == Softmax.VALUES)):
            m.d.comb += Assert(~waits)
        return m


def test_no_row_is_read_before_it_is_written(prove, free):
    assert prove(Rows(free), free.ports, seconds=300, frames=SECOND)


def test_a_spacing_that_is_too_short_is_refuted(prove, free, monkeypatch):
    monkeypatch.setattr("wingbeat.hw.array.sequencer.softmax_spacing", lambda config: softmax_spacing(config) - 8)
    assert not prove(Rows(free), free.ports, seconds=300, frames=SECOND)
