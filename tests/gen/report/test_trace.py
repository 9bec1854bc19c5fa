"""From the activity of the units to the timeline: exact states, spans and merged stalls, reasons of lost cycles; and a
small processor in Verilog, whose counters the states must add up to."""

from functools import cache
from types import SimpleNamespace
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from wingbeat.gen.compiler.kernel.compile import compile_fft
from wingbeat.gen.compiler.program.assemble import assemble, written_beats
from wingbeat.gen.compiler.program.coefficients import CoefficientSpace
from wingbeat.gen.compiler.program.matrix import Matrix
from wingbeat.gen.compiler.program.operations import transform_rows
from wingbeat.gen.cosim.core import Build, Core
from wingbeat.gen.cosim.job import Trial
from wingbeat.gen.cosim.testbench.simulators import SimulatorError, find
from wingbeat.gen.cosim.timing import MemoryTiming
from wingbeat.gen.report.spans import Span, StallSpan, Timeline, summary
from wingbeat.gen.report.timeline import timeline_html, to_svg
from wingbeat.gen.report.trace import (UNITS, State, layer_cycles, lost_cycles, lost_reasons, trace_states,
                                       trace_timeline)
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError

FLAGS = {"b": "busy", "m": "moving", "i": "waiting_input", "o": "waiting_output"}
START = 50  # cycle of the simulation in which the program starts
SVG = "{http://www.w3.org/2000/svg}"


def stages(*names):
    return [SimpleNamespace(name=name) for name in names]


def made_run(cycles=100, **units):
    """A run of so many cycles. A unit is a list of (cycles, flags, block): flags as keys of FLAGS, and the count of
    blocks that shows. What is not named is idle."""
    columns = {}
    for unit in UNITS:
        parts = units.get(unit, [])
        rest = cycles - sum(part[0] for part in parts)
        assert rest >= 0, unit
        parts = [*parts, (rest, "i" if unit == "cal" else "", parts[-1][2] if parts else 0)]
        for letter, name in FLAGS.items():
            columns[f"{unit}.{name}"] = np.concatenate([np.full(n, letter in flags) for n, flags, _ in parts])
        columns[f"{unit}.block"] = np.concatenate([np.full(n, block & 3) for n, _, block in parts])
    table = np.stack([column.astype(np.int64) for column in columns.values()])
    before = np.zeros((len(columns), 1), np.int64)  # the record begins with the simulation
    changed = np.concatenate([[True], (np.diff(table, prepend=before, axis=1) != 0).any(axis=0)])
    at = np.concatenate([[1], np.arange(cycles) + START + 2])[changed]
    values = np.concatenate([before, table], axis=1)[:, changed]
    return SimpleNamespace(trial=SimpleNamespace(name="made"), cycles=cycles, start_cycle=START,
                           activity={"cycle": at, **dict(zip(columns, values))})


def stalls_of(timeline, unit):
    return [(s.start, s.end, s.cause, s.cycles) for s in timeline.stalls if s.unit == unit]


def spans_of(timeline, unit):
    return [(s.start, s.end, s.tag, s.layer) for s in timeline.spans if s.unit == unit]


# --- states, spans, stalls ----------------------------------------------------------------------


def test_load():
    """It waits for beats, for its half, ends a block, and the next one follows."""
    run = made_run(load=[(10, "", 0), (20, "bi", 0), (5, "bm", 0), (20, "bo", 0), (5, "bm", 0), (3, "bi", 0),
                         (1, "bi", 1), (2, "", 1), (4, "bm", 1), (1, "bi", 2)])
    made = trace_timeline(run, stages("a", "b"), "load")
    assert spans_of(made, "load") == [(30, 60, 0, "a"), (66, 70, 1, "b")]
    assert stalls_of(made, "load") == [(10, 30, "input", 20), (35, 55, "output", 20), (60, 64, "latency", 4),
                                       (70, 71, "latency", 1)]
    (found,) = [s for s in summary(made) if s.unit == "load"]
    assert (found.busy, found.idle) == (14, 100 - 14 - 45)


