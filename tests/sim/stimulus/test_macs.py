"""Random blocks with MACs: every instruction is legal, and what is stored was loaded or written."""

from dataclasses import replace
import random

import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.encoding import encode, instruction_fields
from wingbeat.hw.isa.instruction import Mac, Mode, Pass, Store
from wingbeat.hw.isa.walk import Walk, walk_indices
from wingbeat.sim.model.legality import field_fault
from wingbeat.sim.stimulus.macs import behind_ring, random_mac_block

CONFIG = CoreConfig.of(engines=1, layers=2, half_words=128, coefficient_words=64, stream_words=4, memory_bits=10,
                       records=True, ring_words=32)
STORE = Store(Walk((0, 1), 0b11100, 0))


def written(mac):
    lanes = CONFIG.lanes
    rows = {mac.out_base | pair << mac.log2_out_stride | row for pair in range(mac.pairs) for row in range(mac.outputs)}
    return {row * lanes + lane for row in rows for lane in range(lanes)}


@pytest.mark.parametrize("seed", range(6))
def test_blocks(seed):
    rng, found = random.Random(seed), 0
    for _ in range(60):
        block = random_mac_block(CONFIG, 5, STORE, rng)
        if block is None:
            continue
        found += 1
        assert block.steps[0].first and block.steps[-1].last, f"seed {seed}"
        for step in (*block.steps, block.store):
            assert field_fault(CONFIG, *instruction_fields(encode([step]))) == (None, ""), f"seed {seed}: {step}"
        defined = set(range(32)).union(*(written(step) for step in block.steps if isinstance(step, Mac)))
        stored = set((walk_indices(block.store.walk) | block.store.base).ravel().tolist())
        assert len(stored) == 32 and stored <= defined, f"seed {seed}: {block}"
    assert found > 20, f"seed {seed}"


def test_passes_leave_the_ring_alone():
    rng, step = random.Random(1), Pass(Mode.BPMM, 0, 8, 3, (0, 0), coef_mask_bits=2)
    for _ in range(50):
        assert behind_ring(CONFIG, step, rng).coef_base >= CONFIG.ring_words
    assert behind_ring(CONFIG.changed(coefficient_words=32), step, rng) == replace(step, active=0)
