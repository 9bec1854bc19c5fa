"""How long the units between memory and array take, in cycles, and how much waits in them.

A leaf without Amaranth: hardware, cycle model and trace read the same numbers, and a unit whose stages stand in its
source asserts that they add up to what stands here.
"""

from dataclasses import dataclass

from ..config import CoreConfig, Pipeline
from ..isa.encoding import FIELDS
from ..isa.instruction import Opcode

__all__ = ["SequenceTiming", "READ_LATENCY", "WAITING_WRITES", "UNSEEN_ENDS", "ENDS_ROOM",
           "COMPLETED_LATENCY", "PROGRESS_BITS", "PROGRESS_LIMIT", "PLACE_STAGES", "JOIN_LATENCY", "EMIT_STAGES",
           "EMIT_LATENCY", "PLAYED_CYCLES", "UNPACK_LATENCY"]

READ_LATENCY = 3  # from a READ that is taken to its begin: held, known, asked for

# WRITEs that wait for their ``written``, which is the size of the FIFO of their ends; and ends that its level does not
# show yet, at most. Another WRITE may end while the level is not above ENDS_ROOM.
WAITING_WRITES = 8
UNSEEN_ENDS = 5
ENDS_ROOM = WAITING_WRITES - UNSEEN_ENDS
COMPLETED_LATENCY = 3  # from an end that is reached to ``completed``: what depends on it stands far away
PROGRESS_BITS = dict(FIELDS[Opcode.READ])["after_beats"]  # of ``progress``, which is compared with that field
PROGRESS_LIMIT = (1 << PROGRESS_BITS) - 1

PLACE_STAGES = 3   # registers from a position of the sequence to the buffer of places
JOIN_LATENCY = PLACE_STAGES + 4  # from a position to the cycle in which it can join its beat: buffer, writes one by one
EMIT_STAGES = 3    # registers from there to the buffer of writes: chosen, total, rounded
EMIT_LATENCY = EMIT_STAGES + 1   # to the memory port

# From the last record in the Player to the cycle in which every table behind the setup port has it: the Player's own
# register, that of the setup port, that of a table.
PLAYED_CYCLES = 4

UNPACK_LATENCY = 1  # from the last beat of a set to its first word at the coefficient banks


@dataclass(frozen=True)
class SequenceTiming:
    """Of a BeatSequence; ``by_id``: of one that finds rows by their ids."""

    pipeline: Pipeline
    by_id: bool = False

    @classmethod
    def of(cls, config: CoreConfig, reads: bool = False) -> "SequenceTiming":
        """``reads``: that of the reader, not of the writer."""
        return cls(config.pipeline, reads and config.row_ids > 0)

    @property
    def start_cycles(self) -> int:
        """From ``start`` to the cycle before the first count: the shape of the block comes out of the table."""
        return self.pipeline.ram_latency + 1

    @property
    def sum_stages(self) -> int:
        """Registers from a count to its position: table, in a deep pipeline a register near the adders, sum."""
        return self.pipeline.ram_latency + 1 + self.pipeline.is_deep

    @property
    def judge_stages(self) -> int:
        """Registers from a count to its position as it is judged, in a deep pipeline a stage later."""
        return self.sum_stages + self.pipeline.is_deep

    @property
    def count_stages(self) -> int:
        """Registers from a count to the beat of its position: the place of its row, where that comes from a table."""
        return self.judge_stages + (self.pipeline.ram_latency + 1 if self.by_id else 0)

    @property
    def latency(self) -> int:
        """From ``start`` to its first beat, when nothing stalls: first count, position, buffer."""
        return self.start_cycles + 1 + self.count_stages + 1
