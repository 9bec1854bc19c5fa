"""Records: setup writes as they stand in memory, which a FETCH plays (hw/memory/player.py).

A record is record_elements elements of a beat, element 0 lowest. Its lowest bits are the word of the setup port, SETUP;
the bits above mean nothing and are written as zeros. Records that fill the last beat name NO_TARGET.
"""

from collections.abc import Sequence

import numpy as np

from ..config import CoreConfig
from .bit_fields import unpack
from .setup import NO_TARGET, SETUP, SETUP_BITS, SetupWrite

__all__ = ["record_beats", "records_of"]

_NOTHING: SetupWrite = (NO_TARGET, 0, 0)


def record_beats(config: CoreConfig, writes: Sequence[SetupWrite] | np.ndarray) -> np.ndarray:
    """Beats int64 (n, 2K) with ``writes`` (target, address, data) in their order, int64 (n, 3) or as tuples. Raises
    ValueError where one does not fit its field."""
    places = config.memory_elements // config.record_elements
    whole = np.array([*writes, *[_NOTHING] * (-len(writes) % places)], dtype=np.int64).reshape(-1, 3)
    words, at = np.zeros(len(whole), dtype=np.uint64), 0
    for (name, bits), values in zip(SETUP, whole.T):
        wrong = (values < 0) | (values >= 1 << bits)
        if wrong.any():
            raise ValueError(f"{name}: {values[wrong][0]} does not fit {bits} bits")
        words |= values.astype(np.uint64) << np.uint64(at)
        at += bits
    elements = np.zeros((len(words), config.record_elements), dtype=np.int64)
    width = config.element_width
    for number in range(-(-SETUP_BITS // width)):
        part = (words >> np.uint64(width * number)).astype(np.int64) & (1 << width) - 1
        elements[:, number] = part - (part >> width - 1 << width)
    return elements.reshape(-1, config.memory_elements)


def records_of(config: CoreConfig, beats: np.ndarray) -> list[SetupWrite]:
    """Inverse of :func:`record_beats`, with what fills the last beat."""
    width = config.element_width
    elements = (np.asarray(beats, dtype=np.int64) & (1 << width) - 1).astype(np.uint64)
    elements = elements.reshape(-1, config.record_elements)
    words = np.zeros(len(elements), dtype=np.uint64)
    for number in range(-(-SETUP_BITS // width)):
        words |= elements[:, number] << np.uint64(width * number)
    return [(write["target"], write["address"], write["data"])
            for write in (unpack(SETUP, word) for word in words.tolist())]
