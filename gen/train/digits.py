"""Train the digits network: ``python -m wingbeat.gen.train.digits -o FOLDER``.

Writes ``digits.safetensors`` (float32 parameters), ``digits.json`` (sizes, layers, seed, split, result) and
``digits.log``. Images of the held-out part are looked at once, after the last epoch; ``--validate`` trains on
four fifths of the training part and scores the rest, which is how the settings below were chosen.
"""

import argparse
import json
import math
from pathlib import Path
import time

import numpy as np
from safetensors.numpy import save
import torch
from torch import nn
from torch.nn import functional

from ..digits import LAYER_NORM_EPSILON, Sizes, load_split

__all__ = ["Butterfly", "DigitsNetwork", "train", "main"]

EPOCHS = 200
BATCH = 64
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 2e-2
DROPOUT = 0.1
LABEL_SMOOTHING = 0.05
AVERAGING = 0.99   # of the moving average of the weights, which is what is shipped


class Butterfly(nn.Module):
    """Butterfly matrix and bias; ``twiddle`` is (nstacks, nblocks, log_n, n/2, 2, 2) as in torch-butterfly.

    Input (rows, in_size), zero-padded to n; the stacks' outputs are concatenated and the first out_size kept.
    """

    def __init__(self, in_size: int, out_size: int, increasing_stride: bool, generator: torch.Generator):
        super().__init__()
        self.in_size, self.out_size, self.increasing_stride = in_size, out_size, increasing_stride
        self.log_n = max(1, math.ceil(math.log2(in_size)))
        self.n = 1 << self.log_n
        self.stacks = -(-out_size // self.n)
        shape = (self.stacks, 1, self.log_n, self.n // 2, 2, 2)
        self.twiddle = nn.Parameter(torch.randn(shape, generator=generator) / math.sqrt(2))
        self.bias = nn.Parameter(torch.zeros(out_size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, self.in_size)
        y = functional.pad(rows, (0, self.n - self.in_size)).unsqueeze(1).expand(-1, self.stacks, -1)
        order = range(self.log_n) if self.increasing_stride else reversed(range(self.log_n))
        for factor, log_stride in enumerate(order):
            stride = 1 << log_stride
            pairs = y.reshape(-1, self.stacks, self.n // (2 * stride), 2, stride)
            block = self.twiddle[:, 0, factor].reshape(self.stacks, self.n // (2 * stride), stride, 2, 2)
            y = torch.einsum("skoyx,rskxo->rskyo", block, pairs).reshape(-1, self.stacks, self.n)
        y = y.reshape(-1, self.stacks * self.n)[:, :self.out_size] + self.bias
        return y.reshape(*x.shape[:-1], self.out_size)


class Normalise(nn.Module):
    """LayerNorm with a scale and no offset (the layers behind it have biases)."""

    def __init__(self, size: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, x.shape[-1:], self.scale, None, LAYER_NORM_EPSILON)


class Block(nn.Module):
    """One FABNet block: FFT mixing and a butterfly feed-forward network, each with its residual."""

    def __init__(self, sizes: Sizes, block: int, layers: dict[str, Butterfly]):
        super().__init__()
        self.w1, self.w2 = layers[f"block{block}.w1"], layers[f"block{block}.w2"]
        self.norm1, self.norm2 = Normalise(sizes.hidden), Normalise(sizes.hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + functional.dropout(torch.fft.fft2(self.norm1(x), norm="ortho").real, DROPOUT, self.training)
        y = self.w2(functional.gelu(self.w1(self.norm2(x)), approximate="tanh"))
        return x + functional.dropout(y, DROPOUT, self.training)


class DigitsNetwork(nn.Module):
    """The network of ``gen/digits.py``; images (count, tokens, pixels) to logits (count, classes)."""

    def __init__(self, sizes: Sizes, generator: torch.Generator):
        super().__init__()
        layers = {name: Butterfly(n_in, n_out, increasing, generator)
                  for name, n_in, n_out, increasing in sizes.butterflies()}
        self.embed, self.head = layers["embed"], layers["head"]
        self.position = nn.Parameter(0.1 * torch.randn((sizes.tokens, sizes.hidden), generator=generator))
        for block in range(sizes.blocks):
            self.add_module(f"block{block}", Block(sizes, block, layers))
        self.n_blocks = sizes.blocks
        self.norm = Normalise(sizes.hidden)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.embed(images) + self.position
        for block in range(self.n_blocks):
            x = self.get_submodule(f"block{block}")(x)
        return self.head(self.norm(x).flatten(1))


def _augmented(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
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


def _score(network: DigitsNetwork, images: torch.Tensor, labels: torch.Tensor) -> float:
    network.eval()
    with torch.no_grad():
        return float((network(images).argmax(1) == labels).float().mean())


def train(sizes: Sizes, images: np.ndarray, labels: np.ndarray, seed: int, epochs: int, log) -> DigitsNetwork:
    """Train on ``images`` (count, 8, 8) and return the network with the averaged weights.

    ``log`` is called with one line per ten epochs. Same seed, same machine, same weights.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network, average = (DigitsNetwork(sizes, torch.Generator().manual_seed(seed)) for _ in range(2))
    x, y = torch.tensor(images, dtype=torch.float32), torch.tensor(labels)
    steps = epochs * (len(x) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    for epoch in range(epochs):
        network.train()
        order, total = torch.randperm(len(x), generator=generator), 0.0
        for at in range(0, len(x) - BATCH + 1, BATCH):
            pick = order[at:at + BATCH]
            loss = functional.cross_entropy(network(_augmented(x[pick], generator)), y[pick],
                                            label_smoothing=LABEL_SMOOTHING)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
            with torch.no_grad():
                for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
                    slow.lerp_(fast, 1 - AVERAGING)
        if epoch % 10 == 9 or epoch == epochs - 1:
            log(f"epoch {epoch + 1:4d}  loss {total / (len(x) // BATCH):.4f}  "
                f"training accuracy {_score(average, x, y):.4f}")
    return average


def main(arguments: list[str] | None = None) -> None:
    """Train, score once on the held-out images, write the three files."""
    parser = argparse.ArgumentParser(description="Train the digits network.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the weights and the log")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--hidden", type=int, default=Sizes().hidden)
    parser.add_argument("--blocks", type=int, default=Sizes().blocks)
    parser.add_argument("--validate", action="store_true",
                        help="score a fifth of the training part; write nothing")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    lines: list[str] = []

    def log(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    split, sizes = load_split(), Sizes(hidden=options.hidden, blocks=options.blocks)
    images, labels = split.train_images, split.train_labels
    test_images, test_labels, name = split.held_images, split.held_labels, "held-out"
    if options.validate:
        fold = np.arange(len(images)) % 5 == 0
        test_images, test_labels, name = images[fold], labels[fold], "validation"
        images, labels = images[~fold], labels[~fold]
    log(f"seed {options.seed}, {options.epochs} epochs, {len(images)} training and {len(test_images)} {name} "
        f"images, torch {torch.__version__}, {sizes.model_dump_json()}")
    start = time.monotonic()
    network = train(sizes, images, labels, options.seed, options.epochs, log)
    score = _score(network, torch.tensor(test_images, dtype=torch.float32), torch.tensor(test_labels))
    log(f"{name} accuracy {score:.4f} after {time.monotonic() - start:.0f} s")
    if not options.validate:
        _write(options.output, network, sizes, options.seed, options.epochs, split, score, lines)


def _write(folder: Path, network: DigitsNetwork, sizes: Sizes, seed: int, epochs: int, split, score: float,
           lines: list[str]) -> None:
    parameters = {name: value.detach().numpy() for name, value in network.named_parameters()}
    # gen/checkpoint.py reads these: torch-butterfly keeps them outside its tensors
    options = {f"{name}.{key}": str(value) for name, *values in sizes.butterflies()
               for key, value in zip(("in_size", "out_size", "increasing_stride"), values, strict=True)}
    record = {"sizes": sizes.model_dump(), "seed": seed, "epochs": epochs,
              "parameters": sum(value.size for value in parameters.values()),
              "held_out_images": len(split.held_labels), "held_out_sha256": split.fingerprint,
              "held_out_accuracy": score, "torch": torch.__version__}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "digits.safetensors").write_bytes(save(parameters, metadata=options))
    (folder / "digits.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    (folder / "digits.log").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
