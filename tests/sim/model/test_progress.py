"""Programs that end and programs that wait for ever, judged without time: never against the cycle model."""

from dataclasses import replace
import random

import numpy as np
import pytest

from support.programs import executed

from wingbeat.hw.array.parameters import QUEUE_PLACES
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.descriptor import DESCRIPTOR_WORDS, Descriptor, Move
from wingbeat.hw.isa.instruction import (Destination, Fetch, Halt, Load, Loop, Mac, MemoryMode, Mode, Pass, Read, Set,
                                         Store, Unit, Wait, Write)
from wingbeat.hw.isa.setup import SETUP_READER, SETUP_WRITER
from wingbeat.hw.isa.walk import Walk
from wingbeat.sim.cycles.estimate import estimate
from wingbeat.sim.cycles.skip import Skipper
from wingbeat.sim.model.progress import RingUse, check_executed, check_progress
from wingbeat.sim.model.ring import mac_words
from wingbeat.sim.stimulus.processor import random_processor_config, random_processor_job
from wingbeat.sim.stimulus.ids import with_ids
from wingbeat.sim.stimulus.records import with_records

SET = Set(Unit.READER, 7, 0)


def ends(program):
    try:
        check_progress(program)
    except ValueError:
        return False
    return True


def crowded(program, rng):
    """More commands for the reader at some places, up to twice what a queue holds."""
    program = list(program)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(program))
        program[at:at] = [SET] * rng.choice((1, 6, 12, 15, 16, 17, 18, 24, 30))
    return program


def jobs(count):
    for seed in range(count):
        rng = random.Random(f"progress {seed}")
        config = random_processor_config(rng)
        job = random_processor_job(config, rng)
        if config.records:
            job = with_ids(config, with_records(config, job, rng), rng)
        yield seed, config, job, rng


def test_programs_of_the_regression_end():
    for seed, _, job, _ in jobs(40):
        assert ends(job.program), f"seed {seed}"


def test_what_it_lets_pass_ends():
    """And it refuses few that end: the cycle model finds those that do not."""
    verdicts = []
    for seed, config, job, rng in jobs(60):
        program = crowded([*executed(job.program), Halt()], rng)
        judged = ends(program)
        try:
            estimate(config, program, job.setup, image=job.memory)
            ended = True
        except RuntimeError:
            ended = False
        assert ended or not judged, f"seed {seed}"
        verdicts.append((judged, ended))
    assert verdicts.count((False, False)) >= 5 and verdicts.count((True, True)) >= 20
    assert verdicts.count((False, True)) <= 6


WALK = Walk((0,), 0, 0)
READ = Read(0, 0, 1, MemoryMode.COLUMNS)
BLOCK = [Load(WALK), Pass(Mode.PASS, 0, 1, 0, (0,), first=True, last=True), Store(WALK),
         Write(0, 0, 1, MemoryMode.COLUMNS)]


def chain(between):
    """Two blocks; the second READ waits for the first WRITE, and ``between`` stands behind it."""
    return [READ, BLOCK[0], replace(READ, after=1), *between, *BLOCK[1:], *BLOCK, Halt()]


@pytest.mark.parametrize("count, is_fine", [(0, True), (QUEUE_PLACES, True), (QUEUE_PLACES + 1, False)])
def test_a_full_queue_in_front_of_what_is_waited_for(count, is_fine):
    assert ends(chain([SET] * count)) == is_fine


def test_the_message_names_what_waits():
    with pytest.raises(ValueError, match="^program: instruction 2 READ waits for ever; a queue in front of a unit "
                                         "holds 16 instructions, and too many stand between it and what it waits for$"):
        check_progress(chain([SET] * 20))


def test_wait_behind_a_fetch_that_waits_for_a_later_write():
    """The WRITE stands behind the WAIT."""
    fetch = Fetch(0, 0, 1, MemoryMode.COLUMNS)
    assert ends([READ, fetch, Wait(), *BLOCK, Halt()])
    assert not ends([READ, *BLOCK, READ, replace(fetch, after=1), Wait(), *BLOCK[:-1], Halt()])
    assert ends([READ, *BLOCK, replace(fetch, after=1), Wait(), READ, *BLOCK, Halt()])


# --- With a ring --------------------------------------------------------------------------------------------------

RING = CoreConfig.of(engines=1, layers=1, half_words=64, stream_words=2, coefficient_words=16, ring_words=16,
                     memory_bits=8, records=True)
