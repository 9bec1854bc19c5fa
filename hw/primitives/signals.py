"""Several signals of one shape, each with its name."""

from typing import Any

from amaranth.hdl import ShapeLike, Signal

__all__ = ["signals"]


def signals(names: str, shape: ShapeLike = 1, **options: Any) -> list[Any]:
    """A Signal for each word of ``names``: ``begin, end = signals("begin end")``. ``options`` are those of Signal."""
    return [Signal(shape, name=name, **options) for name in names.split()]
