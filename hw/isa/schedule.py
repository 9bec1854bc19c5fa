"""Programs in which loading, computing and storing of neighbouring blocks overlap."""

from collections.abc import Sequence

from .instruction import Halt, Instruction, Load, Loop, Pass, Store

__all__ = ["schedule"]


def schedule(load: Load, bodies: Sequence[list[Pass]], store: Store, blocks: int) -> list[Instruction]:
    """Program that runs ``blocks`` equal blocks through each of ``bodies``, one body after the other.

    The load of a block stands before the passes of the block before it, so that the three units overlap; also
    where the next block belongs to the next body. The length does not depend on ``blocks`` beyond 2.
    """
    program: list[Instruction] = [load]
    for number, passes in enumerate(bodies):
        last = number == len(bodies) - 1
        count, start = blocks - last, len(program)
        if count:
            program += [load, *passes, store]
        if count > 1:
            program.append(Loop(start, count))
        if last:
            program += [*passes, store, Halt()]
    return program
