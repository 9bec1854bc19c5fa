"""cocotb tests of an AXI master in Verilog against the RAM of cocotbext-axi: random pauses on all five channels and
random latency, reads and writes at the same time, and requests beyond the limit.

The environment names the parameters and the seed. Everything written is compared in the RAM itself, everything
read with what was put there.
"""

import itertools
import json
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiRam

from wingbeat.hw.bus.axi4.burst import AxiParameters
from wingbeat.hw.memory.port import MemoryParameters

SETTINGS = json.loads(os.environ["AXI_PARAMETERS"])
PARAMETERS = AxiParameters(MemoryParameters(**SETTINGS.pop("memory")), **SETTINGS)
MEMORY = PARAMETERS.memory
SEED = int(os.environ["AXI_SEED"])
BASE = 0x3000
COUNT = 400


class Board:
    """Master and RAM. ``limit`` beats are allowed; half of them are read, half are written."""

    def __init__(self, dut, rng, limit):
        self.dut, self.rng, self.limit = dut, rng, limit
        self.size = limit * PARAMETERS.beat_bytes
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=1 << 20)
        self.before = rng.randbytes(1 << 20)
        self.ram.write(0, self.before)
        self.answers = 0

    def pause(self, chance):
        """Every channel pauses in runs of random length, ``chance`` of the time on average."""
        def runs(rng):
            while True:
                yield from itertools.repeat(rng.random() < chance, rng.randint(1, 12))

        for channel in (self.ram.write_if.aw_channel, self.ram.write_if.w_channel, self.ram.write_if.b_channel,
                        self.ram.read_if.ar_channel, self.ram.read_if.r_channel):
            channel.set_pause_generator(runs(random.Random(self.rng.random())))

    def delay(self, longest):
        """Random latency before every burst that is read and every transfer that is written; addresses are
        checked."""
        read, write = self.ram.read_if._read, self.ram.write_if._write

        async def slow_read(address, length):
            assert BASE <= address and address + length <= BASE + self.size, f"read at {address:#x}, seed {SEED}"
            await ClockCycles(self.dut.clk, self.rng.randint(1, longest))
            return await read(address, length)

        async def slow_write(address, data):
            assert BASE <= address and address + len(data) <= BASE + self.size, f"write at {address:#x}, seed {SEED}"
            await ClockCycles(self.dut.clk, self.rng.randint(1, longest))
            await write(address, data)

        self.ram.read_if._read, self.ram.write_if._write = slow_read, slow_write

    async def start(self):
        dut = self.dut
        dut.base.value, dut.limit.value = BASE, self.limit
        dut.port__read__valid.value = dut.port__write__valid.value = dut.port__beats__ready.value = 0
        dut.rst.value = 1
        cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
        await ClockCycles(dut.clk, 4)
        dut.rst.value = 0
        await ClockCycles(dut.clk, 2)

    async def send(self, name, words, chance):
        """``words`` into a stream port; between words the payload is noise."""
        valid, ready, payload = (getattr(self.dut, f"port__{name}__{pin}") for pin in ("valid", "ready", "payload"))
        rng = random.Random(self.rng.random())
        for word in words:
            while rng.random() < chance:
                payload.value = rng.getrandbits(len(payload))
                await RisingEdge(self.dut.clk)
            valid.value, payload.value = 1, word
            await RisingEdge(self.dut.clk)
            while not int(ready.value):
                await RisingEdge(self.dut.clk)
            valid.value = 0

    async def receive(self, count, chance):
        """``count`` beats."""
        valid, ready, payload = (getattr(self.dut, f"port__beats__{pin}") for pin in ("valid", "ready", "payload"))
        rng, out = random.Random(self.rng.random()), []
        while len(out) < count:
            ready.value = go = rng.random() >= chance
            await RisingEdge(self.dut.clk)
            if go and int(valid.value):
                out.append(int(payload.value))
        ready.value = 0
        return out

    async def written(self, count):
        for _ in range(count):
            await RisingEdge(self.dut.clk)
            while not int(self.dut.port__written.value):
                await RisingEdge(self.dut.clk)


def beat_of(data, number):
    """Bit pattern of a beat."""
    bits, size, width = 0, PARAMETERS.slot_bits // 8, MEMORY.element_width
    for n in reversed(range(MEMORY.elements)):
        at = BASE + number * PARAMETERS.beat_bytes + n * size
        bits = bits << width | int.from_bytes(data[at:at + size], "little") & ((1 << width) - 1)
    return bits


def stored(data, number, strobe, beat):
    """Apply one write to ``data``."""
    width, size = MEMORY.element_width, PARAMETERS.slot_bits // 8
    for n in range(MEMORY.elements):
        if strobe >> n & 1:
            value = beat >> n * width & ((1 << width) - 1)
            value -= (value >> (width - 1)) << width
            at = BASE + number * PARAMETERS.beat_bytes + n * size
            data[at:at + size] = value.to_bytes(size, "little", signed=True)


def requests(rng, low, high, limit):
    """Runs of neighbours in low..high-1, now and then some at and beyond the limit."""
    out = []
    while len(out) < COUNT:
        at, run = rng.randrange(low, high), rng.choice([1, 2, 7, 30, 70])
        out += range(at, min(at + run, high))
        if rng.random() < 0.2:
            out += range(limit, min(limit + rng.randint(1, 3), 1 << MEMORY.address_bits))
    return out[:COUNT]


@cocotb.test()
@cocotb.parametrize(pauses=[0.0, 0.3, 0.7], latency=[0, 20])
async def random_traffic(dut, pauses, latency):
    rng = random.Random(f"{SEED} {pauses} {latency}")
    limit = (1 << MEMORY.address_bits) - 8
    board = Board(dut, rng, limit)
    board.pause(pauses)
    if latency:
        board.delay(latency)
    await board.start()
    asked = requests(rng, 0, limit // 2, limit)
    writes = [(n, rng.getrandbits(MEMORY.elements), rng.getrandbits(MEMORY.elements * MEMORY.element_width))
              for n in requests(rng, limit // 2, limit, limit)]
    words = [n | strobe << MEMORY.address_bits | beat << (MEMORY.address_bits + MEMORY.elements)
             for n, strobe, beat in writes]
    cocotb.start_soon(board.send("read", asked, pauses))
    cocotb.start_soon(board.send("write", words, pauses))
    pulses = cocotb.start_soon(board.written(COUNT))
    beats = await with_timeout(board.receive(COUNT, pauses), 10 * 400 * COUNT, "ns")
    await with_timeout(pulses, 10 * 800 * COUNT, "ns")

    note = f"seed {SEED}, pauses {pauses}, latency {latency}"
    wanted = [beat_of(board.before, n) if n < limit else 0 for n in asked]
    wrong = [n for n, (got, want) in enumerate(zip(beats, wanted)) if got != want]
    assert not wrong, f"{note}: {len(wrong)} beats, first {wrong[0]}"
    after = bytearray(board.before)
    for n, strobe, beat in writes:
        if n < limit:
            stored(after, n, strobe, beat)
    assert board.ram.read(0, 1 << 20) == after, note
    assert int(dut.error.value) == 0, note
