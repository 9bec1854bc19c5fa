"""The setup port: what its words hold, which target writes what, and the words of the tables behind the targets."""

from .bit_fields import Fields

__all__ = ["SETUP", "SETUP_BITS", "NO_TARGET", "HOST_TARGETS", "SETUP_PROGRAM", "SETUP_CONTROL", "SETUP_READER",
           "SETUP_WRITER", "SETUP_READ_SETS", "SETUP_WRITE_SETS", "SETUP_CHANNELS", "SETUP_ACTIVATION",
           "SETUP_LENGTHS", "LENGTHS", "CONTROL_START", "CONTROL_CLEAR",
           "EXPONENT_BITS", "TLAST_FIELDS", "block_fields", "TAG_BITS", "FAULT_BITS", "UNITS", "COUNTED_UNITS",
           "COUNTED_CAUSES", "ARRAY_COUNTERS", "COUNTER_BITS", "ACTIVITY_DELAY", "coefficient_fields", "SetupWrite"]

SetupWrite = tuple[int, int, int]  # target, address, data

SETUP = [("target", 8), ("address", 16), ("data", 40)]  # one word of the port
SETUP_BITS = sum(bits for _, bits in SETUP)

# Targets; those below SETUP_PROGRAM are coefficient banks.
SETUP_PROGRAM = 0x80     # program memory
SETUP_CONTROL = 0x81     # control register
SETUP_READER = 0x82      # descriptors of the reader: word (descriptor * ENTRIES + entry) * 2 + i, hw/isa/descriptor.py
SETUP_WRITER = 0x83      # descriptors of the writer
SETUP_READ_SETS = 0x84   # sets of READs and SUMS: word set * SET_WORDS + i, hw/isa/parameter_set.py
SETUP_WRITE_SETS = 0x85  # sets of WRITEs
SETUP_CHANNELS = 0x86    # scales and biases: word beat * 2K + element, hw/isa/vector_tables.py
SETUP_ACTIVATION = 0x87  # activation table
SETUP_LENGTHS = 0x88    # numbers of keys that count, of a Mask: word i is that of length i + 1
NO_TARGET = 0xFF         # nothing is there: what fills the last beat of records
HOST_TARGETS = (SETUP_PROGRAM, SETUP_CONTROL)  # no record in memory may name them: they steer the program that plays it
CONTROL_START = 1        # data of the control register that starts the program
CONTROL_CLEAR = 2        # data of it that clears the error of a processor, once its memory is drained

LENGTHS = 64             # entries of the table of lengths
EXPONENT_BITS = 6        # of a block, modulo 64
# Since the start, up to a block: a tlast stood before the last beat of a block; the last beat of one had none.
TLAST_FIELDS = [("tlast_unexpected", 1), ("tlast_missing", 1)]
TAG_BITS = 16            # of a block of a processor; tags wrap
FAULT_BITS = 4           # of the code of a fault
UNITS = ("reader", "load", "cal", "store", "writer")  # of a processor, in the order of a block's way
COUNTED_UNITS = tuple(unit for unit in UNITS if unit != "cal")  # cal has the counters of the array
COUNTED_CAUSES = ("moving", "waiting_input", "waiting_output")  # a counter each
ARRAY_COUNTERS = ("total", "computing", "waiting_input", "waiting_output", "waiting_hazard", "blocks")
COUNTER_BITS = 32        # of a counter in a status
ACTIVITY_DELAY = 2       # cycles until what a unit of a processor does shows at the port ``activity``


def coefficient_fields(width: int) -> Fields:
    """One word of a coefficient bank: two numbers Q2.(C-2), C = ``width``, two's complement, and the pivot bits."""
    return [("c0", width), ("c1", width), ("s0", 1), ("s1", 1)]


def block_fields(has_tlast: bool = False) -> Fields:
    """What stands above the words of an output beat, of a core with ``config.has_tlast``. All but ``last`` belong to
    the block; ``saturated`` is final on its last beat."""
    return [("exponent", EXPONENT_BITS), ("saturated", 1), *(TLAST_FIELDS if has_tlast else []), ("last", 1)]
