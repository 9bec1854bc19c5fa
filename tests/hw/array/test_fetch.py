"""Fetch unit: instructions in program order, whatever the units do; loops, halt, restart."""

import random
from dataclasses import replace

import pytest

from support.faults import OF_NO_PROGRAM, fault_of
from support.programs import executed

from wingbeat.hw.array.fetch import FetchUnit
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.bit_fields import field_places
from wingbeat.hw.isa.encoding import FIELDS, INSTRUCTION_WORDS, encode
from wingbeat.hw.isa.instruction import (Destination, Fault, Fetch, Halt, Load, Loop, Mac, MemoryMode, Mode, Opcode,
                                         Pass, Read, Set, Store, Sums, Unit, Wait, Write)
from wingbeat.hw.isa.setup import SETUP_PROGRAM
from wingbeat.hw.isa.walk import Walk
from wingbeat.hw.layouts import memory_command, pass_command
from wingbeat.sim.bench.stream import Bench, Stall
from wingbeat.sim.stimulus.illegal import illegal_programs
from wingbeat.sim.stimulus.processor import random_processor_job
from wingbeat.sim.stimulus.records import with_records

CONFIG = CoreConfig.of(layers=2, half_words=64, program_words=128, stream_words=4)
PORTS = {Load: "o_load", Pass: "o_pass", Store: "o_store"}


def random_instruction(rng):
    s = CONFIG.layers
    window = rng.choice([(0, 1), (1, 2), (2, 3), (3, 4)])
    rest = [b for b in range(6) if b not in window]
    inner = sum(1 << b for b in rest if rng.random() < 0.5)
    walk = Walk(window, inner, sum(1 << b for b in rest) & ~inner)
    return rng.choice(
        [
            Load(walk, rng.random() < 0.5, rng.randrange(30)),
            Store(walk),
            Pass(
                rng.choice(list(Mode)),
                rng.randrange(16),
                rng.randint(1, 1 << 16),
                rng.randrange(16),
                tuple(rng.randrange(8) for _ in range(s)),
                coef_base=rng.randrange(1 << 16),
                coef_shift=rng.randrange(16),
                coef_mask_bits=rng.randrange(32),
                gap=rng.randrange(256),
                first=rng.random() < 0.5,
                last=rng.random() < 0.5,
            ),
        ]
    )


def random_program(rng):
    """Straight parts and loops of 1..4 rounds, one after the other, as long as the memory allows."""
    program, most = [], CONFIG.program_words // 3 - 1
    while len(program) < most - 5:
        start = len(program)
        program += [random_instruction(rng) for _ in range(rng.randint(1, 4))]
        if rng.random() < 0.6:
            program.append(Loop(rng.randint(start, len(program) - 1), rng.randint(1, 4)))
    return [*program, Halt()]


async def write(ctx, dut, words):
    """Words (address, word) of the program memory."""
    for address, word in words:
        ctx.set(dut.write, {"target": SETUP_PROGRAM, "address": address, "data": word})
        ctx.set(dut.write_en, 1)
        await ctx.tick()
    ctx.set(dut.write_en, 0)


async def start(ctx, dut):
    ctx.set(dut.start, 1)
    await ctx.tick()
    ctx.set(dut.start, 0)


