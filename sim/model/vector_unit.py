"""Bit-exact model of what the vector unit holds and does to the beats of a block: tables, row sums, filters on both
sides of memory (docs/reference/vector.md). The arithmetic is sim/model/vector.py."""

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.parameter_set import (ROW_ADDRESS_BITS, SET_WORDS, SETS, Activation, ReadSet, WriteSet, read_set,
                                     write_set)
from ...hw.isa.setup import SETUP_ACTIVATION, SETUP_CHANNELS, SETUP_READ_SETS, SETUP_WRITE_SETS
from ...hw.isa.vector_tables import SEGMENTS, channel_values, GeluTable
from .memory import Positions
from .vector import RowStatistics, add_residual, argmax, clamped_element, gelu, normalise, relu, rescale, row_statistics

__all__ = ["VectorUnit"]



class VectorUnit:
    """Tables as the setup port fills them, and the table of rows. Raises ValueError where a set names what is not
    there: an entry outside a table, or an activation without its table."""

    def __init__(self, config: CoreConfig):
        self._config = config
        self._tables = {
            SETUP_READ_SETS: [0] * (SETS * SET_WORDS), SETUP_WRITE_SETS: [0] * (SETS * SET_WORDS),
            SETUP_CHANNELS: [0] * (config.channel_beats * config.memory_elements), SETUP_ACTIVATION: [0] * SEGMENTS}
        self._rows = RowStatistics(*np.zeros((3, config.statistics_rows), dtype=np.int64))

    def write_setup(self, target: int, address: int, data: int) -> bool:
        """One word on the setup port; whether it belongs to this unit. Raises ValueError outside a table."""
        table = self._tables.get(target)
        if table is None:
            return False
        if not 0 <= address < len(table):
            raise ValueError(f"address: {address} is not in 0..{len(table) - 1} of setup target {target}")
        table[address] = data
        return True

    def read_set(self, number: int) -> ReadSet:
        return read_set(self._tables[SETUP_READ_SETS][number * SET_WORDS:][:SET_WORDS])

    def write_set(self, number: int) -> WriteSet:
        return write_set(self._tables[SETUP_WRITE_SETS][number * SET_WORDS:][:SET_WORDS])

    # --- from memory --------------------------------------------------------------------------

    def sum_rows(self, number: int, beats: Positions, elements: np.ndarray, chunks: int) -> int:
        """SUMS: rows of ``chunks`` beats, one behind the other, into the table of rows; ``elements`` (n, 2K). Returns
        how many elements stand in rows that will come out too large."""
        chosen = self.read_set(number)
        ends = np.flatnonzero(beats.chunk[beats.valid] == chunks - 1)
        entries = self._entries(chosen, beats.address[beats.valid][ends])
        # The unit knows ``n``, not how many elements have come: padding adds nothing to the sums.
        rows = np.zeros((len(ends), chosen.n), dtype=np.int64)
        for row, part in zip(rows, np.split(elements[beats.valid], ends + 1)):
            flat = part.ravel()[:chosen.n]
            row[:flat.size] = flat
        statistics, too_wide = row_statistics(rows, chosen.epsilon, self._config.element_width, chosen.range_bits)
        for table, values in zip(self._rows, statistics):
            table[entries] = values  # of equal entries the last one stays
        return chosen.n * int(too_wide.sum())

    def normalise(self, number: int, beats: Positions, elements: np.ndarray,
                  inside: np.ndarray) -> tuple[np.ndarray, int]:
        """READ: (n, 2K) ``elements`` normalised where they are ``inside`` a row, the others 0, and how many were
        clamped."""
        chosen = self.read_set(number)
        entries = self._entries(chosen, beats.address)
        statistics = RowStatistics(*(table[entries] for table in self._rows))
        result, clamped = normalise(elements, statistics, chosen.n, self._config.element_width)
        return np.where(inside, result, 0), int(clamped[inside].sum())

    def _entries(self, chosen: ReadSet, address: np.ndarray) -> np.ndarray:
        """Of the bits of the address that the hardware takes along with a beat."""
        return (address % (1 << ROW_ADDRESS_BITS) >> chosen.chunk_shift) % self._config.statistics_rows

    # --- to memory ----------------------------------------------------------------------------

    def finish(self, number: int, beats: Positions, address: np.ndarray, chosen: np.ndarray, contents: np.ndarray,
               memory: np.ndarray) -> tuple[np.ndarray, int]:
        """WRITE: ``contents`` (n, v, 2K) of the writes to ``address`` (n, v), and how often an element among the
        ``chosen`` (n, v, 2K) ones was clamped. The first of v writes is the direct one. ``memory`` (beats, 2K) is as it
        was before the block."""
        s, count, c = self.write_set(number), 0, self._config
        lost = np.zeros(chosen.shape, dtype=bool)
        if s.rescale:
            first_row = np.zeros(address.shape, dtype=bool)
            first_row[:, 0] = beats.row == 0
            scale, bias = self._channels(s, address)
            bias = np.where(first_row[:, :, None] | (not s.bias_row), bias, 0)
            contents, lost = rescale(contents, scale, bias, s.shift, c.element_width, wide=s.wide_bias)
        if s.activation is Activation.GELU:
            contents, clamped = gelu(contents, self._activation(), s.fall, c.element_width)
        else:
            contents = relu(contents) if s.activation is Activation.RELU else contents
            contents, clamped = clamped_element(contents, c.element_width)
        count += int((lost | clamped)[chosen].sum())
        if s.residual:
            source = address + s.offset & (1 << c.memory_bits) - 1
            there = np.where(chosen.any(axis=2), source, 0)
            outside = there[there >= len(memory)]
            if outside.size:
                raise ValueError(f"address: {outside[0]} is not in 0..{len(memory) - 1}, the beats of the memory")
            contents, clamped = add_residual(contents, memory[there], s.a, s.b, s.c, c.element_width)
            count += int(clamped[chosen].sum())
        if s.argmax:
            contents = argmax(contents, s.classes, c.element_width)
        return contents, count

    def residual_beats(self, number: int, address: np.ndarray) -> np.ndarray:
        """Beats that a WRITE to ``address`` reads."""
        s = self.write_set(number) if number else WriteSet()
        return address + s.offset & (1 << self._config.memory_bits) - 1 if s.residual else address[:0]

    def _channels(self, s: WriteSet, address: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scale and bias (..., 2K) of the channels of each beat."""
        entries = s.base + (address & s.chunk_mask)
        outside = entries[entries >= self._config.channel_beats]
        if outside.size:
            raise ValueError(f"base: beat {outside[0]} of the channel table is not in "
                             f"0..{self._config.channel_beats - 1}")
        words = np.array(self._tables[SETUP_CHANNELS], dtype=np.int64).reshape(-1, self._config.memory_elements)
        return channel_values(words[entries])

    def _activation(self) -> GeluTable:
        return GeluTable.from_words(self._tables[SETUP_ACTIVATION])
