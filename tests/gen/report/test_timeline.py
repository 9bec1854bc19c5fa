"""Timeline pictures: checks, sums, geometry, what merging must not lose, and the page's script."""

from html.parser import HTMLParser
import json
import random
import re
import time
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from wingbeat.gen.report.spans import STALL_CAUSES, Span, StallSpan, Timeline, UnitSummary, summary
from wingbeat.gen.report.timeline import PALETTE, timeline_html, to_svg, write
from wingbeat.hw.errors import WingbeatError

UNITS = ("load", "flow", "cal", "store")
SVG = "{http://www.w3.org/2000/svg}"
PLOT = 1000  # pixels the whole timeline fills


def timeline(spans=(), stalls=(), cycles=1000, title="test", units=UNITS):
    return Timeline(units, cycles, tuple(spans), tuple(stalls), title)


def rects(svg, kind):
    """(x, y, width, height, class, tooltip) of the marks whose class contains ``kind``, relative to cycle 0."""
    marks = next(g for g in ET.fromstring(svg).iter(f"{SVG}g") if g.get("id") == "marks")
    return [(*(float(r.get(n)) for n in ("x", "y", "width", "height")), r.get("class"), r.findtext(f"{SVG}title"))
            for r in marks.iter(f"{SVG}rect") if kind in r.get("class").split()]


def random_timeline(seed, cycles=200_000, most=60):
    """Spans with gaps and stalls with gaps, many far below a pixel."""
    rnd, spans, stalls = random.Random(seed), [], []
    for unit in UNITS:
        at, tag = rnd.randrange(50), 0
        while (end := at + rnd.randint(1, rnd.choice((3, most, 40 * most)))) < cycles:
            spans.append(Span(unit, at, end, tag, f"layer {tag // 50}"))
            at, tag = end + rnd.choice((0, 0, rnd.randrange(most))), tag + 1
        at = rnd.randrange(50)
        while (end := at + rnd.randint(1, rnd.choice((2, most, 10 * most)))) < cycles:
            stalls.append(StallSpan(unit, at, end, rnd.choice(STALL_CAUSES)))
            at = end + rnd.randrange(20 * most)
    return timeline(spans, stalls, cycles, f"seed {seed}")


# --- checks -----------------------------------------------------------------------------------

@pytest.mark.parametrize("make, message", [
    (lambda: Span("cal", -1, 5, 0, "a"), "Span.start: -1 of unit 'cal' is negative; allowed are 0.."),
    (lambda: Span("cal", 5, 5, 0, "a"), "Span.end: 5 of unit 'cal' is not after start = 5"),
    (lambda: StallSpan("cal", 7, 3, "input"), "StallSpan.end: 3 of unit 'cal' is not after start = 7"),
    (lambda: Span("cal", 0.5, 3, 0, "a"), "Span.start: 0.5 is not an integer"),
    (lambda: Span("cal", 0, 3, "x", "a"), "Span.tag: 'x' is not an integer"),
    (lambda: Span("cal", 0, 3, 0, ""), "Span.layer: '' is not a text of one or more characters"),
    (lambda: StallSpan("cal", 0, 3, None), "StallSpan.cause: None is not a text of one or more characters"),
    (lambda: timeline([Span("dma", 0, 1, 0, "a")]), "spans[0].unit: 'dma' is not one of load, flow, cal, store"),
    (lambda: timeline(stalls=[StallSpan("x\ny", 0, 1, "a")]),
     "stalls[0].unit: 'x\\ny' is not one of load, flow, cal, store"),
    (lambda: timeline([Span("cal", 0, 1001, 0, "a")]), "spans[0].end: 1001 is after cycles = 1000"),
    (lambda: timeline([Span("cal", 5, 9, 0, "a"), Span("load", 0, 9, 0, "a"), Span("cal", 0, 6, 1, "a")]),
     "spans[0].start: 5 lies inside spans[2] of unit 'cal', cycles 0..5"),
    (lambda: timeline(stalls=[StallSpan("cal", 0, 6, "input"), StallSpan("cal", 5, 7, "memory")]),
     "stalls[1].start: 5 lies inside stalls[0] of unit 'cal', cycles 0..5"),
    (lambda: timeline(cycles=0), "Timeline.cycles: 0; allowed are 1 and more"),
    (lambda: timeline(units=()), "Timeline.units: (); allowed are one or more names"),
    (lambda: timeline(units=("a", "a")), "Timeline.units: ('a', 'a') names a unit twice"),
    (lambda: timeline(title=3), "Timeline.title: 3 is not a text"),
])
def test_errors_name_field_and_value(make, message):
    with pytest.raises(WingbeatError) as error:
        make()
    assert str(error.value) == message
    assert "\n" not in str(error.value)


