"""What the training scripts share: options, one run of a network beside its dense baseline, or a series of pruned
networks behind a dense one, the table, the files."""

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
import time
from typing import Any

import torch

from ...hw.errors import WingbeatError
from ..compiler.kernel.sparse import Pattern
from .export import export_network
from .fake_quantise import set_width
from .network import Description, Network, with_attention, with_linear
from .pruning import phases, with_pattern
from .training import Data, Settings, accuracy, fine_tune, fit, prune

__all__ = ["Task", "run_task"]

WIDTHS = (16, 12, 8)


@dataclass(frozen=True)
class Task:
    """A data set and the networks trained on it.

    ``networks`` are butterfly networks, the first one's structure with dense matrices and softmax attention is the
    baseline. ``dense`` is what ``--matrices dense`` trains, and what is pruned. ``split`` goes into the record: what
    the data are, their hash, what a guess reaches.
    """

    networks: tuple[Description, ...]
    dense: Description
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
    parser.add_argument("--matrices", nargs="+", type=_matrices, default=["butterfly"], metavar="KIND",
                        help="butterfly, or dense and patterns N:M, which inherit from the dense network")
    parser.add_argument("--shared", type=int, default=2, choices=range(1, 5),
                        help="outputs after each other that have one mask: S of the array")
    parser.add_argument("--phase-epochs", type=int, default=settings.phase_epochs,
                        help="epochs of each step towards a pattern")
    options = parser.parse_args(arguments)
    if "butterfly" in options.matrices and len(options.matrices) > 1:
        parser.error("--matrices: butterfly among others; allowed alone")
    return options


def _matrices(text: str) -> str | Pattern:
    if text in ("butterfly", "dense"):
        return text
    try:
        pattern = Pattern.parse(text)
    except WingbeatError as fault:
        raise argparse.ArgumentTypeError(f"{fault}, dense and butterfly") from fault
    if pattern.n == pattern.m:
        raise argparse.ArgumentTypeError(f"pattern: {text!r}; allowed are N below M")
    return pattern


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


Log = Callable[[str], None]
State = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class _Trained:
    """A network and what is known of it: ``row`` of the table, ``lines`` of the log, ``state`` before fine-tuning."""

    name: str
    network: Network
    row: dict[str, Any]
    lines: list[str]
    state: State


def _copied(network: Network) -> State:
    return {name: value.clone() for name, value in network.state_dict().items()}


def _train(task: Task, name: str, settings: Settings, seed: int, learn: Callable[[Settings, Log], Network]) -> _Trained:
    """What ``learn`` does in float, then fine-tuning, then all accuracies."""
    lines: list[str] = []

    def log(line: str) -> None:
        print(f"{name}: {line}", flush=True)
        lines.append(line)

    start = time.monotonic()
    log(f"seed {seed}, {len(task.training.inputs)} training and {len(task.held.inputs)} {task.held_name} inputs, "
        f"torch {torch.__version__}, {settings}")
    network = learn(settings, log)
    before, state = accuracy(network, task.held), _copied(network)
    log(f"accuracy {before:.4f} before fine-tuning at {settings.tuning_width} bits")
    fine_tune(network, task.training, settings, seed, log)
    scores = _scores(network, task.held)
    log(f"{task.held_name} accuracy " + ", ".join(f"{key} {score:.4f}" for key, score in scores.items())
        + f" after {time.monotonic() - start:.0f} s")
    row = {"parameters": network.parameter_count, "nonzero_parameters": network.nonzero_count,
           "multiplications": network.multiplications, "accuracy_before_fine_tuning": before, "accuracy": scores}
    return _Trained(name, network, row, lines, state)


def _table(rows: dict[str, dict[str, Any]], guesses: dict[str, float]) -> list[str]:
    lines = [f"{'':24}{'parameters':>12}{'not zero':>12}{'multiplications':>17}" + "".join(
        f"{name:>9}" for name in ("float", *(f"{width} bits" for width in WIDTHS)))]
    for name, row in rows.items():
        lines.append(f"{name:24}{row['parameters']:12,}{row['nonzero_parameters']:12,}{row['multiplications']:17,}"
                     + "".join(f"{score:9.4f}" for score in row["accuracy"].values()))
    return lines + [f"{name:65}{score:9.4f}" for name, score in guesses.items()]


def _fitted(task: Task, description: Description, seed: int, settings: Settings, log: Log) -> Network:
    """A network that starts from random weights."""
    network = Network(description, seed, settings.dropout)
    fit(network, task.training, settings, seed, log)
    return network


