"""Which loads may enter a half behind a store: every reason for no, stages of real programs, and what it saves."""

from dataclasses import replace

import numpy as np
import pytest

from wingbeat.gen.compiler.program.stage import Place, Side, Stage, build_stage
from wingbeat.gen.presets.select import load_preset
from wingbeat.gen.workloads.fabnet import BlockShape, compile_block
from wingbeat.gen.workloads.kernels import bpmm_workload, ffn_workload, fft_workload, mixing_workload
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.descriptor import Descriptor, Move
from wingbeat.hw.isa.instruction import Load, MemoryMode, Store
from wingbeat.hw.isa.walk import Walk
from wingbeat.sim.cycles.estimate import estimate
from wingbeat.sim.model.array import overtaken

NOWHERE = Descriptor((), Move(0, 1), (), 1, 1)


def stage(load, store, partner=None):
    """A stage that is nothing but its walks; ``partner`` is the walk of a store that the load may follow."""
    return Stage("stage", load, partner or store, Store(store), (), np.empty((0, 3)), NOWHERE, MemoryMode.COLUMNS,
                 NOWHERE, MemoryMode.COLUMNS)


def walk(inner=0b1100, outer=0b0001_0000, window=(0, 1), sub=(), mirror=0):
    return Walk(window, inner, outer, sub, mirror)


BEFORE = walk()
PAIRS = walk(inner=0b0010, outer=0b0001, window=(3, 4), mirror=3)
# what the load may follow, the store that is there, whether it may
CASES = {
    "the same walk": (BEFORE, BEFORE, True),
    "a larger block": (walk(outer=0b0011_0000), BEFORE, True),
    "more steps above a gap": (walk(outer=0b0101_0000), BEFORE, True),
    "a smaller block": (BEFORE, walk(outer=0b0011_0000), False),
    "more steps between those of the store": (walk(outer=0b0111_0000), walk(outer=0b0101_0000), False),
    "more steps below those of the store": (walk(outer=0b0011_0000), walk(outer=0b0010_0000), False),
    "as many other steps": (BEFORE, walk(outer=0b0010_0000), False),
    "another window": (BEFORE, walk(window=(1, 0)), False),
    "another order": (BEFORE, walk(inner=0b0001_0000, outer=0b1100), False),
    "sub-steps": (walk(inner=0b1000, sub=(2,)), walk(inner=0b1000, sub=(4,), outer=0b100), False),
    "sub-steps the other way": (walk(inner=0b1_0000, outer=0b10_0000, sub=(2, 3)),
                                walk(inner=0b1_0000, outer=0b10_0000, sub=(3, 2)), False),
    "the same pairs": (PAIRS, PAIRS, True),
    "more steps on both sides of those of the store": (walk(outer=0b0111_0000), walk(outer=0b0010_0000), False),
    "pairs of which the store knows nothing": (PAIRS, walk(0b0010, 0b0001, (3, 4)), False),
    "no pairs": (PAIRS, walk(inner=0b0010, outer=0b0101, window=(3, 4)), False),
}


@pytest.mark.parametrize("name", CASES)
def test_what_may_follow(name):
    partner, before, allowed = CASES[name]
    behind = stage(Load(partner, True), partner)
    assert behind.follows(stage(Load(before), before)) is allowed
    assert not allowed or not overtaken(behind.load, before)


def test_nothing_follows_without_overlap():
    assert not stage(Load(BEFORE), BEFORE).follows(stage(Load(BEFORE), BEFORE))


def test_the_partner_counts_and_the_store_of_the_block_before():
    """Not the walk of the load, nor the store of its own stage."""
    load, other = walk(inner=0b0011, window=(2, 3)), walk(inner=0b0001_0000, outer=0b1100)
    behind = stage(Load(load, True, 3), other, partner=BEFORE)
    assert behind.follows(stage(Load(other), BEFORE)) and not behind.follows(stage(Load(BEFORE), other))
    assert not overtaken(behind.load, BEFORE) and overtaken(replace(behind.load, lag=2), BEFORE)


