"""Random jobs are legal, finish, and meet every case; illegal programs end in their codes."""

from collections import deque
from dataclasses import replace
import random

import numpy as np
import pytest

from support.faults import OF_NO_PROGRAM
from support.programs import executed

from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.isa.descriptor import DESCRIPTOR_WORDS, ENTRY_WORDS, OTHER
from wingbeat.hw.isa.encoding import INSTRUCTION_WORDS, encode
from wingbeat.hw.isa.instruction import Halt, Load, Loop, MemoryMode, Pass, Read, Set, Store, Sums, Unit, Write, Fault
from wingbeat.hw.isa.parameter_set import SETS, Activation
from wingbeat.hw.isa.setup import SETUP_PROGRAM, SETUP_READ_SETS, SETUP_WRITE_SETS, SETUP_WRITER, UNITS
from wingbeat.sim.model.handout import ProgramFault
from wingbeat.sim.model.processor import ProcessorModel
from wingbeat.sim.model.vector_unit import VectorUnit
from wingbeat.sim.stimulus.illegal import illegal_programs
from wingbeat.sim.stimulus.processor import random_processor_config, random_processor_job

SEEDS = range(120)


def random_case(seed):
    rng = random.Random(seed)
    config = random_processor_config(rng)
    return config, random_processor_job(config, rng)


def unit_of(instruction):
    if isinstance(instruction, Set):
        return "reader" if instruction.unit is Unit.READER else "writer"
    units = {Read: "reader", Sums: "reader", Load: "load", Pass: "cal", Store: "store", Write: "writer"}
    return units[type(instruction)]


def stuck(program, depth):
    """Hand a program out to queues of ``depth`` (cal 16), where every unit moves as late as it may; what is left."""
    todo = deque(executed(program))
    queues = {unit: deque() for unit in UNITS}
    done = {kind: 0 for kind in (Read, Load, Pass, Store, Write)}  # blocks

    def may(head):
        kind, tag = type(head), done.get(type(head), 0)
        return {Set: True,
                Read: lambda: not head.after or done[Write] > tag - head.after,
                Sums: lambda: not head.after or done[Write] > done[Read] - head.after,
                Load: lambda: done[Read] > tag and (tag < 2 or done[Store] > tag - 2),
                Pass: lambda: done[Load] > tag,
                Store: lambda: done[Pass] > tag and any(isinstance(w, Write) for w in queues["writer"]),
                Write: lambda: done[Store] > tag}[kind]

    moved = True
    while moved:
        moved = False
        if todo and len(queues[unit_of(todo[0])]) < (16 if isinstance(todo[0], Pass) else depth):
            queues[unit_of(todo[0])].append(todo.popleft())
            moved = True
        for queue in queues.values():
            head = queue[0] if queue else None
            # A READ ends with its LOAD: it holds the reader until that has been handed out.
            if head is None or type(head) is Read and not any(isinstance(x, Load) for x in queues["load"]):
                continue
            rule = may(head)
            if rule is True or rule():
                queue.popleft()
                moved = True
                if not isinstance(head, Set | Sums | Pass) or isinstance(head, Pass) and head.last:
                    done[type(head)] += 1
    return len(todo) + sum(map(len, queues.values()))


@pytest.mark.parametrize("seed", SEEDS)
def test_jobs_are_legal(seed):
    config, job = random_case(seed)
    memory = job.memory.copy()
    model = ProcessorModel(config, [], [], memory)
    for write in job.setup:
        model.write_setup(*write)
    model.load_program(job.program)
    assert len(model.run()) == job.blocks, f"seed {seed}"
    assert len(job.program) * INSTRUCTION_WORDS <= config.program_words, f"seed {seed}"
    assert len(memory) <= 1 << config.memory_bits and memory.shape[1] == config.memory_elements, f"seed {seed}"
    assert stuck(job.program, 4) == 0, f"seed {seed}"


