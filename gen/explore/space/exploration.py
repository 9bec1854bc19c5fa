"""An exploration: estimates of all points, the Pareto front of those that keep the limits, its measurement.

Every answer goes into the journal before anything else is done with it. What the journal has is not asked for again, so
an exploration that was ended goes on where it stood when it is started again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ....hw.errors import WingbeatError
from .file import SpaceFile
from .front import far_apart, pareto_front
from .journal import Journal
from .measures import complete_figures
from .points import Illegal, SpacePoint, check_fields, make_point
from .search import Choice, Cost, search_space
from .task import ESTIMATE, SIMULATION, SYNTHESIS, code_version, make_task, task_key
from .workers import Runner

__all__ = ["Exploration", "Found", "explore"]

_FAULTS_IN_A_ROW = 5
Report = Callable[[str, int, int, str], None]  # stage, how many are done, of how many, what


@dataclass
class Found:
    """A point and what is known of it. ``estimate``: its figures, None where it was ``refused`` by a workload.
    ``missed``: limits that it misses. ``synthesis``, ``simulation``: of the front; what is missing was not asked for,
    or is in ``notes``. ``twins``: points of equal objectives that stand behind it."""

    point: SpacePoint
    estimate: dict[str, float] | None = None
    refused: str | None = None
    missed: list[str] = field(default_factory=list)
    synthesis: dict[str, Any] | None = None
    simulation: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    twins: int = 0

    @property
    def measured(self) -> dict[str, float]:
        """The estimate with what was measured in its place."""
        assert self.estimate is not None
        area = {name: value for name, value in (self.synthesis or {}).items()
                if name in self.estimate and value is not None}
        cycles = {f"{name}.cycles": run["cycles"] for name, run in (self.simulation or {}).items()}
        return complete_figures({**self.estimate, **area, **cycles})

    @property
    def measured_only(self) -> dict[str, float]:
        """What was measured, and what a second brings where its cycles were; the clock may be the estimated one."""
        known = {name for name, value in (self.synthesis or {}).items() if value is not None}
        known |= {f"{name}.{figure}" for name in self.simulation or {} for figure in ("cycles", "per_second")}
        return {name: value for name, value in self.measured.items() if name in known} if known else {}

    @property
    def is_wrong(self) -> bool:
        """Whether the Verilog differs from the integer model or the cycle model."""
        return any(run["mismatches"] or run["cycles"] != (self.estimate or {})[f"{name}.cycles"]
                   for name, run in (self.simulation or {}).items())


@dataclass
class Exploration:
    """``points`` in the order in which they were asked for; ``front``: numbers of those on the estimated front that are
    to be measured, ``whole_front`` how many there are; ``measured_front``: those of them that stay on the front when
    what was measured takes the place of the estimates. ``illegal``: combinations that are no configuration.
    ``faults``: what could not be done."""

    space: SpaceFile
    points: list[Found] = field(default_factory=list)
    illegal: list[Illegal] = field(default_factory=list)
    front: list[int] = field(default_factory=list)
    whole_front: int = 0
    measured_front: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Everything as plain values; the same whoever has measured, and in which order."""
        space = self.space
        return {
            "version": code_version(), "space": space.model_dump(mode="json", by_alias=True, exclude_unset=True),
            "objectives": [{"name": goal.name, "better": "more" if goal.is_more else "less"} for goal in space.goals],
            "limits": [str(bound) for bound in space.bounds],
            "combinations": space.combinations, "illegal": len(self.illegal),
            "illegal_example": self.illegal[0].fault if self.illegal else None,
            "front": self.front, "whole_front": self.whole_front, "measured_front": self.measured_front,
            "faults": self.faults, "points": [self._row(found) for found in self.points]}

    def _row(self, found: Found) -> dict[str, Any]:
        return {"settings": found.point.settings, "command": found.point.command(self.space),
                "estimate": found.estimate, "refused": found.refused, "missed": found.missed,
                "synthesis": found.synthesis, "simulation": found.simulation, "notes": found.notes,
                "twins": found.twins}


def explore(space: SpaceFile, journal: Journal, run: Runner, report: Report | None = None) -> Exploration:
    """Look at the points of ``space``, then measure its front. ``report`` is called after every answer.

    Raises WingbeatError for a space without a legal configuration, and for values that a field never takes;
    RuntimeError when nothing can be measured.
    """
    check_fields(space)
    result = Exploration(space)
    asker = _Asker(journal, run, report or (lambda *step: None), result.faults)
    known: dict[str, int] = {}
    search = search_space(space)
    choices = next(search)
    while True:
        costs = _generation(result, asker, known, choices)
        try:
            choices = search.send(costs)
        except StopIteration:
            break
    if not result.points and not result.faults:
        raise WingbeatError(f"fields: none of {len(result.illegal)} combinations is a configuration; the first: "
                            f"{result.illegal[0].fault}")
    _find_front(result)
    _measure_front(result, asker)
    return result


