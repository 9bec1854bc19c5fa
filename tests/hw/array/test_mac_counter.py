"""MAC counter against a plain nest of loops: rows, of sparse MACs too, places, ends, words that are there and that may
go, clear, reset."""

from dataclasses import dataclass, replace
import random

import pytest

from wingbeat.hw.array.mac_counter import MacCounter
from wingbeat.hw.array.parameters import release_delay
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Mac, Softmax

SEED = 61
CONDITIONS = 3  # cycles from ``filled``, ``opens`` and ``next_fields`` to the conditions
OUTPUTS = ("row", "place", "step_last", "panel_last", "ends", "released", "is_next_filled", "is_first_filled",
           "is_read")


def config_of(layers, ring_words=32, rows=64, sparse=False, softmax_pairs=0):
    return CoreConfig.of(engines=2 if layers == 1 else 1, layers=layers, half_words=rows << layers, stream_words=1 <<
                         max(1, layers), coefficient_words=ring_words, ring_words=ring_words, memory_bits=8,
                         records=True, sparse=sparse, partial_words=16 if softmax_pairs else 0,
                         softmax_pairs=softmax_pairs)


def panel_of(config, mac):
    """Words of the ring that P outputs take: P / S steps of all inputs."""
    return config.lanes // config.layers * mac.inputs


def random_mac(config, rng, most_groups=400):
    """Any shape whose panel the ring holds, often at its borders."""
    panel, rows = config.ring_words * config.layers // config.lanes, config.bank_rows
    while True:
        inputs = rng.choice([2, 3, panel, rng.randint(2, panel)])
        stride = rng.randint((inputs - 1).bit_length(), config.row_bits)
        pairs = rng.choice([1, min(2, rows >> stride), rows >> stride, rng.randint(1, rows >> stride)])
        mac = Mac(inputs, rng.choice([1, 1, 2, 3, 5]), pairs, stride, 0, 0, 0)
        if inputs <= 1 << stride and panel_of(config, mac) * mac.outputs * pairs <= most_groups:
            return mac


