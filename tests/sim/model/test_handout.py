"""What the fetch unit hands out: blocks and their tags, loops, and instructions that stand in the wrong place."""

from itertools import chain, repeat

import pytest

from wingbeat.hw.isa.encoding import INSTRUCTION_WORDS, encode
from wingbeat.hw.isa.instruction import (Destination, Fault, Fetch, Halt, Load, Loop, Mac, MemoryMode, Mode, Opcode,
                                         Pass, Read, Set, Store, Sums, Unit, Wait, Write)
from wingbeat.hw.isa.walk import Walk
from wingbeat.sim.model.handout import Blocks, Command, ProgramFault, executed, misplaced

COLUMNS = MemoryMode.COLUMNS
LOAD, STORE = Load(Walk((0,), 6, 0)), Store(Walk((0,), 6, 0))
READ, WRITE = Read(0, 0, 4, COLUMNS), Write(0, 0, 4, COLUMNS)


def step(first, last, mac=False):
    """A pass of a block."""
    if mac:
        return Mac(2, 2, 2, 1, 4, 1, 9, first=first, last=last)
    return Pass(Mode.PASS, 0, 4, 0, (0,), first=first, last=last)


# --- Commands and blocks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("destination, brings_matrix", [
    (Destination.SETUP, False), (Destination.RING, True), (Destination.PICKS, True), (Destination.IDS, False)])
def test_destinations(destination, brings_matrix):
    command = Command(Fetch(0, 0, 4, COLUMNS, destination=destination), 0, 0)
    assert command.destination is destination and command.brings_matrix is brings_matrix


@pytest.mark.parametrize("instruction", [READ, Sums(0, 0, 4, COLUMNS), WRITE], ids=lambda each: type(each).__name__)
def test_no_other_command_has_a_destination(instruction):
    command = Command(instruction, 7, 1)
    assert command.destination is None and not command.brings_matrix and (command.base, command.waited) == (7, 1)


@pytest.mark.parametrize("mac", [False, True])
def test_blocks_are_computed_behind_their_last_pass(mac):
    blocks, computed = Blocks(), []
    passes = [step(True, False, mac), step(False, False), step(False, True, mac), step(True, True, mac),
              step(True, False)]
    for each in passes:
        blocks.add(each)
        computed.append(blocks.computed)
    assert computed == [0, 0, 1, 2, 2] and blocks.inside
    assert blocks.passes == [passes[:3], passes[3:4], passes[4:]]


def test_tags():
    """Of the next instruction of each kind, which count apart; of a kind without a block the number of READs."""
    blocks = Blocks()
    for instruction in (LOAD, LOAD, LOAD, step(True, True), step(True, True), step(True, False), STORE):
        blocks.add(instruction)
    blocks.reads += [Command(READ, 0, 0)] * 5
    blocks.writes += [Command(WRITE, 0, 0)] * 0
    tags = {None: 5, Opcode.READ: 5, Opcode.FETCH: 5, Opcode.SUMS: 5, Opcode.HALT: 5, Opcode.WAIT: 5, Opcode.LOOP: 5,
            Opcode.LOAD: 3, Opcode.PASS: 2, Opcode.MAC: 2, Opcode.STORE: 1, Opcode.WRITE: 0}
    assert {opcode: blocks.tag(opcode) for opcode in tags} == tags
    assert blocks.loads == [LOAD] * 3 and blocks.stores == [STORE]
    blocks.writes.append(Command(WRITE, 0, 0))
    assert blocks.tag(Opcode.WRITE) == 1


# --- Loops --------------------------------------------------------------------------------------------------------


def numbers_of(program, most=200):
    """Numbers of the instructions in the order in which they are met, up to the HALT."""
    found = []
    for number, opcode, values, raw in executed(encode(program), Blocks()):
        at = INSTRUCTION_WORDS * number
        assert raw == encode(program)[at:at + INSTRUCTION_WORDS]
        found.append(number)
        assert len(found) < most
        if opcode is Opcode.HALT:
            return found
        if opcode is Opcode.SET:
            assert values["value"] == program[number].value
    raise AssertionError("no HALT")


def sets(count):
    return [Set(Unit.READER, 0, value) for value in range(count)]


@pytest.mark.parametrize("count, turns", [(1, 1), (2, 2), (5, 5), (0, 1)])
def test_loops_are_unrolled(count, turns):
    """The body runs ``count`` times in all, the first time in front of the LOOP."""
    found = numbers_of([*sets(3), Loop(1, count), Halt()])
    assert found == [0, *chain(*repeat([1, 2], turns)), 4]


def test_loops_one_behind_the_other():
    """The second has a count of its own, and the body of the first stands in it no more."""
    found = numbers_of([*sets(2), Loop(1, 3), *sets(2), Loop(4, 2), Halt()])
    assert found == [0, 1, 1, 1, 3, 4, 4, 6]


