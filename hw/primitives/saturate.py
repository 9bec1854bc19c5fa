"""Saturation: a signed value clamped to fewer bits by the set and reset of registers."""

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed

__all__ = ["clamp"]


def clamp(m: Module, value: Value, width: int, name: str, above: Value | None = None,
          below: Value | None = None) -> tuple[Signal, Signal]:
    """The signed ``value`` clamped to ``width`` bits, and whether it was, two cycles later.

    ``above``, ``below``: the value lost high bits and is too large or too small, whatever is left of it. Set and reset
    of registers do the clamping: no logic on the data, where a register begins as what it is set to."""
    high, low = (Const(0, 1) if flag is None else flag for flag in (above, below))
    sign, head = value[-1], value[width - 1:]
    kept = Signal(signed(width), name=f"{name}_kept", reset_less=True)
    result = Signal(signed(width), name=name, reset_less=True, init=-1)
    overflow, underflow, flag = (
        Signal(name=f"{name}_{what}", reset_less=True) for what in ("overflow", "underflow", "clamped"))
    is_small = Signal(name=f"{name}_is_small")
    m.d.comb += is_small.eq(low | (~high & sign & ~head.all()))
    m.d.sync += [kept.eq(Cat(value[:width - 1], low | (~high & sign))), underflow.eq(is_small),
                 overflow.eq(high | (~low & ~sign & head.any()))]
    with m.If(is_small):
        m.d.sync += kept[:width - 1].eq(0)
    m.d.sync += [result.eq(kept), flag.eq(overflow | underflow)]
    with m.If(overflow):
        m.d.sync += result[:width - 1].eq(-1)
    return result, flag
