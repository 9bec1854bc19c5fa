"""Blocks between memory and array, against loops over single elements written from the tables of
docs/reference/processor.md."""

from dataclasses import replace
import random

import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.descriptor import Descriptor, Move
from wingbeat.hw.isa.instruction import MemoryMode, Read, Write
from wingbeat.sim.model.memory import positions, read_addresses, read_block, write_addresses, write_block

TILE = {"COLUMNS": lambda j: 1, "ROWS": lambda j: j, "PAIRS": lambda j: 2 * j, "REAL": lambda j: j, "FOLD": lambda j: j,
        "SPLIT": lambda j: 2}


def place(descriptor, groups, base, mask):
    """(address, row, chunk) of every beat, from the formula for the row and the address of a beat."""
    for t in range(descriptor.steps):
        for g in range(groups):
            for s in range(1 << len(descriptor.sub)):
                at = []
                for axis in (0, 1):
                    at.append(descriptor.origin[axis] + g * descriptor.group[axis]
                              + sum(m[axis] for i, m in enumerate(descriptor.sub) if s >> i & 1)
                              + sum(m[axis] for i, m in enumerate(descriptor.step) if t >> i & 1))
                yield (base + at[0] * descriptor.pitch + at[1]) & mask, at[0] & 0xFFFF, at[1] & 0xFFFF


def word_order(mode, j, p):
    """For each word of a tile in array order, where its two components stand: (beat of the tile, element)."""
    for c in range(TILE[mode](j)):
        for engine in range(j):
            for lane in range(p):
                if mode == "COLUMNS":
                    word = engine * p + lane
                    yield (0, 2 * word), (0, 2 * word + 1)
                elif mode == "ROWS":
                    word = c * p + lane
                    yield (engine, 2 * word), (engine, 2 * word + 1)
                else:
                    yield (2 * engine, c * p + lane), (2 * engine + 1, c * p + lane)


def slow_read(config, d, instruction, base, memory):
    beats = []
    for address, row, chunk in place(d, config.beat_groups, base, (1 << config.memory_bits) - 1):
        valid = row < instruction.rows and chunk < d.chunks
        beat = [int(v) for v in memory[address]] if valid else [0] * len(memory[0])
        if d.tail and chunk == d.chunks - 1:
            beat[d.tail:] = [0] * (len(beat) - d.tail)
        beats.append(beat)
    j, mode, words = config.engines_per_beat, instruction.mode.name, []
    for at in range(0, len(beats), TILE[mode](j)):
        words += [[beats[at + b][e] for b, e in word] for word in word_order(mode, j, config.lanes)]
    return words


def halved(a, limit):
    value = (a + 1) // 2
    return max(-limit, min(limit - 1, value)), not -limit <= value < limit


def slow_split(config, words, row_is_zero):
    """Two pairs of beats: the row, and row N/2 where there is one; which beats of the row have a clamped element."""
    k, limit = config.stream_words, 1 << config.element_width - 1
    z, mirror = words[:k], words[k:]
    row, half, clamped = [], [], []
    for (a, b), (c, d) in zip(z, mirror):
        sums = [halved(v, limit) for v in (a + c, b - d, b + d, c - a)]
        row += [a, 0, b, 0] if row_is_zero else [v for v, _ in sums]
        half += [c, 0, d, 0]
        clamped += [f and not row_is_zero for _, f in sums]
    return [row[:2 * k], row[2 * k:]], [half[:2 * k], half[2 * k:]], [any(clamped[:2 * k]), any(clamped[2 * k:])]


def mirrored_address(d, address, mask):
    """``other`` less the address, as if the bits that are kept were not there."""
    field = [bit for bit in range(mask.bit_length()) if not d.keep >> bit & 1]
    squeeze = lambda number: sum((number >> bit & 1) << at for at, bit in enumerate(field))
    difference = squeeze(d.other & mask) - squeeze(address)
    return sum((difference >> at & 1) << bit for at, bit in enumerate(field)) | address & d.keep


