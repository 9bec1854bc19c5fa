"""Dense and N:M products: rows of memory times a matrix that streams past, as the blocks that do the work."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.descriptor import Move
from ....hw.isa.instruction import Destination, Mac, MemoryMode
from ....hw.isa.sparse import pick_sets
from ....hw.numeric import MAC_TERMS
from ....sim.model.ring import matrix_beats, sparse_beats
from ..kernel.sparse import Pattern, compress
from .assemble import Transfer
from .matrix import Matrix, bits_for, round_up
from .operations import row_places
from .stage import Block, MatrixPiece, MatrixStream, Place, Side, Stage, build_mac_stage, cell_bits, line

__all__ = ["DenseProduct", "Tiling"]

_LONGEST_FETCH = 1 << 14  # beats; an event of a descriptor moves by less than 2^15


class Tiling(NamedTuple):
    """How a product is cut: 2^``row_bits`` row pairs an engine in a block; ``outputs`` of every tile, powers of two;
    ``inputs`` of a chunk, of which the sums are kept for the next one, all of them where there is one chunk."""

    row_bits: int
    outputs: tuple[int, ...]
    inputs: int


class _Part(NamedTuple):
    """A part of the matrix, which streams past in one block: ``outputs`` from ``output`` on, ``inputs`` from ``input``
    on, all counted with their padding. Its sums begin with kept ones, and are kept."""

    output: int
    outputs: int
    input: int
    inputs: int
    merge: bool
    keep: bool


class _Window(NamedTuple):
    """What a block reads of a row: ``inputs`` with their padding, of so many ``parts``, in which ``chunks`` beats hold
    elements, in the last one ``tail``, 0 for all."""

    inputs: int
    parts: int
    chunks: int
    tail: int


@dataclass(frozen=True)
class DenseProduct:
    """Rows of ``source`` times a matrix of ``outputs`` rows, with at most ``most_rows`` rows in a block; ``pattern`` of
    a sparse matrix.

    Raises WingbeatError naming the field that is too small.
    """

    config: CoreConfig
    source: Matrix
    outputs: int
    pattern: Pattern | None = None
    most_rows: int | None = None
    tiling: Tiling = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tiling", self._tiling())

    # --- how it is cut ---------------------------------------------------------------------------

    @cached_property
    def part_inputs(self) -> int:
        """Inputs that a part of a row takes, of which some may be zero: a power of two where there are several parts;
        else whole groups of the pattern."""
        inputs = self.config.memory_elements * self.source.chunks(self.config)
        return round_up(inputs, self._unit) if self.source.parts == 1 else 1 << bits_for(inputs)

    @property
    def inputs(self) -> int:
        """Of a row, with their padding."""
        return self.source.parts * self.part_inputs

    @property
    def _unit(self) -> int:
        """What the inputs of a chunk are a multiple of: whole groups, and of what streams of them whole beats."""
        chunk = self.config.memory_elements
        return self.pattern.m * max(self.pattern.stride, chunk) if self.pattern else chunk

    def _terms(self, inputs: int) -> int:
        """How many of the inputs stream."""
        return self.pattern.terms(inputs) if self.pattern else inputs

    def _check(self) -> None:
        config, source, pattern = self.config, self.source, self.pattern
        if not config.ring_words:
            raise WingbeatError("array.ring_words: 0; a dense product needs a ring")
        if pattern and not config.sparse:
            raise WingbeatError(f"array.sparse: false; a product with a matrix of {pattern} needs true")
        if pattern and (pattern.stride % config.lanes or pattern.stride & pattern.stride - 1):
            raise WingbeatError(f"stride: {pattern.stride} of the groups; allowed are powers of two from "
                                f"{config.lanes} on")
        if pattern and source.parts > 1 and (self.inputs > source.elements or self.inputs % self._unit):
            raise WingbeatError(f"inputs: {source.elements} in {source.parts} parts for {pattern} with a stride of "
                                f"{pattern.stride}; allowed are parts of 2^n elements, in all multiples of "
                                f"{self._unit}")
        if self._terms(self.inputs) > MAC_TERMS:
            raise WingbeatError(f"inputs: {self._terms(self.inputs)} of a dense product; allowed are 1..{MAC_TERMS}")

    def _tiling(self) -> Tiling:
        """Row pairs, outputs and inputs of a block. More row pairs need fewer words of the matrix a cycle, more outputs
        fewer words of the rows: of what fits a half the one with the least traffic, which keeps the memory slow. Inputs
        are cut into chunks only where no block has room for all of them."""
        self._check()
        config, padded, chunk = self.config, self.inputs, self.config.memory_elements
        least = self._unit if config.partial_words else padded
        if self._terms(least) // config.layers > config.ring_words:
            raise WingbeatError(f"array.ring_words: {config.ring_words} are too few for a row of {padded} inputs; "
                                f"allowed are {1 << bits_for(self._terms(least) // config.layers)} and more")
        found, size = self._least_traffic(padded), 1 << bits_for(padded)
        while found is None and config.partial_words and size > least:
            size //= 2
            found = self._least_traffic(size)
        if found is None and least == padded:
            raise WingbeatError(f"array.half_words: {config.half_words} are too few for a row of {padded} inputs and "
                                f"{chunk} outputs; allowed are {1 << bits_for(padded + chunk)} and more, or "
                                "array.partial_words")
        if found is None:
            raise WingbeatError(f"array.partial_words: {config.partial_words} are too few for {chunk} outputs; allowed "
                                f"are {chunk // config.layers} and more")
        return found

    def _least_traffic(self, inputs: int) -> Tiling | None:
        """The tiling with ``inputs`` in a chunk; None where none fits a half, the ring and the kept sums."""
        config, unit, chunk = self.config, 2 * self.config.engines, self.config.memory_elements
        most_pairs = bits_for(-(-self.source.rows // unit))
        if self.most_rows is not None:
            most_pairs = min(most_pairs, max(1, self.most_rows // unit).bit_length() - 1)
        found = []
        for row_bits in range(most_pairs + 1):
            for output_bits in range(bits_for(chunk), bits_for(round_up(self.outputs, chunk)) + 1):
                is_kept = inputs == self.inputs or 1 << row_bits + output_bits <= config.partial_words * config.layers
                if is_kept and self._out_base(row_bits, inputs, 1 << output_bits) is not None:
                    # Elements a multiplication: of the matrix, of the rows.
                    traffic = 1 / (unit << row_bits) + 1 / (1 << output_bits)
                    found.append((traffic, row_bits, output_bits))
        if not found or self._terms(inputs) // config.layers > config.ring_words:
            return None
        _, row_bits, output_bits = min(found)
        left, tiles = round_up(self.outputs, chunk), []
        while left:
            tiles.append(min(1 << output_bits, 1 << left.bit_length() - 1))
            left -= tiles[-1]
        return Tiling(row_bits, tuple(tiles), inputs)

    def _out_base(self, row_bits: int, inputs: int, outputs: int) -> int | None:
        """First row of the banks for the results of 2^row_bits row pairs; None where they have no room. Where it can be
        they stand behind all that a load writes, zeros included, so that the next block enters while they leave."""
        config = self.config
        in_stride, out_stride = bits_for(inputs) - config.layers, bits_for(outputs) - config.layers
        region = 1 << row_bits + out_stride
        last_input = ((1 << row_bits) - 1 << in_stride) + inputs // config.lanes
        for end in (1 << row_bits + in_stride, last_input):
            base = round_up(end, region)
            if base + region <= config.bank_rows and 1 << row_bits + in_stride <= config.bank_rows:
                return base
        return None

    # --- the matrix ------------------------------------------------------------------------------

    def _parts(self) -> Iterator[_Part]:
        """Parts of the matrix in the order of its beats: of each tile all chunks that are not padding alone."""
        used = self.config.memory_elements * self.source.chunks(self.config)
        firsts = [first for first in range(0, self.inputs, self.tiling.inputs) if first % self.part_inputs < used]
        output = 0
        for outputs in self.tiling.outputs:
            for first in firsts:
                yield _Part(output, outputs, first, min(self.tiling.inputs, self.inputs - first), first > 0,
                            first < firsts[-1])
            output += outputs

    def image(self, weights: np.ndarray) -> np.ndarray:
        """Beats of ``weights``, elements int64 (outputs, inputs), as :meth:`transfers` wants them in memory. Raises
        WingbeatError naming the first row that breaks the pattern."""
        outputs, each = sum(self.tiling.outputs), self.source.elements // self.source.parts
        padded = np.zeros((outputs, self.source.parts, self.part_inputs), dtype=np.int64)
        padded[:len(weights), :, :each] = weights.reshape(len(weights), self.source.parts, -1)
        matrix = padded.reshape(outputs, -1)
        return np.concatenate([self._beats(matrix[at.output:at.output + at.outputs, at.input:at.input + at.inputs])
                               for at in self._parts()])

    def _beats(self, part: np.ndarray) -> np.ndarray:
        if self.pattern is None:
            return matrix_beats(self.config, part)
        return sparse_beats(self.config, *compress(self.config, part, self.pattern))

    def _stream(self, part: _Part) -> tuple[MatrixStream, int]:
        """The FETCHes of a part, and its beats. Those of a sparse matrix begin with picks."""
        config = self.config
        beats = part.outputs * (self._terms(part.inputs) // config.memory_elements)
        served = config.layers * pick_sets(config)
        most = _LONGEST_FETCH
        if self.pattern:
            beats += -(-beats // served)
            most -= most % (served + 1)
        pieces = [min(most, beats - first) for first in range(0, beats, most)]
        destination = Destination.PICKS if self.pattern else Destination.RING
        lines = {piece: MatrixPiece(line(config, piece), piece, piece) for piece in pieces}
        return MatrixStream(tuple(lines[piece] for piece in pieces), destination), beats

    # --- blocks ----------------------------------------------------------------------------------

    def transfers(self, target: Matrix, matrix_at: int, shift: int, name: str) -> list[Transfer]:
        """``target`` = rows of ``source`` times the matrix whose beats (:meth:`image`) stand from ``matrix_at`` on,
        shifted right by ``shift`` (hw/numeric.py)."""
        source, unit, parts = self.source, 2 * self.config.engines, list(self._parts())
        tasks: list[Transfer] = []
        stages: dict[tuple[int, int, _Window, bool, bool], Stage] = {}
        first = 0
        while first < source.rows:
            left = source.rows - first
            row_bits = min(self.tiling.row_bits, max(0, (left // unit).bit_length() - 1))
            rows, at = min(left, unit << row_bits), matrix_at
            for number, part in enumerate(parts):
                window, read_at = self._window(part)
                stream, beats = self._stream(part)
                key = (row_bits, part.outputs, window, part.merge, part.keep)
                if key not in stages:
                    stages[key] = self._stage(target, row_bits, part, window, stream, shift,
                                              f"{name}.{number}" if len(parts) > 1 else name)
                write_at = target.base + first * target.pitch + part.output // self.config.memory_elements
                block = Block(read_at + first * source.pitch, source.rows * (window.parts - 1) + rows, write_at,
                              0 if part.keep else rows,
                              matrix_at=tuple(accumulate((piece.beats for piece in stream.pieces[:-1]), initial=at)))
                tasks.append(Transfer(stages[key], block))
                at += beats
            first += rows
        return tasks

    def _window(self, part: _Part) -> tuple[_Window, int]:
        """The inputs of a part of the matrix, and where they stand for the first row."""
        config, source, chunk = self.config, self.source, self.config.memory_elements
        number, begin = part.input // self.part_inputs, part.input % self.part_inputs // chunk
        chunks = min(part.inputs // chunk, source.chunks(config) - begin)
        tail = source.tail(config) if begin + chunks == source.chunks(config) else 0
        at = source.base + number * source.rows * source.pitch + begin
        return _Window(part.inputs, max(1, part.inputs // self.part_inputs), chunks, tail), at

    def _stage(self, target: Matrix, row_bits: int, part: _Part, window: _Window, stream: MatrixStream, shift: int,
               name: str) -> Stage:
        """Where the sums are kept the block ends with a few of its inputs, which no WRITE puts into memory."""
        config, source, mode, size = self.config, self.source, MemoryMode.PAIRS, self.part_inputs
        chunk, lanes, stored = config.memory_elements, config.lanes, part.outputs
        if part.keep:
            stored = chunk
        in_bits, out_bits = bits_for(part.inputs), bits_for(stored)
        row_moves = [Place("move", move=Move(2 * config.engines << bit)) for bit in range(row_bits)]
        columns, kept = (row_places(config, mode, bits, range(bits), cell_bits(config, mode))
                         for bits in (in_bits, out_bits))
        # The parts of a row are rows of their own in memory.
        columns = [place if source.parts == 1 or 1 << bit < size else
                   Place("move", move=Move(source.rows * (1 << bit) // size)) for bit, place in enumerate(columns)]
        out_base = 0 if part.keep else self._out_base(row_bits, part.inputs, part.outputs)
        assert out_base is not None, "the tiling has found room"
        mac = Mac(self._terms(part.inputs) // lanes, part.outputs // lanes, 1 << row_bits, in_bits - config.layers,
                  out_base, bits_for(part.outputs) - config.layers, shift, merge=part.merge, keep=part.keep, first=True,
                  last=True, **self._groups())
        read = Side(mode, (*columns, *row_moves), source.pitch, window.chunks, window.tail)
        write = Side(mode, (*kept, *([] if part.keep else row_moves)), target.pitch, stored // chunk)
        return build_mac_stage(name, config, mac, stream, read, write)

    def _groups(self) -> dict[str, Any]:
        """Fields of a MAC."""
        if self.pattern is None:
            return {}
        n, m, stride = self.pattern
        return {"picks": n, "log2_group": bits_for(m), "log2_apart": bits_for(stride // self.config.lanes)}
