"""The trained networks that come with the package, each with its data: what demonstration and evaluation run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...hw.errors import WingbeatError
from ..compiler.network.load import LoadedNetwork, load_network
from . import digits, listops

__all__ = ["TASKS", "Dataset", "load_dataset", "load_trained", "find_network", "preset_of"]

_CALIBRATION = 512  # training inputs that show the range of the data, at most


@dataclass(frozen=True, eq=False)
class Dataset:
    """A network, the training ``record`` beside its weights, calibration inputs out of the training part, and the
    held-out inputs with their labels. ``picture`` shows an input: a uint8 image, or a text. ``grid`` (rows, columns):
    how tokens, row after row, lie on an image."""

    name: str
    network: LoadedNetwork
    record: dict[str, Any]
    calibration: np.ndarray = field(repr=False)
    inputs: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    picture: Callable[[np.ndarray], np.ndarray | str]
    grid: tuple[int, int] | None = None


class _Data(NamedTuple):
    calibration: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray
    fingerprint: str
    picture: Callable[[np.ndarray], np.ndarray | str]
    grid: tuple[int, int] | None = None


def _digits() -> _Data:
    split = digits.load_split()
    return _Data(split.train_images[:_CALIBRATION], split.held_images, split.held_labels, split.fingerprint, _grey,
                 (split.held_images.shape[1], 1))


def _patches() -> _Data:
    split = digits.load_split()
    calibration, held = map(digits.cut_patches, (split.train_images[:_CALIBRATION], split.held_images))
    return _Data(calibration, held, split.held_labels, split.fingerprint,
                 lambda tokens: _grey(digits.join_patches(tokens)[0]), (digits.GRID, digits.GRID))


def _grey(image: np.ndarray) -> np.ndarray:
    """Pixels -1..1 as ink on paper."""
    return np.rint(127.5 * (1 - image)).astype(np.uint8)


def _listops() -> _Data:
    split = listops.load_split(train=_CALIBRATION)
    return _Data(split.train_tokens, split.held_tokens, split.held_labels, split.fingerprint, _expression)


def _expression(tokens: np.ndarray) -> str:
    return " ".join(listops.VOCABULARY[token] for token in tokens if token != listops.PADDING)


TASKS: dict[str, Callable[[], _Data]] = {
    **dict.fromkeys(("digits", "digits_dense", "digits_2of4", "digits_1of4"), _digits),
    "digits_attention": _patches,
    **dict.fromkeys(("listops", "listops_attention", "listops_dense"), _listops)}


def load_trained(name: str) -> LoadedNetwork:
    """The network without its data. Raises WingbeatError for an unknown name."""
    if name not in TASKS:
        raise WingbeatError(f"network: {name!r} is not one of {', '.join(TASKS)}")
    folder = resources.files(__package__) / "networks"
    with resources.as_file(folder / f"{name}.toml") as toml, resources.as_file(folder / f"{name}.safetensors") as path:
        return load_network(toml, path)


def find_network(network: str, checkpoint: Path | None) -> LoadedNetwork:
    """The shipped ``network``, or that of a file NET.toml with its ``checkpoint``. Raises WingbeatError."""
    if not network.endswith(".toml"):
        if checkpoint is not None:
            raise WingbeatError(f"--checkpoint: {str(checkpoint)!r} with the shipped network {network!r}; allowed with "
                                "a file NET.toml")
        return load_trained(network)
    if checkpoint is None:
        raise WingbeatError(f"--checkpoint: none; allowed with {network} are its weights, M.safetensors")
    return load_network(Path(network), checkpoint)


def preset_of(network: LoadedNetwork) -> str:
    """A preset that runs ``network``: one with softmax where it has attention, a ring where it has linear layers, which
    reads by id for an embedding."""
    kinds = {each.kind for layer in network.walk() for each in (layer, *layer.projections)}
    return "attention-16" if "attention" in kinds else "matrix-16" if kinds & {"linear", "embedding"} else "hybrid-16"


def load_dataset(name: str) -> Dataset:
    """Raises WingbeatError for an unknown name, or weights that were trained with other data."""
    network = load_trained(name)
    record = json.loads((resources.files(__package__) / "networks" / f"{name}.json").read_text(encoding="utf-8"))
    data = TASKS[name]()
    if record["held_out_sha256"] != data.fingerprint:
        raise WingbeatError(f"{name}.json: held_out_sha256 = {record['held_out_sha256']!r}; the data have "
                            f"{data.fingerprint!r}")
    return Dataset(name, network, record, data.calibration, data.inputs, data.labels, data.picture,
                   data.grid)
