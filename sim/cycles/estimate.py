"""Cycle model: how many cycles a program takes, and what each was spent on.

A register-accurate model of the control of the array (sim/cycles/array.py, sim/cycles/ring.py and the tokens between
its units) with ideal streams: a word is always offered on the input and always accepted on the output. In a processor
the queues, the memory units (sim/cycles/memory.py, sim/cycles/writer.py, sim/cycles/regroup.py), the memory and, where
there is one, the vector unit (sim/cycles/vector.py) stand around it. It knows nothing of values. What it predicts is
compared with the counters of the hardware, cycle for cycle.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...hw.array.parameters import QUEUE_PLACES, mac_latency
from ...hw.config import CoreConfig
from ...hw.isa.descriptor import DESCRIPTOR_WORDS
from ...hw.isa.instruction import (Fetch, Halt, Instruction, Load, Loop, Mac, Mask, MemoryMode, Pass, Read, Set,
                                   Softmax, Store, Sums, Unit, Wait, Write)
from ...hw.isa.parameter_set import SET_WORDS, SETS
from ...hw.isa.setup import (COUNTED_CAUSES, COUNTED_UNITS, SETUP_READER, SETUP_WRITE_SETS, SETUP_WRITER, UNITS,
                             SetupWrite)
from ...hw.primitives.parameters import SKID_WORDS
from ...hw.softmax.parameters import words_latency
from ..model.processor import fetched_records
from .array import FetchUnit, LoadUnit, SequencerUnit, StoreUnit
from .memory import BeatKind, Memory, MemorySpeed, Player, Queue, Reader, ReaderBeat, Tables
from .regroup import Regrouper
from .ring import Unpack
from .skip import Deadlock, Skipper
from .vector import Normalise, ReadArbiter, VectorStore, VectorTables, VectorWriter
from .writer import Writer

__all__ = ["Cycles", "estimate"]

_QUEUES = {Read: "reader", Sums: "reader", Fetch: "reader", Load: "load", Pass: "cal", Mac: "cal", Mask: "cal",
           Store: "store", Write: "writer"}


@dataclass
class Cycles:
    """Cycles of a run by cause, as the counters of the hardware name them, and when each block left.

    ``block_begin[k]`` is the cycle, from the first running one, in which the sequencer takes block k over.
    ``block_out[k]`` is that in which its last beat enters the output buffer; of a processor, leaves the array for the
    writer. ``units`` holds the counters that only a processor has:
    reader_moving, reader_waiting_input, ... writer_waiting_output.
    """

    total: int = 0
    computing: int = 0
    waiting_input: int = 0
    waiting_output: int = 0
    waiting_hazard: int = 0
    block_begin: list[int] = field(default_factory=list)
    block_out: list[int] = field(default_factory=list)
    units: dict[str, int] = field(default_factory=dict)


def estimate(config: CoreConfig, program: list[Instruction], setup: Sequence[tuple[int, int, int]] = (),
             memory: MemorySpeed = MemorySpeed(), skip: bool = True, image: np.ndarray | None = None) -> Cycles:
    """Cycles of ``program`` on an array of ``config`` whose streams never wait, or on a processor of ``config``.

    ``setup`` holds the setup writes (target, address, data) of a run; those of the descriptor tables count, which a
    processor needs, and the parameter sets of WRITEs. ``memory`` is how fast its memory is. Without ``skip`` every
    cycle of a processor is stepped through, which takes longer and ends the same. ``image`` holds the beats (n, 2K) of
    the memory at the start, which a program with a FETCH needs. The program must be legal: what the
    hardware stops with an error has no meaning here. Raises RuntimeError when the program does
    not end: a block is computed or stored but never loaded, or a queue is too short for what must wait in it.
    Raises ValueError for a FETCH without ``image``.
    """
    if not config.is_processor:
        return _Array(config, program).run()
    processor = _VectorProcessor if config.vector_lanes else _Processor
    fetches: list[list[list[SetupWrite]]] = []
    if any(isinstance(step, Fetch) for step in program):
        if image is None:
            raise ValueError("image: None, and the program has a FETCH; allowed are the beats of the memory")
        fetches = fetched_records(config, program, setup, image)
    return processor(config, program, setup, memory, skip, fetches).run()


class _Array:
    """An array alone: the fetch unit offers every instruction to its unit itself."""

    def __init__(self, config: CoreConfig, program: list[Instruction]):
        self.config = config
        self.fetch, self.load = FetchUnit(config, program), LoadUnit(config)
        self.store, self.sequencer = StoreUnit(config), SequencerUnit(config)
        self.vacant, self.loaded, self.computed, self.in_flight = 2, 0, 0, 0
        self.filled = 0  # words that were written into the ring
        # From the last issued group of a block to the cycle in which the store unit hears of it.
        self.finish_latency = config.address_latency + config.pipeline_latency + 1 + config.maximum_tree_latency
        self.mac_finish_latency = mac_latency(config) + config.layers + 2 + config.maximum_tree_latency
        self.finishing: deque[int] = deque()
        self.counts = Cycles()
        self.stuck_after = 64 + 4 * config.half_words * config.engines * config.gearbox

    def run(self) -> Cycles:
        """Raises RuntimeError when nothing moves for as long as nothing legal takes."""
        quiet, before = 0, None
        while self.fetch.running:
            self.step()
            moved = self.progress()
            quiet, before = (quiet + 1 if moved == before else 0), moved
            if quiet > self.stuck_after:
                raise RuntimeError(f"program: instruction {self.fetch.number} waits for ever; "
                                   "a block is computed or stored that was not loaded")
        return self.counts

    def progress(self) -> tuple:
        """Changes as long as something moves."""
        return self.fetch.number, self.fetch.left, self.counts.computing, self.load.left, self.store.left

    @property
    def idle(self) -> bool:
        return (self.load.idle and self.sequencer.following is None and not self.sequencer.valid
                and not self.sequencer.between and self.store.idle and not self.in_flight and not self.computed)

    def step(self) -> None:
        fetch, load, store, sequencer = self.fetch, self.load, self.store, self.sequencer
        offer, idle = fetch.offer, self.idle
        load_command = offer if isinstance(offer, Load) and load.idle else None
        pass_command = offer if isinstance(offer, Pass) and sequencer.following is None else None
        store_command = offer if isinstance(offer, Store) and store.idle else None
        output = store.output
        moves = output.held < SKID_WORDS if output.deep else output.taken or not store.beats & store.top
        if moves and store.beats & store.lasts & store.top:
            self.counts.block_out.append(self.counts.total)
        self.units(load_command, pass_command, store_command, moves, output.held > 0)
        fetch.step(any(c is not None for c in (load_command, pass_command, store_command)), idle)

    def units(self, load_command: Load | None, pass_command: Pass | None, store_command: Store | None, moves: bool,
              taken: bool) -> None:
        """A cycle of load, sequencer and store, and of the tokens between them. ``moves``: the pipeline of the store
        moves, ``taken``: a beat leaves it."""
        load, store, sequencer, counts = self.load, self.store, self.sequencer, self.counts
        stored = store.waiting and self.computed > 0
        take, token, vacant = sequencer.take, self.loaded > 0, self.vacant > 0
        finished = bool(self.finishing) and self.finishing[0] == counts.total
        if take:
            self.counts.block_begin.append(self.counts.total)
        if sequencer.finish:
            self.finishing.append(counts.total + self._finish_latency(sequencer.current))
        if finished:
            self.finishing.popleft()
        self.vacant += (moves and store.lasts & store.taken != 0) - (load.claim and vacant)
        self.loaded += (load.done_in == 1) - take
        self.computed += finished - stored
        self.in_flight += take - finished
        self._count(token)
        load.step(load_command, vacant, store.taken_steps)
        store.step(store_command, stored, moves, taken)
        sequencer.step(pass_command, token, self.filled)

    def _finish_latency(self, last: Pass | Mac | None) -> int:
        """From the last group of a block to the cycle in which the store unit hears of it."""
        if not isinstance(last, Mac):
            return self.finish_latency
        if not last.is_finished:
            return self.mac_finish_latency
        return self.mac_finish_latency + 1 + words_latency(self.config, last.softmax is Softmax.VALUES)

    def _count(self, token: bool) -> None:
        counts, load, sequencer = self.counts, self.load, self.sequencer
        if sequencer.valid:
            counts.computing += 1
        elif sequencer.starved:
            counts.waiting_input += 1
        elif sequencer.armed and sequencer.loaded(token):
            counts.waiting_hazard += 1
        elif (load.running and not load.allowed) or (load.idle and not self.store.idle):
            counts.waiting_output += 1
        else:
            counts.waiting_input += 1
        counts.total += 1


class _Processor(_Array):
    """The array between its memory units; every unit of it takes its instructions from a queue."""

    def __init__(self, config: CoreConfig, program: list[Instruction], setup: Sequence[tuple[int, int, int]],
                 speed: MemorySpeed, skip: bool, fetches: Sequence[list[list[SetupWrite]]]):
        super().__init__(config, program)
        words = {target: [0] * (config.descriptors * DESCRIPTOR_WORDS) for target in (SETUP_READER, SETUP_WRITER)}
        words[SETUP_WRITE_SETS] = [0] * (SETS * SET_WORDS)
        for target, address, word in setup:
            if target in words and address < len(words[target]):
                words[target][address] = word
        self._memory_units(words, fetches)
        self.gather, self.scatter = Regrouper(config), Regrouper(config)
        self.memory = Memory(speed, config.stream_words)
        self.unpack = Unpack(config) if config.ring_words else None
        self.queues = {unit: Queue(QUEUE_PLACES) for unit in UNITS}
        self.queued = False
        self.fetches = 0  # handed out, of which the last beat has not gone to the player
        self.counts.units = {f"{unit}_{cause}": 0 for unit in COUNTED_UNITS for cause in COUNTED_CAUSES}
        self.skipper, self.skips = Skipper(self, config), skip

    def _memory_units(self, words: dict[int, list[int]], fetches: Sequence[list[list[SetupWrite]]]) -> None:
        """Reader and writer with their tables, the ``words`` of the setup targets, and the player of ``fetches``."""
        tables = Tables(self.config, words[SETUP_READER], words[SETUP_WRITER])
        self.player = Player(self.config, tables, fetches)
        self.reader, self.writer = Reader(self.config, tables, self.player), Writer(self.config, tables)

    def run(self) -> Cycles:
        """Raises RuntimeError at a deadlock."""
        fetch, counts, counter, begun = self.fetch, self.counts, self.sequencer.counter, 0
        try:
            while fetch.running:
                end = counts.total + self.skipper.period
                while fetch.running and counts.total < end:
                    self.step()
                    if counter is not None and counter.begun != begun:
                        begun = counter.begun
                        self.skipper.look(self.skips, opened=True)
                self.skipper.look(self.skips)
        except Deadlock as deadlock:
            raise RuntimeError(f"program: instruction {fetch.number} waits for ever; a block is not loaded, or a queue "
                               "does not hold what stands between a READ and its WRITE") from deadlock
        return counts

    @property
    def idle(self) -> bool:
        return super().idle and not self.queued and self.reader.idle and self.writer.idle and self.player.idle \
            and (self.unpack is None or self.unpack.idle)

    def step(self) -> None:
        """Consumers before their producers, so that every unit sees the registers of the others."""
        load, store, writer, queues = self.load, self.store, self.writer, self.queues
        fetch, scatter, gather, output = self.fetch, self.scatter, self.gather, store.output
        idle, completed, progress = self._idle_at_halt(), writer.completion.completed, writer.completion.progress
        fetched, target = self._fetched()
        played = not self.fetches and self.player.idle
        load_head, pass_head, store_head = queues["load"].head, queues["cal"].head, queues["store"].head
        load_command = load_head if load.idle else None
        pass_command = pass_head if self.sequencer.following is None else None
        store_command = store_head if store.idle else None

        # From the array to memory.
        at_end = store.beats & store.top
        last = output.last[0] if output.deep else bool(store.lasts & store.top)
        offers = (output.held if output.deep else at_end) > 0
        mode = writer.mode
        beat_taken = self.write(scatter.held > 0)
        left = scatter.step(offers and mode is not None, mode or MemoryMode.COLUMNS, last, beat_taken)
        writer_takes = writer.step(queues["writer"].head, left and last, completed)
        moves = output.held < SKID_WORDS if output.deep else left or not at_end
        if left and last:
            self.counts.block_out.append(self.counts.total)
        # From memory to the array.
        load.filled = gather.held > 0
        delivered = load.beat
        reader_takes = self.read(queues["reader"].head, delivered, completed, progress)
        self._count_units(delivered, left, offers)
        self.units(load_command, pass_command, store_command, moves, left)

        self._commands(fetched, target, {"reader": reader_takes, "load": load_command, "cal": pass_command,
                                         "store": store_command, "writer": writer_takes})
        self.fetches += isinstance(fetched, Fetch)
        fetch.step(fetched is not None, idle, played)

    def write(self, offers: bool) -> bool:
        """A cycle between Scatter, where ``offers`` says that there is a beat, and memory; whether it is taken."""
        return self.writer.emit(offers, self.memory.write_ready, self.memory.written)

    def read(self, command: Read | Set | None, delivered: bool, completed: bool, progress: int) -> bool:
        """A cycle between memory and Gather, of which a beat is ``delivered`` to the array, and of memory itself;
        whether the reader takes its ``command``."""
        reader, memory, gather = self.reader, self.memory, self.gather
        beat = self._beat_of_block()
        mode, last = beat[:2] if beat else (gather.mode, False)
        taken = gather.step(beat is not None, mode, last, delivered)
        played = self._play()
        taken = played if beat is None else taken
        takes = reader.step(command, memory.read_ready, memory.offers, taken, completed, progress)
        self.count_port(reader.asks, self.writer.running, self.writer.writing, self.writer.waits)
        memory.step(reader.asks, self.writer.writing, reader.answered)
        return takes

    def _beat_of_block(self) -> ReaderBeat | None:
        """The beat of the reader, where it is on offer to the array: not a record, nor behind one that is played."""
        beat = self.reader.out[0] if self.reader.out else None
        is_fetched = beat is not None and beat[3] in (BeatKind.RECORDS, BeatKind.MATRIX, BeatKind.SPARSE, BeatKind.IDS)
        return None if is_fetched or not self.player.idle else beat

    def _play(self) -> bool:
        """A cycle of the player; whether it takes the beat of the reader."""
        beat = self.reader.out[0] if self.reader.out else None
        is_record = beat is not None and beat[3] is BeatKind.RECORDS
        is_present = beat is not None and beat[2] > 0
        taken = is_record and (self.player.ready or not is_present)
        taken |= beat is not None and beat[3] is BeatKind.IDS
        if self.unpack is not None:
            taken |= self._fill(beat if beat is not None and beat[3] is not BeatKind.RECORDS else None)
        self.player.step(taken and is_present and is_record)
        if taken and beat is not None and beat[1]:
            self.fetches -= 1
        return taken

    def _fill(self, beat: ReaderBeat | None) -> bool:
        """A cycle of the ring, before the sequencer's; whether it takes ``beat``, which the reader offers."""
        unpack, counter, hold = self.unpack, self.sequencer.counter, self.player.holds_banks
        assert unpack is not None and counter is not None
        sparse = beat is not None and beat[3] is BeatKind.SPARSE
        is_matrix = sparse or (beat is not None and beat[3] is BeatKind.MATRIX)
        is_present = is_matrix and beat is not None and beat[2] > 0
        taken = is_matrix and (unpack.ready(hold, sparse) or not is_present)
        ends = taken and beat is not None and bool(beat[1])
        self.filled = unpack.filled
        unpack.step(is_present, hold, counter.released, sparse, ends)
        return taken

    def count_port(self, asks: bool, writes: bool, writing: bool, no_write: bool) -> None:
        """The counters of reader and writer: a request is accepted; the writer is busy, a write of it accepted, or none
        there."""
        counts, reader = self.counts.units, self.reader
        if asks:
            counts["reader_moving"] += 1
        if reader.waits:
            counts["reader_waiting_input"] += 1
        elif reader.running and not asks:
            counts["reader_waiting_output"] += 1
        if writing:
            counts["writer_moving"] += 1
        elif writes:
            counts["writer_waiting_input" if no_write else "writer_waiting_output"] += 1

    def _fetched(self) -> tuple[Instruction | None, str]:
        """The instruction that enters a queue in this cycle, and which."""
        offer = self.fetch.offer
        if offer is None or isinstance(offer, Halt | Loop | Wait):
            return None, ""
        if isinstance(offer, Set):
            unit = "reader" if offer.unit == Unit.READER else "writer"
        else:
            unit = _QUEUES[type(offer)]
        return (offer, unit) if self.queues[unit].ready else (None, "")

    def _idle_at_halt(self) -> bool:
        """Whether all is idle, where the fetch unit wants to know it."""
        fetch = self.fetch
        if not isinstance(fetch.program[fetch.number], Halt):
            return False
        idle = self.idle
        self.queued = any(queue.some for queue in self.queues.values())
        return idle

    def _commands(self, fetched: Instruction | None, target: str, taken: dict[str, Any]) -> None:
        for unit, queue in self.queues.items():
            put, take = fetched if unit == target else None, bool(taken[unit])
            if put is not None or take or not queue.rests:
                queue.step(put, take)

    def _count_units(self, delivered: bool, left: bool, offers: bool) -> None:
        """The counters of load and store, hw/array/array.py."""
        counts, load, store = self.counts.units, self.load, self.store
        if delivered:
            counts["load_moving"] += 1
        elif load.running and not load.allowed:
            counts["load_waiting_output"] += 1
        elif not load.idle:
            counts["load_waiting_input"] += 1
        if left:
            counts["store_moving"] += 1
        elif offers:
            counts["store_waiting_output"] += 1
        if not store.idle and not store.busy:
            counts["store_waiting_input"] += 1


