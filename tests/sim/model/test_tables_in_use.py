"""What a FETCH may change while blocks are under way, and what the model refuses because it would depend on when."""

import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.descriptor import DESCRIPTOR_WORDS, Descriptor, Move
from wingbeat.hw.isa.encoding import encode
from wingbeat.hw.isa.instruction import (Fetch, Halt, Load, MemoryMode, Mode, Pass, Read, Set, Store, Sums, Unit, Wait,
                                         Write)
from wingbeat.hw.isa.parameter_set import SET_WORDS, ReadSet, WriteSet
from wingbeat.hw.isa.record import record_beats
from wingbeat.hw.isa.setup import (NO_TARGET, SETUP_CHANNELS, SETUP_LENGTHS, SETUP_PROGRAM, SETUP_READ_SETS,
                                   SETUP_READER, SETUP_WRITE_SETS, SETUP_WRITER)
from wingbeat.hw.isa.walk import Walk
from wingbeat.sim.model.processor import ProcessorModel
from wingbeat.sim.model.tables_in_use import DESCRIPTOR_LEAD, TablesInUse

CONFIG = CoreConfig.of(engines=1, layers=1, half_words=32, coefficient_words=8, program_words=512, stream_words=2,
                       memory_bits=12, descriptors=4, records=True, vector_lanes=2, channel_beats=8, statistics_rows=16)
STEPS = 4
BEATS = 1 << STEPS      # of a block
RECORDS = 512           # their first beat
WALK = Walk((0,), (1 << STEPS + 1) - 2, 0)
BLOCK = Descriptor((), Move(0, 1), tuple(Move(1 << bit) for bit in range(STEPS)), 1, 1)
LINE = 2                # the descriptor of the FETCHes: as BLOCK
STEP = Pass(Mode.BPMM, 0, BEATS, 1, (0,), coef_base=2, coef_mask_bits=1, first=True, last=True)


def block(read=None, write=None):
    return [read or Read(0, 0, 0xFFFF, MemoryMode.COLUMNS), Load(WALK), STEP, Store(WALK),
            write or Write(0, 1, 0xFFFF, MemoryMode.COLUMNS)]


def descriptor_writes(target, number):
    return [(target, number * DESCRIPTOR_WORDS + at, word) for at, word in enumerate(BLOCK.words(CONFIG.beat_groups))]


def set_writes(target, number, words):
    return [(target, number * SET_WORDS + at, word) for at, word in enumerate(words)]


def check(records, program, at=RECORDS):
    """The model's opinion of a program whose FETCHes bring ``records``, from beat ``at`` on."""
    return model_of(records, at).check(words_of(program, at))


def words_of(program, at=RECORDS):
    return encode([Set(Unit.READER, 3, at), Set(Unit.WRITER, 1, 256), *program, Halt()])


def model_of(records, at=RECORDS):
    memory = np.zeros((1024, CONFIG.memory_elements), dtype=np.int64)
    beats = record_beats(CONFIG, records)
    assert len(beats) <= 4 * BEATS
    memory[RECORDS:RECORDS + 4 * BEATS] = record_beats(CONFIG, [(NO_TARGET, 0, 0)] * (4 * BEATS))
    memory[at:at + len(beats)] = beats
    model = ProcessorModel(CONFIG, [BLOCK] * 3, [BLOCK] * 3, memory)
    normalised, rescaled = ReadSet(n=4).words(), WriteSet(rescale=True, base=2, chunk_mask=1).words()
    for write in [*set_writes(SETUP_READ_SETS, 1, normalised), *set_writes(SETUP_WRITE_SETS, 1, rescaled)]:
        model.write_setup(*write)
    return model


def fetch(**options):
    """All records that there are, four times as many beats as a block."""
    fields = dict(descriptor=LINE, register=3, rows=0xFFFF, mode=MemoryMode.COLUMNS, increment=BEATS)
    return [Fetch(**fields | options)] * 4


READS, WRITES = Read(0, 0, 0xFFFF, MemoryMode.COLUMNS, vector=1), Write(0, 1, 0xFFFF, MemoryMode.COLUMNS, vector=1)
# What a record changes, and the block that uses it.
USED = [([(0, 2, 5)], block()), ([(0, 3, 5)], block()),
        (set_writes(SETUP_READ_SETS, 1, ReadSet(n=8).words()), block(read=READS)),
        (set_writes(SETUP_WRITE_SETS, 1, WriteSet(shift=1, rescale=True).words()), block(write=WRITES)),
        ([(SETUP_CHANNELS, 3 * CONFIG.memory_elements, 7)], block(write=WRITES))]
UNUSED = [([(0, 4, 5)], block()), (set_writes(SETUP_READ_SETS, 2, ReadSet().words()), block(read=READS)),
          (set_writes(SETUP_WRITE_SETS, 2, WriteSet().words()), block(write=WRITES)),
          ([(SETUP_CHANNELS, 4 * CONFIG.memory_elements, 7)], block(write=WRITES)), ([(NO_TARGET, 2, 5)], block())]


@pytest.mark.parametrize("records, using", USED)
def test_what_is_in_use_stays(records, using):
    with pytest.raises(ValueError, match=rf"^after: the FETCH before READ 2 changes word \d+ of setup target "
                                         rf"{records[0][0]}, which block 1 uses; it has not waited for WRITE 1$"):
        check(records, [*using, *using, *fetch(after=2), *using])
    assert check(records, [*using, *using, *fetch(after=1), *using]) == 3
    assert check(records, [*fetch(), *using]) == 1


