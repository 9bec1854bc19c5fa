"""The network file NET.toml: what the layers of a hybrid butterfly network are, without their weights.

    name = "digits"                     # becomes the name of files and Verilog modules
    prefix = ""                         # what stands in front of all names of tensors, such as "model."
    ignore = []                         # tensors of the checkpoint that are no part of the network

    [input]
    tokens = 8
    features = 8                        # or vocabulary = V: tokens are numbers below V, for all layers but an embedding
                                        # one-hot rows of V features
    lengths = false                     # true: each input has a number of tokens that count, see Input

    [[layers]]                          # in order; x is tokens x features at every point
    kind = "butterfly"
    weights = "embed"                   # tensors embed.twiddle, embed.bias

| kind | fields | tensors | x becomes |
|---|---|---|---|
| `butterfly` | `weights`; `out_features`, `increasing_stride` | NAME.twiddle, optional NAME.bias | tokens x out |
| `linear` | `weights`; `sparsity` = "N:M", `stride` | NAME.weight (out, in), optional NAME.bias | tokens x out |
| `embedding` | `weights` | NAME.weight (vocabulary, features) | row of each token; the first layer |
| `position` | `weights` | NAME (tokens, features) | x + NAME |
| `residual` | `layers`, none of them a residual | | x + layers(x) |
| `layernorm` | `weights`, `epsilon` = 1e-5 | NAME.weight, optional NAME.bias (features,) | normalised features |
| `mixing` | `norm` = "ortho", "none"; `scaling` = "static", "safe" | | Re(FFT2(x)), "ortho": / sqrt(tokens*features) |
| `attention` | `weights`, `heads`; see Attention | four matrices: network/projections.py | softmax attention |
| `encoder` | of attention; `norm_first`, `activation`, `epsilon` | nn.TransformerEncoderLayer | two residuals |
| `gelu` | `approximate` = "none" (erf) or "tanh" | | GELU(x) |
| `relu` | | | max(x, 0) |
| `mean` | | | mean over tokens, 1 x features |
| `flatten` | | | 1 x tokens*features, tokens one after the other |

``out_features`` and ``increasing_stride`` may be left out: gen/compiler/network/load.py tells where they come from
then.
"""

from pathlib import Path
import reprlib
import tomllib
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ....hw.errors import WingbeatError
from ....hw.names import ALLOWED_NAMES, is_module_name
from ....sim.reference.functions import alibi_slopes
from ..checkpoint import printable
from ..program.granularity import LARGEST_WINDOW

__all__ = ["NetworkFile", "Input", "Butterfly", "Linear", "Embedding", "Position", "LayerNorm", "Mixing", "Attention",
           "Sparsities", "Gelu", "Relu", "Mean", "Flatten", "Residual", "Encoder", "PlainSpec", "LayerSpec",
           "LARGEST_SIDE", "read_network_file", "read_toml"]

LARGEST_SIDE = 1 << 16  # tokens, features: the largest butterfly of gen/compiler/checkpoint.py
_MOST_HEADS = 256
_PART = "[A-Za-z0-9_-]+"


def _module_name(name: str) -> str:
    if not is_module_name(name):
        raise ValueError(f"{name!r} is not a module name; allowed are {ALLOWED_NAMES}")
    return name


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


Name = Annotated[str, Field(max_length=128, pattern=rf"^{_PART}(\.{_PART})*$")]
# The state dict of a single layer names its tensors without a dot in front: weights = "".
LayerName = Annotated[str, Field(max_length=128, pattern=rf"^({_PART}(\.{_PART})*)?$")]
Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
Sparsity = Annotated[str, Field(max_length=8)]
Stride = Annotated[int, Field(ge=1, le=4096)]


class Butterfly(_Table):
    """A butterfly matrix over the features of each token."""

    kind: Literal["butterfly"]
    weights: LayerName
    out_features: Side | None = None
    increasing_stride: bool | None = None


class Linear(_Table):
    """A matrix over the features of each token; names and shapes are those of torch's nn.Linear. ``sparsity`` "N:M": of
    every M inputs that lie ``stride`` apart each output has N weights at most."""

    kind: Literal["linear"]
    weights: LayerName
    sparsity: Sparsity | None = None
    stride: Stride | None = None


