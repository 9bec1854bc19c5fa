"""The array model against a scalar oracle that runs whole programs word by word, and its refusals."""

import random

import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.encoding import encode
from wingbeat.hw.isa.instruction import Halt, Load, Loop, Mode, Pass, Store
from wingbeat.hw.isa.schedule import schedule
from wingbeat.hw.isa.setup import CONTROL_START, SETUP_CONTROL, SETUP_PROGRAM
from wingbeat.hw.isa.walk import Walk
from wingbeat.sim.model.array import ArrayModel, check_overlaps, overtaken
from wingbeat.sim.model.butterfly import Coefficients, pack_coefficients

# --- the oracle: plain integers, one word at a time -------------------------------------------------


def beat_indices(walk, layers):
    """Indices of every beat of a walk: the inner bits count fastest, then the outer ones, lowest bit
    first."""
    counted = [b for b in range(16) if walk.inner >> b & 1] + [b for b in range(16) if walk.outer >> b & 1]
    for t in range(2 ** len(counted)):
        base = sum(2**bit for place, bit in enumerate(counted) if t >> place & 1)
        yield [
            base + sum(2 ** walk.window[j] for j in range(layers) if lane >> j & 1)
            for lane in range(2**layers)
        ]


def stream_order(walk, config):
    """(engine, index) of every word of a block on the streams."""
    j = max(1, config.stream_words // 2**config.layers)
    return [
        (group * j + member, index)
        for beat in beat_indices(walk, config.layers)
        for group in range(config.engines // j)
        for member in range(j)
        for index in beat
    ]


def free_bits(values, config):
    """Redundant sign bits of the worst value, at most S+1: the most halvings of the range that still hold
    all."""
    z = 0
    while z < config.layers + 1 and all(
        -(2 ** (config.width - 2 - z)) <= v < 2 ** (config.width - 2 - z) for v in values
    ):
        z += 1
    return z


def oracle_shifts(p, z, layers):
    """Shift of every column, from the sums that the growths allow, and what the exponent gains."""
    if not p.block_float:
        return list(p.shifts), 0
    shifts, total = [], 0
    for q in range(layers):
        while total + z < p.growth[q]:
            total += 1
        shifts.append(total - sum(shifts))
    return shifts, total


def signed(value, width):
    value %= 2**width
    return value - 2**width if value >= 2 ** (width - 1) else value


def read_coefficients(config, coefficients, p, q, k, g):
    word = int(
        coefficients[q * 2**config.layers // 2 + k][p.coef_base + (g >> p.coef_shift) % 2**p.coef_mask_bits]
    )
    c = config.coefficient_width
    return signed(word, c), signed(word >> c, c), word >> 2 * c & 1, word >> (2 * c + 1) & 1


def oracle_pass(config, coefficients, p, block, scalar_unit):
    """One pass on {(engine, index): [re, im]}; ``block`` is changed in place."""
    s = config.layers
    shifts, exponent = oracle_shifts(p, block["z"], s)
    touched = []
    for engine in range(config.engines):
        for g in range(p.groups):
            low = g % 2 ** (p.digit * s)
            index = [
                g // 2 ** (p.digit * s) * 2 ** (p.digit * s + s) + lane * 2 ** (p.digit * s) + low
                for lane in range(2**s)
            ]
            if p.descending:
                index = [index[int(format(lane, f"0{s}b")[::-1], 2)] for lane in range(2**s)]
            lanes = [block[engine, i] for i in index]
            for q in range(s):
                lower = [a for a in range(2**s) if not a >> q & 1]
                for k, a in enumerate(lower):
                    mode = p.mode.name if p.active >> q & 1 else "PASS"
                    c = (
                        read_coefficients(config, coefficients, p, q, k, g)
                        if mode != "PASS"
                        else (0, 0, 0, 0)
                    )
                    y, flags = scalar_unit(
                        mode, lanes[a], lanes[a + 2**q], c, shifts[q], config.width, config.coefficient_width
                    )
                    lanes[a], lanes[a + 2**q] = y[:2], y[2:]
                    block["saturated"] |= any(flags)
            for i, word in zip(index, lanes):
                block[engine, i] = word
            touched += [value for word in lanes for value in word]
    block["z"] = free_bits(touched, config)
    block["exponent"] += exponent


def oracle_blocks(config, coefficients, load, passes, store, elements, scalar_unit):
    """Results (words, exponent, saturated) of equal blocks, one after the other."""
    order, scale = stream_order(load.walk, config), 2 ** (config.width - config.element_width)
    results = []
    for at in range(0, len(elements), len(order)):
        block = {
            place: [v * scale for v in word] for place, word in zip(order, elements[at : at + len(order)])
        }
        z = free_bits([value for word in block.values() for value in word], config)
        block |= {"z": z, "exponent": 0, "saturated": False}
        for p in passes:
            oracle_pass(config, coefficients, p, block, scalar_unit)
        words = []
        for place in stream_order(store.walk, config):
            rounded = [(2 * v + scale) // (2 * scale) for v in block[place]]
            top = 2 ** (config.element_width - 1) - 1
            block["saturated"] |= any(v > top for v in rounded)
            words.append([min(v, top) for v in rounded])
        results.append((words, block["exponent"], block["saturated"]))
    return results


# --- random configurations and programs -------------------------------------------------------------


def random_config(rng):
    layers = rng.choice([1, 1, 2, 2, 3, 4])
    engines = rng.choice([1, 2, 3, 4, 6]) if layers < 3 else rng.choice([1, 2])
    lanes = 1 << layers
    width = rng.choice([8, 12, 16, 18])
    streams = [d for d in (1, 2, 4, 8, 16) if d <= lanes] + [lanes * j for j in (2, 3, 6) if engines % j == 0]
    return CoreConfig.of(
        engines=engines,
        layers=layers,
        width=width,
        element_width=rng.randint(8, width),
        coefficient_width=rng.choice([8, 16, 17, 18]),
        half_words=256,
        coefficient_words=rng.choice([40, 64]),
        stream_words=rng.choice(streams),
    )


def random_walk(rng, bits, layers):
    sign, start = rng.choice([1, -1]), rng.randrange(layers)
    window = tuple(rng.choice(range((start + sign * j) % layers, bits, layers)) for j in range(layers))
    rest = [b for b in range(bits) if b not in window]
    inner = sum(1 << b for b in rest if rng.random() < 0.5)
    return Walk(window, inner, sum(1 << b for b in rest) - inner)


def random_growth(rng, layers):
    """Steps of 0..2 bits, as columns that pass, add or rotate ask, within the 3 bits of the field."""
    steps = [rng.randint(0, 2) for _ in range(layers)]
    return tuple(min(7, sum(steps[: q + 1])) for q in range(layers))


def random_pass(rng, config, bits, first, last):
    s, largest = config.layers, (1 << config.shift_bits) - 1
    mode = rng.choice(list(Mode))
    block_float = rng.random() < 0.5
    digit = rng.randrange(bits // s)
    # Whole runs of the digits below, so that a shorter pass is one too.
    runs = (1 << (bits - s)) >> (digit * s)
    groups = (rng.randint(1, runs) if rng.random() < 0.3 else runs) << (digit * s)
    mask_bits = rng.randint(0, 5)
    return Pass(
        mode,
        digit,
        groups,
        rng.randrange(1 << s),
        tuple(rng.choice([0, 0, 1, min(2, largest)]) for _ in range(s)),
        coef_base=rng.randint(0, config.coefficient_words - (1 << mask_bits)),
        coef_shift=rng.randint(0, 3),
        coef_mask_bits=mask_bits,
        descending=rng.random() < 0.5,
        block_float=block_float,
        growth=random_growth(rng, s) if block_float else (),
        first=first,
        last=last,
    )


def random_elements(rng, config, count):
    """Small, plain and full-scale blocks, so that every exponent is met."""
    top = 1 << (config.element_width - 1)
    scale = rng.choice([1, 2, 5, top // 8, top, top])
    return [
        [
            rng.choice([-top, top - 1])
            if scale == top and rng.random() < 0.3
            else rng.randint(-scale, scale - 1)
            for _ in range(2)
        ]
        for _ in range(count)
    ]


SEEDS = range(80)


def random_case(seed):
    """Model with its coefficients, load, passes, store, number of blocks and the elements of all blocks."""
    rng = random.Random(seed)
    config = random_config(rng)
    bits = rng.randint(config.layers + (config.layers == 1), min(8, 2 * config.layers + 1))
    model = ArrayModel(config)
    for unit in range(config.n_units):
        for address in range(config.coefficient_words):
            model.write_setup(unit, address, rng.getrandbits(config.coefficient_bits))
    n_passes, blocks = rng.randint(1, 4), rng.randint(1, 3)
    load, store = Load(random_walk(rng, bits, config.layers)), Store(random_walk(rng, bits, config.layers))
    passes = [random_pass(rng, config, bits, i == 0, i == n_passes - 1) for i in range(n_passes)]
    elements = [word for _ in range(blocks) for word in random_elements(rng, config, config.engines << bits)]
    model.load_program(schedule(load, [passes], store, blocks))
    return model, load, passes, store, elements


@pytest.mark.parametrize("seed", SEEDS)
def test_random_programs(oracle, seed):
    """Configurations, walks, passes of all modes, block floating point and gearboxes: words, exponent,
    flag."""
    model, load, passes, store, elements = random_case(seed)
    want = oracle_blocks(model.config, model.coefficients, load, passes, store, elements, oracle)
    got = [(r.words.tolist(), r.exponent, r.saturated) for r in model.run(None, np.array(elements))]
    assert got == want, f"seed {seed}: {model.config}"


def test_random_programs_reach_every_case():
    """The seeds must meet every number of layers, mode, several exponents and both values of the flag."""
    layers, modes, exponents, flags, beats = set(), set(), set(), set(), set()
    for seed in SEEDS:
        model, _, passes, _, elements = random_case(seed)
        config = model.config
        layers.add(config.layers)
        beats |= {"gearbox"} if config.gearbox > 1 else set()
        beats |= {"groups of engines"} if config.beat_groups > 1 and config.engines_per_beat > 1 else set()
        modes |= {p.mode for p in passes if p.active}
        for result in model.run(None, np.array(elements)):
            exponents.add(result.exponent)
            flags.add(result.saturated)
    assert layers == {1, 2, 3, 4} and modes == set(Mode) and flags == {False, True}
    assert exponents >= {0, 1, 2, 3, 4, 5} and beats == {"gearbox", "groups of engines"}


# --- setup, loops and refusals ----------------------------------------------------------------------


@pytest.fixture
def small():
    return ArrayModel(
        CoreConfig.of(layers=2, half_words=64, coefficient_words=16, program_words=32, stream_words=4)
    )


WALK = Walk((0, 1), 0b1100, 0)
COPY = Pass(Mode.PASS, 0, 4, 0, (0, 0), first=True, last=True)
ELEMENTS = np.arange(32).reshape(16, 2)


def test_setup_port(small):
    small.write_setup(3, 5, -1)
    assert small.coefficients[3, 5] == 2**34 - 1 and np.count_nonzero(small.coefficients) == 1
    for address, word in enumerate(encode([Load(WALK), COPY, Store(WALK), Halt()])):
        small.write_setup(SETUP_PROGRAM, address, word)
    small.write_setup(SETUP_CONTROL, 0, CONTROL_START)
    small.write_setup(4, 0, 1)
    (result,) = small.run(None, ELEMENTS)
    assert np.array_equal(result.words, ELEMENTS) and not result.saturated and result.exponent == 0
    with pytest.raises(ValueError, match="^address: 16 is not in 0..15 of setup target 0$"):
        small.write_setup(0, 16, 0)
    with pytest.raises(ValueError, match="^address: 32 is not in 0..31 of setup target 128$"):
        small.write_setup(SETUP_PROGRAM, 32, 0)


def test_overlap_and_loops_do_not_change_results(small):
    """Two loops, the second around other passes; loads ahead of the passes or right before them: same
    blocks."""
    rng = np.random.default_rng(4)
    small.coefficients[:] = rng.integers(0, 1 << 34, small.coefficients.shape)
    first = [Pass(Mode.FFT, 1, 4, 3, (1, 1), coef_mask_bits=2, first=True, last=True)]
    second = [Pass(Mode.BPMM, 0, 4, 3, (1, 1), coef_base=4, first=True, last=True)]
    elements = rng.integers(-(2**15), 2**15, (5 * 16, 2))
    load, store = Load(WALK), Store(WALK)
    ahead = [*schedule(load, [first], store, 3)[:-1], *schedule(load, [second], store, 2)]
    plain = [load, *first, store] * 3 + [load, *second, store] * 2 + [Halt()]
    looped = [load, *first, store, Loop(0, 3), load, *second, store, Loop(4, 2), Halt()]
    results = [
        [(r.words.tolist(), r.saturated) for r in small.run(p, elements)] for p in (ahead, plain, looped)
    ]
    assert len(results[0]) == 5 and results[0] == results[1] == results[2]


def test_clamp_at_the_store():
    """127 + 1/2 fits 16 bits inside and rounds to 128 on the 8-bit stream: clamped and flagged there only."""
    model = ArrayModel(CoreConfig.of(width=16, element_width=8, half_words=4))
    model.coefficients[0, 0] = pack_coefficients(Coefficients(1 << 13, 0, 0, 1), 16)
    step = Pass(Mode.BPMM, 0, 1, 1, (0,), first=True, last=True)
    walk = Walk((0,), 0, 0)
    for b, saturated in ((1, True), (0, False), (-1, False)):
        program = [Load(walk), step, Store(walk), Halt()]
        (result,) = model.run(program, np.array([[127, 0], [b, b]]))
        assert result.words[0, 0] == 127 and result.saturated == saturated, f"b {b}"


def test_stale_words_and_input_stay(small):
    """A pass of two groups leaves the other words alone, and the caller's block too."""
    block = np.arange(128).reshape(1, 64, 2) * 100
    before = block.copy()
    out, _, _ = small.run_passes([Pass(Mode.SCALE, 1, 8, 1, (0, 0))], block)
    assert np.array_equal(block, before)
    assert np.array_equal(out[:, 32:], block[:, 32:]) and not out[:, :32].any()


def test_exponent_counts_and_maximum_is_capped():
    """z beyond S+1 is not seen; the exponent is what all columns shift together; ``shifts`` is
    ignored."""
    model = ArrayModel(CoreConfig.of(layers=2, width=16, half_words=64))
    step = dict(mode=Mode.PASS, digit=0, groups=4, active=0, shifts=(3, 3), block_float=True)
    for value, growth, exponent in (
        (1, (2, 3), 0),
        (1, (3, 5), 2),
        (32767, (0, 0), 0),
        (32767, (1, 3), 3),
        (-32768, (3, 5), 5),
        (8191, (1, 3), 1),
        (-8192, (1, 2), 0),
        (8192, (1, 2), 1),
    ):
        block = np.full((1, 16, 2), value)
        out, got, _ = model.run_passes([Pass(**step, growth=growth)], block)
        assert got == exponent, f"value {value}, growth {growth}"
        assert abs(out * 2.0**got - value).max() < 2.0**got, f"value {value}, growth {growth}"


def test_columns_shift_as_soon_as_their_growth_asks():
    """Full-scale words through two columns that pass, growths (1, 2) and (0, 2): an odd 3 * 2^13 + 1 rounds
    half up in each column that shifts, so 1 + 1 and 0 + 2 give different last bits."""
    model = ArrayModel(CoreConfig.of(layers=2, width=16, half_words=64))
    block = np.full((1, 16, 2), 3 * 2**13 + 1)
    results = {}
    for growth in ((1, 2), (0, 2)):
        step = Pass(Mode.PASS, 0, 4, 0, (0, 0), block_float=True, growth=growth)
        out, exponent, saturated = model.run_passes([step], block)
        assert exponent == 2 and not saturated
        results[growth] = set(out.ravel().tolist())
    assert results == {(1, 2): {3 * 2**11 + 1}, (0, 2): {3 * 2**11}}


PASS_FAULTS = [
    (dict(shifts=(0,)), r"^shifts: \(0,\) are not 2 shifts in 0..3$"),
    (dict(shifts=(0, 4)), r"^shifts: \(0, 4\) are not 2 shifts in 0..3$"),
    (dict(active=4), "^active: 0b100 has columns beyond the 2"),
    (dict(groups=5), "^groups: 5 groups of digit 0 reach index 19; the block ends at 15$"),
    (dict(digit=2), "^groups: 4 groups of digit 2 reach index 51; the block ends at 15$"),
    (
        dict(mode=Mode.FFT, active=1, coef_base=14, coef_mask_bits=2),
        "^coef_base: 14 makes the pass read coefficient 17",
    ),
    (dict(block_float=True), r"^growth: \(\) is not 2 numbers that rise by 0..3$"),
    (dict(block_float=True, growth=(1, 2, 3)), r"^growth: \(1, 2, 3\) is not 2 numbers that rise by 0..3$"),
    (dict(block_float=True, growth=(2, 1)), r"^growth: \(2, 1\) is not 2 numbers"),
    (dict(block_float=True, growth=(4, 4)), r"^growth: \(4, 4\) is not 2 numbers"),
    (dict(block_float=True, growth=(1, 5)), r"^growth: \(1, 5\) is not 2 numbers"),
]


@pytest.mark.parametrize("change, message", PASS_FAULTS)
def test_refused_passes(small, change, message):
    fields = dict(mode=Mode.PASS, digit=0, groups=4, active=0, shifts=(0, 0)) | change
    with pytest.raises(ValueError, match=message):
        small.run_passes([Pass(**fields)], np.zeros((1, 16, 2), dtype=np.int64))


@pytest.mark.parametrize(
    "block, message",
    [
        (np.zeros((2, 16, 2)), r"^block: shape \(2, 16, 2\) is not \(1, words, 2\)$"),
        (np.full((1, 16, 2), 32768), "^block: a value does not fit width = 16 bits$"),
    ],
)
def test_refused_blocks(small, block, message):
    with pytest.raises(ValueError, match=message):
        small.run_passes([COPY], block)


GOOD = [Load(WALK), COPY, Store(WALK), Halt()]
LATER = Pass(Mode.PASS, 0, 4, 0, (0, 0), last=True)


@pytest.mark.parametrize(
    "program, elements, message",
    [
        (GOOD, ELEMENTS[:15], "^stream: 15 words end inside a load of words 0..15$"),
        (GOOD, np.zeros((17, 2)), "^stream: 17 words, the program loads 16$"),
        (GOOD, np.zeros(32), r"^stream: shape \(32,\) is not \(words, 2\)$"),
        (GOOD, ELEMENTS - 32770, "^stream: a value does not fit element_width = 16 bits$"),
        (GOOD[:3], ELEMENTS, "^program: it ends without a halt$"),
        (GOOD[1:], ELEMENTS, "^program: a first pass without a loaded block"),
        ([GOOD[0], *GOOD[2:]], ELEMENTS, "^program: a store without a computed block"),
        ([GOOD[0], LATER, *GOOD[2:]], ELEMENTS, "^first: a pass without a block"),
        ([Load(Walk((0, 1, 2), 8, 0)), *GOOD[1:]], ELEMENTS, r"^window: \(0, 1, 2\) is not 2 index bits$"),
        ([Load(Walk((0, 1), 0b1111100, 0)), *GOOD[1:]], ELEMENTS, "^walk: index bit 6; a half has 6$"),
        ([Load(Walk((0, 1), 0b11000, 0)), *GOOD[1:]], ELEMENTS, "^walk: index bits 0b11011 have a gap"),
        (
            [*GOOD[:2], Store(Walk((0, 1), 0b11100, 0)), Halt()],
            ELEMENTS,
            "^walk: a store of index 31; the block ends at 15$",
        ),
    ],
)
def test_refused_programs(small, program, elements, message):
    with pytest.raises(ValueError, match=message):
        small.run(program, elements)


def test_program_memory_without_halt(small):
    for address in range(32):
        small.write_setup(SETUP_PROGRAM, address, 1)
    with pytest.raises(ValueError, match="^program: the program memory holds no halt$"):
        small.run(None, ELEMENTS)


# --- Overlap ------------------------------------------------------------------------------------------------------

IN_ORDER, ACROSS = Walk((0, 1), 0b001100, 0b110000), Walk((0, 1), 0b110000, 0b001100)


@pytest.mark.parametrize("load, store, lag", [
    (IN_ORDER, IN_ORDER, 0), (ACROSS, ACROSS, 0), (ACROSS, IN_ORDER, 9), (IN_ORDER, ACROSS, 9),
    (IN_ORDER, Walk((0, 1), 0b1100, 0), 0), (Walk((0, 1), 0b1100, 0), IN_ORDER, 12),
    (Walk((0, 1), 0b1000, 0, (2,)), Walk((0, 1), 0b1100, 0), 2),
    (Walk((3, 4), 0b0010, 0b0001, mirror=3), Walk((3, 4), 0b0010, 0b0001, mirror=3), 0)])
def test_the_smallest_lag_with_which_nothing_is_overtaken(load, store, lag):
    assert not overtaken(Load(load, True, lag), store)
    assert not lag or overtaken(Load(load, True, lag - 1), store)


def test_what_is_overtaken_is_named():
    assert overtaken(Load(ACROSS, True, 8), IN_ORDER) \
        == "takes index 48 in step 3, which the STORE reads in step 12; lag = 8"
    assert overtaken(Load(Walk((0, 1), 0b1100, 0), True, 11), IN_ORDER) \
        == "has 4 steps and lag = 11; it may end before the STORE, which has 16"
    assert overtaken(Load(Walk((0, 1), 0b1000, 0, (2,)), True, 1), Walk((0, 1), 0b1100, 0)) \
        == "takes index 12 in step 1, which the STORE reads in step 3; lag = 1"


def test_the_store_two_blocks_before_counts():
    """Blocks take turns in the two halves, and the first of each half follows nothing."""
    bad, good = Load(ACROSS, True, 0), Load(ACROSS)
    stores = [Store(IN_ORDER), Store(ACROSS), Store(IN_ORDER), Store(IN_ORDER)]
    check_overlaps([bad, bad, good, bad], stores)
    for loads, number in (([good, good, bad], 2), ([good, good, good, bad, bad], 4)):
        with pytest.raises(ValueError, match=f"^overlap: LOAD {number} takes index"):
            check_overlaps(loads, stores)
