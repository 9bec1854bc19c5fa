"""The complete top, from UART bits to UART bits: the host of the boards against the model of the array."""

import numpy as np
import pytest

from wingbeat.boards.host import Host, LinkError
from wingbeat.boards.top import LinkedArray
from wingbeat.gen.compiler import compile_butterfly, compile_fft
from wingbeat.hw.config import ArrayConfig
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.frame import Fault, Kind, encode
from wingbeat.hw.uart import UartParameters
from wingbeat.sim.bench import Bench, SimulatedSerial

DIVISOR = 4
CONFIGS = {
    "one_layer": ArrayConfig(engines=2, layers=1, half_words=8, coefficient_words=16, program_words=32,
                             stream_words=2),
    "gearbox": ArrayConfig(engines=1, layers=2, width=18, element_width=14, coefficient_width=17, half_words=16,
                           coefficient_words=16, program_words=32, stream_words=1),
}


def connect(config, told=None):
    """Host and simulated top of ``config``; the host believes in ``told``."""
    top = LinkedArray(config, UartParameters(DIVISOR), timeout=50 * DIVISOR)
    port = SimulatedSerial(Bench(top), top.rx, top.tx, DIVISOR, reset_request=top.o_reset)
    return Host(port, told or config), port


@pytest.mark.parametrize("name", CONFIGS)
def test_kernels_match_the_model(name):
    config, rng = CONFIGS[name], np.random.default_rng(1)
    host, _ = connect(config)
    fft = compile_fft(8, config, scaling="block")
    x = rng.uniform(-1, 1, (5, 8)) + 1j * rng.uniform(-1, 1, (5, 8))
    expected = fft.execute_model(x)
    assert np.array_equal(host.run_kernel(fft, x), expected.y), "seed 1"
    counters = host.counters()
    assert (counters.busy, counters.blocks) == (0, len(expected.exponents))
    assert counters.total == (counters.computing + counters.waiting_input + counters.waiting_output
                              + counters.waiting_hazard) > 0
