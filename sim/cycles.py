"""Cycle model: how many cycles a program takes, and what each was spent on.

A register-accurate model of the control of the array (fetch, load, sequencer, store and the tokens between
them) with ideal streams: a word is always offered on the input and always accepted on the output. It knows
nothing of values. What it predicts is compared with the counters of the hardware, cycle for cycle.
"""

from collections import deque
from dataclasses import dataclass, field

from ..hw.config import ArrayConfig
from ..hw.program import INSTRUCTION_WORDS, LOAD_DECISION, Halt, Instruction, Load, Loop, Pass, Store

__all__ = ["Cycles", "estimate"]

_GAP_LIMIT = 256  # the idle counter of the sequencer stops there


@dataclass
class Cycles:
    """Cycles of a run by cause, as the counters of the hardware name them, and when each block left.

    ``block_out[k]`` is the cycle, from the first running one, in which the last beat of block k enters the
    output buffer.
    """

    total: int = 0
    computing: int = 0
    waiting_input: int = 0
    waiting_output: int = 0
    waiting_hazard: int = 0
    block_out: list[int] = field(default_factory=list)


def estimate(config: ArrayConfig, program: list[Instruction]) -> Cycles:
    """Cycles of ``program`` on an array of ``config`` whose streams never wait.

    Raises RuntimeError when the program does not end (a block that is computed or stored but never loaded).
    """
    return _Array(config, program).run()


class _Fetch:
    """Reads one instruction in ``read`` cycles and offers it until it is taken."""

    def __init__(self, config: ArrayConfig, program: list[Instruction]):
        self.program = program
        self.read = INSTRUCTION_WORDS + config.ram_latency
        self.number = 0
        self.count = 0
        self.looping = False
        self.left = 0
        self.running = True
        self.quiet = False

    @property
    def offer(self) -> Instruction | None:
        return self.program[self.number] if self.running and self.count == self.read else None

    def step(self, taken: bool, units_idle: bool) -> None:
        quiet, self.quiet = self.quiet, units_idle
        if self.count < self.read:
            self.count += 1
            return
        instruction = self.program[self.number]
        if isinstance(instruction, Halt):
            self.running = not quiet
        elif isinstance(instruction, Loop):
            self._loop(instruction)
        elif taken:
            self.number, self.count = self.number + 1, 0

    def _loop(self, loop: Loop) -> None:
        jump = self.left > 1 if self.looping else loop.count > 1
        self.left = self.left - 1 if self.looping else loop.count - 1
        self.looping, self.count = jump, 0
        self.number = loop.target if jump else self.number + 1


class _Load:
    """The load unit behind its width converter."""

    def __init__(self, config: ArrayConfig):
        self.groups, self.ratio = config.beat_groups, config.gearbox
        self.tail = config.load_latency + 1
        self.command: Load | None = None
        self.running = self.claimed = self.allowed = self.behind = False
        self.done_in = self.store_steps = 0
        self.step_number = self.group = 0
        self.filled = True   # the converter has gathered a beat while the array was idle
        self.piece = 0

    @property
    def idle(self) -> bool:
        return not self.running and not self.done_in

    @property
    def claim(self) -> bool:
        return self.running and not self.claimed

    @property
    def remaining(self) -> int:
        """Beats still to come in this block, the present one included."""
        assert self.command is not None
        walk = self.command.walk
        return (walk.steps - self.step_number) * self.groups * walk.step_beats - self.group

    def step(self, command: Load | None, vacant: bool, store_steps: int) -> None:
        beat = self.allowed and self.filled
        last = beat and self.remaining == 1
        claim = self.claim and vacant
        self.allowed = self.running and not last and (self.claimed or claim or self.behind)
        self.behind = (self.running and not last and self.command is not None and self.command.overlap
                       and self.store_steps > self.step_number + self.command.lag + LOAD_DECISION)
        self.store_steps = store_steps
        self.claimed |= claim
        self.done_in = max(0, self.done_in - 1)
        if beat:
            assert self.command is not None
            self.group += 1
            if self.group == self.groups * self.command.walk.step_beats:
                self.group, self.step_number = 0, self.step_number + 1
        self._gather(beat)
        if last:
            self.running = self.claimed = False
            self.step_number, self.done_in = 0, self.tail
        if command is not None:
            self.command, self.running = command, True

    def _gather(self, beat: bool) -> None:
        if self.ratio == 1:
            return
        if beat or not self.filled:
            self.piece += 1
            self.filled = self.piece == self.ratio
            self.piece %= self.ratio


