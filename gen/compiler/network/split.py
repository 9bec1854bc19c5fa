"""Networks with softmax attention on a processor without it: what it runs of them, and what the host does between.

The network is cut at every attention. All up to q, k and v runs on the array, and all from the
projection behind the attention on. The host makes softmax(q k^T / sqrt(d)) v in between. A program has one input, so
the host also adds the sum of a residual with an attention inside. Values cross as floats; each part quantises what
comes in by its own calibration.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ....hw.config import CoreConfig
from ....sim.reference.functions import attended, attention
from ..quality import Clamped, total_clamped
from .compile import CompiledNetwork, NetworkResult, compile_network
from .file import Attention
from .inputs import Padded, encode_inputs, input_lengths
from .load import LoadedLayer, LoadedNetwork
from .reference import forward

__all__ = ["HostAttention", "Add", "SplitNetwork", "split_network", "compile_split"]


@dataclass(frozen=True, eq=False)
class HostAttention:
    """The attention ``layer`` without its last projection. ``projections``: q, k and v, each with the LayerNorm that
    stands in front of them, if there is one."""

    layer: LoadedLayer
    projections: tuple[LoadedNetwork, ...]


@dataclass(frozen=True, eq=False)
class Add:
    """x + parts(x): the residual ``layer``."""

    layer: LoadedLayer
    parts: tuple["_Part", ...]


_Part = LoadedNetwork | HostAttention | Add  # the first one alone is for the array


def split_network(network: LoadedNetwork) -> tuple[_Part, ...]:
    """The parts in order; a network without attention is its only part."""
    if not any(layer.kind == "attention" for layer in network.walk()):
        return (network,)
    return tuple(_parts(network, network.layers))


def _parts(network: LoadedNetwork, layers: Sequence[LoadedLayer]) -> Iterator[_Part]:
    pending: list[LoadedLayer] = []
    for layer in layers:
        if isinstance(layer.spec, Attention):
            norm = [pending.pop()] if pending and pending[-1].kind == "layernorm" else []
            yield from _whole(network, pending)
            yield HostAttention(layer, tuple(part for each in layer.projections[:3]
                                      for part in _whole(network, [*norm, each])))
            pending = [layer.projections[3]]
        elif any(each.kind == "attention" for each in layer.layers):
            yield from _whole(network, pending)
            yield Add(layer, tuple(_parts(network, layer.layers)))
            pending = []
        else:
            pending.append(layer)
    yield from _whole(network, pending)


def _whole(network: LoadedNetwork, layers: Sequence[LoadedLayer]) -> Iterator[LoadedNetwork]:
    """``layers`` of ``network`` as one of their own; none of no layers."""
    if layers:
        vocabulary = network.vocabulary if layers[0] is network.layers[0] else None
        yield LoadedNetwork(network.name, layers[0].input, vocabulary, tuple(layers))


def _execute(parts: Sequence[_Part], x: Any, lengths: np.ndarray | None,
             run: Callable[[LoadedNetwork, Any], np.ndarray]) -> np.ndarray:
    """``lengths`` (inputs,): keys that count where the host has softmax, None for all."""
    for part in parts:
        match part:
            case HostAttention(layer, projections):
                assert isinstance(layer.spec, Attention)
                q, k, v = (run(each, x) for each in projections)
                x = attention(q, k, v, layer.spec.heads, attended(q.shape[1], layer.spec.causal, layer.spec.window),
                              lengths, layer.spec.slopes)
            case Add(_, inner):
                x = x + _execute(inner, x, lengths, run)
            case _:
                x = run(part, x)
    return x


@dataclass(frozen=True, eq=False)
class SplitNetwork:
    """``network`` in ``parts``. ``programs``: those of the array by the id of their part, in the order in which they
    run."""

    network: LoadedNetwork
    parts: tuple[_Part, ...] = field(repr=False)
    programs: dict[int, CompiledNetwork] = field(repr=False)

    @property
    def host_steps(self) -> list[str]:
        """What the host does: layers of the network file."""
        def walk(parts: Sequence[_Part]) -> Iterator[str]:
            for part in parts:
                if isinstance(part, HostAttention):
                    yield f"softmax of {part.layer.path}" + (f" ({part.layer.weights})" if part.layer.weights else "")
                elif isinstance(part, Add):
                    yield from walk(part.parts)
                    yield f"sum of {part.layer.path}"
        return list(walk(self.parts))

    def execute(self, inputs: Any, run: Callable[[CompiledNetwork, Any], np.ndarray]) -> np.ndarray:
        """Results (inputs, tokens, features); ``run`` is asked for those of every program."""
        return _execute(self.parts, *_first(self.network, self.parts, inputs),
                        lambda part, x: run(self.programs[id(part)], x))

    def execute_model(self, inputs: Any) -> NetworkResult:
        """All programs on the bit-exact model, the rest in float64. What is clamped on the way in counts as ``inputs``
        for every program."""
        clamped: list[list[Clamped]] = []

        def run(compiled: CompiledNetwork, x: Any) -> np.ndarray:
            found = compiled.execute_model(x)
            clamped.append(found.clamped)
            return found.results

        return NetworkResult(self.execute(inputs, run), total_clamped(clamped))


def _first(network: LoadedNetwork, parts: Sequence[_Part], inputs: Any) -> tuple[Any, np.ndarray | None]:
    """What the first part takes, and the lengths for the host, which needs floats."""
    if parts[0] is network:
        return inputs, None
    encoded, lengths = encode_inputs(network, inputs), input_lengths(network, inputs)
    values = inputs.values if isinstance(inputs, Padded) else inputs
    return values if isinstance(parts[0], LoadedNetwork) else encoded, lengths


def compile_split(network: LoadedNetwork, config: CoreConfig, inputs: Any, batch: int) -> SplitNetwork:
    """As :func:`~.network.compile_network` without its check; each part is calibrated on what it sees in float. Where
    the array has softmax nothing is cut."""
    parts: tuple[_Part, ...] = (network,) if config.softmax_pairs else split_network(network)
    programs: dict[int, CompiledNetwork] = {}

    def run(part: LoadedNetwork, x: Any) -> np.ndarray:
        programs[id(part)] = compile_network(part, config, x, batch, check=False)
        return x if part is parts[-1] else forward(part, x)[-1][1]  # of the last one nobody asks

    _execute(parts, *_first(network, parts, inputs), run)
    return SplitNetwork(network, parts, programs)
