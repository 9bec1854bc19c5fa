"""Networks side by side: figures out of what a run says, and refusals. The runs themselves: tests/cosim."""

from types import SimpleNamespace

import numpy as np
import pytest

from wingbeat.gen.cosim.timing import MemoryTiming
from wingbeat.gen.explore import compare
from wingbeat.gen.presets.select import load_preset
from wingbeat.gen.workloads.shipped import load_dataset
from wingbeat.hw.errors import WingbeatError

CONFIG = load_preset("matrix-16")
CYCLES, READ, WRITTEN = 10_000, 123, 45


@pytest.fixture
def simulated(monkeypatch):
    """A run in the place of a simulation: all but one of the inputs as they are labelled."""
    def run(compiled, build, inputs, timing):
        labels = load_dataset("digits").labels[:len(inputs)]
        results = np.eye(10)[labels][:, None]
        results[0] = np.roll(results[0], 1)
        status = {"reader_moving": READ, "writer_moving": WRITTEN}
        return SimpleNamespace(results=results, cycles=CYCLES, mismatches=0, runs=[[SimpleNamespace(status=status)]])

    monkeypatch.setattr(compare, "simulate_network", run)
    monkeypatch.setattr(compare, "Core", lambda config: SimpleNamespace(build=lambda simulator: None))


def test_figures(simulated):
    """Multiplications of the graph of one input, those that stream of a pruned one; the rest is of the batch."""
    rows = compare.compare_networks(["digits_dense", "digits_2of4"], CONFIG, 8, MemoryTiming())
    dense, pruned = rows
    assert dense.multiplications == 542_720 and pruned.multiplications == 280_576
    assert (pruned.parameters, pruned.not_zero, dense.not_zero) == (73_034, 40_266, 73_034)
    for row in rows:
        assert (row.inputs, row.cycles, row.read, row.written, row.mismatches) == (8, CYCLES, READ, WRITTEN, 0)
        assert row.accuracy == 7 / 8
        assert row.utilisation == pytest.approx(8 * row.multiplications / 16 / CYCLES)


@pytest.mark.parametrize("names, images, message", [
    (["letters"], 8, "^network: 'letters' is not one of digits, "),
    (["digits"], 0, r"^--images: 0; allowed are 1..32, a batch$"),
    (["digits"], 33, r"^--images: 33; allowed are 1..32, a batch$")])
def test_refused(names, images, message):
    """Before anything is built."""
    with pytest.raises(WingbeatError, match=message):
        compare.compare_networks(names, CONFIG, images, MemoryTiming())
