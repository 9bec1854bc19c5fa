"""The timeline of a run: what every unit did in every cycle, and why it waited.

One lane a unit, one bar a block, coloured by layer. Below its bars a lane has one thin hatched row for each
cause of stalls, so a stall is never covered by a bar and its cause is told by place and text, not only by
looks. As SVG for a report, and as one HTML page that keeps the exact data and zooms.

Widths: an interval narrower than a third of a pixel is drawn together with its neighbours of the same row. A
stall is at least one pixel wide, however short it is. A mark that covers more cycles than it stands for is lower
in the same proportion, down to a quarter of the row: full height means that every cycle counts.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
import re
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import jinja2

from ...hw.errors import WingbeatError
from ..files import write_text
from .spans import Timeline, in_order, ordered_causes, summary

__all__ = ["PALETTE", "to_svg", "timeline_html", "write", "axis_ticks", "page_environment", "context"]

# Chosen by search for the largest least distance: under normal vision, protanopia, deuteranopia and tritanopia
# any two differ by >= 0.15 in OKLab, twice what the Okabe-Ito colours reach; all stand out from white and from
# the dark surface. The test computes it again.
PALETTE = ("#3b4d8e", "#fa9a12", "#248e8e", "#9d2008", "#ab8af3", "#29d1b2", "#dc4d0f", "#951ff6")
_DARK_TEXT = {"#fa9a12", "#ab8af3", "#29d1b2"}  # bars on which white text would be too pale

# What is drawn over a colour when the palette starts again, and the hatching of a stall, in tiles of 6 x 6.
_TEXTURES = ("", '<circle cx="3" cy="3" r="1.3"/>', '<path d="M0 1.5H6"/>', '<path d="M1.5 0V6"/>')
_HATCHES = ('<path d="M-1 7L7 -1M-1 1L1 -1M5 7L7 5"/>', '<path d="M-1 -1L7 7M5 -1L7 1M-1 5L1 7"/>',
            '<path d="M0 0L6 6M0 6L6 0"/>', '<path d="M1.5 0V6M4.5 0V6"/>', '<path d="M0 1.5H6M0 4.5H6"/>')

_LEFT, _PLOT, _RIGHT = 168, 1000, 32       # pixels: labels, cycles, room for the last tick's text
_BAR, _STALL, _GAP, _AXIS = 26, 11, 16, 46  # heights: bars, a cause's row, between lanes, axis
_TICK = 90                                 # least distance of two ticks
_LEAST_SPAN, _LEAST_STALL = 1 / 3, 1.0     # least widths of a mark
_LEAST_SHARE = 0.25                        # least height of a mark, of the row's
_WIDE, _BROAD = 4, 12                      # widths from which a mark shows its hatching, and its outline in full


# --- rows and marks ---------------------------------------------------------------------------

class _Item(NamedTuple):
    start: int
    end: int
    tag: int  # for a stall the cycles between start and end in which it was none
    key: int  # number of the layer, or of the cause

    def filled(self, cause: str | None) -> int:
        """Cycles that count, in the row of ``cause``."""
        return self.end - self.start - (0 if cause is None else self.tag)


class _Mark(NamedTuple):
    """One rectangle: ``n_items`` items that fill ``filled`` of its cycles."""

    start: int
    end: int
    tag: int  # of the first item
    key: int  # of most of its cycles
    filled: int
    n_items: int


@dataclass(frozen=True)
class _Row:
    """The bars of a unit, or (``cause`` not None) one cause of its stalls. ``y`` and ``height`` in pixels."""

    unit: str
    cause: str | None
    y: int
    height: int
    items: list[_Item]


def _layers(timeline: Timeline) -> list[str]:
    lane = {unit: number for number, unit in enumerate(timeline.units)}
    return in_order((s.start, lane[s.unit], s.layer) for s in timeline.spans)


def _rows(timeline: Timeline) -> list[_Row]:
    layer = {name: number for number, name in enumerate(_layers(timeline))}
    cause = {name: number for number, name in enumerate(ordered_causes(timeline))}
    items: dict[tuple[str, str | None], list[_Item]] = {}
    for span in timeline.spans:
        items.setdefault((span.unit, None), []).append(_Item(span.start, span.end, span.tag, layer[span.layer]))
    for stall in timeline.stalls:
        items.setdefault((stall.unit, stall.cause), []).append(
            _Item(stall.start, stall.end, stall.end - stall.start - stall.cycles, cause[stall.cause]))
    rows, y = [], _GAP // 2
    for unit in timeline.units:
        for name in [None, *(c for c in cause if (unit, c) in items)]:
            height = _BAR if name is None else _STALL
            rows.append(_Row(unit, name, y, height, sorted(items.get((unit, name), []))))
            y += height + 2
        y += _GAP
    return rows


def _marks(row: _Row, scale: float) -> list[_Mark]:
    """What is drawn of a row at ``scale`` pixels per cycle.

    Items of a third of a pixel and more stand alone and exact. Narrower ones join while the gaps are narrower
    than that too and all fit one pixel, or while they follow each other without a gap and are of one key. So a
    row of w pixels has at most about 3 * w marks.
    """
    fine, pixel = 1 / (3 * scale), 1 / scale
    marks: list[_Mark] = []
    group: list[_Item] = []
    even = True  # the group has no gap and one key
    for item in row.items:
        narrow = item.end - item.start < fine
        if group:
            even = even and item.start == group[-1].end and item.key == group[0].key
            near = item.start - group[-1].end < fine and item.end - group[0].start <= pixel
            if not (narrow and (even or near)):
                marks.append(_merged(row, group))
                group = []
        if not group:
            even = True
        group.append(item)
        if not narrow:
            marks.append(_merged(row, group))
            group = []
    return [*marks, _merged(row, group)] if group else marks


def _merged(row: _Row, group: Sequence[_Item]) -> _Mark:
    filled: Counter[int] = Counter()
    for item in group:
        filled[item.key] += item.filled(row.cause)
    key, _ = filled.most_common(1)[0]  # the first of equals
    return _Mark(group[0].start, group[-1].end, group[0].tag, key, filled.total(), len(group))


def axis_ticks(cycles: int, width: float) -> range:
    """Multiples of 1, 2 or 5 times a power of ten in 0..``cycles``, drawn ``width`` pixels wide: at least 90 pixels
    apart."""
    power = 1
    while True:
        for step in (power, 2 * power, 5 * power):
            if step * width >= _TICK * cycles:
                return range(0, cycles + 1, step)
        power *= 10


# --- SVG --------------------------------------------------------------------------------------

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _legible(text: str, most: int | None = None) -> str:
    """``text`` without characters that XML forbids, cut to ``most`` characters."""
    text = _NOT_XML.sub("\ufffd", text)
    return text if most is None or len(text) <= most else text[:most - 1] + "…"


def _xml(text: str, most: int | None = None) -> str:
    return escape(_legible(text, most), {'"': "&quot;"})


def _resource(name: str) -> str:
    return (resources.files(__package__) / "templates" / name).read_text(encoding="utf-8")


def _style(timeline: Timeline) -> str:
    """Style of marks and texts; layers count on through palette x textures, causes through the hatches."""
    lines = [_resource("timeline.css")]
    for number in range(min(len(_layers(timeline)), len(PALETTE) * len(_TEXTURES))):
        colour = PALETTE[number % len(PALETTE)]
        lines.append(f".l{number} {{ fill: {colour if number < len(PALETTE) else f'url(#l{number})'}; }}")
    lines += [f".c{n} {{ fill: {c}; }} .k{n} {{ fill: {'#14161a' if c in _DARK_TEXT else '#ffffff'}; }}"
              for n, c in enumerate(PALETTE)]
    lines += [f".s{number} {{ fill: url(#s{number}); }}" for number in range(len(_HATCHES))]
    return "\n".join(lines)


def _patterns(timeline: Timeline) -> str:
    tile = ('<pattern id="{}" width="6" height="6" patternUnits="userSpaceOnUse">'
            '<rect width="6" height="6" class="{}"/><g class="{}">{}</g></pattern>')
    textured = range(len(PALETTE), min(len(_layers(timeline)), len(PALETTE) * len(_TEXTURES)))
    found = [tile.format(f"l{n}", f"c{n % len(PALETTE)}", "texture", _TEXTURES[n // len(PALETTE)]) for n in textured]
    found += [tile.format(f"s{n}", "surface", "hatch", hatch) for n, hatch in enumerate(_HATCHES)]
    return "<defs>" + "\n".join(found) + "</defs>"


def _layer_class(key: int) -> str:
    return f"l{key % (len(PALETTE) * len(_TEXTURES))}"


def _cause_class(key: int) -> str:
    return f"s{key % len(_HATCHES)}"


def _width_class(width: float) -> str:
    return (" wide" if width >= _WIDE else "") + (" broad" if width >= _BROAD else "")


def _mark(row: _Row, mark: _Mark, scale: float, names: Sequence[str]) -> str:
    """One rectangle with its tooltip and, where it fits, its tag."""
    least = _LEAST_SPAN if row.cause is None else _LEAST_STALL
    width = max((mark.end - mark.start) * scale, least)
    x = min(mark.start * scale, _PLOT - width)
    height = row.height * max(_LEAST_SHARE, min(1, mark.filled * scale / width))
    kind = (_layer_class if row.cause is None else _cause_class)(mark.key)
    kind += (" bar" if row.cause is None else " stall") + _width_class(width)
    what = names[mark.key] if row.cause is None else f"stalled: {row.cause}"
    if mark.n_items > 1:
        what = f"{mark.n_items} intervals, most cycles: {what}"
    elif row.cause is None:
        what = f"tag {mark.tag}, {what}"
    length = mark.end - mark.start
    share = f" in {mark.filled / length:.0%} of" if row.cause is not None and mark.filled < length else ","
    tip = _xml(f"{what}, first cycle {mark.start:,}{share} {length:,} cycles")
    text, y = f"{mark.tag}", row.y + row.height - height
    shape = (f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" class="{kind}">'
             f"<title>{tip}</title></rect>")
    if row.cause is None and mark.n_items == 1 and width >= 10 + 7 * len(text):
        shape += (f'<text x="{x + width / 2:.2f}" y="{row.y + 17}" class="tag k{mark.key % len(PALETTE)}">'
                  f"{text}</text>")
    return shape


def _labels(timeline: Timeline, rows: Sequence[_Row]) -> list[str]:
    """Names, utilisation and stalled cycles at the left of the rows, and the lanes behind them."""
    by_unit, lines, right = {s.unit: s for s in summary(timeline)}, [], _LEFT - 10
    for row in rows:
        lines.append(f'<rect x="{_LEFT}" y="{row.y}" width="{_PLOT}" height="{row.height}" class="lane"/>')
        if row.cause is None:
            share = f'<tspan class="share">{100 * by_unit[row.unit].utilisation:.1f} %</tspan>'
            lines.append(f'<text x="{right}" y="{row.y + 18}" class="unit">{_xml(row.unit, 10)} {share}</text>')
        else:
            lost = by_unit[row.unit].stalled[row.cause]
            lines.append(f'<text x="{right}" y="{row.y + 9}" class="cause">{_xml(row.cause, 14)} {lost:,}</text>')
    return lines


def _chart(timeline: Timeline) -> tuple[str, int]:
    """Lanes, bars and axis of the whole timeline from y = 0 down, and their height."""
    rows, names, scale = _rows(timeline), _layers(timeline), _PLOT / timeline.cycles
    bottom = rows[-1].y + rows[-1].height + _GAP // 2
    ticks = [f'<path d="M{t * scale:.2f} 0V{bottom + 5}" class="grid"/>'
             f'<text x="{t * scale:.2f}" y="{bottom + 19}" class="tick">{t:,}</text>'
             for t in axis_ticks(timeline.cycles, _PLOT)]
    marks = [_mark(row, mark, scale, names) for row in rows for mark in _marks(row, scale)]
    lines = [*_labels(timeline, rows), f'<g id="ticks" transform="translate({_LEFT} 0)">', *ticks, "</g>",
             f'<g id="marks" transform="translate({_LEFT} 0)">', *marks, "</g>",
             f'<text x="{_LEFT}" y="{bottom + 37}" class="axis">clock cycles</text>']
    return "\n".join(lines), bottom + _AXIS


def _keys(timeline: Timeline) -> list[tuple[str, str]]:
    """(class, name) of every legend entry: layers, then the causes that occur."""
    present = {stall.cause for stall in timeline.stalls}
    return [*((f"{_layer_class(n)} bar", name) for n, name in enumerate(_layers(timeline))),
            *((f"{_cause_class(n)} stall wide", f"stalled: {name}") for n, name in enumerate(ordered_causes(timeline))
              if name in present)]


def _legend(timeline: Timeline, y: int) -> tuple[list[str], int]:
    """Legend from ``y`` down, wrapped at the picture's width by an estimate of the text widths."""
    lines, x, limit = [], 24, _LEFT + _PLOT + _RIGHT - 24
    for kind, name in _keys(timeline):
        shown = _legible(name, 40)
        width = 34 + 7 * len(shown)
        if x > 24 and x + width > limit:
            x, y = 24, y + 20
        lines.append(f'<rect x="{x}" y="{y}" width="16" height="12" class="{kind}"/>'
                     f'<text x="{x + 21}" y="{y + 10}" class="legend">{_xml(shown)}</text>')
        x += width
    return lines, y + 20


