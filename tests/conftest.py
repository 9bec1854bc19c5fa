"""Which tests run where: those marked ``campaign`` in `make campaign` alone. Elsewhere they are deselected, not
skipped: a skip stands for something that is missing."""

from support.campaign import IS_CAMPAIGN


def pytest_collection_modifyitems(config, items):
    if IS_CAMPAIGN:
        return
    left = [item for item in items if item.get_closest_marker("campaign")]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if not item.get_closest_marker("campaign")]
