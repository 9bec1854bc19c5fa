"""Dense matrices for the array: weights as elements of the memory, and the shift that fits their sums into words."""

from dataclasses import dataclass, field

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.encoding import FIELDS
from ....hw.isa.instruction import Opcode
from ....hw.numeric import MAC_TERMS, largest, mac_guard_bits

__all__ = ["DenseKernel", "compile_dense", "LARGEST_SHIFT"]

LARGEST_SHIFT = (1 << dict(FIELDS[Opcode.MAC])["shift"]) - 1


@dataclass(frozen=True, eq=False)
class DenseKernel:
    """``weights`` int64 (outputs, inputs), elements of the memory whose value is ``weight_unit``, for all or (outputs,)
    for each output; sums are shifted right by ``shift``."""

    config: CoreConfig
    weights: np.ndarray = field(repr=False)
    weight_unit: np.ndarray | float = field(repr=False)
    shift: int

    @property
    def gain(self) -> float:
        """An element of the result is the sum of products of elements times this."""
        return 2.0 ** (_gain_bits(self.config) - self.shift)

    def output_unit(self, input_unit: float) -> np.ndarray | float:
        """Value of an element of the result, where one of the input has the value ``input_unit``."""
        return input_unit * self.weight_unit / self.gain


def _gain_bits(config: CoreConfig) -> int:
    """log2 of what a product of elements is in the result without a shift: streamed coefficients stand for halves where
    an element has fewer bits than a coefficient (hw/numeric.py)."""
    return (1 if config.element_width < config.coefficient_width else 2) \
        + mac_guard_bits(config.coefficient_width) - config.element_width


def compile_dense(weights: np.ndarray, config: CoreConfig, inputs: np.ndarray, *, by_output: bool) -> DenseKernel:
    """``weights`` float (outputs, inputs) for rows like ``inputs``, elements (rows, inputs): the largest sum of these
    fills the elements of the result. ``by_output``: every output has a unit of its own, else one power of two is that
    of all.

    Raises WingbeatError for more weights that are not zero than a sum may have.
    """
    terms = int(np.max(np.count_nonzero(weights, axis=1)))
    if terms > MAC_TERMS:
        raise WingbeatError(f"in: {terms} weights of a row are not zero; allowed are 1..{MAC_TERMS}")
    bits = min(config.element_width, config.coefficient_width)
    unused = config.element_width - bits
    peaks = np.max(np.abs(weights), axis=1, keepdims=True)
    if not by_output:
        peaks = np.exp2(np.ceil(np.log2(np.max(peaks) or 1.0))) * largest(bits) / 2.0 ** (bits - 1)
    unit = np.where(peaks > 0, peaks, 1.0) / largest(bits)
    elements = np.clip(np.rint(weights / unit), -largest(bits), largest(bits)).astype(np.int64) << unused
    most = float(np.max(np.abs(inputs.astype(np.float64) @ elements.T), initial=0.0)) * 2.0 ** _gain_bits(config)
    shift = 0
    while shift < LARGEST_SHIFT and most / 2**shift > largest(config.element_width):
        shift += 1
    unit = unit / 2**unused
    return DenseKernel(config, elements, unit[:, 0] if by_output else float(unit), shift)