def test_neighbours_and_other_units_may_touch():
    timeline([Span("cal", 0, 5, 0, "a"), Span("cal", 5, 9, 1, "a"), Span("load", 3, 7, 0, "a")],
             [StallSpan("cal", 2, 6, "memory"), StallSpan("cal", 6, 7, "input")], cycles=9)


def test_numpy_integers_are_taken():
    span = Span("cal", np.int64(1), np.int32(4), np.uint8(2), "a")
    assert [type(v) for v in (span.start, span.end, span.tag)] == [int] * 3
    plain = timeline([Span("cal", 1, 4, 2, "a")], cycles=9)
    assert timeline_html(timeline([span], cycles=np.int64(9))) == timeline_html(plain)


# --- sums -------------------------------------------------------------------------------------

def test_summary():
    found = summary(timeline(
        [Span("cal", 100, 400, 0, "a"), Span("cal", 500, 700, 1, "a"), Span("load", 0, 1000, 0, "a")],
        [StallSpan("cal", 350, 450, "memory"), StallSpan("cal", 450, 500, "input"), StallSpan("cal", 520, 530, "odd"),
         StallSpan("cal", 800, 801, "input")]))
    assert found == (UnitSummary("load", 1000, {}, 0), UnitSummary("flow", 0, {}, 1000),
                     UnitSummary("cal", 440, {"input": 51, "memory": 100, "odd": 10}, 399),
                     UnitSummary("store", 0, {}, 1000))
    assert list(found[2].stalled) == ["input", "memory", "odd"]
    assert [unit.utilisation for unit in found] == [1.0, 0.0, 0.44, 0.0]


@pytest.mark.parametrize("seed", range(5))
def test_summary_against_counting_cycles(seed):
    made = random_timeline(seed, cycles=20_000)
    for number, unit in enumerate(UNITS):
        span, stall = np.zeros(made.cycles, bool), np.zeros(made.cycles, bool)
        for s in made.spans:
            span[s.start:s.end] |= s.unit == unit
        for s in made.stalls:
            stall[s.start:s.end] |= s.unit == unit
        found = summary(made)[number]
        assert found.busy == (span & ~stall).sum(), f"seed {seed}"
        assert found.idle == (~span & ~stall).sum(), f"seed {seed}"
        assert found.busy + sum(found.stalled.values()) + found.idle == made.cycles, f"seed {seed}"


# --- SVG --------------------------------------------------------------------------------------

def test_bars_stand_where_their_cycles_are():
    svg = to_svg(timeline([Span("load", 0, 100, 7, "fft"), Span("load", 100, 350, 8, "ffn"), Span("cal", 500, 2000, 9,
                          "fft")], [StallSpan("cal", 1000, 1200, "memory")], cycles=2000))
    bars = rects(svg, "bar")
    assert [(x, w) for x, _, w, *_ in bars] == [(0, 50), (50, 125), (250, 750)]
    assert [kind.split()[0] for *_, kind, _ in bars] == ["l0", "l1", "l0"]
    assert bars[0][1] == bars[1][1] < bars[2][1], "one lane a unit"
    assert {h for _, _, _, h, *_ in bars} == {26}
    assert bars[2][5] == "tag 9, fft, first cycle 500, 1,500 cycles"
    (stall,) = rects(svg, "stall")
    assert (stall[0], stall[2], stall[5]) == (500, 100, "stalled: memory, first cycle 1,000, 200 cycles")
    assert stall[4].split()[0] == f"s{STALL_CAUSES.index('memory')}"
    assert stall[1] >= bars[2][1] + bars[2][3], "a stall stands below the bars"
    texts = [t.text for t in ET.fromstring(svg).iter(f"{SVG}text") if "tag" in (t.get("class") or "").split()]
    assert texts == ["7", "8", "9"]


