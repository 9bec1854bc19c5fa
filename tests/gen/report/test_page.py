"""The page of the demonstration: checks, order of samples, pictures, bars, escaping, and that it is one file."""

import base64
from html.parser import HTMLParser
import io
import json
import random
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET

from matplotlib.image import imread
import numpy as np
import pytest

from wingbeat.gen.report.attention import AttentionMap
from wingbeat.gen.report.page import AttentionSection, DemoPage, LayerBar, Sample, page_html, write_page
from wingbeat.gen.report.spans import Span, StallSpan, Table, Timeline
from wingbeat.hw.errors import WingbeatError

COLUMNS = ("float", "integer model", "Verilog")
DOT = np.array([[0, 255], [128, 7]], np.uint8)


def layer(name="head", cycles=100, utilisation=0.5, sqnr_db=60.0, clamped=0, saturated_blocks=0):
    return LayerBar(name, cycles, utilisation, sqnr_db, clamped, saturated_blocks)


def sample(label="1", predictions=("1", "1", "1"), picture=DOT):
    return Sample(picture, label, predictions)


def timeline(text="run"):
    return Timeline(("load", text), 1000, (Span("load", 0, 400, 3, text), Span(text, 50, 900, 3, text)),
                    (StallSpan("load", 10, 30, text),), text, (Table(text, ("a", text), ((text, 1234),)),))


def page(samples=(), layers=(), made=None, **more):
    accuracy = Table("Accuracy", ("elements", "float"), (("16 bits", "97.0 %"), ("samples", 1234)))
    return DemoPage(**{"title": "title", "summary": "what ran", "accuracy": accuracy, "columns": COLUMNS,
                       "samples": samples, "layers": layers, "timeline": made, **more})


def attention(text="text"):
    maps = [AttentionMap(DOT, text, np.full((3, 4, 4), 0.25), (2, 2)), AttentionMap(text, text, np.eye(4)[None])]
    return AttentionSection(text, maps, text, Table(text, ("a", text), ((text, 5),)), [layer(text), layer(text * 9)])


def full(text="text"):
    return page([sample(text, (text, "b", text)), sample("1", ("2", "2", "2")), sample(),
                 sample(text, ("1", text, "1"), text), sample(text, (text,) * 3, text)],
                [layer(text), layer(text * 9, 77, 1.0, None, 5, 6)], timeline(text), title=text, summary=text,
                accuracy=Table(text, ("a", text), ((text, 5),)), columns=(text, text, "c"), attention=attention(text))


# --- reading a page ---------------------------------------------------------------------------

class Parsed(HTMLParser):
    """Checks nesting and keeps elements, texts by element, and the cells of every table."""

    VOID = {"meta", "img"}

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts, self.tables = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert len(dict(attributes)) == len(attributes), f"{tag}: an attribute stands twice"
        self.elements.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def said(self, *tags):
        return [data for tag, data in self.texts if tag in tags]


def bars(text):
    return ET.fromstring(re.search(r'<svg id="bars".*?</svg>', text, re.S)[0])


def groups(text):
    """Heading of every group of samples and the HTML below it."""
    return dict(re.findall(r"<summary><h3>(.*?)</h3></summary>(.*?)</details>", text, re.S))


# --- checks -----------------------------------------------------------------------------------

