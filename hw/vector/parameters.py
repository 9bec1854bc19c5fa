"""How long the vector unit takes, in cycles, and how much waits in it; and the formats of the statistics of a row.

A leaf without Amaranth: hardware, cycle model, bit-exact model and proofs read the same numbers, and a unit whose
stages stand in its source asserts that they add up to what stands here.
"""

from dataclasses import dataclass

from ..config import CoreConfig, Pipeline
from ..isa.parameter_set import EPSILON_BITS
from ..primitives.parameters import LUT_PLACES

__all__ = ["FRACTION", "SHIFT_BITS", "MANTISSA_BITS", "OPERAND_BITS", "CLAMP_LATENCY", "RESIDUAL_STAGES", "LaneTiming",
           "RescaleTiming", "NormaliseTiming", "ArgmaxTiming", "residual_depth"]

# Statistics of a row, hw/vector/statistics.py.
FRACTION = 4        # F, fraction bits of the mean
SHIFT_BITS = 5      # of p
MANTISSA_BITS = 17  # of m
OPERAND_BITS = 18   # of a deviation from the mean when it is multiplied, at most

CLAMP_LATENCY = 2    # of the clamp behind a lane: what does not fit, then the value set or reset
RESIDUAL_STAGES = 5  # registers of the residual from a write that has its beat to the buffer of sums


@dataclass(frozen=True)
class LaneTiming:
    """Of what one lane of the Rescale unit does to an element."""

    pipeline: Pipeline

    @property
    def scale_latency(self) -> int:
        """Element to scaled element: product, shift in two stages, sum, clamp."""
        return self.pipeline.multiplier_latency + 2 + 1 + CLAMP_LATENCY

    @property
    def magnitude_latency(self) -> int:
        """Scaled element to its magnitude: carry, sum."""
        return 2

    @property
    def segment_latency(self) -> int:
        """Scaled element to its segment of the activation table: magnitude, table."""
        return self.magnitude_latency + self.pipeline.ram_latency

    @property
    def product_latency(self) -> int:
        """Place in the segment to its product with the slope. One cycle where the multiplier has no register."""
        return max(1, self.pipeline.multiplier_latency)

    @property
    def activation_latency(self) -> int:
        """Scaled element to result: segment, product, sum, rounding in two stages, clamp."""
        return self.segment_latency + self.product_latency + 1 + 2 + CLAMP_LATENCY


