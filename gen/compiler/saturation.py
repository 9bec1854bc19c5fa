"""What was clamped on the way through a model or a core: counted by place, and warned of."""

from collections.abc import Iterable
from typing import NamedTuple
import warnings

__all__ = ["Clamped", "SaturationWarning", "total_clamped", "warn_clamped"]


class SaturationWarning(UserWarning):
    """A value was clamped, on the way in or in the array: the result is not to be trusted."""


class Clamped(NamedTuple):
    """What was clamped at one place: the inputs, or a layer.

    ``elements``: clamped on their way in, or between memory and array. ``blocks``: with clamped values inside, of
    ``of_blocks``.
    """

    place: str
    elements: int
    blocks: int = 0
    of_blocks: int = 0

    def __bool__(self) -> bool:
        return bool(self.elements or self.blocks)

    def __str__(self) -> str:
        parts = [f"{self.elements} elements"] * bool(self.elements)
        parts += [f"{self.blocks} of {self.of_blocks} blocks"] * bool(self.blocks)
        return f"{self.place}: {' and '.join(parts)}"


def total_clamped(parts: Iterable[Iterable[Clamped]]) -> list[Clamped]:
    """Of each place what all ``parts`` together have clamped, in their order; places without a clamp are left out."""
    found: dict[str, Clamped] = {}
    for each in (each for part in parts for each in part):
        before = found.get(each.place, Clamped(each.place, 0))
        found[each.place] = Clamped(each.place, *(a + b for a, b in zip(before[1:], each[1:])))
    return [each for each in found.values() if each]


def warn_clamped(clamped: Iterable[Clamped], stacklevel: int = 2) -> None:
    """A SaturationWarning that names each place with a clamp; ``stacklevel`` as for warnings.warn, of the caller."""
    places = [str(each) for each in clamped if each]
    if places:
        warnings.warn(f"clamped in {'; '.join(places)}", SaturationWarning, stacklevel=stacklevel + 1)
