"""Register file: every register of the description, what is refused, setup words under stalls, events, latency."""

import random

import pytest

from wingbeat.hw.bus.control.register_file import RegisterFile
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Fault
from wingbeat.hw.isa.registers import MAP_ADDRESS_BITS, Access, counter_names, register_map
from wingbeat.hw.isa.setup import CONTROL_CLEAR, CONTROL_START, SETUP_CONTROL, SETUP_PROGRAM, SETUP_READER
from wingbeat.sim.bench.stream import Bench, Stall

ARRAY = CoreConfig.of(layers=1, half_words=16, coefficient_words=16)
CONFIGS = {"array": ARRAY, "processor": ARRAY.changed(memory_bits=8, block_log=4),
           "stream": ARRAY.changed(bus={"stream": "axi4-stream"}),
           "axi": ARRAY.changed(memory_bits=32).changed(bus={"memory": "axi4", "address_width": 40}),
           "loader": ARRAY.changed(stream_words=2, memory_bits=8).changed(bus={"control": "wishbone"})}
LOG = 0b1_000101


def words(registers):
    """Addresses of all registers, those behind them, the last word of the map, and some others."""
    every = range(0, 1 << MAP_ADDRESS_BITS, 4)
    return sorted({*registers, *(address + 4 for address in registers), every[-1],
                   *random.Random(8).sample(every, 80)})


class Host:
    """Accesses of a test, by the names of registers; each answer is (data, error)."""

    def __init__(self, config):
        self.config, self.dut = config, RegisterFile(config)
        self.bench = Bench(self.dut, 5)
        self.places = {register.name: register.address for register in register_map(config)}

    async def access(self, ctx, address, data=None, strobe=15):
        i, o = self.dut.i, self.dut.o
        for name, value in (("write", data is not None), ("address", address >> 2), ("data", data or 0),
                            ("strobe", strobe)):
            ctx.set(i.payload[name], value)
        ctx.set(i.valid, 1)
        ctx.set(o.ready, 1)
        await ctx.tick().until(i.ready)
        ctx.set(i.valid, 0)
        found, error = await ctx.tick().sample(o.payload.data, o.payload.error).until(o.valid)
        ctx.set(o.ready, 0)
        return found, error

    async def read(self, ctx, name):
        found, error = await self.access(ctx, self.places[name])
        assert not error, name
        return found

    async def write(self, ctx, name, data):
        found, error = await self.access(ctx, self.places[name], data)
        assert not found
        return not error

    async def field(self, ctx, name, field):
        [place] = [f for r in register_map(self.config) if r.name == name for f in r.fields if f.name == field]
        return await self.read(ctx, name) >> place.low & (1 << place.bits) - 1

    def run(self, testbench):
        self.bench.process(testbench)
        self.bench.run(4000)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_word_of_the_map(name):
    """After a reset: values of the description, and an error with 0 where a word is not to be read."""
    host = Host(CONFIGS[name])
    registers = {register.address: register for register in register_map(host.config)}

    async def testbench(ctx):
        if host.config.block_log:
            ctx.set(host.dut.log_data.as_value(), LOG)
        await ctx.tick().repeat(100)
        assert await host.write(ctx, "COUNTERS", 1)  # what a memory holds before is nobody's matter
        for address in words(registers):
            register = registers.get(address)
            found = await host.access(ctx, address)
            wanted = LOG if register and register.name == "LOG_DATA" else register.value if register else 0
            assert found == (wanted, not (register and register.access.is_readable)), hex(address)
    host.run(testbench)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_refused_changes_nothing(name):
    """Writes of less than a word, to read-only registers, and where nothing is."""
    host = Host(CONFIGS[name])
    sink = host.bench.sink(host.dut.o_setup, 0)

    async def testbench(ctx):
        registers = {register.address: register for register in register_map(host.config)}
        before = {address: await host.access(ctx, address) for address in registers}
        rng = random.Random(1)
        for address in words(registers):
            register = registers.get(address)
            writable = register is not None and register.access.is_writable
            for strobe in [rng.randrange(15)] if writable else [15, rng.randrange(15)]:
                assert await host.access(ctx, address, -1 & 0xFFFF_FFFF, strobe) == (0, 1), hex(address)
        after = {address: await host.access(ctx, address) for address in registers}
        state = host.places["INTERRUPT_STATE"]
        assert before.pop(state) == (0, 0)  # a start of less than a word is a start refused
        [refused] = [f.low for f in registers[state].fields if f.name == "refused"]
        assert after.pop(state) == (1 << refused, 0)
        assert after == before
    host.run(testbench)
    assert not sink.words


