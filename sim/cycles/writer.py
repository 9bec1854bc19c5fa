"""Cycle model of the writer of a processor: a part of sim/cycles/estimate.py.

Register-accurate model of the control of hw/memory/writer.py and hw/memory/emit.py, by the conventions of
sim/cycles/memory.py.
"""

from collections import deque

from ...hw.config import CoreConfig
from ...hw.isa.instruction import MemoryMode, Set, Write
from ...hw.memory.parameters import COMPLETED_LATENCY, EMIT_STAGES, ENDS_ROOM, PLACE_STAGES, PROGRESS_LIMIT
from ...hw.primitives.parameters import SKID_WORDS
from .memory import BeatPosition, BeatSequence, Tables

__all__ = ["Writer"]


class _Completion:
    """Completion of hw/memory/writer.py."""

    __slots__ = ("made", "done", "begin", "making", "endings", "reached", "ends", "room", "delays", "difference",
                 "progress", "end", "left", "known")

    def __init__(self):
        self.made = self.done = self.begin = self.difference = self.progress = 0
        self.end = self.left = self.known = 0
        self.making = self.reached = False
        self.endings = 0  # a bit per stage in front of ``ends``
        self.room = True
        self.ends: deque[int] = deque()
        self.delays = 0  # a bit per stage behind ``reached``

    @property
    def completed(self) -> bool:
        return bool(self.delays >> COMPLETED_LATENCY - 1 & 1)

    def step(self, issued: bool, ended: bool, written: bool) -> None:
        ends, reached = self.ends, self.reached
        self.room = len(ends) <= ENDS_ROOM
        self.delays = (self.delays << 1 | reached) & (1 << COMPLETED_LATENCY) - 1
        self.progress = min(self.difference, PROGRESS_LIMIT)
        self.difference = self.done - self.begin
        self.reached = self.known > 1 and not reached and self.left <= 0
        self.left = self.end - self.done
        self.known = 0 if reached else (self.known << 1 | bool(ends)) & 3
        if ends:
            self.end = ends[0]
        if reached:
            self.begin = ends.popleft()
        if self.endings > 1:
            ends.append(self.made)
        self.made += self.making
        self.done += written
        self.making, self.endings = issued, self.endings << 1 & 2 | ended


class Writer:
    """hw/memory/writer.py and hw/memory/emit.py without the Scatter."""

    __slots__ = ("tables", "sequence", "completion", "command", "held", "decided", "starts", "modes", "mode", "inside",
                 "fits", "stages", "way", "places", "there", "slots", "present", "writes", "last", "pops", "number",
                 "valids", "output", "running", "writing", "waits")

    def __init__(self, config: CoreConfig, tables: Tables):
        self.tables, self.sequence, self.completion = tables, BeatSequence(config), _Completion()
        self.command: Write | None = None
        self.held = self.decided = False
        self.starts: deque[list[BeatPosition]] = deque()   # WRITEs that wait for the sequence,
        self.modes: deque[MemoryMode] = deque()     # and those whose block may not come in yet
        self.mode: MemoryMode | None = None         # of the WRITE whose block may
        self.inside = 0
        self.stages = 0  # a bit per place in the stages behind the sequence
        self.way: deque[BeatPosition] = deque()
        self.slots: deque[tuple[bool, bool, bool]] = deque()  # writes that follow: ``writes``, ``last``, ``pops``
        self.places = self.number = self.valids = self.output = 0
        self.there = self.present = self.writes = self.last = self.pops = self.fits = False
        self.running = self.writing = self.waits = False

    @property
    def idle(self) -> bool:
        return not self.held and not self.inside

    def emit(self, offers: bool, write_ready: bool, written: bool) -> bool:
        """What stands behind the Scatter, in which ``offers`` says that there is a beat; whether it is taken.

        ``running``, ``waits`` (for something to write) and ``writing`` (a write that is accepted) are then those of
        this cycle.
        """
        output, sequence, room = self.output, self.sequence, self.completion.room
        self.fits = len(self.starts) < SKID_WORDS and len(self.modes) < SKID_WORDS
        self.running = bool(self.stages or self.places or self.there or self.slots or self.present or self.valids
                            or output or not sequence.idle)
        self.writing, self.waits = output > 0 and write_ready, not output
        moving = output < SKID_WORDS
        joined = moving and self.present and offers
        issued, taken = joined and self.writes, joined and self.pops
        self.completion.step(issued, joined and self.last, written)
        expands = len(self.slots) < SKID_WORDS
        placed = self._next_write(joined or not self.present, room)
        if self.writing:
            self.output -= 1
        if moving and (self.valids or issued):
            self.output += self.valids >> EMIT_STAGES - 1
            self.valids = (self.valids << 1 & (1 << EMIT_STAGES) - 1) | issued
        self._next_place(placed, expands)
        return taken

    def _next_write(self, free: bool, room: bool) -> bool:
        """The buffer of writes, and behind it, where ``free``, the register of the one that waits for its data. Returns
        whether a place has given its final write."""
        slots = self.slots
        enters = self.there and len(slots) < SKID_WORDS
        if free:
            self.present = bool(slots) and (room or not slots[0][1])
            if self.present:
                self.writes, self.last, self.pops = slots.popleft()
        if not enters:
            return False
        here = self.way[0]
        final = self.number + 1 == here.writes
        self.number = 0 if final else self.number + 1
        slots.append((here.valid, final and here.last, final and here.pops))
        return final

    def _next_place(self, placed: bool, expands: bool) -> None:
        """The sequence, the stages behind it, and the skid buffer at their end."""
        sequence = self.sequence
        moving = self.places < SKID_WORDS
        if placed:
            self.way.popleft()
        if placed or (expands and not self.there):
            self.there = self.places > 0
            self.places -= self.there
        taken = moving and sequence.held > 0
        if taken:
            self.way.append(sequence.beats[sequence.at])
        if moving and (self.stages or taken):
            self.places += self.stages >> PLACE_STAGES - 1
            self.stages = (self.stages << 1 & (1 << PLACE_STAGES) - 1) | taken
        if not sequence.idle:
            sequence.step(None, taken)
        elif self.starts:
            sequence.step(self.starts.popleft(), False)

    def step(self, offer: Write | Set | None, block_in: bool, completed: bool) -> bool:
        """Commands, after ``emit``: whether the one on ``offer`` is taken. ``block_in``: the last beat of a block has
        come in; ``completed``: as it was before ``emit``."""
        begin = self.decided and self.fits
        self.inside += begin - completed
        if block_in or self.mode is None:
            self.mode = self.modes.popleft() if self.modes else None
        held = self.held
        self.decided = held and not begin
        if begin:
            assert self.command is not None
            self.held = False
            self.begin(self.command)
        if held:
            return False
        if isinstance(offer, Write):
            self.command, self.held = offer, True
        return offer is not None

    def begin(self, write: Write) -> None:
        """A WRITE enters the queues for the sequence and for the input."""
        self.starts.append(self.tables.write_places(write.descriptor, write.rows, write.mode, write.fold_from,
                                                    write.fold_rows))
        self.modes.append(write.mode)
