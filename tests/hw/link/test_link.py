"""The link between frames and an array: every kind of frame, bad frames, stalls on the array side, reset.

The array is a set of stream drivers; the host is a byte-level coroutine. Whatever a test does not announce
as expected transfers, the bench reports as words left over: so a bad frame that changed anything fails its
test.
"""

import random

from amaranth.hdl import Value
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.link_frame import ERROR, REPLY, SYNC, LinkFault, Kind, decode_frame, encode_frame, identity
from wingbeat.hw.isa.setup import SETUP_CONTROL
from wingbeat.hw.link.framer import LinkParameters
from wingbeat.hw.link.link import Link
from wingbeat.sim.bench.stream import Bench, Sink, Stall

pytestmark = pytest.mark.thin(4)

TIMEOUT = 40
WIDE = LinkParameters(element_width=18, stream_words=3, identity=0x89ABCDEF, limit=128, timeout=TIMEOUT)
NARROW = LinkParameters(element_width=8, stream_words=1, identity=7, limit=64, timeout=TIMEOUT)
FORMATS = pytest.mark.parametrize("parameters", [WIDE, NARROW], ids=["wide", "narrow"])
STATUS = {"busy": 0, "saturated": 1, "total": 0x01020304, "computing": 2, "waiting_input": 3,
          "waiting_output": 4, "waiting_hazard": 5, "blocks": 0xF0000001}


class LinkBench:
    """A link, its array side, and the host's end of the byte streams."""

    def __init__(self, parameters, seed, *, setups=(), beats=(), results=(), stall=Stall.NEVER,
                 array_takes=True):
        self.dut = Link(parameters)
        self.bench = Bench(self.dut, seed)
        self.setups, self.data = Sink(0), Sink(0)
        if array_takes:
            self.setups = self.bench.sink(self.dut.o_setup, len(setups))
            self.data = self.bench.sink(self.dut.o_data, len(beats), stall)
        self.bench.feed(self.dut.i_results, results, stall)
        self.expected = (list(setups), list(beats))
        self.resets = 0
        self.bench.process(self._count_resets, background=True)

    async def _count_resets(self, ctx):
        """Counts the resets asked for and grants them."""
        async for _, _, reset in ctx.tick().sample(self.dut.o_reset):
            if reset or self.resets:
                ctx.set(self.bench.rst, reset and not ctx.get(self.bench.rst))
            self.resets += ctx.get(self.bench.rst)

    def run(self, conversation, deadline=60_000, reset_at=None, status=STATUS):
        async def host(ctx):
            ctx.set(self.dut.i_status, status)
            await conversation(ctx)
        self.bench.process(host)
        self.bench.run(deadline, reset_at)
        assert (self.setups.words, self.data.words) == self.expected, self.bench.seed_note

    async def send(self, ctx, frame):
        i = self.dut.i
        for byte in frame:
            ctx.set(i.payload, byte)
            ctx.set(i.valid, 1)
            await ctx.tick().until(i.ready)
        ctx.set(i.valid, 0)

    async def receive(self, ctx):
        o, frame = self.dut.o, bytearray()
        ctx.set(o.ready, 1)
        while len(frame) < 4 or len(frame) < 6 + int.from_bytes(frame[2:4], "little"):
            for _ in range(40 * TIMEOUT):
                _, _, valid, byte = await ctx.tick().sample(o.valid, o.payload)
                if valid:
                    break
            else:
                raise AssertionError(f"no reply, {self.bench.seed_note}")
            frame.append(byte)
        ctx.set(o.ready, 0)
        return decode_frame(bytes(frame))

    async def ask(self, ctx, frame):
        await self.send(ctx, frame)
        return await self.receive(ctx)


