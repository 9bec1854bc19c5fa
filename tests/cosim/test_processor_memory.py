"""The simulated memory and the bench of a processor: latency, throughput, order, refusals, and every kind of fault. The
design is a small machine with the ports of a processor that copies beats."""

from dataclasses import replace
from functools import cache

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
import numpy as np
import pytest

from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.job import Trial
from wingbeat.gen.cosim.testbench.simulators import SimulatorError
from wingbeat.gen.cosim.timing import MEMORY_STALLS, MemoryTiming, StreamTiming
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.setup import ARRAY_COUNTERS, COUNTER_BITS, CONTROL_START, SETUP_CONTROL, SETUP_PROGRAM
from wingbeat.hw.layouts import setup
from wingbeat.hw.memory.port import MemoryParameters, MemoryPort

SEED = 12
CONFIG = CoreConfig.of(name="copier", engines=2, layers=1, width=9, element_width=9, coefficient_width=8, half_words=8,
                       stream_words=4, memory_bits=10)
BEATS = 600
REFUSED = 8
WORDS = ("source", "target", "count", "strobe", "way")
WAYS = {name: code for code, name in enumerate(
    ("copy", "reads", "writes", "changed_read", "changed_write", "hasty", "hanging", "restless", "undefined"))}


class Copier(wiring.Component):
    """Its "program" is the words WORDS: copy ``count`` beats, each passed on in the cycle in which it comes. ``way`` is
    one of WAYS: only read, only write, or break a rule."""

    def __init__(self):
        counters = dict.fromkeys(ARRAY_COUNTERS, COUNTER_BITS)
        super().__init__({
            "i_setup": In(stream.Signature(setup())),
            "port": Out(MemoryPort(MemoryParameters(8, CONFIG.element_width, CONFIG.memory_bits))),
            "status": Out(data.StructLayout({"busy": 1, "saturated": 1, **counters, "error": 4, "tag": 16})),
            "block": Out(data.StructLayout({"valid": 1, "exponent": 6, "saturated": 1})),
            "activity": Out(data.StructLayout({
                "moved": 64, "port": data.StructLayout({"read": 1, "beat": 1, "write": 1, "written": 1})}))})

    def elaborate(self, platform):
        m = Module()
        port, status, word = self.port, self.status, {name: Signal(16, name=name) for name in WORDS}
        asked, moved, written = (Signal(16, name=name) for name in ("asked", "moved", "written"))
        busy, write = Signal(), self.i_setup.payload
        only_writes = (word["way"] == WAYS["writes"]) | (word["way"] == WAYS["undefined"])
        way = {name: word["way"] == code for name, code in WAYS.items()}
        writes = port.write.valid & port.write.ready
        moves = Mux(way["reads"], port.beats.valid & port.beats.ready, writes)
        copying = busy & (moved != word["count"])
        for number, name in enumerate(WORDS):
            with m.If(self.i_setup.valid & (write.target == SETUP_PROGRAM) & (write.address == number)):
                m.d.sync += word[name].eq(write.data)
        with m.If(busy):
            m.d.sync += [asked.eq(asked + (port.read.valid & port.read.ready)), moved.eq(moved + moves),
                         written.eq(written + port.written), status.total.eq(status.total + 1)]
            m.d.sync += busy.eq((Mux(way["hasty"] | way["reads"], moved, written) != word["count"]) | way["hanging"])
        with m.If(self.i_setup.valid & (write.target == SETUP_CONTROL)):
            m.d.sync += [busy.eq(1), asked.eq(0), moved.eq(0), written.eq(0)]
        with m.If(port.refused & ~status.error.any()):
            m.d.sync += [status.error.eq(REFUSED), status.tag.eq(moved)]
        m.d.comb += [
            self.i_setup.ready.eq(~busy), status.busy.eq(busy), status.blocks.eq(moved >> 3),
            port.read.valid.eq(busy & ~only_writes & (asked != word["count"] + way["restless"])),
            port.read.payload.eq(word["source"] + asked + (way["changed_read"] & ~port.read.ready)),
            port.write.valid.eq((port.beats.valid | only_writes) & copying & ~way["reads"]),
            port.beats.ready.eq((port.write.ready | way["reads"]) & copying),
            port.write.payload.address.eq(word["target"] + moved),
            port.write.payload.strobe.eq(Mux(way["changed_write"], asked, word["strobe"])),
            port.write.payload.beat.eq(Mux(way["writes"], moved, port.beats.payload)),
            self.block.valid.eq(moves & (moved[:3] == 7)), self.block.exponent.eq(moved >> 3),
            self.activity.moved.eq(moved), self.activity.port.read.eq(port.read.valid & port.read.ready),
            self.activity.port.beat.eq(port.beats.valid), self.activity.port.write.eq(writes),
            self.activity.port.written.eq(port.written)]
        return m


