"""Bit-exact model of the ring: beats of a matrix as words for all coefficient banks, in their order."""

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.instruction import Mac
from ...hw.numeric import streamed_coefficient

__all__ = ["Ring", "panel_words", "mac_words", "mac_groups", "word_sets", "matrix_beats"]


def panel_words(config: CoreConfig, mac: Mac) -> int:
    """Words of the ring that P outputs of a MAC need."""
    return config.lanes // config.layers * mac.inputs


def mac_words(config: CoreConfig, mac: Mac) -> int:
    """Words of the ring that a MAC takes."""
    return mac.outputs * panel_words(config, mac)


def mac_groups(config: CoreConfig, mac: Mac) -> int:
    """Groups that a MAC issues."""
    return mac.pairs * mac_words(config, mac)


def word_sets(config: CoreConfig, beats: int) -> int:
    """Words of the ring that so many beats make; the beats of a set that is not whole make none."""
    return beats // config.layers * (config.memory_elements // config.lanes)


def matrix_beats(config: CoreConfig, matrix: np.ndarray) -> np.ndarray:
    """A matrix of elements int64 (outputs, inputs) as the beats that a FETCH brings for it, int64 (beats, 2K): beats of
    S outputs in turn. Its sides must be multiples of S and of 2K, raises ValueError."""
    outputs, inputs = matrix.shape
    chunk = config.memory_elements
    if outputs % config.layers or inputs % chunk:
        raise ValueError(f"matrix: {outputs} x {inputs}; allowed are multiples of {config.layers} and of {chunk}")
    sets = matrix.reshape(outputs // config.layers, config.layers, inputs // chunk, chunk)
    return np.ascontiguousarray(sets.swapaxes(1, 2)).reshape(-1, chunk)


class Ring:
    """What was fetched and not yet taken, however much: a program that fetches too much too early waits."""

    def __init__(self, config: CoreConfig):
        self._config = config
        self._beats = np.empty((0, config.memory_elements), dtype=np.int64)  # of a set that is not whole
        self._words = np.empty((0, config.layers, config.lanes), dtype=np.int64)

    @property
    def words(self) -> int:
        """Whole words that are left."""
        return len(self._words)

    def fetch(self, beats: np.ndarray) -> None:
        """Adds ``beats``, int64 (n, 2K)."""
        config = self._config
        beats = np.concatenate([self._beats, beats])
        whole = len(beats) // config.layers * config.layers
        sets = beats[:whole].reshape(-1, config.layers, config.memory_elements // config.lanes, config.lanes)
        self._words = np.concatenate([self._words, sets.swapaxes(1, 2).reshape(-1, config.layers, config.lanes)])
        self._beats = beats[whole:]

    def take(self, mac: Mac) -> np.ndarray:
        """The matrix of a MAC as coefficients int64 (outputs * P, inputs * P). Raises ValueError where it is not
        there."""
        config, need = self._config, mac_words(self._config, mac)
        if need > self.words:
            raise ValueError(f"MAC: {self.words} words are in the ring; it takes {need}")
        words, self._words = self._words[:need], self._words[need:]
        # Of P outputs: steps, inputs, the outputs of a step, lanes.
        matrix = words.reshape(-1, mac.inputs, config.layers, config.lanes).swapaxes(1, 2)
        return streamed_coefficient(matrix.reshape(-1, mac.inputs * config.lanes), config.element_width,
                                    config.coefficient_width)
