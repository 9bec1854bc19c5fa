"""The scalar oracle: one butterfly unit in plain Python integers, written from docs/reference/architecture.md and
docs/design.md."""

import pytest

from wingbeat.hw.numeric import GUARD_BITS


def _finish(total, shift, width):
    """Round half up to an integer of ``width`` bits: floor(x / 2^bits + 1/2)."""
    bits = GUARD_BITS + shift
    rounded = (2 * total + 2**bits) // 2 ** (bits + 1)
    clamped = max(-(2 ** (width - 1)), min(2 ** (width - 1) - 1, rounded))
    return clamped, clamped != rounded


def scalar_unit(mode, a, b, coefficients, shift, width, coefficient_width):
    """Returns [Y1.re, Y1.im, Y2.re, Y2.im] and the four clamp flags for words a, b = (re, im)."""
    one = 2**GUARD_BITS
    c0, c1, s0, s1 = coefficients

    def cut(c, x):
        return (c * x) // 2 ** (coefficient_width - 2 - GUARD_BITS)

    if mode == "PASS":
        sums = [a[0] * one, a[1] * one, b[0] * one, b[1] * one]
    elif mode == "BPMM":
        x0, p0 = (a[0], b[0]) if s0 else (b[0], a[0])
        x3, p3 = (a[1], b[1]) if s0 else (b[1], a[1])
        x2, p2 = (a[0], b[0]) if s1 else (b[0], a[0])
        x1, p1 = (a[1], b[1]) if s1 else (b[1], a[1])
        sums = [
            p0 * one + cut(c0, x0),
            p3 * one + cut(c0, x3),
            p2 * one + cut(c1, x2),
            p1 * one + cut(c1, x1),
        ]
    elif mode == "FFT":
        t_re = cut(c0, b[0]) - cut(c1, b[1])
        t_im = cut(c0, b[1]) + cut(c1, b[0])
        sums = [a[0] * one + t_re, a[1] * one + t_im, a[0] * one - t_re, a[1] * one - t_im]
    else:
        sums = [cut(c0, a[0]), cut(c0, a[1]), cut(c1, b[0]), cut(c1, b[1])]
    results = [_finish(total, shift, width) for total in sums]
    return [value for value, _ in results], [flag for _, flag in results]


@pytest.fixture(scope="session")
def oracle():
    return scalar_unit
