"""The ring: every element of a matrix at its place, however its beats come in; what is left over; refusals."""

from dataclasses import replace

import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.descriptor import Descriptor, Move
from wingbeat.hw.isa.encoding import encode
from wingbeat.hw.isa.instruction import (Destination, Fault, Fetch, Halt, Load, Mac, MemoryMode, Mode, Pass, Read, Set,
                                         Store, Unit, Write)
from wingbeat.hw.isa.record import record_beats
from wingbeat.hw.isa.walk import Walk
from wingbeat.hw.numeric import streamed_coefficient
from wingbeat.sim.model.mac import mac as multiply
from wingbeat.sim.model.handout import ProgramFault
from wingbeat.sim.model.processor import ProcessorModel
from wingbeat.sim.model.ring import Ring, mac_groups, mac_words, matrix_beats, panel_words, word_sets

SEED = 71
# S, K, element width, coefficient width: one, two and four columns, one word and several in a beat.
SHAPES = [(1, 2, 16, 17), (1, 8, 16, 12), (2, 4, 16, 17), (2, 16, 18, 18), (4, 16, 12, 16), (4, 32, 16, 9)]
ALL_SHAPES = pytest.mark.parametrize("shape", SHAPES, ids=str)


def config_of(layers, stream_words, element_width=16, coefficient_width=17, **changes):
    return CoreConfig.of(**dict(engines=stream_words >> layers, layers=layers, width=18, element_width=element_width,
                                coefficient_width=coefficient_width, stream_words=stream_words, coefficient_words=64,
                                ring_words=64, half_words=64 << layers, memory_bits=12, records=True) | changes)


def random_matrix(config, mac, rng):
    half = 1 << config.element_width - 1
    return rng.integers(-half, half, (mac.outputs * config.lanes, mac.inputs * config.lanes))


def unit_inputs(config):
    """Inputs of a MAC are a multiple of so many groups: a beat has whole words."""
    return config.memory_elements // config.lanes


