"""Layers of hybrid butterfly networks in PyTorch. Tensors are (count, tokens, features) float32.

Every layer with weights has ``tensors()``: its parameters under the names of the file, without the layer's own.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from ..compiler.kernel.sparse import Pattern
from .fake_quantise import FakeQuantise
from .pruning import choose_mask

__all__ = ["Linear", "Butterfly", "Dense", "FourierMixing", "Attention", "LayerNorm", "Position", "Residual", "GELU",
           "Mean", "Flatten", "NORMALISED_LIMIT", "LAYER_NORM_EPSILON"]

NORMALISED_LIMIT = 8.0  # range of the hardware behind a LayerNorm and in front of a GELU
LAYER_NORM_EPSILON = 1e-5


class Butterfly(nn.Module):
    """Butterfly matrix and bias in torch-butterfly's layout: ``twiddle`` (nstacks, nblocks, log_n, n/2, 2, 2).

    n is the power of two that covers ``in_size`` (2 at least), nstacks = ceil(out_size / n). The input is padded with
    zeros to n, the stacks' outputs are concatenated, the first ``out_size`` are kept. The stride of the factors
    grows when ``increasing_stride``; the direction flips with each further block. Blocks begin as randn / sqrt(2),
    which keeps the variance.
    """

    def __init__(self, in_size: int, out_size: int, generator: torch.Generator, increasing_stride: bool = True,
                 n_blocks: int = 1):
        super().__init__()
        if min(in_size, out_size, n_blocks) < 1:
            raise ValueError(f"in_size, out_size, n_blocks: {in_size}, {out_size}, {n_blocks}; allowed are 1 and more")
        self.in_size, self.out_size, self.increasing_stride = in_size, out_size, increasing_stride
        self.log_n = max(1, (in_size - 1).bit_length())
        self.n = 1 << self.log_n
        self.n_stacks = -(-out_size // self.n)
        shape = (self.n_stacks, n_blocks, self.log_n, self.n // 2, 2, 2)
        self.twiddle = nn.Parameter(torch.randn(shape, generator=generator) / math.sqrt(2))
        self.bias = nn.Parameter(torch.zeros(out_size))

    @property
    def multiplications(self) -> int:
        """Of one row, with unit pivots: one per output of a factor; two factors merge where the direction flips."""
        n_blocks = self.twiddle.shape[1]
        return self.n_stacks * self.n * (n_blocks * (self.log_n - 1) + 1)

    def tensors(self) -> dict[str, nn.Parameter]:
        return {"twiddle": self.twiddle, "bias": self.bias}

    def _factors(self, rows: torch.Tensor) -> torch.Tensor:
        """The product of all factors with ``rows`` (count, in_size), without bias: (count, out_size)."""
        y = functional.pad(rows, (0, self.n - self.in_size)).unsqueeze(1).expand(-1, self.n_stacks, -1)
        for block in range(self.twiddle.shape[1]):
            upward = self.increasing_stride == (block % 2 == 0)
            for factor in range(self.log_n):
                stride = 1 << (factor if upward else self.log_n - 1 - factor)
                pairs = y.reshape(-1, self.n_stacks, self.n // (2 * stride), 2, stride)
                blocks = self.twiddle[:, block, factor].reshape(self.n_stacks, self.n // (2 * stride), stride, 2, 2)
                y = torch.einsum("skoyx,rskxo->rskyo", blocks, pairs).reshape(-1, self.n_stacks, self.n)
        return y.reshape(len(rows), -1)[:, :self.out_size]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, self.in_size)
        if len(rows) <= self.in_size:
            y = self._factors(rows)
        else:  # a training batch has far more rows than columns: multiply the factors out once, about 10 times as fast
            y = rows @ self._factors(torch.eye(self.in_size, dtype=x.dtype))
        return (y + self.bias).reshape(*x.shape[:-1], self.out_size)


class Dense(nn.Module):
    """A matrix ``weight`` (out_size, in_size) and bias, dense until :meth:`choose` has found the mask of ``pattern``.

    While ``is_fixed`` is not set, the weights outside of the mask learn as if they stood there.
    """

    def __init__(self, in_size: int, out_size: int, generator: torch.Generator, pattern: Pattern | None = None):
        super().__init__()
        self.in_size, self.out_size, self.pattern = in_size, out_size, pattern
        self.weight = nn.Parameter(torch.randn((out_size, in_size), generator=generator) / math.sqrt(in_size))
        self.bias = nn.Parameter(torch.zeros(out_size))
        self.mask: torch.Tensor | None = None
        self.is_fixed = False

    @property
    def multiplications(self) -> int:
        """Of one row."""
        return self.out_size * (self.pattern.terms(self.in_size) if self.pattern else self.in_size)

    def tensors(self) -> dict[str, nn.Parameter]:
        return {"weight": self.weight, "bias": self.bias}

    def choose(self, shared: int) -> None:
        """The mask of the largest weights, of a layer with a pattern; ``shared`` outputs have one in common."""
        if self.pattern is not None:
            self.mask = torch.from_numpy(choose_mask(self.weight.detach().numpy(), self.pattern, shared))

    def clear(self) -> None:
        """Zeros outside of the mask."""
        if self.mask is not None:
            with torch.no_grad():
                self.weight.mul_(self.mask)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight: torch.Tensor = self.weight
        if self.mask is not None:
            masked = weight * self.mask
            weight = masked if self.is_fixed else weight + (masked - weight).detach()
        return functional.linear(x, weight, self.bias)


Linear = Butterfly | Dense


class FourierMixing(nn.Module):
    """Re(FFT_tokens(FFT_features(x))), divided by sqrt(tokens * features) when ``norm`` is "ortho"."""

    def __init__(self, norm: str = "ortho"):
        super().__init__()
        if norm not in ("ortho", "none"):
            raise ValueError(f"norm: {norm!r}; allowed are 'ortho' and 'none'")
        self.norm = {"ortho": "ortho", "none": "backward"}[norm]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.fft2(x, norm=self.norm).real


class Attention(nn.Module):
    """Softmax attention over all tokens with ``heads`` heads; ``projections`` are q, k, v and out, as wide as x."""

    def __init__(self, projections: dict[str, Linear], heads: int):
        super().__init__()
        size = projections["q"].out_size
        if heads < 1 or size % heads:
            raise ValueError(f"heads: {heads} of {size} features; allowed are its divisors")
        self.projections, self.heads = nn.ModuleDict(projections), heads
        self.rounding = nn.ModuleDict({name: FakeQuantise() for name in ("q", "k", "v", "context")})

    def tensors(self) -> dict[str, nn.Parameter]:
        return {f"{name}.{key}": value for name, linear in self.projections.items()
                for key, value in linear.tensors().items()}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def head(name: str) -> torch.Tensor:
            y = self.rounding[name](self.projections[name](x))
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        context = functional.scaled_dot_product_attention(head("q"), head("k"), head("v"))
        return self.projections["out"](self.rounding["context"](context.transpose(1, 2).flatten(2)))


class LayerNorm(nn.Module):
    """Rows with mean 0 and deviation 1, rounded in the range -8..8 of the hardware, times ``weight`` plus ``bias``."""

    def __init__(self, size: int, epsilon: float = LAYER_NORM_EPSILON):
        super().__init__()
        self.epsilon, self.rounding = epsilon, FakeQuantise(NORMALISED_LIMIT)
        self.weight, self.bias = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))

    def tensors(self) -> dict[str, nn.Parameter]:
        return {"weight": self.weight, "bias": self.bias}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rounding(functional.layer_norm(x, x.shape[-1:], eps=self.epsilon)) * self.weight + self.bias


class Position(nn.Module):
    """Adds one learned row to each token."""

    def __init__(self, tokens: int, features: int, generator: torch.Generator):
        super().__init__()
        self.rows = nn.Parameter(0.1 * torch.randn((tokens, features), generator=generator))

    def tensors(self) -> dict[str, nn.Parameter]:
        return {"": self.rows}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.rows


class Residual(nn.Module):
    """x + inner(x); while training, a share ``dropout`` of what is added is left out and the rest grows by as much."""

    def __init__(self, inner: nn.Module, dropout: float, generator: torch.Generator):
        super().__init__()
        self.inner, self.dropout, self.generator = inner, dropout, generator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.inner(x)
        if self.training and self.dropout:  # nn.Dropout draws from the one generator that all threads share
            kept = torch.rand(y.shape, generator=self.generator) >= self.dropout
            y = y * kept / (1 - self.dropout)
        return x + y


class GELU(nn.GELU):
    """x * Phi(x), exact or by tanh; the input is rounded in the range -8..8 of the hardware."""

    def __init__(self, approximate: str = "none"):
        super().__init__(approximate)
        self.rounding = FakeQuantise(NORMALISED_LIMIT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.rounding(x))


class Mean(nn.Module):
    """Mean over the tokens: (count, 1, features)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1, keepdim=True)


class Flatten(nn.Module):
    """All tokens as one, token after token: (count, 1, tokens * features)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).unsqueeze(1)