@pytest.mark.parametrize("records, using", UNUSED)
def test_what_is_not_in_use_may_change(records, using):
    assert check(records, [*using, *using, *fetch(), *using]) == 3


def test_lengths_belong_to_the_blocks_of_their_masks():
    """Number 0 is none."""
    change = Fetch(LINE, 3, 1, MemoryMode.COLUMNS), [(SETUP_LENGTHS, 4, 9)], False
    use = TablesInUse(CONFIG)
    use.lengths(1, [0, 3, 64])
    use.change(2, *change)
    use.lengths(2, [5])
    with pytest.raises(ValueError, match="^after: the FETCH before READ 3 changes word 4 of setup target 136, which "
                                         "block 2 uses; it has not waited for WRITE 2$"):
        use.change(3, *change)


def test_a_program_that_is_judged_changes_nothing():
    """Its records do when it runs."""
    model = model_of([(SETUP_LENGTHS, 4, 9), (0, 4, 5), (SETUP_CHANNELS, 7, 3)])
    words, before = words_of([*fetch(), *block()]), model.array.coefficients.copy()
    assert model.check(words) == 1
    assert model.array.softmax.lengths[4] == 0 and (model.array.coefficients == before).all()
    for at, word in enumerate(words):
        model.write_setup(SETUP_PROGRAM, at, word)
    model.run()
    assert model.array.softmax.lengths[4] == 9 and model.array.coefficients[0, 4] == 5


def test_a_part_of_a_write_is_not_all_of_it():
    with pytest.raises(ValueError, match="has not waited for WRITE 1$"):
        check([(0, 2, 5)], [*block(), *block(), *fetch(after=1, after_beats=3), *block()])


def test_sets_of_sums_belong_to_the_block_behind():
    records = set_writes(SETUP_READ_SETS, 1, ReadSet(n=8).words())
    sums = Sums(0, 4, 0xFFFF, MemoryMode.COLUMNS, vector=1)
    with pytest.raises(ValueError, match="which block 1 uses"):
        check(records, [*block(), sums, *fetch(after=1), *block()])
    assert check(records, [*block(), sums, *block(), *fetch(after=1), *block()]) == 3


def test_a_descriptor_of_the_reader_needs_a_fence_or_a_wait():
    """Only where it is used."""
    records, own = descriptor_writes(SETUP_READER, 3), block(read=Read(3, 0, 0xFFFF, MemoryMode.COLUMNS))
    with pytest.raises(ValueError, match="^fence: False of the FETCH before READ 1, which brings descriptor 3 of a "):
        check(records, [*block(), *fetch(), *own])
    assert check(records, [*block(), *fetch(fence=True), *own]) == 2
    assert check(records, [*block(), *fetch(), Wait(), *own]) == 2
    assert check(records, [*block(), *fetch(), *block()]) == 2
    # A WAIT counts the FETCHes before it: this one is the first, and stands behind it.
    with pytest.raises(ValueError, match="^fence: False of the FETCH before READ 0, "):
        check(records[:1], [Wait(), fetch()[0], *own])


def test_a_fetch_does_not_bring_its_own_descriptor():
    """Its words are read while its records are played; the RAM may give neither the old nor the new ones then."""
    with pytest.raises(ValueError, match=rf"^record: the FETCH before READ 1 changes word {LINE * DESCRIPTOR_WORDS} of "
                                         rf"setup target {SETUP_READER}, which belongs to descriptor {LINE}, its own"):
        check(descriptor_writes(SETUP_READER, LINE), [*block(), *fetch(fence=True), *block()])


def test_a_descriptor_of_the_writer_comes_a_block_before_or_a_wait():
    records, own = descriptor_writes(SETUP_WRITER, 3), block(write=Write(3, 1, 0xFFFF, MemoryMode.COLUMNS))
    with pytest.raises(ValueError, match="^descriptor: 3 of WRITE 1 is fetched in front of READ 1"):
        check(records, [*block(), *fetch(), *own])
    assert BEATS >= DESCRIPTOR_LEAD and check(records, [*fetch(), *block(), *own]) == 2
    assert check(records, [*block(), *fetch(), Wait(), *own]) == 2
    assert check(records, [*fetch(), Wait(), *own]) == 1


def test_descriptors_are_no_results():
    """The program writes the beats that it fetches: coefficients may be computed, what says where beats stand not."""
    at = 256  # where the WRITE of the first block writes
    assert check([(0, 4, 5)], [*block(), *fetch(after=1, fence=True), *block()], at) == 2
    with pytest.raises(ValueError, match="^record: the FETCH before READ 1 changes word 192 of setup target 130 by "):
        check(descriptor_writes(SETUP_READER, 3), [*block(), *fetch(after=1, fence=True), *block()], at)


def test_new_descriptors_count_from_then_on():
    """Races are judged by the descriptors that a READ finds."""
    far = Descriptor((), Move(0, 1), tuple(Move(1 << bit) for bit in range(STEPS)), 1, 1, origin=Move(256))
    records = [(SETUP_READER, 3 * DESCRIPTOR_WORDS + at, word) for at, word in enumerate(far.words(CONFIG.beat_groups))]
    own = Read(3, 0, 0xFFFF, MemoryMode.COLUMNS)
    with pytest.raises(ValueError, match="^after: READ 1 takes beat 256, which is beat 0 of WRITE 0"):
        check(records, [*fetch(fence=True), *block(), *block(read=own)])