COPIER = Copier()


@cache
def build(simulator):
    return Core(CONFIG, COPIER).build(simulator)


@pytest.fixture(params=["verilator", "icarus"])
def simulator(request, need):
    need(request.param)
    return request.param


IMAGE = np.random.default_rng(SEED).integers(-256, 256, (BEATS, 8))


def copy(name, timing=MemoryTiming(), source=0, target=300, count=200, strobe=255, way="copy", **others):
    program = [source, target, count, strobe, WAYS[way]]
    return Trial(name, [(3, 5, 7)] * 4, program, IMAGE, timing, trace=True, **{"deadline": 20000, **others})


def copied(trial, memory=IMAGE):
    """What a copy without overlap leaves."""
    source, target, count, strobe, _ = trial.program
    memory = memory.copy()
    elements = [e for e in range(8) if strobe >> e & 1]
    memory[target:target + count, elements] = memory[source:source + count, elements]
    return memory


def firsts(run):
    """First cycle in which each activity bit was set."""
    return [run.activity["cycle"][run.activity[unit].argmax()] for unit in ("port.read", "port.beat", "port.written")]


@pytest.mark.parametrize("latencies", [(1, 2, 40, 400)])
def test_latency(simulator, latencies):
    trials = [copy(f"l{latency}", MemoryTiming(latency)) for latency in latencies]
    for run, latency in zip(build(simulator).simulate(trials), latencies):
        read, beat, written = firsts(run)
        assert (beat - read, written - beat) == (latency, latency)
        # One beat per cycle; `busy` falls after the last beat has been counted.
        assert run.cycles == 200 + 2 * latency + 2
        assert (run.reads, run.writes, run.late_requests) == (200, 200, 0)
        assert run.end_cycle - run.written_cycle == 2
        assert np.array_equal(run.data, copied(run.trial))
        assert run.counters.total == run.cycles - 1 and run.counters.blocks == 25 and not run.error
        assert [block.exponent for block in run.blocks] == list(range(25))
        assert np.diff([block.cycle for block in run.blocks]).tolist() == [8] * 24
        assert (np.diff(run.activity["moved"]) >= 0).all() and run.activity["moved"][-1] == 200


@pytest.mark.parametrize("way", ["reads", "writes", "copy"])
def test_words_per_cycle(simulator, way):
    """What was saved while nothing was due, one beat at most, is all that comes early."""
    rates = ("1", "1.5", "3", "3.9", "4", "16")
    trials = [copy(f"w{rate}", MemoryTiming.parse(f"delay:300,{rate}"), way=way) for rate in rates]
    for run, rate in zip(build(simulator).simulate(trials), rates):
        period = max(1.0, 4 / float(rate))
        waits = 600 if way == "copy" else 300
        assert -period <= run.cycles - waits - 200 * period <= 2 + period, rate


CHANNELS = ("read", "beat", "write", "written")


def runs_of(run, unit):
    """Runs of cycles in which this activity bit was set."""
    return int((np.diff(run.activity[f"port.{unit}"]) > 0).sum())


