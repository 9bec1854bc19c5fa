"""From the layers of a network to the steps of a processor: what goes together through memory once.

A step is a matrix (butterfly, mixing, sum over tokens, or a mere copy) with what the vector unit does on the way to it
and behind it: a LayerNorm in front, behind it bias, activation and an added tensor. A layer that finds no place at its
neighbours gets a copy of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
import math
from typing import Any

import numpy as np

from ....hw.errors import WingbeatError
from ....sim.reference.functions import attended, attention, standardise
from ..checkpoint import ButterflyWeights
from .file import Attention, Butterfly, Embedding, Flatten, Gelu, LayerNorm, Linear, Mean, Mixing, Position, Relu
from .inputs import encode_inputs, input_lengths
from .load import LoadedLayer, LoadedNetwork, Shape
from .reference import apply_layer

__all__ = ["Step", "Value", "Lowered", "lower"]


@dataclass(eq=False)
class Value:
    """A tensor that stands in memory: its shape, and its float values (inputs, tokens, features) for the calibration
    inputs. ``readers``: steps that read it as a matrix or for their sums; ``adders``: those that add it."""

    shape: Shape
    floats: np.ndarray = field(repr=False)
    readers: list["Step"] = field(default_factory=list, repr=False)
    adders: list["Step"] = field(default_factory=list, repr=False)


@dataclass(eq=False)
class Step:
    """One matrix from ``source`` to ``result``, and what happens at both ends.

    ``layer``: the butterfly, linear layer, mixing or mean, None for a copy. ``norm``: the LayerNorm of the source.
    ``flat``: the tokens of an input stand one after the other. ``activation``: Gelu, Relu or None. ``added``: a Value,
    a position (tokens, features), or None. ``linear`` and ``activated``: float values in front of the activation and
    behind it. ``operands``: of an attention its keys and values; the source are its queries, times log2(e) / sqrt(d).
    ``has_lengths``: as many of its keys count as each input says.
    """

    name: str
    layer: LoadedLayer | None
    source: Value
    norm: LoadedLayer | None
    flat: bool
    result: Value
    linear: np.ndarray = field(repr=False)
    activated: np.ndarray = field(repr=False)
    operands: tuple[Value, ...] = ()
    has_lengths: bool = False
    activation: Gelu | Relu | None = None
    added: Value | np.ndarray | None = field(default=None, repr=False)

    @property
    def kind(self) -> str:
        return self.layer.kind if self.layer else "copy"

    @property
    def weights(self) -> ButterflyWeights | None:
        return self.layer.butterflies[0] if self.layer and self.layer.butterflies else None

    def standardised(self) -> np.ndarray:
        """What the matrix reads, in float: the source, normalised without weight and bias where there is a norm."""
        x = self.source.floats
        if self.norm is not None:
            assert isinstance(self.norm.spec, LayerNorm)
            x = standardise(x, self.norm.spec.epsilon)
        return x.reshape(len(x), 1, -1) if self.flat else x


@dataclass(frozen=True, eq=False)
class Lowered:
    """The steps of a network in order, with the tensors at both ends."""

    name: str
    input: Value
    steps: tuple[Step, ...]

    @property
    def takes_ids(self) -> bool:
        """Whether the inputs are numbers of tokens."""
        return self.steps[0].kind == "embedding"

    @property
    def output(self) -> Value:
        return self.steps[-1].result


@dataclass(frozen=True, eq=False)
class _Point:
    """Between two layers: a value, and what has not been done to it yet. ``floats``: as it were done."""

    value: Value
    floats: np.ndarray
    norm: LoadedLayer | None = None
    flat: bool = False

    @property
    def settled(self) -> bool:
        return self.norm is None and not self.flat


def lower(network: LoadedNetwork, inputs: Any) -> Lowered:
    """Steps of ``network``; the float values are those of ``inputs`` (as for :func:`~.network.encode`).

    Raises WingbeatError for a layer that no processor runs.
    """
    x = encode_inputs(network, inputs)
    if not len(x):
        raise WingbeatError("inputs: none; allowed are one or more")
    given = Value(network.input, x)
    lowering = _Lowering(input_lengths(network, inputs))
    end = lowering.settle(lowering.run(network.layers, _Point(given, x)))
    if end.value is given:
        lowering.step("copy", None, end)
    return Lowered(network.name, given, tuple(lowering.steps))


class _Lowering:
    """``lengths`` (inputs,): tokens that count as keys, None for all."""

    def __init__(self, lengths: np.ndarray | None) -> None:
        self.lengths = lengths
        self.steps: list[Step] = []
        self._closed: set[int] = set()  # values that somebody adds later: nothing more may happen to them

    def run(self, layers: Sequence[LoadedLayer], at: _Point) -> _Point:
        for layer in layers:
            at = self._layer(layer, at)
        return at

    def _layer(self, layer: LoadedLayer, at: _Point) -> _Point:
        if layer.layers:
            return self._residual(layer, self.settle(at))
        floats = apply_layer(layer, at.floats, self.lengths)
        match layer.spec:
            case Attention():
                return self._attention(layer, at)
            case Butterfly() | Linear() | Embedding():
                return self.step(layer.weights or layer.path, layer, at, floats)
            case Mixing() | Mean():
                if at.flat:
                    at = self.settle(at)
                return self.step(f"{layer.path}.{layer.kind}", layer, at, floats)
            case LayerNorm():
                at = self.settle(at)
                return replace(at, floats=floats, norm=layer)
            case Flatten():
                return replace(at, floats=floats, flat=at.value.shape.tokens > 1 or at.flat)
            case Gelu() | Relu() as spec:
                step = self._open(at, "activation")
                step.activation, step.activated = spec, floats
                return self._finished(step, floats)
            case Position():
                assert layer.position is not None
                step = self._open(at, "added")
                step.added = layer.position
                return self._finished(step, floats)
        raise AssertionError(f"{layer.path}: {layer.kind} is not lowered")

    def _attention(self, layer: LoadedLayer, at: _Point) -> _Point:
        """Three matrices on one source, what they give together, and the last matrix."""
        assert isinstance(layer.spec, Attention)
        if at.flat:
            at = self.settle(at)
        scale = math.log2(math.e) / math.sqrt(layer.heads.features)
        q, k, v, out = layer.projections
        points = [self.step(part.weights, part, at, apply_layer(part, at.floats)) for part in (_scaled(q, scale), k, v)]
        values = [point.value for point in points]
        floats = attention(values[0].floats / scale, values[1].floats, values[2].floats, layer.spec.heads,
                           attended(layer.input.tokens, layer.spec.causal, layer.spec.window), self.lengths,
                           layer.spec.slopes)
        together = self.step(f"{layer.weights or layer.path}.softmax", layer, points[0], floats)
        self.steps[-1].operands, self.steps[-1].has_lengths = tuple(values[1:]), self.lengths is not None
        for value in values[1:]:
            value.readers.append(self.steps[-1])
        return self.step(out.weights, out, together, apply_layer(out, floats))

    def _residual(self, layer: LoadedLayer, at: _Point) -> _Point:
        self._closed.add(id(at.value))
        step = self._open(self.run(layer.layers, at), "added")
        step.added = at.value
        at.value.adders.append(step)
        return self._finished(step, at.floats + step.result.floats)

    def _finished(self, step: Step, floats: np.ndarray) -> _Point:
        step.result.floats = floats
        return _Point(step.result, floats)

    def settle(self, at: _Point) -> _Point:
        """The same point with nothing left to do."""
        return at if at.settled else self.step(f"{at.norm.path}.copy" if at.norm else "flatten", None, at, at.floats)

    def step(self, name: str, layer: LoadedLayer | None, at: _Point, floats: np.ndarray | None = None) -> _Point:
        """A matrix behind ``at``; ``floats``: what it gives."""
        floats = at.floats if floats is None else floats
        step = Step(name, layer, at.value, at.norm, at.flat, Value(Shape(*floats.shape[1:]), floats), floats, floats)
        at.value.readers.append(step)
        self.steps.append(step)
        return _Point(step.result, floats)

    def _open(self, at: _Point, end: str) -> Step:
        """The step that made ``at``, if ``end`` of it is free, else a copy."""
        last = self.steps[-1] if self.steps else None
        free = {"activation": last and last.activation is None and last.added is None,
                "added": last and last.added is None}[end]
        if not (last and free and at.settled and last.result is at.value and id(at.value) not in self._closed):
            at = self.step(f"{len(self.steps)}.copy", None, at)
            last = self.steps[-1]
        return last


def _scaled(layer: LoadedLayer, scale: float) -> LoadedLayer:
    """A matrix and its bias times ``scale``."""
    if layer.matrix is not None:
        return replace(layer, matrix=layer.matrix * scale, bias=None if layer.bias is None else layer.bias * scale)
    [weights] = layer.butterflies
    twiddle = weights.twiddle.copy()
    twiddle[:, 0, 0] *= scale  # of one layer of the butterfly
    bias = None if weights.bias is None else weights.bias * scale
    return replace(layer, butterflies=(replace(weights, twiddle=twiddle, bias=bias),))
