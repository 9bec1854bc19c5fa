"""Operations of the processor: matrices in memory in, matrices in memory out, as the blocks that do the work.

A kernel (gen/compiler/kernel/compile.py) brings passes and coefficients; here they meet the places of rows and columns
in memory. Number formats: elements of element_width bits; complex words are two neighbouring elements, re first.
"""

from collections.abc import Sequence
from dataclasses import replace


from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.descriptor import Move
from ....hw.isa.instruction import MemoryMode, Mode
from ..kernel.kernel import Kernel
from .assemble import Transfer
from .blocks import resized, Start, batch_blocks, parts_of, row_blocks
from .coefficients import CoefficientSpace
from .matrix import Matrix
from .stage import Block, Place, Side, Stage, build_stage, cell_bits

__all__ = ["multiply_butterfly", "transform_rows", "transform_columns", "mix_real",
           "mixed_rows", "row_places"]




def _log2(value: int) -> int:
    return value.bit_length() - 1


def row_places(config: CoreConfig, mode: MemoryMode, bits: int, columns: Sequence[int], sub: int) -> list[Place]:
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
        raise WingbeatError(f"stream_words: {config.stream_words} is more than a row of {1 << bits} points fills; "
                            f"allowed are {config.lanes}..{max(config.lanes, 1 << bits - 1)}")
    return places


def _row_moves(kernel: Kernel, row_bits: int) -> list[Place]:
    """Places of the index bits above the elements: rows that follow one another in one engine."""
    step = kernel.config.engines * kernel.rows_per_word
    return [Place("move", move=Move(step << bit)) for bit in range(row_bits)]


def multiply_butterfly(kernel: Kernel, source: Matrix, target: Matrix, coefficients: CoefficientSpace, name: str,
                       start: Start = "cold", *, by_stack: bool = False) -> list[Transfer]:
    """``target`` = butterfly matrix of ``kernel`` times the rows of ``source``; real elements, two rows per word.

    ``source`` has kernel.in_size elements a row, ``target`` kernel.out_size. Every stack reads all rows, one block of
    rows after the other; ``by_stack``: one stack after the other, so that the coefficients of one are enough.
    ``start``: see :func:`row_blocks`.
    """
    blocks = row_blocks(kernel, source.rows, start)
    several = len(kernel.stacks) > 1
    stacks = [_stack_stages(kernel, number, source, target, coefficients, f"{name}.{number}" if several else name,
                            {row_bits for row_bits, _, _ in blocks}) for number in range(len(kernel.stacks))]
    stack_chunks = kernel.size // kernel.config.memory_elements
    above = source.rows * (source.parts - 1)  # rows of memory in front of the last part
    pairs = [(block, number) for number in range(len(stacks)) for block in blocks] if by_stack else \
        [(block, number) for block in blocks for number in range(len(stacks))]
    return [Transfer(stacks[number][row_bits], Block(source.base + row * source.pitch, above + rows,
                                                     target.base + row * target.pitch + number * stack_chunks, rows))
            for (row_bits, row, rows), number in pairs]


