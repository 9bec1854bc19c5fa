"""Which tests run where. `make campaign` runs all of cosim/ and what is marked; the others are deselected, not skipped:
a skip stands for something that is missing.

| mark | `make test` | `make campaign` |
|---|---|---|
| `campaign` | no | yes |
| `thin(n)` | the first case of a test and of the others every n-th or so, always the same | all cases |
| `drawn` | fixed cases | other cases each time |
"""

from pathlib import Path
from zlib import crc32

from support.campaign import IS_CAMPAIGN

_COSIM = Path(__file__).parent / "cosim"


def _is_wanted(item, seen):
    """``seen``: the tests of which a case came before."""
    if IS_CAMPAIGN:
        return item.path.is_relative_to(_COSIM) or any(map(item.get_closest_marker, ("campaign", "thin", "drawn")))
    if item.get_closest_marker("campaign"):
        return False
    thin, test = item.get_closest_marker("thin"), item.nodeid.split("[")[0]
    is_first = test not in seen
    seen.add(test)
    return thin is None or is_first or crc32(item.nodeid.encode()) % thin.args[0] == 0


def pytest_collection_modifyitems(config, items):
    seen = set()
    wanted = [_is_wanted(item, seen) for item in items]
    left = [item for item, stays in zip(items, wanted) if not stays]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item, stays in zip(items, wanted) if stays]