def _caption(timeline: Timeline) -> str:
    return f"{timeline.cycles:,} cycles, {len(timeline.spans):,} bars, {len(timeline.stalls):,} stalls"


def to_svg(timeline: Timeline) -> str:
    """The whole timeline as one SVG document, 1,200 pixels wide. The same timeline gives the same text."""
    chart, height = _chart(timeline)
    legend, top = _legend(timeline, 60)
    width = _LEFT + _PLOT + _RIGHT
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top + height}" '
        f'viewBox="0 0 {width} {top + height}" role="img">',
        f"<title>{_xml(timeline.title)}</title>", f"<style>\n{_style(timeline)}\n</style>", _patterns(timeline),
        '<rect width="100%" height="100%" class="surface"/>',
        f'<text x="24" y="30" class="title">{_xml(timeline.title, 90)}</text>',
        f'<text x="24" y="49" class="axis">{_caption(timeline)}</text>', *legend,
        f'<g transform="translate(0 {top})">', chart, "</g>", "</svg>", ""])


# --- HTML -------------------------------------------------------------------------------------

def _payload(timeline: Timeline) -> dict[str, Any]:
    """What the page's script draws from. ``items``: start, length, and as in _Item tag and key of each, one after the
    other."""
    rows = [{"unit": _legible(row.unit), "cause": row.cause and _legible(row.cause), "y": row.y, "height": row.height,
             "items": [v for i in row.items for v in (i.start, i.end - i.start, i.tag, i.key)]}
            for row in _rows(timeline)]
    return {"cycles": timeline.cycles, "layers": [_legible(name) for name in _layers(timeline)], "rows": rows,
            "left": _LEFT, "right": _RIGHT, "tick": _TICK, "leastSpan": _LEAST_SPAN, "leastStall": _LEAST_STALL,
            "leastShare": _LEAST_SHARE, "wide": _WIDE, "broad": _BROAD, "colours": len(PALETTE),
            "looks": len(PALETTE) * len(_TEXTURES), "hatches": len(_HATCHES)}


