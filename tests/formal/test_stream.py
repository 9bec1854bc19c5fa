"""Proofs of the stream parts: valid and payload hold under stall, no word is lost, doubled or reordered.

A narrow beat is the unit. A scoreboard marks one arbitrary unit when it enters, counts the units ahead of
it, and compares when it leaves; data are free inputs, so the one marked unit stands for all. The counters
also say that valid is high exactly while there is something to deliver. The reset is a free input too.
Every proof has planted faults that it must refute.
"""

from amaranth.hdl import Assert, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In
import pytest

from wingbeat.hw.primitives.stream import Downsizer, SkidBuffer, Upsizer

NARROW = data.StructLayout({"words": data.ArrayLayout(1, 2), "tag": 1, "last": 1})


class Scoreboard(wiring.Component):
    """Asserts about ``dut``, which takes ``units_in`` and delivers ``units_out`` units per beat.

    ``capacity``: units that may be inside. Inputs: the stream to ``dut`` (``valid``, ``payload``),
    ``ready`` of its output, and ``mark``, ``pick``: mark this input beat, unit ``pick`` of it.
    """

    def __init__(self, dut, units_in, units_out, capacity):
        self.dut, self.units_in, self.units_out, self.capacity = dut, units_in, units_out, capacity
        super().__init__({"valid": In(1), "payload": In(dut.i.payload.shape()), "ready": In(1), "mark": In(1),
                          "pick": In(range(max(2, units_in)))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.d.comb += [dut.i.valid.eq(self.valid), dut.i.payload.eq(self.payload), dut.o.ready.eq(self.ready)]
        self._stability(m, dut.o)

        units = range(self.capacity + self.units_in + 1)
        inside, ahead, waiting, marked = Signal(units), Signal(units), Signal(), Signal(NARROW)
        entering, leaving = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
        n_out = Mux(leaving, self.units_out, 0)
        m.d.sync += inside.eq(inside + Mux(entering, self.units_in, 0) - n_out)
        m.d.comb += Assert(dut.o.valid == (inside >= self.units_out))
        m.d.comb += Assert(inside <= self.capacity)

        with m.If(~waiting & self.mark & entering & (self.pick < self.units_in)):
            m.d.sync += [waiting.eq(1), ahead.eq(inside + self.pick - n_out),
                         marked.eq(_unit(dut.i.payload, self.pick, self.units_in))]
        with m.If(waiting & leaving):
            m.d.sync += ahead.eq(ahead - self.units_out)
            with m.If(ahead < self.units_out):
                m.d.sync += waiting.eq(0)
                m.d.comb += Assert(_same(marked, dut.o.payload, ahead, self.units_out))
        return m

    @staticmethod
    def _stability(m, o):
        stalled, held = Signal(), Signal(len(Value.cast(o.payload)))
        m.d.sync += [stalled.eq(o.valid & ~o.ready), held.eq(o.payload)]
        with m.If(stalled):
            m.d.comb += [Assert(o.valid), Assert(Value.cast(o.payload) == held)]


def _unit(payload, number, units):
    """Unit ``number`` of a beat; ``last`` belongs to its final unit."""
    words = payload.words.as_value().word_select(number, 2)
    final = (number == units - 1) if units > 1 else Const(1)
    return Cat(words, payload.tag, payload.last & final)


def _same(marked, payload, number, units):
    """Whether unit ``number`` of an output beat is the marked one; sideband counts for the final unit."""
    words = payload.words.as_value().word_select(number, 2) == marked.words.as_value()
    sideband = (payload.tag == marked.tag) & (payload.last == marked.last)
    return words & (sideband | (number != units - 1))


class Fault(wiring.Component):
    """Wraps a part and breaks one thing on its way in or out."""

    def __init__(self, dut, name):
        self.dut, self.name = dut, name
        super().__init__(dut.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        m.d.comb += [dut.i.payload.eq(self.i.payload), self.o.payload.eq(dut.o.payload),
                     dut.i.valid.eq(self.i.valid), self.i.ready.eq(dut.i.ready),
                     self.o.valid.eq(dut.o.valid), dut.o.ready.eq(self.o.ready)]
        once = Signal()
        m.d.sync += once.eq(~self.o.ready)
        if self.name == "valid waits for ready":
            m.d.comb += self.o.valid.eq(dut.o.valid & self.o.ready)
        elif self.name == "payload moves":
            m.d.comb += self.o.payload.tag.eq(dut.o.payload.tag ^ once)
        elif self.name == "accepts what it cannot hold":
            m.d.comb += self.i.ready.eq(1)
        elif self.name == "repeats":
            m.d.comb += dut.o.ready.eq(self.o.ready & once)
        elif self.name == "skips":
            m.d.comb += dut.o.ready.eq(self.o.ready | once)
        elif self.name == "swaps words":
            words = dut.o.payload.words.as_value()
            m.d.comb += self.o.payload.words.eq(Cat(words[len(words) // 2:], words[:len(words) // 2]))
        elif self.name == "loses last":
            m.d.comb += self.o.payload.last.eq(0)
        return m


FAULTS = ["valid waits for ready", "payload moves", "accepts what it cannot hold", "repeats", "skips",
          "swaps words", "loses last"]
PARTS = {
    "skid": lambda wrap: Scoreboard(wrap(SkidBuffer(NARROW)), 1, 1, 2),
    "deciding": lambda wrap: Scoreboard(wrap(SkidBuffer(NARROW, ("tag", "last"))), 1, 1, 2),
    **{f"up{r}": lambda wrap, r=r: Scoreboard(wrap(Upsizer(NARROW, r)), 1, r, r) for r in (1, 2, 3, 4)},
    **{f"down{r}": lambda wrap, r=r: Scoreboard(wrap(Downsizer(NARROW, r)), r, 1, r) for r in (1, 2, 3, 4)},
}


def holds(prove, part, wrap=lambda dut: dut):
    top = PARTS[part](wrap)
    return prove(top, [top.valid, Value.cast(top.payload), top.ready, top.mark, top.pick])


@pytest.mark.parametrize("part", PARTS)
def test_proved(prove, part):
    assert holds(prove, part)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("part", ["skid", "deciding", "up2", "down2"])
def test_planted_fault_is_refuted(prove, part, fault):
    assert not holds(prove, part, lambda dut: Fault(dut, fault))
