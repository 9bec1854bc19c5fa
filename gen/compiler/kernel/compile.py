"""From a butterfly matrix or a Fourier transform to a kernel: coefficients, shifts, order and program.

    kernel = compile_butterfly("layer.safetensors", config, calibration=rows)
    y = kernel.run_model(x)

Everything that does not fit is refused in one line that names the parameter with which it would.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.instruction import Load, Mode, Store
from ....hw.isa.walk import Walk
from ....hw.numeric import largest
from ..checkpoint import ButterflyWeights, butterfly_weights, read_layer
from .kernel import Kernel, Part, Stack
from .layers import Layer, bit_reversal, fft_layers, pair_indices
from .passes import (Scaling, assign_columns, build_passes, coefficient_image, coefficient_words, overlapped_walks,
                     reversed_window)
from .scaling import input_limit as calibrated_limit, best_limit, layer_peaks, noise_gains, safe_shifts, static_shifts
from .unit_pivot import stack_layers, unit_pivot

__all__ = ["Numbers", "checked_log2", "checked_weights", "compile_butterfly", "compile_copy", "compile_sum",
           "compile_fft", "compile_fft2"]

Order = Literal["overlap", "natural"]
Square = tuple[list[Layer], np.ndarray]  # layers of one stack and the scale (N,) left on its outputs


def _choice(field: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise WingbeatError(f"{field}: {value!r}; allowed are {', '.join(allowed)}")


def _row_bits(config: CoreConfig, log2_size: int, row_words: int | None) -> int:
    """v: as many row pairs as a half holds and ``row_words`` in all ask for; the top digit is whole."""
    digits = -(-log2_size // config.layers)
    least = config.layers * digits - log2_size
    most = config.index_bits - log2_size
    if least > most:
        raise WingbeatError(f"half_words: {config.half_words} is too small for {1 << log2_size} points and "
                            f"layers = {config.layers}; allowed are {1 << (log2_size + least)} and more")
    if row_words is None:
        return most
    wanted = max(1, -(-row_words // config.engines))
    return min(most, max(least, (wanted - 1).bit_length()))


def _calibration_rows(calibration: Any, in_size: int, scaling: Scaling, real: bool) -> np.ndarray | None:
    if calibration is None:
        if scaling == "static":
            raise WingbeatError("calibration: missing; with static scaling allowed are rows that show the "
                                "range of the data (scaling 'safe' and 'block' need none)")
        return None
    rows = np.asarray(calibration)
    if rows.ndim != 2 or rows.shape[1] != in_size or not len(rows):
        raise WingbeatError(f"calibration: shape {rows.shape}; allowed is (rows, {in_size}) with rows >= 1")
    if rows.dtype.kind not in ("fiu" if real else "fiuc") or not np.all(np.isfinite(rows)):
        raise WingbeatError(f"calibration: dtype {rows.dtype} or its values; allowed are finite "
                            f"{'real' if real else 'real or complex'} numbers")
    return rows.astype(np.float64 if real else np.complex128)


def _limit(limit: float | None, rows: np.ndarray | None, headroom: float) -> float:
    if not 1 <= headroom <= 1024:
        raise WingbeatError(f"headroom: {headroom}; allowed are 1..1024")
    if limit is None:
        return calibrated_limit(rows, headroom)
    if not 0 < limit < float("inf"):
        raise WingbeatError(f"input_limit: {limit}; allowed are finite numbers above 0")
    return float(limit)


class Numbers:
    """What all kernels share whatever their size: number format and scaling policy."""

    def __init__(self, config: CoreConfig, in_size: int, *, scaling: Scaling, calibration: Any,
                 input_limit: float | None, headroom: float, real: bool):
        _choice("scaling", scaling, ("static", "safe", "block"))
        self.config, self.scaling, self.headroom, self.in_size = config, scaling, headroom, in_size
        self.calibration = _calibration_rows(calibration, in_size, scaling, real)
        self.limit, self.limit_is_open = _limit(input_limit, self.calibration, headroom), input_limit is None

    @property
    def step(self) -> float:
        """Value of one unit of an element on the way in."""
        return self.limit / largest(self.config.element_width)

    def plan(self, stacks: list[Square], load_order: np.ndarray) -> list[list[int] | None]:
        """Right shift of every layer of every stack, None for block floating point.

        Static shifts leave the input range open up to a factor of two, unless the caller has set it: the
        choice with the least rounding noise is taken.
        """
        if self.scaling == "block":
            return [None] * len(stacks)
        if self.scaling == "safe" or self.calibration is None:
            width, coefficient_width = self.config.width, self.config.coefficient_width
            return [safe_shifts(layers, width, coefficient_width) for layers, _ in stacks]
        x = np.zeros((len(self.calibration), load_order.size), dtype=self.calibration.dtype)
        x[:, :self.in_size] = self.calibration
        peaks = [layer_peaks(layers, x[:, load_order]) for layers, _ in stacks]
        if self.limit_is_open:
            gains = [noise_gains(layers, scale) for layers, scale in stacks]
            self.limit = best_limit(self.limit, list(zip(peaks, gains)), self.headroom, self.config)
        most = (1 << self.config.shift_bits) - 1
        return [static_shifts(peak, self.limit, self.headroom, most) for peak in peaks]


class _Builder(Numbers):
    """Kernels of one block: numbers and the geometry of the block."""

    def __init__(self, config: CoreConfig, log2_size: int, in_size: int, *, rows: int | None, order: Order,
                 real: bool, **numbers: Any):
        _choice("order", order, ("overlap", "natural"))
        if rows is not None and rows < 1:
            raise WingbeatError(f"rows: {rows}; allowed are numbers >= 1")
        super().__init__(config, in_size, real=real, **numbers)
        self.order, self.log2_size = order, log2_size
        row_words = None if rows is None else -(-rows // 2) if real else rows
        self.row_bits = _row_bits(config, log2_size, row_words)

    @property
    def block_bits(self) -> int:
        return self.log2_size + self.row_bits

    def walks(self, load_window: tuple[int, ...]) -> tuple[Load, Store]:
        """Load through ``load_window``, store in row order."""
        rows = tuple(range(self.config.layers))
        load, store, lag = overlapped_walks(load_window, rows, self.block_bits)
        if self.order == "overlap":
            return Load(load, True, lag), Store(store)
        everything = (1 << self.block_bits) - 1
        return (Load(Walk(load_window, everything & ~load.window_mask, 0)),
                Store(Walk(rows, everything & ~store.window_mask, 0)))

    def parts(self, stacks: list[Square], load_order: np.ndarray) -> list[Part]:
        """The stacks, as many in one part as the coefficient memory holds."""
        config = self.config
        parts: list[list[Stack]] = [[]]
        base = 0
        for (layers, scale), shifts in zip(stacks, self.plan(stacks, load_order)):
            slots = assign_columns([layer.bit for layer in layers], config.layers)
            need = coefficient_words(layers, slots)
            if need > config.coefficient_words:
                raise WingbeatError(f"coefficient_words: {config.coefficient_words} is too small for "
                                    f"{len(layers)} layers of {load_order.size} points; allowed are {need} "
                                    "and more")
            if base + need > config.coefficient_words:
                parts.append([])
                base = 0
            passes = build_passes(layers, slots, config, shifts=shifts, block_bits=self.block_bits, base=base)
            image = coefficient_image(layers, slots, config, base)
            parts[-1].append(Stack(passes, image, sum(shifts or []), scale))
            base += need
        return [Part(tuple(part)) for part in parts]

    def kernel(self, mode: Mode, stacks: list[Square], load_order: np.ndarray, load_window: tuple[int, ...],
               out_size: int, bias: np.ndarray | None = None) -> Kernel:
        parts = self.parts(stacks, load_order)
        load, store = self.walks(load_window)
        kernel = Kernel(self.config, mode, self.scaling, self.log2_size, self.row_bits, self.in_size,
                        out_size, self.step, load, store, load_order, tuple(parts), len(stacks[0][0]), bias)
        need = max(kernel.program_words(part) for part in parts)
        if need > self.config.program_words:
            raise WingbeatError(f"program_words: {self.config.program_words} is too small for a program of "
                                f"{need} words; allowed are {1 << (need - 1).bit_length()} and more")
        return kernel


def checked_weights(weights: Any, name: str | None, **options: Any) -> ButterflyWeights:
    """Checked weights from a path, weights that were checked before, or an array; given options win."""
    if isinstance(weights, (str, Path)):
        return read_layer(weights, name, **options)
    given = {key: value for key, value in options.items() if value is not None}
    if isinstance(weights, ButterflyWeights):
        known = {key: getattr(weights, key) for key in ("increasing_stride", "in_size", "out_size", "bias")}
        return butterfly_weights(weights.twiddle, name=name or "", **(known | given))
    return butterfly_weights(weights, name=name or "", **given)


def compile_butterfly(weights: Any, config: CoreConfig, *, calibration: Any = None, headroom: float = 1.25,
                      scaling: Scaling = "static", input_limit: float | None = None,
                      increasing_stride: bool | None = None, in_size: int | None = None,
                      out_size: int | None = None, bias: Any = None, name: str | None = None,
                      rows: int | None = None, order: Order = "overlap", least_size: int = 1) -> Kernel:
    """Compile a butterfly matrix for real rows (rows, in_size) -> (rows, out_size).

    ``weights``: a torch-butterfly array (nstacks, nblocks, log_n, n/2, 2, 2), a ButterflyWeights, or the
    path of a checkpoint (``name`` picks a layer of it). ``calibration`` (rows, in_size) sets the input
    range and, with ``scaling`` 'static', the shift of every layer, each with ``headroom``; 'safe' never
    overflows, whatever the rows; 'block' is block floating point. ``input_limit`` is the full-scale input
    where there is no calibration (default 1). ``rows``: rows of a typical call, so that a block is not
    larger than needed. ``order`` 'natural' streams whole blocks in index order without overlap of load
    and store (see compile_fft). Stacks run in one program where their coefficients fit, else in several; those of
    less than ``least_size`` elements become fewer, larger ones. Source: docs/design.md section 2.

    Raises WingbeatError.
    """
    w = checked_weights(weights, name, increasing_stride=increasing_stride, in_size=in_size, out_size=out_size,
                 bias=bias)
    bits = max(w.log2_size, checked_log2("least_size", least_size, 1))
    builder = _Builder(config, bits, w.in_size, scaling=scaling, calibration=calibration,
                       input_limit=input_limit, headroom=headroom, rows=rows, order=order, real=True)
    stacks = []
    for number, layers in enumerate(stack_layers(w.twiddle, w.increasing_stride, bits)):
        pivot = unit_pivot(layers, w.in_size, min(1 << bits, w.out_size - (number << bits)))
        stacks.append((pivot.layers, pivot.scale))
    return builder.kernel(Mode.BPMM, stacks, np.arange(1 << bits), tuple(range(config.layers)), w.out_size, w.bias)


def compile_copy(elements: int, config: CoreConfig, *, least_size: int = 2, rows: int | None = None) -> Kernel:
    """Compile rows (rows, ``elements``) that pass as they are: one layer, one pass. Raises WingbeatError."""
    size = max(least_size, 1 << (elements - 1).bit_length())
    bits = checked_log2("least_size", size)
    none = np.zeros(size // 2)
    layer = Layer(0, Mode.BPMM, none, none, none != 0, none == 0, np.arange(size) < elements, 0)
    builder = _Builder(config, bits, elements, scaling="static", calibration=np.full((1, elements), 1.0), headroom=1,
                       input_limit=float(largest(config.element_width)), rows=rows, order="overlap", real=True)
    return builder.kernel(Mode.BPMM, [([layer], np.ones(size))], np.arange(size), tuple(range(config.layers)),
                          elements)


def compile_sum(count: int, config: CoreConfig, *, calibration: Any, input_limit: float,
                headroom: float = 1.25, rows: int | None = None) -> Kernel:
    """Compile the sum of the ``count`` elements of rows: row 0 of a Hadamard transform, result in element 0.

    Options as in :func:`compile_butterfly`. Raises WingbeatError.
    """
    bits = max(1, (count - 1).bit_length())
    size = 1 << bits
    index, none, layers = np.arange(size), np.zeros(size // 2), []
    for bit in range(bits):
        live = index % (2 << bit) == 0
        # What is not live stays a copy: sums that nobody reads could saturate.
        added = live[pair_indices(size, bit)[0]].astype(float)
        layers.append(Layer(bit, Mode.BPMM, added, none, none != 0, none == 0, live, (1 << bit) - 1))
    builder = _Builder(config, bits, count, scaling="static", calibration=calibration, input_limit=input_limit,
                       headroom=headroom, rows=rows, order="overlap", real=True)
    return builder.kernel(Mode.BPMM, [(layers, np.ones(size))], index, tuple(range(config.layers)), 1)


def checked_log2(field: str, points: Any, smallest: int = 2) -> int:
    """log2 of ``points``; WingbeatError naming ``field`` unless it is a power of two from ``smallest`` on."""
    if isinstance(points, bool) or not isinstance(points, (int, np.integer)) or points < smallest \
            or points & (points - 1):
        raise WingbeatError(f"{field}: {points!r}; allowed are powers of two from {smallest} on")
    return int(points).bit_length() - 1


def _compile_transform(config: CoreConfig, token_bits: int, hidden_bits: int, inverse: bool,
                       **options: Any) -> Kernel:
    """FFT over the hidden bits and, above them, the token bits of one index."""
    log2_size = token_bits + hidden_bits
    builder = _Builder(config, log2_size, 1 << log2_size, real=False, **options)
    size = 1 << log2_size
    layers = (fft_layers(size, 0, hidden_bits, inverse) + fft_layers(size, hidden_bits, token_bits, inverse))
    token, hidden = bit_reversal(token_bits), bit_reversal(hidden_bits)
    load_order = (token[:, None] << hidden_bits | hidden[None, :]).reshape(-1)
    scale = np.full(size, 1 / size if inverse else 1.0)
    window = reversed_window(hidden_bits, config.layers)
    return builder.kernel(Mode.FFT, [(layers, scale)], load_order, window, size)


def compile_fft(points: int, config: CoreConfig, *, inverse: bool = False, scaling: Scaling = "block",
                calibration: Any = None, headroom: float = 1.25, input_limit: float | None = None,
                rows: int | None = None, order: Order = "overlap") -> Kernel:
    """Compile a Fourier transform of N = ``points`` for complex rows (rows, N); the inverse includes 1/N.

    Decimation in time: every load beat takes P consecutive elements of a row and lands bit-reversed;
    results leave in row order. With ``order`` 'overlap' the beats come in the order in which the store
    frees the buffer and their addresses are permuted; with 'natural' results leave element by element in
    index order and the load waits for the end of the store. Other options as in
    :func:`compile_butterfly`; 'static' shifts are only as good as the calibration rows resemble the data
    (a mean that they lack saturates), so block floating point is the default.

    Raises WingbeatError.
    """
    return _compile_transform(config, 0, checked_log2("points", points), inverse, scaling=scaling,
                              calibration=calibration, headroom=headroom, input_limit=input_limit, rows=rows,
                              order=order)


def compile_fft2(tokens: int, hidden: int, config: CoreConfig, *, inverse: bool = False,
                 scaling: Scaling = "block", calibration: Any = None, headroom: float = 1.25,
                 input_limit: float | None = None, rows: int | None = None,
                 order: Order = "overlap") -> Kernel:
    """Compile a two-dimensional Fourier transform of tokens x hidden points, both within one buffer half.

    A row is one matrix flattened in C order, (rows, tokens * hidden) complex: the index is [token bits |
    hidden bits] and both transforms run in one block without a transposition. Every load beat takes
    consecutive hidden elements of one token; both bit reversals lie in the order of the beats, that is in
    the addresses the host (or DMA) reads. Options as in :func:`compile_fft`.

    Raises WingbeatError.
    """
    return _compile_transform(config, checked_log2("tokens", tokens, 1), checked_log2("hidden", hidden, 2), inverse,
                              scaling=scaling, calibration=calibration, headroom=headroom,
                              input_limit=input_limit, rows=rows, order=order)
