"""The processor model: whole layers from memory to memory against float, and what it refuses."""


import numpy as np
import pytest

from wingbeat.gen.compiler.kernel.compile import compile_butterfly, compile_fft
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.bit_fields import pack
from wingbeat.hw.isa.descriptor import ENTRY_WORDS, ID_FIELDS, ORIGIN, SHAPE, Descriptor, Move
from wingbeat.hw.isa.encoding import encode
from wingbeat.hw.isa.instruction import (Destination, Fault, Fetch, Halt, Load, Loop, MemoryMode, Mode, Pass, Read, Set,
                                         Store, Unit, Write)
from wingbeat.hw.isa.setup import SETUP_READER, SETUP_WRITER
from wingbeat.hw.isa.walk import Walk
from wingbeat.sim.model.array import ArrayModel
from wingbeat.sim.model.handout import ProgramFault
from wingbeat.sim.model.processor import ProcessorModel

CONFIG = CoreConfig.of(engines=4, layers=2, width=18, element_width=16, coefficient_width=17, half_words=64,
                       coefficient_words=256, stream_words=8, memory_bits=12)
LIMIT = 20000  # of the elements of the inputs


def scaled(kernel):
    """Right shifts of the one stack of a kernel that never overflows, as a factor."""
    return 2.0 ** kernel.parts[0].stacks[0].shift


# --- layers against float ----------------------------------------------------------------------------


def test_butterfly_on_row_pairs():
    """16 rows of 16 elements in two blocks, PAIRS on both sides: the butterfly matrix of every row."""
    rng = np.random.default_rng(1)
    twiddle = rng.normal(size=(1, 1, 4, 8, 2, 2)) / np.sqrt(2)
    kernel = compile_butterfly(twiddle, CONFIG, scaling="safe", rows=8)
    x = rng.integers(-LIMIT, LIMIT, (16, 16))
    memory = np.zeros((64, 16), dtype=np.int64)
    memory[:16] = x
    # A beat is a row: 4 cells of 4 elements. Of a tile J = 2 row pairs come in 2J = 4 rows; E/J = 2 groups.
    rows = Descriptor((Move(1), Move(2)), Move(4), (), 1, 1)
    walk = Walk((0, 1), 0, 0, (2, 3))
    body = [Read(0, 0, 16, MemoryMode.PAIRS, increment=8), Load(walk), *kernel.parts[0].stacks[0].passes, Store(walk),
            Write(0, 0, 16, MemoryMode.PAIRS, increment=8)]
    model = ProcessorModel(CONFIG, [rows], [rows], memory)
    for write in kernel.parts[0].setup:
        model.write_setup(*write)
    outcomes = model.run([Set(Unit.WRITER, 0, 30), *body, Loop(1, 2), Halt()])
    assert len(outcomes) == 2 and not model.saturated
    want = kernel.run_model(x * kernel.input_step)  # bit-exact, by another way into the array
    assert np.allclose(memory[30:46] * kernel.output_scale, want, atol=1e-9)
    assert np.array_equal(memory[:16], x) and not memory[46:].any()


def fft_columns(tokens_bits, chunks):
    """Blocks of columns: token FFT of 16 columns of complex words, load bit-reversed, store q next to -q."""
    n = tokens_bits
    load = Descriptor((), Move(0, 1), tuple(Move(1 << n - 1 - i) for i in range(n)), chunks, chunks)
    store = Descriptor((Move(0, 1),), Move(0, 2), tuple(Move(1 << i) for i in range(n - 1)), 2 * chunks, 2 * chunks,
                       other=2 * chunks << n - 1)
    window = (n, n + 1) if n % 2 == 0 else (n + 1, n)
    walks = Walk(window, (1 << n) - 1, 0), Walk(window, (1 << n - 1) - 1, 0, mirror=n)
    return load, store, walks


