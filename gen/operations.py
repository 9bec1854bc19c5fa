"""Operations of the processor: matrices in memory in, matrices in memory out, as the blocks that do the work.

A kernel (gen/compiler.py) brings passes and coefficients; here they meet the places of rows and columns in memory.
Number formats: elements of element_width bits; complex words are two neighbouring elements, re first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..hw.config import ArrayConfig
from ..hw.descriptor import Move
from ..hw.errors import WingbeatError
from ..hw.program import MemoryMode, Pass
from .dataflow import Task
from .kernel import Kernel
from .stages import Block, Place, Side, build_stage, cell_bits

__all__ = ["Matrix", "Coefficients", "butterfly", "transform_rows", "transform_columns", "mix_real", "mixed_rows",
           "row_places"]


@dataclass(frozen=True)
class Matrix:
    """``rows`` rows of ``elements`` elements in memory, row-major from beat ``base`` on, ``pitch`` beats a row."""

    base: int
    rows: int
    elements: int
    pitch: int

    @classmethod
    def at(cls, base: int, rows: int, elements: int, config: ArrayConfig) -> "Matrix":
        """Rows one behind the other, each on whole beats."""
        return cls(base, rows, elements, -(-elements // config.memory_elements))

    @property
    def end(self) -> int:
        """The beat behind the matrix."""
        return self.base + self.rows * self.pitch

    def chunks(self, config: ArrayConfig) -> int:
        """Beats of a row that hold elements."""
        return -(-self.elements // config.memory_elements)

    def tail(self, config: ArrayConfig) -> int:
        """Elements in the last beat of a row where it is not full, else 0."""
        return self.elements % config.memory_elements

    def pack(self, values: np.ndarray, config: ArrayConfig) -> np.ndarray:
        """Beats (rows * pitch, 2K) of integer ``values`` (rows, elements)."""
        beats = np.zeros((self.rows, self.pitch * config.memory_elements), dtype=np.int64)
        beats[:, :self.elements] = values
        return beats.reshape(-1, config.memory_elements)

    def unpack(self, memory: np.ndarray) -> np.ndarray:
        """Values (rows, elements) out of the beats of the whole memory."""
        return memory[self.base:self.end].reshape(self.rows, -1)[:, :self.elements]


class Coefficients:
    """Gives every set of coefficients its place in the coefficient banks."""

    def __init__(self, config: ArrayConfig):
        self._config, self._next = config, 0
        self._placed: dict[bytes, tuple[int, np.ndarray]] = {}

    def place(self, passes: Sequence[Pass], image: np.ndarray) -> tuple[tuple[Pass, ...], np.ndarray]:
        """Passes and image (bank, address, data) moved behind what has been placed before; equal images share a place."""
        least, most = int(image[:, 1].min()), int(image[:, 1].max())
        known = (image - np.array([0, least, 0])).tobytes()
        if known not in self._placed:
            move = self._next - least
            self._next += most - least + 1
            if self._next > self._config.coefficient_words:
                raise WingbeatError(f"coefficient_words: {self._config.coefficient_words} is too small for the "
                                    f"coefficients of the program; allowed are {self._next} and more")
            self._placed[known] = self._next - (most - least + 1), image + np.array([0, move, 0])
        start, placed = self._placed[known]
        return tuple(replace(step, coef_base=step.coef_base + start - least) for step in passes), placed


def _log2(value: int) -> int:
    return value.bit_length() - 1


def row_places(config: ArrayConfig, mode: MemoryMode, bits: int, columns: Sequence[int], sub: int) -> list[Place]:
    """Places of ``bits`` element bits whose memory column bits are ``columns``: index bit b is column bit columns[b].

    ``sub`` column bits above the lanes belong to the sub-steps; a beat of memory may hold fewer.
    """
    beat = _log2(config.stream_words if mode is MemoryMode.ROWS else config.memory_elements)
    places = []
    for column in columns:
        chunk = Move(0, 1 << column - beat) if column >= beat else Move(0)
        if column < config.layers:
            places.append(Place("lane", column))
        elif column < config.layers + sub:
            places.append(Place("sub", column - config.layers, chunk))
        else:
            places.append(Place("move", move=chunk))
    if 1 << bits < 1 << config.layers + sub:
        raise WingbeatError(f"stream_words: {config.stream_words} is more than a row of {1 << bits} points fills; allowed "
                            f"are {config.lanes}..{max(config.lanes, 1 << bits - 1)}")
    return places


def _row_bits(kernel: Kernel, rows_per_word: int) -> list[Place]:
    """Places of the index bits above the elements: rows that follow one another in one engine."""
    step = kernel.config.engines * rows_per_word
    return [Place("move", move=Move(step << bit)) for bit in range(kernel.row_bits)]


def _blocks(count: int, per_block: int) -> list[tuple[int, int]]:
    """First row and number of rows of every block."""
    return [(first, min(per_block, count - first)) for first in range(0, count, per_block)]


def butterfly(kernel: Kernel, source: Matrix, target: Matrix, coefficients: Coefficients, name: str) -> list[Task]:
    """``target`` = butterfly matrix of ``kernel`` times the rows of ``source``; real elements, two rows per word.

    ``source`` has kernel.in_size elements a row, ``target`` kernel.out_size. Every stack reads all rows.
    """
    config, mode = kernel.config, MemoryMode.PAIRS
    natural = range(kernel.log2_size)
    places = [*row_places(config, mode, kernel.log2_size, natural, cell_bits(config, mode)), *_row_bits(kernel, 2)]
    read = Side(mode, tuple(places), source.pitch, source.chunks(config), source.tail(config))
    tasks = []
    stack_chunks = kernel.size // config.memory_elements
    for number, stack in enumerate(kernel.stacks):
        first = number * stack_chunks
        chunks = min(stack_chunks, target.chunks(config) - first)
        out = [Place("skip") if place.kind == "move" and place.move.chunks >= chunks else place for place in places]
        write = Side(mode, tuple(out), target.pitch, chunks)
        passes, image = coefficients.place(stack.passes, stack.image)
        stage = build_stage(f"{name}.{number}" if len(kernel.stacks) > 1 else name, config, passes, image, read, write)
        tasks += [Task(stage, Block(source.base + row * source.pitch, rows, target.base + row * target.pitch + first, rows))
                  for row, rows in _blocks(source.rows, kernel.rows_per_block)]
    return tasks


def _reversed(bits: int) -> range:
    return range(bits - 1, -1, -1)


def transform_rows(kernel: Kernel, source: Matrix, target: Matrix, coefficients: Coefficients, name: str,
                   mode: MemoryMode = MemoryMode.ROWS, mirrored_rows: int = 0) -> list[Task]:
    """``target`` = Fourier transform of the complex rows of ``source``.

    ``mode`` ROWS keeps complex rows; REAL keeps the real part; FOLD also writes row q, 0 < q < ``mirrored_rows``, to row
    2 * mirrored_rows - q of ``target``, columns mirrored likewise.
    """
    config, bits = kernel.config, kernel.log2_size
    sub = cell_bits(config, mode)
    read = Side(MemoryMode.ROWS, tuple([*row_places(config, MemoryMode.ROWS, bits, _reversed(bits), sub),
                                        *_row_bits(kernel, 1)]), source.pitch, source.chunks(config))
    rows_of_target = 2 * mirrored_rows if mirrored_rows else target.rows
    other = 2 * target.base + rows_of_target * target.pitch + target.chunks(config) - 1
    write = Side(mode, tuple([*row_places(config, mode, bits, range(bits), sub), *_row_bits(kernel, 1)]),
                 target.pitch, target.chunks(config), other=other if mode is MemoryMode.FOLD else 0)
    stack = kernel.stacks[0]
    stage = build_stage(name, config, *coefficients.place(stack.passes, stack.image), read, write)
    tasks = []
    for row, rows in _blocks(source.rows, kernel.rows_per_block):
        fold = (int(row == 0), max(0, min(rows, mirrored_rows - row))) if mode is MemoryMode.FOLD else (0, 0)
        tasks.append(Task(stage, Block(source.base + row * source.pitch, rows, target.base + row * target.pitch, rows,
                                       *fold)))
    return tasks


def transform_columns(kernel: Kernel, source: Matrix, target: Matrix, coefficients: Coefficients, name: str,
                      split: bool = False) -> list[Task]:
    """``target`` = Fourier transform of the complex columns of ``source``, words of a row being the columns.

    With ``split`` a column of ``source`` holds two real columns as re and im; ``target`` gets rows 0..N/2 of the
    transforms of both, one word each.
    """
    config, bits = kernel.config, kernel.log2_size
    groups, high = config.beat_groups, kernel.row_bits - config.layers
    if high < 0:
        raise WingbeatError(f"half_words: {config.half_words} is too small for {config.lanes} columns of {kernel.size} "
                            f"points; allowed are {kernel.size * config.lanes} and more")
    lanes = [Place("lane", bit) for bit in range(config.layers)]

    def side(mode: MemoryMode, columns: Sequence[int], matrix: Matrix, **options) -> Side:
        width = 2 if mode is MemoryMode.SPLIT else 1
        rows = [Place("move", move=Move(1 << column)) for column in columns]
        words = [Place("move", move=Move(0, width * groups << bit)) for bit in range(high)]
        return Side(mode, tuple([*rows, *lanes, *words]), matrix.pitch, width * groups << high, **options)

    if split:
        read = side(MemoryMode.COLUMNS, _reversed(bits), source)
        # The pair of the store is a step of the load: both halves of the index.
        pair = Place("sub", 0, read.places[bits - 1].move)
        read = replace(read, places=(*read.places[:bits - 1], pair, *read.places[bits:]))
        write = side(MemoryMode.SPLIT, range(bits), target, mirror=bits, other=kernel.size // 2 * target.pitch)
    else:
        read, write = (side(MemoryMode.COLUMNS, order, matrix) for order, matrix in
                       ((_reversed(bits), source), (range(bits), target)))
    stack = kernel.stacks[0]
    stage = build_stage(name, config, *coefficients.place(stack.passes, stack.image), read, write)
    width, tasks = 1 + split, []
    for first, chunks in _blocks(source.chunks(config), groups << high):
        # Where the last block sticks out of the matrix its descriptors end earlier.
        own = replace(stage, read=replace(stage.read, chunks=chunks), write=replace(stage.write, chunks=width * chunks))
        tasks.append(Task(stage if chunks == groups << high else own,
                          Block(source.base + first, kernel.size, target.base + width * first, kernel.size)))
    return tasks


def mixed_rows(tokens: int) -> int:
    """Rows of the token transform of real columns that are kept: the others follow by symmetry."""
    return tokens // 2 + 1


def mix_real(columns: Kernel, rows: Kernel, source: Matrix, between: Matrix, target: Matrix,
             coefficients: Coefficients, name: str) -> list[Task]:
    """``target`` = Re(FFT2(``source``)) of real tokens x hidden elements (docs/processor.md).

    ``columns`` transforms the tokens, ``rows`` the hidden elements; ``between`` holds tokens/2 + 1 rows of hidden
    complex words.
    """
    # The last row is real in the middle of the spectrum: it has no mirror image and goes into a block of its own.
    half = source.rows // 2
    return [*transform_columns(columns, source, between, coefficients, f"{name}.tokens", split=True),
            *transform_rows(rows, between, target, coefficients, f"{name}.hidden", MemoryMode.FOLD, half)]
