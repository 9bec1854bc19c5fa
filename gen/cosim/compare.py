"""What the simulated Verilog gave against what the integer model gave."""

from collections.abc import Sequence

import numpy as np

from ...sim.model.array import BlockResult

__all__ = ["count_mismatches"]


def count_mismatches(found: Sequence[BlockResult], expected: Sequence[BlockResult]) -> int:
    """Words that differ, and blocks whose exponent or flag does; a missing block counts as all its words."""
    count = 0
    for f, e in zip(found, expected):
        count += int(np.any(f.words != e.words, axis=1).sum())
        count += (f.exponent != e.exponent) + (f.saturated != e.saturated)
    longer = found if len(found) > len(expected) else expected
    return count + sum(len(block.words) for block in longer[min(len(found), len(expected)):])
