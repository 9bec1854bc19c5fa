"""The top module of a configuration."""

from amaranth.lib import wiring

from ..array.array import Array
from ..bus.axi4.burst import AxiParameters
from ..config import CoreConfig, MemoryBus
from .axi_processor import AxiProcessor
from .processor import Processor

__all__ = ["core"]


def core(config: CoreConfig) -> wiring.Component:
    """The array of ``config``, or the processor where there is a [memory], with the bus that [bus] asks for.

    Raises WingbeatError naming the field of [bus] that does not fit.
    """
    if not config.is_processor:
        return Array(config)
    if config.bus.memory is MemoryBus.AXI4:
        return AxiProcessor(config, AxiParameters.of(config))
    return Processor(config)