class Embedding(_Table):
    """A row of a table for each token, which is its number; names and shapes are those of torch's nn.Embedding."""

    kind: Literal["embedding"]
    weights: LayerName


class Position(_Table):
    """A tensor (tokens, features) that is added."""

    kind: Literal["position"]
    weights: Name


class LayerNorm(_Table):
    """Features of each token to mean 0 and variance 1, times a weight, plus a bias if there is one."""

    kind: Literal["layernorm"]
    weights: Name
    epsilon: float = Field(1e-5, gt=0, le=1, allow_inf_nan=False)


class Mixing(_Table):
    """Re(FFT_tokens(FFT_features(x))); "ortho" divides by sqrt(tokens * features).

    ``scaling``: shifts as the calibration inputs need them, or so that no input at all is clamped in the transforms.
    """

    kind: Literal["mixing"]
    norm: Literal["ortho", "none"] = "ortho"
    scaling: Literal["static", "safe"] = "static"


class _Attending(_Table):
    """Fields of all softmax attention. ``causal``: a token sees none behind it. ``window``: it sees none further away
    than so many tokens. ``alibi``, with ``causal``: logits fall with the distance of their keys (arXiv 2108.12409)."""

    weights: LayerName
    heads: int = Field(ge=1, le=_MOST_HEADS)
    causal: bool = False
    window: int | None = Field(default=None, ge=1, le=LARGEST_WINDOW)
    alibi: bool = False

    @property
    def slopes(self) -> np.ndarray | None:
        """As the reference takes them."""
        return alibi_slopes(self.heads) if self.alibi else None

    @model_validator(mode="after")
    def _alibi_looks_back(self) -> "_Attending":
        if self.alibi and not self.causal:
            raise ValueError("alibi = true, causal = false; allowed is causal = true beside it")
        return self


class Sparsities(_Table):
    """"N:M" of the matrices of an attention that are not dense."""

    q: Sparsity | None = None
    k: Sparsity | None = None
    v: Sparsity | None = None
    out: Sparsity | None = None


def _of_each(value: Any) -> Any:
    """One text stands for all matrices."""
    return dict.fromkeys(Sparsities.model_fields, value) if isinstance(value, str) else value


class Attention(_Attending):
    """Softmax attention; the tensors tell of each of its four projections whether it is a butterfly or dense.

    ``head_features`` of each head, without the field those of the input shared evenly. ``key_heads``: heads of keys and
    values, each for as many heads of queries one after the other; without the field one for each. ``sparsity``: one
    "N:M" for all four matrices, or a table with that of some of them; ``stride`` as in a linear layer, for all of them.
    """

    kind: Literal["attention"]
    head_features: Side | None = None
    key_heads: int | None = Field(default=None, ge=1, le=_MOST_HEADS)
    sparsity: Annotated[Sparsities | None, BeforeValidator(_of_each)] = None
    stride: Stride | None = None


class Gelu(_Table):
    """x * Phi(x), with the error function or with tanh in its place; the names are those of torch."""

    kind: Literal["gelu"]
    approximate: Literal["none", "tanh"] = "none"


class Relu(_Table):
    """max(x, 0)."""

    kind: Literal["relu"]


class Mean(_Table):
    """Mean over the tokens."""

    kind: Literal["mean"]


class Flatten(_Table):
    """All tokens one after the other as the features of a single one."""

    kind: Literal["flatten"]


PlainSpec = Butterfly | Linear | Embedding | Position | LayerNorm | Mixing | Attention | Gelu | Relu | Mean | Flatten


class Residual(_Table):
    """x + layers(x)."""

    kind: Literal["residual"]
    layers: tuple[Annotated[PlainSpec, Field(discriminator="kind")], ...] = Field(min_length=1, max_length=64,
                                                                                strict=False)


class Encoder(_Attending):
    """A layer of torch's nn.TransformerEncoder, whose fields are named as there: attention, then two linear layers with
    an activation between them, both around a residual. LayerNorms stand behind the sums, with ``norm_first`` in front
    of attention and matrices."""

    kind: Literal["encoder"]
    norm_first: bool = False
    activation: Literal["relu", "gelu"] = "relu"
    epsilon: float = Field(1e-5, gt=0, le=1, allow_inf_nan=False)


