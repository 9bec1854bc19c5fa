"""Dense products: rows of memory times a matrix that streams past, as the blocks that do the work."""

from typing import NamedTuple

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.descriptor import Move
from ....hw.isa.instruction import Mac, MemoryMode
from ....hw.numeric import MAC_TERMS
from ....sim.model.ring import matrix_beats
from .assemble import Transfer
from .matrix import Matrix
from .operations import row_places
from .stage import Block, MatrixStream, Place, Side, Stage, build_mac_stage, cell_bits, line

__all__ = ["Tiling", "tiling", "dense_image", "multiply_dense"]

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
    merge: bool = False
    keep: bool = False


def _padded(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def _bits(value: int) -> int:
    """Bits that count ``value`` things."""
    return (value - 1).bit_length()


def _part_inputs(config: CoreConfig, source: Matrix) -> int:
    """Inputs that a part of a row takes: a power of two where there are several, of which some may be zero."""
    chunks = source.chunks(config)
    return config.memory_elements * (chunks if source.parts == 1 else 1 << _bits(chunks))


def _out_base(config: CoreConfig, row_bits: int, inputs: int, outputs: int) -> int | None:
    """First row of the banks for the results of 2^row_bits row pairs; None where they have no room. Where it can be
    they stand behind all that a load writes, zeros included, so that the next block enters while they leave."""
    in_stride, out_stride = _bits(inputs) - config.layers, _bits(outputs) - config.layers
    region = 1 << row_bits + out_stride
    last_input = ((1 << row_bits) - 1 << in_stride) + inputs // config.lanes
    for end in (1 << row_bits + in_stride, last_input):
        base = _padded(end, region)
        if base + region <= config.bank_rows and 1 << row_bits + in_stride <= config.bank_rows:
            return base
    return None


def tiling(config: CoreConfig, source: Matrix, outputs: int, most_rows: int | None = None) -> Tiling:
    """Row pairs, outputs and inputs of a block, of ``most_rows`` rows at most. More row pairs need fewer words of the
    matrix a cycle, more outputs fewer words of the rows: of what fits a half the one with the least traffic, which
    keeps the memory slow. Inputs are cut into chunks only where no block has room for all of them.

    Raises WingbeatError naming the field that is too small.
    """
    if not config.ring_words:
        raise WingbeatError("array.ring_words: 0; a dense product needs a ring")
    chunk, padded = config.memory_elements, source.parts * _part_inputs(config, source)
    if padded > MAC_TERMS:
        raise WingbeatError(f"inputs: {padded} of a dense product; allowed are 1..{MAC_TERMS}")
    least = chunk if config.partial_words else padded
    if least // config.layers > config.ring_words:
        raise WingbeatError(f"array.ring_words: {config.ring_words} are too few for a row of {padded} inputs; allowed "
                            f"are {1 << _bits(least // config.layers)} and more")
    found = _least_traffic(config, source, outputs, padded, most_rows)
    size = 1 << _bits(padded)
    while found is None and config.partial_words and size > chunk:
        size //= 2
        found = _least_traffic(config, source, outputs, size, most_rows)
    if found is None:
        if least == padded:
            raise WingbeatError(f"array.half_words: {config.half_words} are too few for a row of {padded} inputs and "
                                f"{chunk} outputs; allowed are {1 << _bits(padded + chunk)} and more, or "
                                "array.partial_words")
        raise WingbeatError(f"array.partial_words: {config.partial_words} are too few for {chunk} outputs; allowed are "
                            f"{chunk // config.layers} and more")
    return found


def _least_traffic(config: CoreConfig, source: Matrix, outputs: int, inputs: int,
                   most_rows: int | None) -> Tiling | None:
    """The tiling with ``inputs`` in a chunk; None where none fits a half, the ring and the kept sums."""
    unit, chunk = 2 * config.engines, config.memory_elements
    is_whole = inputs == source.parts * _part_inputs(config, source)
    most_pairs = _bits(-(-source.rows // unit))
    if most_rows is not None:
        most_pairs = min(most_pairs, max(1, most_rows // unit).bit_length() - 1)
    found = []
    for row_bits in range(most_pairs + 1):
        for output_bits in range(_bits(chunk), _bits(_padded(outputs, chunk)) + 1):
            is_kept = is_whole or 1 << row_bits + output_bits <= config.partial_words * config.layers
            if is_kept and _out_base(config, row_bits, inputs, 1 << output_bits) is not None:
                # Elements a multiplication: of the matrix, of the rows.
                traffic = 1 / (unit << row_bits) + 1 / (1 << output_bits)
                found.append((traffic, row_bits, output_bits))
    if not found or inputs // config.layers > config.ring_words:
        return None
    _, row_bits, output_bits = min(found)
    left, tiles = _padded(outputs, chunk), []
    while left:
        tile = min(1 << output_bits, 1 << left.bit_length() - 1)
        tiles.append(tile)
        left -= tile
    return Tiling(row_bits, tuple(tiles), inputs)


def _parts(config: CoreConfig, source: Matrix, cut: Tiling) -> list[_Part]:
    """Parts of the matrix in the order of its beats: of each tile all chunks that are not padding alone."""
    part = _part_inputs(config, source)
    padded, used = source.parts * part, config.memory_elements * source.chunks(config)
    firsts = [first for first in range(0, padded, cut.inputs) if first % part < used]
    output, found = 0, []
    for outputs in cut.outputs:
        found += [_Part(output, outputs, first, min(cut.inputs, padded - first), first > 0, first < firsts[-1])
                  for first in firsts]
        output += outputs
    return found


def dense_image(config: CoreConfig, weights: np.ndarray, source: Matrix, cut: Tiling) -> np.ndarray:
    """Beats of ``weights``, elements int64 (outputs, inputs), as :func:`multiply_dense` wants them in memory for rows
    of ``source`` and this :func:`tiling`."""
    outputs, part = sum(cut.outputs), _part_inputs(config, source)
    padded = np.zeros((outputs, source.parts, part), dtype=np.int64)
    padded[:len(weights), :, :source.elements // source.parts] = weights.reshape(len(weights), source.parts, -1)
    matrix = padded.reshape(outputs, -1)
    return np.concatenate([matrix_beats(config, matrix[at.output:at.output + at.outputs, at.input:at.input + at.inputs])
                           for at in _parts(config, source, cut)])


def multiply_dense(config: CoreConfig, source: Matrix, target: Matrix, cut: Tiling, matrix_at: int, shift: int,
                   name: str) -> list[Transfer]:
    """``target`` = rows of ``source`` times the matrix whose beats (:func:`dense_image`) stand from ``matrix_at`` on,
    shifted right by ``shift`` (hw/numeric.py)."""
    unit, chunk, parts = 2 * config.engines, config.memory_elements, _parts(config, source, cut)
    tasks: list[Transfer] = []
    stages: dict[tuple[int, int, _Window, bool, bool], Stage] = {}
    first = 0
    while first < source.rows:
        left = source.rows - first
        row_bits = min(cut.row_bits, max(0, (left // unit).bit_length() - 1))
        rows, at = min(left, unit << row_bits), matrix_at
        for number, part in enumerate(parts):
            window, read_at = _window(config, source, part)
            key = (row_bits, part.outputs, window, part.merge, part.keep)
            if key not in stages:
                stages[key] = _stage(config, source, target, row_bits, part, window, shift,
                                     f"{name}.{number}" if len(parts) > 1 else name)
            write_at = target.base + first * target.pitch + part.output // chunk
            block = Block(read_at + first * source.pitch, source.rows * (window.parts - 1) + rows, write_at,
                          0 if part.keep else rows, matrix_at=at)
            tasks.append(Transfer(stages[key], block))
            at += part.outputs * (part.inputs // chunk)
        first += rows
    return tasks


class _Window(NamedTuple):
    """What a block reads of a row: ``inputs`` with their padding, of so many ``parts``, in which ``chunks`` beats hold
    elements, in the last one ``tail``, 0 for all."""

    inputs: int
    parts: int
    chunks: int
    tail: int


def _window(config: CoreConfig, source: Matrix, part: _Part) -> tuple[_Window, int]:
    """The inputs of a part of the matrix, and where they stand for the first row."""
    chunk, size = config.memory_elements, _part_inputs(config, source)
    number, begin = part.input // size, part.input % size // chunk
    chunks = min(part.inputs // chunk, source.chunks(config) - begin)
    tail = source.tail(config) if begin + chunks == source.chunks(config) else 0
    at = source.base + number * source.rows * source.pitch + begin
    return _Window(part.inputs, max(1, part.inputs // size), chunks, tail), at


def _stage(config: CoreConfig, source: Matrix, target: Matrix, row_bits: int, part: _Part, window: _Window, shift: int,
           name: str) -> Stage:
    """Where the sums are kept the block ends with a few of its inputs, which no WRITE puts into memory."""
    mode, chunk, lanes, size = MemoryMode.PAIRS, config.memory_elements, config.lanes, _part_inputs(config, source)
    inputs, outputs, stored = part.inputs, part.outputs, chunk if part.keep else part.outputs
    in_bits, out_bits = _bits(inputs), _bits(stored)
    row_moves = [Place("move", move=Move(2 * config.engines << bit)) for bit in range(row_bits)]
    columns, kept = (row_places(config, mode, bits, range(bits), cell_bits(config, mode))
                     for bits in (in_bits, out_bits))
    # The parts of a row are rows of their own in memory.
    columns = [place if source.parts == 1 or 1 << bit < size else
               Place("move", move=Move(source.rows * (1 << bit) // size)) for bit, place in enumerate(columns)]
    in_stride, out_stride = in_bits - config.layers, _bits(outputs) - config.layers
    out_base = 0 if part.keep else _out_base(config, row_bits, inputs, outputs)
    assert out_base is not None, "the tiling has found room"
    mac = Mac(inputs // lanes, outputs // lanes, 1 << row_bits, in_stride, out_base, out_stride, shift,
              merge=part.merge, keep=part.keep, first=True, last=True)
    beats, pieces = outputs * (inputs // chunk), 1
    while beats > _LONGEST_FETCH:
        beats, pieces = beats // 2, 2 * pieces
    read = Side(mode, (*columns, *row_moves), source.pitch, window.chunks, window.tail)
    write = Side(mode, (*kept, *([] if part.keep else row_moves)), target.pitch, stored // chunk)
    return build_mac_stage(name, config, mac, MatrixStream(line(config, beats), beats, pieces), read, write)