@pytest.mark.parametrize("channel", CHANNELS)
def test_each_channel_stalls_by_itself(simulator, channel, monkeypatch):
    chances = tuple(0.5 * (name == channel) for name in CHANNELS)
    monkeypatch.setitem(MEMORY_STALLS, "short", (chances, 1))
    monkeypatch.setitem(MEMORY_STALLS, "long", (chances, 16))
    side = "reads" if channel in ("read", "beat") else "writes"
    trials = [copy(f"{way}_{stalls}", MemoryTiming(300, 0, stalls, SEED), way=way)
              for way in ("reads", "writes") for stalls in ("short", "long")]
    for run in build(simulator).simulate(trials):
        note, way = f"{run.trial.name}, seed {SEED}", run.trial.name.split("_")[0]
        asked, answered = ("read", "beat") if way == "reads" else ("write", "written")
        if way != side:
            assert (runs_of(run, asked), runs_of(run, answered)) == (1, 1), note
        # A request is not held back by what happens to the answers.
        assert (runs_of(run, asked) == 1) == (channel != asked), note
        # A beat is offered until it is taken, which happens at once: 100 runs of either kind, or a sixteenth of them.
        low, high = (60, 140) if run.trial.timing.stalls == "short" else (3, 40)
        assert way != side or low < runs_of(run, channel) < high, note


@pytest.mark.parametrize("profile", [name for name in MEMORY_STALLS if name != "none"])
def test_stalls(simulator, profile):
    trials = [copy(f"{profile}{seed}", MemoryTiming(latency, 3 * (seed % 2), profile, seed, bool(seed & 2)),
                   strobe=0b10110001)
              for seed, latency in enumerate((1, 1, 30, 30))]
    runs = build(simulator).simulate([*trials, replace(trials[0], name="again")])
    for run in runs:
        note = f"{profile}, seed {run.trial.timing.seed}"
        assert np.array_equal(run.data, copied(run.trial)), note
        assert run.cycles > 250, note
    assert runs[-1].cycles == runs[0].cycles
    assert np.array_equal(runs[-1].activity["cycle"], runs[0].activity["cycle"])
    assert len({run.cycles for run in runs}) == 4


def test_order_of_reads_and_writes(simulator):
    """A copy onto its own source moved by one: reads run ahead of the writes by the latency."""
    trials = [copy("kept", MemoryTiming(20), target=1), copy("overtaken", MemoryTiming(20, overtaking=True), target=1),
              copy("behind", source=100, target=99)]
    kept, overtaken, behind = build(simulator).simulate(trials)
    assert np.array_equal(kept.data[1:201], IMAGE[:200])
    assert (overtaken.data[1:201] == IMAGE[0]).all()
    assert np.array_equal(behind.data[99:299], IMAGE[100:300])


def test_a_read_behind_written_sees_the_write(simulator):
    """The source follows the target at a distance: the copy feeds on itself as soon as `written` allows."""
    trials = [copy(f"d{distance}", MemoryTiming(5), source=0, target=distance, count=40) for distance in (8, 9, 10, 11)]
    for run in build(simulator).simulate(trials):
        distance = run.trial.program[1]
        # Beat 0 has been written 2 * 5 cycles after it was asked for, and its copy is asked for `distance` after it.
        want = np.resize(IMAGE[:distance], (40, 8)) if distance >= 10 else IMAGE[:40]
        assert np.array_equal(run.data[distance:distance + 40], want), distance


def test_refused(simulator):
    trials = [copy("read", limit=150, target=0, source=100, count=60), copy("write", limit=330),
              copy("slow", MemoryTiming(200), limit=330), copy("within", limit=500)]
    read, write, slow, within = build(simulator).simulate(trials)
    assert [run.error for run in (read, write, slow, within)] == [REFUSED, REFUSED, REFUSED, 0]
    assert np.array_equal(read.data[:50], IMAGE[100:150])
    assert not read.data[50:60].any()
    assert np.array_equal(read.data[60:], IMAGE[60:])
    for run in (write, slow):  # what was accepted before the error is still written
        assert np.array_equal(run.data[300:330], IMAGE[:30])
        assert np.array_equal(run.data[330:], IMAGE[330:])
    assert read.tag == 50 and read.cycles < 60 and read.late_requests > 0
    assert np.array_equal(within.data, copied(within.trial))


