"""Player: records of the memory to writes on the setup port."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.setup import HOST_TARGETS
from ..layouts import setup
from ..primitives.signals import signals
from .gather import memory_beat
from .parameters import PLAYED_CYCLES

__all__ = ["Player"]


class Player(wiring.Component):
    """Writes the records of each beat of ``i``, the lowest elements first, on ``write`` where ``write_valid``.

    A record is the bits of record_elements elements, element 0 lowest; its lowest 64 bits are a word of the setup port
    (SETUP of hw/isa/setup.py), the others mean nothing. A record for the program memory or the control register is not
    written: ``refused`` is high for one cycle. ``idle``: all that was written can be read where it was written to.

    Format: bits.
    Latency: 2 cycles from a beat to its first record.
    Throughput: one record per cycle.
    Backpressure: ``i``, a beat for every memory_elements / record_elements cycles; ``write`` is always taken.
    Reset: idle.
    Cost: a register of a beat and one of a record.
    Source: docs/reference/processor.md, Operands.

    Raises ValueError where the configuration has no records.
    """

    def __init__(self, config: CoreConfig):
        if not config.records:
            raise ValueError("records: false; a Player needs true")
        self._record_bits = config.record_elements * config.element_width
        self._count = config.memory_elements // config.record_elements
        super().__init__({
            "i": In(stream.Signature(memory_beat(config))), "write": Out(setup()), "write_valid": Out(1),
            "idle": Out(1), "refused": Out(1)})

    def elaborate(self, platform):
        m = Module()
        beat = Signal(self._count * self._record_bits, name="beat", reset_less=True)
        left = Signal(range(self._count + 1), name="records_left")
        has_record, is_refused, busy, keeps = signals("has_record is_refused busy keeps")
        is_free = Signal(init=1, name="is_free")  # at most the last record is left; ``keeps`` is its inverse
        settling = Signal(PLAYED_CYCLES, name="settling")
        record = data.View(setup(), beat[:setup().size])
        m.d.comb += [
            has_record.eq(left != 0), self.i.ready.eq(is_free),
            is_refused.eq(Cat(record.target == target for target in HOST_TARGETS).any())]
        # Two registers for one bit: what selects the wide register of a beat is slow, and others wait for the ready.
        stays = Mux(is_free, self.i.valid & (self._count > 1), left > 2)
        m.d.sync += [beat.eq(Mux(keeps, beat >> self._record_bits, self.i.payload.as_value())), keeps.eq(stays),
                     is_free.eq(~stays), left.eq(Mux(is_free, self.i.valid * self._count, left - 1))]
        m.d.sync += [
            self.write.eq(record), self.write_valid.eq(has_record & ~is_refused),
            self.refused.eq(has_record & is_refused), settling.eq(Cat(has_record, settling[:-1]))]
        # A register: all other beats of the reader wait for it.
        m.d.sync += busy.eq(self.i.valid | has_record | settling[:-1].any())
        m.d.comb += self.idle.eq(~busy)
        return m