def _inherited(task: Task, base: Description, target: Pattern, shared: int, seed: int,
               states: dict[tuple[Pattern, ...], State], settings: Settings, log: Log) -> Network:
    """The network ``base`` with the pattern ``target``, by all patterns on the way that are not there yet. ``states``:
    weights by the patterns that led to them, () being the dense ones; new ones are added."""
    way = phases(target)
    known = max(length for length in range(len(way)) if way[:length] in states)
    log(f"{shared} outputs share a mask; the weights of {way[known - 1] if known else 'the dense network'} come first")
    for step in range(known, len(way)):
        network = Network(with_pattern(base, way[step], _pruned_name(base, way[step])), seed, settings.dropout)
        network.load_state_dict(states[way[:step]])
        log(f"pattern {way[step]}")
        prune(network, task.training, settings, shared, seed + 2 + step, log)
        states[way[:step + 1]] = _copied(network)
    return network


def _pruned_name(base: Description, pattern: Pattern) -> str:
    return f"{base['name'].removesuffix('_dense')}_{pattern.n}of{pattern.m}"


def _butterflies(task: Task, settings: Settings, seed: int, with_baseline: bool) -> list[_Trained]:
    """The networks of the task and the baseline: two at a time, each on one thread, so that sums are taken in the same
    order everywhere."""
    learners = {each["name"]: (settings, partial(_fitted, task, each, seed)) for each in task.networks}
    if with_baseline:
        learners[f"{task.networks[0]['name']}, dense"] = (
            replace(settings, learning_rate=settings.dense_rate),
            partial(_fitted, task, with_linear(with_attention(task.networks[0])), seed))
    with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        running = [pool.submit(_train, task, name, own, seed, learn) for name, (own, learn) in learners.items()]
        return [each.result() for each in running]


def _series(task: Task, settings: Settings, seed: int, patterns: list[Pattern], shared: int) -> list[_Trained]:
    """The dense network of the task, then those with ``patterns``, the loosest first."""
    torch.set_num_threads(1)
    settings = replace(settings, learning_rate=settings.dense_rate)
    base = task.dense
    patterns = sorted(set(patterns), key=lambda each: (-each.n / each.m, each.m))
    for pattern in patterns:
        with_pattern(base, pattern, base["name"])  # refuses what does not fit, before anything is trained
    found = [_train(task, base["name"], settings, seed, partial(_fitted, task, base, seed))]
    states: dict[tuple[Pattern, ...], State] = {(): found[0].state}
    for pattern in patterns:
        learn = partial(_inherited, task, base, pattern, shared, seed, states)
        trained = _train(task, _pruned_name(base, pattern), settings, seed, learn)
        trained.row.update(sparsity=str(pattern), shared=shared, phases=[str(each) for each in phases(pattern)])
        found.append(trained)
    return found


def _write(folder: Path, task: Task, all_trained: list[_Trained], settings: Settings, seed: int,
           table: list[str]) -> None:
    rows = {trained.name: trained.row for trained in all_trained}
    for trained in all_trained:
        if trained.name != trained.network.description["name"]:  # the baseline is a row of the table alone
            continue
        record = {"seed": seed, "settings": asdict(settings), **task.split, **trained.row, "guesses": task.guesses,
                  "beside": {name: row for name, row in rows.items() if name != trained.name},
                  "torch": torch.__version__}
        export_network(folder, trained.network, record, [*trained.lines, *table])


def run_task(what: str, load: Callable[[], Task], settings: Settings, arguments: list[str] | None = None) -> None:
    """The whole script: options, data (``load`` makes the task), training, table, files."""
    options = _options(what, settings, arguments)
    settings = replace(settings, epochs=options.epochs, tuning_epochs=options.tuning_epochs,
                       phase_epochs=options.phase_epochs)
    torch.use_deterministic_algorithms(True)
    task = load()
    if options.validate:
        task = _validation(task)
    if options.matrices == ["butterfly"]:
        all_trained = _butterflies(task, settings, options.seed, not options.no_baseline)
    else:
        patterns = [each for each in options.matrices if isinstance(each, Pattern)]
        all_trained = _series(task, settings, options.seed, patterns, options.shared)
    table = _table({trained.name: trained.row for trained in all_trained}, task.guesses)
    print("\n".join(table))
    if not options.validate:
        _write(options.output, task, all_trained, settings, options.seed, table)
