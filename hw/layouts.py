"""Payload layouts that cross a folder. Fields are packed from bit 0 in the order listed."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from .config import CoreConfig
from .isa.bit_fields import WORD_BITS, Fields
from .isa.descriptor import DESCRIPTOR_WORDS
from .isa.encoding import FIELDS, INSTRUCTION_WORDS, OPCODE_BITS
from .isa.instruction import Opcode
from .isa.sparse import PICK_BITS
from .isa.setup import (ARRAY_COUNTERS, COUNTED_CAUSES, COUNTED_UNITS, COUNTER_BITS, EXPONENT_BITS, FAULT_BITS,
                        SETUP, TAG_BITS, TLAST_FIELDS, block_fields)

__all__ = ["word", "lanes", "instruction", "pass_command", "store_command", "ring_write", "memory_command",
           "table_write", "setup", "input_beat", "output_beat", "tlast_flags", "status", "processor_status",
           "unit_activity", "block_report", "load_command", "block_entry", "layout_of", "word_access",
           "word_answer"]

_TABLE_BITS = (DESCRIPTOR_WORDS << dict(FIELDS[Opcode.READ])["descriptor"]).bit_length() - 1  # of the largest table


def layout_of(fields: Fields) -> data.StructLayout:
    """Unsigned fields of a word of the contract, hw/isa/bit_fields.py."""
    return data.StructLayout({name: unsigned(bits) for name, bits in fields})


def word(width: int) -> data.StructLayout:
    """A complex number, or the same element of two rows."""
    return data.StructLayout({"re": signed(width), "im": signed(width)})


def lanes(width: int, n_lanes: int) -> data.ArrayLayout:
    return data.ArrayLayout(word(width), n_lanes)


def instruction(opcode: Opcode) -> data.StructLayout:
    """Fields of an instruction behind its opcode."""
    return layout_of(FIELDS[opcode])


def pass_command(has_mac: bool) -> data.StructLayout:
    """Command of the sequencer: a PASS; with ``has_mac`` its fields, or where ``mac`` is set those of a MAC; where
    ``mask`` is, those of a MASK."""
    if not has_mac:
        return instruction(Opcode.PASS)
    bits = max(instruction(opcode).size for opcode in (Opcode.PASS, Opcode.MAC, Opcode.MASK))
    return data.StructLayout({"fields": unsigned(bits), "mac": unsigned(1), "mask": unsigned(1)})


def store_command(has_base: bool) -> data.StructLayout:
    """Fields of a STORE behind its opcode; ``base``, the last one, where there are regions."""
    return layout_of(FIELDS[Opcode.STORE] if has_base else FIELDS[Opcode.STORE][:-1])


def ring_write(config: CoreConfig) -> data.StructLayout:
    """A word for every coefficient bank, at one address of the ring; where matrices may be sparse ``picks``, the member
    of its group that each lane takes."""
    pair = data.StructLayout({"c0": signed(config.coefficient_width), "c1": signed(config.coefficient_width)})
    picks = {"picks": data.ArrayLayout(unsigned(PICK_BITS), config.lanes)} if config.sparse else {}
    return data.StructLayout({"address": unsigned(config.ring_bits), "words": data.ArrayLayout(pair, config.n_units),
                              **picks})


def memory_command() -> data.StructLayout:
    """Command of a memory unit: its READ, SUMS (``sums``) or WRITE, or a SET of a register (``set``; ``fields`` as
    instruction(SET))."""
    return data.StructLayout({"set": unsigned(1), "fields": unsigned(WORD_BITS * INSTRUCTION_WORDS - OPCODE_BITS),
                              "sums": unsigned(1)})


def table_write() -> data.StructLayout:
    """A word for the table of a memory unit, hw/isa/descriptor.py."""
    return data.StructLayout({"address": unsigned(_TABLE_BITS), "data": unsigned(WORD_BITS)})


def setup() -> data.StructLayout:
    """A word of the setup port."""
    return layout_of(SETUP)


def input_beat(element_width: int, n_words: int, has_tlast: bool = False) -> data.StructLayout:
    """``last``: whoever sends the beat ends a block with it."""
    return data.StructLayout({"words": lanes(element_width, n_words), **({"last": unsigned(1)} if has_tlast else {})})


def output_beat(element_width: int, n_words: int, has_tlast: bool = False) -> data.StructLayout:
    """Words, and behind them block_fields() of hw/isa/setup.py."""
    return data.StructLayout({"words": lanes(element_width, n_words), **layout_of(block_fields(has_tlast)).members})


def tlast_flags() -> data.StructLayout:
    """What was wrong with the ``last`` of input beats since the start."""
    return layout_of(TLAST_FIELDS)


def status(has_tlast: bool = False) -> data.StructLayout:
    return data.StructLayout({"busy": unsigned(1), "saturated": unsigned(1),
                              **{name: unsigned(COUNTER_BITS) for name in ARRAY_COUNTERS},
                              **(tlast_flags().members if has_tlast else {})})


def unit_activity() -> data.StructLayout:
    """What a unit of a processor does in a cycle: it has a block, a beat or group of it moves, or why not; ``block``
    counts the blocks it has begun or ended."""
    return data.StructLayout({"busy": unsigned(1), "moving": unsigned(1), "waiting_input": unsigned(1),
                              "waiting_output": unsigned(1), "block": unsigned(2)})


def block_report() -> data.StructLayout:
    """A block that has left the array in this cycle, where ``valid``."""
    return data.StructLayout({"valid": unsigned(1), **block_entry().members})


def load_command(config: CoreConfig) -> data.StructLayout:
    """What a Loader is to send: ``beats`` beats of records from beat ``address`` on; from the cycle with ``valid``."""
    return data.StructLayout({"valid": unsigned(1), "address": unsigned(config.memory_bits),
                              "beats": unsigned(config.memory_bits)})


def block_entry() -> data.StructLayout:
    """What is kept of a block: its exponent (modulo 64) and whether it clamped anything in the array."""
    return data.StructLayout({"exponent": unsigned(EXPONENT_BITS), "saturated": unsigned(1)})


def processor_status() -> data.StructLayout:
    """Status of the array, then why the program was stopped and where, then for each unit but cal its cycles moving,
    waiting for input and waiting for output."""
    counters = {f"{unit}_{cause}": unsigned(COUNTER_BITS) for unit in COUNTED_UNITS
                for cause in COUNTED_CAUSES}
    return data.StructLayout({**status().members, "error": unsigned(FAULT_BITS), "tag": unsigned(TAG_BITS), **counters})


def word_access(address_bits: int) -> data.StructLayout:
    """A read or a write of a 32-bit word; ``address`` counts words."""
    return data.StructLayout({"write": 1, "address": address_bits, "data": WORD_BITS})


def word_answer() -> data.StructLayout:
    """The answer to it; ``data`` means nothing where ``error`` or behind a write."""
    return data.StructLayout({"data": WORD_BITS, "error": 1})
