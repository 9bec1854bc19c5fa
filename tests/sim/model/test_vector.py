"""The vector unit's model: against Python's integers, against real arithmetic, and what it refuses."""

import re

import numpy as np
import pytest

from wingbeat.hw.isa.parameter_set import WIDE_BITS
from wingbeat.hw.isa.vector_tables import GeluTable, epsilon_parameter, scale_parameters
from wingbeat.hw.numeric import largest, smallest
from wingbeat.sim.model.vector import (GELU_ERRORS, MANTISSA_ERROR, RowStatistics, add_residual, clamped_element, gelu,
                                       normalise, relu, rescale, row_statistics)
from wingbeat.sim.reference.functions import erf_complement, silu_complement, tanh_complement
from wingbeat.sim.reference.metrics import sqnr_db

pytestmark = pytest.mark.thin(4)

WIDTHS = [8, 9, 10, 12, 16, 18]
COMPLEMENTS = [erf_complement, tanh_complement, silu_complement]


def half_up(t, r):
    """floor(t / 2^r + 1/2) of Python's integers."""
    return (2 * t + 2**r) // 2**(r + 1)


def clamp(t, width):
    clamped = min(max(t, -2**(width - 1)), 2**(width - 1) - 1)
    return clamped, clamped != t


def elements(rng, width, shape):
    """Random elements, a quarter of them corners."""
    values = rng.integers(smallest(width), largest(width), shape, endpoint=True)
    corners = rng.choice([smallest(width), smallest(width) + 1, -1, 0, 1, largest(width)], shape)
    return np.where(rng.random(shape) < 0.25, corners, values)


def assert_equal(result, oracle, note):
    """``result``: values and flags; ``oracle``: pairs of them."""
    values, clamped = result
    assert values.dtype == np.int64 and clamped.dtype == bool
    got = list(zip(values.ravel().tolist(), clamped.ravel().tolist()))
    wrong = [index for index, pair in enumerate(oracle) if pair != got[index]]
    assert len(got) == len(oracle) and not wrong, f"{note}: {got[wrong[0]]} at {wrong[0]}, oracle {oracle[wrong[0]]}"


# ---- Rescale

@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_rescale_is_exact(width, wide):
    seed, fraction = 100 + width, 18 - width
    rng = np.random.default_rng(seed)
    for shift in range(fraction, fraction + 19):
        x, scale, bias = elements(rng, width, 300), elements(rng, 18, 300), elements(rng, 18, 300)
        scale[100:] >>= rng.integers(0, 18)  # or nearly all would clamp at small shifts
        bias[100:] >>= rng.integers(0, 18)
        oracle = [clamp(half_up(a * b + c * 2**(shift - fraction + 3 * wide), shift), width + 3)
                  for a, b, c in zip(x.tolist(), scale.tolist(), bias.tolist())]
        assert_equal(rescale(x, scale, bias, shift, width, wide=wide), oracle, f"seed {seed} shift {shift}")


def test_rescale_broadcasts_channels():
    x = np.arange(-8, 8).reshape(4, 4)
    y, clamped = rescale(x, [1, 2, 4, 0], [0, 0, 0, 4], 2, 16)
    assert y.tolist() == [[half_up(a, 2), half_up(2 * b, 2), c, 1] for a, b, c, _ in x.tolist()]
    assert not clamped.any()


def test_rescale_rounds_half_up():
    y, _ = rescale([-3, -2, -1, 0, 1, 2, 3], 1 << 1, 0, 2, 16)
    assert y.tolist() == [-1, -1, 0, 0, 1, 1, 2]


def test_rescale_flags_exactly_what_it_clamps():
    biases = [0, 1 << 10, 0, -(1 << 10)]
    y, clamped = rescale([127, 127, -128, -128], 1 << 10, biases, 10, 8)
    assert y.tolist() == [127, 128, -128, -129] and not clamped.any(), "WIDE_BITS more than an element"
    y, clamped = clamped_element(y, 8)
    assert y.tolist() == [127, 127, -128, -128] and clamped.tolist() == [False, True, False, True]
    y, clamped = rescale([127, 127, -128, -128], 8 << 10, biases, 10, 8)
    assert y.tolist() == [1016, 1017, -1024, -1024] and clamped.tolist() == [False, False, False, True]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("magnitude", [1e-9, 1e-3, 0.7, 60.0])
