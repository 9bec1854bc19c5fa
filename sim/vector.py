"""Bit-exact model of the vector unit: rescaling, activations, residual addition, LayerNorm (docs/vector.md, Numbers).

All arrays are int64. An element has ``width`` = EW bits, two's complement, 8 <= EW <= 18; F = 18 - EW. Functions that
clamp return what comes out and a boolean array of what was clamped.
"""

from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import Any, NamedTuple

import numpy as np

from ..hw.numeric import largest, pack_signed, round_half_up, saturate, smallest

__all__ = ["rescale", "scale_parameters", "relu", "erf_complement", "tanh_complement", "silu_complement", "GeluTable",
           "GELU_ERRORS", "gelu", "add_residual", "argmax", "MANTISSA_ERROR", "epsilon_parameter", "RowStatistics",
           "row_statistics", "normalise"]

_LEAST = 8  # bits of an element
_MANTISSA = 18  # bits of a scale and of a bias
_SHIFTS = 18  # R - F at most
_SEGMENTS = 512  # of the activation table, over |y| of 0..8
_INDEX_ONLY = 10  # bits of an element that has a segment to itself; narrower ones skip segments
_BASE, _SLOPE = 18, 10  # bits of a word of it: base unsigned, slope signed
_MEAN_FRACTION = 4  # fraction bits of the mean of a row
_ROOT = 16  # fraction bits of the mantissa of a deviation's inverse


def _check_width(width: int) -> None:
    if not _LEAST <= width <= _MANTISSA:
        raise ValueError(f"width: {width} bits, allowed are {_LEAST}..{_MANTISSA}")


# ---- Rescale

