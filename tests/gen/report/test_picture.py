"""Grey pictures inside a page: their bytes, their size on the screen, what is refused."""

import base64
import io

from matplotlib.image import imread
import numpy as np
import pytest

from wingbeat.gen.report.picture import check_picture, grey_url, zoom
from wingbeat.hw.errors import WingbeatError


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (200, 256)])
def test_the_url_holds_every_pixel(shape):
    picture = np.random.default_rng(shape[0]).integers(0, 256, shape).astype(np.uint8)
    kind, data = grey_url(picture).split(",")
    assert kind == "data:image/png;base64"
    decoded = imread(io.BytesIO(base64.b64decode(data, validate=True)), format="png")
    np.testing.assert_array_equal(np.rint(decoded * 255), picture)


@pytest.mark.parametrize("shape, size, wanted", [((8, 8), 56, (56, 56)), ((3, 2), 84, (56, 84)), ((8, 5), 7, (5, 8))])
def test_pixels_are_squares_of_a_whole_number(shape, size, wanted):
    assert zoom(np.zeros(shape, np.uint8), size) == wanted


@pytest.mark.parametrize("picture", [np.zeros((2, 2)), np.zeros(2, np.uint8), np.zeros((0, 2), np.uint8),
                                     np.zeros((2, 257), np.uint8)], ids=lambda each: f"{each.dtype}{each.shape}")
def test_what_is_no_picture_is_refused(picture):
    with pytest.raises(WingbeatError) as caught:
        check_picture("Some.picture", picture)
    assert str(caught.value) == (f"Some.picture: {picture.dtype} of shape {picture.shape}; allowed are a text and "
                                 "uint8 of 1..256 x 1..256")
