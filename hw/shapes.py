"""Payload layouts that several blocks share. Fields are packed from bit 0 in the order listed."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from .config import ArrayConfig
from .program import FIELDS, INSTRUCTION_WORDS, OPCODE_BITS, Opcode

__all__ = ["word", "lanes", "coefficient", "unit_coefficient", "engine_control", "switches", "half_control",
           "instruction", "memory_command", "table_write", "setup", "input_beat", "output_beat", "status",
           "processor_status", "unit_activity", "block_report", "EXPONENT_BITS", "TAG_BITS", "UNITS",
           "SETUP_PROGRAM", "SETUP_CONTROL", "SETUP_READER", "SETUP_WRITER", "SETUP_READ_SETS", "SETUP_WRITE_SETS",
           "SETUP_CHANNELS", "SETUP_ACTIVATION", "CONTROL_START"]

EXPONENT_BITS = 6
TAG_BITS = 16         # of a block of a processor; tags wrap
UNITS = ("reader", "load", "cal", "store", "writer")  # of a processor, in the order of the blocks' way
SETUP_PROGRAM = 0x80  # setup target of the program memory
SETUP_CONTROL = 0x81  # setup target of the control register
SETUP_READER = 0x82   # setup target of the table of the reader
SETUP_WRITER = 0x83   # setup target of the table of the writer
SETUP_READ_SETS = 0x84   # setup target of the sets of READs and SUMS, docs/vector.md
SETUP_WRITE_SETS = 0x85  # setup target of the sets of WRITEs
SETUP_CHANNELS = 0x86    # setup target of the scales and biases
SETUP_ACTIVATION = 0x87  # setup target of the activation table
CONTROL_START = 1


def word(width: int) -> data.StructLayout:
    """A complex number, or the same element of two rows."""
    return data.StructLayout({"re": signed(width), "im": signed(width)})


def lanes(width: int, n_lanes: int) -> data.ArrayLayout:
    return data.ArrayLayout(word(width), n_lanes)


def coefficient(width: int) -> data.StructLayout:
    """One word of a coefficient bank: two Q2.(C-2) numbers and the pivot bits."""
    return data.StructLayout({"c0": signed(width), "c1": signed(width), "s0": unsigned(1), "s1": unsigned(1)})


def unit_coefficient(width: int) -> data.StructLayout:
    """What a butterfly unit receives: a coefficient word and what its mode means for the datapath."""
    return data.StructLayout({"word": coefficient(width), "fft": unsigned(1), "no_pivot": unsigned(1)})


def instruction(opcode: Opcode) -> data.StructLayout:
    """Fields of an instruction behind its opcode."""
    return data.StructLayout({name: unsigned(bits) for name, bits in FIELDS[opcode]})


def engine_control(config: ArrayConfig) -> data.StructLayout:
    """What every engine does in the present cycle, each field for the stage that reads it
    (``hw/flow.py``)."""
    return data.StructLayout({
        "half": unsigned(1), "pre": switches(config.layers), "post": switches(config.layers),
        "shifts": data.ArrayLayout(unsigned(config.shift_bits), config.layers)})


def switches(layers: int) -> data.StructLayout:
    """Controls of a lane shuffle (``hw/shuffle.py``)."""
    return data.StructLayout({"folds": data.ArrayLayout(unsigned(2), layers // 2), "swaps": unsigned(layers // 2),
                              "middle": unsigned(layers % 2)})


def half_control(config: ArrayConfig) -> data.StructLayout:
    """Ports of the banks of one half, the same in every engine; ``from_load``: the load unit writes, not the
    columns."""
    rows = data.ArrayLayout(unsigned(config.row_bits), config.lanes)
    return data.StructLayout({"r_en": unsigned(1), "r_rows": rows, "w_rows": rows, "from_load": unsigned(1),
                              "compute_en": unsigned(1)})


def memory_command() -> data.StructLayout:
    """Command of a memory unit: its READ, SUMS (``sums``) or WRITE, or a SET of a register (``set``; ``fields`` as
    instruction(SET))."""
    return data.StructLayout({"set": unsigned(1), "fields": unsigned(32 * INSTRUCTION_WORDS - OPCODE_BITS),
                              "sums": unsigned(1)})


def table_write() -> data.StructLayout:
    """A word for the table of a memory unit, hw/descriptor.py."""
    return data.StructLayout({"address": unsigned(12), "data": unsigned(32)})


def setup() -> data.StructLayout:
    return data.StructLayout({"target": unsigned(8), "address": unsigned(16), "data": unsigned(40)})


def input_beat(element_width: int, n_words: int) -> data.StructLayout:
    return data.StructLayout({"words": lanes(element_width, n_words)})


def output_beat(element_width: int, n_words: int) -> data.StructLayout:
    """``exponent`` and ``saturated`` belong to the block; ``saturated`` is final on the ``last`` beat."""
    return data.StructLayout({"words": lanes(element_width, n_words), "exponent": unsigned(EXPONENT_BITS),
                              "saturated": unsigned(1), "last": unsigned(1)})


def status() -> data.StructLayout:
    return data.StructLayout({
        "busy": unsigned(1), "saturated": unsigned(1), "total": unsigned(32), "computing": unsigned(32),
        "waiting_input": unsigned(32), "waiting_output": unsigned(32), "waiting_hazard": unsigned(32),
        "blocks": unsigned(32)})


def unit_activity() -> data.StructLayout:
    """What a unit of a processor does in a cycle: it has a block, a beat or group of it moves, or why not; ``block``
    counts the blocks it has begun or ended."""
    return data.StructLayout({"busy": unsigned(1), "moving": unsigned(1), "waiting_input": unsigned(1),
                              "waiting_output": unsigned(1), "block": unsigned(2)})


def block_report() -> data.StructLayout:
    """A block that has left the array in this cycle, where ``valid``."""
    return data.StructLayout({"valid": unsigned(1), "exponent": unsigned(EXPONENT_BITS), "saturated": unsigned(1)})


def processor_status() -> data.StructLayout:
    """Status of the array, then why the program was stopped and where, then for each unit but cal its cycles moving,
    waiting for input and waiting for output."""
    counters = {f"{unit}_{cause}": unsigned(32) for unit in UNITS if unit != "cal"
                for cause in ("moving", "waiting_input", "waiting_output")}
    return data.StructLayout({**status().members, "error": unsigned(4), "tag": unsigned(TAG_BITS), **counters})
