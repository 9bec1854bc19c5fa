"""Descriptors of the memory units: where the beats of a block stand, and the table that the hardware counts with.

Contract: docs/reference/processor.md, Descriptors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .bit_fields import bits_of_words, pack, words_of_bits

__all__ = ["Move", "Descriptor", "ENTRIES", "ENTRY_WORDS", "DESCRIPTOR_WORDS", "DIFFERENCE", "SHAPE_FIELDS",
           "OTHER_FIELDS", "ID_FIELDS", "SUB_EVENTS", "GROUP_EVENT", "STEP_EVENT", "STEP_EVENTS", "ORIGIN", "SHAPE",
           "OTHER", "descriptor_entry"]

ENTRIES = 32      # of one descriptor
ENTRY_WORDS = 2   # of 32 bits
DESCRIPTOR_WORDS = ENTRY_WORDS * ENTRIES
SUB_EVENTS = 8    # most bits of the count of sub-steps
GROUP_EVENT = 8   # the entry for the next group of engines
STEP_EVENT = 9    # first of the entries for the steps
STEP_EVENTS = 16
ORIGIN, SHAPE, OTHER = 25, 26, 27  # entries behind the events

DIFFERENCE = [("beats", 32), ("rows", 16), ("chunks", 16)]  # an event, and ORIGIN: what is added to the position
SHAPE_FIELDS = [("last_step", 16), ("sub_bits", 16), ("chunks", 16), ("tail", 16)]
OTHER_FIELDS = [("other", 32), ("keep", 32)]
ID_FIELDS = [("last_id", 16), ("log2_pitch", 16)]  # ``keep`` of a FETCH of ids; ``other`` is the first beat of row 0


def descriptor_entry(words: Sequence[int], entry: int) -> int:
    """The bits of ``entry`` among the DESCRIPTOR_WORDS ``words`` of a descriptor."""
    return bits_of_words(words[ENTRY_WORDS * entry:ENTRY_WORDS * (entry + 1)])


class Move(NamedTuple):
    """How far a bit of the count moves the position."""

    rows: int
    chunks: int = 0


@dataclass(frozen=True)
class Descriptor:
    """Where the beats of one block stand in memory.

    ``sub`` and ``step`` hold one move per bit of the counts of sub-steps and steps, the lowest bit first; ``group`` is
    the move from one group of engines to the next. ``pitch``: beats from a row to the next. ``chunks``: valid beats of
    a row; in the last of them ``tail`` elements are valid, 0 for all. ``steps``: how many steps there are, all counts
    of the bits by default. ``other``: second address of SPLIT and FOLD. ``keep``: address bits that FOLD does not
    mirror. ``by_id``: of a READ by id; a row moves ``pitch`` ids, a chunk none.

    Raises ValueError naming the field.
    """

    sub: tuple[Move, ...]
    group: Move
    step: tuple[Move, ...]
    pitch: int
    chunks: int
    tail: int = 0
    origin: Move = Move(0)
    other: int = 0
    steps: int = 0
    keep: int = 0
    by_id: bool = False

    def __post_init__(self) -> None:
        if not self.steps:
            object.__setattr__(self, "steps", 1 << len(self.step))
        for name, value, most in (("sub", len(self.sub), SUB_EVENTS - 1), ("step", len(self.step), STEP_EVENTS),
                                  ("chunks", self.chunks, 0xFFFF), ("tail", self.tail, 0xFFFF),
                                  ("pitch", self.pitch, 0xFFFFFFFF), ("steps", self.steps, 1 << len(self.step)),
                                  ("keep", self.keep, 0xFFFFFFFF)):
            if not 0 <= value <= most:
                raise ValueError(f"{name}: {value} is not in 0..{most}")
        for name, moves in (("sub", self.sub), ("group", (self.group,)), ("step", self.step),
                            ("origin", (self.origin,))):
            for move in moves:
                if not all(-0x8000 <= part <= 0x7FFF for part in move):
                    raise ValueError(f"{name}: {tuple(move)} is not in -32768..32767")

    @property
    def step_beats(self) -> int:
        """Beats of one group of engines in one step."""
        return 1 << len(self.sub)

    def words(self, groups: int) -> list[int]:
        """The DESCRIPTOR_WORDS table words for ``groups`` groups of engines, 32 bits each."""
        entries = [0] * ENTRIES
        sub_end = self._total(self.sub)
        group_end = Move(sub_end.rows + (groups - 1) * self.group.rows,
                         sub_end.chunks + (groups - 1) * self.group.chunks)
        for bit in range(len(self.sub)):
            entries[bit] = self._entry(self.sub[bit], self._total(self.sub[:bit]))
        entries[GROUP_EVENT] = self._entry(self.group, sub_end)
        for bit in range(len(self.step)):
            below = self._total(self.step[:bit])
            entries[STEP_EVENT + bit] = self._entry(
                self.step[bit], Move(group_end.rows + below.rows, group_end.chunks + below.chunks))
        entries[ORIGIN] = self._entry(self.origin, Move(0))
        entries[SHAPE] = pack(SHAPE_FIELDS, {"last_step": self.steps - 1, "sub_bits": len(self.sub),
                                             "chunks": self.chunks, "tail": self.tail})
        entries[OTHER] = pack(OTHER_FIELDS, {"other": self.other & 0xFFFFFFFF, "keep": self.keep})
        return [word for entry in entries for word in words_of_bits(entry, ENTRY_WORDS)]

    def positions(self, groups: int) -> tuple[np.ndarray, np.ndarray]:
        """Row and chunk of every beat in order, int64 (beats,) each."""
        count = np.arange(self.steps * groups * self.step_beats, dtype=np.int64)
        sub, rest = count % self.step_beats, count // self.step_beats
        group, step = rest % groups, rest // groups
        position = []
        for axis in (0, 1):
            value = self.origin[axis] + group * self.group[axis]
            for counter, moves in ((sub, self.sub), (step, self.step)):
                for bit, move in enumerate(moves):
                    value = value + (counter >> bit & 1) * move[axis]
            position.append(value)
        return position[0], position[1]

    @staticmethod
    def _total(moves: tuple[Move, ...]) -> Move:
        return Move(sum(move.rows for move in moves), sum(move.chunks for move in moves))

    def _entry(self, to: Move, back: Move) -> int:
        rows, chunks = to.rows - back.rows, to.chunks - back.chunks
        moved = {"beats": rows * self.pitch + (0 if self.by_id else chunks), "rows": rows, "chunks": chunks}
        return pack(DIFFERENCE, {name: moved[name] & (1 << bits) - 1 for name, bits in DIFFERENCE})