def rescale(x: Any, scale: Any, bias: Any, shift: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """y = sat(half_up(x*M + B*2^(R-F), R)): scale M / 2^R, bias B in units of 2^-F of an element of y.

    ``x`` elements, ``scale`` M and ``bias`` B of 18 bits, broadcast against each other; ``shift`` R, F <= R <= F + 18.
    Returns y and what was clamped.
    """
    _check_width(width)
    fraction = _MANTISSA - width
    if not fraction <= shift <= fraction + _SHIFTS:
        raise ValueError(f"shift: {shift}, allowed at {width} bits are {fraction}..{fraction + _SHIFTS}")
    # |x*M| <= 2^(EW-1+17) <= 2^34, |B*2^(R-F)| <= 2^(17+18), the half <= 2^27: 37 bits.
    total = np.multiply(x, scale, dtype=np.int64) + np.left_shift(np.asarray(bias, dtype=np.int64), shift - fraction)
    return saturate(round_half_up(total, shift), width)


def scale_parameters(factors: Any, biases: Any, width: int) -> tuple[np.ndarray, np.ndarray, int]:
    """M, B and R for y = x*factor + bias per channel; ``biases`` in units of an element of y.

    One shift for all channels, the largest with which every M fits 18 bits, so that the largest |M| is at least 2^16
    where R has not reached F + 18 (M is then off by at most half, which moves y by at most 2^(2*EW-38): a quarter of
    an element at 18 bits). Raises ValueError when a factor or a bias is too large or not finite.
    """
    _check_width(width)
    fraction = _MANTISSA - width
    factors, biases = np.broadcast_arrays(np.asarray(factors, dtype=float), np.asarray(biases, dtype=float))
    for name, values in (("factors", factors), ("biases", biases)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: {values[~np.isfinite(values)][0]} is not finite")
    for shift in range(fraction + _SHIFTS, fraction - 1, -1):
        scale = np.rint(np.ldexp(factors, shift))
        if not saturate(scale, _MANTISSA)[1].any():
            break
    else:
        worst = factors.flat[np.argmax(np.abs(factors))]
        raise ValueError(f"factors: {worst:.6g} is too large, |factor| must be below {1 << (width - 1)}")
    bias = np.rint(np.ldexp(biases, fraction))
    if saturate(bias, _MANTISSA)[1].any():
        worst = biases.flat[np.argmax(np.abs(biases))]
        raise ValueError(f"biases: {worst:.6g} is too large, |bias| must be below {1 << (width - 1)}")
    return scale.astype(np.int64), bias.astype(np.int64), shift


# ---- Activation

def relu(y: Any) -> np.ndarray:
    """max(y, 0)."""
    return np.maximum(np.asarray(y, dtype=np.int64), 0)


def erf_complement(u: np.ndarray) -> np.ndarray:
    """1 - Phi(u) of the normal distribution: GELU."""
    return np.vectorize(math.erfc, otypes=[float])(u / math.sqrt(2)) / 2


def tanh_complement(u: np.ndarray) -> np.ndarray:
    """The tanh approximation of 1 - Phi(u): GELU with approximate = "tanh"."""
    return 1 / (1 + np.exp(2 * math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))


def silu_complement(u: np.ndarray) -> np.ndarray:
    """1 - sigmoid(u): SiLU, also known as swish."""
    return 1 / (1 + np.exp(u))


@dataclass(frozen=True, eq=False)
class GeluTable:
    """D(u) = u*C(u) over 0 <= u < 8 as 512 straight pieces, one table for one element width.

    ``base``: D at the begin of a piece, 18 bits unsigned, in units of 2^-EW (a sixteenth of an element). ``slope``:
    how much D falls over a piece, 10 bits signed, in units of 2^-16 whatever the width: |D'| < 0.51 makes at most 512.
    """

    base: np.ndarray
    slope: np.ndarray

    def __post_init__(self) -> None:
        for name, values, low, high in (("base", self.base, 0, (1 << _BASE) - 1),
                                        ("slope", self.slope, smallest(_SLOPE), largest(_SLOPE))):
            if values.shape != (_SEGMENTS,):
                raise ValueError(f"{name}: shape {values.shape}, needed is {(_SEGMENTS,)}")
            wrong = values[(values < low) | (values > high)]
            if wrong.size:
                raise ValueError(f"{name}: {wrong[0]}, allowed are {low}..{high}")

    @classmethod
    def of(cls, width: int, complement: Callable[[np.ndarray], np.ndarray] = erf_complement) -> "GeluTable":
        """Table of x*(1 - C(x)) for elements of ``width`` bits, where C = ``complement`` and C(-x) = 1 - C(x).

        Every piece by itself has the slope and the base of least largest error over the elements in it, the rounding
        of slope*f included; pieces need not meet. The first one begins at 0, so that 0 stays 0.
        """
        _check_width(width)
        step = 1 << max(0, width - _INDEX_ONLY)
        f = np.arange(step)
        u = (np.arange(_SEGMENTS)[:, None] * step + f) / (64 * step)
        wanted = np.ldexp(u * complement(u), width)
        edges = np.arange(_SEGMENTS + 1) / 64
        falls = np.rint(-np.diff(np.ldexp(edges * complement(edges), 16))).astype(np.int64)
        best = np.full(_SEGMENTS, np.inf)
        base, slope = np.zeros((2, _SEGMENTS), dtype=np.int64)
        for candidate in (falls + change for change in (0, 1, -1, 2, -2)):
            line = wanted + round_half_up(candidate[:, None] * f, 6)
            start = np.maximum(np.rint((line.max(axis=1) + line.min(axis=1)) / 2), 0).astype(np.int64)
            start[0] = 0
            error = np.abs(line - start[:, None]).max(axis=1)
            better = error < best - 1e-9
            best[better], base[better], slope[better] = error[better], start[better], candidate[better]
        return cls(base, slope)

    def words(self) -> list[int]:
        """The 512 words of the table, 28 bits each: base in the low 18, slope above."""
        return [b | pack_signed(s, _SLOPE) << _BASE for b, s in zip(self.base.tolist(), self.slope.tolist())]


# Largest error of z against the real function, for gain 0..4, in units of the last place of z, its own rounding of 0.5
# included: over all y that are not clamped, and over erf GELU, tanh GELU and SiLU. A test measures them.
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


def gelu(y: Any, table: GeluTable, gain: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """z = y*C(y) where y stands for y / 2^(EW-4) and z for z / 2^(EW-4+gain), 0 <= gain <= 4.

    With u = min(|y|, 2^(EW-1)-1), i = u >> (EW-10), f = u & (2^(EW-10)-1):

        d = base[i] - half_up(slope[i]*f, 6)
        z = sat(half_up(max(y, 0)*2^4 - d, 4 - gain))

    Below 10 bits i = u << (10-EW) and f = 0, at 10 f is empty. ``table`` must have been made for the same width.
    Returns z and what was clamped. The largest error is in GELU_ERRORS.
    """
    _check_width(width)
    if not 0 <= gain <= 4:
        raise ValueError(f"gain: {gain}, allowed are 0..4")
    y = np.asarray(y, dtype=np.int64)
    u = np.minimum(np.abs(y), largest(width))
    cut = max(0, width - _INDEX_ONLY)
    i, f = u >> cut << max(0, _INDEX_ONLY - width), u & ((1 << cut) - 1)
    # |slope*f| < 2^(9+8), d < 2^19, y*2^4 < 2^21: 22 bits.
    d = table.base[i] - round_half_up(table.slope[i] * f, 6)
    return saturate(round_half_up(relu(y) * 16 - d, 4 - gain), width)


# ---- Residual

def add_residual(v: Any, r: Any, a: int, b: int, c: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """out = sat(half_up(v*2^a + r*2^b, c)), 0 <= a, b, c <= 7. Returns out and what was clamped."""
    _check_width(width)
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
    _check_width(width)
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


def _check_length(n: int) -> None:
    if not 1 <= n <= 1 << 16:
        raise ValueError(f"n: {n} elements of a row, allowed are 1..{1 << 16}")


def _largest_epsilon(n: int, width: int) -> int:
    """Twice the largest variance is what keeps p from being negative."""
    return min(n * n << 2 * (width - 1), (1 << 62) - 1)


def epsilon_parameter(epsilon: float, n: int, fraction_bits: float) -> int:
    """E of a LayerNorm over ``n`` elements that stand for x / 2^fraction_bits: epsilon * (N * 2^fraction_bits)^2, at
    least 1."""
    _check_length(n)
    if not 0 <= epsilon < math.inf:
        raise ValueError(f"epsilon: {epsilon:.6g}, allowed are finite numbers from 0 on")
    e = max(1, round(epsilon * (n * 2.0**fraction_bits)**2))
    if e.bit_length() > 62:
        raise ValueError(f"epsilon: {epsilon:.6g} makes E = {e:.6g}, which has more than 62 bits")
    return e


def _inverse_deviation(d: int, n: int, width: int) -> tuple[int, int]:
    """m and p: N/sqrt(D) = m * 2^(p-16-EW), nearly, with p not clamped yet."""
    log2_n, k = n.bit_length() - 1, (d.bit_length() - 1) // 2
    a, w = n * n << 18 >> 2 * log2_n, d << 18 >> 2 * k
    j = int(a < w)
    return math.isqrt((a << 2 * (_ROOT + j)) // w), width + log2_n - k - j


def row_statistics(rows: Any, epsilon: int, width: int) -> RowStatistics:
    """Statistics of ``rows``, (n_rows, N) elements, 1 <= N <= 2^16, with E = ``epsilon``, at most N^2 * 4^(EW-1) and
    62 bits.

    With S1 = sum x, S2 = sum x^2 and D = N*S2 - S1^2 + E, that is N^2 times the variance plus epsilon:

        n = bit_length(N) - 1,           A = floor(N^2 * 2^18 / 4^n)            2^18 <= A < 2^20
        k = (bit_length(D) - 1) div 2,   W = floor(D * 2^18 / 4^k)              2^18 <= W < 2^20
        j = 1 if A < W else 0,           m = isqrt((A << (32 + 2*j)) div W)     2^16 <= m < 2^17
        p = clamp(EW + n - k - j, 0, 31)
        M = floor((S1*2^5 + N) / (2*N))
    """
    _check_width(width)
    rows = np.asarray(rows, dtype=np.int64)
    n = rows.shape[1]
    _check_length(n)
    if not 1 <= epsilon <= _largest_epsilon(n, width):
        raise ValueError(f"epsilon: {epsilon}, allowed are 1..{_largest_epsilon(n, width)}")
    # |S1*2^5| <= 2^(17+16+5), S2 <= 2^(34+16), but N*S2 <= 2^66: from there on Python's integers.
    sums, squares = rows.sum(axis=1), (rows * rows).sum(axis=1)
    inverses = [_inverse_deviation(n * s2 - s1 * s1 + epsilon, n, width)
                for s1, s2 in zip(sums.tolist(), squares.tolist())]
    mantissas, shifts = np.array(inverses, dtype=np.int64).reshape(-1, 2).T
    return RowStatistics(((sums << _MEAN_FRACTION + 1) + n) // (2 * n), mantissas, np.clip(shifts, 0, 31))


def normalise(x: Any, statistics: RowStatistics, n: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """y = (x - mean)/sigma, which stands for y / 2^(EW-4). With U = min(18, EW + 2):

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
    _check_width(width)
    _check_length(n)
    mean, mantissa, shift = (field[..., None] for field in statistics)
    operand = min(18, width + 2)
    # |x*2^4 - M| < 2^(18+4), shifted by p < 2^53, u*m < 2^(17+17).
    deviation = (np.asarray(x, dtype=np.int64) << _MEAN_FRACTION) - mean << shift
    u, lost = saturate(round_half_up(deviation, _MEAN_FRACTION + 4 + width - operand), operand)
    y, clamped = saturate(round_half_up(u * mantissa, _ROOT + operand - width), width)
    return y, clamped | lost
