"""Fake quantisation: what rounding to elements of 8, 12 or 16 bits does, with gradients that pass through it.

The array computes on fixed point; a tensor that stands in memory has elements of ``width`` bits and a power of two
for all of them. A :class:`FakeQuantise` stands in the network wherever the hardware rounds to such a tensor.
"""

import math

import torch
from torch import nn

__all__ = ["FakeQuantise", "fake_quantise", "set_width", "calibrate"]


def fake_quantise(x: torch.Tensor, width: int, limit: float) -> torch.Tensor:
    """Nearest multiple of limit * 2^(1 - width), ties up, within -limit..limit less one step.

    The gradient is 1 inside the range and 0 where the value is clamped. ``limit`` is a power of two.
    """
    step = limit * 2.0 ** (1 - width)
    inside = x.clamp(-limit, limit - step)
    rounded = torch.floor(inside / step + 0.5) * step
    return inside + (rounded - inside).detach()


class FakeQuantise(nn.Module):
    """Passes its input until :func:`set_width` names a width, then rounds it with :func:`fake_quantise`.

    ``limit`` is the range of the hardware where that is fixed. Otherwise it is the smallest power of two that
    holds the largest magnitude of the calibration.
    """

    def __init__(self, limit: float | None = None):
        super().__init__()
        self.fixed, self.peak = limit, 0.0
        self.width: int | None = None
        self.observing = False

    @property
    def limit(self) -> float:
        """A power of two, at least the largest magnitude seen (1 before there was one)."""
        if self.fixed is not None:
            return self.fixed
        return 2.0 ** math.ceil(math.log2(self.peak)) if self.peak > 0 else 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.observing:
            self.peak = max(self.peak, float(x.detach().abs().max()))
        return x if self.width is None else fake_quantise(x, self.width, self.limit)


def _points(network: nn.Module) -> list[FakeQuantise]:
    return [module for module in network.modules() if isinstance(module, FakeQuantise)]


def set_width(network: nn.Module, width: int | None) -> None:
    """Round to ``width`` bits from now on; None: not at all."""
    for point in _points(network):
        point.width = width


def calibrate(network: nn.Module, inputs: torch.Tensor) -> None:
    """Choose the power of two of every tensor from the float network's values on ``inputs``."""
    width, training = next((point.width for point in _points(network)), None), network.training
    set_width(network, None)
    for point in _points(network):
        point.peak, point.observing = 0.0, True
    network.eval()
    with torch.no_grad():
        for part in inputs.split(256):
            network(part)
    for point in _points(network):
        point.observing = False
    network.train(training)
    set_width(network, width)
