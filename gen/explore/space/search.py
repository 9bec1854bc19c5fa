"""Which points of a space are looked at: all of a grid, or those that NSGA-II asks for (Deb et al., 2002; optuna).

A search is a generator: it yields a generation of choices, and is sent what each of them costs. Costs come in the order
of the choices however they were found, so that the same seed asks for the same points on any number of workers.
"""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

from ....hw.errors import WingbeatError
from .file import SpaceFile
from .points import grid_choices

__all__ = ["Choice", "Cost", "search_space"]

Choice = tuple[int, ...]  # number of the value of each field


class Cost(NamedTuple):
    """``objectives``: to become small; ``excess``: by how much the limits are missed, 0 and less where they are not."""

    objectives: Sequence[float]
    excess: Sequence[float]


def search_space(space: SpaceFile) -> Generator[list[Choice], Sequence[Cost | None], None]:
    """Generations of choices; sent back are their costs, None for what is no legal configuration or has no cost."""
    if space.search.method == "grid":
        yield list(grid_choices(space))
    else:
        yield from _nsga2(space)


def _nsga2(space: SpaceFile) -> Generator[list[Choice], Sequence[Cost | None], None]:
    try:
        import optuna
    except ImportError as error:
        raise WingbeatError(f"search.method: 'nsga2' needs {error.name}; `pip install 'wingbeat[explore]'` mends it"
                            ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = space.search
    study = optuna.create_study(
        directions=["minimize"] * len(space.goals),
        sampler=optuna.samplers.NSGAIISampler(population_size=search.population, seed=search.seed))
    left = search.trials
    while left:
        trials = [study.ask() for _ in range(min(search.population, left))]
        left -= len(trials)
        costs = yield [_choice(space, trial) for trial in trials]
        for trial, cost in zip(trials, costs):
            if cost is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                continue
            for bound, excess in zip(space.bounds, cost.excess):
                trial.set_constraint(str(bound), excess)
            study.tell(trial, list(cost.objectives))


def _choice(space: SpaceFile, trial: Any) -> Choice:
    return tuple(trial.suggest_int(key, 0, len(values) - 1) for key, values in space.fields.items())
