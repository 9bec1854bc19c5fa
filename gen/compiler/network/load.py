"""A hybrid butterfly network from two files: the network file (gen/compiler/network/file.py) and a checkpoint.

**What a torch-butterfly checkpoint tells, and what it does not.** It has no text beside its tensors, and needs none:

* n, stacks and blocks are the shape of the twiddle; in_size is the features in front of the layer (at most n; the
  rest is zeros).
* out_size is the length of the bias; without a bias, what the layers behind insist on: the weight of a LayerNorm, a
  position, the end of a residual, also behind layers that keep the features. Where nothing tells (no bias in the
  last layer, or in front of another butterfly) the field ``out_features`` is asked for: to take all n*stacks outputs
  where there were fewer would feed features that training never saw into the next layer.
* The direction of the strides *cannot* be told: every twiddle is valid in both. It is torch-butterfly's default,
  increasing, unless ``increasing_stride = false`` stands in the layer's table. Further blocks flip it. What is taken
  for granted so stands in ``LoadedNetwork.assumed``; report and manifest name it.

Text metadata (or 0-d arrays) NAME.in_size, NAME.out_size, NAME.increasing_stride are used where the file has them,
and must agree with the tables. A tensor that nobody uses is an error, since a forgotten bias or layer gives wrong
results in silence; ``ignore`` names those that are meant.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ....hw.errors import WingbeatError
from ..kernel.sparse import Pattern
from ..checkpoint import ButterflyWeights, Checkpoint, printable, real_array
from ..program.attention import Heads
from .encoder import encoder_layers
from .file import (LARGEST_SIDE, Attention, Butterfly, Embedding, Encoder, Flatten, LayerNorm, LayerSpec, Linear, Mean,
                   Mixing, NetworkFile, PlainSpec, Position, Residual, read_network_file)
from .projections import PROJECTIONS, ProjectionTensors, check_supported, find_projection, matrix_spec

_LONE_STRIDE = "stride without sparsity; allowed beside sparsity"

__all__ = ["Shape", "LoadedLayer", "LoadedNetwork", "load_network"]


class Shape(NamedTuple):
    """Size of what one input has become at a point of the network."""

    tokens: int
    features: int


@dataclass(frozen=True, eq=False)
class LoadedLayer:
    """One layer with its float64 tensors. ``path`` is its place in the file, such as ``layers[2].layers[0]``, or
    ``layers[2].norm1`` in an encoder.

    ``input``, ``output``: shapes in front and behind. ``butterflies``: the one of a butterfly. ``matrix`` (out, in),
    ``bias`` (out,), ``pattern``: of a linear layer, the bias may be missing, and the pattern of a dense one. ``matrix``
    (vocabulary, features): of an embedding. ``scale``, ``offset`` (features,): LayerNorm, the offset may be missing.
    ``position`` (tokens, features). ``layers``: what a residual adds to its input. ``projections``: q, k, v, out of an
    attention, butterflies or linear layers. What a kind does not have is empty.
    """

    path: str
    spec: LayerSpec
    input: Shape
    output: Shape
    butterflies: tuple[ButterflyWeights, ...] = ()
    scale: np.ndarray | None = None
    offset: np.ndarray | None = None
    position: np.ndarray | None = None
    layers: tuple["LoadedLayer", ...] = ()
    projections: tuple["LoadedLayer", ...] = ()
    matrix: np.ndarray | None = None
    bias: np.ndarray | None = None
    pattern: Pattern | None = None

    @property
    def kind(self) -> str:
        return self.spec.kind

    @property
    def weights(self) -> str:
        """Name of its tensors, empty where it has none."""
        return getattr(self.spec, "weights", "")

    @property
    def heads(self) -> Heads:
        """Of an attention."""
        assert isinstance(self.spec, Attention)
        query, key = (each.output.features for each in self.projections[:2])
        features = query // self.spec.heads
        return Heads(self.spec.heads, key // features, features)


@dataclass(frozen=True, eq=False)
class LoadedNetwork:
    """A checked network: every tensor is there, is real and finite, and has the shape that its place asks for.
    ``assumed``: what neither file says, as NAME.increasing_stride = true. ``has_lengths``: how many of its tokens count
    comes with each input; attention sees no others."""

    name: str
    input: Shape
    vocabulary: int | None
    layers: tuple[LoadedLayer, ...]
    assumed: tuple[str, ...] = ()
    has_lengths: bool = False

    @property
    def output(self) -> Shape:
        return self.layers[-1].output

    @property
    def takes_ids(self) -> bool:
        """Whether tokens stand in memory as their numbers, one feature each, for an embedding."""
        return self.layers[0].kind == "embedding"

    def walk(self) -> Iterator[LoadedLayer]:
        """All layers in the order of their results: the layers of a residual, then the residual."""
        for layer in self.layers:
            yield from layer.layers
            yield layer


# --- The tensors ------------------------------------------------------------------------------------------------


def load_network(toml_path: str | Path, checkpoint_path: str | Path) -> LoadedNetwork:
    """Network file and checkpoint, checked against each other; ``attention`` is loaded too.

    Raises WingbeatError with one line naming the tensor or field, the value and what is allowed.
    """
    file = read_network_file(toml_path)
    loader = _Loader(Checkpoint(checkpoint_path), file)
    given = file.input
    has_ids = isinstance(file.layers[0], Embedding)
    shape = Shape(given.tokens, given.features or (1 if has_ids else given.vocabulary or 0))
    layers = loader.layers(file.layers, shape, "", None)
    loader.check_all_used()
    network = LoadedNetwork(file.name, shape, given.vocabulary, layers, tuple(loader.assumed), given.lengths)
    _check_lengths(network)
    return network


def _check_lengths(network: LoadedNetwork) -> None:
    """Whoever looks at the lengths of a network that takes them must have the tokens of the input."""
    if not network.has_lengths:
        return
    found = [layer for layer in network.walk() if isinstance(layer.spec, Attention)]
    if not found:
        raise WingbeatError("input.lengths: true, and no layer looks at them; allowed beside attention")
    for layer in found:
        if layer.input.tokens != network.input.tokens:
            raise WingbeatError(f"{layer.path} (attention): {layer.input.tokens} tokens and lengths of "
                                f"{network.input.tokens}; allowed with input.lengths is attention in front of mean and "
                                "flatten")


class _Loader:
    """Follows the shape through the layers and takes the tensors, each once."""

    def __init__(self, checkpoint: Checkpoint, file: NetworkFile):
        self.checkpoint = checkpoint
        self.prefix, self.ignore = file.prefix, file.ignore
        self.vocabulary = file.input.vocabulary
        # Without the prefix, as fields name them.
        self.names = frozenset(name.removeprefix(file.prefix) for name in checkpoint.names
                               if name.startswith(file.prefix) and name not in file.ignore)
        self.user: dict[str, str] = {}
        self.assumed: list[str] = []
        for name in file.ignore:
            if name not in checkpoint.names:
                raise WingbeatError(f"ignore: {printable(name)!r} is no tensor of {checkpoint.path.name!r}; allowed "
                                    "are names of its tensors")

    def layers(self, specs: Sequence[LayerSpec], shape: Shape, path: str, end: int | None) -> tuple[LoadedLayer, ...]:
        """``end``: features that the last of them must leave, if that is known."""
        loaded: list[LoadedLayer] = []
        places = [place for index, spec in enumerate(specs) for place in self._places(spec, f"{path}layers[{index}]")]
        for number, (where, spec) in enumerate(places):
            if isinstance(spec, Residual):
                layer = self._residual(spec, shape, where)
            else:
                behind = [each for _, each in places[number + 1:]]
                with _named(f"{where} ({spec.kind})"):
                    layer = self._plain(spec, shape, where, partial(self._wanted, behind, end))
            loaded.append(layer)
            shape = layer.output
        return tuple(loaded)

    def _places(self, spec: LayerSpec, where: str) -> list[tuple[str, PlainSpec | Residual]]:
        """What ``spec`` stands for: itself, or the layers of an encoder; each with its path."""
        if not isinstance(spec, Encoder):
            return [(where, spec)]
        with _named(f"{where} ({spec.kind})"):
            return [(f"{where}.{place}", each) for place, each in encoder_layers(spec, self._matrix)]

    def _matrix(self, module: str) -> Butterfly | Linear:
        """The layer whose tensors begin with ``module``."""
        spec = matrix_spec(self.names, module)
        if spec is None:
            full = printable(self.prefix + module)
            raise WingbeatError(f"{full}: none or both of its tensors are in {self.checkpoint.path.name!r}; allowed is "
                                f"{full}.twiddle of a butterfly or {full}.weight of a dense matrix")
        return spec

    def check_all_used(self) -> None:
        left = [printable(name) for name in self.checkpoint.names if name not in self.user and name not in self.ignore]
        if left:
            more = f" and {len(left) - 5} more" if len(left) > 5 else ""
            raise WingbeatError(f"{', '.join(left[:5])}{more}: no layer uses this tensor of "
                                f"{self.checkpoint.path.name!r}; allowed are tensors of layers and those "
                                "that 'ignore' names")

    def _residual(self, spec: Residual, shape: Shape, where: str) -> LoadedLayer:
        layers = self.layers(spec.layers, shape, where + ".", shape.features)
        if layers[-1].output != shape:
            raise WingbeatError(f"{where} (residual): it ends in {_text(layers[-1].output)}; allowed is "
                                f"{_text(shape)}, what it began with")
        return LoadedLayer(where, spec, shape, shape, layers=layers)

    def _plain(self, spec: PlainSpec, shape: Shape, where: str, wanted: Callable[[], int | None]) -> LoadedLayer:
        match spec:
            case Butterfly():
                weights = self._butterfly(spec, shape.features, wanted, where)
                return LoadedLayer(where, spec, shape, Shape(shape.tokens, weights.out_size), butterflies=(weights,))
            case Linear():
                return self._linear(spec, shape, where)
            case Embedding():
                return self._embedding(spec, shape, where)
            case Attention():
                return LoadedLayer(where, spec, shape, shape, projections=self._projections(spec, shape, where))
            case Position():
                position = self._tensor(spec.weights, where, shape)
                return LoadedLayer(where, spec, shape, shape, position=position)
            case LayerNorm():
                scale = self._tensor(spec.weights + ".weight", where, shape[1:])
                has_offset = f"{self.prefix}{spec.weights}.bias" in self.checkpoint.names
                offset = self._tensor(spec.weights + ".bias", where, shape[1:]) if has_offset else None
                return LoadedLayer(where, spec, shape, shape, scale=scale, offset=offset)
        return LoadedLayer(where, spec, shape, _shape_behind(spec, shape))

    def _linear(self, spec: Linear, shape: Shape, where: str) -> LoadedLayer:
        stem = f"{spec.weights}." if spec.weights else ""
        name = f"{self.prefix}{stem}weight"
        self._claim(name, where)
        matrix = real_array(name, self.checkpoint.tensor(name))
        if matrix.ndim != 2 or matrix.shape[1] != shape.features or not 1 <= len(matrix) <= LARGEST_SIDE:
            raise WingbeatError(f"{name}: shape {matrix.shape}; allowed are (1..{LARGEST_SIDE}, {shape.features})")
        pattern = _pattern(spec)
        has_bias = f"{self.prefix}{stem}bias" in self.checkpoint.names
        bias = self._tensor(f"{stem}bias", where, matrix.shape[:1]) if has_bias else None
        return LoadedLayer(where, spec, shape, Shape(shape.tokens, len(matrix)), matrix=matrix, bias=bias,
                           pattern=pattern)

    def _embedding(self, spec: Embedding, shape: Shape, where: str) -> LoadedLayer:
        if where != "layers[0]" or self.vocabulary is None:
            raise WingbeatError("it has no tokens; allowed is the first layer, behind an input with a vocabulary")
        name = f"{self.prefix}{spec.weights}{'.' if spec.weights else ''}weight"
        self._claim(name, where)
        matrix = real_array(name, self.checkpoint.tensor(name))
        if matrix.ndim != 2 or len(matrix) != self.vocabulary or not 1 <= matrix.shape[1] <= LARGEST_SIDE:
            raise WingbeatError(f"{name}: shape {matrix.shape}; allowed are ({self.vocabulary}, 1..{LARGEST_SIDE})")
        return LoadedLayer(where, spec, shape, Shape(shape.tokens, matrix.shape[1]), matrix=matrix)

    def _claim(self, name: str, where: str) -> None:
        if name in self.user:
            raise WingbeatError(f"{name}: used by {self.user[name]} already; allowed is one layer")
        if name in self.ignore:
            raise WingbeatError(f"{name}: stands in 'ignore' too; allowed are tensors that no layer uses")
        self.user[name] = where

    def _tensor(self, name: str, where: str, shape: tuple[int, ...]) -> np.ndarray:
        name = self.prefix + name
        self._claim(name, where)
        raw = self.checkpoint.tensor(name)
        if raw.shape != tuple(shape):
            raise WingbeatError(f"{name}: shape {raw.shape}; allowed is {tuple(shape)}")
        return real_array(name, raw)

    def _butterfly(self, spec: Butterfly, features: int, wanted: Callable[[], int | None],
                   where: str) -> ButterflyWeights:
        """``wanted`` gives the out_size that the layers behind insist on; asked when nothing nearer tells it."""
        name = (self.prefix + spec.weights).removesuffix("" if spec.weights else ".")
        stem = f"{name}." if name else ""
        self._claim(stem + "twiddle", where)
        has_bias = stem + "bias" in self.checkpoint.names
        if has_bias:
            self._claim(stem + "bias", where)
        given = {"in_size": features, "out_size": spec.out_features, "increasing_stride": spec.increasing_stride}
        said = self.checkpoint.options(name)
        for option, value in said.items():
            if given[option] is not None and value != given[option]:
                raise WingbeatError(f"{stem}{option}: {value!r} in the checkpoint; allowed is {given[option]}, what "
                                    f"{'stands in front' if option == 'in_size' else 'the network file has'}")
        told = has_bias or given["out_size"] is not None or "out_size" in said
        out_size = given["out_size"] if told else wanted()
        weights = self.checkpoint.butterfly(name, given | {"out_size": out_size})
        if given["increasing_stride"] is None and "increasing_stride" not in said and weights.log2_size > 1:
            self.assumed.append(f"{stem}increasing_stride = true")
        if not told and out_size is None:
            high = weights.n_stacks * weights.size
            raise WingbeatError(f"out_features: missing, and nothing else tells it ({stem}bias, metadata, a layer "
                                f"behind); allowed are {high - weights.size + 1}..{high}")
        return weights

    def _projections(self, spec: Attention, shape: Shape, where: str) -> tuple[LoadedLayer, ...]:
        """The four matrices of an attention."""
        heads, stem = _heads(spec, shape.features), f"{spec.weights}." if spec.weights else ""
        query, key = heads.queries * heads.features, heads.keys * heads.features
        outputs = (query, key, key, shape.features)
        check_supported(self.names, stem)
        if spec.stride is not None and spec.sparsity is None:
            raise WingbeatError(_LONE_STRIDE)
        shared, loaded = _SharedTensors(self, where, query + 2 * key), []
        for number, (part, features) in enumerate(zip(PROJECTIONS, outputs)):
            given = Shape(shape.tokens, query) if part == "out" else shape
            rows = slice(sum(outputs[:number]), sum(outputs[:number + 1]))
            layer = self._projection(spec, part, given, rows, shared)
            if layer.output.features != features:
                raise WingbeatError(f"{self.prefix}{stem}{part}: {layer.output.features} features come out; allowed "
                                    f"are {features}, for {heads.queries} heads, {heads.keys} of keys, of "
                                    f"{heads.features} features")
            loaded.append(layer)
        return tuple(loaded)

    def _projection(self, spec: Attention, part: str, shape: Shape, rows: slice,
                    shared: "_SharedTensors") -> LoadedLayer:
        """The matrix ``part`` of an attention on what has ``shape``, with so many outputs as ``rows`` of those of all
        four; its tensors are its own or ``shared``."""
        stem = f"{spec.weights}." if spec.weights else ""
        place, pruning = f"{shared.where}.{part}", _pruning(spec, part)
        found = find_projection(self.names, stem, part, repr(self.checkpoint.path.name))
        if found.module:
            matrix = _pruned(self._matrix(found.module), pruning, part)
            return self._plain(matrix, shape, place, lambda: rows.stop - rows.start)
        own = Linear.model_construct(kind="linear", weights=stem + part, **pruning)
        return shared.projection(found, own, place, shape, rows)

    def _wanted(self, specs: Sequence[LayerSpec], end: int | None) -> int | None:
        """Features that the layers behind a butterfly insist on, None if they take any."""
        for spec in specs:
            match spec:
                case LayerNorm():
                    return self._last_side(spec.weights + ".weight")
                case Position():
                    return self._last_side(spec.weights)
                case Linear():
                    return self._last_side(f"{spec.weights}.weight" if spec.weights else "weight")
                case Butterfly():
                    return self.checkpoint.options(self.prefix + spec.weights).get("in_size")
                case Residual():  # keeps the features: what stands in it tells, or what stands behind it
                    inside = self._wanted(spec.layers, None)
                    if inside is not None:
                        return inside
                case Flatten():
                    return None
        return end

    def _last_side(self, name: str) -> int | None:
        """Last side of a tensor; one that is not there is reported where its layer is loaded."""
        name = self.prefix + name
        shape = self.checkpoint.tensor(name).shape if name in self.checkpoint.names else ()
        return shape[-1] if shape else None


class _SharedTensors:
    """Tensors with ``rows`` rows of several matrices of one attention, each read and claimed once."""

    def __init__(self, loader: _Loader, where: str, rows: int):
        self.loader, self.where, self.rows = loader, where, rows
        self.found: dict[str, np.ndarray] = {}

    def projection(self, tensors: ProjectionTensors, spec: Linear, place: str, shape: Shape,
                   own: slice) -> LoadedLayer:
        """The matrix that has the rows ``own`` of what is shared; its bias has the same."""
        if tensors.is_packed:
            matrix = self._read(tensors.weight, (self.rows, shape.features))[own]
        else:
            matrix = self._read(tensors.weight, (own.stop - own.start, shape.features))
        has_bias = self.loader.prefix + tensors.bias in self.loader.checkpoint.names
        bias = self._read(tensors.bias, (self.rows,))[own] if has_bias else None
        return LoadedLayer(place, spec, shape, Shape(shape.tokens, len(matrix)), matrix=matrix, bias=bias,
                           pattern=_pattern(spec))

    def _read(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in self.found:
            self.found[name] = self.loader._tensor(name, self.where, shape)
        return self.found[name]


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Faults begin with ``name``."""
    try:
        yield
    except WingbeatError as error:
        raise WingbeatError(f"{name}: {error}") from error


