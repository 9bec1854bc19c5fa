"""The top module of a configuration."""

from amaranth.lib import wiring

from ..array.array import Array
from ..config import CoreConfig
from .processor import Processor

__all__ = ["core"]


def core(config: CoreConfig) -> wiring.Component:
    """The processor of ``config`` where it has memory units (``memory_bits`` > 0), else the array."""
    return Processor(config) if config.is_processor else Array(config)
