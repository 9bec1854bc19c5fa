"""Instructions by their fields: what a core can run and what not, at the borders."""

import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.encoding import instruction_fields, patched
from wingbeat.hw.isa.instruction import (Destination, Fault, Fetch, Load, Mac, Mask, MemoryMode, Mode, Pass, Read, Set,
                                         Softmax, Store, Sums, Unit, Wait, Write)
from wingbeat.hw.isa.walk import Walk
from wingbeat.sim.model.legality import field_fault

PLAIN = CoreConfig.of(engines=2, layers=1, half_words=32, coefficient_words=24, stream_words=4, memory_bits=10,
                      descriptors=3)
FULL = PLAIN.changed(records=True, ring_words=16, vector_lanes=2)
BY_ID = PLAIN.changed(records=True, row_ids=8, vector_lanes=2)
KEEPING = FULL.changed(partial_words=8)  # 4 outputs of P words, two steps each, or of two row pairs 2
# A finisher for two engines needs 4 inputs, for one 2. A row comes back after 9 cycles: 2 for each input and row pair.
TWO, ONE = (KEEPING.changed(softmax_pairs=8, finishers=count) for count in (1, 2))
LOAD, STORE = Load(Walk((0,), 30, 0)), Store(Walk((0,), 30, 0))
PASS = Pass(Mode.BPMM, 0, 16, 1, (0,), coef_base=16, coef_mask_bits=3)
MAC = Mac(4, 4, 1, 2, 8, 2, 0)
LOGITS = Mac(4, 4, 2, 2, 8, 2, 0, softmax=Softmax.LOGITS, fresh=True)
VALUES = Mac(4, 2, 2, 2, 8, 1, 0, softmax=Softmax.VALUES)
READ, WRITE = Read(2, 0, 4, MemoryMode.PAIRS), Write(2, 0, 4, MemoryMode.SPLIT)
FETCH = Fetch(2, 0, 4, MemoryMode.COLUMNS, destination=Destination.RING)
IDS = Fetch(2, 0, 4, MemoryMode.COLUMNS, destination=Destination.IDS, fence=True)
SUMS = Sums(0, 0, 4, MemoryMode.COLUMNS)

