"""Area and clock of a configuration without synthesis."""

from dataclasses import dataclass

from ...hw.config import CoreConfig, Target
from ...hw.core.top import core
from ...hw.errors import WingbeatError
from ..synth.devices import TARGETS
from .census import take_census
from .model import load_model

__all__ = ["Estimate", "estimate_core", "estimated_config"]


@dataclass(frozen=True)
class Estimate:
    """Cells of an ECP5 with the names of `wingbeat synth`, and the clock in MHz: the median over the seeds of the
    placer, and the range in which measured seeds lie. ``bram`` and ``dsp`` are exact."""

    lut: int
    ff: int
    carry: int
    lutram: int
    comb: int
    bram: int
    dsp: int
    fmax_mhz: float
    fmax_low: float
    fmax_high: float


def estimated_config(config: CoreConfig) -> CoreConfig:
    """``config`` as the estimator takes it: with the primitives of an ECP5. Raises WingbeatError for a pipeline that it
    does not know."""
    if not config.pipeline.is_deep:
        raise WingbeatError(f"pipeline: {config.pipeline.value!r}; allowed is 'deep', the one that the estimator knows")
    return config if config.target is Target.ECP5 else config.changed(target=Target.ECP5)


def estimate_core(config: CoreConfig) -> Estimate:
    """Figures of the array, or of the processor without its memory, on an ECP5. Takes a second at most; equal blocks of
    several configurations are counted once. Raises WingbeatError as :func:`estimated_config`."""
    model = load_model()
    cells = model.cells(take_census(core(estimated_config(config))))
    comb = TARGETS["ecp5"].comb(cells)
    median = model.clock(comb)
    return Estimate(**cells, comb=comb, fmax_mhz=round(median, 1), fmax_low=round(model.clock_low * median, 1),
                    fmax_high=round(model.clock_high * median, 1))
