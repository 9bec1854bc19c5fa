"""Operations on matrices in memory, on the integer model: bit for bit the kernel's own rows, and right in float."""

from functools import partial

import numpy as np
import pytest

from wingbeat.gen.compiler.kernel.compile import compile_butterfly, compile_fft
from wingbeat.gen.compiler.program.assemble import assemble, read_beats, written_beats
from wingbeat.gen.compiler.program.blocks import row_blocks
from wingbeat.gen.compiler.program.coefficients import CoefficientSpace
from wingbeat.gen.compiler.program.matrix import Matrix
from wingbeat.gen.compiler.program.operations import multiply_butterfly, mix_real, transform_columns, transform_rows
from wingbeat.gen.workloads.kernels import ffn_workload, mixing_workload, random_twiddle
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.instruction import Loop, MemoryMode, Read
from wingbeat.sim.reference.metrics import sqnr_db

# Engines, layers, words of a beat, words of a half: one engine and several per beat, groups of engines, both S.
ARRAYS = [(4, 1, 4, 256), (8, 2, 16, 256), (6, 2, 8, 256), (2, 1, 2, 64), (8, 1, 16, 128)]


def processor(engines, layers, stream_words, half_words, **fields):
    return CoreConfig.of(**({"engines": engines, "layers": layers, "width": 18, "element_width": 16,
                             "coefficient_width": 17, "half_words": half_words, "coefficient_words": 8192,
                             "stream_words": stream_words, "program_words": 4096, "memory_bits": 14} | fields))


def run(config, tasks, memory):
    program = assemble(config, tasks)
    program.run_model(config, memory)
    return program


def loaded(config, *contents):
    memory = np.zeros((1 << config.memory_bits, config.memory_elements), dtype=np.int64)
    for matrix, values in contents:
        memory[matrix.base:matrix.end] = matrix.pack(values, config)
    return memory


def interleaved(z):
    return np.stack([z.real, z.imag], axis=-1).reshape(len(z), -1).astype(np.int64)


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("rows", [5, 40, 101])
def test_butterfly_is_the_kernel_from_memory(array, rows):
    config, rng = processor(*array), np.random.default_rng(rows)
    kernel = compile_butterfly(random_twiddle(1, 6, rng), config, calibration=rng.standard_normal((64, 64)), rows=rows)
    x = rng.standard_normal((rows, 64))
    source = Matrix.at(3, rows, 64, config)
    target = Matrix.at(source.end + 1, rows, 64, config)
    memory = loaded(config, (source, kernel.quantise(x)[0].astype(np.int64)))
    before = memory.copy()
    run(config, multiply_butterfly(kernel, source, target, CoefficientSpace(config), "b"), memory)
    assert np.array_equal(target.unpack(memory) * kernel.output_scale, kernel.run_model(x))
    before[target.base:target.end] = memory[target.base:target.end]
    assert np.array_equal(before, memory), "something outside the target was written"


