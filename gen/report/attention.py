"""Attention maps on a page: over the picture of an input how much its parts are looked at, below it who looks where."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ...hw.errors import WingbeatError
from .picture import check_picture, grey_url, zoom

__all__ = ["AttentionMap", "HeadView", "MapView", "map_view"]

_SIZE = 128  # pixels on the screen for the longer side of a picture, at most where it can be
_DEEPEST = 0.85  # opacity of the tokens that are looked at most


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """What the heads of a softmax attention look at in one input with its ``label``.

    ``picture``: uint8 (height, width), 0 black, 255 white, and ``grid`` (rows, columns): its tokens, row after row; or
    a text, without a grid. ``probabilities`` (heads, queries, keys) in 0..1. Raises :class:`WingbeatError`.
    """

    picture: np.ndarray | str
    label: str
    probabilities: np.ndarray = field(repr=False)
    grid: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        shape = self.probabilities.shape
        if len(shape) != 3 or 0 in shape:
            raise WingbeatError(f"AttentionMap.probabilities: of shape {shape}; allowed are (heads, queries, keys)")
        if not (0 <= self.probabilities.min() and self.probabilities.max() <= 1):
            raise WingbeatError(f"AttentionMap.probabilities: {self.probabilities.min()}..{self.probabilities.max()}; "
                                "allowed are 0..1")
        if isinstance(self.picture, np.ndarray):
            check_picture("AttentionMap.picture", self.picture)
        if (self.grid is None) != isinstance(self.picture, str) or (self.grid and np.prod(self.grid) != shape[2]):
            raise WingbeatError(f"AttentionMap.grid: {self.grid}; allowed are rows and columns of {shape[2]} keys with "
                                "a picture, None with a text")


class HeadView(NamedTuple):
    """A head for the template. ``shades``: column, row and opacity of each token on the grid; ``url``, ``width`` and
    ``height`` of the map, a row for each query and a column for each key; the ``largest`` probability."""

    shades: list[tuple[int, int, float]]
    url: str
    width: int
    height: int
    largest: float


class MapView(NamedTuple):
    """A map for the template; ``url``, ``width`` and ``height`` of a picture with its grid, or ``text``."""

    label: str
    text: str
    url: str
    width: int
    height: int
    grid: tuple[int, int]
    heads: list[HeadView]


def map_view(shown: AttentionMap) -> MapView:
    """Every head has its own scale: white is 0, black its largest probability; shades are means over the queries, the
    deepest one of all heads is the largest of them."""
    deepest = shown.probabilities.mean(axis=1).max()
    heads = [_head(each, shown.grid, deepest) for each in shown.probabilities]
    if isinstance(shown.picture, str):
        return MapView(shown.label, shown.picture, "", 0, 0, (0, 0), heads)
    assert shown.grid is not None
    return MapView(shown.label, "", grey_url(shown.picture), *zoom(shown.picture, _SIZE), shown.grid, heads)


def _head(probabilities: np.ndarray, grid: tuple[int, int] | None, deepest: float) -> HeadView:
    largest = float(probabilities.max())
    picture = np.rint(255 * (1 - probabilities / (largest or 1))).astype(np.uint8)
    shares = probabilities.mean(axis=0) / (deepest or 1)
    shades = [(token % grid[1], token // grid[1], _DEEPEST * float(share))
              for token, share in enumerate(shares)] if grid else []
    return HeadView(shades, grey_url(picture), *zoom(picture, _SIZE), largest)
