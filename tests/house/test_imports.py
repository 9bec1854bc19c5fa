"""Who may import whom: hw -> hw; sim -> sim and the leaves of hw; gen -> gen, hw, sim; boards -> boards, gen,
hw."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEAVES = {"hw.config", "hw.descriptor", "hw.errors", "hw.numeric", "hw.program", "hw.vectorset"}
MAY_IMPORT = {"hw": {"hw"}, "sim": {"sim"} | LEAVES, "gen": {"gen", "hw", "sim"},
              "boards": {"boards", "gen", "hw"}}


def imports(source: str, module: str, is_package: bool) -> set[str]:
    """Dotted names below `wingbeat` that a module imports; ``module`` is its own, such as `hw.config`."""
    found = set()
    base = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            up = ["wingbeat", *base]
            stem = up[:len(up) - node.level + 1] if node.level else []
            origin = [*stem, *(node.module.split(".") if node.module else [])]
            # `from ..hw import config` names a module, `from ..hw.config import X` a thing in one.
            named = [".".join([*origin, alias.name]) for alias in node.names]
            found |= set(named) if len(origin) < 3 else {".".join(origin)}
    ours = {name.removeprefix("wingbeat.") for name in found if name.split(".")[0] == "wingbeat"}
    bare = {name for name in found if name.split(".")[0] in {*MAY_IMPORT, "tests"}}
    return ours | {f"without wingbeat: {name}" for name in bare}


def forbidden(source: str, module: str, is_package: bool = False) -> set[str]:
    allowed = MAY_IMPORT[module.split(".")[0]]
    return {name for name in imports(source, module, is_package)
            if not any(name == ok or name.startswith(ok + ".") for ok in allowed)}


FILES = sorted(p.relative_to(ROOT) for part in MAY_IMPORT for p in (ROOT / part).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_follow_the_rule(path):
    parts = path.with_suffix("").parts
    is_package = parts[-1] == "__init__"
    module = ".".join(parts[:-1] if is_package else parts)
    assert not forbidden((ROOT / path).read_text(), module, is_package)


@pytest.mark.parametrize("path", sorted(LEAVES))
def test_leaves_do_without_amaranth(path):
    tree = ast.parse((ROOT / (path.replace(".", "/") + ".py")).read_text())
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert not {name for name in names if name.split(".")[0] == "amaranth"}


@pytest.mark.parametrize("source, module", [
    ("from ..gen import cli", "hw.array"),
    ("from ..hw.array import Array", "sim.array"),
    ("from ..hw import array", "sim.array"),
    ("import wingbeat.boards.ulx3s", "gen.cli"),
    ("def f():\n    from ..boards import ulx3s", "gen.cli"),
    ("from ..sim import reference", "boards.ulx3s"),
    ("import hw.config", "gen.cli"),
    ("from tests import x", "gen.cli"),
    ("from .. import boards", "gen.cli"),
])
def test_the_rule_catches(source, module):
    assert forbidden(source, module)


@pytest.mark.parametrize("source, module", [
    ("from . import config", "hw.array"), ("from ..hw.numeric import saturate", "sim.array"),
    ("from ..hw import numeric", "sim.array"), ("import numpy", "sim.array"),
    ("from ..hw.array import Array", "gen.x"),
])
def test_the_rule_lets_pass(source, module):
    assert not forbidden(source, module)
