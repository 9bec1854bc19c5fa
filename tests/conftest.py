"""Which tests run where. `make campaign` runs all of cosim/ and what is marked; the others are deselected, not skipped:
a skip stands for something that is missing.

| | `make test` | `make campaign` |
|---|---|---|
| mark `campaign` | no | yes |
| mark `thin(n)` | of the cases of a test every n-th one from the first on | all cases |
| more than six cases, in formal/, hw/ or sim/ | as with `thin(3)` | all cases |
| mark `drawn` | fixed cases | other cases each time |
"""

from collections import Counter
from pathlib import Path

from support.campaign import IS_CAMPAIGN, IS_PART

_TESTS = Path(__file__).parent
_SIMULATING = {"formal", "hw", "sim"}  # a case there simulates gates or proves, for a second or so
_LONG_ROW = 6
_EVERY = 3


def _thinning(item, cases):
    """Every how many-th case of a test is enough, None for all of the ``cases``."""
    if mark := item.get_closest_marker("thin"):
        return mark.args[0]
    is_long = cases > _LONG_ROW and item.path.relative_to(_TESTS).parts[0] in _SIMULATING
    return _EVERY if is_long else None


def _is_wanted(item, cases, number):
    """``number``: which of the ``cases`` of its test it is."""
    thinning = _thinning(item, cases)
    if IS_CAMPAIGN:
        return (thinning or item.path.is_relative_to(_TESTS / "cosim")
                or any(map(item.get_closest_marker, ("campaign", "drawn"))))
    return not item.get_closest_marker("campaign") and number % (thinning or 1) == 0


def pytest_collection_modifyitems(config, items):
    if IS_PART:  # its cases were chosen among all
        return
    tests = [item.nodeid.split("[")[0] for item in items]
    cases, seen = Counter(tests), Counter()
    left, wanted = [], []
    for item, test in zip(items, tests):
        (wanted if _is_wanted(item, cases[test], seen[test]) else left).append(item)
        seen[test] += 1
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = wanted
