"""A classifier of 8x8 digits whose linear layers are butterflies and whose mixing is a 2-D FFT.

The network is the FABNet block (``x += Re(FFT_tokens(FFT_hidden(LN x)))``, ``x += W2 GELU(W1 LN x)``, arXiv
2209.09570) on a real task: an image is 8 tokens, its rows, of 8 pixels each. Embedding, both feed-forward
matrices and the head are butterfly matrices in the torch-butterfly layout; there is no dense matrix.

:func:`forward` is the float reference in numpy. Its butterfly and FFT layers are callables, so the same few
lines also run the network on the integer model or on simulated Verilog; what stays in numpy is listed in
``NUMPY_OPERATIONS``. ``gen/train/digits.py`` trains the shipped weights.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import hashlib
from importlib import resources
import json
import math
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import load_file

from ..hw.errors import WingbeatError
from ..sim.reference import butterfly_multiply, mixing
from .checkpoint import ButterflyWeights, read_checkpoint

__all__ = ["Sizes", "Network", "Split", "NUMPY_OPERATIONS", "load_split", "load_network",
           "float_butterfly", "float_mixing", "forward", "accuracy"]

NUMPY_OPERATIONS = ("LayerNorm", "GELU", "bias", "position", "residual addition", "arg max")
_SPLIT_SEED = 20220
_HELD_OUT_SHARE = 0.3
LAYER_NORM_EPSILON = 1e-5

Step = Callable[[str, np.ndarray], np.ndarray]  # name of a layer, its input -> its output


class Sizes(BaseModel):
    """Shape of the network. ``hidden``, ``tokens`` and ``expansion`` are powers of two."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    tokens: int = Field(8, ge=1)
    pixels: int = Field(8, ge=1, description="inputs per token")
    hidden: int = Field(64, ge=2)
    expansion: int = Field(4, ge=1, description="feed-forward width = expansion * hidden")
    blocks: int = Field(2, ge=1)
    classes: int = Field(10, ge=2)

    def butterflies(self) -> Iterator[tuple[str, int, int, bool]]:
        """(name, in_size, out_size, increasing_stride) of every butterfly layer, in order.

        The second feed-forward matrix runs from large stride to small, the others from small to large, as a
        matrix and its transpose do.
        """
        wide = self.expansion * self.hidden
        yield "embed", self.pixels, self.hidden, True
        for block in range(self.blocks):
            yield f"block{block}.w1", self.hidden, wide, True
            yield f"block{block}.w2", wide, self.hidden, False
        yield "head", self.tokens * self.hidden, self.classes, True

    def mixings(self) -> list[str]:
        """Names of the 2-D FFT layers, in order."""
        return [f"block{block}.mix" for block in range(self.blocks)]


@dataclass(frozen=True, eq=False)
class Network:
    """Sizes, butterfly layers by name, and the other float64 parameters: ``position``, LayerNorm scales.

    ``record`` is what the training wrote beside the weights: seed, epochs, split, held-out accuracy.
    """

    sizes: Sizes
    butterflies: dict[str, ButterflyWeights]
    parameters: dict[str, np.ndarray]
    record: dict[str, Any]


@dataclass(frozen=True)
class Split:
    """Images (count, 8, 8) in [-1, 1] and labels, cut into a training and a held-out part."""

    train_images: np.ndarray
    train_labels: np.ndarray
    held_images: np.ndarray
    held_labels: np.ndarray
    held_indices: np.ndarray

    @property
    def fingerprint(self) -> str:
        """sha256 of the held-out indices, so that weights and data can be matched."""
        return hashlib.sha256(self.held_indices.astype("<i4").tobytes()).hexdigest()


def load_split() -> Split:
    """scikit-learn's bundled digits (1,797 images), 30 % of every class held out with a fixed seed."""
    from sklearn.datasets import load_digits  # slow to import, and only this function needs it

    data = load_digits()
    images, labels = data.images / 8.0 - 1.0, data.target.astype(np.int64)
    rng = np.random.default_rng(_SPLIT_SEED)
    held = []
    for label in range(10):
        members = rng.permutation(np.flatnonzero(labels == label))
        held.append(members[:round(_HELD_OUT_SHARE * len(members))])
    held_indices = rng.permutation(np.concatenate(held))
    train = np.setdiff1d(np.arange(len(labels)), held_indices)
    return Split(images[train], labels[train], images[held_indices], labels[held_indices], held_indices)


def load_network() -> Network:
    """The shipped weights (``gen/networks``). Raises WingbeatError when the files do not belong together."""
    folder = resources.files(__package__) / "networks"
    record = json.loads((folder / "digits.json").read_text(encoding="utf-8"))
    sizes = Sizes.model_validate(record["sizes"])
    with resources.as_file(folder / "digits.safetensors") as path:
        butterflies = read_checkpoint(path)
        tensors = load_file(path)
    expected = {name: (n_in, n_out, up) for name, n_in, n_out, up in sizes.butterflies()}
    found = {name: (w.in_size, w.out_size, w.increasing_stride) for name, w in butterflies.items()}
    if found != expected:
        raise WingbeatError(f"digits.safetensors: butterfly layers are {found}; the sizes ask for {expected}")
    others = {name: value.astype(np.float64) for name, value in tensors.items()
              if name.rpartition(".")[0] not in butterflies}
    return Network(sizes, butterflies, others, record)


def float_butterfly(network: Network) -> Step:
    """The float64 reference of every butterfly layer."""
    def step(name: str, rows: np.ndarray) -> np.ndarray:
        w = network.butterflies[name]
        return butterfly_multiply(w.twiddle, rows, w.increasing_stride, w.out_size) + w.bias
    return step


def float_mixing(name: str, x: np.ndarray) -> np.ndarray:
    """The float64 reference of every mixing layer: Re(FFT2(x)) with the factor that keeps the power."""
    return mixing(x) / math.sqrt(x.shape[-1] * x.shape[-2])


def _layer_norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred ** 2).mean(axis=-1, keepdims=True) + LAYER_NORM_EPSILON) * scale


def _gelu(x: np.ndarray) -> np.ndarray:
    """The usual approximation by tanh, which the training uses too."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def forward(network: Network, images: np.ndarray, butterfly: Step | None = None,
            fft2: Step | None = None) -> np.ndarray:
    """Logits (count, classes) of ``images`` (count, tokens, pixels).

    ``butterfly(name, rows)`` takes rows (count * tokens, in_size), or (count, in_size) for the head, and
    returns (rows, out_size) with the bias; ``fft2(name, x)`` takes and returns (count, tokens, hidden). Each
    is called once per layer with all images. The defaults are the float references.
    """
    butterfly = butterfly or float_butterfly(network)
    fft2 = fft2 or float_mixing
    p = network.parameters

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return butterfly(name, x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)

    x = linear("embed", images) + p["position"]
    for block in (f"block{number}" for number in range(network.sizes.blocks)):
        x = x + fft2(f"{block}.mix", _layer_norm(x, p[f"{block}.norm1.scale"]))
        wide = _gelu(linear(f"{block}.w1", _layer_norm(x, p[f"{block}.norm2.scale"])))
        x = x + linear(f"{block}.w2", wide)
    return linear("head", _layer_norm(x, p["norm.scale"]).reshape(len(x), -1))


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows whose largest logit is that of the label."""
    return float((logits.argmax(axis=1) == labels).mean())
