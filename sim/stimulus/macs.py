"""Random passes of a block with MACs: what they read is defined, and what is stored is written or loaded.

sim/stimulus/ring.py puts them into a job and brings their matrices; sim/stimulus/softmax.py has those of a softmax.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
import random
from typing import NamedTuple

import numpy as np

from ...hw.array.parameters import GAP_LIMIT, mac_spacing
from ...hw.config import CoreConfig
from ...hw.isa.instruction import Instruction, Mac, Mask, Pass, Softmax, Store
from ...hw.isa.sparse import LOG2_GROUPS
from ...hw.isa.walk import Walk
from ...hw.numeric import MAC_TERMS, mac_guard_bits
from ..model.mac_rules import mac_rows
from ..model.ring import input_rows, mac_groups, mac_words
from ..model.shuffle import pass_indices
from .array import random_passes
from .softmax import random_softmax

__all__ = ["MacBlock", "random_mac_block", "behind_ring"]

_MOST_GROUPS = 400  # of one MAC
_LONGEST_GAP = GAP_LIMIT - 1


class MacBlock(NamedTuple):
    """What stands between LOAD and WRITE of a block."""

    steps: list[Pass | Mac | Mask]
    store: Store


class _Region(NamedTuple):
    """Rows base | v * 2^stride | o of a half, for v < 2^pair_bits and o < 2^row_bits."""

    base: int
    stride: int
    pair_bits: int
    row_bits: int

    @property
    def rows(self) -> np.ndarray:
        """All of them, int64 (pairs, rows)."""
        pairs, rows = (np.arange(1 << bits) for bits in (self.pair_bits, self.row_bits))
        return self.base | (pairs << self.stride)[:, None] | rows


def behind_ring(config: CoreConfig, step: Instruction, rng: random.Random) -> Instruction:
    """A PASS with coefficients that are not words of the ring; without any where the ring takes all. Others as they
    are."""
    if not isinstance(step, Pass):
        return step
    room = config.coefficient_words - config.ring_words
    if not room:
        return replace(step, active=0)
    bits = min(step.coef_mask_bits, room.bit_length() - 1)
    base = config.ring_words + rng.randint(0, room - (1 << bits))
    return replace(step, coef_mask_bits=bits, coef_base=base)


def random_mac_block(config: CoreConfig, load_bits: int, store: Store, rng: random.Random,
                     sparse: bool = False) -> MacBlock | None:
    """Passes, MACs among them, of a block that a LOAD fills up to index 2^``load_bits`` - 1, and the STORE for its
    results, which walks through as many words as ``store``. ``sparse``: of a plain LOAD, sparse MACs alone. None where
    chance does not find them."""
    if config.softmax_pairs and not sparse and rng.random() < 0.8:
        return _softmax_block(config, load_bits, store, rng)
    bits = store.walk.index_mask.bit_length()
    loaded = np.arange(config.bank_rows) < 1 << load_bits - config.layers
    # Rows apart from those that were loaded, or any rows between them.
    region = _random_region(config, bits, store.walk, rng) if sparse or rng.random() < 0.7 else None
    defined = loaded.copy()
    more = 0 if sparse else rng.choice((0, 0, 1))
    macs = [mac for _ in range(more) for mac in _random_macs(config, defined, rng)]
    if region:
        macs += _filling_macs(config, region, defined, rng, sparse)
        store = Store(_moved(config, store.walk, region), region.base * config.lanes)
    elif not macs:
        macs = [mac for _ in range(rng.randint(1, 2)) for mac in _random_macs(config, defined, rng)]
    wanted = region.rows.ravel() if region else np.arange(1 << bits - config.layers)
    if not macs or not defined[wanted].all():
        return None
    steps = macs if sparse else _mixed(config, macs, load_bits, defined, rng)
    finished = _finished(config, steps, rng) if _is_whole(config, steps) else []
    return MacBlock(finished, store) if finished else None


def _softmax_block(config: CoreConfig, load_bits: int, store: Store, rng: random.Random) -> MacBlock | None:
    """The same with one softmax or two, at times with other MACs and passes around and inside them. What is stored may
    be results, probabilities, or what was loaded."""
    defined = np.arange(config.bank_rows) < 1 << load_bits - config.layers
    steps: list[Pass | Mac | Mask] = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        before = _random_macs(config, defined, rng) if rng.random() < 0.15 else []
        inside = [mac for mac in _random_macs(config, defined.copy(), rng) if not (mac.keep or mac.merge)] \
            if rng.random() < 0.15 else []
        own: list[Mac | Mask] = random_softmax(config, defined, rng)
        at = rng.randint(0, len(own))
        steps += [*before, *own[:at], *inside, *own[at:]]
    if rng.random() < 0.4:
        steps = _mixed(config, steps, load_bits, defined, rng)
    bits = store.walk.index_mask.bit_length() - config.layers
    bases = np.flatnonzero(defined.reshape(-1, 1 << bits).all(axis=1)) << bits
    if not any(isinstance(step, Mac) for step in steps) or not bases.size or not _is_whole(config, steps):
        return None
    finished = _finished(config, steps, rng)
    return MacBlock(finished, Store(store.walk, int(rng.choice(bases)) * config.lanes)) if finished else None


def _is_whole(config: CoreConfig, steps: Iterable[Pass | Mac | Mask]) -> bool:
    """The words of a block are whole sets of beats; those of a MAC need not be."""
    words = sum(mac_words(config, step) for step in steps if isinstance(step, Mac))
    return words % (config.memory_elements // config.lanes) == 0


# --- rows -------------------------------------------------------------------------------------------


def _random_region(config: CoreConfig, bits: int, walk: Walk, rng: random.Random) -> _Region | None:
    """Rows for 2^``bits`` words that ``walk`` can go through once some of its upper bits are moved further up."""
    row_bits, s = bits - config.layers, config.layers
    low = rng.randint(0, row_bits)
    runs = [run for run in (walk.sub, tuple(range(walk.mirror))) if run]
    is_cut = any(min(run) < low + s <= max(run) for run in runs)
    room = (config.row_bits - row_bits) // s  # the residue of a bit of the window decides its bank
    gap = s * rng.randint(0, room) if low < row_bits and not is_cut and rng.random() < 0.5 else 0
    taken = (1 << low) - 1 | ((1 << row_bits - low) - 1) << low + gap
    base = rng.randrange(config.bank_rows) & ~taken
    return _Region(base, low + gap, row_bits - low, low) if base else None


def _moved(config: CoreConfig, walk: Walk, region: _Region) -> Walk:
    """``walk`` with the bits above those of a row of ``region`` where its stride wants them."""
    at, by = region.row_bits + config.layers, region.stride - region.row_bits

    def mask(bits: int) -> int:
        low = bits & (1 << at) - 1
        return low | (bits ^ low) << by

    window = tuple(bit + by * (bit >= at) for bit in walk.window)
    sub = tuple(bit + by * (bit >= at) for bit in walk.sub)
    return Walk(window, mask(walk.inner), mask(walk.outer), sub, walk.mirror)


def _filling_macs(config: CoreConfig, region: _Region, defined: np.ndarray, rng: random.Random,
                  sparse: bool) -> list[Mac]:
    """MACs that write every row of ``region``, in any order. Marks what is ``defined`` then."""
    parts = list(_parts(region, rng))
    rng.shuffle(parts)
    free = defined.copy()
    free[region.rows.ravel()] = False
    found = []
    for part, outputs in parts:
        mac = _reading_mac(config, free, 1 << part.pair_bits, rng, sparse)
        if mac is None:
            return []
        mac = replace(mac, outputs=outputs, out_base=part.base, log2_out_stride=part.stride)
        if mac_groups(config, mac) > _MOST_GROUPS:
            return []
        found += _chunks(config, mac, free, rng)
    defined[region.rows.ravel()] = True
    return found


def _parts(region: _Region, rng: random.Random) -> Iterator[tuple[_Region, int]]:
    """Cuts a region into some that hold the results of a MAC each: outputs from row 0 of it on."""
    base, stride, pair_bits, row_bits = region
    kind = rng.random()
    if kind < 0.15 and pair_bits:
        for half in range(2):
            yield from _parts(_Region(base | half << stride + pair_bits - 1, stride, pair_bits - 1, row_bits), rng)
    elif kind < 0.35 and row_bits:
        for half in range(2):
            yield from _parts(_Region(base | half << row_bits - 1, stride, pair_bits, row_bits - 1), rng)
    elif kind < 0.5 and row_bits > 1:
        # Any number of outputs, and what is left of them in powers of two.
        first = rng.randint(1, (1 << row_bits) - 1)
        yield region, first
        while first < 1 << row_bits:
            bits = (first & -first).bit_length() - 1
            yield _Region(base | first, stride, pair_bits, bits), 1 << bits
            first += 1 << bits
    else:
        yield region, 1 << row_bits


def _reading_mac(config: CoreConfig, free: np.ndarray, pairs: int, rng: random.Random,
                 sparse: bool = False) -> Mac | None:
    """A MAC of ``pairs`` row pairs that reads ``free`` rows only; its results are to be given a place."""
    most = min(config.ring_words // (config.lanes // config.layers), MAC_TERMS // config.lanes, len(free))
    if 2 * pairs > len(free):
        return None
    for _ in range(8):
        inputs = min(most, rng.choice((2, 3, 4, 6, 8, rng.randint(2, max(2, most)))))
        mac = Mac(inputs, 1, pairs, 0, 0, 0, _random_shift(config, inputs, rng))
        if sparse:
            group, apart = rng.randint(1, LOG2_GROUPS), rng.randint(0, 3)
            picks = rng.randint(1, min(inputs, 1 << group))
            mac = replace(mac, inputs=inputs // picks * picks, picks=picks, log2_group=group, log2_apart=apart)
        least = (input_rows(mac) - 1).bit_length()
        mac = replace(mac, log2_in_stride=rng.randint(least, max(least, config.row_bits)))
        inputs = mac.inputs
        rows = _input_rows(mac)
        if inputs > 1 and rows.max() < len(free) and free[rows].all():
            return mac
    return None


def _chunks(config: CoreConfig, mac: Mac, free: np.ndarray, rng: random.Random) -> list[Mac]:
    """A MAC, or two that make its results: the first one keeps its sums, of other rows that are ``free``."""
    sums = config.lanes // config.layers << (mac.outputs - 1).bit_length() + (mac.pairs - 1).bit_length()
    fits = sums <= config.partial_words and rng.random() < 0.5
    first = _reading_mac(config, free, mac.pairs, rng, mac.log2_group > 0) if fits else None
    if first is None or (first.inputs + mac.inputs) * config.lanes > MAC_TERMS:
        return [mac]
    first = replace(first, outputs=mac.outputs, out_base=mac.out_base, log2_out_stride=mac.log2_out_stride, keep=True)
    return [first, replace(mac, merge=True)] if mac_groups(config, first) <= _MOST_GROUPS else [mac]


def _random_macs(config: CoreConfig, defined: np.ndarray, rng: random.Random) -> list[Mac]:
    """A MAC that reads rows that are ``defined`` and writes any others, in one chunk or two; marks them as defined.
    None where chance does not find it."""
    for _ in range(8):
        pairs = rng.choice((1, 1, 2, 3, 4, rng.randint(1, max(1, config.bank_rows // 4))))
        mac = _reading_mac(config, defined, pairs, rng)
        if mac is None:
            continue
        outputs = rng.choice((1, 2, 3, 4, rng.randint(1, config.bank_rows)))
        stride = rng.randint(min((outputs - 1).bit_length(), config.row_bits), config.row_bits)
        mac = replace(mac, outputs=outputs, out_base=rng.randrange(config.bank_rows), log2_out_stride=stride)
        if (outputs - 1) >> stride or ((pairs - 1) << stride) + outputs > config.bank_rows:
            continue
        offsets = _offsets(mac)
        rows = mac.out_base | offsets
        if (mac.out_base & offsets).any() or np.isin(rows, _input_rows(mac)).any() \
                or mac_groups(config, mac) > _MOST_GROUPS:
            continue
        found = _chunks(config, mac, defined.copy(), rng)
        defined[rows] = True
        return found
    return []


def _input_rows(mac: Mac) -> np.ndarray:
    """Rows that a MAC reads, int64 (pairs * inputs,)."""
    rows = ((np.arange(mac.pairs) << mac.log2_in_stride)[:, None] + np.arange(input_rows(mac))).ravel()
    return rows | mac.out_base if mac.softmax is Softmax.VALUES else rows


def _offsets(mac: Mac) -> np.ndarray:
    """Rows that a MAC writes without ``out_base``, int64 (pairs * outputs,)."""
    return ((np.arange(mac.pairs) << mac.log2_out_stride)[:, None] | np.arange(mac.outputs)).ravel()


def _random_shift(config: CoreConfig, inputs: int, rng: random.Random) -> int:
    """Around the one that takes back the guard bits and what random terms add up to; some clamp, some leave little."""
    fitting = mac_guard_bits(config.coefficient_width) + (inputs * config.lanes).bit_length() // 2
    shift = rng.choice((fitting - 3, fitting, fitting + 1, rng.randint(fitting - 4, fitting + 4), rng.randint(0, 31)))
    return min(31, max(0, shift))


# --- passes and gaps --------------------------------------------------------------------------------


def _mixed(config: CoreConfig, macs: Sequence[Pass | Mac | Mask], load_bits: int, defined: np.ndarray,
           rng: random.Random) -> list[Pass | Mac | Mask]:
    """Butterfly passes between the MACs, on words that are defined by then; behind the last one on as many as
    possible."""
    steps: list[Pass | Mac | Mask] = []
    for mac in macs:
        steps += [*_passes(config, load_bits, rng.choice((0, 0, 0, 1, 2)), rng), mac]
    rows = 1 << load_bits - config.layers
    while rows < config.bank_rows and defined[:2 * rows].all():
        rows *= 2
    steps += _passes(config, rows.bit_length() - 1 + config.layers, rng.choice((0, 0, 1, 2)), rng)
    # What a MAC leaves to block floating point is not defined.
    return [replace(step, block_float=False, growth=()) if isinstance(step, Pass) and isinstance(before, Mac | Mask)
            else step for before, step in zip([None, *steps], steps)]


def _passes(config: CoreConfig, bits: int, count: int, rng: random.Random) -> list[Pass]:
    if not count:
        return []
    digits = [rng.randrange(bits // config.layers) for _ in range(count)]
    found = [behind_ring(config, step, rng) for step in random_passes(config, bits, digits, rng)]
    return [step for step in found if isinstance(step, Pass)]


def _finished(config: CoreConfig, steps: Sequence[Pass | Mac | Mask],
              rng: random.Random) -> list[Pass | Mac | Mask]:
    """The steps with their marks and the gaps that they need or more; none where a gap is too long."""
    done: list[Pass | Mac | Mask] = []
    before: Pass | Mac | None = None
    left = sum(not isinstance(step, Mask) for step in steps)
    for step in steps:
        if isinstance(step, Mask):
            done.append(step)
            continue
        left -= 1
        gap = _gap(config, before, step) if before else 0
        gap += rng.choice((0, 0, 0, rng.randrange(9)))
        if gap > _LONGEST_GAP:
            return []
        done.append(replace(step, gap=gap, first=before is None, last=not left))
        before = step
    return done


def _gap(config: CoreConfig, before: Pass | Mac, step: Pass | Mac) -> int:
    """Idle cycles between two passes so that nothing is read before it is written.

    A PASS begins when all results of a MAC stand in their banks. A MAC begins earlier, behind another one."""
    if isinstance(before, Mac):
        needs = isinstance(step, Mac) and np.isin(_input_rows(step), mac_rows(before)[1]).any()
        return mac_spacing(config) - 1 if needs else 0
    written = _turns(config, before)
    read = _turns(config, step)
    both = (written >= 0) & (read >= 0)
    late = int((written - read)[both].max(initial=-before.groups))
    least = max(0, config.pipeline_latency + 1 + late - before.groups)
    return max(least, config.block_float_gap if isinstance(step, Pass) and step.block_float else 0)


def _turns(config: CoreConfig, step: Pass | Mac) -> np.ndarray:
    """The group of a pass that takes each word of a half, int64 (half_words,); of a MAC the first one; -1 for none."""
    turns = np.full(config.half_words, -1, dtype=np.int64)
    if isinstance(step, Pass):
        turns[pass_indices(step.digit, step.groups, config.layers)] = np.arange(step.groups)[:, None]
        return turns
    rows = turns.reshape(-1, config.lanes)
    sweep = config.lanes // config.layers * step.inputs
    for pair, read in enumerate(mac_rows(step)[0]):
        rows[read[:step.inputs]] = pair * sweep + np.arange(step.inputs)[:, None]
    return turns
