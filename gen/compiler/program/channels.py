"""Tables of the vector unit that a program needs beside its parameter sets: scales and biases, the activation."""

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.setup import SETUP_ACTIVATION, SETUP_CHANNELS
from ....hw.isa.vector_tables import channel_word, GeluTable
from ....sim.reference.functions import erf_complement, tanh_complement

__all__ = ["ChannelTables"]

_COMPLEMENTS = {"none": erf_complement, "tanh": tanh_complement}  # the names of Gelu.approximate of the network file


class ChannelTables:
    """Gives scales and biases their beats of the channel table, equal ones the same; and holds one activation. With
    records a place only tells one content from another: stream.py gives the real ones."""

    def __init__(self, config: CoreConfig):
        self._config = config
        self._placed: dict[bytes, int] = {}
        self._next = 0
        self._approximate: str | None = None

    def place(self, scale: np.ndarray, bias: np.ndarray) -> int:
        """First beat of ``scale`` and ``bias`` (beats * 2K,) int64, SCALE_BITS each. Raises WingbeatError."""
        words = np.array([channel_word(s, b) for s, b in zip(scale.tolist(), bias.tolist())], dtype=np.int64)
        key = words.tobytes()
        if key not in self._placed:
            self._placed[key] = self._next
            self._next += len(words) // self._config.memory_elements
            if self._next > self._config.channel_beats and not self._config.records:
                raise WingbeatError(f"channel_beats: {self._config.channel_beats} are too few for the scales and "
                                    f"biases of a program; allowed are {self._next} and more")
        return self._placed[key]

    def use_gelu(self, approximate: str) -> None:
        """Raises WingbeatError when the program has the other GELU already."""
        if self._approximate not in (None, approximate):
            raise WingbeatError(f"approximate: {approximate!r} and {self._approximate!r} in one program; allowed is "
                                "one of them")
        self._approximate = approximate

    def setup(self) -> list[tuple[int, int, int]]:
        """Setup writes (target, address, data)."""
        writes = []
        for key, base in self._placed.items():
            words = np.frombuffer(key, dtype=np.int64).tolist()
            writes += [(SETUP_CHANNELS, base * self._config.memory_elements + at, word)
                       for at, word in enumerate(words)]
        if self._approximate is not None:
            table = GeluTable.of(self._config.element_width, _COMPLEMENTS[self._approximate])
            writes += [(SETUP_ACTIVATION, address, word) for address, word in enumerate(table.words())]
        return writes
