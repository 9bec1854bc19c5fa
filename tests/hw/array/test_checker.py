"""Checker: codes and tags of illegal programs, one instruction after the other, and the stated latency.

What the fetch unit makes of them: test_fetch.py; whole processors: tests/cosim/test_processor.py.
"""

import random

import numpy as np
import pytest

from support.faults import OF_NO_PROGRAM, fault_of
from wingbeat.hw.array.checker import Checker
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.bit_fields import bits_of_words
from wingbeat.hw.isa.encoding import INSTRUCTION_WORDS, OPCODE_BITS, encode, instruction_fields, patched
from wingbeat.hw.isa.instruction import (Destination, Fault, Fetch, Halt, Load, Mac, Mask, MemoryMode, Mode, Opcode,
                                         Pass, Read, Set, Store, Unit, Wait, Write)
from wingbeat.hw.isa.walk import Walk
from wingbeat.sim.model.handout import ProgramFault
from wingbeat.sim.model.legality import field_fault
from wingbeat.sim.model.processor import ProcessorModel
from wingbeat.sim.stimulus.illegal import illegal_programs

CONFIG = CoreConfig.of(engines=1, layers=1, half_words=8, coefficient_words=8, program_words=256, stream_words=2,
                       memory_bits=12, descriptors=4, records=True)
JUDGED, PERIOD = 3, 7  # an instruction is judged when it has stood so long; cycles from one to the next
# What the checker does not see.
LATE = (Fault.AFTER, Fault.REFUSED, Fault.WATCHDOG, Fault.RECORD, Fault.RING, Fault.ID)
WALK = Walk((0,), 0b110, 0)
STEP = Pass(Mode.PASS, 0, 4, 0, (0,), first=True, last=True)
BLOCK = [Read(0, 0, 1, MemoryMode.COLUMNS), Load(WALK), STEP, Store(WALK), Write(0, 0, 1, MemoryMode.COLUMNS)]


def judged(drive, programs, early=0, config=CONFIG):
    """By program, a list of the instructions' (words): fault and tag of each, JUDGED - ``early`` cycles after it has
    come. All of them are counted as handed out."""
    steps = [{"instruction": 0, "address": 0, "looping": 0, "taken": 0, "clear": 1}]
    for program in programs:
        for number, words in enumerate(program):
            steps.append({"address": INSTRUCTION_WORDS * (number + 1), "taken": 0, "clear": 0})
            steps += [{}, {"instruction": bits_of_words(words)}, *[{}] * (PERIOD - 4), {"taken": 1}]
        steps += [{"taken": 0}, {"clear": 1}, {"clear": 0}]
    seen, at, found = drive(Checker(config), steps, ("fault", "tag")), 1, []
    for program in programs:
        places = [at + 2 + JUDGED - early + PERIOD * number for number in range(len(program))]
        found.append([(seen["fault"][place], seen["tag"][place]) for place in places])
        at += PERIOD * len(program) + 3
    return found


def instructions(words):
    return [words[at:at + INSTRUCTION_WORDS] for at in range(0, len(words), INSTRUCTION_WORDS)]


def test_illegal_programs(drive):
    """Every fault, each behind a legal beginning: that of the model, and none before it."""
    seed = 7
    cases = [case for case in illegal_programs(CONFIG, random.Random(seed)) if case.code not in LATE
             and not any(words[0] & (1 << OPCODE_BITS) - 1 == Opcode.LOOP for words in instructions(case.words))]
    assert {case.code for case in cases} == set(Fault) - {*OF_NO_PROGRAM, *LATE}
    for case, found in zip(cases, judged(drive, [instructions(case.words) for case in cases])):
        want = fault_of(CONFIG, case)
        first = next((place for place in found if place[0] != Fault.NONE), None)
        assert first == (want.code, want.tag), f"{case.name}, seed {seed}: {want}"


def test_tags_count_each_kind(drive):
    """The number of its kind before it; of a SET, the number of READs."""
    set_one = Set(Unit.READER, 0, 5)
    program = [set_one, *BLOCK[:2], set_one, *BLOCK, *BLOCK[2:], *BLOCK, Halt()]
    [found] = judged(drive, [instructions(encode(program))])
    assert [fault for fault, _ in found] == [Fault.NONE] * len(program)
    assert [tag for _, tag in found] == [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 3]


