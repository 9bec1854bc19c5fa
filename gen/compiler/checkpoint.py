"""Tensors from files, and the butterfly layers among them: .safetensors, .npz or .npy. Never pickle.

A layer called ``NAME`` is the tensor ``NAME.twiddle`` (or just ``twiddle``), shape (nstacks, nblocks,
log_n, n/2, 2, 2), with an optional ``NAME.bias`` (out_size,). The sizes and the stride direction are not
part of torch-butterfly's tensors; they are taken from ``NAME.in_size``, ``NAME.out_size`` and
``NAME.increasing_stride`` where the file has them (text metadata of .safetensors, 0-d arrays of .npz), or
from the caller (gen/compiler/network/load.py tells what can be inferred). Everything malformed raises
:class:`WingbeatError` with one line.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
import zipfile
import zlib

import numpy as np
from safetensors import SafetensorError, deserialize, safe_open

from ...hw.errors import WingbeatError

__all__ = ["LARGEST", "ButterflyWeights", "Checkpoint", "butterfly_weights", "printable", "read_checkpoint",
           "read_layer", "real_array"]

_LAYOUT = "(nstacks, nblocks, log_n, n/2, 2, 2)"
_LARGEST_LOG_N = 16
LARGEST = 1e15  # of weights and inputs; products of as many as a butterfly has layers stay inside float64
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


def printable(name: str) -> str:
    """A name of somebody's file for a message of one line."""
    return name if name.isprintable() and len(name) <= 200 else f"{ascii(name[:200])}"


def real_array(field: str, value: Any) -> np.ndarray:
    """``value`` as float64, no larger than LARGEST either way. Raises WingbeatError naming ``field``."""
    array = np.asarray(value)
    if np.iscomplexobj(array):
        raise WingbeatError(f"{field}: dtype {array.dtype} is complex; allowed are real butterflies "
                            "(complex blocks have no unit-pivot form)")
    if array.dtype.kind not in "fiu":
        raise WingbeatError(f"{field}: dtype {array.dtype}; allowed are float and integer types")
    array = array.astype(np.float64)
    bad = np.argwhere(~(np.abs(array) <= LARGEST))  # NaN is not
    if len(bad):
        where = ", ".join(str(i) for i in bad[0])
        raise WingbeatError(f"{field}: {array[tuple(bad[0])]} at [{where}]; allowed are -{LARGEST:g}..{LARGEST:g}")
    return array


def _check_twiddle(field: str, value: Any) -> np.ndarray:
    twiddle = real_array(field, value)
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
    prefix = printable(f"{name}.") if name else ""
    array = _check_twiddle(prefix + "twiddle", twiddle)
    n_stacks, size = array.shape[0], 1 << array.shape[2]
    if not isinstance(increasing_stride, (bool, np.bool_)):
        raise WingbeatError(f"{prefix}increasing_stride: {increasing_stride!r}; allowed are true and false")
    checked_bias = None
    if bias is not None:
        checked_bias = real_array(prefix + "bias", bias)
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
    return printable((str(error).splitlines() or [type(error).__name__])[0][:160])


# Names of the tensors, options, and what reads one tensor.
_Opened = tuple[list[str], Mapping[str, Any], Callable[[str], np.ndarray]]

# Compressed members add errors of zlib; a header may ask for more memory than there is.
_FAULTS = (SafetensorError, TypeError, AttributeError, KeyError, ValueError, ArithmeticError, RuntimeError, OSError,
           EOFError, MemoryError, zlib.error, zipfile.BadZipFile)


def _open_safetensors(path: Path) -> _Opened:
    def read(name: str) -> np.ndarray:
        with safe_open(str(path), framework="numpy") as file:
            if file.get_slice(name).get_dtype() == "BF16":
                return _read_bfloat16(path, name)
            return file.get_tensor(name)

    with safe_open(str(path), framework="numpy") as file:
        return list(file.keys()), dict(file.metadata() or {}), read


def _read_bfloat16(path: Path, name: str) -> np.ndarray:
    """numpy has no bfloat16; it is the upper half of a float32."""
    entry = dict(deserialize(path.read_bytes()))[name]
    upper = np.frombuffer(entry["data"], dtype="<u2").astype("<u4") << 16
    return upper.view("<f4").reshape(entry["shape"])


def _open_npy(path: Path) -> _Opened:
    array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError("it is an archive")
    return ["twiddle"], {}, lambda name: array


