"""Checker: codes and tags of illegal programs, one instruction after the other, and the stated latency.

What the fetch unit makes of them: test_fetch.py; whole processors: tests/cosim/test_processor.py.
"""

import random

import pytest

from support.faults import fault_of
from wingbeat.hw.array.checker import Checker
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.bit_fields import bits_of_words
from wingbeat.hw.isa.encoding import INSTRUCTION_WORDS, OPCODE_BITS, encode, patched
from wingbeat.hw.isa.instruction import Fault, Halt, Load, MemoryMode, Mode, Opcode, Pass, Read, Set, Store, Unit, Write
from wingbeat.hw.isa.walk import Walk
from wingbeat.sim.stimulus.illegal import illegal_programs

CONFIG = CoreConfig.of(engines=1, layers=1, half_words=8, coefficient_words=8, program_words=256, stream_words=2,
                       memory_bits=12, descriptors=4, records=True)
JUDGED, PERIOD = 3, 7  # an instruction is judged when it has stood so long; cycles from one to the next
LATE = (Fault.AFTER, Fault.REFUSED, Fault.WATCHDOG, Fault.RECORD)  # what the checker does not see
WALK = Walk((0,), 0b110, 0)
STEP = Pass(Mode.PASS, 0, 4, 0, (0,), first=True, last=True)
BLOCK = [Read(0, 0, 1, MemoryMode.COLUMNS), Load(WALK), STEP, Store(WALK), Write(0, 0, 1, MemoryMode.COLUMNS)]


def judged(drive, programs, early=0):
    """By program, a list of the instructions' (words): fault and tag of each, JUDGED - ``early`` cycles after it has
    come. All of them are counted as handed out."""
    steps = [{"instruction": 0, "address": 0, "looping": 0, "taken": 0, "clear": 1}]
    for program in programs:
        for number, words in enumerate(program):
            steps.append({"address": INSTRUCTION_WORDS * (number + 1), "taken": 0, "clear": 0})
            steps += [{}, {"instruction": bits_of_words(words)}, *[{}] * (PERIOD - 4), {"taken": 1}]
        steps += [{"taken": 0}, {"clear": 1}, {"clear": 0}]
    seen, at, found = drive(Checker(CONFIG), steps, ("fault", "tag")), 1, []
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
    assert {case.code for case in cases} == set(Fault) - {Fault.NONE, *LATE}
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
