"""Number formats and rounding: the one definition, in words, that models and gates implement.

* A *real value* inside the array is a W-bit two's complement integer. A *word* is a pair (re, im):
  one complex number in FFT layers, the same element of two rows (a row pair) in real layers.
* A *coefficient* is a C-bit two's complement number with two integer bits, sign included (Q2.(C-2)): the
  range is [-2, 2) and +1 and -1 are exact.
* A *product* m = x * c is exact (W + C bits) and then keeps ``GUARD_BITS`` fraction bits: the bits
  below are cut off, which rounds towards minus infinity.
* A *butterfly output* is (pivot << GUARD_BITS) + a sum of products, without overflow, then shifted right
  by GUARD_BITS + shift with **round half up** (add half of the last bit kept, then cut off), then
  saturated to W bits. That is the one rounding of a layer. A saturation raises the flag of the block.
* A *MAC output* is the sum of products of words with streamed coefficients. A product keeps ``mac_guard_bits``
  fraction bits, the bits below are cut off. The sum of at most ``MAC_TERMS`` products is exact in ``mac_bits`` bits. It
  is shifted right with round half up, then saturated to W bits: one rounding, however many terms.
* *Softmax*: a *logit*, base 2, is a sum of products shifted right with round half up and saturated to ``LOGIT_BITS``,
  of which ``LOGIT_FRACTION_BITS`` are fraction bits. The *exponent* of P logits of a row is the whole part of the
  largest. 2^(s - exponent - 1) is read off 2^``EXPONENT_SEGMENT_BITS`` chords (``segment_table``), shifted right with
  round half up, and a word of W - 1 fraction bits, less than 1: a *probability*. The sum of P products of probabilities
  loses ``ALIGNMENT_CUT`` bits and the distance of its exponent from the largest one, in one shift with round half up;
  from ``DEAD_ALIGNMENT`` on it is 0. The *total* of the probabilities has ``TOTAL_GUARD_BITS`` more; what a new maximum
  moves is shifted right with round half up. The division multiplies with the reciprocal of the total's mantissa, which
  is read off 2^``RECIPROCAL_SEGMENT_BITS`` chords (``reciprocal_table``), ``RECIPROCAL_BITS`` bits. In front of it the
  sum is shifted right with round half up and saturated to W bits; behind it the product is, by up to ``LATE_SHIFTS``
  less than the reciprocal has bits where the sum is that small.
* A *streamed coefficient* is an element of a memory as a number of C bits, ``streamed_coefficient``.
* The *stream format* is the upper ``element_width`` bits of a value: load shifts left by W - EW, store
  rounds half up and saturates.
* A *slot* is what an element takes on a bus of bytes, ``slot_bits``: sign-extended, the lowest byte first.

A leaf without Amaranth. The functions work on numpy int64 arrays and on Python integers.
"""

from typing import Any

import numpy as np

__all__ = ["GUARD_BITS", "MAC_TERMS", "LOGIT_BITS", "LOGIT_FRACTION_BITS", "LEAST_LOGIT", "EXPONENT_SEGMENT_BITS",
           "POWER_BITS", "CHORD_BITS", "SLOPE_FRACTION_BITS",
           "ALIGNMENT_CUT", "DEAD_ALIGNMENT", "TOTAL_GUARD_BITS", "RECIPROCAL_BITS", "RECIPROCAL_SEGMENT_BITS",
           "LATE_SHIFTS",
           "segment_table", "reciprocal_table", "largest", "smallest", "round_half_up", "saturate", "truncate",
           "coefficient_fraction_bits", "mac_guard_bits", "mac_dot_bits", "mac_bits", "streamed_coefficient",
           "slot_bits", "pack_signed", "unpack_signed"]

GUARD_BITS = 4  # fraction bits of a product; the cut costs < 0.1 dB and saves a third of the adders

MAC_TERMS = 4096  # most products of one sum; more would need a wider accumulator

