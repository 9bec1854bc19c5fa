"""The bench itself: it must see every kind of fault. The design is a FIFO in plain Verilog with the ports of
an array."""

from dataclasses import replace
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from wingbeat.gen.cosim.cache import cache_folder
from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.job import Trial, with_stalls
from wingbeat.gen.cosim.testbench.simulators import SYSTEM_TOOLS, SimulatorError, products
from wingbeat.gen.cosim.timing import StreamTiming
from wingbeat.gen.presets.select import load_preset
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.setup import CONTROL_START, SETUP_CONTROL

SEED = 11
CONFIG = CoreConfig.of(name="echo", engines=2, layers=1, width=9, element_width=9, coefficient_width=8,
                       half_words=8, stream_words=4)
BLOCK = 8     # beats of a block
EXPONENT = 3

# A start takes its number of beats from the address of the write. FAULT is put in by the tests.
ECHO = """
module echo(clk, rst, i__payload, i__valid, i__ready, o__payload, o__valid, o__ready,
            i_setup__payload, i_setup__valid, i_setup__ready, status);
  input clk, rst, i__valid, o__ready, i_setup__valid;
  input [71:0] i__payload; input [63:0] i_setup__payload;
  output i__ready, o__valid, i_setup__ready; output [79:0] o__payload; output [193:0] status;
  reg full = 0; reg [71:0] word = 0; reg [15:0] left = 0; reg [31:0] sent = 0; reg [31:0] cycles = 0;
  wire busy = left != 0 || full;
  wire is_start = i_setup__payload[7:0] == 8'h81;
  wire moves = o__valid && o__ready;
  assign i_setup__ready = !(is_start && busy);
  assign i__ready = left != 0 && (!full || moves);
  assign o__valid = full FAULT_VALID;
  assign o__payload = {(sent % 8) == 7, 1'b0, 6'd3, word FAULT_WORD};
  wire [31:0] blocks = sent / 8;
  assign status = {blocks, 32'd4, 32'd3, 32'd2, 32'd1, cycles, 1'b0, busy FAULT_BUSY};
  always @(posedge clk) begin
    cycles <= cycles + 1;
    if (moves) begin full <= 0; sent <= sent + 1; end
    if (i__valid && i__ready) begin full <= 1; word <= i__payload; left <= left - 1; end
    if (i_setup__valid && i_setup__ready && is_start) begin left <= i_setup__payload[23:8]; cycles <= 0; sent
    <= 0; end if (rst) begin full <= 0; left <= 0; sent <= 0; end
  end
endmodule
"""
FAULTS = {
    "payload": ("WORD", "^ {71'b0, cycles[3] & !o__ready}", "payload changed under stall"),
    "valid": ("VALID", "&& (o__ready || !cycles[2])", "valid fell under stall"),
    "busy": ("BUSY", "|| 1'b1", "deadline of .* passed: 2 setup writes and 24 input beats sent, 24 of 24"),
    "silent": ("VALID", "&& sent < 20", "deadline of .* 20 of 24 output beats received"),
}


def build(simulator, slot=None, text=""):
    source = ECHO
    for name in ("VALID", "WORD", "BUSY"):
        source = source.replace(f"FAULT_{name}", text if name == slot else "")
    return Core(CONFIG, verilog=source).build(simulator)


def echo_trial(n_blocks=3, beats=None):
    words = np.random.default_rng(SEED).integers(-256, 256, (n_blocks * BLOCK * 4, 2))
    beats = n_blocks * BLOCK if beats is None else beats
    writes = [(5, 1, 77), (SETUP_CONTROL, beats, CONTROL_START)]
    return Trial("echo", writes, None, words, StreamTiming(seed=SEED), 4000, output_words=len(words), n_blocks=n_blocks)


@pytest.fixture(params=["verilator", "icarus"])
def simulator(request, need):
    need(request.param)
    return request.param


