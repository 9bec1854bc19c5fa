"""Unit-pivot form of a butterfly matrix: two multiplications per pair instead of four (docs/design.md section 2).

Row [a b] of a 2x2 block becomes s * [1 p] or s * [p 1], whichever keeps |p| <= 1. The scale s of every
output element is pushed into the columns of the next layer; after the last layer one scale per output
element is left. The algebra is exact: only float64 rounding separates it from the product of the blocks.
"""

from dataclasses import dataclass

import numpy as np

from ....hw.isa.instruction import Mode
from .layers import Layer, pair_indices

__all__ = ["BlockLayer", "UnitPivot", "block_layers", "stack_layers", "merge_layers", "unit_pivot"]


@dataclass(frozen=True, eq=False)
class BlockLayer:
    """A layer of 2x2 blocks: ``blocks[j]`` (N/2, 2, 2) maps pair j of index bit ``bit``."""

    bit: int
    blocks: np.ndarray


@dataclass(frozen=True, eq=False)
class UnitPivot:
    """Unit-pivot layers and the scale (N,) that is left on each output element.

    The matrix is diag(scale) * layers[-1] * ... * layers[0]. A scale of 0 is an output that is always zero.
    """

    layers: list[Layer]
    scale: np.ndarray

    def apply(self, x: np.ndarray) -> np.ndarray:
        """The whole matrix in float64 on rows ``x`` (..., N)."""
        for layer in self.layers:
            x = layer.apply(x)
        return np.where(self.scale == 0, 0.0, x * self.scale)


def block_layers(twiddle: np.ndarray, increasing_stride: bool) -> list[BlockLayer]:
    """Layers of one stack of a torch-butterfly array, in the order they are applied.

    ``twiddle`` is (nblocks, log_n, n/2, 2, 2). Layer idx of a block has stride 2^idx when its direction is
    increasing and 2^(log_n - 1 - idx) when not; the direction flips from block to block.
    """
    layers = []
    for number, block in enumerate(twiddle):
        increasing = increasing_stride ^ bool(number & 1)
        for idx, blocks in enumerate(block):
            bit = idx if increasing else len(block) - 1 - idx
            layers.append(BlockLayer(bit, np.asarray(blocks, dtype=np.float64)))
    return layers


def stack_layers(twiddle: np.ndarray, increasing_stride: bool, least_bits: int = 0) -> list[list[BlockLayer]]:
    """Layers of every stack of a torch-butterfly array (nstacks, nblocks, log_n, n/2, 2, 2).

    Where log_n is less than ``least_bits``, as many stacks as make up for it become one of 2^least_bits elements: its
    first layers copy the n inputs, the others apply each stack to its own copy.
    """
    stacks = [block_layers(stack, increasing_stride) for stack in twiddle]
    bits = twiddle.shape[2]
    together = 1 << max(0, least_bits - bits)
    if together == 1:
        return stacks
    none = [BlockLayer(layer.bit, np.zeros_like(layer.blocks)) for layer in stacks[0]]
    copies = [BlockLayer(bit, np.tile([[1.0, 0.0], [1.0, 0.0]], ((1 << least_bits) // 2, 1, 1)))
              for bit in range(bits, least_bits)]
    lifted = []
    for first in range(0, len(stacks), together):
        group = stacks[first:first + together]
        group += [none] * (together - len(group))
        lifted.append([*copies, *(BlockLayer(layers[0].bit, np.concatenate([layer.blocks for layer in layers]))
                                  for layers in zip(*group))])
    return lifted


def merge_layers(layers: list[BlockLayer]) -> list[BlockLayer]:
    """Multiply neighbours of the same stride together: B * B^T costs 2n - 1 layers."""
    merged: list[BlockLayer] = []
    for layer in layers:
        if merged and merged[-1].bit == layer.bit:
            merged[-1] = BlockLayer(layer.bit, layer.blocks @ merged[-1].blocks)
        else:
            merged.append(layer)
    return merged


def _drop_unused(layers: list[BlockLayer], needed: np.ndarray) -> list[BlockLayer]:
    """Zero the rows that no needed output reads, so that they stay out of ranges and pivots."""
    kept = []
    for layer in reversed(layers):
        low, high = pair_indices(needed.size, layer.bit)
        rows = np.stack([needed[low], needed[high]], axis=-1)
        blocks = np.where(rows[..., None], layer.blocks, 0.0)
        kept.append(BlockLayer(layer.bit, blocks))
        used = np.any(blocks != 0, axis=-2)
        needed = np.empty_like(needed)
        needed[low], needed[high] = used[:, 0], used[:, 1]
    return kept[::-1]


def _pivot_layer(layer: BlockLayer, scale: np.ndarray, support: int) -> tuple[Layer, np.ndarray]:
    """One layer with the scales of its inputs folded in; returns it and the scales of its outputs."""
    low, high = pair_indices(scale.size, layer.bit)
    rows = layer.blocks * np.stack([scale[low], scale[high]], axis=-1)[:, None, :]
    pivots = np.abs(rows[..., 1]) > np.abs(rows[..., 0])
    factor = np.where(pivots, rows[..., 1], rows[..., 0])
    other = np.where(pivots, rows[..., 0], rows[..., 1])
    coefficient = np.divide(other, factor, out=np.zeros_like(other), where=factor != 0)
    out = np.empty_like(scale)
    out[low], out[high] = factor[:, 0], factor[:, 1]
    return Layer(layer.bit, Mode.BPMM, coefficient[:, 0], coefficient[:, 1], pivots[:, 0], pivots[:, 1],
                 out != 0, support), out


def unit_pivot(layers: list[BlockLayer], in_size: int | None = None,
               out_size: int | None = None) -> UnitPivot:
    """Unit-pivot form of the product of ``layers`` (first applied first, merged where strides meet).

    Inputs from ``in_size`` on are taken as zero and outputs from ``out_size`` on as unused: neither is
    ever chosen as a pivot that matters. An all-zero row becomes p = 0 with scale 0; its element carries a
    copy of an earlier value, so it cannot saturate, and ``Layer.live`` keeps it out of calibration.
    Scales are renormalised by a power of two per layer, so that long chains do not underflow.
    """
    layers = merge_layers(layers)
    size = 2 * len(layers[0].blocks)
    index = np.arange(size)
    layers = _drop_unused(layers, index < (size if out_size is None else out_size))
    scale = (index < (size if in_size is None else in_size)).astype(np.float64)
    exponent, result = 0, []
    for layer in layers:
        pivoted, scale = _pivot_layer(layer, scale, (size - 1) & ~(1 << layer.bit))
        largest = float(np.max(np.abs(scale)))
        if largest > 0:
            step = int(np.frexp(largest)[1])
            scale, exponent = np.ldexp(scale, -step), exponent + step
        result.append(pivoted)
    return UnitPivot(result, np.ldexp(scale, exponent))
