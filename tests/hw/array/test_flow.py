"""Flow unit: every address and control field in the cycle that docs and latencies promise, for random
passes.
"""

import random

import numpy as np
import pytest

from wingbeat.hw.array.flow import Flow
from wingbeat.hw.array.parameters import mac_spacing
from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.isa.instruction import Mac, Mode, Pass
from wingbeat.sim.model.shuffle import pass_indices, reverse_lanes, route, switches_for

SEED = 13
OUTPUTS = (
    "group",
    "read",
    "write",
    "control",
    "result_valid",
    "result_half",
    "shift_start",
    "result_start",
    "done",
)


def small(layers, pipeline=Pipeline.DEEP):
    return CoreConfig.of(layers=layers, width=8, element_width=8, half_words=16 << layers, stream_words=1,
                         pipeline=pipeline)


class Plan:
    """Inputs of the flow unit and, for every group, what each output shows in which cycle."""

    def __init__(self, config, seed, field_bits):
        self.c, self.rng, self.field_bits = config, random.Random(seed), field_bits
        self.steps, self.want, self.half = [], [], 0
        self.outs = []             # cycles in which a result leaves column 0
        self.starts = []           # cycles with a start
        self.finishes = []
        self.last_start = -config.pass_spacing

    def random_pass(self):
        c, rng = self.c, self.rng
        return Pass(rng.choice(list(Mode)), rng.randrange(c.index_bits // c.layers), c.bank_rows, 0,
                    tuple(rng.randrange(1 << c.shift_bits) for _ in range(c.layers)), growth=(1,) * c.layers,
                    descending=rng.random() < 0.5, block_float=rng.random() < 0.5)

    def idle(self, cycles):
        """Cycles without a group, in which ``start`` and ``finish`` are meaningless."""
        self.steps += [{"valid": 0, "start": 0, "finish": 0} for _ in range(cycles)]

    def run(self, p, groups, finish):
        """The first ``groups`` groups of a pass, as early as the contract allows."""
        self.idle(max(0, self.last_start + self.c.pass_spacing - len(self.steps)))
        self.last_start = len(self.steps)
        banks, rows = route(pass_indices(p.digit, p.groups, self.c.layers), self.c.layers)
        for g in range(groups):
            end = finish and g == groups - 1
            self.want.append((len(self.steps), p, g, int(banks[g, 0]), rows[g].tolist(), self.half))
            self.starts += [len(self.steps)] * (g == 0)
            self.finishes += [len(self.steps)] * end
            self.steps.append({"valid": 1, "start": g == 0, "finish": end, "half": self.half,
                               "pass_fields": self.field_bits(p)})

    def run_all(self, drive, resets=()):
        c = self.c
        self.idle(c.address_latency + c.pipeline_latency + 3)
        for step in self.steps:
            step["dynamic_shifts"] = self.rng.getrandbits(c.shift_bits * c.layers)
        seen = drive(Flow(c), self.steps, OUTPUTS, resets)
        return seen


def port_bits(half, rows, row_bits):
    return 1 | half << 1 | sum(row << row_bits * bank for bank, row in enumerate(rows)) << 2


def switches_of(c, select, reverse):
    """Controls of the shuffles before and behind the columns."""
    lane = np.arange(c.lanes)
    to_lanes = (reverse_lanes(c.layers) if reverse else lane) ^ select
    return switches_for(to_lanes, c.layers), switches_for(np.argsort(to_lanes), c.layers)


def control_fields(bits, c):
    """half, pre, post and the shifts, unpacked by hand."""
    values, switches = [], 3 * (c.layers // 2) + c.layers % 2
    for width in (1, switches, switches, *[c.shift_bits] * c.layers):
        values.append(bits & (1 << width) - 1)
        bits >>= width
    return values


def check(plan, seen, context):
    c, base = plan.c, plan.c.address_latency
    column = base + c.read_latency
    end = column + c.layers * c.butterfly_latency
    control = [control_fields(bits, c) for bits in seen["control"]]
    for at, p, g, select, rows, half in plan.want:
        note = f"{context}, group {g} of cycle {at}"
        assert seen["group"][at] == g, note
        assert seen["read"][at + base - 1] == port_bits(half, rows, c.row_bits), note
        assert seen["write"][at + base + c.pipeline_latency - 1] == port_bits(half, rows, c.row_bits), note
        assert control[at + base + c.ram_latency][0] == half, note
        to_lanes, to_banks = switches_of(c, select, p.descending)
        assert control[at + base + c.ram_latency + 1][1] == to_lanes, note
        assert control[at + end][2] == to_banks, note
        for q in range(c.layers):
            sample = at + column + q * c.butterfly_latency + c.shift_delay
            start = sample - g  # the shifts of a pass are taken when its first group is there
            dynamic = plan.steps[start - 1]["dynamic_shifts"] >> q * c.shift_bits & (1 << c.shift_bits) - 1
            assert control[sample][3 + q] == (dynamic if p.block_float else p.shifts[q]), (
                f"{note}, column {q}"
            )
            assert seen["result_half"][at + column + (q + 1) * c.butterfly_latency] >> q & 1 == half, note


def check_pulses(plan, seen, context):
    """Valid bits in exactly the cycles in which a group is there, and in no other."""
    c, column = plan.c, plan.c.address_latency + plan.c.read_latency
    end = column + c.layers * c.butterfly_latency
    issued = [at for at, *_ in plan.want]

    def cycles(name, bit=0):
        return [cycle for cycle, bits in enumerate(seen[name]) if bits >> bit & 1]

    assert cycles("read") == [at + c.address_latency - 1 for at in issued], context
    assert cycles("write") == [at + c.address_latency + c.pipeline_latency - 1 for at in issued], context
    assert cycles("result_start") == [at + end for at in plan.starts], context
    assert cycles("done") == [at + c.address_latency + c.pipeline_latency + 1 for at in plan.finishes], context
    for q in range(c.layers):
        out = column + (q + 1) * c.butterfly_latency
        assert cycles("result_valid", q) == [at + out for at in issued], context
        sample = column + q * c.butterfly_latency + c.shift_delay
        assert cycles("shift_start", q) == [at + sample - 1 for at in plan.starts], context


@pytest.mark.parametrize("pipeline", list(Pipeline))
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_random_passes(drive, field_bits, layers, pipeline):
    """Passes as close as pass_spacing allows, with and without their last groups; shifts change in every
    cycle.
    """
    plan = Plan(small(layers, pipeline), SEED, field_bits)
    for _ in range(9):
        finish = plan.rng.random() < 0.5
        plan.run(plan.random_pass(), plan.rng.choice([1, 7, 16, 16]), finish)
        plan.half ^= finish
        plan.idle(plan.rng.choice([0, 0, 0, 50]))
    seen = plan.run_all(drive)
    context = f"layers {layers}, {pipeline.value}, seed {SEED}"
    check(plan, seen, context)
    check_pulses(plan, seen, context)


@pytest.mark.parametrize("reset_at", [6, 20, 35])
def test_reset_clears_what_is_in_flight(drive, field_bits, reset_at):
    """No valid bit of a group from before shows afterwards; a pass that comes later runs as ever."""
    plan = Plan(small(2), SEED, field_bits)
    plan.run(plan.random_pass(), min(16, reset_at // 2), True)
    plan.idle(reset_at + 1 - len(plan.steps))
    before = {name: len(getattr(plan, name)) for name in ("want", "starts", "finishes")}
    plan.last_start = -100
    plan.run(plan.random_pass(), 16, True)
    seen = plan.run_all(drive, resets=(reset_at,))
    for name in ("read", "write", "result_valid", "shift_start", "result_start", "done"):
        seen[name][:reset_at + 1] = [0] * (reset_at + 1)
    for name, count in before.items():
        del getattr(plan, name)[:count]
    context = f"reset in cycle {reset_at}, seed {SEED}"
    check(plan, seen, context)
    check_pulses(plan, seen, context)


@pytest.mark.parametrize("layers", [1, 2])
def test_rows_of_macs_with_picks(drive, field_bits, layers):
    """Every bank of a sparse MAC has its own pick in the row, at its place; a dense one behind it and a pass of which
    nobody knows what stands in those fields look at none."""
    c = CoreConfig.of(engines=2 if layers == 1 else 1, layers=layers, half_words=256 << layers, stream_words=4,
                      coefficient_words=32, ring_words=32, memory_bits=8, records=True, sparse=True)
    rng, steps, want, late = random.Random(f"{SEED} picks {layers}"), [], {}, c.address_latency - 1
    every = [[rng.randrange(16) for _ in range(c.lanes)] for _ in range(1000)]  # the picks of each cycle
    macs = [Mac(4, 1, 1, 4, 0, 0, 0, log2_group=bits, log2_apart=apart) for bits, apart in
            ((1, 0), (4, 0), (0, 2), (4, 4), (2, 7), (0, 0), (3, 3))]
    for number, mac in enumerate([*macs, macs[1]]):
        is_mac = number < len(macs)
        for group in range(6):
            row, cycle = rng.randrange(c.bank_rows), len(steps) + late
            rows = [row | (mac.log2_group > 0) * (pick << mac.log2_apart) % c.bank_rows for pick in every[cycle]]
            # A pass reads the row of its number, in all banks.
            want[cycle] = port_bits(0, rows if is_mac else [group] * c.lanes, c.row_bits)
            steps.append({"valid": 1, "start": group == 0, "mac": is_mac, "mac_fields": field_bits(mac), "row": row,
                          "pass_fields": 0})
        steps += [{"valid": 0, "start": 0}] * mac_spacing(c)
    steps = [step | {"picks": picks} for step, picks in zip(steps, every)]
    seen = drive(Flow(c), steps, ("read",))["read"]
    for cycle, bits in want.items():
        assert seen[cycle] == bits, f"cycle {cycle}, {layers} layers"
