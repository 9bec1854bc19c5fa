"""cocotb test of a core with a control bus and an AXI4 memory in Verilog: a program is loaded, started and asked over
the registers alone, twice, and then loaded from memory. The memory is the AxiRam of cocotbext-axi, the host its
AxiLiteMaster or a Wishbone master (masters.py); all pause at random.

Addresses are those of the generated Python module. The environment names a file with the program and the memory before
and after.
"""

import itertools
import json
import os
from pathlib import Path
import random
import runpy

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import AxiBus, AxiRam

from masters import AxiLiteHost, WishboneHost

FACTS = json.loads(Path(os.environ["CONTROL_FACTS"]).read_text())
PLACES = runpy.run_path(FACTS["registers"])
BASE = 0x3000
BUSY_OR_FAULT = PLACES["STATUS_BUSY_MASK"] | PLACES["STATUS_FAULT_MASK"]
DONE, ERROR, REFUSED = (PLACES[f"INTERRUPT_STATE_{name}_MASK"] for name in ("DONE", "ERROR", "REFUSED"))


def pauses(seed):
    """Runs of cycles with and without a pause."""
    rng = random.Random(f"{FACTS['seed']} {seed}")
    while True:
        yield from itertools.repeat(rng.random() < 0.3, rng.randint(1, 6))


async def value(host, name):
    found, good = await host.read(PLACES[name])
    assert good, name
    return found


async def load(host):
    """The window and all setup words but the start."""
    limit = len(FACTS["before"]) + len(FACTS["records"])
    for name, data in (("BASE_LOW", BASE), ("LIMIT_LOW", limit)):
        assert await host.write(PLACES[name], data)
    following = None
    for target, address, data in FACTS["setup"]:
        if (target, address) != following:
            assert await host.write(PLACES["SETUP_TARGET"], address | target << 16)
        if data >> 32:
            assert await host.write(PLACES["SETUP_HIGH"], data >> 32)
        assert await host.write(PLACES["SETUP_DATA"], data & 0xFFFF_FFFF)
        following = target, address + 1


def image_of(name):
    """Bytes of memory."""
    return b"".join(int(line, 16).to_bytes(FACTS["beat_bytes"], "little") for line in FACTS[name])


async def run(dut, host, ram, act=PLACES["CONTROL_START_MASK"]):
    """One run of the program, begun by the bits ``act`` of CONTROL; its counters."""
    image = image_of("before")
    ram.write(BASE, image)
    assert await host.write(PLACES["CONTROL"], act)
    assert not await host.write(PLACES["CONTROL"], act), "a start while busy"
    assert await value(host, "STATUS") & PLACES["STATUS_BUSY_MASK"]
    if not int(dut.irq.value):
        await with_timeout(RisingEdge(dut.irq), 500, "us")
    assert await value(host, "INTERRUPT_STATE") == DONE | REFUSED
    status = await value(host, "STATUS")
    assert status & PLACES["STATUS_DONE_MASK"] and not status & PLACES["STATUS_BUSY_MASK"]
    assert not status & PLACES["STATUS_FAULT_MASK"]
    assert await host.write(PLACES["INTERRUPT_STATE"], DONE | REFUSED)
    await ClockCycles(dut.clk, 2)
    assert not int(dut.irq.value)
    after = ram.read(BASE, len(image))
    beats = [after[at:at + FACTS["beat_bytes"]][::-1].hex() for at in range(0, len(after), FACTS["beat_bytes"])]
    wrong = sum(int(beat, 16) != int(want, 16) for beat, want in zip(beats, FACTS["after"], strict=True))
    assert beats != FACTS["before"] and not wrong, f"{wrong} beats"
    assert await host.write(PLACES["COUNTERS"], 1)
    counters = {}
    for name in FACTS["counters"]:
        low, high = [await value(host, f"{name.upper()}_{half}") for half in ("LOW", "HIGH")]
        assert not high, name
        counters[name] = low
    assert counters["blocks"] == FACTS["blocks"]
    assert counters["total"] == sum(counters[name] for name in (
        "computing", "waiting_input", "waiting_output", "waiting_hazard"))
    return counters


