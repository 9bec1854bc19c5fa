"""A linked processor on Verilator, from UART bits to UART bits: networks as the integer model says, and what a host
must not be told is right."""

from dataclasses import replace
from itertools import pairwise
import random

import numpy as np
import pytest

from wingbeat.boards.network_host import NetworkHost
from wingbeat.boards.processor import LinkedProcessor
from wingbeat.boards.uart_bus import BusError, UartBus
from wingbeat.gen.compiler.network.compile import compile_network
from wingbeat.gen.cosim.serial import SimulatedLine
from wingbeat.gen.cosim.testbench.simulators import find
from wingbeat.gen.rtl.verilog import emit
from wingbeat.gen.workloads.fabnet import BlockShape, fabnet_network
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.encoding import INSTRUCTION_WORDS
from wingbeat.hw.isa.registers import register_map
from wingbeat.hw.isa.serial_bus import MEMORY_BASE, Command, encode_command

from wingbeat.hw.isa.setup import SETUP_PROGRAM
from wingbeat.hw.link.uart import UartParameters
from wingbeat.hw.memory.port import MemoryParameters
from wingbeat.hw.memory.scratchpad import Scratchpad, ScratchpadParameters

pytestmark = pytest.mark.slow

CONFIG = CoreConfig.of(name="linkable", engines=1, layers=2, width=18, element_width=16, coefficient_width=17,
                       half_words=64, coefficient_words=256, program_words=1024, stream_words=4, memory_bits=12,
                       descriptors=32, vector_lanes=2, channel_beats=32, statistics_rows=16)
BEATS, DIVISOR, TIMEOUT = 1024, 4, 400
PATIENCE = 300  # bits
SHAPE = BlockShape(tokens=4, hidden=16, ffn=32)
REGISTERS = {register.name: register.address for register in register_map(CONFIG)}


def compiled_and_inputs(batch=2, count=5):
    """One FABNet block, and inputs."""
    rng = np.random.default_rng(3)
    calibration, inputs = rng.standard_normal((8, 4, 16)), rng.standard_normal((count, 4, 16))
    return compile_network(fabnet_network(SHAPE, 1, 3), CONFIG, calibration, batch, check=False), inputs


@pytest.fixture(scope="module")
def verilog():
    if find("verilator") is None:
        pytest.skip("verilator is not installed: no linked processor was simulated on it")
    memory = Scratchpad(ScratchpadParameters(MemoryParameters.of(CONFIG), BEATS, CONFIG.target, CONFIG.pipeline))
    return emit(LinkedProcessor(CONFIG, memory, BEATS, UartParameters(DIVISOR), TIMEOUT), "linked")


@pytest.fixture
def port(verilog):
    with SimulatedLine(verilog, "linked", divisor=DIVISOR, patience=PATIENCE) as serial:
        yield serial


def test_a_network_from_bits_to_bits(port):
    """Two batches and a half: inputs alone are sent again, and what the programs left in memory does no harm."""
    compiled, inputs = compiled_and_inputs()
    host = NetworkHost(UartBus(port), CONFIG)
    assert host.memory_beats == BEATS >= compiled.beats
    answer = host.run(compiled, inputs)
    np.testing.assert_array_equal(answer.results, compiled.run_model(inputs))
    assert len(answer.cycles) == 3 and len(set(answer.cycles)) == 1


def test_memory_and_registers(port):
    bus, rng = UartBus(port), random.Random(1)
    words = [rng.getrandbits(32) for _ in range(300)]
    bus.write(MEMORY_BASE + 64, words)
    assert bus.read(MEMORY_BASE + 64, 300) == words
    bus.write(REGISTERS["SETUP_TARGET"], [5])
    assert bus.read(REGISTERS["SETUP_TARGET"]) == [5]
    for address, write in ((REGISTERS["STATUS"], True), (REGISTERS["CONTROL"], False), (0x1010, False),
                           (MEMORY_BASE + 16 * BEATS, False), (0x4000, True)):
        with pytest.raises(BusError, match=f"the board refused 1 accesses, the first at {address:#010x}$") as refused:
            bus.write(address, [1]) if write else bus.read(address)
        assert refused.value.address == address
    assert bus.read(MEMORY_BASE + 64, 2) == words[:2]


def test_noise_on_the_line_is_not_silent(port):
    """Whatever comes between two calls is found and does not hang the board. Half a command to write takes what follows
    for its data: it alone writes, where it was to."""
    bus, rng = UartBus(port), random.Random(2)
    bus.write(MEMORY_BASE, [1, 2, 3, 4])
    half = encode_command(Command.WRITE, MEMORY_BASE, 4) + b"\xaa\xbb\xcc"
    for noise in (half, b"\xff" * 30, bytes(rng.randrange(5, 256) for _ in range(40)), half[:1]):
        port.write(noise)
        with pytest.raises(BusError, match="^(port: |read of 4 words at 0x80000000: bytes were lost or changed)"):
            bus.read(MEMORY_BASE, 4)
        bus.synchronise()
        if noise == half:
            bus.write(MEMORY_BASE, [1, 2, 3, 4])
        assert bus.read(MEMORY_BASE, 4) == [1, 2, 3, 4], noise.hex()


def test_a_stopped_program_is_told_and_cleared(port):
    compiled, inputs = compiled_and_inputs()
    host = NetworkHost(UartBus(port), CONFIG)
    host.write_setup([(SETUP_PROGRAM, address, 0xFFFFFFFF) for address in range(INSTRUCTION_WORDS)])
    with pytest.raises(WingbeatError, match=r"^program 0: the core stopped with error \d+ \(OPCODE\) at block \d+$"):
        host.start_and_wait(0)
    host = NetworkHost(UartBus(port), CONFIG)
    np.testing.assert_array_equal(host.run(compiled, inputs[:2]).results, compiled.run_model(inputs[:2]))


def test_another_core_and_a_network_without_room_are_refused(port):
    bus = UartBus(port)
    with pytest.raises(WingbeatError, match="^identity: the core answers 0x77627574, hash .*; expected .* of other$"):
        NetworkHost(bus, CONFIG.changed(name="other", half_words=128))
    compiled, inputs = compiled_and_inputs()
    with pytest.raises(WingbeatError, match="^memory: 1025 beats with a batch of 2; allowed are 1024, or a smaller "):
        NetworkHost(bus, CONFIG).run(replace(compiled, beats=BEATS + 1), inputs)


def test_stated_latency_of_the_line(port):
    """10 bit times a byte: a read of n words takes its bytes and a little."""
    bus, cycles = UartBus(port), []
    for count in (1, 101, 201):
        before = port.cycles
        bus.read(MEMORY_BASE, count)
        cycles.append(port.cycles - before)
    for less, more in pairwise(cycles):
        assert 100 * 4 * 10 * DIVISOR <= more - less <= 100 * 4 * (10 * DIVISOR + 2)
