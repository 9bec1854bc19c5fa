"""Host access: a core that streams and a host that reads and writes words, on a memory with random latencies.

Memory has three parts: what nobody writes, what the core writes and what the host writes. So every beat and word is
known whatever the order of the two is.
"""

from collections import deque
import random

from amaranth.hdl import Value
import pytest

from wingbeat.hw.memory.host_access import HostAccess
from wingbeat.hw.memory.port import MemoryParameters
from wingbeat.sim.bench.stream import Bench, Stall

FORMATS = {"bytes": MemoryParameters(8, 8, 6), "halves": MemoryParameters(8, 16, 6), "odd": MemoryParameters(4, 12, 6),
           "wide": MemoryParameters(2, 18, 6), "one word": MemoryParameters(2, 16, 6)}
BEATS = 48
DEADLINE = 20_000
FIXED, CORE = range(16), range(16, 32)  # the others are the host's


def slots(parameters, beat):
    """A beat of the port as bytes in memory, lowest first."""
    width, n_bytes = parameters.element_width, parameters.slot_bits // 8
    data = b""
    for number in range(parameters.elements):
        element = beat >> width * number & (1 << width) - 1
        element -= (element >> width - 1) << width
        data += element.to_bytes(n_bytes, "little", signed=True)
    return data


class Memory:
    """Answers in order, each ``most`` cycles late at most; numbers outside must not come."""

    def __init__(self, bench, port, parameters, rng, most, failing=()):
        self.beats = [rng.getrandbits(parameters.beat.size) for _ in range(BEATS)]
        self._port, self._parameters, self._rng, self._most, self._failing = port, parameters, rng, most, failing
        bench.process(self._serve, background=True)

    async def _serve(self, ctx):
        port, rng, width = self._port, self._rng, self._parameters.element_width
        shape = port.beats.payload.shape()
        reads, writes, cycle, offered, held = deque(), deque(), 0, False, {}
        sampled = (port.read.valid, port.read.payload, port.beats.ready, port.write.valid,
                   Value.cast(port.write.payload))
        ready = {"read": 0, "write": 0}
        async for _, _, r_valid, r_place, taken, w_valid, w_bits in ctx.tick().sample(*sampled):
            for name, valid, payload in (("read", r_valid, r_place), ("write", w_valid, w_bits)):
                assert name not in held or (valid and held[name] == payload), f"{name} changed in cycle {cycle}"
                held.pop(name, None)
                if valid and not ready[name]:
                    held[name] = payload
            if offered and taken:
                reads.popleft()
            if r_valid and ready["read"]:
                assert r_place < BEATS
                reads.append((cycle + rng.randint(1, self._most), r_place))
            if w_valid and ready["write"]:
                writes.append((cycle + rng.randint(1, self._most), w_bits))
            written = bool(writes) and writes[0][0] <= cycle
            failed = 0
            if written:
                write = port.write.payload.shape().from_bits(writes.popleft()[1])
                mask = sum((1 << width) - 1 << width * n for n in range(self._parameters.elements)
                           if write.strobe >> n & 1)
                failed = write.address in self._failing
                self.beats[write.address] = self.beats[write.address] & ~mask | write.beat.as_bits() & mask
            ctx.set(port.written, written)
            cycle += 1
            offered = bool(reads) and reads[0][0] <= cycle
            failed |= offered and reads[0][1] in self._failing
            ctx.set(port.failed, failed)
            ctx.set(port.beats.valid, offered)
            ctx.set(port.beats.payload, shape.from_bits(self.beats[reads[0][1]] if offered else rng.getrandbits(9)))
            for name, stream in (("read", port.read), ("write", port.write)):
                ready[name] = rng.random() < 0.7
                ctx.set(stream.ready, ready[name])


class Host:
    """Words one by one; a test of more than ``DEADLINE`` cycles has failed."""

    def __init__(self, dut, bench):
        self.dut = dut

        async def watchdog(ctx):
            for _ in range(DEADLINE):  # `repeat` complains when the simulation is dropped
                await ctx.tick()
            raise AssertionError(f"no end in {DEADLINE} cycles, {bench.seed_note}")
        bench.process(watchdog, background=True)

    async def access(self, ctx, address, data=None):
        i, o = self.dut.i, self.dut.o
        ctx.set(i.payload, {"write": data is not None, "address": address, "data": data or 0})
        ctx.set(i.valid, 1)
        await ctx.tick().until(i.ready)
        ctx.set(i.valid, 0)
        ctx.set(o.ready, 1)
        [answer] = await ctx.tick().sample(o.payload).until(o.valid)
        ctx.set(o.ready, 0)
        return answer.data, answer.error


def core_writes(rng, parameters, count):
    return [(rng.choice(CORE), rng.getrandbits(parameters.elements), rng.getrandbits(parameters.beat.size))
            for _ in range(count)]