def test_stalls_are_hatched_and_outlined():
    svg = to_svg(timeline(stalls=[StallSpan("cal", 0, 100, cause) if cause == "input" else
                                  StallSpan("cal", 100 * n, 100 * n + 50, cause)
                                  for n, cause in enumerate(STALL_CAUSES)]))
    root = ET.fromstring(svg)
    used = {kind.split()[0] for *_, kind, _ in rects(svg, "stall")}
    hatches = {p.get("id"): ET.tostring(p.find(f"{SVG}g")[0]) for p in root.iter(f"{SVG}pattern")}
    assert len(used) == len(STALL_CAUSES) and len({hatches[name] for name in used}) == len(STALL_CAUSES)
    style = root.findtext(f"{SVG}style")
    assert re.search(r"\.stall \{ stroke: #", style) and all(f".{u} {{ fill: url(#{u}); }}" in style for u in used)
    assert len({y for _, y, *_ in rects(svg, "stall")}) == len(STALL_CAUSES), "each cause has its row"


@pytest.mark.parametrize("cycles, ticks", [
    (1, [0, 1]), (10, list(range(11))), (11, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]), (12, [0, 2, 4, 6, 8, 10, 12]),
    (884_736, list(range(0, 884_737, 100_000))), (1_500_000, list(range(0, 1_500_001, 200_000))),
])
def test_ticks_are_round(cycles, ticks):
    root = ET.fromstring(to_svg(timeline(cycles=cycles)))
    found = [t for t in root.iter(f"{SVG}text") if t.get("class") == "tick"]
    assert [t.text for t in found] == [f"{t:,}" for t in ticks]
    assert [float(t.get("x")) for t in found] == pytest.approx([t * PLOT / cycles for t in ticks], abs=0.006)


@pytest.mark.parametrize("seed", range(4))
def test_merging_never_hides_a_stall(seed):
    made = random_timeline(seed, cycles=(20_000, 200_000, 1_000_000, 400)[seed])
    svg, scale = to_svg(made), PLOT / made.cycles
    lanes = [r for r in ET.fromstring(svg).iter(f"{SVG}rect") if r.get("class") == "lane"]
    names = [(u, c) for u in UNITS for c in (None, *STALL_CAUSES) if c is None or any(
        (s.unit, s.cause) == (u, c) for s in made.stalls)]
    places = {name: (int(r.get("y")), int(r.get("y")) + int(r.get("height"))) for name, r in zip(names, lanes)}
    assert len(names) == len(lanes) and all(a[1] <= b[0] for a, b in zip([*places.values()], [*places.values()][1:]))
    drawn = {name: [] for name in names}
    for x, y, w, h, kind, _ in rects(svg, "bar") + rects(svg, "stall"):
        (name,) = [n for n, (top, bottom) in places.items() if top - 0.01 <= y and y + h <= bottom + 0.02]
        assert name[1] is None or w >= 1 and h >= 2.74, f"seed {seed}"
        assert name[1] is None or kind.startswith(f"s{STALL_CAUSES.index(name[1])} "), f"seed {seed}"
        assert 0 <= x and x + w <= PLOT + 0.01, f"seed {seed}"
        drawn[name].append((x - 0.02, x + w + 0.02))  # rounded to 0.01
    for s in [*made.spans, *made.stalls]:
        assert any(x0 <= s.start * scale and x1 >= s.end * scale
                   for x0, x1 in drawn[s.unit, getattr(s, "cause", None)]), f"seed {seed}: {s}"


def test_height_of_merged_marks_is_the_share_of_their_cycles():
    """One cycle in two is stalled, far below a pixel: half the height, not a solid bar."""
    svg = to_svg(timeline(stalls=[StallSpan("cal", t, t + 5, "input") for t in range(0, 100_000, 10)], cycles=100_000))
    heights = np.array([h for _, _, _, h, *_ in rects(svg, "stall")])
    assert 900 <= len(heights) <= 1100 and abs(np.median(heights) / 11 - 0.5) < 0.06
    (lone,) = rects(to_svg(timeline(stalls=[StallSpan("cal", 5, 6, "input")], cycles=100_000)), "stall")
    assert lone[2:4] == (1, 2.75)