@pytest.mark.parametrize("layers, engines, finishers", [(1, 1, 1), (1, 4, 2), (2, 2, 1), (4, 1, 1)])
def test_macs_and_masks_of_a_softmax(drive, layers, engines, finishers):
    """Fields around all of their borders, as the model judges them."""
    seed = f"softmax {layers} {engines}"
    rng, lanes = random.Random(seed), 1 << layers
    least = 2 * layers * engines // finishers
    config = CONFIG.changed(layers=layers, engines=engines, finishers=finishers, half_words=16 * lanes * least,
                            stream_words=lanes, coefficient_words=256, ring_words=256, partial_words=64,
                            softmax_pairs=rng.choice((2, 4)))
    near = lambda number: max(0, number + rng.choice((-2, -1, -1, 0, 0, 1)))
    macs, masks = [], []
    for _ in range(90):
        kind = rng.choice((0, 1, 1, 2, 2, 3))
        macs.append(patched(Mac(2, 1, 1, 0, 0, 0, 0, first=True, last=True), **{
            "last_input": near(rng.choice((least, 9 * layers // lanes, 5))), "log2_in_stride": config.row_bits - 2,
            "last_pair": near(rng.choice((1, config.softmax_pairs))), "softmax": kind, "fresh": rng.random() < 0.3,
            "keep": rng.random() < 0.15, "merge": rng.random() < 0.15, "log2_group": rng.random() < 0.05,
            "out_base": 1, "log2_out_stride": 1}))
        masks.append(patched(Mask(), key=rng.getrandbits(16) & -rng.choice((1, lanes // 2, lanes, lanes, lanes)),
                             length=rng.choice((0, 63, 64, 65, 127)), limit=rng.getrandbits(17)))
    wanted = [field_fault(config, *instruction_fields(words))[0] or Fault.NONE for words in macs + masks]
    assert min(wanted.count(Fault.NONE), wanted.count(Fault.PASS)) > 25, (seed, wanted.count(Fault.NONE))
    programs = [[*instructions(encode(BLOCK[:2])), words] for words in macs] + [[words] for words in masks]
    found = [each[-1][0] for each in judged(drive, programs, config=config)]
    assert found == wanted, seed


LAST = CONFIG.coefficient_words - 1
# Legal at the limit, illegal one beyond: instruction, fields at the limit, fields beyond.
LIMITS = {
    "step": (1, Load(WALK), {"last_step": 3}, {"last_step": 4}, Fault.WALK),
    "window": (1, Load(WALK), {"window": 0b100}, {"window": 0b1000}, Fault.WALK),
    "inner": (1, Load(WALK), {"inner": 0b111}, {"inner": 0b1000}, Fault.WALK),
    "outer": (1, Load(WALK), {"outer": 0b111}, {"outer": 1 << 15}, Fault.WALK),
    "digit": (2, STEP, {"digit": 2}, {"digit": 3}, Fault.PASS),
    "group": (2, STEP, {"last_group": CONFIG.bank_rows - 1}, {"last_group": CONFIG.bank_rows}, Fault.PASS),
    "coefficient": (2, STEP, {"coef_base": LAST}, {"coef_base": LAST + 1}, Fault.PASS),
    "coefficients": (2, STEP, {"coef_base": LAST - 3, "coef_mask_bits": 2}, {"coef_base": LAST - 2,
                                                                           "coef_mask_bits": 2}, Fault.PASS),
    "mask": (2, STEP, {"coef_mask_bits": 3}, {"coef_mask_bits": 4}, Fault.PASS),
    "reader": (0, BLOCK[0], {"descriptor": 3}, {"descriptor": 4}, Fault.MEMORY),
    "read mode": (0, BLOCK[0], {"mode": MemoryMode.PAIRS}, {"mode": MemoryMode.PAIRS + 1}, Fault.MEMORY),
    "writer": (4, BLOCK[4], {"descriptor": 3}, {"descriptor": 4}, Fault.MEMORY),
    "write mode": (4, BLOCK[4], {"mode": MemoryMode.SPLIT}, {"mode": MemoryMode.SPLIT + 1}, Fault.MEMORY),
    "register": (0, Set(Unit.READER, 0, 0), {"value": 0xFFF}, {"value": 0x1000}, Fault.MEMORY),
}


@pytest.mark.parametrize("name", LIMITS)
def test_limits(drive, name):
    before, instruction, within, beyond, code = LIMITS[name]
    start = [patched(each) for each in BLOCK[:before]]
    legal, illegal = judged(drive, [[*start, patched(instruction, **fields)] for fields in (within, beyond)])
    assert [fault for fault, _ in legal] == [Fault.NONE] * (before + 1)
    assert [fault for fault, _ in illegal] == [Fault.NONE] * before + [code]


def test_stated_latency(drive):
    """A cycle earlier it is not known."""
    [found] = judged(drive, [[patched(STEP)]])
    [early] = judged(drive, [[patched(STEP)]], early=1)
    assert found[0][0] == Fault.INPUT != early[0][0]


def test_clear_forgets_what_was_handed_out(drive):
    first, second = judged(drive, [instructions(encode(BLOCK[:3]))] * 2)
    assert first == second


# --- With a ring --------------------------------------------------------------------------------------------------

RING = CoreConfig.of(engines=1, layers=1, half_words=64, coefficient_words=64, program_words=256, stream_words=2,
                     memory_bits=12, descriptors=4, records=True, ring_words=32)  # 32 rows, inputs of 16 groups
LARGE = RING.changed(half_words=8192, coefficient_words=8192, ring_words=8192)    # MAC_TERMS end it, not the ring
KEEPING = RING.changed(partial_words=16)  # 8 outputs of P words, two steps each
SPARSE = RING.changed(sparse=True)
WIDE = {2: RING.changed(layers=2, half_words=128, stream_words=4),
        4: RING.changed(layers=4, half_words=512, stream_words=16)}
MULTIPLY = Mac(2, 1, 1, 1, 0, 0, 0, first=True, last=True)
FETCH = Fetch(0, 0, 1, MemoryMode.COLUMNS, destination=Destination.RING)
# As LIMITS, of the configuration that comes first.
LIMITS_OF_A_RING = {
    "one group": (RING, 2, MULTIPLY, {"last_input": 1}, {"last_input": 0}, Fault.PASS),
    "window": (RING, 2, MULTIPLY, {"last_input": 15, "log2_in_stride": 5}, {"last_input": 16, "log2_in_stride": 5},
               Fault.PASS),
    "terms": (LARGE, 2, MULTIPLY, {"last_input": 2047, "log2_in_stride": 12},
              {"last_input": 2048, "log2_in_stride": 12}, Fault.PASS),
    "input stride": (RING, 2, MULTIPLY, {"last_input": 7, "log2_in_stride": 3},
                     {"last_input": 8, "log2_in_stride": 3}, Fault.PASS),
    "output stride": (RING, 2, MULTIPLY, {"last_output": 3, "log2_out_stride": 2},
                      {"last_output": 4, "log2_out_stride": 2}, Fault.PASS),
    "input rows": (RING, 2, MULTIPLY, {"last_pair": 3, "log2_in_stride": 3}, {"last_pair": 4, "log2_in_stride": 3},
                   Fault.PASS),
    "output rows": (RING, 2, MULTIPLY, {"last_pair": 1, "log2_out_stride": 4},
                    {"last_pair": 2, "log2_out_stride": 4}, Fault.PASS),
    "one row pair": (RING, 2, MULTIPLY, {"log2_in_stride": 15, "log2_out_stride": 15},
                     {"log2_in_stride": 15, "last_pair": 1}, Fault.PASS),
    "rows of a stride": (RING, 2, MULTIPLY, {"last_pair": 15}, {"last_pair": 16}, Fault.PASS),
    "outputs": (RING, 2, MULTIPLY, {"last_output": 31, "log2_out_stride": 6},
                {"last_output": 32, "log2_out_stride": 6}, Fault.PASS),
    "base": (RING, 2, MULTIPLY, {"out_base": 31}, {"out_base": 32}, Fault.PASS),
    "high base": (RING, 2, MULTIPLY, {"shift": 31, "gap": 255}, {"out_base": 1 << 15}, Fault.PASS),
    "zero": (RING, 2, MULTIPLY, {"zero": 0}, {"zero": 1}, Fault.PASS),
    "dense group": (RING, 2, MULTIPLY, {}, {"log2_group": 1}, Fault.PASS),
    "dense picks": (RING, 2, MULTIPLY, {}, {"last_pick": 8}, Fault.PASS),
    "dense stride": (RING, 2, MULTIPLY, {}, {"log2_apart": 1}, Fault.PASS),
    "plain": (RING, 1, BLOCK[1], {"plain": 0}, {"plain": 1}, Fault.WALK),
    "group": (SPARSE, 2, MULTIPLY, {"log2_group": 4, "last_pick": 15}, {"log2_group": 5}, Fault.PASS),
    "large group": (SPARSE, 2, MULTIPLY, {"log2_group": 2, "log2_apart": 15}, {"log2_group": 7}, Fault.PASS),
    "picks": (SPARSE, 2, MULTIPLY, {"log2_group": 2, "last_pick": 3}, {"log2_group": 2, "last_pick": 4},
              Fault.PASS),
    "pick": (SPARSE, 2, MULTIPLY, {"last_pick": 0}, {"last_pick": 1}, Fault.PASS),
    "picks of 8": (SPARSE, 2, MULTIPLY, {"log2_group": 3, "last_pick": 7}, {"log2_group": 3, "last_pick": 8},
                   Fault.PASS),
    "plain lanes": (SPARSE, 1, BLOCK[1], {"plain": 1}, {"plain": 1, "window": 2}, Fault.WALK),
    "picks of a FETCH": (SPARSE, 0, FETCH, {"destination": 3}, {"destination": 0}, Fault.MEMORY),
    "no sums": (RING, 2, MULTIPLY, {"keep": 0}, {"keep": 1}, Fault.PASS),
    "no sums to merge": (RING, 2, MULTIPLY, {"merge": 0}, {"merge": 1}, Fault.PASS),
    "sums": (KEEPING, 2, MULTIPLY, {"keep": 1, "last_output": 7, "log2_out_stride": 5},
             {"keep": 1, "last_output": 8, "log2_out_stride": 5}, Fault.PASS),
    "sums of pairs": (KEEPING, 2, MULTIPLY, {"merge": 1, "last_pair": 7}, {"merge": 1, "last_pair": 8}, Fault.PASS),
    "sums of both": (KEEPING, 2, MULTIPLY, {"keep": 1, "last_pair": 3, "last_output": 1, "log2_out_stride": 1},
                     {"keep": 1, "last_pair": 2, "last_output": 2, "log2_out_stride": 2}, Fault.PASS),
    "results": (KEEPING, 2, MULTIPLY, {"last_pair": 7, "last_output": 3, "log2_out_stride": 2},
                {"keep": 1, "merge": 1, "last_pair": 7, "last_output": 3, "log2_out_stride": 2}, Fault.PASS),
    "store base": (RING, 3, Store(WALK), {"base": 63}, {"base": 64}, Fault.WALK),
    "high store base": (RING, 3, Store(WALK), {"base": 0}, {"base": 1 << 15}, Fault.WALK),
    "no store base": (CONFIG, 3, Store(WALK), {"base": 0}, {"base": 1}, Fault.WALK),
    "no high store base": (CONFIG, 3, Store(WALK), {}, {"base": 1 << 15}, Fault.WALK),
    "destination": (RING, 0, FETCH, {"destination": 2}, {"destination": 3}, Fault.MEMORY),
    "a destination": (RING, 0, FETCH, {"destination": 1}, {"destination": 0}, Fault.MEMORY),
    "no ring for a FETCH": (CONFIG, 0, FETCH, {"destination": 1}, {"destination": 2}, Fault.MEMORY),
    "no ring": (CONFIG, 2, MULTIPLY, None, {}, Fault.OPCODE),
}


def fault_of_model(config, words):
    """Code and tag with which the model ends, (NONE, 0) where the checker sees nothing."""
    memory = np.zeros((16, config.memory_elements), dtype=np.int64)
    try:
        ProcessorModel(config, [], [], memory).check(words)
    except ProgramFault as fault:
        return (Fault.NONE, 0) if fault.code in LATE else (fault.code, fault.tag)
    except ValueError:  # a race
        pass
    return Fault.NONE, 0


@pytest.mark.parametrize("configs", [(RING, CONFIG), (LARGE,), (KEEPING, SPARSE)])
def test_limits_of_a_ring(drive, configs):
    """Legal at the limit, illegal one beyond; the model says the same."""
    for config in configs:
        rules = [rule[1:] for rule in LIMITS_OF_A_RING.values() if rule[0] is config]
        programs, wanted = [], []
        for before, step, *changes, code in rules:
            for fields, want in zip(changes, (Fault.NONE, code)):
                if fields is not None:
                    programs.append([*(patched(each) for each in BLOCK[:before]), patched(step, **fields)])
                    wanted.append((fields, want))
        for (fields, want), program, found in zip(wanted, programs, judged(drive, programs, config=config)):
            codes = [fault for fault, _ in found]
            assert codes == [Fault.NONE] * (len(program) - 1) + [want], fields
            model, _ = fault_of_model(config, [word for words in [*program, patched(Halt())] for word in words])
            assert want == Fault.NONE or model == want, fields
            assert want != Fault.NONE or model not in (Fault.PASS, Fault.WALK, Fault.MEMORY), fields


@pytest.mark.parametrize("config", [RING, *WIDE.values(), KEEPING, WIDE[4].changed(partial_words=128)],
                         ids=lambda config: f"{config.layers} layers, {config.partial_words} sums")
def test_macs_near_the_limits(drive, config):
    """Random MACs, most of which have one field at its border or one beyond: the verdict of the model."""
    seed, start = f"macs {config.layers}", [patched(each) for each in BLOCK[:2]]
    start[1] = patched(BLOCK[1], window=config.lanes - 1, inner=0, outer=0, last_step=0)
    rng, programs, keeps = random.Random(seed), [], config.partial_words > 0
    for _ in range(90):
        stride_in, stride_out = rng.choice([1, 2, 3, 4, 5]), rng.choice([0, 1, 2, 3, 4, 5])
        ends = {"last_input": min(15, (1 << stride_in) - 1), "last_output": (1 << stride_out) - 1, "out_base": 31,
                "last_pair": (32 >> max(stride_in, stride_out)) - 1, "zero": 0}
        fields = {name: rng.randint(int(name == "last_input"), end) for name, end in ends.items()}
        name = rng.choice([*ends, "last_pair"])
        fields[name] = ends[name] + rng.choice([0, 1, 1])
        fields |= rng.choice([{}, {}, {}, {"log2_in_stride": 15}, {"log2_out_stride": 15}])
        fields |= {"shift": rng.randrange(32), **{name: rng.randrange(1 + keeps) for name in ("keep", "merge")}}
        strides = {"log2_in_stride": stride_in, "log2_out_stride": stride_out}
        programs.append([*start, patched(MULTIPLY, **strides | fields)])
    verdicts = []
    for program, found in zip(programs, judged(drive, programs, config=config)):
        model, _ = fault_of_model(config, [word for words in [*program, patched(Halt())] for word in words])
        verdicts.append(found[2][0] == Fault.PASS)
        codes = [fault for fault, _ in found]
        assert codes[:2] == [Fault.NONE] * 2 and codes[2] in (Fault.NONE, Fault.PASS), f"{codes}, seed {seed}"
        assert verdicts[-1] == (model == Fault.PASS), f"{program[2]}, seed {seed}"
    assert 15 < sum(verdicts) < 75, f"{sum(verdicts)}, seed {seed}"


def test_macs_take_the_place_of_passes(drive):
    """Any order of blocks with MACs, PASSes and both: first fault and tag of the model."""
    seed = 19
    rng, programs = random.Random(seed), []
    read, load, _, store, write = BLOCK
    for _ in range(50):
        program = []
        for _ in range(rng.randint(1, 4)):
            count = rng.randint(1, 3)
            program += [patched(read), patched(load)]
            program += [patched(rng.choice([STEP, MULTIPLY]), first=number == 0, last=number == count - 1)
                        for number in range(count)]
            program += [patched(store), patched(write)]
        at = rng.randrange(len(program))
        # One instruction too few, too many, or a WAIT where none may stand.
        program[at:at + rng.randrange(2)] = rng.choice([[], [], [program[rng.randrange(len(program))]],
                                                        [patched(Wait())]])
        programs.append([*program, patched(Halt())])
    codes = []
    for program, found in zip(programs, judged(drive, programs, config=RING)):
        first = next((place for place in found if place[0] != Fault.NONE), (Fault.NONE, 0))
        want = fault_of_model(RING, [word for words in program for word in words])
        assert first == want, f"{program}, seed {seed}"
        codes.append(want[0])
    assert {Fault.NONE, Fault.INPUT, Fault.OUTPUT} <= set(codes), f"seed {seed}"
