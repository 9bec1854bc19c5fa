"""The random walks are legal: each reaches every word once, and a load that overlaps never passes the store."""

from itertools import product
import random

import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.encoding import encode
from wingbeat.hw.isa.walk import Walk, walk_indices
from wingbeat.sim.stimulus.array import overlapping, random_walk, random_walks

SHAPES = [dict(layers=1, engines=4, stream_words=8), dict(layers=2, engines=2, stream_words=8),
          dict(layers=3, engines=1, stream_words=8)]
ROUNDS = 300


def walks(seed, fields, memory_bits):
    """Random generator, array and index bits of ``ROUNDS`` blocks, with the note for messages."""
    rng = random.Random(seed)
    for number in range(ROUNDS):
        c = CoreConfig.of(half_words=64, memory_bits=memory_bits, **fields)
        yield rng, c, rng.randint(c.layers, c.index_bits), f"walk {number}, seed {seed}"


@pytest.mark.parametrize("memory_bits", [0, 16])
@pytest.mark.parametrize("fields", SHAPES, ids=str)
def test_every_word_once(fields, memory_bits):
    kinds = set()
    for rng, c, bits, note in walks(61, fields, memory_bits):
        walk = random_walk(rng, c, bits)
        assert sorted(walk_indices(walk).ravel().tolist()) == list(range(1 << bits)), f"{walk}, {note}"
        kinds.add((walk.mirror > 0, walk.mirror > min(walk.window), len(walk.sub) == c.sub_bits))
    # Pairs above and beside the lanes where there are any, and the longest sub-steps.
    pairs = {(True, True, False), (True, False, False)} if memory_bits else set()
    assert kinds >= pairs | {(False, False, True)} and (memory_bits or not any(kind[0] for kind in kinds)), kinds


def check_overlap(load, store, note):
    """Load step t puts its words where the store has read up to step t + lag."""
    assert load.walk.step_beats == store.walk.step_beats, f"{load}, {store}, {note}"
    stored_in = np.empty(1 << load.walk.index_mask.bit_length(), dtype=np.int64)
    index = walk_indices(store.walk).reshape(store.walk.steps, -1)
    stored_in[index] = np.arange(store.walk.steps)[:, None]
    needed = stored_in[walk_indices(load.walk)].reshape(load.walk.steps, -1).max(axis=1)
    assert (needed <= np.arange(load.walk.steps) + load.lag).all(), f"{load}, {store}, {note}"


@pytest.mark.parametrize("memory_bits", [0, 16])
@pytest.mark.parametrize("fields", SHAPES, ids=str)
def test_an_overlapping_load_stays_behind_the_store(fields, memory_bits):
    kinds = set()
    for rng, c, bits, note in walks(62, fields, memory_bits):
        load, store = random_walks(rng, c, bits)
        encode([load, store])
        if load.overlap:
            check_overlap(load, store, note)
            kinds.add((load.walk.mirror > 0, store.walk.mirror > 0))
    assert kinds == ({(a, b) for a in (False, True) for b in (False, True)} if memory_bits else {(False, False)})


def test_every_pair_of_walks_overlaps():
    """One lane bit, five index bits: every window, single sub-step and mirror on both sides. Equal pairs
    above which the lanes lie need no lag.
    """
    bits = 5
    all_walks = [Walk((window,), 0, 0b11111 & ~(1 << window | 1 << free), (free,) * (not mirror), mirror * (free + 1))
                 for window, free, mirror in product(range(bits), range(bits), (False, True))
                 if window != free and not (mirror and 0 < window < free)]
    for load, store in product(all_walks, repeat=2):
        check_overlap(*overlapping(load, store), "5 bits")
        if load.window == store.window and load.mirror == store.mirror < min(load.window) and load.sub == store.sub:
            assert overlapping(load, store)[0].lag == 0
