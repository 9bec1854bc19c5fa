"""Wishbone slave: classic and pipelined masters with pauses, cycles that are given up, latency."""

import random

import pytest
from support.control import Registers, content, is_bad

from wingbeat.hw.bus.control.wishbone import WishboneSlave
from wingbeat.sim.bench.stream import Bench

COUNT = 60


class Master:
    """Sends ``accesses`` (write, byte address, data, select); ``answers``: (ack, err, data) of each, None where it was
    given up. ``waits`` counts cycles from strobe to answer."""

    def __init__(self, seed, pipelined=False, pauses=0.0, given_up=0.0):
        self._rng, self.answers, self.waits = random.Random(seed), [], []
        self._pipelined, self._pauses, self._given_up = pipelined, pauses, given_up
        rng = self._rng
        self.accesses = [(rng.getrandbits(1), rng.randrange(1 << 12), rng.getrandbits(32), rng.getrandbits(4))
                         for _ in range(COUNT)]

    async def run(self, ctx, dut):
        pins = {name: getattr(dut, f"wb_{name}_i") for name in ("cyc", "stb", "we", "adr", "dat", "sel")}
        for write, address, data, select in self.accesses:
            while self._rng.random() < self._pauses:
                for name in ("stb", "we", "adr", "dat", "sel"):  # a strobe without a cycle is nothing
                    ctx.set(pins[name], self._rng.getrandbits(len(pins[name])))
                _, _, ack, err = await ctx.tick().sample(dut.wb_ack_o, dut.wb_err_o)
                assert not ack and not err, "an answer outside of a cycle"
            for name, value in (("cyc", 1), ("stb", 1), ("we", write), ("adr", address), ("dat", data),
                                ("sel", select)):
                ctx.set(pins[name], value)
            patience = self._rng.randint(1, 6) if self._rng.random() < self._given_up else 1000
            for cycle in range(patience):
                _, _, stall, ack, err, found = await ctx.tick().sample(
                    dut.wb_stall_o, dut.wb_ack_o, dut.wb_err_o, dut.wb_dat_o)
                if self._pipelined and not stall:
                    for name in ("stb", "we", "adr", "dat", "sel"):
                        ctx.set(pins[name], 0 if name == "stb" else self._rng.getrandbits(len(pins[name])))
                if ack or err:
                    self.answers.append((ack, err, found))
                    self.waits.append(cycle)
                    break
            else:
                self.answers.append(None)
            ctx.set(pins["cyc"], 0)
            ctx.set(pins["stb"], 0)
            if self.answers[-1] is None:
                _, _, ack, err = await ctx.tick().sample(dut.wb_ack_o, dut.wb_err_o)
                assert not ack and not err, "an answer outside of a cycle"


def run(master, longest, seed):
    dut, registers = WishboneSlave(), Registers(seed, longest)
    bench = Bench(dut, seed)

    async def registers_behind(ctx):
        await registers.run(ctx, dut)

    async def master_before(ctx):
        await master.run(ctx, dut)
    bench.process(registers_behind, background=True)
    bench.process(master_before)
    bench.run(COUNT)
    return registers, bench.seed_note


@pytest.mark.parametrize("longest", [0, 6])
@pytest.mark.parametrize("pauses", [0.0, 0.6])
@pytest.mark.parametrize("pipelined", [False, True])
def test_random_traffic(pipelined, pauses, longest):
    master = Master(4, pipelined, pauses)
    registers, note = run(master, longest, 9)
    assert [(write, address, data, strobe) for write, address, data, strobe in registers.accesses] == [
        (write, address >> 2, data, select) for write, address, data, select in master.accesses], note
    wanted = [(not is_bad(n >> 2), is_bad(n >> 2), 0 if write else content(n >> 2))
              for write, n, _, _ in master.accesses]
    assert master.answers == wanted, note


@pytest.mark.parametrize("pipelined", [False, True])
def test_an_access_that_is_given_up_gets_no_answer(pipelined):
    """Nor does the next one get its answer."""
    master = Master(6, pipelined, 0.2, 0.5)
    run(master, 6, 2)
    answered = [(access, answer) for access, answer in zip(master.accesses, master.answers) if answer]
    assert 10 < len(answered) < COUNT - 10
    for (write, address, _, _), answer in answered:
        assert answer == (not is_bad(address >> 2), is_bad(address >> 2), 0 if write else content(address >> 2))


def test_latency():
    """Strobe to access 1 cycle, answer to acknowledge 1; the registers of the bench answer in the next cycle."""
    master = Master(1)
    run(master, 0, 1)
    assert set(master.waits) == {3}
