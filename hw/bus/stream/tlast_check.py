"""Where the beats that come in end a block, and where the program does."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...config import CoreConfig
from ...layouts import input_beat, tlast_flags
from ...primitives.signals import signals
from ...primitives.stream import Upsizer

__all__ = ["TlastCheck"]


class TlastCheck(wiring.Component):
    """Stream beats on ``i``, whose ``last`` it takes away, become beats of the load unit on ``o``. ``block_in``: the
    beat that moves on ``o`` is the last one of its block.

    ``flags.tlast_unexpected``: a stream beat that did not end a block had ``last``. ``flags.tlast_missing``: one that
    ended a block had none. Both stay until ``clear``. ``blocks``: what they were when the block of each half was
    ``loaded`` (``half``), of the beats up to its last one. So the flags of a block do not depend on when later beats
    come. A wrong ``last`` is in ``flags`` as soon as its stream beat has moved, also where it waits for others.

    Nothing is held back and nothing is skipped: blocks are as long as the program says.

    Format: none, words pass unchanged.
    Latency: 1 cycle from a stream beat to ``flags``, 1 from ``loaded`` to ``blocks``; ``i`` to ``o`` as in Upsizer, or
    none where a stream beat is one of the load unit.
    Throughput: one stream beat per cycle.
    Backpressure: ``o.ready`` -> ``i.ready`` is **not** cut.
    Reset: no flag; as in Upsizer.
    Cost: 6 flip-flops; where a stream beat is less than one of the load unit an Upsizer.
    Source: own; docs/reference/axi_stream.md.
    """

    def __init__(self, config: CoreConfig):
        self._parts = config.gearbox
        super().__init__({
            "i": In(stream.Signature(input_beat(config.element_width, config.stream_words, has_tlast=True))),
            "o": Out(stream.Signature(input_beat(config.element_width, config.beat_words))),
            "clear": In(1), "block_in": In(1), "loaded": In(1), "half": In(1),
            "flags": Out(tlast_flags()), "blocks": Out(data.ArrayLayout(tlast_flags(), 2))})

    def elaborate(self, platform):
        m = Module()
        found = Signal(tlast_flags(), name="found")
        moves, unexpected, missing, waits = signals("moves unexpected missing waits")
        *early, final = self._parts_of_beat(m, waits)
        m.d.comb += [
            moves.eq(self.o.valid & self.o.ready), missing.eq(moves & self.block_in & ~final),
            unexpected.eq(moves & Cat(*early, final & ~self.block_in).any()),
            self.flags.eq(found)]
        if early:  # one that waits for the others of its beat, maybe for ever
            m.d.comb += self.flags.tlast_unexpected.eq(found.tlast_unexpected | waits)
        with m.If(self.clear):
            m.d.sync += found.eq(0)
        with m.Else():
            m.d.sync += [found.tlast_unexpected.eq(found.tlast_unexpected | unexpected),
                         found.tlast_missing.eq(found.tlast_missing | missing)]
        with m.If(self.loaded):
            m.d.sync += self.blocks[self.half].eq(found)
        return m

    def _parts_of_beat(self, m, waits):
        """``last`` of each stream beat that the beat on ``o`` is made of. ``waits``: one before the final place of its
        beat stands inside with ``last``."""
        if self._parts == 1:
            m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready),
                         self.o.payload.words.eq(self.i.payload.words)]
            return [self.i.payload.last]
        # A stream beat is one word of the upsizer, so that each keeps its own mark.
        beat = self.i.payload.shape()
        m.submodules.upsizer = upsizer = Upsizer(data.StructLayout({"words": data.ArrayLayout(beat, 1)}), self._parts)
        parts = [upsizer.o.payload.words[part] for part in range(self._parts)]
        arrives, gathered = signals("arrives gathered")
        m.d.comb += [
            upsizer.i.valid.eq(self.i.valid), self.i.ready.eq(upsizer.i.ready),
            upsizer.i.payload.words[0].eq(self.i.payload),
            self.o.valid.eq(upsizer.o.valid), upsizer.o.ready.eq(self.o.ready),
            self.o.payload.words.eq(Cat(part.words for part in parts)),
            arrives.eq(self.i.valid & self.i.ready & self.i.payload.last),
            # While a whole beat stands there only the first part of the next one can come, as it leaves.
            waits.eq(Mux(upsizer.o.valid, Cat(part.last for part in parts[:-1]).any(), gathered))]
        m.d.sync += gathered.eq(arrives | (gathered & ~upsizer.o.valid))
        return [part.last for part in parts]
