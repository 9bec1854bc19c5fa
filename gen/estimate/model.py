"""From counts of a design to cells of an ECP5 and a clock: the coefficients, which gen/estimate/calibrate.py fits."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources
import json
import math
from typing import Any

from .census import Census

__all__ = ["LUT_TERMS", "Model", "lut_terms", "load_model"]

# Terms of the LUTs, and what each would cost if synthesis merged nothing: LUTs of four inputs for a bit.
LUT_TERMS = {"mux": 0.6, "gate": 0.35, "choice": 0.6, "default": 0.5, "compare": 0.3, "shift": 0.5, "rom": 1.0,
             "lutread": 0.5, "carry": 0.4}
_COMPARED = ("equal", "match", "reduce")


def lut_terms(census: Census) -> dict[str, int]:
    """The counts that LUTs are made of, by the names of LUT_TERMS."""
    merged = {"compare": sum(census[kind] for kind in _COMPARED)}
    return {term: merged.get(term, census.get(term, 0)) for term in LUT_TERMS}


@dataclass(frozen=True)
class Model:
    """``lut``: LUTs for each bit of a term. ``ff``, ``carry``, ``lutram``: what synthesis keeps of the registers, carry
    cells and LUT memories of a design. The clock is ``clock_mhz`` at 10,000 logic cells and falls by ``clock_slope``
    for every factor e, between ``clock_least`` and ``clock_most``; ``clock_low``, ``clock_high``: the range, as factors
    of the median. ``tools``: what measured all this; ``errors``: the largest relative ones on ``checked`` cores that
    were not fitted."""

    lut: Mapping[str, float]
    ff: float
    carry: float
    lutram: float
    clock_mhz: float
    clock_slope: float
    clock_least: float
    clock_most: float
    clock_low: float
    clock_high: float
    tools: Mapping[str, str]
    errors: Mapping[str, float] = field(default_factory=dict)
    checked: int = 0

    def cells(self, census: Census) -> dict[str, int]:
        """Cells by kind, with the names of `wingbeat synth`."""
        terms = lut_terms(census)
        scaled = {kind: round(getattr(self, kind) * census[counted])
                  for kind, counted in (("ff", "register"), ("carry", "carry"), ("lutram", "lutram"))}
        return {"lut": round(sum(self.lut[term] * count for term, count in terms.items())), **scaled,
                "bram": census["bram"], "dsp": census["dsp"]}

    def clock(self, comb: int) -> float:
        """Median clock in MHz of a core with ``comb`` logic cells."""
        found = self.clock_mhz - self.clock_slope * math.log(max(comb, 1) / 10_000)
        return min(self.clock_most, max(self.clock_least, found))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@cache
def load_model() -> Model:
    """The coefficients that come with the package."""
    text = (resources.files(__package__) / "model.json").read_text(encoding="utf-8")
    return Model(**json.loads(text))
