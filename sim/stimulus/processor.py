"""Random legal jobs for a processor: what a regression feeds to it and to its model.

Everything follows from a :class:`random.Random`, as in sim/stimulus/array.py; the compiler has no part in it. A job is
a few layers of equal blocks. Their descriptors are any bijection between the beats of a block and a grid of rows and
chunks, with padding, truncation and holes; their places in memory are drawn without regard to one another, and then
every READ is given the ``after`` that it needs. With a vector unit (sim/stimulus/vector.py) some READs normalise,
behind the SUMS of all rows that they need, and WRITEs name parameter sets.
"""

from dataclasses import dataclass, field, replace
import random

import numpy as np

from ...hw.config import CoreConfig, Pipeline, Target
from ...hw.isa.descriptor import Descriptor, Move
from ...hw.isa.encoding import INSTRUCTION_WORDS
from ...hw.isa.instruction import Instruction, Load, MemoryMode, Store
from ...hw.isa.setup import SETUP_READER, SETUP_WRITER
from ...hw.isa.walk import Walk
from ...hw.numeric import largest, smallest
from ..model.memory import write_addresses
from .array import random_coefficients, random_passes
from .layers import RandomLayer, LayerSums, Region, Waits, ordered_program
from .vector import LONGEST_ROW, RandomSets, random_offset, random_set_rows, random_vector_unit

__all__ = ["ProcessorJob", "random_processor_config", "random_softmax_config", "random_processor_job", "random_setup"]

_MOST_WORDS = 1536  # words of one block in all engines, so that a run takes seconds
_MOST_UNITS = 32    # butterfly units of all engines, so that a simulator builds in seconds

SetupWrites = list[tuple[int, int, int]]


@dataclass(frozen=True, eq=False)
class ProcessorJob:
    """One run: writes (target, address, data) of coefficients and tables, program, memory int64 (beats, 2K), blocks.

    All of the memory is defined after the run, whatever the timing.
    """

    setup: SetupWrites = field(repr=False)
    program: list[Instruction]
    memory: np.ndarray = field(repr=False)
    blocks: int


def random_processor_config(rng: random.Random, name: str = "wingbeat") -> CoreConfig:
    """A small processor: S = 1..3, J = 1..8, one to five groups of engines; with vector unit, log and ring or without.
    """
    layers = rng.choices((1, 2, 3), (5, 5, 2))[0]
    lanes, units = 1 << layers, layers << layers - 1
    shapes = [(j, groups) for j in (1, 2, 4, 8) for groups in (1, 1, 2, 3, 5) if j * groups * units <= _MOST_UNITS]
    j, groups = rng.choice(shapes)
    least = j.bit_length()  # log2 J + 1, bits of a sub-walk
    width = rng.randint(8, 18)
    config = CoreConfig.of(
        name=name, engines=j * groups, layers=layers, width=width, element_width=rng.randint(8, width),
        coefficient_width=rng.randint(8, 18), half_words=lanes << rng.randint(least, max(least + 1, 7 - layers)),
        coefficient_words=rng.choice((16, 24, 32, 64, 100)), program_words=rng.choice((256, 512)),
        stream_words=lanes * j, memory_bits=rng.randint(12, 16), descriptors=rng.randint(2, 16), watchdog=4096,
        target=rng.choice((Target.PORTABLE, Target.PORTABLE, Target.ECP5)),
        pipeline=rng.choice((Pipeline.DEEP, Pipeline.DEEP, Pipeline.SHORT)))
    config = random_vector_unit(config, rng)
    # From a source of its own, which a new field does not change: nothing else that is drawn changes with it.
    choices = config.choices()
    del choices["array"]["partial_words"], choices["array"]["sparse"], choices["memory"]["row_ids"]
    del choices["array"]["softmax_pairs"], choices["array"]["finishers"], choices["bus"]["control"]
    del choices["bus"]["stream"]
    own = random.Random(str(choices))
    config = config.changed(block_log=own.choice((0, 0, 2, 4, 64)))
    can_fetch = config.memory_elements >= config.record_elements
    config = config.changed(records=can_fetch and own.random() < 0.6)
    config = config.changed(ring_words=_random_ring(config, own))
    keeps = config.ring_words and own.random() < 0.8
    partial_words = config.lanes // config.layers << own.randint(0, 5) if keeps else 0
    config = config.changed(partial_words=partial_words, sparse=config.ring_words > 0 and own.random() < 0.6)
    config = config.changed(row_ids=own.choice((0, 16, 128)) if config.records else 0)
    has_softmax = config.partial_words and own.random() < 0.5
    return config.changed(softmax_pairs=1 << own.randint(0, 4),
                          finishers=own.choice(_divisors(config.engines))) if has_softmax else config


