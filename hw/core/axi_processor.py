"""The processor with an AXI4 master as its memory."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from ..bus.axi4.burst import AxiParameters
from ..bus.axi4.master import AxiMaster
from ..config import CoreConfig
from ..primitives.shared import restarted
from .processor import Processor

__all__ = ["AxiProcessor"]

_OWN_PORTS = ("i_setup", "abort_request", "drained", "restart", "status", "block", "activity", "log_address",
              "log_data", "load", "loading")
_MASTER_PORTS = {"base": "base", "limit": "limit", "error": "bus_error", "error_address": "bus_error_address",
                 "error_write": "bus_error_write"}


class AxiProcessor(wiring.Component):
    """A Processor whose memory port is an AxiMaster.

    ``i_setup``, ``abort_request``, ``drained``, ``restart``, ``status``, ``block``, ``activity``, the log and the
    loads as in Processor; ``base``, ``limit`` and ``m_axi_...`` as in AxiMaster. Whatever the program and the tables
    say, no byte outside [base, base + limit * beat_bytes) is read or written; a beat number beyond stops the program
    with Fault.REFUSED.

    ``bus_error``, ``bus_error_address`` and ``bus_error_write`` are ``error``, ``error_address`` and ``error_write`` of
    the master: the bus has answered SLVERR or DECERR, which stops the program with Fault.MEMORY_ERROR. They stay until
    the error is cleared, also where another fault has come first.

    After a fault the master issues nothing more. ``drained`` then says that every burst is finished: a reset is safe.

    ``base`` and ``limit`` stand still from the start of a program to its end, and after a fault while not ``drained``.

    Format: that of Processor; in memory as AxiParameters says.
    Latency: that of Processor on the memory latency of AxiMaster.
    Throughput: that of Processor, at most one transfer of AxiMaster per cycle and direction.
    Backpressure: that of AxiMaster.
    Reset: that of Processor; the memory is reset too, unless ``drained``.
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
            **{name: own[name] for name in _OWN_PORTS if name in own},
            **{port: master[name] for name, port in _MASTER_PORTS.items()},
            **{name: master[name] for name in master if name.startswith("m_axi_")}})

    def elaborate(self, platform):
        m = Module()
        m.submodules.processor = processor = self._processor
        master = self._master
        m.submodules.master = restarted(master, processor.restart)
        wiring.connect(m, processor.port, master.port)
        wiring.connect(m, wiring.flipped(self.i_setup), processor.i_setup)
        for block in (processor, master):
            for name, member in block.signature.members.items():
                port = _MASTER_PORTS.get(name, name) if block is master else name
                if member.is_port and port in self.signature.members:
                    ours, its = getattr(self, port), getattr(block, name)
                    m.d.comb += ours.eq(its) if member.flow is Out else its.eq(ours)
        m.d.comb += master.stop.eq(processor.status.error.any())
        return m
