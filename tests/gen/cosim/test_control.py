"""Masters of the control buses against the slaves."""

import random

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
import pytest
from support.control import Registers, content, is_bad

from wingbeat.gen.cosim.control import AxiLiteMaster, WishboneMaster
from wingbeat.hw.bus.control.axi_lite import AxiLiteSlave
from wingbeat.hw.bus.control.register_file import register_request, register_response
from wingbeat.hw.bus.control.wishbone import WishboneSlave
from wingbeat.sim.bench.stream import Bench, Stall

SEED = 17


class Pair(wiring.Component):
    """Master and slave: accesses go in at ``a``, answers come out at ``b``; behind the slave ``o`` and ``i``."""

    def __init__(self, master, slave):
        self._master, self._slave = master, slave
        accesses, answers = stream.Signature(register_request()), stream.Signature(register_response())
        super().__init__({"a": In(accesses), "b": Out(answers), "o": Out(accesses), "i": In(answers)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.master, m.submodules.slave = master, slave = self._master, self._slave
        for ours, its in ((wiring.flipped(self.a), master.i), (master.o, wiring.flipped(self.b)),
                          (slave.o, wiring.flipped(self.o)), (wiring.flipped(self.i), slave.i)):
            wiring.connect(m, ours, its)
        for name, member in slave.signature.members.items():
            if name not in ("i", "o"):
                ours, its = getattr(master, name), getattr(slave, name)
                m.d.comb += its.eq(ours) if member.flow is In else ours.eq(its)
        return m


@pytest.mark.parametrize("master, slave, stall", [(AxiLiteMaster, AxiLiteSlave, Stall.NEVER),
                                                  (AxiLiteMaster, AxiLiteSlave, Stall.RANDOM),
                                                  (WishboneMaster, WishboneSlave, Stall.RANDOM)])
def test_accesses_arrive(master, slave, stall):
    dut, registers, rng = Pair(master(), slave()), Registers(SEED, 3), random.Random(SEED)
    accesses = [{"write": rng.getrandbits(1), "address": rng.randrange(1 << 10), "data": rng.getrandbits(32),
                 "strobe": rng.getrandbits(4)} for _ in range(40)]
    bench = Bench(dut, SEED)
    bench.feed(dut.a, accesses, stall)
    sink = bench.sink(dut.b, 40)

    async def registers_behind(ctx):
        await registers.run(ctx, dut)
    bench.process(registers_behind, background=True)
    bench.run(4000)
    assert [(write, address) for write, address, *_ in registers.accesses] == [
        (access["write"], access["address"]) for access in accesses]
    for access, answer, (_, _, data, strobe) in zip(accesses, sink.words, registers.accesses, strict=True):
        assert answer >> 32 == is_bad(access["address"])
        if access["write"]:
            assert (data, strobe) == (access["data"], access["strobe"])
        else:
            assert answer & 0xFFFF_FFFF == content(access["address"])