@pytest.mark.parametrize("name", CONFIGS)
def test_registers_that_hold_keep_their_fields(name):
    host = Host(CONFIGS[name])
    host.bench.sink(host.dut.o_setup, int(host.config.is_processor))  # the clear

    async def testbench(ctx):
        rng = random.Random(2)
        held = [r for r in register_map(host.config) if r.access is Access.READ_WRITE]
        for _ in range(3):
            values = {register.name: rng.getrandbits(32) for register in held}
            for key, value in values.items():
                assert await host.write(ctx, key, value)
            for register in held:
                mask = sum((1 << field.bits) - 1 << field.low for field in register.fields)
                assert await host.read(ctx, register.name) == values[register.name] & mask
            if "BASE_LOW" in values:
                base, limit = ((values[f"{port}_LOW"] | values[f"{port}_HIGH"] << 32) for port in ("BASE", "LIMIT"))
                assert ctx.get(host.dut.base) == base & ~0xFFF & (1 << 40) - 1
                assert ctx.get(host.dut.limit) == limit & (1 << 33) - 1
            if "LOG_ADDRESS" in values:
                assert ctx.get(host.dut.log_address) == values["LOG_ADDRESS"] & 3
        assert await host.write(ctx, "CONTROL", 2)
        for name in ("SETUP_TARGET", "SETUP_HIGH", "INTERRUPT_ENABLE"):
            assert await host.read(ctx, name) == 0
        if "BASE_LOW" in values:
            assert await host.read(ctx, "BASE_HIGH") == values["BASE_HIGH"] & 0xFF
    host.run(testbench)


@pytest.mark.parametrize("stall", [Stall.NEVER, Stall.OFTEN, Stall.BURSTS, Stall.SHY])
def test_no_setup_word_is_lost(stall):
    """The address goes up, the upper bits are 0 behind each word; an answer waits for the core."""
    host, rng, wanted = Host(CONFIGS["processor"]), random.Random(3), []
    sink = host.bench.sink(host.dut.o_setup, 30, stall)

    async def testbench(ctx):
        address = target = 0
        for number in range(30):
            if number % 4 == 0:
                target, address = rng.choice([3, SETUP_PROGRAM, SETUP_READER]), rng.choice([0, 77, 0xFFFE])
                assert await host.write(ctx, "SETUP_TARGET", address | target << 16)
            high, low = rng.choice([0, rng.getrandbits(8)]), rng.getrandbits(32)
            if high:
                assert await host.write(ctx, "SETUP_HIGH", high)
            assert await host.write(ctx, "SETUP_DATA", low)
            wanted.append(target | address << 8 | (low | high << 32) << 24)
            assert len(sink.words) == len(wanted)
            address = address + 1 & 0xFFFF
            assert await host.read(ctx, "SETUP_TARGET") == address | target << 16
        assert await host.write(ctx, "SETUP_TARGET", SETUP_CONTROL << 16)
        assert not await host.write(ctx, "SETUP_DATA", CONTROL_START), "a start by the setup registers"
    host.run(testbench)
    assert sink.words == wanted


async def run_program(ctx, status, cycles=20, fault=0):
    """What a core shows of a program that it runs."""
    ctx.set(status.busy, 1)
    await ctx.tick().repeat(cycles)
    if fault:
        ctx.set(status.error, fault)
        ctx.set(status.tag, 0x1234)
        await ctx.tick().repeat(2)
    ctx.set(status.busy, 0)


