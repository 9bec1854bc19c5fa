"""Registers in a row."""

from amaranth.hdl import Signal

__all__ = ["delay"]


def delay(m, value, cycles: int, name: str, *, reset_less: bool = True):
    """``value`` as it was ``cycles`` clock cycles ago. Control bits want ``reset_less=False``."""
    for i in range(cycles):
        register = Signal(value.shape(), name=f"{name}_{i + 1}", reset_less=reset_less)
        m.d.sync += register.eq(value)
        value = register
    return value