def _pattern(spec: Linear) -> Pattern | None:
    """What the file says; the stride is 0 where the weights are to say it."""
    if spec.sparsity is None:
        if spec.stride is not None:
            raise WingbeatError(_LONE_STRIDE)
        return None
    try:
        pattern = Pattern.parse(spec.sparsity)
    except WingbeatError as fault:
        raise WingbeatError(f"sparsity: {str(fault).removeprefix('pattern: ')}") from fault
    if spec.stride is not None and spec.stride & spec.stride - 1:
        raise WingbeatError(f"stride: {spec.stride}; allowed are powers of two")
    return pattern._replace(stride=spec.stride or 0)


def _pruning(spec: Attention, part: str) -> dict[str, Any]:
    """Fields of the linear layer that is one of the four matrices; none where it is not sparse."""
    sparsity = spec.sparsity and getattr(spec.sparsity, part)
    return {"sparsity": sparsity, "stride": spec.stride} if sparsity else {}


def _pruned(matrix: Butterfly | Linear, pruning: dict[str, Any], part: str) -> Butterfly | Linear:
    """The ``matrix`` with those fields."""
    if pruning and isinstance(matrix, Butterfly):
        raise WingbeatError(f"sparsity.{part}: {pruning['sparsity']!r} of a butterfly; allowed are dense matrices")
    return matrix.model_copy(update=pruning)


def _heads(spec: Attention, features: int) -> Heads:
    """Those of an attention behind so many ``features``."""
    if spec.head_features is None and features % spec.heads:
        raise WingbeatError(f"heads: {spec.heads}; allowed are divisors of {features} features, or head_features "
                            "beside them")
    keys = spec.heads if spec.key_heads is None else spec.key_heads
    if spec.heads % keys:
        raise WingbeatError(f"key_heads: {keys}; allowed are divisors of {spec.heads} heads")
    return Heads(spec.heads, keys, spec.head_features or features // spec.heads)


def _text(shape: Shape) -> str:
    return f"{shape.tokens} tokens x {shape.features} features"


def _shape_behind(spec: PlainSpec, shape: Shape) -> Shape:
    """Of the layers without tensors."""
    match spec:
        case Mixing() if shape.tokens & (shape.tokens - 1) or shape.features & (shape.features - 1):
            raise WingbeatError(f"{_text(shape)}; allowed are powers of two")
        case Mean():
            return Shape(1, shape.features)
        case Flatten():
            size = shape.tokens * shape.features
            if size > LARGEST_SIDE:
                raise WingbeatError(f"{_text(shape)} are {size} features; allowed are {LARGEST_SIDE}")
            return Shape(1, size)
    return shape
