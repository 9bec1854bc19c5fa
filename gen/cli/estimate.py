"""The command ``wingbeat estimate``: area, clock and cost of a network without synthesis."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...hw.config import CoreConfig
from ..console import out, print_table
from ..estimate.estimate import Estimate, estimate_core, estimated_config
from ..estimate.model import load_model

__all__ = ["run_estimate", "run_check"]

_SEED = 1  # of the inputs that find the formats; cycles do not depend on them


def run_estimate(config: CoreConfig, network: str | None, checkpoint: Path | None,
                 batch: int | None) -> dict[str, Any]:
    """Print the figures and return them, with the keys of `wingbeat synth` and of the benches."""
    found = estimate_core(config)
    figures: dict[str, Any] = {"name": config.name, "target": "ecp5", **asdict(found)}
    if network is not None:
        figures |= _network_figures(config, found, network, checkpoint, batch)
    errors = _errors()
    for name, value in figures.items():
        text = f"{value:,.4g}" if isinstance(value, float) else value
        out.print(f"{name}: {text}{errors.get(name, '')}", markup=False)
    return figures


def _network_figures(config: CoreConfig, found: Estimate, network: str, checkpoint: Path | None,
                     batch: int | None) -> dict[str, Any]:
    from ..estimate.network import ENERGY_SOURCE, estimate_network
    from ..output.network_files import random_calibration
    from ..workloads.shipped import find_network
    loaded = find_network(network, checkpoint)
    cost = estimate_network(loaded, estimated_config(config), random_calibration(loaded, _SEED).inputs, batch)
    return {"network": loaded.name, **asdict(cost), "per_second": cost.per_second(found.fmax_mhz),
            "energy_uj": cost.energy_uj, "energy_source": ENERGY_SOURCE}


def _errors() -> dict[str, str]:
    """What stands behind each figure: how far those of cores that were not fitted are off."""
    model = load_model()
    texts = {name: f"  (off by {100 * worst:.1f} % at most on {model.checked} cores that were not fitted)"
             for name, worst in model.errors.items() if name != "fmax_mhz"}
    texts["fmax_mhz"] = f"  (off by {100 * model.errors['fmax_mhz']:.1f} % at most, each placed core by the others)"
    return texts | {name: "  (exact)" for name in ("bram", "dsp", "cycles", "read", "written")}


def run_check() -> tuple[list[dict[str, Any]], bool]:
    """Print the estimates of the samples that were not fitted beside their syntheses. Whether all keep the aims."""
    from ..estimate.check import check_rows, is_within
    rows = check_rows()
    print_table(list(rows[0]), [[f"{value:+.1%}" if isinstance(value, float) else value for value in row.values()]
                                for row in rows])
    return rows, is_within(rows)
