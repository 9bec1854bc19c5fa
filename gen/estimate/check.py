"""Estimates beside the syntheses of cores that the coefficients do not come from."""

from typing import Any

from .estimate import estimate_core
from .samples import SAMPLES, load_syntheses, sample_config

__all__ = ["check_rows", "largest_errors", "is_within", "AIM"]

AIM = 0.12  # of LUTs and flip-flops
_ESTIMATED = ("lut", "ff", "comb")


def check_rows() -> list[dict[str, Any]]:
    """A row for each core: what was measured, the relative error of LUTs, flip-flops and logic cells, and both numbers
    of block RAMs and multipliers."""
    found = []
    for each in load_syntheses():
        if SAMPLES[each.name].is_fitted:
            continue
        guess = estimate_core(sample_config(each.name))
        row: dict[str, Any] = {"core": each.name}
        for name in _ESTIMATED:
            row |= {name: each.figures[name], f"{name}_error": getattr(guess, name) / each.figures[name] - 1}
        for name in ("bram", "dsp"):
            row |= {name: each.figures[name], f"{name}_estimate": getattr(guess, name)}
        found.append(row)
    return found


def largest_errors(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The largest relative error of each estimated figure."""
    return {name: max(abs(row[f"{name}_error"]) for row in rows) for name in _ESTIMATED}


def is_within(rows: list[dict[str, Any]]) -> bool:
    """Whether LUTs and flip-flops are within AIM, and block RAMs and multipliers exact."""
    exact = all(row[name] == row[f"{name}_estimate"] for row in rows for name in ("bram", "dsp"))
    worst = largest_errors(rows)
    return exact and max(worst["lut"], worst["ff"]) <= AIM
