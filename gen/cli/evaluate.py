"""The command ``wingbeat evaluate``: a shipped network on all of its held-out data, beside its dense baseline."""

from dataclasses import asdict
from typing import Any

import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ...hw.isa.setup import LENGTHS
from ..compiler.network.compile import CompiledNetwork, default_batch
from ..compiler.network.reference import forward
from ..compiler.network.split import SplitNetwork, compile_split
from ..console import out, percent, print_table, progress
from ..cosim.core import Build, Core
from ..cosim.network import NetworkRun, simulate_network
from ..explore.network import WIDTHS, LayerFigures, label_accuracy, layer_figures, width_figures
from ..report.network import print_layers
from ..workloads.shipped import Dataset, load_dataset, load_trained, preset_of

__all__ = ["default_preset", "evaluate_task"]

# On the model alone: the fewer blocks the faster, and they do not change the integers.
_BATCH = 128
_ROOM = {"statistics_rows": 1 << 16, "memory_bits": 22, "program_words": 1 << 16, "half_words": 1 << 15}


def default_preset(name: str) -> str:
    """A preset that runs the shipped network ``name``."""
    return preset_of(load_trained(name))


def evaluate_task(name: str, config: CoreConfig, images: int | None = None) -> dict[str, Any]:
    """Print the tables and return their numbers; the first ``images`` held-out inputs run on the simulated Verilog too.
    Raises WingbeatError for an unknown network, or a bad number of inputs.

    Attention runs on the host where ``config`` has no softmax. Batch and blocks of the accuracies are larger than
    ``config`` has room for: the integers of an input do not depend on the others.
    """
    task = load_dataset(name)
    if images is not None and not 1 <= images <= len(task.inputs):
        raise WingbeatError(f"--images: {images}; allowed are 1..{len(task.inputs)}")
    with progress("evaluate", len(WIDTHS) + 3) as step:
        split = compile_split(task.network, config, task.calibration, default_batch(task.network, config))
        step("programs")
        build = None if images is None else Core(config).build()
        layers, runs, found = _on_array(split, task, images, build)
        step("layers")
        scores = {"float64": label_accuracy(forward(task.network, task.inputs)[-1][1], task.labels)}
        step("float")
        batch = min(_BATCH, LENGTHS) if task.network.has_lengths else _BATCH
        widths = width_figures(task.network, config.changed(**_ROOM), task.calibration, task.inputs, batch, task.labels,
                               report=step)
    scores |= {f"{each.width} bits": each.accuracy for each in widths}
    _print_scores(task, scores)
    _print_array(split, layers)
    for each in widths:
        out.print(f"clamped at {each.width} bits: {each.clamped} elements, and inside of {each.saturated_blocks} "
                  "blocks", markup=False)
    record: dict[str, Any] = {
        "network": name, "inputs": len(task.labels), "accuracy": scores, "record": task.record,
        "widths": [asdict(each) for each in widths], "host": split.host_steps, "programs": _programs(split),
        "batch": _batch(split), "layers": [asdict(each) for each in layers]}
    return record | {"verilog": None if images is None else _verilog(task, images, runs, found)}


def _programs(split: SplitNetwork) -> int:
    return sum(len(compiled.segments) for compiled in split.programs.values())


def _batch(split: SplitNetwork) -> int:
    return next(iter(split.programs.values())).batch


def _on_array(split: SplitNetwork, task: Dataset, images: int | None,
              build: Build | None) -> tuple[list[LayerFigures], list[NetworkRun], np.ndarray]:
    """Figures of all layers for a batch, the runs of the programs on the Verilog of ``build``, and the results."""
    layers: list[LayerFigures] = []
    runs: list[NetworkRun] = []

    def run(compiled: CompiledNetwork, x: Any) -> np.ndarray:
        if build is None:
            layers.extend(layer_figures(compiled, x))
            return compiled.execute_model(x).results
        runs.append(simulate_network(compiled, build, x))
        layers.extend(layer_figures(compiled, x, runs[-1].operations))
        return runs[-1].results

    return layers, runs, split.execute(task.inputs[:images or _batch(split)], run)


def _print_scores(task: Dataset, scores: dict[str, Any]) -> None:
    record = task.record
    rows = [(task.name, record["parameters"], record["multiplications"], scores)]
    rows += [(other, beside["parameters"], beside["multiplications"],
              {"float64": beside["accuracy"]["float"]}) for other, beside in record["beside"].items()]
    columns = ["float64", *(f"{width} bits" for width in WIDTHS)]
    print_table(["network", "parameters", "multiplications", *columns],
                [(label, parameters, multiplications, *(percent(found.get(column)) for column in columns))
                 for label, parameters, multiplications, found in rows])
    for guess, share in record["guesses"].items():
        out.print(f"{guess}: {percent(share)}", markup=False)
    out.print(f"{len(task.labels)} held-out inputs of {record['data']}; {task.name}: measured now, others: when they "
              "were trained", markup=False)


def _print_array(split: SplitNetwork, layers: list[LayerFigures]) -> None:
    """What ran where. The SQNR is of each program alone: against float of what it got."""
    print_layers(layers, f"layer on the array, {_batch(split)} inputs")
    out.print(f"{_programs(split)} programs; on the host: {', '.join(split.host_steps) or 'nothing'}", markup=False)


def _verilog(task: Dataset, images: int, runs: list[NetworkRun], results: np.ndarray) -> dict[str, Any]:
    found = {"inputs": images, "accuracy": label_accuracy(results, task.labels[:images]),
             "cycles": sum(run.total_cycles for run in runs), "mismatches": sum(run.mismatches for run in runs),
             "predicted": all(run.predicted for run in runs)}
    out.print(f"{images} inputs on the simulated Verilog: {percent(found['accuracy'])}, {found['cycles']} cycles, "
              f"{found['mismatches']} mismatches with the integer model", markup=False)
    return found
