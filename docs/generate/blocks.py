"""A page for every file of hw/ that holds components: ports, latency, cost and a timing picture."""

import ast
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
import inspect
from pathlib import Path
from typing import Any

from amaranth.hdl import Fragment, Shape
from amaranth.lib import wiring
from pydantic import BaseModel

from wingbeat.boards.array import LinkedArray
from wingbeat.boards.processor import LinkedProcessor
from wingbeat.gen.presets.select import load_preset
from wingbeat.hw.core.top import core
from wingbeat.hw.link.uart import UartParameters
from wingbeat.hw.memory.port import MemoryParameters
from wingbeat.hw.memory.scratchpad import Scratchpad, ScratchpadParameters

from .core_run import PRESET, SETTINGS, SHAPE
from .pictures import NO_PICTURE, SHOTS, Shot, draw_all
from .record import Part, component_classes, watching
from .text import ROOT, docstring, escape, inline, layout_fields, table

__all__ = ["component_files", "index", "page_name", "write_pages"]


@cache
def component_files() -> tuple[Path, ...]:
    """Files of hw/ with a public component, as hw/array/engine.py."""
    found = []
    for path in sorted((ROOT / "hw").rglob("*.py")):
        classes = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]
        if any(isinstance(f, ast.FunctionDef) and f.name == "elaborate" for each in classes for f in each.body):
            found.append(path.relative_to(ROOT))
    return tuple(found)


def page_name(path: Path) -> str:
    """Path below docs/ of the page of hw/array/engine.py: blocks/array/engine.md."""
    return "blocks/" + path.relative_to("hw").with_suffix(".md").as_posix()


def index() -> str:
    lines = ["# Blocks", "",
             "A page for each file of `hw/` that holds components. It gives the ports, the parameters, the docstring "
             "and a picture of the timing. The pictures come from simulations: the signals of the block are sampled "
             "in every cycle.", "",
             f"Most pictures show a block at work inside a processor: preset `{PRESET}` with "
             f"`{' '.join(f'--set {setting}' for setting in SETTINGS)}`. It runs one FABNet block of {SHAPE.tokens} "
             f"tokens, {SHAPE.hidden} features and {SHAPE.ffn} features inside. Cycle 0 is the first cycle after the "
             "start. The memory after the run equals that of the integer model. The other pictures show a block alone, "
             "with a stimulus in `docs/generate/small_runs.py`.", "",
             "How to read a picture: bold names are inputs. A green box is a word that moves, that is valid and ready "
             "are both 1. A grey bar is a payload that is not valid. Wide words are numbered in the order in which "
             "they appear: equal numbers are equal words. A number of one or two digits is decimal, a longer one is "
             "hexadecimal.", ""]
    folder = None
    for path in component_files():
        if path.parent != folder:
            folder = path.parent
            note = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text(encoding="utf-8"))) or ""
            lines += ["", f"## {folder.as_posix()}", "", inline(note, "blocks/index.md"), ""]
        lines.append(f"* [{path.stem}]({page_name(path).removeprefix('blocks/')}): {_first_sentence(path)}")
    return "\n".join(lines) + "\n"


def _module_docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8"))) or ""


def _first_sentence(path: Path) -> str:
    paragraph = " ".join(_module_docstring(path).split("\n\n")[0].split())
    sentence = paragraph.split(". ")[0]
    return inline(sentence + "." * (sentence[-1] not in ".?"), "blocks/index.md")


