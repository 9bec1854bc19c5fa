"""Limits and latencies of the array that stand beside its configuration."""

import random

import pytest

from wingbeat.hw.array.flow import Flow
from wingbeat.hw.array.mac_column import MacColumnParameters
from wingbeat.hw.array.parameters import (ALIGN_STAGES, GAP_LIMIT, LEAST_STORE_LATENCY, QUEUE_PLACES, align_stages,
                                          dot_cycle, mac_capture, mac_column_latency, mac_latency, mac_spacing,
                                          mac_tree_levels, partial_lead, release_delay, softmax_spacing, sum_cycle,
                                          unit_lanes)
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.encoding import FIELDS
from wingbeat.hw.isa.instruction import Opcode
from wingbeat.hw.softmax.parameters import infos_latency, row_lead, words_latency
from wingbeat.sim.stimulus.array import random_config


def test_no_gap_is_longer_than_the_sequencer_counts():
    assert GAP_LIMIT == 1 << dict(FIELDS[Opcode.PASS])["gap"] == 256


def test_no_array_stores_sooner():
    rng = random.Random(1)
    assert min(random_config(rng).store_latency for _ in range(300)) >= LEAST_STORE_LATENCY == 4


def test_queues_fill_whole_memories():
    assert QUEUE_PLACES & QUEUE_PLACES - 1 == 0


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_units_of_a_column_pair_the_lanes_that_differ_in_its_bit(layers):
    """Every lane once, the lower first, the units in the order of their lower lanes."""
    for column in range(layers):
        pairs = [unit_lanes(column, number) for number in range(1 << layers - 1)]
        assert sorted(lane for pair in pairs for lane in pair) == list(range(1 << layers))
        assert all(high - low == 1 << column and not low >> column & 1 for low, high in pairs)
        assert pairs == sorted(pairs)


@pytest.mark.parametrize("layers, spacing", [(1, 22), (2, 36), (4, 64)])
def test_latencies_of_a_mac_are_sums_of_those_of_its_parts(layers, spacing):
    config = CoreConfig.of(engines=2 if layers == 1 else 1, layers=layers, stream_words=1 << max(1, layers),
                           memory_bits=8, records=True, ring_words=64)
    last, column = layers - 1, mac_column_latency(config.lanes)
    assert column == MacColumnParameters.of(config).latency
    for q in range(layers):
        # A group reaches its column, then come the products and their sum.
        assert dot_cycle(config, q) == Flow(config).column_cycle(q) + config.multiplier_latency + 1
    assert release_delay(config) == Flow(config).column_cycle(last)
    assert mac_capture(config) == dot_cycle(config, last) + column
    assert mac_latency(config) == mac_capture(config) + 2
    assert mac_spacing(config) == mac_latency(config) + layers + 1 == spacing


@pytest.mark.parametrize("layers, stages", [(1, 0), (2, 0), (4, 0), (1, 3), (2, 3), (4, 3)])
def test_a_softmax_aligns_the_sums_of_its_columns(layers, stages):
    """Everything behind the tree comes later by the stages that align a sum; a kept sum is read earlier for them."""
    config = CoreConfig.of(engines=2 if layers == 1 else 1, layers=layers, stream_words=1 << max(1, layers),
                           memory_bits=8, records=True, ring_words=64, partial_words=16,
                           softmax_pairs=4 if stages else 0)
    plain = config.changed(softmax_pairs=0)
    assert align_stages(config) == MacColumnParameters.of(config).align_stages == stages and ALIGN_STAGES == 3
    assert MacColumnParameters.of(config).latency == mac_column_latency(config.lanes, stages)
    for q in range(layers):
        assert dot_cycle(config, q) == dot_cycle(plain, q)
        assert sum_cycle(config, q) == dot_cycle(config, q) + mac_tree_levels(config.lanes) + stages
    for latency in (mac_capture, mac_latency, mac_spacing):
        assert latency(config) == latency(plain) + stages
    assert partial_lead(config) == config.ram_latency + (stages or 1)


@pytest.mark.parametrize("layers, engines, finishers, spacing", [(1, 2, 1, 64), (2, 4, 2, 88), (2, 4, 1, 104),
                                                                 (4, 1, 1, 144)])
def test_what_follows_a_softmax_waits_until_the_rows_are_known(layers, engines, finishers, spacing):
    """Values of the last group enter the chains when those of im are captured; the last info is written two cycles
    behind its move. Words of the last outputs stand in the banks before that. The totals are asked for when the last
    group has been issued."""
    config = CoreConfig.of(engines=engines, layers=layers, stream_words=1 << max(1, layers), memory_bits=8,
                           records=True, ring_words=64, partial_words=16, softmax_pairs=4, finishers=finishers)
    begin = mac_capture(config) + 2
    assert softmax_spacing(config) == spacing >= begin + infos_latency(config) + 2
    for divides in (False, True):
        assert softmax_spacing(config) > begin + words_latency(config, divides) + layers + 1
    assert softmax_spacing(config) - mac_spacing(config) == infos_latency(config) + 2
    assert row_lead(config) < begin
