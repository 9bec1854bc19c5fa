"""Compiled kernels on the bit-exact model against float64: sizes, arrays, orders, scalings, refusals."""

from functools import partial
import warnings

import numpy as np
import pytest
from safetensors.numpy import save_file

from wingbeat.gen.compiler.kernel.compile import compile_butterfly, compile_copy, compile_fft, compile_fft2, compile_sum
from wingbeat.gen.compiler.kernel.layers import fft_layers
from wingbeat.gen.compiler.kernel.passes import assign_columns, build_passes
from wingbeat.gen.compiler.kernel.scaling import best_limit, noise_gains, safe_shifts, static_shifts
from wingbeat.gen.compiler.kernel.unit_pivot import block_layers, unit_pivot
from wingbeat.gen.compiler.quality import SaturationWarning
from wingbeat.gen.explore.accuracy import accuracy_table
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.sections import ArraySection
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.encoding import decode, encode
from wingbeat.hw.isa.walk import walk_indices
from wingbeat.sim.reference.linear import butterfly_multiply
from wingbeat.sim.reference.metrics import sqnr_db

# layers, engines, stream words: K < P, K = P, K > P, odd engine counts
ARRAYS = [(1, 1, 1), (1, 3, 2), (2, 3, 2), (2, 4, 16), (3, 2, 16), (4, 1, 4)]
SCALINGS = ["static", "block", "safe"]


def array(layers=2, engines=1, stream=None, **changes):
    values = {"width": 18, "element_width": 16, "coefficient_width": 17, "half_words": 1024,
              "coefficient_words": 2048, "program_words": 512}
    return CoreConfig.of(layers=layers, engines=engines, stream_words=stream or 1, **(values | changes))


def normal(rng, *shape):
    return rng.standard_normal(shape)


def complex_uniform(rng, *shape):
    return rng.uniform(-1, 1, shape) + 1j * rng.uniform(-1, 1, shape)


def check(kernel, x, exact, floor, note):
    """Everything of one kernel: accuracy on the model, and a program that survives its encoding."""
    run = kernel.execute_model(x)
    quality = sqnr_db(exact(kernel.quantised_input(x)), run.y)
    assert quality > floor, f"{quality:.1f} dB, {note}"
    assert not run.clamped_inputs and not run.saturated_blocks, note
    assert len(run.exponents) == kernel.n_blocks(len(x)) * len(kernel.stacks)
    for job in kernel.jobs(x):
        assert decode(encode(job.program), kernel.config.layers) == job.program
        assert len(encode(job.program)) <= kernel.config.program_words


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("layers, engines, stream", ARRAYS)
@pytest.mark.parametrize("log_n", range(1, 8))
def test_butterfly(layers, engines, stream, log_n, scaling):
    config = array(layers, engines, stream)
    for n_stacks, n_blocks, increasing in [(1, 1, True), (1, 1, False), (2, 2, True), (1, 3, False)]:
        seed = [layers, engines, log_n, n_stacks, n_blocks]
        rng = np.random.default_rng(seed)
        twiddle = normal(rng, n_stacks, n_blocks, log_n, 1 << log_n >> 1, 2, 2) / np.sqrt(2)
        kernel = compile_butterfly(twiddle, config, calibration=normal(rng, 64, 1 << log_n), headroom=2,
                                   scaling=scaling, increasing_stride=increasing)
        floor = {"static": 65.9, "block": 52.1, "safe": 34.4}[scaling]
        rows = kernel.rows_per_block + 3 if log_n > 3 else 5
        exact = partial(butterfly_multiply, twiddle, increasing_stride=increasing)
        check(kernel, normal(rng, rows, 1 << log_n), exact, floor, f"seed {seed}")


