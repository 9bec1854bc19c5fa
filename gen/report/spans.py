"""What a timeline shows: the blocks and the stalls of every unit, checked, and their sums."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import operator
from typing import Any

from ...hw.errors import WingbeatError

__all__ = ["STALL_CAUSES", "Span", "StallSpan", "Table", "Timeline", "UnitSummary", "in_order", "ordered_causes",
           "summary"]

STALL_CAUSES = ("input", "output", "hazard", "memory", "dependency")  # order of rows; other causes follow


def _integer(where: str, name: str, value: Any) -> int:
    try:
        return operator.index(value)  # takes numpy's integers too
    except TypeError:
        raise WingbeatError(f"{where}.{name}: {value!r} is not an integer") from None


class _Interval:
    """Common checks of :class:`Span` and :class:`StallSpan`."""

    unit: str
    start: int
    end: int

    def _check(self, texts: Iterable[str], integers: Iterable[str]) -> None:
        where = type(self).__name__
        for name in texts:
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise WingbeatError(f"{where}.{name}: {value!r} is not a text of one or more characters")
        for name in integers:
            object.__setattr__(self, name, _integer(where, name, getattr(self, name)))
        if self.start < 0:
            raise WingbeatError(f"{where}.start: {self.start} of unit {self.unit!r} is negative; allowed are 0..")
        if self.end <= self.start:
            raise WingbeatError(f"{where}.end: {self.end} of unit {self.unit!r} is not after start = {self.start}")


@dataclass(frozen=True)
class Span(_Interval):
    """A block in a unit, from cycle ``start`` up to, not with, cycle ``end``."""

    unit: str
    start: int
    end: int
    tag: int
    layer: str

    def __post_init__(self) -> None:
        self._check(("unit", "layer"), ("start", "end", "tag"))


@dataclass(frozen=True)
class StallSpan(_Interval):
    """Cycles ``start`` up to, not with, ``end`` in which a unit had work and waited for ``cause``.

    It may lie inside a span or between spans; a cycle has one cause. ``cycles``, where it is not 0, says in how many
    of these cycles: many short stalls in one mark, whose height is their share. Such a mark may share its cycles with
    marks of other causes, and lies in one span or outside all.
    """

    unit: str
    start: int
    end: int
    cause: str
    cycles: int = 0

    def __post_init__(self) -> None:
        self._check(("unit", "cause"), ("start", "end", "cycles"))
        length = self.end - self.start
        if not 0 <= self.cycles <= length:
            raise WingbeatError(f"Stall.cycles: {self.cycles} of unit {self.unit!r}; allowed are 1..{length}, or 0 for "
                                "all")
        object.__setattr__(self, "cycles", self.cycles or length)


@dataclass(frozen=True)
class Table:
    """A table for the page; texts and numbers in ``rows``, as many in each as in ``header``."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str | int, ...], ...]


