"""Adder with a selected operand: one carry chain, the selection inside it."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Instance, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import Target

__all__ = ["SelectAdder", "SelectAdderParameters"]

# LUT of one CCU2C bit: A ^ (D ? B : C). With C = D = 0 it is A, which is what the carry generator reads
# there.
_SELECT_ADD = sum(((i & 1) ^ (i >> 1 & 1 if i >> 3 else i >> 2 & 1)) << i for i in range(16))


@dataclass(frozen=True)
class SelectAdderParameters:
    """``width`` in bits of operands and sum (2..64) and the technology. Raises ValueError naming the
    field."""

    width: int
    target: Target = Target.PORTABLE

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 64:
            raise ValueError(f"width: {self.width} is out of range; allowed are 2..64")


class SelectAdder(wiring.Component):
    """``o = addend + (b if select else a)``, modulo 2^width.

    Format: any integers of ``width`` bits; the carry out of the highest bit is lost.
    Latency: 0, no registers.
    Throughput: one sum per cycle.
    Backpressure: none.
    Reset: none.
    Cost: width/2 CCU2C, rounded up (ECP5), where Yosys alone would spend ``width`` LUTs more on the selection;
    elsewhere what the tool infers.
    Source: own.
    """

    def __init__(self, parameters: SelectAdderParameters):
        self.parameters = parameters
        width = parameters.width
        super().__init__({"addend": In(width), "a": In(width), "b": In(width), "select": In(1), "o": Out(width)})

    def elaborate(self, platform) -> Module:
        m = Module()
        if self.parameters.target is Target.ECP5:
            self._ccu2c(m)
        else:
            m.d.comb += self.o.eq(self.addend + Mux(self.select, self.b, self.a))
        return m

    def _ccu2c(self, m: Module) -> None:
        width = self.parameters.width
        zero = Const(0, width % 2)
        addend, a, b = (Cat(operand, zero) for operand in (self.addend, self.a, self.b))
        total = Signal(width + width % 2, name="total")
        carry: Signal | Const = Const(0, 1)
        for low in range(0, len(total), 2):
            pins: dict[str, Any] = {}
            for half in range(2):
                pins |= {f"p_INIT{half}": Const(_SELECT_ADD, 16), f"p_INJECT1_{half}": "NO",
                         f"i_A{half}": addend[low + half], f"i_B{half}": b[low + half],
                         f"i_C{half}": a[low + half], f"i_D{half}": self.select, f"o_S{half}": total[low + half]}
            carry_out = Signal(name=f"carry{low + 2}")
            if low + 2 < len(total):  # a carry that drives nothing costs nextpnr a cell
                pins["o_COUT"] = carry_out
            m.submodules[f"bits{low}"] = Instance("CCU2C", i_CIN=carry, **pins)
            carry = carry_out
        m.d.comb += self.o.eq(total)
