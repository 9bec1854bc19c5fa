"""What the tests of blocks without streams share: a cycle-by-cycle driver and the bits of words."""

from amaranth.hdl import ClockDomain, Module, Value
from amaranth.sim import Simulator
import numpy as np
import pytest

from wingbeat.hw.isa.bit_fields import bits_of_words
from wingbeat.hw.isa.encoding import OPCODE_BITS, encode
from wingbeat.sim.bench.stream import bits_of


def _drive(dut, steps, outputs, resets=()):
    """Run ``dut`` for one cycle per step; return {name: bit patterns}, what each of the ports named
    ``outputs`` shows in each cycle, before the clock edge that ends it.

    A step maps names of input ports to bit patterns or what their layouts accept; a port that it does not
    name keeps its value. The domain is reset by the edges that end the cycles ``resets``.
    """
    domain, m = ClockDomain("sync"), Module()
    m.domains += domain
    m.submodules.dut = dut
    seen = {name: [] for name in outputs}
    ports = [Value.cast(getattr(dut, name)) for name in outputs]

    async def bench(ctx):
        for cycle, step in enumerate(steps):
            for name, value in step.items():
                port = getattr(dut, name)
                shape = port.shape()
                ctx.set(Value.cast(port), int(value) if np.isscalar(value) else bits_of(shape, value))
            if resets:
                ctx.set(domain.rst, cycle in resets)
            _, _, *values = await ctx.tick().sample(*ports)
            for name, value in zip(outputs, values):
                seen[name].append(value)

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


def _lane_bits(words, width):
    """Bit pattern of the words (n, 2) of a beat, re below im, word 0 lowest."""
    mask, bits = (1 << width) - 1, 0
    for value in reversed(np.asarray(words).reshape(-1).tolist()):
        bits = bits << width | value & mask
    return bits


def _lane_words(bits, width, n):
    """Inverse of ``lane_bits``: int64 (n, 2)."""
    mask, sign = (1 << width) - 1, 1 << (width - 1)
    values = [((bits >> (width * i) & mask) ^ sign) - sign for i in range(2 * n)]
    return np.array(values, dtype=np.int64).reshape(n, 2)


def _field_bits(instruction):
    """The fields of an instruction behind its opcode, as the units receive them."""
    return bits_of_words(encode([instruction])) >> OPCODE_BITS


@pytest.fixture(scope="session")
def drive():
    return _drive


@pytest.fixture(scope="session")
def lane_bits():
    return _lane_bits


@pytest.fixture(scope="session")
def lane_words():
    return _lane_words


@pytest.fixture(scope="session")
def field_bits():
    return _field_bits
