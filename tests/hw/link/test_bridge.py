"""The serial bridge against a model of its bytes: accesses, answers, counts, CRC; noise, half commands, lost bytes."""

from dataclasses import dataclass, field
import random
import zlib

import pytest

from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.bit_fields import unpack
from wingbeat.hw.isa.serial_bus import (
    COUNTS_FIELDS, MEMORY_BASE, LONGEST_COMMAND, BridgeRegister, Command, encode_command)
from wingbeat.hw.link.bridge import BridgeParameters, SerialBridge
from wingbeat.sim.bench.stream import Bench

TIMEOUT = 30
SIZE = 4096
REGISTERS = 0x200  # bytes that the target of registers has; the others are refused


@dataclass
class Target:
    """What stands behind a pair of access and answer: words by number, all writes in their order."""

    words: dict[int, int] = field(default_factory=dict)
    writes: list[tuple[int, int]] = field(default_factory=list)
    limit: int = 1 << 30

    async def serve(self, ctx, request, answer, rng, most):
        """One access at a time, up to ``most`` cycles each."""
        due = None
        ctx.set(request.ready, 1)
        async for _, _, asked, payload, taken in ctx.tick().sample(request.valid, request.payload, answer.ready):
            if ctx.get(answer.valid):
                if taken:
                    ctx.set(answer.valid, 0)
                    ctx.set(request.ready, 1)
            elif due is None and asked:
                due = rng.randint(0, most)
                access = payload
                ctx.set(request.ready, 0)
            if due is not None:
                due -= 1
                if due < 0:
                    due = None
                    ctx.set(answer.payload, self.answer(access))
                    ctx.set(answer.valid, 1)

    def answer(self, access):
        error = access.address >= self.limit
        if access.write and not error:
            self.words[access.address] = access.data
            self.writes.append((access.address, access.data))
        # What is behind an error or a write means nothing.
        data = 0xBADBAD if error or access.write else self.words.get(access.address, 0)
        return {"data": data, "error": error}


