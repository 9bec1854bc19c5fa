"""The float64 reference of a loaded network: what every layer gives."""

from collections.abc import Sequence
import math
from typing import Any

import numpy as np

from ....hw.errors import WingbeatError
from ....sim.reference.functions import attended, attention, gelu, standardise, tanh_gelu
from ....sim.reference.linear import butterfly_multiply, mixing
from ..checkpoint import real_array
from .file import Attention, Butterfly, Embedding, Flatten, Gelu, LayerNorm, Linear, Mean, Mixing, Position, Relu
from .load import LoadedLayer, LoadedNetwork

__all__ = ["encode_inputs", "forward", "apply_layer"]


def encode_inputs(network: LoadedNetwork, inputs: Any) -> np.ndarray:
    """``inputs`` as float64 (count, tokens, features).

    Where the network has a vocabulary, integers (count, tokens) become one-hot rows, for an embedding rows of one
    feature. Raises WingbeatError.
    """
    array = np.asarray(inputs)
    if network.vocabulary and array.ndim == 2 and array.dtype.kind in "iu":
        if array.shape[1] != network.input.tokens:
            raise WingbeatError(f"inputs: shape {array.shape}; allowed is (count, {network.input.tokens})")
        if array.size and not 0 <= array.min() <= array.max() < network.vocabulary:
            raise WingbeatError(f"inputs: tokens {array.min()}..{array.max()}; allowed are 0..{network.vocabulary - 1}")
        return array[..., None].astype(np.float64) if network.takes_ids else np.eye(network.vocabulary)[array]
    if network.takes_ids:
        raise WingbeatError(f"inputs: {array.dtype} {array.shape}; allowed are integers (count, "
                            f"{network.input.tokens}), the numbers of tokens")
    if array.ndim != 3 or array.shape[1:] != network.input:
        raise WingbeatError(f"inputs: shape {array.shape}; allowed is (count, {network.input.tokens}, "
                            f"{network.input.features})")
    return real_array("inputs", array)


def forward(network: LoadedNetwork, inputs: Any) -> list[tuple[str, np.ndarray]]:
    """The float64 reference: (path, output) of every layer in the order of :meth:`LoadedNetwork.walk`.

    ``inputs`` as for :func:`encode_inputs`; outputs are (count, tokens, features) of that layer's ``output``. The last
    entry is the result of the network.
    """
    results: list[tuple[str, np.ndarray]] = []
    _run(network.layers, encode_inputs(network, inputs), results)
    return results


def _run(layers: Sequence[LoadedLayer], x: np.ndarray, results: list[tuple[str, np.ndarray]]) -> np.ndarray:
    for layer in layers:
        x = x + _run(layer.layers, x, results) if layer.layers else apply_layer(layer, x)
        results.append((layer.path, x))
    return x


def apply_layer(layer: LoadedLayer, x: np.ndarray) -> np.ndarray:
    """One layer without layers of its own on ``x`` (count, tokens, features), in float64. Raises WingbeatError for
    results that float64 does not hold."""
    with np.errstate(over="ignore", invalid="ignore"):
        y = _applied(layer, x)
    if not np.isfinite(y).all():
        raise WingbeatError(f"{layer.weights or layer.path}: results of this {layer.kind} are beyond float64; allowed "
                            "are weights and inputs of which all results are finite")
    return y


def _applied(layer: LoadedLayer, x: np.ndarray) -> np.ndarray:
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
        case Attention(heads=heads, causal=causal, window=window):
            q, k, v = (_applied(projection, x) for projection in layer.projections[:3])
            seen = attended(x.shape[1], causal, window)
            return _applied(layer.projections[3], attention(q, k, v, heads, seen))
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
