"""The page of the demonstration: what the network said of every sample, where the cycles went, and when.

One HTML file that needs no other file, no network and no script: accuracy, samples with their predictions, cycles and
utilisation per layer, maps of a softmax attention, and the timeline of the run. Samples on which something went wrong
come first, in three groups: the columns disagree (rounding, or a fault of the hardware), all are wrong, all are right.
The same page gives the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
import math
import operator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...hw.errors import WingbeatError
from ..files import write_text
from .attention import AttentionMap, map_view
from .picture import check_picture, grey_url, zoom
from .spans import Table, Timeline
from .timeline import axis_ticks, context, page_environment

__all__ = ["AttentionSection", "DemoPage", "LayerBar", "Sample", "page_html", "write_page"]

_LARGE, _SMALL = 84, 56     # pixels on the screen for the longer side, at most: wrong ones, right ones
_WIDTH, _VALUES = 1000, 176  # the layer chart, and in it the two columns of numbers, in its own units
_LETTER, _BOLD = 7.4, 8.4   # width of a letter there, for the room that texts need
_PITCH, _TOP = 30, 30       # heights there: a row, the line of headings
_NAME, _FAULTS = 30, 34     # most letters there of a layer's name, and of what is wrong with it


# --- what the page shows ----------------------------------------------------------------------

def _text(where: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise WingbeatError(f"{where}: {value!r} is not a text of one or more characters")


@dataclass(frozen=True, eq=False)
class Sample:
    """One input with its ``label`` and a prediction for each of the page's columns.

    ``picture``: a uint8 array (height, width) of 1..256 pixels each way, 0 black, 255 white; or a text, for networks
    that read tokens. A prediction is right where it is the label, character by character.
    """

    picture: np.ndarray | str
    label: str
    predictions: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.picture, np.ndarray):
            check_picture("Sample.picture", self.picture)
        else:
            _text("Sample.picture", self.picture)
        _text("Sample.label", self.label)
        object.__setattr__(self, "predictions", tuple(self.predictions))
        for number, prediction in enumerate(self.predictions):
            _text(f"Sample.predictions[{number}]", prediction)


@dataclass(frozen=True)
class LayerBar:
    """One layer: its cycles, the share 0..1 of them in which multipliers work, signal over quantisation noise in dB
    (inf: exact, None: not measured), how often an element was clamped between memory and array, and in how many
    blocks inside."""

    name: str
    cycles: int
    utilisation: float
    sqnr_db: float | None
    clamped: int
    saturated_blocks: int

    def __post_init__(self) -> None:
        _text("LayerBar.name", self.name)
        for name in ("cycles", "clamped", "saturated_blocks"):
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, operator.index(value))  # takes numpy's integers too
            except TypeError:
                raise WingbeatError(f"LayerBar.{name}: {value!r} of {self.name!r} is not an integer") from None
            if value < 0:
                raise WingbeatError(f"LayerBar.{name}: {value} of {self.name!r} is negative; allowed are 0..")
        if not 0 <= self.utilisation <= 1:
            raise WingbeatError(f"LayerBar.utilisation: {self.utilisation} of {self.name!r}; allowed are 0..1")
        if self.sqnr_db is not None and math.isnan(self.sqnr_db):
            raise WingbeatError(f"LayerBar.sqnr_db: nan of {self.name!r}; allowed are numbers, inf and None")


def _check_rows(where: str, table: Table) -> None:
    for number, row in enumerate(table.rows):
        if len(row) != len(table.header):
            raise WingbeatError(f"{where}.rows[{number}]: {len(row)} cells; allowed are {len(table.header)}, as many "
                                "as in the header")


@dataclass(frozen=True)
class AttentionSection:
    """What a softmax attention in the array looks at: ``maps``, and in ``origin`` a sentence on how they were obtained.

    ``summary``, one line on what ran, ``accuracy`` and ``layers`` are those of its network; they are empty where the
    rest of the page is about that network. Raises :class:`WingbeatError` for a row of ``accuracy`` that does not fit
    its header.
    """

    origin: str
    maps: tuple[AttentionMap, ...]
    summary: str = ""
    accuracy: Table | None = None
    layers: tuple[LayerBar, ...] = ()

    def __post_init__(self) -> None:
        for name in ("maps", "layers"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _text("AttentionSection.origin", self.origin)
        if self.accuracy:
            _check_rows("AttentionSection.accuracy", self.accuracy)


@dataclass(frozen=True)
class DemoPage:
    """Everything on the page; ``columns`` name who predicted, in the order of every sample's predictions.

    Sections without content (no samples, no layers, no timeline, no attention) are left out. Raises
    :class:`WingbeatError` for a sample with another number of predictions than columns and a row of ``accuracy`` that
    does not fit its header.
    """

    title: str
    summary: str  # one line: what ran
    accuracy: Table
    columns: tuple[str, ...]
    samples: tuple[Sample, ...]
    layers: tuple[LayerBar, ...]
    timeline: Timeline | None
    attention: AttentionSection | None = None

    def __post_init__(self) -> None:
        for name in ("columns", "samples", "layers"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _text("DemoPage.title", self.title)
        _text("DemoPage.summary", self.summary)
        if not self.columns:
            raise WingbeatError("DemoPage.columns: (); allowed are one or more names")
        for number, column in enumerate(self.columns):
            _text(f"DemoPage.columns[{number}]", column)
        _check_rows("accuracy", self.accuracy)
        for number, sample in enumerate(self.samples):
            if len(sample.predictions) != len(self.columns):
                raise WingbeatError(f"samples[{number}].predictions: {len(sample.predictions)}; allowed are "
                                    f"{len(self.columns)}, one for each of {', '.join(self.columns)}")


# --- samples ----------------------------------------------------------------------------------

class _View(NamedTuple):
    """A sample for the template; ``url``, ``width`` and ``height`` of a picture on the screen, or ``text``."""

    label: str
    predictions: list[tuple[str, str, bool]]  # column, prediction, right
    text: str
    url: str
    width: int
    height: int


class _Group(NamedTuple):
    heading: str
    right: bool  # every prediction is the label
    pictures: list[_View]
    texts: list[_View]


def _view(sample: Sample, columns: Sequence[str], size: int) -> _View:
    predictions = [(c, p, p == sample.label) for c, p in zip(columns, sample.predictions)]
    if isinstance(sample.picture, str):
        return _View(sample.label, predictions, sample.picture, "", 0, 0)
    return _View(sample.label, predictions, "", grey_url(sample.picture), *zoom(sample.picture, size))


def _groups(page: DemoPage) -> list[_Group]:
    """Disagreement first, then what is wrong everywhere, then the rest; each in the order of the samples."""
    disagree: list[Sample] = []
    wrong: list[Sample] = []
    right: list[Sample] = []
    for sample in page.samples:
        if len(set(sample.predictions)) > 1:
            disagree.append(sample)
        else:
            (right if sample.predictions[0] == sample.label else wrong).append(sample)
    every = " in every column" if len(page.columns) > 1 else ""
    found = []
    for heading, samples in (("The columns disagree", disagree), (f"Wrong{every}", wrong), (f"Right{every}", right)):
        views = [_view(s, page.columns, _SMALL if samples is right else _LARGE) for s in samples]
        if views:
            found.append(_Group(f"{heading}: {len(views):,}", samples is right, [v for v in views if v.url],
                                [v for v in views if not v.url]))
    return found


def _agreement(page: DemoPage) -> str:
    """The number of samples, and how often each column says the same as the one before it."""
    count = len(page.samples)
    equal = [sum(s.predictions[n] == s.predictions[n + 1] for s in page.samples) for n in range(len(page.columns) - 1)]
    parts = [f"{a} = {b} on {n:,} of {count:,}" for (a, b), n in zip(pairwise(page.columns), equal)]
    return "; ".join([f"{count:,} {'sample' if count == 1 else 'samples'}", ", ".join(parts)] if parts else
                     [f"{count:,} {'sample' if count == 1 else 'samples'}"])


# --- layers -----------------------------------------------------------------------------------

@dataclass(frozen=True)
class _Row:
    """One bar: ``length`` for its cycles, ``work`` for those in which multipliers work, in units of the chart."""

    layer: LayerBar
    y: int
    length: float
    work: float

    @cached_property
    def sqnr(self) -> str:
        value = self.layer.sqnr_db
        if value is None:
            return "–"
        return "exact" if value == math.inf else f"{value:.1f} dB"

    @cached_property
    def faults(self) -> str:
        """What is not as it should be, in words."""
        counts = ((self.layer.clamped, "clamped"), (self.layer.saturated_blocks, "blocks saturated"))
        return ", ".join(f"{count:,} {name}" for count, name in counts if count)


def _total(layers: Sequence[LayerBar]) -> LayerBar:
    """The sum of all layers; its utilisation is that of all their cycles, its SQNR is not measured."""
    cycles = sum(layer.cycles for layer in layers)
    busy = math.fsum(layer.cycles * layer.utilisation for layer in layers)
    return LayerBar("total", cycles, min(1.0, busy / cycles) if cycles else 0.0, None,
                    sum(layer.clamped for layer in layers), sum(layer.saturated_blocks for layer in layers))


def _chart(layers: Sequence[LayerBar]) -> dict[str, Any]:
    """What the template draws: rows, the sum of all, ticks, and the places of the columns from left to right."""
    most = max([1, *(layer.cycles for layer in layers)])
    left = 14 + _LETTER * max([0, *(min(_NAME, len(layer.name)) for layer in layers)])
    faults = max([0, *(min(_FAULTS, len(_Row(layer, 0, 0, 0).faults)) for layer in layers)])
    plot = _WIDTH - left - _VALUES - (34 + _BOLD * faults if faults else 0)
    lengths = [plot * layer.cycles / most for layer in layers]
    return {"rows": [_Row(layer, _TOP + _PITCH * number, length, length * layer.utilisation)
                     for number, (layer, length) in enumerate(zip(layers, lengths))],
            "total": _Row(_total(layers), 0, 0, 0), "ticks": [(plot * t / most, t) for t in axis_ticks(most, plot)],
            "width": _WIDTH, "bottom": _TOP + _PITCH * len(layers), "longest_name": _NAME, "longest_faults": _FAULTS,
            "left": left, "share": left + plot + 0.5 * _VALUES, "noise": left + plot + _VALUES,
            "faults": left + plot + _VALUES + 16}


# --- the file ---------------------------------------------------------------------------------

def page_html(page: DemoPage) -> str:
    """The page as one HTML document. Texts from outside are escaped; what HTML cannot hold is shown as U+FFFD."""
    return page_environment().get_template("page.html.j2").render(
        page=page, groups=_groups(page), agreement=_agreement(page), layers=_chart(page.layers),
        maps=[map_view(each) for each in page.attention.maps] if page.attention else [],
        attention_layers=_chart(page.attention.layers if page.attention else ()),
        **(context(page.timeline) if page.timeline else {}))


def write_page(path: Path, page: DemoPage) -> None:
    """Write the page to ``path`` in one step. Raises :class:`WingbeatError` where that cannot be done."""
    write_text(path, page_html(page))
