"""The array model against float64: FFT and butterfly matrices with hand-made passes, errors within a stated
bound."""

from dataclasses import replace

import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Load, Mode, Pass, Store
from wingbeat.hw.isa.schedule import schedule
from wingbeat.hw.isa.walk import Walk, walk_indices
from wingbeat.hw.numeric import GUARD_BITS
from wingbeat.sim.model.array import ArrayModel
from wingbeat.sim.model.butterfly import Coefficients, butterfly, pack_coefficients
from wingbeat.sim.reference.linear import butterfly_multiply, fft
from wingbeat.sim.reference.metrics import sqnr_db

pytestmark = pytest.mark.thin(3)

SIZES = [
    (1, 1, 2),
    (1, 3, 3),
    (1, 6, 7),
    (2, 2, 3),
    (2, 5, 6),
    (2, 6, 7),
    (3, 4, 6),
    (3, 6, 7),
    (4, 4, 6),
    (4, 6, 8),
    (4, 8, 8),
]  # layers, n, index bits of a block: whole and partly filled top digits


def config_for(layers, bits, width=18, coefficient_width=17, engines=2):
    return CoreConfig.of(
        engines=engines,
        layers=layers,
        width=width,
        element_width=width,
        half_words=max(1 << bits, 2 << layers),
        coefficient_width=coefficient_width,
        coefficient_words=1024,
        stream_words=1 << layers,
    )


def columns(config, n, digit, descending=False):
    """(column, index bit) of the active columns of a pass."""
    s = config.layers
    lane_bits = [(q, s - 1 - q if descending else q) for q in range(s)]
    return [(q, digit * s + bit) for q, bit in lane_bits if digit * s + bit < n]