def test_cal_without_gaps():
    """Blocks that follow each other show only in the count; short waits for an instruction are not the program's."""
    run = made_run(load=[(5, "bm", 0), (1, "b", 1), (4, "bm", 1), (1, "b", 2), (4, "bm", 2), (1, "b", 3)],
                   cal=[(6, "i", 0), (2, "", 0), (9, "bm", 0), (1, "bm", 1), (9, "bm", 1), (1, "bm", 2), (3, "i", 2),
                        (5, "bm", 2), (6, "bi", 2), (3, "bm", 2), (1, "bm", 3), (20, "i", 3)])
    made = trace_timeline(run, stages("a", "b", "a"), "cal")
    assert spans_of(made, "cal") == [(8, 18, 0, "a"), (18, 28, 1, "b"), (31, 46, 2, "a")]
    assert stalls_of(made, "cal") == [(0, 5, "input", 5), (6, 8, "hazard", 2), (5, 6, "latency", 1),
                                      (28, 31, "latency", 3), (36, 42, "program", 6)]


@pytest.mark.parametrize("writer, found", [
    # The second WRITE begins before the last writes of the first, and its block has not come yet;
    ([(8, "", 0), (11, "bi", 1), (4, "bm", 1), (13, "bo", 2), (1, "bm", 2), (11, "bi", 2), (5, "bm", 2)],
     [(19, 37, 0, "a"), (48, 53, 1, "b")]),
    # or its block comes before it begins.
    ([(8, "", 0), (11, "bi", 1), (5, "bm", 1), (16, "bo", 1), (2, "bm", 1), (1, "bm", 2), (12, "bi", 2), (5, "bm", 2)],
     [(19, 43, 0, "a"), (55, 60, 1, "b")])])
def test_store_and_writer_borders(writer, found):
    """The last beat leaves the store when it has ended the block, even when it has begun the next."""
    store = [(10, "bi", 0), (5, "b", 0), (5, "bm", 0), (1, "bo", 0), (1, "b", 1), (2, "o", 1), (1, "io", 1),
             (2, "bo", 1), (1, "bm", 1), (8, "b", 1), (4, "bm", 1), (1, "bm", 2)]
    made = trace_timeline(made_run(store=store, writer=writer), stages("a", "b"), "borders")
    assert spans_of(made, "store") == [(15, 28, 0, "a"), (36, 41, 1, "b")]
    assert spans_of(made, "writer") == found
    assert [s[2] for s in stalls_of(made, "writer")].count("memory") == 1


def test_reader_causes():
    """The load unit tells what a reader waits for: starved, memory; full, output; neither and much, zeros."""
    reader = [(2, "b", 0), (9, "bo", 1), (20, "bm", 1), (20, "bo", 1), (5, "bm", 1), (20, "bi", 1), (3, "bo", 1),
              (9, "bo", 2), (20, "bm", 2), (20, "bo", 2), (5, "bm", 2), (2, "b", 2), (9, "bo", 3), (5, "bm", 3),
              (40, "bo", 3)]
    load = [(12, "bi", 0), (20, "bm", 0), (20, "bi", 0), (4, "bm", 0), (1, "bm", 1), (33, "bi", 1), (20, "bm", 1),
            (20, "bo", 1), (4, "bm", 1), (1, "bm", 2), (60, "bm", 2)]
    made = trace_timeline(made_run(200, reader=reader, load=load), stages("a", "a", "a"), "reader")
    assert stalls_of(made, "reader") == [
        (108, 128, "output", 20), (31, 51, "memory", 20), (56, 76, "dependency", 20), (2, 11, "latency", 9),
        (76, 88, "latency", 12), (135, 144, "latency", 9), (149, 189, "padding", 40)]


def test_short_stalls_come_together():
    """Three of four cycles move: one mark with its share, not across blocks, and no cycle is lost."""
    step = [(3, "bm", 0), (1, "bo", 0)] * 300
    long = [(3, "bm", 0), (16, "bo", 0)] * 2
    alternating = [(1, "bi", 0), (1, "bo", 0), (2, "bm", 0)] * 20
    run = made_run(2000, load=[*step, *long, *alternating, (1, "bm", 1)])
    made = trace_timeline(run, stages("a"), "merged")
    stalls = stalls_of(made, "load")
    first = [s for s in stalls if s[1] <= 1200]
    assert first == [(3, 512, "output", 128), (515, 1024, "output", 128), (1027, 1200, "output", 44)]
    assert [s for s in stalls if 1200 <= s[0] < 1238] == [(1203, 1219, "output", 16), (1222, 1238, "output", 16)]
    assert [s for s in stalls if s[0] >= 1238] == [(1238, 1315, "input", 20), (1239, 1316, "output", 20)]
    (found,) = [s for s in summary(made) if s.unit == "load"]
    assert (found.busy, found.stalled) == (900 + 6 + 40 + 1, {"input": 20, "output": 300 + 32 + 20})


