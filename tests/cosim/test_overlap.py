"""A load that enters its half too soon, in generated Verilog: wrong words, and a program that the model refuses."""

import numpy as np
import pytest

from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.job import Trial
from wingbeat.gen.cosim.timing import StreamTiming
from wingbeat.gen.presets.select import load_preset
from wingbeat.hw.isa.instruction import Load, Mode, Pass, Store
from wingbeat.hw.isa.schedule import schedule
from wingbeat.hw.isa.walk import Walk
from wingbeat.sim.model.array import ArrayModel

CONFIG = load_preset("tiny")
BLOCKS, SEED = 6, 41
WORDS = BLOCKS * CONFIG.half_words * CONFIG.engines
# Step t of the load takes what step 4 * (t mod 4) + t // 4 of the store has read.
LOAD, STORE = Walk((0, 1), 0b110000, 0b001100), Walk((0, 1), 0b001100, 0b110000)


def copy(load):
    """Blocks that pass as they are."""
    step = Pass(Mode.PASS, 0, CONFIG.half_words >> 2, 0, (0, 0), first=True, last=True)
    return schedule(load, [[step]], Store(STORE), BLOCKS)


def model(load, words):
    return np.concatenate([block.words for block in ArrayModel(CONFIG).run(copy(load), words)])


def test_too_small_a_lag_gives_wrong_words_and_is_refused(need):
    need("verilator")
    words = np.random.default_rng(SEED).integers(-30000, 30000, (WORDS, 2))
    loads = {"waits": Load(LOAD), "follows": Load(LOAD, True, 9), "overtakes": Load(LOAD, True, 0)}
    runs = Core(CONFIG).simulate([
        Trial(name, [], copy(load), words, StreamTiming("output_stalls", SEED), output_words=WORDS, n_blocks=BLOCKS)
        for name, load in loads.items()])
    waits, follows, overtakes = runs
    want = model(loads["waits"], words)
    assert np.array_equal(waits.data, want) and np.array_equal(follows.data, want), f"seed {SEED}"
    assert follows.counters.waiting_output < waits.counters.waiting_output
    assert np.array_equal(model(loads["follows"], words), want)
    wrong = (overtakes.data != want).any(axis=1).reshape(BLOCKS, -1).sum(axis=1)
    assert not wrong[-2:].any() and wrong[:-2].all(), f"seed {SEED}: {wrong} wrong words in each block"
    for lag in (0, 8):
        with pytest.raises(ValueError, match=rf"^overlap: LOAD 2 takes index .* lag = {lag}$"):
            model(Load(LOAD, True, lag), words)
