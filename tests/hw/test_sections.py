"""Fields of the sections: what is out of their range is refused by name."""

import pytest
from pydantic import ValidationError

from wingbeat.hw.config import NAMES, CoreConfig
from wingbeat.hw.sections import SECTIONS

OUT_OF_RANGE = [
    ("ring_words", -1, "greater than or equal to 0"),
    ("ring_words", 65537, "less than or equal to 65536"),
    ("engines", 0, "greater than or equal to 1"),
    ("engines", 257, "less than or equal to 256"),
    ("layers", 0, "greater than or equal to 1"),
    ("layers", 5, "less than or equal to 4"),
    ("width", 7, "greater than or equal to 8"),
    ("width", 19, "less than or equal to 18"),
    ("element_width", 7, "greater than or equal to 8"),
    ("element_width", 19, "less than or equal to 18"),
    ("coefficient_width", 7, "greater than or equal to 8"),
    ("coefficient_width", 19, "less than or equal to 18"),
    ("half_words", 3, "greater than or equal to 4"),
    ("half_words", 65537, "less than or equal to 65536"),
    ("coefficient_words", 3, "greater than or equal to 4"),
    ("coefficient_words", 65537, "less than or equal to 65536"),
    ("program_words", 31, "greater than or equal to 32"),
    ("program_words", 65537, "less than or equal to 65536"),
    ("stream_words", 0, "greater than or equal to 1"),
    ("stream_words", 257, "less than or equal to 256"),
    ("engines", 2.5, "valid integer"),
    ("engines", "2", "valid integer"),
    ("layers", True, "valid integer"),
    ("name", 3, "valid string"),
    ("target", "asic", "Input should be 'portable' or 'ecp5'"),
    ("colour", "blue", "Extra inputs are not permitted"),
]


@pytest.mark.parametrize("field, value, message", OUT_OF_RANGE)
def test_refused_fields(field, value, message):
    with pytest.raises(ValidationError) as fault:
        CoreConfig.of(**{field: value})
    (error,) = fault.value.errors()
    assert error["loc"] == NAMES.get(field, (field,)) and message in error["msg"]


def test_every_field_says_what_it_is():
    for section in SECTIONS.values():
        assert all(field.description for field in section.model_fields.values()), section
