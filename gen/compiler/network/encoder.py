"""A layer of torch's nn.TransformerEncoder as the layers it is made of."""

from collections.abc import Callable

from .file import Attention, Butterfly, Encoder, Gelu, LayerNorm, Linear, PlainSpec, Relu, Residual

__all__ = ["encoder_layers"]


def encoder_layers(spec: Encoder,
                   matrix: Callable[[str], Butterfly | Linear]) -> list[tuple[str, PlainSpec | Residual]]:
    """What ``spec`` stands for, in order, each with a name for its place. ``matrix`` gives the layer whose tensors have
    a name."""
    stem = f"{spec.weights}." if spec.weights else ""
    # Not validated, as in projections.py: the names of the tensors are longer than that of the layer.
    attention = Attention.model_construct(kind="attention", weights=f"{stem}self_attn", heads=spec.heads,
                                          causal=spec.causal, window=spec.window, alibi=spec.alibi)
    norms = [LayerNorm.model_construct(kind="layernorm", weights=f"{stem}norm{number}", epsilon=spec.epsilon)
             for number in (1, 2)]
    activation: Gelu | Relu = Gelu(kind="gelu") if spec.activation == "gelu" else Relu(kind="relu")
    feed_forward = (matrix(f"{stem}linear1"), activation, matrix(f"{stem}linear2"))
    if spec.norm_first:
        return [("attention", _residual(norms[0], attention)), ("feed_forward", _residual(norms[1], *feed_forward))]
    return [("attention", _residual(attention)), ("norm1", norms[0]),
            ("feed_forward", _residual(*feed_forward)), ("norm2", norms[1])]


def _residual(*layers: PlainSpec) -> Residual:
    return Residual.model_construct(kind="residual", layers=layers)
