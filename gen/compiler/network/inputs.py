"""What goes into a network: features or tokens, and where it takes them the lengths of the inputs."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ....hw.errors import WingbeatError
from ..checkpoint import real_array
from .load import LoadedNetwork

__all__ = ["Padded", "encode_inputs", "input_lengths", "random_inputs"]


@dataclass(frozen=True, eq=False)
class Padded:
    """Inputs of a network with ``input.lengths``: ``values`` as for one without; of input i the first ``lengths``[i]
    tokens count, the others are padding."""

    values: Any
    lengths: Any

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, part: slice) -> "Padded":
        return Padded(self.values[part], self.lengths[part])


def input_lengths(network: LoadedNetwork, inputs: Any) -> np.ndarray | None:
    """Tokens that count of each of ``inputs``, int64 (count,); None where the network takes no lengths. Raises
    WingbeatError where they are missing or do not fit."""
    most = network.input.tokens
    if not isinstance(inputs, Padded):
        if network.has_lengths:
            raise WingbeatError(f"lengths: missing; allowed are integers 0..{most}, one for each input: its tokens "
                                "that count")
        return None
    lengths = np.asarray(inputs.lengths)
    if not network.has_lengths:
        raise WingbeatError(f"lengths: {lengths.dtype} {lengths.shape}; allowed are none, as the network file has no "
                            "input.lengths")
    count = np.shape(inputs.values)[:1]
    if lengths.dtype.kind not in "iu" or lengths.shape != count:
        raise WingbeatError(f"lengths: {lengths.dtype} {lengths.shape}; allowed are integers {count}")
    wrong = lengths[(lengths < 0) | (lengths > most)]
    if wrong.size:
        raise WingbeatError(f"lengths: {wrong[0]}; allowed are 0..{most}")
    return lengths.astype(np.int64)


def encode_inputs(network: LoadedNetwork, inputs: Any) -> np.ndarray:
    """``inputs`` as float64 (count, tokens, features), without their lengths, which are checked too.

    Where the network has a vocabulary, integers (count, tokens) become one-hot rows, for an embedding rows of one
    feature. Raises WingbeatError.
    """
    input_lengths(network, inputs)
    array = np.asarray(inputs.values if isinstance(inputs, Padded) else inputs)
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


def random_inputs(network: LoadedNetwork, count: int, seed: int) -> np.ndarray | Padded:
    """Normal features, or any tokens; any lengths from 1 on where the network takes them."""
    rng = np.random.default_rng(seed)
    values: np.ndarray = (rng.integers(network.vocabulary, size=(count, network.input.tokens))
                          if network.vocabulary else rng.standard_normal((count, *network.input)))
    if network.has_lengths:
        return Padded(values, rng.integers(1, network.input.tokens + 1, count))
    return values