def test_scale_parameters_give_the_real_product(width, magnitude):
    seed = 7 + width
    rng = np.random.default_rng(seed)
    factors = rng.uniform(-magnitude, magnitude, 64)
    biases = rng.uniform(-0.4, 0.4, 64) * 2**(width - 1)
    scale, bias, shift = scale_parameters(factors, biases, width)
    assert scale.dtype == bias.dtype == np.int64 and 0 <= shift - (18 - width) <= 18
    assert np.abs(scale).max() >= 1 << 16 or shift == 36 - width, f"seed {seed}: mantissas waste bits"
    x = elements(rng, width, (200, 64))
    y, clamped = rescale(x, scale, bias, shift, width)
    y, outside = clamped_element(y, width)
    error = np.abs(y - (x * factors + biases))[~(clamped | outside)]
    # One rounding, half a unit of B and half a unit of M times the element.
    allowed = 0.5 + 2.0**(width - 19) + 2.0**(width - 1) * 2.0**(-shift - 1)
    assert error.max() <= allowed, f"seed {seed}: {error.max()}"


def test_scale_parameters_take_the_largest_shift():
    scale, bias, shift = scale_parameters([0.5, -1.0, 0.25], [0.0, 1.0, -0.25], 16)
    assert (scale.tolist(), bias.tolist(), shift) == ([1 << 16, -(1 << 17), 1 << 15], [0, 4, -1], 17)
    assert scale_parameters(1.0, 0.0, 16)[2] == 16, "2^17 does not fit 18 bits"
    assert scale_parameters([0.0], [0.0], 16)[2] == 20