class Run:
    """Writes a program, starts it, and takes the instructions; ``taken`` lists (cycle, port, pattern) in
    order.
    """

    def __init__(self, program, seed=0, stall=Stall.NEVER, config=CONFIG):
        self.dut, self.program, self.taken = FetchUnit(config), program, []
        self.rng, self.stall = random.Random(seed), stall
        self.running, self.idle_at = [], None  # running[cycle]; units are idle from cycle idle_at on
        self.bench = Bench(self.dut, seed)
        self.bench.noise(self.dut.write, self.dut.write_en)

    async def take(self, ctx, cycles, idle_from=0, reset_at=None):
        """Cycle 0 is the first after the start. Records what moves, and that offers are held."""
        ports = [getattr(self.dut, name) for name in PORTS.values()]
        willing = [self.stall.willing(random.Random(self.rng.random())) for _ in ports]
        held = None
        for cycle in range(cycles):
            ready = [next(go) for go in willing]
            for port, value in zip(ports, ready):
                ctx.set(port.ready, value)
            ctx.set(self.dut.units_idle, cycle >= idle_from)
            ctx.set(self.bench.rst, cycle == reset_at)
            samples = [signal for port in ports for signal in (port.valid, port.payload.as_value())]
            _, _, running, *values = await ctx.tick().sample(self.dut.running, *samples)
            self.running.append(running)
            offers = [(name, values[2 * i + 1]) for i, name in enumerate(PORTS.values()) if values[2 * i]]
            assert len(offers) <= 1, f"two units are offered an instruction in cycle {cycle}"
            assert held is None or offers == [held], f"an offer was not held in cycle {cycle}"
            taken = offers and ready[list(PORTS.values()).index(offers[0][0])]
            held = offers[0] if offers and not taken and cycle != reset_at else None
            if taken:
                self.taken.append((cycle, *offers[0]))

    def all(self, cycles, **options):
        async def testbench(ctx):
            await write(ctx, self.dut, enumerate(encode(self.program)))
            await start(ctx, self.dut)
            await self.take(ctx, cycles, **options)
        self.bench.process(testbench)
        self.bench.simulator.run()
        return self


def patterns(instructions, field_bits):
    """What the ports carry: payloads of LOAD and STORE are the low bits of the same register."""
    return [(PORTS[type(i)], field_bits(i)) for i in instructions]


@pytest.mark.parametrize("stall", [Stall.NEVER, Stall.RANDOM, Stall.OFTEN, Stall.BURSTS])
@pytest.mark.parametrize("seed", [1, 2])
def test_random_programs(field_bits, stall, seed):
    program = random_program(random.Random(seed))
    want = patterns(executed(program), field_bits)
    run = Run(program, seed, stall).all(
        (6 + {Stall.NEVER: 0, Stall.OFTEN: 12}.get(stall, 7)) * len(want) + 200
    )
    assert [taken[1:] for taken in run.taken] == want, f"{stall.value}, seed {seed}"
    assert run.running[0] and not run.running[-1]


def test_stated_latency_and_throughput():
    """One hand-out in 6 cycles, an instruction of control in between costs as much."""
    walk = Walk((0, 1), 0b1100, 0)
    run = Run([Load(walk), Store(walk), Load(walk), Loop(1, 2), Store(walk), Halt()]).all(90)
    cycles = [cycle for cycle, *_ in run.taken]
    first = cycles[0]
    assert [cycle - first for cycle in cycles] == [0, 6, 12, 24, 30, 42]
    assert first == 5


@pytest.mark.parametrize("at", [1364, 1365, 1366, 2700])
def test_loops_reach_every_word(field_bits, at):
    """A jump to an instruction around word 4,096 and beyond; forwards, an array alone does not mind."""
    step = Store(Walk((0, 1), 0b1100, 0))
    program = [Loop(at, 2), *[Halt()] * (at - 1), step, replace(step, walk=Walk((1, 2), 0b1001, 0)), Halt()]
    run = Run(program, config=CONFIG.changed(program_words=8192)).all(60)
    assert [taken[1:] for taken in run.taken] == patterns(program[at:-1], field_bits)
    assert not run.running[-1]


@pytest.mark.parametrize("idle_from", [0, 12, 40])
def test_halt_waits_for_the_units(idle_from):
    run = Run([Load(Walk((0, 1), 0b1100, 0)), Halt()]).all(60, idle_from=idle_from)
    assert run.running == [1] * (max(11, idle_from + 1) + 1) + [0] * (60 - max(11, idle_from + 1) - 1)
    assert len(run.taken) == 1


