"""A simulated serial port: an echo in Verilog answers through pins; a simulation that ends is told."""

import time

import pytest

from wingbeat.gen.cosim.serial import SimulatedLine
from wingbeat.gen.cosim.testbench.simulators import SimulatorError, find

DIVISOR = 6
ECHO = """module echo (clk, rst, rx, tx); input clk, rst, rx; output reg tx;
always @(posedge clk) tx <= rst | rx; endmodule"""
ENDING = """module ending (clk, rst, rx, tx); input clk, rst, rx; output tx; assign tx = 1;
always @(posedge clk) if (!rst && !rx) $finish; endmodule"""

pytestmark = pytest.mark.skipif(find("verilator") is None, reason="verilator is not installed: nothing was simulated")


def test_bytes_go_and_come_and_time_stands_still_between():
    with SimulatedLine(ECHO, "echo", divisor=DIVISOR, patience=30) as port:
        data = bytes(range(256))
        assert port.write(data) == 256
        assert port.read(200) + port.read(100) == data
        before = port.cycles
        time.sleep(0.2)
        assert port.cycles == before
        assert port.read(1) == b"" and 30 * DIVISOR <= port.cycles - before <= 31 * DIVISOR
        port.write(b"x")
        assert port.cycles - before >= 40 * DIVISOR


def test_a_simulation_that_ends_is_told_and_nobody_waits():
    with pytest.raises(SimulatorError, match="^simulation: "):
        with SimulatedLine(ENDING, "ending", divisor=DIVISOR) as port:
            port.write(b"x")
            port.read(1)


def test_a_module_that_is_none_is_refused():
    with pytest.raises(SimulatorError, match="^build: "):
        SimulatedLine("module other (clk); input clk; endmodule", "echo")
