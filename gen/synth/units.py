"""Single blocks of a core by name, to synthesise them alone."""

from collections.abc import Callable

from amaranth.lib import wiring

from ...hw.array.butterfly import ButterflyParameters, ButterflyUnit
from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ...hw.memory.read_arbiter import ReadArbiter
from ...hw.vector.argmax import Argmax
from ...hw.vector.normalise import Normalise
from ...hw.vector.rescale import Rescale
from ...hw.vector.residual import ResidualAdder

__all__ = ["BLOCKS", "unit"]

_VECTOR: dict[str, Callable[[CoreConfig], wiring.Component]] = {
    "normalise": lambda c: Normalise(c, c.vector_lanes, c.statistics_rows, c.statistics_units, 4),
    "rescale": lambda c: Rescale(c, c.vector_lanes, c.channel_beats),
    "residual": ResidualAdder,
    "argmax": Argmax,
    "readarbiter": lambda c: ReadArbiter(c, c.in_flight),
}
BLOCKS = ("butterfly", *_VECTOR)


def unit(name: str, config: CoreConfig) -> wiring.Component:
    """The block ``name`` as a core of ``config`` has it. Raises WingbeatError for a name that it does not have."""
    if name == "butterfly":
        return ButterflyUnit(ButterflyParameters.of(config))
    if name not in _VECTOR:
        raise WingbeatError(f"--unit: {name!r} is not one of {', '.join(BLOCKS)}")
    if not config.vector_lanes:
        raise WingbeatError(f"--unit: {name!r}, and {config.name} has no [vector]; allowed is butterfly")
    return _VECTOR[name](config)
