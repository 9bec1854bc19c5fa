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
    """How a product is cut: 2^row_bits row pairs an engine in a block; outputs of every tile, powers of two."""

    row_bits: int
    outputs: tuple[int, ...]


def _padded(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def _bits(value: int) -> int:
    """Bits that count ``value`` things."""
    return (value - 1).bit_length()


def _part(config: CoreConfig, source: Matrix) -> int:
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
    """Row pairs and outputs of a block, of ``most_rows`` rows at most. More row pairs need fewer words of the matrix a
    cycle, more outputs fewer words of the rows: of what fits a half the one with the least traffic, which keeps the
    memory slow.

    Raises WingbeatError naming the field that is too small.
    """
    if not config.ring_words:
        raise WingbeatError("array.ring_words: 0; a dense product needs a ring")
    chunk, padded, rows = config.memory_elements, source.parts * _part(config, source), source.rows
    if padded > MAC_TERMS:
        raise WingbeatError(f"inputs: {padded} of a dense product; allowed are 1..{MAC_TERMS}")
    if padded // config.layers > config.ring_words:
        raise WingbeatError(f"array.ring_words: {config.ring_words} are too few for a row of {padded} inputs; allowed "
                            f"are {1 << _bits(padded // config.layers)} and more")
    most_pairs = _bits(-(-rows // (2 * config.engines)))
    if most_rows is not None:
        most_pairs = min(most_pairs, max(1, most_rows // (2 * config.engines)).bit_length() - 1)
    found = []
    for row_bits in range(most_pairs + 1):
        for output_bits in range(_bits(chunk), _bits(_padded(outputs, chunk)) + 1):
            if _out_base(config, row_bits, padded, 1 << output_bits) is not None:
                # Elements a multiplication: of the matrix, of the rows.
                traffic = 1 / (2 * config.engines << row_bits) + 1 / (1 << output_bits)
                found.append((traffic, row_bits, output_bits))
    if not found:
        raise WingbeatError(f"array.half_words: {config.half_words} are too few for a row of {padded} inputs and "
                            f"{chunk} outputs; allowed are {1 << _bits(padded + chunk)} and more")
    _, row_bits, output_bits = min(found)
    left, tiles = _padded(outputs, chunk), []
    while left:
        tile = min(1 << output_bits, 1 << left.bit_length() - 1)
        tiles.append(tile)
        left -= tile
    return Tiling(row_bits, tuple(tiles))


def dense_image(config: CoreConfig, weights: np.ndarray, source: Matrix) -> np.ndarray:
    """Beats of ``weights``, elements int64 (outputs, inputs), as :func:`multiply_dense` wants them in memory for rows
    of ``source``."""
    outputs, part = _padded(len(weights), config.memory_elements), _part(config, source)
    padded = np.zeros((outputs, source.parts, part), dtype=np.int64)
    padded[:len(weights), :, :source.elements // source.parts] = weights.reshape(len(weights), source.parts, -1)
    return matrix_beats(config, padded.reshape(outputs, -1))


def multiply_dense(config: CoreConfig, source: Matrix, target: Matrix, matrix_at: int, shift: int, name: str,
                   most_rows: int | None = None) -> list[Transfer]:
    """``target`` = rows of ``source`` times the matrix whose beats (:func:`dense_image`) stand from ``matrix_at`` on,
    shifted right by ``shift`` (hw/numeric.py). ``most_rows``: of a block. Raises WingbeatError as :func:`tiling`."""
    chunk = config.memory_elements
    inputs = source.parts * _part(config, source)
    cut = tiling(config, source, target.elements, most_rows)
    unit = 2 * config.engines
    tasks, first = [], 0
    stages: dict[tuple[int, int], Stage] = {}
    several = len(cut.outputs) > 1
    above = source.rows * (source.parts - 1)  # rows of memory in front of the last part
    while first < source.rows:
        left = source.rows - first
        row_bits = min(cut.row_bits, max(0, (left // unit).bit_length() - 1))
        rows, output = min(left, unit << row_bits), 0
        for number, outputs in enumerate(cut.outputs):
            if (row_bits, outputs) not in stages:
                stages[row_bits, outputs] = _stage(config, source, target, row_bits, outputs, shift,
                                                   f"{name}.{number}" if several else name)
            at = matrix_at + output * inputs // chunk
            block = Block(source.base + first * source.pitch, above + rows,
                          target.base + first * target.pitch + output // chunk, rows, matrix_at=at)
            tasks.append(Transfer(stages[row_bits, outputs], block))
            output += outputs
        first += rows
    return tasks


def _stage(config: CoreConfig, source: Matrix, target: Matrix, row_bits: int, outputs: int, shift: int,
           name: str) -> Stage:
    mode, chunk, lanes, part = MemoryMode.PAIRS, config.memory_elements, config.lanes, _part(config, source)
    inputs = source.parts * part
    in_bits, out_bits = _bits(inputs), _bits(outputs)
    row_moves = [Place("move", move=Move(2 * config.engines << bit)) for bit in range(row_bits)]
    columns, kept = (row_places(config, mode, bits, range(bits), cell_bits(config, mode))
                     for bits in (in_bits, out_bits))
    # The parts of a row are rows of their own in memory.
    columns = [place if source.parts == 1 or 1 << bit < part else
               Place("move", move=Move(source.rows * (1 << bit) // part)) for bit, place in enumerate(columns)]
    in_stride, out_stride = in_bits - config.layers, out_bits - config.layers
    out_base = _out_base(config, row_bits, inputs, outputs)
    assert out_base is not None, "the tiling has found room"
    mac = Mac(inputs // lanes, outputs // lanes, 1 << row_bits, in_stride, out_base, out_stride, shift, first=True,
              last=True)
    beats, pieces = outputs * (inputs // chunk), 1
    while beats > _LONGEST_FETCH:
        beats, pieces = beats // 2, 2 * pieces
    read = Side(mode, (*columns, *row_moves), source.pitch, source.chunks(config), source.tail(config))
    write = Side(mode, (*kept, *row_moves), target.pitch, outputs // chunk)
    return build_mac_stage(name, config, mac, MatrixStream(line(config, beats), beats, pieces), read, write)
