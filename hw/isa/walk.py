"""Walks: the order in which the beats of a stream visit the words of a half. Contract:
docs/reference/architecture.md."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

__all__ = ["SubOrder", "Walk", "walk_indices"]


class SubOrder(IntEnum):
    """What follows one another fastest in a walk; ``sub_at`` is the lowest bit of ``sub``, or n - 1 of the pairs."""

    NONE = 0
    UP = 1      # the bits of sub, the lowest first
    DOWN = 2    # the bits of sub, the highest first
    MIRROR = 3  # an index and its mirror image


@dataclass(frozen=True)
class Walk:
    """The order in which the beats of a stream visit the words of a half.

    A beat holds the P words whose index differs in the ``window`` bits; lane bit j of the beat is index bit
    ``window[j]``. The bits of ``sub`` count up fastest, in the order in which they stand there, and are what a tile
    of the transposer delivers together; then the groups of engines take turns; then the bits of ``inner`` (a mask)
    and after them those of ``outer`` count up, the lowest first. An empty ``inner`` takes over the bits of
    ``outer``. The bank map asks that window[j] mod S are all different: a rotation, or a reversed rotation, of
    0..S-1.

    With ``mirror`` = n every step is a pair: index i and the one with -i mod 2^n in its low n bits, where
    2^(n-1) stands for -0. Then bit n-1 stands in none of the masks, and ``sub`` is empty.
    """

    window: tuple[int, ...]
    inner: int
    outer: int
    sub: tuple[int, ...] = ()
    mirror: int = 0

    def __post_init__(self):
        s = len(self.window)
        residues = [w % s for w in self.window]
        up = [(residues[0] + j) % s for j in range(s)]
        down = [(residues[0] - j) % s for j in range(s)]
        if residues not in (up, down):
            raise ValueError(f"window: index bits {self.window} do not reach {1 << s} different banks")
        if not self.inner:  # the walker counts its outer bits once the inner ones are through
            object.__setattr__(self, "inner", self.outer)
            object.__setattr__(self, "outer", 0)
        self._check_masks()

    def _check_masks(self) -> None:
        masks = (self.window_mask, self.sub_mask, self.inner, self.outer)
        union = 0
        for mask in masks:
            if union & mask:
                raise ValueError("window, sub, inner and outer: an index bit stands in two of them")
            union |= mask
        up = tuple(range(min(self.sub, default=0), max(self.sub, default=-1) + 1))
        if self.sub not in (up, up[::-1]):
            raise ValueError(f"sub: {self.sub} is not a run of neighbouring bits, up or down")
        if self.mirror and (self.sub or union >> self.mirror - 1 & 1):
            raise ValueError(f"mirror: bit {self.mirror - 1} and sub must be free for the pairs")

    @property
    def window_mask(self) -> int:
        return sum(1 << w for w in self.window)

    @property
    def sub_mask(self) -> int:
        return sum(1 << b for b in self.sub)

    @property
    def index_mask(self) -> int:
        """Index bits that the walk runs through."""
        pair = 1 << self.mirror - 1 if self.mirror else 0
        return self.window_mask | self.sub_mask | self.inner | self.outer | pair

    @property
    def sub_order(self) -> SubOrder:
        if self.mirror:
            return SubOrder.MIRROR
        if not self.sub:
            return SubOrder.NONE
        return SubOrder.UP if self.sub[0] <= self.sub[-1] else SubOrder.DOWN

    @property
    def sub_at(self) -> int:
        return self.mirror - 1 if self.mirror else min(self.sub, default=0)

    @property
    def rotation(self) -> int:
        return self.window[0] % len(self.window)

    @property
    def reverse(self) -> bool:
        s = len(self.window)
        return s > 1 and (self.window[1] - self.window[0]) % s != 1 % s

    @property
    def steps(self) -> int:
        """Steps of ``inner`` and ``outer`` in one block; every group of engines has ``step_beats`` beats in each."""
        return 1 << (self.inner | self.outer).bit_count()

    @property
    def step_beats(self) -> int:
        return 2 if self.mirror else 1 << len(self.sub)

    @property
    def beats(self) -> int:
        """Beats per engine group of one block."""
        return self.steps * self.step_beats


def _deposit(counts: np.ndarray, mask: int) -> np.ndarray:
    """Spread the low bits of ``counts`` over the set bits of ``mask``, lowest first."""
    out, bit = np.zeros_like(counts), 0
    for position in range(mask.bit_length()):
        if mask >> position & 1:
            out |= (counts >> bit & 1) << position
            bit += 1
    return out


def walk_indices(walk: Walk) -> np.ndarray:
    """Index of every word of a block in stream order, shape (beats, P), int64.

    With several groups of engines the beats of one step of all groups lie together: group by group.
    """
    steps = np.arange(walk.steps, dtype=np.int64)
    n_inner = walk.inner.bit_count()
    base = _deposit(steps & ((1 << n_inner) - 1), walk.inner) | _deposit(steps >> n_inner, walk.outer)
    if walk.mirror:
        modulus = 1 << walk.mirror
        element = base & modulus - 1
        partner = np.where(element, -element % modulus, modulus >> 1)
        base = np.stack([base, base - element + partner], axis=1).ravel()
    else:
        count = np.arange(walk.step_beats, dtype=np.int64)
        base = (base[:, None] | _spread(count, walk.sub)).ravel()
    lane = np.arange(1 << len(walk.window), dtype=np.int64)
    return base[:, None] | _spread(lane, walk.window)


def _spread(counts: np.ndarray, positions: tuple[int, ...]) -> np.ndarray:
    """Bit k of every count at bit ``positions[k]``."""
    out = np.zeros_like(counts)
    for bit, position in enumerate(positions):
        out |= (counts >> bit & 1) << position
    return out
