"""Loader: setup words that stand in memory, sent to the setup port before a program starts."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.setup import SETUP_CONTROL
from ..layouts import load_command, setup
from ..primitives.signals import signals
from .port import MemoryParameters

__all__ = ["Loader"]


class Loader(wiring.Component):
    """Between a processor, its memory and its setup port: reads records and sends them as setup words.

    A valid ``load`` in a cycle without ``loading`` and ``stop`` begins: its beats of records (hw/isa/record.py) are
    read at ``o_read``, and their words leave at ``o_setup`` in order. While ``loading`` the processor's ``i_read`` and
    the host's ``i_setup`` wait; otherwise they pass, and ``i_beats`` pass to ``o_beats``. Nothing of the processor may
    be under way when it begins. A word for the control register is not sent: ``refused`` is high for one cycle.

    ``stop``: a fault. ``loading`` falls and ``i_setup`` passes, what was asked is forgotten; what is on offer at
    ``o_read`` stays until it is taken. Beats that still come must be taken by others. Only a reset loads again.

    Format: bits.
    Latency: 1 cycle from ``load`` to the first read; 1 from a beat to its first word; ``loading`` falls 1 cycle behind
    the last word. 0 where it passes.
    Throughput: a word per cycle.
    Backpressure: every stream waits for its ready. At most 2^read_bits - 1 beats are asked for and not delivered.
    Reset: nothing is loaded.
    Cost: a register of a beat behind a multiplexer, two counters of an address, one of read_bits; a multiplexer of a
    beat number and one of a setup word.
    Source: docs/reference/registers.md, Programs in memory.

    Raises ValueError where a beat is less than a record.
    """

    def __init__(self, config: CoreConfig, read_bits: int):
        if config.memory_elements < config.record_elements:
            raise ValueError(f"stream_words: a beat of {config.memory_elements} elements is less than a record; a "
                             f"Loader needs {config.record_elements}")
        memory = MemoryParameters.of(config)
        self._read_bits = read_bits
        self._count = config.memory_elements // config.record_elements
        self._record_bits = config.record_elements * config.element_width
        read, beats, words = (stream.Signature(shape) for shape in (memory.address_bits, memory.beat, setup()))
        super().__init__({
            "load": In(load_command(config)), "loading": Out(1), "i_setup": In(words), "o_setup": Out(words),
            "i_read": In(read), "o_read": Out(read), "i_beats": In(beats), "o_beats": Out(beats), "stop": In(1),
            "refused": Out(1)})

    def elaborate(self, platform):
        m = Module()
        is_loading, is_open = signals("is_loading is_open")
        m.d.comb += [is_open.eq(~is_loading | self.stop), self.loading.eq(is_loading & ~self.stop)]
        left = Signal.like(self.load.beats, name="beats_left")
        address = Signal.like(self.load.address, name="address")
        owed = Signal(self._read_bits, name="owed")
        asks, asked, arrived = signals("asks asked arrived")
        m.d.comb += [
            asks.eq(is_loading & (left != 0) & ~owed.all()), asked.eq(asks & self.o_read.ready),
            self.o_read.valid.eq(Mux(is_loading, asks, self.i_read.valid)),
            self.o_read.payload.eq(Mux(is_loading, address, self.i_read.payload)),
            self.i_read.ready.eq(self.o_read.ready & ~is_loading)]
        m.d.sync += owed.eq(owed + asked - arrived)
        with m.If(asked):
            m.d.sync += [left.eq(left - 1), address.eq(address + 1)]
        words_left = self._words(m, is_loading, is_open, arrived)
        with m.If(self.load.valid & ~is_loading & ~self.stop):
            m.d.sync += [is_loading.eq(1), left.eq(self.load.beats), address.eq(self.load.address)]
        with m.Elif((left == 0) & (owed == 0) & (words_left == 0) & ~self.stop):
            m.d.sync += is_loading.eq(0)
        return m

    def _words(self, m, is_loading, is_open, arrived):
        """The words of a beat, one after the other; the number of those that have not been sent."""
        beat = Signal(self._count * self._record_bits, name="beat", reset_less=True)
        left = Signal(range(self._count + 1), name="words_left")
        word = data.View(setup(), beat[:setup().size])
        has_word, is_legal, leaves, is_free = signals("has_word is_legal leaves is_free")
        m.d.comb += [
            has_word.eq(is_loading & (left != 0)), is_legal.eq(word.target != SETUP_CONTROL),
            leaves.eq(has_word & (self.o_setup.ready | ~is_legal)), self.refused.eq(has_word & ~is_legal & ~self.stop),
            is_free.eq((left == 0) | ((left == 1) & leaves)),
            self.o_setup.valid.eq(Mux(is_open, self.i_setup.valid, has_word & is_legal)),
            self.o_setup.payload.eq(Mux(is_open, self.i_setup.payload, word)),
            self.i_setup.ready.eq(self.o_setup.ready & is_open),
            self.o_beats.payload.eq(self.i_beats.payload), self.o_beats.valid.eq(self.i_beats.valid & ~is_loading),
            self.i_beats.ready.eq(Mux(is_loading, is_free, self.o_beats.ready)),
            arrived.eq(is_loading & self.i_beats.valid & is_free)]
        with m.If(arrived):
            m.d.sync += [beat.eq(self.i_beats.payload.as_value()), left.eq(self._count)]
        with m.Elif(leaves):
            m.d.sync += [beat.eq(beat >> self._record_bits), left.eq(left - 1)]
        return left
