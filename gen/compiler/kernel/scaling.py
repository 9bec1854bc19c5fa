"""How far each layer is shifted right so that it fits the width of the array.

Static shifts come from calibration rows, never-overflow shifts from the mathematics. A block-floating-point
kernel needs neither. "Limit" is the magnitude of one real component that full scale stands for.
"""

from dataclasses import replace

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.instruction import Mode
from ....hw.numeric import coefficient_fraction_bits, largest
from .layers import Layer, pair_indices

__all__ = ["largest_component", "input_limit", "layer_peaks", "static_shifts", "noise_gains", "best_limit",
           "safe_shifts"]


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


def layer_peaks(layers: list[Layer], x: np.ndarray) -> list[float]:
    """Largest component of the calibration rows ``x`` (rows, N) after each layer, in index order, unshifted.

    Outputs that do not matter are not looked at.
    """
    peaks = []
    for layer in layers:
        x = layer.apply(x)
        peaks.append(largest_component(x[:, layer.live]))
    return peaks


def static_shifts(peaks: list[float], limit: float, headroom: float, most: int) -> list[int]:
    """Smallest right shift per layer with which ``peaks`` times ``headroom`` fit ``limit``.

    ``most`` is the largest shift a column takes.
    """
    shifts: list[int] = []
    for peak in peaks:
        excess = peak * headroom / limit * 2.0 ** -sum(shifts)
        shift = 0 if excess <= 1 else int(np.ceil(np.log2(excess)))
        if shift > most:
            raise WingbeatError(f"input_limit: {limit:g} needs a shift of {shift} bits in one layer; allowed "
                                f"are limits from {limit * 2.0 ** (shift - most):g} on")
        shifts.append(shift)
    return shifts


def noise_gains(layers: list[Layer], scale: np.ndarray) -> np.ndarray:
    """Power with which unit noise on every element before layer l reaches the results, (layers + 1,).

    Exact where one path leads from an input to an output (a butterfly block, an FFT); several paths, as
    through two blocks, count as uncorrelated.
    """
    weight, gains = scale ** 2, [float(np.sum(scale ** 2))]
    for layer in reversed(layers):
        low, high = pair_indices(weight.size, layer.bit)
        y1, y2, before = weight[low], weight[high], np.empty_like(weight)
        if layer.mode is Mode.FFT:
            before[low] = before[high] = y1 + y2
        else:
            p0, p1 = layer.c0 ** 2, layer.c1 ** 2
            before[low] = y1 * np.where(layer.s0, p0, 1) + y2 * np.where(layer.s1, p1, 1)
            before[high] = y1 * np.where(layer.s0, 1, p0) + y2 * np.where(layer.s1, 1, p1)
        weight = before
        gains.insert(0, float(np.sum(weight)))
    return np.array(gains)


def best_limit(least: float, stacks: list[tuple[list[float], np.ndarray]], headroom: float,
               config: CoreConfig) -> float:
    """The limit in ``least`` .. 2 * ``least`` with the least rounding noise.

    ``stacks`` are (peaks, noise gains). Shifts are powers of two, so a slightly larger range of the input
    can save a shift in a layer where it costs more.
    """
    most = (1 << config.shift_bits) - 1

    def noise(limit: float) -> float:
        element = limit / largest(config.element_width)
        value = element * 2.0 ** (config.element_width - config.width)
        total = 0.0
        for peaks, gains in stacks:
            taken = 4.0 ** np.cumsum(static_shifts(peaks, limit, headroom, most))
            total += element ** 2 * gains[0] + value ** 2 * float(taken @ gains[1:])
            if value < element:
                total += element ** 2 * float(taken[-1] * gains[-1])
        return total

    return min((least * 2 ** (step / 16) for step in range(16)), key=noise)


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
