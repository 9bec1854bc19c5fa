"""The Pareto front: points that no other one beats."""

from collections.abc import Sequence

import numpy as np

__all__ = ["far_apart", "pareto_front"]


def pareto_front(costs: Sequence[Sequence[float]]) -> list[int]:
    """Numbers of the points that no other one dominates, in the order given; of points with equal costs the first.

    ``costs`` (points, objectives): all to become small. A point dominates another where it is nowhere larger and
    somewhere smaller.
    """
    if not len(costs):
        return []
    table, first = np.unique(np.asarray(costs, dtype=np.float64), axis=0, return_index=True)
    kept: list[int] = []
    for row in range(len(table)):  # sorted: what dominates a row stands before it, and a dominated row is not needed
        if not (table[kept] <= table[row]).all(axis=1).any():
            kept.append(row)
    return sorted(int(first[row]) for row in kept)


def far_apart(costs: Sequence[Sequence[float]], most: int) -> list[int]:
    """Numbers of ``most`` points that lie far from one another: the best of each objective, then always the one whose
    nearest chosen point is furthest, in ranges of the objectives."""
    table = np.asarray(costs, dtype=np.float64)
    if len(table) <= most:
        return list(range(len(table)))
    range_ = np.ptp(table, axis=0)
    scaled = (table - table.min(axis=0)) / np.where(range_ > 0, range_, 1)
    chosen = list(dict.fromkeys(int(n) for n in scaled.argmin(axis=0)))[:most]
    while len(chosen) < most:
        distance = np.linalg.norm(scaled[:, None] - scaled[None, chosen], axis=2).min(axis=1)
        chosen.append(int(distance.argmax()))
    return sorted(chosen)
