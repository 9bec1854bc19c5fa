"""The processor: its units, and the register that resets them."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from ..config import CoreConfig
from ..primitives.shared import restarted
from .processor_units import ProcessorUnits

__all__ = ["Processor"]


class Processor(wiring.Component):
    """Runs a program of tagged blocks on a memory: a ProcessorUnits that starts anew after a fault.

    Ports as in ProcessorUnits, but for ``restart``: it is high for the cycle in which the units are reset, behind a
    CONTROL_CLEAR or a reset, and must reset a bus side that stands behind the port. ``i_setup`` takes nothing then.

    Format: that of ProcessorUnits.
    Latency: that of ProcessorUnits.
    Throughput: that of ProcessorUnits.
    Backpressure: that of ProcessorUnits.
    Reset: that of ProcessorUnits, a cycle later.
    Cost: a ProcessorUnits and a register: one net without a gate resets all.
    Source: docs/decisions/0032-a-stop-drains-before-it-clears.md.

    Raises ValueError where the configuration has no memory.
    """

    def __init__(self, config: CoreConfig):
        self._units = ProcessorUnits(config)
        self.memory = self._units.memory
        super().__init__({**self._units.signature.members, "restart": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        units = self._units
        m.submodules.units = restarted(units, self.restart)
        m.d.sync += self.restart.eq(units.restart & ~self.restart)
        for name, member in units.signature.members.items():
            ours, its = getattr(self, name), getattr(units, name)
            if name == "i_setup":
                m.d.comb += [its.payload.eq(ours.payload), its.valid.eq(ours.valid & ~self.restart),
                             ours.ready.eq(its.ready & ~self.restart)]
            elif member.is_signature:
                wiring.connect(m, its, wiring.flipped(ours))
            elif name != "restart":
                m.d.comb += ours.eq(its) if member.flow is Out else its.eq(ours)
        return m
