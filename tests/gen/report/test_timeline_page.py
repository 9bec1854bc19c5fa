"""The script of the timeline page, run by Node.js on a page of stand-ins: it draws what the SVG shows, and zooms."""

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

import pytest

from wingbeat.gen.report.spans import Span, StallSpan, Timeline
from wingbeat.gen.report.timeline import timeline_html, to_svg

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="Node.js is not installed: the page's script is NOT tested")

# Only what the script touches. Prints the state after the first drawing and after each event.
HARNESS = r"""
const fs = require("fs");
const {page, events} = JSON.parse(fs.readFileSync(0, "utf8"));
const element = attributes => ({
  attributes, hidden: true, listeners: {}, style: {}, classList: {add() {}, remove() {}},
  dataset: {}, offsetWidth: 50, offsetHeight: 20,
  getAttribute(name) { return this.attributes[name]; },
  setAttribute(name, value) { this.attributes[name] = value; },
  addEventListener(name, listener) { this.listeners[name] = listener; },
  getBoundingClientRect: () => ({left: 10, top: 20}),
  querySelectorAll: () => [], setPointerCapture() {}, focus() {}, scrollIntoView() {},
});
const elements = Object.fromEntries(["chart", "tip", "ticks", "marks", "view", "data"].map(id => [id, element({})]));
elements.data.textContent = /id="data">(.*?)<\/script>/s.exec(page)[1];
elements.chart.parentNode = {clientWidth: 1200};
const buttons = [...page.matchAll(/<button type="button" ([^>]*)>/g)].map(([, text]) => {
  const made = element({});
  for (const [, name, value] of text.matchAll(/data-(\w+)="([^"]*)"/g)) made.dataset[name] = value;
  return made;
});
globalThis.document = {
  getElementById: id => elements[id], body: element({}),
  querySelectorAll: selector => buttons.filter(b => /data-(\w+)/.exec(selector)[1] in b.dataset),
};
globalThis.window = Object.assign(element({}), {innerWidth: 1300, innerHeight: 900});
globalThis.requestAnimationFrame = draw => draw();
const script = /<script>\n(.*)<\/script>/s.exec(page)[1];
const state = [];
const record = stopped => state.push({view: elements.view.textContent, marks: elements.marks.innerHTML,
  ticks: elements.ticks.innerHTML, tip: elements.tip.hidden ? "" : elements.tip.textContent, stopped});
(0, eval)(script);
record(false);
for (const event of events) {
  let stopped = false;
  const all = {button: 0, deltaX: 0, deltaY: 0, deltaMode: 0, clientX: 0, clientY: 0, ...event,
               preventDefault() { stopped = true; }};
  const [name, value] = event.press ?? [];
  const target = name ? buttons.find(b => b.dataset[name] === value) : elements.chart;
  target.listeners[name ? "click" : event.type](all);
  record(stopped);
}
process.stdout.write(JSON.stringify(state));
"""


