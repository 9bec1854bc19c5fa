"""The processor with an AXI4 master as its memory."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from ..bus.axi4.burst import AxiParameters
from ..bus.axi4.master import AxiMaster
from ..config import CoreConfig
from .processor import Processor

__all__ = ["AxiProcessor"]

_OWN_PORTS = ("i_setup", "status", "block", "activity", "log_address", "log_data")
_MASTER_PORTS = ("base", "limit")


class AxiProcessor(wiring.Component):
    """A Processor whose memory port is an AxiMaster.

    ``i_setup``, ``status``, ``block``, ``activity`` and the log as in Processor; ``base``, ``limit`` and ``m_axi_...``
    as in AxiMaster. Whatever the program and the tables say, no byte outside [base, base + limit * beat_bytes) is read
    or written; a beat number beyond stops the program with Fault.REFUSED. ``bus_error`` is the ``error`` of the master:
    the bus has answered SLVERR or DECERR; the program goes on.

    ``base`` and ``limit`` stand still from the start of a program to its end, and after a fault until the reset.

    Format: that of Processor; in memory as AxiParameters says.
    Latency: that of Processor on the memory latency of AxiMaster.
    Throughput: that of Processor, at most one transfer of AxiMaster per cycle and direction.
    Backpressure: that of AxiMaster.
    Reset: that of Processor; memory and processor are reset together.
    Cost: a Processor and an AxiMaster.
    Source: docs/reference/processor.md; AMBA AXI4.

    Raises ValueError naming the parameter.
    """

    def __init__(self, config: CoreConfig, axi: AxiParameters):
        self._processor = Processor(config)
        if axi.memory != self._processor.memory:
            raise ValueError(f"memory: {axi.memory} is not that of the processor; allowed is {self._processor.memory}")
        self._master = AxiMaster(axi)
        own, master = self._processor.signature.members, self._master.signature.members
        super().__init__({
            **{name: own[name] for name in _OWN_PORTS if name in own}, "bus_error": Out(1),
            **{name: master[name] for name in master if name in _MASTER_PORTS or name.startswith("m_axi_")}})

    def elaborate(self, platform):
        m = Module()
        m.submodules.processor = processor = self._processor
        m.submodules.master = master = self._master
        wiring.connect(m, processor.port, master.port)
        wiring.connect(m, wiring.flipped(self.i_setup), processor.i_setup)
        for block in (processor, master):
            for name, member in block.signature.members.items():
                if member.is_port and name in self.signature.members:
                    ours, its = getattr(self, name), getattr(block, name)
                    m.d.comb += ours.eq(its) if member.flow is Out else its.eq(ours)
        m.d.comb += self.bus_error.eq(master.error)
        return m
