"""Transforms larger than a half, in several stages on the integer model."""

import numpy as np
import pytest

from wingbeat.gen.compiler.program.assemble import assemble
from wingbeat.gen.compiler.program.coefficients import CoefficientSpace
from wingbeat.gen.compiler.program.matrix import Matrix
from wingbeat.gen.compiler.program.split import split_butterfly, split_fft, split_rows
from wingbeat.gen.workloads.kernels import random_twiddle
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError
from wingbeat.sim.reference.linear import butterfly_multiply
from wingbeat.sim.reference.metrics import sqnr_db

SMALL = [(2, 1, 4, 64), (2, 2, 8, 64), (4, 2, 8, 256)]


def processor(engines, layers, stream_words, half_words, **fields):
    return CoreConfig.of(**({"engines": engines, "layers": layers, "width": 18, "element_width": 16,
                             "coefficient_width": 17, "half_words": half_words, "coefficient_words": 65536,
                             "stream_words": stream_words, "program_words": 4096, "memory_bits": 16} | fields))


def result(config, kernel, values, elements_out):
    """Integers (rows, elements_out) that the program leaves, for integers (rows, elements)."""
    rows, wide = values.shape
    full = (1 << kernel.log2_size) * (wide // kernel.in_size)  # twice as many where the elements are complex
    shapes = [wide, *[full] * (len(kernel.segments) - 1), elements_out]
    ways = []
    for elements in shapes:
        ways.append(Matrix.at(ways[-1].end if ways else 0, rows, elements, config))
    source, *between, target = ways
    memory = np.zeros((1 << config.memory_bits, config.memory_elements), dtype=np.int64)
    memory[source.base:source.end] = source.pack(values, config)
    program = assemble(config, split_rows(kernel, source, between, target, CoefficientSpace(config), "t"))
    program.run_model(config, memory)
    return target.unpack(memory)


@pytest.mark.parametrize("array", SMALL)
@pytest.mark.parametrize("n", [8, 9, 10])
def test_butterfly(array, n):
    config, rng = processor(*array), np.random.default_rng(n)
    twiddle, x = random_twiddle(1, n, rng), rng.standard_normal((7, 1 << n))
    kernel = split_butterfly(twiddle, config, calibration=rng.standard_normal((64, 1 << n)))
    whole = np.rint(x / kernel.input_step)
    values = result(config, kernel, whole.astype(np.int64), 1 << n)
    assert len(kernel.segments) > 1 or 1 << n <= config.half_words
    assert sqnr_db(butterfly_multiply(twiddle, whole * kernel.input_step), values * kernel.output_scale) > 68.7


def test_rectangular_butterfly():
    config, rng = processor(2, 1, 4, 64), np.random.default_rng(1)
    twiddle, x = random_twiddle(2, 8, rng), rng.standard_normal((5, 200))
    kernel = split_butterfly(twiddle, config, calibration=rng.standard_normal((64, 200)), in_size=200, out_size=400)
    whole = np.rint(x / kernel.input_step)
    values = result(config, kernel, whole.astype(np.int64), 400)
    want = butterfly_multiply(twiddle, whole * kernel.input_step, out_size=400)
    assert sqnr_db(want, values * kernel.output_scale) > 76.0


def test_outputs_that_nobody_reads_widen_no_shift():
    """The upper half of each stack adds everything up; that of the last one is behind ``out_size``."""
    rng = np.random.default_rng(2)
    twiddle = np.zeros((2, 1, 8, 128, 2, 2)) + np.eye(2)
    twiddle[:, :, :-1, 64:] = twiddle[:, :, -1, :, 1] = 1.0
    kernel = split_butterfly(twiddle, processor(2, 1, 4, 64), calibration=rng.uniform(-1, 1, (64, 256)), headroom=1,
                             input_limit=1.0, out_size=384)
    first, last = (sum(stack.shifts) for stack in kernel.stacks)
    assert first > 3 and last == 0, "seed 2"


@pytest.mark.parametrize("array", SMALL)
@pytest.mark.parametrize("n", [8, 9])
def test_transform(array, n):
    config, rng = processor(*array), np.random.default_rng(n)
    z = rng.uniform(-1, 1, (6, 1 << n)) + 1j * rng.uniform(-1, 1, (6, 1 << n))
    kernel = split_fft(1 << n, config, calibration=z)
    whole = np.rint(z / kernel.input_step)
    elements = np.stack([whole.real, whole.imag], axis=-1).reshape(6, -1).astype(np.int64)
    values = result(config, kernel, elements, 2 << n) * kernel.output_scale.repeat(2)
    want = np.fft.fft(whole * kernel.input_step)
    assert sqnr_db(want, values[:, 0::2] + 1j * values[:, 1::2]) > 73.1


@pytest.mark.parametrize("kind", ["butterfly", "transform"])
def test_8192_points_in_halves_of_1024_words(kind):
    config, rng = processor(8, 1, 16, 1024), np.random.default_rng(3)
    if kind == "butterfly":
        kernel = split_butterfly(random_twiddle(1, 13, rng), config, calibration=rng.standard_normal((16, 8192)))
        assert [(s.first, s.last) for s in kernel.segments] == [(0, 8), (8, 13)]
    else:
        rows = rng.uniform(-1, 1, (16, 8192)) + 1j * rng.uniform(-1, 1, (16, 8192))
        kernel = split_fft(8192, config, calibration=rows)
        assert [(s.first, s.last) for s in kernel.segments] == [(0, 4), (4, 8), (8, 13)]
    assert all(len(segment.bits) <= 10 for segment in kernel.segments)


@pytest.mark.parametrize("layers, half_words, n", [
    (1, 64, 8), (1, 64, 13), (1, 512, 11), (2, 64, 8), (2, 64, 9), (2, 128, 9), (2, 128, 11), (2, 256, 11),
    (2, 256, 13), (2, 4096, 13), (3, 512, 11), (3, 512, 13)])
def test_top_digits_are_whole(layers, half_words, n):
    """No pass works on a digit that sticks out of its block."""
    config, rng = processor(4, layers, 1 << layers, half_words), np.random.default_rng(n)
    rows = rng.uniform(-1, 1, (4, 1 << n))
    for kernel in (split_butterfly(random_twiddle(1, n, rng), config, calibration=rows),
                   split_fft(1 << n, config, calibration=rows + 1j * rows[::-1])):
        for segment in kernel.segments:
            assert len(set(segment.bits)) == len(segment.bits) <= config.index_bits
            worked = [segment.bits.index(layer.bit) for layer in kernel.stacks[0].layers[segment.first:segment.last]]
            assert all((at // layers + 1) * layers <= len(segment.bits) for at in worked), segment


def test_refusals():
    config = processor(8, 1, 16, 64)
    with pytest.raises(WingbeatError, match="^half_words: 64 is too small for 8192 points in 4 stages"):
        split_fft(8192, config, calibration=np.ones((2, 8192)))
    with pytest.raises(WingbeatError, match="^scaling: 'block'"):
        split_fft(64, config, scaling="block")
