"""Tiles of attention: what there is, what is chosen on fast and slow memories, what does not fit."""

import pytest

from support.attention import attention_config

from wingbeat.gen.compiler.program.granularity import Granularity, Keys, Tiles
from wingbeat.hw.errors import WingbeatError


def granularity(shape="one engine", features=16, tokens=64, counts=Keys(), heads=2, **changes):
    return Granularity(attention_config(shape, **changes), heads, features, tokens, tokens, counts)


def test_little_traffic_where_cycles_are_the_same():
    found = granularity()
    best = found.best()
    fewest = min(found.cycles(tiles) for tiles in found.choices())
    near = [tiles for tiles in found.choices() if found.cycles(tiles) <= 1.004 * fewest]
    assert best in near and found.traffic(best) == min(map(found.traffic, near))


def test_a_slow_memory_wants_more_rows():
    """Each key is read once for the rows of a block."""
    found = granularity(tokens=256)
    assert found.best(words_per_cycle=0.25).row_bits > min(tiles.row_bits for tiles in found.choices())
    slow, fast = (found.cycles(Tiles(1, 64), words) for words in (0.25, 4))
    assert slow > 2 * fast


@pytest.mark.parametrize("counts, pairs", [(Keys(), 64 * 64), (Keys(causal=True), 16 * (16 + 32 + 48 + 64)),
                                           (Keys(window=16), 16 * (32 + 48 + 48 + 32))], ids=str)
def test_chunks_in_which_nothing_counts_are_left_out(counts, pairs):
    found = granularity(counts=counts)
    tiles = Tiles(3, 16)
    assert sum(rows * keys for first, rows, _ in found.blocks(tiles)
               for _, keys in found.chunks(first, rows, tiles.keys)) == pairs


def test_more_memory_never_costs_cycles():
    few, many = granularity(half_words=256, ring_words=32), granularity()
    assert set(few.choices()) < set(many.choices())
    assert many.cycles(many.best()) < few.cycles(few.best())
    assert many.footprint(many.best()) > few.footprint(few.best())


@pytest.mark.parametrize("shape, changes, features, message", [
    ("one engine", dict(softmax_pairs=0), 16, "^array.softmax_pairs: 0; allowed are powers of two, for attention$"),
    ("one engine", {}, 20, "^heads: of 20 features; allowed are multiples of 8, a beat$"),
    ("one engine", {}, 8, "^heads: of 8 features; allowed are 16 and more for array.finishers = 1$"),
    ("one engine", dict(ring_words=16), 64, "^array.half_words: 1024, ring_words: 16, partial_words: 2"),
    ("four engines", dict(finishers=1), 32, "^heads: of 32 features; allowed are 64 and more for")])
def test_what_does_not_fit(shape, changes, features, message):
    with pytest.raises(WingbeatError, match=message):
        granularity(shape, features, 32, **changes).best()


def test_too_many_keys_for_the_sums():
    with pytest.raises(WingbeatError, match="^tokens: 5000 keys of 16 features; allowed are 4096 of each"):
        granularity(tokens=5000).best()
