"""Fits the coefficients of the estimator, and synthesises what they come from:

    python -m wingbeat.gen.estimate.calibrate                 # fits, writes model.json
    python -m wingbeat.gen.estimate.calibrate --synthesize    # before that, the samples that were not measured yet

Each synthesis is a line of syntheses.jsonl as soon as it ends; so this may be stopped at any time.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import replace
import json
from pathlib import Path
from typing import Any

import numpy as np

from ...hw.core.top import core
from ..files import write_json
from .census import Census, take_census
from .check import check_rows, largest_errors
from .model import LUT_TERMS, Model, load_model, lut_terms
from .samples import SAMPLES, Synthesis, load_syntheses, sample_config

__all__ = ["fit_model", "main"]

_FOLDER = Path(__file__).parent
# Weight of the first guess of a coefficient beside that of a sample: terms that stand in few samples stay near it.
_PRIOR = 0.1
_KEPT = ("lut", "ff", "carry", "lutram", "comb", "bram", "dsp", "fmax_mhz", "fmax_per_seed", "tools", "verilog_sha256")
_PLACED_CLOCKS = _FOLDER / "clocks.json"  # of cores that were placed: cells, and MHz of each seed
_SMALLEST_RANGE = 0.1  # of the clock, as a share


def fit_model(measured: Sequence[tuple[Census, dict]], clocks: Sequence[dict]) -> Model:
    """The coefficients that make the relative errors small. ``measured``: counts and figures of samples. ``clocks``:
    ``comb`` and ``mhz`` (a list, one of each seed) of cores that were placed."""
    guess = np.array(list(LUT_TERMS.values()))
    rows = [[count / figures["lut"] for count in lut_terms(census).values()] * guess for census, figures in measured]
    sides = np.concatenate([np.ones(len(rows)), np.full(len(guess), _PRIOR)])
    found = np.linalg.lstsq(np.vstack([*rows, _PRIOR * np.eye(len(guess))]), sides, rcond=None)[0]
    lut = {term: round(float(value), 4) for term, value in zip(LUT_TERMS, np.maximum(found, 0) * guess)}
    kept: dict[str, Any] = {}
    for kind, counted in (("ff", "register"), ("carry", "carry"), ("lutram", "lutram")):
        shares = [figures.get(kind, 0) / census[counted] for census, figures in measured if census[counted]]
        kept[kind] = round(float(np.mean(shares)), 4)
    kept |= _fit_clock(clocks)
    return Model(lut=lut, **kept, tools=dict(measured[0][1]["tools"]))


def _fit_clock(clocks: Sequence[dict]) -> dict[str, float]:
    """A line through the medians over the logarithm of the cells, within the fastest and the slowest of them."""
    medians = np.array([np.median(each["mhz"]) for each in clocks])
    size = np.log(np.array([each["comb"] for each in clocks]) / 10_000)
    slope, at = np.polyfit(size, medians, 1)
    line = np.clip(at + slope * size, medians.min(), medians.max())
    shares = [mhz / median for each, median in zip(clocks, line) for mhz in each["mhz"]]
    return {"clock_mhz": round(float(at), 2), "clock_slope": round(float(-slope), 2),
            "clock_least": round(float(medians.min()), 1), "clock_most": round(float(medians.max()), 1),
            "clock_low": round(min(1 - _SMALLEST_RANGE, *shares), 3),
            "clock_high": round(max(1 + _SMALLEST_RANGE, *shares), 3)}


def _clock_error(clocks: Sequence[dict]) -> float:
    """The largest relative error of a median that a line through the others gives."""
    errors = []
    for number, left_out in enumerate(clocks):
        fitted = _fit_clock([*clocks[:number], *clocks[number + 1:]])
        line = fitted["clock_mhz"] - fitted["clock_slope"] * np.log(left_out["comb"] / 10_000)
        guess = np.clip(line, fitted["clock_least"], fitted["clock_most"])
        errors.append(abs(guess / np.median(left_out["mhz"]) - 1))
    return float(max(errors))


def _measure() -> None:
    """Synthesises the samples without a measurement, one after the other."""
    from ..synth.flow import synthesize

    known = {each.name for each in load_syntheses()}
    for name in SAMPLES:
        if name not in known:
            figures = synthesize(sample_config(name))
            _add(name, figures)
            print(f"{name}: {figures['lut']} LUTs, {figures['ff']} flip-flops", flush=True)


def _add(name: str, figures: dict) -> None:
    line = json.dumps({"sample": name, **{key: figures[key] for key in _KEPT if figures.get(key) is not None}})
    with open(_FOLDER / "syntheses.jsonl", "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = ArgumentParser(prog="wingbeat.gen.estimate.calibrate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--synthesize", action="store_true", help="measure what was not measured yet; hours")
    if parser.parse_args(arguments).synthesize:
        _measure()
    fitted: list[Synthesis] = [each for each in load_syntheses() if SAMPLES[each.name].is_fitted]
    measured = [(take_census(core(sample_config(each.name))), each.figures) for each in fitted]
    clocks = json.loads(_PLACED_CLOCKS.read_text(encoding="utf-8"))
    model = fit_model(measured, clocks)
    write_json(_FOLDER / "model.json", model.as_json())
    load_model.cache_clear()
    rows = check_rows()
    errors = {name: round(worst, 4) for name, worst in largest_errors(rows).items()}
    errors["fmax_mhz"] = round(_clock_error(clocks), 4)
    write_json(_FOLDER / "model.json", replace(model, errors=errors, checked=len(rows)).as_json())
    load_model.cache_clear()
    print(f"{len(fitted)} syntheses and {len(clocks)} placed cores: {_FOLDER / 'model.json'}")


if __name__ == "__main__":
    main()
