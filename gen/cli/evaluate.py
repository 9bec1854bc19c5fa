"""The command ``wingbeat evaluate``: a shipped network on all of its held-out data, beside its dense baseline."""

from dataclasses import asdict
from typing import Any

from ...hw.config import CoreConfig
from ..compiler.network.reference import forward
from ..console import out, percent, print_table, progress
from ..explore.network import WIDTHS, label_accuracy, width_figures
from ..workloads.shipped import load_dataset, load_trained

__all__ = ["default_preset", "evaluate_task"]

_BATCH = 64                                     # on the model alone, so as large as the table of rows bears
_ROOM = {"statistics_rows": 1 << 16, "memory_bits": 22, "program_words": 8192}


def default_preset(name: str) -> str:
    """A preset that runs the shipped network ``name``: one with a ring where it has linear layers."""
    return "matrix-16" if any(layer.kind == "linear" for layer in load_trained(name).walk()) else "hybrid-16"


def evaluate_task(name: str, config: CoreConfig) -> dict[str, Any]:
    """Print the table and return its numbers. Raises WingbeatError for an unknown network.

    A network with attention, which no processor runs, is scored in float alone. The batch is larger than ``config``
    has room for: the integers of an input do not depend on the others.
    """
    task = load_dataset(name)
    attends = any(layer.kind == "attention" for layer in task.network.walk())
    exact = label_accuracy(forward(task.network, task.inputs)[-1][1], task.labels)
    scores = {"float64": exact}
    if not attends:
        with progress("evaluate", len(WIDTHS)) as step:
            widths = width_figures(task.network, config.changed(**_ROOM), task.calibration, task.inputs,
                                   _BATCH, task.labels, report=step)
        scores |= {f"{each.width} bits": each.accuracy for each in widths}
    record = task.record
    rows = [(name, record["parameters"], record["multiplications"], scores)]
    rows += [(other, beside["parameters"], beside["multiplications"],
              {"float64": beside["accuracy"]["float"]}) for other, beside in record["beside"].items()]
    columns = ["float64", *(f"{width} bits" for width in WIDTHS)]
    print_table(["network", "parameters", "multiplications", *columns],
                [(label, parameters, multiplications, *(percent(found.get(column)) for column in columns))
                 for label, parameters, multiplications, found in rows])
    for guess, share in record["guesses"].items():
        out.print(f"{guess}: {percent(share)}", markup=False)
    out.print(f"{len(task.labels)} held-out inputs of {record['data']}; {name}: measured now, others: when they were "
              "trained" + ("; no processor runs attention" if attends else ""), markup=False)
    return {"network": name, "inputs": len(task.labels), "accuracy": scores, "record": record,
            "widths": [] if attends else [asdict(each) for each in widths]}
