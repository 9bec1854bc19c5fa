"""Key mask: the distance of every logit from the limit of its row and whether it counts, against the meaning of a Mask
in plain numbers; latency, pauses, loads in the middle."""

import random

import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Mask
from wingbeat.hw.numeric import unpack_signed
from wingbeat.hw.softmax.key_mask import KeyMask
from wingbeat.hw.softmax.parameters import DISTANCE_BITS, MASK_LATENCY

SEED = 11
NAMES = ("key", "limit", "upper", "window", "length", "slope")


def config_of(layers, engines):
    return CoreConfig.of(layers=layers, engines=engines, stream_words=1)


def order_of(config, rows, first, pairs, groups):
    """(key from the first on, row of the block) of each logit as they follow each other."""
    return [(group * config.lanes + lane, 2 * config.engines * pair + first + row)
            for group in range(groups) for pair in range(pairs) for row in range(rows) for lane in range(config.lanes)]


def wanted(mask, length, key, row):
    """Distance from the limit of the row, and whether it counts."""
    key += mask.key
    distance = key - (mask.limit + row)
    is_there = not mask.length or key < length
    is_near = not (mask.upper and distance > 0) and not (mask.window and distance < -mask.window)
    return distance, int(is_there and is_near)


class Run:
    """MACs one after the other, with pauses between their logits; what stands at both outputs is judged where it is
    due."""

    def __init__(self, config, rows, first, seed):
        self.config, self.rows, self.first = config, rows, first
        self.rng, self.note, self.steps = random.Random(seed), f"seed {seed}", []
        self.distances, self.allowed = {}, {}

    def idle(self, cycles):
        self.steps += [{"step": 0, "load": 0} for _ in range(cycles)]

    def mac(self, mask, length, pairs, groups, pauses=0.0, most=None):
        """All of its logits, or the first ``most``: what comes behind begins anew."""
        values = {name: int(getattr(mask, name)) for name in NAMES}
        self.steps.append({"mask": values, "length": length, "last_pair": pairs - 1, "load": 1, "step": 0})
        for key, row in order_of(self.config, self.rows, self.first, pairs, groups)[:most]:
            while self.rng.random() < pauses:
                self.idle(1)
            distance, allowed = wanted(mask, length, key, row)
            self.distances[len(self.steps) + MASK_LATENCY - 1] = distance, mask
            self.allowed[len(self.steps) + MASK_LATENCY] = allowed, mask
            self.steps.append({"step": 1, "load": 0})
        self.idle(MASK_LATENCY)  # its fields stay until then

    def check(self, drive):
        seen = drive(KeyMask(self.config, self.rows, self.first), self.steps + [{}], ("distance", "allowed"))
        for cycle, (distance, mask) in self.distances.items():
            found = unpack_signed(seen["distance"][cycle], DISTANCE_BITS)
            assert found == distance, f"{self.note}, cycle {cycle}, {mask}"
        for cycle, (allowed, mask) in self.allowed.items():
            assert seen["allowed"][cycle] == allowed, f"{self.note}, cycle {cycle}, {mask}"
        return [allowed for allowed, _ in self.allowed.values()]


def random_mask(rng, config, keys):
    """Limits within and outside of the keys; all rules alone and together."""
    key = rng.choice((0, config.lanes * rng.randrange(20), 4096))
    return Mask(key, rng.choice((0, key + rng.randint(-5, keys), rng.randint(-keys, keys))), rng.random() < 0.5,
                rng.choice((0, 0, 1, rng.randint(1, keys), 8191)), rng.choice((0, 1, 64)), rng.choice((0, 12345)))


@pytest.mark.parametrize("layers, engines, served, number", [(2, 1, 1, 0), (2, 4, 2, 1), (1, 8, 4, 0), (4, 2, 1, 1)])
def test_random_masks(drive, layers, engines, served, number):
    """Engines of one finisher: all of them, the first of them or others."""
    config = config_of(layers, engines)
    run = Run(config, 2 * served, 2 * served * number, f"{SEED} {layers} {engines}")
    for count in range(30):
        pairs, groups = run.rng.choice((1, 2, 5)), run.rng.randint(1, 4)
        keys = groups * config.lanes
        mask = random_mask(run.rng, config, keys)
        length = run.rng.choice((0, 1, mask.key + run.rng.randint(0, keys), 65535))
        cut = run.rng.randint(1, 30) if count % 4 == 3 else None
        run.mac(mask, length, pairs, groups, run.rng.choice((0.0, 0.3)), cut)
        run.idle(run.rng.choice((0, 1, 4)))
    assert set(run.check(drive)) == {0, 1}, run.note


def test_extremes(drive):
    """The first and the last key there is from the smallest and the largest limit; the window where it is widest."""
    config = config_of(1, 1)
    run = Run(config, 2, 0, SEED)
    for key in (0, 65534):
        for limit in (-65536, 0, 65535):
            for window in (0, 1, 8191):
                run.mac(Mask(key, limit, False, window), 0, 1, 1)
                run.mac(Mask(key, limit, True, window, 1), 65535, 1, 1)
    run.check(drive)


def test_many_row_pairs(drive):
    """As many as a half has: the last row before the first limit is row 2, the first one past the window row 1005."""
    config = config_of(1, 1)
    run = Run(config, 2, 0, SEED)
    run.mac(Mask(0, -3, True, 1000), 0, 1024, 2)
    allowed = run.check(drive)
    assert allowed[:6] == [0] * 6 and allowed[8:2008] == [1] * 2000 and allowed[2010:4096] == [0] * 2086, run.note


@pytest.mark.parametrize("mask, length, counts", [
    (Mask(), 0, "1111 1111 1111 1111"),
    (Mask(upper=True), 0, "1000 1100 0000 0000"),                   # keys 0..3 of rows 0, 1; keys 4..7
    (Mask(limit=4, upper=True), 0, "1111 1111 1000 1100"),
    (Mask(limit=4, window=2), 0, "0011 0001 1111 1111"),
    (Mask(limit=4, upper=True, window=2), 0, "0011 0001 1000 1100"),
    (Mask(length=1), 6, "1111 1111 1100 1100"),
    (Mask(), 6, "1111 1111 1111 1111"),                             # no length is asked for
    (Mask(length=64), 0, "0000 0000 0000 0000"),
    (Mask(key=4, length=1), 6, "1100 1100 0000 0000"),
    (Mask(key=4, limit=5, upper=True), 0, "1100 1110 0000 0000")])
@pytest.mark.thin(1)
def test_by_hand(drive, mask, length, counts):
    """Two rows, four keys a group, two groups: row 0 of the first, row 1 of the first, row 0 of the second."""
    run = Run(config_of(2, 1), 2, 0, SEED)
    run.mac(mask, length, 1, 2)
    assert "".join(map(str, run.check(drive))) == counts.replace(" ", "")
