"""The training loop: float first, pruning if wanted, then fine-tuning with the roundings of the hardware.

Everything random comes from generators of the seed: same seed, same machine, same weights.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional

from .fake_quantise import calibrate, set_width
from .network import Network

__all__ = ["Settings", "Data", "accuracy", "fit", "prune", "fine_tune"]

Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]


@dataclass(frozen=True)
class Settings:
    """How to train. ``dense_rate`` is the learning rate of the dense baseline. ``averaging`` is of the moving average
    of the weights, which is what is kept; ``tuning_epochs`` epochs at ``tuning_rate`` times the learning rate follow
    with elements of ``tuning_width`` bits. Each step of a pruning takes ``phase_epochs`` epochs at ``phase_rate`` times
    the learning rate, with fixed masks in the share ``fixed_share`` of them, which comes last."""

    epochs: int
    batch: int = 64
    learning_rate: float = 4e-3
    dense_rate: float = 4e-3
    weight_decay: float = 2e-2
    dropout: float = 0.1
    label_smoothing: float = 0.05
    averaging: float = 0.99
    tuning_epochs: int = 0
    tuning_rate: float = 0.1
    tuning_width: int = 8
    phase_epochs: int = 1
    phase_rate: float = 0.5
    fixed_share: float = 0.25


@dataclass(frozen=True, eq=False)
class Data:
    """Inputs as the network takes them, labels (count,) int64, and a random change of a batch while training."""

    inputs: torch.Tensor
    labels: torch.Tensor
    augment: Augment | None = None


def accuracy(network: Network, data: Data) -> float:
    """Share of inputs whose largest logit is that of the label."""
    network.eval()
    with torch.no_grad():
        hits = [network(x).argmax(1) == y
                for x, y in zip(data.inputs.split(256), data.labels.split(256), strict=True)]
    return float(torch.cat(hits).float().mean())


def _lerp(average: dict[str, torch.Tensor], network: Network, keep: float) -> None:
    with torch.no_grad():
        for name, value in network.named_parameters():
            average[name].lerp_(value, 1 - keep)


def _epochs(network: Network, data: Data, settings: Settings, generator: torch.Generator,
            log: Callable[[str], None], begin: Callable[[int], None] = lambda epoch: None) -> None:
    """AdamW with one cycle of the learning rate; leaves the moving average of the weights in ``network``. ``begin`` is
    called with the number of each epoch before it."""
    steps = settings.epochs * (len(data.inputs) // settings.batch)
    optimiser = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=steps, pct_start=0.1)
    average = {name: value.detach().clone() for name, value in network.named_parameters()}
    for epoch in range(settings.epochs):
        begin(epoch)
        network.train()
        total, hits = 0.0, 0
        for pick in torch.randperm(len(data.inputs), generator=generator).split(settings.batch):
            if len(pick) < settings.batch:
                continue
            x, y = data.inputs[pick], data.labels[pick]
            logits = network(data.augment(x, generator) if data.augment else x)
            loss = functional.cross_entropy(logits, y, label_smoothing=settings.label_smoothing)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            _lerp(average, network, settings.averaging)
            total, hits = total + float(loss.detach()), hits + int((logits.argmax(1) == y).sum())
        batches = len(data.inputs) // settings.batch
        if epoch % max(1, settings.epochs // 20) == 0 or epoch == settings.epochs - 1:
            log(f"epoch {epoch + 1:4d}  loss {total / batches:.4f}  "
                f"accuracy while training {hits / (batches * settings.batch):.4f}")
    network.load_state_dict(average)
    for layer in network.pruned():
        layer.clear()


def fit(network: Network, data: Data, settings: Settings, seed: int, log: Callable[[str], None]) -> None:
    """Train ``network`` in float."""
    _epochs(network, data, settings, torch.Generator().manual_seed(seed), log)


def prune(network: Network, data: Data, settings: Settings, shared: int, seed: int,
          log: Callable[[str], None]) -> None:
    """Train on in float while the masks of the matrices with a pattern are chosen, see gen/train/pruning.py.

    ``shared`` outputs after each other have one mask.
    """
    fixed_from = settings.phase_epochs - max(1, round(settings.fixed_share * settings.phase_epochs))

    def begin(epoch: int) -> None:
        for layer in network.pruned():
            if epoch <= fixed_from:
                layer.choose(shared)
            layer.is_fixed = epoch >= fixed_from

    _epochs(network, data, replace(settings, epochs=settings.phase_epochs,
                                   learning_rate=settings.learning_rate * settings.phase_rate),
            torch.Generator().manual_seed(seed), log, begin)


def fine_tune(network: Network, data: Data, settings: Settings, seed: int, log: Callable[[str], None]) -> None:
    """Train on with elements of ``tuning_width`` bits (not at all for 0 ``tuning_epochs``).

    The network is float again afterwards, calibrated anew.
    """
    calibrate(network, data.inputs)
    if settings.tuning_epochs:
        set_width(network, settings.tuning_width)
        _epochs(network, data, replace(settings, epochs=settings.tuning_epochs,
                                       learning_rate=settings.learning_rate * settings.tuning_rate),
                torch.Generator().manual_seed(seed + 1), log)
        set_width(network, None)
        calibrate(network, data.inputs)
