"""Softmax attention as blocks: against float64 for heads, masks, windows and chunks; what does not fit."""

import numpy as np
import pytest

from support.attention import SEED, AttentionCase, attention_config, limit_cases

from wingbeat.gen.compiler.program.attention import Attend, Heads, Keys, padded_keys
from wingbeat.gen.compiler.program.matrix import Matrix
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.instruction import Mac, Mask, Softmax


def check(case, least=64):
    found, program = case.run()
    exact = case.exact()
    error = 10 * np.log10((exact ** 2).sum() / ((exact - found) ** 2).sum())
    assert error > least, f"seed {SEED}: {error:.1f} dB"
    return program


@pytest.mark.parametrize("shape, heads, queries, keys", [
    ("one engine", Heads(2, 2, 16), 64, 64), ("one engine", Heads(1, 1, 48), 20, 100),
    ("one engine", Heads(4, 2, 16), 37, 24), ("four engines", Heads(1, 1, 64), 64, 160),
    ("one layer", Heads(2, 1, 32), 40, 96), ("four layers", Heads(1, 1, 128), 8, 128)])
def test_heads_and_sizes(shape, heads, queries, keys):
    """Cross attention, heads that share keys, head sizes that are no powers of two."""
    config = attention_config(shape)
    check(AttentionCase(config, heads, queries, keys, Keys(length=3 if padded_keys(config, keys) > keys else 0)))


@pytest.mark.parametrize("tokens", [1, 3, 5, 12, 33])
def test_few_tokens(tokens):
    check(AttentionCase(attention_config("one engine"), Heads(1, 1, 16), tokens, tokens, Keys(length=1), inputs=2))


@pytest.mark.parametrize("counts", [Keys(causal=True), Keys(window=9), Keys(causal=True, window=20),
                                    Keys(causal=True, length=2)], ids=str)
@pytest.mark.parametrize("shape, features", [("one engine", 16), ("four engines", 64)])
def test_masks(shape, features, counts):
    """Chunks in which nothing counts are not in the program."""
    tokens = 96 if counts.length == 0 else 91
    case = AttentionCase(attention_config(shape, ring_words=128), Heads(1, 1, features), tokens, tokens, counts)
    program = check(case)
    chunks = sum(isinstance(step, Mac) and step.softmax is Softmax.LOGITS for step in program.instructions)
    blocks = sum(isinstance(step, Mac) and step.fresh for step in program.instructions)
    whole = -(-case.attend.padded // case.attend.tiles.keys)
    assert chunks < blocks * whole
    assert all(isinstance(before, Mask) for before, step in zip(program.instructions, program.instructions[1:])
               if isinstance(step, Mac) and step.softmax is Softmax.LOGITS)


@pytest.mark.parametrize("changes, keys", [(dict(ring_words=32), 32), (dict(half_words=256), 32),
                                           (dict(softmax_pairs=2), 64), (dict(partial_words=16), 64)])
def test_small_memories(changes, keys):
    """Chunks of keys, few rows of queries: what fits."""
    case = AttentionCase(attention_config("one engine", **changes), Heads(1, 1, 16), 64, 64)
    assert case.attend.tiles.keys <= keys
    check(case)


@pytest.mark.parametrize("shape, changes, heads, message", [
    ("one engine", dict(softmax_pairs=0), Heads(1, 1, 16),
     "^array.softmax_pairs: 0; allowed are powers of two, for attention$"),
    ("one engine", {}, Heads(1, 1, 20), "^heads: of 20 features; allowed are multiples of 8, a beat$"),
    ("one engine", {}, Heads(1, 1, 8), "^heads: of 8 features; allowed are 16 and more for array.finishers = 1$"),
    ("one engine", dict(ring_words=16), Heads(1, 1, 64), "^array.half_words: 1024, ring_words: 16, partial_words: 2"),
    ("four engines", dict(finishers=1), Heads(1, 1, 32), "^heads: of 32 features; allowed are 64 and more for")])
def test_what_does_not_fit(shape, changes, heads, message):
    with pytest.raises(WingbeatError, match=message):
        _ = AttentionCase(attention_config(shape, **changes), heads, 32, 32).attend.tiles


def test_too_many_keys_for_the_sums():
    config = attention_config("one engine")
    matrix = Matrix.at(0, 5000, 16, config)
    with pytest.raises(WingbeatError, match="^tokens: 5000 keys of 16 features; allowed are 4096 of each"):
        _ = Attend(config, (matrix,), (matrix,), (matrix,), Heads(1, 1, 16), 5000).tiles


def test_limits():
    """Means of the values that count most, and nothing but zeros where no key counts."""
    for limit in limit_cases():
        memory = limit.case.memory.copy()
        outcomes = limit.program.run_model(limit.case.config, memory)
        found = limit.case.places["result"][0].unpack(memory)
        assert np.abs(found - limit.exact).max() < 8, f"{limit.name}: {found[0]}, not {limit.exact[0]}"
        assert limit.counts.any() or not found.any(), limit.name
        assert any(outcome.saturated for outcome in outcomes) == limit.clamps, limit.name