class _VectorProcessor(_Processor):
    """A processor with a vector unit on both ways of memory."""

    writer: VectorWriter

    def __init__(self, config: CoreConfig, program: list[Instruction], setup: Sequence[tuple[int, int, int]],
                 speed: MemorySpeed, skip: bool, fetches: Sequence[list[list[SetupWrite]]]):
        self.normalise, self.finish, self.arbiter = Normalise(config), VectorStore(config), ReadArbiter(config)
        super().__init__(config, program, setup, speed, skip, fetches)

    def _memory_units(self, words: dict[int, list[int]], fetches: Sequence[list[list[SetupWrite]]]) -> None:
        tables = VectorTables(self.config, words[SETUP_READER], words[SETUP_WRITER], words[SETUP_WRITE_SETS])
        self.player = Player(self.config, tables, fetches)
        self.reader, self.writer = Reader(self.config, tables, self.player), VectorWriter(self.config, tables)

    @property
    def idle(self) -> bool:
        return super().idle and not self.normalise.busy

    def write(self, offers: bool) -> bool:
        writer, memory, arbiter, finish = self.writer, self.memory, self.arbiter, self.finish
        ready = finish.ready
        written = writer.kinds.take() if ready and writer.output else None
        finish.step(written, memory.write_ready, arbiter.ready, memory.offers and arbiter.for_residual)
        return writer.emit(offers, ready, memory.written)

    def read(self, command: Read | Set | None, delivered: bool, completed: bool, progress: int) -> bool:
        reader, memory, gather = self.reader, self.memory, self.gather
        arbiter, normalise, finish = self.arbiter, self.normalise, self.finish
        rows = normalise.out
        mode, last = rows[0][:2] if rows else (gather.mode, False)
        taken = gather.step(bool(rows), mode, last, delivered)
        beat = self._beat_of_block()
        taken = normalise.step(beat, taken)
        played = self._play()
        taken = played if beat is None else taken
        beats = arbiter.waiting.shows
        takes = reader.step(command, arbiter.reader_ready(finish.asks), beats, taken, completed, progress)
        arbiter.step(finish.asked, reader.asks, memory.read_ready, memory.offers, finish.answered, reader.answered)
        self.count_port(arbiter.asks, self.writer.running or finish.was_busy, finish.writing, not finish.shows)
        memory.step(arbiter.asks, finish.writing, arbiter.answered)
        return takes