@pytest.mark.parametrize("store_sub", [False, True])
def test_steps_of_two_sizes_do_not_overlap(store_sub):
    """A load in tiles of two beats behind a store in single ones; with tiles on both sides it may."""
    config = CoreConfig.of(engines=2, layers=1, half_words=32, stream_words=4, memory_bits=8)
    lane, rows = Place("lane"), [Place("move", move=Move(1 << bit)) for bit in range(3)]
    read = Side(MemoryMode.ROWS, (lane, Place("sub"), *rows), 1, 1)
    write = Side(MemoryMode.ROWS, (lane, rows[0], Place("sub"), *rows[1:]), 1, 1) if store_sub \
        else Side(MemoryMode.COLUMNS, (lane, Place("move", move=Move(8)), *rows), 1, 1)
    built = build_stage("stage", config, (), np.empty((0, 3)), read, write)
    assert (built.load.overlap, built.load.lag) == ((True, 1) if store_sub else (False, 0))
    assert built.follows(built) is store_sub


# --- Programs -----------------------------------------------------------------------------------------------------

ARRAYS = {"s1": (4, 1, 4, 256), "s2": (4, 2, 8, 256), "j8": (8, 2, 16, 256), "one": (1, 2, 4, 256)}
KERNELS = {"mixing": lambda config: mixing_workload(config, 64, 64, 1),
           "ffn": lambda config: ffn_workload(config, 50, 32, 4, 1),
           "fft": lambda config: fft_workload(config, 512, 2, "static", 1),
           "bpmm": lambda config: bpmm_workload(config, 512, 2, "static", 1)}
# blocks, loads that follow a store, cycles
NETWORK = (9, 2, 4299)
GOLDEN = {
    ("s1", "mixing"): (8, 4, 4098), ("s1", "ffn"): (16, 6, 6250), ("s1", "fft"): (8, 4, 5313),
    ("s1", "bpmm"): (8, 6, 5325), ("s2", "mixing"): (5, 1, 1711), ("s2", "ffn"): (8, 2, 2416),
    ("s2", "fft"): (8, 4, 2014), ("s2", "bpmm"): (8, 6, 2022), ("j8", "mixing"): (3, 0, 1324),
    ("j8", "ffn"): (6, 2, 1542), ("j8", "fft"): (12, 10, 2763), ("j8", "bpmm"): (8, 6, 2208),
    ("one", "mixing"): (17, 13, 3674), ("one", "ffn"): (29, 14, 6801), ("one", "fft"): (8, 4, 1681),
    ("one", "bpmm"): (8, 6, 1670)}


def compiled(array, kernel):
    engines, layers, stream_words, half_words = ARRAYS[array]
    config = CoreConfig.of(engines=engines, layers=layers, width=18, element_width=16, coefficient_width=17,
                           half_words=half_words, coefficient_words=8192, stream_words=stream_words,
                           program_words=4096, memory_bits=14)
    return config, KERNELS[kernel](config).program


def followers(program):
    return sum(behind.follows(before) for before, behind in zip(program.stages, program.stages[2:]))


@pytest.mark.parametrize("array, kernel", GOLDEN)
def test_cycles_of_programs(array, kernel):
    """A load that could follow and does not costs cycles: those of the README hang on it."""
    config, program = compiled(array, kernel)
    found = len(program.stages), followers(program), estimate(config, program.instructions, program.setup).total
    assert found == GOLDEN[array, kernel]


def test_cycles_of_a_small_network():
    config = load_preset("hybrid-16")
    [segment] = compile_block(config, BlockShape(16, 64, 128), 1, 1)[0].segments
    program = segment.program
    assert (len(program.stages), followers(program)) == NETWORK[:2]
    assert estimate(config, program.instructions, program.setup).total == NETWORK[2]


@pytest.mark.parametrize("array, kernel", GOLDEN)
def test_whatever_follows_overtakes_nothing(array, kernel):
    """Every stage of a program behind every other, whether the program has them in this order or not."""
    _, program = compiled(array, kernel)
    stages = list({id(each): each for each in program.stages}.values())
    for before in stages:
        for behind in stages:
            if behind.follows(before):
                assert not overtaken(behind.load, before.store.walk), f"{behind.name} behind {before.name}"


@pytest.mark.parametrize("array, kernel", [("s1", "mixing"), ("s1", "ffn"), ("s1", "fft"), ("s2", "mixing"),
                                           ("j8", "mixing"), ("one", "fft")])
def test_a_load_that_follows_too_often_is_refused(array, kernel, monkeypatch):
    monkeypatch.setattr(Stage, "follows", lambda behind, before: behind.load.overlap)
    config, program = compiled(array, kernel)
    with pytest.raises(ValueError, match="^overlap: LOAD [0-9]+ "):
        program.run_model(config, np.zeros((1 << config.memory_bits, config.memory_elements), dtype=np.int64))
