"""What every board holds: an array behind a UART; and the frame of clock, reset and pins around it."""

from typing import Any, ClassVar

from amaranth.build import Platform
from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Instance, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from ..gen.presets.select import load_preset
from ..gen.rtl.verilog import emit
from ..hw.array.array import Array
from ..hw.config import CoreConfig
from ..hw.link.framer import LinkParameters
from ..hw.link.link import Link
from ..hw.link.uart import UartParameters, UartReceiver, UartTransmitter

__all__ = ["LinkedArray", "BoardTop"]


class LinkedArray(wiring.Component):
    """An array with its link and UART: two wires, ``rx`` and ``tx``, are all a host needs (hw/isa/link_frame.py).

    ``o_reset`` asks for a reset of all of it. ``busy`` and ``saturated`` are the flags of the array's status.
    Latency and throughput: those of the UART, 10 bit times a byte; the array waits for it, never the other
    way round. Reset: idle; memories keep their contents. Cost: array, link (hw/link/link.py) and 65 LUT4.
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


class BoardTop(Elaboratable):
    """Base of the board tops: a :class:`LinkedArray` on the board's UART, flags on two LEDs, reset on a
    button.

    A board gives its name, the preset it carries, the clock of the array in Hz, the baud rate, and how to
    make its platform and its clock.
    """

    name: ClassVar[str]
    preset: ClassVar[str]
    clock_hz: ClassVar[float]
    baud: ClassVar[int]
    quiet_seconds: ClassVar[float] = 0.02  # pause that ends a frame; USB adapters pause a millisecond or two
    bitstream: ClassVar[str]  # suffix of the file to load
    build_options: ClassVar[dict[str, Any]] = {}  # for the tools behind the platform

    @classmethod
    def config(cls) -> CoreConfig:
        """Configuration of the array on the board."""
        return load_preset(cls.preset)

    @classmethod
    def uart(cls) -> UartParameters:
        """Divisor of the UART at the board's clock."""
        return UartParameters.from_rates(cls.clock_hz, cls.baud)

    @classmethod
    def linked(cls) -> LinkedArray:
        """What the top holds between the pins."""
        return LinkedArray(cls.config(), cls.uart(), round(cls.quiet_seconds * cls.clock_hz))

    @staticmethod
    def platform() -> Platform:
        """The platform of amaranth-boards, with tools from PyPI only."""
        raise NotImplementedError

    def clock(self, m: Module, platform: Platform, clk: Signal) -> Signal:
        """Drive ``clk`` with ``clock_hz``; returns a signal that is high once the clock is steady."""
        raise NotImplementedError

    def elaborate(self, platform):
        m = Module()
        m.domains.start = start = ClockDomain(reset_less=True, local=True)
        m.domains.sync = sync = ClockDomain()
        clk = Signal()
        steady = self.clock(m, platform, clk)
        platform.add_clock_constraint(clk, self.clock_hz)
        m.d.comb += [start.clk.eq(clk), sync.clk.eq(ClockSignal("start"))]

        # The board gets the Verilog that the simulators get, not another elaboration of the same blocks.
        platform.add_file("linked.v", emit(self.linked(), "linked"))
        rx, tx, request, busy, saturated = (Signal() for _ in range(5))
        m.submodules.linked = Instance(
            "linked", i_clk=ClockSignal(), i_rst=ResetSignal(), i_rx=rx, o_tx=tx, o_o_reset=request, o_busy=busy,
            o_saturated=saturated)
        button = Signal()
        m.submodules.button = FFSynchronizer(platform.request("button", 0).i, button, o_domain="start")
        # Block RAMs of iCE40 cannot be read for some microseconds after configuration.
        waiting = Signal(9, init=-1)
        m.d.start += [waiting.eq(waiting - (steady & (waiting != 0))),
                      sync.rst.eq((waiting != 0) | button | request)]

        pins = platform.request("uart")
        m.d.comb += [rx.eq(pins.rx.i), pins.tx.o.eq(tx), platform.request("led", 0).o.eq(busy),
                     platform.request("led", 1).o.eq(saturated)]
        return m
