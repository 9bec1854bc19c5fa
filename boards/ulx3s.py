"""ULX3S with the ECP5-85F: 16 multipliers at 100 MHz, UART of the USB bridge at 1 Mbaud."""

from amaranth.hdl import Instance, Signal
from amaranth_boards.ulx3s import ULX3S_85F_Platform

from .top import BoardTop

__all__ = ["Ulx3sTop"]


class _Platform(ULX3S_85F_Platform):
    @property
    def required_tools(self):
        """Building a bitstream does not take the program that loads it."""
        return [tool for tool in super().required_tools if tool != "openFPGALoader"]


class Ulx3sTop(BoardTop):
    """Top of the ULX3S. Button F1 resets, LED 0 says busy, LED 1 saturated. The PLL makes 25 MHz into 100
    MHz.
    """

    name = "ulx3s"
    preset = "ulx3s-16"
    clock_hz = 100e6
    baud = 1_000_000
    bitstream = "bit"

    @staticmethod
    def platform():
        return _Platform()

    def clock(self, m, platform, clk):
        locked = Signal()
        # VCO 600 MHz = 25 MHz * CLKFB_DIV * CLKOP_DIV; CPHASE is CLKOP_DIV - 1.
        m.submodules.pll = Instance(
            "EHXPLLL", p_CLKI_DIV=1, p_CLKFB_DIV=4, p_CLKOP_DIV=6, p_CLKOP_CPHASE=5, p_CLKOP_FPHASE=0,
            p_CLKOP_ENABLE="ENABLED", p_FEEDBK_PATH="CLKOP", p_OUTDIVIDER_MUXA="DIVA",
            p_STDBY_ENABLE="DISABLED", p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            a_FREQUENCY_PIN_CLKI="25", a_FREQUENCY_PIN_CLKOP="100", a_ICP_CURRENT="12", a_LPF_RESISTOR="8",
            i_CLKI=platform.request("clk25", dir="i").i, i_CLKFB=clk, i_RST=0, i_STDBY=0, i_ENCLKOP=0,
            i_PHASESEL0=0, i_PHASESEL1=0, i_PHASEDIR=1, i_PHASESTEP=1, i_PHASELOADREG=1, i_PLLWAKESYNC=0,
            o_CLKOP=clk, o_LOCK=locked)
        return locked
