"""Accuracy by class of inputs: single layers and shipped networks, calibrated with the class itself and with noise.

What is not accurate must be warned of: every row says whether it was.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
import warnings

import numpy as np

from ...hw.config import CoreConfig
from ...sim.reference.metrics import sqnr_db
from ..compiler.network.compile import compile_network, default_batch
from ..compiler.network.file import Gelu, LayerNorm, Mixing
from ..compiler.network.load import LoadedLayer, LoadedNetwork, Shape
from ..compiler.network.reference import forward
from ..compiler.quality import AccuracyWarning, SaturationWarning
from ..workloads.fabnet import random_matrix
from ..workloads.shipped import load_dataset

__all__ = ["ClassRow", "INPUT_CLASSES", "LAYERS", "NETWORKS", "class_rows", "class_table"]

_TOKENS, _FEATURES, _INPUTS = 4, 256, 32
_OUTLIERS = (10, 30, 100)  # in standard deviations of the other features


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape)


def _tone(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    phase = rng.uniform(0, 2 * np.pi, (*shape[:-1], 1))
    return np.cos(2 * np.pi * 5 * np.arange(shape[-1]) / shape[-1] + phase)


def _constant(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.full(shape, 0.7)


def _one_hot(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.eye(shape[-1])[rng.integers(shape[-1], size=shape[:-1])]


def _heavy(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_t(2, shape)


def _outlier(deviations: int) -> Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]:
    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        x = rng.standard_normal(shape)
        x[..., shape[-1] // 3] *= deviations
        return x
    return draw


INPUT_CLASSES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "noise": _noise, "tone": _tone, "constant": _constant, "one-hot": _one_hot, "heavy tails": _heavy,
    **{f"outlier {deviations} sigma": _outlier(deviations) for deviations in _OUTLIERS},
    "100 x noise": lambda rng, shape: 100 * rng.standard_normal(shape)}
LAYERS = ("butterfly", "mixing", "layernorm", "gelu")
NETWORKS = ("digits", "listops")


@dataclass(frozen=True)
class ClassRow:
    """One class of inputs: ``sqnr_db`` against float64, elements ``clamped`` on the way, whether a warning came."""

    subject: str
    inputs: str
    calibration: str
    sqnr_db: float
    clamped: int
    warned: bool


def _single_layer(kind: str, rng: np.random.Generator) -> LoadedNetwork:
    """One layer with random weights."""
    shape = Shape(_TOKENS, _FEATURES)
    spec, weights, scale, offset = {
        "butterfly": lambda: random_matrix("w", shape.features, shape.features, rng),
        "mixing": lambda: (Mixing(kind="mixing"), (), None, None),
        "layernorm": lambda: (LayerNorm(kind="layernorm", weights="norm"), (),
                              1 + 0.1 * rng.standard_normal(_FEATURES), 0.1 * rng.standard_normal(_FEATURES)),
        "gelu": lambda: (Gelu(kind="gelu"), (), None, None)}[kind]()
    layer = LoadedLayer("layers[0]", spec, shape, shape, weights, scale, offset)
    return LoadedNetwork(kind, shape, None, (layer,))


def _token_classes(vocabulary: int, shape: tuple[int, ...], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Where the inputs are numbers of tokens: any, one for all, one that differs."""
    alone = np.zeros(shape, dtype=np.int64)
    alone[np.arange(shape[0]), rng.integers(shape[1], size=shape[0])] = rng.integers(1, vocabulary, size=shape[0])
    return {"any tokens": rng.integers(vocabulary, size=shape), "one token": np.full(shape, vocabulary - 1),
            "one token differs": alone}


def class_rows(subject: str, config: CoreConfig, seed: int = 0) -> list[ClassRow]:
    """Every class of inputs through ``subject``, one of LAYERS or NETWORKS. Raises WingbeatError where ``config`` is
    no processor with a vector unit."""
    rng = np.random.default_rng([seed, (*LAYERS, *NETWORKS).index(subject)])
    if subject in LAYERS:
        network, usual = _single_layer(subject, rng), "noise"
        data = {name: draw(rng, (_INPUTS, *network.input)) for name, draw in INPUT_CLASSES.items()}
    else:
        task = load_dataset(subject)
        network, usual = task.network, "training data"
        shape = (_INPUTS, *task.calibration.shape[1:])
        data = {"training data": task.calibration, "held-out data": task.inputs[:256]}
        if network.vocabulary:
            data |= _token_classes(network.vocabulary, shape, rng)
        else:
            deviation = task.calibration.std()
            data |= {name: draw(rng, shape) * deviation for name, draw in INPUT_CLASSES.items()}
    return [_row(subject, network, config, name, x, calibration, data[calibration])
            for name, x in data.items() for calibration in dict.fromkeys((name, usual))]


def _row(subject: str, network: LoadedNetwork, config: CoreConfig, name: str, x: Any, calibration: str,
         given: Any) -> ClassRow:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        compiled = compile_network(network, config, given, default_batch(network, config))
        run = compiled.execute_model(x)
        compiled.warn(x, run)
    doubts = [each for each in seen if issubclass(each.category, AccuracyWarning | SaturationWarning)]
    return ClassRow(subject, name, calibration, sqnr_db(forward(network, x)[-1][1], run.results),
                    sum(each.elements for each in run.clamped), bool(doubts))


def class_table(config: CoreConfig, subjects: tuple[str, ...] = LAYERS + NETWORKS, *, seed: int = 0,
                report: Callable[[str], None] | None = None) -> list[ClassRow]:
    """The rows of all ``subjects``; ``report`` is called behind each."""
    table = []
    for subject in subjects:
        table += class_rows(subject, config, seed)
        if report:
            report(subject)
    return table
