"""Programs that fetch their setup: the same results from a few words of the host, and what is too small for it."""

import numpy as np
import pytest

from wingbeat.gen.compiler.kernel.compile import compile_copy
from wingbeat.gen.compiler.network.compile import compile_network
from wingbeat.gen.compiler.program.assemble import assemble
from wingbeat.gen.compiler.program.stream import stream
from wingbeat.gen.compiler.program.coefficients import CoefficientSpace
from wingbeat.gen.compiler.program.matrix import Matrix
from wingbeat.gen.compiler.program.operations import multiply_butterfly
from wingbeat.gen.cosim.network import predict_network
from wingbeat.gen.cosim.timing import MemoryTiming
from wingbeat.gen.workloads.fabnet import BlockShape, fabnet_network
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.instruction import Fetch, Halt, Loop
from wingbeat.hw.isa.record import records_of
from wingbeat.hw.isa.parameter_set import SET_WORDS, SETS
from wingbeat.hw.isa.setup import NO_TARGET, SETUP_CHANNELS, SETUP_READER, SETUP_WRITE_SETS
from wingbeat.sim.cycles.estimate import estimate

CONFIG = CoreConfig.of(engines=1, layers=2, width=18, element_width=16, coefficient_width=17, half_words=64,
                       coefficient_words=64, stream_words=4, memory_bits=10, program_words=2048, records=True)
ROWS = 16
BASE = 512


def tasks():
    """Rows of 16 elements from beat 0 to beat 128 and on to beat 256."""
    kernel, space = compile_copy(16, CONFIG, least_size=16), CoefficientSpace(CONFIG)
    places = [Matrix.at(at, ROWS, 16, CONFIG) for at in (0, 128, 256)]
    return [task for source, target in zip(places, places[1:])
            for task in multiply_butterfly(kernel, source, target, space, "copy", "steady")]


def memory_of(records=None, beats=1024):
    memory = np.random.default_rng(5).integers(-9000, 9000, (beats, CONFIG.memory_elements))
    if records is not None:
        memory[BASE:BASE + len(records)] = records
    return memory


def test_same_results_from_one_descriptor():
    plain = assemble(CONFIG, tasks())
    found = stream(CONFIG, tasks(), (), BASE)
    want, got = memory_of(found.records), memory_of(found.records)
    plain.run_model(CONFIG, want)
    found.program.run_model(CONFIG, got)
    assert np.array_equal(got, want) and not np.array_equal(want[256:256 + 2 * ROWS], memory_of()[256:256 + 2 * ROWS])
    assert {target for target, _, _ in found.program.setup} == {SETUP_READER} and len(found.program.setup) <= 64
    assert len(plain.setup) > 100
    assert sorted(each for each in records_of(CONFIG, found.records) if each[0] != NO_TARGET) == sorted(plain.setup)


def test_the_cycles_of_the_records_count():
    """A record a cycle."""
    plain = assemble(CONFIG, tasks())
    found = stream(CONFIG, tasks(), (), BASE)
    more = estimate(CONFIG, found.program.instructions, found.program.setup, image=memory_of(found.records)).total \
        - estimate(CONFIG, plain.instructions, plain.setup).total
    assert len(plain.setup) <= more <= len(plain.setup) + 150


def test_loops_are_moved():
    found = stream(CONFIG, tasks(), (), BASE).program.instructions
    fetches = sum(isinstance(step, Fetch) for step in found)
    assert fetches == 1 and isinstance(found[-1], Halt)
    for step in found:
        if isinstance(step, Loop):
            assert step.target >= fetches + 2


CHAIN = CoreConfig.of(engines=4, layers=2, width=18, element_width=16, coefficient_width=17, half_words=256,
                      coefficient_words=450, program_words=4096, stream_words=8, memory_bits=14, descriptors=48,
                      vector_lanes=8, channel_beats=48, statistics_rows=128, records=True)
SHAPE = BlockShape(tokens=16, hidden=64, ffn=128)


def chain(config, blocks):
    rng = np.random.default_rng(5)
    network = fabnet_network(SHAPE, blocks, 3)
    return compile_network(network, config, rng.standard_normal((2, 16, 64)), 1, check=False), rng.standard_normal(
        (1, 16, 64))


@pytest.fixture(scope="module")
def long_chain():
    return chain(CHAIN, 9)


def test_a_long_network_is_one_program_with_little_memory(long_chain):
    """Nine blocks with weights of their own: results as those of a core that holds them, in more programs. The model
    refuses a FETCH that changes what a block under way uses."""
    compiled, x = long_chain
    (segment,) = compiled.segments
    assert len(segment.program.setup) <= 64
    large = CHAIN.changed(records=False, coefficient_words=4096, channel_beats=512)
    plain, _ = chain(large, 9)
    assert len(plain.segments) > 1
    found, want = compiled.execute_model(x), plain.execute_model(x)
    assert np.array_equal(found.results, want.results) and found.clamped == want.clamped


def test_tables_hold_less_than_all_of_it(long_chain):
    compiled, _ = long_chain
    records = np.array(records_of(CHAIN, compiled.segments[0].records.beats))
    coefficients = records[records[:, 0] == 0]
    assert len(coefficients) > 3 * CHAIN.coefficient_words > 3 * coefficients[:, 1].max()
    channels = records[records[:, 0] == SETUP_CHANNELS]
    assert len(channels) > 3 * CHAIN.channel_beats * CHAIN.memory_elements
    sets = records[records[:, 0] == SETUP_WRITE_SETS]
    assert len(sets) > SET_WORDS * SETS and sets[:, 1].min() >= SET_WORDS  # set 0 means nothing to do


def test_most_of_the_records_are_fetched_while_blocks_compute(long_chain):
    compiled, _ = long_chain
    (segment,) = compiled.segments
    hidden = sum(predicted.total for predicted in predict_network(compiled, MemoryTiming()))
    records = records_of(CHAIN, segment.records.beats)
    plain, _ = chain(CHAIN.changed(records=False, coefficient_words=4096, channel_beats=512), 9)
    without = sum(predicted.total for predicted in predict_network(plain, MemoryTiming()))
    assert hidden - without < 0.6 * len(records)


def test_what_one_block_needs_must_fit():
    with pytest.raises(WingbeatError, match="^.*mixing: channel_beats: 6 are too few for what the program needs at one "
                                            "time; allowed are 8 and more$"):
        chain(CHAIN.changed(channel_beats=6), 1)


@pytest.mark.parametrize("change, line", [
    (dict(descriptors=1), "descriptors: 1 are too few for the reader; allowed are 2 and more"),
    (dict(program_words=64), r"program_words: 64 is too small for a program of \d+ words; allowed are 128 and more"),
    (dict(memory_bits=9), r"memory.address_bits: 9 are too few for \d+ beats, \d+ of them records; allowed are 10 and "
                          "more")])
def test_what_is_too_small(change, line):
    with pytest.raises(WingbeatError, match=f"^{line}$"):
        stream(CONFIG.changed(**change), tasks(), (), BASE - 64)
