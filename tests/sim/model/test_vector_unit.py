"""The vector unit in programs of the model: LayerNorm, scales, biases, activations and residuals against float64."""

from dataclasses import replace

import numpy as np
import pytest

from wingbeat.gen.compiler.kernel.compile import compile_butterfly
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.descriptor import Descriptor, Move
from wingbeat.hw.isa.instruction import Fault, Halt, Load, Loop, MemoryMode, Read, Set, Store, Sums, Unit, Write
from wingbeat.hw.isa.parameter_set import Activation, ReadSet, WriteSet, read_set, write_set
from wingbeat.hw.isa.setup import SETUP_ACTIVATION, SETUP_CHANNELS, SETUP_READ_SETS, SETUP_WRITE_SETS
from wingbeat.hw.isa.vector_tables import GeluTable, channel_word, epsilon_parameter, scale_parameters
from wingbeat.hw.isa.walk import Walk
from wingbeat.sim.model.handout import ProgramFault
from wingbeat.sim.model.processor import ProcessorModel
from wingbeat.sim.reference.functions import erf_complement

CONFIG = CoreConfig.of(engines=4, layers=2, width=18, element_width=16, coefficient_width=17, half_words=64,
                       coefficient_words=256, stream_words=8, memory_bits=12, vector_lanes=8)
ROWS, SIZE = 16, 16
SOURCE, TARGET, ADDED = 0, 30, 60
ONE = 1 << 12  # what stands for 1.0 behind a LayerNorm


def program_of(kernel, vector_in, vector_out):
    """SUMS of the 16 rows where there is a set for them, then two blocks of a butterfly in mode PAIRS."""
    walk = Walk((0, 1), 0, 0, (2, 3))
    sums = [Sums(1, 1, ROWS, MemoryMode.COLUMNS, vector=vector_in)] if vector_in else []
    body = [Read(0, 0, ROWS, MemoryMode.PAIRS, increment=8, vector=vector_in), Load(walk),
            *kernel.parts[0].stacks[0].passes, Store(walk),
            Write(0, 0, ROWS, MemoryMode.PAIRS, increment=8, vector=vector_out)]
    start = [Set(Unit.READER, 0, SOURCE), Set(Unit.READER, 1, SOURCE), Set(Unit.WRITER, 0, TARGET), *sums]
    return [*start, *body, Loop(len(start), 2), Halt()]


def model_of(kernel, memory, sets=()):
    rows = Descriptor((Move(1), Move(2)), Move(4), (), 1, 1)
    in_order = Descriptor((), Move(1), tuple(Move(2 << i) for i in range(3)), 1, 1)
    model = ProcessorModel(CONFIG, [rows, in_order], [rows], memory)
    for write in kernel.parts[0].setup:
        model.write_setup(*write)
    for target, number, chosen in sets:
        for at, word in enumerate(chosen.words()):
            model.write_setup(target, 4 * number + at, word)
    return model


@pytest.fixture
def kernel():
    twiddle = np.random.default_rng(1).normal(size=(1, 1, 4, 8, 2, 2)) / np.sqrt(2)
    return compile_butterfly(twiddle, CONFIG, scaling="safe", rows=8)


@pytest.fixture
def memory():
    """Rows whose means and deviations differ, and a second tensor."""
    rng = np.random.default_rng(2)
    memory = np.zeros((128, SIZE), dtype=np.int64)
    spread, mean = rng.uniform(500, 5000, (ROWS, 1)), rng.uniform(-9000, 9000, (ROWS, 1))
    memory[:ROWS] = np.rint(rng.normal(size=(ROWS, SIZE)) * spread + mean)
    memory[ADDED:ADDED + ROWS] = rng.integers(-6000, 6000, (ROWS, SIZE))
    return memory


def gelu(x):
    return x * (1 - erf_complement(x))


def test_a_layer_from_norm_to_residual(kernel, memory):
    """LayerNorm, butterfly, scale and bias, GELU, residual in one block, against float64."""
    rng = np.random.default_rng(3)
    x, added = memory[:ROWS].astype(float), memory[ADDED:ADDED + ROWS].astype(float)
    epsilon = 1e-5
    normal = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + epsilon * ONE**2)
    bias = rng.uniform(-1, 1, SIZE)
    before = kernel.run_model(np.rint(normal * ONE) * kernel.input_step) / kernel.input_step / ONE

    factors = kernel.output_scale / kernel.input_step
    scale, offset, shift = scale_parameters(factors, bias * ONE, 16)
    sets = [(SETUP_READ_SETS, 5, ReadSet(chunk_shift=0, n=SIZE, epsilon=epsilon_parameter(epsilon, SIZE, 12))),
            (SETUP_WRITE_SETS, 9, WriteSet(rescale=True, shift=shift, chunk_mask=0, base=7, fall=4,
                                           activation=Activation.GELU, residual=True, offset=ADDED - TARGET))]
    model = model_of(kernel, memory, sets)
    for element, (m, b) in enumerate(zip(scale.tolist(), offset.tolist())):
        model.write_setup(SETUP_CHANNELS, 7 * SIZE + element, channel_word(m, b))
    for address, word in enumerate(GeluTable.of(16, erf_complement).words()):
        model.write_setup(SETUP_ACTIVATION, address, word)
    model.run(program_of(kernel, 5, 9))
    assert not model.saturated
    got = memory[TARGET:TARGET + ROWS] / ONE
    want = gelu(before + bias) + added / ONE
    assert np.abs(got - want).max() < 6 / ONE


