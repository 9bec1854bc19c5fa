"""The float64 reference of a loaded network: what every layer gives."""

from collections.abc import Sequence
import math
from typing import Any

import numpy as np

from ....hw.errors import WingbeatError
from ....sim.reference.functions import attended, attention, gelu, standardise, tanh_gelu
from ....sim.reference.linear import butterfly_multiply, mixing
from .file import Attention, Butterfly, Embedding, Flatten, Gelu, LayerNorm, Linear, Mean, Mixing, Position, Relu
from .inputs import encode_inputs, input_lengths
from .load import LoadedLayer, LoadedNetwork

__all__ = ["forward", "apply_layer"]


def forward(network: LoadedNetwork, inputs: Any) -> list[tuple[str, np.ndarray]]:
    """The float64 reference: (path, output) of every layer in the order of :meth:`LoadedNetwork.walk`.

    ``inputs`` as for :func:`~.inputs.encode_inputs`; outputs are (count, tokens, features) of that layer's ``output``.
    The last entry is the result of the network.
    """
    results: list[tuple[str, np.ndarray]] = []
    _run(network.layers, encode_inputs(network, inputs), input_lengths(network, inputs), results)
    return results


def _run(layers: Sequence[LoadedLayer], x: np.ndarray, lengths: np.ndarray | None,
         results: list[tuple[str, np.ndarray]]) -> np.ndarray:
    for layer in layers:
        x = x + _run(layer.layers, x, lengths, results) if layer.layers else apply_layer(layer, x, lengths)
        results.append((layer.path, x))
    return x


def apply_layer(layer: LoadedLayer, x: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
    """One layer without layers of its own on ``x`` (count, tokens, features), in float64. ``lengths`` (count,): tokens
    that count as keys, None for all. Raises WingbeatError for results that float64 does not hold."""
    with np.errstate(over="ignore", invalid="ignore"):
        y = _applied(layer, x, lengths)
    if not np.isfinite(y).all():
        raise WingbeatError(f"{layer.weights or layer.path}: results of this {layer.kind} are beyond float64; allowed "
                            "are weights and inputs of which all results are finite")
    return y


def _applied(layer: LoadedLayer, x: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
    match layer.spec:
        case Butterfly():
            [weights] = layer.butterflies
            y = butterfly_multiply(weights.twiddle, x, weights.increasing_stride, weights.out_size)
            return y if weights.bias is None else y + weights.bias
        case Linear():
            assert layer.matrix is not None
            # One product of all rows: many small ones are slow, 60 times where the processor has other work too.
            y = (x.reshape(-1, x.shape[-1]) @ layer.matrix.T).reshape(*x.shape[:-1], -1)
            return y if layer.bias is None else y + layer.bias
        case Embedding():
            assert layer.matrix is not None
            return layer.matrix[x[..., 0].astype(np.int64)]
        case Position():
            return x + layer.position
        case LayerNorm(epsilon=epsilon):
            y = standardise(x, epsilon) * layer.scale
            return y if layer.offset is None else y + layer.offset
        case Mixing(norm=norm):
            return mixing(x) / (math.sqrt(x.shape[-1] * x.shape[-2]) if norm == "ortho" else 1)
        case Attention(heads=heads, causal=causal, window=window, slopes=slopes):
            q, k, v = (_applied(projection, x) for projection in layer.projections[:3])
            seen = attended(x.shape[1], causal, window)
            return _applied(layer.projections[3], attention(q, k, v, heads, seen, lengths, slopes))
        case Gelu(approximate="tanh"):
            return tanh_gelu(x)
        case Gelu():
            return gelu(x)
        case Relu():
            return np.maximum(x, 0)
        case Mean():
            return x.mean(axis=1, keepdims=True)
        case Flatten():
            return x.reshape(len(x), 1, -1)
    raise AssertionError(f"{layer.path}: no reference of {layer.kind}")
