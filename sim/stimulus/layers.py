"""Layers of random jobs: equal blocks, the order of their instructions, and what each of them must wait for.

sim/stimulus/processor.py draws the layers; here their READs, SUMS and residuals get the ``after`` that they need.
"""

from dataclasses import dataclass
import random

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.descriptor import Descriptor
from ...hw.isa.encoding import FIELDS
from ...hw.isa.instruction import (Halt, Instruction, Load, Loop, MemoryMode, Opcode, Pass, Read, Set, Store, Sums,
                                   Unit, Write)
from ..model.memory import read_addresses, write_addresses
from ..model.races import Asking, first_race
from .vector import RandomSets, SummedRows

__all__ = ["RandomLayer", "LayerSums", "Region", "Waits", "ordered_program"]

_MOST_AFTER = (1 << dict(FIELDS[Opcode.READ])["after"]) - 1


@dataclass(frozen=True)
class Region:
    """One side of a layer: descriptor (``number`` in its table), mode, and where the block numbers 0.. stand."""

    number: int
    descriptor: Descriptor
    mode: MemoryMode
    rows: int
    span: int           # beats from the lowest to the highest that a block can name, both included
    register: int = 0
    base: int = 0
    increment: int = 0


class Waits:
    """(after, after_beats) of the READs of a layer, or of its SUMS: one for all ``of``, or one for each block."""

    def __init__(self, blocks: int, shared: bool):
        self.of = [(0, 0)] * (1 if shared else blocks)

    def slot(self, block: int) -> int:
        return block if len(self.of) > 1 else 0

    def at(self, block: int) -> tuple[int, int]:
        return self.of[self.slot(block)]

    def require(self, tag: int, block: int, blocks: int, writer: int) -> None:
        """Block number ``block`` of ``blocks``, which has ``tag``, sees all of WRITE ``writer``. What is one for all
        stays so unless it would name a WRITE before the first."""
        distance = min(tag - writer, _MOST_AFTER)
        if len(self.of) == 1 and distance > tag - block:
            self.of = self.of * blocks
        slot = self.slot(block)
        self.of[slot] = (min(self.of[slot][0] or distance, distance), 0)


@dataclass
class LayerSums:
    """The SUMS in front of the first block of a layer, or of ``every`` one."""

    number: int
    rows: SummedRows
    mode: MemoryMode
    vector: int
    register: int
    every: bool
    waits: Waits

    def at(self, block: int, following: int) -> list[Instruction]:
        """``following``: the base of the READ. One SUMS alone has its register, more have one of their own."""
        if block and not self.every:
            return []
        moved = self.rows.increment if self.every else following - self.rows.base
        setting = [Set(Unit.READER, self.register, self.rows.base)] if block == 0 else []
        return [*setting, Sums(self.number, self.register, self.rows.rows, self.mode, moved, self.waits.at(block)[0],
                               self.waits.at(block)[1], vector=self.vector)]

    def asked(self, config: CoreConfig, block: int) -> np.ndarray:
        """Beats that the SUMS in front of this block asks for."""
        words, base = self.rows.descriptor.words(config.beat_groups), self.rows.base + block * self.rows.increment
        return read_addresses(config, words, Sums(self.number, self.register, self.rows.rows, self.mode), base)


@dataclass
class RandomLayer:
    """Equal blocks but for the parameter sets of their READs and WRITEs."""

    blocks: int
    read: Region
    load: Load
    passes: list[Pass]
    store: Store
    write: Region
    fold: tuple[int, int]
    waits: Waits
    loops: bool
    read_sets: list[int]
    write_sets: list[int]
    sums: LayerSums | None = None

    def read_at(self, block: int) -> Read:
        p = self.read
        return Read(p.number, p.register, p.rows, p.mode, p.increment, *self.waits.at(block),
                    vector=self.read_sets[block])

    def write_at(self, block: int) -> Write:
        p = self.write
        return Write(p.number, p.register, p.rows, p.mode, p.increment, *self.fold, vector=self.write_sets[block])

    def front(self, block: int) -> list[Instruction]:
        """Up to the load. A load may follow the store of the block before the last one where that is of this layer."""
        sums = self.sums.at(block, self.read.base) if self.sums else []
        own = block == 0 and not (self.sums and self.sums.register == self.read.register)
        setting = [Set(Unit.READER, self.read.register, self.read.base)] if own else []
        return [*sums, *setting, self.read_at(block), self.load if block >= 2 else Load(self.load.walk)]

    def back(self, block: int) -> list[Instruction]:
        setting = [Set(Unit.WRITER, self.write.register, self.write.base)] if block == 0 else []
        return [*self.passes, self.store, *setting, self.write_at(block)]

    def asked(self, config: CoreConfig, block: int) -> np.ndarray:
        """Beats that READ number ``block`` asks for."""
        words = self.read.descriptor.words(config.beat_groups)
        return read_addresses(config, words, self.read_at(block), self.read.base + block * self.read.increment)

    def written(self, config: CoreConfig, block: int) -> np.ndarray:
        """Beats that WRITE number ``block`` writes, in order."""
        words = self.write.descriptor.words(config.beat_groups)
        base = self.write.base + block * self.write.increment
        writes = write_addresses(config, words, self.write_at(block), base)
        return writes.address[writes.enabled]


