"""N:M magnitude pruning: which patterns lead to a target, which layers have one, which weights stay.

A network becomes sparse step by step, each step with the weights of the one before: 2:4 comes from the dense network
by 3:4, and 1:4 from the network of 2:4. In a step the masks are chosen anew at the beginning of every epoch, by the
magnitudes of all weights: those outside of a mask still learn (with the gradient of the weight that would stand there,
as of a straight-through estimator), so that a weight may come back. In the last epochs the masks are fixed and the
weights outside are zero. gen/train/training.py has the loop.

Groups are those of gen/compiler/kernel/sparse.py: input i is member (i // stride) mod M of group (i // (M * stride),
i mod stride). ``shared`` outputs after each other have one mask, chosen by the sum of their squares, because an array
with S layers shares a pattern among S outputs.

Source: Fang et al., An Algorithm-Hardware Co-Optimized Framework for Accelerating N:M Sparse Transformers,
arXiv 2208.06118, with its inheritance of sparsity and its dynamic pruning. What differs: members of a group lie
``stride`` apart and are no neighbours; outputs share a mask; N may fall to a half in one step; masks are chosen once
an epoch and at last fixed; what is kept is the moving average of the weights, and it is tuned with rounded activations
behind the last step.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..compiler.kernel.sparse import Pattern, kept_weights

__all__ = ["phases", "spread", "choose_mask", "with_pattern", "pattern_of"]


def phases(target: Pattern) -> tuple[Pattern, ...]:
    """The patterns from the first behind the dense network to ``target``: N falls by a quarter of M, at most to a
    half."""
    found, n = [], target.m
    while n > target.n:
        n = max(target.n, (n + 1) // 2, n - max(1, target.m // 4))
        found.append(Pattern(n, target.m, target.stride))
    return tuple(found)


def spread(pattern: Pattern, in_features: int) -> Pattern:
    """With the stride of whole rows, in_features / M. ValueError where that is no power of two."""
    stride, rest = divmod(in_features, pattern.m)
    if rest or stride < 1 or stride & stride - 1:
        raise ValueError(f"in_features: {in_features} with {pattern}; allowed are M times a power of two")
    return pattern._replace(stride=stride)


def choose_mask(weights: np.ndarray, pattern: Pattern, shared: int) -> np.ndarray:
    """Which of ``weights`` (outputs, inputs) stay, bool: exactly N of each group, the same ones for ``shared`` outputs
    after each other. ValueError for inputs that make no whole groups."""
    if pattern.stride < 1 or weights.shape[1] % pattern.span:
        raise ValueError(f"weights: {weights.shape[1]} inputs for {pattern} with a stride of {pattern.stride}; allowed "
                         "are whole groups")
    return kept_weights(weights, pattern, shared)


def with_pattern(description: dict[str, Any], pattern: Pattern, name: str) -> dict[str, Any]:
    """The description of the same network, called ``name``, with the linear layers inside its residuals pruned."""
    inputs = description["input"]
    tokens, features = inputs["tokens"], inputs.get("features") or inputs["vocabulary"]

    def changed(layers: Sequence[dict[str, Any]], is_inside: bool) -> list[dict[str, Any]]:
        nonlocal features
        found = []
        for layer in layers:
            if layer["kind"] == "residual":
                layer = layer | {"layers": changed(layer["layers"], True)}
            elif layer["kind"] == "linear" and is_inside:
                layer = layer | {"sparsity": str(pattern), "stride": spread(pattern, features).stride}
            features = layer.get("out_features", features * (tokens if layer["kind"] == "flatten" else 1))
            found.append(layer)
        return found

    return description | {"name": name, "layers": changed(description["layers"], False)}


def pattern_of(layer: dict[str, Any]) -> Pattern | None:
    """That of a table of kind ``linear``; None for a dense one."""
    return Pattern.parse(layer["sparsity"])._replace(stride=layer["stride"]) if "sparsity" in layer else None