@pytest.mark.parametrize("fault, message", [
    ("changed_read", r"cycle \d\d: a read request changed or vanished"),
    ("changed_write", r"cycle \d\d: a write request changed or vanished"),
    ("hasty", "busy fell in cycle .* with writes_left = "), ("restless", "with reads_left = 1"),
    ("hanging", "deadline of 20000 cycles passed: 10 setup writes sent, 200 beats asked for, 200 written")])
def test_sees_a_fault_of_the_design(simulator, fault, message):
    trial = copy("copy", MemoryTiming(9, 3, "gaps" if fault.startswith("changed") else "none", SEED), way=fault)
    expected = rf"1 of 1 trials failed on {simulator}: copy \(latency 9, stalls .*, seed {SEED}\): .*{message}"
    with pytest.raises(SimulatorError, match=expected):
        build(simulator).simulate([trial])


def test_sees_undefined_beats(need):
    need("icarus")
    with pytest.raises(SimulatorError, match="^copy: beat 300 has undefined bits: x"):
        build("icarus").simulate([copy("copy", way="undefined")])


def test_instructions_or_words():
    """A program of words is written as it stands, so that it can be an illegal one."""
    trial = copy("words")
    assert trial.setup_writes[4:] == [(SETUP_PROGRAM, n, word) for n, word in enumerate(trial.program)] + [
        (SETUP_CONTROL, 0, CONTROL_START)]


@pytest.mark.parametrize("change, message", [
    ({"data": IMAGE[:, :6]}, r"memory: shape \(600, 6\); allowed are \(1..1024, 8\)"),
    ({"data": np.zeros((1025, 8), int)}, r"memory: shape \(1025, 8\)"),
    ({"data": IMAGE + 256}, "does not fit 9 bits"),
    ({"limit": 601}, "limit: 601; allowed are 0..600"),
    ({"deadline": 0}, "deadline: 0 cycles"),
])
def test_trials_that_do_not_fit(simulator, change, message):
    with pytest.raises(ValueError, match=message):
        build(simulator).simulate([replace(copy("copy"), **change)])


@pytest.mark.parametrize("text, timing", [
    ("ideal", MemoryTiming()), ("delay:1,16", MemoryTiming(1, 16)), ("delay:200,12.5", MemoryTiming(200, 12.5)),
    ("axi:1,16", MemoryTiming(1, 16))])  # the word of version 0.1
def test_timing_options(text, timing):
    assert MemoryTiming.parse(text) == timing


@pytest.mark.parametrize("text, message", [
    ("axi", "^memory: 'axi'; allowed are ideal and delay:LATENCY,WORDS_PER_CYCLE, such as delay:40,12$"),
    ("delay:5", "memory: 'delay:5'"), ("delay:5,0", "memory: 'delay:5,0'"), ("ddr:5,4", "memory: 'ddr:5,4'"),
    ("delay:0,4", "^latency: 0 cycles; allowed are 1..400$"), ("delay:401,4", "latency: 401"),
    ("delay:4,300", "^words_per_cycle: 300; allowed are 0.001..256, or 0 for a beat per cycle$")])
def test_timing_errors(text, message):
    with pytest.raises(WingbeatError, match=message):
        MemoryTiming.parse(text)


def test_unknown_stalls():
    with pytest.raises(WingbeatError, match="^stalls: 'some' is not known; allowed are none, gaps, "):
        MemoryTiming(stalls="some")


def test_an_array_is_no_processor():
    array = CONFIG.changed(memory_bits=0)
    with pytest.raises(WingbeatError, match=r"^memory: copier has no \[memory\]; allowed is a processor$"):
        Core(array).simulate([copy("copy")])
    with pytest.raises(WingbeatError, match=r"^depth: 64 beats, and copier has no \[memory\]; allowed is none$"):
        Core(array, depth=64)


def test_a_processor_is_no_array():
    with pytest.raises(WingbeatError, match=r"^memory: copier has one; allowed with streams is an array$"):
        Core(CONFIG, COPIER).simulate([replace(copy("copy"), timing=StreamTiming())])


def test_depth_is_checked():
    with pytest.raises(WingbeatError, match="^depth: 0 beats; allowed are 1..1048576$"):
        Core(CONFIG, COPIER, depth=0)
