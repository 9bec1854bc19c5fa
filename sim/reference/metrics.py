"""How far a result is from the truth."""

import numpy as np

__all__ = ["sqnr_db"]


def sqnr_db(reference: np.ndarray, measured: np.ndarray) -> float:
    """Power of ``reference`` over the power of the error, in dB; infinite when they are equal."""
    noise = float(np.sum(np.abs(np.asarray(reference) - measured) ** 2))
    signal = float(np.sum(np.abs(reference) ** 2))
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")
