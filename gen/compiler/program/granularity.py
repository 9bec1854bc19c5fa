"""How softmax attention is cut: rows of queries that stay on chip, keys of a chunk.

After Kao et al., FLAT (arXiv 2107.06419), whose granularity is rows, heads or inputs with all of their keys; here keys
have tiles, too, so that a block holds rows of one head.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from ....hw.array.parameters import softmax_spacing
from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.encoding import FIELDS
from ....hw.isa.instruction import Opcode
from ....hw.numeric import MAC_TERMS
from ....hw.softmax.parameters import state_cycles
from .matrix import bits_for, round_up

__all__ = ["Granularity", "Keys", "LARGEST_WINDOW", "Tiles", "padded_keys"]

LARGEST_WINDOW = (1 << dict(FIELDS[Opcode.MASK])["window"]) // 2 - 1  # on both sides of a token
_NEXT_TO = 1.004  # the estimate knows no better
_BLOCK = 60  # cycles about that the first product of a block waits
_OVERLAP = 30  # cycles about that a MAC's results would take without the wait behind it


def padded_keys(config: CoreConfig, tokens: int) -> int:
    """So many keys are read of ``tokens``: whole beats, and no fewer than keep a finisher from being late."""
    return round_up(max(tokens, _fewest(config)), config.memory_elements)


def _fewest(config: CoreConfig) -> int:
    """Inputs of a MAC whose results a finisher makes, at least."""
    return 2 * config.lanes * config.layers * (config.engines // config.finishers)


class Keys(NamedTuple):
    """Which keys count: not those behind a query where ``causal``, nor those further away than ``window``; number of
    the entry in the table of lengths, less one, that says how many there are, 0 where all count. ``by_input``: that
    entry is of the first input, those behind it are of the others. ``slopes``: of each head of queries, what a logit
    loses for a token that its key lies back, as of a Mask; none where it loses nothing."""

    causal: bool = False
    window: int | None = None
    length: int = 0
    by_input: bool = False
    slopes: tuple[int, ...] = ()

    def of(self, number: int) -> "Keys":
        """Those of one input."""
        return self._replace(length=self.length + number, by_input=False) if self.by_input else self

    def of_head(self, head: int) -> "Keys":
        """Those of one head of queries, whose slope is the only one."""
        return self._replace(slopes=self.slopes[head:head + 1])


class Tiles(NamedTuple):
    """2^``row_bits`` row pairs an engine in a block, and ``keys`` in a chunk."""

    row_bits: int
    keys: int


@dataclass(frozen=True)
class Granularity:
    """The tiles that there are for ``heads`` of all inputs, of ``features`` elements, ``rows`` of queries, ``tokens``
    keys of which ``counts`` count."""

    config: CoreConfig
    heads: int
    features: int
    rows: int
    tokens: int
    counts: Keys = Keys()

    @property
    def padded(self) -> int:
        """Keys with their padding."""
        return padded_keys(self.config, self.tokens)

    def best(self, words_per_cycle: float = 0) -> Tiles:
        """Of what fits and is next to the fewest cycles the tiles with the least traffic, on a memory that moves so
        many words a cycle (0: a beat).

        Raises WingbeatError naming the field that is too small.
        """
        self._check()
        found = {tiles: self.cycles(tiles, words_per_cycle) for tiles in self.choices()}
        if not found:
            raise WingbeatError(f"array.half_words: {self.config.half_words}, ring_words: {self.config.ring_words}, "
                                f"partial_words: {self.config.partial_words}: one of them is too small for heads of "
                                f"{self.features} features and {self.tokens} keys; allowed are larger ones")
        most = _NEXT_TO * min(found.values())
        return min((self.traffic(tiles), cycles, tiles) for tiles, cycles in found.items() if cycles <= most)[2]

    def choices(self) -> Iterator[Tiles]:
        """All tiles that fit."""
        config = self.config
        most = min(bits_for(-(-self.rows // self.rows_of_block(0))), bits_for(config.softmax_pairs))
        sizes = {min(self.padded, config.memory_elements << bits) for bits in range(13)}
        for row_bits in range(max(most, self.least_bits) + 1):
            for keys in sorted(sizes):
                if 1 << row_bits <= config.softmax_pairs and self._fits(Tiles(row_bits, keys)):
                    yield Tiles(row_bits, keys)

    def cycles(self, tiles: Tiles, words_per_cycle: float = 0) -> float:
        """Of all heads, about: the array's, or those of the memory where it is slower, and the load of the first block
        and the store of the last one."""
        config, d = self.config, self.features
        rate = 2 * (words_per_cycle or config.stream_words)
        total, most = 0.0, 0
        for first, rows, row_bits in self.blocks(tiles):
            steps = (d << row_bits + 1) / (config.lanes * config.layers)  # a key, both products
            chunks = self.chunks(first, rows, tiles.keys)
            array = sum(steps * keys + 2 * (softmax_spacing(config) - _OVERLAP) for _, keys in chunks)
            total += max(array + _BLOCK, self._read_elements(rows, chunks) / rate, rows * d / rate)
            most = max(most, rows)
        return self.heads * total + 2 * most * d / rate

    def traffic(self, tiles: Tiles) -> int:
        """Elements that all heads read and write, without the transpose of their values."""
        return self.heads * sum(self._read_elements(rows, self.chunks(first, rows, tiles.keys)) + rows * self.features
                                for first, rows, _ in self.blocks(tiles))

    def footprint(self, tiles: Tiles) -> int:
        """Elements on chip of a block: queries and probabilities of both halves, sums of chunks, two windows of the
        ring."""
        config, d = self.config, self.features
        rows = self.rows_of_block(tiles.row_bits)
        sums = rows * d if tiles.keys < self.padded else 0
        return 2 * rows * (d + tiles.keys) + sums + 2 * config.lanes * max(d, tiles.keys)

    def rows_of_block(self, row_bits: int) -> int:
        """With 2^``row_bits`` row pairs an engine."""
        return 2 * self.config.engines << row_bits

    def blocks(self, tiles: Tiles) -> Iterator[tuple[int, int, int]]:
        """First row, number of rows and bits of the row pairs an engine of every block of a head."""
        first = 0
        while first < self.rows:
            left = self.rows - first
            row_bits = min(tiles.row_bits, max(self.least_bits, bits_for(-(-left // self.rows_of_block(0)))))
            rows = min(left, self.rows_of_block(row_bits))
            yield first, rows, row_bits
            first += rows

    def chunks(self, first: int, rows: int, size: int) -> list[tuple[int, int]]:
        """First key and number of keys, ``size`` at most, of the chunks that some row of a block looks at; one at
        least."""
        window = self.counts.window
        end = min(self.padded, first + rows) if self.counts.causal else self.padded
        begin = 0
        if window is not None:
            begin = max(0, first - window) // size * size
            end = min(end, first + rows + window)
        return [(at, min(size, self.padded - at)) for at in range(begin, max(end, begin + 1), size)]

    @cached_property
    def least_bits(self) -> int:
        """Bits of the row pairs with which a row does not come back too soon."""
        between = min(self.features, self.padded) // self.config.layers
        return bits_for(-(-state_cycles(self.config) // between))

    def base(self, tiles: Tiles) -> int | None:
        """First row of the banks for the probabilities; None where they have no room."""
        config, bits = self.config, self.config.layers
        own = 1 << tiles.row_bits + bits_for(self.features) - bits
        region = 1 << tiles.row_bits + bits_for(tiles.keys) - bits
        base = max(own, region)
        return base if base + region <= config.bank_rows else None

    def _read_elements(self, rows: int, chunks: list[tuple[int, int]]) -> int:
        return self.features * (rows + 2 * sum(keys for _, keys in chunks))

    def _check(self) -> None:
        config, d = self.config, self.features
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
        config, d, keys = self.config, self.features, tiles.keys
        chunks, pairs = -(-self.padded // keys), 1 << tiles.row_bits
        sums = config.lanes // config.layers << bits_for(d // config.lanes) + tiles.row_bits
        least = min(d, keys, self.padded % keys or keys)
        return (self.base(tiles) is not None and 2 * max(d, keys) // config.layers <= config.ring_words
                and (chunks == 1 or sums <= config.partial_words)
                and least >= _fewest(config) and least // config.layers * pairs >= state_cycles(config)
                and tiles.row_bits >= self.least_bits)

