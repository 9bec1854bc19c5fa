"""Depths, limits and latencies of the array that its configuration does not decide; hw/config.py has the others.

A leaf without Amaranth: hardware, cycle model and trace read the same numbers.
"""

from ..config import CoreConfig, Pipeline
from ..isa.encoding import FIELDS, INSTRUCTION_WORDS
from ..isa.instruction import Opcode
from ..softmax.parameters import infos_latency
from ..primitives.parameters import LUT_PLACES

__all__ = ["QUEUE_PLACES", "GAP_LIMIT", "PASS_LATENCY", "STORE_LEAD", "LEAST_STORE_LATENCY",
           "COEFFICIENT_ADDRESS_STAGES", "COEFFICIENT_GATE_STAGES", "read_cycles", "unit_lanes",
           "mac_tree_levels", "mac_column_latency", "partial_lead", "dot_cycle", "mac_capture", "mac_latency",
           "mac_spacing", "softmax_spacing", "release_delay", "ALIGN_STAGES", "sum_cycle", "align_stages"]

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


def mac_tree_levels(lanes: int) -> int:
    """Adder levels that make one sum of the dots of the P/2 units of a column."""
    return (lanes // 2).bit_length() - 1


ALIGN_STAGES = 3  # of a sum that meets others relative to another maximum: two shifts, rounding


def align_stages(config: CoreConfig) -> int:
    """Registers between the tree of a column and its accumulators."""
    return ALIGN_STAGES if config.softmax_pairs else 0


def mac_column_latency(lanes: int, align: int = 0) -> int:
    """From the last dots of an output to its value of re: the tree over P/2 units, ``align`` stages, accumulator,
    capture, two shifts, rounding, test, clamp."""
    return mac_tree_levels(lanes) + align + 1 + 1 + 2 + 1 + 1 + 1


def partial_lead(config: CoreConfig) -> int:
    """From the address of a kept sum to the adder that begins with it: the RAM, and a register or those that align it.
    """
    return config.ram_latency + max(1, align_stages(config))


def dot_cycle(config: CoreConfig, column: int) -> int:
    """From the issue of a group to its sums of two products behind the units of a column."""
    arrival = config.address_latency + config.read_latency + column * config.butterfly_latency
    return arrival + config.multiplier_latency + 1


def sum_cycle(config: CoreConfig, column: int) -> int:
    """From the issue of a group to its sum at the accumulators of a column."""
    return dot_cycle(config, column) + mac_tree_levels(config.lanes) + align_stages(config)


def mac_capture(config: CoreConfig) -> int:
    """From the issue of the last group of an output to its value of re in all columns: the first ones wait for the
    last one."""
    return dot_cycle(config, config.layers - 1) + mac_column_latency(config.lanes, align_stages(config))


def mac_latency(config: CoreConfig) -> int:
    """From the issue of the last group of P outputs to their words in front of the shuffle: re and im are captured one
    after the other."""
    return mac_capture(config) + 2


def mac_spacing(config: CoreConfig) -> int:
    """Least cycles from the first group of a MAC to that of the next pass, and from its last group to the first of a
    PASS: every stage is told of one pass at a time, and all results are written."""
    return mac_latency(config) + config.layers + 1


def softmax_spacing(config: CoreConfig) -> int:
    """Least cycles from the last group of a MAC whose results a finisher makes to the first of whatever follows: all
    are written, and the engines know of their rows."""
    return mac_spacing(config) + infos_latency(config) + 2


def release_delay(config: CoreConfig) -> int:
    """From the issue of a group to the cycle in which every column has read its coefficients."""
    return config.address_latency + config.read_latency + (config.layers - 1) * config.butterfly_latency
