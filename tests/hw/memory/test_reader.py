"""Reader: random READs through a slow memory, by id too, what they wait for, latencies, errors, resets."""

from collections import deque, namedtuple
from dataclasses import replace
import random

from amaranth.hdl import Const
import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.isa.descriptor import DESCRIPTOR_WORDS, Descriptor, Move
from wingbeat.hw.isa.instruction import Destination, Fetch, MemoryMode, Read, Set, Unit
from wingbeat.hw.isa.setup import TAG_BITS
from wingbeat.hw.memory.reader import Reader
from wingbeat.sim.bench.stream import Bench, Stall

pytestmark = pytest.mark.thin(4)

MEMORY_BITS, ELEMENTS, WIDTH = 14, 8, 10
MASK = (1 << WIDTH) - 1
ROW_IDS = 16
PIPELINES = pytest.mark.parametrize("pipeline", list(Pipeline), ids=lambda p: p.value)
LINE = Descriptor((), Move(0, 1), tuple(Move(0, 2 << bit) for bit in range(6)), pitch=100, chunks=128)


def config(groups=2, pipeline=Pipeline.DEEP, records=False, sparse=False, row_ids=0):
    return CoreConfig.of(engines=2 * groups, layers=1, width=WIDTH, element_width=WIDTH, stream_words=ELEMENTS // 2,
                         memory_bits=MEMORY_BITS, descriptors=4, pipeline=pipeline, records=records, row_ids=row_ids,
                         **(dict(coefficient_words=16, ring_words=16, sparse=True) if sparse else {}))


def content(address):
    """What the memory holds."""
    return random.Random(address).getrandbits(ELEMENTS * WIDTH)


def random_descriptor(rng, groups):
    """A matrix, or a part of one, by rows, by columns or in bit-reversed order; some of it outside."""
    log_rows, log_chunks = rng.randint(0, 3), rng.randint(0, 2)
    rows, chunks = [Move(1 << b) for b in range(log_rows)], [Move(0, 1 << b) for b in range(log_chunks)]
    moves = [*rows, *chunks]
    order = rng.choice([moves, moves[::-1], [*chunks, *rows], rng.sample(moves, len(moves))])
    cut = rng.randint(0, min(2, len(order)))
    group = rng.choice([Move(1 << log_rows), Move(0, 1 << log_chunks)])
    return Descriptor(tuple(order[:cut]), group, tuple(order[cut:]),
                      pitch=rng.randint(1, 40), chunks=rng.randint(1, (1 << log_chunks) + 1),
                      tail=rng.choice([0, 1, 5, 7, 8, 13]), origin=Move(rng.choice([0, 0, -1, 2]), rng.choice([0, 1])),
                      steps=rng.randint(1, 1 << len(order) - cut))


def random_commands(rng, descriptors, count, waiting, fetches=()):
    """SETs of all registers, then READs with some more among them, and FETCHes to any of the destinations
    ``fetches``."""
    commands = [Set(Unit.READER, register, rng.getrandbits(MEMORY_BITS)) for register in range(8)]
    for number in range(count):
        if rng.random() < 0.2:
            commands.append(Set(Unit.READER, rng.randrange(8), rng.getrandbits(MEMORY_BITS)))
        if fetches and rng.random() < 0.6:
            commands.append(Fetch(rng.randrange(len(descriptors)), rng.randrange(3), rng.choice([1, 3, 60000]),
                                  MemoryMode.COLUMNS, rng.randint(-300, 300), destination=rng.choice(fetches),
                                  fence=rng.random() < 0.5))
        after = rng.randint(0, min(number, 3)) if waiting else 0
        commands.append(Read(rng.randrange(len(descriptors)), rng.randrange(3), rng.choice([2, 5, 60000]),
                             MemoryMode(rng.randrange(3)), rng.randint(-300, 300), after,
                             rng.choice([0, 1, 3, 9]) if after else 0))
    return commands


