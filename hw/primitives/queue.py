"""Command queue: instructions that wait for their unit."""

from amaranth.hdl import Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .memory import read_port, write_port
from .pipeline import delay
from .signals import signals

__all__ = ["CommandQueue"]


class CommandQueue(wiring.Component):
    """A queue for words that come and go several cycles apart, between units that stand far from each other.

    ``depth``: words that fit, a power of two. ``i``: at most one word in four cycles, because ``i.ready`` is late.
    ``empty``: a cycle ago no word was in the memory or on ``o``.

    Format: none, words pass unchanged.
    Latency: 4 cycles from ``i`` to ``o``.
    Throughput: one word in four cycles.
    Backpressure: ``i.ready`` and all of ``o`` come out of registers.
    Reset: empties the queue.
    Cost: a LUT memory of ``depth`` words, two registers of a word, two counters of log2(depth) + 1 bits.
    Source: docs/decisions/0010-conditions-are-registers.md.
    """

    def __init__(self, shape: ShapeLike, depth: int):
        self._depth = depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)), "empty": Out(1)})

    def elaborate(self, platform):
        m = Module()
        word, bits = self.i.payload, self._depth.bit_length()
        m.submodules.memory = memory = Memory(shape=len(Value.cast(word)), depth=self._depth, init=[])
        store, fetch = write_port(memory), read_port(memory, name="fetch")
        # One bit more than an address: the difference is the number of words.
        write, read, level = signals("write read level", bits)
        ready = Signal(name="ready", init=1)
        has_words, accept, departing = signals("has_words accept departing")
        # An accepted word waits here for a cycle: the memory may stand near its reader, far from here.
        entering = Signal.like(store.data, name="entering", reset_less=True)
        arrived = Signal(name="arrived")
        # ``has_words`` still counts the word that left a cycle ago.
        departure = delay(m, departing, 1, "departing", reset_less=False)
        head_word = Signal.like(fetch.data, name="head_word", reset_less=True)
        m.d.comb += [
            accept.eq(self.i.valid & ready), departing.eq(self.o.valid & self.o.ready), level.eq(write - read),
            self.i.ready.eq(ready), self.empty.eq(~has_words), self.o.payload.eq(head_word), store.addr.eq(write[:-1]),
            store.data.eq(entering), store.en.eq(arrived), fetch.addr.eq(read[:-1])]
        m.d.sync += [
            arrived.eq(accept), entering.eq(word), write.eq(write + arrived), read.eq(read + departing),
            has_words.eq(level != 0), ready.eq(~level[-1]),
            self.o.valid.eq(Mux(self.o.valid, ~self.o.ready, has_words & ~departure))]
        with m.If(~self.o.valid):
            m.d.sync += head_word.eq(fetch.data)
        return m