def test_start_end_and_fault():
    host = Host(CONFIGS["axi"])
    dut = host.dut
    sink = host.bench.sink(dut.o_setup, 3)

    async def testbench(ctx):
        assert await host.write(ctx, "INTERRUPT_ENABLE", 0b101)
        assert await host.write(ctx, "CONTROL", 1) and sink.words == [SETUP_CONTROL | CONTROL_START << 24]
        ctx.set(dut.i_status.busy, 1)
        assert await host.field(ctx, "STATUS", "busy") and not await host.field(ctx, "STATUS", "done")
        assert not await host.write(ctx, "BASE_LOW", 0x5000), "the window moved under a program"
        assert not ctx.get(dut.irq)
        assert not await host.write(ctx, "CONTROL", 1), "a start while busy"
        await ctx.tick().repeat(2)
        assert ctx.get(dut.irq) and await host.read(ctx, "INTERRUPT_STATE") == 0b100
        assert await host.write(ctx, "INTERRUPT_STATE", 0b100)
        assert await host.read(ctx, "INTERRUPT_STATE") == 0 and not ctx.get(dut.irq)
        assert await host.write(ctx, "INTERRUPT_ENABLE", 0b001)
        assert not await host.write(ctx, "CONTROL", 1)
        await ctx.tick().repeat(3)
        assert not ctx.get(dut.irq), "an event that is not enabled"
        assert await host.write(ctx, "INTERRUPT_STATE", 0b100)
        ctx.set(dut.i_status.busy, 0)
        await ctx.tick().repeat(8)
        assert ctx.get(dut.irq) and await host.read(ctx, "INTERRUPT_STATE") == 1
        assert await host.field(ctx, "STATUS", "done") and not await host.field(ctx, "STATUS", "busy")
        assert await host.write(ctx, "INTERRUPT_STATE", 0b010) and ctx.get(dut.irq)
        assert await host.write(ctx, "CONTROL", 2) and sink.words[1:] == [SETUP_CONTROL | CONTROL_CLEAR << 24]
        await ctx.tick().repeat(2)
        assert not ctx.get(dut.irq)

        assert await host.write(ctx, "INTERRUPT_ENABLE", 0b010)
        assert not await host.write(ctx, "CONTROL", 3), "start and clear"
        assert not await host.write(ctx, "CONTROL", 5), "start and abort"
        assert await host.write(ctx, "CONTROL", 1) and len(sink.words) == 3
        assert not await host.field(ctx, "STATUS", "done")
        await run_program(ctx, dut.i_status, fault=Fault.WATCHDOG)
        await ctx.tick().repeat(10)
        assert ctx.get(dut.irq) and await host.read(ctx, "INTERRUPT_STATE") == 0b110
        assert await host.read(ctx, "STATUS") == Fault.WATCHDOG << 8 | 0x1234 << 16
        assert not await host.write(ctx, "CONTROL", 1), "a start after a fault"
        assert not await host.write(ctx, "LIMIT_LOW", 1), "the window moved after a fault"
    host.run(testbench)


def test_busy_falls_when_all_is_known():
    """In every cycle the program is busy or done; a fault that comes late leaves no done."""
    host = Host(CONFIGS["processor"])
    status, sink = host.dut.i_status, host.bench.sink(host.dut.o_setup, 13)
    waits = []

    async def core(ctx):
        while True:
            await ctx.tick().until(status.busy)
            await ctx.tick().repeat(waits[-1])
            ctx.set(status.busy, 0)

    async def testbench(ctx):
        for wait in range(1, 13):
            waits.append(wait)
            assert await host.write(ctx, "CONTROL", 1)
            ctx.set(status.busy, 1)
            assert await host.read(ctx, "STATUS") in (0b01, 0b10), wait
            await ctx.tick().repeat(12)
            assert await host.read(ctx, "STATUS") == 0b10
            assert await host.write(ctx, "INTERRUPT_STATE", 1)
        assert await host.write(ctx, "CONTROL", 1)
        waits.append(5)
        ctx.set(status.busy, 1)
        await ctx.tick().repeat(8)
        assert not ctx.get(status.busy)
        ctx.set(status.error, Fault.RING)
        await ctx.tick().repeat(12)
        assert await host.read(ctx, "INTERRUPT_STATE") == 0b10 and await host.read(ctx, "STATUS") == Fault.RING << 8
    host.bench.process(core, background=True)
    host.run(testbench)
    assert len(sink.words) == 13


def test_an_abort_is_a_pulse():
    host, pulses = Host(CONFIGS["axi"]), []

    async def watch(ctx):
        async for *_, aborts in ctx.tick().sample(host.dut.abort_request):
            pulses.append(aborts)

    async def testbench(ctx):
        for data in (4, 0, 2 << 1):
            assert await host.write(ctx, "CONTROL", data)
        assert not await host.write(ctx, "MAGIC", 4)
        ctx.set(host.dut.drained, 1)
        assert await host.field(ctx, "STATUS", "drained")
    host.bench.process(watch, background=True)
    host.run(testbench)
    assert sum(pulses) == 2


