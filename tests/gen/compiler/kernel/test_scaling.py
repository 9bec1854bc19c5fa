"""What the calibration looks at."""

import numpy as np

from wingbeat.gen.compiler.kernel.scaling import layer_peaks
from wingbeat.gen.compiler.kernel.unit_pivot import block_layers, unit_pivot


def test_zero_rows_stay_out_of_the_ranges():
    """The zero row carries a copy of its large input; only the live row counts."""
    twiddle = np.array([[0.0, 0.0], [0.0, 1.0]]).reshape(1, 1, 1, 2, 2)
    pivot = unit_pivot(block_layers(twiddle, True))
    x = np.array([[100.0, 3.0]])
    assert np.array_equal(pivot.layers[0].live, [False, True])
    assert np.max(np.abs(pivot.layers[0].apply(x))) == 100
    assert layer_peaks(pivot.layers, x) == [3.0]
