"""Where the tensors of a network stand in the memory of a processor."""

from dataclasses import dataclass

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ..program.matrix import Matrix

__all__ = ["Tensor", "TensorMemory"]


@dataclass(frozen=True)
class Tensor:
    """``tokens`` x ``batch`` x ``features`` elements: row token * batch + number has ``pitch`` beats of the memory.

    The pitch is a power of two and ``base`` a multiple of pitch * batch, so that a beat's address tells its row and its
    place in the row (docs/reference/vector.md).
    """

    base: int
    tokens: int
    batch: int
    features: int
    pitch: int
    beat_elements: int
    spare: int = 0  # beats behind it that belong to it too

    @property
    def beats(self) -> int:
        return self.tokens * self.batch * self.pitch

    @property
    def rows(self) -> Matrix:
        """All rows, for a butterfly over the features."""
        return Matrix(self.base, self.tokens * self.batch, self.features, self.pitch)

    def input(self, number: int) -> Matrix:
        """The rows of one input."""
        return Matrix(self.base + number * self.pitch, self.tokens, self.features, self.batch * self.pitch)

    @property
    def flat(self) -> Matrix:
        """A row for each input: all its tokens one after the other."""
        return Matrix(self.base, self.batch, self.tokens * self.features, self.pitch, self.tokens)

    @property
    def tokens_down(self) -> Matrix:
        """A row for each token with the whole batch, for a transform over the tokens."""
        pitch = self.batch * self.pitch
        return Matrix(self.base, self.tokens, pitch * self.beat_elements, pitch)

    def pack(self, values: np.ndarray) -> np.ndarray:
        """Beats (beats, 2K) of integer ``values`` (batch or fewer, tokens, features)."""
        rows = np.zeros((self.tokens, self.batch, self.pitch * self.beat_elements), dtype=np.int64)
        rows[:, :len(values), :self.features] = values.swapaxes(0, 1)
        return rows.reshape(-1, self.beat_elements)

    def unpack(self, memory: np.ndarray) -> np.ndarray:
        """Values (batch, tokens, features) out of the beats of the whole memory."""
        rows = memory[self.base:self.base + self.beats].reshape(self.tokens, self.batch, -1)
        return rows[:, :, :self.features].swapaxes(0, 1)


class TensorMemory:
    """Gives tensors their places; what is released may be taken again, but not for what must stand in memory before.

    ``end``: beats that were ever in use. Raises WingbeatError naming memory_bits when the memory is full.
    """

    def __init__(self, config: CoreConfig, batch: int):
        self._config, self.batch = config, batch
        self._used: list[tuple[int, int]] = []  # base and end, in order
        self.end = 0

    def take(self, tokens: int, features: int, *, unused: bool = False, spare: int = 0) -> Tensor:
        """``unused``: where no tensor has ever been; ``spare``: so many tokens more may be read."""
        elements = self._config.memory_elements
        pitch = 1 << (-(-features // elements) - 1).bit_length()
        beats, step = (tokens + spare) * self.batch * pitch, self.batch * pitch
        base = 0
        for begin, end in [(0, self.end)] if unused else self._used:
            if base + beats <= begin:
                break
            base = -(-end // step) * step
        self._take(base, beats)
        return Tensor(base, tokens, self.batch, features, pitch, elements, spare * step)

    def take_table(self, rows: int, features: int) -> Tensor:
        """Rows of ``features`` elements where no tensor has ever been; they are the same for all inputs."""
        elements = self._config.memory_elements
        pitch = 1 << (-(-features // elements) - 1).bit_length()
        tensor = Tensor(self.end, rows, 1, features, pitch, elements)
        self._take(tensor.base, tensor.beats)
        return tensor

    def take_beats(self, beats: int) -> Tensor:
        """Beats one after the other where no tensor has ever been, one a row; they are the same for all inputs."""
        base = self.end
        self._take(base, beats)
        return Tensor(base, beats, 1, self._config.memory_elements, 1, self._config.memory_elements)

    def _take(self, base: int, beats: int) -> None:
        if base + beats > 1 << self._config.memory_bits:
            raise WingbeatError(f"memory.address_bits: {self._config.memory_bits} are too few for {base + beats} "
                                f"beats; allowed are {(base + beats - 1).bit_length()} and more, or a smaller "
                                f"batch than {self.batch}")
        self._used = sorted([*self._used, (base, base + beats)])
        self.end = max(self.end, base + beats)

    def copy(self) -> "TensorMemory":
        other = TensorMemory(self._config, self.batch)
        other._used, other.end = list(self._used), self.end
        return other

    def release(self, tensor: Tensor) -> None:
        self._used.remove((tensor.base, tensor.base + tensor.beats + tensor.spare))
