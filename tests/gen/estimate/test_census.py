"""Counts of small designs, by hand."""

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from wingbeat.gen.estimate.census import take_census
from wingbeat.hw.config import Target
from wingbeat.hw.primitives.multiplier import Multiplier, MultiplierParameters
from wingbeat.hw.primitives.ram import Ram, RamParameters


class Small(wiring.Component):
    """What ``build`` makes of the ports."""

    a: In(8)
    b: In(8)
    select: In(1)
    o: Out(8)

    def __init__(self, build):
        self.build = build
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        self.build(m, self)
        return m


def counts(build):
    return {kind: count for kind, count in take_census(Small(build)).items() if count}


def test_registers_and_sums():
    """Bits that nobody keeps make no carry cells."""
    def build(m, p):
        m.d.sync += p.o.eq(p.a + p.b)
    assert counts(build) == {"register": 8, "carry": 4}


def test_multiplexers():
    """The first value of a register takes its enable; a second one is chosen."""
    def build(m, p):
        m.d.comb += p.o.eq(Mux(p.select, p.a, p.b))
    assert counts(build) == {"mux": 8}

    def once(m, p):
        with m.If(p.select):
            m.d.sync += p.o.eq(p.a)
    assert counts(once) == {"register": 8}

    def twice(m, p):
        m.d.sync += p.o.eq(p.b)
        with m.If(p.select):
            m.d.sync += p.o.eq(p.a)
    assert counts(twice) == {"register": 8, "choice": 8}


def test_values_that_stand_twice_count_once():
    def build(m, p):
        both = p.a & p.b
        m.d.comb += p.o.eq(Cat(both[:4], both[4:]))
    assert counts(build)["gate"] <= 8


def test_memories():
    def memory(width, depth, domain):
        def build(m, p):
            m.submodules.memory = memory = Memory(shape=width, depth=depth, init=[])
            memory.read_port(domain=domain)
            memory.write_port()
        return counts(build)
    assert memory(8, 16, "comb") == {"lutram": 2}
    assert memory(8, 32, "comb") == {"lutram": 4, "lutread": 8}
    assert memory(35, 65, "sync") == {"bram": 1}  # what Yosys makes of it
    assert "bram" not in memory(64, 18, "sync")


def test_cells():
    """Equal blocks are counted each time they stand there."""
    def build(m, p):
        for number in range(3):
            m.submodules[f"ram{number}"] = Ram(RamParameters(36, 1024, Target.ECP5))
        m.submodules.multiplier = Multiplier(MultiplierParameters(18, 18, Target.ECP5))
    found = counts(build)
    assert (found["bram"], found["dsp"]) == (6, 1)
