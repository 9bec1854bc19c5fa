"""Programs as text: what each instruction does and to which block it belongs."""

from collections.abc import Iterator, Sequence

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.encoding import instruction_fields, INSTRUCTION_WORDS, decode
from ....hw.isa.instruction import Halt, Instruction, Load, Loop, Pass, Read, Set, Store, Write
from ....hw.isa.walk import Walk

__all__ = ["disassemble"]


def disassemble(config: CoreConfig, words: Sequence[int]) -> list[str]:
    """One line per instruction of the program ``words`` (32 bits each) up to its HALT.

    The tag is that of the block in the first round of a loop. Raises :class:`WingbeatError` naming the instruction when
    an opcode is unknown or the words end without a HALT.
    """
    lines, tags = [], {kind: 0 for kind in (Read, Load, Pass, Store, Write)}
    for number, instruction in enumerate(_instructions(config, words)):
        kind = type(instruction)
        tag = f"{tags[kind]}" if kind in tags else ""
        if kind in tags and (not isinstance(instruction, Pass) or instruction.last):
            tags[kind] += 1
        lines.append(f"{number:5d}  {kind.__name__.upper():5s}  {tag:>5s}  {_operands(instruction)}".rstrip())
    return lines


def _instructions(config: CoreConfig, words: Sequence[int]) -> Iterator[Instruction]:
    for at in range(0, len(words) - INSTRUCTION_WORDS + 1, INSTRUCTION_WORDS):
        raw = words[at:at + INSTRUCTION_WORDS]
        name = f"instruction {at // INSTRUCTION_WORDS}"
        try:
            name += f" {instruction_fields(raw)[0].name}"
            (instruction,) = decode(raw, config.layers)
        except (KeyError, ValueError) as fault:
            raise WingbeatError(f"{name}: {fault}") from None
        yield instruction
        if isinstance(instruction, Halt):
            return
    raise WingbeatError(f"program: {len(words)} words without a HALT")


def _operands(instruction: Instruction) -> str:
    if isinstance(instruction, Load):
        overlap = f", behind the store by {instruction.lag}" if instruction.overlap else ""
        return _walk(instruction.walk) + overlap
    if isinstance(instruction, Store):
        return _walk(instruction.walk)
    if isinstance(instruction, Pass):
        return _pass(instruction)
    if isinstance(instruction, Read | Write):
        return _memory(instruction)
    if isinstance(instruction, Set):
        return f"{instruction.unit.name.lower()} r{instruction.register} = {instruction.value}"
    return f"to {instruction.target}, {instruction.count} times" if isinstance(instruction, Loop) else ""


def _walk(walk: Walk) -> str:
    parts = [f"window {walk.window}", f"inner {_bits(walk.inner)}", f"outer {_bits(walk.outer)}"]
    if walk.sub:
        parts.insert(1, f"sub {walk.sub}")
    if walk.mirror:
        parts.insert(1, f"mirror {walk.mirror}")
    return ", ".join(parts)


def _bits(mask: int) -> str:
    return "(" + " ".join(str(bit) for bit in range(mask.bit_length()) if mask >> bit & 1) + ")"


def _pass(step: Pass) -> str:
    shifts = f"block float {step.growth}" if step.block_float else f"shifts {step.shifts}"
    flags = "".join(f", {name}" for name in ("first", "last", "descending") if getattr(step, name))
    gap = f", gap {step.gap}" if step.gap else ""
    return (f"{step.mode.name} digit {step.digit}, {step.groups} groups, columns {step.active:b}, {shifts}, "
            f"coefficients {step.coef_base} + (g >> {step.coef_shift}) mod {1 << step.coef_mask_bits}{flags}{gap}")


def _memory(instruction: Read | Write) -> str:
    text = (f"{instruction.mode.name} at r{instruction.register}{instruction.increment:+d}, descriptor "
            f"{instruction.descriptor}, {instruction.rows} rows")
    if isinstance(instruction, Write):
        mirrored = f", mirrored {instruction.fold_from}..{instruction.fold_rows - 1}" if instruction.fold_rows else ""
        return text + mirrored
    beats = f" ({instruction.after_beats} beats)" if instruction.after_beats else ""
    return text + (f", after {instruction.after} back{beats}" if instruction.after else "")
