"""Bit-exact model of a MAC: sums of cut products, rounded once."""

import numpy as np

from ...hw.numeric import MAC_TERMS, coefficient_fraction_bits, mac_guard_bits, round_half_up, saturate

__all__ = ["mac", "mac_sums"]

_SLICE = 1 << 18  # bytes of products in the making: they stay in the cache


def mac(x: np.ndarray, weights: np.ndarray, shift: int, width: int,
        coefficient_width: int) -> tuple[np.ndarray, np.ndarray]:
    """Every row of ``x`` times every row of ``weights``: values int64 (rows, outputs), and whether each was clamped.

    ``x`` and ``weights`` as for :func:`mac_sums`; the exact sum is rounded half up by ``shift`` and saturated to W
    bits: ``hw/numeric.py``. Raises ValueError as :func:`mac_sums`, and where K is more than MAC_TERMS.
    """
    if x.ndim == 2 and x.shape[1] > MAC_TERMS:
        raise ValueError(f"x: {x.shape[1]} words of a sum are too many; allowed are {MAC_TERMS}")
    return saturate(round_half_up(mac_sums(x, weights, coefficient_width), shift), width)


def mac_sums(x: np.ndarray, weights: np.ndarray, coefficient_width: int) -> np.ndarray:
    """The sums int64 (rows, outputs) of the products of rows of ``x``, int64 (rows, K) of W-bit words, with rows of
    ``weights``, int64 (outputs, K) of C-bit coefficients, of which at most MAC_TERMS of a row are not zero. A product
    keeps ``mac_guard_bits``. Raises ValueError for shapes that do not fit.
    """
    if x.ndim != 2 or weights.ndim != 2 or x.shape[1] != weights.shape[1]:
        raise ValueError(f"weights: shape {weights.shape} does not fit x of shape {x.shape}; allowed are (rows, K) and "
                         f"(outputs, K)")
    cut = coefficient_fraction_bits(coefficient_width) - mac_guard_bits(coefficient_width)
    # Sums of MAC_TERMS products have less than 53 bits, so the fast product of float matrices is exact.
    total = (x.astype(np.float64) @ weights.astype(np.float64).T).astype(np.int64)
    if cut:
        # The cuts of single products take the sum of what they cut off; the rest divides without remainder.
        few, many = (weights, x) if len(weights) <= len(x) else (x, weights)
        lost = _cut_off(few, many, cut)
        total = (total - (lost.T if few is weights else lost)) >> cut
    return total


def _cut_off(few: np.ndarray, many: np.ndarray, bits: int) -> np.ndarray:
    """Sums of the products modulo 2^bits, int64 (few, many).

    Bits above do not reach down, so bytes that wrap are enough: one operand is moved up until what is wanted fills
    the byte."""
    spare = 8 - bits
    bytes_few, bytes_many = (few << spare).astype(np.uint8), many.astype(np.uint8)
    sums = np.empty((len(few), len(many)), dtype=np.int64)
    step = max(1, _SLICE // max(1, many.shape[1]))
    for begin in range(0, len(many), step):
        part = bytes_many[begin:begin + step]
        products = np.empty_like(part)
        for number, row in enumerate(bytes_few):
            np.multiply(part, row, out=products)
            sums[number, begin:begin + step] = products.sum(axis=1, dtype=np.uint32)
    return sums >> spare
