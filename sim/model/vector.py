"""Bit-exact model of the vector unit: rescaling, activations, residual addition, LayerNorm (docs/reference/vector.md,
Numbers).

All arrays are int64. An element has ``width`` = EW bits, two's complement, 8 <= EW <= 18; F = 18 - EW. Functions that
clamp return what comes out and a boolean array of what was clamped.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from ...hw.isa.parameter_set import BELOW_BITS, EPSILON_BITS, WIDE_BITS
from ...hw.isa.vector_tables import (GeluTable, INDEX_ONLY_BITS, MOST_RESCALE_SHIFT, SCALE_BITS, check_element_width,
                                     check_row_length)
from ...hw.numeric import largest, round_half_up, saturate
from ...hw.vector.parameters import FRACTION, MANTISSA_BITS, OPERAND_BITS, SHIFT_BITS

__all__ = ["rescale", "relu", "clamped_element", "GELU_ERRORS", "gelu", "add_residual", "argmax", "MANTISSA_ERROR",
           "RowStatistics", "row_statistics", "normalise"]

_ROOT = MANTISSA_BITS - 1  # fraction bits of the mantissa of a deviation's inverse


# ---- Rescale

def rescale(x: Any, scale: Any, bias: Any, shift: int, width: int, *,
            wide: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """y = sat(half_up(x*M + B*2^(R-F), R)): scale M / 2^R, bias B in units of 2^-F of an element of y, of 2^(3-F) where
    ``wide``; sat to EW + 3 bits.

    ``x`` elements, ``scale`` M and ``bias`` B of 18 bits, broadcast against each other; ``shift`` R, F <= R <= F + 18.
    Returns y and what was clamped.
    """
    check_element_width(width)
    fraction = SCALE_BITS - width
    if not fraction <= shift <= fraction + MOST_RESCALE_SHIFT:
        raise ValueError(f"shift: {shift}, allowed at {width} bits are {fraction}..{fraction + MOST_RESCALE_SHIFT}")
    # |x*M| <= 2^(EW-1+17) <= 2^34, |B*2^(R-F+3)| <= 2^(17+18+3), the half <= 2^27: 40 bits.
    up = shift - fraction + WIDE_BITS * wide
    total = np.multiply(x, scale, dtype=np.int64) + np.left_shift(np.asarray(bias, dtype=np.int64), up)
    return saturate(round_half_up(total, shift), width + WIDE_BITS)


# ---- Activation

def relu(y: Any) -> np.ndarray:
    """max(y, 0)."""
    return np.maximum(np.asarray(y, dtype=np.int64), 0)


def clamped_element(y: Any, width: int) -> tuple[np.ndarray, np.ndarray]:
    """What goes on of ``y``, EW + 3 bits, where no GELU follows: sat(y), and what was clamped."""
    check_element_width(width)
    return saturate(np.asarray(y, dtype=np.int64), width)


# Largest error of z against the real function, for fall 4 down to 0, in units of the last place of z, its own rounding
# of 0.5 included: over all y that are not clamped, and over erf GELU, tanh GELU and SiLU. A test measures them.
GELU_ERRORS = {
    8: (0.54, 0.56, 0.63, 0.75, 0.50),
    9: (0.53, 0.57, 0.63, 0.75, 0.50),
    10: (0.53, 0.57, 0.63, 0.75, 0.50),
    11: (0.54, 0.59, 0.69, 0.86, 0.73),
    12: (0.56, 0.61, 0.71, 0.93, 0.89),
    13: (0.55, 0.61, 0.73, 0.97, 0.94),
    14: (0.56, 0.61, 0.72, 0.93, 0.94),
    15: (0.56, 0.62, 0.75, 1.01, 1.02),
    16: (0.59, 0.68, 0.85, 1.21, 1.59),
    17: (0.65, 0.81, 1.11, 1.69, 2.57),
    18: (0.78, 1.02, 1.57, 2.69, 5.34),
}


def gelu(y: Any, table: GeluTable, fall: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """z = y*C(y) where y, EW + 3 bits, stands for y / 2^(EW-4) and z for z / 2^(EW-fall), 0 <= fall <= 7.

    With u = |y|, i = u >> (EW-10), f = u & (2^(EW-10)-1):

        d = base[i] - half_up(slope[i]*f, 6),   0 where u >= 2^(EW-1), outside the table
        z = sat(half_up(max(y, 0)*2^4 - d, fall))

    So C is 0 or 1 outside of -8..8. Below 10 bits i = u << (10-EW) and f = 0, at 10 f is empty. ``table`` must have
    been made for the same width. Returns z and what was clamped. The largest error is in GELU_ERRORS.
    """
    check_element_width(width)
    if not 0 <= fall <= 7:
        raise ValueError(f"fall: {fall}, allowed are 0..7")
    y = np.asarray(y, dtype=np.int64)
    outside = np.abs(y) > largest(width)
    u = np.where(outside, 0, np.abs(y))
    cut = max(0, width - INDEX_ONLY_BITS)
    i, f = u >> cut << max(0, INDEX_ONLY_BITS - width), u & ((1 << cut) - 1)
    # |slope*f| < 2^(9+8), d < 2^19, y*2^4 < 2^24: 25 bits.
    d = np.where(outside, 0, table.base[i] - round_half_up(table.slope[i] * f, 6))
    return saturate(round_half_up((relu(y) << BELOW_BITS) - d, fall), width)


# ---- Residual

def add_residual(v: Any, r: Any, a: int, b: int, c: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """out = sat(half_up(v*2^a + r*2^b, c)), 0 <= a, b, c <= 7. Returns out and what was clamped."""
    check_element_width(width)
    for name, shift in (("a", a), ("b", b), ("c", c)):
        if not 0 <= shift <= 7:
            raise ValueError(f"{name}: {shift}, allowed are 0..7")
    # |v*2^a + r*2^b| <= 2^(17+7+1): 27 bits.
    total = (np.asarray(v, dtype=np.int64) << a) + (np.asarray(r, dtype=np.int64) << b)
    return saturate(round_half_up(total, c), width)


# ---- Argmax

def argmax(x: Any, classes: int, width: int) -> np.ndarray:
    """Elements (..., n), the last one replaced by the number of the largest of the first ``classes``, the lowest number
    where several are equal; 1 <= classes < n, and at most 2^(EW-1)."""
    check_element_width(width)
    x = np.array(x, dtype=np.int64)
    most = min(x.shape[-1] - 1, 1 << width - 1)
    if not 1 <= classes <= most:
        raise ValueError(f"classes: {classes}, allowed are 1..{most}")
    x[..., -1] = np.argmax(x[..., :classes], axis=-1)
    return x


# ---- LayerNorm

# Bound of the relative error of m against N/sqrt(D): 2^-16 where m is cut off, 2^-19 where A is; W, cut off too, pulls
# the other way. Measured: 1.68e-5.
MANTISSA_ERROR = 2.0**-16 + 2.0**-19


class RowStatistics(NamedTuple):
    """What the table of rows keeps of each row, int64 arrays of one shape: ``mean`` M of 4 fraction bits, ``mantissa``
    m, 2^16 <= m < 2^17, and ``shift`` p, 0..31, of the inverse of the standard deviation."""

    mean: np.ndarray
    mantissa: np.ndarray
    shift: np.ndarray


def _largest_epsilon(n: int, width: int) -> int:
    """Twice the largest variance is what keeps p from being negative."""
    return min(n * n << 2 * (width - 1), (1 << EPSILON_BITS) - 1)


def _inverse_deviation(d: int, n: int, width: int) -> tuple[int, int]:
    """m and p: N/sqrt(D) = m * 2^(p-16-EW), nearly, with p not clamped yet."""
    log2_n, k = n.bit_length() - 1, (d.bit_length() - 1) // 2
    a, w = n * n << 18 >> 2 * log2_n, d << 18 >> 2 * k
    j = int(a < w)
    return math.isqrt((a << 2 * (_ROOT + j)) // w), width + log2_n - k - j


def row_statistics(rows: Any, epsilon: int, width: int, range_bits: int = 0) -> tuple[RowStatistics, np.ndarray]:
    """Statistics of ``rows``, (n_rows, N) elements, 1 <= N <= 2^16, with E = ``epsilon``, at most N^2 * 4^(EW-1) and
    62 bits, and r = ``range_bits``. Returns them, and whether p was below 0 (n_rows,): such a row comes out too large.

    With S1 = sum x, S2 = sum x^2 and D = N*S2 - S1^2 + E, that is N^2 times the variance plus epsilon:

        n = bit_length(N) - 1,           A = floor(N^2 * 2^18 / 4^n)            2^18 <= A < 2^20
        k = (bit_length(D) - 1) div 2,   W = floor(D * 2^18 / 4^k)              2^18 <= W < 2^20
        j = 1 if A < W else 0,           m = isqrt((A << (32 + 2*j)) div W)     2^16 <= m < 2^17
        p = clamp(EW + n - k - j - r, 0, 31)
        M = floor((S1*2^5 + N) / (2*N))
    """
    check_element_width(width)
    rows = np.asarray(rows, dtype=np.int64)
    n = rows.shape[1]
    check_row_length(n)
    if not 1 <= epsilon <= _largest_epsilon(n, width):
        raise ValueError(f"epsilon: {epsilon}, allowed are 1..{_largest_epsilon(n, width)}")
    # |S1*2^5| <= 2^(17+16+5), S2 <= 2^(34+16), but N*S2 <= 2^66: from there on Python's integers.
    sums, squares = rows.sum(axis=1), (rows * rows).sum(axis=1)
    inverses = [_inverse_deviation(n * s2 - s1 * s1 + epsilon, n, width)
                for s1, s2 in zip(sums.tolist(), squares.tolist())]
    mantissas, shifts = np.array(inverses, dtype=np.int64).reshape(-1, 2).T
    shifts = shifts - range_bits
    return RowStatistics(((sums << FRACTION + 1) + n) // (2 * n), mantissas,
                         np.clip(shifts, 0, (1 << SHIFT_BITS) - 1)), shifts < 0


def normalise(x: Any, statistics: RowStatistics, n: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """y = (x - mean)/sigma, which stands for y / 2^(EW-4-r), r the ``range_bits`` of its statistics. With
    U = min(18, EW + 2):

        u = half_up((x*2^4 - M) << p, 8 + EW - U)
        y = sat(half_up(u*m, 16 + U - EW))

    ``x``: elements of rows of ``n``, last axis the elements, the axes before it those of ``statistics``. Returns y and
    what was clamped: y, or u, which does not fit U bits.

    Error against the real function, in units of the last place of y, where sigma = sqrt(variance + epsilon) in units
    of an element of x: at most 0.5 + 2^(EW-U) + 2^(EW-9)/sigma + MANTISSA_ERROR*|y|. The terms are the last rounding,
    that of u, the mean and m; sigma >= 2^(EW-9) makes the third one 1 at most.

    SQNR measured at 16 bits, N = 64, 768 and 1024: 82 dB for rows with sigma = 2^12, for heavy-tailed ones (Student's
    t, 2 degrees of freedom) and for sigma = 2^9 around a mean of 0.7 * 2^15; 43 dB for sigma = 3, 29 dB for sigma = 0.5
    (their own rounding to elements leaves 20 and 5 dB). 8, 12 and 18 bits: 34, 58 and 89 dB instead of 82. A row of
    equal elements gives zeros.
    """
    check_element_width(width)
    check_row_length(n)
    mean, mantissa, shift = (field[..., None] for field in statistics)
    operand = min(OPERAND_BITS, width + 2)
    # |x*2^4 - M| < 2^(18+4), shifted by p < 2^53, u*m < 2^(17+17).
    deviation = (np.asarray(x, dtype=np.int64) << FRACTION) - mean << shift
    u, lost = saturate(round_half_up(deviation, FRACTION + 4 + width - operand), operand)
    y, clamped = saturate(round_half_up(u * mantissa, _ROOT + operand - width), width)
    return y, clamped | lost
