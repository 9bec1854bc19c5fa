"""Attention maps for a page: shades over the picture, the map below it, scales, what is refused."""

import base64
import io

from matplotlib.image import imread
import numpy as np
import pytest

from wingbeat.gen.report.attention import AttentionMap, map_view
from wingbeat.hw.errors import WingbeatError

PICTURE = np.arange(16, dtype=np.uint8).reshape(4, 4)


def drawn(seed=1, heads=2, queries=6, keys=6):
    weights = np.random.default_rng(seed).uniform(0, 1, (heads, queries, keys)) ** 3
    return weights / weights.sum(axis=-1, keepdims=True)


def pixels(url):
    decoded = imread(io.BytesIO(base64.b64decode(url.split(",")[1])), format="png")
    return np.rint(decoded * 255).astype(int)


def test_a_head_has_its_map_from_white_to_black():
    probabilities = drawn()
    view = map_view(AttentionMap(PICTURE, "3", probabilities, (2, 3)))
    for head, wanted in zip(view.heads, probabilities, strict=True):
        found = pixels(head.url)
        np.testing.assert_allclose(found, 255 * (1 - wanted / wanted.max()), atol=0.51, err_msg="seed 1")
        assert found.min() == 0 and head.largest == wanted.max() and (head.width, head.height) == (126, 126)


def test_shades_lie_on_their_tokens_and_share_one_scale():
    probabilities = drawn()
    view = map_view(AttentionMap(PICTURE, "3", probabilities, (2, 3)))
    assert (view.width, view.height, view.grid, view.text) == (128, 128, (2, 3), "")
    places = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]
    opacities = np.array([[opacity for *_, opacity in head.shades] for head in view.heads])
    assert all([shade[:2] for shade in head.shades] == places for head in view.heads)
    np.testing.assert_allclose(opacities / opacities.max(), probabilities.mean(1) / probabilities.mean(1).max())
    assert opacities.max() == pytest.approx(0.85) and opacities.min() >= 0


def test_a_text_has_maps_and_no_shades():
    view = map_view(AttentionMap("[MAX 1 3 ]", "3", drawn()))
    assert (view.text, view.url) == ("[MAX 1 3 ]", "") and [head.shades for head in view.heads] == [[], []]


def test_nothing_but_zeros_is_white():
    view = map_view(AttentionMap(PICTURE, "3", np.zeros((1, 6, 6)), (2, 3)))
    assert (pixels(view.heads[0].url) == 255).all() and not any(opacity for *_, opacity in view.heads[0].shades)


@pytest.mark.parametrize("changes, message", [
    ({"probabilities": np.zeros((2, 6))}, "probabilities: of shape (2, 6); allowed are (heads, queries, keys)"),
    ({"probabilities": np.zeros((0, 6, 6))}, "probabilities: of shape (0, 6, 6); allowed are (heads, queries, keys)"),
    ({"probabilities": np.full((1, 6, 6), 1.5)}, "probabilities: 1.5..1.5; allowed are 0..1"),
    ({"probabilities": np.full((1, 6, 6), np.nan)}, "probabilities: nan..nan; allowed are 0..1"),
    ({"picture": PICTURE / 2}, "picture: float64 of shape (4, 4); allowed are a text and uint8 of 1..256 x 1..256"),
    ({"grid": None}, "grid: None; allowed are rows and columns of 6 keys with a picture, None with a text"),
    ({"grid": (2, 2)}, "grid: (2, 2); allowed are rows and columns of 6 keys with a picture, None with a text"),
    ({"picture": "text"}, "grid: (2, 3); allowed are rows and columns of 6 keys with a picture, None with a text")])
def test_errors(changes, message):
    with pytest.raises(WingbeatError) as caught:
        AttentionMap(**{"picture": PICTURE, "label": "3", "probabilities": drawn(), "grid": (2, 3)} | changes)
    assert str(caught.value) == f"AttentionMap.{message}"