def random_sparse_mac(config, rng, most_groups=400):
    """Any shape whose panel the ring holds and whose rows a half has."""
    panel, rows = config.ring_words * config.layers // config.lanes, config.bank_rows
    while True:
        log2_group, log2_apart = rng.randint(1, 4), rng.choice([0, 1, 2, rng.randint(0, 5)])
        picks = rng.choice([1, 1 << log2_group, rng.randint(1, 1 << log2_group)])
        inputs = rng.choice([2, 3, picks, panel // picks * picks, panel, rng.randint(2, panel)])
        mac = Mac(inputs, rng.choice([1, 1, 2, 3]), 1, 0, 0, 0, 0, picks=picks, log2_group=log2_group,
                  log2_apart=log2_apart)
        whole = 1 << log2_apart + log2_group
        used = row_of(mac, inputs - 1) // whole * whole + whole
        if inputs < 2 or used > rows:
            continue
        least = (used - 1).bit_length()
        stride = rng.choice([least, rng.randint(least, config.row_bits)])
        mac = replace(mac, pairs=rng.choice([1, min(2, rows >> stride), min(3, rows >> stride)]),
                      log2_in_stride=stride)
        if panel_of(config, mac) * mac.outputs * mac.pairs <= most_groups:
            return mac


def random_softmax_mac(config, rng):
    """As random_mac; results, or with VALUES what is read, stand behind the rows without a base."""
    mac = random_mac(config, rng, 250)
    while mac.pairs > config.softmax_pairs:
        mac = random_mac(config, rng, 250)
    used = (mac.pairs - 1 << mac.log2_in_stride) + mac.inputs
    base = rng.choice(range(0, config.bank_rows, 1 << (used - 1).bit_length()))
    return replace(mac, out_base=base, softmax=rng.choice(list(Softmax)), keep=rng.random() < 0.5)


def row_of(mac, g):
    """Row of group g of a row pair, as the docstring of Mac has it; the bits of the member are zero."""
    if not mac.log2_group:
        return g
    q = g // mac.picks
    return q >> mac.log2_apart << mac.log2_apart + mac.log2_group | q % (1 << mac.log2_apart)


@dataclass(frozen=True)
class Group:
    row: int
    pair: int
    word: int          # from the first word of the MAC on
    step_last: bool
    panel_last: bool
    ends: bool         # the group behind it is the last one
    is_last_read: bool  # of its word


def groups_of(config, mac):
    """The groups of a MAC in their order, as the docstring nests them."""
    found, steps = [], config.lanes // config.layers
    for outputs in range(mac.outputs):
        for pair in range(mac.pairs):
            for step in range(steps):
                for i in range(mac.inputs):
                    step_last, is_last_pair = i == mac.inputs - 1, pair == mac.pairs - 1
                    row, word = (pair << mac.log2_in_stride) + row_of(mac, i), (outputs * steps + step) * mac.inputs + i
                    row += mac.out_base if mac.softmax is Softmax.VALUES else 0
                    found.append(Group(row, pair, word, step_last, step_last and is_last_pair and step == steps - 1,
                                       False, is_last_pair))
    found[-2] = replace(found[-2], ends=True)
    return found


class Script:
    """The inputs of a counter in every cycle, and what they mean: no more than the docstring promises is used, so a
    panel begins where ``filled`` has had enough words for it CONDITIONS cycles ago."""

    def __init__(self, config, field_bits, seed, fill=1.0, pauses=0.0):
        self.c, self.field_bits, self.rng = config, field_bits, random.Random(seed)
        self.fill, self.pauses, self.note = fill, pauses, f"{config.layers} layers, seed {seed}"
        self.steps, self.checks, self.history = [], [], []  # history: per cycle (filled, begun, next, current)
        self.filled = self.begun = self.first = 0           # first: the word at place 0 of the next MAC
        self.current, self.following = None, None
        self.read_at, self.wanted = [], 0                   # cycles in which a word is read for the last time
        self.resets = []

    def released(self, cycle):
        """Words that have been free by ``cycle``."""
        late = release_delay(self.c) + 1
        return sum(at <= cycle - late for at in self.read_at)

    def tick(self, group=None, load=None, opens=False, clear=False):
        """One cycle. ``load``: the MAC that is taken; ``group``: (Group, the first word of its MAC)."""
        c, cycle, count = self.c, len(self.steps), 2 * self.c.ring_words
        released = self.released(cycle)
        self.steps.append({
            "next_fields": self.field_bits(self.following) if self.following else self.rng.getrandbits(63),
            "fields": self.field_bits(self.current) if self.current else self.rng.getrandbits(63),
            "load": load is not None, "step": group is not None, "opens": opens, "clear": clear,
            "filled": self.filled % count})
        if opens:
            self.begun += panel_of(c, load or self.current)
        self.history.append((self.filled, self.begun, self.following, self.current))
        self.checks.append((group, released % count, self.filled, released))
        if group and group[0].is_last_read:
            self.read_at.append(cycle)
        if load is not None:
            self.current = load
        # A word that is written counts from the next cycle on.
        if self.filled - released < c.ring_words and self.filled < self.wanted and self.rng.random() < self.fill:
            self.filled += 1

    def may_open(self, mac):
        """Whether the next panel of ``mac``, which is the present or the following one, may begin in this cycle."""
        past = self.history[-CONDITIONS:]
        is_still = len(past) == CONDITIONS and all(mac in each[2:] for each in past)
        begun = {each[1] for each in past}
        return is_still and len(begun) == 1 and past[0][0] - self.begun >= panel_of(self.c, mac)

    def run(self, mac, behind=0, following=None):
        """A MAC, whose ``load`` comes ``behind`` cycles in front of its first group. ``following``: the next one,
        which is loaded together with the last group of this one where its panel is there."""
        if self.current is not mac:
            self.following = mac
            self.wanted += panel_of(self.c, mac) * mac.outputs
            while not self.may_open(mac):
                self.tick()
            self.tick(load=mac, opens=True)
            self.following = None
        for _ in range(behind):
            self.tick()
        if following:
            self.following = following
            self.wanted += panel_of(self.c, following) * following.outputs
        groups = groups_of(self.c, mac)
        for number, group in enumerate(groups):
            while self.rng.random() < self.pauses:
                self.tick()
            is_last, first = number == len(groups) - 1, self.first
            after = following if is_last else mac
            opens = group.panel_last and after is not None and self.may_open(after)
            if is_last:
                self.first += panel_of(self.c, mac) * mac.outputs
            self.tick((group, first), following if is_last and opens else None, opens)
            while group.panel_last and after is not None and not opens:
                opens = self.may_open(after)
                self.tick(load=following if is_last and opens else None, opens=opens)
        if following:
            self.following = None

    def idle(self, cycles):
        for _ in range(cycles):
            self.tick()

    def forget(self):
        """What ``clear`` and a reset do to the counts; the words of the ring are gone."""
        self.filled = self.begun = self.first = self.wanted = 0
        self.read_at.clear()
        self.history.clear()

    def check(self, drive):
        outputs = (*OUTPUTS, "pair") if self.c.softmax_pairs else OUTPUTS
        seen = drive(MacCounter(self.c), self.steps, outputs, self.resets)
        for cycle, (group, released, _, _) in enumerate(self.checks):
            note = f"cycle {cycle}, {self.note}"
            assert seen["released"][cycle] == released, note
            if group is None:
                continue
            each, first = group
            found = [seen[name][cycle] for name in ("row", "place", "step_last", "panel_last", "ends")]
            assert found == [each.row, (first + each.word) % self.c.ring_words, each.step_last, each.panel_last,
                             each.ends], f"{note}: {each}"
            assert not self.c.softmax_pairs or seen["pair"][cycle] == each.pair, f"{note}: {each}"
        self.check_conditions(seen)
        return seen

    def check_conditions(self, seen):
        """Where their inputs have been the same for as long as they take: the two of panels and ``is_read``."""
        found = {name: set() for name in OUTPUTS[-3:]}
        inputs = [(step["filled"], step["next_fields"], step["fields"]) for step in self.steps]
        moves = [step["opens"] or step["load"] or step["clear"] or cycle in self.resets
                 for cycle, step in enumerate(self.steps)]
        begun = 0
        for cycle in range(len(inputs)):
            since = cycle - CONDITIONS
            if since >= 0 and moves[since]:
                begun = self.begun_behind(since, begun)
            if since < 0 or any(moves[since + 1:cycle]):
                continue
            counts = {self.checks[at][2:] for at in range(since, cycle + 1)}
            if len(counts) == 1:
                filled, released = counts.pop()
                found["is_read"].add(filled == released)
                assert seen["is_read"][cycle] == (filled == released), f"is_read, cycle {cycle}, {self.note}"
            there = (self.checks[since][2] - begun) % (2 * self.c.ring_words)
            for name, place in (("is_first_filled", 1), ("is_next_filled", 2)):
                if len({(each[0], each[place]) for each in inputs[since:cycle]}) == 1:
                    want = there >= self.c.lanes // self.c.layers * ((inputs[since][place] & 0xFFF) + 1)
                    found[name].add(want)
                    assert seen[name][cycle] == want, f"{name}, cycle {cycle}, {self.note}"
        self.found = found

    def begun_behind(self, cycle, begun):
        step = self.steps[cycle]
        if step["clear"] or cycle in self.resets:
            return 0
        fields = step["next_fields"] if step["load"] else step["fields"]
        return begun + step["opens"] * self.c.lanes // self.c.layers * ((fields & 0xFFF) + 1)


def run_both(script, rng, first, second):
    """``first`` and, loaded with its last group if at all, ``second``; what has run."""
    script.run(first, rng.choice([0, 0, 1, 5]), rng.choice([None, second]))
    is_loaded = script.current is second
    if is_loaded:
        script.run(second)
    script.idle(rng.choice([0, 3, 50]))
    return [first, second] if is_loaded else [first]


@pytest.mark.parametrize("fill, pauses", [(1.0, 0.0), (0.15, 0.4)])
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_random_shapes(drive, field_bits, layers, fill, pauses):
    """MACs of other shapes behind each other; some are loaded with the last group of the one before, some later."""
    config, rng = config_of(layers), random.Random(f"{SEED} {layers}")
    script = Script(config, field_bits, f"{SEED} {layers} {fill}", fill, pauses)
    for _ in range(7):
        first, second = (random_mac(config, rng) for _ in range(2))
        run_both(script, rng, first, second)
    script.idle(release_delay(config) + 6)
    script.check(drive)
    assert all(values == {False, True} for values in script.found.values()), f"{script.note}: {script.found}"
    assert script.begun > 4 * config.ring_words, script.note


@pytest.mark.parametrize("fill, pauses", [(1.0, 0.0), (0.15, 0.4)])
@pytest.mark.parametrize("layers", [1, 2])
def test_random_sparse_shapes(drive, field_bits, layers, fill, pauses):
    """Sparse MACs behind each other and dense ones between them; some are loaded with the last group of the one
    before, some later."""
    config, rng = config_of(layers, rows=256, sparse=True), random.Random(f"{SEED} sparse {layers} {fill}")
    script, macs = Script(config, field_bits, f"{SEED} sparse {layers} {fill}", fill, pauses), []
    for number in range(8):
        kinds = (random_sparse_mac, random_mac if number & 2 else random_sparse_mac)[::(-1) ** number]
        first, second = (kind(config, rng, 250) for kind in kinds)
        macs += run_both(script, rng, first, second)
    script.idle(release_delay(config) + 6)
    script.check(drive)
    kinds = [mac.log2_group > 0 for mac in macs]
    assert {(True, False), (False, True), (True, True)} <= set(zip(kinds, kinds[1:])), script.note
    assert any(mac.picks > 1 and mac.pairs > 1 for mac in macs), script.note
    assert any(mac.log2_apart and mac.pairs > 1 for mac in macs), script.note


@pytest.mark.parametrize("fill, pauses", [(1.0, 0.0), (0.15, 0.4)])
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_random_macs_of_a_softmax(drive, field_bits, layers, fill, pauses):
    """Of values among logits and others: their rows have a base, those of no other MAC; the number of the row pair."""
    seed = f"{SEED} softmax {layers} {fill}"
    config, rng = config_of(layers, softmax_pairs=8), random.Random(seed)
    script, macs = Script(config, field_bits, seed, fill, pauses), []
    for _ in range(9):
        first, second = (random_softmax_mac(config, rng) for _ in range(2))
        macs += run_both(script, rng, first, second)
    script.idle(release_delay(config) + 6)
    script.check(drive)
    shifted = [mac for mac in macs if mac.out_base]
    assert Softmax.VALUES in {mac.softmax for mac in shifted} and len({mac.softmax for mac in shifted}) > 1, script.note


@pytest.mark.parametrize("softmax", list(Softmax))
def test_rows_of_values_stand_behind_the_base(drive, field_bits, softmax):
    config = config_of(2, softmax_pairs=4)
    script = Script(config, field_bits, f"{SEED} {softmax}")
    script.run(Mac(3, 2, 3, 2, 0x30, 0, 0, softmax=softmax))
    script.idle(release_delay(config) + 6)
    seen = script.check(drive)
    base = 0x30 if softmax is Softmax.VALUES else 0
    issued = [cycle for cycle, step in enumerate(script.steps) if step["step"]]
    assert [seen["row"][cycle] for cycle in issued] == [
        base + row for _ in range(2) for pair in (0, 4, 8) for _ in range(2) for row in (pair, pair + 1, pair + 2)]
    assert [seen["pair"][cycle] for cycle in issued] == [pair for _ in range(2) for pair in range(3) for _ in range(6)]


@pytest.mark.parametrize("layers", [1, 2])
def test_rows_of_a_sparse_mac(drive, field_bits, layers):
    """2 of 4 in groups of every second row; 3 of 8 in groups of neighbours, the last of which has one element; 2 of 2,
    the rows of a dense MAC but for the bit of the member; 4 of 16, the largest groups."""
    config = config_of(layers, rows=256, sparse=True)
    for mac, rows in (
            (Mac(8, 2, 2, 4, 0, 0, 0, picks=2, log2_group=2, log2_apart=1), [0, 0, 1, 1, 8, 8, 9, 9]),
            (Mac(7, 1, 2, 5, 0, 0, 0, picks=3, log2_group=3), [0, 0, 0, 8, 8, 8, 16]),
            (Mac(6, 1, 3, 3, 0, 0, 0, picks=2, log2_group=1), [0, 0, 2, 2, 4, 4]),
            (Mac(13, 1, 2, 7, 0, 0, 0, picks=4, log2_group=4, log2_apart=1),
             [0, 0, 0, 0, 1, 1, 1, 1, 32, 32, 32, 32, 33])):
        script = Script(config, field_bits, f"{SEED} {mac}")
        script.run(mac)
        script.idle(release_delay(config) + 6)
        seen = script.check(drive)
        found = [row for row, step in zip(seen["row"], script.steps) if step["step"]]
        steps = config.lanes // config.layers
        assert found == [(pair << mac.log2_in_stride) + row for _ in range(mac.outputs) for pair in range(mac.pairs)
                         for _ in range(steps) for row in rows], script.note


def test_large_counts(drive, field_bits):
    """As many inputs, row pairs and outputs as need more than eight bits."""
    config = config_of(1, ring_words=1024, rows=1024)
    for mac in (Mac(300, 1, 2, 9, 0, 0, 0), Mac(2, 1, 260, 1, 0, 0, 0), Mac(2, 260, 1, 1, 0, 0, 0)):
        script = Script(config, field_bits, f"{SEED} {mac}")
        script.run(mac)
        script.idle(release_delay(config) + 6)
        seen = script.check(drive)
        words = panel_of(config, mac) * mac.outputs
        assert seen["released"][-1] == words % 2048 and seen["is_read"][-1], script.note


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_a_word_may_go_when_all_columns_have_read_it(drive, field_bits, layers):
    """One MAC of two row pairs: only the groups of the second one give words back, release_delay + 1 cycles later."""
    config = config_of(layers)
    mac = Mac(2, 1, 2, 1, 0, 0, 0)
    script = Script(config, field_bits, SEED)
    script.run(mac)
    script.idle(release_delay(config) + 4)
    seen, panel = script.check(drive), panel_of(config, mac)
    first = next(cycle for cycle, step in enumerate(script.steps) if step["step"])
    rises = [cycle for cycle in range(1, len(script.steps))
             if seen["released"][cycle] != seen["released"][cycle - 1]]
    delay = config.address_latency + config.read_latency + (layers - 1) * config.butterfly_latency + 1
    assert rises == [first + panel + delay + word for word in range(panel)]
    assert seen["is_read"][-1] and not seen["is_read"][rises[-1]]


@pytest.mark.parametrize("spare", [0, 1])
def test_a_word_less_is_not_a_panel(drive, field_bits, spare):
    """The conditions of the first and of the next panel at their border, CONDITIONS cycles after the last word."""
    config, first, second = config_of(2), Mac(5, 2, 3, 3, 0, 0, 0), Mac(4, 1, 1, 2, 0, 0, 0)
    bits = field_bits(first), field_bits(second)
    steps = [{"fields": bits[0], "next_fields": bits[1], "filled": 0, "load": 0, "step": 0, "opens": 0, "clear": 0}]
    steps += [{"filled": count} for count in range(1, 8 + spare)] + [{}] * 5          # 8 words for the second
    steps += [{"filled": count} for count in range(8 + spare, 10 + spare)] + [{}] * 5  # 10 for the first
    seen = drive(MacCounter(config), steps, ("is_first_filled", "is_next_filled"))
    eight = next((at + CONDITIONS for at, step in enumerate(steps) if step.get("filled") == 8), None)
    ten = next((at + CONDITIONS for at, step in enumerate(steps) if step.get("filled") == 10), None)
    assert seen["is_first_filled"][12] == spare and seen["is_next_filled"][-1] == spare
    for name, at in (("is_first_filled", eight), ("is_next_filled", ten)):
        if at is not None:
            assert all(seen[name][at:]) and not any(seen[name][CONDITIONS:at - CONDITIONS + 1]), name


@pytest.mark.parametrize("opens, load", [(1, 1), (1, 0)])
def test_an_opened_panel_is_not_there_any_more(drive, field_bits, opens, load):
    """Of the following MAC with ``load``, else of the present one; as late as stated and no earlier."""
    config, present, following = config_of(2), Mac(3, 2, 1, 2, 0, 0, 0), Mac(5, 1, 1, 3, 0, 0, 0)
    filled = 15 if load else 11  # once, but not twice
    still = {"fields": field_bits(present), "next_fields": field_bits(following), "filled": filled, "clear": 0,
             "step": 0}
    steps = [still | {"opens": 0, "load": 0}] * 6 + [still | {"opens": opens, "load": load}]
    steps += [still | {"opens": 0, "load": 0}] * 8
    seen = drive(MacCounter(config), steps, ("is_first_filled", "is_next_filled"))
    begun = 10 if load else 6
    for name, panel in (("is_first_filled", 10), ("is_next_filled", 6)):
        want = [int(filled >= panel)] * 3 + [int(filled - begun >= panel)] * 6
        assert seen[name][6:] == want, name
    assert 0 in seen["is_first_filled"][9:]


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_clear_in_the_middle(drive, field_bits, layers):
    """In the middle of a MAC, of which no group is on its way: words that nobody has read are gone, and the next MAC
    begins at place 0."""
    config, rng = config_of(layers), random.Random(f"{SEED} clear {layers}")
    script = Script(config, field_bits, f"{SEED} clear {layers}")
    for cut in (1, 4, 9, 30):
        script.run(random_mac(config, rng))
        mac = Mac(3, 2, 2, 2, 0, 0, 0)
        script.following, script.wanted = mac, script.wanted + 2 * panel_of(config, mac) - 1
        while not script.may_open(mac):
            script.tick()
        script.tick(load=mac, opens=True)
        script.following = None
        for group in groups_of(config, mac)[:min(cut, 2 * panel_of(config, mac) - 1)]:
            script.tick((group, script.first))
        script.idle(release_delay(config) + 6)
        assert script.filled != script.released(len(script.steps)), script.note
        script.tick(clear=True)
        script.forget()
    script.run(random_mac(config, rng))
    script.idle(release_delay(config) + 6)
    script.check(drive)


@pytest.mark.parametrize("behind", [0, 1, 3, 20])
def test_reset_forgets_the_ring(drive, field_bits, behind):
    """Words that have been read and are on their way to ``released`` too."""
    config, rng = config_of(2), random.Random(f"{SEED} reset")
    script = Script(config, field_bits, f"{SEED} reset {behind}")
    script.run(random_mac(config, rng), behind=0)
    script.idle(behind)
    script.resets.append(len(script.steps) - 1)
    script.forget()
    script.run(random_mac(config, rng))
    script.idle(release_delay(config) + 6)
    script.check(drive)