def _stack_stages(kernel: Kernel, number: int, source: Matrix, target: Matrix, coefficients: CoefficientSpace,
                  name: str, sizes: set[int]) -> dict[int, Stage]:
    """Stages of one stack, by the row bits of a block."""
    config, mode = kernel.config, MemoryMode.PAIRS
    sub, whole = cell_bits(config, mode), range(kernel.log2_size)
    columns = row_places(config, mode, kernel.log2_size, whole, sub)
    parts = [_part_place(config, source, column, place) for column, place in zip(whole, columns)]
    chunks = min(kernel.size // config.memory_elements,
                 target.chunks(config) - number * kernel.size // config.memory_elements)
    kept = [Place("skip") if place.kind == "move" and place.move.chunks >= chunks else place for place in columns]
    passes, image = coefficients.place(kernel.stacks[number].passes, kernel.stacks[number].image)
    stages = {}
    for row_bits in sizes:
        rows_above = _row_moves(kernel, row_bits)
        read = Side(mode, (*parts, *rows_above), source.pitch, source.chunks(config), source.tail(config))
        write = Side(mode, (*kept, *rows_above), target.pitch, chunks)
        stages[row_bits] = build_stage(name, config, resized(kernel, passes, row_bits), image, read, write)
    return stages


def _part_place(config: CoreConfig, source: Matrix, column: int, place: Place) -> Place:
    """Where column bit ``column`` moves to the next part of a row."""
    part = source.elements // source.parts
    if source.parts == 1 or 1 << column < part:
        return place
    if part & (part - 1) or part < config.memory_elements:
        raise WingbeatError(f"elements: {part} in each part of a row; allowed are powers of two from "
                            f"{config.memory_elements} on")
    return place._replace(move=Move(source.rows * (1 << column) // part))


def _cut_rows(matrix: Matrix, parts: int) -> Matrix:
    """The same beats, every row as ``parts`` rows."""
    if matrix.pitch % parts:
        raise WingbeatError(f"pitch: {matrix.pitch} beats for {parts} matrices side by side; allowed are multiples of "
                            f"{parts}")
    return Matrix(matrix.base, matrix.rows * parts, matrix.elements // parts, matrix.pitch // parts)


def _kept(target: Matrix, batch: int) -> int:
    """Address bits that tell the matrices of ``target`` apart, whose rows each stand in ``batch`` rows of it."""
    if batch == 1:
        return 0
    for name, value in (("batch", batch), ("pitch", target.pitch)):
        if value & (value - 1):
            raise WingbeatError(f"{name}: {value} of the matrices that FOLD writes side by side; allowed are powers of "
                                "two")
    if target.base % (batch * target.pitch):
        raise WingbeatError(f"base: {target.base} of {batch} matrices that FOLD writes side by side; allowed are "
                            f"multiples of {batch * target.pitch}")
    return (batch - 1) * target.pitch


def _reversed(bits: int) -> range:
    return range(bits - 1, -1, -1)


def transform_rows(kernel: Kernel, source: Matrix, target: Matrix, coefficients: CoefficientSpace, name: str,
                   mode: MemoryMode = MemoryMode.ROWS, mirrored_rows: int = 0,
                   start: Start = "cold", batch: int = 1) -> list[Transfer]:
    """``target`` = Fourier transform of the complex rows of ``source``.

    ``mode`` ROWS keeps complex rows; REAL keeps the real part; FOLD also writes row q, 0 < q < ``mirrored_rows``, to
    row 2 * mirrored_rows - q of ``target``, columns mirrored likewise. With ``batch`` each q is that many rows, one of
    each matrix, in order everywhere. ``start``: see :func:`row_blocks`.

    Raises WingbeatError where ``batch`` > 1 or the pitch of ``target`` is no power of two, or ``target`` does not begin
    at a multiple of their product.
    """
    config, bits = kernel.config, kernel.log2_size
    sub = cell_bits(config, mode)
    folds = mode is MemoryMode.FOLD
    keep = _kept(target, batch) if folds else 0
    other = 2 * (target.base + mirrored_rows * batch * target.pitch) + target.chunks(config) - 1 if folds else 0
    stack = kernel.stacks[0]
    passes, image = coefficients.place(stack.passes, stack.image)

    def stage(row_bits: int) -> Stage:
        rows = _row_moves(kernel, row_bits)
        read = Side(MemoryMode.ROWS, (*row_places(config, MemoryMode.ROWS, bits, _reversed(bits), sub), *rows),
                    source.pitch, source.chunks(config))
        write = Side(mode, (*row_places(config, mode, bits, range(bits), sub), *rows), target.pitch,
                     target.chunks(config), other=other, keep=keep)
        return build_stage(name, config, resized(kernel, passes, row_bits), image, read, write)

    blocks = batch_blocks(kernel, source.rows, start, batch)
    stages = {row_bits: stage(row_bits) for row_bits, _, _ in blocks}
    tasks = []
    for row_bits, row, rows in blocks:
        mirrored = folds and (batch == 1 or row >= batch)
        fold = (int(row == 0), max(0, min(rows, batch * mirrored_rows - row))) if mirrored else (0, 0)
        tasks.append(Transfer(stages[row_bits], Block(source.base + row * source.pitch, rows,
                                                  target.base + row * target.pitch, rows, *fold)))
    return tasks


def transform_columns(kernel: Kernel, source: Matrix, target: Matrix, coefficients: CoefficientSpace, name: str,
                      split: bool = False) -> list[Transfer]:
    """``target`` = ``kernel`` on the columns of ``source``, words of a row being the columns.

    A Fourier transform of complex columns, or a butterfly matrix over the rows for each element of a word. With
    ``split`` a column of ``source`` holds two real columns as re and im; ``target`` gets rows 0..N/2 of the
    transforms of both, one word each. Rows that ``target`` does not have are not written.
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
        order = _reversed(bits) if kernel.mode is Mode.FFT else range(bits)
        read, write = (side(MemoryMode.COLUMNS, order, matrix) for order, matrix in
                       ((order, source), (range(bits), target)))
    stack = kernel.stacks[0]
    placed = coefficients.place(stack.passes, stack.image)
    width, tasks = 1 + split, []
    blocks = parts_of(source.chunks(config), groups << high)
    stages = [build_stage(name, config, *placed, read, write, last=last) for last in (False, True)]
    for first, chunks in blocks:
        # What follows reads rows: the last block writes them in order. Where it sticks out of the matrix its
        # descriptors end earlier.
        stage = stages[first == blocks[-1][0]]
        if chunks < groups << high:
            stage = replace(stage, read=replace(stage.read, chunks=chunks),
                            write=replace(stage.write, chunks=width * chunks))
        tasks.append(Transfer(stage, Block(source.base + first, min(kernel.size, source.rows),
                                           target.base + width * first, min(kernel.size, target.rows))))
    return tasks


def mixed_rows(tokens: int) -> int:
    """Rows of the token transform of real columns that are kept: the others follow by symmetry."""
    return tokens // 2 + 1


def mix_real(columns: Kernel, rows: Kernel, source: Matrix, between: Matrix, target: Matrix,
             coefficients: CoefficientSpace, name: str, batch: int = 1) -> list[Transfer]:
    """``target`` = Re(FFT2(``source``)) of real tokens x hidden elements (docs/reference/processor.md).

    ``columns`` transforms the tokens, ``rows`` the hidden elements; ``between`` holds tokens/2 + 1 rows of hidden
    complex words. With ``batch`` each row holds that token of all matrices side by side, in all three.

    Raises WingbeatError where ``batch`` > 1 or the pitch of one matrix in ``target`` is no power of two, or ``target``
    does not begin at a multiple of its pitch.
    """
    return [*transform_columns(columns, source, between, coefficients, f"{name}.tokens", split=True),
            *transform_rows(rows, _cut_rows(between, batch), _cut_rows(target, batch), coefficients, f"{name}.hidden",
                            MemoryMode.FOLD, source.rows // 2, "warm", batch)]
