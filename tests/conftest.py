"""Which tests run where: those marked ``campaign`` in `make campaign` alone, which runs besides them all of cosim/ and
those marked ``drawn``. The others are deselected, not skipped: a skip stands for something that is missing."""

from pathlib import Path

from support.campaign import IS_CAMPAIGN


_COSIM = Path(__file__).parent / "cosim"


def _is_wanted(item):
    if not IS_CAMPAIGN:
        return not item.get_closest_marker("campaign")
    return item.path.is_relative_to(_COSIM) or any(map(item.get_closest_marker, ("campaign", "drawn")))


def pytest_collection_modifyitems(config, items):
    left = [item for item in items if not _is_wanted(item)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if _is_wanted(item)]
