"""Bit-exact model of the ring: beats of a matrix as words for all coefficient banks, in their order."""

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.instruction import Destination, Mac
from ...hw.isa.sparse import PICK_BITS, pick_sets
from ...hw.numeric import streamed_coefficient

__all__ = ["Ring", "panel_words", "mac_words", "mac_groups", "input_rows", "word_sets", "set_beats", "matrix_beats",
           "sparse_beats", "pick_beats"]


def panel_words(config: CoreConfig, mac: Mac) -> int:
    """Words of the ring that P outputs of a MAC need."""
    return config.lanes // config.layers * mac.inputs


def mac_words(config: CoreConfig, mac: Mac) -> int:
    """Words of the ring that a MAC takes."""
    return mac.outputs * panel_words(config, mac)


def mac_groups(config: CoreConfig, mac: Mac) -> int:
    """Groups that a MAC issues."""
    return mac.pairs * mac_words(config, mac)


def word_sets(config: CoreConfig, beats: int) -> int:
    """Words of the ring that so many beats make; the beats of a set that is not whole make none."""
    return beats // config.layers * (config.memory_elements // config.lanes)


def set_beats(config: CoreConfig, destination: Destination, beats: int) -> int:
    """How many of the ``beats`` of a FETCH belong to sets: all but those of picks."""
    return beats - -(-beats // (pick_sets(config) * config.layers + 1)) if destination is Destination.PICKS else beats


def matrix_beats(config: CoreConfig, matrix: np.ndarray) -> np.ndarray:
    """A matrix of elements int64 (outputs, inputs) as the beats that a FETCH brings for it, int64 (beats, 2K): beats of
    S outputs in turn. Its sides must be multiples of S and of 2K, raises ValueError."""
    outputs, inputs = matrix.shape
    chunk = config.memory_elements
    if outputs % config.layers or inputs % chunk:
        raise ValueError(f"matrix: {outputs} x {inputs}; allowed are multiples of {config.layers} and of {chunk}")
    sets = matrix.reshape(outputs // config.layers, config.layers, inputs // chunk, chunk)
    return np.ascontiguousarray(sets.swapaxes(1, 2)).reshape(-1, chunk)


def sparse_beats(config: CoreConfig, elements: np.ndarray, picks: np.ndarray) -> np.ndarray:
    """A sparse matrix as the beats that a FETCH brings for it, int64 (beats, 2K): in front of every ``pick_sets`` sets
    of S beats one with their picks. ``elements``, int64 (outputs, inputs): those that stream, as in
    :func:`matrix_beats`; ``picks``, int64 (outputs / S, inputs): the member of its group that each belongs to. Raises
    ValueError as :func:`matrix_beats`."""
    sets = matrix_beats(config, elements).reshape(-1, config.layers, config.memory_elements)
    packed, found = pick_beats(config, picks.reshape(len(sets), config.memory_elements)), []
    for number, beat in enumerate(packed):
        own = sets[number * pick_sets(config):(number + 1) * pick_sets(config)]
        found += [beat[None], own.reshape(-1, config.memory_elements)]
    return np.concatenate(found)


def pick_beats(config: CoreConfig, members: np.ndarray) -> np.ndarray:
    """Picks of sets, int64 (sets, 2K), as the beats that stand in front of every ``pick_sets`` of them."""
    shifts, found = PICK_BITS * np.arange(pick_sets(config))[:, None], []
    for first in range(0, len(members), len(shifts)):
        own = members[first:first + len(shifts)]
        packed = (own << shifts[:len(own)]).sum(axis=0)
        found.append(packed - ((packed >> config.element_width - 1 & 1) << config.element_width))
    return np.array(found, dtype=np.int64).reshape(-1, config.memory_elements)


class Ring:
    """What was fetched and not yet taken, however much: a program that fetches too much too early waits."""

    def __init__(self, config: CoreConfig):
        self._config = config
        self._beats = np.empty((0, config.memory_elements), dtype=np.int64)  # of a set that is not whole
        self._words = np.empty((0, config.layers, config.lanes), dtype=np.int64)
        self._picks = np.empty((0, config.lanes), dtype=np.int64)  # of every word; -1 of a dense matrix

    @property
    def words(self) -> int:
        """Whole words that are left."""
        return len(self._words)

    def fetch(self, beats: np.ndarray, is_sparse: bool = False) -> None:
        """Adds ``beats``, int64 (n, 2K), of a FETCH. Raises ValueError where those of a sparse one are no whole
        sets."""
        config = self._config
        served = pick_sets(config) * config.layers
        is_picks = (np.arange(len(beats)) % (served + 1) == 0) & is_sparse
        rest = np.concatenate([self._beats, beats[~is_picks]])
        whole = len(rest) // config.layers * config.layers
        if is_sparse and (len(self._beats) or whole < len(rest)):
            raise ValueError(f"FETCH: the beats of a sparse matrix are no whole sets of {config.layers}")
        sets = rest[:whole].reshape(-1, config.layers, config.memory_elements // config.lanes, config.lanes)
        self._words = np.concatenate([self._words, sets.swapaxes(1, 2).reshape(-1, config.layers, config.lanes)])
        self._beats = rest[whole:]
        members = np.full((len(sets), config.memory_elements), -1, dtype=np.int64)
        if is_sparse:
            number = np.arange(len(sets))
            shift = PICK_BITS * (number % pick_sets(config))
            members = beats[is_picks][number // pick_sets(config)] >> shift[:, None] & (1 << PICK_BITS) - 1
        self._picks = np.concatenate([self._picks, members.reshape(-1, config.lanes)])

    def take(self, mac: Mac) -> np.ndarray:
        """The matrix of a MAC as coefficients int64 (outputs * P, inputs * P), of a sparse one the rows that the half
        has in place of ``inputs``. Raises ValueError where it is not there, or not of this kind."""
        config, need = self._config, mac_words(self._config, mac)
        if need > self.words:
            raise ValueError(f"MAC: {self.words} words are in the ring; it takes {need}")
        words, self._words = self._words[:need], self._words[need:]
        picks, self._picks = self._picks[:need], self._picks[need:]
        if np.any((picks < 0) != (mac.log2_group == 0)):
            raise ValueError("MAC: words of a sparse matrix, or of a dense one, are in the ring; it takes others")
        # Of P outputs: steps, inputs, the outputs of a step, lanes.
        matrix = words.reshape(-1, mac.inputs, config.layers, config.lanes).swapaxes(1, 2)
        if mac.log2_group:
            matrix = _spread(mac, matrix, picks.reshape(-1, mac.inputs, config.lanes))
        return streamed_coefficient(matrix.reshape(mac.outputs * config.lanes, -1), config.element_width,
                                    config.coefficient_width)


def input_rows(mac: Mac) -> int:
    """Rows of the banks that a row pair of a MAC has."""
    groups = -(-mac.inputs // mac.picks)
    return (-(-groups >> mac.log2_apart) << mac.log2_apart + mac.log2_group) if mac.log2_group else mac.inputs


def _spread(mac: Mac, matrix: np.ndarray, picks: np.ndarray) -> np.ndarray:
    """The words (steps, S, inputs, lanes) of a sparse matrix at the places that ``picks`` (steps, inputs, lanes) say;
    zeros elsewhere. Raises ValueError where two of them have one place."""
    steps, outputs, inputs, lanes = matrix.shape
    group = np.arange(inputs) // mac.picks
    high, low = group >> mac.log2_apart, group & (1 << mac.log2_apart) - 1
    rows = (high << mac.log2_group)[:, None] + picks << mac.log2_apart | low[:, None]
    spread = np.zeros((steps, outputs, input_rows(mac), lanes), dtype=np.int64)
    step, lane = np.arange(steps)[:, None, None], np.arange(lanes)
    used = np.zeros((steps, input_rows(mac), lanes), dtype=np.int64)
    np.add.at(used, (step, rows, lane), 1)
    if np.any(picks >> mac.log2_group) or used.max() > 1:
        raise ValueError(f"picks: two of a group are one member, or it is not of 0..{(1 << mac.log2_group) - 1}")
    spread[step, :, rows, lane] = matrix.transpose(0, 2, 3, 1)
    return spread
