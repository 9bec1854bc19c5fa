"""The package list of pyproject.toml against the folders: a forgotten one is missing from the wheel only."""

from pathlib import Path
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("hw", "sim", "gen", "boards")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def folders() -> dict[str, str]:
    """Import name and folder of every package, as the folders say."""
    found = {p.parent.relative_to(ROOT) for part in PARTS for p in (ROOT / part).rglob("*.py")}
    return {"wingbeat." + ".".join(path.parts): path.as_posix() for path in sorted(found)}


def test_every_folder_is_listed():
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(folders())


def test_folders_are_the_packages():
    assert PROJECT["tool"]["setuptools"]["package-dir"] == {"wingbeat": "."}


@pytest.mark.parametrize("folder", folders().values())
def test_every_folder_has_an_init(folder):
    assert (ROOT / folder / "__init__.py").is_file()


def test_every_dependency_says_why():
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r'    "[a-z].*[=<>]', line):
            assert re.match(r"    (# .|\")", lines[number - 1]), f"{line.strip()}: no reason above it"


def test_wheel_holds_every_file(tmp_path):
    """Built offline from a copy of what git would check out, so that no build folder is left in the tree."""
    copy = tmp_path / "copy"
    wanted = [p for part in PARTS for p in (ROOT / part).rglob("*")
              if p.is_file() and "__pycache__" not in p.parts and not p.name.startswith(".")]
    for path in [*wanted, ROOT / "pyproject.toml", ROOT / "LICENSE", ROOT / "README.md"]:
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
               "--no-index", "-w", str(tmp_path), str(copy)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    names = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    missing = {f"wingbeat/{p.relative_to(ROOT).as_posix()}" for p in wanted} - names
    assert not missing
