"""Outstanding: whether the memory behind a port owes an answer."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..primitives.signals import signals

__all__ = ["Outstanding"]


class Outstanding(wiring.Component):
    """Watches a memory port and says when it is ``drained``.

    ``read``, ``beats`` and ``write``: valid and ready of its streams (bit 0, bit 1); ``written`` as there. ``drained``:
    every read that the memory has taken has brought its beat, every write was reported as written, and no request was
    on offer in the cycle before. The memory takes fewer than 2^read_bits reads and 2^write_bits writes without an
    answer, and gives no answer without a request.

    Format: none.
    Latency: ``drained`` falls in the cycle after that of a request, taken or not; it rises 3 cycles after the last
    answer.
    Throughput: one request of each kind and one answer of each kind per cycle.
    Backpressure: none.
    Reset: drained.
    Cost: two counters of read_bits and write_bits, 9 registers of a bit.
    Source: docs/decisions/0032-a-stop-drains-before-it-clears.md.
    """

    def __init__(self, read_bits: int, write_bits: int):
        self._read_bits, self._write_bits = read_bits, write_bits
        super().__init__({"read": In(2), "beats": In(2), "write": In(2), "written": In(1),
                          "drained": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        reads, writes = Signal(self._read_bits, name="reads"), Signal(self._write_bits, name="writes")
        # As in the activity of a processor: valid and ready meet behind registers.
        read, beats, write = signals("read_before beats_before write_before", 2)
        written = Signal(name="written_before")
        m.d.sync += [
            read.eq(self.read), beats.eq(self.beats), write.eq(self.write), written.eq(self.written),
            reads.eq(reads + read.all() - beats.all()), writes.eq(writes + write.all() - written),
            # The counts do not know the request of this cycle, nor that of the one before.
            self.drained.eq(~reads.any() & ~writes.any() & ~self.read[0] & ~self.write[0] & ~read[0] & ~write[0])]
        return m
