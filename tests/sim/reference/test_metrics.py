"""Signal to quantisation noise."""

import math

import numpy as np
import pytest

from wingbeat.sim.reference.metrics import sqnr_db


def test_sqnr():
    reference = np.array([3.0, 4.0])
    assert sqnr_db(reference, reference + np.array([0.0, 0.5])) == pytest.approx(10 * math.log10(25 / 0.25))
    assert sqnr_db(1j * reference, 1j * reference + 0.5) == pytest.approx(10 * math.log10(25 / 0.5))


def test_equal_values_and_no_signal():
    assert sqnr_db(np.ones(3), np.ones(3)) == math.inf and sqnr_db(np.zeros(3), np.ones(3)) == -math.inf
