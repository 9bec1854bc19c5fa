"""Coefficient memory: addresses of every unit, what each mode makes of a word, writes, and the stated latency; and the
picks of sparse matrices.
"""

from collections import defaultdict
import random

import pytest

from wingbeat.hw.array.coefficients import CoefficientMemory, PickMemory
from wingbeat.hw.array.parameters import release_delay
from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.isa.instruction import Mode, Pass
from wingbeat.hw.isa.setup import SETUP_CONTROL, SETUP_PROGRAM
from wingbeat.hw.isa.sparse import PICK_BITS

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


# --- With a ring --------------------------------------------------------------------------------------------------

MAC_FIELDS = 3 << 85  # what a MAC leaves in the fields of a PASS: first and last


def with_ring(layers):
    return CoreConfig.of(engines=2 if layers == 1 else 1, layers=layers, width=9, element_width=8, coefficient_width=8,
                         half_words=16 << layers, coefficient_words=24, ring_words=16, stream_words=max(4, 1 << layers),
                         memory_bits=8, records=True)


class RingScript(Script):
    """As Script; groups of MACs read the ring, ``ring_write`` fills a place in all banks."""

    def quiet(self):
        """What means nothing in this cycle is noise."""
        return {"mac": 0, "ring": self.rng.randrange(16), "ring_write_en": 0,
                "ring_write": self.rng.getrandbits(4 + 2 * 8 * self.c.n_units)}

    def ring_write(self, place, with_group=False):
        """Both numbers of a word of every bank, whose pivots are nobody's; in the cycle of the last group or a new
        one."""
        numbers = [self.rng.getrandbits(16) for _ in range(self.c.n_units)]
        if not with_group:
            self.steps.append({"write_valid": 0})
        self.steps[-1] |= {"ring_write_en": 1, "ring_write": place | sum(
            number << 4 + 16 * unit for unit, number in enumerate(numbers))}
        for bank, number in zip(self.banks, numbers):
            bank[place] = number

    def macs(self, places):
        """Groups of a MAC: the units get both numbers, pass their words on, and know that it is one."""
        c, half = self.c, self.c.lanes // 2
        for place in places:
            for unit in range(c.n_units):
                at = len(self.steps) + c.read_latency + c.address_latency + unit // half * c.butterfly_latency
                numbers = self.banks[unit][place] & (1 << 2 * c.coefficient_width) - 1
                self.want[at][unit] = numbers | 2 << 2 * c.coefficient_width | 1 << 2 * c.coefficient_width + 4
            self.steps.append({"group": self.rng.randrange(1 << c.row_bits), "pass_fields": MAC_FIELDS, "mac": 1,
                               "ring": place, "write_valid": 0})

    def check(self, drive, context, resets=()):
        steps = [self.quiet() | step for step in self.steps]
        idle = self.c.read_latency + self.c.address_latency + self.c.layers * self.c.butterfly_latency
        seen = drive(CoefficientMemory(self.c), [*steps, *[{"write_valid": 0}] * idle], ("o",), resets)
        bits = self.c.coefficient_bits + 3
        for cycle, units in self.want.items():
            for unit, value in units.items():
                got = seen["o"][cycle] >> bits * unit & (1 << bits) - 1
                assert got == value, f"{context}: unit {unit} in cycle {cycle}: {got:#x} where {value:#x}"


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_macs_and_passes_behind_each_other(drive, field_bits, layers):
    """Groups of a MAC read the ring whatever their number; passes without a cycle between them read as ever."""
    script = RingScript(with_ring(layers), SEED, field_bits)
    script.fill()
    for place in script.rng.sample(range(16), 16):
        script.ring_write(place)
    for _ in range(8):
        script.macs(script.rng.choices(range(16), k=script.rng.choice([1, 2, 30])))
        p = script.random_pass()
        if p.coef_base >= 16 or p.mode is not Mode.BPMM:
            script.groups(p, range(script.rng.choice([1, 5, p.groups])))
    script.check(drive, f"layers {layers}, seed {SEED}")


def test_ring_writes_while_groups_pass(drive, field_bits):
    """A word reaches groups that come after it, in all banks, and disturbs none that reads the other half; what stands
    above the ring is kept, and the setup port writes there as ever."""
    script = RingScript(with_ring(2), SEED, field_bits)
    script.fill()
    for place in range(16):
        script.ring_write(place)
    for first in (0, 8, 0, 8):
        for _ in range(20):
            script.macs([first + script.rng.randrange(8)])
            script.ring_write((first ^ 8) + script.rng.randrange(8), with_group=True)
            unit = script.rng.randrange(script.c.n_units)
            script.write(unit, script.rng.randrange(16, 24), script.rng.getrandbits(18))
            script.write(script.rng.choice([script.c.n_units, SETUP_PROGRAM, SETUP_CONTROL, 0xFF]), first, 0)
            script.write(unit, first, 0, valid=False)
        for place in range(first ^ 8, (first ^ 8) + 8):
            script.ring_write(place)
            script.macs([place])
        script.macs([first ^ 8] * release_delay(script.c))  # the last groups have read before they are written over
    script.groups(Pass(Mode.BPMM, 0, 8, 3, (0, 0), coef_base=16, coef_mask_bits=3), range(8))
    script.macs(range(16))
    script.check(drive, f"seed {SEED}")


