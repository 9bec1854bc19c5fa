"""cocotb test of a board's array with its UART in Verilog: the host runs kernels, bit for bit as the model
does.

The environment names the preset and the divisor. The host blocks, so it runs in a thread beside the
simulation.
"""

import os

import cocotb
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge, SimTimeoutError, with_timeout
import numpy as np

from wingbeat.boards.host import Host
from wingbeat.gen.compiler.kernel.compile import compile_butterfly, compile_fft
from wingbeat.gen.presets.select import load_preset

DIVISOR = int(os.environ["UART_DIVISOR"])
CONFIG = load_preset(os.environ["UART_PRESET"])
PERIOD = 10  # ns


class Port:
    """The other end of ``rx`` and ``tx``; ``read`` and ``write`` are called from the host's thread."""

    def __init__(self, dut):
        self.dut = dut
        self.incoming = bytearray()
        self.write, self.read = resume(self._write), resume(self._read)

    async def listen(self):
        while True:
            await FallingEdge(self.dut.tx)
            await ClockCycles(self.dut.clk, DIVISOR // 2)
            byte = 0
            for bit in range(8):
                await ClockCycles(self.dut.clk, DIVISOR)
                byte |= int(self.dut.tx.value) << bit
            await ClockCycles(self.dut.clk, DIVISOR)
            assert int(self.dut.tx.value) == 1, "stop bit"
            self.incoming.append(byte)

    async def _write(self, data):
        for byte in data:
            for bit in [0, *(byte >> i & 1 for i in range(8)), 1]:
                self.dut.rx.value = bit
                await ClockCycles(self.dut.clk, DIVISOR)

    async def _read(self, size):
        while len(self.incoming) < size:
            try:
                await with_timeout(RisingEdge(self.dut.tx), 4000 * DIVISOR * PERIOD, "ns")
            except SimTimeoutError:
                break
            await ClockCycles(self.dut.clk, DIVISOR)
        data = bytes(self.incoming[:size])
        del self.incoming[:size]
        return data


def talk(port):
    """Kernels of both kinds on the host, against the model."""
    rng = np.random.default_rng(3)
    host = Host(port, CONFIG)
    fft = compile_fft(64, CONFIG, scaling="block", rows=2)
    x = rng.uniform(-1, 1, (3, 64)) + 1j * rng.uniform(-1, 1, (3, 64))
    assert np.array_equal(host.run_kernel(fft, x), fft.run_model(x)), "FFT, seed 3"

    weights = rng.normal(size=(1, 1, 4, 8, 2, 2)) / 2 ** 0.5
    butterfly = compile_butterfly(weights, CONFIG, scaling="block", rows=4)
    x = rng.uniform(-1, 1, (5, 16))
    assert np.array_equal(host.run_kernel(butterfly, x), butterfly.run_model(x)), "butterfly, seed 3"
    counters = host.counters()
    assert counters.busy == 0 and counters.computing > 0


@cocotb.test()
async def host_against_model(dut):
    dut.rx.value = 1
    dut.rst.value = 1
    cocotb.start_soon(Clock(dut.clk, PERIOD, "ns").start())
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    port = Port(dut)
    cocotb.start_soon(port.listen())
    await ClockCycles(dut.clk, 20)
    await bridge(talk)(port)