@ALL_SHAPES
def test_beats_of_a_matrix(shape):
    """S outputs in turn, a beat of each, then the next inputs of the same outputs, then the next outputs."""
    config = config_of(*shape)
    chunk, layers = config.memory_elements, config.layers
    matrix = np.arange(6 * layers * chunk).reshape(3 * layers, 2 * chunk)
    beats = matrix_beats(config, matrix)
    assert beats.shape == (6 * layers, chunk) and beats.dtype == np.int64 and beats.flags.c_contiguous
    for number, beat in enumerate(beats):
        place, output = number // layers, number % layers
        row, part = layers * (place // 2) + output, place % 2
        assert beat.tolist() == matrix[row, part * chunk:(part + 1) * chunk].tolist(), number


@pytest.mark.parametrize("outputs, inputs", [(1, 8), (3, 8), (2, 4), (2, 12)])
def test_refused_matrices(outputs, inputs):
    with pytest.raises(ValueError, match=f"^matrix: {outputs} x {inputs}; allowed are multiples of 2 and of 8$"):
        matrix_beats(config_of(2, 4), np.zeros((outputs, inputs), dtype=np.int64))


@ALL_SHAPES
def test_counts(shape):
    """Words of a window, of a MAC, of so many beats; groups of a MAC: a word of a window for each row pair."""
    config = config_of(*shape)
    mac = Mac(3, 5, 7, 2, 0, 3, 0)
    steps = config.lanes // config.layers
    assert panel_words(config, mac) == 3 * steps and mac_words(config, mac) == 15 * steps
    assert mac_groups(config, mac) == 105 * steps
    whole = config.memory_elements // config.lanes
    assert [word_sets(config, beats) for beats in range(2 * config.layers + 1)] == [
        beats // config.layers * whole for beats in range(2 * config.layers + 1)]
    matrix = np.zeros((mac.outputs * config.lanes, unit_inputs(config) * config.lanes), dtype=np.int64)
    assert word_sets(config, len(matrix_beats(config, matrix))) * config.layers * config.lanes == matrix.size


@ALL_SHAPES
@pytest.mark.thin(1)
def test_matrices_come_out_as_they_went_in(shape):
    """Several MACs behind each other, their beats in pieces of any number, more than is taken at times."""
    config, rng = config_of(*shape), np.random.default_rng([SEED, *shape])
    note, ring, waiting = f"{shape}, seed {SEED}", Ring(config), []
    for _ in range(4):
        mac = Mac(unit_inputs(config) * int(rng.integers(1, 4)), int(rng.integers(1, 4)), 1, 6, 0, 0, 0)
        matrix = random_matrix(config, mac, rng)
        waiting.append((mac, matrix))
        beats = matrix_beats(config, matrix)
        while len(beats):
            count = int(rng.integers(1, 2 * config.layers + 3))
            before = ring.words
            ring.fetch(beats[:count])
            beats = beats[count:]
            assert ring.words >= before, note
        while waiting and (rng.random() < 0.6 or len(waiting) > 2):
            mac, matrix = waiting.pop(0)
            before = ring.words
            taken = ring.take(mac)
            want = streamed_coefficient(matrix, config.element_width, config.coefficient_width)
            assert taken.dtype == np.int64 and np.array_equal(taken, want), note
            assert before - ring.words == mac_words(config, mac), note
    assert ring.words == sum(mac_words(config, mac) for mac, _ in waiting), note


def test_words_in_the_order_of_the_hardware():
    """Beat q of a set has the inputs of output q; the lowest P inputs of all of them make the first word, and a group
    of a MAC takes a word."""
    config = config_of(2, 8)
    ring = Ring(config)
    assert (config.lanes, config.memory_elements) == (4, 16)
    beats = np.array([100 + np.arange(16), 200 + np.arange(16)])
    ring.fetch(beats[:1])
    assert ring.words == 0
    ring.fetch(beats[1:])
    assert ring.words == 4
    taken = ring.take(Mac(2, 1, 1, 1, 0, 0, 0))  # two steps of two outputs, each of two groups
    assert taken.tolist() == [[*range(100, 108)], [*range(200, 208)], [*range(108, 116)], [*range(208, 216)]]
    assert ring.words == 0


def test_a_word_less_is_refused():
    config = config_of(1, 4)
    mac = Mac(4, 2, 3, 2, 0, 1, 0)  # 16 words; a beat makes 4
    ring = Ring(config)
    ring.fetch(np.zeros((3, 8), dtype=np.int64))
    with pytest.raises(ValueError, match="^MAC: 12 words are in the ring; it takes 16$"):
        ring.take(mac)
    assert ring.words == 12
    ring.fetch(np.ones((2, 8), dtype=np.int64))
    assert ring.take(mac).sum() == 8 * streamed_coefficient(1, 16, 17) and ring.words == 4


# --- In a processor -----------------------------------------------------------------------------------------------

PROCESSOR = config_of(1, 2, ring_words=16, coefficient_words=16)  # E = 1; a beat has a row of the banks, 2 words of 16


def rows_in(count):
    """Descriptor of ``count`` beats behind each other."""
    bits = (count - 1).bit_length()
    return Descriptor((), Move(0), tuple(Move(1 << bit) for bit in range(bits)), 1, 1, steps=count)


def run_product(fetches, shift=9):
    """One block in COLUMNS mode: 2 row pairs of 4 words from beat 0 on times a matrix 4 x 4 from beat 32 on, which
    FETCHes of so many beats bring; results from beat 16 on. Returns model, outcome, the results wanted, and whether
    anything is clamped."""
    config, rng, half = PROCESSOR, np.random.default_rng(SEED), 1 << 15
    memory, matrix = (rng.integers(-half, half, shape) for shape in ((64, config.memory_elements), (4, 4)))
    memory[32:36] = matrix_beats(config, matrix)
    load, store = Load(Walk((0,), 6, 0)), Store(Walk((0,), 6, 0), 8)
    tables = [rows_in(4), *(rows_in(count) for count in fetches)]
    program = [Set(Unit.READER, 1, 32), Set(Unit.WRITER, 0, 16), Read(0, 0, 9, MemoryMode.COLUMNS), load]
    program += [Fetch(number, 1, 99, MemoryMode.COLUMNS, count, destination=Destination.RING)
                for number, count in enumerate(fetches, 1)]
    program += [Mac(2, 2, 2, 1, 4, 1, shift, first=True, last=True), store, Write(0, 0, 9, MemoryMode.COLUMNS), Halt()]
    model = ProcessorModel(config, tables, tables[:1], memory)
    # Rows of the product: pair by pair the real and the imaginary parts, which have two bits more in the array.
    x = memory[:4].reshape(2, 4, 2).swapaxes(1, 2).reshape(4, 4) << 2
    outcome = model.run(program)
    values, clamped = multiply(x, streamed_coefficient(matrix, 16, 17), shift, 18, 17)
    rounded = np.clip(values + 2 >> 2, -half, half - 1)
    want = rounded.reshape(2, 2, 4).swapaxes(1, 2).reshape(4, 4)
    return model, outcome, want, bool(clamped.any() or (values + 2 >> 2 != rounded).any())


@pytest.mark.parametrize("fetches", [[4], [1, 3], [1, 1, 2], [1, 1, 1, 1]], ids=str)
def test_a_product_of_a_program(fetches):
    """However many FETCHes bring the matrix."""
    flags = []
    for shift in (0, 9, 10):
        model, outcome, want, is_clamped = run_product(fetches, shift)
        assert np.array_equal(model.memory[16:20], want), f"shift {shift}, seed {SEED}"
        assert outcome[0].saturated == is_clamped, f"shift {shift}, seed {SEED}"
        assert len(np.unique(want)) > 1 + 14 * (shift > 0), f"shift {shift}, seed {SEED}"
        flags.append(is_clamped)
    assert flags == [True, False, False], f"seed {SEED}"


@pytest.mark.parametrize("fetches, left", [([5], 2), ([4, 1], 2), ([2, 3], 2), ([4, 4], 8)], ids=str)
def test_words_that_are_left_at_the_end(fetches, left):
    with pytest.raises(ProgramFault, match=f"^HALT: {left} words are left in the ring$") as found:
        run_product(fetches)
    assert (found.value.code, found.value.tag) == (Fault.RING, 1)


@pytest.mark.parametrize("fetches", [[3], [1, 2], [2]], ids=str)
def test_a_matrix_that_does_not_come(fetches):
    """The MAC waits for ever."""
    with pytest.raises(ProgramFault, match="^program: instruction [0-9]+ MAC waits for ever") as found:
        run_product(fetches)
    assert found.value.code == Fault.WATCHDOG


@pytest.mark.parametrize("beats, code", [(4, None), (5, Fault.WATCHDOG), (6, Fault.RING), (7, Fault.WATCHDOG)])
def test_beats_that_do_not_make_a_set(beats, code):
    """S = 2: a beat alone waits in front of the ring for the other one, and the processor is not idle at the HALT."""
    config = config_of(2, 4, ring_words=16, coefficient_words=16)
    walk = Walk((0, 1), 0, 0)
    program = [Set(Unit.READER, 1, 32), Set(Unit.WRITER, 0, 16), Read(1, 0, 9, MemoryMode.COLUMNS),
               Load(Walk((0, 1), 4, 0)),
               Fetch(2, 1, 99, MemoryMode.COLUMNS, destination=Destination.RING),
               Mac(2, 1, 1, 1, 4, 0, 9, first=True, last=True), Store(walk, 16), Write(0, 0, 9, MemoryMode.COLUMNS),
               Halt()]
    tables = [rows_in(1), rows_in(2), rows_in(beats)]
    model = ProcessorModel(config, tables, tables[:1], np.ones((64, config.memory_elements), dtype=np.int64))
    if code is None:
        assert len(model.run(program)) == 1
        return
    with pytest.raises(ProgramFault) as found:
        model.run(program)
    assert found.value.code == code


# --- What stands beside it ----------------------------------------------------------------------------------------

COLUMNS = MemoryMode.COLUMNS
MAC = Mac(2, 2, 2, 1, 4, 1, 9, first=True, last=True)
FETCH = Fetch(1, 1, 99, COLUMNS, destination=Destination.RING)
COPY = Pass(Mode.PASS, 0, 4, 0, (0,), first=True, last=True)


def block(*passes, fetch=None, base=8):
    """It reads 4 beats and writes 4, of the rows behind them or from ``base`` on."""
    return [Read(0, 0, 9, COLUMNS), Load(Walk((0,), 6, 0)), *([fetch] if fetch else []), *passes,
            Store(Walk((0,), 6, 0), base), Write(0, 0, 9, COLUMNS)]


def run_beside(*program, row=None):
    """Beats 0..3 times the matrix in beats 32..35, results in beats 16..19; the memory before and behind."""
    half = 1 << 15
    memory = np.random.default_rng(SEED).integers(-half, half, (64, PROCESSOR.memory_elements))
    model = ProcessorModel(PROCESSOR, [rows_in(4), row or rows_in(4)], [rows_in(4)], memory.copy())
    model.run([Set(Unit.READER, 1, 32), Set(Unit.WRITER, 0, 16), *program, Halt()])
    return memory, model.memory


def wanted(rows, matrix):
    """What a block with MAC leaves, elements int64 (4, 4)."""
    x = rows.reshape(2, 4, 2).swapaxes(1, 2).reshape(4, 4) << 2
    values, _ = multiply(x, streamed_coefficient(matrix, 16, 17), MAC.shift, 18, 17)
    rounded = np.clip(values + 2 >> 2, -(1 << 15), (1 << 15) - 1)
    return rounded.reshape(2, 2, 4).swapaxes(1, 2).reshape(4, 4)


def test_a_matrix_is_what_stood_there_when_it_was_fetched():
    """Between its FETCH and its MAC a block writes over it."""
    over = [Set(Unit.WRITER, 0, 32), FETCH, *block(COPY, base=0), Set(Unit.WRITER, 0, 16)]
    before, behind = run_beside(*over, *block(MAC))
    assert np.array_equal(behind[32:36], before[:4]) and not np.array_equal(before[32:36], before[:4])
    assert np.array_equal(behind[16:20], wanted(before[:4], before[32:36])), f"seed {SEED}"


def test_a_matrix_that_may_be_fetched_before_it_is_written_and_behind_that():
    over = [Set(Unit.WRITER, 0, 32), *block(COPY, fetch=FETCH, base=0), Set(Unit.WRITER, 0, 16)]
    with pytest.raises(ValueError, match="^after: READ 1 takes beat 32, which is beat 0 of WRITE 0"):
        run_beside(*over, *block(MAC))


@pytest.mark.parametrize("tail", [1, 3])
def test_the_tail_of_a_fetch_is_zero(tail):
    """As that of a READ; here every beat is the last one of a row."""
    row = Descriptor((), Move(0), (Move(1), Move(2)), 1, 1, tail=tail, steps=4)
    before, behind = run_beside(*block(MAC, fetch=FETCH), row=row)
    matrix = before[32:36].copy()
    matrix[:, tail:] = 0
    assert np.array_equal(behind[16:20], wanted(before[:4], matrix)), f"seed {SEED}"


@pytest.mark.parametrize("address, refused", [(0, True), (7, True), (8, False)])
def test_records_of_coefficients_in_the_ring(address, refused):
    """Beside MACs there are none."""
    config = config_of(1, 4, ring_words=8)
    row = Descriptor((), Move(0), (), 1, 1, steps=1)
    memory = np.zeros((64, config.memory_elements), dtype=np.int64)
    memory[32:33] = record_beats(config, [(0, address, 1)])
    model = ProcessorModel(config, [row, row], [row], memory)
    records = [Set(Unit.READER, 1, 32), replace(FETCH, destination=Destination.SETUP)]
    assert model.check(encode([*records, Halt()])) == 0
    mac = Mac(4, 1, 1, 2, 4, 0, 9, first=True, last=True)
    beside = [*records, Read(0, 0, 9, COLUMNS), Load(Walk((0,), 0, 0)), FETCH, mac, Store(Walk((0,), 0, 0), 8),
              Write(0, 0, 9, COLUMNS), Halt()]
    with pytest.raises(ValueError) as found:  # the matrix is too short in either case
        model.run(beside)
    assert (str(found.value) == f"record: coefficient {address} lies in the ring; allowed are 8 and more beside MACs"
            ) is refused
