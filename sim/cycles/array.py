"""Cycle models of the units of an array: parts of sim/cycles/estimate.py.

Register-accurate models of the control of hw/array/fetch.py, hw/array/load_unit.py, hw/array/sequencer.py and
hw/array/store_unit.py. One ``step`` is one clock cycle.
"""

from ...hw.array.parameters import GAP_LIMIT, mac_spacing, read_cycles, softmax_spacing
from ...hw.config import CoreConfig
from ...hw.isa.encoding import LOAD_DECISION
from ...hw.isa.instruction import Halt, Instruction, Load, Loop, Mac, Mask, Pass, Store, Wait
from .ring import MacCounter

__all__ = ["FetchUnit", "LoadUnit", "SequencerUnit", "StoreUnit"]


class FetchUnit:
    """Reads one instruction in ``read`` cycles and offers it until it is taken."""

    def __init__(self, config: CoreConfig, program: list[Instruction]):
        self.program = program
        self.read = read_cycles(config) + config.check_latency
        self.begin = -int(config.is_processor)  # where the count begins behind a hand-out
        self.number = 0
        self.count = 0
        self.looping = False
        self.left = 0
        self.running = True
        self.quiet = False
        self.played = True

    @property
    def offer(self) -> Instruction | None:
        return self.program[self.number] if self.running and self.count == self.read else None

    def step(self, taken: bool, units_idle: bool, records_played: bool = True) -> None:
        quiet, self.quiet = self.quiet, units_idle
        played, self.played = self.played, records_played
        if self.count < self.read:
            self.count += 1
            return
        instruction = self.program[self.number]
        if isinstance(instruction, Halt):
            self.running = not quiet
        elif isinstance(instruction, Loop):
            self._loop(instruction)
        elif taken or (isinstance(instruction, Wait) and played):
            self.number, self.count = self.number + 1, self.begin

    def _loop(self, loop: Loop) -> None:
        jump = self.left > 1 if self.looping else loop.count > 1
        self.left = self.left - 1 if self.looping else loop.count - 1
        self.looping, self.count = jump, self.begin
        self.number = loop.target if jump else self.number + 1


class LoadUnit:
    """The load unit behind its width converter. ``filled``: a beat is offered to it; the converter sees to that, or the
    processor does."""

    __slots__ = ("groups", "ratio", "tail", "command", "running", "claimed", "allowed", "behind", "done_in",
                 "store_steps", "left", "step_left", "step_beats", "lead", "filled", "piece")

    def __init__(self, config: CoreConfig):
        self.groups, self.ratio = config.beat_groups, config.gearbox
        self.tail = config.load_latency + 1
        self.command: Load | None = None
        self.running = self.claimed = self.allowed = self.behind = False
        self.done_in = self.store_steps = 0
        self.left = self.step_left = self.step_beats = 0  # beats of the block and of the step still to come
        self.lead = 0        # steps that the store must have passed
        self.filled = not config.is_processor   # the converter has gathered a beat while the array was idle
        self.piece = 0

    @property
    def idle(self) -> bool:
        return not self.running and not self.done_in

    @property
    def claim(self) -> bool:
        return self.running and not self.claimed

    @property
    def beat(self) -> bool:
        return self.allowed and self.filled

    def step(self, command: Load | None, vacant: bool, store_steps: int) -> None:
        beat = self.beat
        if self.running:
            self._run(vacant)
        elif self.done_in:
            self.done_in -= 1
        elif command is not None:
            walk = command.walk
            self.command, self.running = command, True
            self.step_left = self.step_beats = self.groups * walk.step_beats
            self.left, self.lead = walk.steps * self.step_beats, command.lag + LOAD_DECISION
        self.store_steps = store_steps
        if self.ratio > 1:
            self._gather(beat)

    def _run(self, vacant: bool) -> None:
        assert self.command is not None
        beat = self.allowed and self.filled
        last = beat and self.left == 1
        self.allowed = not last and (self.claimed or vacant or self.behind)
        self.behind = not last and self.command.overlap and self.store_steps > self.lead
        self.claimed = self.claimed or vacant
        if beat:
            self.left -= 1
            self.step_left -= 1
            if not self.step_left:
                self.step_left = self.step_beats
                self.lead += 1
        if last:
            self.running = self.claimed = False
            self.done_in = self.tail

    def _gather(self, beat: bool) -> None:
        if self.ratio == 1:
            return
        if beat or not self.filled:
            self.piece += 1
            self.filled = self.piece == self.ratio
            self.piece %= self.ratio


