"""Sequence compression: runs of L tokens, of which the first coefficients of their Fourier transform are kept.

Half of the coefficients, or any 1/2^k, go back through a shorter transform. Three quarters are 3M = 3L/4 points:
result 3m + r is an M-point inverse transform of

    Z_r[k] = sum over i = 0, 1, 2 of X[k + iM] exp(2 pi j (k + iM) r / 3M)

and the three-term sum is two butterfly layers on four words, of which the first is zero:

    u = 0 + t0 X[k]        v = X[k + M] + (t2/t1) X[k + 2M]        Z_r = u + t1 v

All complex words. Source: MLX (references), the factors are those of a radix-3 step.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.descriptor import Move
from ....hw.isa.instruction import MemoryMode, Mode
from ..kernel.compile import Numbers, checked_log2
from ..kernel.kernel import Kernel
from ..kernel.layers import Layer, bit_reversal, fft_layers
from ..kernel.passes import assign_columns, build_passes, coefficient_image
from .assemble import Transfer
from .coefficients import CoefficientSpace
from .matrix import Matrix
from .operations import transform_columns
from .stage import Block, Place, Side, build_stage

__all__ = ["InverseThreeQuarters", "compile_three_quarters", "compress_tokens"]


@dataclass(frozen=True, eq=False)
class InverseThreeQuarters:
    """Inverse transform of 3M points in three blocks of 4M words per column: ``layers[r]`` makes results 3m + r.

    ``shifts[r]``: right shift of every layer; the sums are equal. ``output_scale``: value of one unit of the result.
    """

    config: CoreConfig
    points: int
    layers: tuple[list[Layer], ...]
    shifts: tuple[list[int], ...]
    output_scale: float

    @property
    def size(self) -> int:
        """3M, tokens that a run keeps."""
        return self.points


def _three_terms(bits: int, r: int) -> list[Layer]:
    """The two layers of the sum over index [slot, 2 bits | k bit-reversed, ``bits`` bits], then the M-point inverse."""
    m = 1 << bits
    angle = 2j * np.pi * r / (3 * m)
    turn = np.exp(angle * bit_reversal(bits))      # of X[k]
    third = np.exp(angle * m)                      # more for each M
    none, live = np.zeros(2 * m, dtype=bool), np.ones(4 * m, dtype=bool)
    twiddles = (np.concatenate([turn, np.full(m, third)]), np.concatenate([turn * third, np.zeros(m)]))
    sums = [Layer(bits + at, Mode.FFT, twiddle.real, twiddle.imag, none, none, live, 4 * m - 1 - (1 << bits + at))
            for at, twiddle in enumerate(twiddles)]
    return [*sums, *fft_layers(4 * m, 0, bits, inverse=True)]


def compile_three_quarters(points: int, config: CoreConfig, *, calibration: Any, headroom: float = 1.25,
                           input_limit: float | None = None) -> InverseThreeQuarters:
    """Inverse Fourier transform of ``points`` = 3 * 2^k, including 1/points; ``calibration`` (rows, points) complex.

    Raises WingbeatError.
    """
    if points % 3:
        raise WingbeatError(f"points: {points}; allowed are three times a power of two")
    bits = checked_log2("points / 3", points // 3)
    if bits + 2 + config.layers > config.index_bits:
        raise WingbeatError(f"half_words: {config.half_words} is too small for {points} points; allowed are "
                            f"{4 << bits + config.layers} and more")
    numbers = Numbers(config, points, scaling="static", calibration=calibration, input_limit=input_limit,
                      headroom=headroom, real=False)
    layers = tuple(_three_terms(bits, r) for r in range(3))
    reverse, m = bit_reversal(bits), points // 3
    order = np.concatenate([np.full(m, points), *(i * m + reverse for i in range(3))])  # slot 0 is beyond the input
    plans = [shifts or [] for shifts in numbers.plan([(part, np.full(4 * m, 1 / points)) for part in layers], order)]
    total = max(sum(shifts) for shifts in plans)
    # The results of the three parts stand in one matrix and have one scale: what a part lacks it shifts at its end.
    evened = tuple([*shifts[:-1], shifts[-1] + total - sum(shifts)] for shifts in plans)
    most = (1 << config.shift_bits) - 1
    if max(shifts[-1] for shifts in evened) > most:
        raise WingbeatError(f"calibration: the parts of the transform need shifts that differ by more than {most}")
    return InverseThreeQuarters(config, points, layers, evened, numbers.step * 2.0 ** total / points)


def _inverse_three_quarters(kernel: InverseThreeQuarters, source: Matrix, target: Matrix,
                            coefficients: CoefficientSpace, name: str) -> list[Transfer]:
    """Columns of ``source`` (points rows) to those of ``target``."""
    config, m = kernel.config, kernel.points // 3
    bits = m.bit_length() - 1
    row_bits = config.index_bits - bits - 2
    groups, high = config.beat_groups, row_bits - config.layers
    above = [*(Place("lane", bit) for bit in range(config.layers)),
             *(Place("move", move=Move(0, groups << bit)) for bit in range(high))]
    chunks = groups << high
    rows_in = [*(Place("move", move=Move(m >> bit + 1)) for bit in range(bits)),
               *(Place("move", move=Move(m << bit)) for bit in range(2))]
    rows_out = [*(Place("move", move=Move(3 << bit)) for bit in range(bits)), Place("skip"), Place("skip")]
    tasks = []
    for r in range(3):
        slots = assign_columns([layer.bit for layer in kernel.layers[r]], config.layers)
        passes = build_passes(kernel.layers[r], slots, config, shifts=kernel.shifts[r],
                              block_bits=bits + 2 + row_bits, base=0)
        image = coefficient_image(kernel.layers[r], slots, config, 0)
        stage = build_stage(f"{name}.{r}", config, *coefficients.place(passes, image),
                            Side(MemoryMode.COLUMNS, (*rows_in, *above), source.pitch, chunks),
                            Side(MemoryMode.COLUMNS, (*rows_out, *above), target.pitch, chunks))
        stage = replace(stage, read=replace(stage.read, origin=Move(-m)))  # slot 0 lies before the first row: zeros
        for first in range(0, source.chunks(config), chunks):
            left = min(chunks, source.chunks(config) - first)
            own = stage if left == chunks else replace(stage, read=replace(stage.read, chunks=left),
                                                       write=replace(stage.write, chunks=left))
            tasks.append(Transfer(own, Block(source.base + first, kernel.points,
                                         target.base + r * target.pitch + first, kernel.points)))
    return tasks


def compress_tokens(forward: Kernel, inverse: Kernel | InverseThreeQuarters, source: Matrix, between: Matrix,
                    target: Matrix, coefficients: CoefficientSpace, name: str) -> list[Transfer]:
    """``target`` = ``source``, complex words, with every run of L tokens shortened: the first coefficients of its
    Fourier transform along the tokens, transformed back (sequence compression of MLX).

    ``forward`` has L points, ``inverse`` as many as are kept; ``between`` and ``target`` have so many rows a run. All
    transforms come before all inverse ones, so that nothing waits. Raises WingbeatError unless L divides the tokens.
    """
    length, kept = forward.size, inverse.size
    if source.rows % length:
        raise WingbeatError(f"tokens: {source.rows} are no whole number of runs of {length}")

    def part(matrix: Matrix, number: int, rows: int) -> Matrix:
        return replace(matrix, base=matrix.base + number * rows * matrix.pitch, rows=rows)

    runs = range(source.rows // length)
    tasks: list[Transfer] = []
    for run in runs:
        tasks += transform_columns(forward, part(source, run, length), part(between, run, kept), coefficients,
                                   f"{name}.forward")
    for run in runs:
        ways = part(between, run, kept), part(target, run, kept)
        if isinstance(inverse, InverseThreeQuarters):
            tasks += _inverse_three_quarters(inverse, *ways, coefficients, f"{name}.inverse")
        else:
            tasks += transform_columns(inverse, *ways, coefficients, f"{name}.inverse")
    return tasks
