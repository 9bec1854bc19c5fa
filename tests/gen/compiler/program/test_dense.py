"""Dense products as programs, on the integer model: every size, how they are cut, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from wingbeat.gen.compiler.kernel.sparse import Pattern, kept_weights
from wingbeat.gen.compiler.program.assemble import assemble
from wingbeat.gen.compiler.program.dense import DenseProduct
from wingbeat.gen.compiler.program.matrix import Matrix
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.instruction import Destination, Fetch
from wingbeat.hw.numeric import largest, round_half_up, saturate, streamed_coefficient
from wingbeat.sim.model.mac import mac

SHAPES = {1: dict(engines=4, stream_words=4), 2: dict(engines=2, stream_words=4), 4: dict(engines=1, stream_words=16)}
SHIFT = 13


def config_of(layers, **changes):
    return CoreConfig.of(**SHAPES[layers] | dict(
        layers=layers, width=18, element_width=16, coefficient_width=17, half_words=512, coefficient_words=512,
        ring_words=256, program_words=1024, memory_bits=14, records=True) | changes)


def made(config, rows, inputs, outputs, rng, parts=1, pattern=None):
    """Source, target, program, memory before, and the elements that must come out."""
    most = largest(config.element_width)
    source = replace(Matrix.at(0, rows, inputs // parts, config), elements=inputs, parts=parts)
    target = Matrix.at(source.end, rows, outputs, config)
    x, weights = (rng.integers(-most, most + 1, shape) for shape in ((rows, inputs), (outputs, inputs)))
    if pattern:
        weights *= kept_weights(weights, pattern, config.layers)
    product = DenseProduct(config, source, outputs, pattern)
    image = product.image(weights)
    memory = np.concatenate([source.pack(x, config), target.pack(np.zeros((rows, outputs), int), config), image])
    program = assemble(config, product.transfers(target, target.end, SHIFT, "dense"))
    values, _ = mac(x << config.width - config.element_width,
                    streamed_coefficient(weights, config.element_width, config.coefficient_width), SHIFT, config.width,
                    config.coefficient_width)
    want, _ = saturate(round_half_up(values, config.width - config.element_width), config.element_width)
    return target, program, memory, want


@pytest.mark.parametrize("layers", SHAPES)
@pytest.mark.parametrize("seed", range(6))
def test_any_size(layers, seed):
    rng = np.random.default_rng([seed, layers])
    rows, inputs, outputs = (int(rng.integers(1, most)) for most in (70, 130, 70))
    config = config_of(layers)
    target, program, memory, want = made(config, rows, inputs, outputs, rng)
    program.run_model(config, memory)
    assert np.array_equal(target.unpack(memory), want), f"seed {seed}: {rows} x {inputs} -> {outputs}"


@pytest.mark.parametrize("layers", SHAPES)
@pytest.mark.parametrize("seed", range(6))
def test_inputs_in_chunks(layers, seed):
    """Of rows that stand in one part and in several; the last chunk may be shorter, with a tail."""
    rng = np.random.default_rng([seed, layers, 1])
    parts = int(rng.choice([1, 1, 2, 4]))
    rows, outputs = int(rng.integers(1, 40)), int(rng.integers(1, 70))
    config = config_of(layers, half_words=64 << (layers == 4), partial_words=int(rng.choice([16, 64])),
                       memory_bits=16, program_words=8192)
    config = config.changed(ring_words=16 if layers < 4 else 32)
    inputs = parts * int(rng.integers(65, 200))
    target, program, memory, want = made(config, rows, inputs, outputs, rng, parts)
    program.run_model(config, memory)
    assert np.array_equal(target.unpack(memory), want), f"seed {seed}: {rows} x {inputs} in {parts} -> {outputs}"
    macs = [step for stage in program.stages for step in stage.passes]
    assert any(mac.keep for mac in macs) and any(mac.merge and not mac.keep for mac in macs), f"seed {seed}"


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("pattern", [Pattern(1, 2, 4), Pattern(2, 4, 16), Pattern(1, 4, 4), Pattern(3, 8, 8),
                                     Pattern(2, 16, 4)], ids=str)
def test_sparse_matrices(layers, pattern):
    """Of any size, in one chunk and in several, from rows in one part and in several."""
    rng = np.random.default_rng([layers, *pattern])
    chunks = set()
    for parts, half_words, inputs in ((1, 512, int(rng.integers(1, 200))), (1, 512, 700), (4, 512, 256)):
        config = config_of(layers, half_words=half_words, partial_words=64, sparse=True, memory_bits=16,
                           program_words=8192)
        rows, outputs = int(rng.integers(1, 40)), int(rng.integers(1, 40))
        target, program, memory, want = made(config, rows, inputs, outputs, rng, parts, pattern)
        program.run_model(config, memory)
        assert np.array_equal(target.unpack(memory), want), f"{rows} x {inputs} in {parts} -> {outputs}"
        chunks |= {step.keep for stage in program.stages for step in stage.passes}
    assert chunks == {False, True}


@pytest.mark.parametrize("changes, pattern, parts, message", [
    ({"sparse": False}, Pattern(2, 4, 4), 1, "^array.sparse: false; a product with a matrix of 2:4 needs true$"),
    ({}, Pattern(2, 4, 2), 1, "^stride: 2 of the groups; allowed are powers of two from 4 on$"),
    ({}, Pattern(2, 4, 12), 1, "^stride: 12 of the groups; allowed are powers of two from 4 on$"),
    ({}, Pattern(2, 4, 64), 2, "^inputs: 64 in 2 parts for 2:4 with a stride of 64; allowed are parts of 2"),
    ({"ring_words": 16}, Pattern(2, 4, 16), 1, "^array.ring_words: 16 are too few for a row of 128 inputs; allowed are "
                                               "32 and more$")])
def test_refused_sparse_matrices(changes, pattern, parts, message):
    config = config_of(2, **dict(sparse=True) | changes)
    source = replace(Matrix.at(0, 4, 32, config), elements=32 * parts, parts=parts) if parts > 1 else Matrix.at(
        0, 4, 100, config)
    with pytest.raises(WingbeatError, match=message):
        DenseProduct(config, source, 8, pattern)


def test_picks_come_in_whole_groups_of_a_fetch():
    """Every FETCH begins with picks, and none is longer than a descriptor reaches."""
    config = config_of(2, half_words=4096, ring_words=1024, coefficient_words=1024, memory_bits=18, sparse=True)
    source = Matrix.at(0, 4, 512, config)
    product = DenseProduct(config, source, 1024, Pattern(2, 4, 128))
    tasks = product.transfers(Matrix.at(source.end, 4, 1024, config), 4096, SHIFT, "nm")
    for matrix in {task.stage.matrix for task in tasks}:
        assert matrix.destination is Destination.PICKS and len(matrix.pieces) > 1
        assert all(beats % 9 == 0 for _, _, beats in matrix.pieces[:-1])
        assert all(beats <= 1 << 14 for _, _, beats in matrix.pieces)
    beats = sum(beats for task in tasks for _, _, beats in task.stage.matrix.pieces)
    assert beats == len(product.image(np.zeros((1024, 512), dtype=np.int64)))


def test_chunks_only_where_a_row_has_no_room():
    config = config_of(2, partial_words=64)
    for inputs, size in ((40, 40), (120, 120), (496, 496), (504, 504), (512, 256), (1000, 256)):
        cut = DenseProduct(config, Matrix.at(0, 4, inputs, config), 16).tiling
        assert cut.inputs == size, inputs
        assert size >= inputs or cut.outputs[0] << cut.row_bits <= 128


def test_the_padding_of_rows_is_zero():
    """What stands behind the last element of a row of the result would be read as elements by whoever takes beats."""
    config = config_of(2)
    target, program, memory, _ = made(config, 5, 20, 11, np.random.default_rng(1))
    program.run_model(config, memory)
    whole = memory[target.base:target.end].reshape(5, -1)
    assert not whole[:, 11:].any() and whole[:, :11].any()


@pytest.mark.parametrize("rows, inputs, outputs, row_bits, tiles", [
    (8, 16, 16, 1, (16,)), (1000, 16, 16, 3, (16,)), (4, 64, 72, 0, (64, 8)), (4, 120, 8, 0, (8,))])
def test_how_it_is_cut(rows, inputs, outputs, row_bits, tiles):
    found = DenseProduct(config_of(2), Matrix.at(0, rows, inputs, config_of(2)), outputs).tiling
    assert found.outputs == tiles and (found.row_bits == row_bits or rows > 100)


def test_few_rows_make_small_blocks():
    config = config_of(2)
    _, program, *_ = made(config, 4 * 7 + 1, 16, 16, np.random.default_rng(2))
    assert [stage.passes[0].pairs for stage in program.stages] == sorted(
        (stage.passes[0].pairs for stage in program.stages), reverse=True)
    assert sum(stage.passes[0].pairs for stage in program.stages) == 8


def test_long_matrices_come_in_pieces():
    """A descriptor moves by less than 2^15 beats."""
    config = config_of(2, half_words=4096, ring_words=1024, coefficient_words=1024, memory_bits=18)
    source = Matrix.at(0, 4, 512, config)
    tasks = DenseProduct(config, source, 512).transfers(Matrix.at(source.end, 4, 512, config), 4096, SHIFT, "dense")
    [matrix] = {task.stage.matrix for task in tasks}
    assert [beats for _, _, beats in matrix.pieces] == [512 * 512 // config.memory_elements // 2] * 2
    fetches = [step for step in assemble(config, tasks).instructions if isinstance(step, Fetch)]
    assert len(fetches) == 2 and all(step.destination is Destination.RING for step in fetches)


@pytest.mark.parametrize("changes, inputs, message", [
    ({"ring_words": 0}, 16, "^array.ring_words: 0; a dense product needs a ring$"),
    ({"ring_words": 16}, 40, "^array.ring_words: 16 are too few for a row of 40 inputs; allowed are 32 and more$"),
    ({"half_words": 64}, 64, "^array.half_words: 64 are too few for a row of 64 inputs and 8 outputs; allowed are 128 "
                             "and more, or array.partial_words$"),
    ({"half_words": 64, "partial_words": 2}, 64,
     "^array.partial_words: 2 are too few for 8 outputs; allowed are 4 and more$"),
    ({}, 4097, r"^inputs: 4104 of a dense product; allowed are 1\.\.4096$")])
def test_refusals(changes, inputs, message):
    config = config_of(2, **changes)
    with pytest.raises(WingbeatError, match=message):
        DenseProduct(config, Matrix.at(0, 4, inputs, config), 8)
