"""Cycle models of the vector unit and of what it shares the memory with: parts of sim/cycles/estimate.py.

Register-accurate models of the control of hw/vector/normalise.py, hw/vector/rescale.py, hw/vector/residual.py,
hw/vector/argmax.py, what connects them (hw/vector/store_filters.py), and hw/memory/read_arbiter.py. They know nothing
of values: of a beat they know its ``BeatKind`` and whether it ends a row, of a write whether it has work for the lanes
(``WORK``) and waits for a beat that it has asked for (``READS``). One ``step`` is one clock cycle; the consumer of a
unit has stepped before it, as in sim/cycles/memory.py.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.encoding import REGISTERS
from ...hw.isa.instruction import MemoryMode, Set, Write
from ...hw.isa.parameter_set import SET_WORDS, Activation, WriteSet, write_set
from ...hw.isa.setup import SETUP_WRITE_SETS, SETUP_WRITER
from ...hw.primitives.parameters import LATE_WORDS, SKID_WORDS
from ...hw.vector.parameters import RESIDUAL_STAGES, ArgmaxTiming, NormaliseTiming, RescaleTiming, residual_depth
from ..model.memory import Writes, positions, row_chunks, write_addresses
from .memory import BeatKind, ReaderBeat, Tables
from .writer import Writer

__all__ = ["Normalise", "ReadArbiter", "VectorStore", "VectorTables", "VectorWriter"]

WORK, READS = 1, 2  # of a write
ROW_ENDS = 2        # of a beat: it is valid, and the last of its row


# --- beats of a block ----------------------------------------------------------------------------


class VectorTables(Tables):
    """Tables of a processor with a vector unit; ``sets``: those of WRITEs. Of a READ they also know which beats end a
    row."""

    def __init__(self, config: CoreConfig, reader: Sequence[int], writer: Sequence[int], sets: Sequence[int]):
        super().__init__(config, reader, writer)
        self._sets = list(sets)
        self.write_kinds = cache(self._write_kinds)

    def change(self, target: int, address: int, data: int) -> None:
        super().change(target, address, data)
        if target == SETUP_WRITE_SETS and address < len(self._sets):
            self._sets[address] = data
        if target in (SETUP_WRITER, SETUP_WRITE_SETS):
            self.write_kinds.cache_clear()

    def _read_beats(self, descriptor: int, rows: int) -> list[int]:
        table = self._table(0, descriptor)
        beats = positions(self._config, table, rows, 0)
        ends = beats.chunk == (row_chunks(table) - 1 & 0xFFFF)
        return np.where(beats.valid, np.where(ends, ROW_ENDS, 1), 0).tolist()

    def _write_kinds(self, write: Write, base: int) -> list[int]:
        """The writes of a WRITE in order."""
        writes = write_addresses(self._config, self._table(1, write.descriptor), write, base)
        number = write.vector
        chosen = write_set(self._sets[number * SET_WORDS:][:SET_WORDS]) if number else WriteSet()
        kinds = np.where(writes.enabled, WORK * (chosen.rescale or chosen.activation is not Activation.NONE), 0)
        if chosen.residual:
            kinds[self._reads(write, writes)] |= READS
        return kinds[writes.enabled].tolist()

    def _reads(self, write: Write, writes: Writes) -> np.ndarray:
        """Which writes read (n, v): all but those of element 0 alone whose beat is kept, hw/vector/residual.py."""
        reads = writes.enabled.copy()
        if write.mode is MemoryMode.FOLD:
            mirrored, alone = writes.address[reads[:, 2], 1:].T
            kept, engines = alone == mirrored, self._config.engines
            kept[engines:] |= alone[engines:] == mirrored[:-engines]
            reads[reads[:, 2], 2] = ~kept
        return reads


# --- from memory to the array --------------------------------------------------------------------


class Normalise:
    """hw/vector/normalise.py. ``out`` holds the beats on offer."""

    __slots__ = ("pieces", "depth", "settle", "late", "top", "front", "out", "sides", "free", "active", "left", "sums",
                 "wait", "idle", "spaced", "pipe", "places", "room", "quiet", "begun", "level", "piece")

    def __init__(self, config: CoreConfig):
        timing = NormaliseTiming.of(config)
        self.pieces, self.depth = timing.pieces, timing.depth
        self.settle, self.late = timing.settle - 3, timing.settle - 1 - timing.period
        self.top = 1 << timing.result_latency - 2
        self.front: deque[ReaderBeat] = deque()
        self.out: deque[ReaderBeat] = deque()
        self.sides: deque[ReaderBeat] = deque()  # the beats in the lanes and in the queue of results
        self.free = self.idle = self.spaced = self.room = self.quiet = True
        self.active = self.sums = self.begun = False  # ``sums``: the beat in the lanes goes into sums
        self.left = self.wait = self.pipe = self.level = self.piece = 0
        self.places = self.depth

    @property
    def busy(self) -> bool:
        return bool(self.front or self.active or not self.quiet or self.out or not self.idle)

    def step(self, offer: ReaderBeat | None, taken: bool) -> bool:
        """``offer``: a beat, taken where True is returned; ``taken``: the first of ``out`` leaves."""
        front, out = self.front, self.out
        accept, room = offer is not None and len(front) < SKID_WORDS, len(out) < SKID_WORDS
        take = begins = ends = False
        if taken:
            out.popleft()
        if front:
            beat = front[0]
            kind = beat[3]
            if kind is BeatKind.PASSES:
                if self.quiet and room:
                    out.append(beat)
                    front.popleft()
            elif kind is BeatKind.SUMS:
                take = self.free and (self.spaced or beat[2] != ROW_ENDS)
                ends = take and beat[2] == ROW_ENDS
            elif self.free and self.idle and self.room:
                take = begins = True
                self.sides.append(beat)
            if take:
                front.popleft()
        if offer is not None and accept:
            front.append(offer)
        if take or not self.quiet or self.active or self.begun:
            self._work(take, begins, room)
        if ends or self.wait or not self.idle or not self.spaced:
            wait = self.wait
            self.idle, self.spaced = not (wait or ends), wait <= self.late and not ends
            self.wait = self.settle if ends else max(0, wait - 1)
        return accept

    def _work(self, take: bool, begins: bool, room: bool) -> None:
        """The lanes, the queue of results behind them, and the beats that they become."""
        pieces, level, depth, begun = self.pieces, self.level, self.depth, self.begun
        final = self.piece == pieces - 1
        pop = level > 0 and (not final or room)
        valid = self.pipe & self.top != 0
        if pop and final:
            self.out.append(self.sides.popleft())
        if pop:
            self.piece = 0 if final else self.piece + 1
        self.level = level + valid - pop
        self.pipe = self.pipe << 1 & 2 * self.top - 1 | (self.active and not self.sums)
        self.room = self.places >= pieces * (1 + 2 // pieces)
        self.quiet = self.places == depth and not begun and not begins
        self.places += pop - (pieces if begun else 0)
        self.begun = begins
        if pieces == 1:
            self.active = take
        else:
            left = self.left
            self.active, self.free = take or left > 0, not take and left <= 1
            self.left = pieces - 1 if take else max(0, left - 1)
        if take:
            self.sums = not begins


# --- from the array to memory --------------------------------------------------------------------


class WriteKinds:
    """Where in the WRITEs that have begun the next write stands: ``beats[at]`` is its kind. The parameter set of a
    WRITE is looked at when its first write is there; it may be fetched behind the begin of the WRITE."""

    __slots__ = ("tables", "following", "beats", "at")

    def __init__(self, tables: VectorTables):
        self.tables = tables
        self.following: deque[tuple[Write, int]] = deque()
        self.beats: Sequence[int] = ()
        self.at = 0

    def begin(self, write: Write, base: int) -> None:
        if self.tables.write_kinds(write, base):
            self.following.append((write, base))

    def take(self) -> int:
        if self.at == len(self.beats):
            self.beats, self.at = self.tables.write_kinds(*self.following.popleft()), 0
        self.at += 1
        return self.beats[self.at - 1]


class VectorWriter(Writer):
    """A writer that tells ``kinds`` of what its writes are. Which of a FOLD read depends on their addresses."""

    __slots__ = ("kinds", "registers", "mask")
    tables: VectorTables

    def __init__(self, config: CoreConfig, tables: VectorTables):
        super().__init__(config, tables)
        self.kinds, self.registers, self.mask = WriteKinds(tables), [0] * REGISTERS, (1 << config.memory_bits) - 1

    def step(self, offer: Write | Set | None, block_in: bool, completed: bool) -> bool:
        takes = super().step(offer, block_in, completed)
        if takes and isinstance(offer, Set):
            self.registers[offer.register] = offer.value
        return takes

    def begin(self, write: Write) -> None:
        super().begin(write)
        base = self.registers[write.register]
        self.registers[write.register] = base + write.increment & self.mask
        of_base = base if write.mode is MemoryMode.FOLD and write.vector else 0
        self.kinds.begin(replace(write, register=0, increment=0), of_base)


class _Rescale:
    """hw/vector/rescale.py. ``out`` holds the writes on offer."""

    __slots__ = ("steps", "places", "top", "front", "out", "side", "free", "left", "stepping", "pipe", "group", "level",
                 "used")

    def __init__(self, config: CoreConfig):
        timing = RescaleTiming.of(config)
        self.steps, self.places = timing.steps, timing.places
        self.top = 1 << timing.finished - 1
        self.front: deque[int] = deque()  # where a write takes more than one step
        self.out: deque[int] = deque()
        self.side: deque[int] = deque()   # writes that wait for their result, or to leave
        self.free, self.stepping = True, False
        self.left = self.pipe = self.group = self.level = self.used = 0

    @property
    def busy(self) -> bool:
        return bool(self.used or self.front or self.out)

    @property
    def ready(self) -> bool:
        return self.free if self.steps == 1 else len(self.front) < SKID_WORDS

    def step(self, offer: int | None, taken: bool) -> None:
        """``offer``: a write that is taken; ``taken``: the first of ``out`` leaves."""
        used, room = self.used, len(self.out) < SKID_WORDS
        pop = used > 0 and room and (self.level > 0 or (self.steps > 1 and not self.side[0] & WORK))
        lanes = self.steps == 1 or (pop and self.side[0] & WORK != 0)
        if taken:
            self.out.popleft()
        if pop:
            self.out.append(self.side.popleft())
        space = used < self.places - 1
        if self.steps == 1:
            take, begin = offer, offer is not None
            self.free = space
        else:
            take = self.front.popleft() if self.front and self.free else None
            begin = take is not None and take & WORK != 0
            if offer is not None:
                self.front.append(offer)
            self.free = space and not begin and self.left <= 1
        if take is not None:
            self.side.append(take)
        self.used = used + (take is not None) - pop
        if begin or self.stepping or self.pipe or self.left or self.level:
            self._lanes(begin, pop and lanes)

    def _lanes(self, begin: bool, pop: bool) -> None:
        finished = self.pipe & self.top != 0
        final = finished and self.group == self.steps - 1
        if finished:
            self.group = 0 if final else self.group + 1
        self.level += final - pop
        self.pipe = self.pipe << 1 & 2 * self.top - 1 | self.stepping
        self.stepping = begin or self.left > 0
        self.left = self.steps - 1 if begin else max(0, self.left - 1)


class BeatQueue:
    """hw/memory/read_arbiter.py. ``shows``: a word is on offer."""

    __slots__ = ("places", "top", "level", "pipe", "held", "moving", "space", "shows")

    def __init__(self, config: CoreConfig, places: int):
        self.places, self.top = places, 1 << config.ram_latency - 1
        self.level = self.pipe = 0
        self.held = self.shows = False
        self.moving = self.space = True

    @property
    def empty(self) -> bool:
        return not (self.level or self.pipe or self.held)

    def step(self, put: bool, taken: bool) -> bool:
        """``taken``: the word on offer leaves. Returns whether one has left the RAM."""
        level = self.level
        if not (level or put or self.pipe or self.held):
            self.moving = self.space = True
            return False
        pop = False
        if self.moving:
            pop = level > 0
            self.pipe = self.pipe << 1 & 2 * self.top - 1 | pop
        self.space = level <= self.places - LATE_WORDS
        self.level = level + put - pop
        self.held = self.shows and not taken
        self.moving = not self.held
        self.shows = self.held or self.pipe & self.top != 0
        return pop


class _Stages:
    """Registers in a row with the skid buffer at their end, whose ``ready`` moves them. ``held`` words are in it."""

    __slots__ = ("top", "stages", "held")

    def __init__(self, n_stages: int):
        self.top, self.stages, self.held = 1 << n_stages - 1, 0, 0

    @property
    def ready(self) -> bool:
        return self.held < SKID_WORDS

    @property
    def busy(self) -> bool:
        return self.stages > 0 or self.held > 0

    def step(self, entering: bool, taken: bool) -> None:
        """``entering``: a word does where ``ready``; ``taken``: one leaves."""
        stages = self.stages
        if self.held < SKID_WORDS and (stages or entering):
            self.held += stages & self.top != 0
            self.stages = stages << 1 & 2 * self.top - 1 | entering
        if taken:
            self.held -= 1


class _Residual:
    """hw/vector/residual.py. ``sums`` hold the writes on offer, ``requests`` are those to the arbiter."""

    __slots__ = ("waiting", "way", "requests", "wants", "arrived", "sums")

    def __init__(self, config: CoreConfig):
        self.waiting, self.sums = BeatQueue(config, residual_depth(config)), _Stages(RESIDUAL_STAGES)
        self.way: deque[int] = deque()  # kinds of the writes in ``waiting`` and on their way to it
        self.requests = 0
        self.wants = self.arrived = False

    @property
    def busy(self) -> bool:
        return self.arrived or not self.waiting.empty or self.sums.busy

    @property
    def ready(self) -> bool:
        return self.waiting.space and self.requests < SKID_WORDS

    @property
    def takes_beats(self) -> bool:
        return self.waiting.shows and self.way[0] & READS != 0 and self.sums.ready

    def step(self, offer: int | None, beat: bool, asked: bool, taken: bool) -> None:
        """``offer``: a write that is taken; ``beat``: one for the residual is there; ``asked``: a request leaves,
        ``taken``: a write."""
        joined = self.waiting.shows and self.sums.ready and (beat or not self.way[0] & READS)
        self.sums.step(joined, taken)
        if joined:
            self.way.popleft()
        self.waiting.step(self.arrived, joined)
        accept = self.requests < SKID_WORDS
        self.requests += (self.wants and accept) - asked
        if accept:
            self.wants = offer is not None and offer & READS != 0
        self.arrived = offer is not None
        if offer is not None:
            self.way.append(offer)


class VectorStore:
    """hw/vector/store_filters.py. Of a cycle: ``shows``, ``writing``: a write is on offer to memory, is accepted;
    ``asks``, ``asked``: so is a request to the arbiter; ``answered``: a beat is taken; ``was_busy``: a write was
    inside."""

    __slots__ = ("rescale", "residual", "argmax", "between", "shows", "writing", "asks", "asked", "answered",
                 "was_busy")

    def __init__(self, config: CoreConfig):
        self.rescale, self.residual = _Rescale(config), _Residual(config)
        self.argmax = _Stages(ArgmaxTiming.of(config).stages)
        self.between: deque[int] = deque()
        self.shows = self.writing = self.asks = self.asked = self.answered = self.was_busy = False

    @property
    def ready(self) -> bool:
        """Whether a write is taken."""
        return self.rescale.ready

    def step(self, offer: int | None, write_ready: bool, read_ready: bool, beat: bool) -> None:
        """``offer``: a write that is taken; ``read_ready``: the arbiter takes a request; ``beat``: it offers one."""
        rescale, residual, argmax, between = self.rescale, self.residual, self.argmax, self.between
        self.shows, self.asks = argmax.held > 0, residual.requests > 0
        self.writing, self.asked = self.shows and write_ready, self.asks and read_ready
        self.answered = beat and residual.takes_beats
        self.was_busy = rescale.busy or bool(between) or residual.busy or argmax.busy
        if offer is None and not self.was_busy and not self.asks and not residual.wants:
            self._rest()
            return
        summed = argmax.ready and residual.sums.held > 0
        argmax.step(summed, self.writing)
        given = between[0] if between and residual.ready else None
        residual.step(given, beat, self.asked, summed)
        room = len(between) < SKID_WORDS
        if given is not None:
            between.popleft()
        passed = room and bool(rescale.out)
        if passed:
            between.append(rescale.out[0])
        rescale.step(offer, passed)

    def _rest(self) -> None:
        """A cycle without a write inside."""
        self.rescale.free = True
        self.residual.waiting.step(False, False)


# --- one read port for both ----------------------------------------------------------------------


class ReadArbiter:
    """hw/memory/read_arbiter.py. ``asks`` and ``answered``: a request that memory accepts, and a beat that it is rid
    of, in this cycle."""

    __slots__ = ("out", "owners", "order", "waiting", "free", "space", "granted", "to_reader", "arrived", "asks",
                 "answered")

    def __init__(self, config: CoreConfig):
        self.owners, self.waiting = BeatQueue(config, config.in_flight), BeatQueue(config, config.in_flight)
        self.order: deque[bool] = deque()  # the requests in ``owners``: whether each is the reader's
        self.out, self.free, self.space = 0, config.in_flight, True
        self.granted = self.to_reader = self.arrived = self.asks = self.answered = False

    @property
    def ready(self) -> bool:
        """For the residual."""
        return self.out < SKID_WORDS and self.owners.space

    def reader_ready(self, residual_asks: bool) -> bool:
        return self.space and not residual_asks and self.out < SKID_WORDS and self.owners.space

    @property
    def for_residual(self) -> bool:
        """Whether the next beat is the residual's."""
        return self.owners.shows and not self.order[0]

    def step(self, residual_asked: bool, reader_asked: bool, read_ready: bool, beat: bool, residual_took: bool,
             reader_took: bool) -> None:
        """``residual_asked``, ``reader_asked``: requests that are taken; ``beat``: memory offers one;
        ``residual_took``, ``reader_took``: beats that leave."""
        self.asks = self.out > 0 and read_ready
        mine = beat and self.owners.shows and self.order[0]
        self.answered = mine or residual_took
        if self.answered:
            self.order.popleft()
        if self.granted:
            self.order.append(self.to_reader)
        self.owners.step(self.granted, self.answered)
        pop = self.waiting.step(self.arrived, reader_took)
        self.arrived = mine
        self.space = self.free >= LATE_WORDS
        self.free += pop - (self.granted and self.to_reader)
        self.granted, self.to_reader = residual_asked or reader_asked, not residual_asked
        self.out += self.granted - self.asks
