"""Cells and clock of a configuration without synthesis: the one place that asks the estimator."""

from ....hw.config import CoreConfig
from ...estimate.estimate import estimate_core

__all__ = ["estimated_area"]

_FIGURES = ("lut", "ff", "comb", "bram", "dsp", "fmax_mhz", "fmax_low", "fmax_high")


def estimated_area(config: CoreConfig) -> dict[str, float]:
    """``lut``, ``ff``, ``comb``, ``bram``, ``dsp`` of an ECP5, the median clock ``fmax_mhz`` and its range. Raises
    WingbeatError for what the estimator does not know."""
    found = estimate_core(config)
    return {name: getattr(found, name) for name in _FIGURES}
