"""A small processor and a program that copies beats through its array."""

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.descriptor import Descriptor, Move
from wingbeat.hw.isa.encoding import encode
from wingbeat.hw.isa.instruction import Halt, Load, MemoryMode, Mode, Pass, Read, Set, Store, Unit, Write
from wingbeat.hw.isa.setup import (
    CONTROL_CLEAR, CONTROL_START, SETUP_CONTROL, SETUP_PROGRAM, SETUP_READER, SETUP_WRITER)
from wingbeat.hw.isa.walk import Walk

__all__ = ["CONFIG", "BEATS", "FROM", "TO", "START", "CLEAR", "setup"]

CONFIG = CoreConfig.of(width=10, element_width=10, half_words=8, coefficient_words=4, program_words=32, memory_bits=6,
                       descriptors=1, watchdog=1024)
BEATS = CONFIG.half_words // CONFIG.stream_words
FROM, TO = 8, 40


def _word(target, address, data):
    return target | address << 8 | data << 24


START, CLEAR = (_word(SETUP_CONTROL, 0, data) for data in (CONTROL_START, CONTROL_CLEAR))


def setup():
    """Words of the setup port: one block from beat FROM on, through a pass that changes nothing, to beat TO. The last
    one is START."""
    walk = Walk((0,), 0, CONFIG.half_words - 2)
    program = [Set(Unit.READER, 0, FROM), Set(Unit.WRITER, 1, TO), Read(0, 0, BEATS, MemoryMode.COLUMNS), Load(walk),
               Pass(Mode.PASS, 0, CONFIG.bank_rows, 0, (0,), first=True, last=True), Store(walk),
               Write(0, 1, BEATS, MemoryMode.COLUMNS), Halt()]
    steps = tuple(Move(1 << bit) for bit in range((BEATS - 1).bit_length()))
    table = Descriptor((), Move(0), steps, 1, 1).words(1)
    writes = [(target, address, word) for target in (SETUP_READER, SETUP_WRITER) for address, word in enumerate(table)]
    writes += [(SETUP_PROGRAM, address, word) for address, word in enumerate(encode(program))]
    return [*(_word(*write) for write in writes), START]