async def from_memory(dut, host, ram):
    """What was loaded before is destroyed, loaded from memory without a start, destroyed, and loaded with a start,
    which is aborted once."""
    ram.write(BASE + len(image_of("before")), image_of("records"))
    assert await host.write(PLACES["PROGRAM_ADDRESS"], len(FACTS["before"]))
    assert await host.write(PLACES["PROGRAM_BEATS"], len(FACTS["records"]))
    await destroy(host)
    assert await host.write(PLACES["CONTROL"], PLACES["CONTROL_LOAD_MASK"])
    assert await value(host, "STATUS") & PLACES["STATUS_BUSY_MASK"]
    if not int(dut.irq.value):
        await with_timeout(RisingEdge(dut.irq), 500, "us")
    assert await value(host, "INTERRUPT_STATE") == DONE and not await value(host, "STATUS") & BUSY_OR_FAULT
    assert await host.write(PLACES["INTERRUPT_STATE"], DONE)
    results = [await run(dut, host, ram)]
    both = PLACES["CONTROL_LOAD_MASK"] | PLACES["CONTROL_START_MASK"]
    for wait in (0, 40):
        await destroy(host)
        await stop(dut, host, ram, both, wait)
    return [*results, await run(dut, host, ram, both)]


async def destroy(host):
    """The program memory is zeros, which is no instruction."""
    assert await host.write(PLACES["SETUP_TARGET"], FACTS["program_target"] << 16)
    for _ in range(FACTS["program_words"]):
        assert await host.write(PLACES["SETUP_DATA"], 0)


async def stop(dut, host, ram, act=PLACES["CONTROL_START_MASK"], wait=60):
    """A program is aborted; the next start is refused until the fault is cleared."""
    drained, fault = PLACES["STATUS_DRAINED_MASK"], PLACES["STATUS_FAULT_MASK"]
    assert await host.write(PLACES["CONTROL"], act)
    await ClockCycles(dut.clk, wait)
    assert await host.write(PLACES["CONTROL"], PLACES["CONTROL_ABORT_MASK"])
    while (status := await value(host, "STATUS")) & PLACES["STATUS_BUSY_MASK"]:
        pass
    assert status & drained and status & fault == FACTS["aborted"] * (fault & -fault)
    assert await value(host, "INTERRUPT_STATE") == ERROR
    assert not await host.write(PLACES["CONTROL"], 1), "a start after a fault"
    assert await host.write(PLACES["CONTROL"], PLACES["CONTROL_CLEAR_MASK"])
    while await value(host, "STATUS") & fault:
        pass
    assert await host.write(PLACES["INTERRUPT_ENABLE"], DONE | ERROR)


@cocotb.test()
async def a_program_over_the_registers(dut):
    ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=1 << 20)
    for number, channel in enumerate((ram.write_if.aw_channel, ram.write_if.w_channel, ram.write_if.b_channel,
                                      ram.read_if.ar_channel, ram.read_if.r_channel)):
        channel.set_pause_generator(pauses(10 + number))
    host = (AxiLiteHost if FACTS["bus"] == "axi4-lite" else WishboneHost)(dut, pauses)
    dut.rst.value = 1
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 2)

    assert await value(host, "MAGIC") == PLACES["MAGIC_VALUE_VALUE"]
    assert await value(host, "HASH_LOW") | await value(host, "HASH_HIGH") << 32 == PLACES["HASH"]
    assert await host.read(PLACES["SIZE"] - 4) == (0, False), "a word without a register"
    assert not await host.write(PLACES["MAGIC"], 0) and not await host.write(PLACES["SETUP_HIGH"], 0xFFFF, 2)
    assert await value(host, "SETUP_HIGH") == 0
    assert await host.write(PLACES["INTERRUPT_ENABLE"], DONE | ERROR)
    await load(host)
    first = await run(dut, host, ram)
    await with_timeout(cocotb.start_soon(stop(dut, host, ram)), 500, "us")
    # The memory pauses otherwise; the work is the same, and nothing of the first run is left.
    for again in (await run(dut, host, ram), *await from_memory(dut, host, ram)):
        assert again["computing"] == first["computing"] and again["total"] < 2 * first["total"]