def test_stuck_programs_are_found():
    """The rule of the queues can fail: four READs and LOADs behind one that waits leave no room for its WRITE."""
    config, job = next(case for case in map(random_case, SEEDS)
                       if case[1].blocks > 6 and not any(isinstance(step, Sums) for step in case[1].program))
    reads, rest = [], []
    for instruction in executed(job.program):
        (reads if isinstance(instruction, Read | Load) else rest).append(instruction)
    reads = [Read(0, 0, 1, MemoryMode.ROWS, after=tag // 2 == 1) if isinstance(read, Read) else read
             for tag, read in enumerate(reads)]
    assert stuck([*reads, *rest, Halt()], 4) and not stuck([*reads, *rest, Halt()], 99)


def test_jobs_follow_from_the_seed():
    for seed in (3, 4):
        (config, job), (again, other) = random_case(seed), random_case(seed)
        assert config == again and job.program == other.program and job.setup == other.setup, f"seed {seed}"
        assert np.array_equal(job.memory, other.memory), f"seed {seed}"


def test_jobs_reach_every_case():
    """Geometries, modes, waits of all kinds, loops, overlap, leads, several blocks in flight."""
    met = set()
    for config, job in map(random_case, SEEDS):
        j, groups = config.engines_per_beat, config.beat_groups
        odd = groups & groups - 1 != 0
        met |= {("S", config.layers), ("J", j), ("groups", "odd" if odd else groups > 1 and "even")}
        program = list(executed(job.program))
        reads = [i for i in program if isinstance(i, Read)]
        for i in program:
            if isinstance(i, Read):
                wait = "part" if i.after_beats else "after" if i.after else "free"
                met |= {("read", i.mode), ("wait", wait), ("distance", min(i.after, 3)), ("rows", i.rows == 0)}
                met |= {("increment", i.increment > 0 if i.increment else None)}
            elif isinstance(i, Write):
                met |= {("write", i.mode)}
            elif isinstance(i, Load):
                met |= {("overlap", i.overlap)}
            elif isinstance(i, Pass):
                met |= {("block float", i.block_float), ("pass", i.mode)}
        first_pass = next(at for at, i in enumerate(program) if isinstance(i, Pass))
        if len(reads) > 3:
            met |= {("lead", sum(isinstance(i, Read) for i in program[:first_pass]))}
        met |= {("loop", any(isinstance(i, Loop) for i in job.program))}
    want = {*(("S", s) for s in (1, 2, 3)), *(("J", j) for j in (1, 2, 4, 8)),
            *(("groups", g) for g in ("even", "odd")),
            *(("read", mode) for mode in list(MemoryMode)[:3]), *(("write", mode) for mode in MemoryMode),
            *(("wait", kind) for kind in ("free", "after", "part")), *(("distance", d) for d in range(4)),
            *(("lead", n) for n in (1, 2, 3)),
            *((name, flag) for name in ("overlap", "block float", "loop", "rows") for flag in (False, True)),
            *(("increment", sign) for sign in (False, True, None))}
    assert met >= want, f"missing {want - met}"


def vector_cases():
    """Configuration, job and what it makes of the vector unit, where there is one."""
    for config, job in map(random_case, SEEDS):
        if config.vector_lanes:
            unit = VectorUnit(config)
            for write in job.setup:
                unit.write_setup(*write)
            yield config, job, unit


def test_jobs_reach_every_case_of_the_vector_unit():
    """All that a set of a WRITE can ask for in all modes; sets that change from block to block; SUMS of every kind."""
    met, pieces = set(), set()
    for config, job, unit in vector_cases():
        steps = list(executed(job.program))
        pieces |= {min(config.memory_elements // config.vector_lanes, 4)}
        met |= {("pipeline", config.pipeline), ("wide", config.element_width > 10), ("rows", config.statistics_rows),
                ("loop", any(isinstance(i, Sums) for loop in job.program if isinstance(loop, Loop)
                             for i in job.program[loop.target:job.program.index(loop)]))}
        for i in steps:
            if isinstance(i, Sums):
                wait = "part" if i.after_beats else "after" if i.after else "free"
                met |= {("sums wait", wait), ("chunk shift", min(unit.read_set(i.vector).chunk_shift, 6))}
            elif isinstance(i, Read) and i.vector:
                met |= {("normalised", i.mode)}
            elif isinstance(i, Write) and i.vector:
                s = unit.write_set(i.vector)
                met |= {(i.mode, "rescale", s.rescale), (i.mode, "bias row", s.bias_row & s.rescale),
                        (i.mode, s.activation), (i.mode, "residual", s.residual), (i.mode, "argmax", s.argmax)}
                met |= {("keep", s.residual)} if keeps_bits(job, i) else set()
        for kind in (Read, Write):
            chosen = [i.vector for i in steps if type(i) is kind]
            met |= {(kind, "switches", any(a and b and a != b for a, b in zip(chosen, chosen[1:])))}
            met |= {(kind, "stops", any(a and not b for a, b in zip(chosen, chosen[1:])))}
    want = {*(("normalised", mode) for mode in list(MemoryMode)[:3]), *(("pipeline", kind) for kind in Pipeline),
            *((mode, name, flag) for mode in MemoryMode for name in ("rescale", "bias row", "residual", "argmax")
              for flag in (False, True) if (mode, name, flag) != (MemoryMode.FOLD, "argmax", True)),
            *((mode, kind) for mode in MemoryMode for kind in Activation),
            *((kind, name, True) for kind in (Read, Write) for name in ("switches", "stops")), ("keep", True),
            *(("wide", flag) for flag in (False, True)), *(("rows", n) for n in (2, 4, 8, 16, 64)), ("loop", True),
            *(("sums wait", kind) for kind in ("free", "after", "part")), *(("chunk shift", n) for n in range(7))}
    assert met >= want, f"missing {want - met}"
    assert pieces == {1, 2, 4}


def keeps_bits(job, write):
    """Whether the descriptor of a FOLD keeps bits of the address."""
    at = write.descriptor * DESCRIPTOR_WORDS + ENTRY_WORDS * OTHER + 1
    return write.mode is MemoryMode.FOLD and any(w[:2] == (SETUP_WRITER, at) and w[2] for w in job.setup)


def test_some_values_are_clamped_and_most_are_not():
    """Of the blocks that the vector unit works on, on either side of the array."""
    clamps = {"normalise": [], "finish": []}
    for config, job, _ in vector_cases():
        model = ProcessorModel(config, [], [], job.memory.copy())
        for write in job.setup:
            model.write_setup(*write)
        for name, found in clamps.items():
            def noted(*arguments, inner=getattr(model.vector, name), found=found):
                result = inner(*arguments)
                found.append(result[1] > 0)
                return result
            setattr(model.vector, name, noted)
        model.run(job.program)
    for name, found in clamps.items():
        assert len(found) > 50 and 0.1 < np.mean(found) < 0.5, f"{name}: {np.mean(found)} of {len(found)}"


# --- illegal programs ---------------------------------------------------------------------------------


CORPUS = CoreConfig.of(engines=4, layers=2, half_words=64, coefficient_words=40, program_words=256, stream_words=8,
                       memory_bits=12, descriptors=5, watchdog=1024)


def run_illegal(config, case):
    memory = case.memory.copy()
    model = ProcessorModel(config, [], [], memory)
    for write in case.setup:
        model.write_setup(*write)
    for address, word in enumerate(case.words):
        model.write_setup(SETUP_PROGRAM, address, word)
    model.run()


@pytest.mark.parametrize("seed", range(8))
def test_illegal_programs_end_in_their_code(seed):
    """For the first of the seeds a fixed configuration, else random ones."""
    rng = random.Random(seed)
    config = CORPUS if seed == 0 else random_processor_config(rng).changed(descriptors=5)
    for case in illegal_programs(config, rng):
        with pytest.raises(ProgramFault) as fault:
            run_illegal(config, case)
        assert fault.value.code is case.code, f"seed {seed}, {case.name}: {fault.value}"
        assert case.writable.stop <= len(case.memory) < 1 << config.memory_bits, f"seed {seed}, {case.name}"


@pytest.mark.parametrize("lanes, records, ring, ids", [(0, False, 0, 0), (4, True, 0, 16), (0, True, 16, 0)])
def test_corpus_is_whole(lanes, records, ring, ids):
    config = CORPUS.changed(vector_lanes=lanes, records=records, ring_words=ring, row_ids=ids)
    corpus = illegal_programs(config, random.Random(0))
    names = [case.name for case in corpus]
    assert len(corpus) >= 60 and len(set(names)) == len(names)
    never = {*OF_NO_PROGRAM, *(() if records else (Fault.RECORD,)), *(() if ring else (Fault.RING,)),
             *(() if ids else (Fault.ID,))}
    for code in set(Fault) - never:
        for place in ("first", "later", "loop"):
            assert sum(case.code is code and case.name.endswith(place) for case in corpus) >= 4, (code, place)


@pytest.mark.parametrize("number", range(SETS))
def test_every_parameter_set_is_legal(number):
    """Also one that was never written: it is judged as a number."""
    config, job, _ = next(case for case in vector_cases() if any(isinstance(step, Sums) for step in case[1].program))
    model = ProcessorModel(config, [], [], job.memory.copy())
    for write in job.setup:
        if write[0] not in (SETUP_READ_SETS, SETUP_WRITE_SETS):
            model.write_setup(*write)
    program = [replace(step, vector=number) if isinstance(step, Read | Write) else step for step in job.program]
    assert model.check(encode(program)) == job.blocks


@pytest.mark.parametrize("change, message", [
    (dict(descriptors=2), "^descriptors: 2 is not in 3..63, where the corpus is illegal$"),
    (dict(memory_bits=0), "^memory_bits: 0 is not in 12..31"),
    (dict(half_words=1 << 16), "^index_bits: 16 is not in 2..15"),
])
def test_corpus_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        illegal_programs(CORPUS.changed(**change), random.Random(0))