def test_every_word_of_the_memory_and_a_second_start(field_bits):
    """The longest program; then part of it is rewritten and started again from the top."""
    rng = random.Random(9)
    most = CONFIG.program_words // 3
    first = [*[random_instruction(rng) for _ in range(most - 1)], Halt()]
    second = [*[random_instruction(rng) for _ in range(3)], Halt()]
    run = Run(first)

    async def testbench(ctx):
        await write(ctx, run.dut, enumerate(encode(first)))
        await start(ctx, run.dut)
        await run.take(ctx, 8 * most)
        await write(ctx, run.dut, enumerate(encode(second)))
        await start(ctx, run.dut)
        await run.take(ctx, 60)

    run.bench.process(testbench)
    run.bench.simulator.run()
    assert [taken[1:] for taken in run.taken] == patterns(first[:-1] + second[:-1], field_bits), "seed 9"


@pytest.mark.parametrize("reset_at", [0, 3, 17, 40])
def test_reset_in_a_loop(field_bits, reset_at):
    """It stops at once; the program is kept and runs from the top, with the loop counted anew."""
    rng = random.Random(reset_at)
    program = [random_instruction(rng), random_instruction(rng), Loop(1, 3), random_instruction(rng), Halt()]
    run = Run(program)

    async def testbench(ctx):
        await write(ctx, run.dut, enumerate(encode(program)))
        await start(ctx, run.dut)
        await run.take(ctx, reset_at + 30, reset_at=reset_at)
        assert not any(run.running[reset_at + 1:]), "it runs on after the reset"
        run.taken.clear()
        await start(ctx, run.dut)
        await run.take(ctx, 100)

    run.bench.process(testbench)
    run.bench.simulator.run()
    assert [taken[1:] for taken in run.taken] == patterns(executed(program), field_bits), f"seed {reset_at}"


# --- In a processor -----------------------------------------------------------------------------------------------

PROCESSOR = CoreConfig.of(engines=1, layers=1, half_words=8, coefficient_words=8, program_words=256, stream_words=2,
                          memory_bits=12, descriptors=4, records=True)
UNITS = {"o_load": (Load,), "o_pass": (Pass,), "o_store": (Store,), "o_reader": (Read, Sums, Set),
         "o_writer": (Write, Set)}
# What the fetch unit does not see; RING only where there is one.
LATE = (Fault.AFTER, Fault.REFUSED, Fault.WATCHDOG, Fault.RECORD, Fault.RING, Fault.ID)


def is_fetch(name, payload):
    command = memory_command().from_bits(payload) if name == "o_reader" else None
    return command is not None and not command.set and bool(
        command.fields >> field_places(FIELDS[Opcode.FETCH])["destination"][0] & 3)


def run_processor(programs, seed, cycles=6000, stop_at=None):
    """By program (words): what was handed out, in order, as (port, pattern), and the faults with their tags. No WAIT
    ends before the FETCHes that were handed out have."""
    dut, found, rng = FetchUnit(PROCESSOR), [], random.Random(seed)
    bench = Bench(dut, seed)
    bench.noise(dut.write, dut.write_en)
    ports = [getattr(dut, name) for name in UNITS]

    async def testbench(ctx):
        ctx.set(dut.units_idle, 1)
        for port in ports:
            ctx.set(port.ready, 1)
        for words in programs:
            ctx.set(dut.write_en, 1)
            for address, word in enumerate([*words, *[0xF] * (PROCESSOR.program_words - len(words))]):
                ctx.set(dut.write, {"target": SETUP_PROGRAM, "address": address, "data": word})
                await ctx.tick()
            ctx.set(dut.write_en, 0)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            taken, faults, ended, fetched = [], [], 0, []
            for cycle in range(cycles):
                ctx.set(dut.stop, cycle == stop_at)
                # A FETCH that was handed out ends up to 60 cycles later, and its records are played 5 cycles later.
                ctx.set(dut.fetch_ended, cycle in fetched)
                ctx.set(dut.records_idle, not any(end < cycle <= end + 5 for end in fetched))
                samples = [signal for port in ports for signal in (port.valid, port.payload.as_value())]
                _, _, running, fault, tag, *values = await ctx.tick().sample(dut.running, dut.fault, dut.fault_tag,
                                                                            *samples)
                offers = [(name, values[2 * n + 1]) for n, name in enumerate(UNITS) if values[2 * n]]
                assert len(offers) <= 1, f"two units are offered an instruction in cycle {cycle}, seed {seed}"
                assert not offers or not faults, f"{offers} after a fault in cycle {cycle}, seed {seed}"
                taken += offers
                if offers and is_fetch(*offers[0]):
                    fetched.append(max([cycle, *fetched]) + rng.randint(1, 60))
                faults += [(fault, tag)] if fault != Fault.NONE else []
                ended = ended + 1 if not running and cycle > 2 else 0
                if ended == 8:
                    break
            else:
                raise AssertionError(f"it has not ended after {cycles} cycles, seed {seed}")
            found.append((taken, faults))
            ctx.set(bench.rst, 1)  # after an error it goes on after a reset
            await ctx.tick()
            ctx.set(bench.rst, 0)
    bench.process(testbench)
    bench.simulator.run()
    return found


