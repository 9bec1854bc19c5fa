"""Configurations that were synthesised to fit the estimator, and others to check it; and what was measured of them.

Each is small enough for a synthesis of minutes. Together they have every unit and every bus.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
import json
from typing import Any

from ...hw.config import CoreConfig
from ..presets.select import load_preset

__all__ = ["SAMPLES", "CoreSample", "Synthesis", "load_syntheses", "sample_config"]

_ARRAY = {"target": "ecp5", "engines": 1, "layers": 1, "width": 16, "element_width": 16, "coefficient_width": 16,
          "half_words": 64, "coefficient_words": 64, "program_words": 128, "stream_words": 2}
_PROCESSOR = _ARRAY | {"half_words": 256, "coefficient_words": 256, "program_words": 256, "memory_bits": 16,
                       "descriptors": 8, "in_flight": 16, "watchdog": 4096}


@dataclass(frozen=True)
class CoreSample:
    """A configuration by what differs from the smallest array or processor, or a preset. ``is_fitted``: the
    coefficients come from it too; the others check them."""

    values: dict[str, Any]
    is_fitted: bool = False
    is_processor: bool = False
    bus: dict[str, Any] | None = None


def _fitted(is_processor: bool = False, bus: dict[str, Any] | None = None, **values: Any) -> CoreSample:
    return CoreSample(values, True, is_processor, bus)


def _checked(is_processor: bool = False, bus: dict[str, Any] | None = None, **values: Any) -> CoreSample:
    return CoreSample(values, False, is_processor, bus)


_WIDE: dict[str, Any] = {"width": 18, "coefficient_width": 17}
SAMPLES: dict[str, CoreSample] = {
    # Arrays alone.
    "a1": _fitted(),
    "a2": _checked(engines=4, width=12, element_width=12, coefficient_width=12, half_words=128, coefficient_words=128,
                   stream_words=8),
    "a4": _checked(layers=2, width=14, element_width=12, coefficient_width=14, half_words=128, coefficient_words=256,
                   program_words=256),
    "a5": _checked(engines=2, layers=2, **_WIDE, half_words=1024, coefficient_words=1024, program_words=512,
                   stream_words=8),
    "a6": _checked(engines=8, width=10, element_width=10, coefficient_width=10, coefficient_words=128, stream_words=4),
    "a7": _checked(layers=3, half_words=256, coefficient_words=128, program_words=256, stream_words=8),
    "a8": _checked(engines=4, width=18, element_width=12, coefficient_width=14, half_words=2048, coefficient_words=2048,
                   program_words=1024, stream_words=4),
    "a9": _checked(width=9, element_width=8, coefficient_width=9, half_words=512, coefficient_words=256,
                   stream_words=1),
    "a10": _checked(layers=2, width=18, element_width=18, coefficient_width=18, program_words=64, stream_words=4),
    "h1": _checked(engines=2, width=18, element_width=18, coefficient_width=18, half_words=128, coefficient_words=256,
                   program_words=256),
    # Arrays behind registers.
    "c1": _fitted(width=12, element_width=12, coefficient_width=12, coefficient_words=128, stream_words=1,
                  bus={"control": "axi4-lite"}),
    "c2": _checked(engines=2, half_words=128, stream_words=1, bus={"control": "wishbone"}),
    # Processors: plain, with records, a ring, softmax, a vector unit, behind AXI4.
    "p1": _fitted(True),
    "processor_16": CoreSample({"preset": "processor-16"}, is_fitted=True),
    "r1": _checked(True, engines=2, coefficient_words=512, stream_words=4, records=True),
    "r2": _checked(True, width=14, element_width=14, coefficient_width=12, memory_bits=20, descriptors=16,
                   stream_words=4, engines=2, records=True, row_ids=256, block_log=128),
    "g1": _fitted(True, coefficient_words=512, records=True, ring_words=64),
    "g2": _checked(True, layers=2, coefficient_words=512, stream_words=4, records=True, ring_words=128,
                   partial_words=32, sparse=True),
    "s1": _fitted(True, **_WIDE, coefficient_words=512, records=True, ring_words=128, partial_words=64,
                  softmax_pairs=16),
    "v1": _fitted(True, **_WIDE, vector_lanes=2, channel_beats=32, statistics_rows=64, statistics_units=1),
    "v2": _checked(True, engines=2, element_width=12, coefficient_width=14, stream_words=4, vector_lanes=4,
                   channel_beats=64, statistics_rows=256, statistics_units=2),
    "x1": _fitted(True, bus={"memory": "axi4", "data_width": 64}),
    "x2": _checked(True, width=12, element_width=8, memory_bits=12,
                   bus={"memory": "axi4", "data_width": 32, "control": "axi4-lite"}),
}


def sample_config(name: str) -> CoreConfig:
    """Configuration of the sample ``name``."""
    sample = SAMPLES[name]
    if "preset" in sample.values:
        return load_preset(sample.values["preset"])
    base = _PROCESSOR if sample.is_processor else _ARRAY
    config = CoreConfig.of(name=name, **{**base, **sample.values})
    return CoreConfig.model_validate({**config.choices(), "bus": sample.bus}) if sample.bus else config


@dataclass(frozen=True)
class Synthesis:
    """What `wingbeat synth` said of a sample; ``fmax_mhz`` where it was placed."""

    name: str
    figures: dict[str, Any]


def load_syntheses() -> Iterator[Synthesis]:
    """The measurements that come with the package, each on a line of its own."""
    text = (resources.files(__package__) / "syntheses.jsonl").read_text(encoding="utf-8")
    for line in text.splitlines():
        figures = json.loads(line)
        yield Synthesis(figures.pop("sample"), figures)