def test_every_profile_delivers_every_word(simulator):
    sent = echo_trial()
    runs = build(simulator).simulate(with_stalls(sent))
    for run in runs:
        assert np.array_equal(run.data, sent.data), (run.trial.timing.stalls, SEED)
        assert [len(block.words) for block in run.blocks] == [BLOCK * 4] * 3
        assert [block.exponent for block in run.blocks] == [EXPONENT] * 3
        assert (run.counters.blocks, run.counters.waiting_hazard) == (3, 4)
    # One beat per cycle without stalls: the last one leaves a cycle after it came.
    assert runs[0].cycles == 3 * BLOCK + 1
    assert all(run.cycles > runs[0].cycles for run in runs[1:])


def test_without_reset_the_state_stays(simulator):
    trials = [echo_trial(), replace(echo_trial(), name="again", reset=False)]
    for run in build(simulator).simulate(trials):
        assert np.array_equal(run.data, run.trial.data)


@pytest.mark.parametrize("fault", FAULTS)
def test_sees_a_fault_of_the_design(need, fault):
    need("icarus")
    slot, text, message = FAULTS[fault]
    expected = rf"1 of 1 trials failed on icarus: echo \(both, seed {SEED}\): .*{message}"
    with pytest.raises(SimulatorError, match=expected):
        build("icarus", slot, text).simulate([replace(echo_trial(), timing=StreamTiming("both", SEED))])


