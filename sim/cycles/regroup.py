"""Cycle models of what rearranges beats between memory and array: parts of sim/cycles/estimate.py.

Register-accurate models of the control of hw/memory/gather.py, hw/primitives/transposer.py and hw/memory/scatter.py.
One ``step`` is one clock cycle; the consumer of a unit has stepped before it.
"""

from ...hw.config import CoreConfig
from ...hw.isa.instruction import MemoryMode
from ...hw.primitives.parameters import SKID_WORDS

__all__ = ["Regrouper"]

_INPUT, _FIRST, _SECOND, _ROW = range(4)
_WIRES = (MemoryMode.COLUMNS, MemoryMode.SPLIT)


class Regrouper:
    """Regrouper of hw/memory/gather.py, for both ways, with its transposer. ``held`` words stand in its skid buffer."""

    __slots__ = ("side", "mode", "source", "odd", "second_valid", "last", "blocks", "held", "position", "taking",
                 "full", "final")

    def __init__(self, config: CoreConfig):
        self.side = config.engines_per_beat
        self.mode, self.source = MemoryMode.COLUMNS, _INPUT
        self.odd = self.second_valid = self.last = False
        self.blocks = self.held = 0
        self.position, self.taking, self.full, self.final = 0, False, False, False

    def step(self, valid: bool, mode: MemoryMode, last: bool, taken: bool) -> bool:
        """``valid``, ``mode``, ``last``: the beat on offer, taken where True is returned; ``taken``: one leaves."""
        room, same, blocks = self.held < SKID_WORDS, valid and mode is self.mode, self.blocks
        if taken:
            self.held -= 1
        if self.source == _INPUT:
            accept = same and room
            if accept and mode is MemoryMode.SPLIT:
                self.held += self.odd
                self.odd = not self.odd
            elif accept:
                self.held += 1
        else:
            accept = self._tiles(same, last, room)
        if valid and not same and not blocks:
            self.mode = mode
            self.source = _INPUT if mode in _WIRES else _ROW if mode is MemoryMode.ROWS else _FIRST
        return accept

    def _tiles(self, same: bool, last: bool, room: bool) -> bool:
        """A cycle of the modes that use the transposer; whether the beat on offer is taken."""
        source, odd = self.source, self.odd
        pairs, second, both = source != _ROW, source == _SECOND, self.mode is MemoryMode.PAIRS
        t_valid, t_ready = same and (odd or not pairs), room and not second
        offers, takes, final = self._transpose(t_valid, t_ready, last)
        accept = same and (takes or (pairs and not odd))
        given = offers and t_ready
        if second:
            enter, enter_last = room and self.second_valid, self.last
            if room or not self.second_valid:
                self.source = _FIRST
        else:
            enter, enter_last = given, final and not both
            self.second_valid, self.last = both and given, final
            if pairs and (given or (t_valid and takes)):
                self.source = _SECOND
        if accept and pairs:
            self.odd = not odd
        if enter:
            self.held += 1
        self.blocks += (accept and last) - (enter and enter_last)
        return accept

    def _transpose(self, valid: bool, ready: bool, last: bool) -> tuple[bool, bool, bool]:
        """A cycle of hw/primitives/transposer.py: it offers a column, takes a row, and the column is the last of its
        run."""
        if self.side == 1:
            return valid, ready, last
        position, full, end = self.position, self.full, self.position == self.side - 1
        taking = self.taking if position else valid or not (full and self.final)
        offers, takes = full and (valid or not taking), taking and (ready or not full)
        leaves_last = self.final and end
        if (valid or not taking) and (ready or not full):
            self.position, self.taking = 0 if end else position + 1, taking
            if end:
                self.full, self.final = taking, last
        return offers, takes, leaves_last
