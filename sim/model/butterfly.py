"""Bit-exact model of the butterfly unit, vectorised over as many units as the arrays hold."""

from typing import Any, NamedTuple

import numpy as np

from ...hw.isa.bit_fields import field_places, unpack
from ...hw.isa.instruction import Mode
from ...hw.isa.setup import coefficient_fields
from ...hw.numeric import unpack_signed, GUARD_BITS, coefficient_fraction_bits, round_half_up, saturate, truncate

__all__ = ["Coefficients", "pack_coefficients", "unpack_coefficients", "butterfly"]


class Coefficients(NamedTuple):
    """What the units of a column read: int64 arrays of one shape, values Q2.(C-2), pivot bits 0 or 1."""

    c0: np.ndarray
    c1: np.ndarray
    s0: np.ndarray
    s1: np.ndarray


def pack_coefficients(coefficients: Coefficients, width: int) -> np.ndarray:
    """Raw coefficient words, int64: hw/isa/setup.py, ``coefficient_fields(width)``."""
    words: Any = np.int64(0)
    for (name, (at, bits)), values in zip(field_places(coefficient_fields(width)).items(), coefficients):
        values = np.asarray(values, dtype=np.int64)
        if bits == width and np.any(saturate(values, width)[1]):
            worst = int(values.flat[np.argmax(np.abs(values))])
            raise ValueError(f"{name}: {worst} does not fit {width} bits")
        words = words | (values & (1 << bits) - 1) << at
    return words


def unpack_coefficients(words: np.ndarray, width: int) -> Coefficients:
    """Inverse of :func:`pack_coefficients`."""
    values = unpack(coefficient_fields(width), words)
    return Coefficients(unpack_signed(values["c0"], width), unpack_signed(values["c1"], width), values["s0"],
                        values["s1"])


def butterfly(mode: Mode, a: np.ndarray, b: np.ndarray, coefficients: Coefficients | None, shift: int, *,
              width: int, coefficient_width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs of butterfly units for the words ``a`` and ``b``.

    ``a`` and ``b`` are int64 of shape (2, ...): re and im, W-bit integers (``width``). The coefficients are
    broadcast against ``a[0]``; PASS needs none. Returns y1 and y2 of the same shape and the boolean mask
    (2, 2, ...) of what was clamped: output, re or im, unit. Products keep GUARD_BITS fraction bits, each
    output is rounded half up once, by GUARD_BITS + ``shift``. Operations: docs/design.md section 3.
    """
    cut = coefficient_fraction_bits(coefficient_width) - GUARD_BITS

    def product(c, x):
        return truncate(c * x, cut)

    if mode is Mode.PASS:
        y1, y2 = a << GUARD_BITS, b << GUARD_BITS
    elif coefficients is None:
        raise ValueError(f"coefficients: None in mode {mode.name}; allowed in mode PASS only")
    elif mode is Mode.BPMM:
        y1 = _pivot_row(a, b, coefficients.c0, coefficients.s0, product)
        y2 = _pivot_row(a, b, coefficients.c1, coefficients.s1, product)
    elif mode is Mode.FFT:
        c0, c1 = coefficients.c0, coefficients.c1
        t = np.stack([product(c0, b[0]) - product(c1, b[1]), product(c0, b[1]) + product(c1, b[0])])
        y1, y2 = (a << GUARD_BITS) + t, (a << GUARD_BITS) - t
    else:
        y1, y2 = product(coefficients.c0, a), product(coefficients.c1, b)
    y1, clamped1 = saturate(round_half_up(y1, GUARD_BITS + shift), width)
    y2, clamped2 = saturate(round_half_up(y2, GUARD_BITS + shift), width)
    return y1, y2, np.stack([clamped1, clamped2])


def _pivot_row(a, b, c, s, product):
    """pivot + c * other of both rows of a row pair; s = 1 makes B the pivot and A the other."""
    choose = s != 0
    pivot, other = np.where(choose, b, a), np.where(choose, a, b)
    return (pivot << GUARD_BITS) + product(c, other)
