"""Names that a user may choose."""

import pytest

from wingbeat.hw.names import is_module_name


@pytest.mark.parametrize("name", ["a", "core_1", "Z9", "x" * 63])
def test_allowed(name):
    assert is_module_name(name)


@pytest.mark.parametrize("name", ["", "1a", "_a", "a b", "a;endmodule", "../a", "a\n", "module", "Wire", "x" * 64, "ä"])
def test_refused(name):
    assert not is_module_name(name)