def pair_elements(config, digit, mask_bits, q, descending):
    """Index of the A word of unit k for every coefficient address, shape (P/2, addresses); row bits are
    zero."""
    s = config.layers
    unit = np.arange(config.lanes // 2)
    lane = (unit >> q) << (q + 1) | unit & ((1 << q) - 1)
    if descending:
        lane = sum((lane >> j & 1) << (s - 1 - j) for j in range(s))
    address = np.arange(1 << mask_bits)
    low = digit * s
    return lane[:, None] << low | (address >> low) << (low + s) | address & ((1 << low) - 1)


def fft_passes(model, n, bits, **policy):
    """Twiddles of a 2^n-point FFT of bit-reversed words into the banks; the passes that use them."""
    config, passes, base = model.config, [], 0
    scale, half = 1 << (config.coefficient_width - 2), config.lanes // 2
    digits = -(-n // config.layers)
    for digit in range(digits):
        mask_bits = digit * config.layers
        active = columns(config, n, digit)
        for q, stage in active:
            offset = pair_elements(config, digit, mask_bits, q, False) & ((1 << stage) - 1)
            w = np.exp(-2j * np.pi * offset / 2 ** (stage + 1)) * scale
            words = pack_coefficients(
                Coefficients(np.rint(w.real), np.rint(w.imag), 0, 0), config.coefficient_width
            )
            model.coefficients[q * half : (q + 1) * half, base : base + (1 << mask_bits)] = words
        passes.append((active, digit, base, mask_bits))
        base += 1 << mask_bits
    return make_passes(config, Mode.FFT, passes, bits, **policy)


def bpmm_passes(model, n, bits, descending, rng, **policy):
    """Random unit-pivot layers into the banks; the passes, and the twiddle (1, 1, n, 2^(n-1), 2, 2) they
    stand for."""
    config, passes, base = model.config, [], 0
    one, half = 1 << (config.coefficient_width - 2), config.lanes // 2
    twiddle = np.empty((n, 1 << (n - 1), 2, 2))
    digits = range(-(-n // config.layers))
    for digit in reversed(digits) if descending else digits:
        active = columns(config, n, digit, descending)
        mask_bits = max(0, n - len(active))
        for q, stage in active:
            element = pair_elements(config, digit, mask_bits, q, descending) & ((1 << n) - 1)
            pair = (element >> (stage + 1)) << stage | element & ((1 << stage) - 1)
            c, s = rng.integers(-one, one + 1, (2, 1 << (n - 1))), rng.integers(0, 2, (2, 1 << (n - 1)))
            factor = n - 1 - stage if descending else stage
            for row in range(2):
                twiddle[factor, :, row, 0] = np.where(s[row], c[row] / one, 1)
                twiddle[factor, :, row, 1] = np.where(s[row], 1, c[row] / one)
            words = pack_coefficients(Coefficients(*c[:, pair], *s[:, pair]), config.coefficient_width)
            model.coefficients[q * half : (q + 1) * half, base : base + (1 << mask_bits)] = words
        passes.append((active, digit, base, mask_bits))
        base += 1 << mask_bits
    return make_passes(config, Mode.BPMM, passes, bits, descending=descending, **policy), twiddle[None, None]


def growths(config, mode, active):
    """One bit for every active column up to q, and one more once a twiddle off the axes (stage 2 on) has
    turned a modulus into a component."""
    so_far = [[stage for column, stage in active if column <= q] for q in range(config.layers)]
    return tuple(len(s) + (mode is Mode.FFT and any(stage >= 2 for stage in s)) for s in so_far)


def make_passes(config, mode, passes, bits, block_float=False, descending=False):
    """Shift 1 in every active column, or block floating point with the growths of the contract."""
    made = []
    for i, (active, digit, base, mask_bits) in enumerate(passes):
        live = [q for q, _ in active]
        made.append(
            Pass(
                mode,
                digit,
                1 << (bits - config.layers),
                sum(1 << q for q in live),
                tuple(0 if block_float else int(q in live) for q in range(config.layers)),
                base,
                0,
                mask_bits,
                descending=descending,
                block_float=block_float,
                growth=growths(config, mode, active) if block_float else (),
                first=i == 0,
                last=i == len(passes) - 1,
            )
        )
    return made


def round_trip(model, passes, block, load_window):
    """Send ``block`` (E, words, 2) through load, passes and store of a program; returns the block and the
    result."""
    config, bits = model.config, (block.shape[1] - 1).bit_length()
    walks = [
        Walk(w, (1 << bits) - 1 - sum(1 << b for b in w), 0)
        for w in (load_window, tuple(range(config.layers)))
    ]
    order = [walk_indices(walk) for walk in walks]
    shape = (-1, config.beat_groups, config.engines_per_beat, config.lanes, 2)
    stream = block[:, order[0]].swapaxes(0, 1).reshape(shape)
    (result,) = model.run(schedule(Load(walks[0]), [passes], Store(walks[1]), 1), stream.reshape(-1, 2))
    out = np.empty_like(block)
    out[:, order[1]] = result.words.reshape(-1, config.engines, config.lanes, 2).swapaxes(0, 1)
    return out, result


def random_block(rng, config, bits, peak=1.0):
    """Words whose modulus is below ``peak`` of full scale, (E, 2^bits, 2)."""
    radius = peak * (2 ** (config.width - 1) - 1) * np.sqrt(rng.random((config.engines, 1 << bits)))
    phase = rng.random((config.engines, 1 << bits)) * 2 * np.pi
    return np.stack([radius * np.cos(phase), radius * np.sin(phase)], -1).astype(np.int64)


@pytest.mark.parametrize("width, coefficient_width", [(18, 17), (16, 16)])
@pytest.mark.parametrize("layers, n, bits", SIZES)
def test_fft_within_its_error_bound(layers, n, bits, width, coefficient_width):
    """Shift 1 per layer, modulus below 2^(W-1). A layer adds a modulus of at most sqrt(2) (1/2 + 2 cuts / 2)
    for rounding and 2^(W-C) for a coefficient off by half a last bit in re and im; half of the sum of two
    errors of the layer before is one of them. So n layers stay within n times that, plus 1 % for twiddles
    rounded up."""
    seed = 100 * layers + n
    rng = np.random.default_rng(seed)
    config = config_for(layers, bits, width, coefficient_width)
    model = ArrayModel(config)
    block = random_block(rng, config, bits, 0.999)
    out, result = round_trip(
        model, fft_passes(model, n, bits), block, tuple(reversed(range(bits - layers, bits)))
    )
    reverse = [int(format(i, f"0{n}b")[::-1], 2) for i in range(1 << n)]
    rows = (block[..., 0] + 1j * block[..., 1]).reshape(config.engines, -1, 1 << n)[..., reverse]
    got = (out[..., 0] + 1j * out[..., 1]).reshape(rows.shape)
    bound = 1.01 * n * (2**0.5 * (0.5 + 2.0**-GUARD_BITS) + 2.0 ** (width - coefficient_width))
    error = np.abs(got - fft(rows) / (1 << n)).max()
    assert error <= bound and not result.saturated, f"seed {seed}: error {error}, bound {bound}"


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("layers, n, bits", SIZES)
def test_butterfly_matrix_within_its_error_bound(layers, n, bits, descending):
    """Shift 1 per layer, exact coefficients, |c| <= 1: a layer adds 1/2 for rounding and half a cut, and half
    the sum of two errors of the layer before is at most one of them. Both stride directions; re and im are
    two rows."""
    seed = 1000 + 100 * layers + n
    rng = np.random.default_rng(seed)
    config = config_for(layers, bits)
    model = ArrayModel(config)
    passes, twiddle = bpmm_passes(model, n, bits, descending, rng)
    block = random_block(rng, config, bits, 0.999)
    out, result = round_trip(model, passes, block, tuple(range(layers)))
    for part in range(2):
        rows = block[..., part].reshape(config.engines, -1, 1 << n)
        want = butterfly_multiply(twiddle, rows, not descending) / 2**n
        error = np.abs(out[..., part].reshape(rows.shape) - want).max()
        bound = n * (0.5 + 2.0**-GUARD_BITS / 2)
        assert error <= bound, f"seed {seed}: error {error}, bound {bound}"
    assert not result.saturated, f"seed {seed}"


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("level, decibels", [(1.0, 70), (2.0**-5, 70), (2.0**-9, 48)])
def test_block_floating_point_keeps_accuracy(layers, level, decibels):
    """The value is the integer times 2^exponent at any level of the input; the exponent is not more than
    growth asks. No pass shifts the lowest level, so rounding noise 1/12 enters each of six layers: of power
    128^2 per part and a growth of 4/3 per butterfly layer (|c| uniform), 10 log10(128^2 (4/3)^6 / sum of
    (4/3)^k / 12) = 49.0 dB."""
    seed, n, bits = 55 + layers, 6, 7 if layers < 3 else 6
    rng = np.random.default_rng(seed)
    config = config_for(layers, bits)
    for mode in (Mode.FFT, Mode.BPMM):
        model = ArrayModel(config)
        block = random_block(rng, config, bits, 0.999 * level)
        if mode is Mode.FFT:
            passes = fft_passes(model, n, bits, block_float=True)
        else:
            passes, twiddle = bpmm_passes(model, n, bits, False, rng, block_float=True)
        out, exponent, _ = model.run_passes(passes, block)
        x = (block[..., 0] + 1j * block[..., 1]).reshape(config.engines, -1, 1 << n)
        if mode is Mode.FFT:
            want = fft(x[..., [int(format(i, f"0{n}b")[::-1], 2) for i in range(1 << n)]])
        else:
            want = butterfly_multiply(twiddle, x)
        got = (out[..., 0] + 1j * out[..., 1]).reshape(want.shape) * 2.0**exponent
        quality = sqnr_db(want, got)
        assert quality > decibels, f"seed {seed}: {mode.name} {quality} dB"
        if level < 1:
            assert exponent <= n + 2 + np.log2(level) + 1, f"seed {seed}: {mode.name} exponent {exponent}"


# --- saturation under block floating point ------------------------------------------------------------


@pytest.fixture
def overshoot(monkeypatch):
    """Largest distance by which any clamp changed a value, and how many values were clamped, as [distance,
    count]."""
    from wingbeat.sim.model import butterfly as module

    seen, original = [0, 0], module.saturate

    def recording(value, width):
        clamped, mask = original(value, width)
        seen[0], seen[1] = max(seen[0], int(np.abs(value - clamped).max())), seen[1] + int(mask.sum())
        return clamped, mask

    monkeypatch.setattr(module, "saturate", recording)
    return seen


def adversarial_blocks(rng, config, n, bits):
    """Inputs that are hard for the growth: full-scale corners, -2^(W-1) among them, constants, tones turned
    to the corners, Walsh rows, one-hot, heavy tails and levels next to a power of two."""
    top = (1 << (config.width - 1)) - 1
    shape = (config.engines, 1 << bits, 2)
    yield from (rng.choice([-top - 1, top], shape), np.full(shape, -top - 1))
    corner = rng.choice([-top, top], shape)
    yield from (corner, np.full(shape, top), np.full(shape, -top), rng.integers(-top, top + 1, shape))
    index = np.arange(1 << bits)
    for k in (1, 3, (1 << n) // 4 or 1, (1 << n) - 1):
        reverse = sum((index >> j & 1) << (n - 1 - j) for j in range(n))
        wave = np.exp(2j * np.pi * (k * reverse / 2**n + 0.125))
        yield np.broadcast_to(np.stack([wave.real, wave.imag], -1) * top, shape).astype(np.int64)
        yield np.broadcast_to(np.where(np.stack([wave.real, wave.imag], -1) < 0, -top, top), shape)
        parity = np.array([int(i & k).bit_count() & 1 for i in index])
        yield np.broadcast_to((top * (1 - 2 * parity))[:, None], shape)
    one_hot = np.zeros(shape, dtype=np.int64)
    one_hot[:, rng.integers(1 << bits)] = -top
    yield one_hot
    yield np.clip(rng.standard_cauchy(shape) * top / 50, -top, top).astype(np.int64)
    for level in range(1, min(config.layers + 3, config.width - 1)):
        yield rng.choice([-1, 1], shape) * ((1 << (config.width - 1 - level)) - rng.integers(0, 2, shape))


def hard_coefficients(rng, kind, one, shape):
    """Unit-pivot coefficients, |c| <= 1: random, next to 1, random signs, or A + B and A - B in every
    unit."""
    if kind == "sum and difference":
        return Coefficients(np.full(shape, one), np.full(shape, -one), 0, 0)
    c = {
        "random": rng.integers(-one, one + 1, (2, *shape)),
        "near one": one - rng.integers(0, 2, (2, *shape)),
        "signs": rng.choice([-one, one], (2, *shape)),
    }[kind]
    return Coefficients(*c, *rng.integers(0, 2, (2, *shape)))


@pytest.mark.parametrize("mode", [Mode.BPMM, Mode.FFT])
@pytest.mark.parametrize("layers, n, bits", [s for s in SIZES if s[1] > 2])
def test_block_floating_point_never_clamps_more_than_the_rounding_case(overshoot, mode, layers, n, bits):
    """|c| <= 1 and unit twiddles: no clamp moves a value by more than one last bit, at W = 8 and 18."""
    for width, coefficient_width in ((8, 8), (18, 17), (12, 18)):
        seed = 7 * layers + n
        rng = np.random.default_rng(seed)
        config = config_for(layers, bits, width, coefficient_width, engines=1)
        one = 1 << (coefficient_width - 2)
        for kind in ("random", "near one", "signs", "sum and difference"):
            model = ArrayModel(config)
            if mode is Mode.FFT:
                passes = fft_passes(model, n, bits, block_float=True)
            else:
                passes, _ = bpmm_passes(model, n, bits, False, rng, block_float=True)
                fields = hard_coefficients(rng, kind, one, model.coefficients.shape)
                model.coefficients[:] = pack_coefficients(fields, coefficient_width)
            for number, block in enumerate(adversarial_blocks(rng, config, n, bits)):
                model.run_passes(passes, block)
                assert overshoot[0] <= 1, f"seed {seed}: W {width}, {kind}, input {number}: by {overshoot[0]}"


@pytest.mark.parametrize("mode", [Mode.BPMM, Mode.FFT])
@pytest.mark.parametrize("shift", [0, 1])
def test_bound_of_a_column_that_does_not_rotate(mode, shift):
    """Every pair |x| <= 2^k with every unit-pivot coefficient |c| <= 1, or with 1, -1, j, -j: the outputs
    stay within 2^(k+1-shift) and reach it. Rounding crosses no power of two, so only 2^(W-1) itself is ever
    clamped."""
    edge, one = 1 << 3, 1 << 6
    values, coefficients = np.arange(-edge, edge + 1), np.arange(-one, one + 1)
    if mode is Mode.BPMM:
        a, b, c, s = (x.ravel() for x in np.meshgrid(values, values, coefficients, [0, 1]))
        words, units = (np.stack([a, b]), np.stack([b, -a])), Coefficients(c, -c, s, s)
    else:
        re, im, other, turn = (x.ravel() for x in np.meshgrid(values, values, values, range(4)))
        words = np.stack([re, im]), np.stack([other, re])
        units = Coefficients(*one * np.array([[1, 0, -1, 0], [0, 1, 0, -1]])[:, turn], 0, 0)
    y1, y2, clamped = butterfly(mode, *words, units, shift, width=12, coefficient_width=8)
    assert max(np.abs(y1).max(), np.abs(y2).max()) == edge << 1 >> shift and not clamped.any()


def test_the_rounding_case_exists(overshoot):
    """127 + 128 rounds up to 128 behind a shift by 1: one clamp, by one. It takes a value of -2^(W-1): with
    one more nothing is clamped."""
    for low, clamped in ((-127, False), (-128, True)):
        model = ArrayModel(config_for(3, 6, 8, 8, engines=1))
        model.coefficients[:] = pack_coefficients(Coefficients(64, -64, 0, 0), 8)
        step = Pass(Mode.BPMM, 0, 8, 7, (0, 0, 0), block_float=True, growth=(1, 2, 3), first=True)
        block = np.full((1, 64, 2), 127)
        block[:, 1::2] = low
        out, exponent, saturated = model.run_passes([step], block)
        assert saturated == clamped and overshoot[0] == clamped and exponent == 3, f"low {low}"


def less_growth(p, less, column):
    """The pass with ``less`` bits of growth from ``column`` on."""
    return replace(p, growth=tuple(g - less * (q >= column) for q, g in enumerate(p.growth)))


@pytest.mark.parametrize("layers, column", [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)])
@pytest.mark.parametrize("less, clamps", [(0, False), (1, True)])
def test_growth_of_butterfly_matrices_is_needed(overshoot, layers, column, less, clamps):
    """A + B and A - B in every unit: one bit less of growth in any column cuts more than the rounding
    case."""
    model = ArrayModel(config_for(layers, 6, 8, 8, engines=1))
    seed = 0
    rng = np.random.default_rng(seed)
    passes, _ = bpmm_passes(model, 6, 6, False, rng, block_float=True)
    model.coefficients[:] = pack_coefficients(Coefficients(64, -64, 0, 0), 8)
    for block in adversarial_blocks(rng, model.config, 6, 6):
        model.run_passes([less_growth(p, less, column) for p in passes], block)
    assert (overshoot[0] > 1) == clamps, f"seed {seed}: by {overshoot[0]}"


def prefix_matrix(layers, digit, column, low):
    """Columns 0..column of an FFT pass over the lanes of a group; ``low`` are its index bits below the
    digit."""
    matrix = np.eye(1 << layers, dtype=complex)
    for q in range(column + 1):
        stage = digit * layers + q
        for a in (lane for lane in range(1 << layers) if not lane >> q & 1):
            offset = (a << digit * layers | low) & ((1 << stage) - 1)
            straight, turned = (
                matrix[a].copy(),
                np.exp(-2j * np.pi * offset / 2 ** (stage + 1)) * matrix[a | 1 << q],
            )
            matrix[a], matrix[a | 1 << q] = straight + turned, straight - turned
    return matrix


FFT_COLUMNS = [(s, d, q) for s in (1, 2, 3, 4) for d in range(8 // s) for q in range(s)]


@pytest.mark.parametrize("layers, digit, column", FFT_COLUMNS)
def test_growth_of_the_fft_is_enough_and_needed(overshoot, layers, digit, column):
    """The growth is the least that covers the largest component columns 0..q can make of components within 1,
    the sum of |re| + |im| over a row. Full-scale words with the signs of that row: one bit less clamps."""
    bits = layers * (digit + 1)
    model = ArrayModel(config_for(layers, bits, engines=1))
    step = replace(fft_passes(model, bits, bits, block_float=True)[digit], first=True)
    rows = np.concatenate([prefix_matrix(layers, digit, column, low) for low in range(1 << layers * digit)])
    norms = (np.abs(rows.real) + np.abs(rows.imag)).sum(axis=1)
    assert step.growth[column] == np.ceil(np.log2(norms.max()) - 1e-9), f"largest sum {norms.max()}"
    worst = int(norms.argmax())
    lanes = slice(worst >> layers, None, 1 << layers * digit)
    top = (1 << 17) - 1
    block = np.zeros((1, 1 << bits, 2), dtype=np.int64)
    block[0, lanes, 0] = np.where(rows[worst].real < 0, -top, top)
    block[0, lanes, 1] = np.where(rows[worst].imag > 0, -top, top)
    model.run_passes([step], block)
    assert overshoot[0] <= 1, f"by {overshoot[0]}"
    model.run_passes([less_growth(step, 1, column)], block)
    assert overshoot[0] > 1, f"by {overshoot[0]}"
