"""Random legal configurations and programs: what a regression feeds to the array and to its model.

Everything follows from a :class:`random.Random`; the compiler has no part in it, so the programs also go
where no compiled kernel goes (any mix of modes, digits, windows and layouts). A leaf like the rest of
``sim``.
"""

from dataclasses import dataclass, field, replace
import random

import numpy as np

from ...hw.config import CoreConfig, Pipeline, Target
from ...hw.isa.encoding import INSTRUCTION_WORDS
from ...hw.isa.instruction import Halt, Instruction, Load, Mode, Pass, Store
from ...hw.isa.schedule import schedule
from ...hw.isa.setup import SETUP_PROGRAM, SETUP_READER
from ...hw.isa.walk import Walk
from ...hw.numeric import largest, smallest

__all__ = ["RandomJob", "overlapping", "random_coefficients", "random_config", "random_job", "random_pairs",
           "random_passes", "random_walk", "random_walks"]

_MOST_WORDS = 1536  # words of one block in all engines, so that a run takes seconds


@dataclass(frozen=True, eq=False)
class RandomJob:
    """One run: coefficient writes (bank, address, data), program, stream words int64 (n, 2), blocks it
    stores."""

    setup: list[tuple[int, int, int]] = field(repr=False)
    program: list[Instruction]
    words: np.ndarray = field(repr=False)
    blocks: int


@dataclass(frozen=True)
class _Kernel:
    """Load, passes and store of one block; ``words`` are those of a block in all engines."""

    load: Load
    passes: list[Pass]
    store: Store
    words: int


def random_config(rng: random.Random, name: str = "wingbeat") -> CoreConfig:
    """A small array: 1..4 layers, 1..5 engines, every kind of stream width, both targets."""
    layers = rng.choices((1, 2, 3, 4), (20, 20, 8, 1))[0]
    lanes = 1 << layers
    engines = rng.choice(((1, 2, 3, 4, 5, 7), (1, 2, 3, 4), (1, 1, 2), (1,))[layers - 1])
    widths = [d for d in range(1, lanes) if lanes % d == 0]
    widths += [lanes * j for j in range(1, engines + 1) if engines % j == 0]
    width = rng.randint(8, 18)
    return CoreConfig.of(
        name=name, engines=engines, layers=layers, width=width, element_width=rng.randint(8, width),
        coefficient_width=rng.randint(8, 18), half_words=lanes << rng.randint(1, max(2, 7 - layers)),
        coefficient_words=rng.choice((16, 24, 32, 64, 100)), program_words=rng.choice((128, 256)),
        stream_words=rng.choice(widths), target=rng.choice((Target.PORTABLE, Target.PORTABLE, Target.ECP5)),
        pipeline=rng.choice((Pipeline.DEEP, Pipeline.DEEP, Pipeline.SHORT)))


def random_job(config: CoreConfig, rng: random.Random) -> RandomJob:
    """A program for ``config`` with its coefficients and stream, legal by docs/reference/architecture.md."""
    if rng.random() < 0.6:
        kernel = _random_kernel(config, rng)
        order = [kernel] * rng.choice((1, 2, 3, 4, 7))
        program = schedule(kernel.load, [kernel.passes], kernel.store, len(order))
    else:
        kernels = [_random_kernel(config, rng) for _ in range(rng.randint(2, 3))]
        order = [rng.choice(kernels) for _ in range(rng.randint(2, 5))]
        program = _mixed_program(order)
    while INSTRUCTION_WORDS * len(program) > config.program_words:
        order = order[:-1]
        program = _mixed_program(order)
    setup = random_coefficients(config, rng)
    return RandomJob(setup, program, _random_words(config, order, rng), len(order))


def _mixed_program(order: list[_Kernel]) -> list[Instruction]:
    """Blocks of different layouts without loops: each load stands before the passes of the block before it.

    A load overlaps the store that empties its half only where both belong to one kernel.
    """
    loads = [kernel.load if at >= 2 and order[at - 2] is kernel else Load(kernel.load.walk)
             for at, kernel in enumerate(order)]
    program: list[Instruction] = [loads[0]]
    for at, kernel in enumerate(order):
        program += [*loads[at + 1:at + 2], *kernel.passes, kernel.store]
    return [*program, Halt()]