def random_run(seed, cycles):
    """Units with stalls of all lengths, most of one cycle in four."""
    rng = np.random.default_rng(seed)
    units = {}
    for unit in UNITS:
        parts, at, block = [(5, "", 0)], 5, 0
        begins = unit in ("reader", "writer")
        while at < cycles - 3000:
            block += begins
            parts.append((16, "b", block))  # the latencies of all units
            at += 16
            for _ in range(rng.integers(1, 200)):
                wait = int(rng.choice([1] * 100 + [2, 3, 5] * 6 + [40]))
                parts += [(3, "bm", block), (wait, "b" + "io"[rng.integers(2)], block)]
                at += 3 + wait
            parts += [(1, "bm", block + (not begins)), (5, "i" if unit == "cal" else "", block + (not begins))]
            block += not begins
            at += 6
        units[unit] = parts
    return made_run(cycles, **units)


@pytest.mark.parametrize("seed, cycles", [(1, 20_000), pytest.param(2, 180_000, marks=pytest.mark.campaign)])
def test_random_runs_add_up_and_stay_small(seed, cycles):
    run = random_run(seed, cycles)
    names = stages(*(f"layer {k // 100}" for k in range(2000)))
    made, traces = trace_timeline(run, names, f"seed {seed}"), trace_states(run)
    for found in summary(made):
        states = traces[found.unit].states
        assert found.busy == np.count_nonzero(states == State.MOVING), f"seed {seed}, {found.unit}"
        counts = {s.name.lower(): np.count_nonzero(states == s) for s in State if s > State.MOVING}
        assert found.stalled == {name: n for name, n in counts.items() if n}, f"seed {seed}, {found.unit}"
    for unit in UNITS:
        rows = [row for row in layer_cycles(run, names) if row.unit == unit]
        spans = [s for s in made.spans if s.unit == unit]
        assert sum(row.blocks for row in rows) == len(spans)
        assert sum(row.busy for row in rows) == sum(s.end - s.start for s in spans)
        assert sum(row.moving for row in rows) == np.count_nonzero(traces[unit].states == State.MOVING)
    assert len(to_svg(made)) < 2e6 and len(timeline_html(made)) < 2e6, f"seed {seed}"


# --- lost cycles --------------------------------------------------------------------------------


def test_reasons():
    """Up from cal to the unit that it waits for, and to what that one waits for."""
    run = made_run(
        120,
        reader=[(5, "", 0), (2, "b", 0), (9, "bo", 1), (10, "bm", 1), (2, "b", 1), (20, "bi", 1), (9, "bo", 2),
                (10, "bm", 2)],
        load=[(12, "", 0), (8, "bi", 0), (10, "bm", 0), (1, "bi", 1), (1, "", 1), (26, "bi", 1), (10, "bm", 1),
              (1, "bi", 2)],
        cal=[(31, "i", 0), (9, "bm", 0), (1, "bm", 1), (29, "i", 1), (4, "bm", 1), (8, "b", 1), (1, "bm", 2)],
        store=[(41, "bi", 0), (3, "b", 0), (4, "bm", 0), (1, "bm", 1)],
        writer=[(41, "", 0), (9, "bi", 1), (10, "bm", 1)])
    gaps = lost_cycles(run, stages("a", "b"))
    assert [(gap.start, gap.cycles, gap.kind, gap.tag, gap.layer) for gap in gaps] == [
        (83, 37, "drain", 1, "b"), (0, 31, "fill", 0, "a"), (41, 29, "gap", 1, "b"), (74, 8, "pass", 1, "b")]
    fill, gap = gaps[1].reasons, gaps[2].reasons
    assert fill == {"program: LOAD": 12, "load takes beats": 10, "beats on their way from memory": 4,
                    "reader begins": 4, "cal begins": 1}
    assert gap["load takes beats"] == 10 and gap["block to be read: store gives beats"] == 4
    assert gaps[3].reasons == {"hazard: pass before is not written": 8}
    assert sum(sum(g.reasons.values()) for g in gaps) == sum(g.cycles for g in gaps) == 120 - 15
    assert sum(lost_reasons(gaps).values()) == 105


def test_a_run_that_never_computes():
    run = made_run(40, reader=[(5, "b", 0), (5, "bo", 1), (30, "bi", 1)], load=[(5, "", 0), (35, "bi", 0)])
    (gap,) = lost_cycles(run, stages("a"))
    assert (gap.cycles, gap.kind) == (40, "fill") and "block to be read: last writes in memory" in gap.reasons
    assert not trace_timeline(run, stages("a"), "").spans


