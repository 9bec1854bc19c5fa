"""Softmax attention: queries times keys, probabilities times values, of all heads, as the blocks that do the work.

A block holds rows of queries of one head. Keys and values stream past in chunks; nothing of the size of queries times
keys leaves the array. After Kao et al., FLAT (arXiv 2107.06419), with tiles of keys.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.descriptor import Descriptor, Move
from ....hw.isa.instruction import Destination, Mac, Mask, MemoryMode, Mode, Pass, Softmax
from ....hw.numeric import MAC_TERMS
from ....hw.softmax.parameters import state_cycles
from .assemble import Transfer
from .matrix import Matrix, bits_for, round_up
from .operations import row_places
from .stage import Block, MatrixPiece, MatrixStream, Place, Side, Stage, build_mac_stage, build_stage, cell_bits

__all__ = ["Heads", "Keys", "Tiles", "Attend", "padded_keys", "transpose"]


def padded_keys(config: CoreConfig, tokens: int) -> int:
    """So many keys are read of ``tokens``: whole beats, and no fewer than keep a finisher from being late."""
    return round_up(max(tokens, _fewest(config)), config.memory_elements)


def _fewest(config: CoreConfig) -> int:
    """Inputs of a MAC whose results a finisher makes, at least."""
    return 2 * config.lanes * config.layers * (config.engines // config.finishers)


class Heads(NamedTuple):
    """``queries`` heads of ``features`` elements each; as many of them as there are for each of ``keys`` share one of
    keys and values."""

    queries: int
    keys: int
    features: int


class Keys(NamedTuple):
    """Which keys count: not those behind a query where ``causal``, nor those further away than ``window``; number of
    the entry in the table of lengths, less one, that says how many there are, 0 where all count. ``by_input``: that
    entry is of the first input, those behind it are of the others."""

    causal: bool = False
    window: int | None = None
    length: int = 0
    by_input: bool = False

    def of(self, number: int) -> "Keys":
        """Those of one input."""
        return self._replace(length=self.length + number, by_input=False) if self.by_input else self


class Tiles(NamedTuple):
    """2^``row_bits`` row pairs an engine in a block, and ``keys`` in a chunk."""

    row_bits: int
    keys: int


@dataclass(frozen=True)
class Attend:
    """``queries`` and ``keys`` of each input: rows of all their heads. ``values``: a row for each feature of all heads,
    the keys one after the other (:func:`transpose`), padded to whole beats; so many rows of ``keys`` may be read.
    ``tokens``: of keys.

    Raises WingbeatError naming the field that is too small.
    """

    config: CoreConfig
    queries: tuple[Matrix, ...]
    keys: tuple[Matrix, ...]
    values: tuple[Matrix, ...]
    heads: Heads
    tokens: int
    counts: Keys = Keys()

    @property
    def padded(self) -> int:
        """Keys with their padding."""
        return padded_keys(self.config, self.tokens)

    # --- how it is cut ------------------------------------------------------------------------------

    @cached_property
    def tiles(self) -> Tiles:
        """Of what fits the one with the fewest cycles, then with the least traffic."""
        self._check()
        found = sorted((self.cost(tiles), tiles) for tiles in self.choices())
        if not found:
            raise WingbeatError(f"array.half_words: {self.config.half_words}, ring_words: {self.config.ring_words}, "
                                f"partial_words: {self.config.partial_words}: one of them is too small for heads of "
                                f"{self.heads.features} features and {self.tokens} keys; allowed are larger ones")
        return found[0][1]

    def choices(self) -> Iterator[Tiles]:
        """All tiles that fit."""
        config = self.config
        most = min(bits_for(-(-self.queries[0].rows // (2 * config.engines))), bits_for(config.softmax_pairs))
        most = max(most, self._least_bits)
        sizes = {min(self.padded, config.memory_elements << bits) for bits in range(13)}
        for row_bits in range(most + 1):
            for keys in sorted(sizes):
                if 1 << row_bits <= config.softmax_pairs and self._fits(Tiles(row_bits, keys)):
                    yield Tiles(row_bits, keys)

    def cost(self, tiles: Tiles) -> tuple[float, float]:
        """Cycles of a head about, and words of memory a cycle."""
        config, d = self.config, self.heads.features
        rows = 2 * config.engines << tiles.row_bits
        steps = (d << tiles.row_bits + 1) // config.lanes  # a key, all outputs of a cycle at once
        cycles = sum(steps * keys / config.layers + 2 * _GAP for first in range(0, self.queries[0].rows, rows)
                     for _, keys in self._chunks(first, rows, tiles.keys))
        return cycles, 1 / rows

    def _check(self) -> None:
        config, d = self.config, self.heads.features
        if not config.softmax_pairs:
            raise WingbeatError("array.softmax_pairs: 0; allowed are powers of two, for attention")
        if d % config.memory_elements:
            raise WingbeatError(f"heads: of {d} features; allowed are multiples of {config.memory_elements}, a beat")
        if max(self.tokens, d) > MAC_TERMS // (1 + (config.element_width >= config.coefficient_width)):
            raise WingbeatError(f"tokens: {self.tokens} keys of {d} features; allowed are {MAC_TERMS} of each, half as "
                                "many where elements are as wide as coefficients")
        if d < _fewest(config):
            raise WingbeatError(f"heads: of {d} features; allowed are {_fewest(config)} and more for "
                                f"array.finishers = {config.finishers}")

    def _fits(self, tiles: Tiles) -> bool:
        config, d, keys = self.config, self.heads.features, tiles.keys
        chunks, pairs = -(-self.padded // keys), 1 << tiles.row_bits
        sums = config.lanes // config.layers << bits_for(d // config.lanes) + tiles.row_bits
        least = min(d, keys, self.padded % keys or keys)
        return (self._base(tiles) is not None and 2 * max(d, keys) // config.layers <= config.ring_words
                and (chunks == 1 or sums <= config.partial_words)
                and least >= _fewest(config) and least // config.layers * pairs >= state_cycles(config)
                and tiles.row_bits >= self._least_bits)

    @property
    def _least_bits(self) -> int:
        """Bits of the row pairs with which a row does not come back too soon."""
        config = self.config
        between = min(self.heads.features, self.padded) // config.layers
        return bits_for(-(-state_cycles(config) // between))

    def _base(self, tiles: Tiles) -> int | None:
        """First row of the banks for the probabilities; None where they have no room."""
        config, bits = self.config, self.config.layers
        own = 1 << tiles.row_bits + bits_for(self.heads.features) - bits
        region = 1 << tiles.row_bits + bits_for(tiles.keys) - bits
        base = max(own, region)
        return base if base + region <= config.bank_rows else None

    # --- blocks -------------------------------------------------------------------------------------

    def transfers(self, targets: tuple[Matrix, ...], shift: int, divide: int, name: str) -> list[Transfer]:
        """``targets``: rows of the results of each input. ``shift`` of the logits; ``divide``: of the division."""
        unit, found = 2 * self.config.engines, []
        stages: dict[tuple[int, int, Keys], Stage] = {}
        for number, (queries, target) in enumerate(zip(self.queries, targets)):
            counts = self.counts.of(number)
            for head in range(self.heads.queries):
                first = 0
                while first < queries.rows:
                    left = queries.rows - first
                    row_bits = min(self.tiles.row_bits, max(self._least_bits, bits_for(-(-left // unit))))
                    rows = min(left, unit << row_bits)
                    key = row_bits, first if self._is_banded else 0, counts
                    if key not in stages:
                        stages[key] = self._stage(target, row_bits, key[1], rows, shift, divide, name, counts)
                    at = head * self.heads.features // self.config.memory_elements
                    block = Block(queries.base + first * queries.pitch + at, rows, target.base + first * target.pitch
                                  + at, rows, matrix_at=self._places(stages[key], number, head))
                    found.append(Transfer(stages[key], block))
                    first += rows
        return found

    @property
    def _is_banded(self) -> bool:
        return self.counts.causal or self.counts.window is not None

    def _chunks(self, first: int, rows: int, size: int) -> list[tuple[int, int]]:
        """First key and number of keys, ``size`` at most, of the chunks that some row of a block looks at; one at
        least."""
        window = self.counts.window
        end = min(self.padded, first + rows) if self.counts.causal else self.padded
        begin = 0
        if window is not None:
            begin = max(0, first - window) // size * size
            end = min(end, first + rows + window)
        return [(at, min(size, self.padded - at)) for at in range(begin, max(end, begin + 1), size)]

    def _places(self, stage: Stage, number: int, head: int) -> tuple[int, ...]:
        """First beats of the chunks of keys and values of a head."""
        keys, values, d = self.keys[number], self.values[number], self.heads.features
        own, elements = head * self.heads.keys // self.heads.queries, self.config.memory_elements
        places = []
        assert stage.matrix is not None
        for piece in range(0, len(stage.matrix.pieces), 2):
            at = stage.matrix.firsts[piece // 2]
            places += [keys.base + at * keys.pitch + own * d // elements,
                       values.base + own * d * values.pitch + at // elements]
        return tuple(places)

    def _stage(self, target: Matrix, row_bits: int, first: int, rows: int, shift: int, divide: int, name: str,
               counts: Keys) -> Stage:
        config, d, mode = self.config, self.heads.features, MemoryMode.PAIRS
        queries, bits, lane_bits = self.queries[0], bits_for(d), self.config.layers
        chunks = self._chunks(first, rows, self.tiles.keys)
        base = self._base(Tiles(row_bits, self.tiles.keys))
        assert base is not None
        passes: list[Mask | Mac] = []
        pieces: list[MatrixPiece] = []
        for number, (at, count) in enumerate(chunks):
            is_first, is_last = number == 0, number == len(chunks) - 1
            stride = bits_for(self.tiles.keys) - lane_bits
            passes += [
                _mask(counts, at, first),
                Mac(d // config.lanes, count // config.lanes, 1 << row_bits, bits - lane_bits, base, stride, shift,
                    softmax=Softmax.LOGITS, fresh=is_first, first=is_first),
                Mac(count // config.lanes, d // config.lanes, 1 << row_bits, stride, base, bits - lane_bits, divide,
                    softmax=Softmax.VALUES, merge=not is_first, keep=not is_last, last=is_last)]
            pieces += [_piece(config, self.keys[0], count, d), _piece(config, self.values[0], d, count)]
        columns = row_places(config, mode, bits, range(bits), cell_bits(config, mode))
        moves = [Place("move", move=Move(2 * config.engines << bit)) for bit in range(row_bits)]
        sides = [Side(mode, (*columns, *moves), matrix.pitch, d // config.memory_elements)
                 for matrix in (queries, target)]
        stream = MatrixStream(tuple(pieces), Destination.RING, len(chunks), True, tuple(at for at, _ in chunks))
        shape = Mac(d // config.lanes, d // config.lanes, 1 << row_bits, bits - lane_bits, 0, bits - lane_bits, 0)
        return replace(build_mac_stage(name, config, shape, stream, *sides), passes=tuple(passes))


_GAP = 96  # cycles about from the last group of a MAC to the first of the next one


def _mask(counts: Keys, key: int, first: int) -> Mask:
    """Of the keys from number ``key`` on, for rows from ``first`` on."""
    causal, window, length, _ = counts
    if window is None:
        return Mask(key, first if causal else 0, causal, 0, length)
    limit = first if causal else first + window
    return Mask(key, limit, True, window if causal else 2 * window, length)


def _piece(config: CoreConfig, matrix: Matrix, rows: int, inputs: int) -> MatrixPiece:
    """``rows`` rows of ``inputs`` elements as a MAC takes them: of each S rows chunk after chunk."""
    chunks, groups, layers = inputs // config.memory_elements, config.beat_groups, config.layers
    sub = [*(Move(1 << bit) for bit in range(bits_for(layers))),
           *(Move(0, 1 << bit) for bit in range(bits_for(chunks)))]
    steps = -(-rows // (layers * groups))
    moves = tuple(Move(layers * groups << bit) for bit in range(bits_for(steps)))
    descriptor = Descriptor(tuple(sub), Move(layers), moves, matrix.pitch, chunks, steps=steps)
    return MatrixPiece(descriptor, rows, rows * chunks)


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
