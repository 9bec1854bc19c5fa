"""Random work for the vector unit of a processor: parameter sets, tables, rows to be summed (docs/reference/vector.md).

Everything follows from a :class:`random.Random`; sim/stimulus/processor.py puts it into the layers of its jobs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
import random

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.descriptor import Descriptor, Move
from ...hw.isa.parameter_set import EPSILON_BITS, SET_WORDS, SETS, Activation, ReadSet, WriteSet
from ...hw.isa.setup import SETUP_ACTIVATION, SETUP_CHANNELS, SETUP_READ_SETS, SETUP_WRITE_SETS
from ...hw.isa.vector_tables import MOST_RESCALE_SHIFT, SCALE_BITS, GeluTable
from ...hw.numeric import largest, pack_signed, smallest
from ..reference.functions import erf_complement, silu_complement, tanh_complement

__all__ = ["RandomSets", "SummedRows", "random_offset", "random_set_rows", "random_vector_unit", "LONGEST_ROW"]

LONGEST_ROW = 32   # beats of the rows of a table of rows but for one with a single entry; memories are whole rows
_MOST_BEATS = 256  # of one SUMS
_COMPLEMENTS = (erf_complement, tanh_complement, silu_complement)


def random_vector_unit(config: CoreConfig, rng: random.Random) -> CoreConfig:
    """``config``, in about every second case with a vector unit."""
    lanes = [1 << n for n in range(config.memory_elements.bit_length()) if 1 << n <= 32]
    return config.changed(
        vector_lanes=rng.choice((0, rng.choice(lanes))), statistics_rows=rng.choice((2, 4, 8, 16, 64)),
        channel_beats=rng.choice((1, 2, 3, 5, 8, 13)), statistics_units=rng.choice((1, 1, 2, 3, 4)))


@lru_cache
def _activation_words(width: int, kind: int) -> list[int]:
    return GeluTable.of(width, _COMPLEMENTS[kind]).words()


class RandomSets:
    """Parameter sets as they are drawn, by number, and tables that go with them."""

    def __init__(self, config: CoreConfig, rng: random.Random):
        self._config, self._rng = config, rng
        self.read: dict[int, ReadSet] = {}
        self.write: dict[int, WriteSet] = {}
        self._free = {kind: rng.sample(range(1, SETS), SETS - 1) for kind in ("read", "write")}
        self._shift = rng.randint(12, min(20, SCALE_BITS - config.element_width + MOST_RESCALE_SHIFT))
        self._wild = rng.random() < 0.2  # all of the bits of scales and biases, so that much is clamped

    def add_read(self, chunk_shift: int, elements: int) -> int:
        """A set for rows of so many ``elements``; those that are not in memory count as zeros."""
        rng, number = self._rng, self._free["read"].pop()
        n = elements + rng.choice((0, 0, 0, rng.randint(1, 5)))
        most = min(n * n << 2 * (self._config.element_width - 1), (1 << EPSILON_BITS) - 1)
        epsilon = min(most, int(2 ** rng.uniform(0, most.bit_length() * rng.choice((0.5, 1)))))
        self.read[number] = ReadSet(chunk_shift=chunk_shift, n=n, epsilon=epsilon,
                                    range_bits=rng.choice((0, 0, 1, 2, 5, 7)))
        return number

    def add_write(self, offset: int | None, argmax: bool) -> int:
        """A set with a residual ``offset`` beats behind, or without; ``argmax``: it may be asked for."""
        rng, c, number = self._rng, self._config, self._free["write"].pop()
        fraction, last = SCALE_BITS - c.element_width, c.channel_beats - 1
        mask = rng.choice((rng.randint(0, last), (1 << rng.randrange(c.channel_beats.bit_length())) - 1))
        a, b = rng.randint(0, 6), rng.randint(0, 6)
        scales = rng.choice(((a, b, max(a, b) + 1), (0, 0, 0), (0, rng.randint(0, 2), 1),
                             tuple(rng.randint(0, 7) for _ in range(3))))
        above = rng.getrandbits(32) >> c.memory_bits << c.memory_bits if rng.random() < 0.3 else 0  # nobody looks
        self.write[number] = WriteSet(
            rescale=rng.random() < 0.6, base=rng.randint(0, last - mask), chunk_mask=mask | above & 0xFFFF,
            shift=min(max(fraction, self._shift + rng.choice((0, 0, 1, -1))), fraction + MOST_RESCALE_SHIFT),
            bias_row=rng.random() < 0.4, activation=rng.choice((Activation.NONE, Activation.RELU, Activation.GELU)),
            wide_bias=rng.random() < 0.2, fall=rng.randint(0, 7), residual=offset is not None,
            offset=(offset or 0) & (1 << c.memory_bits) - 1 | above,
            a=scales[0], b=scales[1], c=scales[2], argmax=argmax and rng.random() < 0.25,
            classes=rng.randint(1, min(c.memory_elements - 1, 1 << c.element_width - 1)))
        return number

    def setup(self) -> list[tuple[int, int, int]]:
        """Writes (target, address, data) of the sets and of both tables."""
        c, rng = self._config, self._rng
        writes = [(target, SET_WORDS * number + at, word)
                  for target, sets in ((SETUP_READ_SETS, self.read), (SETUP_WRITE_SETS, self.write))
                  for number, chosen in sets.items() for at, word in enumerate(chosen.words())]
        # Set 0 stands for nothing to do, whatever is written to it.
        writes += [(target, at, rng.getrandbits(32)) for target in (SETUP_READ_SETS, SETUP_WRITE_SETS)
                   for at in range(SET_WORDS)]
        words = _activation_words(c.element_width, rng.randrange(len(_COMPLEMENTS)))
        writes += [(SETUP_ACTIVATION, address, word) for address, word in enumerate(words)]
        return writes + [(SETUP_CHANNELS, address, self._channel())
                         for address in range(c.channel_beats * c.memory_elements)]

    def _channel(self) -> int:
        """Scale and bias: factors around 1/2, biases of a few percent of the range."""
        rng = self._rng
        if self._wild:
            return rng.getrandbits(2 * SCALE_BITS)
        factor = rng.choice((1, -1)) * 2 ** rng.uniform(-3, 0)
        scale, bias = (min(max(round(value), smallest(SCALE_BITS)), largest(SCALE_BITS))
                       for value in (factor * 2**self._shift, rng.gauss(0, 1 << 13)))
        return pack_signed(scale, SCALE_BITS) | pack_signed(bias, SCALE_BITS) << SCALE_BITS


@dataclass(frozen=True)
class SummedRows:
    """Rows in memory, in order, whose sums make all the entries that some beats need.

    ``elements`` of a row; entry (address >> ``chunk_shift``) mod the size of the table. The rows begin at beat
    ``base``, in a next SUMS at base + ``increment``.
    """

    descriptor: Descriptor
    rows: int
    base: int
    increment: int
    chunk_shift: int
    elements: int


def random_set_rows(config: CoreConfig, beats: np.ndarray, depth: int, blocks: int, rng: random.Random) -> SummedRows:
    """Rows for the entries of ``beats``, for so many SUMS, within ``depth`` beats, a multiple of LONGEST_ROW."""
    size, shift = config.statistics_rows, rng.choice((0, 1, 2, 3, 4, 5, 15))
    low, high = (int(beats.min()) >> shift, int(beats.max()) >> shift) if beats.size else (0, 0)
    count, there = min(high - low + 1, size), -(-depth >> shift)
    first = increment = 0
    if count < size:
        first = low
    else:  # any rows have all entries
        increment = rng.choice((0, 1, -1, count))
        while abs(increment) * (blocks - 1) > there - count:
            increment = int(increment / 2)
        moved = increment * (blocks - 1)
        first = rng.randint(max(0, -moved), there - count - max(0, moved))
    most = max(1, min(1 << shift, 64, _MOST_BEATS // count, depth))
    chunks = rng.choice((most, most, rng.randint(1, most)))
    tail = rng.choice((0, 0, rng.randrange(config.memory_elements)))
    descriptor = _in_order(config, count, chunks, 1 << shift, tail, rng)
    elements = (chunks - 1) * config.memory_elements + (tail or config.memory_elements)
    return SummedRows(descriptor, count, first << shift, increment << shift, shift, elements)


def _in_order(config: CoreConfig, rows: int, chunks: int, pitch: int, tail: int, rng: random.Random) -> Descriptor:
    """Every row from its first beat to its last. Sub-steps count chunks; the groups rows, or chunks above them; the
    steps rows, or where there is one group the upper chunks, too."""
    groups, row_group = config.beat_groups, rng.random() < 0.5
    sub = next(n for n in range(8) if (1 if row_group else groups) << n >= chunks)
    in_steps = rng.randint(0, sub) if groups == 1 else 0
    sub -= in_steps
    steps = -(-rows // groups) if row_group else rows
    per_step = groups if row_group else 1
    step = [Move(0, 1 << sub + i) for i in range(in_steps)]
    step += [Move(per_step << i) for i in range((steps - 1).bit_length())]
    group = Move(1) if row_group else Move(0, 1 << sub)
    return Descriptor(tuple(Move(0, 1 << i) for i in range(sub)), group, tuple(step), pitch, chunks, tail,
                      steps=steps << in_steps)


def random_offset(config: CoreConfig, written: Sequence[np.ndarray], depth: int, wanted: int,
                  rng: random.Random) -> int | None:
    """How far behind the ``written`` beats of each block a tensor stands that the block itself does not write; None
    where chance finds no place. ``wanted``: an offset to try first."""
    beats = np.concatenate(written)
    if not beats.size:
        return rng.getrandbits(32)
    low, high = -int(beats.min()), depth - 1 - int(beats.max())
    for offset in (wanted, *(rng.randint(low, high) for _ in range(8))):
        if low <= offset <= high and not any(np.isin(own + offset, own).any() for own in written):
            return offset
    return None