@pytest.mark.parametrize("layers", [1, 2])
def test_stated_latency_of_the_ring(drive, field_bits, layers):
    """One group of a MAC between groups of a pass that hides its words."""
    script = RingScript(with_ring(layers), SEED, field_bits)
    script.ring_write(5)
    hidden = Pass(Mode.PASS, 0, 16, 0, (0,) * layers)
    script.groups(hidden, range(16))
    script.macs([5])
    script.groups(hidden, range(16))
    script.check(drive, f"layers {layers}, seed {SEED}")


# --- Picks --------------------------------------------------------------------------------------------------------

PICK_WRITTEN = 2  # cycles from a write to the first read that sees it


def with_picks(layers):
    return CoreConfig.of(engines=4 >> layers, layers=layers, half_words=64, stream_words=4,
                         coefficient_words=16, ring_words=16, memory_bits=8, records=True, sparse=True)


def pick_step(rng, config, place=None, address=None, picks=None):
    """Inputs of a cycle: a read, and with ``address`` a write; noise where there is none."""
    size = config.ring_words
    fields = {"address": rng.randrange(size) if address is None else address,
              "picks": [rng.getrandbits(PICK_BITS) for _ in range(config.lanes)] if picks is None else picks}
    return {"place": rng.randrange(size) if place is None else place, "write": fields, "write_en": address is not None}


def picks_of(config, bits):
    return [bits >> PICK_BITS * lane & (1 << PICK_BITS) - 1 for lane in range(config.lanes)]


@pytest.mark.parametrize("layers", [1, 2])
def test_picks_are_written_and_read_in_every_cycle(drive, layers):
    """Any places; what was written in the two cycles before a read and in its own may be missing."""
    config, seed = with_picks(layers), f"{SEED} {layers}"
    rng, places = random.Random(seed), range(config.ring_words)
    steps = [pick_step(rng, config, address=address) for address in places]
    for _ in range(300):
        recent = [step["write"]["address"] for step in steps[-4:]]  # a read of what has just come is what breaks
        steps.append(pick_step(rng, config, rng.choice([None, *recent]), rng.choice([None, *places])))
    seen = drive(PickMemory(config), [*steps, *[pick_step(rng, config)] * config.ram_latency], ("o",))["o"]
    held, checked = [None] * len(places), 0
    for cycle, step in enumerate(steps):
        written = steps[cycle - PICK_WRITTEN] if cycle >= PICK_WRITTEN else {"write_en": 0}
        if written["write_en"]:
            held[written["write"]["address"]] = written["write"]["picks"]
        late = [other["write"]["address"] for other in steps[max(0, cycle - PICK_WRITTEN + 1):cycle + 1]
                if other["write_en"]]
        if cycle >= config.ring_words + PICK_WRITTEN and step["place"] not in late:
            found = picks_of(config, seen[cycle + config.ram_latency])
            assert found == held[step["place"]], f"place {step['place']}, cycle {cycle}, seed {seed}"
            checked += 1
    assert checked > 200, f"seed {seed}"


@pytest.mark.parametrize("layers", [1, 2])
def test_stated_latency_of_the_picks(drive, layers):
    """The first read that sees a write is PICK_WRITTEN cycles behind it; it shows ram_latency cycles later."""
    config, rng = with_picks(layers), random.Random(SEED)
    old, new = [3, 12, 5, 10][:config.lanes], [12, 3, 10, 5][:config.lanes]
    steps = [pick_step(rng, config, address=9, picks=old), *[pick_step(rng, config, place=0)] * 4,
             pick_step(rng, config, place=0, address=9, picks=new)]
    steps += [pick_step(rng, config, place=0)] * (PICK_WRITTEN - 1)
    steps += [pick_step(rng, config, place=9), *[pick_step(rng, config, place=0)] * (config.ram_latency + 2)]
    at = next(cycle for cycle, step in enumerate(steps) if step["place"] == 9 and not step["write_en"])
    seen = drive(PickMemory(config), steps, ("o",))["o"]
    assert [cycle for cycle, bits in enumerate(seen) if picks_of(config, bits) == new] == [at + config.ram_latency]


def test_reset_keeps_the_picks(drive):
    config, rng = with_picks(2), random.Random(SEED)
    steps = [pick_step(rng, config, address=address) for address in range(config.ring_words)]
    steps += [pick_step(rng, config) for _ in range(6)]
    reads = [pick_step(rng, config, place=place) for place in range(config.ring_words)]
    more = [pick_step(rng, config)] * config.ram_latency
    seen = drive(PickMemory(config), [*steps, *reads, *more], ("o",), (config.ring_words + 3,))["o"]
    for place in range(config.ring_words):
        found = picks_of(config, seen[len(steps) + place + config.ram_latency])
        assert found == steps[place]["write"]["picks"], f"place {place}, seed {SEED}"
