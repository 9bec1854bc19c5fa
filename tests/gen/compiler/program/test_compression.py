"""Sequence compression on the integer model, against numpy."""

import numpy as np
import pytest

from wingbeat.gen.compiler.kernel.compile import compile_fft
from wingbeat.gen.compiler.program.assemble import assemble
from wingbeat.gen.compiler.program.coefficients import CoefficientSpace
from wingbeat.gen.compiler.program.compression import compile_three_quarters, compress_tokens
from wingbeat.gen.compiler.program.matrix import Matrix
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.numeric import largest
from wingbeat.sim.reference.metrics import sqnr_db


def processor(engines, layers, stream_words, half_words):
    return CoreConfig.of(engines=engines, layers=layers, width=18, element_width=16, coefficient_width=17,
                         half_words=half_words, coefficient_words=2048, stream_words=stream_words, program_words=2048,
                         memory_bits=14)


@pytest.mark.parametrize("array", [(4, 1, 4, 256), (2, 2, 4, 256), (8, 2, 16, 256), (2, 2, 4, 1024)])
@pytest.mark.parametrize("kept", [8, 16, 24])
def test_first_coefficients_of_runs_of_32_tokens(array, kept):
    config, rng = processor(*array), np.random.default_rng(kept)
    z = 0.5 * (rng.uniform(-1, 1, (96, 64)) + 1j * rng.uniform(-1, 1, (96, 64)))
    columns, full = config.engines * config.lanes, float(largest(config.element_width))
    forward = compile_fft(32, config, calibration=z.T.reshape(-1, 32), scaling="static", rows=columns)
    words = forward.quantise(z.T.reshape(-1, 32))[0].reshape(64, 96).T
    spectrum = np.fft.fft(words.reshape(3, 32, 64), axis=1)[:, :kept]
    down = 2.0 ** forward.stacks[0].shift
    rows = (spectrum / down).transpose(0, 2, 1).reshape(-1, kept)
    if kept == 24:
        inverse = compile_three_quarters(kept, config, calibration=rows, input_limit=full)
        scale = inverse.output_scale
    else:
        inverse = compile_fft(kept, config, inverse=True, calibration=rows, scaling="static", input_limit=full,
                              rows=columns)
        scale = inverse.output_scale[0]
    source = Matrix.at(0, 96, 128, config)
    between = Matrix.at(source.end, 3 * kept, 128, config)
    target = Matrix.at(between.end, 3 * kept, 128, config)
    memory = np.zeros((1 << config.memory_bits, config.memory_elements), dtype=np.int64)
    memory[:source.end] = source.pack(np.stack([words.real, words.imag], -1).reshape(96, -1).astype(np.int64), config)
    tasks = compress_tokens(forward, inverse, source, between, target, CoefficientSpace(config), "c")
    program = assemble(config, tasks)
    outcomes = program.run_model(config, memory)
    assert not any(outcome.saturated for outcome in outcomes)
    values = target.unpack(memory) * scale * down
    want = np.fft.ifft(spectrum, axis=1).reshape(-1, 64)
    assert sqnr_db(want, values[:, 0::2] + 1j * values[:, 1::2]) > 77.4


def test_refusals():
    config = processor(4, 1, 4, 64)
    with pytest.raises(WingbeatError, match="^points: 32; allowed are three times a power of two"):
        compile_three_quarters(32, config, calibration=np.ones((2, 32)))
    with pytest.raises(WingbeatError, match="^half_words: 64 is too small for 48 points; allowed are 128 and more"):
        compile_three_quarters(48, config, calibration=np.ones((2, 48)))
    kernel = compile_fft(32, config, calibration=np.ones((2, 32)), scaling="static")
    rows = Matrix.at(0, 40, 64, config)
    with pytest.raises(WingbeatError, match="^tokens: 40 are no whole number of runs of 32"):
        compress_tokens(kernel, kernel, rows, rows, rows, CoefficientSpace(config), "c")
