"""Rows of a table by ids in memory, on the integer model: every element, in any number of FETCHes and blocks."""

from dataclasses import replace

import numpy as np
import pytest

from wingbeat.gen.compiler.kernel.compile import compile_copy
from wingbeat.gen.compiler.program.assemble import assemble, read_beats
from wingbeat.gen.compiler.program.coefficients import CoefficientSpace
from wingbeat.gen.compiler.program.embedding import pick_rows
from wingbeat.gen.compiler.program.matrix import Matrix
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.instruction import Destination, Fault, Fetch, Read
from wingbeat.sim.model.handout import ProgramFault

# Engines, layers, words of a beat, words of a half: one engine and several per beat, groups of engines, both S.
ARRAYS = [(4, 1, 4, 256), (8, 2, 16, 256), (6, 2, 8, 256), (1, 2, 4, 512)]


def config_of(engines=4, layers=1, stream_words=4, half_words=256, **changes):
    return CoreConfig.of(**dict(
        engines=engines, layers=layers, width=18, element_width=16, coefficient_width=17, half_words=half_words,
        coefficient_words=512, stream_words=stream_words, program_words=4096, memory_bits=16, records=True,
        row_ids=64) | changes)


class Picked:
    """Ids, table and target in a memory whose other elements are 77, and the program between them."""

    def __init__(self, config, count, vocabulary, elements, seed=1, start="cold"):
        self.config, rng = config, np.random.default_rng(seed)
        half, beat = 1 << config.element_width - 1, config.memory_elements
        pitch = 1 << (-(-elements // beat) - 1).bit_length()
        self.ids = Matrix(5, count, 1, 1)
        self.table = Matrix(self.ids.end + 3, vocabulary, elements, pitch)
        self.target = Matrix(self.table.end + 2, count, elements, pitch)
        self.chosen = rng.integers(vocabulary, size=count)
        self.chosen[:2] = vocabulary - 1, 0
        self.rows = rng.integers(-half, half, (vocabulary, elements))
        self.rows[vocabulary // 2], self.rows[0, 0], self.rows[0, -1] = 0, half - 1, -half
        self.memory = np.full((self.target.end + 9, beat), 77, dtype=np.int64)
        self.memory[self.ids.base:self.ids.end, 0] = (self.chosen + half) % (2 * half) - half
        stored = np.full((vocabulary, pitch * beat), 77)
        stored[:, :elements] = self.rows
        self.memory[self.table.base:self.table.end] = stored.reshape(-1, beat)
        kernel = compile_copy(elements, config, least_size=beat, rows=count)
        self.transfers = pick_rows(kernel, self.ids, self.table, self.target, CoefficientSpace(config), "e", start)
        self.program = assemble(config, self.transfers)

    def check(self, note=""):
        before = self.memory.copy()
        outcomes = self.program.run_model(self.config, self.memory)
        assert np.array_equal(self.target.unpack(self.memory), self.rows[self.chosen]), note
        assert not any(outcome.saturated or outcome.clamped for outcome in outcomes), note
        before[self.target.base:self.target.end] = self.memory[self.target.base:self.target.end]
        assert np.array_equal(before, self.memory), f"something outside the target was written, {note}"
        return self

    @property
    def fetches(self):
        return [step for step in self.program.instructions if isinstance(step, Fetch)]


@pytest.mark.parametrize("array", ARRAYS, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_any_size(array, seed):
    """Rows of whole beats and of parts, one beat and many; as many ids as there is room for, more and fewer."""
    rng = np.random.default_rng([seed, *array])
    count, vocabulary, elements = (int(rng.integers(2, most)) for most in (200, 300, 60))
    Picked(config_of(*array), count, vocabulary, elements, seed, ["cold", "warm", "steady", "cold"][seed]).check(
        f"seed {seed}: {count} of {vocabulary} x {elements}")


@pytest.mark.parametrize("elements", [1, 7, 8, 9, 16, 24, 31, 64])
def test_rows_that_do_not_fill_their_beats(elements):
    """What stands behind a row in memory is not read."""
    picked = Picked(config_of(), 20, 12, elements).check()
    beats = picked.memory[picked.target.base:picked.target.end].reshape(20, -1)[:, elements:]
    filled = -(-elements // 8) * 8 - elements
    assert not beats[:, :filled].any() and (beats[:, filled:] == 77).all()


@pytest.mark.parametrize("count, sizes", [(64, [64]), (65, [64, 1]), (5, [5]), (200, [64, 64, 64, 8])])
def test_as_many_ids_at_once_as_there_is_room_for(count, sizes):
    """Each FETCH stands behind a fence; what follows it asks for the ids that it has brought, from number 0 on."""
    picked = Picked(config_of(), count, 30, 24).check()
    assert [task.block.ids.rows for task in picked.transfers if task.block.ids] == sizes
    assert [task.block.ids.at for task in picked.transfers if task.block.ids] == [5 + 64 * at
                                                                                  for at in range(len(sizes))]
    assert [task.block.read_at == 0 for task in picked.transfers] == [bool(task.block.ids) for task in picked.transfers]
    assert all(step.fence and step.destination is Destination.IDS for step in picked.fetches)
    reads = [step for step in picked.program.instructions if type(step) is Read]
    assert reads and all(step.by_id and not step.after for step in reads)


def test_as_many_ids_as_a_core_can_have():
    """More than the rows of one descriptor reach."""
    config = config_of(8, 2, 16, 2048, row_ids=65536, memory_bits=18)
    Picked(config, 40000, 9, 8).check()


def test_blocks_that_share_a_fetch():
    """Several blocks of rows read by the ids of one FETCH."""
    picked = Picked(config_of(1, 2, 4, 64), 60, 9, 32).check()
    assert len(picked.fetches) == 1 and len(picked.transfers) > 2


@pytest.mark.parametrize("width, vocabulary", [(16, 40000), (16, 65536), (8, 256), (8, 200)])
def test_ids_without_sign(width, vocabulary):
    """Half of them are negative as elements."""
    picked = Picked(config_of(width=18, element_width=width, memory_bits=18), 100, vocabulary, 8)
    assert (picked.memory[picked.ids.base:picked.ids.end, 0] < 0).any()
    picked.check()


def test_an_id_behind_the_table():
    picked = Picked(config_of(), 30, 20, 16)
    picked.memory[picked.ids.base + 11, 0] = 20
    with pytest.raises(ProgramFault, match="^id: 20 names no row of its table$") as fault:
        picked.program.run_model(picked.config, picked.memory)
    assert fault.value.code is Fault.ID
    picked.memory[picked.ids.base + 11, 0] = 19
    picked.chosen[11] = 19
    picked.check()


def test_nothing_waits_for_a_table():
    """What is read by id is constant: it counts as no beats."""
    picked = Picked(config_of(), 10, 20, 16)
    stage, block = picked.transfers[0]
    assert stage.read.by_id and not len(read_beats(picked.config, stage, block))
    plain = replace(stage, read=replace(stage.read, by_id=False))
    assert len(read_beats(picked.config, plain, block)) == 2 * block.read_rows


def test_without_ids():
    with pytest.raises(WingbeatError, match="^memory.row_ids: 0 of wingbeat; allowed are powers of two, for an "
                                            "embedding$"):
        Picked(config_of(row_ids=0), 4, 4, 8)
