"""Tables of the vector unit as the setup port fills them: scales and biases, activation, epsilon of a LayerNorm.

The arithmetic that reads them is docs/reference/vector.md, Numbers. An element has ``width`` = EW bits, two's
complement, 8 <= EW <= 18; F = 18 - EW.
"""

from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import Any

import numpy as np

from ..numeric import largest, pack_signed, round_half_up, saturate, smallest, unpack_signed
from .bit_fields import pack, unpack
from .parameter_set import EPSILON_BITS

__all__ = ["CHANNEL", "ACTIVATION", "SCALE_BITS", "BASE_BITS", "SLOPE_BITS", "SEGMENTS", "INDEX_ONLY_BITS",
           "MOST_RESCALE_SHIFT", "MOST_ROW_ELEMENTS", "LEAST_ELEMENT_WIDTH", "GeluTable", "channel_word",
           "channel_values", "check_element_width", "check_row_length", "epsilon_parameter", "scale_parameters"]

LEAST_ELEMENT_WIDTH = 8
SCALE_BITS = 18          # of a scale and of a bias, two's complement
MOST_RESCALE_SHIFT = 18  # R - F at most
SEGMENTS = 512           # words of the activation table, over |y| of 0..8
INDEX_ONLY_BITS = 10     # of an element that has a segment to itself; narrower ones skip segments
BASE_BITS, SLOPE_BITS = 18, 10  # of a word of the activation table: base unsigned, slope two's complement
CHANNEL = [("scale", SCALE_BITS), ("bias", SCALE_BITS)]     # one word of the table of channels
ACTIVATION = [("base", BASE_BITS), ("slope", SLOPE_BITS)]  # one word of the activation table
MOST_ROW_ELEMENTS = 1 << 16  # of a LayerNorm


def channel_word(scale: int, bias: int) -> int:
    """Word of the table of channels. Raises ValueError when a value does not fit SCALE_BITS."""
    return pack(CHANNEL, {"scale": pack_signed(scale, SCALE_BITS), "bias": pack_signed(bias, SCALE_BITS)})


def channel_values(words: Any) -> tuple[Any, Any]:
    """Scale and bias of words of the table of channels, int64."""
    values = unpack(CHANNEL, words)
    return unpack_signed(values["scale"], SCALE_BITS), unpack_signed(values["bias"], SCALE_BITS)


def check_element_width(width: int) -> None:
    """Raises ValueError when elements cannot have ``width`` bits."""
    if not LEAST_ELEMENT_WIDTH <= width <= SCALE_BITS:
        raise ValueError(f"width: {width} bits, allowed are {LEAST_ELEMENT_WIDTH}..{SCALE_BITS}")


def check_row_length(n: int) -> None:
    """Raises ValueError when a row of a LayerNorm cannot have ``n`` elements."""
    if not 1 <= n <= MOST_ROW_ELEMENTS:
        raise ValueError(f"n: {n} elements of a row, allowed are 1..{MOST_ROW_ELEMENTS}")


