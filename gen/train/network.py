"""Hybrid butterfly networks in PyTorch, built from what the network file NAME.toml says.

A *description* is that file as a plain dict: ``name``, ``input`` (tokens, and features or vocabulary) and ``layers``,
tables with a ``kind``. The tables of butterflies name ``out_features`` and ``increasing_stride``, those of linear
layers ``out_features``, and ``dense = True`` says that the projections of an attention are dense; the file leaves these
two out, as the tensors tell them. So a description says everything but the weights. :func:`fabnet` writes the
description of a FABNet-style network (arXiv 2209.09570), :class:`Network` is the module.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .fake_quantise import FakeQuantise
from .layers import (LAYER_NORM_EPSILON, Attention, Butterfly, Dense, Flatten, FourierMixing, GELU, LayerNorm, Linear,
                     Mean, Position, Residual)
from .pruning import pattern_of

__all__ = ["Network", "fabnet", "with_attention", "with_linear"]

Description = dict[str, Any]


def _block(block: int, mixer: str, hidden: int, expansion: int) -> list[Description]:
    """x += mixer(LayerNorm(x)); x += W2 GELU(W1 LayerNorm(x)). W2 goes from large stride to small, as a matrix and
    its transpose do."""
    name = f"block{block}"
    mixers = {"mixing": {"kind": "mixing", "norm": "ortho"},
              "attention": {"kind": "attention", "weights": f"{name}.attention", "heads": 4}}
    if mixer not in mixers:
        raise ValueError(f"mixers: {mixer!r}; allowed are {', '.join(mixers)}")
    return [
        {"kind": "residual", "layers": [{"kind": "layernorm", "weights": f"{name}.norm1"}, mixers[mixer]]},
        {"kind": "residual", "layers": [
            {"kind": "layernorm", "weights": f"{name}.norm2"},
            {"kind": "butterfly", "weights": f"{name}.w1", "out_features": expansion * hidden,
             "increasing_stride": True},
            {"kind": "gelu"},
            {"kind": "butterfly", "weights": f"{name}.w2", "out_features": hidden, "increasing_stride": False},
        ]},
    ]


def fabnet(name: str, inputs: Mapping[str, int], hidden: int, expansion: int, mixers: tuple[str, ...], classes: int,
           pooling: str) -> Description:
    """Embedding, position, one FABNet block per entry of ``mixers`` ("mixing" or "attention"), LayerNorm, ``pooling``
    ("mean" or "flatten"), head."""
    def butterfly(weights: str, out: int) -> Description:
        return {"kind": "butterfly", "weights": weights, "out_features": out, "increasing_stride": True}

    return {"name": name, "input": dict(inputs), "layers": [
        butterfly("embed", hidden), {"kind": "position", "weights": "position"},
        *(layer for block, mixer in enumerate(mixers) for layer in _block(block, mixer, hidden, expansion)),
        {"kind": "layernorm", "weights": "norm"}, {"kind": pooling}, butterfly("head", classes)]}


def with_attention(description: Description, heads: int = 4) -> Description:
    """The same network with softmax attention in the place of every Fourier mixing."""
    def changed(layers: list[Description], path: str) -> list[Description]:
        found = []
        for place, layer in enumerate(layers):
            if layer["kind"] == "residual":
                layer = layer | {"layers": changed(layer["layers"], f"{path}{place}.")}
            elif layer["kind"] == "mixing":
                layer = {"kind": "attention", "weights": f"attention{path}{place}", "heads": heads}
            found.append(layer)
        return found
    return description | {"layers": changed(description["layers"], "")}


def with_linear(description: Description) -> Description:
    """The same network, called NAME_dense, with dense matrices in the places of the butterflies, those of attentions
    too."""
    def changed(layers: list[Description]) -> list[Description]:
        found = []
        for layer in layers:
            if layer["kind"] == "residual":
                layer = layer | {"layers": changed(layer["layers"])}
            elif layer["kind"] == "butterfly":
                layer = {"kind": "linear", "weights": layer["weights"], "out_features": layer["out_features"]}
            elif layer["kind"] == "attention":
                layer = layer | {"dense": True}
            found.append(layer)
        return found
    return description | {"name": f"{description['name']}_dense", "layers": changed(description["layers"])}


class Network(nn.Module):
    """The network of a description: (count, tokens, features), or whole numbers (count, tokens) where the input has a
    vocabulary, to (count, classes).

    ``seed`` draws the first weights and the dropout. ``n_blocks``: {weights: blocks} of butterflies with more than one.
    ``multiplications`` counts the real ones of one input: a dense matrix rows * columns and nothing behind one-hot
    tokens, where it is a table; a pruned one as many as its pattern leaves; a butterfly with unit pivots one per output
    and factor; Fourier mixing and attention as their methods below say. What all kinds of network have alike is not
    counted: LayerNorm, GELU, requantising.
    """

    def __init__(self, description: Description, seed: int, dropout: float = 0.0,
                 n_blocks: Mapping[str, int] | None = None):
        super().__init__()
        self.description, self.dropout = description, dropout
        self.multiplications = 0
        self._n_blocks, self._generator = dict(n_blocks or {}), torch.Generator().manual_seed(seed)
        self._weights: dict[str, nn.Module] = {}
        inputs = description["input"]
        self.vocabulary = inputs.get("vocabulary")
        self._tokens, self._features = inputs["tokens"], self.vocabulary or inputs["features"]
        self._is_one_hot = self.vocabulary is not None
        self.rounding = FakeQuantise()
        self.layers = self._sequence(description["layers"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.vocabulary is not None:
            x = functional.one_hot(x, self.vocabulary).float()
        y = self.layers(self.rounding(x))
        if y.shape[1] != 1:
            raise ValueError(f"layers: {y.shape[1]} tokens are left; allowed is 1, by 'mean' or 'flatten'")
        return y[:, 0]

    def butterflies(self) -> Iterator[tuple[str, Butterfly]]:
        """The butterfly matrices by the name of their weights, those of attentions among them."""
        for name, layer in self._weights.items():
            parts = layer.projections.items() if isinstance(layer, Attention) else [("", layer)]
            yield from ((f"{name}.{part}".rstrip("."), each) for part, each in parts if isinstance(each, Butterfly))

    def pruned(self) -> list[Dense]:
        """The matrices with a pattern."""
        return [layer for layer in self._weights.values() if isinstance(layer, Dense) and layer.pattern is not None]

    def tensors(self) -> dict[str, nn.Parameter]:
        """All weights by their names in the file."""
        return {f"{name}.{key}".rstrip("."): value for name, layer in self._weights.items()
                for key, value in layer.tensors().items()}

    @property
    def parameter_count(self) -> int:
        """Numbers that are learned."""
        return sum(value.numel() for value in self.parameters())

    @property
    def nonzero_count(self) -> int:
        """Those of them that are not zero."""
        return sum(int(torch.count_nonzero(value)) for value in self.parameters())

    # --- construction: _tokens and _features follow the shape through the layers ------------------------

    def _sequence(self, layers: list[Description]) -> nn.Sequential:
        """Each layer, and where the hardware rounds its result another :class:`FakeQuantise` behind it; GELU and
        LayerNorm round for themselves."""
        modules: list[nn.Module] = []
        for layer, following in zip(layers, [*layers[1:], {"kind": ""}], strict=True):
            kind = layer["kind"]
            if kind not in self._makers:
                raise ValueError(f"kind: {kind!r}; allowed are {', '.join(self._makers)}")
            modules.append(self._makers[kind](self, layer))
            self._is_one_hot = False
            if kind not in ("layernorm", "relu", "flatten") and following["kind"] != "gelu":
                modules.append(FakeQuantise())
        return nn.Sequential(*modules)

    def _keep(self, layer: Description, module: nn.Module) -> nn.Module:
        name = layer["weights"]
        if name in self._weights:
            raise ValueError(f"weights: {name!r} stands twice; allowed are different names")
        self._weights[name] = module
        return module

    def _counted(self, made: Linear) -> Linear:
        if not (isinstance(made, Dense) and self._is_one_hot):
            self.multiplications += self._tokens * made.multiplications
        return made

    def _structured(self, name: str, out: int, increasing_stride: bool = True) -> Linear:
        return self._counted(Butterfly(self._features, out, self._generator, increasing_stride,
                                       self._n_blocks.get(name, 1)))

    def _butterfly(self, layer: Description) -> nn.Module:
        made = self._structured(layer["weights"], layer["out_features"], layer.get("increasing_stride", True))
        self._features = layer["out_features"]
        return self._keep(layer, made)

    def _linear(self, layer: Description) -> nn.Module:
        made = self._counted(Dense(self._features, layer["out_features"], self._generator, pattern_of(layer)))
        self._features = layer["out_features"]
        return self._keep(layer, made)

    def _attention(self, layer: Description) -> nn.Module:
        """Four projections, and features products per pair of tokens for the logits and again for the sum."""
        parts = {part: self._counted(Dense(self._features, self._features, self._generator)) if layer.get("dense")
                 else self._structured(f"{layer['weights']}.{part}", self._features)
                 for part in ("q", "k", "v", "out")}
        self.multiplications += 2 * self._tokens ** 2 * self._features
        return self._keep(layer, Attention(parts, layer["heads"]))

    def _mixing(self, layer: Description) -> nn.Module:
        """Two real rows are packed as a complex one and split behind the first transform, so that the two transforms
        take one multiplication per real value and layer on half of the complex values."""
        self.multiplications += self._tokens * self._features * (
            (self._tokens - 1).bit_length() + (self._features - 1).bit_length())
        return FourierMixing(layer.get("norm", "ortho"))

    def _residual(self, layer: Description) -> nn.Module:
        before = self._tokens, self._features
        inner = self._sequence(layer["layers"])
        if (self._tokens, self._features) != before:
            raise ValueError(f"residual: {before} tokens and features become {self._tokens, self._features}")
        return Residual(inner, self.dropout, self._generator)

    def _mean(self, layer: Description) -> nn.Module:
        self._tokens = 1
        return Mean()

    def _flatten(self, layer: Description) -> nn.Module:
        self._tokens, self._features = 1, self._tokens * self._features
        return Flatten()

    _makers: dict[str, Callable[["Network", Description], nn.Module]] = {
        "butterfly": _butterfly,
        "linear": _linear,
        "position": lambda self, layer: self._keep(layer, Position(self._tokens, self._features, self._generator)),
        "residual": _residual,
        "layernorm": lambda self, layer: self._keep(layer, LayerNorm(
            self._features, layer.get("epsilon", LAYER_NORM_EPSILON))),
        "mixing": _mixing,
        "attention": _attention,
        "gelu": lambda self, layer: GELU(layer.get("approximate", "none")),
        "relu": lambda self, layer: nn.ReLU(),
        "mean": _mean,
        "flatten": _flatten,
    }
