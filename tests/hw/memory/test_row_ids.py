"""RowIds: every id at its number, where its row begins, under random moves; clear, ids that are refused, reset."""

import random

from amaranth.back import rtlil
import pytest

from wingbeat.hw.config import CoreConfig, Pipeline, Target
from wingbeat.hw.memory.row_ids import RowIds
from wingbeat.hw.primitives.ram import RamParameters

PIPELINES = pytest.mark.parametrize("pipeline", list(Pipeline), ids=lambda p: p.value)
KEPT = 3     # cycles from ``id_valid`` to the first in which the id can be read
REFUSED = 2  # to ``refused``
OUTPUTS = ("place", "refused")


def config_of(memory_bits=12, row_ids=16, width=16, pipeline=Pipeline.DEEP, target=Target.PORTABLE):
    return CoreConfig.of(engines=2, layers=1, width=18, element_width=width, stream_words=4, memory_bits=memory_bits,
                         records=True, row_ids=row_ids, pipeline=pipeline, target=target)


def form(last_id, log2_pitch):
    return {"last_id": last_id, "log2_pitch": log2_pitch}


def random_form(config, rng):
    """Base and format; often one of the borders."""
    most = (1 << min(16, config.element_width)) - 1
    pitches = [0, config.memory_bits - 1, rng.randrange(config.memory_bits), rng.randrange(config.memory_bits)]
    return {"base": rng.getrandbits(config.memory_bits),
            "format": form(rng.choice([most, rng.randint(0, most), 0]), rng.choice(pitches))}


def random_fetch(config, rng):
    """Cycles of one FETCH and some behind it. ``clear`` comes with the last id or behind it, and may come again; base
    and format are others as soon as the last id is kept."""
    present, steps = random_form(config, rng), []
    last_id = present["format"]["last_id"]
    count = rng.choice([1, 2, config.row_ids, config.row_ids + 3, rng.randint(1, config.row_ids)])
    for _ in range(count):
        steps += [{"id_valid": 0}] * rng.choice([0, 0, 0, rng.randrange(4)])
        near = rng.choice([last_id, last_id + 1, rng.randint(0, last_id), rng.randint(0, last_id)])
        steps.append({"id_valid": 1, "id": near if rng.random() < 0.9 else rng.getrandbits(16)})
    if rng.random() < 0.5:
        steps[-1] = {**steps[-1], "clear": 1}
    else:
        steps += [{"id_valid": 0}] * rng.randrange(3) + [{"id_valid": 0, "clear": 1}]
    steps = [present | step for step in steps]
    kept = next(at for at, step in enumerate(reversed(steps)) if step["id_valid"])  # cycles behind the last id
    steps += [{**present, "id_valid": 0}] * max(0, KEPT - 1 - kept)
    return steps + [{**random_form(config, rng), "id_valid": 0, "clear": rng.random() < 0.1}
                    for _ in range(3 * config.row_ids + 8)]


def with_reads(config, rng, steps, chance):
    """The same with noise on the id, and with a number and ``moving`` in every cycle."""
    noise = {"clear": 0, "id": 0}
    for step in steps:
        yield {**noise, "number": rng.getrandbits(config.memory_bits), "moving": rng.random() < chance, **step,
               "id": step.get("id", rng.getrandbits(config.element_width)) % (1 << config.element_width)}


class Twin:
    """What the docstring says. ``cycle`` returns what the ports show in a cycle, None where that is open."""

    def __init__(self, config):
        self._config = config
        self._next = self._now = 0
        self._table, self._coming, self._refusals = {}, {}, set()
        self._stages = [None] * config.pipeline.ram_latency

    def reset(self):
        """The table is kept. What becomes of ids and places that are on their way is open."""
        for number, _ in self._coming.values():
            self._table[number] = None
        self._next, self._coming, self._refusals = 0, {}, set()
        self._stages = [None] * len(self._stages)

    def cycle(self, step):
        config, now = self._config, self._now
        for since in [each for each in self._coming if each <= now - KEPT]:
            number, place = self._coming.pop(since)
            self._table[number] = place
        shown = self._stages[-1], now in self._refusals
        if step["moving"]:
            number = step["number"] % config.row_ids
            is_open = number in {each for each, _ in self._coming.values()}
            self._stages = [None if is_open else self._table.get(number), *self._stages[:-1]]
        if step["id_valid"]:
            form = step["format"]
            if step["id"] > form["last_id"]:
                self._refusals.add(now + REFUSED)
            else:
                place = (step["base"] + (step["id"] << form["log2_pitch"])) % (1 << config.memory_bits)
                self._coming[now] = self._next, place
            self._next = (self._next + 1) % config.row_ids
        if step["clear"]:
            self._next = 0
        self._now += 1
        return shown


