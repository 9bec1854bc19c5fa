"""Sizes that keep a house readable: files, elaborate(), docstrings of public things."""

import ast
from pathlib import Path
import re

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("hw", "sim", "gen", "boards")
SOURCES = sorted(p.relative_to(ROOT) for part in PARTS for p in (ROOT / part).rglob("*.py"))
TESTS = sorted(p.relative_to(ROOT) for p in (ROOT / "tests").rglob("*.py"))

FILE_LINES = 500
ELABORATE_LINES = 60
FUNCTION_LINES = 80
# What the docstring of every component says, each at the beginning of a line.
LABELS = ("Format", "Latency", "Throughput", "Backpressure", "Reset", "Cost", "Source")


def functions(tree: ast.AST):
    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]


def too_long(source: str) -> list[str]:
    """Functions above their limit; the docstring of a function does not count."""
    found = []
    for node in functions(ast.parse(source)):
        body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
        lines = body[-1].end_lineno - body[0].lineno + 1
        limit = ELABORATE_LINES if node.name == "elaborate" else FUNCTION_LINES
        if lines >= limit:
            found.append(f"{node.name}: {lines} lines, allowed are fewer than {limit}")
    return found


def undocumented(source: str) -> list[str]:
    """The module itself, public classes, and the functions of ``__all__`` that have no docstring."""
    tree = ast.parse(source)
    missing = [] if ast.get_docstring(tree) else ["module"]
    exported = {name for node in tree.body if isinstance(node, ast.Assign)
                and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
                for name in ast.literal_eval(node.value)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") or (
                isinstance(node, ast.FunctionDef) and node.name in exported and len(node.body) > 1):
            if not ast.get_docstring(node):
                missing.append(node.name)
    return missing


def unlabelled(source: str) -> list[str]:
    """Components, classes that can be elaborated, and the labelled lines that their docstring lacks."""
    missing = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef) and any(f.name == "elaborate" for f in node.body
                                                  if isinstance(f, ast.FunctionDef)):
            text = ast.get_docstring(node) or ""
            missing += [f"{node.name}: no {label}" for label in LABELS
                        if not re.search(rf"^{label}: *\S", text, re.MULTILINE)]
    return missing


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=str)
def test_file_size(path):
    assert len((ROOT / path).read_text().splitlines()) < FILE_LINES


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_function_size(path):
    assert not too_long((ROOT / path).read_text())


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_docstrings(path):
    if (ROOT / path).read_text().strip():
        assert not undocumented((ROOT / path).read_text())


@pytest.mark.parametrize("path", [p for p in SOURCES if p.parts[0] == "hw"], ids=str)
def test_components_have_labelled_lines(path):
    assert not unlabelled((ROOT / path).read_text())


def test_tests_are_no_package():
    assert not list((ROOT / "tests").rglob("__init__.py"))


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_no_pickle_and_no_shell(path):
    text = (ROOT / path).read_text()
    assert "import pickle" not in text and "shell=True" not in text and "os.system" not in text


def test_limits_catch():
    long = "class X:\n def elaborate(self, p):\n" + "  x = 1\n" * ELABORATE_LINES
    assert too_long(long) and not too_long(long.removesuffix("  x = 1\n"))
    assert undocumented("class X:\n pass\n") == ["module", "X"]
    body = "():\n a = 1\n return a\n"
    assert undocumented(f'"""m"""\n__all__ = ["f"]\ndef f{body}def g{body}') == ["f"]


def test_labels_catch():
    """A line that is missing, one that says nothing, and one that stands inside another."""
    lines = [f"{label}: none." for label in LABELS]

    def component(*lines: str) -> str:
        text = "\n    ".join(["A block.", "", *lines])
        return f'class X:\n    """{text}\n    """\n    def elaborate(self, platform):\n        pass\n'

    assert not unlabelled(component(*lines))
    for number, label in enumerate(LABELS):
        before, after = lines[:number], lines[number + 1:]
        assert unlabelled(component(*before, *after)) == [f"X: no {label}"]
        assert unlabelled(component(*before, f"{label}:", *after)) == [f"X: no {label}"]
        assert unlabelled(component(*before, *after, f"Depth: 2. {label}: none.")) == [f"X: no {label}"]
    assert not unlabelled("class Parameters:\n    pass\n")
