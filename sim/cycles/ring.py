"""Cycle models of the ring: who fills it (hw/memory/unpack.py) and who empties it (hw/array/mac_counter.py); parts of
sim/cycles/estimate.py.

Register-accurate models of the control. One ``step`` is one clock cycle. Words are counted without end.
"""

from ...hw.array.parameters import release_delay
from ...hw.config import CoreConfig
from ...hw.isa.instruction import Mac
from ...hw.isa.sparse import pick_sets
from ..model.ring import panel_words

__all__ = ["MacCounter", "Unpack"]


class Unpack:
    """``ready``: a beat is taken; ``filled``: words that were written; ``idle``: no beat and no word is inside.
    ``sets_left``: sets that the last beat of picks still serves."""

    __slots__ = ("layers", "words", "size", "served", "place", "left", "filled", "full", "sets_left")

    def __init__(self, config: CoreConfig):
        self.layers, self.words = config.layers, config.memory_elements // config.lanes
        self.size, self.served, self.sets_left = config.ring_words, pick_sets(config), 0
        self.place = self.left = self.filled = 0  # of the next beat in its set; words of a set that have not left
        self.full = False

    @property
    def idle(self) -> bool:
        return not self.place and not self.left

    def ready(self, hold: bool, sparse: bool = False) -> bool:
        writes = self.left > 0 and not self.full and not hold
        if sparse and not self.sets_left:
            return True
        return self.place < self.layers - 1 or (self.left <= 1 and (writes or not self.left))

    def step(self, offered: bool, hold: bool, released: int, sparse: bool = False, restart: bool = False) -> None:
        """``offered``: there is a beat; ``hold``: the banks are written by the setup port; ``released`` words are free
        again; ``sparse``: it belongs to a FETCH with picks; ``restart``: the next one begins a FETCH."""
        ready, is_last = self.ready(hold, sparse), self.place == self.layers - 1
        if sparse and not self.sets_left:
            self.sets_left, offered = self.served * offered, False
        elif sparse:
            self.sets_left -= offered and ready and is_last
        if restart:
            self.sets_left = 0
        writes = self.left > 0 and not self.full and not hold
        if writes or not self.left:
            self.left = self.left - 1 if self.left > 1 else self.words * (offered and is_last)
        if offered and ready:
            self.place = (self.place + 1) % self.layers
        self.filled += writes
        self.full = self.filled - released == self.size


class MacCounter:
    """``current``: the last MAC that was issued. ``left``: groups of its panel from the present one on, ``panels``
    from the present one on; the words of the last row pair are ``released`` behind a delay."""

    __slots__ = ("config", "current", "panel", "left", "panels", "begun", "surplus", "next_filled", "first_filled",
                 "read", "top", "released")

    def __init__(self, config: CoreConfig):
        self.config, self.current = config, Mac(2, 1, 1, 0, 0, 0, 0)
        self.panel = self.left = self.panels = self.begun = self.surplus = self.released = 0
        self.next_filled = self.first_filled = False
        self.read, self.top = 0, 1 << release_delay(config)  # the delay: a bit for each of its stages

    @property
    def is_last(self) -> bool:
        """The present group is the last one of its panel."""
        return self.left == 1

    @property
    def ends(self) -> bool:
        """The group behind the present one is the last of the MAC."""
        return self.left == 2 and self.panels == 1

    def step(self, load: Mac | None, issued: bool, opens: bool, following: Mac | None, filled: int) -> None:
        """``load``: a MAC that begins with the next cycle; ``issued``: a group is; ``opens``: a panel is begun;
        ``following``: the MAC at hand."""
        self.read = self.read << 1 | (issued and self.left <= self.panel)
        if self.read & self.top:
            self.released += 1
            self.read ^= self.top
        if following is not None:
            self.first_filled = self.surplus >= panel_words(self.config, following)
        self.next_filled = self.surplus >= self.panel
        self.surplus = filled - self.begun
        if issued:
            self.left -= 1
            if not self.left:
                self.left, self.panels = self.panel * self.current.pairs, self.panels - 1
        if opens:
            self.begun += self.panel if load is None else panel_words(self.config, load)
        if load is not None:
            self.current, self.panel = load, panel_words(self.config, load)
            self.left, self.panels = self.panel * load.pairs, load.outputs