@dataclass(frozen=True)
class RescaleTiming:
    """Of a Rescale that works on ``lanes`` of the ``elements`` of a beat in a cycle."""

    elements: int
    lanes: int
    pipeline: Pipeline

    @classmethod
    def of(cls, config: CoreConfig) -> "RescaleTiming":
        return cls(config.memory_elements, config.vector_lanes, config.pipeline)

    @property
    def lane(self) -> LaneTiming:
        return LaneTiming(self.pipeline)

    @property
    def steps(self) -> int:
        """Cycles that a beat with work takes."""
        return self.elements // self.lanes

    @property
    def coefficient_latency(self) -> int:
        """A group of elements to its scales and biases: address, RAM, gates."""
        return 1 + self.pipeline.ram_latency + 1

    @property
    def scaled(self) -> int:
        """A group of elements to what its lanes have scaled."""
        return self.coefficient_latency + self.lane.scale_latency

    @property
    def finished(self) -> int:
        """A group of elements to its results."""
        return self.scaled + self.lane.activation_latency

    @property
    def latency(self) -> int:
        """``i`` to ``o`` of a write with work, when nothing stalls: one register before the lanes, queue and buffer
        behind them; one more before them, and the other steps, where there are several."""
        return 1 + self.finished + 2 + (self.steps if self.steps > 1 else 0)

    @property
    def pass_latency(self) -> int:
        """``i`` to ``o`` of a write with nothing to do that follows no other: buffer, queue, buffer."""
        return 3 if self.steps > 1 else self.latency

    @property
    def places(self) -> int:
        """Writes inside; enough that the lanes never wait for one to leave."""
        return max(LUT_PLACES, 1 << (-(-self.latency // self.steps) + 3).bit_length())


@dataclass(frozen=True)
class NormaliseTiming:
    """Of a Normalise that works on ``lanes`` of the ``elements`` of a beat in a cycle and has ``units`` for the
    statistics of rows."""

    elements: int
    lanes: int
    element_width: int
    units: int
    pipeline: Pipeline

    @classmethod
    def of(cls, config: CoreConfig) -> "NormaliseTiming":
        return cls(config.memory_elements, config.vector_lanes, config.element_width, config.statistics_units,
                   config.pipeline)

    # --- elements ---------------------------------------------------------------------------------

    @property
    def pieces(self) -> int:
        """Cycles that the lanes need for a beat."""
        return self.elements // self.lanes

    @property
    def entry_latency(self) -> int:
        """A piece to the entry of its row at the lanes: shift of the address, table, gates."""
        return 1 + self.pipeline.ram_latency + 1

    @property
    def lane_latency(self) -> int:
        """Element to operand: difference, coarse shift, fine shift."""
        return 3

    @property
    def result_latency(self) -> int:
        """A beat that leaves the input buffer to its first elements at the queue of results."""
        return 1 + self.entry_latency + self.lane_latency + self.pipeline.multiplier_latency + 1

    @property
    def latency(self) -> int:
        """A beat on ``i`` to the same beat, normalised, on ``o``."""
        return 1 + self.result_latency + self.pieces + 1

    @property
    def least_depth(self) -> int:
        """Of the queue of results."""
        return LUT_PLACES

    @property
    def depth(self) -> int:
        """Groups of elements in flight at full rate: those of one beat more than fit between taking a beat and knowing
        that its first group has left the queue."""
        needed = self.result_latency + 1 + self.pieces
        return max(self.least_depth, 1 << (needed - 1).bit_length())

    # --- rows -------------------------------------------------------------------------------------

    @property
    def tree_levels(self) -> int:
        """Registers between the products of the lanes and their sum."""
        return self.lanes.bit_length() - 1

    @property
    def sums_latency(self) -> int:
        """A beat that leaves the input buffer to the sums with all of it."""
        return self.result_latency + self.tree_levels + self.pieces - 1

    @property
    def digits(self) -> int:
        """Digits of two bits of D < 2^(2*EW+30) + 2^62."""
        return max(2 * self.element_width + 32, EPSILON_BITS + 2) // 2

    @property
    def variance_latency(self) -> int:
        """Sums of a row to its W and A: recoding, product, differences and window, and a digit per cycle."""
        return self.digits + 5

    @property
    def root_latency(self) -> int:
        """W and A to the cycle from which on the entry can be read: two cycles per bit of m, of which one more than it
        has are tried, and the write."""
        return 2 * (MANTISSA_BITS + 1) + 2

    @property
    def statistics_latency(self) -> int:
        """Sums of a row to the cycle from which on its entry can be read."""
        return self.variance_latency + self.root_latency

    @property
    def statistics_period(self) -> int:
        """Least cycles between the sums of two rows in one unit, which works on two at a time."""
        return max(self.variance_latency, self.root_latency)

    @property
    def period(self) -> int:
        """Least cycles between the ends of two rows, of which every ``units``-th goes to the same unit."""
        return -(-max(self.statistics_period, self.sums_latency) // self.units)

    @property
    def settle(self) -> int:
        """The end of a row on ``i`` to the first cycle in which its entry is used."""
        return 1 + self.sums_latency + self.statistics_latency


@dataclass(frozen=True)
class ArgmaxTiming:
    """Of an Argmax over the ``elements`` of a beat."""

    elements: int

    @classmethod
    def of(cls, config: CoreConfig) -> "ArgmaxTiming":
        return cls(config.memory_elements)

    @property
    def levels(self) -> int:
        """Of the tree: winners of pairs, of fours and so on."""
        return self.elements.bit_length() - 1

    @property
    def stages(self) -> int:
        """Registers in front of the buffer at the end: the beat, and one a level."""
        return 1 + self.levels

    @property
    def latency(self) -> int:
        """``i`` to ``o``, when nothing stalls."""
        return self.stages + 1


def residual_depth(config: CoreConfig) -> int:
    """Writes that may wait in the residual of a processor: as many as beats may be on their way from memory."""
    return max(8, 1 << (config.in_flight - 1).bit_length())