def check(config, steps, drive, note, resets=()):
    """Runs it and compares every cycle. How many places and refusals were seen."""
    steps, twin, counts = list(steps), Twin(config), [0, 0]
    seen = drive(RowIds(config), steps, OUTPUTS, resets)
    for cycle, (step, place, refused) in enumerate(zip(steps, seen["place"], seen["refused"])):
        want_place, want_refused = twin.cycle(step)
        assert want_place is None or place == want_place, f"cycle {cycle}, {note}"
        assert refused == want_refused, f"refused in cycle {cycle}, {note}"
        counts[0] += want_place is not None
        counts[1] += refused
        if cycle in resets:
            twin.reset()
    return counts


# Bits of a beat number, ids, bits of an element. A table of 128 bits is LUTs on an ECP5: it can be simulated.
SHAPES = [(12, 16, 16), (8, 16, 16), (20, 64, 8), (32, 4, 18), (3, 8, 16), (1, 2, 12), (4, 32, 10)]


@PIPELINES
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("chance", [1, 0.4])
def test_random_ids(shape, pipeline, chance, drive):
    """Several FETCHes of all lengths, up to more than the table has, and reads at all times."""
    seed = SHAPES.index(shape)
    config, rng = config_of(*shape, pipeline), random.Random(seed)
    steps = [step for _ in range(8) for step in random_fetch(config, rng)]
    places, refusals = check(config, with_reads(config, rng, steps, chance), drive, f"seed {seed}")
    assert places > 40 and refusals > 2, f"seed {seed}"


@PIPELINES
def test_of_an_ecp5(pipeline, drive, seed=31):
    config, rng = config_of(8, 16, 16, pipeline, Target.ECP5), random.Random(seed)
    steps = [step for _ in range(6) for step in random_fetch(config, rng)]
    places, _ = check(config, with_reads(config, rng, steps, 0.6), drive, f"seed {seed}")
    assert places > 40, f"seed {seed}"


@pytest.mark.parametrize("row_ids", [64, 1024, 2048])
def test_block_rams_of_an_ecp5(row_ids):
    config = config_of(20, row_ids, target=Target.ECP5)
    blocks = RamParameters(20, row_ids, Target.ECP5).n_block_rams
    assert blocks and rtlil.convert(RowIds(config), name="dut").count("cell \\DP16KD") == blocks


def fetch_of(ids, base=0, last_id=0xFFFF, log2_pitch=0):
    """One id a cycle, ``clear`` with the last one."""
    common = {"base": base, "format": form(last_id, log2_pitch)}
    return [{**common, "id": each, "id_valid": 1, "clear": at == len(ids) - 1} for at, each in enumerate(ids)]


QUIET = {"id_valid": 0, "id": 0, "clear": 0}


def read_all(config, drive, steps, numbers, resets=()):
    """Places of the ids ``numbers`` behind the cycles ``steps``, and what ``refused`` shows."""
    latency = config.pipeline.ram_latency
    steps = [{"moving": 0, "number": 0} | step for step in steps] + [QUIET] * KEPT
    steps += [{"number": number, "moving": 1} for number in numbers] + [{"moving": 1}] * latency
    seen = drive(RowIds(config), steps, OUTPUTS, resets)
    first = len(steps) - latency - len(numbers) + latency
    return seen["place"][first:first + len(numbers)], seen["refused"]


@PIPELINES
@pytest.mark.parametrize("memory_bits", [5, 12, 16, 20])
def test_rows_stand_a_power_of_two_of_beats_apart(memory_bits, pipeline, drive):
    """Every pitch that an address has; what lies beyond the memory wraps."""
    config, ids = config_of(memory_bits, 8, pipeline=pipeline), [0, 1, 3, 0x5A5A, 0x8001, 0xFFFF]
    for log2_pitch in range(memory_bits):
        base = 7 * log2_pitch % (1 << memory_bits)
        places, refused = read_all(config, drive, fetch_of(ids, base, log2_pitch=log2_pitch), range(6))
        assert places == [(base + each * 2 ** log2_pitch) % 2 ** memory_bits for each in ids], f"pitch {log2_pitch}"
        assert not any(refused)


