"""Which words behind the setup port the blocks of a program use, and whether a FETCH may change them when it does.

Records are played while blocks are under way. What a block under way still reads must stay as it is.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.descriptor import DESCRIPTOR_WORDS
from ...hw.isa.instruction import Fetch, Mode, Pass, Read, Write
from ...hw.isa.parameter_set import SET_WORDS, SETS, Activation
from ...hw.isa.setup import (LENGTHS, SETUP_ACTIVATION, SETUP_CHANNELS, SETUP_LENGTHS, SETUP_READ_SETS, SETUP_READER,
                             SETUP_WRITE_SETS, SETUP_WRITER, SetupWrite)
from ...hw.isa.vector_tables import SEGMENTS
from .vector_unit import VectorUnit

__all__ = ["TablesInUse", "DESCRIPTOR_LEAD"]

DESCRIPTOR_LEAD = 8  # beats of the WRITE before one whose descriptor is fetched: it is read before its data come
_STEERING = {SETUP_READER, SETUP_WRITER, SETUP_READ_SETS, SETUP_WRITE_SETS}  # they decide where beats stand


class TablesInUse:
    """The last block that uses each word of the tables. To be told of a program in the order of the reader.

    A WRITE is known to be complete where a command of the reader has waited for it. A word that a FETCH changes must
    not belong to a block whose WRITE is not known to be complete; the sets of SUMS belong to the block that follows. A
    descriptor must be there when its command begins, which a WAIT makes sure of. Without a WAIT one of the reader needs
    a FETCH with a fence; and as a WRITE begins while the block before it leaves, a FETCH brings its descriptor in front
    of the READ of that block, which writes at least DESCRIPTOR_LEAD beats.
    """

    def __init__(self, config: CoreConfig):
        self._config, self._complete = config, 0
        sizes = {**dict.fromkeys(range(config.n_units), config.coefficient_words),
                 SETUP_WRITER: config.descriptors * DESCRIPTOR_WORDS,
                 SETUP_READ_SETS: SETS * SET_WORDS, SETUP_WRITE_SETS: SETS * SET_WORDS,
                 SETUP_CHANNELS: config.channel_beats * config.memory_elements, SETUP_ACTIVATION: SEGMENTS,
                 SETUP_LENGTHS: LENGTHS}
        self._last = {target: np.full(size, -1, dtype=np.int64) for target, size in sizes.items()}
        # Descriptors that were fetched, by target and number: the number of the FETCH, its tag, whether it has a fence.
        self._fetched: dict[tuple[int, int], tuple[int, int, bool]] = {}
        self._fetches = 0
        self._beats = 0  # of the WRITE before

    def command(self, tag: int, read: Read, waited: int) -> None:
        """A command of the reader in front of or of READ ``tag``, handed out when ``waited`` FETCHes were played.
        Raises ValueError where its descriptor may not be there."""
        if read.after:
            self._complete = max(self._complete, tag - read.after + (read.after_beats == 0))
        number, at, is_fenced = self._fetched.pop((SETUP_READER, read.descriptor), (-1, 0, True))
        if number >= waited and not is_fenced:
            raise ValueError(f"fence: False of the FETCH before READ {at}, which brings descriptor {read.descriptor} "
                             f"of a command before READ {tag + 1}; allowed is True, or a WAIT between them")
        if read.vector:
            self._use(SETUP_READ_SETS, read.vector * SET_WORDS, SET_WORDS, tag)

    def block(self, tag: int, passes: Sequence[Pass], write: Write, waited: int, beats: int,
              vector: VectorUnit) -> None:
        """Passes and WRITE of block ``tag``, of which ``beats`` beats are written; ``waited`` as above. Raises
        ValueError where its WRITE may find another descriptor than the one that was fetched for it."""
        number, at, _ = self._fetched.pop((SETUP_WRITER, write.descriptor), (-1, 0, False))
        if number >= waited and (tag <= at or self._beats < DESCRIPTOR_LEAD):
            raise ValueError(f"descriptor: {write.descriptor} of WRITE {tag} is fetched in front of READ {at}, and the "
                             f"WRITE before has {self._beats} beats; a WRITE reads it while the block before leaves, "
                             f"so it must be fetched in front of READ {tag - 1}, of at least {DESCRIPTOR_LEAD} beats, "
                             "or a WAIT stand before it")
        self._beats = beats
        self._use(SETUP_WRITER, write.descriptor * DESCRIPTOR_WORDS, DESCRIPTOR_WORDS, tag)
        if write.vector:
            self._add_write_set(tag, write.vector, vector)
        units = self._config.lanes // 2
        for step in passes:
            words = min((step.groups - 1) >> step.coef_shift, (1 << step.coef_mask_bits) - 1) + 1
            columns = [q for q in range(self._config.layers) if step.active >> q & 1 and step.mode is not Mode.PASS]
            for target in (unit for q in columns for unit in range(q * units, (q + 1) * units)):
                self._use(target, step.coef_base, words, tag)

    def lengths(self, tag: int, numbers: Iterable[int]) -> None:
        """Lengths of the masks of block ``tag``, of which 0 is none."""
        for number in numbers:
            self._use(SETUP_LENGTHS, number - 1, int(number > 0), tag)

    def change(self, tag: int, fetch: Fetch, records: Sequence[SetupWrite], is_changed: bool) -> None:
        """The ``records`` of a FETCH in front of READ ``tag``; ``is_changed``: the program writes them itself. Raises
        ValueError where what they change is in use, or depends on when or on results."""
        for target, address, _ in records:
            if target in _STEERING and is_changed:
                raise ValueError(f"record: the FETCH before READ {tag} changes word {address} of setup target {target} "
                                 "by results of the program; allowed are records that it does not write")
            if target == SETUP_READER and address // DESCRIPTOR_WORDS == fetch.descriptor:
                raise ValueError(f"record: the FETCH before READ {tag} changes word {address} of setup target "
                                 f"{target}, which belongs to descriptor {fetch.descriptor}, its own; allowed are "
                                 "others")
            last = self._last.get(target)
            if last is not None and address < len(last) and last[address] >= self._complete:
                raise ValueError(f"after: the FETCH before READ {tag} changes word {address} of setup target {target}, "
                                 f"which block {last[address]} uses; it has not waited for WRITE {last[address]}")
            if target in (SETUP_READER, SETUP_WRITER):
                self._fetched[target, address // DESCRIPTOR_WORDS] = self._fetches, tag, fetch.fence
        self._fetches += 1

    def _add_write_set(self, tag: int, number: int, vector: VectorUnit) -> None:
        self._use(SETUP_WRITE_SETS, number * SET_WORDS, SET_WORDS, tag)
        chosen, elements = vector.write_set(number), self._config.memory_elements
        if chosen.rescale:
            self._use(SETUP_CHANNELS, chosen.base * elements, (chosen.chunk_mask + 1) * elements, tag)
        if chosen.activation is Activation.GELU:
            self._use(SETUP_ACTIVATION, 0, SEGMENTS, tag)

    def _use(self, target: int, first: int, count: int, tag: int) -> None:
        self._last[target][first:first + count] = tag