LOGIT_BITS = 21
LOGIT_FRACTION_BITS = 12     # one less costs 1.4 dB of an attention, two cost 5
LEAST_LOGIT = -(1 << LOGIT_BITS - 1 - LOGIT_FRACTION_BITS)  # its whole part
POWER_BITS = 18           # of 2^f, f in [0, 1), one of them the one in front
CHORD_BITS = 14              # of the rise of a chord of it
SLOPE_FRACTION_BITS = 16     # of what a logit loses for the distance of its key
EXPONENT_SEGMENT_BITS = 4    # 8 chords would cost 7 dB
ALIGNMENT_CUT = 2            # of the guard bits of a product: the accumulators stay as they are for other sums
DEAD_ALIGNMENT = 32          # a key that counts 2^-32 of another
TOTAL_GUARD_BITS = 2
RECIPROCAL_BITS = 17
RECIPROCAL_SEGMENT_BITS = 7  # an error of 2^-16.4; the exact quotient gains 0.1 dB and needs a divider

LATE_SHIFTS = 8              # for results far smaller than values: a key has all the weight, and no value


def reciprocal_table():
    """Begin and fall of the chords of 1 / l, l in [1, 2), RECIPROCAL_BITS fraction bits each, lowered as those of
    ``segment_table``."""
    number, one, table = 1 << RECIPROCAL_SEGMENT_BITS, 1 << RECIPROCAL_BITS, []
    for k in range(number):
        low, middle, high = (1 / (1 + (k + part) / number) for part in (0, 0.5, 1))
        begin = min(round((low - ((low + high) / 2 - middle) / 2) * one), one - 1)
        table.append((begin, round((low - high) * one)))
    return table


def segment_table():
    """Begin and rise of the chords of 2^f, f in [0, 1), 17 fraction bits each. A chord is lowered by half of its error
    in the middle, so that its error changes sign."""
    number, one, table = 1 << EXPONENT_SEGMENT_BITS, 1 << 17, []
    for k in range(number):
        low, middle, high = (2.0 ** ((k + part) / number) for part in (0, 0.5, 1))
        table.append((round((low - ((low + high) / 2 - middle) / 2) * one), round((high - low) * one)))
    return table


def mac_guard_bits(coefficient_width):
    """Fraction bits of a product of a MAC: the cut is a bias, and many products are summed."""
    return min(8, coefficient_width - 2)


def mac_dot_bits(width, coefficient_width):
    """Bits of the sum of two cut products of a MAC, which are W + 2 bits and the guard bits each."""
    return width + mac_guard_bits(coefficient_width) + 3


def mac_bits(width, coefficient_width, element_width):
    """Bits of an accumulator that no MAC_TERMS products overflow, whatever the words and the streamed coefficients."""
    product = width + mac_guard_bits(coefficient_width) + (element_width >= coefficient_width)
    return product + (MAC_TERMS - 1).bit_length() + 1


def streamed_coefficient(element, element_width, coefficient_width):
    """An element of the memory as a coefficient: half of the range of C bits where it has fewer bits, else all."""
    if element_width < coefficient_width:
        return element << (coefficient_width - 1 - element_width)
    return element >> (element_width - coefficient_width)


def largest(width):
    """Largest value of a two's complement number of ``width`` bits."""
    return (1 << (width - 1)) - 1


def smallest(width):
    """Smallest value of a two's complement number of ``width`` bits."""
    return -(1 << (width - 1))


def slot_bits(element_width):
    """Bits of the slot of an element of ``element_width`` bits, 8 to 18: whole bytes, a power of two."""
    return 8 if element_width == 8 else 16 if element_width <= 16 else 32


def coefficient_fraction_bits(coefficient_width):
    """Fraction bits of a coefficient (Q2.(C-2))."""
    return coefficient_width - 2


def truncate(value, bits):
    """Cut off ``bits`` low bits (towards minus infinity)."""
    return value >> bits


def round_half_up(value, bits):
    """Shift right by ``bits`` >= 0 and round half up. ``bits`` may be an array."""
    half = (1 << np.asarray(bits, dtype=np.int64)) >> 1 if not isinstance(value, int) else (1 << bits) >> 1
    return (value + half) >> bits


def saturate(value, width):
    """Clamp to ``width`` bits. Returns the clamped values and a boolean array of what was clamped."""
    clamped = np.clip(value, smallest(width), largest(width))
    return clamped, clamped != value


def pack_signed(value: int, width: int) -> int:
    """Two's complement bit pattern of ``value`` as a non-negative integer."""
    if not smallest(width) <= value <= largest(width):
        raise ValueError(f"{value} does not fit {width} bits")
    return value & ((1 << width) - 1)


def unpack_signed(bits: Any, width: int) -> Any:
    """Inverse of :func:`pack_signed`, for a number or an array of them."""
    return (bits & largest(width)) - (bits & (1 << (width - 1)))
