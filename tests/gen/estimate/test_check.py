"""The table of estimates beside syntheses."""

from wingbeat.gen.estimate.check import check_rows, is_within, largest_errors
from wingbeat.gen.estimate.model import load_model


def test_errors_that_are_printed():
    """Those of the model file are those of the table; a block RAM too few is seen."""
    rows, model = check_rows(), load_model()
    assert is_within(rows) and len(rows) == model.checked
    assert {name: round(worst, 4) for name, worst in largest_errors(rows).items()} == {
        name: worst for name, worst in model.errors.items() if name != "fmax_mhz"}
    rows[0]["bram"] += 1
    assert not is_within(rows)
