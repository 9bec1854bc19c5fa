"""Latencies of the memory units: the numbers that docstrings state, and what one follows from.

That the hardware takes so long: test_sequence.py, test_reader.py, test_writer.py, test_emit.py.
"""

import pytest

from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.isa.encoding import FIELDS
from wingbeat.hw.isa.instruction import Opcode
from wingbeat.hw.memory.parameters import ENDS_ROOM, PROGRESS_LIMIT, UNSEEN_ENDS, WAITING_WRITES, SequenceTiming
from wingbeat.hw.memory.sequence import BeatSequence


@pytest.mark.parametrize("pipeline, latency", [(Pipeline.DEEP, 10), (Pipeline.SHORT, 6)])
def test_sequence(pipeline, latency):
    config = CoreConfig.of(memory_bits=10, pipeline=pipeline)
    assert BeatSequence(config).latency == SequenceTiming.of(config).latency == latency


def test_ends_of_writes_find_room():
    assert ENDS_ROOM + UNSEEN_ENDS == WAITING_WRITES


def test_progress_reaches_what_a_read_can_wait_for():
    for opcode in (Opcode.READ, Opcode.SUMS):
        assert PROGRESS_LIMIT == (1 << dict(FIELDS[opcode])["after_beats"]) - 1
