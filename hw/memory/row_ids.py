"""Ids of rows: where in memory the rows stand that a READ asks for by their ids."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.descriptor import ID_FIELDS
from ..layouts import layout_of
from ..primitives.pipeline import delay
from ..primitives.ram import Ram, RamParameters
from ..primitives.signals import signals

__all__ = ["RowIds"]


class RowIds(wiring.Component):
    """Keeps for every id of a FETCH the beat at which its row begins.

    ``id``, where ``id_valid``: the next id; that behind ``clear`` has number 0. ``base``: the first beat of row 0;
    ``format``: ``ID_FIELDS``, which say how far rows stand apart, 2^``log2_pitch`` beats, less than 2^memory_bits, and
    the largest id. Both stay until the last id is kept. An id above the largest is not kept: ``refused`` is high for
    one cycle. ``number``: the id that a read wants; ``place``: the begin of its row, ram_latency cycles with ``moving``
    later. An id is kept three cycles after its ``id_valid``.

    Format: ids unsigned, of element_width bits; beats unsigned, modulo 2^memory_bits; numbers modulo row_ids.
    Latency: ``place`` ram_latency moves, ``refused`` 2 cycles.
    Throughput: one id and one place per cycle.
    Backpressure: none.
    Reset: the next number is 0; the table is kept.
    Cost: a RAM of row_ids beat numbers, a shifter and an adder of memory_bits.
    Source: docs/reference/processor.md, Operands.

    Raises ValueError where the configuration has no ids.
    """

    def __init__(self, config: CoreConfig):
        if not config.row_ids:
            raise ValueError("row_ids: 0; a RowIds needs some")
        self._config = config
        super().__init__({
            "id": In(config.element_width), "id_valid": In(1), "clear": In(1), "base": In(config.memory_bits),
            "format": In(layout_of(ID_FIELDS)), "refused": Out(1),
            "number": In(config.memory_bits), "moving": In(1), "place": Out(config.memory_bits)})

    def elaborate(self, platform):
        m = Module()
        c = self._config
        number_bits = c.row_ids.bit_length() - 1
        m.submodules.table = table = Ram(RamParameters(c.memory_bits, c.row_ids, c.target, c.pipeline))
        incoming = Signal(c.element_width, name="incoming", reset_less=True)
        kept = Signal(data.StructLayout({"place": c.memory_bits, "number": number_bits}), name="kept", reset_less=True)
        has_id, is_kept, is_over = signals("has_id is_kept is_over")
        number = Signal(number_bits, name="next_number")
        with m.If(delay(m, self.clear, 1, "clears", reset_less=False)):
            m.d.sync += number.eq(0)
        with m.Elif(has_id):
            m.d.sync += number.eq(number + 1)
        m.d.comb += is_over.eq(incoming > self.format.last_id)
        # Rows stand apart by as many bits as an address has at most.
        shift = self.format.log2_pitch[:(c.memory_bits - 1).bit_length()]
        m.d.sync += [
            incoming.eq(self.id), has_id.eq(self.id_valid),
            kept.place.eq(self.base + (incoming << shift)), kept.number.eq(number),
            is_kept.eq(has_id & ~is_over), self.refused.eq(has_id & is_over)]
        m.d.comb += [
            table.w_en.eq(is_kept), table.w_addr.eq(kept.number), table.w_data.eq(kept.place),
            table.r_en.eq(self.moving), table.r_addr.eq(self.number), self.place.eq(table.r_data)]
        return m
