"""cocotb tests of an array behind AXI4-Stream in Verilog: the AxiStreamSource and AxiStreamSink of cocotbext-axi, with
random pauses on both sides; set up over its native port, or over registers by the masters of masters.py.

The environment names a file with jobs: setup writes, elements that go in, and elements, exponents and flags that must
come out, block by block.
"""

from itertools import pairwise, repeat
import json
import os
from pathlib import Path
import random
import runpy

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

from masters import AxiLiteHost, WishboneHost

FACTS = json.loads(Path(os.environ["AXI_STREAM_FACTS"]).read_text())
PLACES = runpy.run_path(FACTS["registers"]) if FACTS["registers"] else {}
SLOT, BEAT = FACTS["slot_bytes"], FACTS["slot_bytes"] * FACTS["beat_elements"]
UNEXPECTED, MISSING = 1, 2  # bits of the flags, lowest first as everywhere
LONGEST = 4000              # microseconds of any wait


def pauses(seed):
    """Runs of cycles with and without a pause."""
    rng = random.Random(f"{FACTS['seed']} {seed}")
    while True:
        yield from repeat(rng.random() < 0.4, rng.randint(1, 6))


class NativeHost:
    """The stream of setup words and the port status."""

    def __init__(self, dut):
        self._dut = dut
        dut.i_setup__valid.value = 0

    async def setup(self, writes):
        dut = self._dut
        for target, address, data in writes:
            dut.i_setup__payload.value = target | address << 8 | data << 24
            dut.i_setup__valid.value = 1
            await RisingEdge(dut.clk)
            while not int(dut.i_setup__ready.value):
                await RisingEdge(dut.clk)
        dut.i_setup__valid.value = 0

    async def start(self):
        await self.setup([FACTS["start"]])

    async def status(self):
        """Whether it is busy, and the flags."""
        bits = int(self._dut.status.value)
        return bool(bits & 1), bits >> FACTS["flags_at"] & 3

    async def told(self, is_error):
        """Nothing interrupts a host without registers."""


class RegisterHost:
    """The registers behind ``bus``."""

    def __init__(self, dut, bus):
        self._dut, self._bus = dut, bus

    async def write(self, name, data):
        assert await self._bus.write(PLACES[name], data), name

    async def read(self, name):
        found, good = await self._bus.read(PLACES[name])
        assert good, name
        return found

    async def setup(self, writes):
        following = None
        for target, address, data in writes:
            if (target, address) != following:
                await self.write("SETUP_TARGET", address | target << 16)
            if data >> 32:
                await self.write("SETUP_HIGH", data >> 32)
            await self.write("SETUP_DATA", data & 0xFFFF_FFFF)
            following = target, address + 1

    async def start(self):
        await self.write("INTERRUPT_STATE", 7)
        await self.write("INTERRUPT_ENABLE", PLACES["INTERRUPT_STATE_ERROR_MASK"])
        await self.write("CONTROL", 1)

    async def status(self):
        status, unexpected = await self.read("STATUS"), PLACES["STATUS_TLAST_UNEXPECTED_MASK"]
        assert PLACES["STATUS_TLAST_MISSING_MASK"] == 2 * unexpected
        return bool(status & PLACES["STATUS_BUSY_MASK"]), status // unexpected & 3

    async def told(self, is_error):
        """``irq`` is high where the event error has come."""
        assert int(self._dut.irq.value) == is_error
        assert bool(await self.read("INTERRUPT_STATE") & PLACES["INTERRUPT_STATE_ERROR_MASK"]) == is_error


