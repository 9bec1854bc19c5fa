"""ECPIX-5 with the ECP5-85F: the processor at 75 MHz with 224 KiB of block RAM, UART of the USB bridge at 1 Mbaud."""

from amaranth_boards.ecpix5 import ECPIX585Platform

from .ecp5_pll import add_pll
from .processor import ProcessorTop

__all__ = ["Ecpix5Top"]


class _Platform(ECPIX585Platform):
    @property
    def required_tools(self):
        """Building a bitstream does not take the program that loads it."""
        return [tool for tool in super().required_tools if tool != "openFPGALoader"]


class Ecpix5Top(ProcessorTop):
    """Whole networks. The reset button resets; the first RGB LED is blue while busy, red after a fault."""

    name = "ecpix5"
    preset = "ulx3s-processor"
    loader = "ecpix5"
    clock_hz = 75e6
    memory_beats = 14336
    bitstream = "bit"

    @staticmethod
    def platform():
        return _Platform()

    def clock(self, m, platform, clk):
        return add_pll(m, platform.request("clk100", dir="i").i, clk, 100e6, self.clock_hz)

    def leds(self, platform):
        led = platform.request("rgb_led", 0)
        return [led.b.o, led.r.o]

    def button(self, platform):
        return platform.request("rst", dir="i").i