START, LOAD, ABORT = 1, 8, 4


def test_a_start_waits_for_the_load():
    """Busy from the access on; no start before all is loaded; without a start the load ends with the event done."""
    host, loads = Host(CONFIGS["loader"]), []
    dut = host.dut
    sink = host.bench.sink(dut.o_setup, 1)

    async def core(ctx):
        async for _, _, load, address, beats in ctx.tick().sample(dut.load.valid, dut.load.address, dut.load.beats):
            if load:
                loads.append((address, beats))
                ctx.set(dut.loading, 1)
                ctx.set(dut.i_status.busy, 1)

    async def testbench(ctx):
        assert await host.write(ctx, "PROGRAM_ADDRESS", 0x5A) and await host.write(ctx, "PROGRAM_BEATS", 9)
        for act, word in ((LOAD, 0), (LOAD | START, 1)):
            assert await host.write(ctx, "CONTROL", act)
            for refused in (START, LOAD, START | LOAD):
                assert not await host.write(ctx, "CONTROL", refused), "a start while loading"
            assert await host.field(ctx, "STATUS", "busy") and not sink.words
            ctx.set(dut.loading, 0)
            ctx.set(dut.i_status.busy, 0)
            await ctx.tick().repeat(3)
            assert len(sink.words) == word
            assert await host.read(ctx, "INTERRUPT_STATE") == 0b100 | (not word)
            assert await host.write(ctx, "INTERRUPT_STATE", 0b101)
        await run_program(ctx, dut.i_status)
        await ctx.tick().repeat(8)
        assert await host.read(ctx, "INTERRUPT_STATE") == 1 and await host.read(ctx, "STATUS") == 2
        for refused in (LOAD | 2, LOAD | ABORT):
            assert not await host.write(ctx, "CONTROL", refused), "with clear or abort"
    host.bench.process(core, background=True)
    host.run(testbench)
    assert loads == [(0x5A, 9)] * 2 and sink.words == [SETUP_CONTROL | CONTROL_START << 24]


@pytest.mark.parametrize("late", range(5))
def test_busy_stays_between_load_and_program(late):
    host = Host(CONFIGS["loader"])
    dut = host.dut

    async def core(ctx):
        ctx.set(dut.o_setup.ready, 1)
        await ctx.tick().until(dut.load.valid)
        ctx.set(dut.loading, 1)
        ctx.set(dut.i_status.busy, 1)
        await ctx.tick().until(dut.i.valid & ~dut.i.payload.write)
        await ctx.tick().repeat(late + 1)
        ctx.set(dut.loading, 0)
        ctx.set(dut.i_status.busy, 0)
        await ctx.tick().until(dut.o_setup.valid)
        ctx.set(dut.i_status.busy, 1)

    async def testbench(ctx):
        assert await host.write(ctx, "CONTROL", LOAD | START)
        for _ in range(4):
            assert await host.field(ctx, "STATUS", "busy")
    host.bench.process(core, background=True)
    host.run(testbench)


@pytest.mark.parametrize("late", range(12))
def test_an_abort_about_the_end_of_a_load(late):
    """Whenever it comes: the load is stopped, or the program behind it."""
    host, seen = Host(CONFIGS["loader"]), []
    dut = host.dut

    async def core(ctx):
        """Loads until ``late`` cycles behind the abort, then runs a program."""
        ctx.set(dut.o_setup.ready, 1)
        async for _, _, load, word, aborts in ctx.tick().sample(dut.load.valid, dut.o_setup.valid, dut.abort_request):
            if load:
                ctx.set(dut.loading, 1)
                ctx.set(dut.i_status.busy, 1)
            if word:
                ctx.set(dut.i_status.busy, 1)
            if aborts and ctx.get(dut.i_status.busy):
                seen.append("loading" if ctx.get(dut.loading) else "running")
                ctx.set(dut.i_status.error, Fault.ABORTED)
                ctx.set(dut.loading, 0)
                ctx.set(dut.i_status.busy, 0)

    async def end(ctx):
        await ctx.tick().until(dut.i.valid & (dut.i.payload.data == ABORT))
        await ctx.tick().repeat(late + 1)
        ctx.set(dut.loading, 0)
        ctx.set(dut.i_status.busy, 0)

    async def testbench(ctx):
        assert await host.write(ctx, "CONTROL", LOAD | START)
        assert await host.write(ctx, "CONTROL", ABORT)
        await ctx.tick().repeat(30)
        assert await host.field(ctx, "STATUS", "fault") == Fault.ABORTED
        assert not await host.field(ctx, "STATUS", "busy") and not await host.field(ctx, "STATUS", "done")
    host.bench.process(core, background=True)
    host.bench.process(end, background=True)
    host.run(testbench)
    assert len(seen) == 1