def page_environment() -> jinja2.Environment:
    """What renders the pages of ``gen/report/templates``: everything is escaped, a variable that is missing is an
    error."""
    made = jinja2.Environment(loader=jinja2.FunctionLoader(_resource), undefined=jinja2.StrictUndefined,
                              autoescape=True, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True)
    made.filters["legible"] = _legible
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "sort_keys": True}
    return made


def context(timeline: Timeline) -> dict[str, Any]:
    """The variables of ``timeline.part.html.j2``, for a page that has a timeline in it. Such a page sets ``heading``
    too, the element of the headings of the tables."""
    chart, height = _chart(timeline)
    longest = sorted(timeline.stalls, key=lambda s: (-s.cycles, s.start, timeline.units.index(s.unit)))[:10]
    present = {stall.cause for stall in timeline.stalls}
    return dict(
        caption=_caption(timeline), style=_style(timeline), patterns=_patterns(timeline), chart=chart,
        width=_LEFT + _PLOT + _RIGHT, height=height, keys=_keys(timeline), units=summary(timeline),
        n_layers=len(_layers(timeline)), causes=[c for c in ordered_causes(timeline) if c in present], longest=longest,
        tables=timeline.tables, data=_payload(timeline), script=_resource("timeline.js"))


def timeline_html(timeline: Timeline) -> str:
    """One page with the exact data, a table of cycles per unit, and zoom; needs no other file and no network.

    Without scripts it shows the whole timeline. The same timeline gives the same text.
    """
    return page_environment().get_template("timeline.html.j2").render(title=timeline.title, **context(timeline))


def write(timeline: Timeline, path: Path) -> None:
    """Write the picture to ``path`` in one step, as SVG or HTML by its suffix; other suffixes are refused."""
    path = Path(path)
    drawings = {".svg": to_svg, ".html": timeline_html}
    if path.suffix.lower() not in drawings:
        raise WingbeatError(f"--trace: {str(path)!r} ends in {path.suffix!r}; allowed are {' and '.join(drawings)}")
    write_text(path, drawings[path.suffix.lower()](timeline))
