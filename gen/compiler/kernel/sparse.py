"""N:M matrices: of every M inputs that lie ``stride`` apart, each output has at most N weights that are not zero.

Source: Fang et al., An Algorithm-Hardware Co-Optimized Framework for Accelerating N:M Sparse Transformers,
arXiv 2208.06118; the groups of that paper are consecutive inputs (stride 1).
"""

from typing import NamedTuple

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.sparse import LOG2_GROUPS

__all__ = ["Pattern", "compress", "find_stride", "kept_weights"]

_GROUPS = tuple(1 << bits for bits in range(1, LOG2_GROUPS + 1))


class Pattern(NamedTuple):
    """N of M inputs that lie ``stride`` apart; 0 where the weights are to say it."""

    n: int
    m: int
    stride: int = 0

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """From "N:M" as in a network file; WingbeatError for what the array does not have."""
        parts = text.split(":")
        if len(parts) == 2 and all(part.isdecimal() and len(part) < 3 for part in parts):
            n, m = map(int, parts)
            if m in _GROUPS and 1 <= n <= m:
                return cls(n, m)
        raise WingbeatError(f"pattern: {text!r}; allowed are N:M with M of {', '.join(map(str, _GROUPS))} and N of "
                            "1..M")

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    def fitted(self, config: CoreConfig, inputs: int) -> "Pattern":
        """With the largest stride of those that need the fewest zeros behind ``inputs``."""
        least, chunk = config.lanes, config.memory_elements
        strides = [1 << bits for bits in range(least.bit_length() - 1, 13)
                   if 1 << bits == least or self.m << bits <= inputs]
        return self._replace(stride=min(strides, key=lambda stride: (-inputs % (self.m * max(stride, chunk)), -stride)))

    @property
    def span(self) -> int:
        """Inputs that whole groups take."""
        return self.m * self.stride

    def terms(self, inputs: int) -> int:
        """Products of a sum over so many inputs, a multiple of ``span``."""
        return inputs * self.n // self.m


def find_stride(weights: np.ndarray, pattern: Pattern, shared: int, least: int) -> int:
    """The largest stride, a power of two from ``least`` on, with which ``weights`` (outputs, inputs) keep to the
    pattern where ``shared`` outputs after each other have one in common. Raises WingbeatError naming the first row that
    breaks it with the stride that goes furthest."""
    strides = [1 << bits for bits in range(13, -1, -1) if least <= 1 << bits and (pattern.m - 1) << bits
               < max(weights.shape[1], pattern.m * least)]
    faults = []
    for stride in strides:
        fault = _first_fault(weights, pattern._replace(stride=stride), shared)
        if fault is None:
            return stride
        faults.append(fault)
    raise WingbeatError(max(faults)[1])


def _grouped(weights: np.ndarray, pattern: Pattern) -> np.ndarray:
    """``weights`` with zeros behind them as (outputs, groups of groups, M, stride)."""
    outputs, inputs = weights.shape
    padded = np.zeros((outputs, -(-inputs // pattern.span) * pattern.span), dtype=weights.dtype)
    padded[:, :inputs] = weights
    return padded.reshape(outputs, -1, pattern.m, pattern.stride)


def _together(weights: np.ndarray, pattern: Pattern, shared: int) -> np.ndarray:
    """:func:`_grouped` for ``shared`` outputs after each other, (outputs / shared, shared, .., M, stride)."""
    groups = _grouped(weights, pattern)
    whole = np.zeros((-(-len(groups) // shared) * shared, *groups.shape[1:]), dtype=groups.dtype)
    whole[:len(groups)] = groups
    return whole.reshape(-1, shared, *groups.shape[1:])


def _shared_mask(weights: np.ndarray, pattern: Pattern, shared: int) -> np.ndarray:
    """Which members of each group one of ``shared`` outputs needs, bool (outputs / shared, .., M, stride)."""
    return np.asarray(_together(weights != 0, pattern, shared).any(axis=1))


def _first_fault(weights: np.ndarray, pattern: Pattern, shared: int) -> tuple[int, str] | None:
    """The first row that breaks the pattern, and how."""
    used = _shared_mask(weights, pattern, shared).sum(axis=2)
    wrong = np.argwhere(used > pattern.n)
    if not len(wrong):
        return None
    row, block, place = (int(value) for value in wrong[0])
    inputs = [block * pattern.span + member * pattern.stride + place for member in range(pattern.m)]
    first, names = row * shared, ", ".join(map(str, inputs))
    rows = f"row {first}" if shared == 1 else f"rows {first} to {first + shared - 1}, which share a pattern"
    return first, (f"{rows}: {used[row, block, place]} of the inputs {names} have weights; allowed are {pattern.n}, "
                   f"for {pattern} with a stride of {pattern.stride}")


def kept_weights(weights: np.ndarray, pattern: Pattern, shared: int) -> np.ndarray:
    """Which of ``weights`` (outputs, inputs) magnitude pruning keeps, bool: of each group the N largest, for ``shared``
    outputs after each other those whose squares together are the largest."""
    squares = _together(weights.astype(np.float64) ** 2, pattern, shared).sum(axis=1)
    order = np.argsort(-squares, axis=2, kind="stable")[:, :, :pattern.n]
    kept = np.zeros(squares.shape, dtype=bool)
    np.put_along_axis(kept, order, True, axis=2)
    return np.asarray(kept.reshape(len(kept), -1).repeat(shared, axis=0)[:len(weights), :weights.shape[1]])


def compress(config: CoreConfig, weights: np.ndarray, pattern: Pattern) -> tuple[np.ndarray, np.ndarray]:
    """``weights`` int64 (outputs, inputs), both padded to whole beats and spans, without those that do not stream:
    elements int64 (outputs, terms) and picks int64 (outputs / S, terms), as ``sparse_beats`` of sim/model/ring.py wants
    them. Raises WingbeatError naming the first row that breaks the pattern."""
    fault = _first_fault(weights, pattern, config.layers)
    if fault:
        raise WingbeatError(fault[1])
    mask = _shared_mask(weights, pattern, config.layers)
    # Members that are needed first, then others, so that each group has N; all in their order.
    picks = np.sort(np.argsort(~mask, axis=2, kind="stable")[:, :, :pattern.n], axis=2)
    taken = np.take_along_axis(_grouped(weights, pattern), picks.repeat(config.layers, axis=0), axis=2)

    def streamed(values: np.ndarray) -> np.ndarray:
        """Groups one after the other, of each the N picks of P lanes."""
        parts = values.reshape(*values.shape[:3], -1, config.lanes).swapaxes(2, 3)
        return np.ascontiguousarray(parts).reshape(len(values), -1)
    return streamed(taken), streamed(picks)