def ordered_program(config: CoreConfig, layers: list[RandomLayer], depth: int, lead: int, sets: RandomSets,
                     rng: random.Random) -> list[Instruction]:
    """The program in which every READ waits for what it needs, and some for more or for part of it."""
    order = _Order(config, layers, depth, sets)
    for layer, first in zip(layers, order.first):
        for waits in (layer.waits, *([layer.sums.waits] if layer.sums else [])):
            if rng.random() < 0.15 and first:
                waits.of = [(rng.randint(1, min(3, first)), 0)] * len(waits.of)
    order.resolve()
    order.relax(rng)
    order.resolve()
    return _program(layers, lead, rng)


@dataclass(frozen=True)
class _Taker:
    """A READ, its SUMS or the residual of its WRITE: the ``beats`` that block ``block`` with ``tag`` takes as
    ``waits`` allow."""

    tag: int
    block: int
    waits: Waits
    beats: np.ndarray
    residual: bool = False

    @property
    def asking(self) -> Asking:
        return Asking(self.tag + self.residual, (0, 0) if self.residual else self.waits.at(self.block), self.beats)


class _Order:
    """Which beats the blocks of ``layers`` read and write, and what their READs and SUMS must wait for."""

    def __init__(self, config: CoreConfig, layers: list[RandomLayer], depth: int, sets: RandomSets):
        self.blocks = [(layer, block) for layer in layers for block in range(layer.blocks)]
        self.first = np.cumsum([0, *(layer.blocks for layer in layers)]).tolist()[:-1]
        self.depth, self.takers, self.written = depth, [], []
        for tag, (layer, block) in enumerate(self.blocks):
            sums = layer.sums if layer.sums and (block == 0 or layer.sums.every) else None
            if sums:
                self.takers.append(_Taker(tag, block, sums.waits, sums.asked(config, block)))
            self.takers.append(_Taker(tag, block, layer.waits, layer.asked(config, block)))
            self.written.append(layer.written(config, block))
            chosen = sets.write.get(layer.write_sets[block])
            if chosen and chosen.residual:
                added = self.written[-1] + chosen.offset & (1 << config.memory_bits) - 1
                self.takers.append(_Taker(tag, block, layer.waits, added, True))

    def resolve(self) -> None:
        """Shorten waits until nothing races."""
        askings = [taker.asking for taker in self.takers]
        while race := first_race(askings, self.written, self.depth):
            at = next(n for n, asking in enumerate(askings)
                      if asking.tag == race.tag and first_race(askings[:n + 1], self.written, self.depth))
            taker = self.takers[at]
            taker.waits.require(taker.tag, taker.block, self.blocks[taker.tag][0].blocks, race.writer)
            askings = [taker.asking for taker in self.takers]

    def relax(self, rng: random.Random) -> None:
        """Let some READs and SUMS wait for as many beats as they need, not for the whole WRITE."""
        for waits, slot in dict.fromkeys((taker.waits, taker.waits.slot(taker.block)) for taker in self.takers):
            takers = [taker for taker in self.takers if taker.waits is waits and waits.slot(taker.block) == slot]
            after = waits.of[slot][0]
            if after and rng.random() < 0.5:
                least = max(self._needed(taker.beats, taker.tag - after) for taker in takers)
                most = min(len(self.written[taker.tag - after]) for taker in takers)
                if least <= most and most:
                    waits.of[slot] = (after, rng.choice((least, rng.randint(least, most))))

    def _needed(self, beats: np.ndarray, writer: int) -> int:
        """Beats of WRITE ``writer`` up to the last one of ``beats``, at least 1."""
        return 1 + int(np.max(np.flatnonzero(np.isin(self.written[writer], beats)), initial=0))


def _program(layers: list[RandomLayer], lead: int, rng: random.Random) -> list[Instruction]:
    """READ and LOAD of a block stand ``lead`` blocks before its passes; equal rounds become a loop."""
    blocks = [(layer, block) for layer in layers for block in range(layer.blocks)]
    fronts, backs = ([part(block) for part, block in parts] for parts in (
        [(layer.front, block) for layer, block in blocks], [(layer.back, block) for layer, block in blocks]))
    program: list[Instruction] = [step for front in fronts[:lead] for step in front]
    rounds = [[step for front in fronts[at + lead:at + lead + 1] for step in front] + back
              for at, back in enumerate(backs)]
    at = 0
    while at < len(rounds):
        count = 1
        while blocks[at][0].loops and at + count < len(rounds) and rounds[at + count] == rounds[at]:
            count += 1
        start = len(program)
        program += rounds[at]
        if count > 1 or rng.random() < 0.05:
            program.append(Loop(start, count))
        at += count
    return [*program, Halt()]
