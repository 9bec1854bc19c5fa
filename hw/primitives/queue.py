"""Queues: of words that come seldom, of words in step with what follows, of words of any width."""

from amaranth.hdl import Cat, Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import Pipeline, Target
from .memory import read_port, write_port
from .parameters import LATE_WORDS, RAM_BITS
from .pipeline import delay
from .ram import Ram, RamParameters
from .signals import signals

__all__ = ["CommandQueue", "TokenQueue", "BeatQueue"]


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


class TokenQueue(wiring.Component):
    """A queue of at most ``places`` words in a :class:`Ram` (``near``: in LUTs) whose output registers move with what
    follows.

    ``w_en`` may be high only where ``level``, the words in the RAM, is less than ``places``. ``moving``: the words
    behind the RAM go one register further. ``pop``: one word leaves the RAM in this cycle. ``r_valid``: a word is at
    the end of the registers, on ``r_data``; it leaves with ``moving``. ``empty``: no word is inside.

    Format: none, words pass unchanged.
    Latency: 1 + pipeline.ram_latency moves from ``w_en`` to ``r_valid``.
    Throughput: one word per cycle.
    Backpressure: ``moving`` is the enable of all stages behind the RAM.
    Reset: empties the queue.
    Cost: a RAM of ``places`` words, up to the next power of two; two addresses and a counter.
    Source: own.
    """

    def __init__(self, target: Target, pipeline: Pipeline, width: int, places: int, near: bool = False):
        self._target, self._pipeline, self._places, self._near = target, pipeline, places, near
        super().__init__({
            "w_en": In(1), "w_data": In(width), "moving": In(1), "pop": Out(1), "r_valid": Out(1), "r_data": Out(width),
            "level": Out(range(places + 1)), "empty": Out(1)})

    def elaborate(self, platform):
        m = Module()
        bits = (self._places - 1).bit_length()
        m.submodules.ram = ram = Ram(RamParameters(len(self.w_data), 1 << bits, self._target, self._pipeline,
                                                   self._near))
        write, read = signals("write read", bits)
        has_words = Signal(name="has_words")
        word_stages = Signal(self._pipeline.ram_latency, name="word_stages")
        m.d.comb += [
            ram.w_en.eq(self.w_en), ram.w_addr.eq(write), ram.w_data.eq(self.w_data), ram.r_en.eq(self.moving),
            ram.r_addr.eq(read), self.r_data.eq(ram.r_data), self.r_valid.eq(word_stages[-1]),
            self.pop.eq(has_words & self.moving), self.empty.eq(~has_words & (word_stages == 0))]
        m.d.sync += [
            write.eq(write + self.w_en), read.eq(read + self.pop), self.level.eq(self.level + self.w_en - self.pop),
            has_words.eq(self.w_en | (self.level > 1) | (has_words & ~self.moving))]
        with m.If(self.moving):
            m.d.sync += word_stages.eq(Cat(has_words, word_stages))
        return m


class BeatQueue(wiring.Component):
    """A queue of at most ``places`` >= 4 words of any ``width``. The lowest ``near`` bits lie in LUTs, close to what
    ``o.ready`` hangs on.

    ``w_en`` and ``w_data``: a word enters. It may where ``space`` was high in the cycle before, or where the writer
    counts places itself: ``pop`` is high for one cycle for each place that has become free. ``o``: the words, in order.
    ``empty``: no word is inside.

    Words wider than a Ram lie in several queues that keep step; each has a control of its own, so that none has many
    enables. A skid buffer needs two registers: the output registers of the RAMs are one, ``kept`` is the other.

    Format: none, words pass unchanged.
    Latency: 1 + pipeline.ram_latency cycles from ``w_en`` to ``o``.
    Throughput: one word per cycle. Depth: ``places``, and up to ram_latency + 1 that have left the RAM; ``space`` may
    be low from ``places`` - 2 on.
    Backpressure: ``o.valid`` comes out of registers through a gate, ``o.payload`` through a multiplexer; ``o.ready``
    ends in registers.
    Reset: empties the queue.
    Cost: RAMs of ``places`` words, up to the next power of two; a register of a word and a 2:1 multiplexer.
    Source: own.
    """

    def __init__(self, target: Target, pipeline: Pipeline, width: int, places: int, near: int = 0):
        self._target, self._pipeline, self._places, self._near = target, pipeline, places, near
        super().__init__({
            "w_en": In(1), "w_data": In(width), "space": Out(1, init=1), "pop": Out(1),
            "o": Out(stream.Signature(width)), "empty": Out(1)})

    def elaborate(self, platform):
        m = Module()
        width, parts = len(self.w_data), []
        # Two registers of one bit, or synthesis would put the enables of all words behind one more gate.
        is_held, stall = signals("is_held stall")
        moving = Signal(name="moving", init=1)
        words = Signal(width, name="words")
        for low in [*range(min(self._near, 1)), *range(self._near, width, RAM_BITS)]:
            is_near = low < self._near
            part = slice(low, self._near if is_near else min(low + RAM_BITS, width))
            m.submodules[f"bits{low}"] = queue = TokenQueue(
                self._target, self._pipeline, part.stop - low, self._places, is_near)
            m.d.comb += [queue.w_en.eq(self.w_en), queue.w_data.eq(self.w_data[part]), queue.moving.eq(moving),
                         words[part].eq(queue.r_data)]
            parts.append(queue)
        kept = Signal(width, name="kept", reset_less=True)
        m.d.comb += [
            self.o.valid.eq(is_held | parts[0].r_valid), self.o.payload.eq(Mux(is_held, kept, words)),
            stall.eq(self.o.valid & ~self.o.ready), self.pop.eq(parts[0].pop),
            self.empty.eq(parts[0].empty & ~is_held)]
        m.d.sync += [is_held.eq(stall), moving.eq(~stall), self.space.eq(parts[0].level <= self._places - LATE_WORDS)]
        with m.If(moving):
            m.d.sync += kept.eq(words)
        return m
