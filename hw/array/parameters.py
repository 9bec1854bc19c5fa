"""Depths, limits and latencies of the array that its configuration does not decide; hw/config.py has the others.

A leaf without Amaranth: hardware, cycle model and trace read the same numbers.
"""

from ..config import CoreConfig, Pipeline
from ..isa.encoding import FIELDS, INSTRUCTION_WORDS
from ..isa.instruction import Opcode
from ..primitives.parameters import LUT_PLACES

__all__ = ["QUEUE_PLACES", "GAP_LIMIT", "PASS_LATENCY", "STORE_LEAD", "LEAST_STORE_LATENCY",
           "COEFFICIENT_ADDRESS_STAGES", "COEFFICIENT_GATE_STAGES", "read_cycles", "unit_lanes"]

# What the queue in front of each unit of a processor holds, so that the program runs ahead of the units.
QUEUE_PLACES = LUT_PLACES
GAP_LIMIT = 1 << dict(FIELDS[Opcode.PASS])["gap"]  # the sequencer counts idle cycles up to here: no gap is longer
PASS_LATENCY = 4  # from an accepted PASS to its first group: taken, armed, ready, issued
STORE_LEAD = 2    # from the cycle in which the store unit takes a block to the first step of its walk
# Of the coefficient memory: group, shift, mask and base, or all at once; and the word as its mode wants it.
COEFFICIENT_ADDRESS_STAGES = {Pipeline.DEEP: 4, Pipeline.SHORT: 1}
COEFFICIENT_GATE_STAGES = 1
LEAST_STORE_LATENCY = CoreConfig.of(layers=1, pipeline=Pipeline.SHORT).store_latency


def read_cycles(config: CoreConfig) -> int:
    """Cycles in which the fetch unit reads an instruction: a word each, and what the memory takes to answer."""
    return INSTRUCTION_WORDS + config.ram_latency


def unit_lanes(column: int, number: int) -> tuple[int, int]:
    """The two lanes of a unit of a column, the lower first: they differ in the bit of the column."""
    low = (number >> column << (column + 1)) | (number & ((1 << column) - 1))
    return low, low | 1 << column
