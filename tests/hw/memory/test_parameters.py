"""Latencies of the memory units: the numbers that docstrings state, and what one follows from.

That the hardware takes so long: test_sequence.py, test_reader.py, test_writer.py, test_emit.py.
"""

import pytest

from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.isa.encoding import FIELDS
from wingbeat.hw.isa.instruction import Opcode
from wingbeat.hw.memory.parameters import ENDS_ROOM, PROGRESS_LIMIT, UNSEEN_ENDS, WAITING_WRITES, SequenceTiming
from wingbeat.hw.memory.sequence import BeatSequence


@pytest.mark.parametrize("pipeline, latency, by_id", [(Pipeline.DEEP, 10, 13), (Pipeline.SHORT, 6, 8)])
def test_sequence(pipeline, latency, by_id):
    """Rows are found by ids on the side of the reader only, and only where there are ids."""
    config = CoreConfig.of(engines=2, stream_words=4, memory_bits=10, pipeline=pipeline, records=True)
    assert BeatSequence(config).latency == SequenceTiming.of(config).latency == latency
    assert SequenceTiming.of(config, reads=True).latency == latency
    with_ids = config.changed(row_ids=8)
    assert BeatSequence(with_ids, True).latency == SequenceTiming.of(with_ids, reads=True).latency == by_id
    assert BeatSequence(with_ids).latency == SequenceTiming.of(with_ids).latency == latency


def test_ends_of_writes_find_room():
    assert ENDS_ROOM + UNSEEN_ENDS == WAITING_WRITES


def test_progress_reaches_what_a_read_can_wait_for():
    for opcode in (Opcode.READ, Opcode.SUMS):
        assert PROGRESS_LIMIT == (1 << dict(FIELDS[opcode])["after_beats"]) - 1