def run(timeline, *events):
    """The page's state after loading and after each event."""
    done = subprocess.run([NODE, "-e", HARNESS], input=json.dumps({"page": timeline_html(timeline), "events": events}),
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def shapes(text):
    """Class, text and numbers of every shape, without tooltips."""
    text = re.sub(r"<title>.*?</title>", "", text)
    return [(e.tag, e.get("class"), e.text or None, *(float(e.get(n, 0)) for n in ("x", "y", "width", "height")))
            for e in ET.fromstring(f"<g>{text}</g>")]


def group(svg, name):
    return re.search(rf'<g id="{name}"[^>]*>\n(.*?)\n?</g>', svg, re.S)[1]


def view(state):
    """First cycle shown and number of cycles shown."""
    first, _, count = re.match(r"cycles ([\d,]+) to ([\d,]+), ([\d,]+) of", state["view"]).groups()
    return int(first.replace(",", "")), int(count.replace(",", ""))


def made(cycles=100_000, step=100, long=80, partial=False):
    spans = [Span(u, t, t + long, t // step, f"layer {8 * t // cycles}")
             for u in ("load", "cal") for t in range(0, cycles, step)]
    stalls = [StallSpan("cal", t + long, t + long + 3 + t % 11, ("input", "memory")[t // step % 2])
              for t in range(0, cycles, step) if long < step]
    if partial:
        stalls += [StallSpan("load", t + 10, t + 60, "output", 20) for t in range(0, cycles, step)]
    return Timeline(("load", "cal"), cycles, tuple(spans), tuple(stalls), "t")


def at(cycle, y, width=1000, first=0, count=100_000):
    """Pointer position of a cycle: the chart is at (10, 20), its labels are 168 wide."""
    return {"clientX": 10 + 168 + (cycle - first) * width / count, "clientY": 20 + y}


@pytest.mark.parametrize("timeline", [made(4000), made(100_000), made(1_000_000), made(50_000, 10, 10),
                                      made(4000, partial=True), made(100_000, partial=True)],
                         ids=["wide", "pixels", "merged", "no gaps", "partial stalls", "partial pixels"])
def test_first_drawing_is_the_svg(timeline):
    (state,), svg = run(timeline), to_svg(timeline)
    drawn, expected = shapes(state["marks"]), shapes(group(svg, "marks"))
    assert [d[:3] for d in drawn] == [e[:3] for e in expected]
    for d, e in zip(drawn, expected):
        assert d[3:] == pytest.approx(e[3:], abs=0.011)
    ticks = [[s[2:4] for s in shapes(t) if s[0] == "text"] for t in (state["ticks"], group(svg, "ticks"))]
    assert ticks[0] == ticks[1]


def test_wheel_zooms_about_the_pointer():
    events = [{"type": "wheel", "deltaY": -200, **at(25_000, 10)}] * 3
    states = run(made(), *events)
    for state in states[1:]:
        first, count = view(state)
        assert abs((25_000 - first) / count - 0.25) < 1e-3 and state["stopped"]
    assert [view(s)[1] for s in states] == pytest.approx([1e5 * 2.718281828 ** (-n / 2) for n in range(4)], abs=2)


def test_zoomed_drawing_shows_exact_bars():
    """Five times the longest stall, 13 cycles: the stall's button shows 65 cycles with the stall in the middle."""
    states = run(made(), {"press": ["key", "+"]}, {"press": ["first", "1080"]})
    assert view(states[1]) == (16_666, 66_668)
    stall = next(s for s in made().stalls if s.start == 1080)
    length = stall.end - stall.start
    assert view(states[2]) == (1080 - 2 * length, 5 * length)
    bars = [s for s in shapes(states[2]["marks"]) if s[0] == "rect"]
    assert [b[3] for b in bars if "stall" in b[1]] == pytest.approx([400], abs=0.01)
    assert [b[5] for b in bars if "stall" in b[1]] == pytest.approx([200], abs=0.01)


def test_keys_drag_and_double_click():
    def press(key, **more):
        return {"type": "keydown", "key": key, **more}
    drag = [{"type": "pointerdown", **at(50_000, 10), "pointerId": 1}, {"type": "pointermove", **at(60_000, 10)},
            {"type": "pointerup"}]
    events = [press("+"), press("="), press("ArrowRight"), press("Home"), press("ArrowLeft"), press("End"),
              press("-"), press("0"), press("ArrowUp"), press("ArrowDown"), press("+", ctrlKey=True), press("x"),
              press("+"), *drag, {"type": "dblclick"}]
    states = run(made(), *events)
    views = [view(s) for s in states[1:]]
    wide, narrow = 66_668, 44_446
    assert [count for _, count in views[:3]] == pytest.approx([wide, narrow, narrow], abs=2)
    assert views[2][0] - views[1][0] == pytest.approx(0.15 * narrow, abs=2)
    assert views[3][0] == views[4][0] == 0 and sum(views[5]) == pytest.approx(100_000, abs=1)
    assert views[6][1] == pytest.approx(wide, abs=2) and views[7] == (0, 100_000)
    assert views[8][1] == pytest.approx(wide, abs=2) and views[9] == (0, 100_000)
    assert views[10] == views[11] == (0, 100_000) and not states[11]["stopped"] and not states[12]["stopped"]
    assert views[14][0] == pytest.approx(views[12][0] - 0.1 * wide, abs=2), "the cycles follow the pointer"
    assert views[15] == views[14] and views[16] == (0, 100_000)


def test_view_stays_inside_and_above_eight_cycles():
    states = run(made(), *[{"type": "wheel", "deltaY": -300, **at(99_999, 10)}] * 20,
                 *[{"type": "wheel", "deltaY": 300, **at(0, 10)}] * 20)
    assert view(states[20])[1] in (8, 9) and sum(view(states[20])) <= 100_000
    assert view(states[-1]) == (0, 100_000)


def test_tooltip():
    timeline = Timeline(("load", "cal"), 100_000, (Span("cal", 1000, 41_000, 7, "<b>&"),),
                        (StallSpan("cal", 30_000, 31_000, "memory"), StallSpan("cal", 60_000, 60_001, "odd")), "t")
    cal = 8 + 26 + 2 + 16 + 5
    positions = [at(20_000, cal), at(30_500, cal), at(50_000, cal), at(60_100, cal + 26 + 2 + 13),
                 at(60_000, cal), at(20_000, 10)]
    tips = [s["tip"] for s in run(timeline, *[{"type": "pointermove", **p} for p in positions])][1:]
    assert tips == ["cal\ntag 7, <b>&\n  first cycle 1,000, 40,000 cycles",
                    "cal\ntag 7, <b>&\n  first cycle 1,000, 40,000 cycles\n"
                    "stalled: memory\n  first cycle 30,000, 1,000 cycles", "",
                    "cal\nstalled: odd\n  first cycle 60,000, 1 cycle",
                    "cal\nstalled: odd\n  first cycle 60,000, 1 cycle", ""]


def test_legend_dims_the_other_layers():
    states = run(made(4000), {"press": ["layer", "2"]}, {"press": ["layer", "2"]})
    kinds = [s[1] for s in shapes(states[1]["marks"]) if s[0] == "rect" and "bar" in s[1]]
    assert {kind.split()[0] for kind in kinds if "dim" not in kind.split()} == {"l2"}
    assert {kind.split()[0] for kind in kinds if "dim" in kind.split()} == {f"l{n}" for n in range(8) if n != 2}
    assert "dim" not in states[2]["marks"]