def random_softmax_config(rng: random.Random) -> CoreConfig:
    """A small processor with softmax in which the rows and the ring have room for it: S = 1, 2, 4."""
    while True:
        config = random_processor_config(rng)
        if config.layers < 3 and config.pipeline.is_deep and config.descriptors > 3 \
                and config.memory_elements >= config.record_elements:
            break
    if rng.random() < 0.1:
        config = config.changed(engines=1, layers=4, stream_words=16, half_words=256, ring_words=0, partial_words=0,
                                sparse=False, softmax_pairs=0, finishers=1)
    # Rows of queries and of probabilities, by the number of finishers, of which some have room in a block.
    rows_of = {count: 4 * config.layers * config.engines // count for count in _divisors(config.engines)}
    finishers = rng.choice([count for count, rows in rows_of.items()
                            if rows * config.lanes * config.engines <= _MOST_WORDS])
    least = rows_of[finishers]
    rows, steps = 1 << (least - 1).bit_length() + rng.randint(1, 4 if least < 16 else 2), config.lanes // config.layers
    ring = 1 << (max(least * steps, 2 * config.memory_elements // config.lanes) - 1).bit_length() + rng.randint(0, 1)
    return config.changed(
        half_words=config.lanes * rows, coefficient_words=ring + rng.choice((0, 16, 64)), ring_words=ring, records=True,
        partial_words=steps << rng.randint(1, 6), softmax_pairs=1 << rng.randint(0, 4), finishers=finishers,
        program_words=1024)


def _divisors(number: int) -> list[int]:
    return [count for count in range(1, number + 1) if number % count == 0]


def _random_ring(config: CoreConfig, rng: random.Random) -> int:
    """Words of a ring; 0 for most, and where there can be none."""
    least = 2 * max(config.lanes // config.layers, config.memory_elements // config.lanes)
    sizes = [1 << bits for bits in range(8) if least <= 1 << bits <= config.coefficient_words]
    fits = sizes and config.records and config.pipeline.is_deep and config.layers < 3 and config.descriptors > 3
    return rng.choice(sizes) if fits and rng.random() < 0.5 else 0


def random_processor_job(config: CoreConfig, rng: random.Random) -> ProcessorJob:
    """A program for ``config`` with all that it needs, legal by docs/reference/processor.md.

    Its hand-out order keeps to queues of 4 instructions for each of the memory units, load and store: at most two READs
    stand before the passes of the block that they may wait for.
    """
    layers = [_random_layer(config, number, rng) for number in _numbers(config, rng)]
    spans = [place.span for layer in layers for place in (layer.read, layer.write)]
    depth = min(1 << config.memory_bits, rng.choice((2, 3)) * max(spans) + rng.randint(3, 100))
    depth = -(-depth // LONGEST_ROW) * LONGEST_ROW if config.vector_lanes else depth
    for at, layer in enumerate(layers):
        _settle(config, layer, layers[at - 1] if at else None, depth, rng)
    sets = RandomSets(config, rng)
    if config.vector_lanes:
        _add_vector_work(config, layers, sets, depth, rng)
    # The SUMS of a block take the places of the READ after the next one.
    lead = rng.choice((0, 1, 1, 1, 1 if any(layer.sums for layer in layers) else 2))
    while len(program := ordered_program(config, layers, depth, lead, sets, rng)) * INSTRUCTION_WORDS \
            > config.program_words:
        layers.pop() if len(layers) > 1 else _shorten(layers[0])
    tables = {SETUP_READER: {layer.read.number: layer.read.descriptor for layer in layers}
              | {layer.sums.number: layer.sums.rows.descriptor for layer in layers if layer.sums},
              SETUP_WRITER: {layer.write.number: layer.write.descriptor for layer in layers}}
    setup = random_setup(config, tables, rng, sets.setup() if config.vector_lanes else [])
    return ProcessorJob(setup, program, _random_memory(config, depth, rng), sum(layer.blocks for layer in layers))


def random_setup(config: CoreConfig, tables: dict[int, dict[int, Descriptor]], rng: random.Random,
                 more: SetupWrites | None = None) -> SetupWrites:
    """Random coefficients, the descriptors of ``tables`` (setup target, number) and ``more``, in random order."""
    setup = [write for write in random_coefficients(config, rng) if write[0] < config.n_units] + (more or [])
    for target, table in tables.items():
        for number, descriptor in table.items():
            words = descriptor.words(config.beat_groups)
            setup += [(target, number * len(words) + at, word) for at, word in enumerate(words)]
    rng.shuffle(setup)
    return setup


def _shorten(layer: RandomLayer) -> None:
    layer.blocks = max(1, layer.blocks - 1)
    for waits in (layer.waits, *([layer.sums.waits] if layer.sums else [])):
        waits.of = waits.of[:layer.blocks]


def _numbers(config: CoreConfig, rng: random.Random) -> list[tuple[int, int]]:
    """Descriptor of the reader and of the writer for each layer."""
    count = rng.randint(1, min(4, config.descriptors))
    pick = lambda: rng.sample(range(config.descriptors), count)
    return list(zip(pick(), pick()))


# --- one layer: walks, modes, descriptors -----------------------------------------------------------


def _random_layer(config: CoreConfig, numbers: tuple[int, int], rng: random.Random) -> RandomLayer:
    s, cells = config.layers, config.sub_bits
    most = min(config.index_bits, (_MOST_WORDS // config.engines).bit_length() - 1)
    bits = rng.randint(s + cells, max(s + cells, most))
    read_mode = rng.choice((MemoryMode.COLUMNS, MemoryMode.ROWS, MemoryMode.PAIRS))
    write_mode = rng.choice(list(MemoryMode))
    load, store = _random_walks(config, bits, _sub_bits(config, read_mode), write_mode, rng)
    digits = [rng.randrange(bits // s) for _ in range(rng.randint(1, 4))]
    blocks = rng.choice((1, 2, 3, 3, 4, 5, 7))
    read = _random_place(config, numbers[0], read_mode, load.walk, rng)
    write = _random_place(config, numbers[1], write_mode, store.walk, rng)
    fold = (0, 0)
    if write_mode is MemoryMode.FOLD:
        fold = (rng.randint(0, 1), rng.randint(0, min(write.rows + 1, 0xFFFF)))
    return RandomLayer(blocks, read, load, random_passes(config, bits, digits, rng), store, write, fold,
                 Waits(blocks, rng.random() < 0.7), rng.random() < 0.8, [0] * blocks, [0] * blocks)


def _sub_bits(config: CoreConfig, mode: MemoryMode) -> int:
    """Bits of the sub-steps of a walk whose tiles are those of ``mode``."""
    pairs = mode in (MemoryMode.PAIRS, MemoryMode.REAL, MemoryMode.FOLD)
    return config.sub_bits if pairs else config.sub_bits - 1 if mode is MemoryMode.ROWS else 0


def _random_walks(config: CoreConfig, bits: int, load_sub: int, mode: MemoryMode,
                  rng: random.Random) -> tuple[Load, Store]:
    """Load and store of a block; where their steps are of one size they may overlap."""
    load = _random_walk(config.layers, bits, load_sub, rng)
    if mode is MemoryMode.SPLIT:
        return Load(load), Store(_random_mirror_walk(config.layers, bits, rng))
    store_sub = _sub_bits(config, mode)
    store = _random_walk(config.layers, bits, store_sub, rng)
    if load_sub != store_sub or rng.random() < 0.4:
        return Load(load), Store(store)
    own = [walk.window_mask | walk.sub_mask for walk in (load, store)]
    both, everything = own[0] | own[1], (1 << bits) - 1
    load, store = (Walk(walk.window, both & ~mask, everything & ~both, walk.sub)
                   for walk, mask in zip((load, store), own))
    return Load(load, True, (1 << (both & ~own[0]).bit_count()) - 1), Store(store)


def _random_walk(layers: int, bits: int, sub_bits: int, rng: random.Random) -> Walk:
    """Any window and any run of ``sub_bits`` bits that leave each other room."""
    runs = [tuple(range(at, at + sub_bits)) for at in range(bits - sub_bits + 1)]
    chosen: list[tuple[int, ...]] = []
    while not chosen:
        run = rng.choice(runs)
        free = [bit for bit in range(bits) if bit not in run]
        chosen = [window for _ in range(8) if (window := _random_window(layers, free, rng))]
    return _split_rest(chosen[0], run[::rng.choice((1, -1))], bits, 0, rng)


def _random_mirror_walk(layers: int, bits: int, rng: random.Random) -> Walk:
    """Pairs in the low bits, the window above them."""
    mirror = rng.randint(1, bits - layers)
    window = _random_window(layers, list(range(mirror, bits)), rng)
    return _split_rest(window, (), bits, mirror, rng)


def _random_window(layers: int, free: list[int], rng: random.Random) -> tuple[int, ...]:
    """Bits of ``free`` whose residues are a rotation of 0..S-1, up or down; empty where a residue is missing."""
    start, step = rng.randrange(layers), rng.choice((1, -1))
    choices = [[bit for bit in free if bit % layers == (start + step * j) % layers] for j in range(layers)]
    return tuple(map(rng.choice, choices)) if all(choices) else ()


def _split_rest(window: tuple[int, ...], sub: tuple[int, ...], bits: int, mirror: int, rng: random.Random) -> Walk:
    taken = {*window, *sub, *([mirror - 1] if mirror else [])}
    rest = [bit for bit in range(bits) if bit not in taken]
    inner = sum(1 << bit for bit in rest if rng.random() < 0.5)
    return Walk(window, inner, sum(1 << bit for bit in rest) - inner, sub, mirror)


def _random_place(config: CoreConfig, number: int, mode: MemoryMode, walk: Walk, rng: random.Random) -> Region:
    """A descriptor for the beats of ``walk``: padded, truncated, with holes, in any order."""
    sub_bits = walk.step_beats.bit_length() - 1 - (mode in (MemoryMode.REAL, MemoryMode.FOLD))
    grid = _random_grid(config, sub_bits, walk.steps.bit_length() - 1, mode, rng)
    n_rows, n_chunks = grid.extent
    pitch = n_chunks + rng.choice((0, 0, 1, 3))
    if n_rows * pitch << 1 > 1 << config.memory_bits:
        pitch = n_chunks
    if mode <= MemoryMode.PAIRS and rng.random() < 0.1:
        pitch = rng.randint(0, n_chunks)  # rows that share beats; a WRITE of such rows keeps the last one
    chunks = rng.choice((n_chunks, n_chunks, n_chunks, rng.randint(1, n_chunks), n_chunks + 1))
    tail = rng.choice((0, 0, rng.randrange(config.memory_elements)))
    rows = rng.choice((n_rows, n_rows, n_rows, 0xFFFF, rng.randint(n_rows // 2, n_rows)))
    if rng.random() < 0.02:
        rows = 0  # a READ of zeros, a WRITE of nothing
    descriptor = Descriptor(grid.sub, grid.group, grid.step, pitch, chunks, tail, Move(*grid.origin))
    return Region(number, descriptor, mode, rows, (n_rows - 1) * pitch + n_chunks, register=rng.randrange(8))


@dataclass(frozen=True)
class _Grid:
    """Moves that give every beat of a block its own place in ``extent`` rows and chunks."""

    sub: tuple[Move, ...]
    group: Move
    step: tuple[Move, ...]
    origin: tuple[int, int]
    extent: tuple[int, int]


def _random_grid(config: CoreConfig, sub_bits: int, step_bits: int, mode: MemoryMode, rng: random.Random) -> _Grid:
    """Every bit of the counts, and the group, is a digit of the row or of the chunk: at random places, up or down."""
    digits = [("sub", i, 2) for i in range(sub_bits)] + [("step", i, 2) for i in range(step_bits)]
    digits.append(("group", 0, config.beat_groups))
    rng.shuffle(digits)
    extent, origin, moves = [1, 1], [0, 0], {}
    for kind, i, radix in digits:
        # The two beats of a SPLIT are the two halves of one row.
        axis = 1 if mode is MemoryMode.SPLIT and kind == "sub" else rng.randrange(2)
        if rng.random() < 0.08 and extent[0] * extent[1] < 128:
            extent[axis] += rng.randint(1, extent[axis])  # a hole
        move, steps = extent[axis], radix - 1
        extent[axis] += move * steps
        if rng.random() < 0.2:
            origin[axis], move = origin[axis] + move * steps, -move
        moves[kind, i] = Move(move, 0) if axis == 0 else Move(0, move)
    return _Grid(tuple(moves["sub", i] for i in range(sub_bits)), moves["group", 0],
                 tuple(moves["step", i] for i in range(step_bits)), (origin[0], origin[1]), (extent[0], extent[1]))


# --- places in memory -------------------------------------------------------------------------------


def _settle(config: CoreConfig, layer: RandomLayer, before: RandomLayer | None, depth: int, rng: random.Random) -> None:
    """Choose base and increment of both sides within ``depth`` beats; often a layer reads what the one before wrote."""
    wanted = before.write.base if before and rng.random() < 0.6 else None
    layer.read = _based(layer.read, layer.blocks, depth, wanted, rng)
    wanted = layer.read.base if rng.random() < 0.2 else None
    layer.write = _based(layer.write, layer.blocks, depth, wanted, rng)
    low, high = _reach(layer.write, layer.blocks)
    low, high = low + layer.write.base, high + layer.write.base
    write = layer.write
    if write.mode is MemoryMode.SPLIT:
        other = rng.randint(-low, depth - 1 - high)
    elif write.mode is MemoryMode.FOLD:
        first, last = high + write.descriptor.chunks - 1, depth - 2 + low
        if first > last:
            layer.write, layer.fold = replace(write, mode=MemoryMode.REAL), (0, 0)
            return
        other = rng.randint(first, last)
    else:
        other = rng.getrandbits(32)  # nobody looks
    layer.write = replace(write, descriptor=replace(write.descriptor, other=other))
    if write.mode is MemoryMode.FOLD and rng.random() < 0.5:
        _keep_bits(config, layer, depth, rng)


def _keep_bits(config: CoreConfig, layer: RandomLayer, depth: int, rng: random.Random) -> None:
    """Bits of the address that are not mirrored, where that leads to no beat outside ``depth``."""
    low, write = rng.randrange(config.memory_bits), layer.write
    keep = ((1 << rng.randint(1, 4)) - 1 << low) & (1 << config.memory_bits) - 1
    descriptor = replace(write.descriptor, other=write.descriptor.other | (1 << low) - 1, keep=keep)
    words = descriptor.words(config.beat_groups)
    for block in range(layer.blocks):
        writes = write_addresses(config, words, layer.write_at(block), write.base + block * write.increment)
        if (writes.address[writes.enabled] >= depth).any():
            return
    layer.write = replace(write, descriptor=descriptor)


def _based(place: Region, blocks: int, depth: int, wanted: int | None, rng: random.Random) -> Region:
    span = place.span
    increment = rng.choice((span, span, span, -span, rng.randint(-span, span), rng.randint(1, 2 * span), 0))
    while abs(increment) * (blocks - 1) + span > depth:
        increment = int(increment / 2)
    place = replace(place, increment=increment)
    low, high = _reach(place, blocks)
    base = rng.randint(-low, depth - 1 - high)
    if wanted is not None and -low <= wanted <= depth - 1 - high:
        base = wanted
    return replace(place, base=base)


def _reach(place: Region, blocks: int) -> tuple[int, int]:
    """Lowest and highest beat of all blocks, from the base of the first."""
    moved = place.increment * (blocks - 1)
    return min(0, moved), max(0, moved) + place.span - 1


def _random_memory(config: CoreConfig, depth: int, rng: random.Random) -> np.ndarray:
    """Elements with corners strewn in; the amplitude changes from stretch to stretch."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    low, high = smallest(config.element_width), largest(config.element_width)
    quiet = np.repeat(numbers.choice(np.array([0, 0, 1, 2, 4, 7]), depth // 16 + 1), 16)[:depth, None]
    shape = (depth, config.memory_elements)
    memory = numbers.integers(low, high + 1, shape) >> quiet
    corners = numbers.random(shape) < rng.choice((0, 0, 0.02))
    return np.where(corners, numbers.choice(np.array([low, high, 0, -1]), shape), memory)


# --- the vector unit --------------------------------------------------------------------------------


def _add_vector_work(config: CoreConfig, layers: list[RandomLayer], sets: RandomSets, depth: int,
                     rng: random.Random) -> None:
    """Normalise some READs, where a descriptor is left for their SUMS, and give most WRITEs something to do."""
    used = {layer.read.number for layer in layers}
    left = rng.sample(free := [n for n in range(config.descriptors) if n not in used], len(free))
    for layer in layers:
        if left and rng.random() < 0.5:
            _normalise(config, layer, sets, left.pop(), depth, rng)
        written = [layer.written(config, block) for block in range(layer.blocks)]
        choices = [0]
        for _ in range(rng.choice((0, 1, 1, 2))):
            wanted = layer.read.base - layer.write.base
            offset = random_offset(config, written, depth, wanted, rng) if rng.random() < 0.5 else None
            # Of a beat that is mirrored element 0 is not there when the others are compared.
            choices.append(sets.add_write(offset, layer.write.mode is not MemoryMode.FOLD))
        layer.write_sets = _chosen_sets(layer.blocks, choices, rng)


def _chosen_sets(blocks: int, choices: list[int], rng: random.Random) -> list[int]:
    """The last one for all blocks, or any for each."""
    return [choices[-1]] * blocks if rng.random() < 0.6 else [rng.choice(choices) for _ in range(blocks)]


def _normalise(config: CoreConfig, layer: RandomLayer, sets: RandomSets, number: int, depth: int,
               rng: random.Random) -> None:
    beats = np.concatenate([layer.asked(config, block) for block in range(layer.blocks)])
    every = layer.blocks > 1 and rng.random() < 0.3
    rows = random_set_rows(config, beats, depth, layer.blocks if every else 1, rng)
    vectors = [sets.add_read(rows.chunk_shift, rows.elements) for _ in range(rng.choice((1, 1, 2)))]
    register = (layer.read.register + rng.randint(1, 7)) % 8 if every else layer.read.register
    layer.read_sets = _chosen_sets(layer.blocks, [0, vectors[-1]], rng)
    mode = rng.choice((MemoryMode.COLUMNS, MemoryMode.ROWS, MemoryMode.PAIRS))  # nobody looks
    layer.sums = LayerSums(number, rows, mode, vectors[0], register, every,
                           Waits(layer.blocks, not every or rng.random() < 0.7))
