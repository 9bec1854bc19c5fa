"""The command ``wingbeat board``, registered as an entry point (docs/decisions/0001)."""

from pathlib import Path
from typing import Annotated

import typer

from ..gen.console import JsonOption, out, progress, refuse_unused
from ..gen.files import write_json

__all__ = ["board"]


def board(context: typer.Context,
          name: Annotated[str, typer.Argument(metavar="NAME", help="ulx3s or icebreaker")],
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
    facts: dict[str, object] = {"board": top.name, "preset": top.preset, "clock_mhz": top.clock_hz / 1e6,
                                "baud": top.baud}
    if make:
        with progress("board", 2) as step:
            facts |= build(top, output or Path("build") / top.name, seed=seed, report=step)
    if json_file is not None:
        write_json(json_file, facts)
    for key, value in facts.items():
        out.print(f"{key}: {value}", markup=False)
    return 0 if facts.get("timing_met", True) else 1
