"""The transpose of a matrix: rows of a block of the array, written column by column."""

from dataclasses import replace

import numpy as np

from ....hw.config import CoreConfig
from ....hw.isa.descriptor import Move
from ....hw.isa.instruction import MemoryMode, Mode, Pass
from .assemble import Transfer
from .matrix import Matrix, bits_for
from .operations import row_places
from .stage import Block, Place, Side, Stage, build_stage, cell_bits

__all__ = ["transpose"]


def transpose(config: CoreConfig, source: Matrix, target: Matrix, name: str) -> list[Transfer]:
    """``target`` = the transpose of ``source``: a row for each of its elements."""
    sub, lane_bits = cell_bits(config, MemoryMode.PAIRS), config.layers
    engines, groups, elements = config.engines, config.beat_groups, config.memory_elements
    least = max(bits_for(elements), lane_bits + sub)
    bits = min(max(least, bits_for(source.elements)), config.index_bits - lane_bits)
    rows_of = lambda row_bits: 2 * engines << row_bits
    row_bits = min(config.index_bits - bits, max(lane_bits, bits_for(-(-source.rows // (2 * engines)))))
    read = [*row_places(config, MemoryMode.PAIRS, bits, range(bits), sub),
            *(Place("move", move=Move(2 << bit)) for bit in range(lane_bits)),
            *(Place("move", move=Move(2 * engines << bit)) for bit in range(lane_bits, row_bits))]
    write = [*(Place("move", move=Move(1 << bit)) for bit in range(bits)),
             *(Place("lane", bit) for bit in range(lane_bits)),
             *(Place("move", move=Move(0, groups << bit - lane_bits)) for bit in range(lane_bits, row_bits))]
    count = 1 << bits + row_bits - lane_bits
    passes = [Pass(Mode.PASS, 0, count, 0, (0,) * config.layers, first=True, last=True)]
    tasks: list[Transfer] = []
    stages: dict[tuple[int, int], Stage] = {}
    for first in range(0, source.rows, rows_of(row_bits)):
        for chunk in range(0, source.chunks(config), (1 << bits) // elements):
            left = min((1 << bits) // elements, source.chunks(config) - chunk)
            beats = min(rows_of(row_bits) // elements, target.pitch - first // elements)
            if (left, beats) not in stages:
                sides = (Side(MemoryMode.PAIRS, tuple(read), source.pitch, left),
                         Side(MemoryMode.COLUMNS, tuple(write), target.pitch, beats))
                stage = build_stage(name, config, passes, np.empty((0, 3), dtype=np.int64), *sides)
                stages[left, beats] = _spread(config, stage)
            rows = min(source.rows - first, rows_of(row_bits))
            at = target.base + chunk * elements * target.pitch + first // elements
            block = Block(source.base + first * source.pitch + chunk, rows, at, left * elements)
            tasks.append(Transfer(stages[left, beats], block))
    return tasks


def _spread(config: CoreConfig, stage: Stage) -> Stage:
    """Engines of a beat take rows P row pairs apart, so that neighbouring row pairs are the lanes of a beat of the
    transpose."""
    engines, apart = config.engines_per_beat, 2 << config.layers
    sub = list(stage.read.sub)
    for bit in range((engines - 1).bit_length()):
        sub[1 + bit] = Move(apart << bit)
    return replace(stage, read=replace(stage.read, sub=tuple(sub), group=Move(apart * engines)))
