"""The frame of every board: clock, reset and pins around a module that talks over a UART."""

from typing import Any, ClassVar

from amaranth.build import Platform
from amaranth.hdl import ClockDomain, ClockSignal, Elaboratable, Instance, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer

from ..gen.presets.select import load_preset
from ..gen.rtl.verilog import emit
from ..hw.config import CoreConfig
from ..hw.link.uart import UartParameters

__all__ = ["BoardTop"]


class BoardTop(Elaboratable):
    """Base of the board tops: what :meth:`linked` makes on the board's UART, its flags on LEDs, reset on a button.

    A board is a class below ArrayTop or ProcessorTop, which say what is linked. It gives its name, the preset it
    carries, the clock of the core in Hz, the baud rate, and how to make its platform and its clock.
    """

    name: ClassVar[str]
    preset: ClassVar[str]
    clock_hz: ClassVar[float]
    baud: ClassVar[int] = 1_000_000
    quiet_seconds: ClassVar[float]  # pause that ends a frame; USB adapters pause a millisecond or two
    bitstream: ClassVar[str]        # suffix of the file to load
    build_options: ClassVar[dict[str, Any]] = {}  # for the tools behind the platform
    flags: ClassVar[tuple[str, ...]]  # ports of what is linked that LEDs show

    @classmethod
    def config(cls) -> CoreConfig:
        """Configuration of the core on the board."""
        return load_preset(cls.preset)

    @classmethod
    def uart(cls) -> UartParameters:
        """Divisor of the UART at the board's clock."""
        return UartParameters.from_rates(cls.clock_hz, cls.baud)

    @classmethod
    def linked(cls, uart: UartParameters, timeout: int) -> wiring.Component:
        """What the top holds between the pins: ``rx``, ``tx``, ``flags``, and ``o_reset`` where it can ask for one.
        ``timeout``: cycles of a quiet line that end a frame."""
        raise NotImplementedError

    @staticmethod
    def platform() -> Platform:
        """The platform of amaranth-boards, with tools from PyPI only."""
        raise NotImplementedError

    def clock(self, m: Module, platform: Platform, clk: Signal) -> Value:
        """Drive ``clk`` with ``clock_hz``; returns a signal that is high once the clock is steady."""
        raise NotImplementedError

    def leds(self, platform: Platform) -> list[Value]:
        """One for each of ``flags``."""
        return [platform.request("led", number).o for number in range(len(self.flags))]

    def button(self, platform: Platform) -> Value:
        """High while the board is to be reset."""
        return platform.request("button", 0).i

    def elaborate(self, platform):
        m = Module()
        m.domains.start = start = ClockDomain(reset_less=True, local=True)
        m.domains.sync = sync = ClockDomain()
        clk = Signal()
        steady = self.clock(m, platform, clk)
        platform.add_clock_constraint(clk, self.clock_hz)
        m.d.comb += [start.clk.eq(clk), sync.clk.eq(ClockSignal("start"))]

        # The board gets the Verilog that the simulators get, not another elaboration of the same blocks.
        linked = self.linked(self.uart(), round(self.quiet_seconds * self.clock_hz))
        platform.add_file("linked.v", emit(linked, "linked"))
        rx, tx, request, button = (Signal() for _ in range(4))
        lights = self.leds(platform)
        asks_reset = {"o_o_reset": request} if "o_reset" in linked.signature.members else {}
        m.submodules.linked = Instance(
            "linked", i_clk=ClockSignal(), i_rst=ResetSignal(), i_rx=rx, o_tx=tx, **asks_reset,
            **{f"o_{flag}": light for flag, light in zip(self.flags, lights, strict=True)})
        m.submodules.button = FFSynchronizer(self.button(platform), button, o_domain="start")
        # Block RAMs of iCE40 cannot be read for some microseconds after configuration.
        waiting = Signal(9, init=-1)
        m.d.start += [waiting.eq(waiting - (steady & (waiting != 0))),
                      sync.rst.eq((waiting != 0) | button | request)]

        pins = platform.request("uart")
        m.d.comb += [rx.eq(pins.rx.i), pins.tx.o.eq(tx)]
        return m
