"""Faults of a configuration in one line each; the command line shows them (tests/gen/cli/test_app.py)."""

from pydantic import ValidationError
import pytest

from wingbeat.gen.faults import config_faults, one_line
from wingbeat.hw.config import CoreConfig


@pytest.mark.parametrize("values, lines", [
    ({"array": {"engines": 0}}, ["array.engines: 0: Input should be greater than or equal to 1"]),
    ({"array": {"half_words": 6}}, ["array.half_words: 6 is not a power of two"]),
    ({"array": {"half_words": 6, "element_width": 17}},
     ["array.element_width: 17 is more than width = 16; allowed are 8..16", "array.half_words: 6 is not a power"]),
    ({"array": {"motors": 1}}, ["array.motors: 1: no such field; allowed are engines, "]),
    ({"colour": "x" * 99}, ["colour: '" + "x" * 56 + "...: no such field; allowed are name, "])])
def test_one_line_a_fault(values, lines):
    with pytest.raises(ValidationError) as fault:
        CoreConfig.model_validate(values)
    found = config_faults(fault.value)
    assert len(found) == len(lines) and all(line.startswith(start) for line, start in zip(found, lines))


def test_what_a_terminal_obeys_is_shown():
    assert one_line("a\n  b\tc \x1b[31m ü") == r"a b c \x1b[31m ü"
