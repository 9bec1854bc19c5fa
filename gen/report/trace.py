"""The picture of a run: from the activity of the units of a processor to a timeline, and where cycles were lost.

    [run] = build.simulate([Trial("fft", setup, program.instructions, image, MemoryTiming(), trace=True)])
    write(trace_timeline(run, program.stages, "FFT"), Path("fft.html"))

In every cycle from the start of the program to its end a unit moves a beat (cal: a group), waits for a cause, or is
idle; trace_states says which. So what a lane shows as busy are the beats that the hardware counts.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from ...hw.array.parameters import LEAST_STORE_LATENCY, PASS_LATENCY, STORE_LEAD
from ...hw.config import Pipeline
from ...hw.errors import WingbeatError
from ...hw.isa.setup import ACTIVITY_DELAY, UNITS
from ...hw.memory.parameters import EMIT_LATENCY, JOIN_LATENCY, READ_LATENCY, SequenceTiming
from ...hw.primitives.parameters import SKID_WORDS
from ..compiler.program.stage import Stage
from ..cosim.job import Run
from .spans import Span, StallSpan, Table, Timeline

__all__ = ["State", "UnitTrace", "LayerCycles", "LostCycles", "trace_states", "trace_timeline", "layer_cycles",
           "lost_cycles", "lost_reasons"]

# Cycles after the begin of a WRITE, or of a STORE, in which a write or a beat still belongs to the block before. The
# last place of a WRITE has left the sequence when the next begins, and may wait for its turn in a buffer. The first
# beat of a STORE comes at least so late in every array; the begin shows a cycle later than beats do.
_WRITES_BEHIND = JOIN_LATENCY + EMIT_LATENCY + SKID_WORDS
_BEATS_BEHIND = STORE_LEAD + LEAST_STORE_LATENCY - 1
# Cycles before and after the begin of a READ in which it cannot ask, in a deep pipeline.
_READ_BEGIN = (READ_LATENCY, SequenceTiming(Pipeline.DEEP).latency - 1)

_LONG = 16            # stalls from this length on are shown one by one
_NEAR = 64            # cycles between shorter ones that come together in one mark
_TOGETHER = 512       # cycles of the longest such mark
_MOST_GAPS = 20       # gaps of cal in the table of the page


class State(IntEnum):
    """What a unit does in a cycle: nothing, its work, or why not."""

    IDLE = 0
    MOVING = 1
    INPUT = 2       # the unit before has nothing for it
    OUTPUT = 3      # the unit behind takes nothing; load: its half is not free
    HAZARD = 4      # cal: the next pass would read what is not written yet
    MEMORY = 5      # the memory accepts no request, or its answers take long
    DEPENDENCY = 6  # reader: a block that it must see has not been written
    LATENCY = 7     # the unit begins or ends a block
    PROGRAM = 8     # the next instruction has not come
    PADDING = 9     # reader: zeros, which need no request; writer: beats that have no place in memory


@dataclass(frozen=True, eq=False)
class UnitTrace:
    """One unit in every cycle of a run: ``states`` (cycles,) of State, ``blocks`` (cycles,) the tag of the block to
    which the cycle belongs, ``spans`` (n, 3) first cycle, cycle behind the last one and tag of every block, by its
    beats."""

    states: np.ndarray = field(repr=False)
    blocks: np.ndarray = field(repr=False)
    spans: np.ndarray = field(repr=False)


@dataclass(frozen=True)
class LayerCycles:
    """Cycles of one unit for one layer. ``busy`` from the first to the last beat of each of its ``blocks``, of which
    ``moving`` with a beat; ``stalled``: all others by cause, also before the first beat."""

    unit: str
    layer: str
    blocks: int
    busy: int
    moving: int
    stalled: Mapping[str, int]


@dataclass(frozen=True)
class LostCycles:
    """``cycles`` from ``start`` on in which cal did not compute, before block ``tag`` of ``layer`` could go on.

    ``kind`` is fill (before the first group), drain (behind the last), gap (between blocks) or pass (inside a block).
    ``reasons``: what that waited for, by cycles, the most first.
    """

    start: int
    cycles: int
    kind: str
    tag: int
    layer: str
    reasons: Mapping[str, int]


# --- from changes to cycles ---------------------------------------------------------------------


def trace_states(run: Run) -> dict[str, UnitTrace]:
    """State and block of every unit in each of ``run.cycles`` cycles; cycle 0 is the one in which the program starts,
    while no other runs.

    Raises :class:`WingbeatError` for a run without a trace.
    """
    if not run.activity:
        raise WingbeatError(f"trace: False of run {run.trial.name!r} has left no record of its units; allowed is True")
    signals = _Signals(run)
    load, store = _load(signals), _store(signals)
    return {"reader": _reader(signals, load), "load": load, "cal": _cal(signals, load), "store": store,
            "writer": _writer(signals, store)}


class _Signals:
    """The recorded activity, one value per cycle."""

    def __init__(self, run: Run):
        self._activity, self.cycles = run.activity, run.cycles
        at = run.activity["cycle"] - ACTIVITY_DELAY - run.start_cycle
        self._index = np.searchsorted(at, np.arange(run.cycles), side="right") - 1

    def flag(self, unit: str, name: str) -> np.ndarray:
        return self._activity[f"{unit}.{name}"][self._index].astype(bool)

    def count(self, unit: str) -> np.ndarray:
        """Blocks begun or ended in each cycle and before; ``block`` counts them mod 4, and may be cleared between
        programs."""
        steps = np.diff(self._activity[f"{unit}.block"], prepend=0) & 3
        counts = np.cumsum(steps * self._activity[f"{unit}.busy"])[self._index]
        return counts - counts[:1]

    def ended(self, unit: str) -> np.ndarray:
        """Tag of each cycle where ``block`` counts the blocks that have ended: its change shows in the last cycle."""
        return np.concatenate([[0], self.count(unit)[:-1]])[:self.cycles]


def _delayed(begun: np.ndarray, cycles: int) -> np.ndarray:
    """Tag of each cycle where a block shows so many cycles after its begin; ``begun`` counts them."""
    return np.maximum(np.concatenate([np.zeros(cycles, int), begun])[:len(begun)] - 1, 0)


def _spans(moving: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    at = np.flatnonzero(moving)
    tags, first, count = np.unique(blocks[at], return_index=True, return_counts=True)
    return np.stack([at[first], at[first + count - 1] + 1, tags], axis=1)


def _before_end(spans: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Whether the block of a cycle still has a beat to move, or never moves one."""
    ends = np.full(max(blocks.max(initial=0), spans[:, 2].max(initial=0)) + 2, len(blocks))
    ends[spans[:, 2]] = spans[:, 1]
    return np.arange(len(blocks)) < ends[blocks]


