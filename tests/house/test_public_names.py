"""A public name means one thing in the whole package, but for twins that are meant."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("hw", "sim", "gen", "boards")

# Pairs of folders whose modules describe one thing from two sides, so that one name is right.
EXEMPT = {"main"}  # what a module does that is run as a program
TWINS = [
    ("hw", "sim/cycles", "a component and its cycle model"),
    ("hw", "sim/model", "a component and its bit-exact model"),
    ("sim/reference", "sim/model", "the float truth and the integer model"),
    ("gen/compiler/network/file.py", "gen/train", "a layer of the network file and its PyTorch module"),
    ("gen/train/digits.py", "gen/train/listops.py", "the two training commands"),
    ("gen/workloads/digits.py", "gen/workloads/listops.py", "the two data sets"),
    ("gen/workloads/shipped.py", "gen/train", "the data of a shipped network and of its training"),
]


def definitions(source: str) -> set[str]:
    """Names of ``__all__`` that the module defines itself."""
    tree = ast.parse(source)
    exported: set[str] = set()
    defined: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            defined.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
            if "__all__" in names and node.value is not None:
                exported = set(ast.literal_eval(node.value))
            defined |= names
    return exported & defined


def homes() -> dict[str, set[str]]:
    """{public name: the files that define it}."""
    found: dict[str, set[str]] = {}
    for part in PARTS:
        for path in (ROOT / part).rglob("*.py"):
            for name in definitions(path.read_text()):
                found.setdefault(name, set()).add(path.relative_to(ROOT).as_posix())
    return found


def is_twin(files: set[str]) -> bool:
    """Whether two files stand on the two sides of one row of TWINS."""
    if len(files) != 2:
        return False
    one, other = sorted(files)
    return any((one.startswith(a) and other.startswith(b)) or (one.startswith(b) and other.startswith(a))
               for a, b, _ in TWINS)


def test_a_public_name_means_one_thing():
    twice = {name: sorted(files) for name, files in homes().items() if len(files) > 1 and not is_twin(files)
             and name not in EXEMPT}
    assert not twice


@pytest.mark.parametrize("a, b, why", TWINS)
def test_every_row_of_twins_is_needed(a, b, why):
    pairs = [files for files in homes().values() if len(files) == 2]
    assert any(sorted(files)[0].startswith((a, b)) and is_twin(files) for files in pairs), why


def test_the_rule_catches():
    source = '__all__ = ["A", "f", "B"]\nfrom x import B\nclass A: pass\ndef f(): pass\nC = 1\n'
    assert definitions(source) == {"A", "f"}
    assert not is_twin({"hw/array/engine.py", "gen/cosim/core.py"})
    assert is_twin({"hw/memory/reader.py", "sim/cycles/memory.py"})
