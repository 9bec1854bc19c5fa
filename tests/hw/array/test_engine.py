"""One engine: load, passes and store on a hand-made schedule of control, against the models of unit and
bank map.
"""

from collections import defaultdict
from dataclasses import dataclass
import random

from amaranth.hdl import Shape, Value
import numpy as np
import pytest

from wingbeat.hw.array.engine import Engine
from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.isa.instruction import Mode
from wingbeat.hw.numeric import largest, smallest
from wingbeat.sim.model.butterfly import Coefficients, butterfly, pack_coefficients
from wingbeat.sim.model.shuffle import pass_indices, reverse_lanes, route, switches_for

pytestmark = pytest.mark.thin(3)

SEED = 17


def switches_of(c, select, reverse):
    """Controls of the shuffles before and behind the columns."""
    lane = np.arange(c.lanes)
    to_lanes = (reverse_lanes(c.layers) if reverse else lane) ^ select
    return switches_for(to_lanes, c.layers), switches_for(np.argsort(to_lanes), c.layers)


@dataclass
class Step:
    """One pass: digit, direction, and mode and shift of every column."""

    digit: int
    descending: bool
    modes: list[Mode]
    shifts: list[int]


class Schedule:
    """Inputs of an engine by cycle, and what its outputs must show. Every field that is not set is noise,
    except for the enables.
    """

    def __init__(self, config, seed):
        self.c, self.rng = config, random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.fields = defaultdict(dict)   # fields[cycle][path] = value
        self.want = defaultdict(dict)     # want[cycle][output] = bit pattern
        self.cycle = 0                    # first cycle in which nothing has been planned yet
        shape = (2, config.half_words, 2)  # half, index, (re, im)
        self.values = np.zeros(shape, dtype=np.int64)

    def set(self, cycle, *path, value):
        self.fields[cycle][path] = value

    def load(self, half, lane_bits):
        """All rows of a half in random order through the load port: words, and one cycle later their rows."""
        c = self.c
        low, high = smallest(c.width), largest(c.width)
        self.values[half] = self.numbers.integers(low, high + 1, (c.half_words, 2))
        beats = pass_indices(0, c.bank_rows, c.layers)
        banks, rows = route(beats, c.layers)
        for number in self.rng.sample(range(c.bank_rows), c.bank_rows):
            words = np.empty((c.lanes, 2), dtype=np.int64)
            words[banks[number]] = self.values[half][beats[number]]
            self.set(self.cycle, "load_en", value=1)
            self.set(self.cycle, "load", value=lane_bits(words, c.width))
            self.set(self.cycle, "halves", half, "from_load", value=1)
            self.set(self.cycle + 1, "halves", half, "w_rows", value=rows[number].tolist())
            self.cycle += 1
        self.cycle += 2

    def store(self, half, lane_bits):
        """All rows of a half at the store port, ram_latency + 1 cycles after their addresses."""
        c = self.c
        beats = pass_indices(0, c.bank_rows, c.layers)
        banks, rows = route(beats, c.layers)
        for number in range(c.bank_rows):
            words = np.empty((c.lanes, 2), dtype=np.int64)
            words[banks[number]] = self.values[half][beats[number]]
            at = self.cycle + number
            self.set(at, "halves", half, "r_rows", value=rows[number].tolist())
            self.set(at, "halves", half, "r_en", value=1)
            self.set(at + 1, "halves", half, "r_en", value=1)
            self.set(at + c.ram_latency, "store_half", value=half)
            self.set(at + c.ram_latency, "store_en", value=1)
            self.want[at + c.ram_latency + 1]["store"] = lane_bits(words, c.width)
        self.cycle += c.bank_rows + c.ram_latency + 1

    def run(self, half, step):
        """All groups of a pass, one per cycle; the next part of the schedule starts after its last write."""
        c = self.c
        index = pass_indices(step.digit, c.bank_rows, c.layers)
        banks, rows = route(index, c.layers)
        end = c.read_latency + c.layers * c.butterfly_latency
        for g in range(c.bank_rows):
            at, select = self.cycle + g, int(banks[g, 0])
            for cycle in (at, at + 1):
                self.set(cycle, "halves", half, "r_en", value=1)
            self.set(at, "halves", half, "r_rows", value=rows[g].tolist())
            self.set(at + c.ram_latency, "control", "half", value=half)
            to_lanes, to_banks = switches_of(c, select, step.descending)
            self.set(at + c.ram_latency + 1, "control", "pre", value=to_lanes)
            self.set(at + end, "control", "post", value=to_banks)
            self.set(at + c.pipeline_latency - 1, "halves", half, "compute_en", value=1)
            self.set(at + c.pipeline_latency - 1, "halves", half, "from_load", value=0)
            self.set(at + c.pipeline_latency, "halves", half, "w_rows", value=rows[g].tolist())
            order = index[g][reverse_lanes(c.layers)] if step.descending else index[g]
            self.values[half][order] = self.columns(at + c.read_latency, step, self.values[half][order])
        self.cycle += c.bank_rows + c.pipeline_latency + 1

    def columns(self, at, step, words):
        """Words (P, 2) that reach column 0 in cycle ``at``, through all columns."""
        c = self.c
        for q, (mode, shift) in enumerate(zip(step.modes, step.shifts)):
            column = at + q * c.butterfly_latency
            self.set(column + c.shift_delay, "control", "shifts", q, value=shift)
            low = [lane for lane in range(c.lanes) if not lane >> q & 1]
            high = [lane | 1 << q for lane in low]
            coefficients = self.coefficients(column, q, mode)
            y1, y2, clamped = butterfly(mode, words[low].T, words[high].T, coefficients, shift, width=c.width,
                                        coefficient_width=c.coefficient_width)
            words = np.empty_like(words)
            words[low], words[high] = y1.T, y2.T
            flag = self.want[column + c.butterfly_latency].setdefault("saturated", {})
            flag[q] = int(clamped.any())
        magnitude = int(np.bitwise_or.reduce((words ^ (words >> 63)).ravel()))
        self.want[at + c.layers * c.butterfly_latency + 1]["magnitude"] = (
            magnitude >> c.width - 1 - c.magnitude_bits
        )
        return words

    def coefficients(self, cycle, q, mode):
        """Random words for the units of column q, on their port in ``cycle``."""
        c, half = self.c, self.c.lanes // 2
        one = 1 << c.coefficient_width - 2
        c0, c1 = self.numbers.integers(-one, one + 1, (2, half))
        zero = np.zeros(half, dtype=np.int64)
        s0, s1 = self.numbers.integers(0, 2, (2, half))
        fields = Coefficients(c0, c1, s0, s1)
        shown = {Mode.BPMM: fields, Mode.FFT: fields._replace(s0=zero, s1=zero),
                 Mode.SCALE: fields._replace(s0=zero + 1, s1=zero),
                 Mode.PASS: Coefficients(zero, zero, zero, zero + 1)}[mode]
        kind = int(mode is Mode.FFT) | int(mode is Mode.SCALE) << 1
        for k, word in enumerate(pack_coefficients(shown, c.coefficient_width).tolist()):
            self.set(cycle, "coefs", q * half + k, value=word | kind << 2 * c.coefficient_width + 2)
        return fields

    def steps(self, dut):
        """Bit patterns of the ports by cycle."""
        names = ("halves", "control", "coefs", "load_en", "load", "store_half", "store_en")
        for cycle in range(self.cycle + 3):
            yield {name: self._bits(name, getattr(dut, name), self.fields[cycle]) for name in names}

    def _bits(self, name, port, fields):
        shape, pattern = port.shape(), self.rng.getrandbits(len(Value.cast(port)))
        if name == "halves":
            for half in range(2):
                for enable in ("compute_en", "from_load"):
                    pattern = put(pattern, shape, (half, enable), 0)
        if name == "load_en":
            pattern = 0
        for path, value in fields.items():
            if path[0] == name:
                pattern = put(pattern, shape, path[1:], value)
        return pattern

    def check(self, seen, context):
        bits = self.c.layers
        for cycle, outputs in self.want.items():
            for name, value in outputs.items():
                got = seen[name][cycle]
                if name == "saturated":
                    value, got = list(value.items()), [(q, got >> q & 1) for q in value]
                assert got == value, f"{context}: {name} in cycle {cycle} of {bits} layers"