def test_free_half():
    """A load whose half is still being emptied."""
    run = made_run(60, load=[(5, "bm", 0), (1, "b", 1), (10, "bo", 1), (5, "bm", 1), (1, "b", 2)],
                   cal=[(6, "i", 0), (3, "bm", 0), (1, "bm", 1), (12, "i", 1), (3, "bm", 1), (1, "bm", 2)],
                   store=[(3, "bi", 0), (2, "b", 0), (7, "bm", 0), (3, "bo", 0), (1, "bm", 1)],
                   writer=[(3, "", 0), (9, "bi", 1), (3, "bo", 1)])
    (gap,) = [g for g in lost_cycles(run, stages("a", "a")) if g.kind == "gap"]
    assert gap.reasons == {"load takes beats": 5, "free half: memory takes no write": 3,
                           "free half: store empties it": 3, "cal begins": 1}


def test_page_has_the_tables():
    run = random_run(3, 5000)
    page = timeline_html(trace_timeline(run, stages(*["<layer>"] * 2000), "tables"))
    for title in ("Cycles by layer", "Why cal did not compute", "Largest gaps of cal"):
        assert f"<h2>{title}" in page
    assert page.count("<tr><td class=\"text\">reader</td><td class=\"text\">&lt;layer&gt;</td>") == 1


# --- refusals -----------------------------------------------------------------------------------


def test_refusals():
    untraced = SimpleNamespace(trial=SimpleNamespace(name="x"), activity={}, cycles=5, start_cycle=0)
    with pytest.raises(WingbeatError,
                       match=r"^trace: False of run 'x' has left no record of its units; allowed is True$"):
        trace_timeline(untraced, stages("a"), "")
    run = made_run(load=[(5, "bm", 0), (1, "bm", 1), (5, "bm", 1), (1, "bm", 2)])
    with pytest.raises(WingbeatError, match=r"^stages: 1 are too few for a run of 2 blocks; allowed is one a block$"):
        lost_cycles(run, stages("a"))


@pytest.mark.parametrize("stalls, message", [
    ([(0, 10, "input", 11)], "Stall.cycles: 11 of unit 'cal'; allowed are 1..10, or 0 for all"),
    ([(0, 30, "input", 5)],
     "stalls[0].cycles: 5 of unit 'cal', cycles 0..29, in which a span starts or ends; allowed are all"),
    ([(20, 30, "input", 6), (22, 30, "output", 5)],
     "stalls[1].start: 22 lies inside stalls[0] of unit 'cal', cycles 20..29"),
    ([(20, 30, "input", 2), (22, 32, "input", 2)],
     "stalls[1].start: 22 lies inside stalls[0] of unit 'cal', cycles 20..29"),
])
def test_partial_stalls_that_cannot_be(stalls, message):
    with pytest.raises(WingbeatError) as found:
        Timeline(("cal",), 100, (Span("cal", 20, 40, 0, "a"),), [StallSpan("cal", *s) for s in stalls], "")
    assert str(found.value) == message


def test_partial_stalls_are_lower():
    made = Timeline(("cal",), 1000, (Span("cal", 0, 500, 0, "a"),),
                    (StallSpan("cal", 100, 300, "input", 100), StallSpan("cal", 150, 250, "output", 50),
                     StallSpan("cal", 600, 700, "input")), "")
    svg = ET.fromstring(to_svg(made))
    heights = {r.findtext(f"{SVG}title"): float(r.get("height")) for r in svg.iter(f"{SVG}rect")
               if "stall" in (r.get("class") or "").split() and r.find(f"{SVG}title") is not None}
    assert heights == {"stalled: input, first cycle 100 in 50% of 200 cycles": 5.5,
                       "stalled: output, first cycle 150 in 50% of 100 cycles": 5.5,
                       "stalled: input, first cycle 600, 100 cycles": 11.0}
    (found,) = summary(made)
    assert (found.busy, found.stalled, found.idle) == (350, {"input": 200, "output": 50}, 400)
    assert "[100,200,100,0,600,100,0,0]" in timeline_html(made)


# --- a processor in Verilog ---------------------------------------------------------------------

CONFIG = CoreConfig.of(engines=1, layers=1, width=9, element_width=8, coefficient_width=8, half_words=32,
                       coefficient_words=64, stream_words=2, memory_bits=10, descriptors=4, watchdog=4096,
                       pipeline="short")
