"""Coefficient memory: addresses of every unit, what each mode makes of a word, writes, and the stated
latency.
"""

from collections import defaultdict
import random

import pytest

from wingbeat.hw.array.coefficients import CoefficientMemory
from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.isa.instruction import Mode, Pass
from wingbeat.hw.isa.setup import SETUP_CONTROL, SETUP_PROGRAM

SEED = 23


def small(layers, words=24, pipeline=Pipeline.DEEP):
    return CoreConfig.of(layers=layers, width=9, element_width=9, coefficient_width=8, half_words=16 << layers,
                         coefficient_words=words, stream_words=1, pipeline=pipeline)


def seen_by_unit(word, mode, width):
    """Bit pattern that a unit receives: PASS hides the word, FFT and SCALE fix the pivots."""
    numbers = word & (1 << 2 * width) - 1
    return {Mode.BPMM: word & (1 << 2 * width + 2) - 1,
            Mode.PASS: 2 << 2 * width,
            Mode.FFT: numbers | 1 << 2 * width + 2,
            Mode.SCALE: numbers | 1 << 2 * width | 1 << 2 * width + 3}[mode]


class Script:
    """Cycle-by-cycle inputs of a coefficient memory, its contents, and what the units must see when."""

    def __init__(self, config, seed, field_bits):
        self.c, self.rng, self.field_bits = config, random.Random(seed), field_bits
        self.banks = [[0] * config.coefficient_words for _ in range(config.n_units)]
        self.steps, self.want = [], defaultdict(dict)  # want[cycle][unit]

    def write(self, target, address, data, valid=True):
        self.steps.append(
            {"write": {"target": target, "address": address, "data": data}, "write_valid": valid}
        )
        if valid and target < self.c.n_units:
            self.banks[target][address] = data

    def fill(self):
        everything = [(u, a) for u in range(self.c.n_units) for a in range(self.c.coefficient_words)]
        for unit, address in self.rng.sample(everything, len(everything)):
            self.write(unit, address, self.rng.getrandbits(40))
        for target in (self.c.n_units, SETUP_PROGRAM, SETUP_CONTROL, 0xFF):
            self.write(target, self.rng.randrange(self.c.coefficient_words), self.rng.getrandbits(40))
        self.write(0, 0, self.rng.getrandbits(40), valid=False)

    def random_pass(self):
        c, rng = self.c, self.rng
        mask_bits = rng.randint(0, min(c.row_bits, c.coefficient_words.bit_length() - 1))
        return Pass(rng.choice(list(Mode)), 0, c.bank_rows, rng.getrandbits(c.layers), (0,) * c.layers,
                    coef_base=rng.randint(0, c.coefficient_words - (1 << mask_bits)),
                    coef_shift=rng.randint(0, c.row_bits), coef_mask_bits=mask_bits)

    def groups(self, p, groups):
        c, half = self.c, self.c.lanes // 2
        for g in groups:
            address = p.coef_base + ((g >> p.coef_shift) & (1 << p.coef_mask_bits) - 1)
            for unit in range(c.n_units):
                q = unit // half
                mode = p.mode if p.active >> q & 1 else Mode.PASS
                at = len(self.steps) + c.read_latency + c.address_latency + q * c.butterfly_latency
                self.want[at][unit] = seen_by_unit(self.banks[unit][address], mode, c.coefficient_width)
            self.steps.append({"group": g, "pass_fields": self.field_bits(p), "write_valid": 0})

    def check(self, drive, context, resets=()):
        idle = self.c.read_latency + self.c.address_latency + self.c.layers * self.c.butterfly_latency
        seen = drive(CoefficientMemory(self.c), [*self.steps, *[{"write_valid": 0}] * idle], ("o",), resets)[
            "o"
        ]
        bits = self.c.coefficient_bits + 2
        for cycle, units in self.want.items():
            for unit, value in units.items():
                got = seen[cycle] >> bits * unit & (1 << bits) - 1
                assert got == value, f"{context}: unit {unit} in cycle {cycle}: {got:#x} where {value:#x}"


@pytest.mark.parametrize("pipeline", list(Pipeline))
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_passes_back_to_back(drive, field_bits, layers, pipeline):
    """Random passes without a cycle between them; some stop early."""
    script = Script(small(layers, pipeline=pipeline), SEED, field_bits)
    script.fill()
    for _ in range(10):
        p = script.random_pass()
        script.groups(p, range(script.rng.choice([1, 5, p.groups])))
    script.check(drive, f"layers {layers}, {pipeline.value}, seed {SEED}")


@pytest.mark.parametrize("mode", list(Mode))
def test_every_shift_and_mask(drive, field_bits, mode):
    """All coef_shift and coef_mask_bits up to the bits of a group, and beyond, where nothing is left."""
    script = Script(small(1, words=16), SEED, field_bits)
    script.fill()
    for shift in [*range(script.c.row_bits + 1), 15]:
        for mask_bits in [*range(script.c.row_bits + 1), 31]:
            p = Pass(mode, 0, 16, 1, (0,), coef_shift=shift, coef_mask_bits=mask_bits)
            script.groups(p, script.rng.sample(range(16), 3))
    script.check(drive, f"{mode.name}, seed {SEED}")


def test_writes_while_groups_pass(drive, field_bits):
    """A write reaches groups that come after it and disturbs none that reads elsewhere."""
    script = Script(small(2), SEED, field_bits)
    script.fill()
    low = Pass(Mode.BPMM, 0, 8, 3, (0, 0), coef_mask_bits=3)
    high = Pass(Mode.BPMM, 0, 8, 3, (0, 0), coef_base=8, coef_mask_bits=3)
    for _ in range(40):
        unit, address = script.rng.randrange(script.c.n_units), script.rng.randrange(8, 16)
        script.groups(low, [script.rng.randrange(8)])
        script.steps[-1] |= {
            "write": {"target": unit, "address": address, "data": script.rng.getrandbits(34)},
            "write_valid": 1,
        }
        script.banks[unit][address] = script.steps[-1]["write"]["data"]
    script.groups(high, range(8))
    script.check(drive, f"seed {SEED}")


def test_reset_keeps_the_contents(drive, field_bits):
    script = Script(small(2), SEED, field_bits)
    script.fill()
    written = len(script.steps)
    for _ in range(4):
        script.groups(script.random_pass(), range(16))
    script.check(drive, f"seed {SEED}", resets=(written // 2, written + 3, written + 30))
