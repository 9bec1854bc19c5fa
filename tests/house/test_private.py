"""A name with an underscore in front belongs to its module: no other module and no test reads it.

What a test needs is public, or shows at a port. ``ALLOWED`` may only get shorter.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("hw", "sim", "gen", "boards", "tests")
SOURCES = sorted(p.relative_to(ROOT).as_posix() for part in PARTS for p in (ROOT / part).rglob("*.py"))

# Names of others that a file reads, and why it must.
ALLOWED = {
    "gen/cosim/testbench/axi_bench.py": {"_read"},        # the memory of cocotbext-axi has no other place for a delay
    "tests/cosim/axi_bench.py": {"_read", "_write"},      # the same
    "tests/formal/test_processor.py": {"_gated", "_faults"},  # planted faults: a method of the part is broken
    "tests/formal/test_stop.py": {"_faults", "_dropped"},  # the same
    "tests/formal/test_vector_units.py": {"_results", "_element_zero", "_mirrored"},  # the same
}
_OF_TUPLES = {"_replace", "_asdict", "_fields", "_make"}  # of a NamedTuple, and public


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in _OF_TUPLES


def _own_names(tree: ast.AST) -> set[str]:
    """Private names that the file itself defines, at its top or on objects of its classes."""
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return own | {node.attr for node in ast.walk(tree)
                  if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_object(node.value)}


def _is_object(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _is_super(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def private_reads(source: str) -> set[str]:
    """Private names of other modules that ``source`` imports, reads, or replaces by a string."""
    tree, found = ast.parse(source), set()
    own = _own_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            found |= {name for name in modules if any(_is_private(part) for part in name.split("."))}
        elif isinstance(node, ast.Attribute) and _is_private(node.attr):
            if _is_super(node.value) or not (_is_object(node.value) or node.attr in own):
                found.add(node.attr)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
                "setattr", "getattr", "delattr"):
            texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            found |= {part for text in texts for part in text.split(".") if _is_private(part)}
    return found


@pytest.mark.parametrize("path", SOURCES)
def test_nobody_reads_private_names(path):
    assert private_reads((ROOT / path).read_text()) <= ALLOWED.get(path, set())


@pytest.mark.parametrize("path", ALLOWED)
def test_exceptions_are_needed(path):
    assert private_reads((ROOT / path).read_text()) == ALLOWED[path]


@pytest.mark.parametrize("source, name", [
    ("from wingbeat.hw.array.array import _QUEUE", "_QUEUE"),
    ("from wingbeat.hw.array import array\nassert array._QUEUE == 16", "_QUEUE"),
    ("from ..hw import _things", "_things"), ("import wingbeat._things", "wingbeat._things"),
    ('monkeypatch.setattr("wingbeat.hw.vector.normalise._LANE_LATENCY", 1)', "_LANE_LATENCY"),
    ('monkeypatch.setattr(Skipper, "_limits", None)', "_limits"), ('getattr(unit, "_depth")', "_depth"),
    ("assert Normalise(config)._depth == 16", "_depth"), ("def f(unit):\n    return unit._depth", "_depth"),
    ("class Mine(Residual):\n    def _mirrored(self):\n        return super()._mirrored()", "_mirrored"),
])
def test_the_rule_catches(source, name):
    assert private_reads(source) == {name}


@pytest.mark.parametrize("source", [
    "_LIMIT = 3\nassert _LIMIT",
    "class Mine:\n    def __init__(self):\n        self._x = 1\ndef f(mine):\n    return mine._x",
    "assert block._replace(words=1)", "def f(self):\n    return self._x", "assert x.__doc__",
    'setattr(x, "limits", 1)'])
def test_the_rule_lets_pass(source):
    assert not private_reads(source)