class Twin:
    """Blocks, an entry for each READ and FETCH: bit patterns of ``o`` and the beat numbers that it requests. ``bad``:
    how many ids named no row; ``places``: where the rows of the ids begin."""

    def __init__(self, commands, descriptors, dut_config):
        self._config, self.blocks, self.bad, self.places = dut_config, [], 0, {}
        registers, mode = [0] * 8, MemoryMode.COLUMNS
        for command in commands:
            if isinstance(command, Set):
                registers[command.register] = command.value
                continue
            base, descriptor = registers[command.register], descriptors[command.descriptor]
            is_fetch = isinstance(command, Fetch)
            self.blocks.append(self._beats(command, descriptor, base, mode if is_fetch else command.mode))
            words, addresses = self.blocks[-1]
            if is_fetch and command.destination == Destination.IDS:
                self._keep(descriptor, addresses)
            elif not is_fetch:
                words[0] |= (command.mode != mode) << ELEMENTS * WIDTH + 3
                mode = command.mode
            registers[command.register] = (base + command.increment) % (1 << MEMORY_BITS)

    def _keep(self, descriptor, addresses):
        row_ids = [content(address) & MASK for address in addresses]
        self.bad += sum(each > descriptor.keep & 0xFFFF for each in row_ids)
        self.places |= {number % ROW_IDS: descriptor.other + (each << (descriptor.keep >> 16))
                        for number, each in enumerate(row_ids) if each <= descriptor.keep & 0xFFFF}

    def _marks(self, read):
        """Marks of the beats of a block, lowest first in ``o``: setup, ring, picks, ids; and the bit of ``present``."""
        destination, c = read.destination if isinstance(read, Fetch) else 0, self._config
        marks = [destination > 0, *([destination in (Destination.RING, Destination.PICKS)] if c.ring_words else []),
                 *([destination == Destination.PICKS] if c.sparse else []),
                 *([destination == Destination.IDS] if c.row_ids else [])]
        return sum(mark << at for at, mark in enumerate(marks)), c.records << len(marks)

    def _beats(self, read, descriptor, base, mode):  # the mode of its beats
        words, addresses = [], []
        marks, present = self._marks(read)
        row, chunk = descriptor.positions(self._config.beat_groups)
        for number, (r, c) in enumerate(zip((row & 0xFFFF).tolist(), (chunk & 0xFFFF).tolist())):
            beat = marks << ELEMENTS * WIDTH + 4
            if r < read.rows and c < descriptor.chunks:
                at = int(base + row[number] * descriptor.pitch)
                begin = self.places[at % (1 << MEMORY_BITS) % ROW_IDS] if read.by_id else at
                addresses.append((begin + c) % (1 << MEMORY_BITS))
                element_bits = content(addresses[-1])
                if c == descriptor.chunks - 1 and descriptor.tail:
                    element_bits &= (1 << WIDTH * descriptor.tail) - 1
                beat |= element_bits | present << ELEMENTS * WIDTH + 4
            words.append(beat | int(mode) << ELEMENTS * WIDTH | (number == len(row) - 1) << ELEMENTS * WIDTH + 2)
        return words, addresses


# What the reader shows and sees in one cycle.
Cycle = namedtuple("Cycle", "idle running waiting bad_after bad_id tag completed progress request")


