"""Stages: the equal blocks of one layer, from their place in memory through the passes and back.

A block uses the low index bits of a half. What each bit means outside, on the way in and on the way out, decides
walks and descriptors: see :class:`Place`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np

from ....hw.config import CoreConfig
from ....hw.isa.descriptor import Descriptor, Move
from ....hw.isa.encoding import FIELDS, LOAD_DECISION
from ....hw.isa.instruction import Destination, Load, Mac, Mask, MemoryMode, Opcode, Pass, Store
from ....hw.isa.parameter_set import ReadSet, WriteSet
from ....hw.isa.walk import Walk
from ....sim.model.array import overtaken

__all__ = ["Place", "LANE", "Side", "IdFetch", "Block", "MatrixPiece", "MatrixStream", "Stage", "build_stage",
           "build_mac_stage", "line", "keeps", "cell_bits"]


_LATEST_LEAD = (1 << dict(FIELDS[Opcode.LOAD])["lead"]) - 1


class Place(NamedTuple):
    """Where an index bit of a block stands in memory.

    ``lane``: bit ``at`` of the lane. ``sub``: bit ``at`` of the sub-steps. ``move``: the bit moves the position by
    ``move``. ``skip``: only on the way out, what has this bit set is not stored.
    """

    kind: Literal["lane", "sub", "move", "skip"]
    at: int = 0
    move: Move = Move(0)


LANE = "lane"


class IdFetch(NamedTuple):
    """The ids that a block and those behind it read by: the descriptor of their FETCH, how many, the first beat."""

    descriptor: Descriptor
    rows: int
    at: int


class Block(NamedTuple):
    """One block of a stage: first beat and valid rows on each side, the rows that FOLD mirrors, the first beats of the
    pieces of the matrix that streams past, and what is fetched in front of it. By id the first beat is the number of
    the first id."""

    read_at: int
    read_rows: int
    write_at: int
    write_rows: int
    fold_from: int = 0
    fold_rows: int = 0
    matrix_at: tuple[int, ...] = ()
    ids: IdFetch | None = None


class MatrixPiece(NamedTuple):
    """What one FETCH brings: rows of ``descriptor``, in all so many ``beats``."""

    descriptor: Descriptor
    rows: int
    beats: int


class MatrixStream(NamedTuple):
    """The matrix of the MACs of a block, in ``pieces`` of a FETCH each. ``destination``: RING, or PICKS of a sparse
    one. Passes and pieces come in so many equal ``parts``, of which one is fetched ahead. ``is_computed``: the program
    writes it itself. ``firsts``: where each part begins, for who knows what it is."""

    pieces: tuple[MatrixPiece, ...]
    destination: Destination
    parts: int = 1
    is_computed: bool = False
    firsts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Side:
    """One side of a stage: mode, the place of every index bit (lowest first), pitch, valid chunks, tail.

    ``mirror`` = n makes the store walk in pairs (``Walk.mirror``). ``other`` and ``keep`` as in :class:`Descriptor`.
    """

    mode: MemoryMode
    places: tuple[Place, ...]
    pitch: int
    chunks: int
    tail: int = 0
    mirror: int = 0
    other: int = 0
    keep: int = 0


@dataclass(frozen=True, eq=False)
class Stage:
    """Blocks that share walks, passes and descriptors.

    ``image``: coefficient writes (words, 3): bank, address, data. ``load`` may overlap a store that walks as
    ``partner`` does: see :meth:`follows`. ``normalise``, ``finish``: what the vector unit does to the beats on their
    way in and out, None for nothing. ``matrix``: what the MACs among the passes multiply with.
    """

    name: str
    load: Load
    partner: Walk
    store: Store
    passes: tuple[Pass | Mac | Mask, ...]
    image: np.ndarray = field(repr=False)
    read: Descriptor
    read_mode: MemoryMode
    write: Descriptor
    write_mode: MemoryMode
    normalise: ReadSet | None = None
    finish: WriteSet | None = None
    matrix: MatrixStream | None = None

    def follows(self, before: "Stage") -> bool:
        """Whether the load may enter a half behind the store of a block of ``before``.

        Both must visit the same sets of words one after the other, and the load must not be over before the store. So
        the block that is loaded may be larger, as long as what it has more are its last steps. Behind a MAC it enters
        other words than those which leave.
        """
        if self.matrix and before.matrix:
            return not overtaken(self.load, before.store.walk, before.store.base)
        if self.matrix or before.matrix:
            return False
        mine, theirs = self.partner, before.store.walk
        more = mine.outer & ~theirs.outer
        alike = all(getattr(mine, name) == getattr(theirs, name) for name in ("window", "sub", "inner", "mirror"))
        return (self.load.overlap and alike and mine.outer | theirs.outer == mine.outer
                and (not more or more & -more > theirs.outer))


def keeps(stage: Stage) -> bool:
    """Whether the sums of its blocks are no results yet."""
    last = stage.passes[-1]
    return isinstance(last, Mac) and last.keep


def cell_bits(config: CoreConfig, mode: MemoryMode) -> int:
    """Sub-step bits on the array's side that a tile of ``mode`` needs."""
    engines = config.engines_per_beat.bit_length() - 1
    return {MemoryMode.COLUMNS: 0, MemoryMode.SPLIT: 1, MemoryMode.ROWS: engines}.get(mode, engines + 1)


