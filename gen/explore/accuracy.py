"""Accuracy of compiled kernels on the bit-exact model: SQNR against float64 of the quantised input.

Shifts and input range are calibrated on 256 rows of noise (headroom 1.25) and measured on other rows: more
noise, and signals that the calibration never saw (full-scale tones, a constant, one-hot and heavy-tailed
rows).
"""

from dataclasses import dataclass

import numpy as np

from ...hw.config import CoreConfig
from ...hw.numeric import largest
from ...sim.reference.linear import butterfly_multiply, fft
from ...sim.reference.metrics import sqnr_db
from ..compiler.kernel.compile import compile_butterfly, compile_fft
from ..compiler.kernel.kernel import Kernel
from ..compiler.kernel.passes import Scaling

__all__ = ["AccuracyRow", "SIGNALS", "SCALINGS", "signal_rows", "measure_accuracy", "accuracy_table"]

SIGNALS = ("noise", "tone", "constant", "one-hot", "heavy-tailed")
SCALINGS: tuple[Scaling, ...] = ("static", "block", "safe")
KERNELS = ("bpmm", "fft")
CALIBRATION_ROWS = 256


@dataclass(frozen=True)
class AccuracyRow:
    """One measurement; ``saturated_blocks`` of ``blocks`` carried the flag, ``clamped_inputs`` components
    did not fit the input range.
    """

    kernel: str
    n: int
    layers: int
    width: int
    element_width: int
    coefficient_width: int
    scaling: str
    signal: str
    rows: int
    seed: int
    sqnr_db: float
    blocks: int
    saturated_blocks: int
    clamped_inputs: int


def signal_rows(kernel: str, signal: str, rows: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Test rows (rows, size), real for 'bpmm', complex for 'fft'.

    Noise is standard normal (bpmm) or uniform in -1..1 (fft). All other rows are at full scale, their largest
    component is 1; heavy-tailed is Student's t with 2 degrees of freedom.
    """
    shape = (rows, size)
    is_complex = kernel == "fft"
    if signal == "noise":
        if is_complex:
            return rng.uniform(-1, 1, shape) + 1j * rng.uniform(-1, 1, shape)
        return rng.standard_normal(shape)
    if signal == "tone":
        frequency, phase = rng.integers(1, max(2, size // 2), (rows, 1)), rng.uniform(0, 2 * np.pi, (rows, 1))
        x = np.exp(1j * (2 * np.pi * frequency * np.arange(size) / size + phase))
    elif signal == "constant":
        x = np.full(shape, 1 + 1j)
    elif signal == "one-hot":
        x = np.eye(size)[rng.integers(0, size, rows)] * (1 + 1j)
    else:
        x = rng.standard_t(2, shape) + 1j * rng.standard_t(2, shape)
        x = x / np.max(np.maximum(np.abs(x.real), np.abs(x.imag) * is_complex), axis=1, keepdims=True)
    return x if is_complex else x.real


def measure_accuracy(kernel: Kernel, name: str, signal: str, x: np.ndarray, exact: np.ndarray,
            seed: int) -> AccuracyRow:
    """Run rows ``x`` on the model and compare with ``exact``, the float64 result of the quantised rows."""
    config, run = kernel.config, kernel.execute_model(x)
    return AccuracyRow(name, kernel.size, config.layers, config.width, config.element_width,
                       config.coefficient_width, kernel.scaling, signal, len(x), seed, sqnr_db(exact, run.y),
                       len(run.exponents), run.saturated_blocks, run.clamped_inputs)


def accuracy_table(config: CoreConfig, points: int = 1024, *, rows: int = 512, seed: int = 0,
                   kernels: tuple[str, ...] = KERNELS, scalings: tuple[Scaling, ...] = SCALINGS,
                   signals: tuple[str, ...] = SIGNALS) -> list[AccuracyRow]:
    """SQNR of every kernel, scaling and signal at N = ``points`` on one array.

    The butterfly has independent normal blocks / sqrt(2), increasing stride. Raises WingbeatError where the
    kernel does not fit the array.
    """
    table = []
    for name in kernels:
        rng = np.random.default_rng([seed, KERNELS.index(name)])
        twiddle = rng.standard_normal((1, 1, points.bit_length() - 1, points // 2, 2, 2)) / np.sqrt(2)
        calibration = signal_rows(name, "noise", CALIBRATION_ROWS, points, rng)
        data = {signal: signal_rows(name, signal, rows, points, rng) for signal in signals}
        for scaling in scalings:
            if name == "bpmm":
                kernel = compile_butterfly(twiddle, config, calibration=calibration, scaling=scaling)
            else:
                kernel = compile_fft(points, config, calibration=calibration, scaling=scaling)
            full_scale = kernel.input_step * largest(config.element_width)
            for signal, x in data.items():
                x = x if signal == "noise" else x * full_scale
                seen = kernel.quantised_input(x)
                exact = butterfly_multiply(twiddle, seen) if name == "bpmm" else fft(seen)
                table.append(measure_accuracy(kernel, name, signal, x, exact, seed))
    return table
