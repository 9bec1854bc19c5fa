"""Which blocks a matrix is cut into, and in which order: rows of each block, the first one, their number."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from ....hw.isa.instruction import Pass
from ..kernel.kernel import Kernel

__all__ = ["Start", "row_blocks", "batch_blocks", "parts_of", "least_row_bits", "resized"]

Start = Literal["cold", "warm", "steady"]


def resized(kernel: Kernel, passes: Sequence[Pass], row_bits: int) -> tuple[Pass, ...]:
    """The passes of a block that holds 2^row_bits words per element in each engine."""
    config, sized = kernel.config, []
    groups = 1 << kernel.log2_size + row_bits - config.layers
    for number, step in enumerate(passes):
        gap = config.pass_gap(passes[number - 1].digit, step.digit, groups) if number else 0
        if number and step.block_float:
            gap = max(gap, config.block_float_gap)
        sized.append(replace(step, groups=groups, gap=gap))
    return tuple(sized)


def least_row_bits(kernel: Kernel) -> int:
    """Smallest blocks that run without a stall between passes, or those of the kernel."""
    digits = -(-kernel.log2_size // kernel.config.layers)
    least = digits * kernel.config.layers - kernel.log2_size  # the top digit is whole
    for row_bits in range(least, kernel.row_bits):
        if not any(step.gap for stack in kernel.stacks for step in resized(kernel, stack.passes, row_bits)):
            return row_bits
    return kernel.row_bits


def row_blocks(kernel: Kernel, rows: int, start: Start) -> list[tuple[int, int, int]]:
    """Row bits, first row and number of rows of every block: as large as the kernel's, smaller ones where it pays.

    A block must be loaded as a whole before it is computed. Where both halves are free (``cold``) the sizes rise
    from the smallest one on, each loaded while the one before is computed. Where one half is still being stored
    (``warm``) two blocks of half the size fill the time. What is left over at the end goes into ever smaller blocks.
    """
    unit = kernel.config.engines * kernel.rows_per_word
    units = -(-rows // unit)
    most, least = kernel.row_bits, least_row_bits(kernel)
    rising = {"cold": [*range(least, most)], "warm": [max(least, most - 1)] * 2, "steady": []}[start]
    sizes = rising if sum(1 << bits for bits in rising) <= units else []
    left = units - sum(1 << bits for bits in sizes)
    sizes += [most] * (left >> most)
    sizes += [bits for bits in range(most - 1, least - 1, -1) if left >> bits & 1]
    if left & (1 << least) - 1:
        sizes.append(least)
    blocks, first = [], 0
    for bits in sizes:
        blocks.append((bits, first, min(unit << bits, rows - first)))
        first += unit << bits
    return blocks


def parts_of(count: int, per_block: int) -> list[tuple[int, int]]:
    """First one and number of every part of ``count`` things."""
    return [(first, min(per_block, count - first)) for first in range(0, count, per_block)]


def batch_blocks(kernel: Kernel, rows: int, start: Start, batch: int) -> list[tuple[int, int, int]]:
    """As :func:`row_blocks`; a border lies behind the first ``batch`` rows, of which FOLD can leave out only one."""
    first = batch if batch > 1 else 0
    behind = row_blocks(kernel, rows - first, "steady" if first else start)
    return [*(row_blocks(kernel, first, start) if first else []),
            *((bits, first + row, count) for bits, row, count in behind)]
