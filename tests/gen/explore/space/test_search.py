"""Searches: the whole grid; NSGA-II, which finds the front of a known problem and asks the same with the same seed."""

from support.spaces import make_space
from wingbeat.gen.explore.space.front import pareto_front
from wingbeat.gen.explore.space.search import Cost, search_space

NSGA2 = '[search]\nmethod = "nsga2"\ntrials = {}\npopulation = 16\nseed = {}\n[front]'


def walk(space, cost):
    """Every choice in the order asked, and its cost."""
    search, found = search_space(space), []
    choices = next(search)
    while True:
        costs = [cost(choice) for choice in choices]
        found += zip(choices, costs)
        try:
            choices = search.send(costs)
        except StopIteration:
            return found


def wide(tmp_path, trials=200, seed=1):
    numbers = str(list(range(1, 33)))
    return make_space(tmp_path, "[1, 2, 4]", numbers, "[1, 2]\n", f"{numbers}\n", "[64, 100, 128]", "[64]",
                      "[front]", NSGA2.format(trials, seed))


def bowl(choice):
    """Two bowls; what is on the line between their bottoms, x from 4 to 20 and y = 8, is the front."""
    x, y, _ = choice
    return Cost([(x - 4) ** 2 + (y - 8) ** 2, (x - 20) ** 2 + (y - 8) ** 2], [0, 0, 0, 0])


def test_grid(tmp_path):
    found = walk(make_space(tmp_path), bowl)
    assert len(found) == len({choice for choice, _ in found}) == 18


def test_nsga2_comes_near_the_front(tmp_path):
    """In 400 of 1,024 points; chance would leave a front point with a distance of some steps."""
    found = walk(wide(tmp_path, 400), bowl)
    assert len(found) == 400
    front = {found[n][0] for n in pareto_front([cost.objectives for _, cost in found])}
    exact = [choice for choice in front if choice[1] == 8 and 4 <= choice[0] <= 20]
    assert len(exact) >= 12 and len(exact) >= 0.8 * len(front)


def test_nsga2_keeps_limits(tmp_path):
    """Where x must be at least 16, later generations stay there; without the limit a third of them would."""
    found = walk(wide(tmp_path), lambda choice: bowl(choice)._replace(excess=[16 - choice[0], 0, 0, 0]))
    late = [choice for choice, _ in found[-64:]]
    assert sum(x >= 16 for x, _, _ in late) > 45


def test_the_same_seed_asks_for_the_same(tmp_path):
    """Though some choices are no configuration."""
    def some(choice):
        return bowl(choice) if choice[0] % 3 else None
    one, two, other = (walk(wide(tmp_path, 60, seed), some) for seed in (1, 1, 2))
    assert one == two != other and len(one) == 60
