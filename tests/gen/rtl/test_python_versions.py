"""The Verilog does not depend on the version of Python that writes it.

Amaranth names what has no name by looking at the bytecode of its caller, and that differs from version to version. So
nothing in ``hw/`` is left for it to name, but memories that are assigned to an attribute at once.
"""

import ast
import inspect
import os
from pathlib import Path
import shutil
import subprocess
import sys

from amaranth import tracer
from amaranth.lib.memory import ReadPort
import pytest

from wingbeat.gen.presets.select import load_preset, names
from wingbeat.gen.rtl.verilog import emit
from wingbeat.hw.core.top import core

ROOT = Path(__file__).parents[3]
HARDWARE = sorted((ROOT / "hw").rglob("*.py"))
PRESETS = ("tiny", "processor-16", "hybrid-16")
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
WRITE = """
import sys
from pathlib import Path
from wingbeat.gen.presets.select import load_preset
from wingbeat.gen.rtl.verilog import emit
from wingbeat.hw.core.top import core
for preset in sys.argv[2:]:
    config = load_preset(preset)
    (Path(sys.argv[1]) / f"{preset}.v").write_text(emit(core(config), config.name))
"""
# Whose name is an argument, and the function that makes it elsewhere.
MADE_BY = {"read_port": "hw/primitives/memory.py", "write_port": "hw/primitives/memory.py"}


def verilog(preset: str) -> str:
    config = load_preset(preset)
    return emit(core(config), config.name)


# --- without another interpreter ------------------------------------------------------------------


def unnamed(source: str) -> list[str]:
    """Signals without ``name=``, ports of memories that are methods, memories that no attribute or item gets first."""
    found = []
    tree = ast.parse(source)
    kept = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Attribute | ast.Subscript)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name("Signal") | ast.Attribute(ast.Name("Signal"), "like"):
                if not any(keyword.arg == "name" for keyword in node.keywords):
                    found.append(f"line {node.lineno}: a Signal without name=")
            case ast.Attribute(_, "read_port" | "write_port" as method):
                found.append(f"line {node.lineno}: .{method}(), use {method}() of {MADE_BY[method]}")
            case ast.Name("Memory"):
                if id(node) not in kept:
                    found.append(f"line {node.lineno}: a Memory that is not assigned to m.submodules first")
    return found


@pytest.mark.parametrize("path", HARDWARE, ids=lambda path: str(path.relative_to(ROOT)))
def test_everything_has_a_name(path):
    assert not unnamed(path.read_text())


def test_unnamed_catches():
    assert unnamed("a = Signal()") == ["line 1: a Signal without name="]
    assert unnamed("a, b = Signal(4), Signal(name='b')") == ["line 1: a Signal without name="]
    assert unnamed("a = [Signal.like(x) for x in y]") == ["line 1: a Signal without name="]
    assert not unnamed("a = Signal(name='a')\nb = Signal.like(a, name=f'b{n}')\nf(Signal(1, name=name))")
    assert unnamed("read = memory.read_port()") and not unnamed("read = read_port(memory)")
    assert unnamed("memory = Memory(shape=8, depth=4, init=[])")
    assert not unnamed("m.submodules.memory = memory = Memory(shape=8, depth=4, init=[])")


def asked(monkeypatch, preset: str) -> set[str]:
    """Places in ``hw/`` for which Amaranth has looked for a name while ``preset`` was written."""
    look, found = tracer.get_var_name, set()

    def watched(depth=2, *arguments, **keywords):
        frame = inspect.currentframe()
        for _ in range(depth):
            frame = frame.f_back
        path = Path(frame.f_code.co_filename)
        line = frame.f_lineno
        if path.is_relative_to(ROOT / "hw") and "Memory(" not in path.read_text().splitlines()[line - 1]:
            found.add(f"{path.relative_to(ROOT)}:{line}")
        return look(depth + 1, *arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(tracer, "get_var_name", watched)
        verilog(preset)
    return found


@pytest.mark.parametrize("preset", ["tiny", "hybrid-16"])
def test_nothing_is_named_by_introspection(monkeypatch, preset):
    assert not asked(monkeypatch, preset)


def test_introspection_is_seen(monkeypatch):
    """A port that loses its name is found: that is what the watch above watches."""
    original = ReadPort.__init__

    def nameless(self, signature, *, path=None, **options):
        original(self, signature, src_loc_at=1, **options)

    monkeypatch.setattr(ReadPort, "__init__", nameless)
    assert {place.split(":")[0] for place in asked(monkeypatch, "tiny")} == {"hw/primitives/memory.py"}


# --- with another interpreter ---------------------------------------------------------------------


def package(folder: Path) -> Path:
    """This working tree as the package ``wingbeat`` in ``folder``."""
    root = folder / "wingbeat"
    root.mkdir()
    (root / "__init__.py").touch()
    for part in ("hw", "sim", "gen", "boards"):
        (root / part).symlink_to(ROOT / part, target_is_directory=True)
    return folder


def others(folder: Path) -> list[str]:
    """Interpreters of another version that can import what writes Verilog."""
    named = os.environ.get("WINGBEAT_OTHER_PYTHON")
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    candidates = named.split(os.pathsep) if named else [
        path for version in VERSIONS if version != own and (path := shutil.which(f"python{version}"))]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    able = [path for path in candidates if subprocess.run(
        [path, "-c", "import wingbeat.gen.rtl.verilog, wingbeat.hw.core.top, wingbeat.gen.presets.select"],
        env=environment, capture_output=True).returncode == 0]
    assert able or not named, f"WINGBEAT_OTHER_PYTHON = {named} cannot import what wingbeat needs"
    return able


def test_another_python_writes_the_same(tmp_path):
    folder = package(tmp_path)
    found = others(folder)
    if not found:
        pytest.skip("no other Python with the dependencies of wingbeat: `python3.13 -m venv other && "
                    "other/bin/pip install -e .`, then WINGBEAT_OTHER_PYTHON=other/bin/python")
    own = {preset: verilog(preset) for preset in PRESETS}
    for number, interpreter in enumerate(found):
        out = tmp_path / f"out{number}"
        out.mkdir()
        subprocess.run([interpreter, "-c", WRITE, str(out), *PRESETS], check=True,
                       env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"})
        for preset in PRESETS:
            assert (out / f"{preset}.v").read_text() == own[preset], f"{preset} as {interpreter} writes it"


def test_presets_exist():
    assert set(PRESETS) <= set(names())
