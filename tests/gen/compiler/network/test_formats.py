"""Number formats: what was seen fits, shifts stay in range, sums of integers are sums of values."""

import numpy as np
import pytest

from wingbeat.gen.compiler.network.formats import (HEADROOM, MOST_SHIFT, Format, element_log2, finest_operand,
                                                   gelu_exponent, least_exponent, own_exponent, peak_of, plan_sum,
                                                   power_of_two_unit, quantise)
from wingbeat.gen.compiler.network.lower import lower
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.vector_tables import epsilon_parameter
from wingbeat.hw.numeric import largest
from wingbeat.sim.model.vector import add_residual, row_statistics

WIDTHS = (8, 12, 16, 18)


def test_quantise_rounds_and_clamps_to_the_symmetric_range():
    values, clamped = quantise(np.array([0.4, -0.6, 126.6, 127.4, 127.6, -128.0, 1e30]), 8)
    assert values.tolist() == [0, -1, 127, 127, 127, -127, 127] and clamped == 3
    assert values.dtype == np.int64
    assert Format(8, 1).integers(np.array([3.0, 1000.0, -5.1])).tolist() == [2, 127, -3]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_finest_power_of_two_in_which_a_peak_fits(width):
    rng = np.random.default_rng(width)
    for peak in (10.0 ** rng.uniform(-12, 12, 200)).tolist():
        unit = power_of_two_unit(peak, width).unit
        assert peak * HEADROOM <= largest(width) * unit < 2.0001 * peak * HEADROOM, f"peak {peak}, seed {width}"
    assert power_of_two_unit(largest(width), width, 1.0) == Format(width, 0)
    assert power_of_two_unit(0.0, width) == Format(width, element_log2(width))
    assert element_log2(width) + width - 1 == 3


@pytest.mark.parametrize("peak", [float("inf"), float("nan")])
def test_values_that_are_not_finite_are_refused(peak):
    with pytest.raises(WingbeatError, match="^inputs: a value of (inf|nan) on the way; allowed are") as caught:
        power_of_two_unit(peak, 16)
    assert "\n" not in str(caught.value)


def test_peaks():
    assert peak_of(np.array([[1.0, -3.0], [2.0, 0.0]])) == 3 and peak_of(np.zeros((0, 4))) == 0


@pytest.mark.parametrize("peak, fall", [(1000.0, 7), (30.0, 7), (25.0, 6), (12.7, 5), (8.0, 5), (7.9997, 4), (3.3, 4),
                                        (3.19, 3), (1.0, 2), (0.79, 1), (0.3, 0), (0.0, 0)])
def test_a_gelu_has_headroom(peak, fall):
    assert gelu_exponent(peak, 16) == fall - 16
    assert fall in (4, 7) or peak * HEADROOM < 2 ** (fall - 1)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_sum_of_integers_is_the_sum_of_their_values(width, fixed):
    """Within a rounding of the result; and a plan that cannot be made is refused in one line."""
    rng, planned = np.random.default_rng([width, fixed]), 0
    for _ in range(400):
        mine, added, least = (int(e) for e in rng.integers(-10, 11, 3))
        note = f"own 2^{mine}, added 2^{added}, least 2^{least}, seed {[width, fixed]}"
        try:
            plan = plan_sum(Format(width, mine), Format(width, added), least, fixed=fixed)
        except WingbeatError as fault:
            assert "\n" not in str(fault) and "allowed are 0..7" in str(fault)
            assert max(least, mine) - added > MOST_SHIFT or fixed, note
            continue
        planned += 1
        assert plan.own.exponent == mine if fixed else plan.own.exponent >= mine, note
        assert plan.result.exponent >= max(least, plan.own.exponent), note
        assert all(0 <= shift <= MOST_SHIFT for shift in (plan.a, plan.b, plan.c)), note
        # Each operand is at most a quarter of what the result holds.
        v, r = (np.rint(rng.uniform(-0.25, 0.25, 50) * largest(width) * min(1, plan.result.unit / 2.0 ** exponent))
                for exponent in (plan.own.exponent, added))
        found, clamped = add_residual(v.astype(np.int64), r.astype(np.int64), plan.a, plan.b, plan.c, width)
        exact = v * plan.own.unit + r * 2.0 ** added
        assert not clamped.any(), note
        assert np.abs(found * plan.result.unit - exact).max() <= plan.result.unit / 2, note
    assert planned > 100


def test_what_is_added_decides_how_fine_the_other_may_be():
    for added in range(-20, 21):
        for least in range(-20, 21):
            finest = finest_operand(Format(16, added), least)
            if least - added > MOST_SHIFT:
                continue
            plan_sum(Format(16, finest), Format(16, added), least, fixed=True)
            with pytest.raises(WingbeatError):
                plan_sum(Format(16, finest - 1), Format(16, added), least, fixed=True)


# --- Formats that suit the readers --------------------------------------------------------------------------------

def lowered(networks, text, factor=1.0):
    network, inputs = networks.load(text)
    return lower(network, factor * inputs)


def finest(value, width=16):
    return power_of_two_unit(peak_of(value.floats), width).exponent


def test_without_demands_the_finest_format_is_taken(networks):
    found = lowered(networks, "b16 relu b8 norm b3")
    for value in (found.input, *(step.result for step in found.steps)):
        assert least_exponent(value, 16) == finest(value)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("factor", [1e-8, 1e-5, 1e-3, 1])
def test_a_norm_keeps_its_epsilon_in_range(networks, width, factor):
    given = lowered(networks, "norm b16", factor).input
    exponent = least_exponent(given, width)
    epsilon = epsilon_parameter(1e-5, 16, -exponent)
    row_statistics(np.zeros((1, 16), dtype=np.int64), epsilon, width)  # raises where it is too large
    if exponent > finest(given, width):
        with pytest.raises(ValueError):
            row_statistics(np.zeros((1, 16), dtype=np.int64), epsilon_parameter(1e-5, 16, 1 - exponent), width)


def test_a_sum_of_very_different_tensors_makes_the_finer_one_coarser(networks):
    found = lowered(networks, "(norm mix)", 1e-6)
    sum_exponent = finest(found.output)
    assert least_exponent(found.input, 16) >= sum_exponent - MOST_SHIFT > finest(found.input)


def test_demands_of_a_chain_of_residuals_reach_its_beginning(networks):
    found = lowered(networks, "(relu) (relu) (norm b16)", 1e-12)
    first, second, third = found.input, found.steps[0].result, found.steps[1].result
    for value, slack in ((third, 1), (second, 2), (first, 3)):
        assert least_exponent(value, 16) >= finest(found.output) - slack * MOST_SHIFT


def test_what_a_relu_makes_zero_counts(networks):
    [step] = lowered(networks, "b16 relu").steps
    step.linear[0, 0, 0] = -1000.0
    assert own_exponent(step, 16) == power_of_two_unit(1000.0, 16).exponent


def test_a_gelu_is_as_fine_as_its_gain(networks):
    [step] = lowered(networks, "b16 gelu", 1e-3).steps
    assert own_exponent(step, 16) >= element_log2(16) - 4