@pytest.mark.parametrize("bits", [4, 5, 6])
def test_real_columns_through_one_complex_transform(bits):
    """2^bits tokens of 32 real columns, packed two by two without a zip, split on the way back."""
    tokens = 1 << bits
    config = CONFIG.changed(half_words=4 * tokens)
    kernel = compile_fft(tokens, config, scaling="safe", rows=16)
    assert kernel.row_bits == 2
    load, store, walks = fft_columns(bits, 2)
    x = np.random.default_rng(bits).integers(-LIMIT, LIMIT, (tokens, 32))
    memory = np.zeros((1024, 16), dtype=np.int64)
    memory[:2 * tokens] = x.reshape(-1, 16)
    model = ProcessorModel(config, [load], [store], memory)
    for write in kernel.parts[0].setup:
        model.write_setup(*write)
    outcomes = model.run([
        Set(Unit.WRITER, 3, 500), Read(0, 0, tokens, MemoryMode.COLUMNS), Load(walks[0]),
        *kernel.parts[0].stacks[0].passes, Store(walks[1]), Write(0, 3, tokens, MemoryMode.SPLIT), Halt()])
    assert len(outcomes) == 1 and not model.saturated
    got = memory[500:500 + 4 * (tokens // 2 + 1)].reshape(tokens // 2 + 1, 32, 2)
    want = np.fft.rfft(x, axis=0) / scaled(kernel)
    assert np.abs(got[..., 0] + 1j * got[..., 1] - want).max() < 2.5


def mixing_program(mode):
    """Program, tables and coefficients of the hidden FFT of 9 complex rows of 32 words at beat 100 on."""
    hidden = compile_fft(32, CONFIG, scaling="safe", rows=8)
    assert hidden.row_bits == 1
    # Cell, then chunks, of bit-reversed elements; rows: J = 2 of a tile, 2 groups, 2 of the block.
    reader = Descriptor((Move(1),), Move(2), (Move(0, 2), Move(0, 1), Move(4)), 4, 4)
    load = Load(Walk((4, 3), 0b100011, 0, (2,)))
    # Natural order: a row of 32 reals is 2 chunks of 4 cells of 4.
    writer = Descriptor((Move(1),), Move(2), (Move(0, 1), Move(4)), 2, 2, other=2 * 300 + 16 * 2 + 2 - 1)
    store = Store(Walk((0, 1), 0b110000, 0, (2, 3)))
    passes = hidden.parts[0].stacks[0].passes
    program = []
    for rows, fold, after in ((8, (1, 8), 1), (1, (0, 0), 0)):
        fold = fold if mode is MemoryMode.FOLD else (0, 0)
        program += [Read(1, 1, rows, MemoryMode.ROWS, increment=32, after=after), load, *passes, store,
                    Write(1, 1, rows, mode, 16, *fold)]
    return hidden, reader, writer, [Set(Unit.READER, 1, 100), Set(Unit.WRITER, 1, 300), *program, Halt()]


@pytest.mark.parametrize("mode", [MemoryMode.FOLD, MemoryMode.REAL])
def test_real_mixing_in_two_dimensions(mode):
    """Re(FFT2(x)) of 16 x 32 real numbers: token FFT with SPLIT, hidden FFT in ROWS mode, mirrored by FOLD."""
    tokens = compile_fft(16, CONFIG, scaling="safe", rows=16)
    load, store, walks = fft_columns(4, 2)
    hidden, reader, writer, second = mixing_program(mode)
    x = np.random.default_rng(3).integers(-LIMIT, LIMIT, (16, 32))
    memory = np.zeros((400, 16), dtype=np.int64)
    memory[:32] = x.reshape(-1, 16)
    memory[300:] = 1234
    base = max(address for _, address, _ in hidden.parts[0].setup) + 1
    model = ProcessorModel(CONFIG, [load, reader], [store, writer], memory)
    # Both coefficient sets at once: that of the token FFT behind the other.
    for bank, address, data in tokens.parts[0].setup:
        model.write_setup(bank, address + base, data)
    for write in hidden.parts[0].setup:
        model.write_setup(*write)
    passes = [Pass(**vars(p) | {"coef_base": p.coef_base + base}) for p in tokens.parts[0].stacks[0].passes]
    outcomes = model.run([
        Set(Unit.READER, 0, 0), Set(Unit.WRITER, 0, 100), Read(0, 0, 16, MemoryMode.COLUMNS), Load(walks[0]), *passes,
        Store(walks[1]), Write(0, 0, 16, MemoryMode.SPLIT), *second])
    assert len(outcomes) == 3 and not model.saturated
    want = np.fft.fft2(x).real / scaled(tokens) / scaled(hidden)
    got = memory[300:332].reshape(16, 32)
    assert np.abs(got[:9] - want[:9]).max() < 2.5
    if mode is MemoryMode.FOLD:
        assert np.abs(got - want).max() < 2.5
    else:
        assert (got[9:] == 1234).all()
    assert (memory[332:] == 1234).all()


# --- order --------------------------------------------------------------------------------------------

SMALL = CoreConfig.of(engines=1, layers=1, half_words=8, coefficient_words=8, program_words=256, stream_words=2,
                      memory_bits=6, descriptors=3)
FOUR = Descriptor((), Move(0), (Move(1), Move(2)), 1, 1)
WALK = Walk((0,), 0b110, 0)
COPY = Pass(Mode.PASS, 0, 4, 0, (0,), first=True, last=True)


def block(read=0, write=8, descriptor=0, **wait):
    """Copy four beats; SETs in front, so that a test names places."""
    return [Set(Unit.READER, 0, read), Read(descriptor, 0, 4, MemoryMode.COLUMNS, **wait), Load(WALK), COPY,
            Store(WALK), Set(Unit.WRITER, 0, write), Write(0, 0, 4, MemoryMode.COLUMNS)]


def model():
    memory = np.arange(64 * 4, dtype=np.int64).reshape(64, 4)
    return ProcessorModel(SMALL, [FOUR], [FOUR], memory)


@pytest.mark.parametrize("wait, beats, races", [
    (dict(), 4, True), (dict(after=1), 4, False), (dict(after=1, after_beats=4), 4, False),
    (dict(after=1, after_beats=2), 4, True), (dict(after=1, after_beats=2), 2, False), (dict(after=2), 4, True)])
def test_a_read_waits_for_what_it_takes(wait, beats, races):
    """The third block reads the first ``beats`` beats of the second, and others that nobody writes."""
    m = model()
    read = 16 + beats - 4
    program = [*block(0, 8), *block(4, 16), *block(read, 24, **wait), Halt()]
    before = m.memory.copy()
    if races:
        with pytest.raises(ValueError, match="^after: READ 2 takes beat .*, which is beat . of WRITE 1; it has not"):
            m.run(program)
        assert np.array_equal(m.memory, before)
        return
    m.run(program)
    assert np.array_equal(m.memory[16:20], before[4:8])
    want = [*before[read:16], *before[4:4 + beats]]
    assert np.array_equal(m.memory[24:28], want)


def test_waits_hold_for_later_reads():
    """READ 2 waits for WRITE 1, so READ 3 has what WRITE 0 wrote; and a beat written twice counts where it is last."""
    model().run([*block(0, 8), *block(0, 16), *block(16, 24, after=1), *block(8, 32), Halt()])
    with pytest.raises(ValueError, match="^after: READ 3"):
        model().run([*block(0, 8), *block(0, 16), *block(8, 24, after=2), *block(16, 32), Halt()])
    with pytest.raises(ValueError, match="^after: READ 2 takes beat 8, which is beat 0 of WRITE 1"):
        model().run([*block(0, 8), *block(4, 8), *block(8, 24, after=2), Halt()])


def test_what_needs_no_wait():
    """A block in place, a WRITE over what an earlier READ took, and two WRITEs of the same beats."""
    m = model()
    before = m.memory.copy()
    m.run([*block(0, 0), *block(4, 0), *block(12, 4), *block(20, 4), Halt()])
    assert np.array_equal(m.memory[:4], before[4:8]) and np.array_equal(m.memory[4:8], before[20:24])


# --- rows by id ---------------------------------------------------------------------------------------

BY_ID = SMALL.changed(engines=2, stream_words=4, memory_bits=7, records=True, row_ids=8)
# Four ids, of rows of two beats that stand four apart from beat 64 on; and a READ of two rows, chunk by chunk.
IDS = Descriptor((), Move(0), (Move(1), Move(2)), 1, 1, other=64, keep=pack(ID_FIELDS, {"last_id": 9, "log2_pitch": 2}))
ROWS = Descriptor((), Move(0), (Move(0, 1), Move(1)), 1, 2, by_id=True)
FETCH = Fetch(0, 3, 99, MemoryMode.COLUMNS, destination=Destination.IDS, fence=True)


def copy_by_id(first, write, rows=2, **wait):
    """The rows of ids ``first`` and ``first`` + 1."""
    return [Set(Unit.READER, 0, first), Read(1, 0, rows, MemoryMode.COLUMNS, by_id=True, **wait), Load(WALK), COPY,
            Store(WALK), Set(Unit.WRITER, 0, write), Write(0, 0, 4, MemoryMode.COLUMNS)]


def run_by_id(program, ids=(3, 0, 9, 3), at=20, beats=128):
    """The memory before and behind, with ``ids`` from beat ``at`` on."""
    memory = np.random.default_rng(5).integers(-1 << 15, 1 << 15, (beats, 8))
    memory[at:at + len(ids), 0] = ids
    m = ProcessorModel(BY_ID, [IDS, ROWS, FOUR], [FOUR], memory.copy())
    program = [Set(Unit.READER, 3, at), *program, Halt()]
    assert m.check(encode(program)) == len(m.run(program))
    return memory, m.memory


def rows_of(memory, *ids):
    return np.concatenate([memory[64 + 4 * each:66 + 4 * each] for each in ids])


def test_rows_by_id():
    """Those of the ids that the last FETCH has brought, wherever they stand; two rows of three blocks."""
    before, behind = run_by_id([FETCH, *copy_by_id(0, 0), *copy_by_id(2, 4), *copy_by_id(1, 8)])
    assert np.array_equal(behind[:12], rows_of(before, 3, 0, 9, 3, 0, 9))
    more = [Set(Unit.READER, 3, 21), FETCH]
    before, behind = run_by_id([FETCH, *copy_by_id(0, 0), *more, *copy_by_id(0, 4)], (3, 0, 9, 1, 5))
    assert np.array_equal(behind[:8], rows_of(before, 3, 0, 0, 9))
    assert np.array_equal(behind[12:], before[12:])


def test_rows_that_are_not_valid_need_no_id():
    """And are zeros."""
    before, behind = run_by_id([FETCH, *copy_by_id(3, 0, rows=1)])
    assert np.array_equal(behind[:2], rows_of(before, 3)) and not behind[2:4].any()


def test_a_read_by_id_waits_for_rows_that_a_block_writes():
    program = [*block(0, 64 + 4 * 9, descriptor=2), FETCH]
    with pytest.raises(ValueError, match="^after: READ 1 takes beat 100, which is beat 0 of WRITE 0; it has not"):
        run_by_id([*program, *copy_by_id(2, 8)])
    before, behind = run_by_id([*program, *copy_by_id(2, 8, after=1)])
    assert np.array_equal(behind[8:12], np.concatenate([before[:2], rows_of(before, 3)]))


@pytest.mark.parametrize("program, message", [
    (copy_by_id(0, 0), "^by_id: id 0 of 0 that were fetched$"),
    ([*copy_by_id(0, 0), FETCH], "^by_id: id 0 of 0 that were fetched$"),
    ([FETCH, *copy_by_id(3, 0)], "^by_id: id 4 of 4 that were fetched$"),
    ([*block(0, 22, descriptor=2), FETCH, *copy_by_id(0, 8)],
     "^ids: the FETCH before READ 1 brings results of the program; allowed are ids that it does not write$"),
    ([*block(0, 22, descriptor=2), Fetch(**vars(FETCH) | {"after": 1})], "^ids: the FETCH before READ 1 brings")])
def test_refused_ids(program, message):
    with pytest.raises(ValueError, match=message) as found:
        run_by_id(program)
    assert not isinstance(found.value, ProgramFault)


@pytest.mark.parametrize("ids, bad", [((3, 10, 9, 3), 10), ((3, 0, 9, -1), 0xFFFF), ((9, 9, 9, 9), None)])
def test_ids_that_name_no_row(ids, bad):
    """Also where no READ asks for them."""
    if bad is None:
        run_by_id([FETCH], ids)
        return
    for program in ([FETCH], [FETCH, *copy_by_id(0, 0)]):
        with pytest.raises(ProgramFault, match=f"^id: {bad} names no row of its table$") as fault:
            run_by_id(program, ids)
        assert fault.value.code is Fault.ID


def test_a_row_beyond_the_memory():
    with pytest.raises(ProgramFault, match=r"^address: 100 is not in 0\.\.99, the memory$") as fault:
        run_by_id([FETCH, *copy_by_id(2, 0)], beats=100)
    assert fault.value.code is Fault.REFUSED


# --- registers, loops, refusals -----------------------------------------------------------------------


def test_registers_count_on_in_their_unit():
    """SET and increments take effect in the order of the unit, negative ones and the wrap of addresses too."""
    m = model()
    before = m.memory.copy()
    step = [Read(0, 5, 4, MemoryMode.COLUMNS, increment=-4), Load(WALK), COPY, Store(WALK),
            Write(0, 5, 4, MemoryMode.COLUMNS, increment=60)]
    m.run([Set(Unit.READER, 5, 8), Set(Unit.WRITER, 5, 40), *step, Loop(2, 3), Halt()])
    for at, taken in ((40, 8), (36, 4), (32, 0)):
        assert np.array_equal(m.memory[at:at + 4], before[taken:taken + 4])
    assert m.registers[Unit.READER][5] == 60 and m.registers[Unit.WRITER][5] == 28


def test_an_array_alone_has_no_memory_units():
    with pytest.raises(ValueError, match="^program: instruction 1 is for a memory unit; an array alone has none$"):
        ArrayModel(SMALL).run([Load(WALK), *block()[1:], Halt()], np.zeros((8, 2)))


def test_program_and_tables_through_the_setup_port():
    m, want = model(), model()
    m.write_setup(SETUP_READER, ENTRY_WORDS * ORIGIN, 6)     # the origin: two beats further
    m.write_setup(SETUP_WRITER, ENTRY_WORDS * SHAPE, 1)     # two steps
    want.run(block(2) + [Halt()])
    m.load_program(block() + [Halt()])
    with pytest.raises(ProgramFault, match="^WRITE 0: 4 words; its STORE has 8$") as fault:
        m.write_setup(SETUP_READER, ENTRY_WORDS * ORIGIN, 2)
        m.run()
    assert fault.value.code is Fault.WATCHDOG
    m.write_setup(SETUP_WRITER, ENTRY_WORDS * SHAPE, 3)
    m.run()
    assert np.array_equal(m.memory, want.memory)
    with pytest.raises(ValueError, match=f"^address: 192 is not in 0..191 of setup target {SETUP_WRITER}$"):
        m.write_setup(SETUP_WRITER, 192, 0)


@pytest.mark.parametrize("change, message", [
    (dict(config=SMALL.changed(memory_bits=0)), "^memory_bits: 0; a processor has at least 1$"),
    (dict(memory=np.zeros((4, 5), dtype=np.int64)), r"^memory: int64 \(4, 5\); allowed is int64 \(1..64, 4\)"),
    (dict(memory=np.zeros((65, 4), dtype=np.int64)), r"^memory: int64 \(65, 4\)"),
    (dict(memory=np.zeros((4, 4))), "^memory: float64"),
    (dict(memory=np.full((4, 4), 1 << 15)), "^memory: a value does not fit element_width = 16 bits$"),
])
def test_refused_arguments(change, message):
    arguments = dict(config=SMALL, reader=[FOUR], writer=[FOUR], memory=np.zeros((64, 4), dtype=np.int64)) | change
    with pytest.raises(ValueError, match=message):
        ProcessorModel(**arguments)


@pytest.mark.parametrize("program, code, message", [
    ([*block(62), Halt()], Fault.REFUSED, None),
    ([*block(0, 62), Halt()], Fault.REFUSED, None),
    ([*block(after=1), Halt()], Fault.AFTER, "^after: 1 of READ 0 names a block before the first$"),
    (block(), Fault.LOOP, "^instruction 7: the program has no HALT before its end$"),
    ([*block()[1:3], Halt()], Fault.INPUT, "^instruction 2 HALT: a block that was read has no passes$"),
    ([*block()[:-1], Halt()], Fault.OUTPUT, "^instruction 6 HALT: a block that was computed is not written$"),
    ([Set(Unit.READER, 0, 64), Halt()], Fault.MEMORY, "^instruction 0 SET: value 64 has more than memory_bits = 6"),
])
def test_refused_programs(program, code, message):
    memory = np.zeros((60, 4), dtype=np.int64)
    m = ProcessorModel(SMALL, [FOUR], [FOUR], memory)
    with pytest.raises(ProgramFault, match=message or "^address: 6. is not in 0..59, the memory$") as fault:
        m.run(program)
    assert fault.value.code is code