def slow_write(config, d, instruction, base, words, memory):
    mask, j, mode = (1 << config.memory_bits) - 1, config.engines_per_beat, instruction.mode.name
    places = list(place(d, config.beat_groups, base, mask))
    valid = [row < instruction.rows and chunk < d.chunks for _, row, chunk in places]
    if mode == "SPLIT":
        flag = False
        for pair in range(len(places) // 2):
            k = config.stream_words
            z = words[2 * k * pair:2 * k * (pair + 1)]
            direct, other, clamped = slow_split(config, z, places[2 * pair][1] == 0)
            for half in (0, 1):
                address, row, _ = places[2 * pair + half]
                if valid[2 * pair + half]:
                    flag |= clamped[half]
                    memory[address] = direct[half]
                    if row == 0:
                        memory[(address + d.other) & mask] = other[half]
        return flag
    tile = TILE["PAIRS"](j) if mode in ("REAL", "FOLD") else TILE[mode](j)
    order = list(word_order("PAIRS" if mode in ("REAL", "FOLD") else mode, j, config.lanes))
    beats = []
    for at in range(0, len(words), len(order)):
        part = [[0] * config.memory_elements for _ in range(tile)]
        for word, target in zip(words[at:at + len(order)], order):
            for value, (b, e) in zip(word, target):
                part[b][e] = value
        beats += part[::2] if mode in ("REAL", "FOLD") else part
    for (address, row, chunk), good, beat in zip(places, valid, beats):
        if not good:
            continue
        memory[address] = beat
        if mode == "FOLD" and instruction.fold_from <= row < instruction.fold_rows:
            n = len(beat)
            mirrored = mirrored_address(d, address, mask)
            memory[mirrored, 1:] = [beat[n - i] for i in range(1, n)]
            memory[(mirrored + 1 - (d.chunks if chunk == 0 else 0)) & mask, 0] = beat[0]
    return False


def random_config(rng):
    layers, j, groups = rng.choice((1, 2)), rng.choice((1, 2, 4)), rng.choice((1, 2, 3))
    return CoreConfig.of(engines=j * groups, layers=layers, stream_words=j << layers, half_words=256, width=16,
                         element_width=rng.choice((8, 12, 16)), memory_bits=13)


def random_descriptor(rng, sub_bits, step_bits, split):
    """Any moves, so that beats meet and overlap; all addresses stay within 2000 of the base either way."""
    move = lambda: Move(rng.randint(-3, 6), rng.randint(-1, 2))
    sub = tuple(Move(0, rng.randint(0, 2)) if split else move() for _ in range(sub_bits))
    return Descriptor(sub, move(), tuple(move() for _ in range(step_bits)), rng.randint(1, 9), rng.randint(1, 4),
                      rng.choice((0, 0, rng.randint(0, 3))), Move(rng.randint(0, 8), rng.randint(0, 3)),
                      other=rng.randint(4000, 4100))


def with_kept_bits(d, bits, rng):
    """Any field of the address; below it ``other`` is so large that nothing is borrowed from the field."""
    low, count = rng.randint(0, bits - 1), rng.choice([0, 1, 1, 2, 4])
    keep = ((1 << count) - 1 << low) & (1 << bits) - 1
    return replace(d, keep=keep, other=d.other | ((1 << low) - 1 if keep else 0))


def random_case(seed, modes):
    rng = random.Random(seed)
    config = random_config(rng)
    mode = rng.choice(modes)
    sub_bits = TILE[mode.name](config.engines_per_beat).bit_length() - 1
    d = random_descriptor(rng, sub_bits, rng.randint(0, 5), mode is MemoryMode.SPLIT)
    limit = 1 << config.element_width - 1
    memory = np.random.default_rng(seed).integers(-limit, limit, (1 << 13, config.memory_elements))
    return rng, config, mode, d, memory


@pytest.mark.parametrize("seed", range(60))
def test_reads(seed):
    rng, config, mode, d, memory = random_case(seed, list(MemoryMode)[:3])
    read = Read(0, 0, rng.choice((0, 3, 10, 0xFFFF)), mode)
    base = rng.choice((2500, 0, (1 << 13) - 1))
    words = d.words(config.beat_groups)
    places = list(place(d, config.beat_groups, base, (1 << 13) - 1))
    beats = positions(config, words, read.rows, base)
    assert list(zip(beats.address, beats.row, beats.chunk)) == places, f"seed {seed}"
    rows, chunks = d.positions(config.beat_groups)
    assert np.array_equal(beats.row, rows & 0xFFFF) and np.array_equal(beats.chunk, chunks & 0xFFFF), f"seed {seed}"
    asked = [a for a, row, chunk in places if row < read.rows and chunk < d.chunks]
    assert read_addresses(config, words, read, base).tolist() == asked, f"seed {seed}"
    assert read_block(config, words, read, base, memory).tolist() == slow_read(config, d, read, base, memory), \
        f"seed {seed}: {config} {d} {read}"


@pytest.mark.parametrize("seed", range(120))
def test_writes(seed):
    rng, config, mode, d, memory = random_case(seed, list(MemoryMode))
    d = with_kept_bits(d, 13, rng)  # SPLIT mirrors nothing
    fold = (rng.randint(0, 1), rng.choice((0, 5, 40)))
    write = Write(0, 0, rng.choice((3, 10, 0xFFFF)), mode, 0, *fold)
    base = rng.choice((2500, 0))
    beats = d.steps * config.beat_groups * d.step_beats << (mode in (MemoryMode.REAL, MemoryMode.FOLD))
    limit = 1 << config.element_width - 1
    words = np.random.default_rng(seed).choice([-limit, limit - 1, 0, 1, 77, -78], (beats * config.stream_words, 2))
    want = memory.copy()
    flag = slow_write(config, d, write, base, words.tolist(), want)
    got = memory.copy()
    assert bool(write_block(config, d.words(config.beat_groups), write, base, words, got)) == flag, f"seed {seed}"
    assert np.array_equal(got, want), f"seed {seed}: {config} {d} {write}"
    writes = write_addresses(config, d.words(config.beat_groups), write, base)
    touched = np.flatnonzero((want != memory).any(axis=1))
    assert set(touched) <= set(writes.address[writes.enabled]), f"seed {seed}"


@pytest.mark.parametrize("mode", list(MemoryMode)[:3])
def test_what_is_written_reads_back(mode):
    """A WRITE and a READ of one mode are inverses."""
    config = CoreConfig.of(engines=12, layers=2, stream_words=16, memory_bits=12)
    sub = TILE[mode.name](4).bit_length() - 1
    d = Descriptor(tuple(Move(1 << i) for i in range(sub)), Move(1 << sub), (Move(0, 1), Move(0, 2)), 4, 4)
    rng = np.random.default_rng(5)
    memory = np.zeros((200, 32), dtype=np.int64)
    words = rng.integers(-32768, 32768, (d.steps * 3 * d.step_beats * 16, 2))
    assert not write_block(config, d.words(3), Write(0, 0, 0xFFFF, mode), 7, words, memory)
    assert np.array_equal(read_block(config, d.words(3), Read(0, 0, 0xFFFF, mode), 7, memory), words)


def test_fold_mirrors_a_matrix():
    """With ``other`` as the contract gives it, row q of 4 x 16 elements lands reversed in row -q."""
    config = CoreConfig.of(engines=1, layers=1, stream_words=2, memory_bits=12)
    d = Descriptor((), Move(0), (Move(0, 1), Move(0, 2), Move(1)), 5, 4, other=2 * 9 + 4 * 5 + 4 - 1)
    memory = np.zeros((64, 4), dtype=np.int64)
    x = np.arange(100, 132).reshape(2, 16)
    words = np.zeros((8, 2, 2, 2), dtype=np.int64)  # beat of the block, cell, lane, component
    words[..., 0] = x.reshape(8, 2, 2)
    write = Write(0, 0, 4, MemoryMode.FOLD, fold_from=1, fold_rows=2)
    write_block(config, d.words(1), write, 9, words.reshape(-1, 2), memory)
    rows = [memory[9 + 5 * q:9 + 5 * q + 4].ravel() for q in range(4)]
    assert np.array_equal(rows[0], x[0]) and np.array_equal(rows[1], x[1])
    assert np.array_equal(rows[3], x[1][-np.arange(16) % 16]) and not rows[2].any()


def test_fold_keeps_matrices_apart():
    """Rows of two matrices of 4 x 8 elements side by side: each is mirrored in its own place."""
    config = CoreConfig.of(engines=1, layers=1, stream_words=2, memory_bits=12)
    d = Descriptor((), Move(0), (Move(0, 1), Move(1), Move(2)), 2, 2, other=2 * 8 + 4 * 4 + 2 - 1, keep=2)
    memory = np.zeros((64, 4), dtype=np.int64)
    x = np.arange(100, 132).reshape(2, 2, 8)  # token, matrix, element
    words = np.zeros((8, 2, 2, 2), dtype=np.int64)  # beat of the block, cell, lane, component
    words[..., 0] = x.reshape(8, 2, 2)
    write = Write(0, 0, 4, MemoryMode.FOLD, fold_from=0, fold_rows=4)
    write_block(config, d.words(1), write, 8, words.reshape(-1, 2), memory)
    rows = memory[8:24].reshape(4, 2, 8)
    assert np.array_equal(rows[:2], x) and np.array_equal(rows[3], x[1][:, -np.arange(8) % 8]) and not rows[2].any()
    assert np.array_equal(memory[24:28].reshape(2, 8), x[0][:, -np.arange(8) % 8])  # row 0 is row 4 too


CONFIG = CoreConfig.of(engines=2, layers=1, stream_words=4, memory_bits=10)
TWO = Descriptor((Move(1),), Move(0), (), 1, 1)


def reading(mode, base=0, table=None):
    return lambda memory: read_block(CONFIG, table or TWO.words(1), Read(0, 0, 9, mode), base, memory)


def writing(mode, base, words):
    words = np.zeros((words, 2), dtype=np.int64)
    return lambda memory: write_block(CONFIG, TWO.words(1), Write(0, 0, 9, mode), base, words, memory)


@pytest.mark.parametrize("case, message", [
    (reading(MemoryMode.ROWS, table=[0] * 63), "^table: 63 words; a descriptor has 64$"),
    (reading(MemoryMode.ROWS, 19), "^address: 20 is not in 0..19, the beats of the memory$"),
    (reading(MemoryMode.SPLIT), "^mode: SPLIT of a READ; allowed are COLUMNS, ROWS, PAIRS$"),
    (reading(MemoryMode.PAIRS), "^beats: 2 are no whole number of tiles of 4$"),
    (writing(MemoryMode.ROWS, 19, 8), "^address: 20 is not in 0..19, the beats of the memory$"),
    (writing(MemoryMode.ROWS, 0, 16), "^words: 16 words make 4 beats; the descriptor has 2$"),
    (writing(MemoryMode.SPLIT, 0, 16), "^words: 16 words make 4 beats; the descriptor has 2$"),
    (writing(MemoryMode.SPLIT, 0, 4), "^beats: 1 are no whole number of tiles of 2$"),
])
def test_refusals(case, message):
    with pytest.raises(ValueError, match=message):
        case(np.zeros((20, 8), dtype=np.int64))
