"""Grey pictures inside a page: PNG as a URL that holds all of it."""

import base64
import struct
import zlib

import numpy as np

from ...hw.errors import WingbeatError

__all__ = ["check_picture", "grey_url", "zoom"]

_MOST_PIXELS = 256  # height or width of a picture


def check_picture(name: str, picture: np.ndarray) -> None:
    """Raises :class:`WingbeatError` unless ``picture`` is uint8 (height, width) of 1..256 pixels each way."""
    shape, kind = picture.shape, picture.dtype
    if kind != np.uint8 or len(shape) != 2 or not all(1 <= n <= _MOST_PIXELS for n in shape):
        raise WingbeatError(f"{name}: {kind} of shape {shape}; allowed are a text and uint8 of 1..{_MOST_PIXELS} x "
                            f"1..{_MOST_PIXELS}")


def grey_url(picture: np.ndarray) -> str:
    """URL of ``picture``, uint8 (height, width), 0 black, 255 white."""
    return "data:image/png;base64," + base64.b64encode(_png(picture)).decode("ascii")


def zoom(picture: np.ndarray, size: int) -> tuple[int, int]:
    """Width and height on the screen: the longer side at most ``size`` where it can be, every pixel as large as the
    others."""
    height, width = picture.shape
    times = max(1, size // max(height, width))
    return times * width, times * height


def _png(picture: np.ndarray) -> bytes:
    """Eight bits of grey, not compressed: these bytes do not depend on the version of zlib, and a picture is small."""
    height, width = picture.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    lines = b"".join(b"\0" + line.tobytes() for line in picture)  # 0: a line without filter
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(lines, 0)) + chunk(b"IEND", b""))
