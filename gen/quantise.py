"""Number formats between the steps of a network: units of tensors, and the parameters that lead from one to the next.

A tensor's element is an integer whose value is the integer times the unit of the tensor, a power of two. Headroom
stands between the largest value seen while calibrating and full scale.
"""

from dataclasses import dataclass
import math

import numpy as np

from ..hw.errors import WingbeatError
from ..hw.numeric import largest

__all__ = ["HEADROOM", "Format", "Sum", "power_of_two_unit", "plan_sum", "gelu_gain", "element_log2", "quantise"]

HEADROOM = 1.25
_MOST_SHIFT = 7   # a, b, c of docs/vector.md
_MOST_GAIN = 4


@dataclass(frozen=True)
class Format:
    """Elements of ``width`` bits that stand for an integer times 2^``exponent``."""

    width: int
    exponent: int

    @property
    def unit(self) -> float:
        return math.ldexp(1.0, self.exponent)

    def integers(self, values: np.ndarray) -> np.ndarray:
        """``values`` rounded and clamped to the symmetric range, int64."""
        return quantise(values / self.unit, self.width)[0]


def quantise(values: np.ndarray, width: int) -> tuple[np.ndarray, int]:
    """``values`` in units of an element as integers of ``width`` bits, and how many were clamped."""
    whole, bound = np.rint(values), largest(width)
    clamped = int(np.count_nonzero(np.abs(whole) > bound))
    return np.clip(whole, -bound, bound).astype(np.int64), clamped


def element_log2(width: int) -> int:
    """Exponent of what a LayerNorm gives and GELU takes: -8..8 over the whole range."""
    return 4 - width


def power_of_two_unit(peak: float, width: int, headroom: float = HEADROOM) -> Format:
    """The finest format in which ``peak`` times ``headroom`` fits; of zeros: units of 1."""
    if not math.isfinite(peak):
        raise WingbeatError(f"inputs: a value of {peak} on the way; allowed are inputs with finite results")
    if peak <= 0:
        return Format(width, 0)
    return Format(width, math.ceil(math.log2(peak * headroom / largest(width))))


def gelu_gain(peak: float) -> int:
    """How far the result of a GELU may be shifted up, given its largest magnitude."""
    gain = 0
    while gain < _MOST_GAIN and peak * HEADROOM * 2 ** (gain + 1) < 8:
        gain += 1
    return gain


@dataclass(frozen=True)
class Sum:
    """out = (v*2^a + r*2^b) >> c: formats of ``own`` = v and of the result."""

    own: Format
    result: Format
    a: int
    b: int
    c: int


def plan_sum(own_peak: float, added: Format, result_peak: float, *, own: Format | None = None) -> Sum:
    """Formats for adding a tensor of format ``added``; ``own`` where it cannot be chosen.

    Raises WingbeatError where the formats lie too far apart for the shifts.
    """
    width = added.width
    result = power_of_two_unit(result_peak, width).exponent
    mine = own.exponent if own else power_of_two_unit(own_peak, width).exponent
    # What is added may be finer than the result by _MOST_SHIFT bits, and coarser by as many.
    result = min(max(result, mine, added.exponent - _MOST_SHIFT), added.exponent + _MOST_SHIFT)
    coarser = result - added.exponent
    if own is None:
        mine = min(max(mine, result - _MOST_SHIFT - min(0, coarser)), result)
    finer = result - mine
    c = max(finer, coarser, 0)
    a, b = c - finer, c - coarser
    if not all(0 <= shift <= _MOST_SHIFT for shift in (a, b, c)):
        raise WingbeatError(f"sum of formats 2^{mine} and 2^{added.exponent} in 2^{result}: shifts {a}, {b}, {c}; "
                            f"allowed are 0..{_MOST_SHIFT}")
    return Sum(Format(width, mine), Format(width, result), a, b, c)
