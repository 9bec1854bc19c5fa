"""Butterfly layers from files: torch-butterfly arrays in .safetensors, .npz or .npy. Never pickle.

A layer called ``NAME`` is the tensor ``NAME.twiddle`` (or just ``twiddle``), shape (nstacks, nblocks,
log_n, n/2, 2, 2), with an optional ``NAME.bias`` (out_size,). The sizes and the stride direction are not
part of torch-butterfly's tensors; they are taken from ``NAME.in_size``, ``NAME.out_size`` and
``NAME.increasing_stride`` where the file has them (text metadata of .safetensors, 0-d arrays of .npz), or
from the caller. Everything malformed raises :class:`WingbeatError` with one line.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
import zipfile

import numpy as np
from safetensors import SafetensorError, safe_open

from ..hw.errors import WingbeatError

__all__ = ["ButterflyWeights", "butterfly_weights", "read_checkpoint", "read_layer"]

_LAYOUT = "(nstacks, nblocks, log_n, n/2, 2, 2)"
_LARGEST_LOG_N = 16
_OPTIONS = ("in_size", "out_size", "increasing_stride")


@dataclass(frozen=True, eq=False)
class ButterflyWeights:
    """A checked butterfly layer: y = truncate(concatenate over stacks of B_stack * pad(x)) + bias.

    ``twiddle`` (nstacks, nblocks, log_n, n/2, 2, 2) and ``bias`` (out_size,) or None are finite float64.
    """

    twiddle: np.ndarray
    increasing_stride: bool
    in_size: int
    out_size: int
    bias: np.ndarray | None

    @property
    def n_stacks(self) -> int:
        return self.twiddle.shape[0]

    @property
    def log2_size(self) -> int:
        return self.twiddle.shape[2]

    @property
    def size(self) -> int:
        """Size of one stack, a power of two."""
        return 1 << self.log2_size


def _real_array(field: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if np.iscomplexobj(array):
        raise WingbeatError(f"{field}: dtype {array.dtype} is complex; allowed are real butterflies "
                            "(complex blocks have no unit-pivot form)")
    if array.dtype.kind not in "fiu":
        raise WingbeatError(f"{field}: dtype {array.dtype}; allowed are float and integer types")
    array = array.astype(np.float64)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        where = ", ".join(str(i) for i in bad[0])
        raise WingbeatError(f"{field}: {array[tuple(bad[0])]} at [{where}]; allowed are finite numbers")
    return array


def _check_twiddle(field: str, value: Any) -> np.ndarray:
    twiddle = _real_array(field, value)
    shape = twiddle.shape
    if len(shape) == 7 and shape[-3:] == (2, 2, 2):
        raise WingbeatError(f"{field}: shape {shape} holds complex blocks; allowed are real ones, {_LAYOUT}")
    if len(shape) != 6:
        raise WingbeatError(f"{field}: shape {shape} has {len(shape)} dimensions; allowed are 6, {_LAYOUT}")
    n_stacks, n_blocks, log_n, half = shape[:4]
    if shape[4:] != (2, 2):
        raise WingbeatError(f"{field}: shape {shape} ends in {shape[4:]}; allowed is (2, 2), {_LAYOUT}")
    if not n_stacks or not n_blocks:
        raise WingbeatError(f"{field}: shape {shape} is empty; allowed are nstacks >= 1 and nblocks >= 1")
    if not 1 <= log_n <= _LARGEST_LOG_N:
        raise WingbeatError(f"{field}: log_n = {log_n}; allowed are 1..{_LARGEST_LOG_N}")
    if half != 1 << (log_n - 1):
        raise WingbeatError(f"{field}: n/2 = {half} with log_n = {log_n}; allowed is {1 << (log_n - 1)}")
    return twiddle


def _check_size(field: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise WingbeatError(f"{field}: {value!r} does not match the twiddle; allowed are {low}..{high}")
    return int(value)


def butterfly_weights(twiddle: Any, *, increasing_stride: bool = True, in_size: int | None = None,
                      out_size: int | None = None, bias: Any = None, name: str = "") -> ButterflyWeights:
    """Check a torch-butterfly array and its options.

    ``in_size`` defaults to n; ``out_size`` to the length of the bias, or nstacks * n. Raises WingbeatError.
    """
    prefix = f"{name}." if name else ""
    array = _check_twiddle(prefix + "twiddle", twiddle)
    n_stacks, size = array.shape[0], 1 << array.shape[2]
    if not isinstance(increasing_stride, (bool, np.bool_)):
        raise WingbeatError(f"{prefix}increasing_stride: {increasing_stride!r}; allowed are true and false")
    checked_bias = None
    if bias is not None:
        checked_bias = _real_array(prefix + "bias", bias)
        if checked_bias.ndim != 1:
            raise WingbeatError(f"{prefix}bias: shape {checked_bias.shape}; allowed is (out_size,)")
    if out_size is None:
        out_size = n_stacks * size if checked_bias is None else len(checked_bias)
        field = "out_size" if checked_bias is None else "bias"
    else:
        field = "out_size"
    in_size = _check_size(prefix + "in_size", size if in_size is None else in_size, 1, size)
    out_size = _check_size(prefix + field, out_size, (n_stacks - 1) * size + 1, n_stacks * size)
    if checked_bias is not None and len(checked_bias) != out_size:
        raise WingbeatError(f"{prefix}bias: length {len(checked_bias)}; allowed is out_size = {out_size}")
    return ButterflyWeights(array, bool(increasing_stride), in_size, out_size, checked_bias)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _load_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    try:
        with safe_open(str(path), framework="numpy") as file:
            wanted = [key for key in file.keys() if key.split(".")[-1] in ("twiddle", "bias")]
            return {key: file.get_tensor(key) for key in wanted}, dict(file.metadata() or {})
    except (SafetensorError, TypeError, AttributeError, ValueError, OSError) as error:
        raise WingbeatError(f"checkpoint: {path.name} is not a readable .safetensors file "
                            f"({_first_line(error)})") from error


def _load_numpy(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"twiddle": loaded}, {}
        with loaded:
            arrays = {key: loaded[key] for key in loaded.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise WingbeatError(f"checkpoint: {path.name} is not a readable {path.suffix} file without pickle "
                            f"({_first_line(error)})") from error
    options = {key: value.item() if value.ndim == 0 else value.shape for key, value in arrays.items()
               if key.split(".")[-1] in _OPTIONS}
    return arrays, options


_LOADERS = {".safetensors": _load_safetensors, ".npz": _load_numpy, ".npy": _load_numpy}


def _parse_option(field: str, value: Any) -> Any:
    """Options of .safetensors are text."""
    if not isinstance(value, str):
        return value
    if field.endswith("increasing_stride"):
        return {"true": True, "false": False}.get(value.strip().lower(), value)
    return int(value) if value.strip().isdecimal() else value


class _File:
    """Tensors and options of one checkpoint, and the names of its butterfly layers."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        loader = _LOADERS.get(self.path.suffix.lower())
        if loader is None:
            raise WingbeatError(f"checkpoint: {self.path.name!r}; allowed are names that end in "
                                f"{', '.join(_LOADERS)}")
        if not self.path.is_file():
            raise WingbeatError(f"checkpoint: {str(path)!r} is not a file")
        self.tensors, self.options = loader(self.path)
        self.names = sorted(key.rpartition(".")[0] for key in self.tensors if key.split(".")[-1] == "twiddle")
        if not self.names:
            raise WingbeatError(f"checkpoint: {self.path.name} has no tensor; allowed are 'twiddle' and "
                                "'NAME.twiddle'")

    def layer(self, name: str, given: dict[str, Any]) -> ButterflyWeights:
        prefix = f"{name}." if name else ""
        options = {option: _parse_option(option, self.options[prefix + option]) for option in _OPTIONS
                   if prefix + option in self.options}
        options |= {option: value for option, value in given.items() if value is not None}
        options.setdefault("bias", self.tensors.get(prefix + "bias"))
        return butterfly_weights(self.tensors[prefix + "twiddle"], name=name, **options)


def read_checkpoint(path: str | Path) -> dict[str, ButterflyWeights]:
    """All butterfly layers of a file by name; tensors of other kinds of layers are ignored.

    Raises WingbeatError.
    """
    file = _File(path)
    return {name: file.layer(name, {}) for name in file.names}


def read_layer(path: str | Path, name: str | None = None, **options: Any) -> ButterflyWeights:
    """One butterfly layer of a file; ``name`` may be left out when there is only one.

    ``options`` (in_size, out_size, increasing_stride, bias) override what the file says.
    Raises WingbeatError.
    """
    file = _File(path)
    if name is None and len(file.names) == 1:
        name = file.names[0]
    if name not in file.names:
        known = ", ".join(repr(key) for key in file.names)
        raise WingbeatError(f"name: {name!r} is not in {file.path.name}; allowed are {known}")
    return file.layer(name, options)