class Setup:
    """A reader, a memory behind it that answers after ``latency()`` cycles, and somebody who writes every block that
    has come out, a beat every ``writing`` cycles on average (0: nobody).

    ``history``: a :class:`Cycle` for every cycle from the end of the table on; ``taken``, ``requests`` and ``beats``:
    in which of them a command, a request and a beat of ``o`` moved.
    """

    def __init__(self, seed, commands, descriptors, field_bits, *, groups=2, pipeline=Pipeline.DEEP, in_flight=4,
                 latency=lambda: 1, ready=Stall.NEVER, sink=Stall.NEVER, writing=0, records=False,
                 sparse=False, row_ids=0):
        dut_config = config(groups, pipeline, records, sparse, row_ids)
        self.dut = Reader(dut_config, in_flight)
        self.bench, self._rng = Bench(self.dut, seed), random.Random(seed)
        self.bench.noise(self.dut.write, self.dut.write_en)
        twin = Twin(commands, descriptors, dut_config)
        self.blocks, self.bad_ids = twin.blocks, twin.bad
        self.played = []  # in which cycles the player, whom nobody plays here, says that it is done
        self.words = [word for words, _ in self.blocks for word in words]
        self._table = [(number * DESCRIPTOR_WORDS + at, word) for number, descriptor in enumerate(descriptors)
                       for at, word in enumerate(descriptor.words(groups)) if word]
        self._commands = [int(isinstance(c, Set)) | field_bits(c) << 1 for c in commands]
        self._latency, self._ready, self._writing = latency, ready.willing(random.Random(seed + 1)), writing
        self.got = self.bench.sink(self.dut.o, len(self.words), sink)
        for process in (self._drive, self._memory, self._writer, self._watch, *([self._play] if records else [])):
            self.bench.process(process, background=True)

    def run(self, reset_at=None, words=None):
        """``reset_at`` counts from the end of the table."""
        self.history, self.taken, self.requests, self._addresses = [], [], [], []
        table = len(self._table)
        if words is not None:
            self.got.expected = words
        self.bench.run(table + 400 + 60 * (len(self.words) + len(self._commands)),
                       None if reset_at is None else reset_at + table + 1)
        self.beats = [cycle - table for cycle in self.got.cycles] if reset_at is None else []
        for number, (got, want) in enumerate(zip(self.got.words, self.words)):
            assert got == want, f"beat {number}, {self.bench.seed_note}"
        if words is None:
            assert self._addresses == [a for _, addresses in self.blocks for a in addresses], self.bench.seed_note
            assert self.history[-1].idle and not self.history[-1].running, self.bench.seed_note
            assert sum(seen.bad_id for seen in self.history) == self.bad_ids, self.bench.seed_note
        return self

    async def _drive(self, ctx):
        for address, word in self._table:
            ctx.set(self.dut.write, {"address": address, "data": word})
            ctx.set(self.dut.write_en, 1)
            await ctx.tick()
        ctx.set(self.dut.write_en, 0)
        port = self.dut.i_command
        ctx.set(port.valid, bool(self._commands))
        ctx.set(port.payload, port.payload.shape().from_bits(self._commands[0]))
        cycle = 0
        async for _, reset, ready in ctx.tick().sample(port.ready):
            if reset:
                cycle, self.taken[:] = -1, []
            elif ready and len(self.taken) < len(self._commands):
                self.taken.append(cycle)
                ctx.set(port.valid, 0)
            cycle += 1
            if len(self.taken) < len(self._commands):
                ctx.set(port.valid, 1)
                ctx.set(port.payload, port.payload.shape().from_bits(self._commands[len(self.taken)]))

    async def _memory(self, ctx):
        dut, queue, cycle, offered = self.dut, deque(), 0, False
        ctx.set(dut.read.ready, next(self._ready))
        moves = ctx.tick().sample(dut.read.valid, dut.read.ready, dut.read.payload, dut.beats.ready)
        async for _, reset, valid, ready, address, taken in moves:
            if reset:
                queue.clear()
                self._addresses.clear()
            else:
                if offered and taken:
                    queue.popleft()
                if valid and ready:
                    queue.append((cycle + self._latency(), address))
                    self._addresses.append(address)
            cycle += 1
            ctx.set(dut.read.ready, next(self._ready))
            offered = bool(queue) and queue[0][0] <= cycle
            ctx.set(dut.beats.valid, offered)
            word = content(queue[0][1]) if offered else self._rng.getrandbits(ELEMENTS * WIDTH)
            ctx.set(dut.beats.payload, dut.beats.payload.shape().from_bits(word))

    async def _writer(self, ctx):
        if not self._writing:
            return
        done, written = 0, 0
        ends = np.cumsum([len(words) for words, _ in self.blocks]).tolist()
        async for _, reset in ctx.tick():
            ctx.set(self.dut.completed, 0)
            if reset:
                done = written = 0
            elif self._rng.random() < 1 / self._writing and done < len(ends):
                first = ends[done - 1] if done else 0
                if written == ends[done] - first:  # progress stays until the pulse is over
                    ctx.set(self.dut.completed, 1)
                    done, written = done + 1, 0
                    continue
                written += len(self.got.words) > first + written
            ctx.set(self.dut.progress, written)

    async def _play(self, ctx):
        skip = len(self._table)
        async for _, reset, played in ctx.tick().sample(self.dut.played):
            if reset:
                self.played.clear()
            elif skip:
                skip -= 1
            else:
                self.played.append(played)
            ctx.set(self.dut.played, self._rng.random() < 0.2)

    async def _watch(self, ctx):
        dut, skip = self.dut, len(self._table)
        bad_id = dut.bad_id if hasattr(dut, "bad_id") else Const(0)
        ports = (dut.idle, dut.running, dut.waiting, dut.bad_after, bad_id, dut.tag, dut.completed, dut.progress)
        async for _, reset, valid, ready, *values in ctx.tick().sample(dut.read.valid, dut.read.ready, *ports):
            if reset:
                self.history.clear()
                skip = 0
            elif skip:
                skip -= 1
            else:
                self.history.append(Cycle(*values, valid & ready))


