"""Softmax attention: shifts of logits and results, from the formats of queries, keys and values."""

import math
from typing import NamedTuple

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.encoding import FIELDS
from ....hw.isa.instruction import Opcode
from ....hw.numeric import (ALIGNMENT_CUT, LATE_SHIFTS, LOGIT_FRACTION_BITS, SLOPE_FRACTION_BITS, TOTAL_GUARD_BITS,
                            coefficient_fraction_bits, mac_guard_bits, streamed_coefficient)
from .dense import LARGEST_SHIFT

__all__ = ["AttentionShifts", "attention_shifts", "mask_slopes"]


class AttentionShifts(NamedTuple):
    """Of the logits, of the division, and the exponent of the results that comes of it."""

    logits: int
    divide: int
    exponent: int


def attention_shifts(config: CoreConfig, query: int, key: int, value: int, result: int) -> AttentionShifts:
    """``query``, ``key``, ``value``, ``result``: elements are integers times 2 to the power of them; queries are scaled
    so that logits are powers of two. Values may be too coarse for ``result``, which is larger then.

    Raises WingbeatError for logits that no shift brings into their format.
    """
    words = config.width - config.element_width
    coefficient = streamed_coefficient(1 << 16, config.element_width, config.coefficient_width).bit_length() - 17
    cut = coefficient_fraction_bits(config.coefficient_width) - mac_guard_bits(config.coefficient_width)
    # An exact sum is in units of so many bits below one.
    logits = words + coefficient - cut - query - key - LOGIT_FRACTION_BITS
    if not 0 <= logits <= LARGEST_SHIFT:
        raise WingbeatError(f"logits: a shift of {logits} bits; allowed are 0..{LARGEST_SHIFT}, for queries and keys "
                            "that are neither so small nor so large")
    least = value - coefficient + cut + ALIGNMENT_CUT + TOTAL_GUARD_BITS + words
    result = max(result, least - 1 - config.width - LATE_SHIFTS)
    return AttentionShifts(logits, least - result - 1, result)


def mask_slopes(slopes: np.ndarray | None) -> tuple[int, ...]:
    """``slopes`` of heads as a Mask takes them, for logits that are powers of two; none of none. Raises WingbeatError
    for one that is too steep."""
    if slopes is None:
        return ()
    found = np.rint(slopes * math.log2(math.e) * 2 ** SLOPE_FRACTION_BITS)
    if found.max() >= 1 << dict(FIELDS[Opcode.MASK])["slope"]:
        raise WingbeatError(f"alibi: {len(slopes)} heads, a slope of {slopes.max():.3f}; allowed are slopes below "
                            "0.693, which 1 to 8 heads have")
    return tuple(found.astype(int).tolist())
