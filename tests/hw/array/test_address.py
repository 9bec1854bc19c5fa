"""Addresses against the bank map of the model: every window of small halves, every digit, every walk
order.
"""

from itertools import product
import random

import numpy as np
import pytest

from wingbeat.hw.array.address import BankAddress, GroupAddress, Walker
from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.isa.walk import SubOrder, Walk, walk_indices
from wingbeat.sim.model.shuffle import bank_of, pass_indices, route
from wingbeat.sim.stimulus.array import random_walk

pytestmark = pytest.mark.thin(4)

SEED = 5
# Digits that fill the half and such that leave some bits over.
SHAPES = pytest.mark.parametrize(
    "layers, bits", [(1, 2), (1, 4), (2, 3), (2, 5), (3, 4), (3, 7), (4, 6), (4, 8)]
)


def windows(layers, bits):
    """All masks with one bit of every residue mod S."""
    return [sum(1 << bit for bit in chosen)
            for chosen in product(*(range(r, bits, layers) for r in range(layers)))]


def lanes_of(base, window, layers):
    """Indices of the lanes of a beat: window bit b takes bit b mod S of the lane."""
    bits = [b for b in range(window.bit_length()) if window >> b & 1]
    return [base | sum((lane >> b % layers & 1) << b for b in bits) for lane in range(1 << layers)]


def row_bits(rows, width):
    return sum(int(row) << width * bank for bank, row in enumerate(rows))


def all_beats(layers, bits, most, seed):
    """(window, base) of every beat of every window, or ``most`` of them drawn at random."""
    beats = [
        (window, base) for window in windows(layers, bits) for base in range(1 << bits) if not base & window
    ]
    return beats if len(beats) <= most else random.Random(seed).sample(beats, most)


@SHAPES
@pytest.mark.parametrize("stalls", [False, True])
def test_bank_address(drive, layers, bits, stalls):
    """One cycle later, counted in enabled cycles: the model's rows, and lane k ^ select in bank k."""
    rng = random.Random(SEED)
    beats = all_beats(layers, bits, 150, SEED)
    steps, owners = [], []  # owners: the beat that the outputs belong to after each step
    for number, (window, base) in enumerate(beats):
        while stalls and rng.random() < 0.4:
            steps.append({"en": 0, "base": rng.getrandbits(bits), "window": rng.getrandbits(bits)})
            owners.append(number - 1)
        steps.append({"en": 1, "base": base, "window": window})
        owners.append(number)
    seen = drive(BankAddress(bits, layers), [*steps, {"en": 0}], ("select", "rows"))
    for select, rows, owner in zip(seen["select"][1:], seen["rows"][1:], owners, strict=True):
        if owner < 0:
            continue
        window, base = beats[owner]
        index = np.array([lanes_of(base, window, layers)])
        banks, want = route(index, layers)
        assert (banks[0] == np.arange(1 << layers) ^ select).all(), f"window {window:#b}, base {base}"
        assert select == bank_of(np.array(base), layers)
        assert rows == row_bits(want[0], bits - layers), f"window {window:#b}, base {base}"


