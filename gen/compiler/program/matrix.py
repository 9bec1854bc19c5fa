"""Matrices in the memory of a processor: where their rows stand."""

from dataclasses import dataclass

import numpy as np

from ....hw.config import CoreConfig

__all__ = ["Matrix", "bits_for", "round_up"]


@dataclass(frozen=True)
class Matrix:
    """``rows`` rows of ``elements`` elements in memory, row-major from beat ``base`` on, ``pitch`` beats a row.

    With ``parts`` every row stands in that many equal parts, each ``rows`` times ``pitch`` beats behind the one before.
    """

    base: int
    rows: int
    elements: int
    pitch: int
    parts: int = 1

    @classmethod
    def at(cls, base: int, rows: int, elements: int, config: CoreConfig) -> "Matrix":
        """Rows one behind the other, each on whole beats."""
        return cls(base, rows, elements, -(-elements // config.memory_elements))

    @property
    def end(self) -> int:
        """The beat behind the matrix."""
        return self.base + self.rows * self.parts * self.pitch

    def chunks(self, config: CoreConfig) -> int:
        """Beats of a part of a row that hold elements."""
        return -(-self.elements // self.parts // config.memory_elements)

    def tail(self, config: CoreConfig) -> int:
        """Elements in the last beat of a part of a row where it is not full, else 0."""
        return self.elements // self.parts % config.memory_elements

    def pack(self, values: np.ndarray, config: CoreConfig) -> np.ndarray:
        """Beats (rows * parts * pitch, 2K) of integer ``values`` (rows, elements)."""
        beats = np.zeros((self.parts, self.rows, self.pitch * config.memory_elements), dtype=np.int64)
        beats[:, :, :self.elements // self.parts] = values.reshape(self.rows, self.parts, -1).swapaxes(0, 1)
        return beats.reshape(-1, config.memory_elements)

    def unpack(self, memory: np.ndarray) -> np.ndarray:
        """Values (rows, elements) out of the beats of the whole memory."""
        beats = memory[self.base:self.end].reshape(self.parts, self.rows, -1)
        return beats[:, :, :self.elements // self.parts].swapaxes(0, 1).reshape(self.rows, -1)


def round_up(value: int, unit: int) -> int:
    """The least multiple of ``unit`` that is no less than ``value``."""
    return -(-value // unit) * unit


def bits_for(value: int) -> int:
    """Bits that count ``value`` things."""
    return (value - 1).bit_length()
