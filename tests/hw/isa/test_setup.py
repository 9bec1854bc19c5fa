"""The setup map, in numbers as the documents state them: the one place where a test types them."""

from pathlib import Path

from wingbeat.hw.isa.parameter_set import SET_BITS, SETS
from wingbeat.hw.isa.setup import (CONTROL_START, COUNTED_UNITS, EXPONENT_BITS, SETUP, SETUP_ACTIVATION, SETUP_CHANNELS,
                                   SETUP_CONTROL, SETUP_PROGRAM, SETUP_READ_SETS, SETUP_READER, SETUP_WRITE_SETS,
                                   SETUP_WRITER, TAG_BITS, UNITS)

DOCS = Path(__file__).parents[3] / "docs"


def test_targets():
    assert (SETUP_PROGRAM, SETUP_CONTROL, CONTROL_START) == (0x80, 0x81, 1)
    assert (SETUP_READER, SETUP_WRITER, SETUP_READ_SETS, SETUP_WRITE_SETS) == (0x82, 0x83, 0x84, 0x85)
    assert (SETUP_CHANNELS, SETUP_ACTIVATION) == (0x86, 0x87)


def test_a_word():
    assert SETUP == [("target", 8), ("address", 16), ("data", 40)] and sum(bits for _, bits in SETUP) == 64


def test_sizes():
    assert (EXPONENT_BITS, TAG_BITS, SETS, SET_BITS) == (6, 16, 16, 4)
    assert COUNTED_UNITS == ("reader", "load", "store", "writer") and "cal" in UNITS


def test_documents_name_the_targets_of_an_array():
    text = (DOCS / "reference" / "architecture.md").read_text()
    assert f"{SETUP_PROGRAM:#x} writes program word" in text and f"{SETUP_CONTROL:#x} is control: data 1 starts" in text
