"""Timing pictures: SVG from the values of signals, one column a cycle."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Row", "draw"]

_HEIGHT, _ROW = 18, 28               # height of a line, distance of two rows
_WIDEST, _TOTAL = 32, 800            # widest column, and all columns together
_TOP, _LETTER = 26, 6.7              # above the first row, width of a letter
_LINE, _SHADE, _MOVE, _TEXT = "#1f4e79", "#eef1f4", "#cfe6cf", "#222222"


@dataclass(frozen=True)
class Row:
    """One signal. ``values``: one per cycle, None where it means nothing. ``moves``: cycles in which a word moves."""

    name: str
    width: int
    values: Sequence[int | None]
    is_input: bool
    moves: frozenset[int] = frozenset()


def draw(rows: Sequence[Row], first: int = 0) -> str:
    """The picture of ``rows``; its first column is cycle ``first``."""
    cycles = len(rows[0].values)
    column = min(_WIDEST, _TOTAL // cycles)
    left = round(max(len(row.name) for row in rows) * _LETTER) + 16
    width, height = left + cycles * column + 8, _TOP + len(rows) * _ROW + 6
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
             f'height="{height}" font-family="monospace" font-size="11">',
             f'<rect width="{width}" height="{height}" fill="#ffffff"/>']
    for cycle in range(cycles):
        x = left + cycle * column
        if cycle % 2:
            parts.append(f'<rect x="{x}" y="{_TOP - 4}" width="{column}" height="{height - _TOP}" fill="#f7f7f7"/>')
        if column >= 22 or cycle % 2:
            parts.append(_text(x + column / 2, 14, str(first + cycle), "middle", 9))
    for number, row in enumerate(rows):
        y = _TOP + number * _ROW
        parts.append(_text(left - 8, y + 13, row.name, "end", 11, bold=row.is_input))
        parts += _bits(row, left, y, column) if row.width == 1 else _words(row, left, y, column)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, anchor: str, size: int, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}" fill="{_TEXT}"{weight}>'
            f"{escape(text)}</text>")


def _bits(row: Row, left: int, y: int, column: int) -> list[str]:
    points = []
    for cycle, value in enumerate(row.values):
        level = y + (2 if value else _HEIGHT)
        points += [f"{left + cycle * column},{level}", f"{left + (cycle + 1) * column},{level}"]
    return [f'<polyline points="{" ".join(points)}" fill="none" stroke="{_LINE}" stroke-width="1.6"/>']


def _words(row: Row, left: int, y: int, column: int) -> list[str]:
    """Runs of equal values as boxes; a word that moves ends its run and is green in that cycle."""
    parts, start = [], 0
    for cycle in range(1, len(row.values) + 1):
        ends = cycle == len(row.values) or row.values[cycle] != row.values[start] or cycle - 1 in row.moves
        if ends:
            parts += _box(row, left, y, column, start, cycle)
            start = cycle
    return parts


def _box(row: Row, left: int, y: int, column: int, start: int, end: int) -> list[str]:
    x, width = left + start * column, (end - start) * column
    value = row.values[start]
    if value is None:
        return [f'<rect x="{x}" y="{y + 2}" width="{width}" height="{_HEIGHT - 2}" fill="{_SHADE}"/>']
    parts = [f'<rect x="{x + 1}" y="{y + 2}" width="{width - 2}" height="{_HEIGHT - 2}" rx="4" fill="#ffffff" '
             f'stroke="{_LINE}" stroke-width="1.2"/>']
    if end - 1 in row.moves:
        parts.append(f'<rect x="{left + (end - 1) * column + 1}" y="{y + 2}" width="{column - 2}" '
                     f'height="{_HEIGHT - 2}" rx="4" fill="{_MOVE}" stroke="{_LINE}" stroke-width="1.2"/>')
    whites = end - start - (end - 1 in row.moves)  # the longer part of the box takes the text
    middle, room = (x + whites * column / 2, whites * column) if whites else (x + column / 2, column)
    return [*parts, _text(middle, y + 14, _label(value, room), "middle", 9)]


def _label(value: int, room: int) -> str:
    """Two digits or fewer are decimal, three or more hexadecimal; cut to what has room."""
    text = str(value) if value < 100 else f"{value:03x}"
    most = max(1, int((room - 3) / 5.5))
    return text if len(text) <= most else text[:most - 1] + "…"