class _Output:
    """What stands at the end of the store unit: a skid buffer (deep pipeline only), then the width converter of an
    array or the stream of a processor."""

    __slots__ = ("ratio", "deep", "held", "last", "piece", "wide")

    def __init__(self, config: CoreConfig):
        self.ratio, self.deep = config.gearbox, config.pipeline.is_deep
        self.held = 0                      # beats in the skid buffer
        self.last = [False, False]         # of them
        self.piece, self.wide = 0, False   # of the converter: narrow beats that have left, and a wide one is inside

    @property
    def taken(self) -> bool:
        """Whether the converter takes a beat."""
        return not self.wide or self.piece == self.ratio - 1

    def step(self, arriving: bool, last: bool, taken: bool) -> None:
        """``arriving``: a beat enters, ``taken``: one leaves."""
        if self.ratio > 1:
            room = self.taken
            taken = room and (self.held > 0 if self.deep else arriving)
            self.wide, self.piece = (taken, 0) if room else (True, self.piece + 1)
        if not self.deep:
            return
        if taken:
            self.held -= 1
            self.last[0] = self.last[1]
        if arriving:
            self.last[self.held] = last
            self.held += 1


class StoreUnit:
    """The store unit. Its pipeline ``moves`` as the output lets it, and so do the events in it."""

    __slots__ = ("groups", "top", "taken", "output", "command", "waiting", "starting", "running", "draining", "left",
                 "step_left", "step_beats", "taken_steps", "beats", "steps", "lasts", "busy")

    def __init__(self, config: CoreConfig):
        self.groups = config.beat_groups
        self.top, self.taken = 1 << config.store_latency - 1, 1 << config.taken_latency - 1
        self.output = _Output(config)
        self.command: Store | None = None
        self.waiting = self.starting = self.running = self.draining = self.busy = False
        self.left = self.step_left = self.step_beats = self.taken_steps = 0
        self.beats = self.steps = self.lasts = 0  # the pipeline: a bit for each of its stages

    @property
    def idle(self) -> bool:
        return not (self.waiting or self.starting or self.running or self.draining)

    def step(self, command: Store | None, take: bool, moves: bool, taken: bool) -> None:
        """``taken``: a beat leaves the output."""
        top = self.top
        arriving = moves and self.beats & top != 0
        last = arriving and self.lasts & top != 0
        if moves and (self.beats or self.running):
            self._move()
        if arriving or self.output.held or self.output.wide:
            self.output.step(arriving, last, taken)
        if last:
            self.draining = self.busy = False
        if self.starting:
            self._start()
        self.starting = take
        if take:
            self.waiting, self.busy = False, True
        if command is not None:
            self.command, self.waiting = command, True

    def _start(self) -> None:
        assert self.command is not None
        self.running = True
        self.step_left = self.step_beats = self.groups * self.command.walk.step_beats
        self.left = self.command.walk.steps * self.step_beats

    def _move(self) -> None:
        if self.steps & self.taken:
            self.taken_steps = 0 if self.lasts & self.taken else self.taken_steps + 1
        full = (self.top << 1) - 1
        self.beats, self.steps, self.lasts = self.beats << 1 & full, self.steps << 1 & full, self.lasts << 1 & full
        if not self.running:
            return
        self.beats |= 1
        self.left -= 1
        self.step_left -= 1
        if not self.step_left:
            self.steps |= 1
            self.step_left = self.step_beats
        if not self.left:
            self.lasts |= 1
            self.running, self.draining = False, True


