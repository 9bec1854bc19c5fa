"""The line of the serial bench checks the stop bit: a line that hangs low ends the simulation as failed."""

import pytest

from wingbeat.gen.cosim.serial import SimulatedLine
from wingbeat.gen.cosim.testbench.simulators import SimulatorError, find

STUCK = """module stuck (clk, rst, rx, tx); input clk, rst, rx; output reg tx;
always @(posedge clk) tx <= rst | (tx & rx); endmodule"""


def test_a_line_that_hangs_is_a_failure():
    if find("verilator") is None:
        pytest.skip("verilator is not installed: nothing was simulated")
    with pytest.raises(SimulatorError, match="^simulation: stuck "):
        with SimulatedLine(STUCK, "stuck", divisor=4, patience=30) as port:
            port.write(b"U")
            port.read(1)
