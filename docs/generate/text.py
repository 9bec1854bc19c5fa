"""Markdown from docstrings, layouts and enumerations."""

from collections.abc import Iterable, Sequence
from enum import Enum
import inspect
import os
from pathlib import Path
import re
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data

__all__ = ["ROOT", "bits", "comments", "docstring", "enumeration", "escape", "fields", "inline", "layout_fields",
           "slug", "table"]

ROOT = Path(__file__).parents[2]
LABELS = ("Latency", "Throughput", "Format", "Formats", "Backpressure", "Reset", "Cost", "Source")
_LABEL = re.compile(rf"(?:(?<=^)|(?<=[.:;)] ))((?:{'|'.join(LABELS)})(?:(?:,| and) [a-z]+)*): ")
_CODE = re.compile(r"``([^`]+)``|:[a-z]+:`~?([^`]+)`|`([^`]+)`")
_DOCUMENT = re.compile(r"docs/([a-z_]+/)*[a-z0-9_-]+(\.md\b)?( section (\d))?")
_BLOCK = re.compile(r"\bhw/[a-z0-9_/]+\.py\b")


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; cells are Markdown already."""
    cell = lambda value: str(value).replace("\n", " ").replace("|", "\\|")
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(cell, row)) + " |" for row in lines) + "\n"


def escape(text: str) -> str:
    """Plain text as Markdown: nothing in it is markup."""
    return re.sub(r"([\\*_<>\[\]#{}$|~`])", r"\\\1", text)


def inline(text: str, page: str) -> str:
    """One paragraph of a docstring as Markdown on ``page`` (its path below docs/): code, links, and nothing else."""
    parts, at = [], 0
    for found in _CODE.finditer(text):
        parts += [_links(text[at:found.start()], page), _code(found, page)]
        at = found.end()
    return "".join([*parts, _links(text[at:], page)])


def _code(found: re.Match[str], page: str) -> str:
    text = found[1] or (found[2] or "").rpartition(".")[2] or found[3]
    return _link_block(text, page) if _BLOCK.fullmatch(text) else f"`{text}`"


def _links(text: str, page: str) -> str:
    """Escaped text whose documents and component files are links."""
    parts, at = [], 0
    for found in re.finditer(rf"{_DOCUMENT.pattern}|{_BLOCK.pattern}", text):
        whole = found[0]
        parts += [escape(text[at:found.start()]),
                  _link_block(whole, page) if whole.startswith("hw/") else _link_document(whole, page)]
        at = found.end()
    return "".join([*parts, escape(text[at:])])


def _link_block(path: str, page: str) -> str:
    from .blocks import component_files, page_name
    if Path(path) not in component_files():
        return f"`{path}`"
    return f"[{escape(path)}]({_relative(page_name(Path(path)), page)})"


def _link_document(text: str, page: str) -> str:
    """A cited document: a section of the design gets the anchor of its heading, a decision may lack its name."""
    name, _, section = text.partition(" section ")
    files = sorted((ROOT / "docs").glob(name.removeprefix("docs/") + ("" if name.endswith(".md") else "-*.md")))
    if not files:
        return escape(text)
    path, anchor = files[0].relative_to(ROOT / "docs").as_posix(), ""
    if section:
        heads = re.findall(rf"^## ({section}\. .*)$", files[0].read_text(encoding="utf-8"), re.MULTILINE)
        anchor = f"#{slug(heads[0])}" if heads else ""
    return f"[{escape(text.removeprefix('docs/'))}]({_relative(path, page)}{anchor})"


def _relative(path: str, page: str) -> str:
    return Path(os.path.relpath(path, Path(page).parent)).as_posix()


def slug(heading: str) -> str:
    """Anchor of a heading, as GitHub and MyST make it."""
    return re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).strip().lower()).replace(" ", "-")


def docstring(text: str | None, page: str) -> str:
    """A docstring as Markdown: labels in bold on paragraphs of their own, indented lines as they are."""
    found = []
    for lines in _paragraphs(inspect.cleandoc(text or "")):
        if all(line.startswith("    ") for line in lines if line):
            found.append("```text\n" + "\n".join(line[4:] for line in lines) + "\n```")
        elif all(line.startswith("|") for line in lines):
            found.append("\n".join("|".join(inline(cell, page) for cell in line.split("|")) for line in lines))
        elif lines[0].startswith("* "):
            found.append("\n".join(f"* {inline(item, page)}" for item in _items(lines)))
        else:
            found += [inline(part, page) for part in _labelled(" ".join(line.strip() for line in lines))]
    return "\n\n".join(re.sub(_BOLD, r"**\1:** ", part) for part in found) + "\n"


_BOLD = re.compile(rf"^((?:{'|'.join(LABELS)})(?:(?:,| and) [a-z]+)*): ")


def _labelled(text: str) -> list[str]:
    """``text`` cut in front of each label."""
    starts = [found.start() for found in _LABEL.finditer(text)]
    edges = [0, *(start for start in starts if start), len(text)]
    return [text[a:b].strip() for a, b in zip(edges, edges[1:]) if text[a:b].strip()]


def _paragraphs(text: str) -> list[list[str]]:
    """Lines between blank ones; indented ones that follow each other are one."""
    found: list[list[str]] = []
    for part in re.split(r"\n\s*\n", text):
        for indented, lines in _runs(part.split("\n")):
            if indented and found and all(line.startswith("    ") for line in found[-1] if line):
                found[-1] += ["", *lines]
            else:
                found.append(lines)
    return found


def _runs(lines: list[str]) -> list[tuple[bool, list[str]]]:
    """Indented and other lines of a paragraph apart; lines of a list stay together."""
    if lines[0].startswith("* "):
        return [(False, lines)]
    runs: list[tuple[bool, list[str]]] = []
    for line in lines:
        indented = line.startswith("    ")
        if runs and runs[-1][0] == indented:
            runs[-1][1].append(line)
        else:
            runs.append((indented, [line]))
    return runs


def _items(lines: list[str]) -> list[str]:
    items: list[str] = []
    for line in lines:
        if line.startswith("* "):
            items.append(line[2:])
        else:
            items[-1] += " " + line.strip()
    return items


def comments(module: Any, page: str) -> dict[str, str]:
    """The comment behind each NAME = value of a module or a class, or else above it, by name, as Markdown."""
    found, above = {}, []
    for line in inspect.getsource(module).splitlines():
        match = re.match(r"\s*([A-Z][A-Z0-9_]*) = [^#]*(?:#\s*(.*))?", line)
        if match and (match[2] or above):
            found[match[1]] = inline(match[2] or " ".join(above), page)
        above = [*above, line.strip("# ")] if line.strip().startswith("#") else []
    return found


def enumeration(kind: type[Enum], page: str) -> str:
    """Docstring and members of an enumeration."""
    notes = comments(kind, page)
    rows = [(member.value, f"`{member.name}`", notes.get(member.name, "")) for member in kind]
    heads = ["value", "name", "meaning"]
    if not any(note for *_, note in rows):
        rows, heads = [row[:2] for row in rows], heads[:2]
    return docstring(kind.__doc__, page) + "\n" + table(heads, rows)


def bits(low: int, width: int) -> str:
    return f"{low}" if width == 1 else f"{low + width - 1}..{low}"


def fields(layout: Sequence[tuple[str, int]], offset: int = 0) -> str:
    """Table of the fields of a word, hw/isa/fields.py."""
    rows, at = [], offset
    for name, width in layout:
        rows.append((f"`{name}`", bits(at, width), width))
        at += width
    return table(["field", "bits", "width"], rows)


def layout_fields(shape: Any) -> str:
    """Fields of a payload in one line, those of an array once."""
    if isinstance(shape, data.StructLayout):
        parts = []
        for name, member in shape:
            inner = layout_fields(member.shape)
            width = Shape.cast(member.shape).width
            parts.append(f"`{name}` {bits(member.offset, width)}" + (f" ({inner})" if inner else ""))
        return ", ".join(parts)
    if isinstance(shape, data.ArrayLayout):
        inner = layout_fields(shape.elem_shape)
        return f"{shape.length} of {Shape.cast(shape.elem_shape).width} bits" + (f": {inner}" if inner else "")
    return ""
