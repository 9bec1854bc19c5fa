"""Boards that carry a processor with its memory, behind the words of hw/isa/serial_bus.py."""

from typing import ClassVar

from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..hw.bus.control.register_file import RegisterFile
from ..hw.config import CoreConfig
from ..hw.core.controlled_core import connect_registers
from ..hw.core.processor import Processor
from ..hw.link.bridge import BridgeParameters, SerialBridge
from ..hw.link.uart import UartParameters, UartReceiver, UartTransmitter
from ..hw.memory.host_access import HostAccess
from ..hw.memory.port import MemoryParameters
from ..hw.memory.scratchpad import Scratchpad, ScratchpadParameters
from .top import BoardTop

__all__ = ["LinkedProcessor", "ProcessorTop"]

_WAITING = 16  # bytes; a copy of the counters takes longer than one of a fast line


class LinkedProcessor(wiring.Component):
    """A processor, its registers and ``memory`` behind a UART: two wires, ``rx`` and ``tx``, are all a host needs.

    ``memory``: a component with a MemoryPort ``port`` of ``beats`` beats, such as a Scratchpad. The host reads and
    writes it while the processor runs. ``busy``: a program runs; ``fault``: the last one was stopped.

    Format: that of the processor; words as hw/isa/serial_bus.py says.
    Latency: that of the UART, 10 bit times a byte.
    Throughput: that of the UART.
    Backpressure: none towards the line; what comes while an access takes longer than 16 bytes is counted as lost.
    Reset: that of processor, registers and bridge; the memory keeps its contents.
    Cost: a Processor, a RegisterFile, a HostAccess, a SerialBridge, a UART, the memory.
    Source: own.
    """

    def __init__(self, config: CoreConfig, memory: wiring.Component, beats: int, uart: UartParameters, timeout: int):
        self.config, self._memory, self._uart = config, memory, uart
        self._access = HostAccess(MemoryParameters.of(config), beats)
        self._bridge = SerialBridge(BridgeParameters(beats * MemoryParameters.of(config).beat_bytes, timeout))
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "busy": Out(1), "fault": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self._uart)
        m.submodules.transmitter = transmitter = UartTransmitter(self._uart)
        m.submodules.bridge = bridge = self._bridge
        m.submodules.registers = registers = RegisterFile(self.config)
        m.submodules.processor = processor = Processor(self.config)
        m.submodules.access = access = self._access
        m.submodules.memory = memory = self._memory
        m.submodules.waiting = waiting = SyncFIFOBuffered(width=8, depth=_WAITING)
        for source, sink in ((receiver.o, waiting.w_stream), (waiting.r_stream, bridge.i), (bridge.o, transmitter.i),
                             (processor.port, access.core), (access.memory, memory.port)):
            wiring.connect(m, source, sink)
        connect_registers(m, registers, processor)
        self._words(m, bridge.o_registers, registers.i, registers.o, bridge.i_registers)
        self._words(m, bridge.o_memory, access.i, access.o, bridge.i_memory)
        m.d.comb += [
            receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx), bridge.lost.eq(receiver.lost),
            self.busy.eq(processor.status.busy), self.fault.eq(processor.status.error.any())]
        return m

    def _words(self, m, source, request, response, sink):
        """Accesses of the bridge, whole words, to registers or memory, and the answers back."""
        wide, narrow = source.payload, request.payload
        m.d.comb += [
            request.valid.eq(source.valid), source.ready.eq(request.ready),
            *(narrow[name].eq(wide[name]) for name in ("write", "data")), narrow.address.eq(wide.address),
            sink.valid.eq(response.valid), response.ready.eq(sink.ready),
            Value.cast(sink.payload).eq(Value.cast(response.payload))]
        if "strobe" in narrow.shape().members:
            m.d.comb += narrow.strobe.eq(-1)


class ProcessorTop(BoardTop):
    """Base of boards with a :class:`LinkedProcessor`; the host is boards/network_host.py. A board also says how many
    beats its memory has, and overrides :meth:`memory` where it is not of block RAM."""

    flags = ("busy", "fault")
    quiet_seconds = 0.1  # as UARTBone
    memory_beats: ClassVar[int]
    loader: ClassVar[str]  # the board as openFPGALoader calls it

    @classmethod
    def memory(cls, config: CoreConfig) -> wiring.Component:
        """What stands behind the memory port."""
        return Scratchpad(ScratchpadParameters(MemoryParameters.of(config), cls.memory_beats, config.target,
                                               config.pipeline))

    @classmethod
    def linked(cls, uart, timeout):
        config = cls.config()
        return LinkedProcessor(config, cls.memory(config), cls.memory_beats, uart, timeout)