def check_dependencies(setup, commands):
    """No READ has begun before the rule allowed it, from the state of the cycle before."""
    reads, completed = [c for c in commands if isinstance(c, Read)], 0
    for cycle, (now, then) in enumerate(zip(setup.history, setup.history[1:])):
        if then.tag == now.tag + 1 and (read := reads[now.tag]).after:
            before = setup.history[cycle - 1]
            left = now.tag - (completed - before.completed)
            allowed = left < read.after or (read.after_beats and left == read.after
                                            and before.progress >= read.after_beats)
            assert allowed, f"READ {now.tag} in cycle {cycle}, {setup.bench.seed_note}"
        completed += now.completed


@pytest.mark.parametrize("in_flight", [3, 1025])
def test_refused_in_flight(in_flight):
    with pytest.raises(ValueError, match=rf"^in_flight: {in_flight} is not in 4\.\.1024$"):
        Reader(config(), in_flight)


@pytest.mark.parametrize("sink", [Stall.NEVER, Stall.RANDOM, Stall.BURSTS], ids=lambda s: s.value)
@pytest.mark.parametrize("in_flight", [4, 64])
@PIPELINES
@pytest.mark.parametrize("groups", [1, 3])
def test_random_reads(groups, pipeline, in_flight, sink, field_bits):
    """A slow memory; nobody waits for a WRITE."""
    seed = groups + 10 * in_flight + list(Stall).index(sink)
    rng = random.Random(seed)
    descriptors = [random_descriptor(rng, groups) for _ in range(4)]
    commands = random_commands(rng, descriptors, 12, waiting=False)
    Setup(seed, commands, descriptors, field_bits, groups=groups, pipeline=pipeline, in_flight=in_flight, sink=sink,
          latency=lambda: rng.choice([1, 2, 5, 30]), ready=rng.choice([Stall.NEVER, Stall.RANDOM])).run()


@pytest.mark.parametrize("seed", range(24))
def test_random_dependencies(seed, field_bits):
    rng = random.Random(seed)
    descriptors = [random_descriptor(rng, 2) for _ in range(4)]
    commands = random_commands(rng, descriptors, 12, waiting=True)
    setup = Setup(seed, commands, descriptors, field_bits, pipeline=rng.choice(list(Pipeline)), in_flight=64,
                  latency=lambda: rng.choice([1, 3]), ready=Stall.NEVER, sink=rng.choice([Stall.NEVER, Stall.RANDOM]),
                  writing=rng.choice([1.0, 1.5, 4]))
    check_dependencies(setup.run(), commands)


