"""Bit-exact model of the memory units: where the beats of a block stand, and how they map to the words of the array.

A memory is int64 (beats, 2K), one row per beat, elements of ``element_width`` bits. A ``table`` is what the hardware
holds of one descriptor: 64 words of 32 bits (``Descriptor.words``); the positions follow by adding up its differences,
event by event, as the hardware counts. Contract: docs/reference/processor.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.bit_fields import unpack
from ...hw.isa.descriptor import (DESCRIPTOR_WORDS, DIFFERENCE, OTHER_FIELDS, SHAPE_FIELDS, SUB_EVENTS,
                                  descriptor_entry, ENTRIES, GROUP_EVENT, ORIGIN, OTHER, SHAPE, STEP_EVENT)
from ...hw.isa.instruction import MemoryMode, Read, Write
from ...hw.numeric import round_half_up, saturate

__all__ = ["Positions", "Writes", "positions", "read_addresses", "write_addresses", "read_block", "read_elements",
           "row_chunks", "arranged", "write_block"]


class Positions(NamedTuple):
    """The beats of a block in the order (s, g, t), int64 (n,) each: address, row, chunk; and ``valid`` (n,) bool."""

    address: np.ndarray
    row: np.ndarray
    chunk: np.ndarray
    valid: np.ndarray


class Writes(NamedTuple):
    """The writes that belong to n beats, (n, v) each: ``address`` int64, and which of them are ``enabled``.

    They happen in C order. v is 1, or 3 in mode FOLD (direct and mirrored beat, and its element 0), or 2 in mode SPLIT
    (the second for row N/2).
    """

    address: np.ndarray
    enabled: np.ndarray


# Positions, addresses (n, v), chosen and contents (n, v, 2K), memory -> contents, and how often one was clamped.
Finish = Callable[[Positions, np.ndarray, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, int]]

# Positions of a READ by id -> those of its beats.
Locate = Callable[[Positions], Positions]


@dataclass(frozen=True)
class _Shape:
    """The entries behind the differences: counts, valid part of a row, second address."""

    steps: int
    sub_bits: int
    chunks: int
    tail: int
    other: int
    keep: int


def _shape(table: Sequence[int]) -> _Shape:
    if len(table) != DESCRIPTOR_WORDS:
        raise ValueError(f"table: {len(table)} words; a descriptor has {DESCRIPTOR_WORDS}")
    shape = unpack(SHAPE_FIELDS, descriptor_entry(table, SHAPE))
    other = unpack(OTHER_FIELDS, descriptor_entry(table, OTHER))
    return _Shape(shape["last_step"] + 1, shape["sub_bits"] % SUB_EVENTS, shape["chunks"], shape["tail"],
                  other["other"], other["keep"])


def _events(sub_bits: int, groups: int, steps: int) -> np.ndarray:
    """Table entry that moves the position to each beat; the origin for the first."""
    count = np.arange(steps * groups << sub_bits, dtype=np.int64)
    sub, rest = count & (1 << sub_bits) - 1, count >> sub_bits
    group, step = rest % groups, rest // groups
    events = np.where(sub > 0, _lowest_bit(sub), np.where(group > 0, GROUP_EVENT, STEP_EVENT + _lowest_bit(step)))
    events[0] = ORIGIN
    return events


def _lowest_bit(count: np.ndarray) -> np.ndarray:
    """Number of the lowest bit that is set: the one that has just gone from 0 to 1."""
    return np.log2(np.maximum(count & -count, 1)).astype(np.int64)


def positions(config: CoreConfig, table: Sequence[int], rows: int, base: int) -> Positions:
    """Replay of the counter: the beats of one block that starts at address ``base``; rows from ``rows`` on are invalid.

    Rows and chunks are 16 bits, compared without sign. Raises ValueError unless ``table`` is one descriptor.
    """
    shape = _shape(table)
    differences = unpack(DIFFERENCE, np.array([descriptor_entry(table, at) for at in range(ENTRIES)], dtype=np.uint64))
    events = _events(shape.sub_bits, config.beat_groups, shape.steps)
    beats, rows_, chunks = (differences[name].astype(np.int64)[events] for name, _ in DIFFERENCE)
    address = np.cumsum(beats) + base & (1 << config.memory_bits) - 1
    row, chunk = np.cumsum(rows_) & 0xFFFF, np.cumsum(chunks) & 0xFFFF
    return Positions(address, row, chunk, (row < rows) & (chunk < shape.chunks))


def read_addresses(config: CoreConfig, table: Sequence[int], instruction: Read, base: int) -> np.ndarray:
    """Beats that a READ asks for, int64 (m,) in order."""
    beats = positions(config, table, instruction.rows, base)
    return beats.address[beats.valid]


def write_addresses(config: CoreConfig, table: Sequence[int], instruction: Write, base: int) -> Writes:
    """Beats that a WRITE writes."""
    shape, beats = _shape(table), positions(config, table, instruction.rows, base)
    addresses, enabled = [beats.address], [beats.valid]
    if instruction.mode == MemoryMode.FOLD:
        mirrored = (shape.other | shape.keep) - (beats.address ^ shape.keep)
        folded = beats.valid & (beats.row >= instruction.fold_from) & (beats.row < instruction.fold_rows)
        addresses += [mirrored, mirrored + 1 - np.where(beats.chunk == 0, shape.chunks, 0)]
        enabled += [folded, folded]
    elif instruction.mode == MemoryMode.SPLIT:
        addresses.append(beats.address + shape.other)
        enabled.append(beats.valid & (beats.row == 0))
    mask = (1 << config.memory_bits) - 1
    return Writes(np.stack(addresses, axis=1) & mask, np.stack(enabled, axis=1))


def read_block(config: CoreConfig, table: Sequence[int], instruction: Read, base: int,
               memory: np.ndarray) -> np.ndarray:
    """Words of one block in the order in which the array takes them, int64 (n, 2).

    Raises ValueError for a beat outside ``memory``, a mode that only a WRITE has, or a number of beats that is no
    whole number of tiles.
    """
    _, elements, _ = read_elements(config, table, instruction, base, memory)
    return arranged(config, instruction, elements)


def read_elements(config: CoreConfig, table: Sequence[int], instruction: Read, base: int, memory: np.ndarray,
                  located: Locate | None = None) -> tuple[Positions, np.ndarray, np.ndarray]:
    """The beats of a READ, their elements (n, 2K), and which of these are inside the rows (n, 2K): the others are 0.
    ``located``: where the positions of one by id are (``RowIds.located``)."""
    shape, beats = _shape(table), positions(config, table, instruction.rows, base)
    if located is not None:
        beats = located(beats)
    _check_inside(memory, beats.address[beats.valid])
    elements = np.zeros((len(beats.address), config.memory_elements), dtype=np.int64)
    elements[beats.valid] = memory[beats.address[beats.valid]]
    inside = np.repeat(beats.valid[:, None], config.memory_elements, axis=1)
    if shape.tail:
        inside[beats.chunk == shape.chunks - 1, shape.tail:] = False
    return beats, np.where(inside, elements, 0), inside


def row_chunks(table: Sequence[int]) -> int:
    """Valid chunks of a row."""
    return _shape(table).chunks


def arranged(config: CoreConfig, instruction: Read, elements: np.ndarray) -> np.ndarray:
    """Words (n, 2) of the array from the elements (n, 2K) of a READ; raises as :func:`read_block`."""
    j, p = config.engines_per_beat, config.lanes
    if instruction.mode == MemoryMode.COLUMNS:
        return elements.reshape(-1, 2)
    if instruction.mode == MemoryMode.ROWS:
        _check_tiles(len(elements), j)
        return elements.reshape(-1, j, j, p, 2).swapaxes(1, 2).reshape(-1, 2)  # tile, row, cell, word
    if instruction.mode == MemoryMode.PAIRS:
        _check_tiles(len(elements), 2 * j)
        return elements.reshape(-1, j, 2, 2 * j, p).transpose(0, 3, 1, 4, 2).reshape(-1, 2)  # tile, pair, row, cell
    raise ValueError(f"mode: {instruction.mode.name} of a READ; allowed are COLUMNS, ROWS, PAIRS")


def write_block(config: CoreConfig, table: Sequence[int], instruction: Write, base: int, words: np.ndarray,
                memory: np.ndarray, finish: Finish | None = None) -> int:
    """Put the ``words`` (n, 2) of one block, in the order of the array, into ``memory``; returns how many elements were
    clamped, the sums of SPLIT included.

    ``finish`` may change the elements of all writes before any of them (``VectorUnit.finish``). Sums of a beat that is
    not valid do not count for that. Where a WRITE names an element twice the later beat wins.
    Raises ValueError for a beat outside ``memory``, or when words and beats differ in number.
    """
    writes, count = write_addresses(config, table, instruction, base), 0
    if instruction.mode == MemoryMode.SPLIT:
        beats = positions(config, table, instruction.rows, base)
        contents, count = _split(config, words, beats.row == 0, beats.valid)
    else:
        contents = _direct(config, instruction.mode, words)[:, None]
    if len(contents) != len(writes.address):
        raise ValueError(f"words: {len(words)} words make {len(contents)} beats; the descriptor has "
                         f"{len(writes.address)}")
    strobes = np.ones((writes.address.shape[1], config.memory_elements), dtype=bool)
    if instruction.mode == MemoryMode.FOLD:
        mirrored = np.roll(contents[:, :, ::-1], 1, axis=2)  # element i is element -i mod 2K of the direct beat
        contents = np.concatenate([contents, mirrored, mirrored], axis=1)
        strobes[1, 0], strobes[2, 1:] = False, False
    _check_inside(memory, writes.address[writes.enabled])
    index = writes.address[:, :, None] * config.memory_elements + np.arange(config.memory_elements)
    chosen = writes.enabled[:, :, None] & strobes
    if finish is not None:
        beats = positions(config, table, instruction.rows, base)
        contents, clamped = finish(beats, writes.address, chosen, contents, memory)
        count += clamped
    memory.reshape(-1)[index[chosen]] = contents[chosen]  # of equal indices the last one stays
    return count


def _direct(config: CoreConfig, mode: MemoryMode, words: np.ndarray) -> np.ndarray:
    """Elements (n, 2K) of the direct beats, the rearrangement of a READ backwards; REAL and FOLD leave out im."""
    j, p = config.engines_per_beat, config.lanes
    if mode == MemoryMode.COLUMNS:
        return words.reshape(-1, config.memory_elements)
    if mode == MemoryMode.ROWS:
        _check_tiles(len(words) // config.stream_words, j)
        return words.reshape(-1, j, j, p, 2).swapaxes(1, 2).reshape(-1, config.memory_elements)
    _check_tiles(len(words) // config.stream_words, 2 * j)
    pairs = words.reshape(-1, 2 * j, j, p, 2).transpose(0, 2, 4, 1, 3)  # tile, pair, row, cell, element
    pairs = pairs if mode == MemoryMode.PAIRS else pairs[:, :, :1]
    return pairs.reshape(-1, config.memory_elements)


def _split(config: CoreConfig, words: np.ndarray, at_zero: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, int]:
    """Elements (n, 2, 2K) of row q and of row N/2, and how many sums of ``valid`` (n,) beats were clamped; ``at_zero``
    (n,): beats of row 0."""
    _check_tiles(len(words) // config.stream_words, 2)
    z = words.reshape(-1, 2, config.stream_words, 2)
    re, im, mirror_re, mirror_im = z[:, 0, :, 0], z[:, 0, :, 1], z[:, 1, :, 0], z[:, 1, :, 1]
    sums = np.stack([re + mirror_re, im - mirror_im, im + mirror_im, mirror_re - re], axis=-1)
    halves, clamped = saturate(round_half_up(sums, 1), config.element_width)
    zeros = np.zeros_like(z)
    # Rows 0 and N/2 of two real transforms: each word is Xe + j*Xo.
    own = np.stack([z[..., 0], zeros[..., 0], z[..., 1], zeros[..., 1]], axis=-1)
    beats = (-1, config.memory_elements)
    row, low, high = halves.reshape(beats), own[:, 0].reshape(beats), own[:, 1].reshape(beats)
    if len(row) != len(at_zero):
        raise ValueError(f"words: {len(words)} words make {len(row)} beats; the descriptor has {len(at_zero)}")
    count = int(clamped.reshape(beats)[valid & ~at_zero].sum())
    return np.stack([np.where(at_zero[:, None], low, row), high], axis=1), count


def _check_tiles(beats: int, tile: int) -> None:
    if beats % tile:
        raise ValueError(f"beats: {beats} are no whole number of tiles of {tile}")


def _check_inside(memory: np.ndarray, addresses: np.ndarray) -> None:
    outside = addresses[addresses >= len(memory)]
    if outside.size:
        raise ValueError(f"address: {outside[0]} is not in 0..{len(memory) - 1}, the beats of the memory")