def write_pages(folder: Path) -> None:
    """Every page and its pictures below ``folder``."""
    parts, pictures = _examples(), draw_all()
    for path in component_files():
        target = folder / page_name(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        inside = path.relative_to("hw").as_posix()
        for number in range(len(SHOTS[inside])):
            svg = pictures[inside, number]
            (target.parent / _picture_name(path, number)).write_text(svg, encoding="utf-8", newline="\n")
        target.write_text(_page(path, parts), encoding="utf-8", newline="\n")


def _picture_name(path: Path, number: int) -> str:
    return f"{path.stem}{number or ''}.svg"


# --- examples of every component ----------------------------------------------------------------

def _examples() -> dict[type, tuple[str, Part]]:
    """The first component of every class in a few designs, and which design that is."""
    hybrid, memory = load_preset("hybrid-16"), MemoryParameters.of(load_preset("hybrid-16"))
    axi, narrow = load_preset("hybrid-16", ["bus.memory=axi4"]), load_preset("tiny", ["array.stream_words=2"])
    lite, wishbone = (load_preset("tiny", [f"bus.control={bus}"]) for bus in ("axi4-lite", "wishbone"))
    streamed = load_preset("tiny", ["bus.stream=axi4-stream"])
    uart = UartParameters(100)
    designs = (
        ("preset `hybrid-16`", lambda: core(hybrid)),
        ("preset `hybrid-16` with `--set bus.memory=axi4`", lambda: core(axi)),
        ("preset `tiny` with `--set array.stream_words=2`", lambda: core(narrow)),
        ("preset `tiny` with `--set bus.control=axi4-lite`", lambda: core(lite)),
        ("preset `tiny` with `--set bus.control=wishbone`", lambda: core(wishbone)),
        ("preset `tiny` with `--set bus.stream=axi4-stream`", lambda: core(streamed)),
        ("the board top of `ulx3s-16`", lambda: LinkedArray(load_preset("ulx3s-16"), uart, 1 << 20)),
        ("preset `hybrid-16` on a board with 1,024 beats", lambda: LinkedProcessor(
            hybrid, Scratchpad(ScratchpadParameters(memory, 1024)), 1024, uart, 1 << 20)))
    found: dict[type, tuple[str, Part]] = {}
    for name, build in designs:
        with watching() as parts:
            Fragment.get(build(), None)
        for each in parts.values():
            found.setdefault(type(each[0].component), (name, each[0]))
    return found


_WHOLE = {"axi": "AxiMaster", "link": "Link", "array": "Array"}  # designs of small_runs.py with blocks inside


# --- one page ---------------------------------------------------------------------------------

def _page(path: Path, examples: dict[type, tuple[str, Part]]) -> str:
    classes = sorted(component_classes(path), key=lambda kind: _main(kind, path))
    name, inside = page_name(path), path.relative_to("hw").as_posix()
    room = path.parent.relative_to("hw").as_posix()
    parts = [f"# {path.stem.replace('_', ' ')} ({room})", docstring(_module_docstring(path), name),
             f"Source: `{path.as_posix()}`." + _tests(path)]
    for kind in classes:
        parts += [f"## {kind.__name__}", docstring(kind.__doc__, name)]
        parts += [_picture(path, number, shot) for number, shot in enumerate(SHOTS[inside])
                  if shot.component == kind.__name__]
        parts += _example(kind, examples, name)
    if inside in NO_PICTURE:
        parts += ["## Timing", NO_PICTURE[inside]]
    return "\n\n".join(parts) + "\n"


def _main(kind: type, path: Path) -> bool:
    """False for the component that the file is named after, so that it comes first."""
    return kind.__name__.lower() != path.stem.replace("_", "")


def _tests(path: Path) -> str:
    test = Path("tests") / path.parent / f"test_{path.name}"
    return f" Test: `{test.as_posix()}`." if (ROOT / test).is_file() else ""


def _picture(path: Path, number: int, shot: Shot) -> str:
    index = "../" * (len(path.parts) - 2) + "index.md"
    where = f"at work in a [processor]({index})" if shot.design == "core" else "alone, with a stimulus"
    if shot.design in _WHOLE and shot.component != _WHOLE[shot.design]:
        where = f"inside `{_WHOLE[shot.design]}`, with a stimulus"
    return (f"`{shot.component}` {where}:\n\n![Timing of {shot.component}: {shot.rows}]({_picture_name(path, number)})")


def _example(kind: type, examples: dict[type, tuple[str, Part]], page: str) -> list[str]:
    """Parameters, latency and ports of the component that stands for its class."""
    if kind not in examples:
        return []
    where, part = examples[kind]
    parameters = [row for name, value in part.arguments.items() for row in _parameter(name, value, page)]
    parameters += _properties(kind, part.component, "", page)
    found = [f"### Ports of {kind.__name__}", f"Widths are those of {where}.\n", _ports(part.component)]
    if parameters:
        found = [f"### Parameters of {kind.__name__}", f"Values are those of {where}.\n",
                 table(["parameter", "value", "meaning"], parameters), *found]
    return found


def _parameter(name: str, value: Any, page: str) -> Iterable[tuple[str, str, str]]:
    if isinstance(value, BaseModel):
        return [(f"`{name}`", f"`{type(value).__name__}`", "the whole configuration, or a section of it")]
    if is_dataclass(value):
        own = [(f"`{name}.{field.name}`", _value(getattr(value, field.name)), "") for field in fields(value)
               if not is_dataclass(getattr(value, field.name))]
        return [*own, *_properties(type(value), value, f"{name}.", page)]
    return [(f"`{name}`", _value(value), "")]


def _properties(kind: type, owner: Any, prefix: str, page: str) -> list[tuple[str, str, str]]:
    """Numbers that a class works out: latencies, counts, widths."""
    rows = []
    for name, value in vars(kind).items():
        read = getattr(value, "fget", None) or getattr(value, "func", None)
        if name.startswith("_") or read is None:
            continue
        if is_dataclass(getattr(owner, name)):  # the timing of a unit, hw/*/parameters.py
            rows += _properties(type(getattr(owner, name)), getattr(owner, name), f"{prefix}{name}.", page)
            continue
        if not isinstance(getattr(owner, name), bool | int):
            continue
        text = " ".join(inspect.cleandoc(value.__doc__ or "").split())
        rows.append((f"`{prefix}{name}`", f"**{getattr(owner, name)}**", inline(text, page)))
    return rows


def _value(value: Any) -> str:
    if isinstance(value, Enum):
        return f"`{value.value}`"
    if isinstance(value, bool | int | str | tuple):
        return escape(str(value))
    try:
        return f"{Shape.cast(value).width} bits"
    except TypeError:
        return f"`{type(value).__name__}`"


def _ports(component: Any) -> str:
    rows = []
    for path, member, _ in component.signature.flatten(component):
        direction = "in" if member.flow == wiring.In else "out"
        width = Shape.cast(member.shape).width
        rows.append((f"`{'.'.join(map(str, path))}`", direction, width, layout_fields(member.shape)))
    return table(["port", "direction", "bits", "fields, lowest first"], rows)
