"""The digits task: 8 x 8 images of handwritten digits, cut into a training and a held-out part.

An image is 8 tokens, its rows, of 8 pixels each, for the networks of ``gen/train/digits.py``; for that of
``gen/train/patches.py`` it is 16 tokens, patches of 2 x 2 pixels.
"""

from dataclasses import dataclass
import hashlib
import math

import numpy as np

__all__ = ["GRID", "Split", "load_split", "cut_patches", "join_patches"]

GRID = 4  # patches in a row of an image, and in a column

_SPLIT_SEED = 20220
_HELD_OUT_SHARE = 0.3


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


def cut_patches(images: np.ndarray) -> np.ndarray:
    """Images (count, 8, 8) as tokens (count, 16, 4): patches of 2 x 2 pixels, row after row, each row after row."""
    size = images.shape[-1] // GRID
    return images.reshape(-1, GRID, size, GRID, size).swapaxes(2, 3).reshape(-1, GRID * GRID, size * size)


def join_patches(tokens: np.ndarray) -> np.ndarray:
    """The images (count, 8, 8) of which :func:`cut_patches` made ``tokens`` (count, 16, 4)."""
    size = math.isqrt(tokens.shape[-1])
    return tokens.reshape(-1, GRID, GRID, size, size).swapaxes(2, 3).reshape(-1, GRID * size, GRID * size)
