"""The PLL of an ECP5: the clock of a core out of that of its board."""

from amaranth.hdl import Instance, Module, Signal, Value

from ..hw.errors import WingbeatError

__all__ = ["pll_dividers", "add_pll"]

_VCO_HZ = (400e6, 800e6)  # data sheet of the ECP5, EHXPLLL
_DIVIDERS = range(1, 129)
_PHASE_HZ = 3.125e6       # lowest frequency of the phase detector


def pll_dividers(source_hz: float, clock_hz: float) -> tuple[int, int, int]:
    """CLKI_DIV, CLKFB_DIV and CLKOP_DIV that make ``source_hz`` into exactly ``clock_hz``; the VCO near the middle of
    its range. Raises WingbeatError where there are none."""
    found = [(abs(clock_hz * out - sum(_VCO_HZ) / 2), divide, multiply, out)
             for divide in _DIVIDERS if source_hz / divide >= _PHASE_HZ
             for multiply in _DIVIDERS if source_hz * multiply == clock_hz * divide
             for out in _DIVIDERS if _VCO_HZ[0] <= clock_hz * out <= _VCO_HZ[1]]
    if not found:
        raise WingbeatError(f"clock_hz: {clock_hz:.0f} cannot be made out of {source_hz:.0f}; allowed are ratios of "
                            f"two numbers up to {_DIVIDERS[-1]}")
    _, divide, multiply, out = min(found)
    return divide, multiply, out


def add_pll(m: Module, source: Value, clk: Signal, source_hz: float, clock_hz: float) -> Value:
    """Drives ``clk``; returns its lock."""
    locked = Signal()
    divide, multiply, out = pll_dividers(source_hz, clock_hz)
    m.submodules.pll = Instance(
        "EHXPLLL", p_CLKI_DIV=divide, p_CLKFB_DIV=multiply, p_CLKOP_DIV=out, p_CLKOP_CPHASE=out - 1, p_CLKOP_FPHASE=0,
        p_CLKOP_ENABLE="ENABLED", p_FEEDBK_PATH="CLKOP", p_OUTDIVIDER_MUXA="DIVA",
        p_STDBY_ENABLE="DISABLED", p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_DPHASE_SOURCE="DISABLED",
        a_FREQUENCY_PIN_CLKI=f"{source_hz / 1e6:g}", a_FREQUENCY_PIN_CLKOP=f"{clock_hz / 1e6:g}",
        a_ICP_CURRENT="12", a_LPF_RESISTOR="8",
        i_CLKI=source, i_CLKFB=clk, i_RST=0, i_STDBY=0, i_ENCLKOP=0, i_PHASESEL0=0, i_PHASESEL1=0, i_PHASEDIR=1,
        i_PHASESTEP=1, i_PHASELOADREG=1, i_PLLWAKESYNC=0, o_CLKOP=clk, o_LOCK=locked)
    return locked
