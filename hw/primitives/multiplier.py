"""Registered signed multiplier: the one source of products of every butterfly unit."""

from dataclasses import dataclass

from amaranth import Cat, ClockSignal, Const, Instance, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import Pipeline, Target
from .shared import once

__all__ = ["Multiplier", "MultiplierParameters"]

_DSP_WIDTH = 18  # operand bits of an ECP5 MULT18X18D


@dataclass(frozen=True)
class MultiplierParameters:
    """Operand widths in bits (2..18 each: the operands of one DSP block), the technology and the pipeline.

    Raises ValueError naming the field.
    """

    a_width: int
    b_width: int
    target: Target = Target.PORTABLE
    pipeline: Pipeline = Pipeline.DEEP

    def __post_init__(self) -> None:
        for name in ("a_width", "b_width"):
            width = getattr(self, name)
            if not 2 <= width <= _DSP_WIDTH:
                raise ValueError(f"{name}: {width} is not the width of a multiplier operand; "
                                 f"allowed are 2..{_DSP_WIDTH}")

    @property
    def o_width(self) -> int:
        """Bits of the exact product."""
        return self.a_width + self.b_width

    @property
    def latency(self) -> int:
        """Cycles from operands to product."""
        return self.pipeline.multiplier_latency


class Multiplier(wiring.Component):
    """Exact product of two signed integers.

    Format: ``a`` and ``b`` two's complement; ``o`` is exact (a_width + b_width bits, no rounding, no overflow).
    Latency: 3 cycles (input, pipeline and output register) for every target; none in a short pipeline.
    Throughput: one product per cycle; there is no enable.
    Backpressure: none.
    Reset: none, the registers hold data only.
    Cost: one MULT18X18D with its three register stages on and no logic (ECP5); what the tool infers (portable, and
    every short pipeline); on iCE40 one SB_MAC16.
    Source: own; short pipeline: docs/decisions/0008-a-short-pipeline-for-small-parts.md.
    """

    def __init__(self, parameters: MultiplierParameters):
        self.parameters = parameters
        super().__init__({
            "a": In(signed(parameters.a_width)),
            "b": In(signed(parameters.b_width)),
            "o": Out(signed(parameters.o_width)),
        })

    @once("parameters")
    def elaborate(self, platform) -> Module:
        m = Module()
        if not self.parameters.pipeline.is_deep:
            m.d.comb += self.o.eq(self.a * self.b)
        elif self.parameters.target is Target.ECP5:
            m.submodules.dsp = self._mult18x18d()
        else:
            self._portable(m)
        return m

    def _portable(self, m: Module) -> None:
        # Plain registers around one product: synthesis moves those into its DSP block that the block has.
        a = Signal.like(self.a, name="a_input", reset_less=True)
        b = Signal.like(self.b, name="b_input", reset_less=True)
        product = Signal.like(self.o, name="product", reset_less=True)
        m.d.sync += [a.eq(self.a), b.eq(self.b), product.eq(a * b)]
        # The output register stands in two pieces because the ice40_dsp pass of Yosys 0.69, when it finds a
        # second register behind the product whole, leaves a driver conflict and takes the product for
        # constant zero.
        half = self.parameters.o_width // 4
        low = Signal(half, name="output_low", reset_less=True)
        high = Signal(self.parameters.o_width - half, name="output_high", reset_less=True)
        m.d.sync += [low.eq(product[:half]), high.eq(product[half:])]
        m.d.comb += self.o.eq(Cat(low, high))

    def _mult18x18d(self) -> Instance:
        # Yosys infers MULT18X18D without its registers (140 MHz), so they are asked for by name.
        stages = ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT")
        registers = {f"p_REG_{stage}_{pin}": f"{pin}0" for stage in stages for pin in ("CLK", "CE", "RST")}
        o_width = self.parameters.o_width
        product = Cat(self.o, Signal(2 * _DSP_WIDTH - o_width, name="sign_extension"))
        pins = {f"o_P{bit}": product[bit] for bit in range(2 * _DSP_WIDTH)}
        for letter, operand in (("A", self.a), ("B", self.b)):
            for bit in range(_DSP_WIDTH):
                pins[f"i_{letter}{bit}"] = operand[min(bit, len(operand) - 1)]
                pins[f"i_C{bit}"] = Const(0)
            pins |= {f"i_SIGNED{letter}": Const(1), f"i_SOURCE{letter}": Const(0)}
        return Instance("MULT18X18D", p_GSR="DISABLED", **registers, i_CLK0=ClockSignal(), i_CE0=Const(1),
                        i_RST0=Const(0), **pins)
