"""ULX3S with the ECP5-85F: the processor at 75 MHz with 224 KiB of block RAM, or an array of 16 multipliers at 100 MHz;
UART of the USB bridge at 1 Mbaud."""

from amaranth_boards.ulx3s import ULX3S_85F_Platform

from .array import ArrayTop
from .ecp5_pll import add_pll
from .processor import ProcessorTop
from .top import BoardTop

__all__ = ["Ulx3sTop", "Ulx3sArrayTop"]


class _Platform(ULX3S_85F_Platform):
    @property
    def required_tools(self):
        """Building a bitstream does not take the program that loads it."""
        return [tool for tool in super().required_tools if tool != "openFPGALoader"]


class _Ulx3s(BoardTop):
    bitstream = "bit"

    @staticmethod
    def platform():
        return _Platform()

    def clock(self, m, platform, clk):
        return add_pll(m, platform.request("clk25", dir="i").i, clk, 25e6, self.clock_hz)


class Ulx3sTop(_Ulx3s, ProcessorTop):
    """Whole networks. Button F1 resets, LED 0 says busy, LED 1 that a fault stopped a program."""

    name = "ulx3s"
    preset = "ulx3s-processor"
    loader = "ulx3s"
    clock_hz = 75e6
    memory_beats = 14336  # 16 bytes each: a batch of 16 of the network digits; 112 of the 208 block RAMs


class Ulx3sArrayTop(_Ulx3s, ArrayTop):
    """An array alone. Button F1 resets, LED 0 says busy, LED 1 saturated."""

    name = "ulx3s-array"
    preset = "ulx3s-16"
    clock_hz = 100e6