def read(**options):
    return Read(**dict(descriptor=0, register=0, rows=1, mode=MemoryMode.ROWS) | options)


@PIPELINES
@pytest.mark.parametrize("latency, in_flight", [(1, 4), (4, 4), (64, 64)])
def test_stated_latency_and_throughput(latency, in_flight, pipeline, field_bits):
    """A SET, and two READs of 128 beats without a pause but the stated one."""
    commands = [Set(Unit.READER, 0, 500), read(), read()]
    setup = Setup(0, commands, [LINE], field_bits, pipeline=pipeline, in_flight=in_flight, latency=lambda: latency)
    setup.run()
    ahead = 10 if pipeline.is_deep else 6
    first = setup.taken[1] + 3 + ahead
    assert setup.taken[:2] == [0, 1]
    requests = [first + number + (number >= 128) * (ahead + 1) for number in range(256)]
    assert [cycle for cycle, seen in enumerate(setup.history) if seen.request] == requests
    assert setup.beats == [cycle + 1 + max(latency, 3 + pipeline.ram_latency) for cycle in requests]
    running = [cycle for cycle, seen in enumerate(setup.history) if seen.running]
    assert running == list(range(setup.taken[1] + 1, requests[-1] + 2))
    idle = [cycle for cycle, seen in enumerate(setup.history) if not seen.idle]
    assert idle == list(range(setup.taken[1] + 1, setup.beats[-1] + 2))


def test_in_flight_bounds_the_requests(field_bits):
    """The queue, its two registers, the two tokens that have left it; of the two beats there is none."""
    setup = Setup(0, [read()], [LINE], field_bits, latency=lambda: 40).run()
    assert sum(seen.request for seen in setup.history[:setup.beats[0]]) == 4 + 4


@pytest.mark.parametrize("after, after_beats", [(1, 0), (2, 0), (1, 5), (2, 3)])
def test_begins_when_stated(after, after_beats, field_bits):
    """Four READs, of which the last waits for a WRITE or for a part of one."""
    commands = [read(), read(), read(), read(after=after, after_beats=after_beats)]
    setup = Setup(1, commands, [LINE], field_bits, writing=9).run()
    begins = next(cycle for cycle, seen in enumerate(setup.history) if seen.tag == 4) - 1
    whole = np.cumsum([seen.completed for seen in setup.history])
    if after_beats:
        reached = next(cycle for cycle, seen in enumerate(setup.history)
                       if cycle and whole[cycle - 1] == 3 - after and seen.progress >= after_beats) + 2
    else:
        reached = next(cycle for cycle, count in enumerate(whole) if count == 4 - after) + 3
    assert begins == reached
    assert [cycle for cycle, seen in enumerate(setup.history) if seen.waiting][-1] == begins - 1


def test_a_dependency_on_no_block_stops_the_reader(field_bits):
    """READ 1 may look back one tag, not two; READ 2 behind it does not begin either."""
    commands = [read(), read(after=2), read()]
    setup = Setup(0, commands, [LINE], field_bits, writing=1).run(words=128)
    assert [seen.bad_after for seen in setup.history].count(1) == 1
    assert setup.history[-1].tag == 1 and len(setup.taken) == 2 and not setup.history[-1].waiting
    assert sum(seen.request for seen in setup.history) == 128


def test_every_dependency_of_the_first_reads(field_bits):
    """READ 1 waits for WRITE 0; 70 READs of one beat later ``after`` = 63 is fine."""
    one = Descriptor((), Move(0, 1), (), pitch=1, chunks=2)
    commands = [read(), read(after=1), *[read()] * 68, read(after=63)]
    Setup(0, commands, [one], field_bits, writing=1).run()


