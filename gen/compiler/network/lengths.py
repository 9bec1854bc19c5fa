"""The table of lengths of a program: how many keys count, where not all do."""

from collections.abc import Sequence

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.record import record_beats
from ....hw.isa.setup import LENGTHS, SETUP_LENGTHS, SetupWrite

__all__ = ["Lengths", "given_lengths", "takes_lengths", "write_lengths"]


class Lengths:
    """Entries that are known to the compiler, or one for each input of a batch, which the host writes; never both."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._inputs: list[int] = []

    def number(self, keys: int) -> int:
        """Of the entry for so many keys, from 1 on. Raises WingbeatError where the table is full."""
        assert not self._inputs
        number = self._numbers.setdefault(keys, len(self._numbers) + 1)
        if number > LENGTHS:
            raise WingbeatError(f"attention: {number} different numbers of keys; allowed are {LENGTHS}")
        return number

    def of_inputs(self, batch: int, keys: int) -> int:
        """Number of the entry of the first input; those of the others follow. They say ``keys`` until the host has
        written them. At most LENGTHS inputs."""
        assert not self._numbers and batch <= LENGTHS
        self._inputs = [keys] * batch
        return 1

    def setup(self) -> list[SetupWrite]:
        return [(SETUP_LENGTHS, number, keys) for number, keys in enumerate(self._inputs or self._numbers)]


def takes_lengths(setup: Sequence[SetupWrite]) -> bool:
    """Whether a program of a network with lengths looks at them."""
    return any(target == SETUP_LENGTHS for target, _, _ in setup)


def given_lengths(setup: Sequence[SetupWrite], lengths: np.ndarray) -> list[SetupWrite]:
    """``setup`` with the ``lengths`` of the first inputs."""
    return [(target, at, int(lengths[at]) if target == SETUP_LENGTHS and at < len(lengths) else data)
            for target, at, data in setup]


def write_lengths(config: CoreConfig, records: np.ndarray, lengths: np.ndarray) -> None:
    """The ``lengths`` of the first inputs into the ``records`` (beats, 2K) of a program, of which those of its inputs
    come first."""
    writes = [(SETUP_LENGTHS, number, int(length)) for number, length in enumerate(lengths)]
    count = len(writes) * config.record_elements  # the last beat may hold what is no length
    records.reshape(-1)[:count] = record_beats(config, writes).reshape(-1)[:count]
