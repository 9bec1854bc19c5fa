"""What a program may ask of the MACs of its softmaxes beyond what hardware looks at: what rows and banks remember."""

from collections.abc import Iterable

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.encoding import FIELDS
from ...hw.isa.instruction import Mac, Mask, Opcode, Pass, Softmax
from ...hw.numeric import MAC_TERMS
from .mac_rules import mac_rows

__all__ = ["check_softmax"]

_KEYS = 1 << dict(FIELDS[Opcode.MASK])["key"]  # numbers that a key may have


def check_softmax(config: CoreConfig, steps: Iterable[tuple[Pass | Mac, Mask]]) -> None:
    """Raises ValueError naming the field of the first MAC of a program that breaks a rule: it goes on with rows of
    another softmax, weighs what is no probability of its row, or has keys beyond the last number or too many. ``steps``
    in the order in which they run, each with its mask."""
    rows = _Rows(config)
    for step, mask in steps:
        if isinstance(step, Mac) and step.softmax is Softmax.LOGITS:
            rows.add(step, mask)
        elif isinstance(step, Mac) and step.softmax is Softmax.VALUES:
            rows.weigh(step)


class _Rows:
    """Of the present softmax: its last MAC of logits, how many keys it has had, and the row pair whose probabilities
    each row of the banks has, -1 for none."""

    def __init__(self, config: CoreConfig):
        self._lanes, self._bank_rows = config.lanes, config.bank_rows
        self._last: Mac | None = None
        self._keys = 0
        self._owners = np.empty(0, dtype=np.int64)

    def add(self, logits: Mac, mask: Mask) -> None:
        keys = logits.outputs * self._lanes
        if logits.fresh:
            self._keys, self._owners = 0, np.full(self._bank_rows, -1, dtype=np.int64)
        elif self._last is None or self._last.pairs != logits.pairs:
            known = self._last.pairs if self._last else 0
            raise ValueError(f"fresh: False of a MAC of {logits.pairs} row pairs; the softmax before has {known}")
        if mask.key + keys > _KEYS:
            raise ValueError(f"key: {mask.key} of the first of {keys} keys; allowed are {_KEYS - keys} and less")
        self._keys += keys
        if self._keys > MAC_TERMS:
            raise ValueError(f"outputs: {self._keys} keys of a softmax are too many; allowed are {MAC_TERMS}")
        self._last = logits
        _, written = mac_rows(logits)
        self._owners[written] = np.arange(logits.pairs)[:, None]

    def weigh(self, values: Mac) -> None:
        known = self._last.pairs if self._last else 0
        if known != values.pairs:
            raise ValueError(f"pairs: {values.pairs} of a MAC of VALUES; the softmax before has {known}")
        read, _ = mac_rows(values)
        if np.any(self._owners[read] != np.arange(values.pairs)[:, None]):
            raise ValueError(f"out_base: {values.out_base} of a MAC of VALUES; not all rows from there on are "
                             "probabilities of their row pairs")
        if values.merge and self._last is not None and self._last.fresh:
            raise ValueError("merge: the sums that were kept belong to the softmax before; a fresh one has begun")