MULTIPLY = Mac(4, 2, 3, 2, 16, 1, 0, first=True, last=True)  # two windows of 8 words
MATRIX = Fetch(0, 0, 1, MemoryMode.COLUMNS, destination=Destination.RING)
PRODUCT = [Load(WALK), MULTIPLY, Store(WALK), Write(0, 0, 1, MemoryMode.COLUMNS)]


def left(program, *words):
    """Words that are left in the ring; every FETCH of a matrix brings so many ``words``, asked for in this order."""
    coming = iter(words)
    found = check_executed(enumerate(program), RingUse(RING, lambda fetch: next(coming)))
    assert not list(coming), "a FETCH was not asked for its words"
    return found


def waits(program, *words):
    """What waits for ever."""
    with pytest.raises(ValueError, match="^program: instruction [0-9]+ [A-Z]+ waits for ever") as found:
        left(program, *words)
    return str(found.value).split(" waits")[0].split("instruction ")[1]


def test_a_matrix_in_front_of_its_rows():
    """The READ stands behind the FETCH, which must be done first: all words have to fit the ring."""
    program = [MATRIX, READ, *PRODUCT]
    assert left(program, 16) == 0
    assert waits(program, 17) == "0 FETCH"
    assert waits([MATRIX, Wait(), READ, *PRODUCT], 17) == "0 FETCH"
    assert waits([MATRIX, MATRIX, READ, *PRODUCT], 10, 7) == "1 FETCH"
    assert left([MATRIX, MATRIX, READ, *PRODUCT], 10, 6) == 0


def test_a_matrix_behind_its_rows():
    """The MAC makes room, window by window, whatever the ring holds; what it does not take is left over."""
    for words in (16, 17, 32):
        assert left([READ, MATRIX, *PRODUCT], words) == words - 16
    assert waits([READ, MATRIX, *PRODUCT], 33) == "1 FETCH"
    large = [PRODUCT[0], replace(MULTIPLY, outputs=5), *PRODUCT[2:]]  # more than the ring ever holds
    assert left([READ, MATRIX, *large], 40) == 0
    assert waits([READ, MATRIX, *large], 39) == "3 MAC"
    assert waits([MATRIX, READ, *large], 40) == "0 FETCH"
    assert left([READ, *PRODUCT[:2], MATRIX, *PRODUCT[2:]], 16) == 0
    assert left([READ, *[MATRIX] * 8, *PRODUCT], *[2] * 8) == 0


def test_words_that_do_not_make_a_window():
    assert waits([READ, MATRIX, *PRODUCT], 15) == waits([READ, MATRIX, *PRODUCT], 7) == "3 MAC"
    wide = replace(MULTIPLY, inputs=9, outputs=1, log2_in_stride=4)  # a window of 18 never stands in the ring
    assert waits([READ, MATRIX, PRODUCT[0], wide, *PRODUCT[2:]], 18) == "1 FETCH"
    assert left([READ, MATRIX, PRODUCT[0], replace(wide, inputs=8), *PRODUCT[2:]], 16) == 0


def test_the_order_of_matrices_and_rows():
    """Two blocks. The second matrix may come early where the first block can make room for it."""
    first, second = [READ, *PRODUCT], [READ, *PRODUCT]
    assert left([READ, MATRIX, MATRIX, *PRODUCT, *second], 16, 16) == 0
    assert left([MATRIX, *first, MATRIX, *second], 16, 16) == 0
    assert waits([MATRIX, MATRIX, *first, *second], 16, 16) == "1 FETCH"
    assert left([MATRIX, READ, MATRIX, *PRODUCT, *second], 16, 16) == 0
    # Where the second READ waits for the first WRITE, what stands in front of it may not wait for the second block.
    late = [replace(READ, after=1), *PRODUCT]
    assert left([READ, MATRIX, MATRIX, *PRODUCT, *late], 16, 16) == 0
    assert waits([READ, MATRIX, MATRIX, *PRODUCT, *late], 16, 33).endswith("FETCH")


def test_records_and_passes_take_nothing_of_the_ring():
    records = replace(MATRIX, destination=Destination.SETUP)
    between = [READ, Load(WALK), replace(MULTIPLY, last=False), replace(BLOCK[1], first=False), *PRODUCT[2:]]
    assert left([records, MATRIX, records, Wait(), *between, READ, *BLOCK, records], 16) == 0
    assert left([MATRIX], 9) == 9 and left([records]) == 0


