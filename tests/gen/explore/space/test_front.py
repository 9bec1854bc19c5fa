"""The Pareto front against its definition, and the points that are taken of it."""

import numpy as np
import pytest

from wingbeat.gen.explore.space.front import far_apart, pareto_front


def by_definition(costs):
    def beats(a, b):
        return all(x <= y for x, y in zip(a, b)) and a != b
    return [n for n, cost in enumerate(costs)
            if cost not in costs[:n] and not any(beats(other, cost) for other in costs)]


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_front_is_what_nothing_beats(objectives):
    rng = np.random.default_rng(objectives)
    for size in (1, 2, 5, 60):
        costs = rng.integers(0, 6, (size, objectives)).tolist()
        assert pareto_front(costs) == by_definition(costs)


def test_nothing_has_no_front():
    assert pareto_front([]) == []


def test_of_equal_points_the_first():
    assert pareto_front([[2, 1], [1, 2], [1, 2], [2, 1]]) == [0, 1]


def test_the_ends_and_what_is_far():
    costs = [[0, 100], [1, 99], [2, 98], [50, 50], [99, 1], [100, 0]]
    assert far_apart(costs, 2) == [0, 5] and far_apart(costs, 3) == [0, 3, 5]
    assert far_apart(costs, 6) == list(range(6)) == far_apart(costs, 100)


def test_far_apart_in_one_objective_that_never_changes():
    assert far_apart([[1, 3], [1, 2], [1, 1]], 2) == [0, 2]
