"""The command ``wingbeat fit``, registered as an entry point (docs/decisions/0001)."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ..gen.console import JsonOption, out
from ..gen.files import write_json
from ..gen.presets.select import load_file, load_preset
from ..hw.errors import WingbeatError

__all__ = ["fit_board"]

_SEED = 1  # of the inputs that find the formats; cycles do not depend on them


def fit_board(board: Annotated[str, typer.Option(metavar="NAME", help="a board, see `wingbeat board`")],
              network: Annotated[str, typer.Option(metavar="NET", help="a shipped network, or NET.toml")],
              checkpoint: Annotated[Path | None, typer.Option(metavar="M.safetensors",
                                                              help="weights of NET.toml")] = None,
              preset: Annotated[str | None, typer.Option(metavar="P",
                                                         help="if not given, one that runs the network")] = None,
              config: Annotated[Path | None, typer.Option(metavar="F.toml", help="a configuration file")] = None,
              settings: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE",
                                                                 help="change one field")] = None,
              json_file: JsonOption = None) -> int:
    """Whether a core that runs a network fits a board, what to change if not, and inputs a second, all estimated. Exit
    code 1 if it does not fit."""
    from ..gen.estimate.estimate import estimate_core, estimated_config
    from ..gen.estimate.network import estimate_network
    from ..gen.estimate.part import overfull, smaller_field
    from ..gen.output.network_files import random_calibration
    from ..gen.synth.devices import ecp5_part
    from ..gen.workloads.shipped import find_network, preset_of
    from .build import find_board

    if preset is not None and config is not None:
        raise WingbeatError("--preset, --config: give one of them")
    part_name = find_board(board).platform().device
    part = ecp5_part(part_name)
    if part is None:
        raise WingbeatError(f"--board: {board!r} has a {part_name}; allowed are boards with an ECP5, which the "
                            "estimator knows")
    loaded = find_network(network, checkpoint)
    chosen = load_file(config, settings) if config else load_preset(preset or preset_of(loaded), settings)
    chosen = estimated_config(chosen)
    found = estimate_core(chosen)
    facts: dict[str, Any] = {"board": board, "part": part_name, "core": chosen.name, "network": loaded.name,
                             **asdict(found)}
    full = overfull(found, part)
    facts |= {"fits": not full, "change": smaller_field(chosen, part) if full else None}
    try:
        cost = estimate_network(loaded, chosen, random_calibration(loaded, _SEED).inputs)
        facts |= {"inputs": cost.inputs, "cycles": cost.cycles, "per_second": cost.per_second(found.fmax_mhz)}
    except WingbeatError as fault:  # it names the field with which the network would fit
        facts |= {"fits": False, "change": str(fault)}
    if json_file is not None:
        write_json(json_file, facts)
    for name, value in facts.items():
        out.print(f"{name}: {value:,.4g}" if isinstance(value, float) else f"{name}: {value}", markup=False)
    for kind, (needed, there) in full.items():
        out.print(f"{kind}: {needed} are needed, {part_name} has {there}", markup=False)
    return 0 if facts["fits"] else 1
