"""The transpose: every element at its place, of matrices and parts of them, whole beats and tails."""

import numpy as np
import pytest

from support.attention import SHAPES, attention_config

from wingbeat.gen.compiler.program.assemble import assemble
from wingbeat.gen.compiler.program.matrix import Matrix, round_up
from wingbeat.gen.compiler.program.transpose import transpose

SEED = 5


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows, elements, first, pitch", [(64, 32, 0, 1), (37, 64, 64, 3), (200, 128, 0, 1)])
def test_every_element(shape, rows, elements, first, pitch):
    """``elements`` columns from ``first`` on of rows ``pitch`` times as wide; what is beside them stays."""
    config = attention_config(shape)
    beat = config.memory_elements
    source = Matrix(first // beat, rows, elements, pitch * elements // beat)
    target = Matrix.at(rows * source.pitch, elements, round_up(rows, beat), config)
    memory = np.random.default_rng(SEED).integers(-999, 999, (target.end, beat))
    before = memory.copy()
    values = before[:rows * source.pitch].reshape(rows, -1)[:, first:first + elements]
    program = assemble(config, transpose(config, source, target, "turn"))
    program.run_model(config, memory)
    assert np.array_equal(target.unpack(memory)[:, :rows], values.T), f"seed {SEED}"
    assert np.array_equal(memory[:target.base], before[:target.base])
