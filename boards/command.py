"""The command ``wingbeat board``, registered as an entry point (docs/decisions/0001)."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ..gen.console import JsonOption, err, out, progress, refuse_unused
from ..gen.files import write_json

__all__ = ["board"]


def board(context: typer.Context,
          name: Annotated[str, typer.Argument(metavar="NAME", help="ulx3s, ulx3s-array, ecpix5 or icebreaker")],
          network: Annotated[str | None, typer.Option(metavar="NET", help="a shipped network that is to fit")] = None,
          make: Annotated[bool, typer.Option("--build", help="make the bitstream")] = False,
          output: Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR",
                                                      help="instead of build/NAME")] = None,
          seed: Annotated[int, typer.Option(min=0, help="of place and route")] = 1,
          json_file: JsonOption = None) -> int:
    """What a board carries; with --build its bitstream. Exit code 1 if the clock is not met."""
    from .build import build, find_board

    top = find_board(name)
    if not make:
        refuse_unused(context, "with --build", "output", "seed")
    facts: dict[str, Any] = {"board": top.name, "preset": top.preset, "clock_mhz": top.clock_hz / 1e6,
                             "baud": top.baud}
    if network is not None:
        facts |= _fit(top, network)
    if make:
        with progress("board", 2) as step:
            facts |= build(top, output or Path("build") / top.name, seed=seed, report=step)
    if json_file is not None:
        write_json(json_file, facts)
    for key, value in facts.items():
        out.print(f"{key}: {value}", markup=False)
    if facts.get("timing_met", True):
        return 0
    err.print(f"clock: {facts['fmax_mhz']} MHz reached with seed {seed}, {facts['clock_mhz']:g} MHz are needed; "
              "another --seed may reach them", markup=False)
    return 1


def _fit(top: Any, network: str) -> dict[str, Any]:
    """How a network runs on the board, as the cycle model says. Raises WingbeatError where it does not fit."""
    from ..gen.cosim.network import predict_network
    from .networks import board_network, carries_networks

    compiled = board_network(carries_networks(top), network).compiled
    cycles = sum(each.total for each in predict_network(compiled))
    return {"network": network, "batch": compiled.batch, "memory_beats": compiled.beats,
            "beats_on_board": top.memory_beats, "cycles_of_batch": cycles,
            "inputs_per_second": round(compiled.batch * top.clock_hz / cycles)}
