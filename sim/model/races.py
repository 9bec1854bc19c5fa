"""Whether a READ may take a beat of the memory before it was written."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Race", "Asking", "first_race"]


class Race(NamedTuple):
    """READ ``tag`` takes ``beat``, number ``place`` of the beats of WRITE ``writer``, without having waited for it."""

    tag: int
    beat: int
    writer: int
    place: int


class Asking(NamedTuple):
    """Who takes ``beats`` of the memory: READ ``tag``, SUMS or FETCH in front of it, or the residual of WRITE ``tag`` -
    1. All but that wait for what (after, after_beats) say."""

    tag: int
    wait: tuple[int, int]
    beats: np.ndarray


def first_race(askings: Sequence[Asking], written: Sequence[np.ndarray], beats: int) -> Race | None:
    """The first READ that takes a beat which may not have been written yet, in a memory of ``beats`` beats.

    ``askings`` in order, ``written`` the beats of every WRITE. What one READ has waited for holds for all later ones:
    they wait in their order. A beat whose last write has been waited for was written by all earlier WRITEs too, so the
    last one decides.
    """
    writer, place = (np.full(beats, -1, dtype=np.int64) for _ in range(2))
    seen, done = (0, 0), 0  # all WRITEs before the first number, and so many beats of that one
    for tag, (after, after_beats), beat in askings:
        for number in range(done, tag):
            writer[written[number]], place[written[number]] = number, np.arange(len(written[number]))
        done = max(done, tag)
        if after:
            seen = max(seen, (tag - after, after_beats) if after_beats else (tag - after + 1, 0))
        late = (writer[beat] > seen[0]) | ((writer[beat] == seen[0]) & (place[beat] >= seen[1]))
        if late.any():
            found = int(beat[late][0])
            return Race(tag, found, int(writer[found]), int(place[found]))
    return None