@dataclass(frozen=True)
class Timeline:
    """The spans and stalls of ``units``, in the order of the lanes, over ``cycles`` cycles; and tables for the page.

    Raises :class:`WingbeatError` for an unknown unit, an end after ``cycles``, two spans of one unit that share a
    cycle, two stalls of one unit that do, and one with ``cycles`` that crosses the border of a span.
    """

    units: tuple[str, ...]
    cycles: int
    spans: tuple[Span, ...]
    stalls: tuple[StallSpan, ...]
    title: str
    tables: tuple[Table, ...] = ()

    def __post_init__(self) -> None:
        for name in ("units", "spans", "stalls", "tables"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "cycles", _integer("Timeline", "cycles", self.cycles))
        if self.cycles < 1:
            raise WingbeatError(f"Timeline.cycles: {self.cycles}; allowed are 1 and more")
        if not self.units or not all(isinstance(unit, str) and unit for unit in self.units):
            raise WingbeatError(f"Timeline.units: {self.units!r}; allowed are one or more names")
        if len(set(self.units)) < len(self.units):
            raise WingbeatError(f"Timeline.units: {self.units!r} names a unit twice")
        if not isinstance(self.title, str):
            raise WingbeatError(f"Timeline.title: {self.title!r} is not a text")
        self._check_intervals("spans", self.spans)
        self._check_intervals("stalls", self.stalls)
        self._check_borders()

    def _check_intervals(self, name: str, intervals: Sequence[Span] | Sequence[StallSpan]) -> None:
        for number, interval in enumerate(intervals):
            if interval.unit not in self.units:
                raise WingbeatError(f"{name}[{number}].unit: {interval.unit!r} is not one of {', '.join(self.units)}")
            if interval.end > self.cycles:
                raise WingbeatError(f"{name}[{number}].end: {interval.end} is after cycles = {self.cycles}")
        before: dict[str, int] = {}  # unit -> its latest interval so far
        for number in sorted(range(len(intervals)), key=lambda n: intervals[n].start):
            unit, start = intervals[number].unit, intervals[number].start
            other = before.get(unit)
            if other is not None and not _fit(intervals[other], intervals[number]):
                raise WingbeatError(f"{name}[{number}].start: {start} lies inside {name}[{other}] of unit {unit!r}, "
                                    f"cycles {intervals[other].start}..{intervals[other].end - 1}")
            if other is None or intervals[other].end <= intervals[number].end:
                before[unit] = number

    def _check_borders(self) -> None:
        borders: dict[str, list[int]] = {unit: [] for unit in self.units}
        for span in self.spans:
            borders[span.unit] += [span.start, span.end]
        for found in borders.values():
            found.sort()
        for number, stall in enumerate(self.stalls):
            here = borders[stall.unit]
            crossed = bisect_right(here, stall.start) < bisect_left(here, stall.end)
            if crossed and stall.cycles < stall.end - stall.start:
                raise WingbeatError(f"stalls[{number}].cycles: {stall.cycles} of unit {stall.unit!r}, cycles "
                                    f"{stall.start}..{stall.end - 1}, in which a span starts or ends; allowed are all")


def _fit(a: Span | StallSpan, b: Span | StallSpan) -> bool:
    """Whether no cycle needs to be counted in both; ``a`` starts first."""
    if isinstance(a, Span) or isinstance(b, Span) or a.cause == b.cause:
        return a.end <= b.start
    return a.cycles + b.cycles <= max(a.end, b.end) - a.start


@dataclass(frozen=True)
class UnitSummary:
    """Where the cycles of one unit went: busy + sum of ``stalled`` + idle = cycles of the timeline.

    ``busy`` counts cycles inside a span and outside every stall, ``idle`` those in neither.
    """

    unit: str
    busy: int
    stalled: dict[str, int]  # cause -> cycles, in the order of the rows
    idle: int

    @property
    def utilisation(self) -> float:
        """Busy cycles over all cycles, 0..1."""
        return self.busy / (self.busy + sum(self.stalled.values()) + self.idle)


def summary(timeline: Timeline) -> tuple[UnitSummary, ...]:
    """Cycles of every unit, in the order of ``timeline.units``."""
    causes, found = ordered_causes(timeline), []
    for unit in timeline.units:
        spans = sorted((s.start, s.end) for s in timeline.spans if s.unit == unit)
        stalls = [s for s in timeline.stalls if s.unit == unit]
        by_cause: Counter[str] = Counter()
        for stall in timeline.stalls:
            if stall.unit == unit:
                by_cause[stall.cause] += stall.cycles
        busy = sum(end - start for start, end in spans) - _shared(spans, stalls)
        idle = timeline.cycles - busy - sum(by_cause.values())
        found.append(UnitSummary(unit, busy, {c: by_cause[c] for c in causes if by_cause[c]}, idle))
    return tuple(found)


def _shared(spans: list[tuple[int, int]], stalls: Iterable[StallSpan]) -> int:
    """Stalled cycles that lie in a span; ``spans`` are sorted and disjoint."""
    total, ends = 0, [end for _, end in spans]
    for stall in stalls:
        covered, place = 0, bisect_right(ends, stall.start)
        while place < len(spans) and spans[place][0] < stall.end:
            start, end = spans[place]
            covered += min(end, stall.end) - max(start, stall.start)
            place += 1
        total += min(covered, stall.cycles)
    return total


def in_order(pairs: Iterable[tuple[int, int, str]]) -> list[str]:
    """Names by first cycle, then by lane."""
    return list(dict.fromkeys(name for _, _, name in sorted(pairs)))


def ordered_causes(timeline: Timeline) -> list[str]:
    """All known causes, then the others of this timeline: the hatching of a known cause is always the same."""
    lane = {unit: number for number, unit in enumerate(timeline.units)}
    return list(dict.fromkeys([*STALL_CAUSES, *in_order((s.start, lane[s.unit], s.cause) for s in timeline.stalls)]))