def _trace(choices: Sequence[tuple[np.ndarray, State]], blocks: np.ndarray, spans: np.ndarray) -> UnitTrace:
    """The first of ``choices`` that holds in a cycle is its state; else LATENCY inside a block and IDLE outside."""
    edges = np.zeros(len(blocks) + 1, np.int8)
    edges[spans[:, 0]] += 1
    edges[spans[:, 1]] -= 1
    other = np.where(np.cumsum(edges)[:-1], np.int8(State.LATENCY), np.int8(State.IDLE))
    states = np.select([held for held, _ in choices], [np.int8(state) for _, state in choices], other)
    return UnitTrace(states, blocks, spans)


def _load(signals: _Signals) -> UnitTrace:
    blocks, moving = signals.ended("load"), signals.flag("load", "moving")
    spans, waiting = _spans(moving, blocks), signals.flag("load", "waiting_input")
    return _trace([(moving, State.MOVING), (signals.flag("load", "waiting_output"), State.OUTPUT),
                   (waiting & _before_end(spans, blocks), State.INPUT), (waiting, State.LATENCY)], blocks, spans)


def _store(signals: _Signals) -> UnitTrace:
    """Its last beats move when it has ended the block already, so ``block`` is no help."""
    moving = signals.flag("store", "moving")
    begins = np.diff(signals.flag("store", "busy").astype(int), prepend=0) > 0
    blocks = _delayed(np.cumsum(begins), _BEATS_BEHIND)
    return _trace([(moving, State.MOVING), (signals.flag("store", "waiting_input"), State.INPUT),
                   (signals.flag("store", "waiting_output"), State.OUTPUT),
                   (signals.flag("store", "busy"), State.LATENCY)], blocks, _spans(moving, blocks))


def _cal(signals: _Signals, load: UnitTrace) -> UnitTrace:
    blocks, moving = signals.ended("cal"), signals.flag("cal", "moving")
    spans, none = _spans(moving, blocks), signals.flag("cal", "waiting_input")
    inside, more = signals.flag("cal", "busy"), np.arange(signals.cycles) < spans[:, 1].max(initial=0)
    there = inside | (signals.count("load") > blocks)
    late = np.zeros(signals.cycles, bool)
    for start, end in _runs(none & there):
        late[start:end] = end - start > PASS_LATENCY
    return _trace([(moving, State.MOVING), (~none, State.HAZARD), (~more, State.IDLE), (late, State.PROGRAM),
                   (there, State.LATENCY), (more, State.INPUT)], blocks, spans)