def test_illegal_programs_end_with_their_fault():
    """Nothing is handed out from the fault on: as many instructions as the model has gone through."""
    seed = 4
    rng = random.Random(seed)
    cases = [case for case in illegal_programs(PROCESSOR, rng) if case.code not in LATE]
    cases = rng.sample(cases, 60)
    assert {case.code for case in cases} == set(Fault) - {*OF_NO_PROGRAM, *LATE}
    for case, (taken, faults) in zip(cases, run_processor([case.words for case in cases], seed)):
        want = fault_of(PROCESSOR, case)
        assert faults == [(want.code, want.tag)], f"{case.name}, seed {seed}: {want}"
        blocks = sum(name == "o_store" for name, _ in taken)
        assert blocks <= want.tag + 1, f"{case.name}, seed {seed}"


def run_wait(fetches, ended, idle_at):
    """Whether it was a FETCH, for all that was handed out by so many FETCHes, a WAIT and a SET, and the cycle of the
    SET; ``fetch_ended`` in the cycles ``ended``, by which all FETCHes were handed out, ``records_idle`` from cycle
    ``idle_at`` on."""
    fetch = encode([Fetch(0, 1, 1, MemoryMode.COLUMNS)])
    words = [*fetch * fetches, *encode([Wait(), Set(Unit.READER, 3, 7), Halt()])]
    dut = FetchUnit(PROCESSOR)
    bench = Bench(dut)
    handed, cycles = [], {}

    async def testbench(ctx):
        ctx.set(dut.units_idle, 1)
        ctx.set(dut.o_reader.ready, 1)
        for address, word in enumerate(words):
            ctx.set(dut.write, {"target": SETUP_PROGRAM, "address": address, "data": word})
            ctx.set(dut.write_en, 1)
            await ctx.tick()
        ctx.set(dut.write_en, 0)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for cycle in range(900):
            ctx.set(dut.fetch_ended, cycle in ended)
            ctx.set(dut.records_idle, cycle >= idle_at)
            _, _, valid, payload, running = await ctx.tick().sample(
                dut.o_reader.valid, dut.o_reader.payload.as_value(), dut.running)
            if valid:
                handed.append(is_fetch("o_reader", payload))
                cycles[len(handed)] = cycle
        assert not running
    bench.process(testbench)
    bench.simulator.run()
    return handed, cycles[fetches + 1]


@pytest.mark.parametrize("fetches", [0, 1, 5, 20])
def test_a_wait_ends_behind_the_fetches(fetches):
    """``fetch_ended`` for each, then ``records_idle``; what stands behind is handed out then and not before."""
    idle_at = 400 + fetches + 30
    handed, cycle = run_wait(fetches, range(400, 400 + fetches), idle_at)
    assert handed == [True] * fetches + [False]
    assert idle_at < cycle < idle_at + 40


@pytest.mark.parametrize("fetches, ended", [(1, [430]), (3, [400, 429, 430]), (3, [410, 411, 430])])
def test_a_wait_ends_a_cycle_behind_the_last_fetch(fetches, ended):
    """As if ``records_idle`` had come in the cycle behind it, and no cycle later."""
    assert run_wait(fetches, ended, 0)[1] == run_wait(fetches, range(400, 400 + fetches), ended[-1] + 1)[1]