@pytest.mark.parametrize("make, message", [
    (lambda: sample(picture=DOT.astype(float)),
     "Sample.picture: float64 of shape (2, 2); allowed are a text and uint8 of 1..256 x 1..256"),
    (lambda: sample(picture=DOT[0]), "Sample.picture: uint8 of shape (2,); allowed are a text and uint8 of "
     "1..256 x 1..256"),
    (lambda: sample(picture=np.zeros((3, 257), np.uint8)), "Sample.picture: uint8 of shape (3, 257); allowed are a "
     "text and uint8 of 1..256 x 1..256"),
    (lambda: sample(picture=""), "Sample.picture: '' is not a text of one or more characters"),
    (lambda: sample(picture=[[1]]), "Sample.picture: [[1]] is not a text of one or more characters"),
    (lambda: sample(label=3), "Sample.label: 3 is not a text of one or more characters"),
    (lambda: sample(predictions=("1", 2)), "Sample.predictions[1]: 2 is not a text of one or more characters"),
    (lambda: layer(name=""), "LayerBar.name: '' is not a text of one or more characters"),
    (lambda: layer(cycles=1.5), "LayerBar.cycles: 1.5 of 'head' is not an integer"),
    (lambda: layer(cycles=-1), "LayerBar.cycles: -1 of 'head' is negative; allowed are 0.."),
    (lambda: layer(saturated_blocks=-2), "LayerBar.saturated_blocks: -2 of 'head' is negative; allowed are 0.."),
    (lambda: layer(utilisation=1.01), "LayerBar.utilisation: 1.01 of 'head'; allowed are 0..1"),
    (lambda: layer(utilisation=float("nan")), "LayerBar.utilisation: nan of 'head'; allowed are 0..1"),
    (lambda: layer(sqnr_db=float("nan")), "LayerBar.sqnr_db: nan of 'head'; allowed are numbers, inf and None"),
    (lambda: page(title=""), "DemoPage.title: '' is not a text of one or more characters"),
    (lambda: page(summary=None), "DemoPage.summary: None is not a text of one or more characters"),
    (lambda: page(columns=()), "DemoPage.columns: (); allowed are one or more names"),
    (lambda: page(columns=("a", "")), "DemoPage.columns[1]: '' is not a text of one or more characters"),
    (lambda: page([sample(), sample(predictions=("1", "1"))]),
     "samples[1].predictions: 2; allowed are 3, one for each of float, integer model, Verilog"),
    (lambda: page(accuracy=Table("t", ("a", "b"), (("x", 1), ("y",)))),
     "accuracy.rows[1]: 1 cells; allowed are 2, as many as in the header"),
    (lambda: AttentionSection("", ()), "AttentionSection.origin: '' is not a text of one or more characters"),
    (lambda: AttentionSection("how", (), accuracy=Table("t", ("a",), ((),))),
     "AttentionSection.accuracy.rows[0]: 0 cells; allowed are 1, as many as in the header"),
])
def test_errors(make, message):
    with pytest.raises(WingbeatError) as caught:
        make()
    assert str(caught.value) == message


def test_integers_of_numpy_are_taken():
    assert layer(cycles=np.int64(7)).cycles == 7 and page(layers=[layer(cycles=np.int64(7))]).layers[0].cycles == 7


# --- samples ----------------------------------------------------------------------------------

def test_disagreement_comes_first_then_wrong_then_right():
    kinds = {"right": ("{}", "{}", "{}"), "wrong": ("x", "x", "x"), "float only": ("{}", "x", "x"),
             "Verilog only": ("x", "x", "{}"), "all differ": ("x", "y", "z")}
    rnd = random.Random(5)
    names = [rnd.choice(list(kinds)) for _ in range(200)]
    samples = [sample(f"n{n}", tuple(p.format(f"n{n}") for p in kinds[name])) for n, name in enumerate(names)]
    found = groups(page_html(page(samples)))
    order = [[n for n, name in enumerate(names) if name not in ("right", "wrong")],
             [n for n, name in enumerate(names) if name == "wrong"],
             [n for n, name in enumerate(names) if name == "right"]]
    headings = ("The columns disagree", "Wrong in every column", "Right in every column")
    assert list(found) == [f"{h}: {len(o)}" for h, o in zip(headings, order)], "seed 5"
    for body, numbers in zip(found.values(), order):
        assert re.findall(r'alt="input with label n(\d+)"', body) == [str(n) for n in numbers], "seed 5"


def test_each_prediction_stands_beside_its_column_and_wrong_ones_are_marked_in_text():
    (body,) = groups(page_html(page([sample("7", ("7", "1", "8"))]))).values()
    cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<d[td][^>]*>(.*?)</d[td]>", body)]
    assert cells == ["label", "7", "float", "7", "integer model", "✗ wrong: 1", "Verilog", "✗ wrong: 8"]


def test_agreement_of_neighbouring_columns_is_counted():
    text = page_html(page([sample("1", ("1", "2", "2")), sample("1", ("1", "1", "3")), sample("1", ("4", "4", "4"))]))
    assert "3 samples; float = integer model on 2 of 3, integer model = Verilog on 2 of 3." in text
    alone = page_html(page([sample("1", ("1",)), sample("1", ("2",))], columns=("float",)))
    assert "2 samples." in alone and list(groups(alone)) == ["Wrong: 1", "Right: 1"]


@pytest.mark.parametrize("height, width, right, wrong", [(8, 8, (56, 56), (80, 80)), (28, 28, (56, 56), (84, 84)),
                                                         (1, 5, (55, 11), (80, 16)), (3, 2, (36, 54), (56, 84)),
                                                         (200, 256, (256, 200), (256, 200))])