@pytest.mark.parametrize("order", ["overlap", "natural"])
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("layers, engines, stream", ARRAYS)
@pytest.mark.parametrize("log_n", range(1, 9))
def test_fft(layers, engines, stream, log_n, scaling, order):
    seed = [layers, engines, log_n]
    rng = np.random.default_rng(seed)
    config = array(layers, engines, stream)
    for inverse, transform in ((False, np.fft.fft), (True, np.fft.ifft)):
        kernel = compile_fft(1 << log_n, config, inverse=inverse, scaling=scaling, order=order,
                             calibration=complex_uniform(rng, 64, 1 << log_n))
        floor = 60
        rows = kernel.rows_per_block + 1 if log_n > 4 else 5
        check(kernel, complex_uniform(rng, rows, 1 << log_n), transform, floor,
              f"seed {seed}, inverse {inverse}")


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
@pytest.mark.parametrize("tokens, hidden", [(1, 8), (2, 2), (4, 8), (8, 4), (16, 2), (8, 32)])
def test_fft2(tokens, hidden, layers, scaling):
    seed = [tokens, hidden, layers]
    rng = np.random.default_rng(seed)
    kernel = compile_fft2(tokens, hidden, array(layers, 2), scaling=scaling,
                          calibration=complex_uniform(rng, 64, tokens * hidden))
    check(kernel, complex_uniform(rng, 5, tokens * hidden),
          lambda x: np.fft.fft2(x.reshape(-1, tokens, hidden)).reshape(len(x), -1), 59.1,
          f"seed {seed}")


def test_three_lines_from_a_file(tmp_path):
    rng = np.random.default_rng(20)
    twiddle, bias = normal(rng, 2, 1, 5, 16, 2, 2) / np.sqrt(2), normal(rng, 50)
    path = tmp_path / "m.safetensors"
    save_file({"q.twiddle": twiddle, "q.bias": bias}, path, metadata={"q.in_size": "24"})
    calibration, x = normal(rng, 64, 24), normal(rng, 7, 24)
    kernel = compile_butterfly(path, array(), calibration=calibration)
    y = kernel.run_model(x)
    exact = butterfly_multiply(twiddle, kernel.quantised_input(x), out_size=50) + bias
    assert y.shape == (7, 50) and kernel.output_scale.shape == (50,)
    assert sqnr_db(exact, y) > 83.9, "seed 20"


@pytest.mark.parametrize("increasing", [True, False])
def test_zero_rows(increasing):
    rng = np.random.default_rng(21)
    twiddle = normal(rng, 1, 2, 6, 32, 2, 2)
    twiddle[rng.random(twiddle.shape[:-1]) < 0.2] = 0
    x = normal(rng, 9, 64)
    kernel = compile_butterfly(twiddle, array(), calibration=normal(rng, 64, 64), headroom=2,
                               increasing_stride=increasing)
    exact = butterfly_multiply(twiddle, x, increasing)
    check(kernel, x, lambda seen: butterfly_multiply(twiddle, seen, increasing), 70.6, "seed 21")
    assert np.all(kernel.run_model(x)[:, np.all(exact == 0, axis=0)] == 0), "seed 21"


def test_stacks_that_do_not_fit_together_become_parts():
    rng = np.random.default_rng(22)
    twiddle, x = normal(rng, 3, 1, 4, 8, 2, 2) / np.sqrt(2), normal(rng, 70, 16)
    need = compile_butterfly(twiddle[:1], array(1), scaling="block").parts[0].setup
    words = max(address for _, address, _ in need) + 1
    assert words == 4 * 8  # sum over passes of 2^(n - active)
    y = {}
    for room, parts in ((words, 3), (2 * words, 2), (3 * words, 1)):
        config = array(1, half_words=64, coefficient_words=room)
        kernel = compile_butterfly(twiddle, config, scaling="block", input_limit=6)
        assert len(kernel.parts) == parts
        assert sum(job.blocks for job in kernel.jobs(x)) == 3 * kernel.n_blocks(70) == 3 * 9
        y[parts] = kernel.run_model(x)
    assert np.array_equal(y[1], y[2]) and np.array_equal(y[1], y[3]), "seed 22"


def test_fft_coefficients_are_masked_by_the_digit():
    """About N words for one layer and 4N/3 for two, whatever the row pairs (docs/design.md section 4)."""
    for layers, log_n, expected in ((1, 8, 255), (2, 8, 4 * 85), (3, 6, 12 * 9)):
        kernel = compile_fft(1 << log_n, array(layers))
        assert len(kernel.parts[0].setup) == expected
        assert [p.coef_mask_bits for p in kernel.parts[0].stacks[0].passes] == list(range(0, log_n, layers))