def scale_parameters(factors: Any, biases: Any, width: int) -> tuple[np.ndarray, np.ndarray, int]:
    """M, B and R for y = x*factor + bias per channel; ``biases`` in units of an element of y.

    One shift for all channels, the largest with which every M fits 18 bits, so that the largest |M| is at least 2^16
    where R has not reached F + 18 (M is then off by at most half, which moves y by at most 2^(2*EW-38): a quarter of
    an element at 18 bits). Raises ValueError when a factor or a bias is too large or not finite.
    """
    check_element_width(width)
    fraction = SCALE_BITS - width
    factors, biases = np.broadcast_arrays(np.asarray(factors, dtype=float), np.asarray(biases, dtype=float))
    for name, values in (("factors", factors), ("biases", biases)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: {values[~np.isfinite(values)][0]} is not finite")
    for shift in range(fraction + MOST_RESCALE_SHIFT, fraction - 1, -1):
        scale = np.rint(np.ldexp(factors, shift))
        if not saturate(scale, SCALE_BITS)[1].any():
            break
    else:
        worst = factors.flat[np.argmax(np.abs(factors))]
        raise ValueError(f"factors: {worst:.6g} is too large, |factor| must be below {1 << (width - 1)}")
    bias = np.rint(np.ldexp(biases, fraction))
    if saturate(bias, SCALE_BITS)[1].any():
        worst = biases.flat[np.argmax(np.abs(biases))]
        raise ValueError(f"biases: {worst:.6g} is too large, |bias| must be below {1 << (width - 1)}")
    return scale.astype(np.int64), bias.astype(np.int64), shift


def epsilon_parameter(epsilon: float, n: int, fraction_bits: float) -> int:
    """E of a LayerNorm over ``n`` elements that stand for x / 2^fraction_bits: epsilon * (N * 2^fraction_bits)^2, at
    least 1."""
    check_row_length(n)
    if not 0 <= epsilon < math.inf:
        raise ValueError(f"epsilon: {epsilon:.6g}, allowed are finite numbers from 0 on")
    e = max(1, round(epsilon * (n * 2.0**fraction_bits)**2))
    if e.bit_length() > EPSILON_BITS:
        raise ValueError(f"epsilon: {epsilon:.6g} makes E = {e:.6g}, which has more than {EPSILON_BITS} bits")
    return e


@dataclass(frozen=True, eq=False)
class GeluTable:
    """D(u) = u*C(u) over 0 <= u < 8 as 512 straight pieces, one table for one element width.

    ``base``: D at the begin of a piece, 18 bits unsigned, in units of 2^-EW (a sixteenth of an element). ``slope``:
    how much D falls over a piece, 10 bits signed, in units of 2^-16 whatever the width: |D'| < 0.51 makes at most 512.
    """

    base: np.ndarray
    slope: np.ndarray

    def __post_init__(self) -> None:
        for name, values, low, high in (("base", self.base, 0, (1 << BASE_BITS) - 1),
                                        ("slope", self.slope, smallest(SLOPE_BITS), largest(SLOPE_BITS))):
            if values.shape != (SEGMENTS,):
                raise ValueError(f"{name}: shape {values.shape}, needed is {(SEGMENTS,)}")
            wrong = values[(values < low) | (values > high)]
            if wrong.size:
                raise ValueError(f"{name}: {wrong[0]}, allowed are {low}..{high}")

    @classmethod
    def of(cls, width: int, complement: Callable[[np.ndarray], np.ndarray]) -> "GeluTable":
        """Table of x*(1 - C(x)) for elements of ``width`` bits, where C = ``complement`` and C(-x) = 1 - C(x).

        Every piece by itself has the slope and the base of least largest error over the elements in it, the rounding
        of slope*f included; pieces need not meet. The first one begins at 0, so that 0 stays 0.
        """
        check_element_width(width)
        step = 1 << max(0, width - INDEX_ONLY_BITS)
        f = np.arange(step)
        u = (np.arange(SEGMENTS)[:, None] * step + f) / (64 * step)
        wanted = np.ldexp(u * complement(u), width)
        edges = np.arange(SEGMENTS + 1) / 64
        falls = np.rint(-np.diff(np.ldexp(edges * complement(edges), 16))).astype(np.int64)
        best = np.full(SEGMENTS, np.inf)
        base, slope = np.zeros((2, SEGMENTS), dtype=np.int64)
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
        return [pack(ACTIVATION, {"base": base, "slope": pack_signed(slope, SLOPE_BITS)})
                for base, slope in zip(self.base.tolist(), self.slope.tolist())]

    @classmethod
    def from_words(cls, words: Any) -> "GeluTable":
        """Inverse of :meth:`words`, of int64 (512,)."""
        values = unpack(ACTIVATION, np.asarray(words, dtype=np.int64))
        return cls(values["base"], unpack_signed(values["slope"], SLOPE_BITS))