TIMINGS = {"ideal": MemoryTiming.parse("ideal"), "slow": MemoryTiming.parse("delay:40,1"),
           "gaps": MemoryTiming(stalls="gaps", seed=11)}


@cache
def fft_runs(folder):
    """A Fourier transform of 13 rows on memories of three kinds, with waves; tasks, stages and runs."""
    rng = np.random.default_rng(5)
    kernel = compile_fft(16, CONFIG, scaling="static", rows=13,
                         calibration=rng.uniform(-1, 1, (13, 16)) + 1j * rng.uniform(-1, 1, (13, 16)))
    source = Matrix.at(0, 13, 32, CONFIG)
    target = Matrix.at(source.end, 13, 32, CONFIG)
    tasks = transform_rows(kernel, source, target, CoefficientSpace(CONFIG), "fft")
    program = assemble(CONFIG, tasks)
    image = np.zeros((target.end, 4), np.int64)
    trials = [Trial(name, program.setup, program.instructions, image, timing, trace=True)
              for name, timing in TIMINGS.items()]
    runs = Core(CONFIG).build(vcd=True).simulate(trials, vcd=folder / "new" / "waves.vcd")
    return tasks, program.stages, {run.trial.name: run for run in runs}


@pytest.fixture(scope="module")
def fft(tmp_path_factory):
    if find("verilator") is None:
        pytest.skip("verilator is not installed: nothing was simulated on it")
    folder = tmp_path_factory.mktemp("trace")
    return *fft_runs(folder), folder


@pytest.mark.parametrize("timing", TIMINGS)
def test_states_are_what_the_counters_count(fft, timing):
    tasks, names, runs, _ = fft
    run = runs[timing]
    traces, status = trace_states(run), run.status
    count = {unit: {s: np.count_nonzero(trace.states == s) for s in State} for unit, trace in traces.items()}
    for unit in ("reader", "load", "store", "writer"):
        assert count[unit][State.MOVING] == status[f"{unit}_moving"], unit
    assert count["load"][State.OUTPUT] == status["load_waiting_output"]
    assert count["store"][State.OUTPUT] == status["store_waiting_output"]
    assert count["writer"][State.MEMORY] == status["writer_waiting_output"]
    assert count["cal"][State.MOVING] == status["computing"]
    assert count["cal"][State.HAZARD] == status["waiting_hazard"]
    assert count["cal"][State.MOVING] + sum(gap.cycles for gap in lost_cycles(run, names)) == run.cycles
    for trace in traces.values():
        assert trace.spans[:, 2].tolist() == list(range(len(tasks)))
    starts = np.stack([traces[unit].spans[:, 0] for unit in UNITS])
    assert (np.diff(starts, axis=0) > 0).all(), starts
    # No unit is idle between the first and the last beat of a block: each cycle there has its cause.
    for unit, trace in traces.items():
        for start, end, tag in trace.spans:
            assert (trace.states[start:end] != State.IDLE).all(), (unit, tag)
    if timing != "slow":  # holds back the last writes
        writing = traces["writer"].states == State.MOVING
        for (start, end, tag), (stage, block) in zip(traces["writer"].spans, tasks):
            assert writing[start:end].sum() == len(written_beats(CONFIG, stage, block)), tag


def test_waves(fft):
    _, _, runs, folder = fft
    path = folder / "new" / "waves.vcd"
    with open(path) as waves:
        head = waves.read(200_000)
    assert re.search(r"\$scope module processor \$end", head) and "$enddefinitions" in head
    times = re.findall(r"^#(\d+)$", path.read_bytes()[-100_000:].decode(), re.MULTILINE)
    assert int(times[-1]) >= 1000 * 2 * sum(run.cycles for run in runs.values())  # in ps


def test_waves_need_their_build():
    build = Build(entry=None, simulator="verilator", vcd=False, harness=None)
    with pytest.raises(ValueError,
                       match=r"^vcd: 'x.vcd' needs a build for waves; allowed is one made with vcd = True$"):
        build.simulate([], vcd="x.vcd")


def test_no_waves_on_icarus():
    if find("icarus") is None:
        pytest.skip("icarus is not installed: its refusal was not tested")
    with pytest.raises(SimulatorError, match=r"^vcd: icarus records no waves here; allowed is verilator$"):
        Core(CONFIG).build("icarus", vcd=True)