class Streams:
    """The core with a source, a sink and a host, out of its reset."""

    async def begin(self, dut):
        self.dut, rng = dut, random.Random(f"{FACTS['seed']}")
        self.noise = rng
        cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
        dut.rst.value = 1
        buses = {"axi4-lite": AxiLiteHost, "wishbone": WishboneHost}
        self.host = RegisterHost(dut, buses[FACTS["control"]](dut, pauses)) if PLACES else NativeHost(dut)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.clk, dut.rst)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.clk, dut.rst)
        self.source.set_pause_generator(pauses("source"))
        self.sink.set_pause_generator(pauses("sink"))
        await ClockCycles(dut.clk, 4)
        dut.rst.value = 0
        await ClockCycles(dut.clk, 2)

    def packed(self, elements):
        """Elements in their slots, noise above them."""
        width = FACTS["element_width"]
        return b"".join((value % (1 << width) | self.noise.getrandbits(8 * SLOT - width) << width
                         if 8 * SLOT > width else value % (1 << width)).to_bytes(SLOT, "little") for value in elements)

    async def send(self, data):
        await self.source.send(AxiStreamFrame(data))

    async def check(self, job, flags, first=0):
        """Blocks from ``first`` on come out as the model says, each with its ``flags``."""
        for number, (block, told) in enumerate(zip(job["out"][first:], flags, strict=True), first):
            note = f"{job['name']}, block {number}"
            frame = await with_timeout(self.sink.recv(), LONGEST, "us")
            want = b"".join(value.to_bytes(SLOT, "little", signed=True) for value in block["elements"])
            assert bytes(frame.tdata) == want, f"{note}: {sum(map(int.__ne__, frame.tdata, want))} bytes differ"
            user = frame.tuser[::BEAT] if isinstance(frame.tuser, list) else [frame.tuser]
            assert {each & 0x3F for each in user} == {block["exponent"]}, f"{note}: exponent"
            assert user[-1] >> 6 & 1 == block["saturated"], f"{note}: saturated"
            assert {each >> 7 for each in user} == {told}, f"{note}: flags {user}, {told} were expected"

    async def end(self, flags):
        """The program ends; ``flags`` stand in the status."""
        while (status := await self.host.status())[0]:
            await RisingEdge(self.dut.clk)
        assert status[1] == flags
        await self.host.told(bool(flags))
        await ClockCycles(self.dut.clk, 40)
        assert self.sink.empty() and not int(self.dut.m_axis_tvalid.value)

    async def run(self, job, frames, flags):
        """Start the program that was set up, send ``frames`` of its input, compare."""
        data = [self.packed(elements) for elements in job["in"]]
        await self.host.start()
        for frame in frames(data):
            await self.send(frame)
        await self.check(job, flags)
        await self.end(flags[-1])


def right(data):
    return data


def moved(beats):
    """The end of the first block comes so many beats later than it should, before or behind."""
    def frames(data):
        whole, ends = b"".join(data), [0, *(sum(map(len, data[:n + 1])) for n in range(len(data)))]
        ends[1] += beats * BEAT
        return [whole[start:end] for start, end in pairwise(ends)]
    return frames


@cocotb.test()
async def all_jobs(dut):
    """One after the other, without a reset between."""
    streams = Streams()
    await streams.begin(dut)
    for job in FACTS["jobs"]:
        await streams.host.setup(job["setup"])
        await streams.run(job, right, [0] * len(job["out"]))


@cocotb.test()
async def a_wrong_tlast_is_told(dut):
    """The numbers are those of the program; a block whose beats ended elsewhere says so, and all behind it, until the
    next start."""
    streams, job = Streams(), FACTS["jobs"][0]
    await streams.begin(dut)
    await streams.host.setup(job["setup"])
    blocks = len(job["out"])
    assert blocks > 1
    both = UNEXPECTED | MISSING
    for frames, flags in (
            (moved(-1), [both] * blocks), (right, [0] * blocks), (moved(1), [MISSING, *[both] * (blocks - 1)]),
            (lambda data: [b"".join(data)], [MISSING] * blocks),
            (lambda data: [data[0][:BEAT], data[0][BEAT:], *data[1:]], [UNEXPECTED] * blocks),
            (lambda data: [*data[:-1], data[-1][:BEAT], data[-1][BEAT:]], [0] * (blocks - 1) + [UNEXPECTED]),
            (right, [0] * blocks)):
        await streams.run(job, frames, flags)


@cocotb.test()
async def a_short_packet_is_told_while_the_program_waits(dut):
    """Nothing comes out, so the status says it; what was missing goes on with the program."""
    streams, job = Streams(), FACTS["jobs"][0]
    await streams.begin(dut)
    await streams.host.setup(job["setup"])
    first, *others = [streams.packed(elements) for elements in job["in"]]
    await streams.host.start()
    await streams.send(first[:-BEAT])
    await streams.source.wait()
    await ClockCycles(dut.clk, 200)
    assert await streams.host.status() == (True, UNEXPECTED) and streams.sink.empty()
    await streams.host.told(True)
    for frame in (first[-BEAT:], *others):
        await streams.send(frame)
    await streams.check(job, [UNEXPECTED] * len(job["out"]))
    await streams.end(UNEXPECTED)
