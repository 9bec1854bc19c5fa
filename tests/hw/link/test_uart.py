"""UART: bits against a bit-banging model of the other end, both directions, clock error, faults on the
line.
"""

import random

import pytest

from wingbeat.hw.link.uart import UartParameters, UartReceiver, UartTransmitter
from wingbeat.sim.bench.stream import Bench, Stall

DIVISORS = [4, 5, 16]


async def send_bits(ctx, line, data, bit_cycles, rng=None, stop=1):
    """The other end's transmitter; ``bit_cycles`` may be a fraction. With ``rng`` it pauses between bytes."""
    for byte in data:
        at = 0.0
        for bit in [0, *(byte >> i & 1 for i in range(8)), stop]:
            ctx.set(line, bit)
            await ctx.tick().repeat(round(at + bit_cycles) - round(at))
            at += bit_cycles
        ctx.set(line, 1)
        for _ in range(rng.randrange(30) if rng else 0):
            await ctx.tick()


async def receive_bits(ctx, line, n_bytes, divisor):
    """The other end's receiver; asserts start and stop bits."""
    data = []
    for _ in range(n_bytes):
        while ctx.get(line):
            await ctx.tick()
        await ctx.tick().repeat(divisor // 2)
        bits = []
        for _ in range(9):
            bits.append(ctx.get(line))
            await ctx.tick().repeat(divisor)
        assert bits[0] == 0 and ctx.get(line) == 1, "start or stop bit"
        data.append(sum(bit << i for i, bit in enumerate(bits[1:])))
    return data


@pytest.mark.parametrize("divisor", DIVISORS)
@pytest.mark.parametrize("error", [-0.03, 0, 0.03])
@pytest.mark.parametrize("pauses", [False, True])
def test_receiver(divisor, error, pauses):
    seed = divisor + 100 * pauses
    rng = random.Random(seed)
    data = [rng.randrange(256) for _ in range(20)] + [0x00, 0xFF, 0x55]
    dut = UartReceiver(UartParameters(divisor))
    bench = Bench(dut, seed)
    sink = bench.sink(dut.o, len(data), Stall.BURSTS if divisor >= 16 else Stall.NEVER)
    bench.process(lambda ctx: send_bits(ctx, dut.rx, data, divisor * (1 + error), rng if pauses else None))
    bench.run(len(data) * 20 * divisor + 1000)
    assert sink.words == data, bench.seed_note


@pytest.mark.parametrize("divisor", DIVISORS)
@pytest.mark.parametrize("stall", [Stall.NEVER, Stall.BURSTS])
def test_transmitter(divisor, stall):
    rng = random.Random(divisor)
    data = [rng.randrange(256) for _ in range(20)]
    dut = UartTransmitter(UartParameters(divisor))
    bench = Bench(dut, divisor)
    feed = bench.feed(dut.i, data, stall)
    received = []

    async def other_end(ctx):
        received.extend(await receive_bits(ctx, dut.tx, len(data), divisor))
    bench.process(other_end)
    bench.run(len(data) * 20 * divisor)
    assert received == data, bench.seed_note
    if stall is Stall.NEVER:
        assert {b - a for a, b in zip(feed.cycles, feed.cycles[1:])} == {dut.parameters.byte_cycles + 1}


@pytest.mark.parametrize("reset_at", [3, 57, 200])
def test_transmitter_reset_mid_byte(reset_at):
    dut = UartTransmitter(UartParameters(7))
    data = list(range(0, 256, 17))
    received = []
    bench = Bench(dut)
    bench.feed(dut.i, data)

    async def other_end(ctx):
        while not ctx.get(bench.rst):
            await ctx.tick()
        assert ctx.get(dut.tx) == 1
        received.extend(await receive_bits(ctx, dut.tx, len(data), 7))
    bench.process(other_end)
    bench.run(3000, reset_at)
    assert received == data


def test_receiver_drops_faulty_bytes_and_what_is_not_taken():
    dut = UartReceiver(UartParameters(8))
    bench = Bench(dut)
    sink, lost = bench.sink(dut.o, 2), count_lost(bench, dut)

    async def other_end(ctx):
        await send_bits(ctx, dut.rx, [0x11], 8)
        await ctx.tick().repeat(20)
        await send_bits(ctx, dut.rx, [0x22], 8, stop=0)  # stop bit missing
        await ctx.tick().repeat(100)
        ctx.set(dut.rx, 0)                               # a glitch shorter than half a bit
        await ctx.tick().repeat(2)
        ctx.set(dut.rx, 1)
        await ctx.tick().repeat(100)
        await send_bits(ctx, dut.rx, [0x33], 8)
    bench.process(other_end)
    bench.run(2000)
    assert sink.words == [0x11, 0x33] and len(lost) == 1


def count_lost(bench, dut):
    """A list that gets an entry for every cycle in which ``lost`` is high."""
    found = []

    async def watch(ctx):
        async for _, _, lost in ctx.tick().sample(dut.lost):
            if lost:
                found.append(lost)
    bench.process(watch, background=True)
    return found


def test_receiver_keeps_the_byte_that_waits():
    dut = UartReceiver(UartParameters(4))
    bench = Bench(dut)
    lost = count_lost(bench, dut)

    async def other_end(ctx):
        await send_bits(ctx, dut.rx, [0x11, 0x22, 0x33], 4)
        await ctx.tick().repeat(4)
        assert (ctx.get(dut.o.valid), ctx.get(dut.o.payload)) == (1, 0x11)
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        ctx.set(dut.o.ready, 0)
        assert not ctx.get(dut.o.valid)
        await send_bits(ctx, dut.rx, [0x44], 4)
        await ctx.tick().repeat(4)
        assert (ctx.get(dut.o.valid), ctx.get(dut.o.payload)) == (1, 0x44)
    bench.process(other_end)
    bench.run(10)
    assert len(lost) == 2


def test_rates():
    assert UartParameters.from_rates(25e6, 115200).divisor == 217
    with pytest.raises(ValueError, match="baud: 2500000 is not within 2 % of 12000000 Hz / 5"):
        UartParameters.from_rates(12e6, 2500000)
    with pytest.raises(ValueError, match=r"divisor: 3 is out of range; allowed are 4\.\.65536"):
        UartParameters(3)