def test_nothing_to_do_changes_nothing(kernel, memory):
    """Set 0, and sets that do nothing, give what a processor without the unit gives."""
    plain = memory.copy()
    model_of(kernel, plain).run(program_of(kernel, 0, 0))
    idle = memory.copy()
    model_of(kernel, idle, [(SETUP_WRITE_SETS, 2, WriteSet())]).run(program_of(kernel, 0, 2))
    assert np.array_equal(plain, idle) and plain[TARGET:TARGET + ROWS].any()


def test_bias_in_row_0_only(kernel, memory):
    zeros = WriteSet(rescale=True, shift=2, chunk_mask=0, bias_row=True)
    model = model_of(kernel, memory, [(SETUP_WRITE_SETS, 1, zeros)])
    for element in range(SIZE):
        model.write_setup(SETUP_CHANNELS, element, channel_word(0, (element + 1) * 4))
    model.run(program_of(kernel, 0, 1))
    got = memory[TARGET:TARGET + ROWS]
    assert got[[0, 8]].tolist() == [list(range(1, SIZE + 1))] * 2  # row 0 of each block
    assert not np.delete(got, [0, 8], axis=0).any()


def test_saturation_is_flagged(kernel, memory):
    memory[ADDED:ADDED + ROWS] = 32767
    model = model_of(kernel, memory, [(SETUP_WRITE_SETS, 1, WriteSet(residual=True, offset=ADDED - TARGET, b=1))])
    model.run(program_of(kernel, 0, 1))
    assert model.saturated and (memory[TARGET:TARGET + ROWS] == 32767).all()


@pytest.mark.parametrize("classes", [1, 10, 15])
def test_argmax_stands_behind_the_residual(kernel, memory, classes):
    plain = WriteSet(residual=True, offset=ADDED - TARGET, b=1)
    summed = memory.copy()
    for chosen, values in ((plain, summed), (replace(plain, argmax=True, classes=classes), memory)):
        model_of(kernel, values, [(SETUP_WRITE_SETS, 3, chosen)]).run(program_of(kernel, 0, 3))
    sums = summed[TARGET:TARGET + ROWS]
    got = memory[TARGET:TARGET + ROWS]
    assert np.array_equal(got[:, :-1], sums[:, :-1])
    assert np.array_equal(got[:, -1], sums[:, :classes].argmax(axis=1))


@pytest.mark.parametrize("classes", [0, 16])
def test_argmax_of_no_or_all_elements_is_refused(kernel, memory, classes):
    model = model_of(kernel, memory, [(SETUP_WRITE_SETS, 3, WriteSet(argmax=True, classes=classes))])
    with pytest.raises(ValueError, match=rf"^classes: {classes}, allowed are 1\.\.15$"):
        model.run(program_of(kernel, 0, 3))


def test_a_residual_must_not_race(kernel, memory):
    """A WRITE that reads what it writes, or what an earlier block wrote that nobody has waited for."""
    for offset in (0, 8, -8):
        chosen = WriteSet(residual=True, offset=offset & 0xFFFFFFFF)
        model = model_of(kernel, memory.copy(), [(SETUP_WRITE_SETS, 1, chosen)])
        if offset == 8:  # what a later block writes
            model.run(program_of(kernel, 0, 1))
            continue
        with pytest.raises(ValueError, match="^after: "):
            model.run(program_of(kernel, 0, 1))


def test_a_processor_without_the_unit_refuses(kernel, memory):
    bare = ProcessorModel(CONFIG.changed(vector_lanes=0), [], [], memory)
    for instruction in (Sums(0, 0, 1, MemoryMode.COLUMNS, vector=1), Read(0, 0, 1, MemoryMode.COLUMNS, vector=1)):
        with pytest.raises(ProgramFault, match="vector_lanes") as found:
            bare.run([instruction, Halt()])
        assert found.value.code is Fault.MEMORY


def test_sets_to_words_and_back():
    reads = ReadSet(chunk_shift=15, n=65536, epsilon=(1 << 62) - 1, range_bits=5)
    writes = WriteSet(True, 513, 0x7FFF, 36, True, True, Activation.RELU, 4, True, 0xFFFFFFFF, 7, 6, 5, True, 511)
    assert read_set(reads.words()) == reads and write_set(writes.words()) == writes
    with pytest.raises(ValueError, match=r"^fall: 8 does not fit 3 bits$"):
        replace(writes, fall=8)
