"""Row memory: shifts of the sums of every column against what is known of their rows, when they are due."""

import random

import pytest

from amaranth.lib import data

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.numeric import ALIGNMENT_CUT, DEAD_ALIGNMENT, LEAST_LOGIT
from wingbeat.hw.softmax.layouts import column_softmax
from wingbeat.hw.softmax.parameters import total_bits
from wingbeat.hw.softmax.row_memory import RowMemory

SEED = 23
TO_SHIFTS = 5     # cycles from the alignment of a column to its shifts
MOST_MERGE = 63   # a shift that leaves nothing of a kept sum


def config_of(layers, pairs):
    return CoreConfig.of(layers=layers, engines=2 if layers == 1 else 1, half_words=32 << layers,
                         stream_words=1 << max(1, layers), coefficient_words=64, ring_words=64, partial_words=16,
                         records=True, memory_bits=12, softmax_pairs=pairs)


def taps_of(config):
    """The least for the first column, others later by any number of cycles."""
    return [config.ram_latency + 2 + distance for distance in (0, 7, 8, 13)[:config.layers]]


class Memory:
    """What is given in each cycle, what the memories hold, and what columns are to show: {(cycle, column, name)}."""

    def __init__(self, config, seed):
        self.c, self.rng, self.note = config, random.Random(seed), f"seed {seed}"
        self.steps, self.expected = [], {}
        self.exponents = {}                       # row: (re, im)
        self.infos = {0: {}, 1: {}}               # bank: {pair: ((maximum, highest) of re, of im)}
        self.shift = 0

    def tick(self, **control):
        """A cycle with noise where nothing is said."""
        c, rng = self.c, self.rng
        columns = [{name: rng.getrandbits(1) for name in ("merge_im", "divides", "is_logit")} for _ in range(c.layers)]
        written = control.pop("exponents", None), control.pop("infos", None)
        step = {"control": {
            "row": rng.randrange(c.bank_rows), "pair": rng.randrange(c.softmax_pairs), "weighs": rng.getrandbits(1),
            "bank": rng.getrandbits(1), "shift": self.shift, "write": written[0] is not None,
            "write_row": rng.randrange(c.bank_rows), "write_infos": written[1] is not None,
            "info_pair": rng.randrange(c.softmax_pairs), "info_bank": rng.getrandbits(1), "columns": columns} | control}
        step["exponents"] = written[0] or [rng.randint(LEAST_LOGIT, 255) for _ in range(2)]
        step["infos"] = [{"maximum": maximum, "highest": highest} for maximum, highest in (
            written[1] or [(rng.randint(LEAST_LOGIT, 255), rng.randrange(total_bits(c))) for _ in range(2)])]
        self.steps.append(step)

    def write_exponents(self, row, values):
        self.tick(write_row=row, exponents=values)
        self.exponents[row] = values

    def write_infos(self, bank, pair, values):
        self.tick(info_bank=bank, info_pair=pair, infos=values)
        self.infos[bank][pair] = values

    def read(self, row, pair, bank, weighs):
        """A group; what follows for its sums, for a kept one, re and im, and for those that end with it."""
        self.tick(row=row, pair=pair, bank=bank, weighs=weighs)
        for q, tap in enumerate(taps_of(self.c)):
            due = len(self.steps) - 1 + tap
            for part in range(2):
                maximum, highest = self.infos[bank][pair][part]
                before, _ = self.infos[1 - bank][pair][part]
                distance = maximum - self.exponents[row][part]
                is_dead = bool(weighs and distance >= DEAD_ALIGNMENT)
                self.expected[due, q, "dead", part] = is_dead
                if not is_dead:  # else its shift means nothing
                    self.expected[due, q, "align", part] = ALIGNMENT_CUT + distance if weighs else 0
                merge = min(maximum - before, MOST_MERGE) if weighs else 0
                self.expected[due + part, q, "merge", part] = merge
                self.expected[due + TO_SHIFTS, q, "shifts", part] = max(0, highest - self.shift)

    def pause(self):
        """Until nothing is on its way; then the shift may be another one."""
        for _ in range(max(cycle for cycle, *_ in self.expected) + 3 - len(self.steps) if self.expected else 0):
            self.tick()

    def _set_merges(self):
        """The part that the kept sum is of: noise where none is due, or both are (a group in every cycle)."""
        for cycle, q, name, part in list(self.expected):
            if name == "merge":
                own = self.steps[cycle]["control"]["columns"][q]
                if (cycle, q, name, 1 - part) in self.expected:
                    if own["merge_im"] != part:
                        del self.expected[cycle, q, name, part]
                else:
                    own["merge_im"] = part

    def check(self, drive, resets=()):
        self.pause()
        self._set_merges()
        layout, dut = data.ArrayLayout(column_softmax(), self.c.layers), RowMemory(self.c, taps_of(self.c))
        seen = [layout.from_bits(bits) for bits in drive(dut, self.steps, ("columns",), resets)["columns"]]
        for (cycle, q, name, part), wanted in self.expected.items():
            column = seen[cycle][q]
            found = {"dead": column.align[part].is_dead, "align": column.align[part].shift, "merge": column.merge,
                     "shifts": column.shifts[part]}
            assert found[name] == wanted, f"{self.note}: cycle {cycle}, column {q}, {name}, part {part}"
        for cycle, step in enumerate(self.steps):
            for q, given in enumerate(step["control"]["columns"]):
                for name in ("divides", "is_logit"):
                    assert seen[cycle][q][name] == given[name], f"{self.note}: cycle {cycle}, column {q}, {name}"
        return {(name, wanted) for (*_, name, _), wanted in self.expected.items()}


