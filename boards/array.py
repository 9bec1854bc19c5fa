"""Boards that carry an array alone behind the frames of hw/isa/link_frame.py."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..hw.array.array import Array
from ..hw.config import CoreConfig
from ..hw.link.framer import LinkParameters
from ..hw.link.link import Link
from ..hw.link.uart import UartParameters, UartReceiver, UartTransmitter
from .top import BoardTop

__all__ = ["LinkedArray", "ArrayTop"]


class LinkedArray(wiring.Component):
    """An array with its link and UART: two wires, ``rx`` and ``tx``, are all a host needs (hw/isa/link_frame.py).

    ``o_reset`` asks for a reset of all of it. ``busy`` and ``saturated`` are the flags of the array's status.

    Format: that of the array.
    Latency: that of the UART, 10 bit times a byte.
    Throughput: that of the UART.
    Backpressure: the array waits for the UART, never the other way round.
    Reset: idle; memories keep their contents.
    Cost: array, link (hw/link/link.py) and 65 LUT4.
    Source: own.
    """

    def __init__(self, config: CoreConfig, uart: UartParameters, timeout: int):
        self.config, self.uart = config, uart
        self.link = LinkParameters.from_config(config, timeout=timeout)
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "o_reset": Out(1),
                          "busy": Out(1), "saturated": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UartReceiver(self.uart)
        m.submodules.transmitter = transmitter = UartTransmitter(self.uart)
        m.submodules.link = link = Link(self.link)
        m.submodules.array = array = Array(self.config)
        for source, sink in ((receiver.o, link.i), (link.o, transmitter.i), (link.o_setup, array.i_setup),
                             (link.o_data, array.i), (array.o, link.i_results)):
            wiring.connect(m, source, sink)
        m.d.comb += [
            receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx), self.o_reset.eq(link.o_reset),
            link.i_status.eq(array.status), self.busy.eq(array.status.busy),
            self.saturated.eq(array.status.saturated),
        ]
        return m


class ArrayTop(BoardTop):
    """Base of boards with a :class:`LinkedArray`; the host is boards/host.py."""

    flags = ("busy", "saturated")
    quiet_seconds = 0.02

    @classmethod
    def linked(cls, uart, timeout):
        return LinkedArray(cls.config(), uart, timeout)