def bits_of_write(parameters, write):
    address, strobe, beat = write
    return address | strobe << parameters.address_bits | beat << parameters.address_bits + parameters.elements


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("most, stall", [(1, Stall.NEVER), (12, Stall.RANDOM), (30, Stall.BURSTS)])
def test_core_and_host_see_their_own(name, most, stall):
    parameters, seed = FORMATS[name], most
    rng, dut = random.Random(seed), HostAccess(FORMATS[name], BEATS)
    bench = Bench(dut, seed)
    host = Host(dut, bench)
    memory = Memory(bench, dut.memory, parameters, rng, most)
    before, words = list(memory.beats), parameters.beat_bytes // 4
    writes = core_writes(rng, parameters, 120)
    reads = [rng.choice(FIXED) for _ in range(200)]
    bench.feed(dut.core.read, reads, stall)
    bench.feed(dut.core.write, [bits_of_write(parameters, write) for write in writes], stall)
    beats = bench.sink(dut.core.beats, len(reads), stall)
    pulses = []

    async def count(ctx):
        async for _, _, written, refused in ctx.tick().sample(dut.core.written, dut.core.refused):
            assert not refused
            if written:
                pulses.append(1)

    def known(place):
        """The word that bytes say."""
        beat, index = divmod(place, words)
        return int.from_bytes(slots(parameters, model[beat])[4 * index:4 * index + 4], "little")

    model = list(before)

    async def accesses(ctx):
        for _ in range(60):
            place = rng.randrange((BEATS + 3) * words)
            beat, index = divmod(place, words)
            if rng.random() < 0.5 and beat >= CORE.stop:
                word = rng.getrandbits(32)
                _, error = await host.access(ctx, place, word)
                if beat < BEATS:
                    width, per_word = parameters.element_width, 32 // parameters.slot_bits
                    for n in range(per_word):
                        at = width * (index * per_word + n)
                        element = word >> parameters.slot_bits * n & (1 << width) - 1
                        model[beat] = model[beat] & ~((1 << width) - 1 << at) | element << at
            else:
                data, error = await host.access(ctx, place)
                if beat < BEATS and beat not in CORE:
                    assert data == known(place), bench.seed_note
            assert error == (beat >= BEATS), bench.seed_note
            for _ in range(rng.randrange(4)):
                await ctx.tick()
        while len(pulses) < len(writes):
            await ctx.tick()

    bench.process(count, background=True)
    bench.process(accesses)
    bench.run(DEADLINE)
    assert beats.words == [before[number] for number in reads], bench.seed_note
    assert len(pulses) == len(writes)
    for address, strobe, beat in writes:
        width = parameters.element_width
        mask = sum((1 << width) - 1 << width * n for n in range(parameters.elements) if strobe >> n & 1)
        model[address] = model[address] & ~mask | beat & mask
    assert memory.beats == model, bench.seed_note


def test_a_core_that_takes_no_beats_does_not_lose_them():
    """The access waits behind the beats of the core and comes when they have been taken."""
    parameters = FORMATS["halves"]
    dut = HostAccess(parameters, BEATS)
    bench, order = Bench(dut, 1), []
    host = Host(dut, bench)
    memory = Memory(bench, dut.memory, parameters, random.Random(1), 1)
    feed = bench.feed(dut.core.read, range(3))

    async def core(ctx):
        await ctx.tick().repeat(40)
        for number in range(3):
            ctx.set(dut.core.beats.ready, 1)
            [beat] = await ctx.tick().sample(Value.cast(dut.core.beats.payload)).until(dut.core.beats.valid)
            assert beat == memory.beats[number]
            order.append("core")
        ctx.set(dut.core.beats.ready, 0)

    async def accesses(ctx):
        while len(feed.cycles) < 3:
            await ctx.tick()
        data, error = await host.access(ctx, 4 * 7 + 1)
        assert (data, error) == (int.from_bytes(slots(parameters, memory.beats[7])[4:8], "little"), 0)
        order.append("host")
    bench.process(core)
    bench.process(accesses)
    bench.run(500)
    assert order == ["core"] * 3 + ["host"]


def test_a_failure_of_the_memory_is_an_error():
    dut = HostAccess(FORMATS["halves"], BEATS)
    bench = Bench(dut, 2)
    host = Host(dut, bench)
    Memory(bench, dut.memory, FORMATS["halves"], random.Random(2), 5, failing=(7,))

    async def accesses(ctx):
        for address, data, expected in ((28, None, 1), (32, None, 0), (29, 5, 1), (33, 5, 0)):
            assert (await host.access(ctx, address, data))[1] == expected, address
    bench.process(accesses)
    bench.run(500)


def test_parameters():
    for parameters, beats, message in ((FORMATS["halves"], 65, "beats: 65; allowed are 1..64, .*"),
                                       (MemoryParameters(2, 8, 6), 4, "memory: a beat of 2 bytes; allowed are 4 .*")):
        with pytest.raises(ValueError, match=f"^{message}$"):
            HostAccess(parameters, beats)