def test_equal_blocks_without_gaps_become_one_mark():
    spans = [Span("cal", t, t + 10, t // 10, "a" if t < 50_000 else "b") for t in range(0, 100_000, 10)]
    bars = rects(to_svg(timeline(spans, cycles=100_000)), "bar")
    assert [(x, w, h) for x, _, w, h, *_ in bars] == [(0, 500, 26), (500, 500, 26)]
    assert bars[0][5] == "5000 intervals, most cycles: a, first cycle 0, 50,000 cycles"


def test_more_layers_than_colours_look_different():
    spans = [Span("cal", 10 * n, 10 * n + 10, n, f"layer {n}") for n in range(40)]
    svg = to_svg(timeline(spans))
    root = ET.fromstring(svg)
    kinds = [kind.split()[0] for *_, kind, _ in rects(svg, "bar")]
    assert len(set(kinds)) == 4 * len(PALETTE) == 32 and kinds[32:] == kinds[:8]
    style = root.findtext(f"{SVG}style")
    patterns = {p.get("id"): (p.find(f"{SVG}rect").get("class"), ET.tostring(p.find(f"{SVG}g")))
                for p in root.iter(f"{SVG}pattern")}
    looks = [patterns.get(kind, re.search(rf"\.{kind} {{ fill: (#\w+); }}", style)) for kind in kinds[:32]]
    assert len({look if isinstance(look, tuple) else look[1] for look in looks}) == 32
    legend = [t.text for t in root.iter(f"{SVG}text") if t.get("class") == "legend"]
    assert legend == [f"layer {n}" for n in range(40)]


def test_legend_stays_in_the_picture_and_shows_what_occurs():
    spans = [Span("cal", n, n + 1, n, f"a rather long name of a layer, {n}" * 3) for n in range(30)]
    root = ET.fromstring(to_svg(timeline(spans, [StallSpan("cal", 0, 9, "memory"), StallSpan("load", 3, 4, "odd")])))
    texts = [t for t in root.iter(f"{SVG}text") if t.get("class") == "legend"]
    assert [t.text for t in texts[-2:]] == ["stalled: memory", "stalled: odd"]
    assert all(len(t.text) <= 40 and float(t.get("x")) + 7 * len(t.text) <= 1200 for t in texts)
    assert len({(t.get("x"), t.get("y")) for t in texts}) == 32


# --- colours ----------------------------------------------------------------------------------

def linear(colour):
    value = np.array([int(colour[i:i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    """Ottosson, 2020."""
    lms = np.array([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
                    [0.0883024619, 0.2817188376, 0.6299787005]])
    lab = np.array([[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
                    [0.0259040371, 0.7827717662, -0.8086757660]])
    return lab @ np.cbrt(lms @ np.clip(rgb, 0, 1))


@pytest.mark.parametrize("vision", [  # Machado, Oliveira and Fernandes 2009, severity 1
    np.eye(3),
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
], ids=["normal", "protanopia", "deuteranopia", "tritanopia"])
def test_colours_can_be_told_apart(vision):
    seen = [oklab(np.asarray(vision) @ linear(colour)) for colour in PALETTE]
    assert min(np.linalg.norm(a - b) for n, a in enumerate(seen) for b in seen[:n]) >= 0.15


def test_contrast_on_both_surfaces_and_of_the_texts():
    spans = [Span("cal", 100 * n, 100 * n + 100, n, f"layer {n}") for n in range(8)]
    style = ET.fromstring(to_svg(timeline(spans))).findtext(f"{SVG}style")

    def contrast(*pair):
        low, high = sorted(linear(c) @ [0.2126, 0.7152, 0.0722] for c in pair)
        return (high + 0.05) / (low + 0.05)
    for number, colour in enumerate(PALETTE):
        text = re.search(rf"\.k{number} {{ fill: (#\w+); }}", style)[1]
        assert contrast(colour, text) >= 3.5
        assert contrast(colour, "#ffffff") >= 1.9 and contrast(colour, "#15171c") >= 2.2


# --- documents --------------------------------------------------------------------------------

HOSTILE = '</script><script>alert(1)</script>&"\'<b>\x00\ud800]]>'


class Page(HTMLParser):
    """Counts what may run or load, checks nesting, and keeps the cells of the tables."""

    VOID = {"meta"}

    def __init__(self, text):
        super().__init__()
        self.open, self.scripts, self.loads, self.rows, self.handlers = [], 0, [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.scripts += tag == "script"
        self.loads += [(tag, n, v) for n, v in attributes if n in ("src", "href", "xlink:href", "action")]
        self.handlers += [n for n, _ in attributes if n.startswith("on")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def hostile():
    return timeline([Span(HOSTILE, 0, 400, 3, HOSTILE), Span("cal", 0, 9, 1, "b")],
                    [StallSpan(HOSTILE, 0, 90, HOSTILE)], title=HOSTILE, units=(HOSTILE, "cal"))


def test_strings_are_escaped():
    shown = HOSTILE.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    svg = to_svg(hostile())
    assert ET.fromstring(svg).findtext(f"{SVG}title") == shown and "<script" not in svg and "<b>" not in svg
    assert rects(svg, "stall")[0][5] == f"stalled: {shown}, first cycle 0, 90 cycles"
    page = timeline_html(hostile())
    parsed = Page(page)
    assert parsed.scripts == 2 and not parsed.handlers and "<b>" not in page
    assert parsed.rows[0][2] == f"stalled: {shown}" and parsed.rows[1][0] == shown
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert data["layers"] == [shown, "b"] and data["rows"][1]["cause"] == shown
    page.encode("utf-8")


@pytest.mark.parametrize("draw", [to_svg, timeline_html])
def test_nothing_is_loaded_from_outside(draw):
    text = draw(random_timeline(1, cycles=5000)).replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\((?!#)|fetch\(|XMLHttp", text)
    assert draw is to_svg or not Page(text).loads


@pytest.mark.parametrize("draw", [to_svg, timeline_html])
def test_same_timeline_same_text(draw):
    made = random_timeline(3, cycles=9000)
    shuffled = list(made.spans), list(made.stalls)
    for part in shuffled:
        random.Random(3).shuffle(part)
    assert draw(made) == draw(timeline(*shuffled, made.cycles, made.title))
    assert "prefers-color-scheme: dark" in draw(made)


def test_page_has_the_exact_data_and_the_table():
    made = random_timeline(2, cycles=30_000)
    page = timeline_html(made)
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    found = {(r["unit"], r["cause"]): np.reshape(r["items"], (-1, 4)).tolist() for r in data["rows"]}
    for unit in UNITS:
        assert found[unit, None] == [[s.start, s.end - s.start, s.tag, data["layers"].index(s.layer)]
                                     for s in made.spans if s.unit == unit]
        for cause in STALL_CAUSES:
            assert [i[:2] for i in found.get((unit, cause), [])] == [
                [s.start, s.end - s.start] for s in made.stalls if (s.unit, s.cause) == (unit, cause)]
    rows = Page(page).rows
    assert rows[0] == ["unit", "busy", *(f"stalled: {cause}" for cause in STALL_CAUSES), "idle", "utilisation"]
    for row, unit in zip(rows[1:5], summary(made)):
        cycles = [unit.busy, *(unit.stalled.get(cause, 0) for cause in STALL_CAUSES), unit.idle]
        assert row == [unit.unit, *(f"{n:,}" for n in cycles), f"{100 * unit.utilisation:.2f} %"]
    lengths = sorted((s.end - s.start for s in made.stalls), reverse=True)[:10]
    assert [row[3] for row in rows[6:]] == [f"{n:,}" for n in lengths]


@pytest.mark.parametrize("made", [timeline(), timeline(cycles=1),
                                  timeline(stalls=[StallSpan("cal", 999, 1000, "input")])])
def test_almost_empty(made):
    ET.fromstring(to_svg(made))
    Page(timeline_html(made))
    for x, _, w, *_ in rects(to_svg(made), "stall"):
        assert x + w == PLOT


def test_large_timelines_are_quick_and_small():
    n = 40_000
    spans = [Span(u, 25 * t, 25 * t + 20 + t % 5, t, f"layer {t // 5000}") for u in UNITS for t in range(n)]
    stalls = [StallSpan(u, 25 * t + 20 + t % 5, 25 * t + 25, STALL_CAUSES[t % 3]) for u in UNITS for t in range(n)]
    begin = time.process_time()
    made = timeline(spans, stalls, 25 * n)
    svg, page = to_svg(made), timeline_html(made)
    assert time.process_time() - begin < 30
    assert len(svg) < 5e6 and len(rects(svg, "bar")) + len(rects(svg, "stall")) <= 3.1 * PLOT * 16
    assert len(page) < 20e6


@pytest.mark.parametrize("name, start", [("a.svg", "<svg "), ("new/b.HTML", "<!DOCTYPE html>")])
def test_write(tmp_path, name, start):
    for title in ("first", "second"):
        write(timeline(title=title), tmp_path / name)
    text = (tmp_path / name).read_text(encoding="utf-8")
    assert text.startswith(start) and "second" in text and [p.name for p in (tmp_path / name).parent.iterdir()] == [
        (tmp_path / name).name]


@pytest.mark.parametrize("name", ["a.png", "svg", "a.svg.gz"])
def test_write_refuses_other_suffixes(tmp_path, name):
    with pytest.raises(WingbeatError, match=r"^--trace: '.*' ends in '.*'; allowed are \.svg and \.html$"):
        write(timeline(), tmp_path / name)
    assert not list(tmp_path.iterdir())