@pytest.mark.parametrize("program, message", [
    ([*sets(2), Loop(2, 2), Halt()], "^instruction 2 LOOP: target 6 is not before word 6, or the loop stands in"),
    ([*sets(2), Loop(3, 2), Halt()], "^instruction 2 LOOP: target 9 is not before word 6"),
    ([*sets(1), Loop(0, 2), Loop(0, 2), Halt()], "^instruction 1 LOOP: .* or the loop stands in another$"),
    ([*sets(3), Loop(2, 3), *sets(1), Loop(1, 2), Halt()], "^instruction 3 LOOP: .* or the loop stands in another$"),
    ([*sets(1), Wait()], "^instruction 2: the program has no HALT before its end$"),
    ([], "^instruction 0: the program has no HALT before its end$")])
def test_loops_that_are_none(program, message):
    """A loop has none inside of it, and nothing stands behind the program."""
    with pytest.raises(ProgramFault, match=message) as found:
        numbers_of(program)
    assert (found.value.code, found.value.tag) == (Fault.LOOP, 0)


def test_an_opcode_that_there_is_not():
    """And the tag of a fault is what has been handed out until then."""
    blocks = Blocks(reads=[Command(READ, 0, 0)] * 3)
    with pytest.raises(ProgramFault, match="^instruction 1: ") as found:
        list(executed([*encode(sets(1)), 15, 0, 0], blocks))
    assert (found.value.code, found.value.tag) == (Fault.OPCODE, 3)


# --- Order --------------------------------------------------------------------------------------------------------


def after(*instructions):
    """Blocks behind these instructions."""
    blocks = Blocks()
    for each in instructions:
        if isinstance(each, Read | Write):
            (blocks.writes if isinstance(each, Write) else blocks.reads).append(Command(each, 0, 0))
        else:
            blocks.add(each)
    return blocks


WHOLE = [READ, LOAD, step(True, True), STORE, WRITE]


@pytest.mark.parametrize("before, opcode, first, found", [
    ([], Opcode.LOAD, 0, (Fault.INPUT, "a LOAD without a READ")), ([READ], Opcode.LOAD, 0, None),
    ([READ, LOAD], Opcode.LOAD, 0, (Fault.INPUT, "a LOAD without a READ")),
    ([READ], Opcode.PASS, 1, (Fault.INPUT, "a first PASS without a LOAD")), ([READ, LOAD], Opcode.PASS, 1, None),
    ([READ], Opcode.MAC, 1, (Fault.INPUT, "a first PASS without a LOAD")), ([READ, LOAD], Opcode.MAC, 1, None),
    ([READ, LOAD], Opcode.PASS, 0, (Fault.INPUT, "a PASS outside a block, or a first one inside")),
    ([READ, READ, LOAD, LOAD, step(True, False)], Opcode.MAC, 1,
     (Fault.INPUT, "a PASS outside a block, or a first one inside")),
    ([READ, LOAD, step(True, False)], Opcode.PASS, 0, None), ([READ, LOAD, step(True, False)], Opcode.MAC, 0, None),
    ([READ, LOAD, step(True, False)], Opcode.STORE, 0, (Fault.OUTPUT, "a STORE without a computed block")),
    (WHOLE[:3], Opcode.STORE, 0, None), (WHOLE, Opcode.STORE, 0, (Fault.OUTPUT, "a STORE without a computed block")),
    (WHOLE[:3], Opcode.WRITE, 0, (Fault.OUTPUT, "a WRITE without a STORE")), (WHOLE[:4], Opcode.WRITE, 0, None),
    (WHOLE, Opcode.WRITE, 0, (Fault.OUTPUT, "a WRITE without a STORE")),
    ([READ], Opcode.HALT, 0, (Fault.INPUT, "a block that was read has no passes")),
    (WHOLE[:2], Opcode.WAIT, 0, (Fault.INPUT, "a block that was read has no passes")),
    ([*WHOLE[:2], step(True, False)], Opcode.HALT, 0, (Fault.INPUT, "a block that was read has no passes")),
    (WHOLE[:3], Opcode.HALT, 0, (Fault.OUTPUT, "a block that was computed is not written")),
    (WHOLE[:4], Opcode.WAIT, 0, (Fault.OUTPUT, "a block that was computed is not written")),
    (WHOLE, Opcode.HALT, 0, None), (WHOLE, Opcode.WAIT, 0, None), ([], Opcode.HALT, 0, None),
    ([READ], Opcode.READ, 0, None), (WHOLE[:2], Opcode.FETCH, 0, None), (WHOLE[:3], Opcode.SUMS, 0, None)])
@pytest.mark.thin(1)
def test_each_kind_needs_the_kind_before_it(before, opcode, first, found):
    assert misplaced(opcode, {"first": first}, after(*before)) == (found or (None, ""))