def _open_npz(path: Path) -> _Opened:
    def read(name: str) -> np.ndarray:
        with np.load(path, allow_pickle=False) as file:
            return file[name]

    with np.load(path, allow_pickle=False) as file:
        names = [name for name in file.files if name.split(".")[-1] not in _OPTIONS]
        found = {name: file[name] for name in file.files if name.split(".")[-1] in _OPTIONS}
    return names, {name: value.item() if value.ndim == 0 else value.shape for name, value in found.items()}, read


_OPENERS = {".safetensors": _open_safetensors, ".npz": _open_npz, ".npy": _open_npy}


def _parse_option(field: str, value: Any) -> Any:
    """Options of .safetensors are text."""
    if not isinstance(value, str):
        return value
    if field.endswith("increasing_stride"):
        return {"true": True, "false": False}.get(value.strip().lower(), value)
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else value


class Checkpoint:
    """The tensors of one file, read when they are asked for.

    ``names``: tensors, sorted. ``layers``: names of the butterfly layers, sorted. Raises WingbeatError for a file
    that cannot be read.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        opener = _OPENERS.get(self.path.suffix.lower())
        if opener is None:
            raise WingbeatError(f"checkpoint: {self.path.name!r}; allowed are names that end in "
                                f"{', '.join(_OPENERS)}")
        if not self.path.is_file():
            raise WingbeatError(f"checkpoint: {str(path)!r} is not a file")
        try:
            names, self._options, self._read = opener(self.path)
        except _FAULTS as error:
            raise WingbeatError(f"checkpoint: {self.path.name!r} is not a readable {self.path.suffix} file without "
                                f"pickle ({_first_line(error)})") from error
        self.names = tuple(sorted(names))
        self.layers = tuple(name.rpartition(".")[0] for name in self.names if name.split(".")[-1] == "twiddle")

    def tensor(self, name: str) -> np.ndarray:
        """One tensor with the type it has in the file."""
        if name not in self.names:
            known = ", ".join(map(printable, self.names[:8])) + (", ..." if len(self.names) > 8 else "")
            raise WingbeatError(f"{printable(name)}: no tensor of {self.path.name!r}; allowed are {known or 'none'}")
        try:
            return self._read(name)
        except _FAULTS as error:
            raise WingbeatError(f"{printable(name)}: cannot be read from {self.path.name!r} without pickle "
                                f"({_first_line(error)}); allowed are bfloat16, float16, 32, 64, integers") from error

    def options(self, layer: str) -> dict[str, Any]:
        """``in_size``, ``out_size``, ``increasing_stride`` of a butterfly, as far as the file has them."""
        prefix = f"{layer}." if layer else ""
        return {option: _parse_option(option, self._options[prefix + option]) for option in _OPTIONS
                if prefix + option in self._options}

    def butterfly(self, layer: str, given: Mapping[str, Any]) -> ButterflyWeights:
        """A butterfly layer; what is not None in ``given`` goes before what the file says."""
        prefix = f"{layer}." if layer else ""
        options = self.options(layer) | {option: value for option, value in given.items() if value is not None}
        if prefix + "bias" in self.names:
            options.setdefault("bias", self.tensor(prefix + "bias"))
        return butterfly_weights(self.tensor(prefix + "twiddle"), name=layer, **options)


def _with_butterflies(path: str | Path) -> Checkpoint:
    file = Checkpoint(path)
    if not file.layers:
        raise WingbeatError(f"checkpoint: {file.path.name!r} has no tensor 'twiddle' or 'NAME.twiddle'; allowed are "
                            "files with butterfly layers")
    return file


def read_checkpoint(path: str | Path) -> dict[str, ButterflyWeights]:
    """All butterfly layers of a file by name; tensors of other kinds of layers are ignored.

    Raises WingbeatError.
    """
    file = _with_butterflies(path)
    return {name: file.butterfly(name, {}) for name in file.layers}


def read_layer(path: str | Path, name: str | None = None, **options: Any) -> ButterflyWeights:
    """One butterfly layer of a file; ``name`` may be left out when there is only one.

    ``options`` (in_size, out_size, increasing_stride, bias) override what the file says.
    Raises WingbeatError.
    """
    file = _with_butterflies(path)
    if name is None and len(file.layers) == 1:
        name = file.layers[0]
    if name is None or name not in file.layers:
        known = ", ".join(map(ascii, file.layers))
        raise WingbeatError(f"name: {name!r} is not in {file.path.name!r}; allowed are {known}")
    return file.butterfly(name, options)