def test_legal_programs_are_handed_out_in_order(field_bits):
    seed, programs = 5, []
    rng = random.Random(seed)
    while len(programs) < 6:
        job = with_records(PROCESSOR, random_processor_job(PROCESSOR, rng), rng)
        if INSTRUCTION_WORDS * len(job.program) <= PROCESSOR.program_words:
            programs.append(job.program)
    for program, (taken, faults) in zip(programs, run_processor(list(map(encode, programs)), seed, 60_000)):
        steps = [step for step in executed(program) if not isinstance(step, Wait)]
        assert any(isinstance(step, Fetch) for each in programs for step in each), f"seed {seed}"
        assert not faults and len(taken) == len(steps), f"seed {seed}"
        for step, (name, payload) in zip(steps, taken):
            assert isinstance(step, UNITS[name]), f"{step} for {name}, seed {seed}"
            if isinstance(step, Set):
                assert name == ("o_reader" if step.unit is Unit.READER else "o_writer"), f"{step}, seed {seed}"
            if name in ("o_reader", "o_writer"):
                command = memory_command().from_bits(payload)
                assert (command.set, command.sums) == (isinstance(step, Set), isinstance(step, Sums)), f"seed {seed}"
                payload = command.fields
            assert payload == field_bits(step), f"{step}, seed {seed}"


@pytest.mark.parametrize("stop_at", [3, 25, 60])
def test_stop_ends_a_program(stop_at):
    walk = Walk((0,), 0b110, 0)
    block = [Read(0, 0, 1, MemoryMode.COLUMNS), Load(walk), Pass(Mode.PASS, 0, 4, 0, (0,), first=True, last=True),
             Store(walk), Write(0, 0, 1, MemoryMode.COLUMNS)]
    (whole, _), = run_processor([encode([*block * 4, Halt()])], 6)
    (taken, faults), = run_processor([encode([*block * 4, Halt()])], 6, stop_at=stop_at)
    assert len(whole) == 20 and not faults
    assert taken == whole[:len(taken)] and len(taken) <= stop_at // 6 + 1


# --- With a ring --------------------------------------------------------------------------------------------------

RING = PROCESSOR.changed(ring_words=8, half_words=16)
STREAM = [Fetch(3, 2, 7, MemoryMode.COLUMNS, -1, destination=Destination.RING, fence=True),
          Read(0, 0, 1, MemoryMode.COLUMNS), Load(Walk((0,), 0b110, 0)), Mac(2, 1, 1, 1, 2, 0, 9, gap=3, first=True),
          Pass(Mode.SCALE, 1, 4, 1, (3,), coef_base=5, last=True), Store(Walk((0,), 0b110, 0), 8),
          Write(0, 0, 1, MemoryMode.COLUMNS)]


def run_with_ring(program, idle_at, read_at, cycles=160):
    """What was handed out (cycle, port, payload), the faults (cycle, code, tag) and ``running`` of every cycle;
    ``units_idle`` from cycle ``idle_at`` on, ``ring_read`` in the cycles ``read_at``."""
    dut = FetchUnit(RING)
    bench = Bench(dut)
    taken, faults, running = [], [], []

    async def testbench(ctx):
        for name in UNITS:
            ctx.set(getattr(dut, name).ready, 1)
        await write(ctx, dut, enumerate(encode(program)))
        await start(ctx, dut)
        for cycle in range(cycles):
            ctx.set(dut.units_idle, cycle >= idle_at)
            ctx.set(dut.ring_read, cycle in read_at)
            ctx.set(dut.records_idle, 1)
            ports = [signal for name in UNITS for signal in (getattr(dut, name).valid,
                                                             getattr(dut, name).payload.as_value())]
            _, _, runs, fault, unread, tag, *values = await ctx.tick().sample(dut.running, dut.fault, dut.unread,
                                                                              dut.fault_tag, *ports)
            assert not (fault and unread)
            fault = Fault.RING if unread else fault
            taken.extend((cycle, name, values[2 * n + 1]) for n, name in enumerate(UNITS) if values[2 * n])
            faults.extend([(cycle, fault, tag)] * (fault != Fault.NONE))
            running.append(runs)
    bench.process(testbench)
    bench.simulator.run()
    return taken, faults, running


