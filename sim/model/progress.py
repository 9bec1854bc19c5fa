"""Whether a program of a processor ends: its queues, halves, waits and WRITEs without time.

The fetch unit hands out instructions in order, each to the queue of its unit; it stops where a queue is full. Units
take their commands in order. Whatever has become possible stays possible, so the order in which units go on does not
matter: a program ends if it ends here. A unit may hold its next command and a READ some of its beats where this model
makes them wait, so it also refuses some programs that would just end.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from ...hw.array.parameters import QUEUE_PLACES
from ...hw.isa.instruction import (Fetch, Halt, Instruction, Load, Loop, Pass, Read, Set, Store, Sums, Unit, Wait,
                                   Write)
from ...hw.isa.setup import UNITS

__all__ = ["check_progress", "check_executed"]


def check_progress(program: Sequence[Instruction]) -> None:
    """Raises ValueError naming the instruction that waits for ever. ``program`` is legal in all else."""
    check_executed(_unrolled(program))


def check_executed(steps: Iterable[tuple[int, Instruction]]) -> None:
    """The same for instructions with their numbers as they are handed out, without LOOP and HALT."""
    run = _Run(steps)
    while run.moves():
        pass
    if not run.ended:
        raise ValueError(f"program: {run.waiting()} waits for ever; a queue in front of a unit holds {QUEUE_PLACES} "
                         "instructions, and too many stand between it and what it waits for")


class _Run:
    """Blocks are counted: ``loaded`` of them have come in, and so on. Block b has tag b."""

    def __init__(self, steps: Iterable[tuple[int, Instruction]]):
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
                    self._fetching -= 1
                elif not isinstance(step, Sums):
                    # Its beats go where a LOAD takes them; the next command follows them.
                    if self._reads > self._loaded:
                        break
                    self._reads += 1
            queue.popleft()
            moved = True
        return moved

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
            assert isinstance(step, Pass)
            if step.first and self._computed == self._loaded:
                break
            self._computed += step.last
            queue.popleft()
            moved = True
        return moved

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
    return next(name for kind, name in ((Read, "reader"), (Load, "load"), (Pass, "cal"), (Store, "store"),
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