class _Asker:
    """Answers to tasks, out of the journal or from workers."""

    def __init__(self, journal: Journal, run: Runner, report: Report, faults: list[str]):
        self.journal, self.run, self.report, self.faults = journal, run, report, faults
        self.failed: set[str] = set()  # are not asked for again in this exploration

    def ask(self, stage: str, wanted: Sequence[tuple[SpacePoint, dict[str, Any]]]) -> list[dict[str, Any] | None]:
        """The answers to the tasks of the points ``wanted``; None for those that failed."""
        keys = [task_key(task) for _, task in wanted]
        missing = {key: pair for key, pair in zip(keys, wanted) if key not in self.journal and key not in self.failed}
        done, in_a_row = len(set(keys)) - len(missing), 0
        if done:
            self.report(stage, done, len(set(keys)), f"{done} in the journal")
        for key, answer in self.run((key, task) for key, (_, task) in missing.items()) if missing else ():
            point = " ".join(missing[key][0].settings)
            if "fault" in answer:
                in_a_row += 1
                self.failed.add(key)
                self.faults.append(f"{stage} of {point}: {answer['fault']}")
                if in_a_row == _FAULTS_IN_A_ROW:
                    raise RuntimeError(f"{stage}: {answer['fault']}; {in_a_row} faults one after the other")
            else:
                in_a_row = 0
                self.journal.record(key, stage, answer)
            done += 1
            self.report(stage, done, len(set(keys)), point)
        return [self.journal.answer(key) if key in self.journal else None for key in keys]


def _generation(result: Exploration, asker: _Asker, known: dict[str, int],
                choices: Iterable[Choice]) -> list[Cost | None]:
    """Estimate the points of ``choices`` and add those that are new. ``known``: their numbers by key."""
    made = [make_point(result.space, choice) for choice in choices]
    seen = {each.settings for each in result.illegal}
    tasks: list[tuple[SpacePoint, dict[str, Any]]] = []
    for each in made:
        if isinstance(each, SpacePoint):
            tasks.append((each, make_task(result.space, each.config, ESTIMATE)))
        elif each.settings not in seen:
            seen.add(each.settings)
            result.illegal.append(each)
    answers = {id(point): (task_key(task), answer)
               for (point, task), answer in zip(tasks, asker.ask(ESTIMATE, tasks))}
    costs: list[Cost | None] = []
    for each in made:
        key, answer = answers.get(id(each), ("", None))
        if answer is None or not isinstance(each, SpacePoint):
            costs.append(None)
            continue
        if key not in known:
            known[key] = len(result.points)
            result.points.append(_found(result.space, each, answer))
        costs.append(_cost(result.space, result.points[known[key]]))
    return costs


def _found(space: SpaceFile, point: SpacePoint, answer: dict[str, Any]) -> Found:
    if "refused" in answer:
        return Found(point, refused=answer["refused"])
    figures = complete_figures(answer["figures"])
    return Found(point, figures, missed=[str(bound) for bound in space.bounds if bound.excess(figures) > 0])


def _cost(space: SpaceFile, found: Found) -> Cost | None:
    if found.estimate is None:
        return None
    return Cost([goal.cost(found.estimate) for goal in space.goals],
                [bound.excess(found.estimate) for bound in space.bounds])


def _find_front(result: Exploration) -> None:
    able = [n for n, found in enumerate(result.points) if found.estimate is not None and not found.missed]
    costs = [_costs(result, n, False) for n in able]
    whole = pareto_front(costs)
    result.whole_front = len(whole)
    for number in whole:
        result.points[able[number]].twins = costs.count(costs[number]) - 1
    chosen = far_apart([costs[n] for n in whole], result.space.front.most) if whole else []
    result.front = [able[whole[n]] for n in chosen]


def _costs(result: Exploration, number: int, is_measured: bool) -> list[float]:
    found = result.points[number]
    figures = found.measured if is_measured else found.estimate
    return [goal.cost(figures or {}) for goal in result.space.goals]


def _measure_front(result: Exploration, asker: _Asker) -> None:
    space = result.space
    front = [result.points[number] for number in result.front]
    stages = [SYNTHESIS] * space.front.synthesis + [SIMULATION] * (space.front.simulation and bool(space.workloads))
    for stage in stages:
        answers = asker.ask(stage, [(found.point, make_task(space, found.point.config, stage)) for found in front])
        for found, answer in zip(front, answers):
            if answer is None or "refused" in answer:
                found.notes.append(f"{stage}: {answer['refused'] if answer else 'failed'}")
            else:
                setattr(found, stage, answer["figures"])
    able = [number for number in result.front
            if not any(bound.excess(result.points[number].measured) > 0 for bound in space.bounds)]
    result.measured_front = [able[n] for n in pareto_front([_costs(result, number, True) for number in able])]
