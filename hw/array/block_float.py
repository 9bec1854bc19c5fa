"""Block floating point and saturation flags: what all engines together know about the values of a block."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.instruction import Opcode
from ..isa.setup import EXPONENT_BITS
from ..layouts import instruction
from ..primitives.pipeline import delay

__all__ = ["BlockFloat"]


def _tree(m, values, name):
    """OR over all engines, four inputs a level, a register after each; and the number of levels."""
    level = 0
    while len(values) > 1:
        level += 1
        merged = []
        for i in range(0, len(values), 4):
            register = Signal(values[i].shape(), name=f"{name}_level{level}_{i // 4}", reset_less=True)
            m.d.sync += register.eq(reduce(or_, values[i:i + 4]))
            merged.append(register)
        values = merged
    return values[0], level


class BlockFloat(wiring.Component):
    """Shifts of a block-floating-point pass from the largest magnitude of the pass before; exponent and flag of each
    half.

    With a ring ``mac_saturations``, a bit of each engine, belong to the half ``mac_half``.

    A magnitude is the OR of leading magnitude bits; z, its leading zeros, counts the bits that are free in every value.
    Columns 0..q together shift by c[q] = max(0, growth[q] - z); the exponent grows by c[S-1].

    Format: magnitudes of ``magnitude_bits`` bits, shifts unsigned, exponents of 6 bits that wrap.
    Latency: maximum_tree_latency + 3 cycles from a result to ``shifts``; ``config.block_float_gap`` idle cycles between
    the passes cover it. ``exponent`` follows ``shift_start[S-1]`` by two cycles.
    Throughput: one beat per cycle.
    Backpressure: none.
    Reset: flags clear, exponents zero.
    Cost: S + 1 trees of OR over E engines, S tables of log2(magnitude_bits + 1) + 3 inputs, two adders of 6 bits.
    Source: docs/decisions/0003-block-floating-point-shifts-every-column.md; docs/reference/architecture.md, Block
    floating point.
    """

    def __init__(self, config: CoreConfig):
        self._config = c = config
        mac = {"mac_saturations": In(c.engines), "mac_half": In(1)} if c.ring_words else {}
        super().__init__({
            **mac, "pass_fields": In(instruction(Opcode.PASS)), "half": In(1), "start": In(1),
            "load_done": In(1), "load_half": In(1), "load_magnitude": In(c.magnitude_bits),
            "magnitudes": In(data.ArrayLayout(c.magnitude_bits, c.engines)),
            "saturations": In(data.ArrayLayout(c.layers, c.engines)),
            "result_valid": In(c.layers), "result_half": In(c.layers), "result_start": In(1),
            "shift_start": In(c.layers),
            "shifts": Out(data.ArrayLayout(c.shift_bits, c.layers)),
            "exponent": Out(data.ArrayLayout(EXPONENT_BITS, 2)), "saturated": Out(2),
        })

    def elaborate(self, platform):
        m = Module()
        c, fields = self._config, self.pass_fields
        loaded = [Signal(c.magnitude_bits, name=f"loaded{half}") for half in range(2)]
        for half in range(2):
            with m.If(self.load_done & (self.load_half == half)):
                m.d.sync += loaded[half].eq(self.load_magnitude)

        found, levels = _tree(m, [self.magnitudes[e] for e in range(c.engines)], "magnitude")
        assert c.maximum_tree_latency == 1 + levels, "the engine holds the first register"
        valid = delay(m, self.result_valid[-1], 1 + levels, "valid", reset_less=False)
        start = delay(m, self.result_start, 1 + levels, "start", reset_less=False)
        computed = Signal(c.magnitude_bits, name="computed")
        with m.If(valid):
            m.d.sync += computed.eq(Mux(start, found, computed | found))

        magnitude = Mux(fields.first, Mux(self.half, loaded[1], loaded[0]), computed)
        free = Signal(range(c.magnitude_bits + 1), name="free", reset_less=True)
        m.d.sync += free.eq(c.magnitude_bits)
        for bit in range(c.magnitude_bits):
            with m.If(magnitude[bit]):
                m.d.sync += free.eq(c.magnitude_bits - 1 - bit)

        self._shifts(m, free)
        self._flags(m)
        return m

    def _shifts(self, m, free):
        layers = self._config.layers
        shift_sum = [Signal(3, name=f"shift_sum{q}", reset_less=True) for q in range(layers)]
        for q in range(layers):
            growth = self.pass_fields.growth[3 * q:3 * q + 3]
            with m.Switch(Cat(free, growth)):  # a table, which costs less than the carry chain of a comparison
                for value in range(1 << len(free) + 3):
                    z, g = value & (1 << len(free)) - 1, value >> len(free)
                    with m.Case(value):
                        m.d.sync += shift_sum[q].eq(max(0, g - z))
            m.d.comb += self.shifts[q].eq(shift_sum[q] - shift_sum[q - 1] if q else shift_sum[q])
        added = Signal.like(shift_sum[-1], name="added")
        update = Signal(2, name="update")
        m.d.sync += [added.eq(Mux(self.pass_fields.block_float, shift_sum[-1], 0)),
                     update.eq(Cat(self.shift_start[-1] & (self.half == half) for half in range(2)))]
        for half in range(2):
            with m.If(update[half]):
                before = Mux(self.pass_fields.first, 0, self.exponent[half])
                m.d.sync += self.exponent[half].eq(before + added)

    def _flags(self, m):
        c = self._config
        for half in range(2):
            clear = Signal(name=f"clear{half}")
            m.d.sync += clear.eq(self.start & self.pass_fields.first & (self.half == half))
            with m.If(clear):
                m.d.sync += self.saturated[half].eq(0)
        for q in range(c.layers):
            clamped, levels = _tree(m, [self.saturations[e][q] for e in range(c.engines)], f"saturation{q}")
            here = Cat(self.result_valid[q] & (self.result_half[q] == half) for half in range(2))
            clamped = delay(m, clamped, 1, f"clamped{q}")
            here = delay(m, here, levels + 1, f"saturation_half{q}", reset_less=False)
            for half in range(2):
                with m.If(clamped & here[half]):
                    m.d.sync += self.saturated[half].eq(1)
        if c.ring_words:
            clamped, levels = _tree(m, [self.mac_saturations[e] for e in range(c.engines)], "mac_saturation")
            mac_half = delay(m, self.mac_half, levels, "mac_saturation_half")
            for half in range(2):
                with m.If(clamped & (mac_half == half)):
                    m.d.sync += self.saturated[half].eq(1)
