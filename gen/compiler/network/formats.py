"""Number formats between the steps of a network: units of tensors, and the parameters that lead from one to the next.

A tensor's element is an integer whose value is the integer times the unit of the tensor, a power of two. Headroom
stands between the largest value seen while calibrating and full scale. Where a reader asks for it the unit is coarser
than the values do: a sum shifts its operands by 7 bits at most, a LayerNorm needs the root of its epsilon in the range.
"""

from dataclasses import dataclass
import math

import numpy as np

from ....hw.errors import WingbeatError
from ....hw.isa.parameter_set import BELOW_BITS, EPSILON_BITS, READ_SET, WRITE_SET
from ....hw.numeric import largest
from .file import Gelu, LayerNorm, Relu
from .lower import Step, Value

__all__ = ["HEADROOM", "MOST_SHIFT", "Format", "Sum", "power_of_two_unit", "peak_of", "least_exponent", "own_exponent",
           "plan_sum", "finest_operand", "gelu_exponent", "most_gelu_exponent", "norm_range", "element_log2",
           "quantise"]

HEADROOM = 1.25
MOST_SHIFT = (1 << dict(WRITE_SET)["a"]) - 1  # a, b, c of docs/reference/vector.md
_MOST_FALL = (1 << dict(WRITE_SET)["fall"]) - 1
_MOST_RANGE = 5  # the largest standardised value of 2^16 features is 2^8 = 8 * 2^5
assert _MOST_RANGE < 1 << dict(READ_SET)["range_bits"]


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
    """Exponent of what the table of GELU covers, and of what a LayerNorm gives without a wider range: -8..8."""
    return BELOW_BITS - width


def power_of_two_unit(peak: float, width: int, headroom: float = HEADROOM) -> Format:
    """The finest format in which ``peak`` times ``headroom`` fits; of zeros, which tell nothing: -8..8."""
    if not math.isfinite(peak):
        raise WingbeatError(f"inputs: a value of {peak} on the way; allowed are inputs with finite results")
    if peak <= 0:
        return Format(width, element_log2(width))
    return Format(width, math.ceil(math.log2(peak * headroom / largest(width))))


def peak_of(values: np.ndarray) -> float:
    """The largest magnitude, 0 of nothing."""
    return float(np.max(np.abs(values), initial=0.0))


def _fits(peak: float, exponent: int, width: int) -> bool:
    return peak <= math.ldexp(largest(width), exponent)


def most_gelu_exponent(width: int) -> int:
    """Exponent of the coarsest result of a GELU."""
    return _MOST_FALL - width


def gelu_exponent(peak: float, width: int) -> int:
    """Exponent of the finest result of a GELU with room for its largest magnitude: with headroom, but -8..8 as long as
    ``peak`` fits; most_gelu_exponent where nothing has room."""
    for exponent in range(-width, most_gelu_exponent(width)):
        if _fits(peak * (1.0 if exponent == element_log2(width) else HEADROOM), exponent, width):
            return exponent
    return most_gelu_exponent(width)


def norm_range(step: Step, width: int) -> int:
    """r of the step's LayerNorm, whose results -8*2^r..8*2^r fill an element: 0 as long as what was seen fits, else
    with headroom. No result of n features is larger than sqrt(n - 1)."""
    peak, most = peak_of(step.standardised()), math.sqrt(max(step.source.shape.features - 1, 1))
    if _fits(peak, element_log2(width), width):
        return 0
    wanted = min(peak * HEADROOM, most)
    return next((r for r in range(1, _MOST_RANGE) if _fits(wanted, element_log2(width) + r, width)), _MOST_RANGE)


def own_exponent(step: Step, width: int) -> int:
    """Exponent of the finest format of what a step has made before it adds something.

    What a ReLU makes 0 counts: it must not be clamped before.
    """
    relu = isinstance(step.activation, Relu)
    exponent = power_of_two_unit(peak_of(step.linear if relu else step.activated), width).exponent
    if isinstance(step.activation, Gelu):
        exponent = max(exponent, gelu_exponent(peak_of(step.activated), width))
    return exponent


def least_exponent(value: Value, width: int) -> int:
    """Exponent of the finest format of ``value`` that suits what was seen and all that read it or add it."""
    least, slack = _needed(value, power_of_two_unit(peak_of(value.floats), width).exponent, width), 0
    while value.adders:  # one at most: a residual begins here
        [step] = value.adders
        value, slack = step.result, slack + MOST_SHIFT
        exponent = max(own_exponent(step, width), power_of_two_unit(peak_of(value.floats), width).exponent)
        least = max(least, _needed(value, exponent, width) - slack)
    return least


def _needed(value: Value, exponent: int, width: int) -> int:
    """``exponent``, or that with which E of every LayerNorm that reads ``value`` is small enough, and the deviation of
    its rows for the range of its results (sim/model/vector.py): at most 2^(EW-r) elements."""
    log2_size = 2 * math.log2(value.shape.features)
    for step in value.readers:
        if step.norm is not None:
            assert isinstance(step.norm.spec, LayerNorm)
            bits = min(log2_size + 2 * (width - 1), EPSILON_BITS - 0.01)
            exponent = max(exponent, math.ceil((math.log2(step.norm.spec.epsilon) + log2_size - bits) / 2))
            deviation = float(np.max(np.std(value.floats, axis=-1), initial=0.0))
            if deviation > 0:
                most = width - norm_range(step, width)
                exponent = max(exponent, math.ceil(math.log2(deviation * HEADROOM)) - most)
    return exponent


def finest_operand(added: Format, least: int) -> int:
    """Exponent of the finest format to which a tensor of format ``added`` may be added, with a result of ``least``."""
    coarser = max(least, added.exponent - MOST_SHIFT) - added.exponent
    return added.exponent + max(coarser, 0) - MOST_SHIFT


@dataclass(frozen=True)
class Sum:
    """out = (v*2^a + r*2^b) >> c: formats of ``own`` = v and of the result."""

    own: Format
    result: Format
    a: int
    b: int
    c: int


def plan_sum(own: Format, added: Format, least: int, *, fixed: bool = False) -> Sum:
    """Formats for adding a tensor of format ``added`` to one of format ``own``, which becomes coarser where that helps
    unless it is ``fixed``; the exponent of the result is ``least`` or more.

    Raises WingbeatError where the formats lie too far apart for the shifts.
    """
    width, mine = added.width, own.exponent
    result = max(least, mine, added.exponent - MOST_SHIFT)
    coarser = result - added.exponent
    if not fixed:
        mine = max(mine, finest_operand(added, result))
    finer = result - mine
    c = max(finer, coarser, 0)
    a, b = c - finer, c - coarser
    if not all(0 <= shift <= MOST_SHIFT for shift in (a, b, c)):
        raise WingbeatError(f"sum of formats 2^{mine} and 2^{added.exponent} in 2^{result}: shifts {a}, {b}, {c}; "
                            f"allowed are 0..{MOST_SHIFT}")
    return Sum(Format(width, mine), Format(width, result), a, b, c)
