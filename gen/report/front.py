"""The page of an exploration: pictures of the Pareto front, a table of it, and every point with its command.

One HTML file that needs no other file, no network and no script. The same exploration gives the same bytes.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
import math
from typing import Any, NamedTuple

from ..explore.space.exploration import Exploration, Found
from ..explore.space.measures import Objective
from .timeline import page_environment

__all__ = ["front_html", "front_rows"]

_WIDTH, _HEIGHT = 520, 360               # of a picture, pixels
_LEFT, _TOP, _RIGHT, _BOTTOM = 84, 16, 24, 48
_TICKS = 5                               # about so many on an axis


# --- tables -----------------------------------------------------------------------------------

def _number_text(value: float | None) -> str:
    """A figure as people read it: whole where it is large."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.4g}"


def front_rows(result: Exploration) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the front: values of the fields, each objective as estimated and as measured."""
    goals = [goal.name for goal in result.space.goals]
    header = ["point", *result.space.fields, *(text for name in goals for text in (name, "measured")), "stays"]
    rows = []
    for number, index in enumerate(result.front, 1):
        found = result.points[index]
        estimate, measured = found.estimate or {}, found.measured_only
        figures = [_number_text(each.get(name)) for name in goals for each in (estimate, measured)]
        stays = "yes" if index in result.measured_front else "no"
        rows.append([str(number), *map(_value_text, found.point.values), *figures, stays if measured else "-"])
    return header, rows


def _value_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# --- pictures ---------------------------------------------------------------------------------

class _Axis(NamedTuple):
    """Values ``low``..``high`` on pixels ``start``..``end``."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        step = _step((self.high - self.low) / _TICKS)
        first = math.ceil(self.low / step)
        return [(self.at(n * step), _number_text(float(f"{n * step:.12g}")))
                for n in range(first, math.floor(self.high / step) + 1)]


def _step(least: float) -> float:
    """1, 2 or 5 times a power of ten, at least ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= least * (1 - 1e-9))


def _axis(values: Sequence[float], start: float, end: float) -> _Axis:
    low, high = min(values), max(values)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return _Axis(low - room, high + room, start, end)


class _Spot(NamedTuple):
    x: float
    y: float
    text: str


class _Pair(NamedTuple):
    """A front point: its number, where it was estimated, and where it was measured."""

    number: int
    spot: _Spot
    measured: tuple[float, float] | None
    stays: bool


def _chart(result: Exploration, across: Objective, up: Objective) -> dict[str, Any]:
    """What the template draws of two objectives."""
    def place(figures: Mapping[str, float]) -> tuple[float, float]:
        return figures[across.name], figures[up.name]

    estimated = [(number, found, found.estimate) for number, found in enumerate(result.points)
                 if found.estimate is not None]
    front = [(number, result.points[index]) for number, index in enumerate(result.front, 1)]
    everything = [place(figures) for _, _, figures in estimated] + [place(found.measured) for _, found in front]
    x = _axis([each[0] for each in everything], _LEFT, _WIDTH - _RIGHT)
    y = _axis([each[1] for each in everything], _HEIGHT - _BOTTOM, _TOP)

    def spot(found: Found, figures: Mapping[str, float]) -> _Spot:
        a, b = place(figures)
        return _Spot(x.at(a), y.at(b), f"{' '.join(found.point.settings)}: {across.name} {_number_text(a)}, {up.name} "
                                       f"{_number_text(b)}")

    pairs = []
    for number, found in front:
        a, b = place(found.measured)
        is_measured = bool({across.name, up.name} & found.measured_only.keys())
        pairs.append(_Pair(number, spot(found, found.estimate or {}), (x.at(a), y.at(b)) if is_measured else None,
                           result.front[number - 1] in result.measured_front))
    others = [(spot(found, figures), bool(found.missed)) for number, found, figures in estimated
              if number not in result.front]
    return {"across": across, "up": up, "x": x, "y": y, "pairs": pairs,
            "able": list(dict.fromkeys(each for each, missed in others if not missed)),
            "unable": list(dict.fromkeys(each for each, missed in others if missed))}


# --- the file ---------------------------------------------------------------------------------

def _summary(result: Exploration) -> str:
    counts = (f"{result.space.combinations:,} combinations", f"{len(result.points):,} were estimated",
              f"{result.whole_front:,} are on the front", f"{len(result.front):,} of them were measured")
    return ", ".join(counts if result.front else counts[:3])


def _point_row(result: Exploration, index: int, found: Found) -> dict[str, Any]:
    number = result.front.index(index) + 1 if index in result.front else None
    note = found.refused or (f"misses {', '.join(found.missed)}" if found.missed else "")
    return {"number": number, "note": note, "command": found.point.command(result.space),
            "values": list(map(_value_text, found.point.values)),
            "figures": [_number_text((found.estimate or {}).get(goal.name)) for goal in result.space.goals]}


def front_html(result: Exploration, title: str) -> str:
    """The page as one HTML document. Texts from outside are escaped."""
    header, rows = front_rows(result)
    goals = result.space.goals
    charts = [_chart(result, across, up) for across, up in combinations(goals, 2)] if result.front else []
    environment = page_environment()
    environment.filters["figure"] = _number_text
    return environment.get_template("front.html.j2").render(
        title=title, summary=_summary(result), header=header, rows=rows, charts=charts, goals=goals,
        limits=[str(bound) for bound in result.space.bounds], fields=list(result.space.fields),
        front=[(number, result.points[index]) for number, index in enumerate(result.front, 1)],
        commands=[result.points[index].point.command(result.space) for index in result.front],
        points=[_point_row(result, index, found) for index, found in enumerate(result.points)],
        illegal=len(result.illegal), example=result.illegal[0].fault if result.illegal else "",
        faults=result.faults, size=(_WIDTH, _HEIGHT), edge=(_LEFT, _TOP, _RIGHT, _BOTTOM))
