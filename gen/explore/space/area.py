"""Cells and clock of a configuration without synthesis: the one place that asks the estimator."""

from ....hw.config import CoreConfig
from .measures import core_figures

__all__ = ["estimated_area"]


def estimated_area(config: CoreConfig) -> dict[str, float]:
    """``lut``, ``ff``, ``comb``, ``bram``, ``dsp`` of an ECP5 and ``fmax_mhz``."""
    words = core_figures(config)["memory_words"]
    lut = 600 * config.n_multipliers // 4 + 2000 * config.is_processor + 120 * config.vector_lanes
    return {"lut": lut, "ff": lut, "comb": 1.3 * lut, "bram": words // 512 + 1,
            "dsp": config.n_multipliers + 2 * config.vector_lanes, "fmax_mhz": 200.0 - 10 * config.layers}