class _Output:
    """Skid buffer (deep pipeline only) and width converter at the end of the store unit."""

    def __init__(self, config: ArrayConfig):
        self.ratio, self.deep = config.gearbox, config.pipeline.is_deep
        self.skid = self.valid = self.held = False
        self.piece = 0

    @property
    def taken(self) -> bool:
        """Whether the converter takes a beat."""
        return not self.held or self.piece == self.ratio - 1

    def moves(self, arriving: bool) -> bool:
        """Enable of the pipeline of the store unit, at whose end there is a beat or not."""
        return not self.skid if self.deep else not arriving or self.taken

    def step(self, arriving: bool) -> None:
        if self.ratio == 1:
            return
        taken = self.taken
        if taken:
            self.held, self.piece = self.valid if self.deep else arriving, 0
        else:
            self.piece += 1
        if not self.deep:
            return
        if taken or not self.valid:
            self.valid, self.skid = self.skid or arriving, False
        elif arriving:
            self.skid = True


class _Store:
    """The store unit. Its pipeline ``moves`` as the output lets it, and so do the events in it."""

    def __init__(self, config: ArrayConfig):
        self.groups = config.beat_groups
        self.length, self.taken = config.store_latency, config.taken_latency
        self.output = _Output(config)
        self.command: Store | None = None
        self.waiting = self.starting = self.running = self.draining = False
        self.beat = self.taken_steps = 0
        self.pipeline: deque[tuple[bool, bool, bool]] = deque([(False,) * 3] * self.length)

    @property
    def idle(self) -> bool:
        return not (self.waiting or self.starting or self.running or self.draining)

    @property
    def step_beats(self) -> int:
        assert self.command is not None
        return self.groups * self.command.walk.step_beats

    @property
    def beats(self) -> int:
        assert self.command is not None
        return self.command.walk.steps * self.step_beats

    @property
    def moves(self) -> bool:
        return self.output.moves(self.pipeline[-1][0])

    @property
    def done(self) -> bool:
        return self.moves and self.pipeline[self.taken - 1][2]

    @property
    def block_out(self) -> bool:
        return self.moves and self.pipeline[-1][2]

    def step(self, command: Store | None, take: bool) -> None:
        block_out, enabled = self.block_out, self.moves
        if enabled:
            leaving, taken = self.pipeline[-1], self.pipeline[self.taken - 1]
            if taken[2]:
                self.taken_steps = 0
            elif taken[1]:
                self.taken_steps += 1
            self.beat += self.running
            final = self.running and self.beat == self.beats
            self.pipeline.pop()
            self.pipeline.appendleft((self.running, self.running and self.beat % self.step_beats == 0, final))
            if final:
                self.running, self.draining, self.beat = False, True, 0
        self.output.step(enabled and leaving[0])
        if block_out:
            self.draining = False
        self.running |= self.starting
        self.starting = take
        if take:
            self.waiting = False
        if command is not None:
            self.command, self.waiting = command, True


