"""The page of an exploration: one file, well formed, escaped, with every point, its command and the pictures."""

from html.parser import HTMLParser
import re

import pytest

from support.spaces import make_space
from wingbeat.gen.explore.space.exploration import Exploration, Found
from wingbeat.gen.explore.space.points import Illegal, SpacePoint, grid_choices, make_point
from wingbeat.gen.report.front import front_html, front_rows


class Parsed(HTMLParser):
    """Elements and texts; asserts that they are nested."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag, **wanted):
        return [each for name, each in self.elements if name == tag
                and all(each.get(key.rstrip("_")) == value for key, value in wanted.items())]


@pytest.fixture
def result(tmp_path):
    """Ten points; two on the front, the first measured in full; one refused and one that misses a limit."""
    space = make_space(tmp_path, '"fft.cycles"', '"fft.per_second", "bram"')
    made = [make_point(space, choice) for choice in grid_choices(space)]
    points = [Found(each, {"comb": 100.0 * number, "ff": 1.0, "bram": 3 + number, "fmax_mhz": 100.0, "fft.cycles": 50.0,
                           "fft.per_second": 2e6 + 1e5 * number})
              for number, each in enumerate(each for each in made if isinstance(each, SpacePoint))]
    points[3] = Found(points[3].point, refused="fft: <no> room & more")
    points[4].missed = ["bram <= 5"]
    points[0].synthesis = {"comb": 17, "bram": 3, "fmax_mhz": None, "fits": True}
    points[0].simulation = {"fft": {"cycles": 51.0, "mismatches": 0}}
    points[9].notes = ["synthesis: <failed>"]
    return Exploration(space, points, [each for each in made if isinstance(each, Illegal)], [0, 9], 5, [9],
                       ["estimate of x: <b>killed</b>"])


def test_rows_have_estimates_and_measurements(result):
    header, (first, second) = front_rows(result)
    assert header == ["point", "array.engines", "array.layers", "array.half_words", "comb", "measured",
                      "fft.per_second", "measured", "bram", "measured", "stays"]
    assert first == ["1", "1", "2", "64", "0", "17", "2,000,000", "1,960,784", "3", "3", "no"]
    assert second == ["2", "4", "2", "128", "900", "-", "2,900,000", "-", "12", "-", "-"]


def test_one_file_without_scripts(result):
    page = front_html(result, "array")
    parsed = Parsed(page)
    assert not parsed.of("script") and not parsed.of("link") and not parsed.of("img")
    assert not re.search(r"https?://", page) and not re.search(r"url\((?!#)", page)
    assert front_html(result, "array") == page


def test_every_point_has_its_command(result):
    parsed = Parsed(front_html(result, "array"))
    shown = [text for tag, text in parsed.texts if tag == "code"]
    commands = [found.point.command(result.space) for found in result.points]
    assert shown == [commands[0], commands[9], *commands]


def test_pictures(result):
    """One for each pair of objectives: the front's two points, the one that was measured, six others and one that
    misses a limit."""
    parsed = Parsed(front_html(result, "array"))
    assert len(parsed.of("svg", class_="scatter")) == 3
    assert len(parsed.of("circle", class_="chosen")) == 3 * 2 + 1  # and the legend's
    assert len(parsed.of("circle", class_="unable")) == 3 * 1 + 1
    assert len(parsed.of("circle", class_="able")) == 3 * 6 + 1
    assert len(parsed.of("path", class_="measured beaten")) == 3 and len(parsed.of("path", class_="measured")) == 1
    for circle in parsed.of("circle", class_="able")[1:]:
        assert 84 <= float(circle["cx"]) <= 496 and 16 <= float(circle["cy"]) <= 312


def test_more_is_up_and_right(result):
    """The point with most transforms a second is above all others, and to the right where cells go across."""
    parsed = Parsed(front_html(result, "array"))
    circles = parsed.of("circle", class_="chosen")[1:3]  # comb across, a second up
    assert float(circles[0]["cx"]) < float(circles[1]["cx"]) and float(circles[0]["cy"]) > float(circles[1]["cy"])


def test_texts_are_escaped(result):
    page = front_html(result, "<script>alert(1)</script>")
    assert "<script" not in page and "<no>" not in page and "<failed>" not in page and "<b>" not in page
    assert "fft: &lt;no&gt; room &amp; more" in page and "synthesis: &lt;failed&gt;" in page


def test_without_a_front(result):
    result.front, result.measured_front = [], []
    parsed = Parsed(front_html(result, "array"))
    assert not parsed.of("svg") and any("No point takes the workloads" in text for _, text in parsed.texts)


def test_points_that_are_all_equal(result):
    """An axis without extent."""
    for found in result.points:
        if found.estimate:
            found.estimate.update(comb=0.0, bram=7)
    assert Parsed(front_html(result, "array")).of("svg", class_="scatter")