@pytest.mark.parametrize("sink", [Stall.NEVER, Stall.RANDOM], ids=lambda s: s.value)
@pytest.mark.parametrize("seed", range(12))
def test_fetches(seed, sink, field_bits):
    """Beats of a FETCH are marked and stand in their place; behind a fence no command is taken before its last beat has
    left and the player is done. A FETCH has no tag."""
    rng = random.Random(seed)
    descriptors = [random_descriptor(rng, 2) for _ in range(4)]
    commands = random_commands(rng, descriptors, 10, waiting=False, fetches=(Destination.SETUP,))
    setup = Setup(seed, commands, descriptors, field_bits, pipeline=rng.choice(list(Pipeline)), in_flight=64, sink=sink,
                  latency=lambda: rng.choice([1, 2, 30]), records=True).run()
    assert any(isinstance(each, Fetch) for each in commands)
    assert setup.history[-1].tag == sum(isinstance(each, Read) and not isinstance(each, Fetch) for each in commands)
    ends = np.cumsum([len(words) for words, _ in setup.blocks]).tolist()
    blocks = [each for each in commands if isinstance(each, Read)]
    for number, (command, taken) in enumerate(zip(commands, setup.taken[1:])):
        if isinstance(command, Fetch) and command.fence:
            left = setup.beats[ends[blocks.index(command)] - 1]
            assert taken > left and any(setup.played[left:taken]), f"command {number + 1}, {setup.bench.seed_note}"


@pytest.mark.parametrize("seed", range(4))
def test_fetches_to_the_ring(seed, field_bits):
    """The beats of a FETCH know where they go, and whether to the ids or a sparse matrix; those of a READ nothing."""
    rng = random.Random(seed)
    descriptors = [random_descriptor(rng, 2) for _ in range(4)]
    commands = [replace(each, fence=True) if isinstance(each, Fetch) else each
                for each in random_commands(rng, descriptors, 20, waiting=False, fetches=tuple(Destination))]
    Setup(seed, commands, descriptors, field_bits, in_flight=64, sink=rng.choice([Stall.NEVER, Stall.RANDOM]),
          latency=lambda: rng.choice([1, 2, 30]), records=True, sparse=True, row_ids=ROW_IDS).run()
    assert {each.destination for each in commands if isinstance(each, Fetch)} >= {*Destination}, f"seed {seed}"


IDS = Descriptor((), Move(1), (Move(2), Move(4), Move(8)), 1, 1, other=1000, keep=MASK | 2 << 16)
FETCH_IDS = Fetch(0, 0, 99, MemoryMode.COLUMNS, destination=Destination.IDS, fence=True)


