"""An array that is set up, started and asked over each control bus."""

import random

import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.core.controlled_core import ControlledCore
from wingbeat.hw.core.top import core
from wingbeat.hw.isa.encoding import encode
from wingbeat.hw.isa.instruction import Halt, Load, Mode, Pass, Store
from wingbeat.hw.isa.registers import configuration_hash, register_map
from wingbeat.hw.isa.setup import SETUP_PROGRAM
from wingbeat.hw.isa.walk import Walk
from wingbeat.sim.bench.stream import Bench, Stall

CONFIG = CoreConfig.of(half_words=8, coefficient_words=4, program_words=32)
BEATS = CONFIG.half_words // CONFIG.stream_words


def program():
    """One block through a pass that changes nothing."""
    walk = Walk((0,), 0, CONFIG.half_words - 2)
    return encode([Load(walk), Pass(Mode.PASS, 0, CONFIG.bank_rows, 0, (0,), first=True, last=True), Store(walk),
                   Halt()])


async def axi_lite(ctx, dut, address, data=None):
    """Found, and the response, of a write of ``data`` or of a read."""
    def pin(name):
        return getattr(dut, f"s_axi_ctrl_{name}")
    asked, answered = ("ar", "r") if data is None else ("aw", "b")
    ctx.set(pin(f"{asked}addr"), address)
    ctx.set(pin("wdata"), data or 0)
    ctx.set(pin("wstrb"), 15)
    for channel in (asked,) if data is None else ("w", asked):
        ctx.set(pin(f"{channel}valid"), 1)
        await ctx.tick().until(pin(f"{channel}ready"))
        ctx.set(pin(f"{channel}valid"), 0)
    ctx.set(pin(f"{answered}ready"), 1)
    found, response = await ctx.tick().sample(pin("rdata"), pin(f"{answered}resp")).until(pin(f"{answered}valid"))
    ctx.set(pin(f"{answered}ready"), 0)
    return found, response


async def wishbone(ctx, dut, address, data=None):
    for name, value in (("cyc", 1), ("stb", 1), ("we", data is not None), ("adr", address), ("dat", data or 0),
                        ("sel", 15)):
        ctx.set(getattr(dut, f"wb_{name}_i"), value)
    found, error = await ctx.tick().sample(dut.wb_dat_o, dut.wb_err_o).until(dut.wb_ack_o | dut.wb_err_o)
    ctx.set(dut.wb_cyc_i, 0)
    ctx.set(dut.wb_stb_i, 0)
    return found, error


@pytest.mark.parametrize("bus, access", [("axi4-lite", axi_lite), ("wishbone", wishbone)])
def test_a_block_goes_through(bus, access):
    config = CONFIG.changed(bus={"control": bus})
    dut, at = core(config), {register.name: register.address for register in register_map(config)}
    assert type(dut) is ControlledCore
    bench, rng = Bench(dut, 4), random.Random(4)
    words = [rng.getrandbits(64) for _ in range(BEATS)]
    bench.feed(dut.i, words, Stall.RANDOM)
    sink = bench.sink(dut.o, BEATS, Stall.RANDOM)

    async def host(ctx):
        found = [(await access(ctx, dut, at[f"HASH_{half}"]))[0] for half in ("LOW", "HIGH")]
        assert found[0] | found[1] << 32 == configuration_hash(config)
        writes = [("INTERRUPT_ENABLE", 1), ("SETUP_TARGET", SETUP_PROGRAM << 16),
                  *(("SETUP_DATA", word) for word in program()), ("CONTROL", 1)]
        for name, data in writes:
            assert not (await access(ctx, dut, at[name], data))[1], name
        assert (await access(ctx, dut, at["CONTROL"], 1))[1], "a start while busy"
        assert not ctx.get(dut.irq)
        await ctx.tick().until(dut.irq)
        assert await access(ctx, dut, at["INTERRUPT_STATE"]) == (0b101, 0)  # done, and the start that was refused
        await access(ctx, dut, at["COUNTERS"], 1)
        assert await access(ctx, dut, at["BLOCKS_LOW"]) == (1, 0)
        total = await access(ctx, dut, at["TOTAL_LOW"])
        parts = [(await access(ctx, dut, at[f"{name}_LOW"]))[0] for name in (
            "COMPUTING", "WAITING_INPUT", "WAITING_OUTPUT", "WAITING_HAZARD")]
        assert total == (sum(parts), 0) and total[0]
    bench.process(host)
    bench.run(2000)
    mask = (1 << 64) - 1
    assert np.array_equal(np.array([word & mask for word in sink.words], np.uint64), np.array(words, np.uint64))


@pytest.mark.parametrize("changes", [{}, {"memory_bits": 8, "block_log": 4}])
@pytest.mark.parametrize("memory", ["native", "axi4"])
def test_registers_take_the_place_of_ports(changes, memory):
    if memory == "axi4" and not changes:
        return
    native = CONFIG.changed(**changes).changed(bus={"memory": memory})
    ports = set(core(native).signature.members)
    for bus, prefix in (("axi4-lite", "s_axi_ctrl_"), ("wishbone", "wb_")):
        ours = set(core(native.changed(bus={"memory": memory, "control": bus})).signature.members)
        processor = {"log_address", "log_data", "abort_request", "drained"}
        assert ports - ours == ({"i_setup", "status"} | (processor if changes else set())
                                | ({"base", "limit", "bus_error", "bus_error_write", "bus_error_address"}
                                   if memory == "axi4" else set()))
        assert {name for name in ours - ports if not name.startswith(prefix)} == {"irq"}
