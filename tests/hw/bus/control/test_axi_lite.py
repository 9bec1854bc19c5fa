"""AXI4-Lite slave: values and order with pauses on all five channels, turns, latency, reset."""

import random

import pytest
from support.control import Registers, channel, content, is_bad

from wingbeat.hw.bus.control.axi_lite import AxiLiteSlave
from wingbeat.sim.bench.stream import Bench, Stall

COUNT = 40
STALLS = [(Stall.NEVER,) * 5, (Stall.RANDOM,) * 5, (Stall.BURSTS, Stall.RANDOM, Stall.OFTEN, Stall.SHY, Stall.RANDOM),
          (Stall.OFTEN, Stall.NEVER, Stall.NEVER, Stall.RANDOM, Stall.SHY)]


def traffic(seed):
    rng = random.Random(seed)
    writes = [(rng.randrange(1 << 12), rng.getrandbits(32), rng.getrandbits(4)) for _ in range(COUNT)]
    return writes, [rng.randrange(1 << 12) for _ in range(COUNT)]


def run(stalls, longest, seed, reset_at=None):
    dut, registers = AxiLiteSlave(), Registers(seed, longest)
    writes, reads = traffic(seed)
    bench = Bench(dut, seed)
    aw, w, ar, b, r = stalls
    bench.feed(channel(dut, "aw", "addr", "prot"), [address | seed % 8 << 12 for address, _, _ in writes], aw)
    bench.feed(channel(dut, "w", "data", "strb"), [data | strobe << 32 for _, data, strobe in writes], w)
    bench.feed(channel(dut, "ar", "addr", "prot"), reads, ar)
    answers = (bench.sink(channel(dut, "b", "resp"), COUNT, b), bench.sink(channel(dut, "r", "resp", "data"), COUNT, r))

    async def registers_behind(ctx):
        await registers.run(ctx, dut)
    bench.process(registers_behind, background=True)
    bench.run(COUNT * 400, reset_at)
    return registers, answers, writes, reads, bench.seed_note


@pytest.mark.parametrize("longest", [0, 5])
@pytest.mark.parametrize("stalls", STALLS)
def test_random_traffic(stalls, longest):
    registers, (b, r), writes, reads, note = run(stalls, longest, 3 + longest)
    assert [access[1:] for access in registers.accesses if access[0]] == [
        (address >> 2, data, strobe) for address, data, strobe in writes], note
    assert [access[1] for access in registers.accesses if not access[0]] == [address >> 2 for address in reads], note
    assert b.words == [2 * is_bad(address >> 2) for address, _, _ in writes], note
    assert r.words == [2 * is_bad(n >> 2) | content(n >> 2) << 2 for n in reads], note
    assert any(b.words) and any(word & 2 for word in r.words)


def test_reads_and_writes_take_turns():
    registers, *_ = run(STALLS[0], 0, 5)
    kinds = [access[0] for access in registers.accesses[2:-2]]
    assert all(kind != before for before, kind in zip(kinds, kinds[1:]))


def test_latency():
    """Address to access 2 cycles, answer to response 1."""
    dut, registers = AxiLiteSlave(), Registers(1)
    bench = Bench(dut)
    feed = bench.feed(channel(dut, "ar", "addr", "prot"), [8])
    sink = bench.sink(channel(dut, "r", "resp", "data"), 1)

    async def registers_behind(ctx):
        await registers.run(ctx, dut)
    bench.process(registers_behind, background=True)
    bench.run(100)
    assert registers.cycles[0] - 1 - feed.cycles[0] == 2  # cycles of the registers are counted from 1
    assert sink.cycles[0] - (registers.answered[0] - 1) == 1


def test_reset():
    """Nothing of an access under way is left."""
    dut = AxiLiteSlave()
    bench = Bench(dut)

    async def testbench(ctx):
        for cycle in range(20):
            ctx.set(dut.s_axi_ctrl_awvalid, cycle < 4)
            ctx.set(dut.s_axi_ctrl_arvalid, cycle < 4)
            ctx.set(dut.s_axi_ctrl_wvalid, cycle > 5)
            assert ctx.get(dut.o.valid) == (2 <= cycle <= 5)
            await ctx.tick()
    bench.process(testbench)
    bench.run(1, reset_at=5)