@PIPELINES
def test_stated_latencies(pipeline, drive):
    """An id can be read three cycles later, and its place is there ram_latency moves behind that."""
    config, latency = config_of(pipeline=pipeline), pipeline.ram_latency
    old, new = fetch_of([5]), fetch_of([77], 100)
    steps = [{"moving": 1, "number": 0} | step for step in (*old, *[QUIET] * 8, *new, *[QUIET] * 8)]
    places = drive(RowIds(config), steps, OUTPUTS)["place"]
    given = len(old) + 8
    assert places[given + KEPT + latency:] == [177] * len(places[given + KEPT + latency:])
    assert places[given + latency] == 5
    assert places[:latency + KEPT + 1].index(5) == KEPT + latency


def test_places_wait_for_moves(drive):
    """Without ``moving`` neither stage of the table goes on."""
    config = config_of()
    steps = [{"moving": 0, "number": 0} | step for step in fetch_of([10, 20, 30])] + [QUIET] * KEPT
    moves = [(0, 1), (1, 1), (2, 0), (2, 0), (2, 1), (0, 1), (0, 0), (0, 1)]
    steps += [{"number": number, "moving": moving} for number, moving in moves]
    places = drive(RowIds(config), steps, OUTPUTS)["place"][-len(moves):]
    assert places[2:] == [10, 10, 10, 20, 30, 30]


@PIPELINES
def test_refused_ids(pipeline, drive):
    """The largest id is kept; the next one is not, and leaves the old place of its number as it is."""
    config = config_of(pipeline=pipeline)
    before, behind = fetch_of([1, 2, 3, 4, 5]), fetch_of([9, 10, 8, 0x8009, 9], last_id=9, log2_pitch=1)
    places, refused = read_all(config, drive, [*before, *[QUIET] * KEPT, *behind], range(5))
    assert places == [18, 2, 16, 4, 18]
    first = len(before) + KEPT
    assert [cycle for cycle, is_it in enumerate(refused) if is_it] == [first + 1 + REFUSED, first + 3 + REFUSED]


@pytest.mark.parametrize("width, last_id, refused", [(8, 0xFF, 0), (16, 0xFFFF, 0), (18, 0xFFFF, 1), (8, 0x7F, 1)])
def test_ids_have_no_sign(width, last_id, refused, drive):
    """All bits set: the largest id there is; of more than 16 bits none is."""
    config, largest = config_of(width=width), (1 << width) - 1
    places, seen = read_all(config, drive, fetch_of([4, largest], last_id=last_id), range(2))
    assert sum(seen) == refused and places[0] == 4
    assert refused or places[1] == largest % (1 << 12)


def test_numbers_begin_behind_clear(drive):
    """With the last id, alone, and twice; without it they go on and wrap."""
    config = config_of(row_ids=4)
    going_on = [{**step, "clear": 0} for step in fetch_of([40, 41])]
    steps = [*fetch_of([10, 11]), *fetch_of([20]), *[QUIET] * 3]
    assert read_all(config, drive, steps, range(2))[0] == [20, 11]
    steps = [*going_on, QUIET, {**QUIET, "clear": 1}, {**QUIET, "clear": 1}, *fetch_of([30])]
    assert read_all(config, drive, steps, range(2))[0] == [30, 41]
    assert read_all(config, drive, [*going_on, *fetch_of([50, 51, 52])], range(4))[0] == [52, 41, 50, 51]


def test_numbers_that_are_read_wrap_too(drive):
    config = config_of(row_ids=4)
    numbers = [0, 4, 5, 1023, 4095, 2]
    assert read_all(config, drive, fetch_of([7, 8, 9, 10]), numbers)[0] == [7, 7, 8, 10, 10, 9]


def test_reset(drive, seed=8):
    """The next number is 0, nothing is refused, and the table keeps what was in it."""
    config = config_of()
    steps = [*fetch_of([1, 2, 3]), *[QUIET] * KEPT, *[{**step, "clear": 0} for step in fetch_of([11])],
             *[QUIET] * KEPT, QUIET, *fetch_of([21])]
    reset_at = 3 + KEPT + 1 + KEPT
    assert read_all(config, drive, steps, range(3), [reset_at])[0] == [21, 2, 3]
    bad = [*fetch_of([1], last_id=0), QUIET, *[QUIET] * 4]
    assert not any(read_all(config, drive, bad, range(1), [1])[1])
    rng = random.Random(seed)
    steps = [step for _ in range(8) for step in random_fetch(config, rng)]
    resets = {rng.randrange(len(steps)) for _ in range(12)}
    assert check(config, with_reads(config, rng, steps, 0.7), drive, f"seed {seed}", resets)[0] > 40, f"seed {seed}"


def test_without_ids_there_is_none():
    with pytest.raises(ValueError, match="^row_ids: 0; a RowIds needs some$"):
        RowIds(config_of(row_ids=0))
