"""Processor and AXI master in one: a program that copies beats through the array on an AXI memory, one that leaves its
limit, and the refusal of parameters that do not belong together."""

from dataclasses import replace
import random

import numpy as np
import pytest

from support.copying import BEATS, CONFIG, FROM, TO, setup

from wingbeat.hw.bus.axi4.burst import AxiParameters
from wingbeat.hw.core.axi_processor import AxiProcessor
from wingbeat.hw.isa.instruction import Fault
from wingbeat.hw.memory.port import MemoryParameters
from wingbeat.sim.bench.stream import Bench

AXI = AxiParameters(MemoryParameters.of(CONFIG), 64)
BASE = 0x3000


class Memory:
    """Bytes behind an AXI port, one burst of either kind at a time; ``asked`` are the byte addresses of all bursts."""

    def __init__(self, rng):
        self.words, self.asked, self._rng = {}, [], rng

    async def run(self, ctx, dut):
        reads, writes, data, answers = [], [], [], 0
        while True:
            ready = {channel: self._rng.random() < 0.7 for channel in ("ar", "aw", "w")}
            for channel, value in ready.items():
                ctx.set(getattr(dut, f"m_axi_{channel}ready"), value)
            ctx.set(dut.m_axi_rvalid, bool(reads))
            ctx.set(dut.m_axi_rdata, self.words.get(reads[0], 0) if reads else 0)
            ctx.set(dut.m_axi_bvalid, answers > 0)
            *_, ar, address, length, aw, to, w, word, last, r, b = await ctx.tick().sample(
                dut.m_axi_arvalid, dut.m_axi_araddr, dut.m_axi_arlen, dut.m_axi_awvalid, dut.m_axi_awaddr,
                dut.m_axi_wvalid, dut.m_axi_wdata, dut.m_axi_wlast, dut.m_axi_rready, dut.m_axi_bready)
            answers -= bool(answers and b)
            del reads[:bool(reads and r)]
            if ar and ready["ar"]:
                self.asked.append(address)
                reads += [address + AXI.transfer_bytes * n for n in range(length + 1)]
            if aw and ready["aw"]:
                self.asked.append(to)
                writes.append(to)
            if w and ready["w"]:
                data.append((word, last))
            while writes and data:
                word, last = data.pop(0)
                self.words[writes[0]] = word
                writes[0] += AXI.transfer_bytes
                if last:
                    writes.pop(0)
                    answers += 1


def run(limit, seed):
    """Memory and status after the program."""
    rng = random.Random(seed)
    memory, found, dut = Memory(rng), {}, AxiProcessor(CONFIG, AXI)
    for number in range(64):
        slots = [rng.randrange(-512, 512) & 0xFFFF for _ in range(CONFIG.memory_elements)]
        memory.words[BASE + number * AXI.beat_bytes] = int.from_bytes(np.array(slots, "<u2").tobytes(), "little")
    bench = Bench(dut, seed)
    bench.feed(dut.i_setup, setup())

    async def slave(ctx):
        ctx.set(dut.base, BASE)
        ctx.set(dut.limit, limit)
        await memory.run(ctx, dut)

    async def watch(ctx):
        was_busy = False
        async for _, _, status in ctx.tick().sample(dut.status):
            if status.error or (was_busy and not status.busy):
                break
            was_busy = bool(status.busy)
        await ctx.tick().repeat(50)
        found["error"] = ctx.get(dut.status.error)

    bench.process(slave, background=True)
    bench.process(watch)
    bench.run(3000)
    return memory, Fault(found["error"])


@pytest.mark.parametrize("seed", [1, 2])
def test_a_block_goes_through(seed):
    memory, fault = run(64, seed)
    beats = [memory.words[BASE + AXI.beat_bytes * number] for number in range(64)]
    assert fault is Fault.NONE, seed
    assert beats[TO:TO + BEATS] == beats[FROM:FROM + BEATS] != beats[:BEATS], seed


@pytest.mark.parametrize("limit, fault", [(TO + BEATS, Fault.NONE), (TO + BEATS - 1, Fault.REFUSED),
                                          (FROM + 1, Fault.REFUSED)])
def test_the_limit_holds(limit, fault):
    memory, found = run(limit, 3)
    assert found is fault
    assert memory.asked and all(BASE <= at < BASE + limit * AXI.beat_bytes for at in memory.asked)


def test_parameters_that_do_not_belong_together():
    with pytest.raises(ValueError, match="memory: .*elements=8.* allowed is .*elements=4"):
        AxiProcessor(CONFIG, replace(AXI, memory=replace(AXI.memory, elements=8)))


def test_an_array_has_no_memory():
    with pytest.raises(ValueError, match="memory_bits: 0"):
        AxiProcessor(CONFIG.changed(memory_bits=0), AXI)
