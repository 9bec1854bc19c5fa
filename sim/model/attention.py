"""Bit-exact model of the MACs of a softmax: what rows and banks remember between those of logits and those of values.

Rows are those of all engines: (part, engine, row pair), as ``ArrayModel`` takes them out of a block.
"""

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.instruction import Mac, Mask
from ...hw.isa.setup import LENGTHS, SETUP_LENGTHS
from ...hw.numeric import LOGIT_BITS, LOGIT_FRACTION_BITS, SLOPE_FRACTION_BITS, largest, saturate, smallest
from .mac_rules import mac_rows
from .softmax import Probabilities, RowState, aligned, divided, logits_of, probabilities, weighted_sums

__all__ = ["SoftmaxState"]


class SoftmaxState:
    """Table of lengths, ``mask``, ``exponents`` (rows, rows of a bank) of the groups in the banks, maxima and totals of
    the ``rows``, their maxima ``before`` the present chunk."""

    def __init__(self, config: CoreConfig):
        self._config = config
        self.lengths = [0] * LENGTHS
        self.mask = Mask()
        self.rows = RowState.empty(0)
        self.before = np.zeros(0, dtype=np.int64)  # maxima as they were for the chunk before
        self.exponents = np.zeros((0, config.bank_rows), dtype=np.int64)

    def write_setup(self, target: int, address: int, data: int) -> None:
        """A word of the table of lengths; other targets change nothing. Raises ValueError for another address."""
        if target == SETUP_LENGTHS:
            if not 0 <= address < LENGTHS:
                raise ValueError(f"address: {address} is not in 0..{LENGTHS - 1} of setup target {target}")
            self.lengths[address] = data & 0xFFFF

    def exponentials(self, mac: Mac, sums: np.ndarray) -> tuple[np.ndarray, bool]:
        """Probabilities int64 (rows, keys) of exact ``sums`` of that shape, and whether a logit that counts is the
        largest or the smallest there is: clamped, or about to be."""
        config = self._config
        logits, _ = logits_of(sums, mac.shift)
        if self.mask.slope:
            logits, _ = saturate(logits + self._added(mac, sums.shape[1]), LOGIT_BITS)
        at_end = (logits == largest(LOGIT_BITS)) | (logits == smallest(LOGIT_BITS))
        allowed = self._allowed(mac, sums.shape[1])
        groups = (len(sums), -1, config.lanes)
        found = probabilities(logits.reshape(groups), allowed.reshape(groups), config.width)
        if mac.fresh or len(self.rows.maximum) != len(sums):
            self.rows = RowState.empty(len(sums))
            self.exponents = np.zeros((len(sums), config.bank_rows), dtype=np.int64)
        self.before = self.rows.maximum.copy()
        self.rows.add(found)
        _, written = mac_rows(mac)
        pairs = np.tile(np.arange(mac.pairs), len(sums) // mac.pairs)
        self.exponents[np.arange(len(sums))[:, None], written[pairs]] = found.exponents
        return found.p.reshape(len(sums), -1), bool(np.any(at_end & allowed))

    def weighed(self, mac: Mac, p: np.ndarray, matrix: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """Sums (rows, outputs) of probabilities ``p`` (rows, keys) times ``matrix`` (outputs, keys), with those
        ``kept`` for the chunk before where the MAC merges."""
        read, _ = mac_rows(mac)
        pairs = np.tile(np.arange(mac.pairs), len(p) // mac.pairs)
        exponents = self.exponents[np.arange(len(p))[:, None], read[pairs]]
        found = Probabilities(p.reshape(len(p), -1, self._config.lanes), exponents)
        sums = weighted_sums(found, matrix, self.rows.maximum, self._config.coefficient_width)
        return sums + aligned(kept, self.before, self.rows.maximum) if mac.merge else sums

    def divided(self, mac: Mac, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Words of the sums divided by the totals of their rows, and which were clamped."""
        return divided(sums, self.rows.total, -mac.shift, self._config.width)

    def _numbers(self, mac: Mac) -> np.ndarray:
        """Number of each row in its block."""
        part, engine, pair = np.meshgrid(np.arange(2), np.arange(self._config.engines), np.arange(mac.pairs),
                                         indexing="ij")
        return (2 * (pair * self._config.engines + engine) + part).reshape(-1)

    def _distances(self, mac: Mac, keys: int) -> np.ndarray:
        """How far each key lies above the limit of each row."""
        return self.mask.key + np.arange(keys) - (self.mask.limit + self._numbers(mac))[:, None]

    def _allowed(self, mac: Mac, keys: int) -> np.ndarray:
        mask, distance = self.mask, self._distances(mac, keys)
        allowed = np.ones(distance.shape, dtype=bool)
        if mask.length:
            allowed &= mask.key + np.arange(keys) < self.lengths[mask.length - 1]
        if mask.upper:
            allowed &= distance <= 0
        if mask.window:
            allowed &= distance >= -mask.window
        return allowed

    def _added(self, mac: Mac, keys: int) -> np.ndarray:
        return self._distances(mac, keys) * self.mask.slope >> SLOPE_FRACTION_BITS - LOGIT_FRACTION_BITS
