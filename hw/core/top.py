"""The top module of a configuration."""

from amaranth.lib import wiring

from ..array.array import Array
from ..bus.axi4.burst import AxiParameters
from ..config import CoreConfig
from ..sections import ControlBus, MemoryBus
from .axi_processor import AxiProcessor
from .controlled_core import ControlledCore
from .processor import Processor
from .streamed_array import StreamedArray

__all__ = ["core"]


def core(config: CoreConfig) -> wiring.Component:
    """The array of ``config``, or the processor where there is a [memory], with the buses that [bus] asks for.

    Raises WingbeatError naming the field of [bus] that does not fit.
    """
    inner = _native(config)
    return inner if config.bus.control is ControlBus.NATIVE else ControlledCore(config, inner)


def _native(config: CoreConfig) -> wiring.Component:
    """The core with the stream i_setup and the port status."""
    if not config.is_processor:
        return StreamedArray(config) if config.has_tlast else Array(config)
    if config.bus.memory is MemoryBus.AXI4:
        return AxiProcessor(config, AxiParameters.of(config))
    return Processor(config)
