"""Hierarchical butterfly on the integer model, against its dense matrix."""

import numpy as np
import pytest

from wingbeat.gen.compiler.program.assemble import assemble
from wingbeat.gen.compiler.program.coefficients import CoefficientSpace
from wingbeat.gen.compiler.program.hierarchical import (compile_hierarchical, hierarchical_butterfly,
                                                        hierarchical_twiddle)
from wingbeat.gen.compiler.program.matrix import Matrix
from wingbeat.gen.workloads.kernels import random_twiddle
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError
from wingbeat.sim.reference.linear import butterfly_multiply
from wingbeat.sim.reference.metrics import sqnr_db


def processor(stream_words=4):
    return CoreConfig.of(engines=8, layers=2, width=18, element_width=16, coefficient_width=17, half_words=512,
                         coefficient_words=8192, stream_words=stream_words, program_words=2048, memory_bits=14)


def tiles_of(outputs, inputs, bits, rng):
    return np.stack([random_twiddle(inputs, bits, rng)[:, 0] for _ in range(outputs)])


def dense(tiles, x):
    """Tile by tile with the reference of one butterfly."""
    size = 1 << tiles.shape[2]
    parts = x.reshape(len(x), -1, size)
    return np.concatenate([sum(butterfly_multiply(tile[None, None], parts[:, number])
                               for number, tile in enumerate(row)) for row in tiles], axis=1)


@pytest.mark.parametrize("bits", [4, 5, 6])
@pytest.mark.parametrize("inputs", [1, 2, 4])
def test_sum_over_tiles(bits, inputs):
    config, rng = processor(), np.random.default_rng([bits, inputs])
    tiles, x = tiles_of(3, inputs, bits, rng), rng.standard_normal((21, inputs << bits))
    kernels = compile_hierarchical(tiles, config, calibration=rng.standard_normal((128, inputs << bits)), rows=21)
    assert len({kernel.input_step for kernel in kernels}) <= 3
    values = []
    for kernel in kernels:  # each row of tiles has an input scale of its own, so the rows go in once for each
        source, target = Matrix.at(0, 21, x.shape[1], config), Matrix.at(4000, 21, 1 << bits, config)
        memory = np.zeros((1 << 14, config.memory_elements), dtype=np.int64)
        memory[source.base:source.end] = source.pack(np.rint(x / kernel.input_step).astype(np.int64), config)
        program = assemble(config, hierarchical_butterfly([kernel], source, target, CoefficientSpace(config), "h"))
        program.run_model(config, memory)
        values.append(target.unpack(memory) * kernel.output_scale)
    assert sqnr_db(dense(tiles, x), np.concatenate(values, axis=1)) > 75.3


def test_all_rows_of_tiles_in_one_program():
    config, rng = processor(), np.random.default_rng(1)
    tiles, x = tiles_of(3, 4, 4, rng), rng.standard_normal((21, 64))
    kernels = compile_hierarchical(tiles, config, calibration=rng.standard_normal((128, 64)), input_limit=5.0)
    source, target = Matrix.at(0, 21, 64, config), Matrix.at(4000, 21, 48, config)
    memory = np.zeros((1 << 14, config.memory_elements), dtype=np.int64)
    memory[source.base:source.end] = source.pack(np.rint(x / kernels[0].input_step).astype(np.int64), config)
    program = assemble(config, hierarchical_butterfly(kernels, source, target, CoefficientSpace(config), "h"))
    program.run_model(config, memory)
    scale = np.concatenate([kernel.output_scale for kernel in kernels])
    assert sqnr_db(dense(tiles, x), target.unpack(memory) * scale) > 78.1


def test_the_matrix_is_the_tiles():
    rng = np.random.default_rng(2)
    tiles = tiles_of(2, 4, 3, rng)
    x = rng.standard_normal((5, 32))
    whole = butterfly_multiply(hierarchical_twiddle(tiles), x).reshape(5, 2, 32)[:, :, :8]
    assert np.allclose(whole.reshape(5, -1), dense(tiles, x))


def test_refusals():
    rng, config = np.random.default_rng(3), processor(16)
    with pytest.raises(WingbeatError, match="^tiles: 3 input tiles"):
        hierarchical_twiddle(tiles_of(1, 3, 4, rng))
    with pytest.raises(WingbeatError, match="^tiles: shape"):
        hierarchical_twiddle(np.zeros((2, 2, 2, 2)))
    kernels = compile_hierarchical(tiles_of(1, 4, 4, rng), config, calibration=rng.standard_normal((8, 64)))
    with pytest.raises(WingbeatError, match="^stream_words: 16 gives beats of 32 elements; allowed are up to 8 "):
        hierarchical_butterfly(kernels, Matrix.at(0, 8, 64, config), Matrix.at(500, 8, 16, config),
                               CoefficientSpace(config), "h")
