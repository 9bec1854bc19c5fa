"""Random softmaxes of a block: MASKs, MACs of logits and of values, chunk after chunk of keys.

sim/stimulus/macs.py puts them among the other MACs of a block. All sizes are those that a core may run.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
import random

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.encoding import FIELDS, encode, instruction_fields
from ...hw.isa.instruction import Mac, Mask, Opcode, Softmax
from ...hw.isa.setup import LENGTHS, SETUP_LENGTHS, SetupWrite
from ...hw.numeric import ALIGNMENT_CUT, LATE_SHIFTS, MAC_TERMS, TOTAL_GUARD_BITS, largest, mac_guard_bits, smallest
from ..model.legality import field_fault
from ..model.mac_rules import mac_rows
from ..model.ring import mac_groups

__all__ = ["random_softmax", "least_logits", "random_lengths", "random_patterns"]

_MOST_GROUPS = 1500  # of one MAC
_TRIES = 12
_FIELDS = {name: (1 << bits) - 1 for name, bits in FIELDS[Opcode.MASK]}  # the largest number of each
_MOST_SHIFT = (1 << dict(FIELDS[Opcode.MAC])["shift"]) - 1


# --- MACs -------------------------------------------------------------------------------------------


def random_softmax(config: CoreConfig, defined: np.ndarray, rng: random.Random) -> list[Mac | Mask]:
    """MASKs and MACs that read rows of the banks that are ``defined``; marks those that they write. None where chance
    does not find them."""
    for _ in range(_TRIES):
        found = _softmax(config, defined, rng)
        for step in found:
            if isinstance(step, Mac):
                defined[mac_rows(step)[1].ravel()] = True
        if found:
            return found
    return []


def least_logits(config: CoreConfig) -> Mac | None:
    """A MAC of logits of one row pair and P keys, with as few inputs as a core may run; None where none has room."""
    for inputs in _legal_inputs(config, 1):
        base = 1 << (inputs - 1).bit_length()
        mac = Mac(inputs, 1, 1, base.bit_length() - 1, base, 0, 9, softmax=Softmax.LOGITS, fresh=True)
        return mac if base < config.bank_rows else None
    return None


def _softmax(config: CoreConfig, defined: np.ndarray, rng: random.Random) -> list[Mac | Mask]:
    """One softmax of some chunks; at times its probabilities alone, or two products with those of the last chunk."""
    most = min(config.softmax_pairs, int(defined.sum()) // min(_legal_inputs(config, config.softmax_pairs), default=1))
    if not most:
        return []
    pairs = rng.choice((1, most, rng.randint(1, most)))
    features = rng.choice((1, 2, 4, 8, rng.randint(1, 8)))
    sums = config.lanes // config.layers << (features - 1).bit_length() + (pairs - 1).bit_length()
    chunks = rng.choice((1, 1, 2, 2, 3, 4)) if sums <= config.partial_words else 1
    queries = _reading(config, Mac(2, 1, pairs, 0, 0, 0, 0, softmax=Softmax.LOGITS), defined, rng)
    if queries is None:
        return []
    steps: list[Mac | Mask] = []
    key = rng.choice((0, 0, 0, rng.randint(0, _FIELDS["key"] >> config.layers + 2))) * config.lanes
    for number in range(chunks):
        own = _chunk(config, replace(queries, fresh=number == 0), features, rng)
        if own is None:
            return []
        logits, values = own
        keys = logits.outputs * config.lanes
        if rng.random() < 0.85:
            steps += _random_masks(config, logits, key, rng)
        values = replace(values, merge=number > 0, keep=number < chunks - 1)
        steps += [logits, values]
        key = rng.choice((key + keys, key + keys, 0))
    if chunks == 1 and rng.random() < 0.15:
        return steps[:-1]
    if rng.random() < 0.15:  # the last product again, of other features
        assert isinstance(steps[-1], Mac)
        steps.append(replace(steps[-1], merge=False, shift=_division(config, rng)))
    return steps


def _reading(config: CoreConfig, mac: Mac, defined: np.ndarray, rng: random.Random) -> Mac | None:
    """``mac`` with inputs from rows that are ``defined``; its outputs are to be given a place."""
    for inputs, stride in _sizes(config, mac, rng):
        read, _ = mac_rows(replace(mac, inputs=inputs, log2_in_stride=stride, keep=True))
        if read.max() < len(defined) and defined[read].all():
            return replace(mac, inputs=inputs, log2_in_stride=stride, shift=_logit_shift(config, inputs, rng))
    return None


def _sizes(config: CoreConfig, mac: Mac, rng: random.Random) -> Iterator[tuple[int, int]]:
    """Inputs and strides with which a core can run ``mac``, whose outputs may be in any place, often few inputs."""
    legal = _legal_inputs(config, mac.pairs)
    for _ in range(_TRIES if legal else 0):
        inputs = rng.choice((legal[0], legal[0], rng.choice(legal)))
        least = (inputs - 1).bit_length()
        yield inputs, rng.choice((least, least, rng.randint(least, max(least, config.row_bits))))


@lru_cache(256)
def _legal_inputs(config: CoreConfig, pairs: int) -> list[int]:
    """Numbers of inputs that a MAC of a softmax may have."""
    most = min(config.ring_words // (config.lanes // config.layers), MAC_TERMS // config.lanes, config.bank_rows)
    shape = Mac(2, 1, pairs, 0, 0, 0, 0, softmax=Softmax.LOGITS)
    return [inputs for inputs in range(2, most + 1)
            if _is_legal(config, replace(shape, inputs=inputs, log2_in_stride=(inputs - 1).bit_length()))]


def _is_legal(config: CoreConfig, mac: Mac) -> bool:
    return field_fault(config, *instruction_fields(encode([mac])))[0] is None


def _chunk(config: CoreConfig, logits: Mac, features: int, rng: random.Random) -> tuple[Mac, Mac] | None:
    """A MAC of logits, whose probabilities stand anywhere, and that of their values; None where chance finds none."""
    shape = replace(logits, softmax=Softmax.VALUES, fresh=False, outputs=1, out_base=0)
    for keys, stride in _sizes(config, shape, rng):
        fewer = [few for few in _legal_inputs(config, shape.pairs) if few <= keys]
        taken = (logits.pairs - 1 << stride) | (1 << (keys - 1).bit_length()) - 1
        base = rng.randrange(config.bank_rows) & ~taken
        own = replace(logits, outputs=keys, out_base=base, log2_out_stride=stride)
        least = (features - 1).bit_length()
        values = replace(shape, inputs=rng.choice((keys, keys, rng.choice(fewer))), outputs=features, out_base=base,
                         log2_in_stride=stride, log2_out_stride=rng.randint(least, max(least, config.row_bits)),
                         shift=_division(config, rng))
        if _has_room(config, own) and _has_room(config, values):
            return own, values
    return None


def _has_room(config: CoreConfig, mac: Mac) -> bool:
    """Whether a core can run it, its rows lie in the half and apart, and it does not take long."""
    if mac_groups(config, mac) > _MOST_GROUPS:
        return False
    try:
        rows = max(rows.max() for rows in mac_rows(mac))
    except ValueError:
        return False
    return bool(rows < config.bank_rows) and _is_legal(config, mac)


def _logit_shift(config: CoreConfig, inputs: int, rng: random.Random) -> int:
    """For logits that lie within a bit of each other, some bits apart, everywhere, or at both ends."""
    size = config.width + mac_guard_bits(config.coefficient_width) + (inputs * config.lanes).bit_length() // 2 - 2
    return min(_MOST_SHIFT, max(0, size - rng.choice((8, 12, 13, 14, 15, 16, 18, 20, 23))))


def _division(config: CoreConfig, rng: random.Random) -> int:
    """Around the shift with which values of a row come out in their size, and none that a row may not have: the largest
    probability of a group is hardly less than a half, so the highest bit of a total is W - 3 and the guard bits."""
    most = min(_MOST_SHIFT, config.width - 3 + TOTAL_GUARD_BITS + LATE_SHIFTS)
    fitting = config.width - mac_guard_bits(config.coefficient_width) + ALIGNMENT_CUT
    return min(most, max(0, rng.choice((fitting - 2, fitting, fitting, fitting + rng.randint(-4, 4),
                                        rng.randint(0, most)))))


# --- masks ------------------------------------------------------------------------------------------


def _random_masks(config: CoreConfig, logits: Mac, key: int, rng: random.Random) -> list[Mac | Mask]:
    """The mask of a MAC whose keys begin with number ``key``, now and then behind another that nobody looks at."""
    others: list[Mac | Mask] = [Mask(limit=1, window=1)] if rng.random() < 0.1 else []
    return [*others, _random_mask(config, logits, key, rng)]


def _random_mask(config: CoreConfig, logits: Mac, key: int, rng: random.Random) -> Mask:
    """Limits that cut through keys and rows of the MAC, or leave none or all of them; lengths out of the table."""
    rows, keys = 2 * config.engines * logits.pairs, logits.outputs * config.lanes
    far = _FIELDS["limit"] >> 1
    limit = rng.choice((key, key + rng.randint(-rows, keys), key + rng.randint(-rows, keys), -far - 1, far,
                        rng.randint(-far - 1, far)))
    window = rng.choice((0, 0, 1, rng.randint(1, rows + keys), rng.randint(1, _FIELDS["window"])))
    length = rng.choice((0, 0, 0, rng.randint(1, LENGTHS)))
    slope = rng.choice((0, 0, 0, rng.randint(0, 1 << 12), _FIELDS["slope"]))
    return Mask(key, max(-far - 1, min(far, limit)), rng.random() < 0.5, window, length, slope)


def random_lengths(config: CoreConfig, rng: random.Random) -> list[SetupWrite]:
    """The whole table of lengths: none, few, as many as a MAC has, all."""
    most = config.bank_rows * config.lanes
    sizes = (0, 1, rng.randint(0, most), rng.randint(0, most), _FIELDS["key"])
    return [(SETUP_LENGTHS, number, rng.choice((*sizes, rng.randint(0, most)))) for number in range(LENGTHS)]


# --- data -------------------------------------------------------------------------------------------


def random_patterns(config: CoreConfig, elements: np.ndarray, rng: random.Random) -> np.ndarray:
    """``elements`` (beats, 2K), of which stretches are replaced by zeros, one number, rows with one element, extremes,
    or single loud beats among quiet ones."""
    numbers, found, at = np.random.default_rng(rng.getrandbits(32)), elements.copy(), 0
    while at < len(elements):
        end = at + rng.choice((1, 2, 8, 32, 100))
        own = found[at:end]
        own[:] = _pattern(config, own, rng.choice(("noise", "noise", "zeros", "one", "hot", "ends", "loud")), numbers)
        at = end
    return found


def _pattern(config: CoreConfig, own: np.ndarray, kind: str, numbers: np.random.Generator) -> np.ndarray:
    ends = np.array([smallest(config.element_width), largest(config.element_width)])
    if kind == "zeros":
        return np.zeros_like(own)
    if kind == "one":
        return np.full_like(own, numbers.integers(ends[0], ends[1] + 1))
    if kind == "hot":
        return np.where(np.arange(own.shape[1]) == numbers.integers(0, own.shape[1], (len(own), 1)),
                        numbers.choice(ends, (len(own), 1)), 0)
    if kind == "ends":
        return numbers.choice(ends, own.shape)
    if kind == "loud":
        return np.where(numbers.random((len(own), 1)) < 0.2, own, own >> 5)
    return own