class SequencerUnit:
    """Issues groups; ``valid`` says that the present cycle computes. Names are those of hw/array/sequencer.py."""

    __slots__ = ("pass_spacing", "valid", "armed", "ready", "gap_over", "ended", "spaced", "left", "spacing",
                 "idle_cycles", "following", "current", "counter", "mac_spacing", "softmax_spacing",
                 "drain", "drained")

    def __init__(self, config: CoreConfig):
        self.pass_spacing, self.mac_spacing = config.pass_spacing, mac_spacing(config)
        self.softmax_spacing = softmax_spacing(config) if config.softmax_pairs else 0
        self.valid = self.armed = self.ready = self.gap_over = False
        self.ended = self.spaced = True
        self.left = self.spacing = 0
        self.idle_cycles = GAP_LIMIT
        self.following: Pass | Mac | None = None
        self.current: Pass | Mac | None = None
        self.counter = MacCounter(config) if config.ring_words else None
        self.drain, self.drained = 0, True  # cycles until the results of a MAC stand in the banks

    def loaded(self, token: bool) -> bool:
        """Whether the pass that follows needs no block, or its block is there."""
        return self.following is not None and (token or not self.following.first)

    @property
    def issue(self) -> bool:
        return self.ready and self.ended

    @property
    def take(self) -> bool:
        return self.ready and self.ended and self.following is not None and self.following.first

    @property
    def finish(self) -> bool:
        return self.valid and self.ended and self.current is not None and self.current.last

    @property
    def between(self) -> bool:
        """A MAC waits for its next panel."""
        return isinstance(self.current, Mac) and not self.valid and not self.ended

    @property
    def starved(self) -> bool:
        """Words of the ring are all that is waited for."""
        if self.counter is None:
            return False
        waits = self.armed and isinstance(self.following, Mac) and not self.counter.first_filled
        return self.between or (not self.valid and waits)

    def step(self, command: Pass | Mac | None, token: bool, filled: int = 0) -> None:
        """``filled``: words that were written into the ring."""
        issue, following = self.ready and self.ended, self.following
        if following is None:
            self.ready = self.armed = False
            self.gap_over = True
        else:
            self.ready = (self.armed and not issue and (token or not following.first) and self.spaced and self.gap_over
                          and self._may_begin(following))
            gap = following.gap
            self.gap_over = gap == 0 or ((not self.valid or self.ended) and self.idle_cycles >= gap)
            self.armed = not issue
        after = self._multiply(self.counter, following if issue else None, filled) if self.counter is not None else None
        if issue:
            assert following is not None
            spacing = self.mac_spacing if isinstance(following, Mac) else self.pass_spacing
            self.spacing, self.spaced, self.idle_cycles = spacing - 3, False, 2
            self.current, self.following = following, None
            self.valid, self.left = True, 0 if isinstance(following, Mac) else following.groups - 1
            self.ended = isinstance(following, Pass) and self.left == 0
        else:
            self._count(after if isinstance(self.current, Mac) else None)
        if command is not None and not isinstance(command, Mask):
            self.following = command

    def _may_begin(self, following: Pass | Mac) -> bool:
        if self.counter is None:
            return True
        if isinstance(following, Mac):
            return self.counter.first_filled and (self.drained or not _is_finished(self.current))
        return self.drained

    def _multiply(self, counter: MacCounter, begins: Pass | Mac | None, filled: int) -> tuple[bool, bool]:
        """A cycle of the counter of MACs. Returns ``valid`` and ``ended`` behind it, of a MAC that goes on."""
        runs = isinstance(self.current, Mac)
        issued = self.valid and runs
        load = begins if isinstance(begins, Mac) else None
        is_closed = not self.valid or counter.is_last
        opens = load is not None or (runs and not self.ended and is_closed and counter.next_filled)
        after = (not is_closed or counter.next_filled, self.valid and counter.ends)  # valid and ended of a MAC
        if issued:
            spacing = self.softmax_spacing if _is_finished(self.current) else self.mac_spacing
            self.drain, self.drained = spacing - 4, False
        else:
            self.drained, self.drain = self.drained or self.drain == 0, self.drain - (not self.drained)
        counter.step(load, issued, opens, self.following if isinstance(self.following, Mac) else None, filled)
        return after

    def _count(self, after: tuple[bool, bool] | None) -> None:
        if not self.spaced:
            self.spaced = self.spacing == 0
            self.spacing = max(0, self.spacing - 1)
        if self.ended:
            self.idle_cycles = min(GAP_LIMIT, self.idle_cycles + 1)
            self.valid = False
        elif after:
            self.valid, self.ended = after
        else:
            self.left -= 1
            self.ended = self.left == 0


def _is_finished(step: Pass | Mac | None) -> bool:
    return isinstance(step, Mac) and step.is_finished
