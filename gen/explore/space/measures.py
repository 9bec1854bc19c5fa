"""What an exploration can optimise and limit, and which way is better.

| name | meaning | better |
|---|---|---|
| ``lut``, ``ff``, ``comb``, ``bram``, ``dsp`` | cells of an ECP5, as `wingbeat synth` names them | less |
| ``fmax_mhz`` | clock, the median of the placer's seeds | more |
| ``fmax_low``, ``fmax_high`` | range of the seeds, which is only estimated | more |
| ``multipliers`` | real multipliers of the array | less |
| ``memory_words`` | complex words of the buffers and words of the coefficient banks | less |
| ``NAME.cycles`` | cycles of workload NAME for each row, operation or input | less |
| ``NAME.per_second`` | rows, operations or inputs a second at ``fmax_mhz`` | more |
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
import re
from typing import Any

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError

__all__ = ["Objective", "Limit", "Figures", "complete_figures", "core_figures", "parse_objective",
           "parse_limit"]

Figures = Mapping[str, float]  # of one configuration, by the names above

_AREA = ("lut", "ff", "comb", "bram", "dsp")
_CLOCK = ("fmax_mhz", "fmax_low", "fmax_high")
_MORE = {*_CLOCK, "per_second"}
_CORE = (*_AREA, *_CLOCK, "multipliers", "memory_words")
_WORK = ("cycles", "per_second")
_LIMIT = re.compile(r"([\w.-]+) *(<=|>=) *([0-9]+(?:\.[0-9]+)?)")


@dataclass(frozen=True)
class Objective:
    """A figure to make small, or large where ``is_more`` is better."""

    name: str
    is_more: bool

    def cost(self, figures: Figures) -> float:
        """What is to become small."""
        return -figures[self.name] if self.is_more else figures[self.name]


@dataclass(frozen=True)
class Limit:
    """A figure is at most ``bound``, or at least that where ``is_least``."""

    name: str
    is_least: bool
    bound: float

    def __str__(self) -> str:
        return f"{self.name} {'>=' if self.is_least else '<='} {self.bound:g}"

    def excess(self, figures: Figures) -> float:
        """By which share of the bound ``figures`` miss it; 0 and less where they keep it."""
        over = self.bound - figures[self.name] if self.is_least else figures[self.name] - self.bound
        return over / max(self.bound, 1)


def parse_objective(where: str, text: str, works: Iterable[str]) -> Objective:
    """The objective ``text``, which stands at ``where``; ``works`` are the names of the workloads. Raises
    WingbeatError."""
    return Objective(text, _checked(where, text, works).rpartition(".")[2] in _MORE)


def parse_limit(where: str, text: str, works: Iterable[str]) -> Limit:
    """A limit such as ``bram <= 56``. Raises WingbeatError."""
    found = _LIMIT.fullmatch(text.strip())
    if not found:
        raise WingbeatError(f"{where}: {text!r}; allowed are a figure, <= or >=, and a number, such as 'bram <= 56'")
    return Limit(_checked(where, found[1], works), found[2] == ">=", float(found[3]))


def _checked(where: str, name: str, works: Iterable[str]) -> str:
    allowed = [*_CORE, *(f"{work}.{figure}" for work in works for figure in _WORK)]
    if name not in allowed:
        raise WingbeatError(f"{where}: {name!r} is no figure; allowed are {', '.join(allowed)}")
    return name


def core_figures(config: CoreConfig) -> dict[str, int]:
    """What follows from the configuration alone."""
    words = 2 * config.engines * config.half_words + config.n_units * config.coefficient_words
    return {"multipliers": config.n_multipliers, "memory_words": words}


def complete_figures(figures: Mapping[str, Any]) -> dict[str, float]:
    """``figures`` with what a second brings of every workload."""
    rates = {f"{name.removesuffix('.cycles')}.per_second": figures["fmax_mhz"] * 1e6 / cycles
             for name, cycles in figures.items() if name.endswith(".cycles")}
    return {**figures, **rates}
