"""Programs from blocks: row sums in front of what needs them, parameter sets, what every READ and SUMS waits for."""

from dataclasses import replace

import numpy as np
import pytest

from wingbeat.gen.compiler.kernel.compile import compile_copy
from wingbeat.gen.compiler.program.assemble import (Program, SumRows, Transfer, assemble, added_beats, read_beats,
                                                    written_beats)
from wingbeat.gen.compiler.program.coefficients import CoefficientSpace
from wingbeat.gen.compiler.program.matrix import Matrix
from wingbeat.gen.compiler.program.operations import multiply_butterfly
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.descriptor import Descriptor, Move
from wingbeat.hw.isa.instruction import Loop, Read, Set, Sums, Unit, Write
from wingbeat.hw.isa.parameter_set import SET_WORDS, Activation, ReadSet, WriteSet
from wingbeat.hw.isa.setup import SETUP_CHANNELS, SETUP_READ_SETS, SETUP_WRITE_SETS

CONFIG = CoreConfig.of(engines=1, layers=2, width=18, element_width=16, coefficient_width=17, half_words=64,
                       coefficient_words=64, stream_words=4, memory_bits=10, program_words=2048, vector_lanes=8,
                       statistics_rows=16)
ROWS = 16  # of 16 elements: 2 beats, 4 rows a block
SET = ReadSet(chunk_shift=1, n=16, epsilon=1)


def copied(source, target, rows=ROWS, config=CONFIG, **sets):
    """Tasks of a copy of rows from beat ``source`` to beat ``target``."""
    kernel = compile_copy(16, config, least_size=16)
    tasks = multiply_butterfly(kernel, Matrix.at(source, rows, 16, config), Matrix.at(target, rows, 16, config),
                      CoefficientSpace(config), "copy", "steady")
    stages = {id(task.stage): replace(task.stage, **sets) for task in tasks}
    return [Transfer(stages[id(task.stage)], task.block) for task in tasks]


def sums(at, rows, chosen=SET):
    """Sums of rows of two beats from beat ``at`` on."""
    steps = (Move(0, 1), *(Move(1 << bit) for bit in range((rows - 1).bit_length())))
    return SumRows(Descriptor((), Move(0, 1), steps, 2, 2, steps=2 * rows), at, rows, chosen)


def memory_of(values):
    """1024 beats with 16 rows of 16 elements at beat 0."""
    memory = np.zeros((1024, 8), dtype=np.int64)
    memory[:2 * len(values)] = values.reshape(-1, 8)
    return memory


def of_kind(program, kind):
    return [step for step in program.instructions if type(step) is kind]


def rows(seed):
    return np.random.default_rng(seed).integers(-30000, 30000, (ROWS, 16))


def test_blocks_of_the_tests():
    tasks = copied(0, 64)
    assert len(tasks) == 2 and {task.block.read_rows for task in tasks} == {8}


def test_sums_stand_in_front_of_their_read():
    first, second = copied(0, 64, normalise=SET)
    program = assemble(CONFIG, [sums(0, 8), first, sums(16, 8), second])
    kinds = [type(step) for step in program.instructions if isinstance(step, (Read, Write))]
    # The READ of a block stands in front of the passes of the block before it, its sums in front of both.
    assert kinds == [Sums, Read, Sums, Read, Write, Write]
    found = of_kind(program, Sums)
    assert [(step.register, step.rows, step.increment) for step in found] == [(1, 8, 16), (1, 8, 0)]
    assert Set(Unit.READER, 1, 0) in program.instructions and {step.vector for step in found} == {1}
    assert {step.vector for step in of_kind(program, Read)} == {1} and of_kind(program, Write)[0].vector == 0


def test_sums_and_normalised_rows_on_the_model():
    values, memory = rows(1), memory_of(rows(1))
    first, second = copied(0, 64, normalise=SET)
    assemble(CONFIG, [sums(0, 8), first, sums(16, 8), second]).run_model(CONFIG, memory)
    found = memory[64:96].reshape(ROWS, 16) / 2 ** 12
    exact = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)
    assert np.abs(found - exact).max() < 2 ** -11, "seed 1"


def test_sums_behind_the_last_block_are_part_of_the_program():
    program = assemble(CONFIG, [*copied(0, 64), sums(64, 16)])
    assert isinstance([step for step in program.instructions if isinstance(step, (Read, Write))][-2], Sums)
    memory = memory_of(rows(2))
    program.run_model(CONFIG, memory)
    assert np.array_equal(memory[64:96], memory[:32])


def test_without_sums_the_register_is_not_set():
    program = assemble(CONFIG, copied(0, 64))
    assert {step.register for step in of_kind(program, Set)} == {0} and not of_kind(program, Sums)


# --- Parameter sets -----------------------------------------------------------------------------------------------

def relu(offset):
    return WriteSet(activation=Activation.RELU, residual=True, offset=offset)


