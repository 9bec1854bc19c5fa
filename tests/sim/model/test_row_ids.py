"""The model of the ids of rows: where the rows stand, ids that name none, ids that were not fetched."""

import random

import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.bit_fields import pack
from wingbeat.hw.isa.descriptor import ID_FIELDS, Descriptor, Move
from wingbeat.sim.model.memory import Positions
from wingbeat.sim.model.row_ids import RowIds


def config_of(width=16, memory_bits=12, row_ids=8):
    return CoreConfig.of(engines=2, layers=1, width=18, element_width=width, stream_words=4, memory_bits=memory_bits,
                         records=True, row_ids=row_ids)


def table_of(config, base=0, last_id=0xFFFF, log2_pitch=0):
    form = pack(ID_FIELDS, {"last_id": last_id, "log2_pitch": log2_pitch})
    return Descriptor((), Move(1), (), 1, 1, other=base, keep=form).words(config.beat_groups)


def beats_of(config, ids):
    """An id is element 0 of its beat, as the memory holds it; the others are noise."""
    width = config.element_width
    beats = np.random.default_rng(3).integers(-1 << width - 1, 1 << width - 1, (len(ids), config.memory_elements))
    beats[:, 0] = [(each + (1 << width - 1)) % (1 << width) - (1 << width - 1) for each in ids]
    return beats


def positions_of(numbers, chunks=0, valid=True):
    """Of a READ by id: the addresses are numbers of ids."""
    numbers = np.array(numbers, dtype=np.int64)
    return Positions(numbers, np.arange(len(numbers)), np.zeros_like(numbers) + chunks,
                     np.zeros(len(numbers), dtype=bool) | valid)


def located(row_ids, numbers, chunks=0):
    return row_ids.located(positions_of(numbers, chunks)).address.tolist()


@pytest.mark.parametrize("seed", range(6))
def test_places_of_random_rows(seed):
    """A row stands 2^log2_pitch beats behind the one before, a chunk a beat behind the one before, all modulo the
    memory; ids have no sign."""
    rng = random.Random(seed)
    width, memory_bits = rng.choice([8, 12, 16, 18]), rng.choice([4, 12, 20, 32])
    config, row_ids = config_of(width, memory_bits, 64), RowIds(config_of(width, memory_bits, 64))
    base, log2_pitch = rng.getrandbits(memory_bits), rng.randrange(memory_bits)
    most = (1 << min(width, 16)) - 1
    ids = [0, 1, most, *(rng.randint(0, most) for _ in range(61))]
    assert row_ids.fetch(table_of(config, base, most, log2_pitch), beats_of(config, ids)) is None
    numbers, chunks = rng.choices(range(64), k=50), np.array(rng.choices(range(300), k=50))
    want = [(base + ids[number] * 2 ** log2_pitch + chunk) % 2 ** memory_bits
            for number, chunk in zip(numbers, chunks.tolist())]
    assert located(row_ids, numbers, chunks) == want, f"seed {seed}"


@pytest.mark.parametrize("ids, last_id, bad", [([4, 5, 0], 5, None), ([4, 6, 5], 5, 6), ([0x8000, 0], 0x7FFF, 0x8000),
                                               ([0xFFFF], 0xFFFF, None), ([1, 9, 7], 0, 1)])
def test_an_id_that_names_no_row(ids, last_id, bad):
    config = config_of()
    assert RowIds(config).fetch(table_of(config, last_id=last_id), beats_of(config, ids)) == bad


def test_the_last_fetch_counts():
    """Its ids begin at number 0; what was there before is gone."""
    config = config_of()
    row_ids = RowIds(config)
    row_ids.fetch(table_of(config, 100), beats_of(config, [1, 2, 3]))
    row_ids.fetch(table_of(config, 200, log2_pitch=4), beats_of(config, [5, 6]))
    assert located(row_ids, [1, 0, 1]) == [296, 280, 296]
    with pytest.raises(ValueError, match="^by_id: id 2 of 2 that were fetched$"):
        located(row_ids, [2])


@pytest.mark.parametrize("numbers, valid, message", [
    ([0, 3], [True, True], "^by_id: id 3 of 3 that were fetched$"), ([4000, 0], [True, True], "^by_id: id 4000 of 3"),
    ([0, 3, 2], [True, False, True], None)])
def test_ids_that_were_not_fetched(numbers, valid, message):
    """Positions that are not valid ask for none; nothing else of them changes."""
    config, row_ids = config_of(), RowIds(config_of())
    row_ids.fetch(table_of(config, 64), beats_of(config, [7, 8, 9]))
    asked = positions_of(numbers, 1, valid)
    if message:
        with pytest.raises(ValueError, match=message):
            row_ids.located(asked)
        return
    found = row_ids.located(asked)
    assert found.address[asked.valid].tolist() == [72, 74]
    assert asked.address.tolist() == numbers, "the positions that were given are changed"
    for name in ("row", "chunk", "valid"):
        assert np.array_equal(getattr(found, name), getattr(asked, name)), name


def test_before_the_first_fetch_there_is_none():
    with pytest.raises(ValueError, match="^by_id: id 0 of 0 that were fetched$"):
        located(RowIds(config_of()), [0])
    assert located(RowIds(config_of()), []) == []


def test_more_ids_than_have_room():
    config = config_of()
    row_ids = RowIds(config)
    assert row_ids.fetch(table_of(config), beats_of(config, range(8))) is None
    with pytest.raises(ValueError, match="^row_ids: 8 are too few for a FETCH of 9 ids$"):
        row_ids.fetch(table_of(config), beats_of(config, range(9)))
