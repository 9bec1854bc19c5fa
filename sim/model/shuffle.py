"""Bank hash, the words of a pass group, and the map between lanes and banks.

Index i lives in row ``i >> S`` of the bank that is the XOR of all S-bit digits of i (docs/design.md section 4).
All functions work on int64 arrays of any shape; S is ``layers`` and P = 2^S.
"""

import numpy as np

__all__ = ["bank_of", "row_of", "pass_indices", "lane_order", "reverse_lanes", "xor_lanes", "route", "switched",
           "switches_for"]


def bank_of(index: np.ndarray, layers: int) -> np.ndarray:
    """Bank of every index: XOR of its S-bit digits."""
    index = np.asarray(index, dtype=np.int64)
    bank, rest = np.zeros_like(index), index
    while np.any(rest):
        bank, rest = bank ^ (rest & ((1 << layers) - 1)), rest >> layers
    return bank


def row_of(index: np.ndarray, layers: int) -> np.ndarray:
    """Row of every index in its bank."""
    return np.asarray(index, dtype=np.int64) >> layers


def pass_indices(digit: int, groups: int, layers: int) -> np.ndarray:
    """Index of every lane of every group of a pass, shape (groups, P): the group number with the S bits of
    ``digit`` inserted as the lane."""
    low_bits = digit * layers
    group = np.arange(groups, dtype=np.int64)[:, None]
    lane = np.arange(1 << layers, dtype=np.int64)
    return (group >> low_bits) << (low_bits + layers) | lane << low_bits | (group & ((1 << low_bits) - 1))


def lane_order(rotation: int, reverse: bool, layers: int) -> np.ndarray:
    """Bank that each lane of a beat reaches, but for the XOR with the beat's constant, shape (P,): lane bit j
    goes to bank bit (rotation + j) mod S, or (rotation - j) mod S when ``reverse``. From S on a rotation means
    neither: lane bit j goes to bank bit j."""
    rotation, reverse = (rotation, reverse) if rotation < layers else (0, False)
    lane = np.arange(1 << layers, dtype=np.int64)
    bank = np.zeros_like(lane)
    for j in range(layers):
        bank |= (lane >> j & 1) << ((rotation - j if reverse else rotation + j) % layers)
    return bank


def reverse_lanes(layers: int) -> np.ndarray:
    """Bit-reversed lane numbers, shape (P,): the order of the lanes in the columns of a descending pass."""
    return lane_order(layers - 1, True, layers)


def xor_lanes(words: np.ndarray, constant: int) -> np.ndarray:
    """The shuffle network on axis 0: word l leaves at position l ^ constant, by S levels of conditional
    swaps."""
    for level in range((words.shape[0] - 1).bit_length()):
        if constant >> level & 1:
            words = words[np.arange(words.shape[0]) ^ (1 << level)]
    return words


def switched(switches: int, layers: int) -> np.ndarray:
    """Lane from which each output of the lane shuffle takes its word, shape (P,), for the control bits
    ``switches``, packed as in hw/layouts.py: two folds for every pair of lane bits, then the swaps, then the
    middle bit of an odd S."""
    lane, pairs = np.arange(1 << layers), layers // 2
    source = lane
    for pair in range(pairs):
        low, high = lane >> pair & 1, lane >> (layers - 1 - pair) & 1
        fold = switches >> (2 * pair + (low ^ high)) & 1
        source = source[lane ^ fold * (1 << pair | 1 << layers - 1 - pair)]
        source = source[lane ^ (switches >> (2 * pairs + pair) & 1) << pair]
    if layers % 2:
        source = source[lane ^ (switches >> 3 * pairs & 1) << pairs]
    return source


def switches_for(source: np.ndarray, layers: int) -> int:
    """Control bits for which the lane shuffle is the permutation ``source``; ValueError when there are none."""
    for switches in range(1 << 3 * (layers // 2) + layers % 2):
        if np.array_equal(switched(switches, layers), source):
            return switches
    raise ValueError(f"source: the lane shuffle of {layers} layers is never {np.asarray(source).tolist()}")


def route(indices: np.ndarray, layers: int) -> tuple[np.ndarray, np.ndarray]:
    """Bank of every lane and row of every bank for beats of P indices.

    ``indices`` has shape (beats, P); so have both results. Raises ValueError when two lanes of a beat meet in
    a bank.
    """
    banks = bank_of(indices, layers)
    if np.any(np.sort(banks, axis=1) != np.arange(1 << layers)):
        beat = int(np.argmax(np.any(np.sort(banks, axis=1) != np.arange(1 << layers), axis=1)))
        raise ValueError(f"indices: beat {beat} reaches banks {banks[beat].tolist()}; each must appear once")
    rows = np.empty_like(banks)
    np.put_along_axis(rows, banks, row_of(indices, layers), axis=1)
    return banks, rows