def _engine_moves(config: CoreConfig, mode: MemoryMode) -> tuple[tuple[Move, ...], Move]:
    """Moves of the memory's own sub-steps, which run through the rows of a tile, and of a group of engines."""
    engines = config.engines_per_beat
    rows = tuple(Move(1 << bit) for bit in range(engines.bit_length() - 1))
    if mode is MemoryMode.PAIRS:
        return (Move(1), *(Move(2 * move.rows) for move in rows)), Move(2 * engines)
    if mode is MemoryMode.SPLIT:
        return (Move(0, 1),), Move(0, 2)
    return ((), Move(0, 1)) if mode is MemoryMode.COLUMNS else (rows, Move(engines))


def _own(places: Sequence[Place], kind: str) -> tuple[int, ...]:
    """Index bits of one kind, in the order of their ``at``."""
    found = sorted((place.at, bit) for bit, place in enumerate(places) if place.kind == kind)
    return tuple(bit for _, bit in found)


def build_stage(name: str, config: CoreConfig, passes: Sequence[Pass], image: np.ndarray, read: Side,
                write: Side, *, last: bool = False) -> Stage:
    """Walks and descriptors of a stage; load and store overlap where their sub-steps have one length.

    ``last``: nothing of this stage enters the half behind the block, so that its store goes through the rows in order.

    Raises ValueError when the places are no walk of the array.
    """
    bits = len(read.places)
    windows = [_own(side.places, "lane") for side in (read, write)]
    subs = [_own(side.places, "sub") for side in (read, write)]
    skipped = {bit for bit, place in enumerate(write.places) if place.kind == "skip"}
    own = [set(window) | set(sub) for window, sub in zip(windows, subs)]
    if write.mirror:
        # Negation keeps bit 0, and only sets that it keeps can be taken up again one after the other.
        own[1].add(write.mirror - 1)
        together = {bit for bit in range(1, write.mirror)} | own[0] | own[1]
    else:
        together = own[0] | own[1]
    outer = [bit for bit in range(bits) if bit not in together]
    orders = []
    for side, used in zip((read, write), own):
        dropped = skipped if side is write else set()
        inner = sorted(together - used - dropped)
        orders.append((inner, [bit for bit in outer if bit not in dropped]))
    lengths = [len(subs[0]), 1 if write.mirror else len(subs[1])]
    # What the store leaves out must come last, so that the tiles of both have the same numbers.
    aligned = not skipped or set(outer[len(outer) - len(skipped):]) == skipped
    lag = (1 << len(orders[0][0])) - 1
    overlap = lengths[0] == lengths[1] and aligned and lag + LOAD_DECISION <= _LATEST_LEAD
    walks = [Walk(window, _mask(inner), _mask(rest), () if mirror else sub, mirror)
             for window, sub, mirror, (inner, rest) in zip(windows, subs, (0, write.mirror), orders)]
    descriptors = [_descriptor(config, side, [*inner, *rest], sub)
                   for side, (inner, rest), sub in zip((read, write), orders, subs)]
    stage = Stage(name, Load(walks[0], overlap, lag if overlap else 0), walks[1], Store(walks[1]), tuple(passes), image,
                  descriptors[0], read.mode, descriptors[1], write.mode)
    if not last:
        return stage
    steps = sorted([*orders[1][0], *orders[1][1]])
    return replace(stage, store=Store(replace(walks[1], inner=_mask(steps), outer=0)),
                   write=_descriptor(config, write, steps, subs[1]))


def build_mac_stage(name: str, config: CoreConfig, mac: Mac, matrix: MatrixStream, read: Side, write: Side) -> Stage:
    """A stage of one MAC: what is read and what is written are two blocks of their own, in two regions of the half."""
    walks, descriptors = [], []
    for side in (read, write):
        window, sub = _own(side.places, "lane"), _own(side.places, "sub")
        steps = [bit for bit in range(len(side.places)) if bit not in {*window, *sub}]
        walks.append(Walk(window, _mask(steps), 0, sub))
        descriptors.append(_descriptor(config, side, steps, sub))
    # Regions do not meet, but a load must not be over before the store is.
    lag = max(0, walks[1].steps - walks[0].steps)
    return Stage(name, Load(walks[0], True, lag, plain=mac.log2_group > 0), walks[1],
                 Store(walks[1], mac.out_base * config.lanes), (mac,), np.empty((0, 3), dtype=np.int64), descriptors[0],
                 read.mode, descriptors[1], write.mode, matrix=matrix)


def line(config: CoreConfig, beats: int) -> Descriptor:
    """``beats`` beats one after the other."""
    steps = -(-beats // config.beat_groups)
    moves = tuple(Move(config.beat_groups << bit) for bit in range((steps - 1).bit_length()))
    return Descriptor((), Move(1), moves, 1, 1, steps=steps)


def _mask(bits: Sequence[int]) -> int:
    return sum(1 << bit for bit in bits)


def _descriptor(config: CoreConfig, side: Side, steps: Sequence[int], sub: Sequence[int]) -> Descriptor:
    rows, group = _engine_moves(config, side.mode)
    # Sub-steps of the array beyond a tile are moves in memory.
    beyond = tuple(side.places[bit].move for bit in sub[cell_bits(config, side.mode):])
    return Descriptor((*rows, *beyond), group, tuple(side.places[bit].move for bit in steps), side.pitch, side.chunks,
                      side.tail, other=side.other, keep=side.keep)
