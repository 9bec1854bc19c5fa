"""A core whose setup, start and status are registers behind a standard bus."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from ..bus.control.axi_lite import AxiLiteSlave
from ..bus.control.register_file import RegisterFile, replaced_ports
from ..bus.control.wishbone import WishboneSlave
from ..config import CoreConfig
from ..sections import ControlBus

__all__ = ["ControlledCore", "connect_registers"]

_SLAVES: dict[ControlBus, Any] = {ControlBus.AXI4_LITE: AxiLiteSlave, ControlBus.WISHBONE: WishboneSlave}
_RENAMED = {"i_setup": "o_setup", "status": "i_status"}  # ports of a core that a RegisterFile calls otherwise


def connect_registers(m: Module, registers: RegisterFile, core: wiring.Component) -> None:
    """``registers`` onto those ports of ``core`` in whose place they stand."""
    theirs = {(_RENAMED.get(path[0], path[0]), *path[1:]): value for path, _, value in core.signature.flatten(core)}
    for path, member, value in registers.signature.flatten(registers):
        if path in theirs and path[0] not in ("i", "o"):
            m.d.comb += theirs[path].eq(value) if member.flow is Out else value.eq(theirs[path])


class ControlledCore(wiring.Component):
    """``core``, made from ``config``, with registers in the place of its ports for setup, start and status.

    All other ports are those of the core: streams or memory, ``block``, ``activity``. ``s_axi_ctrl_...`` as in
    AxiLiteSlave or ``wb_...`` as in WishboneSlave; ``irq`` is high while an event that is enabled has come and was not
    cleared.

    Format: that of the core.
    Latency: that of the core; of an access those of the slave and the RegisterFile together.
    Throughput: that of the core.
    Backpressure: that of the core and of the slave.
    Reset: that of the core and of the registers.
    Cost: the core, a RegisterFile, a slave.
    Source: docs/reference/registers.md.
    """

    def __init__(self, config: CoreConfig, core: wiring.Component):
        self._config, self._core = config, core
        self._slave = _SLAVES[config.bus.control]()
        replaced = replaced_ports(config)
        outer = {name: member for name, member in core.signature.members.items() if name not in replaced}
        pins = {name: member for name, member in self._slave.signature.members.items() if name not in ("i", "o")}
        super().__init__({**outer, **pins, "irq": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = self._core
        m.submodules.registers = registers = RegisterFile(self._config)
        m.submodules.slave = slave = self._slave
        wiring.connect(m, slave.o, registers.i)
        wiring.connect(m, registers.o, slave.i)
        m.d.comb += self.irq.eq(registers.irq)
        connect_registers(m, registers, core)
        ours = {path: value for path, _, value in self.signature.flatten(self)}
        for block, inner in ((core, replaced_ports(self._config)), (slave, ("i", "o"))):
            for path, member, value in block.signature.flatten(block):
                if path[0] not in inner:
                    m.d.comb += ours[path].eq(value) if member.flow is Out else value.eq(ours[path])
        return m
