"""The butterfly unit model against the scalar oracle and against real arithmetic."""

from itertools import product

import numpy as np
import pytest

from wingbeat.hw.isa.instruction import Mode
from wingbeat.hw.numeric import GUARD_BITS
from wingbeat.sim.model.butterfly import Coefficients, butterfly, pack_coefficients, unpack_coefficients


def run(mode, a, b, c, shift, width, coefficient_width):
    """Model outputs as (cases, 4) values and flags; a, b (cases, 2), c (cases, 4)."""
    y1, y2, clamped = butterfly(
        mode, a.T, b.T, Coefficients(*c.T), shift, width=width, coefficient_width=coefficient_width
    )
    return np.concatenate([y1, y2]).T, clamped.reshape(4, -1).T


def check(oracle, mode, a, b, c, shift, width, coefficient_width, note=""):
    values, flags = run(mode, a, b, c, shift, width, coefficient_width)
    for case, (aa, bb, cc) in enumerate(zip(a.tolist(), b.tolist(), c.tolist())):
        want = oracle(mode.name, aa, bb, cc, shift, width, coefficient_width)
        got = values[case].tolist(), flags[case].tolist()
        assert got == want, f"{note} {mode.name} A {aa} B {bb} c {cc} shift {shift}: {got}, oracle {want}"


def grid(*axes):
    return np.array(list(product(*axes)), dtype=np.int64)


@pytest.mark.parametrize("shift", [0, 1, 3])
@pytest.mark.parametrize("mode", [Mode.PASS, Mode.BPMM, Mode.SCALE])
def test_rows_exhaustive_at_three_bits(oracle, mode, shift):
    """All values, coefficients and pivots; re meets c0 and im meets c1's mirror so that both rows are
    covered."""
    values, coefficients = range(-4, 4), range(-128, 128)
    cases = grid(values, values, coefficients, (0, 1))
    a, b = np.stack([cases[:, 0], -1 - cases[:, 0]], 1), np.stack([cases[:, 1], cases[:, 1] ^ 3], 1)
    c = np.stack([cases[:, 2], -1 - cases[:, 2], cases[:, 3], 1 - cases[:, 3]], 1)
    check(oracle, mode, a, b, c, shift, 3, 8)


@pytest.mark.parametrize("shift", [0, 2])
def test_fft_exhaustive_at_two_bits(oracle, shift):
    """All B, every c0 of 7 bits with every third c1; A walks through its values beside them."""
    cases = grid(range(-2, 2), range(-2, 2), range(-64, 64), range(-64, 64, 3))
    number = np.arange(len(cases))
    a = np.stack([number % 4 - 2, number // 7 % 4 - 2], 1)
    c = np.concatenate([cases[:, 2:], number[:, None] & [1, 2]], 1)
    check(oracle, Mode.FFT, a, cases[:, :2], c, shift, 2, 7)


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("width, coefficient_width", [(8, 8), (16, 16), (18, 17), (18, 18)])
def test_random_cases(oracle, mode, width, coefficient_width):
    """20,000 cases of each mode over the four formats, a third of the values at full scale."""
    seed = 1000 * width + coefficient_width
    rng = np.random.default_rng(seed)
    full, top = 1 << (width - 1), 1 << (coefficient_width - 1)
    one = 1 << (coefficient_width - 2)
    a, b = (
        np.where(
            rng.random((5000, 2)) < 0.33,
            rng.choice([-full, full - 1], (5000, 2)),
            rng.integers(-full, full, (5000, 2)),
        )
        for _ in range(2)
    )
    c = np.where(
        rng.random((5000, 2)) < 0.33,
        rng.choice([-top, top - 1, one, -one, 0], (5000, 2)),
        rng.integers(-top, top, (5000, 2)),
    )
    c = np.concatenate([c, rng.integers(0, 2, (5000, 2))], 1)
    for part, shift in enumerate((0, 1, 2, 5)):
        at = slice(part * 1250, (part + 1) * 1250)
        check(oracle, mode, a[at], b[at], c[at], shift, width, coefficient_width, f"seed {seed}")


@pytest.mark.parametrize("mode", list(Mode))
def test_values_are_close_to_real_arithmetic(mode):
    """Without a clamp an output is within 1/2 + 2 cuts / 2^shift of the real result."""
    seed, shift = 7, 1
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-8000, 8000, (2, 4000, 2))
    c = np.concatenate([rng.integers(-16384, 16385, (4000, 2)), rng.integers(0, 2, (4000, 2))], 1)
    values, flags = run(mode, a, b, c, shift, 16, 16)
    w0, w1 = c[:, 0] / 2.0**14, c[:, 1] / 2.0**14
    s0, s1 = c[:, 2:3] == 1, c[:, 3:] == 1
    if mode is Mode.PASS:
        y1, y2 = a, b
    elif mode is Mode.BPMM:
        y1 = np.where(s0, b, a) + w0[:, None] * np.where(s0, a, b)
        y2 = np.where(s1, b, a) + w1[:, None] * np.where(s1, a, b)
    elif mode is Mode.FFT:
        t = (b[:, 0] + 1j * b[:, 1]) * (w0 + 1j * w1)
        t = np.stack([t.real, t.imag], 1)
        y1, y2 = a + t, a - t
    else:
        y1, y2 = w0[:, None] * a, w1[:, None] * b
    error = np.abs(values - np.concatenate([y1, y2], 1) / 2**shift).max()
    assert not flags.any(), f"seed {seed}"
    assert error <= 0.5 + 2 / 2 ** (GUARD_BITS + shift), f"seed {seed}: error {error}"


def test_coefficient_words():
    seed = 3
    rng = np.random.default_rng(seed)
    for width in (8, 17, 18):
        fields = Coefficients(
            *rng.integers(-1 << (width - 1), 1 << (width - 1), (2, 100)), *rng.integers(0, 2, (2, 100))
        )
        words = pack_coefficients(fields, width)
        assert words.min() >= 0 and words.max() < 1 << (2 * width + 2), f"seed {seed}"
        for got, want in zip(unpack_coefficients(words, width), fields):
            assert np.array_equal(got, want), f"seed {seed}, width {width}"
    assert pack_coefficients(Coefficients(-1, 2, 1, 0), 8) == 0xFF | 2 << 8 | 1 << 16
    assert pack_coefficients(Coefficients(0, 0, 0, 1), 8) == 1 << 17
    with pytest.raises(ValueError, match="^c1: 128 does not fit 8 bits$"):
        pack_coefficients(Coefficients(0, 128, 0, 0), 8)


def test_needs_coefficients():
    a = np.zeros((2, 1), dtype=np.int64)
    with pytest.raises(ValueError, match="^coefficients: None in mode FFT"):
        butterfly(Mode.FFT, a, a, None, 0, width=16, coefficient_width=16)
