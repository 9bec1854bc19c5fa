"""What the training scripts share: options, one run of a network beside its dense baseline, the table, the files."""

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
import time
from typing import Any

import torch

from .export import export_network
from .fake_quantise import set_width
from .network import Description, Network, with_attention
from .training import Data, Settings, accuracy, fine_tune, fit

__all__ = ["Task", "run_task"]

WIDTHS = (16, 12, 8)


@dataclass(frozen=True)
class Task:
    """A data set and the networks trained on it.

    ``networks`` are butterfly networks, the first one's structure with dense matrices and softmax attention is the
    baseline. ``split`` goes into the record: what the data are, their hash, what a guess reaches.
    """

    networks: tuple[Description, ...]
    training: Data
    held: Data
    split: dict[str, Any]
    guesses: dict[str, float] = field(default_factory=dict)
    held_name: str = "held-out"


def _options(what: str, settings: Settings, arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"Train the networks of {what} and their dense baseline.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for weights, records and logs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=settings.epochs)
    parser.add_argument("--tuning-epochs", type=int, default=settings.tuning_epochs,
                        help="epochs with rounded activations behind them")
    parser.add_argument("--validate", action="store_true",
                        help="score a fifth of the training part instead of the held-out part; write nothing")
    parser.add_argument("--no-baseline", action="store_true", help="leave the dense network out")
    return parser.parse_args(arguments)


def _validation(task: Task) -> Task:
    fold = torch.arange(len(task.training.inputs)) % 5 == 0
    x, y = task.training.inputs, task.training.labels
    return replace(task, training=replace(task.training, inputs=x[~fold], labels=y[~fold]), held=Data(x[fold], y[fold]),
                   held_name="validation")


def _scores(network: Network, held: Data) -> dict[str, float]:
    """Accuracy in float and with elements of each width."""
    scores = {"float": accuracy(network, held)}
    for width in WIDTHS:
        set_width(network, width)
        scores[f"{width} bits"] = accuracy(network, held)
    set_width(network, None)
    return scores


@dataclass(frozen=True, eq=False)
class _Trained:
    """A network and what is known of it: ``row`` of the table, ``lines`` of the log."""

    name: str
    network: Network
    row: dict[str, Any]
    lines: list[str]


def _train(task: Task, name: str, network: Network, settings: Settings, seed: int) -> _Trained:
    """Float training, then fine-tuning, then all accuracies."""
    lines: list[str] = []

    def log(line: str) -> None:
        print(f"{name}: {line}", flush=True)
        lines.append(line)

    start = time.monotonic()
    log(f"seed {seed}, {len(task.training.inputs)} training and {len(task.held.inputs)} {task.held_name} inputs, "
        f"torch {torch.__version__}, {settings}")
    if network.dense:
        settings = replace(settings, learning_rate=settings.dense_rate)
    fit(network, task.training, settings, seed, log)
    before = accuracy(network, task.held)
    log(f"accuracy {before:.4f} before fine-tuning at {settings.tuning_width} bits")
    fine_tune(network, task.training, settings, seed, log)
    scores = _scores(network, task.held)
    log(f"{task.held_name} accuracy " + ", ".join(f"{key} {score:.4f}" for key, score in scores.items())
        + f" after {time.monotonic() - start:.0f} s")
    row = {"parameters": network.parameter_count, "multiplications": network.multiplications,
           "accuracy_before_fine_tuning": before, "accuracy": scores}
    return _Trained(name, network, row, lines)


def _table(rows: dict[str, dict[str, Any]], guesses: dict[str, float]) -> list[str]:
    lines = [f"{'':24}{'parameters':>12}{'multiplications':>17}" + "".join(
        f"{name:>9}" for name in ("float", *(f"{width} bits" for width in WIDTHS)))]
    for name, row in rows.items():
        lines.append(f"{name:24}{row['parameters']:12,}{row['multiplications']:17,}" + "".join(
            f"{score:9.4f}" for score in row["accuracy"].values()))
    return lines + [f"{name:53}{score:9.4f}" for name, score in guesses.items()]


def _networks(task: Task, settings: Settings, seed: int, with_baseline: bool) -> dict[str, Network]:
    networks = {each["name"]: Network(each, seed, dropout=settings.dropout) for each in task.networks}
    if with_baseline:
        dense = with_attention(task.networks[0])
        networks[f"{dense['name']}, dense"] = Network(dense, seed, dense=True, dropout=settings.dropout)
    return networks


def _write(folder: Path, task: Task, all_trained: list[_Trained], settings: Settings, seed: int,
           table: list[str]) -> None:
    rows = {trained.name: trained.row for trained in all_trained}
    for trained in all_trained:
        if trained.network.dense:
            continue
        record = {"seed": seed, "settings": asdict(settings), **task.split, **trained.row, "guesses": task.guesses,
                  "beside": {name: row for name, row in rows.items() if name != trained.name},
                  "torch": torch.__version__}
        export_network(folder, trained.network, record, [*trained.lines, *table])


def run_task(what: str, load: Callable[[], Task], settings: Settings, arguments: list[str] | None = None) -> None:
    """The whole script: options, data (``load`` makes the task), training, table, files.

    Two networks are trained at a time, each on one thread, so that sums are taken in the same order everywhere.
    """
    options = _options(what, settings, arguments)
    settings = replace(settings, epochs=options.epochs, tuning_epochs=options.tuning_epochs)
    torch.use_deterministic_algorithms(True)
    task = load()
    if options.validate:
        task = _validation(task)
    networks = _networks(task, settings, options.seed, not options.no_baseline)
    with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        running = [pool.submit(_train, task, name, network, settings, options.seed)
                   for name, network in networks.items()]
        all_trained = [each.result() for each in running]
    table = _table({trained.name: trained.row for trained in all_trained}, task.guesses)
    print("\n".join(table))
    if not options.validate:
        _write(options.output, task, all_trained, settings, options.seed, table)