@pytest.mark.parametrize("in_size, out_size", [(64, 64), (40, 64), (64, 48), (33, 192), (50, 150)])
def test_rectangular_butterflies(in_size, out_size):
    config, rng = processor(4, 2, 8, 256), np.random.default_rng(in_size)
    twiddle = random_twiddle(-(-out_size // 64), 6, rng)
    kernel = compile_butterfly(twiddle, config, calibration=rng.standard_normal((64, in_size)), in_size=in_size,
                               out_size=out_size, rows=30)
    x = rng.standard_normal((30, in_size))
    source, target = Matrix.at(0, 30, in_size, config), Matrix.at(200, 30, out_size, config)
    memory = loaded(config, (source, kernel.quantise(x)[0].astype(np.int64)))
    memory[source.base:source.end].reshape(30, -1)[:, in_size:] = 77  # what stands behind a row is not read
    run(config, multiply_butterfly(kernel, source, target, CoefficientSpace(config), "b"), memory)
    assert np.array_equal(target.unpack(memory) * kernel.output_scale, kernel.run_model(x))


@pytest.mark.parametrize("array", [ARRAYS[0], ARRAYS[3], (1, 2, 4, 256)])
@pytest.mark.parametrize("parts, part, rows", [(4, 16, 5), (2, 32, 40), (8, 8, 33), (3, 16, 12), (1, 64, 7)])
def test_rows_in_parts(array, parts, part, rows):
    """What stands in several matrices, one behind the other, is read as one row."""
    config, rng = processor(*array), np.random.default_rng([parts, rows])
    elements, pitch = parts * part, 2 * part // config.memory_elements
    kernel = compile_butterfly(random_twiddle(1, 6, rng), config, calibration=rng.standard_normal((64, elements)),
                               in_size=elements, rows=rows)
    x = kernel.quantise(rng.standard_normal((rows, elements)))[0].astype(np.int64)
    source = Matrix(7, rows, elements, pitch, parts)
    target = Matrix.at(source.end + 1, rows, 64, config)
    memory = loaded(config, (source, x))
    for number in range(parts):
        there = Matrix(source.base + number * rows * pitch, rows, part, pitch)
        assert np.array_equal(there.unpack(memory), x[:, number * part:(number + 1) * part])
    assert np.array_equal(source.unpack(memory), x)
    memory[source.base:source.end].reshape(-1, pitch * config.memory_elements)[:, part:] = 77
    run(config, multiply_butterfly(kernel, source, target, CoefficientSpace(config), "b"), memory)
    assert np.array_equal(target.unpack(memory) * kernel.output_scale, kernel.run_model(x * kernel.input_step))


def test_stacks_take_turns():
    """All stacks of a block of rows follow one another: the rows need be summed but once."""
    config, rng = processor(4, 2, 8, 256), np.random.default_rng(8)
    kernel = compile_butterfly(random_twiddle(3, 6, rng), config, calibration=rng.standard_normal((64, 64)), rows=16)
    source, target = Matrix.at(0, 40, 64, config), Matrix.at(1000, 40, 192, config)
    tasks = multiply_butterfly(kernel, source, target, CoefficientSpace(config), "b", "steady")
    places = [task.block.read_at for task in tasks]
    assert len(tasks) > 3 and places == [place for place in sorted(set(places)) for _ in range(3)]
    assert [task.stage.name for task in tasks[:3]] == ["b.0", "b.1", "b.2"]


@pytest.mark.parametrize("array", ARRAYS)
def test_rows_and_columns_of_a_transform(array):
    config, rng = processor(*array), np.random.default_rng(7)
    z = 0.5 * (rng.uniform(-1, 1, (32, 32)) + 1j * rng.uniform(-1, 1, (32, 32)))
    kernel = compile_fft(32, config, calibration=z, scaling="static",
                         rows=max(20, config.engines * config.lanes))
    words = kernel.quantise(z)[0]
    source, target = Matrix.at(0, 32, 64, config), Matrix.at(1000, 32, 64, config)
    for operation, axis in ((transform_rows, 1), (transform_columns, 0)):
        memory = loaded(config, (source, interleaved(words)))
        run(config, operation(kernel, source, target, CoefficientSpace(config), "f"), memory)
        values = target.unpack(memory) * kernel.output_scale[0]
        want = np.fft.fft(words * kernel.input_step, axis=axis)
        assert sqnr_db(want, values[:, 0::2] + 1j * values[:, 1::2]) > 83.3, operation.__name__


@pytest.mark.parametrize("array, tokens, hidden", [((4, 1, 4, 256), 32, 64), ((8, 2, 16, 1024), 64, 64),
                                                   ((2, 2, 4, 64), 16, 32), ((4, 2, 8, 1024), 128, 64),
                                                   ((4, 1, 8, 512), 8, 128)])
def test_real_mixing(array, tokens, hidden):
    work = mixing_workload(processor(*array), tokens, hidden, seed=1)
    memory, outcomes = work.run_model()
    assert sqnr_db(work.reference, work.result(memory)) > 71.0
    assert not any(outcome.saturated for outcome in outcomes)


@pytest.mark.parametrize("array, tokens, hidden", [((1, 2, 4, 256), 8, 16), ((4, 1, 4, 256), 16, 32)])
@pytest.mark.parametrize("batch", [1, 2, 8, 32])
def test_mixing_of_a_batch_is_that_of_each(array, tokens, hidden, batch):
    """Several matrices side by side, in blocks that end anywhere; only ``between`` and ``target`` change."""
    config, rng = processor(*array), np.random.default_rng([batch, tokens])
    columns, rows = (compile_fft(points, config, scaling="safe", input_limit=2.0 ** 15 - 1) for points in
                     (tokens, hidden))
    x = np.rint(rng.uniform(-30000, 30000, (batch, tokens, hidden)))
    source = Matrix.at(5, tokens, batch * hidden, config)
    between = Matrix.at(source.end, tokens // 2 + 1, 2 * batch * hidden, config)
    pitch = between.pitch // 2
    target = Matrix.at(-(-(between.end + 3) // pitch) * pitch, tokens, batch * hidden, config)
    memory = loaded(config, (source, x.swapaxes(0, 1).reshape(tokens, -1)))
    before = memory.copy()
    run(config, mix_real(columns, rows, source, between, target, CoefficientSpace(config), "m", batch), memory)
    y = target.unpack(memory).reshape(tokens, batch, hidden).swapaxes(0, 1)
    scale = 2.0 ** (columns.stacks[0].shift + rows.stacks[0].shift)
    for number in range(batch):
        assert sqnr_db(np.fft.fft2(x[number]).real, y[number] * scale) > 48.0, f"matrix {number} of {batch}"
    before[source.end:between.end], before[target.base:target.end] = (
        memory[source.end:between.end], memory[target.base:target.end])
    assert np.array_equal(before, memory), "something outside was written"


def test_feed_forward():
    work = ffn_workload(processor(4, 2, 8, 256, coefficient_words=2048), 50, 32, 4, seed=1)
    memory, _ = work.run_model()
    assert sqnr_db(work.reference, work.result(memory)) > 72.1


def test_what_must_wait_waits():
    """The first block of the second transform waits for some beats of the last of the first, the second for all."""
    config = processor(4, 2, 8, 256)
    work = mixing_workload(config, 64, 64, seed=1)
    reads = [step for step in work.program.instructions if isinstance(step, Read)]
    assert [(read.after, bool(read.after_beats)) for read in reads if read.after] == [(1, True), (2, False)]


def test_equal_blocks_are_a_loop():
    config, rng = processor(4, 1, 4, 256), np.random.default_rng(3)
    kernel = compile_butterfly(random_twiddle(1, 6, rng), config, calibration=rng.standard_normal((64, 64)))
    sizes = []
    for rows in (8, 20):
        rows *= kernel.rows_per_block
        source, target = Matrix.at(0, rows, 64, config), Matrix.at(5000, rows, 64, config)
        tasks = multiply_butterfly(kernel, source, target, CoefficientSpace(config), "b", "steady")
        program = assemble(config, tasks)
        sizes.append(len(program.instructions))
        assert any(isinstance(step, Loop) for step in program.instructions)
        assert len(program.stages) == len(tasks)
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("start", ["cold", "warm", "steady"])
@pytest.mark.parametrize("rows", [1, 8, 63, 200, 1000])
def test_blocks_cover_all_rows_once(start, rows):
    config, rng = processor(4, 1, 4, 1024), np.random.default_rng(3)
    kernel = compile_butterfly(random_twiddle(1, 6, rng), config, calibration=rng.standard_normal((64, 64)))
    blocks = row_blocks(kernel, rows, start)
    at = 0
    for bits, first, count in blocks:
        assert first == at and 0 < count <= config.engines * 2 << bits and bits <= kernel.row_bits
        at += config.engines * 2 << bits
    assert first + count == rows


def test_beats_of_a_block():
    """Read and written beats are those of its rows, each once."""
    config, rng = processor(4, 2, 8, 256), np.random.default_rng(5)
    kernel = compile_butterfly(random_twiddle(1, 6, rng), config, calibration=rng.standard_normal((64, 64)), rows=16)
    source, target = Matrix.at(10, 16, 64, config), Matrix.at(100, 16, 64, config)
    (stage, block), = multiply_butterfly(kernel, source, target, CoefficientSpace(config), "b")
    assert sorted(read_beats(config, stage, block)) == list(range(source.base, source.end))
    assert sorted(written_beats(config, stage, block)) == list(range(target.base, target.end))


def refusal(call):
    with pytest.raises(WingbeatError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_refusals_name_the_parameter():
    config, rng = processor(8, 1, 16, 256), np.random.default_rng(1)
    kernel = compile_butterfly(random_twiddle(1, 4, rng), config, calibration=rng.standard_normal((64, 16)))
    source, target = Matrix.at(0, 16, 16, config), Matrix.at(100, 16, 16, config)
    too_wide = partial(multiply_butterfly, kernel, source, target, CoefficientSpace(config), "b")
    assert refusal(too_wide).startswith("stream_words: 16")
    config = processor(4, 1, 4, 256, descriptors=1, coefficient_words=64)
    assert refusal(lambda: mixing_workload(config, 32, 64, 1)).startswith("coefficient_words: 64")
    config = processor(4, 1, 4, 256, descriptors=1)
    assert refusal(lambda: mixing_workload(config, 32, 64, 1)).startswith("descriptors: 1 are too few for the reader")
    config = processor(4, 1, 4, 256, program_words=64)
    assert refusal(lambda: mixing_workload(config, 32, 64, 1)).startswith("program_words: 64")
    kernel = compile_fft(16, config, scaling="safe", input_limit=2.0 ** 15 - 1)
    for batch, pitch, at, message in ((3, 4, 0, "batch: 3 of the matrices"), (2, 3, 0, "pitch: 3 of the matrices"),
                                      (4, 4, 8, "base: 8 of 4 matrices that FOLD writes side by side; allowed are "
                                                "multiples of 16")):
        call = partial(transform_rows, kernel, Matrix(0, 9 * batch, 32, 4), Matrix(at, 16 * batch, 16, pitch),
                       CoefficientSpace(config), "f", MemoryMode.FOLD, 8, batch=batch)
        assert refusal(call).startswith(message)
    rows = [Matrix(0, 16, 32, 6), Matrix(100, 9, 64, 12), Matrix(300, 16, 32, 6)]
    mixed = partial(mix_real, kernel, kernel, *rows, CoefficientSpace(config), "m", 4)
    assert refusal(mixed).startswith("pitch: 6 beats")
    for parts, part in ((2, 12), (4, 4)):
        call = partial(multiply_butterfly, compile_butterfly(random_twiddle(1, 5, rng), config, scaling="safe",
                                                    in_size=parts * part),
                       Matrix(0, 8, parts * part, 2, parts), Matrix(100, 8, 32, 4), CoefficientSpace(config), "b")
        assert refusal(call).startswith(f"elements: {part} in each part of a row; allowed are powers of two from 8 on")
    small = processor(4, 1, 4, 256, memory_bits=8)
    assert refusal(lambda: mixing_workload(small, 32, 64, 1)).startswith("memory.address_bits: 8")
    assert refusal(lambda: mixing_workload(config, 24, 64, 1)).startswith("--tokens: 24")