LayerSpec = PlainSpec | Residual | Encoder
_KINDS = {table.__name__.lower(): table for table in (*PlainSpec.__args__, Residual, Encoder)}
# Fields that an attention might have, and why none has them.
_NO_ANGLES = "no positions turn queries and keys in the core"
_NO_BIAS = "no number is added to the product of a query and a key"
_NO_CACHE = "all queries of an input come at once, none token by token"
_REFUSED = {"rope": _NO_ANGLES, "rotary": _NO_ANGLES, "bias": _NO_BIAS, "relative_bias": _NO_BIAS, "decode": _NO_CACHE,
            "cache": _NO_CACHE}
_OUTERMOST = ("residual", "encoder")  # kinds with residuals, of which none stands in another


class Input(_Table):
    """What goes in: rows of ``features`` numbers, or tokens that are numbers below ``vocabulary``. ``lengths``: with
    each input comes the number of its tokens that count; attention sees no others."""

    tokens: Side
    features: Side | None = None
    vocabulary: Side | None = None
    lengths: bool = False

    @model_validator(mode="after")
    def _one_of_two(self) -> "Input":
        if (self.features is None) == (self.vocabulary is None):
            raise ValueError(f"features = {self.features}, vocabulary = {self.vocabulary}; allowed is exactly one of "
                             "them")
        return self


class NetworkFile(_Table):
    """The content of NET.toml; the text of this module has the fields."""

    name: Annotated[str, AfterValidator(_module_name)]
    prefix: str = Field("", max_length=128, pattern=rf"^({_PART}\.)*$")
    ignore: tuple[str, ...] = Field((), strict=False)
    input: Input
    layers: tuple[Annotated[LayerSpec, Field(discriminator="kind")], ...] = Field(min_length=1, max_length=1024,
                                                                                strict=False)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Tables of a TOML file of a user. Raises WingbeatError with one line that begins with ``what`` the file is."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WingbeatError(f"{what}: {str(path)!r} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # bad TOML or UTF-8, numbers of thousands of digits
        reason = (str(error).splitlines() or ["?"])[0]
        raise WingbeatError(f"{what}: {path.name!r} is not a TOML file: {reason}") from error


def read_network_file(path: str | Path) -> NetworkFile:
    """The description alone, checked as far as it can be without tensors. Raises WingbeatError."""
    values = read_toml(Path(path), "network")
    try:
        return NetworkFile.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        # A list whose members are at fault counts as too short as well.
        faults = [each for each in found if not any(each["loc"] == other["loc"][:len(each["loc"])] != other["loc"]
                                                    for other in found)]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise WingbeatError(_fault_line(faults[0]) + more) from error


def _fault_line(fault: Any) -> str:
    """One line out of an entry of a ValidationError: field, value, what is allowed."""
    parts: list[str] = []
    owner: type[BaseModel] = NetworkFile
    for before, part, behind in zip([None, *fault["loc"]], fault["loc"], [*fault["loc"][1:], None]):
        if isinstance(part, int):
            parts[-1] += f"[{part}]"
        elif isinstance(before, int):  # the kind, which chose the table
            owner = _KINDS[part]
        else:
            parts.append(printable(part))
            if behind is not None:
                tables: dict[str, type[BaseModel]] = {"input": Input, "sparsity": Sparsities}
                owner = tables.get(part, owner)
    field, value, message = ".".join(parts), _shown(fault["input"]), fault["msg"].removeprefix("Value error, ")
    match fault["type"]:
        case "value_error":
            return f"{field}: {message}"
        case "missing":
            return f"{field}: missing; it is needed"
        case "extra_forbidden":
            known = _REFUSED.get(parts[-1]) if issubclass(owner, _Attending) else None
            return f"{field}: {known or 'unknown'}; allowed are {', '.join(owner.model_fields)}"
        case "union_tag_not_found" | "union_tag_invalid":
            table = fault["input"] if isinstance(fault["input"], dict) else {"kind": fault["input"]}
            given = _shown(table["kind"]) if "kind" in table else "missing"
            allowed = [kind for kind in _KINDS if kind not in _OUTERMOST or field.count("layers") == 1]
            return f"{field}.kind: {given}; allowed are {', '.join(allowed)}"
    return f"{field}: {value}: {message[0].lower()}{message[1:]}"


def _shown(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"  # Python refuses to print very long ones
    return reprlib.repr(value)
