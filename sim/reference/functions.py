"""Float functions of a network: activations and their complements."""

import math

import numpy as np

__all__ = ["erf_complement", "tanh_complement", "silu_complement"]


def erf_complement(u: np.ndarray) -> np.ndarray:
    """1 - Phi(u) of the normal distribution: GELU."""
    return np.vectorize(math.erfc, otypes=[float])(u / math.sqrt(2)) / 2


def tanh_complement(u: np.ndarray) -> np.ndarray:
    """The tanh approximation of 1 - Phi(u): GELU with approximate = "tanh"."""
    return 1 / (1 + np.exp(2 * math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))


def silu_complement(u: np.ndarray) -> np.ndarray:
    """1 - sigmoid(u): SiLU, also known as swish."""
    return 1 / (1 + np.exp(u))