class _Sequencer:
    """Issues groups; ``valid`` says that the present cycle computes. Names are those of hw/sequencer.py."""

    def __init__(self, config: ArrayConfig):
        self.pass_spacing = config.pass_spacing
        self.valid = self.armed = self.ready = self.gap_over = False
        self.ended = self.spaced = True
        self.left = self.spacing = 0
        self.idle_cycles = _GAP_LIMIT
        self.following: Pass | None = None
        self.current: Pass | None = None

    def loaded(self, token: bool) -> bool:
        """Whether the pass that follows needs no block, or its block is there."""
        return self.following is not None and (token or not self.following.first)

    @property
    def issue(self) -> bool:
        return self.ready and self.ended

    @property
    def take(self) -> bool:
        return self.issue and self.following is not None and self.following.first

    @property
    def finish(self) -> bool:
        return self.valid and self.ended and self.current is not None and self.current.last

    def step(self, command: Pass | None, token: bool) -> None:
        issue, following = self.issue, self.following
        ready = self.armed and not issue and self.loaded(token) and self.spaced and self.gap_over
        gap = following.gap if following is not None else 0
        self.gap_over = gap == 0 or ((not self.valid or self.ended) and self.idle_cycles >= gap)
        self.armed = following is not None and not issue
        self._distances(issue)
        if issue:
            assert following is not None
            self.current, self.following = following, None
            self.valid, self.left = True, following.groups - 1
            self.ended = self.left == 0
        elif self.ended:
            self.valid = False
        else:
            self.left -= 1
            self.ended = self.left == 0
        self.ready = ready
        if command is not None:
            self.following = command

    def _distances(self, issue: bool) -> None:
        if issue:
            self.spacing, self.spaced, self.idle_cycles = self.pass_spacing - 3, False, 2
            return
        self.spaced, self.spacing = self.spaced or self.spacing == 0, max(0, self.spacing - 1)
        if self.ended:
            self.idle_cycles = min(_GAP_LIMIT, self.idle_cycles + 1)


class _Array:
    def __init__(self, config: ArrayConfig, program: list[Instruction]):
        self.fetch, self.load = _Fetch(config, program), _Load(config)
        self.store, self.sequencer = _Store(config), _Sequencer(config)
        self.vacant, self.loaded, self.computed, self.in_flight = 2, 0, 0, 0
        # From the last issued group of a block to the cycle in which the store unit hears of it.
        self.finish_latency = config.address_latency + config.pipeline_latency + 1 + config.maximum_tree_latency
        self.finishing: deque[int] = deque()
        self.counts = Cycles()
        self.stuck_after = 64 + 4 * config.half_words * config.engines * config.gearbox

    def run(self) -> Cycles:
        quiet, before = 0, None
        while self.fetch.running:
            self._step()
            moved = (self.fetch.number, self.fetch.left, self.counts.computing,
                     self.load.step_number, self.store.beat)
            quiet, before = (quiet + 1 if moved == before else 0), moved
            if quiet > self.stuck_after:
                raise RuntimeError(f"program: instruction {self.fetch.number} waits for ever; "
                                   "a block is computed or stored that was not loaded")
        return self.counts

    def _step(self) -> None:
        fetch, load, store, sequencer, counts = self.fetch, self.load, self.store, self.sequencer, self.counts
        offer = fetch.offer
        units_idle = (load.idle and sequencer.following is None and not sequencer.valid and store.idle
                      and not self.in_flight and not self.computed)
        load_command = offer if isinstance(offer, Load) and load.idle else None
        pass_command = offer if isinstance(offer, Pass) and sequencer.following is None else None
        store_command = offer if isinstance(offer, Store) and store.idle else None
        stored = store.waiting and self.computed > 0
        take = sequencer.take
        finished = bool(self.finishing) and self.finishing[0] == counts.total
        self._count()

        claim = load.claim and self.vacant > 0
        tokens = (store.done - claim, (load.done_in == 1) - take, finished - stored,
                  take - finished)
        if sequencer.finish:
            self.finishing.append(counts.total - 1 + self.finish_latency)
        if finished:
            self.finishing.popleft()
        fetch.step(any(c is not None for c in (load_command, pass_command, store_command)), units_idle)
        load.step(load_command, self.vacant > 0, store.taken_steps)
        store.step(store_command, stored)
        sequencer.step(pass_command, self.loaded > 0)
        self.vacant, self.loaded, self.computed, self.in_flight = (
            before + change for before, change in
            zip((self.vacant, self.loaded, self.computed, self.in_flight), tokens))

    def _count(self) -> None:
        counts, load = self.counts, self.load
        if self.store.block_out:
            counts.block_out.append(counts.total)
        if self.sequencer.valid:
            counts.computing += 1
        elif self.sequencer.armed and self.sequencer.loaded(self.loaded > 0):
            counts.waiting_hazard += 1
        elif (load.running and not load.allowed) or (load.idle and not self.store.idle):
            counts.waiting_output += 1
        else:
            counts.waiting_input += 1
        counts.total += 1