def test_pictures_are_exact_and_pixels_are_squares(height, width, right, wrong):
    picture = np.random.default_rng(height).integers(0, 256, (height, width)).astype(np.uint8)
    found = Parsed(page_html(page([sample(picture=picture), sample("2", picture=picture)]))).all("img")
    for image, size in zip(found, (wrong, right)):
        kind, data = image["src"].split(",")
        assert kind == "data:image/png;base64" and (int(image["width"]), int(image["height"])) == size
        decoded = imread(io.BytesIO(base64.b64decode(data, validate=True)), format="png")
        assert (np.rint(decoded * 255).astype(np.uint8) == picture).all() and decoded.shape == picture.shape
    assert "image-rendering: pixelated" in page_html(page([sample()]))


def test_texts_stand_in_tables_in_the_same_groups():
    made = page([sample("3", ("3", "3", "3"), "[MAX 1 3 ]"), sample("4", ("4", "4", "5"), "[MIN 4 9 ]"), sample()])
    text = page_html(made)
    assert list(groups(text)) == ["The columns disagree: 1", "Right in every column: 2"]
    tables = Parsed(text).tables[1:]
    header = ["input", "label", *COLUMNS]
    assert tables == [[header, ["[MIN 4 9 ]", "4", "4", "4", "✗ wrong: 5"]], [header, ["[MAX 1 3 ]", *"3333"]]]
    assert len(Parsed(text).all("img")) == 1


# --- layers -----------------------------------------------------------------------------------

@pytest.mark.parametrize("seed", range(4))
def test_bars_are_as_long_as_their_cycles(seed):
    rnd = random.Random(seed)
    layers = [layer(f"layer {n}", rnd.randrange(10 ** (2 + seed)), rnd.random(), rnd.uniform(10, 90),
                    rnd.choice((0, 12_345)), rnd.choice((0, 3))) for n in range(9)]
    root = bars(page_html(page(layers=layers)))
    rows = [g for g in root.iter("g") if g.get("class") == "layer"]
    assert [g.findtext("title").split(":")[0] for g in rows] == [made.name for made in layers], f"seed {seed}"
    most = max(made.cycles for made in layers)
    drawn = [{r.get("class"): r for r in g.iter("rect")} for g in rows]
    longest = max(float(d["whole"].get("width")) for d in drawn)
    assert longest > 300
    for found, made in zip(drawn, layers):
        length = longest * made.cycles / most
        assert float(found["whole"].get("width")) == pytest.approx(length, abs=0.02), f"seed {seed}"
        assert float(found["idle"].get("width")) == pytest.approx(length, abs=0.02), f"seed {seed}"
        assert float(found["work"].get("width")) == pytest.approx(length * made.utilisation, abs=0.02), f"seed {seed}"
        assert len({r.get("x") for r in found.values()}) == 1
    ticks = [(float(t.get("x")), int(t.text.replace(",", ""))) for t in root.iter("text") if t.get("class") == "number"]
    assert len(ticks) >= 2 and all(x == pytest.approx(longest * n / most, abs=0.02) for x, n in ticks), f"seed {seed}"
    width = float(root.get("viewBox").split()[2])
    for text in root.iter("text"):
        assert 0 <= float(text.get("x")) <= width
        if text.get("class") == "faults":
            assert float(text.get("x")) + 8.4 * len(text.text) <= width, "fits even in bold"


def test_the_table_has_the_numbers_of_the_chart_and_their_sum():
    layers = [layer("a", 3000, 0.9, 61.26, 0, 0), layer("b", 1000, 0.1, float("inf"), 1200, 3), layer("c", 0, 0, None)]
    text = page_html(page(layers=layers))
    assert Parsed(text).tables[1][1:] == [
        ["a", "3,000", "90.0 %", "61.3 dB", "0", "0"], ["b", "1,000", "10.0 %", "exact", "1,200", "3"],
        ["c", "0", "0.0 %", "–", "0", "0"], ["total", "4,000", "70.0 %", "", "1,200", "3"]]
    rows = [g for g in bars(text).iter("g") if g.get("class") == "layer"]
    assert [[t.text for t in g.iter("text")] for g in rows] == [
        ["a", "90.0 %", "61.3 dB"], ["b", "10.0 %", "exact", "! 1,200 clamped, 3 blocks saturated"],
        ["c", "0.0 %", "–"]]
    assert rows[1].findtext("title") == ("b: 1,000 cycles, multipliers work in 10.0 % of them, SQNR exact, 1,200 "
                                         "clamped, 3 blocks saturated")


