"""Read arbiter: the reader and the residual share the read side of one memory port."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..primitives.parameters import RAM_BITS
from ..primitives.signals import signals
from ..primitives.stream import SkidBuffer
from .parameters import LATE_WORDS
from .port import MemoryParameters
from .reader import TokenQueue

__all__ = ["BeatQueue", "ReadArbiter"]



class BeatQueue(wiring.Component):
    """A queue of at most ``places`` >= 4 words of any ``width``.

    ``w_en`` and ``w_data``: a word enters. It may where ``space`` was high in the cycle before, or where the writer
    counts places itself: ``pop`` is high for one cycle for each place that has become free. ``o``: the words, in order.
    ``empty``: no word is inside.

    Words wider than a Ram lie in several queues that keep step; each has a control of its own, so that none has many
    enables. A skid buffer needs two registers: the output registers of the RAMs are one, ``kept`` is the other.

    Format: none, words pass unchanged.
    Latency: 1 + config.ram_latency cycles from ``w_en`` to ``o``.
    Throughput: one word per cycle. Depth: ``places``, and up to ram_latency + 1 that have left the RAM; ``space`` may
    be low from ``places`` - 2 on.
    Backpressure: ``o.valid`` comes out of registers through a gate, ``o.payload`` through a multiplexer; ``o.ready``
    ends in registers.
    Reset: empties the queue.
    Cost: RAMs of ``places`` words, up to the next power of two; a register of a word and a 2:1 multiplexer.
    Source: own.
    """

    def __init__(self, config: CoreConfig, width: int, places: int):
        self._config, self._places = config, places
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
        for low in range(0, width, RAM_BITS):
            part = slice(low, min(low + RAM_BITS, width))
            m.submodules[f"bits{low}"] = queue = TokenQueue(self._config, part.stop - low, self._places)
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


class ReadArbiter(wiring.Component):
    """Two clients of one read port: requests go out, and every beat returns to who has asked for it.

    ``reader_read`` and ``residual_read``: beat numbers; ``reader_beats`` and ``residual_beats``: the beats, in the
    order of the client's requests. ``read`` and ``beats``: the read side of a memory port. ``in_flight``, 4..1024:
    requests whose owner is remembered, and beats that the reader has asked for and not been given.

    The residual goes first: it empties the array, and only blocks of the reader fill it again, so the reader is not
    kept waiting for ever. A request of the reader is taken when its beat has a place in a queue; beats of the reader
    therefore never wait on ``beats``, and a reader that stops does not stop the residual. Beats of the residual wait on
    ``beats``: who takes them must take each in the end, whatever becomes of its other requests.

    Format: none, beats pass unchanged.
    Latency: 1 cycle for a request. A beat is with the residual in the same cycle, but not earlier than 2 + ram_latency
    cycles after its request was on ``residual_read``; with the reader 2 + ram_latency cycles after it moved.
    Throughput: one request and one beat per cycle, of both clients together, if the memory answers within in_flight - 5
    cycles.
    Backpressure: ``read`` is cut in both directions. ``residual_read.ready`` comes out of registers through a gate;
    ``reader_read.ready`` through one that also sees ``residual_read.valid``. ``beats.ready`` sees
    ``residual_beats.ready``.
    Reset: forgets all requests and beats; answers of the memory that are still to come must not come.
    Cost: a queue of ``in_flight`` beats and one of as many bits, a register of a beat, two of an address.
    Source: docs/reference/vector.md, Memory traffic.

    Raises ValueError naming the parameter.
    """

    def __init__(self, config: CoreConfig, in_flight: int = 64):
        if not 4 <= in_flight <= 1024:
            raise ValueError(f"in_flight: {in_flight} is not in 4..1024")
        self._config, self._in_flight = config, in_flight
        memory = MemoryParameters.of(config)
        requests, beats = stream.Signature(config.memory_bits), stream.Signature(memory.beat)
        super().__init__({
            "reader_read": In(requests), "reader_beats": Out(beats), "residual_read": In(requests),
            "residual_beats": Out(beats), "read": Out(requests), "beats": In(beats)})

    def elaborate(self, platform):
        m = Module()
        beat_bits = len(self.beats.payload.as_value())
        m.submodules.owners = owners = BeatQueue(self._config, 1, self._in_flight)
        m.submodules.waiting = waiting = BeatQueue(self._config, beat_bits, self._in_flight)
        self._request(m, owners, waiting.pop)

        # ``owners`` keep a one for the reader.
        is_reader_beat, passing, arrived = signals("is_reader_beat passing arrived")
        arriving = Signal(beat_bits, name="arriving", reset_less=True)
        m.d.comb += [
            is_reader_beat.eq(owners.o.payload), passing.eq(is_reader_beat | self.residual_beats.ready),
            self.beats.ready.eq(owners.o.valid & passing), owners.o.ready.eq(self.beats.valid & passing),
            self.residual_beats.valid.eq(self.beats.valid & owners.o.valid & ~is_reader_beat),
            self.residual_beats.payload.eq(self.beats.payload),
            waiting.w_en.eq(arrived), waiting.w_data.eq(arriving),
            self.reader_beats.valid.eq(waiting.o.valid), self.reader_beats.payload.eq(waiting.o.payload),
            waiting.o.ready.eq(self.reader_beats.ready)]
        m.d.sync += [arriving.eq(self.beats.payload), arrived.eq(self.beats.valid & owners.o.valid & is_reader_beat)]
        return m

    def _request(self, m, owners, pop):
        """Lets one request a cycle out and notes its owner. ``pop``: a beat of the reader has given its place back."""
        m.submodules.out = out = SkidBuffer(self._config.memory_bits)
        wiring.connect(m, out.o, wiring.flipped(self.read))
        places = self._in_flight
        # ``free_places`` does not know the requests that were granted in this cycle and in the one before.
        free_places = Signal(range(places + 1), name="free_places", init=places)
        space = Signal(name="space", init=1)
        granted, is_reader, reader_granted = signals("granted is_reader reader_granted")
        reader, residual = self.reader_read, self.residual_read
        ready = Signal(name="ready")
        m.d.comb += [
            ready.eq(out.i.ready & owners.space), residual.ready.eq(ready),
            reader.ready.eq(ready & space & ~residual.valid),
            out.i.valid.eq((residual.valid | (reader.valid & space)) & owners.space),
            out.i.payload.eq(Mux(residual.valid, residual.payload, reader.payload)),
            owners.w_en.eq(granted), owners.w_data.eq(is_reader), reader_granted.eq(granted & is_reader)]
        m.d.sync += [
            granted.eq(out.i.valid & out.i.ready), is_reader.eq(~residual.valid),
            free_places.eq(free_places + pop - reader_granted), space.eq(free_places >= LATE_WORDS)]
