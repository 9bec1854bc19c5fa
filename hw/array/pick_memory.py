"""Pick memory: which member of its group every lane takes, for each word of the ring."""

from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.sparse import PICK_BITS
from ..layouts import ring_write
from ..primitives.pipeline import delay
from ..primitives.ram import Ram, RamParameters

__all__ = ["PickMemory"]


class PickMemory(wiring.Component):
    """The picks of the words of the ring, written with them (``write``, ``write_en``) and read by ``place``.

    Format: ``o[l]`` is the member, 0..15, that lane l takes.
    Latency: ram_latency from ``place`` to ``o``; what is written can be read two cycles later.
    Throughput: a read and a write per cycle.
    Backpressure: none.
    Reset: contents are kept.
    Cost: a RAM of ring_words x 4 P bits.
    Source: docs/decisions/0028-sparse-matrices-pick-rows.md.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({"place": In(config.ring_bits), "write": In(ring_write(config)), "write_en": In(1),
                          "o": Out(data.ArrayLayout(PICK_BITS, config.lanes))})

    def elaborate(self, platform):
        m, c = Module(), self._config
        m.submodules.ram = ram = Ram(RamParameters(PICK_BITS * c.lanes, c.ring_words, c.target, c.pipeline))
        m.d.comb += [
            ram.r_en.eq(1), ram.r_addr.eq(self.place), self.o.eq(ram.r_data),
            ram.w_en.eq(delay(m, self.write_en, 1, "enable", reset_less=False)),
            ram.w_addr.eq(delay(m, self.write.address, 1, "address")),
            ram.w_data.eq(delay(m, self.write.picks, 1, "picks"))]
        return m
