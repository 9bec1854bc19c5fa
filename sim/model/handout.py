"""The instructions of a program as the fetch unit hands them out to the units of a processor."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ...hw.isa.encoding import INSTRUCTION_WORDS, instruction_fields, loop_target
from ...hw.isa.instruction import Destination, Fault, Fetch, Instruction, Load, Mac, Mask, Opcode, Pass, Store

__all__ = ["ProgramFault", "Command", "Blocks", "executed", "misplaced"]

_PASSES = (Opcode.PASS, Opcode.MAC)


class ProgramFault(ValueError):
    """A program that the hardware stops with error ``code`` and ``tag``.

    The tag is None where it says how far the other blocks have come by then: REFUSED and WATCHDOG.
    """

    def __init__(self, code: Fault, message: str, tag: int | None = None):
        super().__init__(message)
        self.code, self.tag = code, tag


class Command(NamedTuple):
    """A command of a memory unit, the base address that it finds, and how many FETCHes WAITs before it waited for."""

    instruction: Any
    base: int
    waited: int

    @property
    def destination(self) -> Destination | None:
        """Of a FETCH."""
        return self.instruction.destination if isinstance(self.instruction, Fetch) else None

    @property
    def brings_matrix(self) -> bool:
        return self.destination in (Destination.RING, Destination.PICKS)


@dataclass
class Blocks:
    """The instructions of each unit in order, as handed out."""

    reads: list[Command] = field(default_factory=list)
    ahead: list[tuple[Command, int]] = field(default_factory=list)  # SUMS and FETCHes, with the number of READs before
    fetches: int = 0
    waited: int = 0  # of these, by WAITs
    loads: list[Load] = field(default_factory=list)
    passes: list[list[Pass | Mac]] = field(default_factory=list)
    masks: list[list[Mask]] = field(default_factory=list)  # of each of them
    mask: Mask = Mask()  # the last one
    stores: list[Store] = field(default_factory=list)
    writes: list[Command] = field(default_factory=list)
    steps: list[tuple[int, Instruction]] = field(default_factory=list)  # all of them, with their numbers
    inside: bool = False  # a block whose last pass has not come

    def add(self, instruction: Load | Pass | Mac | Store) -> None:
        if isinstance(instruction, Load):
            self.loads.append(instruction)
        elif isinstance(instruction, Store):
            self.stores.append(instruction)
        else:
            if instruction.first:
                self.passes.append([])
                self.masks.append([])
            self.passes[-1].append(instruction)
            self.masks[-1].append(self.mask)
            self.inside = not instruction.last

    @property
    def computed(self) -> int:
        return len(self.passes) - self.inside

    def tag(self, opcode: Opcode | None) -> int:
        """Tag of the next instruction of this kind; the number of READs for kinds without a block."""
        tags: dict[Opcode | None, int] = {
            Opcode.LOAD: len(self.loads), **dict.fromkeys(_PASSES, self.computed), Opcode.STORE: len(self.stores),
            Opcode.WRITE: len(self.writes)}
        return tags.get(opcode, len(self.reads))


def executed(words: list[int], blocks: Blocks) -> Iterator[tuple[int, Opcode, dict[str, int], list[int]]]:
    """Number, opcode, fields and words of the instructions as the fetch unit meets them, loops unrolled.

    ``blocks`` is what has been handed out, for the tag of a fault."""
    at, looping, left = 0, -1, 0
    while True:
        number = at // INSTRUCTION_WORDS
        if at + INSTRUCTION_WORDS > len(words):
            raise ProgramFault(Fault.LOOP, f"instruction {number}: the program has no HALT before its end",
                               blocks.tag(None))
        raw = words[at:at + INSTRUCTION_WORDS]
        try:
            opcode, values = instruction_fields(raw)
        except ValueError as error:
            raise ProgramFault(Fault.OPCODE, f"instruction {number}: {error}", blocks.tag(None)) from None
        if opcode is Opcode.LOOP:
            target = loop_target(values)
            if target >= at or looping not in (-1, at):
                why = f"target {target} is not before word {at}, or the loop stands in another"
                raise ProgramFault(Fault.LOOP, f"instruction {number} LOOP: {why}", blocks.tag(opcode))
            left = (values["count"] if looping < 0 else left) - 1
            looping = at if left > 0 else -1
            at = target if left > 0 else at + INSTRUCTION_WORDS
            continue
        yield number, opcode, values, raw
        at += INSTRUCTION_WORDS


def misplaced(opcode: Opcode, values: dict[str, int], blocks: Blocks) -> tuple[Fault | None, str]:
    """Each kind of instruction needs a block that has come as far as the kind before it."""
    read, loaded, begun = len(blocks.reads), len(blocks.loads), len(blocks.passes)
    stored, written = len(blocks.stores), len(blocks.writes)
    is_end = opcode in (Opcode.HALT, Opcode.WAIT)
    input_faults = {
        "a LOAD without a READ": opcode is Opcode.LOAD and loaded == read,
        "a first PASS without a LOAD": opcode in _PASSES and values["first"] and begun == loaded,
        "a PASS outside a block, or a first one inside": opcode in _PASSES and values["first"] == blocks.inside,
        "a block that was read has no passes": is_end and (blocks.inside or read != begun)}
    output_faults = {
        "a STORE without a computed block": opcode is Opcode.STORE and stored == blocks.computed,
        "a WRITE without a STORE": opcode is Opcode.WRITE and written == stored,
        "a block that was computed is not written": is_end and written != blocks.computed}
    for code, faults in ((Fault.INPUT, input_faults), (Fault.OUTPUT, output_faults)):
        for why, found in faults.items():
            if found:
                return code, why
    return None, ""
