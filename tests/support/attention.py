"""Random attentions in a memory, of all kinds of heads, masks and sizes, and what float64 makes of them; those at the
limits of their numbers."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from wingbeat.gen.compiler.program.assemble import assemble
from wingbeat.gen.compiler.program.attention import Attend, Heads
from wingbeat.gen.compiler.program.granularity import Keys, padded_keys
from wingbeat.gen.compiler.program.matrix import Matrix
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Mask
from wingbeat.hw.isa.setup import SETUP_LENGTHS
from wingbeat.hw.numeric import LOGIT_BITS, MAC_TERMS, largest, smallest

SEED = 11
BASE = dict(width=18, element_width=16, coefficient_width=17, half_words=1024, coefficient_words=512, ring_words=512,
            partial_words=256, program_words=16384, memory_bits=15, records=True, descriptors=64)
SHAPES = {"one engine": dict(engines=1, layers=2, stream_words=4, softmax_pairs=16),
          "four engines": dict(engines=4, layers=2, stream_words=8, softmax_pairs=8, finishers=2),
          "one layer": dict(engines=8, layers=1, stream_words=8, softmax_pairs=4, finishers=4),
          "four layers": dict(engines=1, layers=4, stream_words=16, softmax_pairs=4)}
SHIFT, DIVIDE = 14, 12  # of logits, of sums: results are elements of the unit of the values


def attention_config(shape, **changes):
    return CoreConfig.of(**BASE | SHAPES[shape] | changes)


class AttentionCase:
    """Random queries, keys and values of ``inputs`` inputs in a memory, and what float64 makes of them."""

    def __init__(self, config, heads, queries, keys, counts=Keys(), inputs=1, shift=SHIFT):
        rng = np.random.default_rng(SEED)
        self.config, self.heads, self.counts, self.length, self.shift = config, heads, counts, keys, shift
        wide, narrow = heads.queries * heads.features, heads.keys * heads.features
        self.q, self.k, self.v = (rng.integers(-peak, peak, (inputs, rows, features)) for peak, rows, features in (
            (12000, queries, wide), (12000, keys, narrow), (30000, keys, narrow)))
        padded = padded_keys(config, keys)
        self._place(queries, keys, padded, wide, narrow, inputs, rng)

    def _place(self, queries, keys, padded, wide, narrow, inputs, rng):
        config, heads, at = self.config, self.heads, 0
        self.places = {}
        for name, rows, elements in (("q", queries, wide), ("k", padded, narrow), ("v", keys, narrow),
                                     ("turned", narrow, padded), ("result", queries, wide)):
            self.places[name] = []
            for _ in range(inputs):
                self.places[name].append(Matrix.at(at, rows, elements, config))
                at = self.places[name][-1].end
        self.memory = rng.integers(-999, 999, (at, config.memory_elements))  # what is not written is garbage
        self._fill()
        places = (tuple(self.places[name]) for name in ("q", "k", "v", "turned"))
        self.attend = Attend(config, *places, heads, keys, self.counts)

    def _fill(self):
        for name, values in (("q", self.q), ("k", self.k), ("v", self.v)):
            for place, own in zip(self.places[name], values):
                used = Matrix(place.base, len(own), place.elements, place.pitch)
                self.memory[used.base:used.end] = used.pack(own, self.config)

    def set_levels(self, levels):
        """Queries as large as they may be, and keys that are ``levels`` (keys,) all along: logits follow them."""
        self.q[:], self.k[:] = largest(16), np.array(levels)[:, None]
        self._fill()

    def program(self):
        """Of the transposes of all values, and the attention."""
        tasks = self.attend.transfers(tuple(self.places["result"]), self.shift, DIVIDE, "attend")
        setup = [(SETUP_LENGTHS, self.counts.length - 1, self.length)] if self.counts.length else []
        return assemble(self.config, tasks, setup)

    def run(self):
        """Elements (inputs, queries, features) by the model, and the program."""
        program, memory = self.program(), self.memory.copy()
        program.run_model(self.config, memory)
        for place, values in zip(self.places["turned"], self.v):
            assert np.array_equal(place.unpack(memory)[:, :self.length], values.T)
        return np.stack([place.unpack(memory) for place in self.places["result"]]), program

    def exact(self):
        d, share = self.heads.features, self.heads.queries // self.heads.keys
        found = np.zeros(self.q.shape)
        i, j = np.arange(self.q.shape[1])[:, None], np.arange(self.length)
        counts = np.ones((self.q.shape[1], self.length), bool)
        if self.counts.causal:
            counts &= j <= i
        if self.counts.window is not None:
            counts &= np.abs(i - j) <= self.counts.window
        for number in range(len(self.q)):
            for head in range(self.heads.queries):
                own, other = slice(head * d, head * d + d), slice(head // share * d, head // share * d + d)
                # A word is 4 elements of a query; products keep 8 of 15 fraction bits, logits have 12.
                scores = 4 * self.q[number, :, own] @ self.k[number, :, other].T / 2.0 ** (7 + self.shift + 12)
                scores = np.clip(scores, smallest(LOGIT_BITS) / 4096, largest(LOGIT_BITS) / 4096)
                p = np.where(counts, np.exp2(scores), 0)
                found[number, :, own] = p @ self.v[number, :, other] / np.maximum(p.sum(axis=1, keepdims=True), 1e-300)
        return found


class Limit(NamedTuple):
    """An attention at a limit: its case and its program, which keys count, and whether a logit is clamped."""

    name: str
    case: AttentionCase
    program: object
    counts: np.ndarray
    clamps: bool

    @property
    def exact(self):
        """Elements (queries, features)."""
        scores = np.clip(4 * self.case.q[0] @ self.case.k[0].T / 2.0 ** (7 + self.case.shift + 12), -256, 256)
        p = np.where(self.counts, np.exp2(scores - scores[:, self.counts].max(initial=-256)), 0)
        return p @ self.case.v[0] / max(p[0].sum(), 1e-300)


def limit_cases():
    """The largest total there is; logits at both ends, whose maximum jumps by all there is between chunks, late, early,
    or to and fro; chunks in which no key counts, the first, one in the middle, or all of them."""
    config = attention_config("one engine")
    case = AttentionCase(config, Heads(1, 1, 16), 2, MAC_TERMS, shift=20)
    case.set_levels([32700] * MAC_TERMS)
    yield Limit("largest total", case, case.program(), np.ones(MAC_TERMS, bool), False)
    size, chunks, low, high, near = 128, 4, smallest(16), largest(16), 0
    for name, levels, empty in (("late", (low, low, low, high), ()), ("early", (high, low, low, low), ()),
                                ("to and fro", (low, high, low, high), ()), ("none first", (near,) * 4, (0,)),
                                ("none in the middle", (high, near, low, near), (0, 2)),
                                ("none behind a maximum", (high, low, low, low), (2, 3)),
                                ("none", (high,) * chunks, range(chunks))):
        case = AttentionCase(config, Heads(1, 1, 16), 5, chunks * size, shift=6)
        assert case.attend.chosen.keys == size
        case.set_levels(np.repeat(levels, size))
        program, counts = case.program(), np.repeat([chunk not in empty for chunk in range(chunks)], size)
        steps = [replace(step, limit=-99, upper=True) if isinstance(step, Mask) and step.key // size in empty
                 else step for step in program.instructions]
        shown = {level for chunk, level in enumerate(levels) if chunk not in empty}
        yield Limit(name, case, replace(program, instructions=steps), counts, bool(shown - {near}))
