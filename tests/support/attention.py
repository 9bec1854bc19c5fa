"""Random attentions in a memory, of all kinds of heads, masks and sizes, and what float64 makes of them."""

import numpy as np

from wingbeat.gen.compiler.program.assemble import assemble
from wingbeat.gen.compiler.program.attention import Attend
from wingbeat.gen.compiler.program.granularity import Keys, padded_keys
from wingbeat.gen.compiler.program.matrix import Matrix
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.setup import SETUP_LENGTHS

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

    def __init__(self, config, heads, queries, keys, counts=Keys(), inputs=1):
        rng = np.random.default_rng(SEED)
        self.config, self.heads, self.counts, self.length = config, heads, counts, keys
        wide, narrow = heads.queries * heads.features, heads.keys * heads.features
        self.q, self.k, self.v = (rng.integers(-peak, peak, (inputs, rows, features)) for peak, rows, features in (
            (12000, queries, wide), (12000, keys, narrow), (30000, keys, narrow)))
        padded, at = padded_keys(config, keys), 0
        self.places = {}
        for name, rows, elements in (("q", queries, wide), ("k", padded, narrow), ("v", keys, narrow),
                                     ("turned", narrow, padded), ("result", queries, wide)):
            self.places[name] = []
            for _ in range(inputs):
                self.places[name].append(Matrix.at(at, rows, elements, config))
                at = self.places[name][-1].end
        self.memory = rng.integers(-999, 999, (at, config.memory_elements))  # what is not written is garbage
        for name, values in (("q", self.q), ("k", self.k), ("v", self.v)):
            for place, own in zip(self.places[name], values):
                used = Matrix(place.base, len(own), place.elements, place.pitch)
                self.memory[used.base:used.end] = used.pack(own, config)
        places = (tuple(self.places[name]) for name in ("q", "k", "v", "turned"))
        self.attend = Attend(config, *places, heads, keys, counts)

    def program(self):
        """Of the transposes of all values, and the attention."""
        tasks = self.attend.transfers(tuple(self.places["result"]), SHIFT, DIVIDE, "attend")
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
                scores = 4 * self.q[number, :, own] @ self.k[number, :, other].T / 2.0 ** (7 + SHIFT + 12)
                p = np.where(counts, np.exp2(scores), 0)
                found[number, :, own] = p @ self.v[number, :, other] / np.maximum(p.sum(axis=1, keepdims=True), 1e-300)
        return found