def test_what_a_ring_adds_to_the_commands(field_bits):
    """A MAC goes where a PASS goes and says so, a STORE has its base, a FETCH where its beats go."""
    taken, faults, running = run_with_ring([*STREAM, Halt()], 0, range(1000))
    assert not faults and not running[-1]
    assert [name for _, name, _ in taken] == ["o_reader", "o_reader", "o_load", "o_pass", "o_pass", "o_store",
                                              "o_writer"]
    payloads = [payload for _, _, payload in taken]
    for payload, step in zip(payloads[3:5], STREAM[3:5]):
        command = pass_command(True).from_bits(payload)
        assert (command.fields, command.mac) == (field_bits(step), isinstance(step, Mac)), step
    assert payloads[5] == field_bits(STREAM[5]) and payloads[5] >> 76 == 8
    assert [memory_command().from_bits(payload).fields for payload in payloads[:2]] == [
        field_bits(step) for step in STREAM[:2]]
    place = field_places(FIELDS[Opcode.FETCH])["destination"][0]
    assert [memory_command().from_bits(payload).fields >> place & 3 for payload in payloads[:2]] == [2, 0]


@pytest.mark.parametrize("blocks, idle_at", [(0, 0), (1, 0), (2, 170)])
def test_words_that_are_left_in_the_ring_at_the_end(blocks, idle_at):
    """The program ends where the HALT would, with RING and the number of READs; and without a fault where all words
    have been read in that cycle, whatever was before."""
    program = [*STREAM[:1], *STREAM[1:] * blocks, Halt()]
    cycles = idle_at + 150
    _, faults, running = run_with_ring(program, idle_at, range(cycles), cycles)
    end = running.index(0)  # the first cycle in which it does not run
    assert not faults and not any(running[end:]) and end > idle_at
    _, faults, running = run_with_ring(program, idle_at, [cycle for cycle in range(cycles) if cycle != end - 1], cycles)
    assert faults == [(end - 1, Fault.RING, blocks)] and running.index(0) == end and not any(running[end:])
    _, faults, running = run_with_ring(program, idle_at, [end - 1], cycles)
    assert not faults and running.index(0) == end


@pytest.mark.parametrize("fetches", [30, 70])
def test_a_wait_behind_fetches_that_a_full_ring_holds_up(fetches):
    """More than the queue holds: those in flight between memory and a ring that is full for long have not ended. The
    WAIT ends behind the last one."""
    dut = FetchUnit(RING)
    bench = Bench(dut)
    program = [Fetch(0, 1, 1, MemoryMode.COLUMNS, destination=Destination.RING), Loop(0, fetches), Wait(), Halt()]
    ended_at = []

    async def testbench(ctx):
        for signal in (dut.units_idle, dut.o_reader.ready, dut.records_idle, dut.ring_read):
            ctx.set(signal, 1)
        await write(ctx, dut, enumerate(encode(program)))
        await start(ctx, dut)
        handed = ended = 0
        for cycle in range(60 * fetches):
            # All are handed out; then one ends every 20 cycles.
            ends = handed == fetches and ended < fetches and cycle % 20 == 0
            ctx.set(dut.fetch_ended, ends)
            _, _, running, valid = await ctx.tick().sample(dut.running, dut.o_reader.valid)
            handed, ended = handed + valid, ended + ends
            if not running:
                ended_at.append(ended)
                return
    bench.process(testbench)
    bench.simulator.run()
    assert ended_at == [fetches]


def test_illegal_macs_are_not_handed_out():
    """As every instruction that is not legal; it has the tag of its block."""
    late = replace(STREAM[3], inputs=9, log2_in_stride=4)  # the ring has 8 words, a panel of it 18
    taken, faults, running = run_with_ring([*STREAM[1:], *STREAM[1:3], late, Halt()], 0, (), 260)
    assert [fault[1:] for fault in faults] == [(Fault.PASS, 1)] and not running[-1]
    assert [name for _, name, _ in taken].count("o_pass") == 2 and taken[-1][1] == "o_load"
