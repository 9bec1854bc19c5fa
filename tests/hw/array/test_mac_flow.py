"""MAC flow: every event of a MAC at its stated cycle behind the issue of its groups, several MACs as close as they may
be; with the columns behind it; and in the flow unit, where passes come before and behind it, also of sparse MACs."""

from dataclasses import replace
import random

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
import numpy as np
import pytest

from support.attention import attention_config

from wingbeat.hw.array.flow import Flow
from wingbeat.hw.array.layouts import mac_control
from wingbeat.hw.array.mac_column import MacColumn, MacColumnParameters
from wingbeat.hw.array.mac_flow import MacFlow
from wingbeat.hw.array.parameters import dot_cycle, mac_capture, mac_column_latency, mac_latency, mac_spacing
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Mac, Mode, Pass, Softmax
from wingbeat.hw.isa.sparse import PICK_BITS
from wingbeat.hw.numeric import unpack_signed
from wingbeat.sim.model.shuffle import bank_of, pass_indices, route, switches_for

SEED = 67
LAYERS = pytest.mark.parametrize("layers", [1, 2, 4])


def config_of(layers):
    return CoreConfig.of(engines=2 if layers == 1 else 1, layers=layers, half_words=64 << layers, coefficient_words=64,
                         stream_words=1 << max(1, layers), ring_words=64, memory_bits=8, records=True)


def random_mac(config, rng, most_groups=150):
    """Any shape; results go to the upper rows, or to any that ``out_base`` leaves free."""
    rows = config.bank_rows
    while True:
        inputs, outputs, pairs = rng.choice([2, 2, 3, 5, 16]), rng.choice([1, 1, 2, 3]), rng.choice([1, 2, 3, 5])
        stride_in, stride_out = (rng.randint((count - 1).bit_length(), 4) for count in (inputs, outputs))
        spread = (pairs - 1 << stride_out) + outputs - 1
        if spread < rows and inputs * outputs * pairs * config.lanes // config.layers <= most_groups:
            base = rng.randrange(rows) & ~((1 << spread.bit_length()) - 1)
            return Mac(inputs, outputs, pairs, stride_in, base, stride_out, rng.randrange(32), last=rng.random() < 0.5)


def to_banks(config, row):
    """Switches behind the columns for the P words of a row of the banks."""
    select = int(bank_of(np.array(row << config.layers), config.layers))
    return switches_for(np.arange(config.lanes) ^ select, config.layers)


def write_bits(config, half, row):
    return 1 | half << 1 | sum(row << config.row_bits * bank for bank in range(config.lanes)) << 2


def read_bits(config, half, rows):
    """As ``write_bits``, of a row for each bank."""
    return 1 | half << 1 | sum(row << config.row_bits * bank for bank, row in enumerate(rows)) << 2


def last_groups(config, mac):
    """For each group of a MAC: whether it ends S outputs of a row pair; and of the P outputs that it ends the (output,
    pair), else None."""
    steps = config.lanes // config.layers
    return [(i == mac.inputs - 1, (output, pair) if i == mac.inputs - 1 and step == steps - 1 else None, step)
            for output in range(mac.outputs) for pair in range(mac.pairs) for step in range(steps)
            for i in range(mac.inputs)]


