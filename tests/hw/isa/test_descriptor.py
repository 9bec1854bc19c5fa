"""Descriptors: the words of their table bit by bit, positions from the differences, ids, refusals."""

import random

import pytest

from wingbeat.hw.isa.bit_fields import pack, unpack
from wingbeat.hw.isa.descriptor import (DESCRIPTOR_WORDS, DIFFERENCE, ENTRIES, GROUP_EVENT, ID_FIELDS, ORIGIN, OTHER,
                                        OTHER_FIELDS, SHAPE, STEP_EVENT, Descriptor, Move, descriptor_entry)


def entry(words, number):
    """Beats, rows and chunks of an event, with sign."""
    found = unpack(DIFFERENCE, descriptor_entry(words, number))
    return tuple(found[name] - (found[name] >> bits - 1 << bits) for name, bits in DIFFERENCE)


def test_the_format_of_ids_bit_by_bit():
    """It is ``keep`` of the FETCH; ``other`` is the first beat of row 0."""
    assert pack(ID_FIELDS, {"last_id": 0x1234, "log2_pitch": 9}) == 0x1234 | 9 << 16
    assert unpack(ID_FIELDS, 0x0009_FFFF) == {"last_id": 0xFFFF, "log2_pitch": 9}
    assert sum(bits for _, bits in ID_FIELDS) == dict(OTHER_FIELDS)["keep"]
    descriptor = Descriptor((), Move(1), (Move(1),), 1, 1, other=0xABCDE, keep=0x1234 | 9 << 16)
    words = descriptor.words(1)
    assert words[2 * OTHER:2 * OTHER + 2] == [0xABCDE, 0x1234 | 9 << 16]
    other = unpack(OTHER_FIELDS, descriptor_entry(words, OTHER))
    assert unpack(ID_FIELDS, other["keep"]) == {"last_id": 0x1234, "log2_pitch": 9}


@pytest.mark.parametrize("by_id", [False, True])
def test_words_bit_by_bit(by_id):
    """By id a row moves ``pitch`` ids and a chunk none; rows, chunks and shape are the same."""
    descriptor = Descriptor((Move(0, 1),), Move(2), (Move(-1, 3), Move(8)), pitch=5, chunks=7, tail=3,
                            origin=Move(4, 2), steps=3, by_id=by_id)
    words = descriptor.words(2)
    assert len(words) == DESCRIPTOR_WORDS == 2 * ENTRIES
    chunk = 0 if by_id else 1
    assert entry(words, 0) == (chunk, 0, 1)
    assert entry(words, GROUP_EVENT) == (10 - chunk, 2, -1)
    assert entry(words, STEP_EVENT) == (5 * -3 + 2 * chunk, -3, 2)
    assert entry(words, STEP_EVENT + 1) == (5 * 7 - 4 * chunk, 7, -4)
    assert entry(words, ORIGIN) == (20 + 2 * chunk, 4, 2)
    assert words[2 * SHAPE:2 * SHAPE + 2] == [2 | 1 << 16, 7 | 3 << 16]
    used = {0, GROUP_EVENT, STEP_EVENT, STEP_EVENT + 1, ORIGIN, SHAPE}
    assert not any(words[2 * number + half] for number in {*range(ENTRIES)} - used for half in (0, 1))


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_differences_lead_from_beat_to_beat(seed, by_id):
    """From the origin on they add up to rows, chunks and beats of all positions."""
    rng = random.Random(seed)
    groups, sub, step = rng.choice([1, 2, 3, 6]), rng.randrange(4), rng.randrange(5)

    def moves(count):
        return tuple(Move(rng.randint(-50, 50), rng.randint(-9, 9)) for _ in range(count))

    descriptor = Descriptor(moves(sub), *moves(1), moves(step), rng.randrange(1, 300), 4, origin=moves(1)[0],
                            steps=rng.randint(1, 1 << step), by_id=by_id)
    words, (rows, chunks) = descriptor.words(groups), descriptor.positions(groups)
    at = entry(words, ORIGIN)
    assert len(rows) == descriptor.steps * groups << sub
    for number, (row, chunk) in enumerate(zip(rows.tolist(), chunks.tolist())):
        if number:
            event = _event(number, sub, groups)
            at = tuple(part + more for part, more in zip(at, entry(words, event)))
        assert at == (row * descriptor.pitch + (0 if by_id else chunk), row, chunk), f"beat {number}, seed {seed}"


def _event(number, sub, groups):
    """The entry that leads to beat ``number``: the lowest bit that goes to one, of the innermost counter that goes on.
    """
    below, rest = number % (1 << sub), number >> sub
    if below:
        return (below & -below).bit_length() - 1
    if rest % groups:
        return GROUP_EVENT
    step = rest // groups
    return STEP_EVENT + (step & -step).bit_length() - 1


@pytest.mark.parametrize("change, message", [
    (dict(chunks=0x10000), r"^chunks: 65536 is not in 0\.\.65535$"),
    (dict(tail=-1), r"^tail: -1 is not in 0\.\.65535$"),
    (dict(pitch=1 << 32), r"^pitch: 4294967296 is not in"), (dict(steps=3), r"^steps: 3 is not in 0\.\.2$"),
    (dict(keep=1 << 32), r"^keep: 4294967296 is not in 0\.\.4294967295$"),
    (dict(sub=(Move(1),) * 8), r"^sub: 8 is not in 0\.\.7$"),
    (dict(step=(Move(1),) * 17), r"^step: 17 is not in 0\.\.16$"),
    (dict(group=Move(0x8000)), r"^group: \(32768, 0\) is not in -32768\.\.32767$"),
    (dict(origin=Move(0, -0x8001)), r"^origin: \(0, -32769\) is not in")])
def test_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Descriptor(**dict(sub=(), group=Move(0), step=(Move(1),), pitch=1, chunks=1) | change)