def test_a_matrix_in_a_loop():
    """It is asked for its words each time."""
    asked = []

    def words(fetch):
        asked.append(fetch)
        return 16
    check_progress([MATRIX, READ, *PRODUCT, Loop(0, 3), Halt()], RingUse(RING, words))
    assert asked == [MATRIX] * 3
    with pytest.raises(ValueError, match="^program: instruction 1 FETCH waits for ever"):
        check_progress([MATRIX, MATRIX, READ, *PRODUCT, Loop(0, 3), Halt()], RingUse(RING, words))


def rows_in(count):
    bits = (count - 1).bit_length()
    return Descriptor((), Move(0), tuple(Move(1 << bit) for bit in range(bits)), 1, 1, steps=count)


def random_products(rng):
    """Blocks with MACs, and FETCHes of all their words in their order, anywhere; steps, and words of each FETCH."""
    walk, program, need = Walk((0,), 6, 0), [], 0
    for _ in range(rng.randint(2, 4)):
        mac = Mac(2, rng.randint(1, 4), 2, 1, 8, 2, 0, first=True, last=True)
        need += mac_words(RING, mac)
        program += [replace(READ, rows=99), Load(walk), mac, Store(walk, 16),
                    Write(0, 0, 99, MemoryMode.COLUMNS)]
    words = []
    while need:
        words.append(min(need, 2 * rng.choice([2, 4, 8, 12])))
        need -= words[-1]
    at = sorted(rng.randrange(len(program)) for _ in words)
    for place, count in reversed(list(zip(at, words))):
        program.insert(rng.choice([place, place, 0, 1]) if place < 6 else place,
                       replace(MATRIX, descriptor=count // 2, register=1, rows=99))
    return [Set(Unit.READER, 1, 32), Set(Unit.WRITER, 0, 16), *program]


class Endless(Exception):
    """The cycle model goes on and on."""


@pytest.fixture
def bounded(monkeypatch):
    """No program of these tests takes a million cycles: the cycle model stops there."""
    class Bounded(Skipper):
        def __init__(self, model, config):
            super().__init__(model, config)
            self.model = model

        def look(self, *arguments, **options):
            if self.model.counts.total > 1_000_000:
                raise Endless
            super().look(*arguments, **options)
    monkeypatch.setattr("wingbeat.sim.cycles.estimate.Skipper", Bounded)


def run_in_cycles(program):
    """In the cycle model: descriptor n names n beats, those of the blocks 4."""
    setup = [(target, DESCRIPTOR_WORDS * number + at, word) for target in (SETUP_READER, SETUP_WRITER)
             for number in range(16) for at, word in enumerate(rows_in(number or 4).words(1))]
    return estimate(RING, [*program, Halt()], setup, image=np.zeros((64, RING.memory_elements), dtype=np.int64))


def test_what_it_lets_pass_ends_with_a_ring(bounded):
    """As above: nothing that waits in the cycle model, and little is refused that ends there."""
    verdicts = []
    for seed in range(50):
        program = random_products(random.Random(f"ring {seed}"))
        try:
            judged = check_executed(enumerate(program), RingUse(RING, lambda fetch: 2 * fetch.descriptor)) == 0
        except ValueError:
            judged = False
        try:
            run_in_cycles(program)
            ended = True
        except (RuntimeError, Endless):
            ended = False
        assert ended or not judged, f"seed {seed}"
        verdicts.append((judged, ended))
    assert verdicts.count((False, False)) >= 5 and verdicts.count((True, True)) >= 15, verdicts
    assert verdicts.count((False, True)) <= 3, verdicts


@pytest.mark.parametrize("beats", [8, 9, 12])
def test_the_cycle_model_finds_a_ring_that_stays_full(bounded, beats):
    """The FETCH stands in front of the READ that its MAC waits for, and brings more than the ring holds: one beat more
    stays in the unpacker, with more than that the READ never comes."""
    step, walk = replace(MATRIX, descriptor=beats, register=1, rows=99), Walk((0,), 6, 0)
    mac = Mac(2, 4, 2, 1, 8, 2, 0, first=True, last=True)
    block = [replace(READ, rows=99), Load(walk), mac, Store(walk, 16), Write(0, 0, 99, MemoryMode.COLUMNS)]
    program = [Set(Unit.READER, 1, 32), Set(Unit.WRITER, 0, 16), step, *block]
    if beats < 12:
        assert run_in_cycles(program).block_out
        return
    with pytest.raises(RuntimeError, match="waits for ever"):
        run_in_cycles(program)