def beats_and_bytes(rng, n, bits):
    n_bytes = -(-bits // 8)
    beats = [rng.getrandbits(bits) for _ in range(n)]
    return beats, b"".join(beat.to_bytes(n_bytes, "little") for beat in beats)


def setup_payload(rng, n):
    """Records as numbers of 64 bits (target in the low 8) and as bytes; never the control target."""
    records = [rng.getrandbits(56) << 8 | rng.randrange(SETUP_CONTROL) for _ in range(n)]
    return records, b"".join(record.to_bytes(8, "little") for record in records)


@FORMATS
def test_identify_and_status(parameters):
    link = LinkBench(parameters, 0)

    async def conversation(ctx):
        kind, payload = await link.ask(ctx, encode_frame(Kind.IDENTIFY))
        assert kind == Kind.IDENTIFY | REPLY
        assert payload == bytes([1, parameters.element_width]) + b"".join(
            value.to_bytes(size, "little") for value, size in (
                (parameters.stream_words, 2), (parameters.limit, 2), (parameters.identity, 4)))
        kind, payload = await link.ask(ctx, encode_frame(Kind.STATUS))
        words = [int.from_bytes(payload[at:at + 4], "little") for at in range(0, 24, 4)]
        assert (kind, len(payload)) == (Kind.STATUS | REPLY, 24)
        assert words == [2, *list(STATUS.values())[3:]]
    link.run(conversation)


def test_a_running_counter_is_read_at_one_instant():
    link = LinkBench(WIDE, 0)

    async def count(ctx):
        async for _ in ctx.tick():
            ctx.set(link.dut.i_status.blocks, (ctx.get(link.dut.i_status.blocks) + 0x01010101) & 0xFFFFFFFF)

    async def conversation(ctx):
        _, payload = await link.ask(ctx, encode_frame(Kind.STATUS))
        assert len(set(payload[-4:])) == 1, payload[-4:]  # four equal bytes at any time
    link.bench.process(count, background=True)
    link.run(conversation, status=STATUS | {"blocks": 0})


@FORMATS
@pytest.mark.parametrize("stall", [Stall.NEVER, Stall.RANDOM, Stall.BURSTS, Stall.OFTEN])
@pytest.mark.parametrize("seed", [1, 2])
def test_setup_data_and_results(parameters, stall, seed):
    """Random frames of every size; data are offered again while the link is busy, results polled between."""
    rng = random.Random(seed)
    in_bits, out_bits = parameters.input_beat.size, parameters.output_beat.size
    chunks = [rng.randint(1, parameters.limit // parameters.input_bytes) for _ in range(6)]
    data = [beats_and_bytes(rng, n, in_bits) for n in chunks]
    setups = [setup_payload(rng, rng.randint(1, parameters.limit // 8)) for _ in range(3)]
    results, result_bytes = beats_and_bytes(rng, 40, out_bits)
    start = SETUP_CONTROL | 1 << 24
    link = LinkBench(parameters, seed, stall=stall, results=results,
                     setups=[*setups[0][0], start, *setups[1][0], *setups[2][0]],
                     beats=[beat for beats, _ in data for beat in beats])
    received = bytearray()

    async def poll(ctx):
        kind, payload = await link.ask(ctx, encode_frame(Kind.RESULT))
        assert kind == Kind.RESULT | REPLY and len(payload) % parameters.output_bytes == 0
        received.extend(payload)

    async def patiently(ctx, kind, payload):
        while (reply := await link.ask(ctx, encode_frame(kind, payload))) == (ERROR, bytes([LinkFault.BUSY])):
            await poll(ctx)
        assert reply == (kind | REPLY, b""), link.bench.seed_note

    async def conversation(ctx):
        await patiently(ctx, Kind.SETUP, setups[0][1])
        await patiently(ctx, Kind.START, b"")
        for number, (_, payload) in enumerate(data):
            await patiently(ctx, Kind.DATA, payload)
            if number in (1, 3):
                await patiently(ctx, Kind.SETUP, setups[1 + number // 2][1])
        while len(received) < len(result_bytes):
            await poll(ctx)
        await poll(ctx)
    link.run(conversation, deadline=200_000)
    assert received == result_bytes, link.bench.seed_note


def bad_frames():
    """(name, bytes, fault) of frames that must be refused."""
    rng = random.Random(11)
    _, record = setup_payload(rng, 1)
    _, beat = beats_and_bytes(rng, 1, WIDE.input_beat.size)
    good = {kind: encode_frame(kind) for kind in (Kind.IDENTIFY, Kind.START, Kind.RESULT, Kind.STATUS, Kind.RESET)}
    good |= {Kind.SETUP: encode_frame(Kind.SETUP, record), Kind.DATA: encode_frame(Kind.DATA, beat)}
    for kind, frame in good.items():
        yield f"{kind.name} crc low bit", frame[:-1] + bytes([frame[-1] ^ 1]), LinkFault.CRC
        yield f"{kind.name} crc high bit", frame[:-2] + bytes([frame[-2] ^ 1 << 7, frame[-1]]), LinkFault.CRC
        yield f"{kind.name} without crc", frame[:-2], LinkFault.TIMEOUT
        yield f"{kind.name} only two bytes", frame[:2], LinkFault.TIMEOUT
        yield f"{kind.name} wrong sync", bytes([SYNC ^ 0x10]) + frame[1:], LinkFault.NO_SYNC
    for at in (4, 7, 11):
        frame = bytearray(good[Kind.SETUP])
        frame[at] ^= 0x40
        yield f"SETUP with payload byte {at} changed", bytes(frame), LinkFault.CRC
    for kind in (0, 8, 9, 0x42, REPLY | Kind.IDENTIFY, REPLY | Kind.DATA, ERROR):
        yield f"kind {kind}", encode_frame(kind), LinkFault.KIND
        yield f"kind {kind} with a payload", encode_frame(kind, record), LinkFault.KIND
    for kind in (Kind.IDENTIFY, Kind.START, Kind.RESULT, Kind.STATUS, Kind.RESET):
        yield f"{kind.name} with a payload", encode_frame(kind, b"\1"), LinkFault.LENGTH
    for kind in (Kind.SETUP, Kind.DATA):
        yield f"{kind.name} without a payload", encode_frame(kind), LinkFault.LENGTH
        yield f"{kind.name} too long", encode_frame(kind, bytes(WIDE.limit + 1)), LinkFault.TOO_LONG
        yield f"{kind.name} claims 65535 bytes", good[kind][:2] + b"\xff\xff", LinkFault.TOO_LONG
        yield f"{kind.name} breaks off", good[kind][:7], LinkFault.TIMEOUT
        yield f"{kind.name} claims too much", good[kind][:2] + b"\x40\0" + good[kind][4:], LinkFault.TIMEOUT
        yield f"{kind.name} claims too little", encode_frame(kind, bytes(56))[:2] + b"\x08\0" + bytes(56), LinkFault.CRC
    for n in (1, 7, 9, 15):
        yield f"SETUP of {n} bytes", encode_frame(Kind.SETUP, bytes(n)), LinkFault.LENGTH
    for n in (1, WIDE.input_bytes - 1, WIDE.input_bytes + 1):
        yield f"DATA of {n} bytes", encode_frame(Kind.DATA, bytes(n)), LinkFault.LENGTH
    yield "SETUP that starts", encode_frame(Kind.SETUP, record + bytes([SETUP_CONTROL]) + bytes(7)), LinkFault.VALUE
    yield "noise", bytes(range(40)), LinkFault.NO_SYNC
    yield "sync bytes only", bytes([SYNC] * 30), LinkFault.KIND


BAD = list(bad_frames())


def test_enough_bad_frames():
    assert len(BAD) >= 70


@pytest.mark.parametrize("frame,fault", [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_frame_gets_an_error_and_changes_nothing(frame, fault):
    link = LinkBench(WIDE, 0, results=[5])

    async def conversation(ctx):
        await link.send(ctx, frame)
        assert await link.receive(ctx) == (ERROR, bytes([fault]))
        # The link is in step again, and the result is still there.
        kind, payload = await link.ask(ctx, encode_frame(Kind.RESULT))
        assert (kind, int.from_bytes(payload, "little")) == (Kind.RESULT | REPLY, 5)
    link.run(conversation)
    assert link.resets == 0


def test_random_noise_never_acts():
    """Mutated frames: whatever has no valid CRC is refused."""
    rng = random.Random(5)
    link = LinkBench(WIDE, 5)

    async def conversation(ctx):
        for _ in range(40):
            frame = bytearray(encode_frame(rng.choice(list(Kind)), setup_payload(rng, rng.randrange(3))[1]))
            for _ in range(rng.randint(1, 3)):
                at = rng.randrange(1, len(frame))
                frame[at] ^= 1 << rng.randrange(8)
            del frame[rng.randint(len(frame) // 2, len(frame) - 1):]
            await link.send(ctx, frame)
            kind, _ = await link.receive(ctx)
            assert kind == ERROR
    link.run(conversation, 200_000)
    assert link.resets == 0


def test_busy_is_refused_and_reset_frees():
    """A stalled array: data wait, further payloads are refused, the rest is served; RESET drops what
    waits.
    """
    rng = random.Random(3)
    _, payload = beats_and_bytes(rng, 2, WIDE.input_beat.size)
    _, record = setup_payload(rng, 1)
    bench = LinkBench(WIDE, 3, array_takes=False)
    link = bench.dut

    async def conversation(ctx):
        ask, busy = bench.ask, (ERROR, bytes([LinkFault.BUSY]))
        assert await ask(ctx, encode_frame(Kind.START)) == busy
        assert await ask(ctx, encode_frame(Kind.DATA, payload)) == (Kind.DATA | REPLY, b"")
        assert await ask(ctx, encode_frame(Kind.DATA, payload)) == busy
        assert await ask(ctx, encode_frame(Kind.SETUP, record)) == busy
        assert (await ask(ctx, encode_frame(Kind.STATUS)))[1][0] == 0b101
        ctx.set(link.i_status.busy, 0)
        assert await ask(ctx, encode_frame(Kind.START)) == busy
        ctx.set(link.i_status.busy, 1)
        assert ctx.get(link.o_data.valid)
        waiting = ctx.get(Value.cast(link.o_data.payload))
        assert waiting == int.from_bytes(payload[:WIDE.input_bytes], "little")
        assert await ask(ctx, encode_frame(Kind.RESET)) == (Kind.RESET | REPLY, b"")
        assert not bench.resets
        ctx.set(link.o.ready, 1)  # the last byte has left
        while not bench.resets or ctx.get(bench.bench.rst):
            await ctx.tick()
        assert not ctx.get(link.o_data.valid)
        assert (await ask(ctx, encode_frame(Kind.STATUS)))[1][0] == 0b001
    bench.run(conversation, status={"busy": 1})
    assert bench.resets == 1


def test_results_wait_under_backpressure():
    """No poll: the store takes whole beats up to its limit, then stalls; nothing is lost."""
    rng = random.Random(9)
    results, expected = beats_and_bytes(rng, 3 * WIDE.limit // WIDE.output_bytes, WIDE.output_beat.size)
    link = LinkBench(WIDE, 9, results=results)
    received = bytearray()

    async def conversation(ctx):
        while len(received) < len(expected):
            await ctx.tick().repeat(2 * WIDE.limit)
            _, payload = await link.ask(ctx, encode_frame(Kind.RESULT))
            full = WIDE.limit // WIDE.output_bytes * WIDE.output_bytes
            assert len(payload) in (full, len(expected) - len(received))
            received.extend(payload)
    link.run(conversation)
    assert received == expected


def test_stated_latency():
    """Cycles from the last byte of a frame to the first of its reply."""
    records, payload = setup_payload(random.Random(4), 5)
    link = LinkBench(WIDE, 4, setups=records)

    async def conversation(ctx):
        for frame, latency in ((encode_frame(Kind.STATUS), 4),
                               (encode_frame(Kind.SETUP, payload), 4 + 17 * len(records) + 1)):
            await link.send(ctx, frame)
            cycles = 1
            while not ctx.get(link.dut.o.valid):
                await ctx.tick()
                cycles += 1
            assert cycles == latency
            await link.receive(ctx)
    link.run(conversation)


@pytest.mark.parametrize("sent", [1, 3, 9, 17, 29])
def test_reset_mid_frame(sent):
    records, payload = setup_payload(random.Random(sent), 3)
    link = LinkBench(WIDE, sent, setups=records)
    frame = encode_frame(Kind.SETUP, payload)

    async def conversation(ctx):
        await link.send(ctx, frame[:sent])
        while not ctx.get(link.bench.rst):
            await ctx.tick()
        await ctx.tick()
        assert await link.ask(ctx, frame) == (Kind.SETUP | REPLY, b"")
    link.run(conversation, reset_at=sent + 5)


def test_parameters():
    config = CoreConfig.of(stream_words=2, element_width=12)
    parameters = LinkParameters.from_config(config)
    assert (parameters.input_bytes, parameters.output_bytes) == (6, 7)
    assert parameters.identity == identity(config) != identity(CoreConfig())
    for change, message in (({"limit": 100}, "limit: 100 is no power of two in 32..32768"),
                            ({"timeout": 3}, "timeout: 3 is out of range"),
                            ({"limit": 32, "stream_words": 16}, "limit: 32 does not hold .* beat of 73")):
        with pytest.raises(WingbeatError, match=message):
            LinkParameters(**({"element_width": 18, "stream_words": 1, "identity": 0} | change))


@pytest.mark.parametrize("frame", [b"", b"\xa5\1\0\0", b"\xa6\1\0\0\0\0", encode_frame(1)[:-1], encode_frame(1) + b"\0",
                                   encode_frame(2, b"abc")[:-1] + b"\0"])
def test_decode_refuses(frame):
    with pytest.raises(WingbeatError, match="^frame: [^\n]*$"):
        decode_frame(frame)


def test_frame_bytes():
    """The format in plain bytes; 0x29B1 is the published check value of this CRC."""
    assert encode_frame(4, b"\x10\x20") == bytes([0xA5, 4, 2, 0, 0x10, 0x20]) + crc16(bytes([4, 2, 0, 0x10, 0x20]))
    assert crc16(b"123456789") == bytes([0x29, 0xB1])


def crc16(data):
    value = 0xFFFF
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ (0x1021 if value & 0x8000 else 0)) & 0xFFFF
    return value.to_bytes(2, "big")
