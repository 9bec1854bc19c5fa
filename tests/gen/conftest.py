"""Small random networks for the tests of the network compiler, written as text:

    "b24 position (norm mix) (norm b40x2- gelu b24!) mean b5"

b24: a butterfly with 24 outputs, x2: of two blocks, -: strides decrease, !: without bias. d24: a linear layer, d24!
without bias, d24/2:4 pruned for a core of two layers. e24: an embedding, at the begin and with vocabulary=True only:
``features`` is then the number of its rows. attention/dsbb: q dense, k 2:4, v and out butterflies, as all four are of
attention; attention:4,2,16: 4 heads, 2 of keys, of 16 features. A residual stands in parentheses. norm! has no bias,
mixnone no norm; tanh is the other gelu.
"""

from itertools import count
import json
import math
import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from wingbeat.gen.compiler.kernel.sparse import Pattern, kept_weights
from wingbeat.gen.compiler.network.load import load_network
from wingbeat.gen.presets.select import load_preset

WORDS = {"tanh": {"kind": "gelu", "approximate": "tanh"}, "mix": {"kind": "mixing"},
         "mixnone": {"kind": "mixing", "norm": "none"}}


class Tables:
    """Follows the shape through the layers of a text; makes their tensors and their tables of the network file."""

    def __init__(self, tokens, features, rng):
        self.tokens, self.features, self.rng = tokens, features, rng
        self.tensors, self.names = {}, count()

    def read(self, text):
        words, stack = re.findall(r"[()]|[^\s()]+", text), [[]]
        for word in words:
            if word == "(":
                stack.append([])
            elif word == ")":
                layers = ", ".join(stack.pop())
                stack[-1].append(f'{{kind = "residual", layers = [{layers}]}}')
            else:
                stack[-1].append(_inline(self.layer(word)))
        [layers] = stack
        return ", ".join(layers)

    def layer(self, word):
        name = f"{word[0]}{next(self.names)}"
        if match := re.fullmatch(r"b(\d+)(?:x(\d))?(-?)(!?)", word):
            return self.butterfly(name, int(match[1]), int(match[2] or 1), match[3], match[4])
        if match := re.fullmatch(r"d(\d+)(!?)(?:/(\d+:\d+))?", word):
            return self.linear(name, int(match[1]), match[2], match[3])
        if match := re.fullmatch(r"e(\d+)", word):
            return self.embedding(name, int(match[1]))
        if word.startswith("norm"):
            self.tensors[f"{name}.weight"] = self.rng.uniform(0.3, 1.2, self.features)
            if word == "norm":
                self.tensors[f"{name}.bias"] = 0.3 * self.rng.standard_normal(self.features)
            return {"kind": "layernorm", "weights": name}
        if word == "position":
            self.tensors[name] = 0.5 * self.rng.standard_normal((self.tokens, self.features))
            return {"kind": "position", "weights": name}
        if match := re.fullmatch(r"attention(?:/([bds]{4}))?(?::(\d+),(\d+),(\d+))?", word):
            return self.attention(name, match[1] or "bbbb", [int(number) for number in match.groups()[1:] if number])
        if word in ("mean", "flatten"):
            self.features *= self.tokens if word == "flatten" else 1
            self.tokens = 1
        return WORDS.get(word, {"kind": word})

    def attention(self, name, kinds, heads):
        features, fields = self.features, {"heads": 2}
        query = key = features
        if heads:
            fields = dict(zip(("heads", "key_heads", "head_features"), heads))
            query, key = heads[0] * heads[2], heads[1] * heads[2]
        for part, kind, out in zip(("q", "k", "v", "out"), kinds, (query, key, key, features)):
            self.features = query if part == "out" else features
            if kind == "s":
                fields.setdefault("sparsity", {})[part] = "2:4"
            if kind in "ds":
                self.linear(f"{name}.{part}", out, "", "2:4" if kind == "s" else "")
            else:
                self.butterfly(f"{name}.{part}", out, 1, "", "")
        return {"kind": "attention", "weights": name, **fields}

    def butterfly(self, name, out, n_blocks, decreasing, without_bias):
        self.tensors[f"{name}.twiddle"] = self.twiddle(out, n_blocks)
        if not without_bias:
            self.tensors[f"{name}.bias"] = 0.3 * self.rng.standard_normal(out)
        self.features = out
        return {"kind": "butterfly", "weights": name, "out_features": out, "increasing_stride": not decreasing}

    def linear(self, name, out, without_bias, sparsity):
        weight = self.rng.standard_normal((out, self.features)) / math.sqrt(self.features)
        if sparsity:
            pattern = Pattern.parse(sparsity)
            weight *= kept_weights(weight, pattern._replace(stride=max(4, self.features // pattern.m & -8)), 2)
        self.tensors[f"{name}.weight"] = weight
        if not without_bias:
            self.tensors[f"{name}.bias"] = 0.3 * self.rng.standard_normal(out)
        self.features = out
        return {"kind": "linear", "weights": name, **({"sparsity": sparsity} if sparsity else {})}

    def embedding(self, name, out):
        self.tensors[f"{name}.weight"] = self.rng.standard_normal((self.features, out))
        self.features = out
        return {"kind": "embedding", "weights": name}

    def twiddle(self, out, n_blocks):
        bits = max(1, (self.features - 1).bit_length())
        shape = (-(-out >> bits), n_blocks, bits, 1 << bits - 1, 2, 2)
        return self.rng.standard_normal(shape) / math.sqrt(2)


def _inline(fields):
    return "{" + ", ".join(f"{key} = {_inline(value) if isinstance(value, dict) else json.dumps(value)}"
                           for key, value in fields.items()) + "}"


class Networks:
    """Writes and loads networks in a folder of their own."""

    def __init__(self, folder):
        self.folder, self.numbers = folder, count()

    def write(self, text, tokens=4, features=16, seed=1, vocabulary=False):
        """Paths of network file and checkpoint."""
        folder = self.folder / str(next(self.numbers))
        folder.mkdir()
        tables = Tables(tokens, features, np.random.default_rng(seed))
        layers, size = tables.read(text), "vocabulary" if vocabulary else "features"
        (folder / "net.toml").write_text(f'name = "net"\nignore = ["epoch"]\nlayers = [{layers}]\n[input]\n'
                                         f"tokens = {tokens}\n{size} = {features}\n")
        save_file({**tables.tensors, "epoch": np.zeros(1)}, folder / "net.safetensors")
        return folder / "net.toml", folder / "net.safetensors"

    def load(self, text, tokens=4, features=16, seed=1, vocabulary=False):
        """The network, and 24 inputs for it."""
        rng = np.random.default_rng([seed, 1])
        network = load_network(*self.write(text, tokens, features, seed, vocabulary))
        if vocabulary:
            return network, rng.integers(features, size=(24, tokens))
        return network, 0.7 * rng.standard_normal((24, tokens, features))

    @staticmethod
    def config(**changes):
        """The preset for networks, changed."""
        return load_preset("hybrid-16").changed(**changes)

    @staticmethod
    def ring(**changes):
        """The same with a ring, for linear layers, dense and sparse ones."""
        return load_preset("hybrid-16").changed(**{"records": True, "ring_words": 512, "sparse": True} | changes)

    @staticmethod
    def by_id(**changes):
        """The same with ids of rows, for an embedding."""
        return Networks.ring(**{"row_ids": 64} | changes)


@pytest.fixture(scope="session")
def networks(tmp_path_factory):
    return Networks(tmp_path_factory.mktemp("networks"))
