"""The field's workload: FABNet blocks with random weights, from memory to memory.

A block is x += Re(FFT2(LN x)); x += W2 * GELU(W1 * LN x) with butterfly W1, W2 (arXiv 2209.09570). What others reached
stands in ``PUBLISHED``.
"""

from collections.abc import Callable
from dataclasses import dataclass
import math
from typing import Any

import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ..compiler.checkpoint import ButterflyWeights, butterfly_weights
from ..compiler.kernel.compile import checked_log2
from ..compiler.network.compile import CompiledNetwork, compile_network
from ..compiler.network.file import Butterfly, Gelu, LayerNorm, Mixing, Residual
from ..compiler.network.load import LoadedLayer, LoadedNetwork, Shape

__all__ = ["Published", "PUBLISHED", "BlockShape", "fabnet_network", "random_matrix", "compile_block",
           "vector_multipliers"]


@dataclass(frozen=True)
class Published:
    """One block of 1024 tokens, hidden 1024, feed-forward 4096 elsewhere: cycles, multipliers, and what they count."""

    name: str
    multipliers: int
    least_cycles: int
    most_cycles: int
    counts: str


def _mlx_cycles() -> int:
    """128 multipliers, four multiplications per 2x2 block, both dimensions of the mixing complex, at the compute
    utilisation digitised off MLX's figure: butterfly 0.83 at N = 1024 and 0.86 at 4096, FFT 0.89 at 1024."""
    up, down, mixing = 4 * 512 * 10, 2048 * 12, 2 * 512 * 10
    return round(1024 * 4 / 128 * (up / 0.83 + down / 0.86 + mixing / 0.89))


PUBLISHED = (
    Published("FABNet BE-40 (MICRO'22)", 640, 405_760, 420_864,
              "its authors' simulator at hidden 768 padded to 1024: butterfly engines only, with its 0.85 efficiency "
              "factor left out; LayerNorm, GELU and residuals cost nothing in it"),
    Published("MLX SIMD8 (ISCA'26), derived", 128, _mlx_cycles(), _mlx_cycles(),
              "the butterflies and transforms of this block, four multiplications per 2x2 block, at the utilisation "
              "digitised off its figure; nothing else"),
)


@dataclass(frozen=True)
class BlockShape:
    """Sizes of a block, powers of two. Raises WingbeatError naming the option."""

    tokens: int = 1024
    hidden: int = 1024
    ffn: int = 4096

    def __post_init__(self) -> None:
        for option, size in (("--tokens", self.tokens), ("--hidden", self.hidden), ("--ffn", self.ffn)):
            checked_log2(option, size, 4)
        if self.ffn < self.hidden:
            raise WingbeatError(f"--ffn: {self.ffn}; allowed are powers of two from --hidden = {self.hidden} on")

    @property
    def useful(self) -> int:
        """Real multiplications: one per real value and layer of both transforms, of which the token transform works on
        half a complex matrix, and of both butterflies."""
        stacks, bits = self.ffn // self.hidden, int(math.log2(self.hidden))
        mixing = self.tokens * self.hidden * (int(math.log2(self.tokens)) + bits)
        return mixing + self.tokens * (self.hidden * bits * stacks + self.ffn * int(math.log2(self.ffn)))


def fabnet_network(shape: BlockShape, blocks: int, seed: int, *, alike: bool = False) -> LoadedNetwork:
    """``blocks`` blocks with random weights: butterflies of rotations, norms with weights around 1, biases. ``alike``:
    all have those of the first one."""
    rng = np.random.default_rng([seed, shape.tokens, shape.hidden, shape.ffn])
    layers: list[list[tuple[Any, ...]]] = []
    size = Shape(shape.tokens, shape.hidden)
    found = []
    for number in range(blocks):
        layers = layers if alike and layers else _block(shape, rng)
        for at, inner in enumerate(layers):
            path = f"layers[{2 * number + at}]"
            found.append(LoadedLayer(path, _RESIDUAL, size, size, layers=tuple(
                LoadedLayer(f"{path}.layers[{place}]", spec, before, behind, weights, scale, offset)
                for place, (spec, (before, behind), weights, scale, offset) in enumerate(inner))))
    return LoadedNetwork("fabnet_block", size, None, tuple(found))


_RESIDUAL = Residual(kind="residual", layers=(Gelu(kind="gelu"),))  # its layers stand in the LoadedLayer


def _block(shape: BlockShape, rng: np.random.Generator) -> list[list[tuple[Any, ...]]]:
    """Specification, shapes and tensors of the layers in both residuals of a block."""
    narrow, wide = Shape(shape.tokens, shape.hidden), Shape(shape.tokens, shape.ffn)

    def norm(name: str) -> tuple[Any, ...]:
        return (LayerNorm(kind="layernorm", weights=name), (narrow, narrow), (),
                1 + 0.1 * rng.standard_normal(shape.hidden), 0.1 * rng.standard_normal(shape.hidden))

    def matrix(name: str, size: Shape, out: Shape) -> tuple[Any, ...]:
        spec, *tensors = random_matrix(name, size.features, out.features, rng)
        return (spec, (size, out), *tensors)

    return [[norm("norm1"), (Mixing(kind="mixing"), (narrow, narrow), (), None, None)],
            [norm("norm2"), matrix("w1", narrow, wide), (Gelu(kind="gelu"), (wide, wide), (), None, None),
             matrix("w2", wide, narrow)]]


def random_matrix(name: str, n_in: int, n_out: int, rng: np.random.Generator) -> tuple[Any, ...]:
    """Specification, butterflies, scale and offset of a LoadedLayer with random weights."""
    return Butterfly(kind="butterfly", weights=name), (_random_butterfly(n_in, n_out, rng),), None, None


def _random_butterfly(n_in: int, n_out: int, rng: np.random.Generator) -> ButterflyWeights:
    """Blocks are rotations, torch-butterfly's init="ortho": as after training, rows keep their size."""
    angle = rng.uniform(0, 2 * np.pi, (-(-n_out // n_in), 1, int(math.log2(n_in)), n_in // 2))
    cos, sin = np.cos(angle), np.sin(angle)
    twiddle = np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)
    return butterfly_weights(twiddle, in_size=n_in, out_size=n_out, bias=0.1 * rng.standard_normal(n_out))


def compile_block(config: CoreConfig, shape: BlockShape, blocks: int, seed: int,
                  report: Callable[[str], None] | None = None) -> tuple[CompiledNetwork, np.ndarray]:
    """The compiled network and one random input; calibrated on another one. All blocks have the same weights where the
    host writes them, once. Raises WingbeatError."""
    rng = np.random.default_rng([seed, 1])
    calibration, x = rng.standard_normal((2, 1, shape.tokens, shape.hidden))
    network = fabnet_network(shape, blocks, seed, alike=not config.records)
    return compile_network(network, config, calibration, 1, report, check=False), x


def vector_multipliers(config: CoreConfig) -> int:
    """Multipliers of the vector unit: lanes of Normalise, lanes of Rescale, and the small ones of its activation."""
    return 3 * config.vector_lanes
