"""Reference of the instructions: kinds, fields and codes."""

from wingbeat.hw.isa import encoding, instruction
from wingbeat.hw.isa.encoding import FIELDS, INSTRUCTION_WORDS, OPCODE_BITS
from wingbeat.hw.isa.bit_fields import WORD_BITS
from wingbeat.hw.isa.instruction import Destination, Fault, MemoryMode, Mode, Opcode, Unit
from wingbeat.hw.isa.walk import SubOrder, Walk

from .text import docstring, enumeration, fields

__all__ = ["page"]

_PAGE = "reference/instructions.md"


def page() -> str:
    size = INSTRUCTION_WORDS * WORD_BITS
    parts = ["# Instructions", docstring(instruction.__doc__, _PAGE),
             f"An instruction has {INSTRUCTION_WORDS} words of {WORD_BITS} bits = {size} bits, the least significant "
             f"word first. Its opcode is in the lowest {OPCODE_BITS} bits. Every field is unsigned unless its meaning "
             "says otherwise; bits that no field names are 0. `wingbeat check NAME.hex --listing` prints a program in "
             "this form. The packer and the decoder stand in `hw/isa/encoding.py`.\n"]
    for opcode in Opcode:
        kind = getattr(instruction, opcode.name.capitalize())
        parts += [f"## {opcode.name}, opcode {int(opcode)}", docstring(kind.__doc__, _PAGE)]
        if FIELDS[opcode]:
            parts.append(fields(FIELDS[opcode], OPCODE_BITS))
    parts += ["## How values become fields", docstring(encoding.VALUES, _PAGE),
              "## Walk", docstring(Walk.__doc__, _PAGE)]
    for title, kind in (("Order inside a step", SubOrder), ("Mode of a column", Mode), ("Memory mode", MemoryMode),
                        ("Destination of a FETCH", Destination),
                        ("Unit of a SET", Unit), ("Fault codes", Fault)):
        parts += [f"## {title}", enumeration(kind, _PAGE)]
    return "\n\n".join(parts) + "\n"
