"""The top module of a configuration."""

from amaranth.lib import wiring

from ..hw.array import Array
from ..hw.config import ArrayConfig
from ..hw.processor import Processor

__all__ = ["core"]


def core(config: ArrayConfig) -> wiring.Component:
    """The processor of ``config`` where it has memory units (``memory_bits`` > 0), else the array."""
    return Processor(config) if config.is_processor else Array(config)
