"""Whether a program of a processor ends: its queues, halves, waits and WRITEs without time.

The fetch unit hands out instructions in order, each to the queue of its unit; it stops where a queue is full. Units
take their commands in order. Whatever has become possible stays possible, so the order in which units go on does not
matter: a program ends if it ends here. A unit may hold its next command and a READ some of its beats where this model
makes them wait, so it also refuses some programs that would just end.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from ...hw.array.parameters import QUEUE_PLACES
from ...hw.config import CoreConfig
from ...hw.isa.instruction import (Destination, Fetch, Halt, Instruction, Load, Loop, Mac, Mask, Pass, Read, Set, Store,
                                   Sums, Unit, Wait, Write)
from ...hw.isa.setup import UNITS
from .ring import panel_words

__all__ = ["RingUse", "check_progress", "check_executed"]


class RingUse(NamedTuple):
    """The ring of a core, and how many words a FETCH brings for it; asked for each in the order of the program."""

    config: CoreConfig
    words: Callable[[Fetch], int]


def check_progress(program: Sequence[Instruction], ring: RingUse | None = None) -> None:
    """Raises ValueError naming the instruction that waits for ever. ``program`` is legal in all else; ``ring`` where it
    has MACs."""
    check_executed(_unrolled(program), ring)


def check_executed(steps: Iterable[tuple[int, Instruction]], ring: RingUse | None = None) -> int:
    """The same for instructions with their numbers as they are handed out, without LOOP and HALT. Returns how many
    words are left in the ring."""
    run = _Run(steps, ring)
    while run.moves():
        pass
    if not run.ended:
        raise ValueError(f"program: {run.waiting()} waits for ever; a queue in front of a unit holds {QUEUE_PLACES} "
                         "instructions, and too many stand between it and what it waits for")
    return run.filled - run.released


class _Run:
    """Blocks are counted: ``loaded`` of them have come in, and so on. Block b has tag b. Words of the ring are counted
    too; a MAC takes P outputs at a time."""

    def __init__(self, steps: Iterable[tuple[int, Instruction]], ring: RingUse | None):
        self._ring, self.filled, self.released = ring, 0, 0
        self._words_left: int | None = None    # of the FETCH that the reader has
        self._panels_left: int | None = None  # of the MAC that is computed
        self._steps = iter(steps)
        self._next = next(self._steps, None)
        self._queues: dict[str, deque[tuple[int, Instruction]]] = {unit: deque() for unit in UNITS}
        self._fetching = 0  # FETCHes that are handed out and not played
        self._reads = self._loaded = self._computed = self._written = 0

    @property
    def ended(self) -> bool:
        return self._next is None and not any(self._queues.values())

    def waiting(self) -> str:
        """The first instruction that does."""
        waiting = [queue[0] for queue in self._queues.values() if queue]
        number, step = min(waiting, key=lambda each: each[0])
        return f"instruction {number} {type(step).__name__.upper()}"

    def moves(self) -> bool:
        """Every part goes on as far as it can; whether one did."""
        moved = self._hand_out()
        moved |= self._read()
        moved |= self._load()
        moved |= self._compute()
        return self._write() or moved

    def _hand_out(self) -> bool:
        moved = False
        while self._next is not None:
            _, step = self._next
            if isinstance(step, Wait):
                if self._fetching:
                    break
            else:
                queue = self._queues[_unit(step)]
                # Its unit has the first one.
                if len(queue) > QUEUE_PLACES:
                    break
                queue.append(self._next)
                self._fetching += isinstance(step, Fetch)
            self._next, moved = next(self._steps, None), True
        return moved

    def _read(self) -> bool:
        queue, moved = self._queues["reader"], False
        while queue:
            step = queue[0][1]
            if isinstance(step, Read):
                if step.after and self._written <= self._reads - step.after:
                    break
                if isinstance(step, Fetch):
                    # Beats of a READ in front of it stand in its way until a LOAD takes them.
                    is_matrix = step.destination in (Destination.RING, Destination.PICKS)
                    if is_matrix and (self._reads > self._loaded or not self._fill(step)):
                        break
                    self._fetching -= 1
                elif not isinstance(step, Sums):
                    # Its beats go where a LOAD takes them; the next command follows them.
                    if self._reads > self._loaded:
                        break
                    self._reads += 1
            queue.popleft()
            moved = True
        return moved

    def _fill(self, step: Fetch) -> bool:
        """As much into the ring as it holds; whether that is all. What came in at last is seen to move by the MAC."""
        assert self._ring is not None
        left = self._ring.words(step) if self._words_left is None else self._words_left
        taken = min(left, self._ring.config.ring_words - (self.filled - self.released))
        self.filled += taken
        self._words_left = left - taken or None
        return left == taken

    def _load(self) -> bool:
        queue, moved = self._queues["load"], False
        # Block b enters the half that block b - 2 has left.
        while queue and self._reads > self._loaded and self._loaded < self._written + 2:
            queue.popleft()
            self._loaded, moved = self._loaded + 1, True
        return moved

    def _compute(self) -> bool:
        queue, moved = self._queues["cal"], False
        while queue:
            step = queue[0][1]
            if isinstance(step, Mask):
                queue.popleft()
                moved = True
                continue
            assert isinstance(step, Pass | Mac)
            if step.first and self._computed == self._loaded:
                break
            if isinstance(step, Mac):
                found, ended = self._multiply(step)
                moved |= found
                if not ended:
                    break
            self._computed += step.last
            queue.popleft()
            moved = True
        return moved

    def _multiply(self, step: Mac) -> tuple[bool, bool]:
        """Panels of a MAC as far as the ring has them; whether there was one, and whether it was the last."""
        assert self._ring is not None
        panel = panel_words(self._ring.config, step)
        left = step.outputs if self._panels_left is None else self._panels_left
        panels = min(left, (self.filled - self.released) // panel)
        self.released += panels * panel
        self._panels_left = left - panels or None
        return panels > 0, left == panels

    def _write(self) -> bool:
        stores, writes, moved = self._queues["store"], self._queues["writer"], False
        while writes:
            is_set = isinstance(writes[0][1], Set)
            if not is_set and not (stores and self._computed > self._written):
                break
            writes.popleft()
            if not is_set:
                stores.popleft()
                self._written += 1
            moved = True
        return moved


def _unit(step: Instruction) -> str:
    if isinstance(step, Set):
        return "reader" if step.unit is Unit.READER else "writer"
    return next(name for kind, name in ((Read, "reader"), (Load, "load"), (Pass | Mac | Mask, "cal"), (Store, "store"),
                                        (Write, "writer")) if isinstance(step, kind))


def _unrolled(program: Sequence[Instruction]) -> Iterator[tuple[int, Instruction]]:
    """Number and instruction in the order in which they are handed out."""
    number, left = 0, 0
    while not isinstance(program[number], Halt):
        step = program[number]
        if isinstance(step, Loop):
            left = (left or step.count) - 1
            number = step.target if left else number + 1
            continue
        yield number, step
        number += 1
