"""Bit-exact model of softmax attention with tiled keys: probabilities, running maxima and sums, one division.

Number formats and rounding: ``hw/numeric.py``, "softmax". One *group* is the P keys whose logits leave the columns
together; a *chunk* is as many groups as a half and the ring have room for. After Dao et al., FlashAttention
(arXiv 2205.14135, algorithm 1), with the running maximum in whole bits and probabilities relative to the maximum of
their own group.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from ...hw.numeric import (ALIGNMENT_CUT, DEAD_ALIGNMENT, EXPONENT_SEGMENT_BITS, LATE_SHIFTS, LEAST_LOGIT, LOGIT_BITS,
                           LOGIT_FRACTION_BITS, RECIPROCAL_BITS, RECIPROCAL_SEGMENT_BITS, TOTAL_GUARD_BITS,
                           reciprocal_table, round_half_up, saturate, segment_table)
from .mac import mac_sums

__all__ = ["Probabilities", "RowState", "logits_of", "probabilities", "weighted_sums", "aligned", "divided"]

_FAR = 62  # a shift that leaves nothing, and that int64 bears


class Probabilities(NamedTuple):
    """``p`` int64 (rows, groups, P), W-bit words of W - 1 fraction bits, and ``exponents`` (rows, groups): a logit s
    gave 2^(s - exponent - 1), 0 where it is masked."""

    p: np.ndarray
    exponents: np.ndarray


def logits_of(sums: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, base 2, out of exact ``sums`` of products, and whether each was clamped."""
    return saturate(round_half_up(sums, shift), LOGIT_BITS)


@cache
def _chords(table: Callable[[], list[tuple[int, int]]]) -> tuple[np.ndarray, np.ndarray]:
    chords = np.array(table(), dtype=np.int64)
    return chords[:, 0], chords[:, 1]


def probabilities(logits: np.ndarray, allowed: np.ndarray, width: int) -> Probabilities:
    """Of ``logits`` int64 (rows, groups, P); those that are not ``allowed`` (rows, groups, P) get 0."""
    least = LEAST_LOGIT << LOGIT_FRACTION_BITS
    top = np.where(allowed, logits, least).max(axis=-1)
    exponents = top >> LOGIT_FRACTION_BITS
    below = logits - (exponents + 1 << LOGIT_FRACTION_BITS)[..., None]
    fraction = below & (1 << LOGIT_FRACTION_BITS) - 1
    rest_bits = LOGIT_FRACTION_BITS - EXPONENT_SEGMENT_BITS
    base, slope = _chords(segment_table)
    segment, rest = fraction >> rest_bits, fraction & (1 << rest_bits) - 1
    mantissa = base[segment] + (slope[segment] * rest >> rest_bits)  # in [1, 2), 17 fraction bits
    shift = np.clip(18 - width - (below >> LOGIT_FRACTION_BITS), 0, _FAR)
    p = np.minimum(round_half_up(mantissa, shift), (1 << width - 1) - 1)
    return Probabilities(np.where(allowed, p, 0), exponents)


@dataclass
class RowState:
    """What goes along the keys, int64 (rows,): the running ``maximum`` of the logits in whole bits, and the ``total``
    of the probabilities relative to it, W + 1 fraction bits."""

    maximum: np.ndarray
    total: np.ndarray

    @classmethod
    def empty(cls, rows: int) -> "RowState":
        """No key has come: the maximum lies below all others or is as small."""
        return cls(np.full(rows, LEAST_LOGIT, dtype=np.int64), np.zeros(rows, dtype=np.int64))

    def add(self, found: Probabilities) -> None:
        """The groups of ``found``, one after the other."""
        shares = found.p.sum(axis=-1) << TOTAL_GUARD_BITS
        for share, exponent in zip(shares.T, found.exponents.T):
            maximum = np.maximum(self.maximum, exponent)
            self.total = _down(self.total, maximum - self.maximum) + _down(share, maximum - exponent)
            self.maximum = maximum


def _down(values: np.ndarray, bits: np.ndarray) -> np.ndarray:
    return round_half_up(values, np.minimum(bits, _FAR))


def weighted_sums(found: Probabilities, values: np.ndarray, reference: np.ndarray,
                  coefficient_width: int) -> np.ndarray:
    """Sums int64 (rows, features) of probabilities times ``values``, C-bit coefficients int64 (features, keys of the
    chunk), relative to the maximum ``reference`` (rows,) that is known behind the chunk."""
    total = np.zeros((len(found.p), len(values)), dtype=np.int64)
    lanes = found.p.shape[2]
    for group in range(found.p.shape[1]):
        keys = slice(group * lanes, (group + 1) * lanes)
        products = mac_sums(found.p[:, group], values[:, keys], coefficient_width)
        distance = (reference - found.exponents[:, group])[:, None]
        part = round_half_up(products, ALIGNMENT_CUT + np.minimum(distance, DEAD_ALIGNMENT))
        total += np.where(distance < DEAD_ALIGNMENT, part, 0)
    return total


def aligned(sums: np.ndarray, before: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Kept ``sums`` (rows, features) of the chunks before, relative to the maximum ``before`` of theirs, for the
    maximum ``reference`` of one more."""
    return _down(sums, (reference - before)[:, None])


def divided(sums: np.ndarray, total: np.ndarray, shift: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """``sums`` (rows, features) divided by the ``total`` (rows,) of their rows: W-bit words, and whether each was
    clamped. ``shift``: the word of a row whose total has its highest bit at e is sums * 2^-(e + shift - 1) / mantissa;
    what would be a shift to the left is one less behind the product. A row without a key gives zeros. Raises
    ValueError where it would be more than LATE_SHIFTS.
    """
    highest = np.array([int(each).bit_length() - 1 for each in total], dtype=np.int64)
    right = (highest + shift)[:, None]
    if np.any((right[:, 0] < -LATE_SHIFTS) & (total > 0)):
        least = -LATE_SHIFTS - int(highest[total > 0].min())
        raise ValueError(f"shift: {shift} of the division; allowed are {least} and more")
    narrow, early = saturate(_down(sums, np.maximum(right, 0)), width)
    products = narrow * _reciprocals(total, highest)[:, None]
    words, late = saturate(round_half_up(products, RECIPROCAL_BITS - 1 + np.clip(right, -LATE_SHIFTS, 0)), width)
    empty = (total == 0)[:, None]
    return np.where(empty, 0, words), (early | late) & ~empty


def _reciprocals(total: np.ndarray, highest: np.ndarray) -> np.ndarray:
    """Of the mantissas, RECIPROCAL_BITS fraction bits, less than 1."""
    bits, rest_bits = RECIPROCAL_BITS, RECIPROCAL_BITS - RECIPROCAL_SEGMENT_BITS
    mantissa = np.where(highest >= bits, total >> np.maximum(highest - bits, 0),
                        total << np.clip(bits - highest, 0, bits))
    fraction = mantissa & (1 << bits) - 1
    begin, fall = _chords(reciprocal_table)
    segment = fraction >> rest_bits
    return begin[segment] - (fall[segment] * (fraction & (1 << rest_bits) - 1) >> rest_bits)