@pytest.mark.parametrize("change, message", [
    ({"output_words": 80}, "24 output beats where 20 were expected"),
    ({"n_blocks": 2}, "3 blocks ended where 2 were expected"),
    ({"deadline": 10}, "deadline of 10 cycles passed"),
])
def test_sees_a_wrong_expectation(need, change, message):
    need("icarus")
    with pytest.raises(SimulatorError, match=message):
        build("icarus").simulate([replace(echo_trial(), **change)])


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache of builds; the compiled runtime of Verilator stays the common one."""
    runtime = cache_folder() / "runtime"
    runtime.mkdir(parents=True, exist_ok=True)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "runtime").symlink_to(runtime)
    monkeypatch.setenv("WINGBEAT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_builds_come_from_the_cache(simulator, own_cache):
    first = build(simulator).entry.folder
    made = (first / "build.log").stat().st_mtime_ns
    assert build(simulator).entry.folder == first
    assert (first / "build.log").stat().st_mtime_ns == made
    assert build(simulator, "WORD", "^ 72'd1").entry.folder != first


def test_a_failed_build_leaves_its_log_alone(simulator, own_cache, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(own_cache.parent))
    for _ in range(2):
        with pytest.raises(SimulatorError, match="^build: .* failed on echo; see .*log$") as caught:
            build(simulator, "WORD", "+ nothing")
        assert "nothing" in caught.value.log.read_text() and str(caught.value).endswith(f"see {caught.value.log}")
    assert not list((own_cache / "builds").iterdir())


@pytest.mark.parametrize("damage", ["remove", "cut", "change"])
def test_a_damaged_build_is_made_again(simulator, own_cache, damage):
    first = build(simulator)
    product = first.entry.folder / products("echo", simulator)[0]
    data = product.read_bytes()
    product.unlink()
    if damage != "remove":
        product.write_bytes(data[:100] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
        product.chmod(0o755)
    [run] = build(simulator).simulate([echo_trial()])
    assert np.array_equal(run.data, echo_trial().data)


@pytest.mark.campaign
def test_a_damaged_runtime_is_made_again(need, tmp_path, monkeypatch):
    need("verilator")
    monkeypatch.setenv("WINGBEAT_CACHE", str(tmp_path))
    build("verilator")
    [first] = (tmp_path / "runtime").iterdir()
    (first / "verilated.o").write_bytes(b"")
    assert build("verilator", "WORD", "^ 72'd1").simulate([echo_trial()])
    assert (first / "verilated.o").stat().st_size


# Every one of these made cocotb, make or a compiler do something else.
VARIABLES = {"WAVES": "1", "GUI": "1", "COVERAGE": "1", "COCOTB_USER_COVERAGE": "1", "COCOTB_TESTCASE": "x",
             "COCOTB_TEST_FILTER": "x", "COCOTB_TEST_MODULES": "x", "COCOTB_LOG_LEVEL": "x", "GPI_EXTRA": "x:y",
             "GPI_USERS": "x", "PYGPI_USERS": "x", "TESTCASE": "x", "RANDOM_SEED": "x", "SIM_CMD_PREFIX": "false",
             "VERILATOR_ROOT": "/nowhere", "VERILATOR_BIN": "false", "MAKEFLAGS": "-n", "MAKEFILES": "/nowhere",
             "GNUMAKEFLAGS": "-n", "CPPFLAGS": "-Dx=(", "CXXFLAGS": "-Werror -Dx=(", "LDFLAGS": "-lnothing"}


def test_variables_of_the_user_do_nothing(simulator, own_cache, monkeypatch):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    [run] = build(simulator).simulate([echo_trial()])
    assert np.array_equal(run.data, echo_trial().data)


def test_blanks_and_signs_in_paths(simulator, own_cache, tmp_path, monkeypatch):
    """Of the cache and of temporary files."""
    odd = tmp_path / "w b$x'y#z;"
    odd.mkdir()
    (odd / "runtime").symlink_to((own_cache / "runtime").resolve())
    monkeypatch.setenv("WINGBEAT_CACHE", str(odd))
    monkeypatch.setenv("TMPDIR", str(odd))
    monkeypatch.setattr("tempfile.tempdir", None)
    [run] = build(simulator).simulate([echo_trial()])
    assert np.array_equal(run.data, echo_trial().data)


def test_files_of_the_working_directory_do_nothing(need, own_cache, tmp_path, monkeypatch):
    """Python looks there first for a module that a command names."""
    need("icarus")
    for name in ("random.py", "math.py", "tempfile.py", "cocotb.py"):
        (tmp_path / name).write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    assert Core(load_preset("tiny")).verilog
    assert build("icarus").simulate([echo_trial()])


def test_a_run_that_ends_early_keeps_its_log(simulator, own_cache, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(own_cache.parent))
    made = build(simulator)
    for name in products("echo", simulator):
        (made.entry.folder / name).write_text("#!/bin/sh\necho no licence; exit 3\n")
    with pytest.raises(SimulatorError, match=f"^simulation: {simulator} failed on echo .*; see .*log$") as caught:
        made.simulate([echo_trial()])
    assert caught.value.log.exists()


@pytest.mark.parametrize("program", SYSTEM_TOOLS)
def test_a_missing_program_is_named(need, monkeypatch, program):
    need("verilator")
    which = shutil.which
    monkeypatch.setattr("shutil.which", lambda name, *more, **others: None if name == program else which(name, *more))
    with pytest.raises(SimulatorError, match=f"^simulator: {re.escape(program)}, which .*; apt-get install"):
        build("verilator")


@pytest.mark.thin(4)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_nothing_in_the_cache(need, own_cache, tmp_path, number):
    need("verilator")
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    run = subprocess.Popen([sys.executable, "-c", "from wingbeat.gen.cli.entry import run; run()", "simulate",
                            "--preset", "processor-16"], env=environment, stderr=subprocess.PIPE)
    while run.poll() is None and not list(own_cache.rglob("Vtop.mk")):
        time.sleep(0.05)
    run.send_signal(number)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 128 + number and errors.splitlines() == [b"simulate 1/3: model"]
    assert not list((own_cache / "builds").iterdir()) and not list((tmp_path / "temporary").iterdir())


def test_tools_start_without_hooks_around_the_fork(need, tmp_path):
    """What a hook raises is lost: so was a signal that came while Python forked."""
    need("icarus")
    (tmp_path / "top.v").write_text("module top (a); input a; endmodule\n")
    program = ("import os, pathlib\n"
               "from wingbeat.gen.cosim.testbench.simulators import compile_verilog\n"
               "os.register_at_fork(before=lambda: print('hook'))\n"
               "compile_verilog([pathlib.Path('top.v')], 'top', pathlib.Path('build'), 'icarus')")
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (tmp_path / "build" / "sim.vvp").exists() and not run.stdout


def test_missing_simulator_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("wingbeat.gen.cosim.testbench.simulators.find", lambda simulator: None)
    expected = "^simulator: icarus is not installed; apt-get install iverilog$"
    with pytest.raises(SimulatorError, match=expected):
        build("icarus")
