"""What a compiled network does, layer by layer: accuracy of the numbers, cycles, utilisation; and at other widths."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ...sim.reference.metrics import sqnr_db
from ..compiler.network.compile import CompiledNetwork
from ..compiler.network.load import LoadedNetwork
from ..compiler.network.lower import lower
from ..compiler.network.reference import forward
from ..compiler.network.split import compile_split
from ..cosim.network import OperationCycles, operation_cycles, predict_network

__all__ = ["LayerFigures", "WidthFigures", "WIDTHS", "check_labels", "label_accuracy", "classes", "layer_figures",
           "total_figures", "width_figures"]

WIDTHS = (16, 12, 8)


@dataclass(frozen=True)
class LayerFigures:
    """One operation on one batch.

    ``sqnr_db``: its integers against float64, with the errors of all layers before. ``clamped``: how often an element
    was clamped on its way between memory and array; ``saturated_blocks``: blocks with clamped values inside.
    ``useful``: multiplications of the graph; ``multiplier_cycles``: multipliers of the array times ``cycles``;
    ``utilisation``: one through the other.
    """

    layer: str
    kind: str
    blocks: int
    sqnr_db: float
    clamped: int
    saturated_blocks: int
    cycles: int
    useful: int
    multiplier_cycles: int
    utilisation: float


@dataclass(frozen=True)
class WidthFigures:
    """The network with elements of ``width`` bits: results against float64, share of the inputs whose largest result is
    where float has it, and the accuracy where labels are known (float's own beside it). ``clamped``: how often an
    element was clamped on its way in, or between memory and array; ``saturated_blocks``: blocks with clamped values
    inside."""

    width: int
    sqnr_db: float
    agreement: float
    accuracy: float | None
    float_accuracy: float | None
    clamped: int
    saturated_blocks: int


def layer_figures(compiled: CompiledNetwork, inputs: Any,
                  cycles: Sequence[OperationCycles] | None = None) -> list[LayerFigures]:
    """Figures of every operation for the first batch of ``inputs``; ``cycles`` else by the cycle model."""
    if cycles is None:
        predicted = predict_network(compiled)
        cycles = [found for segment, model in zip(compiled.segments, predicted)
                  for found in operation_cycles(segment, model)]
    part = next(compiled.batches(inputs))
    steps, multipliers, figures = lower(compiled.network, part).steps, compiled.config.n_multipliers, []
    for operation, run, step, spent in zip(compiled.operations, compiled.run_operations(part), steps, cycles):
        figures.append(LayerFigures(
            operation.step.name, operation.step.kind, spent.blocks,
            sqnr_db(step.result.floats, run.integers * operation.result.unit), run.clamped,
            run.saturated_blocks, spent.cycles,
            operation.useful, multipliers * spent.cycles, operation.useful / (multipliers * spent.cycles)))
    return figures


def total_figures(figures: Sequence[LayerFigures]) -> LayerFigures:
    """All layers; the accuracy is that of the last one."""
    sums = {name: sum(getattr(each, name) for each in figures)
            for name in ("blocks", "clamped", "saturated_blocks", "cycles", "useful", "multiplier_cycles")}
    return LayerFigures(layer="all layers", kind="", sqnr_db=figures[-1].sqnr_db,
                        utilisation=sums["useful"] / sums["multiplier_cycles"], **sums)


def width_figures(network: LoadedNetwork, config: CoreConfig, calibration: Any, inputs: Any, batch: int,
                  labels: np.ndarray | None = None, widths: Sequence[int] = WIDTHS,
                  report: Callable[[str], None] | None = None) -> list[WidthFigures]:
    """The network on the integer model with elements of each width the array has, calibrated each time anew; attention
    on the host (gen/compiler/network/split.py)."""
    step, exact = report or (lambda name: None), forward(network, inputs)[-1][1]
    found = []
    for width in widths:
        if width > config.width:
            continue
        changed = config.changed(element_width=width)
        results, clamped = compile_split(network, changed, calibration, batch).execute_model(inputs)
        found.append(WidthFigures(width, sqnr_db(exact, results), float(np.mean(classes(exact) == classes(results))),
                                  label_accuracy(results, labels), label_accuracy(exact, labels),
                                  sum(each.elements for each in clamped), sum(each.blocks for each in clamped)))
        step(f"{width} bits")
    return found


def classes(results: np.ndarray) -> np.ndarray:
    """Number of the largest result of each input (inputs,)."""
    return results.reshape(len(results), -1).argmax(axis=1)


def label_accuracy(results: np.ndarray, labels: np.ndarray | None) -> float | None:
    """Share of the inputs whose largest result is that of the label; None without labels."""
    if labels is None:
        return None
    check_labels(labels, len(results), results[0].size)
    return float(np.mean(classes(results) == labels))


def check_labels(labels: np.ndarray, count: int, n_classes: int) -> None:
    """Raise WingbeatError unless ``labels`` are ``count`` integers from 0 to below ``n_classes``."""
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise WingbeatError(f"labels: {labels.dtype} {labels.shape}; allowed are integers ({count},)")
    wrong = labels[(labels < 0) | (labels >= n_classes)]
    if len(wrong):
        raise WingbeatError(f"labels: {wrong[0]}; allowed are 0..{n_classes - 1}")
