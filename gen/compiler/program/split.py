"""Transforms larger than a half: N = r*c in several stages, each of layers whose index bits fit one block.

The layers stay what they are, so a butterfly matrix costs no multiplication more and a Fourier transform keeps its
twiddles. A block holds the bits its layers work on and the low bits of a row, so that memory beats stay whole; the
other element bits are fixed in a block, and its coefficients with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.descriptor import Move
from ....hw.isa.instruction import MemoryMode, Mode
from ..kernel.compile import Numbers, checked_log2, checked_weights
from ..kernel.layers import Layer, bit_reversal, fft_layers, pair_indices
from ..kernel.passes import Scaling, assign_columns, build_passes, coefficient_image
from ..kernel.unit_pivot import block_layers, unit_pivot
from .assemble import Transfer
from .coefficients import CoefficientSpace
from .matrix import Matrix
from .operations import row_places
from .stage import Block, Side, build_stage, cell_bits

__all__ = ["SplitKernel", "SplitSegment", "split_butterfly", "split_fft", "split_rows"]

_MOST_SEGMENTS = 4


@dataclass(frozen=True)
class SplitSegment:
    """Layers ``first`` .. ``last`` - 1 and the element bits of their blocks, lowest index bit first."""

    first: int
    last: int
    bits: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class SplitStack:
    """One square transform: layers over all element bits, right shift of each, scale (N,) left on the outputs."""

    layers: list[Layer]
    shifts: list[int]
    scale: np.ndarray


@dataclass(frozen=True, eq=False)
class SplitKernel:
    """A butterfly matrix or Fourier transform in several segments.

    ``input_step``: value of one unit of an element on the way in. The first segment reads in bit-reversed order where
    ``reversed_input``.
    """

    config: CoreConfig
    mode: Mode
    log2_size: int
    in_size: int
    out_size: int
    input_step: float
    stacks: tuple[SplitStack, ...]
    segments: tuple[SplitSegment, ...]
    reversed_input: bool

    @property
    def memory_mode(self) -> MemoryMode:
        return MemoryMode.PAIRS if self.mode is Mode.BPMM else MemoryMode.ROWS

    @property
    def rows_per_block(self) -> int:
        return self.config.engines * (2 if self.mode is Mode.BPMM else 1)

    @property
    def output_scale(self) -> np.ndarray:
        """Value of one unit of each output element, (out_size,)."""
        scales = [np.ldexp(stack.scale * self.input_step, sum(stack.shifts)) for stack in self.stacks]
        return np.concatenate(scales)[:self.out_size]


def _beat_bits(config: CoreConfig, mode: Mode) -> int:
    """Low element bits that one beat of memory holds."""
    return (config.memory_elements if mode is Mode.BPMM else config.stream_words).bit_length() - 1


def _natural_bits(config: CoreConfig, active: Sequence[int], beat: int, log2_size: int) -> tuple[int, ...] | None:
    """Element bits of a block that reads and writes in row order and works on ``active``."""
    room, low, high, s = config.index_bits, min(active), max(active) + 1, config.layers
    whole = min(room, log2_size)
    if -(-high // s) * s <= whole:
        return tuple(range(whole))
    below = min(low, (room - (high - low)) // s * s)  # whole digits, so that the active bits keep theirs
    above = -(below + high - low) % s                 # fills the top digit
    fits = below >= beat and (below < low or not above) and below + above <= low and below + high - low + above <= room
    return (*range(below), *range(low, high), *range(below, below + above)) if fits else None


def _reversed_bits(config: CoreConfig, active: Sequence[int], beat: int, log2_size: int) -> tuple[int, ...] | None:
    """Element bits of a block that reads in bit-reversed order, writes in row order and works on ``active``."""
    below, digit = config.index_bits - beat, config.layers
    if max(active) >= below or below < beat or config.index_bits > log2_size \
            or (max(active) // digit + 1) * digit > config.index_bits:
        return None
    return (*range(below), *range(log2_size - beat, log2_size))


def _segments(config: CoreConfig, layers: Sequence[int], mode: Mode, log2_size: int,
              reversed_input: bool) -> tuple[SplitSegment, ...]:
    """Fewest segments, and of those the most even ones; ``layers`` are the bits in order of application."""
    beat = _beat_bits(config, mode)
    for count in range(1, min(_MOST_SEGMENTS, len(layers)) + 1):
        best: tuple[int, tuple[SplitSegment, ...]] | None = None
        for cuts in combinations(range(1, len(layers)), count - 1):
            found = []
            for first, last in zip((0, *cuts), (*cuts, len(layers))):
                place = _reversed_bits if reversed_input and first == 0 else _natural_bits
                bits = place(config, layers[first:last], beat, log2_size)
                if bits is not None:
                    found.append(SplitSegment(first, last, bits))
            least = min((segment.last - segment.first for segment in found), default=0)
            if len(found) == count and (best is None or least > best[0]):
                best = least, tuple(found)
        if best:
            return best[1]
    raise WingbeatError(f"half_words: {config.half_words} is too small for {1 << log2_size} points in "
                        f"{_MOST_SEGMENTS} stages with stream_words = {config.stream_words}; allowed are "
                        f"{2 * config.half_words} and more")


def _kernel(numbers: Numbers, mode: Mode, stacks: list[tuple[list[Layer], np.ndarray]], load_order: np.ndarray,
            out_size: int) -> SplitKernel:
    log2_size = load_order.size.bit_length() - 1
    reversed_input = mode is Mode.FFT
    segments = _segments(numbers.config, [layer.bit for layer in stacks[0][0]], mode, log2_size, reversed_input)
    plans = numbers.plan(stacks, load_order)
    done = tuple(SplitStack(layers, shifts or [], scale) for (layers, scale), shifts in zip(stacks, plans))
    return SplitKernel(numbers.config, mode, log2_size, numbers.in_size, out_size, numbers.step, done, segments,
                       reversed_input)


def _numbers(config: CoreConfig, in_size: int, scaling: Scaling, **options: Any) -> Numbers:
    if scaling == "block":
        raise WingbeatError("scaling: 'block'; allowed are static, safe where a transform takes several stages")
    return Numbers(config, in_size, scaling=scaling, **options)


def split_butterfly(weights: Any, config: CoreConfig, *, calibration: Any = None, headroom: float = 1.25,
                    scaling: Scaling = "static", input_limit: float | None = None,
                    increasing_stride: bool | None = None, in_size: int | None = None,
                    out_size: int | None = None) -> SplitKernel:
    """A butterfly matrix of any size that ``config`` takes in up to four stages; options as compile_butterfly.

    Raises WingbeatError.
    """
    w = checked_weights(weights, None, increasing_stride=increasing_stride, in_size=in_size, out_size=out_size)
    numbers = _numbers(config, w.in_size, scaling, calibration=calibration, input_limit=input_limit, headroom=headroom,
                       real=True)
    stacks = []
    for number, twiddle in enumerate(w.twiddle):
        used = min(w.size, w.out_size - number * w.size)
        pivot = unit_pivot(block_layers(twiddle, w.increasing_stride), w.in_size, used)
        stacks.append((pivot.layers, pivot.scale))
    return _kernel(numbers, Mode.BPMM, stacks, np.arange(w.size), w.out_size)


def split_fft(points: int, config: CoreConfig, *, inverse: bool = False, scaling: Scaling = "static",
              calibration: Any = None, headroom: float = 1.25, input_limit: float | None = None) -> SplitKernel:
    """A Fourier transform of any size that ``config`` takes in up to four stages; options as compile_fft.

    Raises WingbeatError.
    """
    bits = checked_log2("points", points)
    numbers = _numbers(config, points, scaling, calibration=calibration, input_limit=input_limit, headroom=headroom,
                       real=False)
    scale = np.full(points, 1 / points if inverse else 1.0)
    return _kernel(numbers, Mode.FFT, [(fft_layers(points, 0, bits, inverse), scale)], bit_reversal(bits), points)


# --- blocks -------------------------------------------------------------------------------------


def _deposit(value: int, bits: Sequence[int]) -> int:
    """Bit k of ``value`` at bit ``bits[k]``."""
    return sum((value >> k & 1) << bit for k, bit in enumerate(bits))


def _local(layer: Layer, bits: Sequence[int], fixed: int) -> Layer:
    """The layer inside a block whose index bit k is element bit ``bits[k]``; the other element bits are ``fixed``."""
    index = np.arange(1 << len(bits), dtype=np.int64)
    element = np.full_like(index, fixed)
    for k, bit in enumerate(bits):
        element |= (index >> k & 1) << bit
    at = bits.index(layer.bit)
    low = element[pair_indices(index.size, at)[0]]
    pair = low >> layer.bit + 1 << layer.bit | low & (1 << layer.bit) - 1
    support = sum(1 << k for k, bit in enumerate(bits) if layer.support >> bit & 1)
    return replace(layer, bit=at, c0=layer.c0[pair], c1=layer.c1[pair], s0=layer.s0[pair], s1=layer.s1[pair],
                   live=layer.live[element], support=support)


def _side(kernel: SplitKernel, segment: SplitSegment, matrix: Matrix, reversed_order: bool) -> Side:
    config, mode = kernel.config, kernel.memory_mode
    columns = [kernel.log2_size - 1 - bit if reversed_order else bit for bit in segment.bits]
    places = row_places(config, mode, len(columns), columns, cell_bits(config, mode))
    return Side(mode, tuple(places), matrix.pitch, matrix.chunks(config), matrix.tail(config))


def _chunk_of(kernel: SplitKernel, fixed: int, reversed_order: bool) -> int:
    """Chunk at which the block with the element bits ``fixed`` begins."""
    if reversed_order:
        fixed = int(bit_reversal(kernel.log2_size)[fixed])
    return fixed >> _beat_bits(kernel.config, kernel.mode)


def split_rows(kernel: SplitKernel, source: Matrix, between: Sequence[Matrix], target: Matrix,
               coefficients: CoefficientSpace, name: str) -> list[Transfer]:
    """``target`` = transform of the rows of ``source``; ``between`` holds the rows after each segment but the last.

    Rows of ``between`` are as long as the transform. Every stack reads all rows.
    """
    if len(between) != len(kernel.segments) - 1:
        raise ValueError(f"between: {len(between)} matrices; {len(kernel.segments)} segments need one less")
    tasks: list[Transfer] = []
    stack_chunks = kernel.log2_size - _beat_bits(kernel.config, kernel.mode)
    for number, stack in enumerate(kernel.stacks):
        first = number << stack_chunks
        own = replace(target, base=target.base + first,
                      elements=min(target.elements - first * kernel.config.memory_elements,
                                   kernel.config.memory_elements << stack_chunks))
        ways = [source, *between, own]
        for at, segment in enumerate(kernel.segments):
            tasks += _segment_tasks(kernel, stack, segment, ways[at], ways[at + 1], coefficients,
                                    f"{name}.{number}.{at}" if len(kernel.stacks) > 1 else f"{name}.{at}",
                                    kernel.reversed_input and at == 0)
    return tasks


def _segment_tasks(kernel: SplitKernel, stack: SplitStack, segment: SplitSegment, source: Matrix, target: Matrix,
                   coefficients: CoefficientSpace, name: str, reversed_order: bool) -> list[Transfer]:
    config = kernel.config
    free = [bit for bit in range(kernel.log2_size) if bit not in segment.bits]
    read, write = _side(kernel, segment, source, reversed_order), _side(kernel, segment, target, False)
    layers, shifts = stack.layers[segment.first:segment.last], stack.shifts[segment.first:segment.last]
    full = kernel.log2_size - _beat_bits(config, kernel.mode)
    tasks = []
    for combination in range(1 << len(free)):
        fixed = _deposit(combination, free)
        local = [_local(layer, segment.bits, fixed) for layer in layers]
        slots = assign_columns([layer.bit for layer in local], config.layers)
        passes = build_passes(local, slots, config, shifts=shifts, block_bits=len(segment.bits), base=0)
        image = coefficient_image(local, slots, config, 0)
        stage = build_stage(name, config, *coefficients.place(passes, image), read, write)
        starts = [_chunk_of(kernel, fixed, order) for order in (reversed_order, False)]
        # Where a row is not full its chunks are counted from its start.
        for side, matrix, at in (("read", source, 0), ("write", target, 1)):
            if matrix.chunks(config) < 1 << full:
                descriptor = replace(getattr(stage, side), origin=Move(0, starts[at]))
                stage, starts[at] = replace(stage, **{side: descriptor}), 0
        for row in range(0, source.rows, kernel.rows_per_block):
            rows = min(kernel.rows_per_block, source.rows - row)
            tasks.append(Transfer(stage, Block(source.base + row * source.pitch + starts[0], rows,
                                           target.base + row * target.pitch + starts[1], rows)))
    return tasks
