"""Dense matrices as elements and a shift: units, ranges, extremes, and the accuracy that is left."""

import numpy as np
import pytest

from wingbeat.gen.compiler.kernel.dense import compile_dense
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.numeric import largest, round_half_up, saturate, streamed_coefficient
from wingbeat.sim.model.mac import mac
from wingbeat.sim.reference.metrics import sqnr_db

WIDTHS = [(18, 17, 16), (18, 17, 18), (18, 17, 12), (18, 17, 8), (16, 16, 16), (12, 10, 12), (9, 8, 8)]


def config_of(width, coefficient_width, element_width):
    return CoreConfig.of(width=width, coefficient_width=coefficient_width, element_width=element_width)


def result(kernel, x):
    """Elements of the result for elements ``x`` (rows, inputs), and whether any was clamped."""
    c = kernel.config
    words = x << c.width - c.element_width
    coefficients = streamed_coefficient(kernel.weights, c.element_width, c.coefficient_width)
    values, clamped = mac(words, coefficients, kernel.shift, c.width, c.coefficient_width)
    elements, more = saturate(round_half_up(values, c.width - c.element_width), c.element_width)
    return elements, bool(clamped.any() or more.any())


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("by_output", [True, False])
def test_values(widths, by_output):
    """An element of the result times its unit is the product; the calibration rows are not clamped."""
    config, rng = config_of(*widths), np.random.default_rng(3)
    weights = rng.standard_normal((20, 48)) * np.geomspace(0.1, 10, 20)[:, None] ** by_output
    x = rng.integers(-largest(widths[2]), largest(widths[2]) + 1, (64, 48))
    kernel = compile_dense(weights, config, x, by_output=by_output)
    elements, clamped = result(kernel, x)
    unit = 0.25
    exact = (x * unit) @ weights.T
    assert not clamped
    assert sqnr_db(exact, elements * kernel.output_unit(unit)) > 6 * (widths[2] if widths[2] < 17 else 16) - 20
    assert np.abs(elements).max() > largest(widths[2]) // 3, "the range is not used"
    if not by_output:
        assert kernel.output_unit(1.0) == 2.0 ** round(np.log2(kernel.output_unit(1.0)))


@pytest.mark.parametrize("bits, floors", [(16, (82, 80, 80)), (12, (56, 54, 54)), (8, (32, 29, 29))])
def test_accuracy(bits, floors):
    """SQNR in dB of the elements that leave against float64 of the quantised operands, Gaussian, calibrated on itself,
    for K = 64, 256 and 1024."""
    config = config_of(18, 17, bits)
    for size, floor in zip((64, 256, 1024), floors):
        rng = np.random.default_rng(size)
        x = np.rint(np.clip(rng.standard_normal((256, size)) / 4, -1, 1) * largest(bits)).astype(np.int64)
        kernel = compile_dense(rng.standard_normal((64, size)), config, x, by_output=True)
        elements, clamped = result(kernel, x)
        exact = x @ kernel.weights.T * kernel.output_unit(1.0) * kernel.gain
        found = sqnr_db(exact, elements * kernel.output_unit(1.0))
        assert not clamped and found > floor, f"K = {size}: {found:.1f} dB"


@pytest.mark.parametrize("weights", [np.zeros((3, 4)), np.eye(3, 4), np.full((3, 4), -1e-12), 1e12 * np.ones((3, 4))])
@pytest.mark.parametrize("by_output", [True, False])
def test_odd_matrices(weights, by_output):
    """Zeros, one-hot rows, constants, tiny and huge ones, on rows of extremes."""
    config = config_of(18, 17, 16)
    x = np.array([[32767] * 4, [-32768] * 4, [0] * 4, [1, 0, 0, 0]])
    kernel = compile_dense(weights, config, x, by_output=by_output)
    elements, clamped = result(kernel, x)
    exact = x @ weights.T
    error = np.abs(elements * kernel.output_unit(1.0) - exact).max()
    assert not clamped and error <= 1e-4 * max(np.abs(exact).max(), 1e-300)


def test_no_rows_and_too_many_inputs():
    config = config_of(18, 17, 16)
    assert compile_dense(np.ones((2, 3)), config, np.zeros((0, 3), dtype=np.int64), by_output=True).shift == 0
    with pytest.raises(WingbeatError, match=r"^in: 4097 weights of a row are not zero; allowed are 1\.\.4096$"):
        compile_dense(np.ones((1, 4097)), config, np.zeros((1, 4097), dtype=np.int64), by_output=True)
