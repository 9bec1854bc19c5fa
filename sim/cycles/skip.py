"""Skipping cycles in which a processor repeats itself: a part of sim/cycles/estimate.py.

Two snapshots of the cycle model are taken a period apart. If all registers but the counters are equal, the next period
does the same again. This ends when a counter reaches a value at which something else happens. ``Skipper`` goes there in
one step. What it may pass over is stated next to each counter; where in doubt it does not skip.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from math import gcd, lcm
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from ...hw.array.parameters import GAP_LIMIT
from ...hw.config import CoreConfig
from ...hw.isa.instruction import Mac
from ...hw.memory.parameters import PROGRESS_LIMIT
from ..model.ring import panel_words
from .memory import Memory

__all__ = ["Deadlock", "Skipper"]

_SHORTEST = 32   # cycles between snapshots: one costs as much as two or three
_KEPT = 6        # snapshots, so that periods may be as many times that long
_KEPT_ROWS = 16  # with a vector unit, whose sums repeat with the rows

_TILES = ("mode", "source", "odd", "second_valid", "last", "blocks", "held", "position", "taking", "full", "final")
# Registers that must be equal, and counters, which change by the same in every period.
_REGISTERS = {
    "fetch": attrgetter("number", "count", "left", "looping", "running"),
    "load": attrgetter("running", "claimed", "allowed", "behind", "done_in", "step_left", "command"),
    "sequencer": attrgetter("valid", "armed", "ready", "gap_over", "ended", "spaced", "spacing", "following",
                            "current"),
    "store": attrgetter("waiting", "starting", "running", "draining", "busy", "step_left", "beats", "steps", "lasts",
                        "command", "output.held"),
    "reader": attrgetter("held", "known", "begun", "may", "begins", "blocked", "open", "mode", "kind",
                         "free", "space", "moved", "tokens", "empty", "level", "pipe", "command", "fenced"),
    "player": attrgetter("left", "settling"),
    "writer": attrgetter("held", "decided", "fits", "inside", "stages", "places", "there", "present", "writes",
                         "last", "pops", "number", "valids", "output", "command", "mode", "completion.making",
                         "completion.endings", "completion.reached", "completion.room",
                         "completion.delays", "completion.end", "completion.known"),
    "gather": attrgetter(*_TILES), "scatter": attrgetter(*_TILES),
    "memory": attrgetter("read_credit", "write_credit", "read_ready", "write_ready", "offers", "written"),
}
_QUEUE = ("level", "pipe", "held", "moving", "space", "shows")
_VECTOR = (
    attrgetter(*(f"normalise.{name}" for name in (
        "free", "active", "left", "sums", "wait", "idle", "spaced", "pipe", "places", "room", "quiet", "begun", "level",
        "piece"))),
    attrgetter(*(f"finish.rescale.{name}" for name in (
        "free", "stepping", "left", "pipe", "group", "level", "used"))),
    attrgetter(*(f"finish.residual.{name}" for name in (
        "requests", "wants", "arrived", "sums.stages", "sums.held", *(f"waiting.{part}" for part in _QUEUE)))),
    attrgetter("finish.argmax.stages", "finish.argmax.held"),
    attrgetter(*(f"arbiter.{name}" for name in (
        "out", "free", "space", "granted", "to_reader", "arrived",
        *(f"{queue}.{part}" for queue in ("owners", "waiting") for part in _QUEUE)))))
_RING = attrgetter("unpack.place", "unpack.left", "unpack.full", "unpack.sets_left", "player.holds", "sequencer.drain",
                   "sequencer.drained",
                   *(f"sequencer.counter.{name}" for name in ("next_filled", "first_filled", "read")))
_RING_COUNTERS = ("unpack.filled", *(f"sequencer.counter.{name}" for name in (
    "left", "begun", "surplus", "released", "panels")))
_VECTOR_QUEUES = attrgetter(
    "normalise.front", "normalise.out", "normalise.sides", "finish.rescale.front", "finish.rescale.out",
    "finish.rescale.side", "finish.between", "finish.residual.way", "arbiter.order")
_TOKENS = attrgetter("vacant", "loaded", "computed", "in_flight", "queued", "fetches", "fetch.played")
_SEQUENCE = attrgetter("idle", "over", "starting", "pipe", "held")
_COUNTERS = (
    "load.left", "load.lead", "load.store_steps", "store.taken_steps", "sequencer.left", "store.left",
    "reader.sequence.at", "reader.sequence.left", "writer.sequence.at", "writer.sequence.left",
    "writer.completion.made", "writer.completion.done", "writer.completion.begin", "writer.completion.difference",
    "writer.completion.left", "writer.completion.progress", "counts.total", "counts.computing", "counts.waiting_input",
    "counts.waiting_output", "counts.waiting_hazard", "sequencer.idle_cycles")
_VECTOR_COUNTERS = ("writer.kinds.at",)
_DOWN = ("load.left", "sequencer.left", "store.left", "reader.sequence.left", "writer.sequence.left")


class Deadlock(Exception):
    """Nothing moves and nothing will."""


class _Snapshot(NamedTuple):
    registers: tuple
    counters: tuple[int, ...]
    units: tuple[int, ...]


class Skipper:
    """Watches one model; ``look`` is to be called every ``period`` cycles, with no other change in between."""

    def __init__(self, model: Any, config: CoreConfig):
        self._model, self._has_vector, self._ring_words = model, config.vector_lanes > 0, config.ring_words
        self._before = deque[_Snapshot](maxlen=_KEPT_ROWS if self._has_vector else _KEPT)
        self._opened = deque[_Snapshot](maxlen=2)  # where panels of a MAC begin
        self._counters = _COUNTERS + _VECTOR_COUNTERS * self._has_vector + _RING_COUNTERS * bool(config.ring_words)
        self._counts = attrgetter(*self._counters)
        self._moves = [name for name in self._counters if name.partition(".")[0] not in ("counts", "sequencer")]
        self._moves += ["sequencer.left", *_RING_COUNTERS * bool(config.ring_words)]
        memory: Memory = model.memory
        # Beats come in tiles and steps, and the memory gives a beat in a pattern of its own.
        self.period = 2 * config.engines_per_beat * config.beat_groups * (memory.cost // gcd(memory.gain, memory.cost))
        self.period *= -(-_SHORTEST // self.period)
        if self._has_vector:
            self.period = lcm(self.period, config.memory_elements // config.vector_lanes)
        # The beats stay alive with what is known of them: others must not get their id.
        self._breaks: dict[tuple[int, int], tuple[np.ndarray, Sequence[Any]]] = {}

    def look(self, skip: bool, opened: bool = False) -> None:
        """Where ``skip``, go ahead as many periods as are like the last one. Raises Deadlock where the last one changed
        nothing. ``opened``: a panel of a MAC was begun in this cycle; the period is then one of panels."""
        now, seen = self._snapshot(), self._opened if opened else self._before
        before = next((old for old in reversed(seen) if old.registers == now.registers), None)
        seen.append(now)
        if before is None:
            return
        change = {name: b - a for name, a, b in zip(self._counters, before.counters, now.counters)}
        if not any(change[name] for name in self._moves):
            self._check_alive()
        times = min(self.limits(change)) if skip else 0
        if times > 0:
            self._advance(change, [b - a for a, b in zip(before.units, now.units)], times)
            self._before.clear()
            if opened:
                self._opened.clear()

    def _check_alive(self) -> None:
        model = self._model
        memory = model.memory
        is_answering = any(due > memory.now for due in (*memory.reads, *memory.writes))
        if not model.finishing and not is_answering:  # what is due and stays is not taken
            raise Deadlock

    def _snapshot(self) -> _Snapshot:
        model, memory = self._model, self._model.memory
        reader, writer = model.reader, model.writer
        registers = (
            *(get(getattr(model, unit)) for unit, get in _REGISTERS.items()), _TOKENS(model),
            *((_SEQUENCE(unit.sequence), id(unit.sequence.beats)) for unit in (reader, writer)),
            tuple(reader.way), tuple(reader.out), tuple(writer.way), tuple(writer.slots),
            tuple(model.store.output.last),
            tuple((len(queue.items), queue.entering is None, queue.some, queue.shows, queue.left, queue.ready)
                  for queue in model.queues.values()),
            len(writer.starts), len(writer.modes), len(writer.completion.ends), len(model.finishing),
            len(model.counts.block_out), len(model.counts.block_begin),
            *(tuple(max(0, due - memory.now) for due in queue) for queue in (memory.reads, memory.writes)))
        if self._has_vector:
            kinds = writer.kinds
            registers += (*(get(model) for get in _VECTOR), tuple(map(tuple, _VECTOR_QUEUES(model))), id(kinds.beats),
                          len(kinds.following))
        if self._ring_words:
            registers += _RING(model)
        return _Snapshot(registers, self._counts(model), tuple(model.counts.units.values()))

    def limits(self, change: dict[str, int]) -> Iterator[int]:
        """How many periods may follow, by everything that can end the repetition."""
        model = self._model
        if model.player.due:
            yield 0  # every beat of a FETCH is another one
        for name in _DOWN:  # the event is at 1
            if change[name] > 0:
                yield 0
            elif change[name]:
                yield (attrgetter(name)(model) - 2) // -change[name]
        if self._ring_words:
            yield from self._ring(change)
        for name in ("reader", "writer"):
            sequence = getattr(model, name).sequence
            if not (sequence.idle or sequence.over):
                yield self._same_beats(sequence.beats, sequence.at, change[f"{name}.sequence.at"])
        if self._has_vector:
            yield self._same_beats(model.writer.kinds.beats, model.writer.kinds.at, change["writer.kinds.at"])
        sequencer = model.sequencer
        if sequencer.following is not None and sequencer.idle_cycles < sequencer.following.gap:
            yield 0
        if change["sequencer.idle_cycles"] < 0:
            yield 0
        yield self._overlap(change)
        yield from self._writes(change)
        if model.finishing:
            yield (model.finishing[0] - model.counts.total) // change["counts.total"]
        yield 1 << 30

    def _ring(self, change: dict[str, int]) -> Iterator[int]:
        """The end of a panel, the begin of its last row pair, a ring that is full, and panels that are complete."""
        model = self._model
        counter, filled = model.sequencer.counter, model.unpack.filled
        groups, came, went, begun, panels = (change[name] for name in (
            "sequencer.counter.left", "unpack.filled", *(f"sequencer.counter.{name}" for name in (
                "released", "begun", "panels"))))
        if begun or panels:  # whole panels: as much comes in as goes
            yield (counter.panels - 2) // -panels if not groups and came == went == begun and panels < 0 else 0
            return
        if groups > 0:
            yield 0
        elif groups:
            # Groups of the last row pair release words; those of the last period were all in front of it or all in it.
            is_in_front, is_behind = counter.left >= counter.panel, counter.left - groups <= counter.panel
            event = counter.panel + 1 if is_in_front else 2
            yield (counter.left - event) // -groups - 1 if is_in_front or is_behind else 0
        if came > went:
            yield (self._ring_words - (filled - counter.released) - 4) // (came - went) - 1
        waited = [counter.panel] * (not counter.next_filled)
        if isinstance(model.sequencer.following, Mac) and not counter.first_filled:
            waited.append(panel_words(counter.config, model.sequencer.following))
        if came:
            yield from ((words - counter.surplus) // came - 2 for words in waited)

    def _same_beats(self, beats: Sequence[Any], at: int, taken: int) -> int:
        """The beats ``taken`` in the last period, and all behind them, must repeat; the last beat is an event."""
        if not taken:
            return 1 << 30
        if taken < 0 or at < taken or at == len(beats):
            return 0
        key = id(beats), taken
        if key not in self._breaks:
            codes: dict[Any, int] = {}
            numbers = np.array([codes.setdefault(beat, len(codes)) for beat in beats])
            found = np.append(np.flatnonzero(numbers[taken:] != numbers[:-taken]) + taken, len(beats) - 1)
            self._breaks[key] = found, beats
        breaks, _ = self._breaks[key]
        return int(breaks[np.searchsorted(breaks, at)] - at) // taken - 1

    def _overlap(self, change: dict[str, int]) -> int:
        """A load behind the store that empties its half: their distance stays, or stays on its side."""
        load, store = self._model.load, self._model.store
        ahead, behind = change["load.store_steps"], change["load.lead"]
        if ahead < 0 or change["store.taken_steps"] != ahead:
            return 0
        if not load.running or load.claimed or not load.command.overlap or ahead == behind:
            return 1 << 30
        steps = (load.store_steps, store.taken_steps)  # one is a cycle behind the other
        if ahead > behind:
            if min(steps) - ahead > load.lead:
                return 1 << 30
            return (load.lead - max(steps)) // (ahead - behind) - 1
        return (min(steps) - load.lead - 1) // (behind - ahead) - 1

    def _writes(self, change: dict[str, int]) -> Iterator[int]:
        """The end of a WRITE, and the number of its writes for which a READ waits."""
        completion, reader = self._model.writer.completion, self._model.reader
        done, progress = change["writer.completion.done"], change["writer.completion.progress"]
        if change["writer.completion.begin"] or progress < 0 or change["writer.completion.difference"] != done:
            yield 0
        if completion.ends and done:
            yield (completion.ends[0] - completion.done - 1) // done - 1
        if done and completion.progress < PROGRESS_LIMIT:
            yield (PROGRESS_LIMIT - completion.difference) // done - 2
        if reader.held and not reader.may and progress and reader.open == reader.command.after:
            yield (reader.command.after_beats - completion.difference) // done - 2 if done else 0

    def _advance(self, change: dict[str, int], units: list[int], times: int) -> None:
        model = self._model
        for name, step in change.items():
            if step:
                owner, _, last = name.rpartition(".")
                unit = attrgetter(owner)(model)
                setattr(unit, last, getattr(unit, last) + times * step)
        for name, step in zip(model.counts.units, units):
            model.counts.units[name] += times * step
        model.sequencer.idle_cycles = min(GAP_LIMIT, model.sequencer.idle_cycles)
        cycles, memory = times * change["counts.total"], model.memory
        memory.now += cycles
        for queue in (memory.reads, memory.writes):
            for at in range(len(queue)):
                queue[at] += cycles
