"""Who may import whom: one row a folder. A folder may import itself, its row, and what stands above the row of its
part. Nothing may import upwards, and there is no circle."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("hw", "sim", "gen", "boards")

# Leaves: no Amaranth in them, everybody may import them.
LEAVES = {"hw", "hw.isa"}
# Of the folder hw itself; hw.layouts is hardware.
LEAF_MODULES = {"hw.config", "hw.errors", "hw.names", "hw.numeric", "hw.sections",
                "hw.primitives.parameters", "hw.array.parameters", "hw.memory.parameters", "hw.vector.parameters",
                "hw.softmax.parameters"}

# folder: folders it may import besides the leaves and itself
MAY_IMPORT = {
    "hw": "",
    "hw.isa": "",
    "hw.primitives": "",
    "hw.array": "hw.primitives hw.softmax hw.bus.stream",
    "hw.memory": "hw.primitives",
    "hw.softmax": "hw.primitives",
    "hw.vector": "hw.primitives hw.memory",
    "hw.bus": "",
    "hw.bus.axi4": "hw.primitives hw.memory",
    "hw.bus.control": "hw.primitives",
    "hw.bus.stream": "hw.primitives",
    "hw.link": "hw.primitives",
    "hw.core": "hw.primitives hw.array hw.memory hw.vector hw.bus.axi4 hw.bus.control hw.bus.stream",
    "sim": "",
    "sim.reference": "",
    "sim.model": "",
    "sim.cycles": "sim.model",
    "sim.stimulus": "sim.model sim.reference",
    "sim.bench": "",
    "gen": "",
    "gen.presets": "",
    "gen.compiler": "",
    "gen.compiler.kernel": "gen.compiler sim.model",
    "gen.compiler.program": "gen.compiler.kernel sim.model sim.reference",
    "gen.compiler.network": "gen.compiler gen.compiler.kernel gen.compiler.program sim.reference",
    "gen.rtl": "gen",
    "gen.workloads": "gen.compiler gen.compiler.kernel gen.compiler.network gen.compiler.program sim.model "
                     "sim.reference",
    "gen.synth": "gen gen.rtl hw.array hw.memory hw.vector hw.core",
    "gen.estimate": "gen gen.presets gen.compiler.network gen.cosim gen.synth hw.primitives hw.core",
    "gen.cosim": "gen gen.compiler gen.compiler.kernel gen.compiler.network gen.compiler.program gen.cosim.testbench "
                 "gen.rtl gen.workloads hw.bus.axi4 hw.bus.control hw.bus.stream hw.core sim.model sim.cycles",
    "gen.cosim.testbench": "",
    "gen.explore": "gen gen.compiler gen.compiler.kernel gen.compiler.network gen.compiler.program gen.cosim "
                   "gen.workloads sim.cycles sim.reference",
    "gen.explore.space": "gen gen.compiler.kernel gen.compiler.network gen.cosim gen.estimate gen.explore gen.presets "
                         "gen.synth gen.workloads sim.cycles",
    "gen.report": "gen gen.compiler.program gen.cosim gen.explore gen.explore.space",
    "gen.output": "gen gen.compiler gen.compiler.network gen.compiler.program gen.cosim gen.explore gen.rtl "
                  "gen.workloads hw.bus.axi4 hw.bus.stream sim.model",
    "gen.train": "gen gen.compiler.kernel gen.workloads",
    "gen.cli": "gen gen.presets gen.compiler.kernel gen.compiler.network gen.compiler.program gen.cosim "
               "gen.cosim.testbench gen.estimate gen.explore gen.explore.space gen.output gen.report gen.synth "
               "gen.workloads",
    "boards": "gen gen.presets gen.compiler gen.compiler.kernel gen.compiler.network gen.cosim gen.estimate "
              "gen.explore gen.output gen.rtl gen.synth gen.workloads hw.array hw.bus.control hw.core hw.link "
              "hw.memory",
}
MOST_MODULES = 20
MAY_KNOW_AMARANTH = ("hw", "gen.rtl", "gen.synth", "gen.estimate", "gen.cosim", "gen.output", "sim.bench", "boards")


def modules() -> dict[str, Path]:
    """Every module and package below `wingbeat`, by its dotted name."""
    found = {}
    for part in PARTS:
        for path in (ROOT / part).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}


def folder_of(module: str) -> str:
    return module if module in PACKAGES else module.rpartition(".")[0]


def imports(source: str, module: str, is_package: bool) -> set[str]:
    """Modules below `wingbeat` that a module imports; ``module`` is its own name, such as `hw.config`."""
    found = set()
    base = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            up = ["wingbeat", *base]
            stem = up[:len(up) - node.level + 1] if node.level else []
            origin = ".".join([*stem, *(node.module.split(".") if node.module else [])])
            # `from ..hw import config` names a module, `from ..hw.config import X` a thing in one.
            for alias in node.names:
                name = f"{origin}.{alias.name}"
                inner = name.removeprefix("wingbeat.")
                is_module = origin == "wingbeat" or origin.removeprefix("wingbeat.") in PACKAGES or inner in MODULES
                found.add(name if is_module else origin)
    ours = {name.removeprefix("wingbeat.") for name in found if name.split(".")[0] == "wingbeat"}
    bare = {name for name in found if name.split(".")[0] in {*PARTS, "tests"}}
    return ours | {f"without wingbeat: {name}" for name in bare}


def forbidden(source: str, module: str, is_package: bool = False) -> set[str]:
    own = module if is_package else module.rpartition(".")[0]
    allowed = {own, *MAY_IMPORT[own].split()}
    wrong = set()
    for name in imports(source, module, is_package):
        folder = folder_of(name)
        is_leaf = name in LEAF_MODULES or folder == "hw.isa"
        same_part = name == "hw.layouts" and own.startswith("hw.") and own != "hw.isa"
        if not (is_leaf or same_part or folder in allowed):
            wrong.add(name)
    return wrong


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_follow_the_table(module):
    assert not forbidden(MODULES[module].read_text(), module, module in PACKAGES)


@pytest.mark.parametrize("module", sorted(LEAF_MODULES))
def test_leaf_modules_stand_on_leaves(module):
    found = imports(MODULES[module].read_text(), module, False)
    assert not {name for name in found if name not in LEAF_MODULES and folder_of(name) != "hw.isa"}


def test_every_folder_has_a_row():
    assert set(MAY_IMPORT) == PACKAGES


@pytest.mark.parametrize("folder", sorted(PACKAGES))
def test_rows_grant_no_more_than_is_used(folder):
    """A right that nobody uses would hide the first misuse of it."""
    used = set()
    for module, path in MODULES.items():
        if folder_of(module) == folder:
            used |= {folder_of(name) for name in imports(path.read_text(), module, module in PACKAGES)}
    assert set(MAY_IMPORT[folder].split()) <= used


def test_no_circle():
    graph = {module: imports(path.read_text(), module, module in PACKAGES) for module, path in MODULES.items()}
    assert list(TopologicalSorter(graph).static_order())
    folders: dict[str, set[str]] = {}
    for module, names in graph.items():
        folders.setdefault(folder_of(module), set()).update(folder_of(name) for name in names)
    for folder, names in folders.items():
        names -= {folder, "hw", "gen"}  # the ground of a part, which only imports leaves
    assert list(TopologicalSorter(folders).static_order())


def amaranth_in(source: str) -> bool:
    nodes = list(ast.walk(ast.parse(source)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return any(name.split(".")[0] == "amaranth" for name in names)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_who_may_know_amaranth(module):
    allowed = module.startswith(MAY_KNOW_AMARANTH) and module not in LEAF_MODULES and folder_of(module) != "hw.isa"
    assert allowed or not amaranth_in(MODULES[module].read_text())


@pytest.mark.parametrize("folder", sorted(PACKAGES))
def test_folders_are_small(folder):
    count = sum(folder_of(module) == folder and module != folder for module in MODULES)
    assert count <= MOST_MODULES


@pytest.mark.parametrize("source, module", [
    ("from ...gen.cli import app", "hw.array.array"),
    ("from ...hw.array.array import Array", "sim.model.array"),
    ("from ...hw.array import array", "sim.model.array"),
    ("from ..model.array import ArrayModel", "sim.reference.linear"),
    ("import wingbeat.boards.ulx3s", "gen.cli.app"),
    ("def f():\n    from ...boards import ulx3s", "gen.cli.app"),
    ("from ..sim.reference import linear", "boards.ulx3s"),
    ("from ..compiler.kernel import kernel", "gen.rtl.verilog"),
    ("from ..cli.app import run", "gen.explore.measure"),
    ("from ..layouts import word", "hw.isa.setup"),
    ("from ..memory.port import MemoryPort", "hw.array.array"),
    ("import hw.config", "gen.cli.app"),
    ("from ...hw.memory.writer import Writer", "sim.cycles.writer"),
    ("from tests import x", "gen.cli.app"),
    ("from ... import boards", "gen.cli.app"),
])
def test_the_table_catches(source, module):
    assert forbidden(source, module)


@pytest.mark.parametrize("source, module", [
    ("from . import engine", "hw.array.array"), ("from ...hw.numeric import saturate", "sim.model.array"),
    ("from ...hw import numeric", "sim.model.array"), ("import numpy", "sim.model.array"),
    ("from ...hw.memory.parameters import SequenceTiming", "sim.cycles.memory"),
    ("from ..layouts import word", "hw.array.array"), ("from ...hw.core.top import core", "gen.cosim.core"),
])
def test_the_table_lets_pass(source, module):
    assert not forbidden(source, module)
