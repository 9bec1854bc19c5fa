"""Networks for a board: the largest batch that fits, and refusals in one line."""

from pathlib import Path

import numpy as np
import pytest

from wingbeat.boards.build import find_board
from wingbeat.boards.networks import board_network, carries_networks
from wingbeat.boards.ulx3s import Ulx3sTop
from wingbeat.gen.compiler.network.compile import MemoryRole
from wingbeat.hw.errors import WingbeatError


def test_digits_fit_as_the_board_file_says():
    found = board_network(Ulx3sTop, "digits")
    assert found.compiled.batch == 16 and found.compiled.beats <= Ulx3sTop.memory_beats < 2 * found.compiled.beats
    assert len(found.inputs) == len(found.labels) == 320


@pytest.mark.slow
def test_attention_fits_and_does_not_care_what_stood_in_its_scratch():
    """A host writes neither scratch nor outputs: whatever a program before has left there, results are the same."""
    found = board_network(Ulx3sTop, "digits_attention")
    compiled = found.compiled
    assert compiled.batch == 8
    inputs, rng = found.inputs[:compiled.batch], np.random.default_rng(6)
    memory, _ = compiled.memory(inputs)
    for region in compiled.regions():
        tensor = region.stored.tensor
        if region.role in (MemoryRole.SCRATCH, MemoryRole.OUTPUT):
            place = memory[tensor.base:tensor.base + tensor.beats]
            place[:] = rng.integers(-32768, 32768, place.shape)
    for segment in compiled.segments:
        segment.program.run_model(compiled.config, memory)
    np.testing.assert_array_equal(compiled.results(memory, len(inputs)), compiled.execute_model(inputs).results)


@pytest.mark.parametrize("arguments, message", [
    ({"name": "nothing"}, "network: 'nothing' is not one of digits, .*"),
    ({"name": "digits", "calibration": Path("x.npz")}, "--calibration: 'x.npz'; allowed only with --checkpoint"),
    ({"name": "digits", "batch": 32}, "--network: digits takes 22272 beats of memory with a batch of 32; allowed on "
                                      "ulx3s are 14336"),
    ({"name": "digits", "batch": 3}, "--batch: 3; allowed are powers of two"),
])
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(WingbeatError, match=f"^{message}$"):
        board_network(Ulx3sTop, **arguments)


def test_an_array_runs_no_network():
    with pytest.raises(WingbeatError, match="^board: icebreaker carries an array; allowed with --network are boards "
                                            "with a processor$"):
        carries_networks(find_board("icebreaker"))