def test_passes_need_no_reordering_and_merge():
    assert [s.descending for s in assign_columns([0, 1, 2, 3, 4, 3, 2, 1, 0], 2)] == [False] * 3 + [True] * 2
    assert [(s.digit, s.active) for s in assign_columns([4, 3, 2, 1, 0], 3)] == [(1, 0b110), (0, 0b111)]
    assert len(assign_columns([0, 1, 2, 3, 2, 1, 0], 2)) == 4  # 2n-1 layers: the middle pass falls and rises


def test_gaps_and_block_float_fields():
    config = array(2, half_words=64)
    kernel = compile_fft(64, config, scaling="block")
    first, second, third = kernel.parts[0].stacks[0].passes
    assert first.first and not first.last and third.last and first.gap == 0
    assert second.gap == max(config.pass_gap(0, 1, 16), config.block_float_gap)
    # 1, -1, j, -j never increase a component by more than 2; other twiddles may by 1 + sqrt(2).
    assert (first.growth, second.growth, third.growth) == ((1, 2), (2, 3), (2, 3))
    butterfly = compile_butterfly(np.ones((1, 1, 5, 16, 2, 2)), config, scaling="block",
                                  increasing_stride=False)
    assert [p.growth for p in butterfly.parts[0].stacks[0].passes] == [(1, 1), (1, 2), (1, 2)]


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
@pytest.mark.parametrize("token_bits, hidden_bits, inverse",
                         [(0, 8, False), (0, 7, True), (3, 5, False), (5, 3, True)])
def test_growth_of_the_fft_is_the_least_that_suffices(layers, token_bits, hidden_bits, inverse):
    """Columns 0..q make of components within 1 at most the sum of |re| + |im| over a row of their matrix."""
    bits = token_bits + hidden_bits
    size, config = 1 << bits, array(layers, half_words=1 << 8)
    stages = fft_layers(size, 0, hidden_bits, inverse) + fft_layers(size, hidden_bits, token_bits, inverse)
    slots = assign_columns([stage.bit for stage in stages], layers)
    passes = build_passes(stages, slots, config, shifts=None, block_bits=8, base=0)
    for step, slot in zip(passes, slots, strict=True):
        matrix = np.eye(size, dtype=complex)  # the columns are applied to its rows: the transpose
        for growth, number in zip(step.growth, slot.columns, strict=True):
            matrix = matrix if number is None else stages[number].apply(matrix)
            most = (np.abs(matrix.real) + np.abs(matrix.imag)).sum(axis=0).max()
            assert growth == np.ceil(np.log2(most) - 1e-9), f"digit {slot.digit}: {step.growth}, sum {most}"


@pytest.mark.parametrize("layers, log_n", [(1, 6), (2, 6), (2, 5), (3, 7)])
def test_load_may_follow_the_store(layers, log_n):
    """With the stated lag no word is loaded before the store has read the one that stands there."""
    kernel = compile_fft(1 << log_n, array(layers))
    load, store = walk_indices(kernel.load.walk), walk_indices(kernel.store.walk)
    stored_at = np.empty(load.size, dtype=np.int64)
    stored_at[store] = np.arange(len(store))[:, None]
    wait = np.max(stored_at[load] - np.arange(len(load))[:, None])
    assert kernel.load.overlap and wait == kernel.load.lag == (1 << min(layers, log_n - layers)) - 1


def test_load_beats_are_consecutive_elements():
    kernel = compile_fft2(8, 16, array(3))
    elements = kernel.load_order[walk_indices(kernel.load.walk) & 127]
    assert np.array_equal(elements, elements[:, :1] + np.arange(8))


def test_natural_order_stores_in_index_order():
    kernel = compile_fft(64, array(2), order="natural")
    assert np.array_equal(walk_indices(kernel.store.walk).reshape(-1), np.arange(1024))
    assert not kernel.load.overlap