class Plan:
    """Inputs of the unit, and by name the events that the docstring promises, {cycle: value}."""

    def __init__(self, config, seed, field_bits):
        self.c, self.rng, self.field_bits, self.note = config, random.Random(seed), field_bits, f"seed {seed}"
        self.steps, self.next_start = [], 0
        self.half, self.fields = 0, 0
        self.columns = [{} for _ in range(config.layers)]  # (first, last)
        self.shifts = {}   # {cycle: (column, low bit, bits)} by (cycle, column, low bit)
        self.capture_re, self.capture_im, self.result, self.write = {}, {}, {}, {}
        self.halves, self.done = {}, {}

    def idle(self, cycles):
        for _ in range(cycles):
            self.steps.append({"valid": 0, "start": 0, "step_last": 0, "half": self.half, "fields": self.fields})

    def mac(self, mac, half, pauses=0.0):
        """As early as it may come; between windows, where the ring may be empty, ``pauses``."""
        self.idle(self.next_start - len(self.steps))
        self.next_start = len(self.steps) + mac_spacing(self.c)
        self.half, self.fields = half, self.field_bits(mac)
        groups, is_first = last_groups(self.c, mac), True
        for number, (is_last, complete, step) in enumerate(groups):
            cycle = len(self.steps)
            self.steps.append({"valid": 1, "start": number == 0, "step_last": is_last, "half": half,
                               "fields": self.fields})
            for q in range(self.c.layers):
                self.columns[q][cycle + dot_cycle(self.c, q)] = (int(is_first), int(is_last))
                if is_last:
                    self._shift(mac.shift, q, cycle + dot_cycle(self.c, q))
            is_first = is_last
            if is_last:
                self._capture(cycle, half, step)
            if complete:
                self._complete(mac, half, cycle, complete, number == len(groups) - 1)
                while self.rng.random() < pauses:
                    self.idle(1)

    def _shift(self, shift, q, last):
        """A MacColumn shifts behind its tree, its accumulator and the capture: by the high bits of the shift first, a
        cycle later by the next two, then by the lowest; im a cycle later each."""
        ready = last + mac_column_latency(self.c.lanes) - 5
        for stage, (low, bits) in enumerate(((3, 2), (1, 2), (0, 1))):
            for part in range(2):
                self.shifts[ready + stage + part, q, low] = (bits, shift >> low & (1 << bits) - 1)

    def _capture(self, cycle, half, step):
        at = cycle + mac_capture(self.c)
        self.capture_re[at] = self.capture_im[at + 1] = 1 << step
        self.halves |= {at + 1: half, at + 2: half}  # of the values of re and of im

    def _complete(self, mac, half, cycle, complete, is_end):
        """P outputs of a row pair, behind the issue of their last group."""
        output, pair = complete
        row = mac.out_base | pair << mac.log2_out_stride | output
        at = cycle + mac_latency(self.c)
        self.result[at] = to_banks(self.c, row)
        self.write[at + self.c.layers] = write_bits(self.c, half, row)
        if is_end and mac.last:
            self.done[at + self.c.layers + 2] = 1

    def forget(self, cycle):
        """A reset at the end of ``cycle``: nothing comes later."""
        for events in (*self.columns, self.capture_re, self.capture_im, self.result, self.write, self.halves,
                       self.done, self.shifts):
            for at in [at for at in events if (at[0] if isinstance(at, tuple) else at) > cycle]:
                del events[at]
        self.next_start = 0

    def check(self, drive, resets=()):
        self.idle(mac_spacing(self.c) + 3)
        seen = drive(MacFlow(self.c), self.steps, ("control", "post", "write", "clamped_half", "done"), resets)
        layers, steps = self.c.layers, self.c.lanes // self.c.layers
        for cycle, bits in enumerate(seen["control"]):
            note = f"cycle {cycle}, {layers} layers, {self.note}"
            for q in range(layers):
                column, bits = bits & 0xFF, bits >> 8
                wanted = self.columns[q].get(cycle)
                assert column & 1 == (wanted is not None), f"valid of column {q}, {note}"
                assert wanted is None or (column >> 1 & 1, column >> 2 & 1) == wanted, f"column {q}, {note}"
                for low in (0, 1, 3):
                    width, value = self.shifts.get((cycle, q, low), (0, 0))
                    found = column >> 3 + low & (1 << width) - 1
                    assert found == value, f"shift of column {q} from bit {low} on: {found} where {value}, {note}"
            found = bits & (1 << steps) - 1, bits >> steps & (1 << steps) - 1, bits >> 2 * steps
            wanted = self.capture_re.get(cycle, 0), self.capture_im.get(cycle, 0), int(cycle in self.result)
            assert found == wanted, f"captures and result {found} where {wanted}, {note}"
            assert self.result.get(cycle, seen["post"][cycle]) == seen["post"][cycle], f"post, {note}"
            written = self.write.get(cycle)
            assert seen["write"][cycle] & 1 == (written is not None), f"write, {note}"
            assert written is None or seen["write"][cycle] == written, f"write {written:#x}, {note}"
            assert self.halves.get(cycle, seen["clamped_half"][cycle]) == seen["clamped_half"][cycle], f"half, {note}"
            assert seen["done"][cycle] == self.done.get(cycle, 0), f"done, {note}"


