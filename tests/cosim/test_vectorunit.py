"""The vector unit in generated Verilog: whole layers against the model, on memories of every speed, and the cycles of
those without random stalls against the cycle model."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from wingbeat.gen.compiler.kernel.compile import compile_butterfly
from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.job import Trial
from wingbeat.gen.cosim.timing import MEMORY_STALLS, MemoryTiming
from wingbeat.gen.workloads.kernels import mixing_workload
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.descriptor import Descriptor, Move
from wingbeat.hw.isa.instruction import Halt, Load, MemoryMode, Read, Set, Store, Sums, Unit, Write
from wingbeat.hw.isa.parameter_set import Activation, ReadSet, WriteSet
from wingbeat.hw.isa.setup import (SETUP_READER, SETUP_WRITER, SETUP_ACTIVATION, SETUP_CHANNELS, SETUP_READ_SETS,
                                   SETUP_WRITE_SETS)
from wingbeat.hw.isa.vector_tables import GeluTable
from wingbeat.hw.isa.walk import Walk
from wingbeat.sim.model.processor import ProcessorModel
from wingbeat.sim.reference.functions import erf_complement

CONFIG = CoreConfig.of(engines=4, layers=2, width=18, element_width=16, coefficient_width=17, half_words=64,
                       coefficient_words=256, stream_words=8, memory_bits=12)
ROWS, SIZE = 16, 16
SOURCE, TARGET, ADDED = 0, 32, 64
TIMINGS = (MemoryTiming(), MemoryTiming(37, Fraction(3)), MemoryTiming(200),
           *(MemoryTiming(5, Fraction(6), stalls, 11) for stalls in sorted(MEMORY_STALLS)))


def packed(target, number, chosen):
    return [(target, 4 * number + at, word) for at, word in enumerate(chosen.words())]


def setup_of(kernel, rng):
    """Coefficients, descriptors, and all tables of the vector unit."""
    rows = Descriptor((Move(1), Move(2)), Move(4), (), 1, 1)
    in_order = Descriptor((), Move(1), tuple(Move(2 << i) for i in range(3)), 1, 1)
    setup = list(kernel.parts[0].setup)
    for target, descriptors in ((SETUP_READER, (rows, in_order)), (SETUP_WRITER, (rows,))):
        words = [word for descriptor in descriptors for word in descriptor.words(CONFIG.beat_groups)]
        setup += [(target, at, word) for at, word in enumerate(words)]
    setup += packed(SETUP_READ_SETS, 5, ReadSet(chunk_shift=0, n=SIZE, epsilon=43))
    offset = ADDED - TARGET
    for number, chosen in {
            1: WriteSet(rescale=True, shift=17, chunk_mask=0, base=7),
            2: WriteSet(rescale=True, shift=16, chunk_mask=3, base=4, activation=Activation.RELU),
            3: WriteSet(rescale=True, shift=18, chunk_mask=1, activation=Activation.GELU, fall=2, bias_row=True),
            4: WriteSet(residual=True, offset=offset, a=0, b=2, c=1),
            9: WriteSet(rescale=True, shift=17, chunk_mask=0, base=7, activation=Activation.GELU, residual=True,
                        offset=offset)}.items():
        setup += packed(SETUP_WRITE_SETS, number, chosen)
    for address in range(8 * SIZE):
        setup.append((SETUP_CHANNELS, address, rng.integers(1 << 36).item()))
    table = GeluTable.of(16, erf_complement)
    return setup + [(SETUP_ACTIVATION, address, word) for address, word in enumerate(table.words())]


def program_of(kernel, normalised, write_sets):
    """Two blocks of a butterfly in mode PAIRS, after the sums of their rows."""
    walk = Walk((0, 1), 0, 0, (2, 3))
    program = [Set(Unit.READER, 0, SOURCE), Set(Unit.READER, 1, SOURCE), Set(Unit.WRITER, 0, TARGET)]
    if normalised:
        program.append(Sums(1, 1, ROWS, MemoryMode.COLUMNS, vector=5))
    for chosen in write_sets:
        program += [Read(0, 0, ROWS, MemoryMode.PAIRS, increment=8, vector=5 * normalised), Load(walk),
                    *kernel.parts[0].stacks[0].passes, Store(walk),
                    Write(0, 0, ROWS, MemoryMode.PAIRS, increment=8, vector=chosen)]
    return [*program, Halt()]


def memory_of(rng):
    memory = np.zeros((128, SIZE), dtype=np.int64)
    spread, mean = rng.uniform(500, 5000, (ROWS, 1)), rng.uniform(-9000, 9000, (ROWS, 1))
    memory[:ROWS] = np.rint(rng.normal(size=(ROWS, SIZE)) * spread + mean)
    memory[ADDED:ADDED + ROWS] = rng.integers(-32768, 32768, (ROWS, SIZE))
    return memory


def trials(kernel):
    rng = np.random.default_rng(3)
    setup, memory = setup_of(kernel, rng), memory_of(rng)
    for sets in ((0, 0), (1, 2), (3, 4), (9, 0), (4, 9)):
        for normalised in (False, True):
            for at, timing in enumerate(TIMINGS):
                yield Trial(f"{sets[0]}_{sets[1]}_{int(normalised)}_{at}", setup,
                            program_of(kernel, normalised, sets), memory, timing)


def mixing_trials(config):
    """The mixing of a matrix, added to that matrix as it is folded: some of its beats are read once for two writes."""
    work = mixing_workload(config, 16, 64, 1)
    offset = -work.target.base % (1 << config.memory_bits)
    setup = [*work.program.setup, *packed(SETUP_WRITE_SETS, 6, WriteSet(residual=True, offset=offset, b=1, c=1))]
    program = [replace(step, vector=6 * (step.mode is MemoryMode.FOLD)) if isinstance(step, Write) else step
               for step in work.program.instructions]
    for at, timing in enumerate(TIMINGS[:4]):
        yield Trial(f"mixing_{at}", setup, program, work.memory, timing)


@pytest.mark.parametrize("lanes", [8, *(pytest.param(lanes, marks=pytest.mark.campaign) for lanes in (16, 2))])
def test_layers_on_every_memory(lanes, need, compare_cycles):
    need("verilator")
    config = CONFIG.changed(vector_lanes=lanes)
    twiddle = np.random.default_rng(1).normal(size=(1, 1, 4, 8, 2, 2)) / np.sqrt(2)
    kernel = compile_butterfly(twiddle, config, scaling="safe", rows=8)
    for run in Core(config).simulate([*trials(kernel), *mixing_trials(config)]):
        model = ProcessorModel(config, [], [], run.trial.data.copy())
        for write in run.trial.setup:
            model.write_setup(*write)
        model.run(run.trial.program)
        note = f"{lanes} lanes, {run.trial.name}, {run.trial.timing}"
        assert not run.error, f"{note}: error {run.error}"
        wrong = np.argwhere(run.data != model.memory)
        assert not len(wrong), f"{note}: {len(wrong)} elements, first {wrong[0]}"
        assert run.status["saturated"] == model.saturated, note
        if run.trial.timing.stalls == "none":
            compare_cycles(config, run, note)