def put(pattern, shape, path, value):
    """``pattern`` with the field at ``path`` of a layout replaced by a number or a list of equal fields."""
    offset, width = 0, Shape.cast(shape).width
    for key in path:
        field = shape[key]
        offset, shape, width = offset + field.offset, field.shape, field.width
    if isinstance(value, list):
        value = sum(number << shape[0].width * i for i, number in enumerate(value))
    return pattern & ~((1 << width) - 1 << offset) | value << offset


def planned(layers, seed, lane_bits, passes=4, **changes):
    """Both halves loaded, random passes on either, both halves stored."""
    fields = dict(layers=layers, width=9, element_width=9, coefficient_width=10, half_words=8 << layers,
                  coefficient_words=16, stream_words=1) | changes
    config = CoreConfig.of(**fields)
    plan = Schedule(config, seed)
    for half in (0, 1):
        plan.load(half, lane_bits)
    for number in range(passes):
        step = Step(plan.rng.randrange(config.index_bits // layers), bool(number & 1),
                    [plan.rng.choice(list(Mode)) for _ in range(layers)],
                    [plan.rng.choice((0, 1, 1, 2)) for _ in range(layers)])
        plan.run(plan.rng.randrange(2), step)
    for half in (1, 0):
        plan.store(half, lane_bits)
    return plan


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("seed", [SEED, SEED + 1])
@pytest.mark.parametrize("pipeline", list(Pipeline))
def test_load_compute_store(drive, lane_bits, layers, seed, pipeline):
    """Stated latencies of every port, all modes, both directions; words, magnitudes and flags of every
    group.
    """
    plan = planned(layers, seed, lane_bits, passes=6 if layers < 3 else 3, pipeline=pipeline)
    dut = Engine(plan.c)
    plan.check(drive(dut, plan.steps(dut), ("store", "magnitude", "saturated")), f"{pipeline.value}, seed {seed}")


def test_wide_words(drive, lane_bits):
    plan = planned(2, SEED, lane_bits, width=18, element_width=16, coefficient_width=17)
    dut = Engine(plan.c)
    plan.check(drive(dut, plan.steps(dut), ("store", "magnitude", "saturated")), f"seed {SEED}")


def test_reset_ends_the_writes_and_nothing_else(drive, lane_bits):
    """A reset between two parts changes nothing; one in the cycle that registers a write takes the write
    back.
    """
    plan = planned(2, SEED, lane_bits, passes=0)
    extra = plan.cycle
    plan.set(extra, "halves", 0, "compute_en", value=1)
    plan.set(extra + 1, "halves", 0, "w_rows", value=[0] * plan.c.lanes)
    plan.cycle += 4
    for half in (0, 1):
        plan.store(half, lane_bits)
    dut = Engine(plan.c)
    seen = drive(dut, plan.steps(dut), ("store",), resets=(2 * (plan.c.bank_rows + 2) - 1, extra))
    plan.check(seen, f"seed {SEED}")
