"""Registers in a row."""

from amaranth.hdl import Signal

from ..config import Pipeline

__all__ = ["delay", "optional"]


def delay(m, value, cycles: int, name: str, *, reset_less: bool = True):
    """``value`` as it was ``cycles`` clock cycles ago. Control bits want ``reset_less=False``."""
    for i in range(cycles):
        register = Signal(value.shape(), name=f"{name}_{i + 1}", reset_less=reset_less)
        m.d.sync += register.eq(value)
        value = register
    return value


def optional(m, pipeline: Pipeline):
    """The domain of registers that only a deep pipeline has: ``sync``, else ``comb``."""
    return m.d.sync if pipeline.is_deep else m.d.comb