# Core, instruction, raw fields that are other, fault.
CASES = [
    (PLAIN, LOAD, {}, None), (PLAIN, LOAD, {"inner": 32}, Fault.WALK), (PLAIN, LOAD, {"last_step": 16}, Fault.WALK),
    (PLAIN, STORE, {"base": 1}, Fault.WALK), (FULL, STORE, {"base": 31}, None), (FULL, STORE, {"base": 32}, Fault.WALK),
    (PLAIN, PASS, {}, None), (PLAIN, PASS, {"coef_base": 17}, Fault.PASS), (PLAIN, PASS, {"digit": 5}, Fault.PASS),
    (PLAIN, PASS, {"last_group": 16}, Fault.PASS), (PLAIN, MAC, {}, Fault.OPCODE), (FULL, MAC, {}, None),
    (FULL, MAC, {"last_input": 0}, Fault.PASS), (FULL, MAC, {"last_input": 4}, Fault.PASS),
    (FULL, MAC, {"last_output": 4}, Fault.PASS), (FULL, MAC, {"last_pair": 3}, None),
    (FULL, MAC, {"last_pair": 4}, Fault.PASS), (FULL, MAC, {"out_base": 15}, None),
    (FULL, MAC, {"out_base": 16}, Fault.PASS), (FULL, MAC, {"zero": 1}, Fault.PASS),
    (FULL, MAC, {"keep": 1}, Fault.PASS), (FULL, MAC, {"merge": 1}, Fault.PASS), (KEEPING, MAC, {"keep": 1}, None),
    (KEEPING, MAC, {"merge": 1, "last_output": 2}, None), (KEEPING, MAC, {"merge": 1, "last_pair": 1}, Fault.PASS),
    (KEEPING, MAC, {"keep": 1, "last_pair": 1, "last_output": 1}, None),
    (KEEPING, MAC, {"keep": 1, "last_pair": 1, "last_output": 2}, Fault.PASS),
    (PLAIN, READ, {}, None), (PLAIN, READ, {"descriptor": 3}, Fault.MEMORY), (PLAIN, READ, {"mode": 3}, Fault.MEMORY),
    (PLAIN, READ, {"vector": 1}, Fault.MEMORY), (FULL, READ, {"vector": 1}, None),
    (PLAIN, Sums(0, 0, 4, MemoryMode.COLUMNS), {}, Fault.MEMORY), (PLAIN, WRITE, {}, None),
    (PLAIN, WRITE, {"mode": 6}, Fault.MEMORY), (PLAIN, FETCH, {}, Fault.OPCODE), (PLAIN, Wait(), {}, Fault.OPCODE),
    (FULL, FETCH, {}, None), (FULL, FETCH, {"destination": 3}, Fault.MEMORY),
    (FULL, FETCH, {"destination": 0}, Fault.MEMORY), (FULL.changed(ring_words=0), FETCH, {}, Fault.MEMORY),
    (PLAIN, READ, {"by_id": 1}, Fault.MEMORY), (FULL, READ, {"by_id": 1}, Fault.MEMORY),
    (BY_ID, READ, {"by_id": 1}, None), (BY_ID, READ, {"by_id": 1, "vector": 1}, Fault.MEMORY),
    (BY_ID, READ, {"by_id": 1, "mode": 3}, Fault.MEMORY), (BY_ID, READ, {"by_id": 1, "descriptor": 3}, Fault.MEMORY),
    (BY_ID, SUMS, {}, None), (BY_ID, SUMS, {"by_id": 1}, Fault.MEMORY), (FULL, SUMS, {"by_id": 1}, Fault.MEMORY),
    (BY_ID, IDS, {}, None), (BY_ID, IDS, {"fence": 0}, Fault.MEMORY), (BY_ID, IDS, {"by_id": 1}, Fault.MEMORY),
    (FULL, IDS, {}, Fault.MEMORY), (PLAIN, IDS, {}, Fault.OPCODE), (BY_ID, IDS, {"descriptor": 3}, Fault.MEMORY),
    (BY_ID, IDS, {"destination": 1, "fence": 0}, None), (BY_ID, IDS, {"destination": 1, "by_id": 1}, Fault.MEMORY),
    (BY_ID, IDS, {"destination": 2}, Fault.MEMORY), (BY_ID, IDS, {"destination": 5}, Fault.MEMORY),
    (FULL, FETCH, {"by_id": 1}, Fault.MEMORY), (FULL, FETCH, {"destination": 4}, Fault.MEMORY),
    (PLAIN, Set(Unit.READER, 0, 1023), {}, None), (PLAIN, Set(Unit.READER, 0, 1024), {}, Fault.MEMORY),
    (PLAIN, Mask(), {}, Fault.OPCODE), (KEEPING, Mask(), {}, Fault.OPCODE), (TWO, Mask(), {}, None),
    (TWO, Mask(), {"key": 1}, Fault.PASS), (TWO, Mask(), {"key": 0xFFFE, "limit": -1, "window": -1, "slope": -1}, None),
    (TWO, Mask(), {"length": 64}, None), (TWO, Mask(), {"length": 65}, Fault.PASS),
    (TWO, LOGITS, {}, None), (TWO, LOGITS, {"fresh": 0}, None), (TWO, VALUES, {}, None),
    (KEEPING, LOGITS, {}, Fault.PASS),
    (KEEPING, VALUES, {}, Fault.PASS), (KEEPING, MAC, {"fresh": 1}, Fault.PASS), (TWO, MAC, {"fresh": 1}, Fault.PASS),
    (TWO, VALUES, {"fresh": 1}, Fault.PASS), (TWO, LOGITS, {"softmax": 3}, Fault.PASS),
    (TWO, LOGITS, {"keep": 1}, Fault.PASS), (TWO, LOGITS, {"merge": 1}, Fault.PASS), (TWO, VALUES, {"keep": 1}, None),
    (TWO, VALUES, {"merge": 1}, None), (TWO, LOGITS, {"log2_group": 1}, Fault.PASS),
    (TWO, LOGITS, {"last_input": 2}, Fault.PASS), (TWO, VALUES, {"last_input": 2}, Fault.PASS),
    (TWO, LOGITS, {"last_pair": 0}, Fault.PASS), (TWO, VALUES, {"last_pair": 0, "keep": 1}, Fault.PASS),
    (ONE, LOGITS, {"last_input": 1}, Fault.PASS), (ONE, LOGITS, {"last_input": 1, "last_pair": 2}, None),
    (ONE, LOGITS, {"last_input": 2}, None), (ONE, LOGITS, {"last_input": 2, "last_pair": 0}, Fault.PASS),
    (TWO.changed(softmax_pairs=2), LOGITS, {}, None), (TWO.changed(softmax_pairs=1), LOGITS, {}, Fault.PASS),
    (TWO, LOGITS, {"out_base": 16}, Fault.PASS)]


@pytest.mark.thin(1)
@pytest.mark.parametrize("config, instruction, changes, fault", CASES)
def test_borders(config, instruction, changes, fault):
    found, why = field_fault(config, *instruction_fields(patched(instruction, **changes)))
    assert found is fault and bool(why) is (fault is not None)
