"""READs that take a beat before it was written, against every pair of a WRITE and a later READ."""

import random

import numpy as np
import pytest

from wingbeat.sim.model.races import Asking, first_race


def slow_race(waits, asked, written):
    """Every pair of a WRITE and a later READ, and every beat, one by one."""
    for tag in range(len(waits)):
        complete, part = set(), {}
        for reader in range(tag + 1):
            after, beats = waits[reader]
            if after:
                complete |= set(range(reader - after + (not beats)))
                part[reader - after] = max(part.get(reader - after, 0), beats)
        for writer in range(tag):
            if writer not in complete and set(written[writer][part.get(writer, 0):]) & set(asked[tag]):
                return tag
    return None


@pytest.mark.parametrize("seed", range(20))
def test_races_against_every_pair(seed):
    rng = random.Random(seed)
    found = set()
    for _ in range(100):
        blocks = rng.randint(1, 6)
        asked, written = ([np.array(rng.choices(range(12), k=rng.randint(0, 3)), dtype=np.int64) for _ in range(blocks)]
                          for _ in range(2))
        waits = [(rng.randint(0, min(tag, 3)), rng.choice((0, 1, 2))) for tag in range(blocks)]
        race = first_race([Asking(*asking) for asking in zip(range(blocks), waits, asked)], written, 12)
        want = slow_race(waits, asked, written)
        assert (race.tag if race else None) == want, f"seed {seed}: {waits} {asked} {written}"
        found.add(race is None)
    assert found == {False, True}
