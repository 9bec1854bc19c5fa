"""Instructions: encoding there and back, refusals, walks and the order in which blocks overlap."""

from dataclasses import replace
import random
from itertools import product

import numpy as np
import pytest

from wingbeat.hw.isa.encoding import (FIELDS, INSTRUCTION_WORDS, OPCODE_BITS, PROGRAM_WORDS, decode, encode,
                                      instruction_fields, loop_target, patched)
from wingbeat.hw.isa.instruction import (Destination, Fetch, Halt, Load, Loop, Mac, Mask, MemoryMode, Mode, Opcode,
                                         Pass, Read, Set, Softmax, Store, Sums, Unit, Wait, Write)
from wingbeat.hw.isa.schedule import schedule
from wingbeat.hw.isa.walk import Walk, walk_indices
from wingbeat.sim.model.shuffle import lane_order


def random_walk(rng, layers, bits=16):
    sign, start = rng.choice([1, -1]), rng.randrange(layers)
    window = tuple(rng.choice(range((start + sign * j) % layers, bits, layers)) for j in range(layers))
    inner = outer = 0
    free = set(range(bits)) - set(window)
    at, count = rng.randrange(bits), rng.randrange(4)
    sub = tuple(range(at, at + count)) if free.issuperset(range(at, at + count)) else ()
    mirror = rng.choice([0, rng.choice(sorted(free)) + 1]) if not sub else 0
    for bit in free - set(sub) - {mirror - 1}:
        kind = rng.randrange(3)
        inner |= (kind == 1) << bit
        outer |= (kind == 2) << bit
    return Walk(window, inner, outer, sub[::rng.choice([1, -1])], mirror)