class BridgeBench:
    """A bridge with two targets, and the host's end of the bytes. ``crc``: of all bytes since CHECK was written."""

    def __init__(self, seed=0, most=3):
        self.dut = SerialBridge(BridgeParameters(SIZE, TIMEOUT))
        self.bench = Bench(self.dut, seed)
        self.rng = random.Random(seed)
        self.registers, self.memory, self.crc = Target(limit=REGISTERS // 4), Target(limit=SIZE // 4), 0
        for target, request, answer in ((self.registers, self.dut.o_registers, self.dut.i_registers),
                                        (self.memory, self.dut.o_memory, self.dut.i_memory)):
            self.bench.process(lambda ctx, t=target, q=request, a=answer: t.serve(ctx, q, a, self.rng, most),
                               background=True)

    def run(self, conversation, deadline=20_000):
        async def host(ctx):
            await conversation(ctx)

        async def watchdog(ctx):
            for _ in range(deadline):  # `repeat` complains when the simulation is dropped
                await ctx.tick()
            raise AssertionError(f"the conversation has no end in {deadline} cycles, {self.bench.seed_note}")
        self.bench.process(host)
        self.bench.process(watchdog, background=True)
        self.bench.run(deadline)

    async def send(self, ctx, data, gaps=0):
        for byte in data:
            for _ in range(self.rng.randint(0, gaps)):
                await ctx.tick()
            ctx.set(self.dut.i.payload, byte)
            ctx.set(self.dut.i.valid, 1)
            await ctx.tick().until(self.dut.i.ready)
            ctx.set(self.dut.i.valid, 0)
        self.crc = zlib.crc32(bytes(data), self.crc)

    async def receive(self, ctx, count):
        data = bytearray()
        while len(data) < count:
            ctx.set(self.dut.o.ready, self.rng.random() < 0.7)
            _, _, valid, ready, byte = await ctx.tick().sample(self.dut.o.valid, self.dut.o.ready, self.dut.o.payload)
            if valid and ready:
                data.append(byte)
        ctx.set(self.dut.o.ready, 0)
        self.crc = zlib.crc32(bytes(data), self.crc)
        return [int.from_bytes(data[at:at + 4], "big") for at in range(0, count, 4)]

    async def read(self, ctx, address, count=1, command=Command.READ):
        await self.send(ctx, encode_command(command, address, count))
        return await self.receive(ctx, 4 * count)

    async def write(self, ctx, address, words, command=Command.WRITE, gaps=0):
        data = b"".join(word.to_bytes(4, "big") for word in words)
        await self.send(ctx, encode_command(command, address, len(words)) + data, gaps)

    async def quiet(self, ctx):
        for _ in range(TIMEOUT + 5):
            await ctx.tick()

    async def counts(self, ctx):
        [word] = await self.read(ctx, BridgeRegister.COUNTS)
        return unpack(COUNTS_FIELDS, word)

    async def restart(self, ctx):
        """Counts and CRC begin anew."""
        await self.write(ctx, BridgeRegister.COUNTS, [0])
        await self.write(ctx, BridgeRegister.CHECK, [0])
        self.crc = 0

    async def check(self, ctx):
        await self.send(ctx, encode_command(Command.READ, BridgeRegister.CHECK, 1))
        expected = self.crc
        assert await self.receive(ctx, 4) == [expected], self.bench.seed_note


@pytest.mark.parametrize("seed", range(4))
def test_random_accesses(seed):
    """Reads and writes of all four kinds, of both targets, legal and not, against a dictionary; counts and CRC."""
    bench = BridgeBench(seed)
    rng = random.Random(seed)
    model = {0: {}, MEMORY_BASE: {}}
    limits = {0: REGISTERS, MEMORY_BASE: SIZE}

    async def conversation(ctx):
        await bench.restart(ctx)
        refused, first = 0, 0
        for _ in range(60):
            base = rng.choice(list(model))
            address = base + 4 * rng.randrange(limits[base] // 4 + 8)
            command = Command(rng.randrange(1, 5))
            count = rng.choice([1, 2, 5, rng.randint(1, 20)])
            step = 4 if command <= Command.READ else 0
            places = [address + step * n for n in range(count)]
            illegal = [place for place in places if place - base >= limits[base]]
            refused, first = refused + len(illegal), first or (illegal or [0])[0]
            if command in (Command.WRITE, Command.WRITE_FIXED):
                words = [rng.getrandbits(32) for _ in range(count)]
                await bench.write(ctx, address, words, command, gaps=rng.choice([0, 0, 10]))
                model[base] |= {place: word for place, word in zip(places, words) if place not in illegal}
            else:
                expected = [0 if place in illegal else model[base].get(place, 0) for place in places]
                assert await bench.read(ctx, address, count, command) == expected, bench.bench.seed_note
            if rng.random() < 0.3:
                await bench.send(ctx, bytes(rng.randint(1, 5)))  # idle
            if rng.random() < 0.3:
                await bench.check(ctx)
        assert await bench.counts(ctx) == {"refused": min(refused, 255), "broken": 0, "lost": 0}
        assert await bench.read(ctx, BridgeRegister.REFUSED) == [first]
        await bench.check(ctx)
    bench.run(conversation)
    for base, target in ((0, bench.registers), (MEMORY_BASE, bench.memory)):
        assert {base + 4 * place: word for place, word in target.words.items()} == model[base], f"seed {seed}"


def test_the_longest_command_and_the_order_of_its_words():
    bench = BridgeBench(5, most=0)
    words = [random.Random(5).getrandbits(32) for _ in range(LONGEST_COMMAND)]

    async def conversation(ctx):
        await bench.write(ctx, MEMORY_BASE + 16, words)
        await bench.write(ctx, 0x68, [1, 2, 3], Command.WRITE_FIXED)
        assert await bench.read(ctx, MEMORY_BASE + 16, LONGEST_COMMAND) == words
    bench.run(conversation)
    assert bench.memory.writes == [(4 + n, word) for n, word in enumerate(words)]
    assert bench.registers.writes == [(0x1A, 1), (0x1A, 2), (0x1A, 3)]


def test_bytes_are_those_of_uartbone():
    """As CommUART of LiteX sends them, written out."""
    bench = BridgeBench(6)
    bench.memory.words[1] = 0x11223344

    async def conversation(ctx):
        await bench.send(ctx, bytes([1, 1, 0, 0, 0, 0x10, 0xAA, 0xBB, 0xCC, 0xDD]))
        await bench.send(ctx, bytes([2, 1, 0x20, 0, 0, 1]))
        assert await bench.receive(ctx, 4) == [0x11223344]
    bench.run(conversation)
    assert bench.registers.writes == [(0x10, 0xAABBCCDD)]


def test_registers_of_the_bridge():
    bench = BridgeBench(7)

    async def conversation(ctx):
        assert await bench.read(ctx, BridgeRegister.SIZE) == [SIZE]
        await bench.write(ctx, BridgeRegister.SIZE, [5])
        await bench.write(ctx, BridgeRegister.REFUSED, [5])
        assert await bench.read(ctx, BridgeRegister.SIZE + 4) == [0]
        assert await bench.read(ctx, 0x2000) == [0]
        assert (await bench.counts(ctx))["refused"] == 4
        await bench.read(ctx, 0x2000, LONGEST_COMMAND)
        assert (await bench.counts(ctx))["refused"] == 255
        assert await bench.read(ctx, BridgeRegister.REFUSED) == [BridgeRegister.SIZE]
        await bench.restart(ctx)
        assert await bench.counts(ctx) == {"refused": 0, "broken": 0, "lost": 0}
        assert await bench.read(ctx, BridgeRegister.REFUSED) == [0]
    bench.run(conversation)
    assert not bench.memory.writes and not bench.registers.writes


HALF = encode_command(Command.WRITE, 0x40, 2) + b"\1\2\3\4"
BROKEN = {
    "unknown command": (b"\5" + HALF * 3, 1), "no words": (b"\1\0\0\0\0\x10abcd", 1), "one byte": (b"\1", 1),
    "half a header": (HALF[:4], 1), "half a word": (HALF[:9], 1), "text": (b"hello, is there anybody?\r\n", 1),
    "ones": (b"\xff" * 40, 1)}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_command_writes_nothing_and_ends(name):
    data, broken = BROKEN[name]
    bench = BridgeBench(8)

    async def conversation(ctx):
        await bench.send(ctx, data)
        await bench.quiet(ctx)
        assert await bench.counts(ctx) == {"refused": 0, "broken": broken, "lost": 0}
        await bench.write(ctx, 0x44, [77])
        assert await bench.read(ctx, 0x44) == [77]
    bench.run(conversation)
    assert bench.registers.writes == [(0x11, 77)] and not bench.memory.writes


def test_a_write_that_breaks_off_has_written_its_whole_words():
    bench = BridgeBench(9)

    async def conversation(ctx):
        await bench.send(ctx, HALF + b"\5\6")
        await bench.quiet(ctx)
        assert (await bench.counts(ctx))["broken"] == 1
    bench.run(conversation)
    assert bench.registers.writes == [(0x10, 0x01020304)]


@pytest.mark.parametrize("sent", [0, 1, 3, 6, 8])
def test_behind_a_lost_byte_nothing_is_done_until_the_line_is_quiet(sent):
    bench = BridgeBench(10)

    async def conversation(ctx):
        await bench.send(ctx, HALF[:sent])
        ctx.set(bench.dut.lost, 1)
        await ctx.tick()
        ctx.set(bench.dut.lost, 0)
        await bench.send(ctx, HALF[sent + 1:] + HALF * 2, gaps=TIMEOUT // 2)
        await bench.quiet(ctx)
        assert await bench.counts(ctx) == {"refused": 0, "broken": 0, "lost": 1}
    bench.run(conversation)
    assert not bench.registers.writes


def test_the_crc_finds_a_byte_that_changed():
    bench = BridgeBench(11)

    async def conversation(ctx):
        await bench.restart(ctx)
        await bench.write(ctx, 0x40, [0x01020304])
        bench.crc ^= 1  # as if the host had sent another byte
        with pytest.raises(AssertionError):
            await bench.check(ctx)
    bench.run(conversation)


@pytest.mark.parametrize("seed", range(20, 26))
def test_random_bytes_neither_hang_nor_write_more_than_they_say(seed):
    """Noise, then silence: the bridge is in step again. What was written is what a decoder in Python finds in it."""
    bench, rng, quiet = BridgeBench(seed), random.Random(seed), [0]

    async def watch(ctx):
        """Cycles since the last byte in either direction, and the last access."""
        dut = bench.dut
        async for _, _, *moves in ctx.tick().sample(dut.i.valid, dut.o.valid, dut.o_memory.valid,
                                                    dut.o_registers.valid, ~dut.i.ready):
            quiet[0] = 0 if any(moves) else quiet[0] + 1

    async def conversation(ctx):
        for _ in range(4):
            noise = bytes(rng.choice([rng.randrange(256), rng.randrange(6)]) for _ in range(rng.randint(1, 60)))
            before = len(bench.registers.writes) + len(bench.memory.writes)
            expected = whole_words(noise)
            ctx.set(bench.dut.o.ready, 1)
            await bench.send(ctx, noise)
            while quiet[0] < 2 * TIMEOUT:
                await ctx.tick()
            ctx.set(bench.dut.o.ready, 0)
            after = len(bench.registers.writes) + len(bench.memory.writes)
            assert after - before == expected, f"{noise.hex()}, {bench.bench.seed_note}"
            await bench.write(ctx, 0x48, [rng.getrandbits(32)])
            assert await bench.read(ctx, 0x48) == [bench.registers.words[0x12]], bench.bench.seed_note
    bench.bench.process(watch, background=True)
    bench.run(conversation)


def whole_words(data):
    """Legal words that the commands in ``data`` write, up to what is broken."""
    at, written = 0, 0
    while at < len(data):
        if data[at] == Command.IDLE:
            at += 1
            continue
        if data[at] > max(Command) or len(data) < at + 6 or not data[at + 1]:
            return written
        command, count = Command(data[at]), data[at + 1]
        address, at = int.from_bytes(data[at + 2:at + 6], "big") * 4, at + 6
        if command in (Command.WRITE, Command.WRITE_FIXED):
            for n in range(count):
                if len(data) < at + 4:
                    return written
                place = address + 4 * n * (command == Command.WRITE)
                written += place % (1 << 32) < REGISTERS or 0 <= place - MEMORY_BASE < SIZE
                at += 4
    return written


def test_parameters():
    for change, message in (({"memory_bytes": 6}, "memory_bytes: 6; allowed are multiples of 4 up to 2147483648"),
                            ({"timeout": 3}, "timeout: 3 is out of range; allowed are 16..4294967295")):
        with pytest.raises(WingbeatError, match=f"^{message}$"):
            BridgeParameters(**({"memory_bytes": SIZE} | change))


@pytest.mark.parametrize("address, count, message", [
    (2, 1, "address: 0x2; allowed are multiples of 4 below 0x100000000"), (1 << 32, 1, "address: 0x100000000; .*"),
    (0, 0, "count: 0 words; allowed are 1..255"), (0, 256, "count: 256 words; allowed are 1..255")])
def test_headers_are_checked(address, count, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        encode_command(Command.READ, address, count)
