"""The four matrices of an attention: which tensors of a checkpoint hold them, as the names tell.

| tensors, behind the name of the attention | written by |
|---|---|
| `q.twiddle` or `q.weight`, optional `q.bias`; `k`, `v`, `out` the same | torch-butterfly, `nn.Linear` |
| `q_proj.weight` and so on, `out_proj.weight` | models whose projections are modules of that name |
| `in_proj_weight`, optional `in_proj_bias`: rows of q, k and v one after the other | `nn.MultiheadAttention` |
| `q_proj_weight`, `k_proj_weight`, `v_proj_weight`, optional `in_proj_bias` | the same with `kdim`, `vdim` |

Each matrix may come in another one of these ways.
"""

from collections.abc import Collection
from typing import NamedTuple

from ....hw.errors import WingbeatError
from ..checkpoint import printable
from .file import Butterfly, Linear, Sparsities

__all__ = ["PROJECTIONS", "ProjectionTensors", "find_projection", "matrix_spec", "check_supported"]

PROJECTIONS = tuple(Sparsities.model_fields)  # q, k, v, out
_REFUSED = {"bias_k": "a key beside those of the input (add_bias_kv)",
            "bias_v": "a value beside those of the input (add_bias_kv)",
            "relative_position_bias_table": "a number for every query and key", "rotary_emb.inv_freq":
            "rotary positions"}
_PACKED_WEIGHT, _PACKED_BIAS = "in_proj_weight", "in_proj_bias"


class ProjectionTensors(NamedTuple):
    """Where a matrix stands. ``module``: the name of a layer of its own; empty where it is the tensor ``weight`` with
    the tensor ``bias``, which may be missing. ``is_packed``: ``weight`` has the rows of q, k and v; a ``bias`` of no
    module always has."""

    module: str = ""
    weight: str = ""
    bias: str = ""
    is_packed: bool = False


def matrix_spec(names: Collection[str], module: str) -> Butterfly | Linear | None:
    """The layer whose tensors have the name ``module``, as their endings tell; None where it is none, or both."""
    # Not validated: the name of an attention may be as long as that of a layer, and this one is longer.
    found = [spec for ending, spec in (
        ("twiddle", Butterfly.model_construct(kind="butterfly", weights=module)),
        ("weight", Linear.model_construct(kind="linear", weights=module))) if f"{module}.{ending}" in names]
    return found[0] if len(found) == 1 else None


def find_projection(names: Collection[str], stem: str, part: str, where: str) -> ProjectionTensors:
    """The tensors among ``names`` of the matrix ``part`` of the attention whose tensors begin with ``stem``. ``where``:
    of which file, for messages. Raises WingbeatError unless there is exactly one."""
    modules = (f"{stem}{part}", f"{stem}{part}_proj")
    ways = {f"{module}.{ending}": ProjectionTensors(module) for module in modules for ending in ("twiddle", "weight")}
    if part != "out":
        for weight, is_packed in ((f"{stem}{part}_proj_weight", False), (stem + _PACKED_WEIGHT, True)):
            ways[weight] = ProjectionTensors("", weight, stem + _PACKED_BIAS, is_packed)
    found = [name for name in ways if name in names]
    if len(found) != 1:
        given = " and ".join(map(printable, found)) or "no tensor"
        *some, last = map(printable, ways)
        raise WingbeatError(f"{printable(modules[0])}: {given} in {where}; allowed is one of {', '.join(some)} and "
                            f"{last}, others in 'ignore'")
    return ways[found[0]]


def check_supported(names: Collection[str], stem: str) -> None:
    """Raise WingbeatError where the attention has a tensor for what no core does."""
    for name, meaning in _REFUSED.items():
        if stem + name in names:
            raise WingbeatError(f"{printable(stem + name)}: {meaning}; allowed are attentions without")
