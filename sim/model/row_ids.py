"""Bit-exact model of the ids of rows: at which beats the rows of a READ by id stand, hw/memory/row_ids.py."""

from collections.abc import Sequence

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.bit_fields import unpack
from ...hw.isa.descriptor import ID_FIELDS, OTHER, OTHER_FIELDS, descriptor_entry
from .memory import Positions

__all__ = ["RowIds"]


class RowIds:
    """The begins of rows that the last FETCH of ids has brought."""

    def __init__(self, config: CoreConfig):
        self._config = config
        self._places = np.zeros(0, dtype=np.int64)

    def fetch(self, table: Sequence[int], beats: np.ndarray) -> int | None:
        """Keeps the ids of ``beats`` (n, 2K), by the descriptor ``table``. Returns an id that names no row, if there is
        one. Raises ValueError for more ids than have room."""
        other = unpack(OTHER_FIELDS, descriptor_entry(table, OTHER))
        form = unpack(ID_FIELDS, other["keep"])
        if form["log2_pitch"] >= self._config.memory_bits:
            raise ValueError(f"log2_pitch: {form['log2_pitch']} of rows; allowed are 0..{self._config.memory_bits - 1}")
        if len(beats) > self._config.row_ids:
            raise ValueError(f"row_ids: {self._config.row_ids} are too few for a FETCH of {len(beats)} ids")
        ids = beats[:, 0] & (1 << self._config.element_width) - 1
        self._places = other["other"] + (ids << form["log2_pitch"]) & (1 << self._config.memory_bits) - 1
        over = ids[ids > form["last_id"]]
        return int(over[0]) if over.size else None

    def located(self, positions: Positions) -> Positions:
        """The positions of a READ by id at their beats. Raises ValueError for an id that was not fetched."""
        valid, numbers = positions.valid, positions.address
        outside = numbers[valid & (numbers >= len(self._places))]
        if outside.size:
            raise ValueError(f"by_id: id {outside[0]} of {len(self._places)} that were fetched")
        address = numbers.copy()
        address[valid] = self._places[numbers[valid]] + positions.chunk[valid] & (1 << self._config.memory_bits) - 1
        return positions._replace(address=address)