def _random_kernel(config: CoreConfig, rng: random.Random) -> _Kernel:
    s = config.layers
    most = min(config.index_bits, (_MOST_WORDS // config.engines).bit_length() - 1)
    bits = rng.randint(s, max(s, most))
    load, store = random_walks(rng, config, bits)
    digits = range(bits // s)
    passes = random_passes(config, bits, [rng.choice(digits) for _ in range(rng.randint(1, 4))], rng)
    return _Kernel(load, passes, store, config.engines << bits)


def random_walk(rng: random.Random, config: CoreConfig, bits: int) -> Walk:
    """A walk through all words whose index has ``bits`` bits: any window, any sub-steps or, in a processor, mirror
    pairs, any split of the rest."""
    window = _random_window(config.layers, bits, rng)
    mirror = _random_mirror(window, bits, rng) if config.is_processor and rng.random() < 0.4 else 0
    rest = [bit for bit in range(bits) if bit not in (*window, mirror - 1)]
    sub = _random_sub(config, rest, rng) if not mirror and rng.random() < 0.6 else ()
    rest = [bit for bit in rest if bit not in sub]
    inner = sum(1 << bit for bit in rest if rng.random() < 0.5)
    return Walk(window, inner, sum(1 << bit for bit in rest) - inner, sub, mirror)


def random_pairs(rng: random.Random, config: CoreConfig, bits: int) -> Walk:
    """As :func:`random_walk`, by mirror pairs: of a processor, and with ``bits`` beside those of the lanes."""
    while True:
        walk = random_walk(rng, config, bits)
        if walk.mirror:
            return walk


def random_walks(rng: random.Random, config: CoreConfig, bits: int) -> tuple[Load, Store]:
    """Load and store of a block; more often than not they overlap: the same bits outermost on both sides."""
    load, store = (random_walk(rng, config, bits) for _ in range(2))
    if rng.random() < 0.4:
        return Load(load), Store(store)
    if rng.random() < 0.3:
        store = load
    return overlapping(load, store)


def overlapping(load: Walk, store: Walk) -> tuple[Load, Store]:
    """The walks with the same bits outermost, so that the load may follow the store through one half.

    Where their steps are not of one size, both lose their sub-steps or pairs. Source: docs/reference/architecture.md.
    """
    walks, everything = [load, store], load.index_mask
    if load.step_beats != store.step_beats:
        walks = [Walk(walk.window, 0, 0) for walk in walks]
    masks = [walk.index_mask & ~(walk.inner | walk.outer) for walk in walks]
    both = masks[0] | masks[1] | _torn_by_pairs(*walks)
    load, store = (replace(walk, inner=both & ~mask, outer=everything & ~both) for walk, mask in zip(walks, masks))
    return Load(load, True, (1 << (both & ~masks[0]).bit_count()) - 1), Store(store)


def _torn_by_pairs(load: Walk, store: Walk) -> int:
    """Index bits that cannot be outermost because pairs cross from one of their values to another
    (docs/reference/architecture.md)."""
    if load.mirror == store.mirror and all(bit >= load.mirror for bit in load.window + store.window):
        return 0
    return sum(1 << bit for bit in range(1, max(load.mirror, store.mirror) - 1))


def _random_mirror(window: tuple[int, ...], bits: int, rng: random.Random) -> int:
    """Bits of the indices of the pairs, 0 where none will do: lanes below them must be the lowest bits."""
    return rng.choice([n for n in range(1, bits + 1) if n - 1 not in window
                       and all(bit < sum(other < n for other in window) for bit in window if bit < n)] or [0])


def _random_sub(config: CoreConfig, free: list[int], rng: random.Random) -> tuple[int, ...]:
    """Neighbouring bits, up or down, at most as many as the walker counts; none where there is no room."""
    count = rng.randint(0, config.sub_bits)
    runs = [tuple(range(at, at + count)) for at in free]
    runs = [run for run in runs if set(run) <= set(free)]
    return rng.choice(runs)[::rng.choice((1, -1))] if runs else ()


def _random_window(layers: int, bits: int, rng: random.Random) -> tuple[int, ...]:
    """A window whose bits reach different banks: residues a rotation of 0..S-1, rising or falling."""
    start, step = rng.randrange(layers), rng.choice((1, -1))
    return tuple(rng.choice(range((start + step * j) % layers, bits, layers)) for j in range(layers))


def random_passes(config: CoreConfig, bits: int, digits: list[int], rng: random.Random) -> list[Pass]:
    """Passes of a block of 2^``bits`` words per engine, one per digit of ``digits``: any mode and shifts."""
    groups = 1 << bits - config.layers
    passes: list[Pass] = []
    for number, digit in enumerate(digits):
        first = number == 0
        mode, block_float = rng.choice(list(Mode)), rng.random() < 0.4
        gap = 0 if first else max(config.pass_gap(digits[number - 1], digit, groups),
                                  config.block_float_gap if block_float else 0)
        base, shift, mask_bits = _random_coefficient_field(config, bits - config.layers, rng)
        choices = (0, 0, 1, 1, 2, (1 << config.shift_bits) - 1)
        shifts = tuple(rng.choice(choices) for _ in range(config.layers))
        passes.append(Pass(
            mode, digit, groups, rng.getrandbits(config.layers), shifts, coef_base=base, coef_shift=shift,
            coef_mask_bits=mask_bits, descending=rng.random() < 0.4,
            gap=gap + rng.choice((0, 0, 0, rng.randrange(9))),
            block_float=block_float, growth=_random_growth(config.layers, rng) if block_float else (),
            first=first, last=number == len(digits) - 1))
    return passes


def _random_growth(layers: int, rng: random.Random) -> tuple[int, ...]:
    """Numbers that rise by 0 or 1 per column, and by one more at one of them: at most S + 1."""
    steps = [rng.randint(0, 1) for _ in range(layers)]
    steps[rng.randrange(layers)] += rng.randint(0, 1)
    return tuple(sum(steps[:q + 1]) for q in range(layers))


def _random_coefficient_field(config: CoreConfig, group_bits: int,
                              rng: random.Random) -> tuple[int, int, int]:
    """coef_base, coef_shift and coef_mask_bits that stay within the coefficient memory."""
    mask_bits = rng.randint(0, min(group_bits, config.coefficient_words.bit_length() - 1))
    shift = rng.randint(0, min(group_bits, config.row_bits - 1))
    return rng.randint(0, config.coefficient_words - (1 << mask_bits)), shift, mask_bits


def random_coefficients(config: CoreConfig, rng: random.Random) -> list[tuple[int, int, int]]:
    """Every word of every bank, in random order, and writes to targets that do not exist."""
    one = 1 << config.coefficient_width - 2
    corners = (0, one, -one, one - 1, largest(config.coefficient_width), smallest(config.coefficient_width))

    def value() -> int:
        chosen = rng.choice(corners) if rng.random() < 0.1 else rng.randint(-one, one)
        return chosen & ((1 << config.coefficient_width) - 1)

    writes = [(bank, address, value() | value() << config.coefficient_width
               | rng.getrandbits(2) << 2 * config.coefficient_width)
              for bank in range(config.n_units) for address in range(config.coefficient_words)]
    strangers = (config.n_units, SETUP_PROGRAM - 1, SETUP_READER, 0xFF)
    writes += [(target, rng.getrandbits(4), rng.getrandbits(40)) for target in strangers]
    rng.shuffle(writes)
    return writes


def _random_words(config: CoreConfig, order: list[_Kernel], rng: random.Random) -> np.ndarray:
    """Elements of all blocks; the amplitude changes from block to block, and corners are strewn in."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    low, high = smallest(config.element_width), largest(config.element_width)
    parts = []
    for kernel in order:
        quiet = rng.choice((0, 0, 1, 2, 4, 7))
        words = numbers.integers(low >> quiet, (high >> quiet) + 1, (kernel.words, 2))
        corners = numbers.random((kernel.words, 2)) < rng.choice((0, 0, 0.02))
        parts.append(np.where(corners, numbers.choice(np.array([low, high, 0, -1]), words.shape), words))
    return np.concatenate(parts)
