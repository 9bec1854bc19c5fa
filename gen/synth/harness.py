"""A component on two pins, for parts that cannot be placed out of context."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["PinHarness"]


class PinHarness(wiring.Component):
    """All ports of a component on two pins, through one register per bit.

    Inputs come from a shift register; outputs are folded into a second one by exclusive or, so that nothing
    is optimised away and no path from the component to its neighbour register is longer than one gate.
    """

    serial_i: In(1)
    serial_o: Out(1)

    def __init__(self, component: wiring.Component):
        self.component = component
        ports = list(component.signature.flatten(component))
        self.inputs = Cat(Value.cast(port) for _, member, port in ports if member.flow is In)
        self.outputs = Cat(Value.cast(port) for _, member, port in ports if member.flow is Out)
        super().__init__()

    @property
    def n_registers(self) -> int:
        """Registers, one logic cell each."""
        return len(self.inputs) + len(self.outputs)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.dut = self.component
        shift_in = Signal(len(self.inputs), reset_less=True)
        shift_out = Signal(len(self.outputs), reset_less=True)
        m.d.comb += [self.inputs.eq(shift_in), self.serial_o.eq(shift_out[-1])]
        # Each register adds what passes by: a plain shift register would merge with input registers.
        m.d.sync += [shift_in.eq(Cat(self.serial_i, shift_in) ^ shift_in),
                     shift_out.eq(Cat(Const(0, 1), shift_out) ^ self.outputs)]
        return m