@pytest.mark.parametrize("rows, row_bits", [(None, 4), (1, 0), (2, 0), (3, 0), (5, 1), (13, 2), (10_000, 4)])
def test_blocks_are_as_large_as_needed(rows, row_bits):
    kernel = compile_butterfly(np.ones((1, 1, 6, 32, 2, 2)), array(2, 2), scaling="safe", rows=rows)
    assert kernel.row_bits == row_bits and kernel.rows_per_block == 4 << row_bits
    assert kernel.multiplications_per_row == 64 * 6


def test_top_digit_is_whole():
    assert compile_fft(32, array(3), rows=1).row_bits == 1
    assert compile_fft(2, array(4), rows=1).row_bits == 3


@pytest.mark.parametrize("kind", ["random", "ones"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_safe_never_overflows(kind, layers):
    """Rows of full-scale signs chosen to add up in one output: the worst input there is."""
    rng = np.random.default_rng(23)
    twiddle = normal(rng, 1, 1, 6, 32, 2, 2) if kind == "random" else np.ones((1, 1, 6, 32, 2, 2))
    matrix = butterfly_multiply(twiddle, np.eye(64)).T
    run = compile_butterfly(twiddle, array(layers, width=16), scaling="safe").execute_model(np.sign(matrix))
    assert not run.saturated_blocks and not run.clamped_inputs, "seed 23"
    waves = np.exp(-2j * np.pi * np.outer(np.arange(64), np.arange(64)) / 64)
    corners = np.sign(waves.real) - 1j * np.sign(waves.imag)
    run = compile_fft(64, array(layers, width=16), scaling="safe").execute_model(corners)
    assert not run.saturated_blocks and not run.clamped_inputs


def test_safe_shifts_only_where_needed():
    """Coefficients below one grow less than a bit per layer; all ones need every shift."""
    rng = np.random.default_rng(24)
    full = unit_pivot(block_layers(np.ones((1, 8, 128, 2, 2)), True)).layers
    mild = unit_pivot(block_layers(np.eye(2) + 0.1 * rng.uniform(-1, 1, (1, 8, 128, 2, 2)), True)).layers
    assert safe_shifts(full, 16, 16) == [1] * 8
    assert sum(safe_shifts(mild, 16, 16)) <= 2, "seed 24"
    assert safe_shifts(fft_layers(64, 0, 6), 16, 16) == [1, 1, 2, 1, 1, 1]


def test_noise_gains_are_those_of_the_matrices():
    rng = np.random.default_rng(27)
    pivot = unit_pivot(block_layers(normal(rng, 1, 4, 8, 2, 2), False))
    for layers, scale in ((pivot.layers, pivot.scale), (fft_layers(16, 0, 4), np.full(16, 0.5))):
        expected = []
        for first in range(len(layers) + 1):
            x = np.eye(16, dtype=complex if layers is not pivot.layers else float)
            for layer in layers[first:]:
                x = layer.apply(x)
            expected.append(np.sum(np.abs(x * scale) ** 2))
        assert np.allclose(noise_gains(layers, scale), expected, rtol=1e-12), "seed 27"


def test_best_limit_saves_a_shift():
    """Peaks just above powers of two: 6 % more range saves a bit in every layer."""
    config, gains = array(1), np.ones(5)
    limit = best_limit(1.0, [([1.05, 2.1, 4.2, 8.4], gains)], 1.0, config)
    assert 1.05 <= limit < 1.1
    assert static_shifts([1.05, 2.1, 4.2, 8.4], limit, 1.0, 3) == [0, 1, 1, 1]
    assert static_shifts([1.05, 2.1, 4.2, 8.4], 1.0, 1.0, 3) == [1, 1, 1, 1]


def test_static_saturation_is_not_silent():
    """Shifts calibrated on noise, fed with a constant: the flag and the warning rise."""
    rng = np.random.default_rng(25)
    kernel = compile_fft(64, array(), scaling="static", calibration=complex_uniform(rng, 64, 64))
    with pytest.warns(SaturationWarning, match="^clamped in array: 1 of 1 blocks$"):
        kernel.run_model(np.full((1, 64), 0.9 + 0.9j))
    with pytest.warns(SaturationWarning, match="^clamped in inputs: 128 elements"):
        compile_fft(64, array(), input_limit=0.5).run_model(np.full((1, 64), 0.9 + 0.9j))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile_fft(64, array(), scaling="block").run_model(np.full((1, 64), 0.9 + 0.9j))


def test_accuracy_goals():
    """Noise at N = 1024, other rows than calibrated on (the whole table: gen/explore/accuracy.py)."""
    for width, butterfly, fourier in ((18, 78.2, 81.4), (16, 67.5, 69.8)):
        config = array(1, width=width, element_width=width, half_words=4096, coefficient_words=8192)
        table = accuracy_table(config, rows=64, scalings=("static",), signals=("noise",), seed=1)
        for row in table:
            assert row.sqnr_db > (butterfly if row.kernel == "bpmm" else fourier), row


def test_block_float_holds_unseen_signals():
    for layers in (1, 2, 3):
        config = array(layers, element_width=18, half_words=4096, coefficient_words=8192)
        for row in accuracy_table(config, rows=32, scalings=("block",), seed=2):
            assert row.sqnr_db > 59.3 and not row.saturated_blocks, row


def test_a_wrong_coefficient_is_seen():
    """The accuracy checks above notice one pivot bit on the wrong side."""
    rng = np.random.default_rng(26)
    twiddle = normal(rng, 1, 1, 5, 16, 2, 2)
    kernel = compile_butterfly(twiddle, array(), scaling="block", input_limit=5)
    bank, address, data = kernel.parts[0].setup[7]
    kernel.parts[0].setup[7] = (bank, address, data ^ 1 << 2 * 17)
    with pytest.raises(AssertionError, match="dB"):
        check(kernel, normal(rng, 8, 32), lambda x: butterfly_multiply(twiddle, x), 40, "seed 26")


@pytest.mark.parametrize("layers, engines, stream", ARRAYS)
@pytest.mark.parametrize("in_size, out_size, least_size", [(2, 12, 8), (4, 40, 16), (3, 5, 4), (4, 6, 64), (16, 40, 8)])
def test_small_stacks_in_fewer_larger_ones(layers, engines, stream, in_size, out_size, least_size):
    seed = [in_size, out_size, least_size]
    rng, log_n = np.random.default_rng(seed), (in_size - 1).bit_length()
    twiddle = normal(rng, -(-out_size >> log_n), 2, log_n, 1 << log_n - 1, 2, 2) / np.sqrt(2)
    x = normal(rng, 20, in_size)
    kernel = compile_butterfly(twiddle, array(layers, engines, stream), calibration=x, in_size=in_size,
                               out_size=out_size, least_size=least_size)
    assert kernel.size == max(1 << log_n, least_size) and len(kernel.stacks) == -(-out_size // kernel.size)
    check(kernel, x, lambda x: butterfly_multiply(twiddle, x, True, out_size), 80.6, f"seed {seed}")


def lopsided(n_stacks, log_n, loud=1.0):
    """Stacks that copy their lower half, and in the upper half add everything up in every layer."""
    twiddle = np.zeros((n_stacks, 1, log_n, 1 << log_n >> 1, 2, 2))
    twiddle[...] = np.eye(2)
    twiddle[:, :, :-1, 1 << log_n - 2:] = loud
    twiddle[:, :, -1, :, 1] = loud
    return twiddle


@pytest.mark.parametrize("n_stacks", [1, 3])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("scaling", ["static", "safe"])
def test_outputs_that_nobody_reads_widen_no_shift(n_stacks, layers, scaling):
    """Those behind ``out_size`` are in the last stack; nor does what leads only to them count, in any layer."""
    rng, out_size = np.random.default_rng(28), 32 * n_stacks - 16
    x = rng.uniform(-1, 1, (40, 32))

    def compiled(loud, out_size):
        return compile_butterfly(lopsided(n_stacks, 5, loud), array(layers), calibration=x, scaling=scaling,
                                 input_limit=1.0, headroom=1, out_size=out_size)

    loud, quiet, whole = compiled(1.0, out_size), compiled(0.0, out_size), compiled(1.0, 32 * n_stacks)
    *others, last = (stack.shift for stack in loud.stacks)
    assert last == quiet.stacks[-1].shift < whole.stacks[-1].shift, "seed 28"
    assert others == [stack.shift for stack in whole.stacks[:-1]]
    assert [step.shifts for step in loud.stacks[-1].passes] == [step.shifts for step in quiet.stacks[-1].passes]
    assert scaling == "safe" or last == 0, "copies need no shift"
    run = loud.execute_model(x)
    assert not run.saturated_blocks and np.allclose(run.y[:, -16:], x[:, :16], atol=2.0 ** last * loud.input_step)


def test_copies_that_nobody_reads_widen_no_shift():
    """Where a sum of ones is read with a small coefficient, its element keeps a copy in the next layer."""
    twiddle = np.array([[[1, 1], [1, 1]], [[1, 0.2], [0.2, 1]], [[0.1, 1], [9, 9]], [[0.1, 1], [9, 9]]])
    kernel = compile_butterfly(twiddle.reshape(1, 1, 2, 2, 2, 2), array(1), scaling="safe", out_size=2)
    assert [step.shifts for step in kernel.stacks[0].passes] == [(1,), (0,)]


def test_outputs_that_nobody_reads_have_no_noise():
    """Nor do they count in the choice of the input range."""
    rng, limits = np.random.default_rng(29), []
    x = rng.uniform(-1, 1, (40, 32))
    for loud in (1.0, 0.0):
        kernel = compile_butterfly(lopsided(1, 5, loud), array(), calibration=x, headroom=1.06, out_size=16)
        limits.append(kernel.input_step)
    assert limits[0] == limits[1], "seed 29"


def test_partial_sums_that_nobody_reads_widen_no_shift():
    """Values whose sum is small, while every other half of them is not."""
    x = np.tile([1000.0, -1000.0], (1, 32))
    kernel = compile_sum(64, array(), calibration=x, input_limit=1000.0, headroom=1)
    assert kernel.stacks[0].shift == 0 and not kernel.execute_model(x).saturated_blocks


@pytest.mark.parametrize("layers, engines, stream", ARRAYS)
@pytest.mark.parametrize("elements, least_size, size", [(1, 2, 2), (8, 8, 8), (5, 8, 8), (24, 8, 32), (3, 16, 16)])
def test_copies_are_exact(layers, engines, stream, elements, least_size, size):
    rng, bound = np.random.default_rng(elements), 2 ** 15
    x = rng.integers(-bound + 1, bound, (9, elements))
    x[0], x[1] = bound - 1, 1 - bound
    kernel = compile_copy(elements, array(layers, engines, stream), least_size=least_size, rows=9)
    run = kernel.execute_model(x.astype(float))
    assert kernel.size == size and kernel.n_layers == 1
    assert np.array_equal(run.y, x) and not run.saturated_blocks, f"seed {elements}"


@pytest.mark.parametrize("layers, engines, stream", ARRAYS)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 24, 64])
def test_sums(layers, engines, stream, count):
    """One result a row, within a rounding for each shift; full scale of one sign does not clamp."""
    rng, bound = np.random.default_rng(count), 2.0 ** 15 - 1
    x = np.rint(rng.uniform(-bound, bound, (12, count)))
    x[0], x[1] = bound, -bound
    kernel = compile_sum(count, array(layers, engines, stream), calibration=x, input_limit=bound, rows=12)
    run = kernel.execute_model(x)
    [stack] = kernel.stacks
    assert run.y.shape == (12, 1) and not run.saturated_blocks
    assert np.abs(run.y[:, 0] - x.sum(axis=1)).max() <= 2.0 ** stack.shift, f"seed {count}"


ONES = np.ones((1, 1, 4, 8, 2, 2))
ROWS = np.ones((3, 16))
REFUSED = {
    "half_words: 1024 is too small for 2048 points and layers = 2; allowed are 4096 and more":
        lambda: compile_fft(2048, array()),
    "half_words: 8 is too small for 4 points and layers = 4":
        lambda: compile_fft(4, CoreConfig.of(layers=2, half_words=8, stream_words=1).model_copy(
            update={"array": ArraySection(layers=4, half_words=8, stream_words=1)})),
    "coefficient_words: 16 is too small for 4 layers of 16 points; allowed are 32 and more":
        lambda: compile_butterfly(ONES, array(1, coefficient_words=16), scaling="safe"),
    "coefficient_words: 64 is too small for 8 layers of 256 points; allowed are 85 and more":
        lambda: compile_fft(256, array(2, coefficient_words=64)),
    "program_words: 32 is too small for a program of 42 words; allowed are 64 and more":
        lambda: compile_fft(16, array(1, program_words=32)),
    "points: 12; allowed are powers of two": lambda: compile_fft(12, array()),
    "points: 1;": lambda: compile_fft(1, array()),
    "points: 8.0;": lambda: compile_fft(8.0, array()),
    "tokens: 0;": lambda: compile_fft2(0, 8, array()),
    "hidden: -8;": lambda: compile_fft2(8, -8, array()),
    "calibration: missing": lambda: compile_fft(8, array(), scaling="static"),
    "calibration: all values are 0": lambda: compile_butterfly(ONES, array(), calibration=0 * ROWS),
    "calibration: shape (3, 16); allowed is (rows, 8)": lambda: compile_fft(8, array(), calibration=ROWS),
    "calibration: shape (16,)": lambda: compile_butterfly(ONES, array(), calibration=ROWS[0]),
    "calibration: shape (0, 16)": lambda: compile_butterfly(ONES, array(), calibration=ROWS[:0]),
    "calibration: dtype complex128": lambda: compile_butterfly(ONES, array(), calibration=ROWS * 1j),
    "calibration: dtype float64 or its values":
        lambda: compile_butterfly(ONES, array(), calibration=ROWS * np.nan),
    "calibration: dtype object": lambda: compile_fft(2, array(), calibration=[[None, 1]]),
    "scaling: 'bfp'; allowed are static, safe, block": lambda: compile_fft(8, array(), scaling="bfp"),
    "order: 'random'": lambda: compile_fft(8, array(), order="random"),
    "headroom: 0.5": lambda: compile_fft(8, array(), headroom=0.5),
    "headroom: nan": lambda: compile_fft(8, array(), headroom=float("nan")),
    "input_limit: 0": lambda: compile_fft(8, array(), input_limit=0),
    "input_limit: inf": lambda: compile_fft(8, array(), input_limit=float("inf")),
    "input_limit: 0.001 needs a shift":
        lambda: compile_butterfly(ONES, array(), calibration=ROWS, input_limit=0.001),
    "rows: 0": lambda: compile_fft(8, array(), rows=0),
    "least_size: 12; allowed are powers of two":
        lambda: compile_butterfly(ONES, array(), scaling="safe", least_size=12),
    "least_size: 0;": lambda: compile_butterfly(ONES, array(), scaling="safe", least_size=0),
    "least_size: 12;": lambda: compile_copy(8, array(), least_size=12),
    "half_words: 64 is too small for 128 points": lambda: compile_copy(100, array(half_words=64)),
    "half_words: 64 is too small for 256 points":
        lambda: compile_sum(200, array(half_words=64), calibration=np.ones((1, 200)), input_limit=1.0),
    "twiddle: dtype complex128 is complex": lambda: compile_butterfly(ONES * 1j, array(), scaling="safe"),
    "name: 'q' is not in": None,
    "x: shape (16,)": lambda: compile_butterfly(ONES, array(), scaling="safe").run_model(ROWS[0]),
    "x: shape (3, 16); allowed is (rows, 8)": lambda: compile_fft(8, array()).run_model(ROWS),
    "x: holds NaN": lambda: compile_fft(16, array()).run_model(ROWS * np.inf),
    "x: dtype complex128": lambda: compile_butterfly(ONES, array(), scaling="safe").run_model(ROWS * 1j),
    "results: 0 blocks; allowed are 1": lambda: compile_fft(16, array()).unpack([], 1),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals_are_one_line(message, tmp_path):
    action = REFUSED[message]
    if action is None:
        save_file({"k.twiddle": ONES}, tmp_path / "m.safetensors")
        action = lambda: compile_butterfly(tmp_path / "m.safetensors", array(), name="q")
    with pytest.raises(WingbeatError) as caught:
        action()
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)
    assert "allowed" in str(caught.value)