def test_equal_sets_are_stored_once():
    tasks = [*copied(0, 64, finish=relu(1)), *copied(0, 128, finish=relu(2)), *copied(0, 192, finish=relu(1)),
             *copied(0, 256)]
    program = assemble(CONFIG, tasks)
    assert [step.vector for step in of_kind(program, Write)] == [1, 1, 2, 2, 1, 1, 0, 0]
    words = {address: data for target, address, data in program.setup if target == SETUP_WRITE_SETS}
    for number, chosen in ((1, relu(1)), (2, relu(2))):
        assert [words.pop(SET_WORDS * number + at) for at in range(SET_WORDS)] == chosen.words()
    assert not words and not [write for write in program.setup if write[0] == SETUP_READ_SETS]


@pytest.mark.parametrize("side, field, chosen", [
    ("WRITEs", "finish", relu), ("READs", "normalise", lambda number: ReadSet(n=number + 1))])
def test_fifteen_sets_a_side(side, field, chosen):
    parts = [copied(0, 64, **{field: chosen(number)}) for number in range(16)]
    program = assemble(CONFIG, [task for part in parts[:15] for task in part])
    assert len(program.stages) == 30
    with pytest.raises(WingbeatError) as caught:
        assemble(CONFIG, [task for part in parts for task in part])
    assert str(caught.value) == f"parameter sets: 16 different ones for the {side} of a program; allowed are 15"


def test_setup_writes_of_others_come_last():
    mine = [(SETUP_CHANNELS, 3, 7)]
    assert assemble(CONFIG, copied(0, 64), mine).setup[-1:] == mine


# --- What must wait -----------------------------------------------------------------------------------------------

def without_waits(program, kind):
    """The same program, whose READs or SUMS wait for nothing."""
    return Program([replace(step, after=0, after_beats=0) if type(step) is kind else step
                    for step in program.instructions], program.setup, program.stages)


def test_a_read_waits_for_what_its_write_adds():
    """Blocks of the second copy read what was there, and add what the first copy writes."""
    add = WriteSet(residual=True, offset=64 - 128 & 0xFFFF_FFFF)
    program = assemble(CONFIG, [*copied(0, 64), *copied(0, 128, finish=add)])
    values, memory = rows(3) // 2, memory_of(rows(3) // 2)
    program.run_model(CONFIG, memory)
    assert np.array_equal(memory[128:160].reshape(ROWS, 16), 2 * values)
    waits = [(step.after, step.after_beats) for step in of_kind(program, Read)]
    assert waits == [(0, 0), (0, 0), (2, 0), (2, 0)]
    with pytest.raises(ValueError, match="it has not waited for that"):
        without_waits(program, Read).run_model(CONFIG, memory_of(values))


def test_sums_wait_for_their_rows():
    """Of blocks that may still be under way, and only as long as nothing before has waited for the same."""
    blocks = copied(0, 64)
    program = assemble(CONFIG, [*blocks, sums(64, 8), sums(80, 8), *copied(64, 128, normalise=SET)])
    assert [(step.after, step.after_beats) for step in of_kind(program, Sums)] == [(2, 0), (1, 0)]
    assert [(step.after, step.after_beats) for step in of_kind(program, Read)][2:] == [(0, 0), (0, 0)]
    memory = memory_of(rows(4))
    program.run_model(CONFIG, memory)
    with pytest.raises(ValueError, match="it has not waited for that"):
        without_waits(program, Sums).run_model(CONFIG, memory_of(rows(4)))


def test_waits_reach_back_as_far_as_the_field():
    """What is more than 63 blocks behind is waited for as if it were 63."""
    others = copied(0, 256, rows=8) * 66
    program = assemble(CONFIG, [*copied(0, 64, rows=8), *others, *copied(64, 128, rows=8)])
    program.run_model(CONFIG, memory_of(rows(5)))
    assert of_kind(program, Read)[-1].after == 63


def test_added_beats_stand_behind_the_written_ones():
    [task, _] = copied(0, 64, finish=WriteSet(residual=True, offset=1000))
    written = written_beats(CONFIG, *task)
    assert sorted(written) == list(range(64, 80)) and sorted(read_beats(CONFIG, *task)) == list(range(16))
    assert np.array_equal(added_beats(CONFIG, task.stage, written), (written + 1000) % 1024)
    assert not added_beats(CONFIG, copied(0, 64)[0].stage, written).size


# --- Size ---------------------------------------------------------------------------------------------------------

def test_sums_are_part_of_loops():
    sizes = []
    for count in (12, 24):
        tasks = [part for at, task in zip(range(0, 16 * count, 16), copied(0, 512, 8 * count, normalise=SET))
                 for part in (sums(at, 8), task)]
        program = assemble(CONFIG, tasks)
        memory = np.random.default_rng(6).integers(-9, 9, (1024, 8))
        program.run_model(CONFIG, memory)
        sizes.append(len(program.instructions))
        assert of_kind(program, Loop) and len(program.stages) == count
    assert sizes[0] == sizes[1]


def test_too_few_program_words():
    tasks = [part for task in copied(0, 64, normalise=SET) for part in (sums(0, 8), task)]
    need = 3 * len(assemble(CONFIG, tasks).instructions)
    with pytest.raises(WingbeatError) as caught:
        assemble(CONFIG.changed(program_words=32), tasks)
    assert str(caught.value) == (f"program_words: 32 is too small for a program of {need} words; allowed are "
                                 f"{1 << (need - 1).bit_length()} and more")
