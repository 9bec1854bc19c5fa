"""Float64 functions of a network: activations and their complements, normalisation, attention."""

import math

import numpy as np

__all__ = ["erf_complement", "tanh_complement", "silu_complement", "gelu", "tanh_gelu", "standardise", "attended",
           "attention"]


def erf_complement(u: np.ndarray) -> np.ndarray:
    """1 - Phi(u) of the normal distribution: GELU."""
    return np.vectorize(math.erfc, otypes=[float])(u / math.sqrt(2)) / 2


def tanh_complement(u: np.ndarray) -> np.ndarray:
    """The tanh approximation of 1 - Phi(u): GELU with approximate = "tanh"."""
    return 1 / (1 + np.exp(2 * math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))


def silu_complement(u: np.ndarray) -> np.ndarray:
    """1 - sigmoid(u): SiLU, also known as swish."""
    return 1 / (1 + np.exp(u))


def gelu(x: np.ndarray) -> np.ndarray:
    """x * Phi(x), exactly."""
    erf = np.array([math.erf(value) for value in (x / math.sqrt(2)).ravel().tolist()]).reshape(x.shape)
    return 0.5 * x * (1 + erf)


def tanh_gelu(x: np.ndarray) -> np.ndarray:
    """GELU with approximate = "tanh"."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def standardise(x: np.ndarray, epsilon: float) -> np.ndarray:
    """Rows (..., features) with mean 0 and variance 1: a LayerNorm without weight and bias."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred ** 2).mean(axis=-1, keepdims=True) + epsilon)


def attended(tokens: int, causal: bool = False, window: int | None = None) -> np.ndarray:
    """Which keys (columns) each query (rows) sees: with ``causal`` none behind it, with ``window`` none
    further away."""
    distance = np.arange(tokens) - np.arange(tokens)[:, None]
    return ((distance <= 0) | (not causal)) & (abs(distance) <= (tokens if window is None else window))


def alibi_slopes(heads: int) -> np.ndarray:
    """What a logit of each of ``heads`` loses for every token that its key lies back: Press et al., Train Short, Test
    Long (arXiv 2108.12409), and for numbers of heads that are no power of two as its authors' code does."""
    whole = 1 << heads.bit_length() - 1
    steps = [*range(2, 2 * whole + 1, 2), *range(1, 2 * (heads - whole), 2)]
    return 2.0 ** (-4 * np.array(steps) / whole)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, heads: int, seen: np.ndarray | None = None,
              lengths: np.ndarray | None = None, slopes: np.ndarray | None = None) -> np.ndarray:
    """softmax(q k^T / sqrt(d)) v of ``q`` (count, tokens, features), d = features / heads; head h has the features h*d
    to (h+1)*d - 1. ``k``, ``v`` (count, keys, features / n): n heads of ``q`` in a row share one of theirs. ``seen``
    (tokens, keys): the keys of each query that count; ``lengths`` (count,): as many of the first ones do, None for all.
    A query for which none counts gives zeros. ``slopes`` (heads,): as of :func:`alibi_slopes`, None for none."""
    count, tokens, features = q.shape
    d = features // heads
    q, k, v = (each.reshape(*each.shape[:2], -1, d).swapaxes(1, 2) for each in (q, k, v))
    k, v = (each.repeat(heads // each.shape[1], axis=1) for each in (k, v))
    logits = q @ k.swapaxes(2, 3) / math.sqrt(d)
    if slopes is not None:
        logits += slopes[:, None, None] * (np.arange(k.shape[2]) - np.arange(tokens)[:, None])
    counts = np.broadcast_to(True if seen is None else seen, logits.shape)
    if lengths is not None:
        counts = counts & (np.arange(k.shape[2]) < lengths[:, None, None, None])
    logits = np.where(counts, logits, -np.inf)
    top = logits.max(axis=-1, keepdims=True)
    has_keys = counts.any(axis=-1, keepdims=True)
    share = np.exp(logits - np.where(has_keys, top, 0))
    share /= np.where(has_keys, share.sum(axis=-1, keepdims=True), 1)
    return (share @ v).swapaxes(1, 2).reshape(count, tokens, features)