def test_where_the_memory_bus_failed():
    host = Host(CONFIGS["axi"])

    async def testbench(ctx):
        ctx.set(host.dut.bus_error_address, 0xAB_1234_5678)
        ctx.set(host.dut.bus_error_write, 1)
        assert await host.read(ctx, "BUS_ERROR_ADDRESS_LOW") == 0x1234_5678
        assert await host.read(ctx, "BUS_ERROR_ADDRESS_HIGH") == 0xAB
        assert await host.field(ctx, "STATUS", "bus_error_write") and not await host.field(ctx, "STATUS", "bus_error")
    host.run(testbench)


def test_an_error_of_the_memory_bus_is_an_event():
    host = Host(CONFIGS["axi"])

    async def testbench(ctx):
        ctx.set(host.dut.bus_error, 1)
        await ctx.tick().repeat(3)
        assert await host.read(ctx, "INTERRUPT_STATE") == 0b010 and await host.read(ctx, "STATUS") == 0b1000
    host.run(testbench)


@pytest.mark.parametrize("flag", ["tlast_unexpected", "tlast_missing"])
def test_a_wrong_tlast_is_an_event(flag):
    """Once, when the first flag rises."""
    host = Host(CONFIGS["stream"])

    async def testbench(ctx):
        assert await host.write(ctx, "INTERRUPT_ENABLE", 0b010)
        ctx.set(host.dut.i_status[flag], 1)
        await ctx.tick().repeat(3)
        assert ctx.get(host.dut.irq) and await host.read(ctx, "INTERRUPT_STATE") == 0b010
        assert await host.read(ctx, "STATUS") == 0b1_000000 << (flag == "tlast_missing")
        assert await host.write(ctx, "INTERRUPT_STATE", 0b010)
        for name in ("tlast_unexpected", "tlast_missing"):
            ctx.set(host.dut.i_status[name], 1)
        await ctx.tick().repeat(3)
        assert not ctx.get(host.dut.irq) and await host.read(ctx, "INTERRUPT_STATE") == 0
    host.run(testbench)


def test_counters_are_copied():
    """Each counter has its registers; they stay until the next copy."""
    host = Host(CONFIGS["processor"])
    names = counter_names(host.config)

    async def testbench(ctx):
        for number, name in enumerate(names):
            ctx.set(host.dut.i_status[name], 1000 + number)
        assert await host.write(ctx, "COUNTERS", 1)
        for name in names:
            ctx.set(host.dut.i_status[name], 5000)
        assert await host.write(ctx, "COUNTERS", 0)
        for number, name in enumerate(names):
            assert await host.read(ctx, f"{name.upper()}_LOW") == 1000 + number
            assert await host.read(ctx, f"{name.upper()}_HIGH") == 0
        assert await host.write(ctx, "COUNTERS", 1)  # 5000 again
        for name in names:
            ctx.set(host.dut.i_status[name], 7)  # it has wrapped
        assert await host.write(ctx, "COUNTERS", 1)
        assert await host.read(ctx, "TOTAL_LOW") == 7 and await host.read(ctx, "TOTAL_HIGH") == 1
    host.run(testbench)


def test_latency():
    """Access to answer 4 cycles, a setup word 5; an access in 5 cycles."""
    host = Host(ARRAY)
    dut, places = host.dut, host.places
    requests = [{"write": 0, "address": places["MAGIC"] >> 2, "data": 0, "strobe": 15},
                {"write": 1, "address": places["SETUP_DATA"] >> 2, "data": 0, "strobe": 15}] * 3
    feed, sink = host.bench.feed(dut.i, requests), host.bench.sink(dut.o, 6)
    host.bench.sink(dut.o_setup, 3)
    host.bench.run(100)
    assert [answer - access for access, answer in zip(feed.cycles, sink.cycles)] == [4, 5] * 3
    assert [later - access for access, later in zip(feed.cycles, feed.cycles[1:])] == [5, 6] * 2 + [5]