def random_id_commands(rng, count):
    """A FETCH of as many ids as there is room for, then READs by id and not, FETCHes of records and of more ids."""
    form = rng.choice([MASK // 2, MASK]) | rng.randrange(6) << 16
    descriptors = [IDS, replace(random_descriptor(rng, 2), pitch=1, by_id=True),
                   replace(random_descriptor(rng, 2), other=rng.getrandbits(MEMORY_BITS), keep=form),
                   random_descriptor(rng, 2)]
    commands = [FETCH_IDS]
    for command in random_commands(rng, descriptors, count, False, [Destination.SETUP, Destination.IDS]):
        if isinstance(command, Fetch):
            command = replace(command, descriptor=rng.choice([0, 2]), fence=True)
        elif isinstance(command, Read):
            by_id = rng.random() < 0.7
            command = replace(command, by_id=by_id, descriptor=1 if by_id else rng.choice([0, 2, 3]))
        commands.append(command)
    return descriptors, commands


@pytest.mark.thin(2)
@pytest.mark.parametrize("seed", range(12))
def test_rows_by_id(seed, field_bits):
    """Behind the fence of their FETCH, with other blocks between; an id that names no row is told once."""
    rng = random.Random(seed)
    descriptors, commands = random_id_commands(rng, 10)
    Setup(seed, commands, descriptors, field_bits, pipeline=rng.choice(list(Pipeline)), in_flight=rng.choice([4, 64]),
          sink=rng.choice([Stall.NEVER, Stall.RANDOM]), latency=lambda: rng.choice([1, 2, 30]),
          ready=rng.choice([Stall.NEVER, Stall.RANDOM]), records=True, row_ids=ROW_IDS).run()
    assert any(each.by_id for each in commands if isinstance(each, Read)), f"seed {seed}"


@pytest.mark.thin(1)
@PIPELINES
@pytest.mark.parametrize("limit", [MASK, (content(ROW_IDS - 1) & MASK) - 1])
def test_ids_that_name_no_row(limit, pipeline, field_bits):
    """Two cycles behind their beats, before the reader is idle, the last one too; all others are found behind the
    fence."""
    bad = [number for number in range(ROW_IDS) if content(number) & MASK > limit]
    row, by_id = Descriptor((), Move(0, 1), (), pitch=1, chunks=2, by_id=True), read(descriptor=1, by_id=True)
    commands = [FETCH_IDS, *(step for number in range(ROW_IDS) if number not in bad
                             for step in (Set(Unit.READER, 0, number), by_id))]
    tables = [replace(IDS, keep=limit), row]
    setup = Setup(0, commands, tables, field_bits, pipeline=pipeline, records=True, row_ids=ROW_IDS).run()
    told = [cycle for cycle, seen in enumerate(setup.history) if seen.bad_id]
    assert told == [setup.beats[number] + 2 for number in bad] and bool(bad) is (limit < MASK)
    assert not any(setup.history[cycle].idle for cycle in told)


async def give(ctx, dut, command, field_bits):
    ctx.set(dut.i_command.payload, dut.i_command.payload.shape().from_bits(field_bits(command) << 1))
    ctx.set(dut.i_command.valid, 1)
    await ctx.tick().until(dut.i_command.ready)
    ctx.set(dut.i_command.valid, 0)


def test_clear_forgets_tags(field_bits):
    """Two READs without a WRITE; after ``clear`` those behind them count from 0 and wait for their own WRITEs only."""
    setup = Setup(0, [read(), read()], [LINE], field_bits)

    async def clear_and_read(ctx):
        dut = setup.dut
        await ctx.tick().until((dut.tag == 2) & dut.idle)
        ctx.set(dut.clear, 1)
        await ctx.tick()
        ctx.set(dut.clear, 0)
        await ctx.tick()
        assert ctx.get(dut.tag) == 0
        await give(ctx, dut, read(), field_bits)
        await give(ctx, dut, read(after=1), field_bits)
        await ctx.tick().until(dut.waiting)
        ctx.set(dut.completed, 1)
        await ctx.tick()
        ctx.set(dut.completed, 0)
        await ctx.tick().until(dut.tag == 2)
        await give(ctx, dut, read(after=3), field_bits)
        await ctx.tick().until(dut.bad_after)

    setup.bench.process(clear_and_read)
    setup.words += [setup.words[0] & ~(1 << ELEMENTS * WIDTH + 3), *setup.words[1:]]  # no change of mode any more
    setup.run(words=512)
    assert setup.history[-1].tag == 2


def test_tags_wrap(field_bits):
    """Behind tag 65535 all of the last READs still exist."""
    setup = Setup(0, [read(), read(), read(after=1), read(after=4)], [LINE], field_bits, writing=1)

    async def skip(ctx):
        await ctx.tick().until(setup.dut.tag == 1)
        ctx.set(setup.dut.count, (1 << TAG_BITS) - 1)

    setup.bench.process(skip)
    setup.run()
    assert setup.history[-1].tag == 2 and not any(seen.bad_after for seen in setup.history)


@pytest.mark.parametrize("reset_at", [2, 9, 14, 20, 41])
def test_reset_mid_block(reset_at, field_bits):
    rng = random.Random(reset_at)
    descriptors = [random_descriptor(rng, 2) for _ in range(4)]
    commands = random_commands(rng, descriptors, 6, waiting=True)
    Setup(reset_at, commands, descriptors, field_bits, latency=lambda: rng.choice([1, 5]), sink=Stall.RANDOM,
          writing=2).run(reset_at)
