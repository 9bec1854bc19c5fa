"""From butterfly layers to passes: which layers share a pass, and what their units read.

Layers whose index bits rise (or fall) inside one digit go through the columns of one pass together. The same
columns serve both directions, so nothing is reordered between a butterfly and its transpose.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ....hw.config import CoreConfig
from ....hw.isa.instruction import Pass
from ....hw.isa.walk import Walk
from ....hw.numeric import coefficient_fraction_bits, largest
from .layers import Layer, bit_reversal, pair_indices

__all__ = ["Scaling", "Slot", "assign_columns", "coefficient_words", "coefficient_image", "build_passes",
           "overlapped_walks", "reversed_window"]

Scaling = Literal["static", "safe", "block"]


@dataclass(frozen=True)
class Slot:
    """Layers that one pass runs: ``columns[q]`` is the layer of column q, or None where words only pass."""

    digit: int
    descending: bool
    columns: tuple[int | None, ...]

    @property
    def active(self) -> int:
        """Mask of the columns that work."""
        return sum(1 << q for q, layer in enumerate(self.columns) if layer is not None)


def assign_columns(bits: list[int], n_columns: int) -> list[Slot]:
    """Group layers, given by their index bits in order of application, into as few passes as possible."""
    slots, at = [], 0
    while at < len(bits):
        digit, end, direction = bits[at] // n_columns, at + 1, 0
        while end < len(bits) and bits[end] // n_columns == digit:
            step = 1 if bits[end] > bits[end - 1] else -1
            if direction not in (0, step):
                break
            direction, end = step, end + 1
        columns: list[int | None] = [None] * n_columns
        for layer in range(at, end):
            lane = bits[layer] - digit * n_columns
            columns[n_columns - 1 - lane if direction < 0 else lane] = layer
        slots.append(Slot(digit, direction < 0, tuple(columns)))
        at = end
    return slots


def _address_field(layers: list[Layer], slot: Slot) -> tuple[int, int]:
    """Shift and number of the group bits that the coefficients of a pass depend on."""
    n_columns = len(slot.columns)
    low, support = slot.digit * n_columns, 0
    for number in slot.columns:
        support |= 0 if number is None else layers[number].support
    groups = (support & ((1 << low) - 1)) | support >> (low + n_columns) << low
    if not groups:
        return 0, 0
    shift = (groups & -groups).bit_length() - 1
    return shift, groups.bit_length() - shift


def coefficient_words(layers: list[Layer], slots: list[Slot]) -> int:
    """Words of every coefficient bank that the passes need."""
    return sum(1 << _address_field(layers, slot)[1] for slot in slots)


def _quantise(value: np.ndarray, width: int) -> np.ndarray:
    fraction = coefficient_fraction_bits(width)
    bound = largest(width)
    return np.clip(np.rint(np.ldexp(value, fraction)), -bound, bound).astype(np.int64) & ((1 << width) - 1)


def _column_words(layer: Layer, slot: Slot, column: int, width: int, field: tuple[int, int]) -> np.ndarray:
    """Coefficient words of one column, (P/2, addresses): unit k at address m."""
    n_columns, (shift, bits) = len(slot.columns), field
    low = slot.digit * n_columns
    lane, _ = pair_indices(1 << n_columns, column)
    if slot.descending:
        lane = bit_reversal(n_columns)[lane]
    group = np.arange(1 << bits, dtype=np.int64) << shift
    index = (group >> low << (low + n_columns)) | (group & ((1 << low) - 1)) | (lane << low)[:, None]
    element = index & (layer.live.size - 1)  # row-pair bits stand above the element bits
    pair = (element >> (layer.bit + 1) << layer.bit) | (element & ((1 << layer.bit) - 1))
    s0, s1 = layer.s0.astype(np.int64), layer.s1.astype(np.int64)
    words = _quantise(layer.c0, width) | _quantise(layer.c1, width) << width | (s0 | s1 << 1) << 2 * width
    return words[pair]


def coefficient_image(layers: list[Layer], slots: list[Slot], config: CoreConfig, base: int) -> np.ndarray:
    """Writes that fill the coefficient banks from ``base`` on, (words, 3) int64: bank, address, data."""
    writes = []
    for slot in slots:
        field = _address_field(layers, slot)
        for column, number in enumerate(slot.columns):
            if number is None:
                continue
            words = _column_words(layers[number], slot, column, config.coefficient_width, field)
            units, addresses = np.indices(words.shape)
            bank = column * config.lanes // 2 + units
            writes.append(np.stack([bank, base + addresses, words], axis=-1).reshape(-1, 3))
        base += 1 << field[1]
    return np.concatenate(writes)


def _growth(layers: list[Layer], columns: tuple[int | None, ...]) -> int:
    """Bits by which the columns can increase a component: one each, and one if any twiddle rotates."""
    working = [layers[number] for number in columns if number is not None]
    return len(working) + any(layer.rotates for layer in working)


def build_passes(layers: list[Layer], slots: list[Slot], config: CoreConfig, *, shifts: list[int] | None,
                 block_bits: int, base: int) -> list[Pass]:
    """Instructions of one block of 2^block_bits words per engine.

    ``shifts`` is the right shift of every layer, or None for block floating point. ``base`` is the first
    coefficient address.
    """
    groups = 1 << (block_bits - config.layers)
    passes = []
    for number, slot in enumerate(slots):
        first, last = number == 0, number == len(slots) - 1
        shift, bits = _address_field(layers, slot)
        gap = 0 if first else config.pass_gap(slots[number - 1].digit, slot.digit, groups)
        scaling: dict = {"shifts": tuple(0 if shifts is None or layer is None else shifts[layer]
                                         for layer in slot.columns)}
        if shifts is None:
            gap = gap if first else max(gap, config.block_float_gap)
            scaling |= {"block_float": True, "growth": tuple(_growth(layers, slot.columns[:column + 1])
                                                             for column in range(config.layers))}
        passes.append(Pass(layers[0].mode, slot.digit, groups, slot.active, coef_base=base, coef_shift=shift,
                           coef_mask_bits=bits, descending=slot.descending, gap=gap, first=first, last=last,
                           **scaling))
        base += 1 << bits
    return passes


def reversed_window(bits: int, n_columns: int) -> tuple[int, ...]:
    """Window whose lanes are bit-reversed neighbours of a 2^bits-point dimension in the low index bits.

    Lane bit j is index bit bits - 1 - j; a dimension shorter than the window is filled up from the bits
    above it.
    """
    own = tuple(range(bits - 1, max(-1, bits - 1 - n_columns), -1))
    return own + tuple(range(n_columns - 1, bits - 1, -1))


def overlapped_walks(load: tuple[int, ...], store: tuple[int, ...],
                     block_bits: int) -> tuple[Walk, Walk, int]:
    """Walks of load and store that visit the same sets of words in one order, and the lag of the load."""
    both = sum(1 << bit for bit in set(load) | set(store))
    outer = ((1 << block_bits) - 1) & ~both
    walks = [Walk(window, both & ~sum(1 << bit for bit in window), outer) for window in (load, store)]
    return walks[0], walks[1], (1 << (both.bit_count() - len(load))) - 1
