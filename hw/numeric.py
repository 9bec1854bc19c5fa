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
* A *streamed coefficient* is an element of a memory as a number of C bits, ``streamed_coefficient``.
* The *stream format* is the upper ``element_width`` bits of a value: load shifts left by W - EW, store
  rounds half up and saturates.

A leaf without Amaranth. The functions work on numpy int64 arrays and on Python integers.
"""

from typing import Any

import numpy as np

__all__ = ["GUARD_BITS", "MAC_TERMS", "largest", "smallest", "round_half_up", "saturate", "truncate",
           "coefficient_fraction_bits", "mac_guard_bits", "mac_dot_bits", "mac_bits", "streamed_coefficient",
           "pack_signed", "unpack_signed"]

GUARD_BITS = 4  # fraction bits of a product; the cut costs < 0.1 dB and saves a third of the adders

MAC_TERMS = 4096  # most products of one sum; more would need a wider accumulator


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
