# SPDX-License-Identifier: BSD-2-Clause
"""cocotb test that is a serial line: whoever holds the other end of a socket sends and receives bytes on the pins rx
and tx of the top module.

Stands alone: needs cocotb and the standard library. serial.json of the trials: ``socket``, its path; ``divisor``, clock
cycles of a bit; ``patience``, bits without a byte after which a receive ends. While nothing is asked for the simulation
stands still, so what it does depends on what is asked alone.

A request is a letter and a number of 4 bytes: ``w`` n, then n bytes to send; ``r`` n, at most n bytes to receive,
answered by their number and the bytes; ``c`` 0, answered by 8 bytes, the clock cycles until now.
"""

import json
import os
from pathlib import Path
import socket

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Event, FallingEdge, SimTimeoutError, Timer, with_timeout
from cocotb.utils import get_sim_time

_PERIOD = 10  # ns
_RESET_CYCLES = 3


class _Line:
    """Both directions, a bit at a time."""

    def __init__(self, dut, divisor):
        self.dut, self.bit = dut, divisor * _PERIOD
        self.incoming, self.arrived = bytearray(), Event()

    async def listen(self):
        while True:
            await FallingEdge(self.dut.tx)
            await Timer(self.bit // 2, "ns")
            byte = 0
            for place in range(8):
                await Timer(self.bit, "ns")
                byte |= int(self.dut.tx.value) << place
            await Timer(self.bit, "ns")
            assert int(self.dut.tx.value) == 1, "stop bit"
            self.incoming.append(byte)
            self.arrived.set()

    async def send(self, data):
        for byte in data:
            for bit in [0, *(byte >> place & 1 for place in range(8)), 1]:
                self.dut.rx.value = bit
                await Timer(self.bit, "ns")

    async def receive(self, count, patience):
        while len(self.incoming) < count:
            self.arrived.clear()
            try:
                await with_timeout(self.arrived.wait(), patience * self.bit, "ns")
            except SimTimeoutError:
                break
        data = bytes(self.incoming[:count])
        del self.incoming[:count]
        return data


def _exactly(connection, count):
    """``count`` bytes, or fewer where the other end is gone."""
    data = b""
    while len(data) < count and (part := connection.recv(count - len(data))):
        data += part
    return data


@cocotb.test()
async def serial_line(dut):
    facts = json.loads((Path(os.environ["ARRAY_TRIALS"]) / "serial.json").read_text())
    dut.rx.value = 1
    dut.rst.value = 1
    cocotb.start_soon(Clock(dut.clk, _PERIOD, "ns").start())
    await Timer(_RESET_CYCLES * _PERIOD + 1, "ns")
    dut.rst.value = 0
    line = _Line(dut, facts["divisor"])
    cocotb.start_soon(line.listen())
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(facts["socket"])
        while len(request := _exactly(connection, 5)) == 5:
            count = int.from_bytes(request[1:], "little")
            if request[:1] == b"w":
                await line.send(_exactly(connection, count))
            elif request[:1] == b"r":
                data = await line.receive(count, facts["patience"])
                connection.sendall(len(data).to_bytes(4, "little") + data)
            else:
                connection.sendall(int(get_sim_time("ns") // _PERIOD).to_bytes(8, "little"))