def test_chart_says_what_it_is():
    root = bars(page_html(page(layers=[layer("a", 3000, 0.9), layer("b", 1000, 0.1)])))
    assert root.get("role") == "img" and root.get("aria-labelledby") == "bars-title bars-desc"
    assert root.find("title").get("id") == "bars-title" and root.find("desc").text.startswith(
        "2 horizontal bars, 4,000 cycles together; multipliers work in 70.0 % of them.")


@pytest.mark.parametrize("layers", [[layer(cycles=0)], [layer("x" * 300)], [layer(cycles=1, utilisation=1)],
                                    [layer("x" * 99, clamped=10 ** 30, saturated_blocks=10 ** 30)]])
def test_bars_at_the_limits(layers):
    root = bars(page_html(page(layers=layers)))
    assert all(float(r.get("width")) >= 0 for r in root.iter("rect"))
    assert max(float(r.get("width")) for r in root.iter("rect")) > 250 or not layers[0].cycles
    (name,) = [t for t in root.iter("text") if t.get("class") == "name"]
    assert len(name.text) <= 30 and 7.4 * len(name.text) <= float(name.get("x"))


# --- attention --------------------------------------------------------------------------------

def section(text):
    return re.search(r'<section id="attention">.*?</section>', text, re.S)[0]


def test_a_map_has_its_input_and_every_head_over_it():
    text = section(page_html(page(attention=attention("three"))))
    with_picture, with_text = re.findall(r'<div class="map">.*?</figure>\n</div>', text, re.S)
    assert re.findall("<figcaption>(.*?)</figcaption>", with_picture) == [
        "label three", *(f"head {n}, at most 0.25" for n in (1, 2, 3))]
    assert with_picture.count('class="over"') == 3 and with_picture.count("<img") == 1 + 2 * 3
    shades = [ET.fromstring(svg) for svg in re.findall("<svg.*?</svg>", with_picture, re.S)]
    for svg in shades:
        assert svg.get("viewBox") == "0 0 2 2" and (svg.get("width"), svg.get("height")) == ("128", "128")
        assert [(r.get("x"), r.get("y"), r.get("fill-opacity")) for r in svg] == [
            (x, y, "0.850") for y in "01" for x in "01"]
    assert "<code>three</code>" in with_text and "over" not in with_text and with_text.count("<img") == 1


def test_the_network_of_the_maps_has_its_numbers_beside_them():
    text = page_html(page(layers=[layer("first", 5)], attention=attention("three")))
    assert Parsed(section(text)).tables == [
        [["a", "three"], ["three", "5"]],
        [["layer", "cycles", "multipliers work", "SQNR", "clamped", "saturated blocks"],
         ["three", "100", "50.0 %", "60.0 dB", "0", "0"], ["three" * 9, "100", "50.0 %", "60.0 dB", "0", "0"],
         ["total", "200", "50.0 %", "", "0", "0"]]]
    chart = ET.fromstring(re.search(r'<svg id="attention-bars".*?</svg>', text, re.S)[0])
    assert chart.get("aria-labelledby") == "attention-bars-title attention-bars-desc"
    assert [g.findtext("title").split(":")[0] for g in chart.iter("g") if g.get("class") == "layer"] == [
        "three", "three" * 9]
    assert text.count('<pattern id="idle"') == 1


def test_a_page_about_the_network_of_the_maps_has_its_numbers_once():
    text = section(page_html(page(attention=AttentionSection("how", attention().maps))))
    assert "<table" not in text and "bars" not in text and "<p>how</p>" in text


# --- the document -----------------------------------------------------------------------------

HOSTILE = '</script></style><script>alert(1)</script>&"\'<b onload=x>\x00\ud800]]>{{ 7 * 7 }}'


def test_strings_are_escaped():
    shown = HOSTILE.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    text = page_html(full(HOSTILE))
    text.encode("utf-8")
    harmless, parsed = Parsed(page_html(full())), Parsed(text)
    assert [tag for tag, _ in parsed.elements] == [tag for tag, _ in harmless.elements]
    assert [list(a) for _, a in parsed.elements] == [list(a) for _, a in harmless.elements]
    assert "<b " not in text and parsed.said("h1") == [shown] and "49" not in parsed.said("h1")[0]
    assert parsed.tables[0] == [["a", shown], [shown, "5"]]
    (first, *_) = [g.findtext("title") for g in bars(text).iter("g") if g.get("class") == "layer"]
    assert first.startswith(f"{shown}: 100 cycles, ")