def random_instruction(rng, layers):
    kind = rng.choice([Load, Pass, Mac, Mask, Store, Loop, Halt])
    if kind is Load:
        return Load(random_walk(rng, layers), rng.random() < 0.5, rng.randrange(30), rng.random() < 0.5)
    if kind is Store:
        return Store(random_walk(rng, layers), rng.choice([0, rng.getrandbits(16)]))
    if kind is Mac:
        return Mac(rng.randint(1, 4096), rng.randint(1, 4096), rng.randint(1, 1024), rng.randrange(16),
                   rng.getrandbits(16), rng.randrange(16), rng.randrange(32), rng.random() < 0.5, rng.random() < 0.5,
                   rng.randint(1, 16), rng.randrange(8), rng.randrange(16), rng.randrange(256), rng.random() < 0.5,
                   rng.random() < 0.5, rng.choice(list(Softmax)), rng.random() < 0.5)
    if kind is Mask:
        return Mask(rng.getrandbits(16), rng.randrange(-1 << 16, 1 << 16), rng.random() < 0.5, rng.getrandbits(13),
                    rng.getrandbits(7), rng.getrandbits(16))
    if kind is Loop:
        return Loop(rng.randrange(PROGRAM_WORDS // INSTRUCTION_WORDS), rng.randrange(1 << 24))
    if kind is Halt:
        return Halt()
    flag = lambda: rng.random() < 0.5
    descending, block_float = flag(), flag()
    return Pass(
        rng.choice(list(Mode)),
        rng.randrange(16),
        rng.randint(1, 65536),
        rng.randrange(16),
        tuple(rng.randrange(8) for _ in range(layers)),
        rng.randrange(65536),
        rng.randrange(16),
        rng.randrange(32),
        descending,
        block_float,
        tuple(rng.randrange(8) for _ in range(layers)) if block_float else (),
        rng.randrange(256),
        flag(),
        flag(),
    )


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_there_and_back(layers):
    for seed in range(300):
        rng = random.Random(seed)
        program = [random_instruction(rng, layers) for _ in range(6)]
        words = encode(program)
        assert len(words) == 6 * INSTRUCTION_WORDS and all(0 <= w < 1 << 32 for w in words)
        assert decode(words, layers) == program, f"seed {seed}"


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_every_window_there_and_back(layers):
    """All windows of two digits and a bit."""
    for choice in product(*(range(r, 2 * layers + 1, layers) for r in range(layers))):
        for start, sign in product(range(layers), (1, -1)):
            window = tuple(choice[(start + sign * j) % layers] for j in range(layers))
            assert decode(encode([Store(Walk(window, 0, 0))]), layers) == [Store(Walk(window, 0, 0))]


def test_instructions_fit_their_words():
    for opcode, fields in FIELDS.items():
        assert OPCODE_BITS + sum(width for _, width in fields) <= 32 * INSTRUCTION_WORDS, opcode.name


def test_words_bit_by_bit():
    """The layout is a contract with programs that are already stored."""
    assert encode([Halt()]) == [0, 0, 0]
    assert encode([Loop(5, 7)]) == [4 | 15 << 4 | 7 << 16, 0, 0]
    far = 20_001  # the word of instruction 6,667
    assert encode([Loop(6667, 7)]) == [4 | (far & 0xFFF) << 4 | 7 << 16, (far >> 12) << 8, 0]
    assert loop_target(instruction_fields(encode([Loop(6667, 7)]))[1]) == far
    load = Load(Walk((2, 1), 0b1000, 0b10001), True, 3)
    bits = 1 | 0b1000 << 4 | 0b10001 << 20 | 0b110 << 36 | 0 << 52 | 0 << 54 | 7 << 55 | 1 << 80 | 5 << 81
    assert encode([replace(load, plain=True)])[2] == bits >> 64 | 1 << 31
    assert encode([load]) == [bits & 0xFFFFFFFF, bits >> 32 & 0xFFFFFFFF, bits >> 64]
    step = Pass(Mode.FFT, 3, 9, 1, (1, 2), 5, 6, 7, True, True, (4, 6), 11, True, False)
    bits, at = 2, 4
    for value, width in [
        (2, 2),
        (1, 4),
        (1, 1),
        (3, 4),
        (8, 16),
        (5, 16),
        (6, 4),
        (7, 5),
        (1 | 2 << 3, 12),
        (1, 1),
        (4 | 6 << 3, 12),
        (11, 8),
        (1, 1),
        (0, 1),
    ]:
        bits, at = bits | value << at, at + width
    assert encode([step]) == [bits & 0xFFFFFFFF, bits >> 32 & 0xFFFFFFFF, bits >> 64]
    for opcode, kind in ((5, Read), (8, Sums)):
        read = kind(5, 3, 40, MemoryMode.PAIRS, -2, 7, 9, vector=11)
        bits = opcode | 5 << 4 | 3 << 10 | 0xFFFFFFFE << 13 | 40 << 45 | 2 << 61 | 11 << 64 | 7 << 68 | 9 << 74
        assert encode([read]) == [bits & 0xFFFFFFFF, bits >> 32 & 0xFFFFFFFF, bits >> 64], kind
        by_id = replace(read, by_id=True)
        assert encode([by_id]) == words_of(bits | 1 << 90) and decode(words_of(bits | 1 << 90), 1) == [by_id], kind
        assert decode(words_of(bits), 1)[0].by_id is False and decode(words_of(bits | 1 << 90), 1)[0].by_id is True
    write = Write(5, 3, 40, MemoryMode.SPLIT, 16, 1, 33, vector=11)
    bits = 6 | 5 << 4 | 3 << 10 | 16 << 13 | 40 << 45 | 5 << 61 | 11 << 64 | 1 << 68 | 33 << 69
    assert encode([write]) == [bits & 0xFFFFFFFF, bits >> 32 & 0xFFFFFFFF, bits >> 64]
    bits = 7 | 1 << 4 | 6 << 5 | 12345 << 8
    assert encode([Set(Unit.WRITER, 6, 12345)]) == [bits & 0xFFFFFFFF, bits >> 32, 0]
    assert decode(encode([read, write, Set(Unit.WRITER, 6, 12345)]), 1) == [read, write, Set(Unit.WRITER, 6, 12345)]


def words_of(bits):
    return [bits >> 32 * word & 0xFFFFFFFF for word in range(3)]


def test_words_of_a_ring_bit_by_bit():
    """A MAC ends as a PASS does, and the bits between are zero; the base of a STORE stands behind its walk."""
    bits = (11 | 0xABB << 4 | 0x5C4 << 16 | 0x2E0 << 28 | 9 << 38 | 0xC0DE << 42 | 6 << 58 | 21 << 62 | 2 << 67
            | 11 << 69 | 4 << 73 | 9 << 76 | 0xD5 << 81 | 1 << 89)
    mac = Mac(0xABC, 0x5C5, 0x2E1, 9, 0xC0DE, 6, 21, False, True, 12, 4, 9, 0xD5, first=True)
    assert encode([mac]) == words_of(bits) and decode(words_of(bits), 4) == [mac]
    last = Mac(1, 1, 1, 0, 0, 0, 0, last=True)
    assert encode([last]) == words_of(11 | 1 << 90) and decode(words_of(11 | 1 << 90), 1) == [last]
    assert encode([Mac(4096, 4096, 1024, 15, 0xFFFF, 15, 31, True, True, 16, 7, 15, 255, True, True)]) == words_of(
        11 | (1 << 76) - 1 << 4 | 0x3FF << 81)
    raw = Opcode.MAC, {"last_input": 0xABB, "last_output": 0x5C4, "last_pair": 0x2E0, "log2_in_stride": 9,
                       "out_base": 0xC0DE, "log2_out_stride": 6, "shift": 21, "merge": 0, "keep": 1, "last_pick": 11,
                       "log2_group": 4, "log2_apart": 9, "zero": 0, "gap": 0xD5, "first": 1, "last": 0, "softmax": 0,
                       "fresh": 0}
    assert instruction_fields(words_of(bits)) == raw
    assert patched(mac, zero=1) == words_of(bits | 1 << 80)

    walk = Walk((2, 1), 0b1000, 0b10001)
    plain = 3 | 0b1000 << 4 | 0b10001 << 20 | 0b110 << 36 | 7 << 55
    assert encode([Store(walk)]) == words_of(plain)
    assert encode([Store(walk, 0xBEE0)]) == words_of(plain | 0xBEE0 << 80)
    assert decode(words_of(plain | 0xBEE0 << 80), 2) == [Store(walk, 0xBEE0)]
    assert decode(encode([Store(walk)]), 2) == [Store(walk)]


@pytest.mark.parametrize("softmax, code", [(Softmax.NONE, 0), (Softmax.LOGITS, 1), (Softmax.VALUES, 2)])
def test_words_of_a_softmax_mac_bit_by_bit(softmax, code):
    """What it is stands above all fields that a PASS has too."""
    plain = Mac(0xABC, 0x5C5, 0x2E1, 9, 0xC0DE, 6, 21, gap=0xD5, last=True)
    bits = (11 | 0xABB << 4 | 0x5C4 << 16 | 0x2E0 << 28 | 9 << 38 | 0xC0DE << 42 | 6 << 58 | 21 << 62 | 0xD5 << 81
            | 1 << 90)
    for fresh in (False, True):
        mac, wanted = replace(plain, softmax=softmax, fresh=fresh), words_of(bits | code << 91 | fresh << 93)
        assert encode([mac]) == wanted and decode(wanted, 4) == [mac]
        found, = decode(wanted, 2)
        assert found.softmax is softmax and found.fresh is fresh
        opcode, values = instruction_fields(wanted)
        assert opcode is Opcode.MAC and (values["softmax"], values["fresh"]) == (code, int(fresh))
    assert patched(plain, softmax=3, fresh=1) == words_of(bits | 7 << 91)


@pytest.mark.parametrize("mask, bits", [
    (Mask(), 0), (Mask(key=0xABCD), 0xABCD << 4), (Mask(limit=0xBEEF), 0xBEEF << 20), (Mask(limit=-1), 0x1FFFF << 20),
    (Mask(limit=-65536), 0x10000 << 20), (Mask(limit=65535), 0xFFFF << 20), (Mask(upper=True), 1 << 37),
    (Mask(window=0x1CBA), 0x1CBA << 38), (Mask(length=0x55), 0x55 << 51), (Mask(slope=0xC0DE), 0xC0DE << 58),
    (Mask(0xFFFF, -1, True, 0x1FFF, 0x7F, 0xFFFF), (1 << 70) - 1 << 4)])
@pytest.mark.thin(1)
def test_words_of_a_mask_bit_by_bit(mask, bits):
    wanted = words_of(12 | bits)
    assert encode([mask]) == wanted and decode(wanted, 2) == [mask]
    assert decode(wanted, 1)[0].upper is mask.upper
    opcode, values = instruction_fields(wanted)
    assert opcode is Opcode.MASK and list(values) == ["key", "limit", "upper", "window", "length", "slope"]


@pytest.mark.parametrize("destination, code", [(Destination.SETUP, 1), (Destination.RING, 2), (Destination.PICKS, 3),
                                               (Destination.IDS, 4)])
def test_words_of_a_fetch_bit_by_bit(destination, code):
    fetch = Fetch(5, 3, 40, MemoryMode.COLUMNS, -2, 7, 9, destination=destination, fence=True)
    bits = 9 | 5 << 4 | 3 << 10 | 0xFFFFFFFE << 13 | 40 << 45 | 7 << 68 | 9 << 74 | code << 91 | 1 << 94
    assert encode([fetch]) == words_of(bits) and decode(words_of(bits), 1) == [fetch]
    assert patched(fetch, by_id=1) == words_of(bits | 1 << 90)
    assert encode([Wait()]) == [10, 0, 0] and decode([10, 0, 0], 1) == [Wait()]


GOOD = dict(mode=Mode.PASS, digit=0, groups=1, active=0, shifts=(0,))


@pytest.mark.parametrize(
    "instruction, message",
    [
        (Load(Walk((0,), 0, 0), True, 0x3FFE), "^instruction 1 LOAD: lead: 16384 does not fit 14 bits$"),
        (Store(Walk((0,), 1 << 16, 0)), "^instruction 1 STORE: inner: 65536 does not fit 16 bits$"),
        (Store(Walk((0,), 2, 1 << 17)), "^instruction 1 STORE: outer: 131072 does not fit 16 bits$"),
        (Store(Walk((16,), 0, 0)), "^instruction 1 STORE: window: 65536 does not fit 16 bits$"),
        (Loop(21846, 1), r"^instruction 1 LOOP: target: word 65538; allowed are 0\.\.65535$"),
        (Loop(-1, 1), r"^instruction 1 LOOP: target: word -3; allowed are 0\.\.65535$"),
        (Loop(0, -1), "^instruction 1 LOOP: count: -1 does not fit 24 bits$"),
        (Mask(key=65536), "^instruction 1 MASK: key: 65536 does not fit 16 bits$"),
        (Mask(limit=131072), "^instruction 1 MASK: limit: 131072 does not fit 17 bits$"),
        (Mask(limit=65536), "^instruction 1 MASK: limit: 65536 does not fit 17 bits$"),
        (Mask(limit=-65537), "^instruction 1 MASK: limit: -65537 does not fit 17 bits$"),
        (Mask(window=8192), "^instruction 1 MASK: window: 8192 does not fit 13 bits$"),
        (Mask(length=128), "^instruction 1 MASK: length: 128 does not fit 7 bits$"),
        (Mask(slope=-1), "^instruction 1 MASK: slope: -1 does not fit 16 bits$"),
        (Pass(**GOOD | dict(active=16)), "^instruction 1 PASS: active: 16 does not fit 4 bits$"),
        (Pass(**GOOD | dict(digit=16)), "^instruction 1 PASS: digit: 16 does not fit 4 bits$"),
        (Pass(**GOOD | dict(groups=0)), "^instruction 1 PASS: last_group: -1 does not fit 16 bits$"),
        (Pass(**GOOD | dict(groups=65537)), "^instruction 1 PASS: last_group: 65536 does not fit 16 bits$"),
        (Pass(**GOOD | dict(shifts=(8, 0))), r"shifts: \(8, 0\) do not fit 3 bits each$"),
        (Pass(**GOOD | dict(shifts=(0, -1))), r"shifts: \(0, -1\) do not fit 3 bits each$"),
        (Pass(**GOOD, coef_base=65536), "^instruction 1 PASS: coef_base: 65536 does not fit 16 bits$"),
        (Pass(**GOOD, coef_shift=16), "^instruction 1 PASS: coef_shift: 16 does not fit 4 bits$"),
        (Pass(**GOOD, coef_mask_bits=32), "^instruction 1 PASS: coef_mask_bits: 32 does not fit 5 bits$"),
        (Pass(**GOOD, growth=(8, 0)), r"growth: \(8, 0\) do not fit 3 bits each$"),
        (Pass(**GOOD, growth=(0, -1)), r"growth: \(0, -1\) do not fit 3 bits each$"),
        (Pass(**GOOD, gap=256), "^instruction 1 PASS: gap: 256 does not fit 8 bits$"),
    ],
)
def test_refused_fields(instruction, message):
    with pytest.raises(ValueError, match=message):
        encode([Halt(), instruction])


@pytest.mark.parametrize("changes, message", [
    (dict(inputs=0), "last_input: -1 does not fit 12"), (dict(inputs=4097), "last_input: 4096 does not fit 12"),
    (dict(outputs=0), "last_output: -1 does not fit 12"), (dict(outputs=4097), "last_output: 4096 does not fit 12"),
    (dict(pairs=0), "last_pair: -1 does not fit 10"), (dict(pairs=1025), "last_pair: 1024 does not fit 10"),
    (dict(log2_in_stride=16), "log2_in_stride: 16 does not fit 4"),
    (dict(log2_out_stride=16), "log2_out_stride: 16 does not fit 4"),
    (dict(out_base=65536), "out_base: 65536 does not fit 16"), (dict(shift=32), "shift: 32 does not fit 5"),
    (dict(shift=-1), "shift: -1 does not fit 5"), (dict(gap=256), "gap: 256 does not fit 8")], ids=str)
@pytest.mark.thin(1)
def test_refused_fields_of_a_mac(changes, message):
    mac = Mac(**dict(inputs=2, outputs=1, pairs=1, log2_in_stride=1, out_base=0, log2_out_stride=0, shift=0) | changes)
    with pytest.raises(ValueError, match=f"^instruction 0 MAC: {message} bits$"):
        encode([mac])


@pytest.mark.parametrize("base", [-1, 65536])
def test_refused_bases_of_a_store(base):
    with pytest.raises(ValueError, match=f"^instruction 0 STORE: base: {base} does not fit 16 bits$"):
        encode([Store(Walk((0,), 0, 0), base)])


@pytest.mark.parametrize(
    "window, inner, outer, message",
    [
        ((0, 2), 0, 0, r"^window: index bits \(0, 2\) do not reach 4 different banks$"),
        ((0, 1, 1), 0, 0, "do not reach 8 different banks"),
        ((0, 1, 3, 2), 0, 0, "do not reach 16 different banks"),
        ((0, 1), 2, 0, "^window, sub, inner and outer: an index bit stands in two of them$"),
        ((0, 1), 0, 1, "^window, sub, inner and outer"),
        ((0, 1), 4, 12, "^window, sub, inner and outer"),
    ],
)
def test_refused_walks(window, inner, outer, message):
    with pytest.raises(ValueError, match=message):
        Walk(window, inner, outer)


@pytest.mark.parametrize(
    "sub, mirror, message",
    [
        ((2, 4), 0, r"^sub: \(2, 4\) is not a run of neighbouring bits, up or down$"),
        ((3, 2, 4), 0, r"^sub: \(3, 2, 4\) is not a run of neighbouring bits, up or down$"),
        ((5,), 0, "^window, sub, inner and outer: an index bit stands in two of them$"),
        ((), 6, "^mirror: bit 5 and sub must be free for the pairs$"),
        ((2,), 4, "^mirror: bit 3 and sub must be free for the pairs$"),
    ],
)
def test_refused_fastest_bits(sub, mirror, message):
    with pytest.raises(ValueError, match=message):
        Walk((0, 1), 0b100000, 0, sub, mirror)


def test_sub_counts_fastest_in_its_own_order():
    up, down = Walk((0,), 0b1000, 0, (1, 2)), Walk((0,), 0b1000, 0, (2, 1))
    assert up.beats == down.beats == 8 and up.steps == 2 and up.step_beats == 4
    assert walk_indices(up)[:, 0].tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    assert walk_indices(down)[:, 0].tolist() == [0, 4, 2, 6, 8, 12, 10, 14]


def test_mirror_pairs():
    """Every index once, next to its mirror image; 0 is its own image and stands beside the middle."""
    walk = Walk((3,), 0b11, 0, mirror=3)
    assert walk_indices(walk).tolist() == [[0, 8], [4, 12], [1, 9], [7, 15], [2, 10], [6, 14], [3, 11], [5, 13]]


def test_walk_order():
    """Inner bits count before outer ones, the lowest first; the window gives the lanes."""
    walk = Walk((3, 0), 0b100, 0b10)
    assert walk.beats == 4 and walk.rotation == 1 and not walk.reverse
    assert walk_indices(walk).tolist() == [[0, 8, 1, 9], [4, 12, 5, 13], [2, 10, 3, 11], [6, 14, 7, 15]]
    assert walk_indices(Walk((2, 1, 0), 0, 0)).tolist() == [[0, 4, 2, 6, 1, 5, 3, 7]]
    assert Walk((2, 1, 0), 0, 0).reverse and Walk((2, 1, 0), 0, 0).rotation == 2


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_a_rotation_that_does_not_exist_is_the_straight_order(layers):
    """As in the hardware; it is what a program for more layers may hold."""
    store = Store(Walk(tuple(range(layers)), 0, 0))
    for rotation, reverse in product(range(4), range(2)):
        [found] = decode(patched(store, rotation=rotation, reverse=reverse), layers)
        banks = [sum((lane >> j & 1) << found.walk.window[j] for j in range(layers)) for lane in range(1 << layers)]
        assert banks == lane_order(rotation, bool(reverse), layers).tolist(), (rotation, reverse)
        assert rotation < layers or found == store


@pytest.mark.parametrize("layers, window", [(1, 0), (1, 0b11), (2, 0b101), (2, 0b1), (2, 0b111), (3, 0b1011),
                                            (4, 0b111)])
def test_windows_that_have_no_place_in_the_banks(layers, window):
    with pytest.raises(ValueError) as caught:
        decode(patched(Store(Walk(tuple(range(layers)), 0, 0)), window=window), layers)
    assert str(caught.value) == (f"window: {window:#b}; allowed are {layers} index bits, no two with one remainder "
                                 f"modulo {layers}")


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_overlap_lag(layers):
    """With the bits outside U outermost on both sides, load beat t finds its words read by store beats
    0..t+lag, lag = 2^(|U|-S) - 1 <= P-1; a shorter lag would not do when the windows differ."""
    bits = 2 * layers + 1
    for seed in range(40):
        rng = random.Random(seed)
        load, store = (random_walk(rng, layers, bits).window for _ in range(2))
        union = sum(1 << b for b in set(load) | set(store))
        outer = (1 << bits) - 1 & ~union
        lag = (1 << (union.bit_count() - layers)) - 1
        loaded, stored = (walk_indices(Walk(w, union - sum(1 << b for b in w), outer)) for w in (load, store))
        read_in = np.empty(1 << bits, dtype=int)
        read_in[stored] = np.arange(len(stored))[:, None]
        needed = int((read_in[loaded].max(axis=1) - np.arange(len(loaded))).max())
        assert needed <= lag < 1 << layers, f"seed {seed}: windows {load}, {store}"
        assert needed == lag, f"seed {seed}: windows {load}, {store}: {needed} would do"


@pytest.mark.parametrize("blocks", [1, 2, 3, 7])
def test_schedule(blocks):
    """Each block is loaded, computed and stored once, and its load stands before the passes of the block
    before."""
    walk = Walk((0,), 2, 0)
    load, store, step = Load(walk), Store(walk), Pass(**GOOD, first=True, last=True)
    program, at, rounds, trace = schedule(load, [[step]], store, blocks), 0, 0, []
    while not isinstance(program[at], Halt):
        if isinstance(program[at], Loop):
            rounds += 1
            at = program[at].target if rounds < program[at].count else at + 1
            continue
        trace.append(type(program[at]))
        at += 1
    ahead = [Load] if blocks > 1 else []
    assert trace == [Load, *([*ahead, Pass, Store] * (blocks - 1)), Pass, Store]


def test_opcodes_have_one_bit_pattern_each():
    assert sorted(FIELDS) == sorted(Opcode) and max(Opcode) < 1 << OPCODE_BITS
