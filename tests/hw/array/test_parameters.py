"""Limits and latencies of the array that stand beside its configuration."""

import random

from wingbeat.hw.array.parameters import GAP_LIMIT, LEAST_STORE_LATENCY, QUEUE_PLACES
from wingbeat.hw.isa.encoding import FIELDS
from wingbeat.hw.isa.instruction import Opcode
from wingbeat.sim.stimulus.array import random_config


def test_no_gap_is_longer_than_the_sequencer_counts():
    assert GAP_LIMIT == 1 << dict(FIELDS[Opcode.PASS])["gap"] == 256


def test_no_array_stores_sooner():
    rng = random.Random(1)
    assert min(random_config(rng).store_latency for _ in range(300)) >= LEAST_STORE_LATENCY == 4


def test_queues_fill_whole_memories():
    assert QUEUE_PLACES & QUEUE_PLACES - 1 == 0
