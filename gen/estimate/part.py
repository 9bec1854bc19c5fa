"""Whether a core fits a part, and which field makes it fit."""

from dataclasses import asdict

from pydantic import ValidationError

from ...hw.config import NAMES, CoreConfig
from ..synth.devices import Device
from .estimate import Estimate, estimate_core

__all__ = ["overfull", "smaller_field"]

# Fields that cost most of each kind of cell, the first to halve first.
_FIELDS = {"dsp": ("engines", "vector_lanes"), "ff": ("engines", "vector_lanes", "stream_words"),
           "comb": ("engines", "vector_lanes", "stream_words"),
           "bram": ("coefficient_words", "half_words", "program_words", "engines", "vector_lanes", "in_flight")}


def overfull(found: Estimate, part: Device) -> dict[str, tuple[int, int]]:
    """Cells of which there are too few: {kind: (needed, there)}."""
    there = {**asdict(part), "ff": part.comb}  # an ECP5 has a flip-flop for each logic cell
    return {kind: (getattr(found, kind), there[kind]) for kind in _FIELDS if getattr(found, kind) > there[kind]}


def smaller_field(config: CoreConfig, part: Device) -> str | None:
    """The field that lets ``config`` fit ``part`` when it is halved, once or several times, and its value; None where
    no single field does."""
    full = overfull(estimate_core(config), part)
    for name in dict.fromkeys(name for kind in full for name in _FIELDS[kind]):
        value = getattr(config, name)
        while value > 1:
            value //= 2
            try:
                changed = config.changed(**{name: value})
            except ValidationError:
                break
            if not overfull(estimate_core(changed), part):
                return f"{'.'.join(NAMES[name])} = {value}"
    return None