def _writer(signals: _Signals, store: UnitTrace) -> UnitTrace:
    """A WRITE begins before its block comes, and before the last writes of the one before have left. A slow memory may
    hold these back until the next block comes; then they count as that one's."""
    count, moving = signals.count("writer"), signals.flag("writer", "moving")
    given = np.searchsorted(store.spans[:, 0] + EMIT_LATENCY, np.arange(signals.cycles), side="right")
    blocks = np.minimum(_delayed(count, _WRITES_BEHIND), np.maximum(given - 1, 0))
    spans, waiting = _spans(moving, blocks), signals.flag("writer", "waiting_input")
    return _trace([(moving, State.MOVING), (signals.flag("writer", "waiting_output"), State.MEMORY),
                   (waiting & _before_end(spans, np.maximum(count - 1, 0)), State.INPUT),
                   (waiting & (store.states == State.MOVING), State.PADDING), (waiting, State.LATENCY)],
                  blocks, spans)


def _reader(signals: _Signals, load: UnitTrace) -> UnitTrace:
    """What a reader that does not ask waits for shows at the load unit: an empty queue, or a full one."""
    count, moving = signals.count("reader"), signals.flag("reader", "moving")
    blocks, waiting = np.maximum(count - 1, 0), signals.flag("reader", "waiting_output")
    begins = np.zeros(signals.cycles, bool)
    for at in np.flatnonzero(np.diff(count, prepend=0)):
        begins[max(0, at - _READ_BEGIN[0]):at + _READ_BEGIN[1]] = True
    held, causes = waiting & ~begins, np.zeros(signals.cycles, np.int8)
    taking = load.states == State.MOVING
    most_between = int((np.cumsum(moving) - np.cumsum(taking)).max(initial=0))
    padded = ~np.isin(np.arange(blocks.max(initial=0) + 1), _whole(moving, blocks, taking, load.blocks))
    for start, end, _ in _grouped(_runs(held), np.zeros(0, int)):
        starved, full = (np.count_nonzero(load.states[start:end + _LONG] == s) for s in (State.INPUT, State.OUTPUT))
        unasked = np.count_nonzero(taking[start:end]) - np.count_nonzero(moving[start:end])
        causes[start:end] = State.OUTPUT if full > starved else State.MEMORY
        if padded[blocks[start]] and unasked > most_between:
            causes[start:end][load.states[start:end] != State.OUTPUT] = State.PADDING
    return _trace([(moving, State.MOVING), (signals.flag("reader", "waiting_input"), State.DEPENDENCY),
                   (waiting & begins, State.LATENCY),
                   *((held & (causes == state), state) for state in (State.MEMORY, State.OUTPUT, State.PADDING))],
                  blocks, _spans(moving, blocks))


