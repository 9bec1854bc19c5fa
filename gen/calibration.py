"""How far each layer is shifted right so that it fits the width of the array.

Static shifts come from calibration rows, never-overflow shifts from the mathematics. A block-floating-point
kernel needs neither. "Limit" is the magnitude of one real component that full scale stands for.
"""

from dataclasses import replace

import numpy as np

from ..hw.errors import WingbeatError
from ..hw.numeric import coefficient_fraction_bits, largest
from ..hw.program import Mode
from .layers import Layer

__all__ = ["largest_component", "input_limit", "static_shifts", "safe_shifts"]


def largest_component(x: np.ndarray) -> float:
    """Largest magnitude of a real or imaginary part."""
    return float(max(np.max(np.abs(x.real), initial=0.0), np.max(np.abs(x.imag), initial=0.0)))


def input_limit(calibration: np.ndarray | None, headroom: float) -> float:
    """Magnitude that full scale of the input stands for: calibrated with headroom, else 1."""
    if calibration is None:
        return 1.0
    limit = largest_component(calibration) * headroom
    if not limit > 0:
        raise WingbeatError("calibration: all values are 0; allowed are rows that show the range of the data")
    return limit


def static_shifts(layers: list[Layer], x: np.ndarray, limit: float, headroom: float, most: int) -> list[int]:
    """Smallest right shift per layer with which the calibration rows times ``headroom`` fit ``limit``.

    ``x`` (rows, N) are the calibration rows in index order. Outputs that do not matter are not looked at.
    ``most`` is the largest shift a column takes.
    """
    shifts = []
    for layer in layers:
        x = layer.apply(x)
        need = largest_component(x[:, layer.live]) * headroom
        shift = 0 if need <= limit else int(np.ceil(np.log2(need / limit)))
        if shift > most:
            raise WingbeatError(f"input_limit: {limit:g} needs a shift of {shift} bits in one layer; allowed "
                                f"are limits from {limit * 2.0 ** (shift - most):g} on")
        shifts.append(shift)
        x = x * 2.0 ** -shift
    return shifts


def safe_shifts(layers: list[Layer], width: int, coefficient_width: int) -> list[int]:
    """Shifts with which no input of symmetric range overflows: at most 1 per layer, once 2 for the FFT."""
    if layers[0].mode is Mode.BPMM:
        return _bounded_shifts(layers, width, coefficient_width)
    # A layer at most doubles a modulus. A component may exceed that by sqrt(2), once, in the first layer
    # whose twiddles mix the components: after it the modulus itself is below full scale.
    shifts = [1] * len(layers)
    rotating = [number for number, layer in enumerate(layers) if layer.rotates]
    if rotating:
        shifts[rotating[0]] = 2
    return shifts


def _bounded_shifts(layers: list[Layer], width: int, coefficient_width: int) -> list[int]:
    """Shift only where the largest possible magnitude, followed through the coefficients, passes full scale.

    Because |p| <= 1, a shift of 1 always keeps symmetric full scale: that caps the bound, which
    otherwise grows by what the rounding of coefficients, products and results may add.
    """
    full = float(largest(width))
    error = 2.0 ** -(coefficient_fraction_bits(coefficient_width) + 1)
    bound, shifts = np.full(layers[0].live.size, full), []
    for layer in layers:
        worst = replace(layer, c0=np.abs(layer.c0) + error, c1=np.abs(layer.c1) + error)
        bound = worst.apply(bound) + 1  # one unit covers the cut of the product and the rounding
        shift = int(np.max(bound[layer.live], initial=0.0) > full)
        bound = np.minimum(full, bound / (1 << shift) + shift)
        shifts.append(shift)
    return shifts
