"""Signals are nouns: in a waveform a function word says nothing.

Looked at are the names that ``hw/`` gives to signals: those of :func:`signals`, ``name=`` and the last argument of
``delay``. A flag is ``is_`` or ``has_`` and a noun, or a noun phrase such as ``block_end``.
"""

import ast
from pathlib import Path
import re

import pytest

ROOT = Path(__file__).parents[2]
HARDWARE = sorted((ROOT / "hw").rglob("*.py"))
FUNCTION_WORDS = frozenset("""
    a all an any both each either every few fewer less many more most much neither none one own same several some such
    that the these this those three two
    another he her it its mine other others ours their they what which who whose
    after again ahead alone already also always apart away back before behind below above beside beyond down ever far
    forth forward here just late left near never now off once only out over still then there together too twice under up
    very yet
    about across against along among around at between but by for from if in inside into like nor not of on onto or
    outside past per since than through to toward until upon when where while why with within without
    am are be been being can could did do does go goes going had have is may might must shall should was were will would
    enough how so
    """.split())
NAMING = ("Signal", "like")  # Signal(...) and Signal.like(...)


def _constants(node: ast.AST) -> list[str]:
    """The string that ``node`` is, or begins with: ``over{number}`` is called over."""
    if isinstance(node, ast.JoinedStr):
        node = node.values[0]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def _names(tree: ast.AST):
    """Line and text of every name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.GeneratorExp | ast.ListComp | ast.DictComp):
            # The names of several signals stand in what is iterated over.
            made = [node.value] if isinstance(node, ast.DictComp) else [node.elt]
            if any(isinstance(part, ast.Call) and getattr(part.func, "id", getattr(part.func, "attr", "")) in NAMING
                   for part in made):
                for part in ast.walk(node.generators[0].iter):
                    yield from ((node.lineno, text) for text in _constants(part))
        if not isinstance(node, ast.Call):
            continue
        called = getattr(node.func, "id", getattr(node.func, "attr", ""))
        named = [keyword.value for keyword in node.keywords if keyword.arg == "name" and called in NAMING]
        if called == "signals":
            named.append(node.args[0])
        elif called in ("delay", "_delayed") and len(node.args) > 2:
            named.append(node.args[-1])
        for value in named:
            yield from ((node.lineno, word) for text in _constants(value) for word in text.split())


def function_words(source: str) -> list[str]:
    """Names that are nothing but a function word, with or without a number."""
    return [f"line {line}: {text}" for line, text in _names(ast.parse(source))
            if re.sub(r"_?\d+$", "", text) in FUNCTION_WORDS]


@pytest.mark.parametrize("path", HARDWARE, ids=lambda path: str(path.relative_to(ROOT)))
def test_signals_are_nouns(path):
    assert not function_words(path.read_text())


def test_function_words_are_found():
    assert function_words('some, ready = signals("some ready")') == ["line 1: some"]
    assert function_words('x = Signal(4, name="there")') == ["line 1: there"]
    assert function_words('x = Signal.like(y, name="ahead_2")') == ["line 1: ahead_2"]
    assert function_words('x = Signal(name=f"over{number}")') == ["line 1: over"]
    assert function_words('a, b = (Signal(name=name) for name in ("far", "limit"))') == ["line 1: far"]
    assert function_words('x = delay(m, y, 2, "same", reset_less=False)') == ["line 1: same"]
    assert not function_words('''x, y = signals("has_words block_end")
z = delay(m, x, 1, "mode_before")
v = Signal(name=f"is_{kind}")
w = Signal(name=f"{kind}_now")
f(name="there")''')