@pytest.mark.parametrize("factors, biases, message", [
    ([1.0, 32768.0], 0.0, "factors: 32768 is too large, |factor| must be below 32768"),
    ([1.0, -40000.0], 0.0, "factors: -40000 is too large, |factor| must be below 32768"),
    ([1.0, np.nan], 0.0, "factors: nan is not finite"),
    ([1.0], -np.inf, "biases: -inf is not finite"),
    ([1.0], 32768.0, "biases: 32768 is too large, |bias| must be below 32768"),
])
def test_scale_parameters_refuse(factors, biases, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        scale_parameters(factors, biases, 16)


# ---- Activation

def test_relu():
    assert relu([-3, 0, 3]).tolist() == [0, 0, 3]


@pytest.mark.parametrize("fall", range(8))
@pytest.mark.parametrize("width", WIDTHS)
def test_gelu_is_exact(width, fall):
    """With a table of a GELU and with a random one, decoded from its words."""
    seed = 10 * width + fall
    rng = np.random.default_rng(seed)
    noise = GeluTable(rng.integers(0, 1 << 18, 512), rng.integers(-512, 512, 512))
    for table in (GeluTable.of(width, erf_complement), noise):
        y = np.concatenate([elements(rng, width, 3000), elements(rng, width + WIDE_BITS, 1000)])
        assert_equal(gelu(y, table, fall, width), gelu_oracle(y.tolist(), table.words(), fall, width), f"seed {seed}")


def gelu_oracle(y, words, fall, width):
    step, result = 2**max(width - 10, 0), []
    for value in y:
        if abs(value) >= 2**(width - 1):
            result.append(clamp(half_up(max(value, 0) * 16, fall), width))
            continue
        i, f = divmod(abs(value), step)
        i *= {8: 4, 9: 2}.get(width, 1)
        base, slope = words[i] % 2**18, words[i] >> 18
        assert words[i] < 2**28
        slope -= 1024 * (slope >= 512)
        d = base - half_up(slope * f, 6)
        result.append(clamp(half_up(max(value, 0) * 16 - d, fall), width))
    return result


@pytest.mark.parametrize("width", GELU_ERRORS)
def test_gelu_error_over_all_elements(width):
    """All elements inside the table, of three functions, 1.5e6 at 18 bits; the constant is what is measured, not just a
    bound."""
    y = np.arange(-largest(width), largest(width) + 1)
    x = y / 2.0**(width - 4)
    worst = np.zeros(5)
    for complement in COMPLEMENTS:
        table = GeluTable.of(width, complement)
        wanted = np.where(x < 0, x * complement(np.abs(x)), x - x * complement(np.abs(x)))
        for gain in range(5):
            z, clamped = gelu(y, table, 4 - gain, width)
            exact = wanted * 2.0**(width - 4 + gain)
            worst[gain] = max(worst[gain], np.abs(z - exact)[~clamped].max())
            assert np.array_equal(clamped & (y > 0), clamped), "only large positive elements can clamp"
            assert (np.rint(exact[clamped]) >= largest(width)).all(), "clamped although it fits"
            assert z[y == 0] == 0, "0 stays 0"
    assert (worst <= GELU_ERRORS[width]).all() and (worst > np.array(GELU_ERRORS[width]) - 0.011).all(), worst


@pytest.mark.parametrize("width", [8, 12, 16, 18])
def test_gelu_outside_its_table_is_exact(width):
    """10 stays 10, -10 becomes 0; the nearest beyond the ends too; what has no room is clamped."""
    one = 1 << width - 4
    table = GeluTable.of(width, erf_complement)
    y = np.array([10 * one, -10 * one, 8 * one, -8 * one, 64 * one - 1, -64 * one])
    z, clamped = gelu(y, table, 7, width)
    assert z.tolist() == [10 * one // 8, 0, one, 0, 8 * one - 1, 0] and clamped.tolist() == [False] * 4 + [True, False]
    z, clamped = gelu(y, table, 5, width)
    assert z.tolist() == [5 * one, 0, 4 * one, 0, 8 * one - 1, 0] and clamped.tolist() == [False] * 4 + [True, False]


@pytest.mark.parametrize("width", [8, 12, 16, 18])
def test_gelu_error_of_wide_results(width):
    """Half of a last place of the result, and what the table is off, which counts less the coarser the result is."""
    y = np.arange(smallest(width + WIDE_BITS), largest(width + WIDE_BITS) + 1, 7 if width > 12 else 1)
    x = y / 2.0**(width - 4)
    wanted = np.where(x < 0, x * erf_complement(np.abs(x)), x - x * erf_complement(np.abs(x)))
    for fall in (5, 6, 7):
        z, clamped = gelu(y, GeluTable.of(width, erf_complement), fall, width)
        error = np.abs(z - wanted * 2.0**(width - fall))[~clamped].max()
        assert error <= 0.5 + (GELU_ERRORS[width][0] - 0.5) / 2 ** (fall - 4) + 0.01, (fall, error)


def test_complements_are_the_functions():
    """Values from tables of the normal distribution, and both GELUs are close."""
    assert np.allclose(erf_complement(np.array([0.0, 1.0, 2.0])), [0.5, 0.158655253931, 0.022750131948], atol=1e-12)
    assert np.allclose(silu_complement(np.array([0.0, np.log(3)])), [0.5, 0.25])
    u = np.linspace(0, 8, 1000)
    assert 1e-4 < np.abs(u * (erf_complement(u) - tanh_complement(u))).max() < 5e-4


@pytest.mark.parametrize("build, message", [
    (lambda: GeluTable.of(7, erf_complement), "width: 7 bits, allowed are 8..18"),
    (lambda: gelu([0], GeluTable.of(10, erf_complement), 4, 19), "width: 19 bits, allowed are 8..18"),
    (lambda: gelu([0], GeluTable.of(10, erf_complement), 8, 10), "fall: 8, allowed are 0..7"),
    (lambda: GeluTable(np.zeros(511, int), np.zeros(512, int)), "base: shape (511,), needed is (512,)"),
    (lambda: GeluTable(np.full(512, -1), np.zeros(512, int)), "base: -1, allowed are 0..262143"),
    (lambda: GeluTable(np.zeros(512, int), np.full(512, 512)), "slope: 512, allowed are -512..511"),
    (lambda: rescale(0, 0, 0, 1, 16), "shift: 1, allowed at 16 bits are 2..20"),
    (lambda: rescale(0, 0, 0, 21, 16), "shift: 21, allowed at 16 bits are 2..20"),
    (lambda: rescale(0, 0, 0, 12, 7), "width: 7 bits, allowed are 8..18"),
    (lambda: scale_parameters(1.0, 0.0, 19), "width: 19 bits, allowed are 8..18"),
    (lambda: add_residual(0, 0, 0, 8, 0, 16), "b: 8, allowed are 0..7"),
    (lambda: add_residual(0, 0, 0, 0, -1, 16), "c: -1, allowed are 0..7"),
    (lambda: row_statistics([[1]], 0, 16), f"epsilon: 0, allowed are 1..{1 << 30}"),
    (lambda: row_statistics([[1, 2]], 1 + (1 << 32), 16), f"epsilon: {1 + (1 << 32)}, allowed are 1..{1 << 32}"),
    (lambda: row_statistics(np.zeros((1, 65536), int), 1 << 62, 18),
     f"epsilon: {1 << 62}, allowed are 1..{(1 << 62) - 1}"),
    (lambda: row_statistics(np.zeros((1, 65537), int), 1, 16), "n: 65537 elements of a row, allowed are 1..65536"),
    (lambda: row_statistics(np.zeros((1, 0), int), 1, 16), "n: 0 elements of a row, allowed are 1..65536"),
    (lambda: epsilon_parameter(1.0, 1 << 16, 16), "epsilon: 1 makes E = 1.84467e+19, which has more than 62 bits"),
    (lambda: epsilon_parameter(-1e-5, 8, 15), "epsilon: -1e-05, allowed are finite numbers from 0 on"),
    (lambda: epsilon_parameter(float("nan"), 8, 15), "epsilon: nan, allowed are finite numbers from 0 on"),
])
def test_refused(build, message):
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        build()


# ---- Residual

@pytest.mark.parametrize("width", WIDTHS)
def test_residual_is_exact(width):
    rng = np.random.default_rng(width)
    for a, b, c in rng.integers(0, 8, (60, 3)).tolist() + [[0, 0, 0], [7, 7, 0], [7, 7, 7], [0, 0, 7]]:
        v, r = elements(rng, width, 200), elements(rng, width, 200)
        oracle = [clamp(half_up(x * 2**a + y * 2**b, c), width) for x, y in zip(v.tolist(), r.tolist())]
        assert_equal(add_residual(v, r, a, b, c, width), oracle, f"seed {width} a {a} b {b} c {c}")


def test_residual_rounds_half_up_and_flags():
    out, clamped = add_residual([-3, -1, 1, 3, 127, -128], [0, 0, 0, 0, 127, -128], 0, 0, 1, 8)
    assert out.tolist() == [-1, 0, 1, 2, 127, -128] and not clamped.any()
    out, clamped = add_residual([127, -128, -128, 126], [1, -1, 0, 1], 0, 0, 0, 8)
    assert out.tolist() == [127, -128, -128, 127] and clamped.tolist() == [True, True, False, False]


# ---- LayerNorm

def statistics_oracle(row, epsilon, width, range_bits=0):
    """M, m and p from integers alone; m by bisection of its square."""
    n, s1 = len(row), sum(row)
    d = n * sum(x * x for x in row) - s1**2 + epsilon
    log2_n, k = len(bin(n)) - 3, (len(bin(d)) - 3) // 2
    a, w = n**2 * 2**18 // 4**log2_n, d * 2**18 // 4**k
    j = 1 if a < w else 0
    quotient, m = a * 4**(16 + j) // w, 0
    for bit in range(20, -1, -1):
        m += (m + 2**bit)**2 <= quotient and 2**bit
    assert 2**16 <= m < 2**17
    mean = (32 * s1 + n) // (2 * n)
    p = width + log2_n - k - j - range_bits
    return mean, m, min(max(p, 0), 31), p < 0


def normalise_oracle(x, mean, m, p, width):
    u_width = min(18, width + 2)
    u, lost = clamp(half_up((16 * x - mean) * 2**p, 8 + width - u_width), u_width)
    y, clamped = clamp(half_up(u * m, 16 + u_width - width), width)
    return y, clamped or lost


def corner_rows(width, n):
    low, high = smallest(width), largest(width)
    one_hot = [high] + [0] * (n - 1)
    return [[low] * n, [high] * n, [0] * n, one_hot, [-1] + [0] * (n - 1), ([low, high] * n)[:n],
            [high] * (n // 2) + [low] * (n - n // 2), [high] * (n - 1) + [high - 1], [low] * (n - 1) + [high]]


def check_rows(rows, epsilon, width, note, range_bits=0):
    rows = np.array(rows, dtype=np.int64)
    n = rows.shape[1]
    got, too_wide = row_statistics(rows, epsilon, width, range_bits)
    assert all(field.dtype == np.int64 and field.shape == (len(rows),) for field in got)
    oracles = [statistics_oracle(row, epsilon, width, range_bits) for row in rows.tolist()]
    wanted = [tuple(statistics) for *statistics, _ in oracles]
    assert list(zip(*(field.tolist() for field in got))) == wanted, note
    assert too_wide.tolist() == [flag for *_, flag in oracles], note
    oracle = [normalise_oracle(x, *statistics, width) for row, statistics in zip(rows.tolist(), wanted) for x in row]
    assert_equal(normalise(rows, got, n, width), oracle, note)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 64, 96, 100, 1024])
@pytest.mark.parametrize("width", WIDTHS)
def test_layernorm_is_exact(width, n):
    seed = 1000 * width + n
    rng = np.random.default_rng(seed)
    rows = elements(rng, width, (20, n)) >> rng.integers(0, width - 1, (20, 1))
    most = min(n * n * 4**(width - 1), 2**62 - 1)
    for epsilon in (1, n * n, most // 3, most):
        for range_bits in (0, 1, 5):
            check_rows(np.vstack([rows, corner_rows(width, n)]), epsilon, width,
                       f"seed {seed} epsilon {epsilon} range {range_bits}", range_bits)


@pytest.mark.parametrize("n", [65535, 65536])
def test_longest_rows_leave_no_64_bits(n):
    """N*S2 and S1^2 reach 2^66 here."""
    check_rows([corner_rows(18, n)[row] for row in (0, 5, 6)], 1, 18, f"N {n}")


def test_statistics_broadcast_over_leading_axes():
    rows = np.random.default_rng(3).integers(-999, 999, (6, 32))
    statistics, _ = row_statistics(rows, 1, 16)
    cube = RowStatistics(*(field.reshape(2, 3) for field in statistics))
    assert np.array_equal(normalise(rows.reshape(2, 3, 32), cube, 32, 16)[0].reshape(6, 32),
                          normalise(rows, statistics, 32, 16)[0])


def test_error_of_the_mantissa():
    """Rows of zeros, where D = E is free: most make m just less than 2^16 + 1, and the lengths cut A off."""
    seed = 5
    rng = np.random.default_rng(seed)
    ns, distances = rng.integers(1025, 2048, 30_000), rng.uniform(2e-5, 4e-5, 30_000)
    distances[:9_000] = rng.uniform(0, 1, 9_000)
    epsilons = np.rint(4.0 ** rng.integers(0, 18, 30_000) * ns**2 * (1 - distances)).astype(np.int64)
    inverses = [row_statistics(np.zeros((1, n), dtype=np.int64), e, 18)[0][1:] for n, e in zip(ns, epsilons.tolist())]
    m, p = np.array(inverses)[..., 0].T
    error = np.abs(m * np.exp2(p - 34) * np.sqrt(epsilons) / ns - 1)
    assert 0.9 * MANTISSA_ERROR < error.max() <= MANTISSA_ERROR, f"seed {seed}: {error.max()}"


def real_rows(kind, rng, width, n, count):
    """Rows as real networks make them, in elements."""
    full = 2.0**(width - 1)
    rows = {
        "normal": lambda: rng.normal(0, full / 8, (count, n)),
        "uniform": lambda: rng.uniform(-full, full, (count, n)),
        "heavy": lambda: rng.standard_t(2, (count, n)) * full / 32,
        "mean": lambda: rng.normal(0, full / 64, (count, n)) + rng.choice([-0.7, 0.7], (count, 1)) * full,
        "small": lambda: rng.normal(0, 3, (count, n)),
        "tiny": lambda: rng.normal(0, 0.5, (count, n)),
    }[kind]()
    return np.clip(np.rint(rows), smallest(width), largest(width)).astype(np.int64)


def layernorm(rows, n, epsilon, width):
    """What y should be, clamped, and sigma."""
    deviation = rows - rows.mean(axis=1, keepdims=True)
    sigma = np.sqrt((deviation**2).mean(axis=1, keepdims=True) + epsilon / n**2)
    return np.clip(deviation / sigma * 2.0**(width - 4), smallest(width), largest(width)), sigma


# SQNR in dB at 16 bits, the worst of N = 64, 768, 1024.
SQNR = {"normal": 82.1, "uniform": 82.1, "heavy": 81.5, "mean": 81.8, "small": 43.4, "tiny": 28.9}


@pytest.mark.parametrize("n", [64, 768, 1024])
@pytest.mark.parametrize("kind", SQNR)
@pytest.mark.parametrize("width", [8, 12, 16, 18])
def test_layernorm_error_bound(width, kind, n):
    """1e5 elements of each kind, and 1e5 rows for the one that networks have most."""
    seed, count = width + n, 100_000 if (width, kind, n) == (16, "normal", 64) else 100_000 // n + 1
    rng = np.random.default_rng(seed)
    rows = real_rows(kind, rng, width, n, count)
    for epsilon in (1, epsilon_parameter(1e-5, n, width - 4)):
        wanted, sigma = layernorm(rows, n, epsilon, width)
        y, clamped = normalise(rows, row_statistics(rows, epsilon, width)[0], n, width)
        error = np.abs(y - wanted)
        bound = 0.5 + 2.0**(width - min(18, width + 2)) + 2.0**(width - 9) / sigma + MANTISSA_ERROR * np.abs(wanted)
        assert (error <= bound).all(), f"seed {seed} epsilon {epsilon}: {(error / bound).max()} of the bound"
        assert (np.abs(wanted) + bound >= largest(width))[clamped].all(), f"seed {seed}: clamped although it fits"
        if epsilon == 1 and width == 16:
            assert SQNR[kind] < sqnr_db(wanted, y), f"seed {seed}: {sqnr_db(wanted, y)} dB"


@pytest.mark.parametrize("width", WIDTHS)
def test_constant_rows_give_zeros(width):
    rows = np.arange(smallest(width), largest(width) + 1, max(1, 1 << width - 8))[:, None].repeat(48, axis=1)
    y, clamped = normalise(rows, row_statistics(rows, 1, width)[0], 48, width)
    assert not y.any() and not clamped.any()


def test_normalise_flags_exactly_what_it_clamps():
    """One element of 1024 that stands out is 32 deviations away; -8..8 fits."""
    rows = np.zeros((1, 1024), dtype=np.int64)
    rows[0, 5] = 20000
    y, clamped = normalise(rows, row_statistics(rows, 1, 16)[0], 1024, 16)
    assert y[0, 5] == 32767 and clamped.sum() == 1 and clamped[0, 5]
    y, clamped = normalise(-rows, row_statistics(-rows, 1, 16)[0], 1024, 16)
    assert y[0, 5] == -32768 and clamped.sum() == 1 and clamped[0, 5]


@pytest.mark.parametrize("features, range_bits", [(256, 1), (1024, 2), (65000, 5)])
def test_a_one_hot_row_has_room_in_a_wider_range(features, range_bits):
    """Its largest result is sqrt(features - 1), as epsilon is nothing here; one range less clamps it."""
    rows = np.zeros((1, features), dtype=np.int64)
    rows[0, 7] = 20000
    for r in (range_bits, range_bits - 1):
        statistics, too_wide = row_statistics(rows, 1, 16, r)
        y, clamped = normalise(rows, statistics, features, 16)
        assert not too_wide.any() and clamped.any() == (r < range_bits)
    y, _ = normalise(rows, row_statistics(rows, 1, 16, range_bits)[0], features, 16)
    assert abs(y[0, 7] * 2.0**(range_bits - 12) / np.sqrt(features - 1) - 1) < 1e-3


def test_rows_too_wide_for_their_range_are_told():
    """A deviation of 2^(EW-r) elements is the largest."""
    signs = np.array([[1, -1] * 8], dtype=np.int64)
    for r in range(2, 6):
        for deviation, wide in (((1 << 16 - r) - 1, False), ((1 << 16 - r) + 1, True)):
            assert row_statistics(signs * deviation, 1, 16, r)[1].tolist() == [wide]


def test_epsilon_parameter():
    assert epsilon_parameter(1e-5, 64, 12) == round(1e-5 * 64**2 * 2**24)
    assert epsilon_parameter(0.0, 64, 12) == 1