def _whole(asking: np.ndarray, asked: np.ndarray, taking: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Tags of the blocks that the load unit got in as many beats as the reader has asked for; others have zeros."""
    n_blocks = max(asked.max(initial=0), taken.max(initial=0)) + 1
    return np.flatnonzero(np.bincount(asked[asking], minlength=n_blocks) ==
                          np.bincount(taken[taking], minlength=n_blocks))


def _runs(held: np.ndarray) -> list[tuple[int, int]]:
    """First cycle and cycle behind the last one of every run of True."""
    edges = np.flatnonzero(np.diff(held.astype(np.int8), prepend=0, append=0)).tolist()
    return list(zip(edges[::2], edges[1::2]))


def _grouped(runs: Sequence[tuple[int, int]], borders: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Start, end and sum of the runs; short ones with short gaps come together, up to _TOGETHER cycles of them and
    not across ``borders``."""
    zones = np.searchsorted(borders, [start for start, _ in runs], side="right").tolist()
    group: tuple[int, int, int] | None = None
    zone_before = -1
    for (start, end), zone in zip(runs, zones):
        near = group is not None and start - group[1] < _NEAR and end - group[0] <= _TOGETHER and zone == zone_before
        if group is not None and near and end - start < _LONG:
            group = (group[0], end, group[2] + end - start)
        else:
            if group is not None:
                yield group
            group = (start, end, end - start)
        if end - start >= _LONG:
            yield group
            group = None
        zone_before = zone
    if group is not None:
        yield group


# --- the timeline -------------------------------------------------------------------------------


def trace_timeline(run: Run, stages: Sequence[Stage], title: str) -> Timeline:
    """Timeline of ``run``: a lane per unit, a bar per block from its first to its last beat, a layer per name of
    ``stages``, the stage of every block by its tag (gen/compiler/program/assemble.py, Program).

    Stalls of 16 cycles and more stand one by one, shorter ones are drawn together in marks of up to 512 cycles. The
    page has the tables of :func:`layer_cycles`, :func:`lost_reasons` and :func:`lost_cycles`. Raises
    :class:`WingbeatError` for a run without a trace and for more blocks than stages.
    """
    traces = _checked(run, stages)
    spans = [Span(unit, start, end, tag, stages[tag].name) for unit, trace in traces.items()
             for start, end, tag in trace.spans.tolist()]
    stalls = [stall for unit, trace in traces.items() for stall in _stalls(unit, trace)]
    return Timeline(UNITS, run.cycles, tuple(spans), tuple(stalls), title, _tables(run, stages))


def _stalls(unit: str, trace: UnitTrace) -> Iterator[StallSpan]:
    borders = np.sort(trace.spans[:, :2].ravel())
    for state in State:
        if state > State.MOVING:
            # A run across a border comes in parts.
            runs = [part for start, end in _runs(trace.states == state) for part in _parts(start, end, borders)]
            for start, end, cycles in _grouped(runs, borders):
                yield StallSpan(unit, start, end, state.name.lower(), cycles)


def _parts(start: int, end: int, borders: np.ndarray) -> Iterator[tuple[int, int]]:
    inside = borders[np.searchsorted(borders, start, side="right"):np.searchsorted(borders, end)].tolist()
    cuts = [start, *dict.fromkeys(inside), end]
    return zip(cuts, cuts[1:])


def _checked(run: Run, stages: Sequence[Stage]) -> dict[str, UnitTrace]:
    traces = trace_states(run)
    blocks = 1 + max(int(trace.spans[:, 2].max(initial=-1)) for trace in traces.values())
    if blocks > len(stages):
        raise WingbeatError(f"stages: {len(stages)} are too few for a run of {blocks} blocks; allowed is one a block")
    return traces


def _tables(run: Run, stages: Sequence[Stage]) -> tuple[Table, ...]:
    layers = layer_cycles(run, stages)
    causes = [state.name.lower() for state in State if any(state.name.lower() in row.stalled for row in layers)]
    gaps = lost_cycles(run, stages)
    return (
        Table("Cycles by layer", ("unit", "layer", "blocks", "busy", "moving", *causes),
              tuple((r.unit, r.layer, r.blocks, r.busy, r.moving, *(r.stalled.get(c, 0) for c in causes))
                    for r in layers)),
        Table("Why cal did not compute", ("waiting for", "cycles"), tuple(lost_reasons(gaps).items())),
        Table(f"Largest gaps of cal ({min(len(gaps), _MOST_GAPS)} of {len(gaps)})",
              ("first cycle", "cycles", "kind", "tag", "layer", "waiting for"),
              tuple((gap.start, gap.cycles, gap.kind, gap.tag, gap.layer,
                     ", ".join(f"{reason} ({cycles:,})" for reason, cycles in gap.reasons.items()))
                    for gap in gaps[:_MOST_GAPS])))


def layer_cycles(run: Run, stages: Sequence[Stage]) -> list[LayerCycles]:
    """Where the cycles of every unit went, layer by layer, in the order of units and tags. A stall between two blocks
    belongs to the one that comes. Raises as :func:`trace_timeline` does."""
    rows, names = [], list(dict.fromkeys(stage.name for stage in stages))
    number = np.array([names.index(stage.name) for stage in stages])
    for unit, trace in _checked(run, stages).items():
        layer_of = number[np.minimum(trace.blocks, len(stages) - 1)]
        for layer, name in enumerate(names):
            counts = Counter({State(s): int(n) for s, n in zip(*np.unique(trace.states[layer_of == layer],
                                                                          return_counts=True))})
            spans = trace.spans[number[trace.spans[:, 2]] == layer]
            stalled = {s.name.lower(): counts[s] for s in State if s > State.MOVING and counts[s]}
            rows.append(LayerCycles(unit, name, len(spans), int((spans[:, 1] - spans[:, 0]).sum()),
                                    counts[State.MOVING], stalled))
    return rows


# --- why cal did not compute --------------------------------------------------------------------


def lost_cycles(run: Run, stages: Sequence[Stage]) -> list[LostCycles]:
    """Every gap of cal from the start of the program to its end, the longest first; their cycles and those in which cal
    moves are all cycles of the run. Raises as :func:`trace_timeline` does."""
    traces = _checked(run, stages)
    cal, rows = traces["cal"], []
    reasons, names = _reasons(traces)
    gaps = _runs(cal.states != State.MOVING)
    for start, end in gaps:
        codes, counts = np.unique(reasons[start:end], return_counts=True)
        why = {names[code]: int(count) for code, count in zip(codes, counts)}
        tag = min(int(cal.blocks[start]), len(stages) - 1)
        kind = ("fill" if not start else "drain" if end == run.cycles else
                "pass" if np.any((cal.spans[:, 0] < start) & (start < cal.spans[:, 1])) else "gap")
        rows.append(LostCycles(start, end - start, kind, tag, stages[tag].name,
                               dict(sorted(why.items(), key=lambda item: -item[1]))))
    return sorted(rows, key=lambda row: (-row.cycles, row.start))


def lost_reasons(gaps: Sequence[LostCycles]) -> dict[str, int]:
    """What all gaps together waited for, in cycles, the most first."""
    total: Counter[str] = Counter()
    for gap in gaps:
        total.update(gap.reasons)
    return dict(total.most_common())


def _reasons(traces: Mapping[str, UnitTrace]) -> tuple[np.ndarray, list[str]]:
    """For every cycle the number of its reason, and the names of the reasons.

    From cal the question goes up to the unit that it waits for, and on to what that one waits for: for beats to the
    reader, for a free half to the store, and behind these to memory or to the writer.
    """
    cycles = np.arange(len(traces["cal"].states))
    done = cycles >= (traces["cal"].spans[:, 1].max(initial=0) or len(cycles))
    always = cycles >= 0
    tag = traces["load"].blocks
    read = (traces["reader"].blocks > tag) | (traces["reader"].blocks == tag) & ~_asks(traces["reader"], tag)

    def at(unit: str, state: State) -> np.ndarray:
        return traces[unit].states == state

    def behind(held: np.ndarray, prefix: str, why: list[tuple[np.ndarray, str]]) -> list[tuple[np.ndarray, str]]:
        return [(held & also, prefix + text) for also, text in why]

    written = [(at("writer", State.MOVING), "writer writes"), (at("writer", State.MEMORY), "memory takes no write"),
               (at("store", State.OUTPUT), "writer rearranges"), (at("store", State.MOVING), "store gives beats"),
               (at("store", State.LATENCY), "store begins"), (at("writer", State.LATENCY), "writer ends"),
               (at("store", State.INPUT), "columns end"), (always, "last writes in memory")]
    freed = [(at("store", State.MOVING), "store empties it"), (at("store", State.LATENCY), "store begins"),
             (at("store", State.INPUT), "columns end"), (at("writer", State.MEMORY), "memory takes no write"),
             (at("store", State.OUTPUT), "writer rearranges"), (always, "it changes hands")]
    under_way = read | at("reader", State.MOVING)
    beats = [(under_way, "beats on their way from memory"), (at("reader", State.MEMORY), "reads wait for memory"),
             *behind(at("reader", State.DEPENDENCY), "block to be read: ", written),
             (at("reader", State.LATENCY), "reader begins"), (at("reader", State.IDLE), "program: READ"),
             (always, "reader waits")]
    chain = [*behind(done, "end: ", written), (at("cal", State.HAZARD), "hazard: pass before is not written"),
             (at("cal", State.LATENCY), "cal begins"), (at("cal", State.PROGRAM), "program: PASS"),
             (at("load", State.MOVING), "load takes beats"), (at("load", State.LATENCY), "load ends"),
             *behind(at("load", State.OUTPUT), "free half: ", freed), *behind(at("load", State.INPUT), "", beats),
             (always, "program: LOAD")]
    names = list(dict.fromkeys(why for _, why in chain))
    return np.select([held for held, _ in chain], [np.int16(names.index(why)) for _, why in chain]), names


def _asks(reader: UnitTrace, tags: np.ndarray) -> np.ndarray:
    """Whether the reader has still to ask for beats of ``tags``, the block of each cycle."""
    ends = np.full(max(tags.max(initial=0), reader.spans[:, 2].max(initial=0)) + 1, len(tags))
    ends[reader.spans[:, 2]] = reader.spans[:, 1]
    return np.arange(len(tags)) < ends[tags]
