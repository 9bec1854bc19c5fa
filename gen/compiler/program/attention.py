"""Softmax attention: queries times keys, probabilities times values, of all heads, as the blocks that do the work.

A block holds rows of queries of one head. Keys and values stream past in chunks; nothing of the size of queries times
keys leaves the array. After Kao et al., FLAT (arXiv 2107.06419), with tiles of keys.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from ....hw.config import CoreConfig
from ....hw.isa.descriptor import Descriptor, Move
from ....hw.isa.instruction import Destination, Mac, Mask, MemoryMode, Softmax
from .assemble import Transfer
from .granularity import Granularity, Keys, Tiles
from .matrix import Matrix, bits_for
from .operations import row_places
from .stage import Block, MatrixPiece, MatrixStream, Place, Side, Stage, build_mac_stage, cell_bits
from .transpose import transpose

__all__ = ["Heads", "Attend"]

_TURNED = 2  # heads whose values are turned one after the other


class Heads(NamedTuple):
    """``queries`` heads of ``features`` elements each; as many of them as there are for each of ``keys`` share one of
    keys and values."""

    queries: int
    keys: int
    features: int


@dataclass(frozen=True)
class Attend:
    """``queries``, ``keys`` and ``values`` of each input: rows of all heads; so many rows of ``keys`` may be read.
    ``turned``: room for the transposes of the values, a row for each feature of all heads, the keys one after the
    other, padded to whole beats. ``tokens``: of keys. ``tiles`` are chosen for a memory of ``words_per_cycle`` (0: a
    beat) where they are not given.

    Raises WingbeatError naming the field that is too small.
    """

    config: CoreConfig
    queries: tuple[Matrix, ...]
    keys: tuple[Matrix, ...]
    values: tuple[Matrix, ...]
    turned: tuple[Matrix, ...]
    heads: Heads
    tokens: int
    counts: Keys = Keys()
    tiles: Tiles | None = None
    words_per_cycle: float = 0

    @cached_property
    def granularity(self) -> Granularity:
        """What there is to choose from."""
        heads = self.heads.queries * len(self.queries)
        return Granularity(self.config, heads, self.heads.features, self.queries[0].rows, self.tokens, self.counts)

    @cached_property
    def chosen(self) -> Tiles:
        """``tiles``, or the best ones. Raises WingbeatError naming the field that is too small."""
        return self.tiles or self.granularity.best(self.words_per_cycle)

    def transfers(self, targets: tuple[Matrix, ...], shift: int, divide: int, name: str) -> list[Transfer]:
        """``targets``: rows of the results of each input. ``shift`` of the logits; ``divide``: of the division.

        The values of two heads are turned while the two before them are multiplied: memory and array are busy at once,
        and an even number of blocks between them leaves a half to be loaded.
        """
        groups = [(number, first, min(_TURNED, self.heads.keys - first)) for number in range(len(self.queries))
                  for first in range(0, self.heads.keys, _TURNED)]
        stages: dict[tuple[int, int, Keys], Stage] = {}
        tasks = self._turn(*groups[0], f"{name}.values")
        for group, following in zip(groups, [*groups[1:], None]):
            if following is not None:
                tasks += self._turn(*following, f"{name}.values")
            tasks += self._blocks(group, targets, stages, (shift, divide), name)
        return tasks

    # --- blocks -------------------------------------------------------------------------------------

    def _turn(self, number: int, first: int, count: int, name: str) -> list[Transfer]:
        """The transposes of the values of ``count`` heads."""
        d, values, turned = self.heads.features, self.values[number], self.turned[number]
        at = values.base + first * d // self.config.memory_elements
        return transpose(self.config, replace(values, base=at, elements=count * d),
                         replace(turned, base=turned.base + first * d * turned.pitch, rows=count * d), name)

    def _blocks(self, group: tuple[int, int, int], targets: tuple[Matrix, ...],
                stages: dict[tuple[int, int, Keys], Stage], shifts: tuple[int, int], name: str) -> list[Transfer]:
        """The queries of some heads of keys of an input."""
        number, first_head, count = group
        queries, target, share = self.queries[number], targets[number], self.heads.queries // self.heads.keys
        counts, found = self.counts.of(number), []
        for head in range(first_head * share, (first_head + count) * share):
            at = head * self.heads.features // self.config.memory_elements
            for first, rows, row_bits in self.granularity.blocks(self.chosen):
                key = row_bits, first if self._is_banded else 0, counts.of_head(head)
                if key not in stages:
                    stages[key] = self._stage(target, row_bits, key[1], rows, shifts, name, key[2])
                block = Block(queries.base + first * queries.pitch + at, rows, target.base + first * target.pitch + at,
                              rows, matrix_at=self._places(stages[key], number, head))
                found.append(Transfer(stages[key], block))
        return found

    @property
    def _is_banded(self) -> bool:
        return self.counts.causal or self.counts.window is not None

    def _places(self, stage: Stage, number: int, head: int) -> tuple[int, ...]:
        """First beats of the chunks of keys and values of a head."""
        keys, values, d = self.keys[number], self.turned[number], self.heads.features
        own, elements = head * self.heads.keys // self.heads.queries, self.config.memory_elements
        places = []
        assert stage.matrix is not None
        for piece in range(0, len(stage.matrix.pieces), 2):
            at = stage.matrix.firsts[piece // 2]
            places += [keys.base + at * keys.pitch + own * d // elements,
                       values.base + own * d * values.pitch + at // elements]
        return tuple(places)

    def _stage(self, target: Matrix, row_bits: int, first: int, rows: int, shifts: tuple[int, int], name: str,
               counts: Keys) -> Stage:
        config, d, mode = self.config, self.heads.features, MemoryMode.PAIRS
        queries, bits, lane_bits = self.queries[0], bits_for(d), self.config.layers
        chunks = self.granularity.chunks(first, rows, self.chosen.keys)
        base = self.granularity.base(Tiles(row_bits, self.chosen.keys))
        assert base is not None
        passes: list[Mask | Mac] = []
        pieces: list[MatrixPiece] = []
        for number, (at, count) in enumerate(chunks):
            is_first, is_last = number == 0, number == len(chunks) - 1
            stride = bits_for(self.chosen.keys) - lane_bits
            passes += [
                _mask(counts, at, first),
                Mac(d // config.lanes, count // config.lanes, 1 << row_bits, bits - lane_bits, base, stride, shifts[0],
                    softmax=Softmax.LOGITS, fresh=is_first, first=is_first),
                Mac(count // config.lanes, d // config.lanes, 1 << row_bits, stride, base, bits - lane_bits, shifts[1],
                    softmax=Softmax.VALUES, merge=not is_first, keep=not is_last, last=is_last)]
            pieces += [_piece(config, self.keys[0], count, d), _piece(config, self.turned[0], d, count)]
        columns = row_places(config, mode, bits, range(bits), cell_bits(config, mode))
        moves = [Place("move", move=Move(2 * config.engines << bit)) for bit in range(row_bits)]
        sides = [Side(mode, (*columns, *moves), matrix.pitch, d // config.memory_elements)
                 for matrix in (queries, target)]
        stream = MatrixStream(tuple(pieces), Destination.RING, len(chunks), True, tuple(at for at, _ in chunks))
        shape = Mac(d // config.lanes, d // config.lanes, 1 << row_bits, bits - lane_bits, 0, bits - lane_bits, 0)
        return replace(build_mac_stage(name, config, shape, stream, *sides), passes=tuple(passes))


def _mask(counts: Keys, key: int, first: int) -> Mask:
    """Of the keys from number ``key`` on, for rows from ``first`` on."""
    causal, window, length, _, slopes = counts
    slope = slopes[0] if slopes else 0
    if window is None:
        return Mask(key, first if causal else 0, causal, 0, length, slope)
    limit = first if causal else first + window
    return Mask(key, limit, True, window if causal else 2 * window, length, slope)


def _piece(config: CoreConfig, matrix: Matrix, rows: int, inputs: int) -> MatrixPiece:
    """``rows`` rows of ``inputs`` elements as a MAC takes them: of each S rows chunk after chunk."""
    chunks, groups, layers = inputs // config.memory_elements, config.beat_groups, config.layers
    sub = [*(Move(1 << bit) for bit in range(bits_for(layers))),
           *(Move(0, 1 << bit) for bit in range(bits_for(chunks)))]
    steps = -(-rows // (layers * groups))
    moves = tuple(Move(layers * groups << bit) for bit in range(bits_for(steps)))
    descriptor = Descriptor(tuple(sub), Move(layers), moves, matrix.pitch, chunks, steps=steps)
    return MatrixPiece(descriptor, rows, rows * chunks)
