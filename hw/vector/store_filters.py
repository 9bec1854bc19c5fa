"""The store side of the vector unit: Rescale, Residual and Argmax behind each other, docs/reference/vector.md."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.parameter_set import SET_WORDS, SETS, WRITE_SET
from ..isa.setup import SETUP_ACTIVATION, SETUP_CHANNELS, SETUP_WRITE_SETS
from ..layouts import setup
from ..memory.emit import emitted
from ..memory.port import MemoryParameters
from ..primitives.memory import read_port, write_port
from ..primitives.stream import SkidBuffer
from .argmax import Argmax
from .parameters import residual_depth
from .rescale import Rescale
from .residual import ResidualAdder, residual_write

__all__ = ["VectorStore"]

# The words of a set that each unit needs.
_RESIDUAL_WORDS = (1, 2)
_ARGMAX_WORDS = (2, 3)


class VectorStore(wiring.Component):
    """What becomes of the writes of a processor before they reach the memory port.

    ``i``: writes as Emit gives them; ``o``: writes of the memory port, in order. ``read``, ``beats``: the read side of
    a memory, for the tensor that is added. ``setup``, ``setup_en``: words for the tables, those of other targets are
    ignored. ``saturated``: one cycle or more for a write with a clamped element; ``busy``: a write is inside.

    Format: elements of element_width bits, two's complement; arithmetic of :class:`Rescale` and :class:`ResidualAdder`.
    Latency: that of :class:`Rescale`, one cycle, those of :class:`ResidualAdder` and :class:`Argmax`.
    Throughput: one write per cycle that passes or is only added to, one per elements/lanes cycles that is rescaled.
    Backpressure: ``o`` and ``read`` are cut in both directions, ``i.ready`` comes out of registers.
    Reset: forgets the writes inside, keeps the tables.
    Cost: the units, two registers of a write, and four LUT memories of 16 words of 32 bits.
    Source: docs/reference/vector.md.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        memory = MemoryParameters.of(config)
        super().__init__({
            "i": In(stream.Signature(emitted(config))), "o": Out(stream.Signature(memory.write)),
            "read": Out(stream.Signature(config.memory_bits)), "beats": In(stream.Signature(memory.beat)),
            "setup": In(setup()), "setup_en": In(1), "saturated": Out(1), "busy": Out(1)})

    def elaborate(self, platform):
        m, c = Module(), self._config
        m.submodules.rescale = rescale = Rescale(c, c.vector_lanes, c.channel_beats)
        m.submodules.residual = residual = ResidualAdder(c, residual_depth(c))
        m.submodules.between = between = SkidBuffer(residual_write(c), ("residual", "first", "write.strobe"))
        wiring.connect(m, between.o, residual.i)
        m.submodules.argmax = argmax = Argmax(c)
        wiring.connect(m, argmax.o, wiring.flipped(self.o))
        wiring.connect(m, residual.read, wiring.flipped(self.read))
        wiring.connect(m, wiring.flipped(self.beats), residual.beats)

        target, word = self.setup.target, self.setup.data
        m.d.comb += [
            rescale.write.address.eq(self.setup.address), rescale.write.data.eq(word),
            rescale.write_set_en.eq(self.setup_en & (target == SETUP_WRITE_SETS)),
            rescale.write_channel_en.eq(self.setup_en & (target == SETUP_CHANNELS)),
            rescale.write_gelu_en.eq(self.setup_en & (target == SETUP_ACTIVATION)),
            rescale.i.valid.eq(self.i.valid), self.i.ready.eq(rescale.i.ready),
            rescale.i.payload.write.eq(self.i.payload.write), rescale.i.payload.row0.eq(self.i.payload.row0),
            rescale.i.payload.first.eq(self.i.payload.first), rescale.i.payload.set.eq(self.i.payload.set)]

        chosen, to, coming = self._set(m, "residual", _RESIDUAL_WORDS, rescale.o.payload.set), between.i, rescale.o
        m.d.comb += [
            to.valid.eq(coming.valid), coming.ready.eq(to.ready), to.payload.write.eq(coming.payload.write),
            to.payload.first.eq(coming.payload.first), to.payload.set.eq(coming.payload.set),
            to.payload.residual.eq(chosen.residual & (coming.payload.set != 0)), to.payload.offset.eq(chosen.offset)]
        m.d.comb += [to.payload[name].eq(chosen[name]) for name in "abc"]

        chosen, to, coming = self._set(m, "argmax", _ARGMAX_WORDS, residual.o.payload.set), argmax.i, residual.o
        m.d.comb += [
            to.valid.eq(coming.valid), coming.ready.eq(to.ready), to.payload.write.eq(coming.payload.write),
            to.payload.argmax.eq(chosen.argmax & (coming.payload.set != 0)), to.payload.classes.eq(chosen.classes)]
        m.d.comb += self.busy.eq(rescale.busy | between.o.valid | residual.busy | argmax.busy)
        m.d.sync += self.saturated.eq(rescale.saturated | residual.saturated)
        return m

    def _set(self, m, unit, kept, number):
        """The parameter set ``number`` for ``unit``. The unit keeps the words ``kept`` of it; the others are zero."""
        words = [Const(0, 32)] * SET_WORDS
        enable = Signal(name=f"{unit}_enable")
        address = Signal(range(SETS * SET_WORDS), name=f"{unit}_address")
        written = Signal(32, name=f"{unit}_written")
        m.d.sync += [enable.eq(self.setup_en & (self.setup.target == SETUP_WRITE_SETS)),
                     address.eq(self.setup.address), written.eq(self.setup.data)]
        for at in kept:
            m.submodules[f"{unit}{at}"] = memory = Memory(shape=32, depth=SETS, init=[])
            write, read = write_port(memory), read_port(memory)
            m.d.comb += [write.addr.eq(address // SET_WORDS), write.data.eq(written), read.addr.eq(number),
                         write.en.eq(enable & (address % SET_WORDS == at))]
            words[at] = read.data
        return data.View(data.StructLayout(dict(WRITE_SET)), Cat(*words)[:sum(bits for _, bits in WRITE_SET)])