@pytest.mark.parametrize("pipeline, latency", [(Pipeline.DEEP, 2), (Pipeline.SHORT, 1)])
@SHAPES
def test_group_address(drive, layers, bits, pipeline, latency):
    """Passes of every digit back to back and with gaps; some end early, as after a change of program."""
    rng = random.Random(SEED)
    all_groups, steps, want, groups = 1 << bits - layers, [], {}, {}
    for digit in [*range(bits // layers), *rng.choices(range(bits // layers), k=3)]:
        count = rng.choice([all_groups, all_groups, rng.randint(1, all_groups)])
        for g, index in enumerate(pass_indices(digit, all_groups, layers)[:count]):
            while rng.random() < 0.2:
                steps.append({"valid": 0, "start": 0, "digit": rng.randrange(16)})
            want[len(steps)], groups[len(steps)] = index, g
            steps.append({"valid": 1, "start": g == 0, "digit": digit})
    assert latency == pipeline.address_latency - 1
    seen = drive(GroupAddress(bits, layers, pipeline), [*steps, *[{"valid": 0}] * latency], ("select", "rows", "group"))
    for cycle, index in want.items():
        banks, rows = route(index[None], layers)
        context = f"cycle {cycle}, group {groups[cycle]}, seed {SEED}"
        assert seen["group"][cycle] == groups[cycle], context
        assert seen["select"][cycle + latency] == banks[0, 0], context
        assert seen["rows"][cycle + latency] == row_bits(rows[0], bits - layers), context


@pytest.mark.parametrize("layers, bits", [(1, 4), (2, 5), (4, 8)])
@pytest.mark.thin(1)
def test_group_address_of_rows(drive, layers, bits):
    """Where ``is_row`` the P words of one row, whatever digit and count; passes between them count as ever."""
    rng = random.Random(SEED)
    steps, want, groups, latency = [], {}, {}, Pipeline.DEEP.address_latency - 1
    for run in range(12):
        is_row, digit = run % 2, rng.randrange(bits // layers)
        count = rng.randint(1, 1 << bits - layers)
        for g, index in enumerate(pass_indices(digit, 1 << bits - layers, layers)[:count]):
            while rng.random() < 0.2:
                steps.append({"valid": 0, "start": 0, "is_row": rng.getrandbits(1), "digit": rng.randrange(16)})
            row = rng.randrange(1 << bits - layers)
            if is_row:
                index = np.arange(1 << layers) | row << layers
            else:
                groups[len(steps)] = g
            want[len(steps)] = index
            steps.append({"valid": 1, "start": g == 0, "is_row": is_row, "row": row,
                          "digit": rng.randrange(16) if is_row else digit})
    seen = drive(GroupAddress(bits, layers, has_rows=True), [*steps, *[{"valid": 0}] * latency],
                 ("select", "rows", "group"))
    for cycle, index in want.items():
        banks, rows = route(index[None], layers)
        context = f"cycle {cycle}, {steps[cycle]}, seed {SEED}"
        assert seen["select"][cycle + latency] == banks[0, 0], context
        assert seen["rows"][cycle + latency] == row_bits(rows[0], bits - layers), context
        assert seen["group"][cycle] == groups.get(cycle, seen["group"][cycle]), context


def test_group_address_restarts_after_reset(drive):
    steps = [{"valid": 1, "start": cycle in (0, 6), "digit": 1} for cycle in range(12)]
    seen = drive(GroupAddress(7, 2), steps, ("group",), resets=(4,))["group"]
    assert seen == [0, 1, 2, 3, 4, 0, 0, 1, 2, 3, 4, 5]


def restarted(walk, pipeline=Pipeline.DEEP):
    """The cycle in which a walker takes the masks of a walk, and the one before, in which a deep one sees them
    first; it is at the first beat one cycle later.
    """
    masks = {"inner": walk.inner, "outer": walk.outer, "step": 0}
    return [masks | {"restart": 0}] * pipeline.is_deep + [masks | {"restart": 1}]


def walker_steps(walk, pipeline, rounds, rng):
    """A restart and random steps through ``rounds`` rounds of the walk; and the number of the beat shown in
    each cycle, None up to the restart.
    """
    steps, at = restarted(walk, pipeline), 0
    beats = [None] * len(steps)
    while at < rounds * walk.beats:
        step = rng.random() < 0.7
        steps.append({"inner": walk.inner, "outer": walk.outer, "restart": 0, "step": step})
        beats.append(at % walk.beats)
        at += step
    return steps, beats


@pytest.mark.parametrize("pipeline", list(Pipeline))
@pytest.mark.parametrize("bits", [1, 3, 4])
def test_walker_through_every_order(drive, bits, pipeline):
    """Every split of the index bits in window, inner and outer; after the last beat it is back at the
    first.
    """
    rng, steps, want = random.Random(SEED), [], []
    for split in product(range(3), repeat=bits):
        window = tuple(b for b in range(bits) if split[b] == 0)
        inner, outer = (sum(1 << b for b in range(bits) if split[b] == part) for part in (1, 2))
        if len(window) not in (1, 2) or (len(window) == 2 and (window[1] - window[0]) % 2 == 0):
            continue
        walk = Walk(window, inner, outer)
        bases = walk_indices(walk)[:, 0].tolist()
        more, beats = walker_steps(walk, pipeline, 2 if bits < 4 else 1, rng)
        steps += more
        want += [None if beat is None else (bases[beat], walk) for beat in beats]
    seen = drive(Walker(bits, pipeline), steps, ("base",))
    for cycle, (beat, got) in enumerate(zip(want, seen["base"], strict=True)):
        if beat is not None:
            base, walk = beat
            assert got == base, f"cycle {cycle} in {walk}, seed {SEED}"


def test_walker_restarts_anywhere(drive):
    """In the middle of a walk, also against a step, and after a reset, which leaves it without masks."""
    walk, other = Walk((1, 2), 0b1001000, 0b110001), Walk((0, 3), 0b110, 0b1110000)
    onwards = {"restart": 0, "step": 1}
    steps = [*restarted(walk), *[onwards] * 13, *(step | {"step": 1} for step in restarted(other)), *[onwards] * 9,
             *restarted(walk), *[onwards] * 15]
    seen = drive(Walker(7), steps, ("base",), resets=(25,))
    first, second = (walk_indices(w)[:, 0].tolist() for w in (walk, other))
    assert seen["base"][2:16] == first[:14]
    assert seen["base"][17:26] == second[:9]
    assert seen["base"][28:] == first[:15]


# Pairs take the first bit of sub; with three and more, reversed runs of fewer bits must come down to their place.
SUBS = [dict(layers=1, engines=1, stream_words=2), dict(layers=2, engines=2, stream_words=8),
        dict(layers=1, engines=8, stream_words=8), dict(layers=1, engines=16, stream_words=32)]


def sub_steps(walk, walker, pipeline, groups, rng):
    """As :func:`walker_steps` through a walk or its beginning, with all beats of every step in every group of
    engines, and random stalls; and the beat of the walk shown in each cycle.
    """
    fields = {"sub_order": walk.sub_order, "sub_at": walk.sub_at, "sub": 0}
    if "sub_length" in walker.signature.members:
        fields["sub_length"] = walk.step_beats.bit_length() - 1
    steps = [step | fields for step in restarted(walk, pipeline)]
    beats = [None] * len(steps)
    for step in range(rng.choice((walk.steps, min(walk.steps, 8)))):
        for group, sub in product(range(groups), range(walk.step_beats)):
            moves = [0] * rng.choice((0, 0, 0, 1, 2)) + [1]
            last = group == groups - 1 and sub == walk.step_beats - 1
            steps += [{"restart": 0, "step": move & last, "sub": sub} for move in moves]
            beats += [step * walk.step_beats + sub] * len(moves)
    return steps, beats


@pytest.mark.parametrize("pipeline", list(Pipeline))
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("fields", SUBS, ids=str)
@pytest.mark.parametrize("memory_bits", [0, 16])
def test_walker_with_steps_of_several_beats(drive, fields, groups, memory_bits, pipeline):
    """Sub-steps of every length, up and down, and mirror pairs, one walk behind the other."""
    c = CoreConfig.of(half_words=128, memory_bits=memory_bits, **fields)
    rng, steps, want, orders = random.Random(SEED), [], [], set()
    dut = Walker(c.index_bits, pipeline, c.sub_bits, mirror=c.is_processor)
    for number in range(100):
        walk = random_walk(rng, c, rng.randint(c.layers, c.index_bits) if number % 2 else c.index_bits)
        more, beats = sub_steps(walk, dut, pipeline, groups, rng)
        bases = walk_indices(walk)[:, 0].tolist()
        steps += more
        want += [None if beat is None else (bases[beat], walk) for beat in beats]
        orders.add((walk.sub_order, walk.step_beats))
    seen = drive(dut, steps, ("base",))
    for cycle, (beat, got) in enumerate(zip(want, seen["base"], strict=True)):
        assert beat is None or got == beat[0], f"cycle {cycle} in {beat[1]}, seed {SEED}"
    want = [(SubOrder.UP, 2)] * (c.sub_bits > 0) + [(SubOrder.MIRROR, 2)] * c.is_processor
    want += [(SubOrder.DOWN, 4)] * (c.sub_bits > 1)
    assert orders >= set(want)


def test_mirror_needs_a_sub_step():
    with pytest.raises(ValueError, match="^sub_bits: 0 leaves no bit to tell a mirror image by; allowed with mirror "):
        Walker(6, mirror=True)
