"""iCEBreaker (iCE40 UP5K): 8 multipliers at the 12 MHz of the board, UART of the USB bridge at 1 Mbaud."""

from amaranth.hdl import Const
from amaranth_boards.icebreaker import ICEBreakerPlatform

from .array import ArrayTop

__all__ = ["IcebreakerTop"]


class IcebreakerTop(ArrayTop):
    """Top of the iCEBreaker. The button resets, the red LED says busy, the green one saturated."""

    name = "icebreaker"
    preset = "icebreaker"
    clock_hz = 12e6
    bitstream = "bin"
    # No memory is read where it is written in the same cycle, and what one could then see needs no gates. (Amaranth
    # hands Yosys finished memory ports, so the attribute that says so in the Verilog is not looked at.)
    build_options = {"synth_opts": "-dsp", "script_after_read": "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2"}

    @staticmethod
    def platform():
        return ICEBreakerPlatform()

    def clock(self, m, platform, clk):
        m.d.comb += clk.eq(platform.request("clk12", dir="i").i)
        return Const(1)
