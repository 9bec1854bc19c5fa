"""Places of coefficient sets in the coefficient banks."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.instruction import Pass

__all__ = ["CoefficientSpace"]


class CoefficientSpace:
    """Gives every set of coefficients its place in the coefficient banks. With records a place only tells one set from
    another: stream.py gives the real ones."""

    def __init__(self, config: CoreConfig):
        self._config, self._next = config, config.ring_words
        self._placed: dict[bytes, tuple[int, np.ndarray]] = {}

    def place(self, passes: Sequence[Pass], image: np.ndarray) -> tuple[tuple[Pass, ...], np.ndarray]:
        """Passes and image (bank, address, data) moved behind what was placed before. Equal images share a place."""
        least, most = int(image[:, 1].min()), int(image[:, 1].max())
        known = (image - np.array([0, least, 0])).tobytes()
        if known not in self._placed:
            move = self._next - least
            self._next += most - least + 1
            if self._next > self._config.coefficient_words and not self._config.records:
                raise WingbeatError(f"coefficient_words: {self._config.coefficient_words} is too small for the "
                                    f"coefficients of the program; allowed are {self._next} and more")
            self._placed[known] = self._next - (most - least + 1), image + np.array([0, move, 0])
        start, placed = self._placed[known]
        return tuple(replace(step, coef_base=step.coef_base + start - least) for step in passes), placed