def random_rows(memory):
    """Fills all memories: of each pair one bank has maxima that are not below those of the other. Returns that bank."""
    c, rng = memory.c, memory.rng
    newer = {pair: rng.getrandbits(1) for pair in range(c.softmax_pairs)}
    kinds = [("row", row) for row in range(c.bank_rows)] + [(bank, pair) for pair in newer for bank in range(2)]
    rng.shuffle(kinds)
    maxima = {pair: [sorted(rng.choice((LEAST_LOGIT, -1, 0, 255, near, near + rng.choice((0, 1, 62, 63, 64))))
                            for _ in range(2)) for near in (rng.randint(LEAST_LOGIT, 150), rng.randint(-9, 9))]
              for pair in newer}
    for kind, number in kinds:
        if kind == "row":
            memory.write_exponents(number, [rng.choice((LEAST_LOGIT, rng.randint(-40, 40), rng.randint(-250, 250)))
                                            for _ in range(2)])
        else:
            memory.write_infos(kind, number, [(maxima[number][part][kind == newer[number]],
                                               rng.choice((0, total_bits(c) - 1, rng.randrange(total_bits(c)))))
                                              for part in range(2)])
    return newer


@pytest.mark.parametrize("layers, pairs", [(1, 4), (2, 1), (2, 8), (4, 2)])
def test_random_groups(drive, layers, pairs):
    """Groups in every cycle and with pauses, of probabilities and others, shifts of every size."""
    memory = Memory(config_of(layers, pairs), f"{SEED} {layers} {pairs}")
    rng, found = memory.rng, 0
    for shift in (0, 3, 17, 31):
        memory.pause()
        memory.shift = shift
        newer = random_rows(memory)
        memory.tick()
        for _ in range(100):
            row, pair = rng.randrange(memory.c.bank_rows), rng.randrange(pairs)
            legal = all(memory.exponents[row][part] <= memory.infos[newer[pair]][pair][part][0] for part in range(2))
            found += legal
            memory.read(row, pair, newer[pair], int(legal and rng.random() < 0.9))
            for _ in range(rng.choice((0, 0, 0, 1, 4))):
                memory.tick()
    wanted = memory.check(drive)
    assert found > 60, memory.note
    assert {("dead", True), ("dead", False), ("shifts", 0)} <= wanted, memory.note
    assert {"merge", "align"} <= {name for name, amount in wanted if amount} and len(wanted) > 20, memory.note


@pytest.mark.parametrize("distance", [0, 1, DEAD_ALIGNMENT - 1, DEAD_ALIGNMENT, DEAD_ALIGNMENT + 1, 511])
@pytest.mark.thin(1)
def test_distances_at_their_borders(drive, distance):
    """The exponent of re alone lies far below; a kept sum by as much below; bank 1 has what holds."""
    memory = Memory(config_of(2, 2), SEED)
    memory.shift = 4
    memory.write_exponents(5, [255 - distance, 255])
    memory.write_infos(0, 1, [(255, 0), (255 - distance, 3)])
    memory.write_infos(1, 1, [(255, 30), (255, 4)])
    memory.tick()
    memory.read(5, 1, 1, 1)
    wanted = memory.check(drive)
    assert ("dead", distance >= 32) in wanted and ("merge", min(distance, 63)) in wanted
    assert {("shifts", 26), ("shifts", 0), ("align", 2)} <= wanted


def test_a_reset_keeps_the_memories(drive):
    memory = Memory(config_of(2, 2), SEED)
    memory.shift = 2
    memory.write_exponents(7, [-3, -9])
    memory.write_infos(0, 0, [(1, 20), (2, 21)])
    memory.write_infos(1, 0, [(-3, 9), (-4, 9)])
    memory.tick()
    memory.tick()
    resets = [len(memory.steps) - 1]
    memory.tick()
    memory.read(7, 0, 0, 1)
    wanted = memory.check(drive, resets)
    assert {("align", 6), ("align", 13), ("merge", 4), ("merge", 6), ("shifts", 18), ("shifts", 19)} <= wanted