def test_parts_are_there_or_left_out():
    bare, complete = Parsed(page_html(page())), Parsed(page_html(full()))
    assert [a["id"] for a in bare.all("section")] == ["accuracy"] and not bare.all("script")
    assert [a["id"] for a in complete.all("section")] == ["accuracy", "samples", "layers", "attention", "timeline"]
    for parsed in (bare, complete):
        ids = [a["id"] for _, a in parsed.elements if "id" in a]
        assert len(ids) == len(set(ids))
        assert {a["href"] for a in parsed.all("a")} == {f"#{a['id']}" for a in parsed.all("section")}
    assert bare.tables == [[["elements", "float"], ["16 bits", "97.0 %"], ["samples", "1,234"]]]


def test_timeline_has_its_legend_its_bars_and_its_data():
    text = page_html(page(made=timeline()))
    parsed = Parsed(text)
    data = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])
    assert data["cycles"] == 1000 and data["rows"][0]["items"] == [0, 400, 3, 0]
    assert text.count('class="l0 bar wide broad"') == 2 and "tag 3, run, first cycle 50, 850 cycles" in text
    assert "stalled: run" in parsed.said("span") and ["run", "1,234"] in parsed.tables[-1]
    assert parsed.said("h2")[-1] == "Timeline" and parsed.said("h3") == ["Cycles", "Longest stalls", "run"]


SCRIPT = r"""
const element = () => ({listeners: {}, attributes: {width: 900, height: 300}, blurred: 0,
  addEventListener(name, listener, how) { this.listeners[name] = [listener, how]; }, blur() { this.blurred += 1; },
  getAttribute(name) { return this.attributes[name]; }, setAttribute(name, value) { this.attributes[name] = value; },
  removeAttribute(name) { delete this.attributes[name]; }});
const chart = element(), frame = element(), state = [];
globalThis.window = element();
globalThis.document = {activeElement: null, getElementById: id => ({chart, frame})[id]};
(0, eval)(require("fs").readFileSync(0, "utf8"));
for (const active of [null, chart]) {
  document.activeElement = active;
  let stopped = false;
  frame.listeners.wheel[0]({stopPropagation() { stopped = true; }});
  state.push(stopped);
}
for (const name of ["beforeprint", "afterprint"]) {
  window.listeners[name][0]();
  state.push(chart.attributes.viewBox ?? null);
}
console.log(JSON.stringify([chart.blurred, frame.listeners.wheel[1].capture, ...state]));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed: the page's script is NOT tested")
def test_wheel_scrolls_until_the_chart_has_the_focus_and_paper_shows_it_whole():
    script = re.findall(r"<script>\n(.*?)</script>", page_html(page(made=timeline())), re.S)[-1]
    done = subprocess.run([shutil.which("node"), "-e", SCRIPT], input=script, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [1, True, True, False, "0 0 900 300", None]


def test_nothing_is_loaded_from_outside():
    text = page_html(full())
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\((?!#)|fetch\(|XMLHttp", text)
    for tag, attributes in Parsed(text).elements:
        assert not [n for n in attributes if n.startswith("on") or n in ("action", "srcset", "xlink:href")]
        assert attributes.get("href", "#").startswith("#")
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
        assert tag not in ("link", "iframe", "object", "embed", "base")


def test_light_and_dark_and_paper_are_thought_of():
    text = page_html(full())
    assert text.count("@media (prefers-color-scheme: dark)") >= 2 and "@media print" in text
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    named = [set(re.findall(r"(--[a-z]+): #", part)) for part in style.split(":root { --ink")[1:]]
    assert len(named) == 2 and named[0] == named[1], "every colour has one for each of both"
    assert set(re.findall(r"var\((--[a-z]+)\)", style)) <= named[0] | {"--ink"}
    assert style.count("{") == style.count("}")


def test_same_page_same_bytes(tmp_path):
    for name in ("a.html", "b.html"):
        write_page(tmp_path / "new" / name, full())
    first, second = ((tmp_path / "new" / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second and first.startswith(b"<!DOCTYPE html>\n") and b"\r" not in first


def test_write_replaces_in_one_step(tmp_path):
    for title in ("first", "second"):
        write_page(tmp_path / "a.html", page(title=title))
    assert "second" in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["a.html"]
    with pytest.raises(WingbeatError, match=r"^output: '.*' is a folder, not a file$"):
        write_page(tmp_path, page())


def test_hundreds_of_digits_stay_small():
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    images = (digits.images[:360] * 255 // 16).astype(np.uint8)
    text = page_html(page([sample(str(t), (str(t),) * 3, i) for i, t in zip(images, digits.target)]))
    assert len(Parsed(text).all("img")) == 360 and len(text) < 250_000
