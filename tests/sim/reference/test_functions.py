"""Float functions against formulas of their own."""

import math

import numpy as np
import pytest

from wingbeat.sim.reference.functions import (alibi_slopes, attended, attention, erf_complement, gelu,
                                              silu_complement, standardise, tanh_complement, tanh_gelu)

SEED = 3
X = np.linspace(-9, 9, 1001)


def test_gelu_is_x_times_the_normal_distribution():
    assert np.allclose(gelu(X), X * (1 - erf_complement(X)), atol=1e-15)
    assert gelu(np.array([10.0]))[0] == pytest.approx(10) and abs(gelu(np.array([-10.0]))[0]) < 1e-20


def test_tanh_gelu_uses_its_complement():
    assert np.allclose(tanh_gelu(X), X * (1 - tanh_complement(X)), atol=1e-14)
    assert np.abs(tanh_gelu(X) - gelu(X)).max() < 1e-3


@pytest.mark.parametrize("complement", [erf_complement, tanh_complement, silu_complement])
def test_complements_are_symmetric(complement):
    assert np.allclose(complement(X) + complement(-X), 1) and complement(np.array([0.0]))[0] == 0.5


def test_standardise():
    rows = np.random.default_rng(SEED).normal(3, 5, (4, 64))
    y = standardise(rows, 0.0)
    assert np.allclose(y.mean(-1), 0) and np.allclose(y.var(-1), 1), f"seed {SEED}"
    one_hot = np.zeros((1, 256))
    one_hot[0, 7] = 1
    assert standardise(one_hot, 0.0).max() == pytest.approx(math.sqrt(255))


@pytest.mark.parametrize("causal, window", [(False, None), (True, None), (False, 1), (True, 2)])
def test_attention_row_by_row(causal, window):
    rng = np.random.default_rng(SEED)
    q, k, v = rng.normal(size=(3, 2, 5, 6))
    got = attention(q, k, v, 2, attended(5, causal, window))
    assert causal or window or np.array_equal(got, attention(q, k, v, 2))
    for batch in range(2):
        for row in range(5):
            for head in (slice(0, 3), slice(3, 6)):
                logits = [float(q[batch, row, head] @ k[batch, key, head]) / math.sqrt(3) for key in range(5)]
                weights = [math.exp(logit) for logit in logits]
                for key in range(5):
                    if causal and key > row or window and abs(key - row) > window:
                        weights[key] = 0
                want = sum(w * v[batch, key, head] for key, w in enumerate(weights)) / sum(weights)
                assert np.allclose(got[batch, row, head], want), f"seed {SEED}"


@pytest.mark.parametrize("heads, slopes", [
    (1, [2 ** -8]), (4, [2 ** -2, 2 ** -4, 2 ** -6, 2 ** -8]), (8, 2.0 ** -np.arange(1, 9)),
    (6, [2 ** -2, 2 ** -4, 2 ** -6, 2 ** -8, 2 ** -1, 2 ** -3])])
def test_slopes_of_alibi(heads, slopes):
    assert alibi_slopes(heads).tolist() == list(slopes)


def test_attention_with_slopes():
    q, k, v = np.random.default_rng(SEED).standard_normal((3, 2, 5, 4))
    found = attention(q, k, v, 2, slopes=np.array([0.5, 0.25]))
    for row, head in [(0, 0), (3, 1), (4, 0)]:
        own = slice(2 * head, 2 * head + 2)
        logits = q[1, row, own] @ k[1, :, own].T / math.sqrt(2) - (0.5, 0.25)[head] * (row - np.arange(5))
        share = np.exp(logits) / np.exp(logits).sum()
        assert np.allclose(found[1, row, own], share @ v[1, :, own])


def test_heads_that_share_keys_and_values():
    """Heads 0, 1 and 2, 3: as if there were a copy for each."""
    rng = np.random.default_rng(SEED)
    q, (k, v) = rng.normal(size=(2, 5, 12)), rng.normal(size=(2, 2, 7, 6))
    copied = (each[..., [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]] for each in (k, v))
    assert np.allclose(attention(q, k, v, 4), attention(q, *copied, 4)), f"seed {SEED}"
