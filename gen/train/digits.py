"""Train the digits network: ``python -m wingbeat.gen.train.digits -o FOLDER``.

An image is 8 tokens, its rows, of 8 pixels each. The held-out images are looked at once, at the end; ``--validate``
scores a fifth of the training part, which is how the settings were chosen. With ``--matrices 2:4 1:4`` the same
network has dense matrices, which are pruned: ``digits_dense``, ``digits_2of4``, ``digits_1of4``.
"""

import torch
from torch.nn import functional

from ..workloads.digits import load_split
from .network import fabnet, with_linear
from .task import Task, run_task
from .training import Data, Settings

__all__ = ["DESCRIPTION", "SETTINGS", "augmented", "load_task", "main"]

DESCRIPTION = fabnet("digits", {"tokens": 8, "features": 8}, hidden=64, expansion=4, mixers=("mixing", "mixing"),
                     classes=10, pooling="flatten")
SETTINGS = Settings(epochs=200, tuning_epochs=20, phase_epochs=60)


def augmented(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Small random rotations, scalings and shifts, and a little noise: 1,257 images are few."""
    count = len(images)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    angle, size = uniform(-0.2, 0.2), uniform(0.9, 1.1)
    cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
    rows = torch.stack([torch.stack([cos, -sin, uniform(-0.2, 0.2)], 1),
                        torch.stack([sin, cos, uniform(-0.2, 0.2)], 1)], 1)
    grid = functional.affine_grid(rows, [count, 1, *images.shape[1:]], align_corners=False)
    # Pixels outside the image are background, which is -1: shift the range while sampling.
    moved = functional.grid_sample(images[:, None] + 1, grid, align_corners=False)[:, 0] - 1
    return moved + 0.05 * torch.randn(moved.shape, generator=generator)


def load_task() -> Task:
    """scikit-learn's digits, split as ``gen/workloads/digits.py`` does."""
    split = load_split()
    return Task(
        networks=(DESCRIPTION,), dense=with_linear(DESCRIPTION),
        training=Data(torch.tensor(split.train_images, dtype=torch.float32), torch.tensor(split.train_labels),
                      augmented),
        held=Data(torch.tensor(split.held_images, dtype=torch.float32), torch.tensor(split.held_labels)),
        split={"data": "scikit-learn digits", "training_inputs": len(split.train_labels),
               "held_out_inputs": len(split.held_labels), "held_out_sha256": split.fingerprint})


def main(arguments: list[str] | None = None) -> None:
    """Train, score once on the held-out images, print the table, write the files."""
    run_task("the digits", load_task, SETTINGS, arguments)


if __name__ == "__main__":
    main()