@pytest.mark.parametrize("pauses", [0.0, 0.6])
@LAYERS
def test_macs_behind_each_other(drive, field_bits, layers, pauses):
    """At the least spacing, some longer than that and some shorter; every one has another half, shift and shape."""
    config, seed = config_of(layers), f"{SEED} {layers} {pauses}"
    plan, rng = Plan(config, seed, field_bits), random.Random(seed)
    for number in range(9):
        plan.mac(random_mac(config, rng), number & 1, pauses)
    plan.check(drive)
    gaps = [b - a for a, b in zip(*[[c for c, s in enumerate(plan.steps) if s["start"]][i:] for i in (0, 1)])]
    assert min(gaps) == mac_spacing(config) and max(gaps) > mac_spacing(config), f"{gaps}, {plan.note}"
    assert 0 < len(plan.done) < 9, plan.note


@LAYERS
def test_one_group_behind_the_other_without_a_pause(drive, field_bits, layers):
    """A MAC that is longer than the spacing ends in the cycle before the next one starts: nothing of the one shows in
    the other."""
    config, seed = config_of(layers), f"{SEED} close {layers}"
    plan, rng = Plan(config, seed, field_bits), random.Random(seed)
    steps = config.lanes // config.layers
    pairs = -(-mac_spacing(config) // (2 * steps))
    for number in range(4):
        mac = Mac(2, 1, pairs, 1, 0, number & 1, 31 * (number & 1), last=True)
        plan.mac(replace(mac, out_base=rng.choice([0, 64 - (64 >> number)])) if not mac.log2_out_stride else mac,
                 number & 1)
    starts = [cycle for cycle, step in enumerate(plan.steps) if step["start"]]
    assert all(plan.steps[start - 1]["valid"] for start in starts[1:]), plan.note
    plan.check(drive)


@LAYERS
@pytest.mark.parametrize("behind", [0, 1])
def test_reset_clears_what_is_in_flight(drive, field_bits, layers, behind):
    """At any cycle of a MAC, in the middle of P outputs too; the next one begins with a first group and its first
    output."""
    config, seed = config_of(layers), f"{SEED} reset {layers} {behind}"
    plan, rng, resets = Plan(config, seed, field_bits), random.Random(seed), []
    for cut in (3, 7, dot_cycle(config, 0), mac_capture(config) + 2 + behind, mac_latency(config) + layers + behind):
        begin = len(plan.steps)
        plan.mac(replace(random_mac(config, rng), last=True), rng.getrandbits(1))
        plan.idle(begin + cut + 1 - len(plan.steps))
        del plan.steps[begin + cut + 1:]
        plan.forget(begin + cut)
        resets.append(begin + cut)
    plan.mac(random_mac(config, rng), 1)
    plan.check(drive, resets)


# --- With the columns ---------------------------------------------------------------------------------------------

class Columns(wiring.Component):
    """A MAC flow and the columns that it steers, whose values meet as in an engine: those of column q wait for the last
    one."""

    def __init__(self, config):
        self._config, self._p = config, MacColumnParameters.of(config)
        flow = MacFlow(config).signature.members
        inputs = {name: flow[name] for name in ("valid", "start", "step_last", "half", "fields")}
        super().__init__({**inputs, "dots": In(config.layers * self._p.dot_bits * config.lanes),
                          "o": Out(config.layers * config.width), "capture_re": Out(config.lanes // config.layers),
                          "capture_im": Out(config.lanes // config.layers)})

    def elaborate(self, platform):
        m, c = Module(), self._config
        m.submodules.flow = flow = MacFlow(c)
        m.d.comb += [getattr(flow, name).eq(getattr(self, name)) for name in ("valid", "start", "step_last", "half",
                                                                              "fields")]
        bits = self._p.dot_bits * c.lanes
        for q in range(c.layers):
            m.submodules[f"column{q}"] = column = MacColumn(self._p)
            control = flow.control.columns[q]
            m.d.comb += [column.dots.eq(self.dots[bits * q:bits * (q + 1)]), column.valid.eq(control.valid),
                         column.first.eq(control.first), column.last.eq(control.last), column.shift.eq(control.shift),
                         self.o[c.width * q:c.width * (q + 1)].eq(column.o)]
            if c.partial_words:
                m.d.comb += column.partial.eq(control.partial)
        m.d.comb += [self.capture_re.eq(flow.control.capture_re), self.capture_im.eq(flow.control.capture_im)]
        return m


def run_columns(drive, config, macs, plan):
    """MACs without a pause between them: each output is the sum of its own groups and of what it begins with, at its
    own shift, and the capture sees it where it is a result. Returns how many outputs were captured."""
    p = MacColumnParameters.of(config)
    for mac in macs:
        plan.mac(mac, 0)
    plan.idle(mac_spacing(config) + 3)
    lead = [dot_cycle(config, q) for q in range(config.layers)]
    for step in plan.steps:
        step["dots"] = 0
    limit = 1 << config.width - 1
    wanted, captures = {}, []  # by (cycle, column): the value of re; im is its negative
    for q in range(config.layers):
        kept, sums, running, total = [], [], iter(macs), 0
        for cycle, step in enumerate(plan.steps):
            if not step["valid"]:
                continue
            if step["start"]:
                mac, sums = next(running), []
            re = [plan.rng.randrange(-1 << 22, 1 << 22) for _ in range(config.lanes // 2)]
            word = sum((value & (1 << p.dot_bits) - 1 | (-value & (1 << p.dot_bits) - 1) << p.dot_bits)
                       << 2 * p.dot_bits * unit for unit, value in enumerate(re))
            plan.steps[cycle + lead[q]]["dots"] |= word << q * p.dot_bits * config.lanes
            total += sum(re)
            if not step["step_last"]:
                continue
            sums.append(total + (kept[len(sums)] if mac.merge else 0))
            total = 0
            if not mac.keep:
                at = cycle + lead[q] + mac_column_latency(config.lanes)
                wanted[at, q], wanted[at + 1, q] = ((2 * part + (1 << mac.shift)) >> mac.shift + 1
                                                    for part in (sums[-1], -sums[-1]))
                captures += [cycle + lead[-1] + mac_column_latency(config.lanes)] if q == 0 else []
            elif len(sums) == mac.outputs * mac.pairs * config.lanes // config.layers:
                kept = sums
    seen = drive(Columns(config), plan.steps, ("o", "capture_re", "capture_im"))
    for (at, q), value in wanted.items():
        found = unpack_signed(seen["o"][at] >> config.width * q & (1 << config.width) - 1, config.width)
        assert found == min(max(value, -limit), limit - 1), f"column {q}, cycle {at}, {plan.note}"
    for name, late in (("capture_re", 0), ("capture_im", 1)):
        assert [cycle for cycle, bits in enumerate(seen[name]) if bits] == [at + late for at in captures], plan.note
    return len(captures)


@pytest.mark.parametrize("layers", [1, 2])
def test_every_sum_meets_its_shift(drive, field_bits, layers):
    """Shifts that have nothing in common."""
    config = config_of(layers)
    pairs = -(-mac_spacing(config) // 4)
    macs = [Mac(2, 1, pairs, 1, 0, 0, shift) for shift in (0, 21, 10, 31, 9)]
    assert run_columns(drive, config, macs, Plan(config, f"{SEED} columns {layers}", field_bits)) == 5 * 2 * pairs


@pytest.mark.parametrize("shape", [(2, 1, 1), (2, 1, 2), (3, 2, 1), (6, 1, 1), (40, 1, 1), (2, 2, 8)], ids=str)
@LAYERS
def test_kept_sums(drive, field_bits, layers, shape):
    """In chunks of any lengths, as close to each other as MACs come, the shortest and the longest too; others that keep
    nothing between them, and sums that two MACs begin with."""
    config = config_of(layers).changed(partial_words=64)
    inputs, outputs, pairs = shape
    mac = Mac(inputs, outputs, pairs, 6, 0, 4, 12)
    long = replace(mac, inputs=inputs + 5)
    alone = Mac(3, 1, 3, 2, 0, 0, 14)
    macs = [replace(mac, keep=True), replace(mac, merge=True), alone, replace(long, keep=True), alone,
            replace(mac, merge=True, keep=True), replace(long, merge=True), replace(mac, merge=True), mac]
    steps = config.lanes // config.layers
    count = run_columns(drive, config, macs, Plan(config, f"{SEED} kept {layers} {shape}", field_bits))
    assert count == steps * (4 * outputs * pairs + 2 * 3)


@pytest.mark.parametrize("keep", [False, True])
def test_kept_sums_are_no_results(drive, field_bits, keep):
    """Nothing is written; the block ends when its results would have been."""
    config = config_of(2).changed(partial_words=64)
    bits = field_bits(Mac(2, 1, 2, 1, 0, 0, 9, keep=keep, last=True))
    steps = [{"valid": 1, "start": n == 0, "step_last": n % 2, "half": 1, "fields": bits} for n in range(8)]
    steps += [steps[-1] | {"valid": 0, "start": 0, "step_last": 0}] * (mac_spacing(config) + 3)
    seen = drive(MacFlow(config), steps, ("write", "done"))
    assert sum(bits & 1 for bits in seen["write"]) == (0 if keep else 2)
    assert [cycle for cycle, done in enumerate(seen["done"]) if done] == [7 + mac_latency(config) + config.layers + 2]


@pytest.mark.parametrize("softmax, keep, is_nobodys", [
    (Softmax.NONE, False, False), (Softmax.LOGITS, False, True), (Softmax.VALUES, False, False),
    (Softmax.VALUES, True, True)])
def test_clamps_of_logits_are_no_columns_to_tell(drive, field_bits, softmax, keep, is_nobodys):
    """Only the finisher knows which logits count. MACs of the other kinds before and behind."""
    config = attention_config("one engine")
    own = Mac(2, 1, 2, 1, 0, 0, 9, softmax=softmax, keep=keep)
    other = Mac(2, 1, 2, 1, 0, 0, 9, softmax=Softmax.NONE if is_nobodys else Softmax.LOGITS)
    steps, ends = [], []
    for mac in (other, own, other):
        bits, groups = field_bits(mac), 2 * 2 * config.lanes // config.layers
        for n in range(groups):
            ends += [(len(steps), mac is own)] if n % 2 else []
            steps.append({"valid": 1, "start": n == 0, "step_last": n % 2, "half": 0, "fields": bits})
        steps += [steps[-1] | {"valid": 0, "start": 0, "step_last": 0}] * (2 * mac_spacing(config))
    seen = drive(MacFlow(config), steps, ("control",))
    keeps = mac_control(config)["keeps"].offset
    captured = [(bool(seen["control"][at + mac_capture(config) + late] >> keeps & 1), is_own)
                for at, is_own in ends for late in (2, 3)]  # a cycle behind re and im
    assert all(told == (is_nobodys if is_own else not is_nobodys) for told, is_own in captured), captured


# --- In the flow unit ---------------------------------------------------------------------------------------------

class Flows:
    """Passes and MACs in a flow unit, each as early as the sequencer may send it. Where matrices may be sparse, picks
    come with every group; those of a dense MAC and of a pass are noise."""

    def __init__(self, config, seed, field_bits):
        self.c, self.rng, self.field_bits, self.note = config, random.Random(seed), field_bits, f"seed {seed}"
        self.steps, self.reads, self.writes, self.posts, self.dones = [], {}, {}, {}, []
        self.pres, self.picks = {}, {}
        self.pass_from = self.mac_from = self.half = 0

    def issue(self, step, groups, begin, spacing, **still):
        self.steps += [self.steps[-1] | {"valid": 0, "start": 0, "finish": 0} for _ in range(begin - len(self.steps))]
        for g in range(groups):
            self.steps.append({"valid": 1, "start": g == 0, "finish": step.last and g == groups - 1,
                               "half": self.half, "row": 0, "step_last": 0} | still)
        return begin + spacing

    def run_pass(self, step):
        c, begin = self.c, max(len(self.steps), self.pass_from)
        banks, rows = route(pass_indices(step.digit, step.groups, c.layers), c.layers)
        for g in range(step.groups):
            at = begin + g + c.address_latency
            port = 1 | self.half << 1 | sum(int(row) << c.row_bits * bank for bank, row in enumerate(rows[g])) << 2
            self.reads[at - 1] = self.writes[at + c.pipeline_latency - 1] = port
            self.posts[at + c.pipeline_latency - 1 - c.layers] = self.pres[at + c.ram_latency + 1] = switches_for(
                np.arange(c.lanes) ^ int(banks[g, 0]), c.layers)
        if step.last:
            self.dones.append(begin + step.groups - 1 + c.address_latency + c.pipeline_latency + 1)
        self.pass_from = self.mac_from = self.issue(step, step.groups, begin, c.pass_spacing, mac=0,
                                                    pass_fields=self.field_bits(step), mac_fields=0)

    def run_mac(self, mac):
        c, begin = self.c, max(len(self.steps), self.mac_from)
        groups = last_groups(c, mac)
        self.mac_from = self.issue(mac, len(groups), begin, mac_spacing(c), mac=1, mac_fields=self.field_bits(mac),
                                   pass_fields=int(mac.first) << 89 - 4 | int(mac.last) << 90 - 4)
        for number, (is_last, complete, _) in enumerate(groups):
            cycle, row = begin + number, self.rng.randrange(c.bank_rows)
            at = cycle + c.address_latency
            if mac.log2_group:
                row &= ~((1 << mac.log2_group) - 1 << mac.log2_apart)  # of the member
                picks = [self.rng.randrange(1 << mac.log2_group) for _ in range(c.lanes)]
                self.picks[at - 1] = sum(pick << PICK_BITS * lane for lane, pick in enumerate(picks))
                self.reads[at - 1] = read_bits(c, self.half, [row | pick << mac.log2_apart for pick in picks])
                self.pres[at + c.ram_latency + 1] = switches_for(np.arange(c.lanes), c.layers)
            else:
                self.reads[at - 1] = write_bits(c, self.half, row)
                self.pres[at + c.ram_latency + 1] = to_banks(c, row)
            self.steps[cycle] |= {"row": row, "step_last": is_last}
            if complete:
                output, pair = complete
                row = mac.out_base | pair << mac.log2_out_stride | output
                self.writes[cycle + mac_latency(c) + c.layers] = write_bits(c, self.half, row)
                self.posts[cycle + mac_latency(c)] = to_banks(c, row)
        if mac.last:
            self.dones.append(len(self.steps) - 1 + mac_latency(c) + c.layers + 2)
        self.pass_from = max(self.mac_from, len(self.steps) - 1 + mac_spacing(c))

    def check(self, drive):
        c = self.c
        self.steps += [self.steps[-1] | {"valid": 0, "start": 0, "finish": 0, "step_last": 0}
                       for _ in range(mac_spacing(c) + 8)]
        if c.sparse:
            for cycle, step in enumerate(self.steps):
                step["picks"] = self.picks.get(cycle, self.rng.getrandbits(PICK_BITS * c.lanes))
        seen = drive(Flow(c), self.steps, ("read", "write", "control", "done"))
        for name, wanted in (("read", self.reads), ("write", self.writes)):
            for cycle, port in enumerate(seen[name]):
                note = f"{name} in cycle {cycle}, {self.note}"
                assert port & 1 == (cycle in wanted), note
                assert cycle not in wanted or port == wanted[cycle], f"{note}: {port:#x} where {wanted[cycle]:#x}"
        switches = 3 * (c.layers // 2) + c.layers % 2
        for name, shift, plan in (("pre", 1, self.pres), ("post", 1 + switches, self.posts)):
            for cycle, wanted in plan.items():
                found = seen["control"][cycle] >> shift & (1 << switches) - 1
                assert found == wanted, f"{name} in cycle {cycle}, {self.note}: {found:#b} where {wanted:#b}"
        assert [cycle for cycle, bit in enumerate(seen["done"]) if bit] == self.dones, self.note


@LAYERS
def test_passes_and_macs_in_the_flow_unit(drive, field_bits, layers):
    """Groups of a MAC read one row of all banks, and what leaves the columns with them is not written; its results
    are."""
    config, seed = config_of(layers), f"{SEED} flow {layers}"
    flow, rng = Flows(config, seed, field_bits), random.Random(seed)
    for kind in rng.choices(("pass", "mac"), k=9) + ["pass", "mac", "mac", "pass"]:
        flow.half ^= 1
        if kind == "mac":
            flow.run_mac(replace(random_mac(config, rng, 90), first=True))
        else:
            flow.run_pass(Pass(Mode.BPMM, rng.randrange(config.index_bits // layers), rng.choice([1, 20, 64]), 0,
                               (0,) * layers, first=True, last=rng.random() < 0.5))
    flow.check(drive)


@pytest.mark.parametrize("layers", [1, 2])
def test_sparse_macs_in_the_flow_unit(drive, field_bits, layers):
    """Each bank reads the row that the pick of its lane says, and no word changes its lane. A dense MAC and a pass know
    nothing of picks, as close to a sparse one as they come."""
    config, seed = config_of(layers).changed(sparse=True), f"{SEED} sparse {layers}"
    flow, rng = Flows(config, seed, field_bits), random.Random(seed)
    kinds = ["sparse", "pass", "sparse", "sparse", "dense", "sparse", "dense", "pass", "dense", "dense", "pass"]
    for kind in [*kinds, *kinds[2:6]]:
        flow.half ^= 1
        if kind == "pass":
            flow.run_pass(Pass(Mode.BPMM, rng.randrange(config.index_bits // layers), rng.choice([1, 20]), 0,
                               (0,) * layers, first=True, last=rng.random() < 0.5))
            continue
        mac = replace(random_mac(config, rng, 90), first=True)
        if kind == "sparse":
            log2_group = rng.randint(1, PICK_BITS)
            mac = replace(mac, picks=1, log2_group=log2_group, log2_apart=rng.randint(0, config.row_bits - log2_group))
        flow.run_mac(mac)
    flow.check(drive)
    starts = [cycle for cycle, step in enumerate(flow.steps) if step["start"]]
    gaps = {later - start for start, later in zip(starts, starts[1:])}
    assert {config.pass_spacing, mac_spacing(config)} <= gaps, f"{gaps}, {flow.note}"
