"""Softmax attention as blocks: against float64 for heads, masks, windows and chunks."""

import numpy as np
import pytest

from support.attention import SEED, AttentionCase, attention_config, limit_cases

from wingbeat.gen.compiler.program.attention import Heads
from wingbeat.gen.compiler.program.granularity import Keys, padded_keys
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
    whole = -(-case.attend.granularity.padded // case.attend.chosen.keys)
    assert chunks < blocks * whole
    assert all(isinstance(before, Mask) for before, step in zip(program.instructions, program.instructions[1:])
               if isinstance(step, Mac) and step.softmax is Softmax.LOGITS)


@pytest.mark.parametrize("changes, keys", [(dict(ring_words=32), 32), (dict(half_words=256), 32),
                                           (dict(softmax_pairs=2), 64), (dict(partial_words=16), 64)])
def test_small_memories(changes, keys):
    """Chunks of keys, few rows of queries: what fits."""
    case = AttentionCase(attention_config("one engine", **changes), Heads(1, 1, 16), 64, 64)
    assert case.attend.chosen.keys <= keys
    check(case)


def test_limits():
    """Means of the values that count most, and nothing but zeros where no key counts."""
    for limit in limit_cases():
        memory = limit.case.memory.copy()
        outcomes = limit.program.run_model(limit.case.config, memory)
        found = limit.case.places["result"][0].unpack(memory)
        assert np.abs(found - limit.exact).max() < 8, f"{limit.name}: {found[0]}, not {limit.exact[0]}"
        assert limit.counts.any() or not found.any(), limit.name
        assert any(outcome.saturated for outcome in outcomes) == limit.clamps, limit.name
