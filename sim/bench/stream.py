"""Test bench for components with stream ports: drivers with stall profiles, collectors, rule checkers.

    bench = Bench(dut, seed=7)
    feed = bench.feed(dut.i, words, Stall.RANDOM)
    sink = bench.sink(dut.o, len(expected), Stall.BURSTS)
    bench.run(deadline=10 * len(words))
    assert sink.words == expected, bench.seed_note

Runs in the Amaranth simulator. Every output is watched: once valid, a word must stay valid and unchanged
until it has moved. ``run`` raises AssertionError, naming port, cycle and seed, when a rule is broken, when
the deadline passes, or when a word is left over. Source and collector never look at each other.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
import random
from typing import Any

from amaranth.hdl import ClockDomain, Module, Shape, Value
from amaranth.sim import Simulator

__all__ = ["Stall", "CROSS", "Feed", "Sink", "Bench", "SlowMemory", "SimulatedSerial", "bits_of"]

_SETTLE = 24  # cycles after the last expected word in which a left-over word would show


class Stall(Enum):
    """When a driver or collector is willing to move a word."""

    NEVER = "never"          # willing in every cycle
    RANDOM = "random"        # every second cycle on average
    OFTEN = "often"          # one cycle in eight on average
    BURSTS = "bursts"        # runs of 1..16 cycles, willing and not
    ALTERNATE = "alternate"  # every second cycle exactly
    SHY = "shy"              # collector only: ready for one cycle, after valid has been seen

    def willing(self, rng: random.Random) -> Iterator[bool]:
        """Endless sequence, one value per cycle. SHY is left to the collector."""
        chance = {Stall.NEVER: 1.0, Stall.SHY: 1.0, Stall.RANDOM: 0.5, Stall.OFTEN: 0.125}
        state = True
        while True:
            if self in chance:
                yield rng.random() < chance[self]
            elif self is Stall.ALTERNATE:
                yield state
                state = not state
            else:
                yield from [state] * rng.randint(1, 16)
                state = not state


# Source stalls x sink stalls that every stream part is tested with.
CROSS = [(source, sink)
         for source in (Stall.NEVER, Stall.RANDOM, Stall.BURSTS)
         for sink in (Stall.NEVER, Stall.RANDOM, Stall.BURSTS, Stall.SHY)]


def bits_of(shape: Any, value: Any) -> int:
    """Bit pattern, as a non-negative integer, of ``value`` in a layout or plain shape."""
    if isinstance(value, int):
        return value & ((1 << Shape.cast(shape).width) - 1)
    return shape.const(value).as_bits()


@dataclass
class Feed:
    """Words for one input port; ``cycles[k]`` is the cycle in which word k moved."""

    words: list[int]
    cycles: list[int] = field(default_factory=list)


@dataclass
class Sink:
    """What one output port delivered, as bit patterns, and in which cycles."""

    expected: int
    words: list[int] = field(default_factory=list)
    cycles: list[int] = field(default_factory=list)


class Bench:
    """Drives the stream ports of ``dut`` in clock domain ``sync``.

    Cycle k is the k-th clock edge after the start, or after the reset. ``seed`` fixes all stalls.
    ``rst`` is the reset of the domain, for testbenches of one's own.
    """

    def __init__(self, dut: Any, seed: int = 0):
        self.seed_note = f"seed {seed}"
        self._rng = random.Random(seed)
        self._feeds: list[Feed] = []
        self._sinks: list[Sink] = []
        domain = ClockDomain("sync")
        self.rst = domain.rst
        m = Module()
        m.domains += domain
        m.submodules.dut = dut
        self.simulator = Simulator(m)
        self.simulator.add_clock(1e-6)

    def feed(self, port: Any, words: Iterable[Any], stall: Stall = Stall.NEVER) -> Feed:
        """Send ``words`` (bit patterns, or what the port's layout accepts) into an input port.

        Between words the payload is noise.
        """
        feed = Feed([bits_of(port.payload.shape(), word) for word in words])
        self._feeds.append(feed)
        self.simulator.add_testbench(self._source(port, feed, stall), background=True)
        return feed

    def sink(self, port: Any, expected: int, stall: Stall = Stall.NEVER) -> Sink:
        """Collect from an output port; the bench waits for ``expected`` words and accepts no more."""
        sink = Sink(expected)
        self._sinks.append(sink)
        self.simulator.add_testbench(self._collector(port, sink, stall), background=True)
        return sink

    def noise(self, payload: Any, *enables: Any) -> None:
        """Whenever none of ``enables`` is set, flip some bits of the input port ``payload`` in every cycle: whoever
        takes it nevertheless is seen. What else drives the port sets it again with each enable.
        """
        bits, rng = Value.cast(payload), random.Random(f"noise, {self.seed_note}")

        async def testbench(ctx):
            async for _ in ctx.tick():
                if not any(ctx.get(enable) for enable in enables):
                    flipped = rng.getrandbits(len(bits)) & rng.getrandbits(len(bits)) & rng.getrandbits(len(bits))
                    ctx.set(bits, ctx.get(bits) ^ flipped)
        self.simulator.add_testbench(testbench, background=True)

    def process(self, testbench: Callable[[Any], Any], background: bool = False) -> None:
        """Add a testbench of one's own, ``async def testbench(ctx)``; ``run`` waits for it unless
        ``background``.
        """
        async def awaited(ctx):
            await testbench(ctx)
        self.simulator.add_testbench(awaited, background=background)

    def run(self, deadline: int, reset_at: int | None = None) -> None:
        """Run until all is sent and received, at most ``deadline`` cycles, and a little longer.

        With ``reset_at`` the design is reset in that cycle; then all words are sent again from the first and
        what was collected is forgotten, so that the expected result is the same as without.
        """
        self.simulator.add_testbench(self._referee(deadline, reset_at))
        self.simulator.run()

    def _referee(self, deadline, reset_at):
        async def testbench(ctx):
            if reset_at is not None:
                await ctx.tick().repeat(reset_at)
                ctx.set(self.rst, 1)
                await ctx.tick()
                ctx.set(self.rst, 0)
            for _ in range(deadline):
                await ctx.tick()
                if all(len(f.cycles) == len(f.words) for f in self._feeds) and \
                        all(len(s.words) >= s.expected for s in self._sinks):
                    break
            else:
                sent = [f"{len(f.cycles)}/{len(f.words)}" for f in self._feeds]
                received = [f"{len(s.words)}/{s.expected}" for s in self._sinks]
                raise AssertionError(f"deadline of {deadline} cycles passed: sent {sent}, "
                                     f"received {received} ({self.seed_note})")
            await ctx.tick().repeat(_SETTLE)
        return testbench

    def _source(self, port, feed, stall):
        payload, rng = Value.cast(port.payload), random.Random(self._rng.random())
        go = stall.willing(rng)

        async def testbench(ctx):
            def offer():
                moving = len(feed.cycles) < len(feed.words) and next(go)
                ctx.set(port.valid, moving)
                ctx.set(payload, feed.words[len(feed.cycles)] if moving else rng.getrandbits(len(payload)))
                return moving

            cycle, offered = 0, offer()
            async for _, reset, ready in ctx.tick().sample(port.ready):
                if offered and ready:
                    feed.cycles.append(cycle)
                cycle += 1
                if reset:
                    cycle = 0
                    feed.cycles.clear()
                if not offered or ready or reset:
                    offered = offer()
        return testbench

    def _collector(self, port, sink, stall):
        payload, number, note = Value.cast(port.payload), len(self._sinks) - 1, self.seed_note
        go = stall.willing(random.Random(self._rng.random()))

        async def testbench(ctx):
            cycle, held = 0, None  # held: the word offered and not taken in the cycle before
            ready = stall is not Stall.SHY and next(go)
            ctx.set(port.ready, ready)
            async for _, reset, valid, word in ctx.tick().sample(port.valid, payload):
                where = f"in cycle {cycle} ({note})"
                assert held is None or valid, f"sink {number}: valid fell {where}"
                assert held is None or word == held, f"sink {number}: payload changed {where}"
                held = word if valid and not ready and not reset else None
                if valid and ready:
                    sink.words.append(word)
                    sink.cycles.append(cycle)
                    assert len(sink.words) <= sink.expected or reset, \
                        f"sink {number}: more than {sink.expected} words {where}"
                cycle += 1
                if reset:
                    cycle = 0
                    sink.words.clear()
                    sink.cycles.clear()
                ready = held is not None if stall is Stall.SHY else next(go)
                ctx.set(port.ready, ready)
        return testbench


async def _ticks(ctx, n):
    """``repeat`` of a trigger complains when the simulation is dropped in the middle of it."""
    for _ in range(n):
        await ctx.tick()


class SlowMemory:
    """The read side of a memory port in a bench: bits of a beat by ``content`` of its number, in order, each
    ``latency()`` cycles after its request at least, noise in between. Takes requests where ``ready`` is willing, and
    checks that they hold. ``moves``: the numbers asked for, ``cycles``: when."""

    def __init__(self, bench: Bench, read: Any, beats: Any, content: Callable[[int], int], rng: random.Random,
                 latency: Callable[[], int] = lambda: 1, ready: Stall = Stall.NEVER):
        self._read, self._beats, self._content, self._rng, self._latency = read, beats, content, rng, latency
        self.ready, self._note = ready.willing(random.Random(rng.random())), bench.seed_note
        self.moves: list[int] = []
        self.cycles: list[int] = []
        bench.process(self._serve, background=True)

    async def _serve(self, ctx):
        read, beats, queue, cycle, held = self._read, self._beats, deque(), 0, None
        shape, offered = beats.payload.shape(), False
        ready = next(self.ready)
        ctx.set(read.ready, ready)
        async for _, reset, valid, place, taken in ctx.tick().sample(read.valid, read.payload, beats.ready):
            assert held is None or (valid and place == held), f"request changed in cycle {cycle}, {self._note}"
            held = place if valid and not ready and not reset else None
            if offered and taken:
                queue.popleft()
            if valid and ready:
                queue.append((cycle + self._latency(), place))
                self.moves.append(place)
                self.cycles.append(cycle)
            cycle += 1
            if reset:
                queue.clear()
                self.moves.clear()
                self.cycles.clear()
                cycle = 0
            ready = next(self.ready)
            ctx.set(read.ready, ready)
            offered = bool(queue) and queue[0][0] <= cycle
            ctx.set(beats.valid, offered)
            noise = self._rng.getrandbits(shape.size)
            ctx.set(beats.payload, shape.from_bits(self._content(queue[0][1]) if offered else noise))


class SimulatedSerial:
    """A serial port, as pyserial has it, whose other end are the pins ``rx`` and ``tx`` of a simulated
    design.

    Blocking code can use it: ``read`` lets the simulation run until the bytes are there, at most
    ``timeout`` bit times after the last one. ``divisor``: cycles per bit. ``reset_request``, if given,
    resets ``bench``'s domain.
    """

    def __init__(self, bench: Bench, rx: Any, tx: Any, divisor: int, timeout: int = 2000,
                 reset_request: Any = None):
        self._simulator = bench.simulator
        self._divisor, self._timeout = divisor, timeout
        self._outgoing: deque[int] = deque()
        self._incoming = bytearray()
        self._now = 0
        bench.process(self._transmitter(rx), background=True)
        bench.process(self._receiver(tx), background=True)
        if reset_request is not None:
            bench.process(self._resetter(bench.rst, reset_request), background=True)

    @property
    def cycles(self) -> int:
        """Clock cycles since the start, in whole bit times."""
        return self._now * self._divisor

    def write(self, data: bytes) -> int:
        """Queue bytes; they are on the line while ``read`` waits."""
        self._outgoing.extend(data)
        return len(data)

    def read(self, size: int = 1) -> bytes:
        """Up to ``size`` bytes, fewer after a timeout."""
        deadline, have = self._now + self._timeout, len(self._incoming)
        while len(self._incoming) < size and self._now < deadline:
            self._simulator.advance()
            if len(self._incoming) > have or self._outgoing:
                deadline, have = self._now + self._timeout, len(self._incoming)
        data = bytes(self._incoming[:size])
        del self._incoming[:size]
        return data

    def _transmitter(self, rx):
        async def testbench(ctx):
            while True:
                byte = self._outgoing.popleft() if self._outgoing else None
                for bit in [1] if byte is None else [0, *(byte >> i & 1 for i in range(8)), 1]:
                    ctx.set(rx, bit)
                    await _ticks(ctx, self._divisor)
                    self._now += 1
        return testbench

    def _receiver(self, tx):
        async def testbench(ctx):
            while True:
                while ctx.get(tx):
                    await ctx.negedge(tx)
                await _ticks(ctx, self._divisor // 2)
                bits = 0
                for position in range(9):
                    bits |= ctx.get(tx) << position
                    await _ticks(ctx, self._divisor)
                if not bits & 1 and ctx.get(tx):  # a start and a stop bit
                    self._incoming.append(bits >> 1)
        return testbench

    @staticmethod
    def _resetter(rst, request):
        async def testbench(ctx):
            async for _, reset, requested in ctx.tick().sample(request):
                ctx.set(rst, requested and not reset)
        return testbench
