"""Train the digits network with softmax attention: ``python -m wingbeat.gen.train.patches -o FOLDER``.

An image is 16 tokens, patches of 2 x 2 pixels. ``digits_attention`` has a block with softmax attention, which sees the
patches as they are, and behind it one that mixes by Fourier transforms. Images, their split and their random changes
are those of ``gen/train/digits.py``, and as there the held-out images are looked at once, at the end.
"""

import torch

from ..workloads.digits import GRID, cut_patches, join_patches, load_split
from .digits import augmented
from .network import fabnet, with_linear
from .task import Task, run_task
from .training import Data, Settings

__all__ = ["PATCHES", "load_patches", "main"]

PATCHES = fabnet("digits_attention", {"tokens": GRID * GRID, "features": 4}, hidden=64, expansion=2,
                 mixers=("attention", "mixing"), classes=10, pooling="flatten")
_SETTINGS = Settings(epochs=200, tuning_epochs=20)


def _augmented(tokens: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The changes of whole images."""
    return cut_patches(augmented(join_patches(tokens), generator))


def load_patches() -> Task:
    """scikit-learn's digits, split as ``gen/workloads/digits.py`` does, in patches."""
    split = load_split()

    def tokens(images):
        return torch.tensor(cut_patches(images), dtype=torch.float32)

    return Task(
        networks=(PATCHES,), dense=with_linear(PATCHES),
        training=Data(tokens(split.train_images), torch.tensor(split.train_labels), _augmented),
        held=Data(tokens(split.held_images), torch.tensor(split.held_labels)),
        split={"data": "scikit-learn digits, patches", "training_inputs": len(split.train_labels),
               "held_out_inputs": len(split.held_labels), "held_out_sha256": split.fingerprint})


def main(arguments: list[str] | None = None) -> None:
    """Train, score once on the held-out images, print the table, write the files."""
    run_task("the digits in patches", load_patches, _SETTINGS, arguments)


if __name__ == "__main__":
    main()
