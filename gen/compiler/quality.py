"""What makes results doubtful: values that were clamped, counted by place, and layers far from float. Both are warned
of."""

from collections.abc import Iterable
import math
from typing import NamedTuple
import warnings

import numpy as np

__all__ = ["AccuracyWarning", "Clamped", "SaturationWarning", "least_sqnr_db", "level_db", "total_clamped",
           "warn_clamped", "warn_inaccurate"]

# A decibel more than what is wanted: a few inputs stand for all.
_LEAST_SQNR_DB, _FULL_WIDTH = 61.0, 16


class SaturationWarning(UserWarning):
    """A value was clamped, on the way in or in the array: the result is not to be trusted."""


class AccuracyWarning(UserWarning):
    """A layer is further from float than elements of its width should be."""


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


def least_sqnr_db(width: int) -> float:
    """What elements of ``width`` bits are trusted to reach: 61 dB from 16 bits on, 6 dB less for every bit less."""
    return _LEAST_SQNR_DB - 6 * max(_FULL_WIDTH - width, 0)


def level_db(values: np.ndarray, error: float) -> float:
    """Root of the mean square of ``values`` over that of an error, in dB; infinite where either is nothing."""
    level = float(np.sqrt(np.mean(np.abs(values) ** 2)))
    return 20 * math.log10(level / error) if level and error else math.inf


def warn_inaccurate(places: Iterable[tuple[str, float]], least: float, stacklevel: int = 2) -> None:
    """An AccuracyWarning that names each of ``places`` (name, SQNR in dB) below ``least`` dB; ``stacklevel`` as for
    warnings.warn, of the caller."""
    low = [f"{name}: {sqnr:.1f}" for name, sqnr in places if not sqnr >= least]
    if low:
        warnings.warn(f"below {least:.0f} dB against float in {'; '.join(low)}", AccuracyWarning,
                      stacklevel=stacklevel + 1)
