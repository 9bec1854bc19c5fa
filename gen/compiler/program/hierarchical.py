"""Hierarchical butterfly: a matrix cut into B x B tiles, each a butterfly; the sums over input tiles are layers too.

Output tile i is the sum over t of tile (i, t) times input tile t. With the tiles of a row side by side the inputs are
one vector of N elements, the layers inside the tiles are the lowest log2(B) layers of an N-point butterfly, and the sum
over tiles is a tree of log2(N/B) more layers whose blocks are [[1, 1], [0, 0]]: see docs/decisions/0015.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ..kernel.compile import compile_butterfly
from ..kernel.kernel import Kernel
from .assemble import Transfer
from .blocks import Start
from .coefficients import CoefficientSpace
from .matrix import Matrix
from .operations import multiply_butterfly

__all__ = ["compile_hierarchical", "hierarchical_butterfly", "hierarchical_twiddle"]

_SUM = np.array([[1.0, 1.0], [0.0, 0.0]])


def hierarchical_twiddle(tiles: np.ndarray) -> np.ndarray:
    """Butterflies (Tout, 1, n, N/2, 2, 2) whose first B outputs are the rows of tiles; ``tiles`` is
    (Tout, Tin, log2(B), B/2, 2, 2) with increasing strides, N = Tin * B.

    Raises WingbeatError unless Tin and B are powers of two.
    """
    if tiles.ndim != 6 or tiles.shape[4:] != (2, 2) or tiles.shape[3] != 1 << tiles.shape[2] - 1:
        raise WingbeatError(f"tiles: shape {tiles.shape}; allowed are (Tout, Tin, log2(B), B/2, 2, 2)")
    outputs, inputs, inside, pairs = tiles.shape[:4]
    if inputs & inputs - 1:
        raise WingbeatError(f"tiles: {inputs} input tiles; allowed are powers of two")
    summing = inputs.bit_length() - 1
    layers = tiles.transpose(0, 2, 1, 3, 4, 5).reshape(outputs, inside, inputs * pairs, 2, 2)
    sums = np.broadcast_to(_SUM, (outputs, summing, inputs * pairs, 2, 2))
    return np.concatenate([layers, sums], axis=1)[:, None]


def compile_hierarchical(tiles: np.ndarray, config: CoreConfig, *, calibration: Any, **options: Any) -> list[Kernel]:
    """One kernel for each row of tiles: N elements in, B out. ``calibration`` (rows, N); options of compile_butterfly.

    Raises WingbeatError.
    """
    twiddles = hierarchical_twiddle(tiles)
    return [compile_butterfly(twiddle[None], config, calibration=calibration, out_size=1 << tiles.shape[2],
                              increasing_stride=True, **options) for twiddle in twiddles]


def hierarchical_butterfly(kernels: Sequence[Kernel], source: Matrix, target: Matrix, coefficients: CoefficientSpace,
                           name: str, start: Start = "cold") -> list[Transfer]:
    """``target`` (rows, Tout * B) = the matrix of tiles times the rows (N elements) of ``source``.

    Element e of output tile i has the scale of ``kernels[i]``. Raises WingbeatError when a tile is no whole number of
    beats.
    """
    config, size = kernels[0].config, kernels[0].out_size
    if size % config.memory_elements:
        raise WingbeatError(f"stream_words: {config.stream_words} gives beats of {config.memory_elements} elements; "
                            f"allowed are up to {size // 2} for tiles of {size}")
    tasks = []
    for number, kernel in enumerate(kernels):
        own = replace(target, base=target.base + number * size // config.memory_elements, elements=size)
        tasks += multiply_butterfly(kernel, source, own, coefficients, f"{name}.{number}",
                                    "steady" if number else start)
    return tasks
