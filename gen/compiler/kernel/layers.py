"""Butterfly layers as plain numbers: what the compiler schedules and what the calibration measures.

A layer of size N = 2^n pairs every index i whose bit ``bit`` is clear with i | 2^bit and applies one
butterfly unit to each pair. Pair j is index j with a zero inserted at that bit.
"""

from dataclasses import dataclass

import numpy as np

from ....hw.isa.instruction import Mode

__all__ = ["Layer", "pair_indices", "bit_reversal", "fft_layers"]


def pair_indices(size: int, bit: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and higher index of every pair of a layer, each (size/2,) int64."""
    pair = np.arange(size // 2, dtype=np.int64)
    low = (pair >> bit << (bit + 1)) | (pair & ((1 << bit) - 1))
    return low, low | 1 << bit


def bit_reversal(bits: int) -> np.ndarray:
    """Bit-reversed numbers 0 .. 2^bits - 1, int64."""
    numbers = np.arange(1 << bits, dtype=np.int64)
    result = np.zeros_like(numbers)
    for bit in range(bits):
        result |= (numbers >> bit & 1) << (bits - 1 - bit)
    return result


@dataclass(frozen=True, eq=False)
class Layer:
    """One butterfly layer in the terms of the butterfly unit.

    ``c0``, ``c1`` are (N/2,) floats with |c| <= 1: unit-pivot coefficients of the lower and the higher
    output (BPMM), or real and imaginary part of the twiddle (FFT). ``s0``, ``s1`` (N/2,) bool: the pivot
    of that output is the higher input (BPMM only). ``live`` (N,) bool: outputs that matter; the others
    carry leftovers that nothing reads. ``support``: mask of the index bits the coefficients depend on.
    """

    bit: int
    mode: Mode
    c0: np.ndarray
    c1: np.ndarray
    s0: np.ndarray
    s1: np.ndarray
    live: np.ndarray
    support: int

    @property
    def rotates(self) -> bool:
        """Whether a twiddle mixes re and im, so that one component can grow by more than a factor two."""
        return self.mode is Mode.FFT and bool(np.any((np.abs(self.c0) > 1e-9) & (np.abs(self.c1) > 1e-9)))

    def apply(self, x: np.ndarray) -> np.ndarray:
        """The layer in float64: ``x`` is (..., N), real for BPMM, complex for FFT."""
        low, high = pair_indices(x.shape[-1], self.bit)
        a, b = x[..., low], x[..., high]
        y = np.empty_like(x)
        if self.mode is Mode.FFT:
            t = (self.c0 + 1j * self.c1) * b
            y[..., low], y[..., high] = a + t, a - t
        else:
            y[..., low] = np.where(self.s0, b + self.c0 * a, a + self.c0 * b)
            y[..., high] = np.where(self.s1, b + self.c1 * a, a + self.c1 * b)
        return y


def fft_layers(size: int, first_bit: int, bits: int, inverse: bool = False) -> list[Layer]:
    """Decimation-in-time layers of a 2^bits-point FFT over index bits first_bit .. first_bit + bits - 1.

    The input stands in bit-reversed order in those bits, the output in natural order. The inverse has
    conjugate twiddles and no 1/N. ``size`` is that of the whole index, so that two dimensions are two
    such lists.
    """
    sign = 1 if inverse else -1
    layers = []
    for stage in range(bits):
        low, _ = pair_indices(size, first_bit + stage)
        step = low >> first_bit & ((1 << stage) - 1)
        twiddle = np.exp(sign * 2j * np.pi * step / (2 << stage))
        none = np.zeros(size // 2, dtype=bool)
        layers.append(Layer(first_bit + stage, Mode.FFT, twiddle.real, twiddle.imag, none, none,
                            np.ones(size, dtype=bool), ((1 << stage) - 1) << first_bit))
    return layers
