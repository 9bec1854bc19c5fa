"""What a program does, told apart from the models that are tested with it."""

from collections.abc import Iterator, Sequence

from wingbeat.hw.isa.instruction import Halt, Instruction, Loop

__all__ = ["executed"]


def executed(program: Sequence[Instruction]) -> Iterator[Instruction]:
    """Instructions in the order in which they are handed out, LOOP and HALT left out; loops do not nest."""
    at = rounds = 0
    while not isinstance(step := program[at], Halt):
        if isinstance(step, Loop):
            rounds += 1
            at, rounds = (step.target, rounds) if rounds < step.count else (at + 1, 0)
        else:
            yield step
            at += 1
