"""Counters: one of four moves in each running cycle, and which."""

from itertools import product
import random

import pytest

from wingbeat.hw.array.counters import Counters
from wingbeat.hw.isa.setup import ARRAY_COUNTERS

INPUTS = (
    "running",
    "computing",
    "hazard",
    "load_blocked",
    "load_idle",
    "store_idle",
    "block_out",
    "saturated",
    "starting",
)
NOTHING = dict.fromkeys((*INPUTS, "clear"), 0)
SEED = 2


def cause(step):
    if step["computing"]:
        return "computing"
    if step["hazard"]:
        return "waiting_hazard"
    full = step["load_blocked"] or (step["load_idle"] and not step["store_idle"])
    return "waiting_output" if full else "waiting_input"


def fields(bits):
    """busy, saturated, then six counters of 32 bits."""
    status = {"busy": bits & 1, "saturated": bits >> 1 & 1}
    return status | {name: bits >> 2 + 32 * i & 0xFFFFFFFF for i, name in enumerate(ARRAY_COUNTERS)}


def counted(want, step):
    """The sums ``want`` after the inputs of one more cycle."""
    if step["clear"]:
        return dict.fromkeys(want, 0)
    want = want | {"blocks": want["blocks"] + step["block_out"],
                   "saturated": want["saturated"] | step["saturated"]}
    if step["running"]:
        want["total"] += 1
        want[cause(step)] += 1
    return want


def check(drive, steps, context, resets=()):
    """Inputs show in the sums two cycles later, in ``busy`` at once and one later; a reset forgets
    them a cycle later."""
    want, late = dict.fromkeys((*ARRAY_COUNTERS, "saturated"), 0), NOTHING
    steps = [*steps, NOTHING, NOTHING]
    seen = drive(Counters(), steps, ("status",), resets)["status"]
    for cycle, step in enumerate(steps):
        busy = int(step["running"] or step["starting"] or late["running"])
        assert fields(seen[cycle]) == want | {"busy": busy}, f"{context}, cycle {cycle}"
        want, late = counted(want, late), step
        if cycle in resets:
            late = NOTHING | {"clear": 1}
        causes = sum(
            want[name] for name in ("computing", "waiting_input", "waiting_output", "waiting_hazard")
        )
        assert causes == want["total"]
    return want


def test_every_combination_of_inputs(drive):
    steps = [dict(zip(INPUTS, values)) | {"clear": 0} for values in product((0, 1), repeat=len(INPUTS))]
    want = check(drive, steps, "all inputs")
    assert all(want.values())


@pytest.mark.parametrize("resets", [(), (40, 90)])
def test_clear_and_reset(drive, resets):
    rng = random.Random(SEED)
    steps = [
        {name: rng.getrandbits(1) for name in INPUTS} | {"clear": rng.random() < 0.03} for _ in range(200)
    ]
    check(drive, steps, f"seed {SEED}", resets)
