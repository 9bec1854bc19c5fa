"""What this machine has and lacks: every tool with the version found, the version needed and what mends it.

Versions of Python packages have one home, pyproject.toml; they are read back from the installed metadata.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
import platform
import re
import shutil
import subprocess
import tempfile

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from ..cosim.cache import cache_folder
from ..cosim.testbench import simulators

__all__ = ["Finding", "examine"]

INSTALL = "make .venv/installed"  # brings every Python package at its pinned version

# System programs: (name, versions that work, needed or only useful, the command that mends it).
PROGRAMS = [
    ("g++", ">=10", True, simulators.SYSTEM_TOOLS["g++"]),
    ("make", ">=4", True, simulators.SYSTEM_TOOLS["make"]),
    ("iverilog", ">=11", False, "apt-get install iverilog"),
    ("openFPGALoader", ">=0.9", False, "apt-get install openfpgaloader"),
]


@dataclass(frozen=True)
class Finding:
    """One tool. ``found`` is empty when it is missing; ``remedy`` is empty when nothing has to be done."""

    tool: str
    found: str
    needed: str
    required: bool
    remedy: str

    @property
    def ok(self) -> bool:
        return not self.remedy

    @property
    def state(self) -> str:
        return "ok" if self.ok else "missing" if self.required else "optional"


def examine() -> list[Finding]:
    """Look at Python, the system programs, the folders that are written and the Python packages, in this order."""
    return [_python(), *(_program(*program) for program in PROGRAMS), *_folders(), *_packages()]


def _judge(tool: str, found: str, needed: str, required: bool, remedy: str) -> Finding:
    fits = bool(found) and SpecifierSet(needed).contains(found, prereleases=True)
    return Finding(tool, found, needed, required, "" if fits else remedy)


def _python() -> Finding:
    needed = metadata.metadata("wingbeat")["Requires-Python"]
    return _judge("python", platform.python_version(), needed, True, "apt-get install python3 python3-venv")


def _program(name: str, needed: str, required: bool, remedy: str) -> Finding:
    return _judge(name, _program_version(name), needed, required, remedy)


def _program_version(name: str) -> str:
    """First dotted number a program prints about itself, empty when it does not run."""
    path = shutil.which(name)
    if path is None:
        return ""
    option = "-V" if name in ("iverilog", "openFPGALoader") else "--version"
    try:
        run = subprocess.run([path, option], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    version = re.search(r"\d+(\.\d+)+", run.stdout + run.stderr)
    return version[0] if version else ""


def _folders() -> Iterator[Finding]:
    """The folders in which every build and every synthesis writes."""
    for name, folder, variable in (("cache", cache_folder(), "WINGBEAT_CACHE"),
                                   ("temporary files", Path(tempfile.gettempdir()), "TMPDIR")):
        found = next((each for each in (folder, *folder.parents) if each.exists()), folder)
        try:
            tempfile.TemporaryFile(dir=found).close()
            yield Finding(name, str(folder), "writable", True, "")
        except OSError:
            yield Finding(name, str(folder), "writable", True, f"export {variable}=FOLDER")


def _extra_of(requirement: Requirement) -> str | None:
    """The extra that asks for a requirement; empty: always needed; None: another extra than dev."""
    if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
        return ""
    return "dev" if requirement.marker.evaluate({"extra": "dev"}) else None


def _packages() -> Iterator[Finding]:
    """The requirements of wingbeat itself, then those of the extra ``dev``. Training is nobody's need."""
    requirements = [Requirement(text) for text in metadata.requires("wingbeat") or []]
    for extra, required in (("", True), ("dev", False)):
        for requirement in requirements:
            if extra == _extra_of(requirement):
                try:
                    found = metadata.version(requirement.name)
                except metadata.PackageNotFoundError:
                    found = ""
                yield _judge(requirement.name, found, str(requirement.specifier), required, INSTALL)
