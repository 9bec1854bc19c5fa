"""The complete top, from UART bits to UART bits: the host of the boards against the model of the array."""

from dataclasses import replace

import numpy as np
import pytest

from wingbeat.boards.build import BOARDS, find_board
from wingbeat.boards.host import Host, LinkError
from wingbeat.boards.array import LinkedArray
from wingbeat.gen.compiler.kernel.compile import compile_butterfly, compile_fft
from wingbeat.gen.compiler.kernel.kernel import Job
from wingbeat.gen.compiler.beats import start_writes
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.instruction import Halt
from wingbeat.hw.isa.link_frame import ERROR, REPLY, Kind, LinkFault, encode_frame
from wingbeat.hw.link.uart import UartParameters
from wingbeat.sim.bench.stream import Bench, SimulatedSerial
from wingbeat.sim.cycles.estimate import estimate

DIVISOR = 4
CONFIGS = {
    "one_layer": CoreConfig.of(engines=2, layers=1, half_words=8, coefficient_words=16, program_words=64,
                               stream_words=2, pipeline="short"),
    "gearbox": CoreConfig.of(engines=1, layers=2, width=18, element_width=14, coefficient_width=17,
                             half_words=16, coefficient_words=16, program_words=32, stream_words=1),
}


def connect(config, told=None):
    """Host and simulated top of ``config``; the host believes in ``told``."""
    top = LinkedArray(config, UartParameters(DIVISOR), timeout=50 * DIVISOR)
    port = SimulatedSerial(Bench(top), top.rx, top.tx, DIVISOR, reset_request=top.o_reset)
    return Host(port, told or config), port


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.campaign) if name == "gearbox" else name
                                  for name in CONFIGS])
def test_kernels_match_the_model(name):
    config, rng = CONFIGS[name], np.random.default_rng(1)
    host, _ = connect(config)
    fft = compile_fft(8, config, scaling="block")
    x = rng.uniform(-1, 1, (3, 8)) + 1j * rng.uniform(-1, 1, (3, 8))
    expected = fft.execute_model(x)
    assert np.array_equal(host.run_kernel(fft, x), expected.y), "seed 1"
    counters = host.counters()
    assert (counters.busy, counters.blocks) == (0, len(expected.exponents))
    *_, last = fft.jobs(x)
    assert counters.computing == estimate(config, last.program).computing < counters.total


def test_bad_frames_do_not_disturb_a_run_and_reset_frees_the_link():
    config, rng = CONFIGS["one_layer"], np.random.default_rng(2)
    host, port = connect(config)
    kernel = compile_butterfly(rng.normal(size=(1, 1, 2, 2, 2, 2)), config, scaling="block")
    x = rng.uniform(-1, 1, (4, 4))
    (job,) = kernel.jobs(x)
    host.write_setup([*job.setup, *start_writes(job.program)[:-1]])
    for frame, fault in ((encode_frame(Kind.DATA, bytes(8))[:-1] + b"\0", LinkFault.CRC), (b"noise", LinkFault.NO_SYNC),
                         (encode_frame(Kind.START)[:4], LinkFault.TIMEOUT)):
        port.write(frame)
        answer = port.read(7)
        assert answer == encode_frame(ERROR, bytes([fault])), fault

    # Nothing runs, so data wait: everything with a payload is refused until a reset drops them.
    host.ask(Kind.DATA, bytes(8))
    for refused in (lambda: host.ask(Kind.DATA, bytes(8)), lambda: host.write_setup([(0, 0, 0)]),
                    host.start):
        with pytest.raises(LinkError, match="^[A-Z]+: refused, BUSY$"):
            refused()
    assert host.results() == b""
    host.reset()
    blocks = host.run(job)
    assert np.array_equal(kernel.unpack(blocks, len(x)), kernel.run_model(x)), "seed 2"


def test_a_stuck_array_is_reported(monkeypatch):
    host, _ = connect(CONFIGS["one_layer"])
    monkeypatch.setattr("wingbeat.boards.host.PATIENCE", 3)
    job = Job([], [Halt()], np.zeros((8, 2), np.int64), 1)
    with pytest.raises(LinkError, match="^array: 0 of 4 beats came, then none for 3 requests$"):
        host.run(job)
    host.reset()
    host.identity = replace(host.identity, limit=16)  # two frames for these data
    with pytest.raises(LinkError, match="^array: it has taken no data for 3 requests$"):
        host.run(job)


def test_wrong_array_and_silence_are_refused():
    with pytest.raises(WingbeatError, match="^identity: the array answers .*configuration=.*; expected is"):
        connect(CONFIGS["one_layer"], told=CONFIGS["gearbox"])

    class Silence:
        def write(self, data):
            pass

        def read(self, size):
            return b""

    with pytest.raises(LinkError, match="^port: 0 bytes came before the timeout; expected are 4$"):
        Host(Silence(), CONFIGS["one_layer"])


class Replies:
    """A port that answers with given bytes."""

    def __init__(self, data):
        self.data = data

    def write(self, data):
        pass

    def read(self, size):
        data, self.data = self.data[:size], self.data[size:]
        return data


@pytest.mark.parametrize("reply,message", [
    (encode_frame(Kind.START | REPLY), "IDENTIFY: answered by kind 0x83; expected is 0x81"),
    (encode_frame(Kind.IDENTIFY | REPLY)[:-1] + b"\0", "frame: CRC .* is wrong"),
    (encode_frame(ERROR, b"\6"), "IDENTIFY: refused, CRC"),
    (encode_frame(ERROR, b"\x77"), "IDENTIFY: answered by kind 0xff; expected is 0x81"),
    (b"\0\0\0\0\0\0", "frame: '0*' is shorter than 6 bytes or does not start with a5"),
    (encode_frame(Kind.IDENTIFY | REPLY, bytes(9))[:-3], "port: 8 bytes came before the timeout; expected are 11"),
])
def test_nonsense_is_refused_in_one_line(reply, message):
    with pytest.raises(WingbeatError, match=f"^{message}$"):
        Host(Replies(reply), CONFIGS["one_layer"])


def test_boards_have_their_clocks_and_names():
    assert sorted(BOARDS) == ["ecpix5", "icebreaker", "ulx3s", "ulx3s-array"]
    for top in BOARDS.values():
        assert abs(top.uart().divisor * top.baud / top.clock_hz - 1) < 0.02
    with pytest.raises(WingbeatError, match="^board: 'arty' is not one of ecpix5, icebreaker, ulx3s, ulx3s-array$"):
        find_board("arty")
