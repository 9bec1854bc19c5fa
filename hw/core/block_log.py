"""What a processor keeps of the blocks of a program for the host: their exponents and flags."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..layouts import block_entry, block_report
from ..primitives.ram import Ram, RamParameters

__all__ = ["BlockLog"]


class BlockLog(wiring.Component):
    """Entry ``block_log`` - 1 & n holds the exponent and the flag of block n since ``clear``.

    Of a program with more blocks the last ``block_log`` are left; entries behind its last block are those of earlier
    programs.

    Format: as block_entry().
    Latency: ``address`` to ``data`` ram_latency cycles; a block can be read in the cycle after its report.
    Throughput: one block and one read per cycle.
    Backpressure: none.
    Reset: block 0 comes next; entries keep their bits.
    Cost: 7 bits an entry, one Ram, a counter.
    Source: own.
    """

    def __init__(self, config: CoreConfig):
        if not config.block_log:
            raise ValueError("block_log: 0; allowed are powers of two from 2 on")
        self._config = config
        super().__init__({
            "clear": In(1), "block": In(block_report()), "address": In(range(config.block_log)),
            "data": Out(block_entry())})

    def elaborate(self, platform):
        m = Module()
        c, entry = self._config, block_entry()
        m.submodules.ram = ram = Ram(RamParameters(entry.size, c.block_log, c.target, c.pipeline))
        number = Signal(range(c.block_log), name="number")
        with m.If(self.clear):
            m.d.sync += number.eq(0)
        with m.Elif(self.block.valid):
            m.d.sync += number.eq(number + 1)
        m.d.comb += [
            ram.w_en.eq(self.block.valid), ram.w_addr.eq(number),
            ram.w_data.eq(Cat(self.block[name] for name in entry.members)),
            ram.r_en.eq(1), ram.r_addr.eq(self.address), self.data.eq(ram.r_data)]
        return m
