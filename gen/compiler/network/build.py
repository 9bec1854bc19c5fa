"""A hybrid butterfly network as operations of a processor: kernels, number formats, parameter sets, tasks.

Each step (gen/compiler/network/lower.py) becomes one operation. What is multiplied is calibrated on what the step sees
in float; the result gets a format in which what was seen fits with headroom (gen/compiler/network/formats.py). The
scales that are left on the outputs of unit-pivot butterflies, bias and the weights of a LayerNorm end in the channel
table or in the next matrix.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
import math
from typing import Any, NamedTuple

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.descriptor import Descriptor, Move
from ....hw.isa.instruction import MemoryMode
from ....hw.isa.parameter_set import ROW_ADDRESS_BITS, WIDE_BITS, Activation, ReadSet, WriteSet
from ....hw.isa.vector_tables import epsilon_parameter, scale_parameters
from ....hw.numeric import largest
from ....sim.reference.linear import butterfly_multiply
from ..checkpoint import ButterflyWeights
from ..kernel.compile import compile_butterfly, compile_copy, compile_fft, compile_sum
from ..kernel.dense import DenseKernel, compile_dense
from ..kernel.kernel import Kernel
from ..kernel.layers import pair_indices
from ..program.assemble import SumRows, Transfer
from ..program.blocks import Start
from ..program.channels import ChannelTables
from ..program.coefficients import CoefficientSpace
from ..program.dense import dense_image, multiply_dense
from ..program.operations import multiply_butterfly, mix_real, mixed_rows, transform_columns
from .file import Gelu, LayerNorm, Mixing
from .formats import (MOST_SHIFT, Format, element_log2, finest_operand, gelu_exponent, least_exponent,
                      most_gelu_exponent, norm_range, own_exponent, peak_of, plan_sum, power_of_two_unit, quantise)
from .lower import Step, Value
from .tensors import Tensor, TensorMemory

__all__ = ["Stored", "Constant", "Operation", "Resources", "build_operation"]

_MATRICES = ("butterfly", "linear")
_ROWS = 4096   # rows that calibrate a kernel, at most
_SMALL = 64    # elements up to which stacks are put together
_PIECES = 8    # SUMS in front of an operation that needs the sums of all rows: fewer than a queue of commands holds


@dataclass(frozen=True, eq=False)
class Stored:
    """A value in memory: its place, and the value of one unit of an element, for all or for each feature. ``decided``:
    the last element of a row is the number of the largest one."""

    tensor: Tensor
    unit: float | np.ndarray
    decided: bool = False

    @property
    def format(self) -> Format:
        """Of a tensor with one unit, which is a power of two."""
        return Format(0, round(math.log2(float(self.unit))))


class Constant(NamedTuple):
    """A tensor that is the same for every input: its place and unit, and its integers (tokens, features)."""

    stored: Stored
    integers: np.ndarray


@dataclass(frozen=True, eq=False)
class Operation:
    """One step as tasks. ``sums``: of all rows, needed before the first task. ``constants``: tensors that must stand in
    memory before. ``useful``: multiplications of its graph."""

    step: Step
    result: Stored
    tasks: list[Transfer | SumRows]
    sums: list[SumRows]
    constants: list[Constant]
    useful: int
    kernels: tuple[Kernel, ...] = field(default=(), repr=False)


class Resources:
    """What the operations of one program share."""

    def __init__(self, config: CoreConfig):
        self.coefficients, self.channels = CoefficientSpace(config), ChannelTables(config)


def build_operation(step: Step, config: CoreConfig, stored: dict[int, Stored], memory: TensorMemory,
                    resources: Resources, start: Start) -> Operation:
    """``stored``: where values stand, by id; that of the result is not put there. Raises WingbeatError."""
    try:
        build = {"mixing": _Mixing, "mean": _Mean, "linear": _Dense}.get(step.kind, _Rows)
        return build(step, config, stored, memory, resources, start).operation()
    except WingbeatError as fault:
        raise WingbeatError(f"{step.name}: {fault}") from fault


class _Builder:
    """What all kinds of steps have in common: the source, the result, both parameter sets."""

    def __init__(self, step: Step, config: CoreConfig, stored: dict[int, Stored], memory: TensorMemory,
                 resources: Resources, start: Start):
        self.step, self.config, self.memory, self.resources, self.start = step, config, memory, resources, start
        self.stored, self.source = stored, stored[id(step.source)]
        self.width = config.element_width
        self.constants: list[Constant] = []
        if step.norm is not None or step.activation is not None or step.added is not None:
            self.need_vector_unit()

    def need_vector_unit(self) -> None:
        if not self.config.vector_lanes:
            raise WingbeatError(f"vector: {self.config.name} has no [vector]; allowed is a processor with one, for "
                                "LayerNorm, scales, bias, activations and sums of tensors")

    # --- the way in -------------------------------------------------------------------------

    @property
    def read_unit(self) -> float | np.ndarray:
        """Value of one unit of what the matrix reads, weight and bias of a norm left out."""
        return math.ldexp(1.0, element_log2(self.width) + self.range_bits) if self.step.norm else self.source.unit

    @cached_property
    def range_bits(self) -> int:
        return norm_range(self.step, self.width) if self.step.norm else 0

    def read_integers(self) -> np.ndarray:
        """What the matrix reads for the calibration inputs, integers (inputs, tokens, features)."""
        return quantise(self.step.standardised() / self.read_unit, self.width)[0]

    def norm_scale(self) -> np.ndarray | float:
        if self.step.norm is None:
            return 1.0
        assert self.step.norm.scale is not None
        return self.step.norm.scale

    def norm_offset(self) -> np.ndarray | None:
        return None if self.step.norm is None else self.step.norm.offset

    def normalise(self) -> ReadSet | None:
        norm, tensor = self.step.norm, self.source.tensor
        if norm is None:
            return None
        assert isinstance(norm.spec, LayerNorm)
        try:
            epsilon = epsilon_parameter(norm.spec.epsilon, tensor.features, -math.log2(float(self.source.unit)))
            return ReadSet(chunk_shift=tensor.pitch.bit_length() - 1, n=tensor.features, epsilon=epsilon,
                           range_bits=self.range_bits)
        except ValueError as fault:
            raise WingbeatError(f"{norm.weights}: {fault}") from fault

    def sums(self, first: int, rows: int) -> SumRows:
        """Sums of ``rows`` rows of the source from row ``first`` on."""
        normalise = self.normalise()
        assert normalise is not None
        groups, matrix = self.config.beat_groups, self.source.tensor.rows
        chunks = matrix.chunks(self.config)
        parts = (-(-chunks // groups) - 1).bit_length()
        steps = [*(Move(0, groups << bit) for bit in range(parts)),
                 *(Move(1 << bit) for bit in range((rows - 1).bit_length()))]
        read = Descriptor((), Move(0, 1), tuple(steps), matrix.pitch, chunks, matrix.tail(self.config),
                          steps=rows << parts)
        return SumRows(read, matrix.base + first * matrix.pitch, rows, normalise)

    def all_sums(self) -> list[SumRows]:
        """Sums of all rows, in a few pieces that may follow what writes them."""
        if self.step.norm is None:
            return []
        rows = self.source.tensor.rows.rows
        self._check_statistics(rows)
        piece = -(-rows // _PIECES)
        return [self.sums(first, min(piece, rows - first)) for first in range(0, rows, piece)]

    @property
    def rows_at_once(self) -> int:
        """Rows of the source whose sums can be known at one time: as many as the table has, told apart by
        their addresses."""
        return min(self.config.statistics_rows, self._addressable_rows)

    @property
    def _addressable_rows(self) -> int:
        return (1 << ROW_ADDRESS_BITS) // self.source.tensor.pitch

    def _check_statistics(self, rows: int) -> None:
        if rows > self._addressable_rows:
            raise WingbeatError(f"{rows} rows of {self.source.tensor.pitch} beats; allowed are {self.rows_at_once} at "
                                f"once, or a smaller batch than {self.memory.batch}")
        if rows > self.rows_at_once:
            raise WingbeatError(f"statistics_rows: {self.rows_at_once} are too few for {rows} rows; allowed are {rows} "
                                f"and more, or a smaller batch than {self.memory.batch}")

    # --- the way out ------------------------------------------------------------------------

    def finish(self, scale: np.ndarray | float, bias: np.ndarray | None) -> tuple[WriteSet | None, Stored]:
        """Parameter set of the WRITEs of elements whose values are integers times ``scale`` (features,) plus ``bias``,
        and where the result stands."""
        step, width = self.step, self.width
        tensor = self.memory.take(*step.result.shape)
        if self._leaves_scale(bias):
            return None, Stored(tensor, np.broadcast_to(scale, (tensor.features,)))
        least = least_exponent(step.result, width)
        added = self._added_format(least)
        own = None if bias is not None or step.activation is not None else self._unscaled(scale, added, least)
        scaled = own is None
        own = own or self._own_format(least if added is None else finest_operand(added, least), bias)
        fields = self._activate(own)
        result = own
        if added is not None:
            plan = plan_sum(own, added, least, fixed=not scaled or isinstance(step.activation, Gelu))
            own, result = plan.own, plan.result
            fields |= {"residual": True, "offset": self._added_base(added) - tensor.base & 0xFFFF_FFFF,
                       "a": plan.a, "b": plan.b, "c": plan.c}
        if scaled:
            has_guard = isinstance(step.activation, Gelu)
            before = Format(width, element_log2(width)) if has_guard else own
            fields |= self._rescale(tensor, scale / before.unit, 0.0 if bias is None else bias / before.unit, has_guard)
        decides = self._decides(tensor)
        if decides:
            fields |= {"argmax": True, "classes": tensor.features}
        return (WriteSet(**fields) if fields else None), Stored(tensor, result.unit, decides)

    def _decides(self, tensor: Tensor) -> bool:
        """Whether the last element of a row has room for the number of the largest: results of the network, in rows of
        one beat."""
        result = self.step.result
        return (self.config.vector_lanes > 0 and not result.readers and not result.adders
                and 1 < tensor.features < min(tensor.beat_elements, 1 << self.width - 1))

    def _leaves_scale(self, bias: np.ndarray | None) -> bool:
        """Whether the next matrix takes the scales of the features into its columns."""
        step = self.step
        readers = step.result.readers
        return (step.kind in _MATRICES and bias is None and step.activation is None and step.added is None
                and not step.result.adders and len(readers) == 1 and readers[0].kind in _MATRICES
                and readers[0].norm is None and not readers[0].flat)

    def _unscaled(self, scale: np.ndarray | float, added: Format | None, least: int) -> Format | None:
        """The format of what the array leaves, if it can stay."""
        if np.ndim(scale) or math.frexp(scale)[0] != 0.5:
            return None
        own = Format(self.width, round(math.log2(scale)))
        if added is None:
            return own if own.exponent >= least else None
        try:
            plan_sum(own, added, least, fixed=True)
        except WingbeatError:
            return None
        return own

    def _own_format(self, finest: int, bias: np.ndarray | None) -> Format:
        """Of the result before something is added, with room for ``bias``; not finer than ``finest`` where that can
        be."""
        if isinstance(self.step.activation, Gelu):
            needed = gelu_exponent(peak_of(self.step.activated), self.width)
            return Format(self.width, min(most_gelu_exponent(self.width), max(needed, finest)))
        room = finest if bias is None or not bias.any() else self._exponent(bias)
        return Format(self.width, max(own_exponent(self.step, self.width), finest, room))

    def _exponent(self, bias: np.ndarray) -> int:
        return power_of_two_unit(peak_of(bias), self.width, 1.0).exponent

    def _activate(self, own: Format) -> dict[str, Any]:
        """Fields of the activation whose result has format ``own``."""
        activation = self.step.activation
        if isinstance(activation, Gelu):
            self.resources.channels.use_gelu(activation.approximate)
            return {"activation": Activation.GELU, "fall": own.exponent + self.width}
        return {"activation": Activation.RELU} if activation else {}

    def _added_format(self, least: int) -> Format | None:
        """Of what is added; a position may be as coarse as the sum bears."""
        added, width = self.step.added, self.width
        if added is None:
            return None
        if isinstance(added, Value):
            return replace(self.stored[id(added)].format, width=width)
        finest = max(least, own_exponent(self.step, width)) - MOST_SHIFT
        return Format(width, max(finest, power_of_two_unit(peak_of(added), width).exponent) if added.any() else finest)

    def _added_base(self, added: Format) -> int:
        """Where it stands; a position gets its place, which nothing else may have had: it is there from the start."""
        if isinstance(self.step.added, Value):
            return self.stored[id(self.step.added)].tensor.base
        assert self.step.added is not None
        place = self.memory.take(*self.step.result.shape, unused=True)
        self.constants.append(Constant(Stored(place, added.unit), added.integers(self.step.added)))
        return place.base

    def _rescale(self, tensor: Tensor, factor: np.ndarray | float, bias: np.ndarray | float,
                 has_guard: bool) -> dict[str, Any]:
        """Fields for y = x * ``factor`` + ``bias``, each for all features or (features,). ``has_guard``: y may have
        WIDE_BITS more than an element."""
        self.need_vector_unit()
        wide = has_guard and peak_of(np.asarray(bias)) > largest(self.width)
        if wide:
            bias = bias / (1 << WIDE_BITS)
        try:
            scale, offset, shift = scale_parameters(factor, bias, self.width)
        except ValueError as fault:
            raise WingbeatError(f"scale on the way out: {fault}") from fault
        whole = scale.ndim == 0
        beats = 1 if whole else tensor.pitch
        table = np.zeros((2, beats * self.config.memory_elements), dtype=np.int64)
        for row, values in zip(table, (scale, offset)):
            row[:len(row) if whole else values.size] = values
        return {"rescale": True, "base": self.resources.channels.place(*table), "chunk_mask": beats - 1, "shift": shift,
                "wide_bias": wide}

    def operation(self) -> Operation:
        raise NotImplementedError


class _Rows(_Builder):
    """A butterfly over the features of each row, or a copy."""

    def operation(self) -> Operation:
        source = self.source.tensor.flat if self.step.flat else self.source.tensor.rows
        most = self.rows_at_once
        normalises = self.step.norm is not None and not self.step.flat
        kernel, bias = self._kernel(min(source.rows, 1 << most.bit_length() - 1) if normalises else source.rows)
        finish, result = self.finish(kernel.output_scale if self.step.weights else self._copied_scale(), bias)
        transfers = multiply_butterfly(kernel, source, result.tensor.rows, self.resources.coefficients, self.step.name,
                                       self.start, by_stack=self.config.records and source.rows <= most)
        tasks = _with_sets(transfers, self.normalise(), finish)
        sums = self.all_sums() if self.step.flat else []
        if normalises:
            tasks = self._with_sums(tasks)
        useful = source.rows * _multiplications(self.step.weights) if self.step.weights else 0
        return Operation(self.step, result, tasks, sums, self.constants, useful, (kernel,))

    def _kernel(self, rows: int) -> tuple[Kernel, np.ndarray | None]:
        """The kernel for integers, and the bias."""
        step, weights, config = self.step, self.step.weights, self.config
        if weights is None:
            return compile_copy(step.result.shape.features, config, least_size=config.memory_elements,
                                rows=rows), self._tiled_offset()
        columns = self._tiled(np.broadcast_to(self.norm_scale() * self.read_unit, (step.source.shape.features,)))
        offset, bias = self._tiled_offset(), weights.bias
        if offset is not None:
            product = butterfly_multiply(weights.twiddle, offset, weights.increasing_stride, weights.out_size)
            bias = product if bias is None else bias + product
        sample = self.read_integers().reshape(-1, weights.in_size)
        kernel = compile_butterfly(
            _fold_columns(weights.twiddle, weights.increasing_stride, columns), config,
            calibration=_some(sample), input_limit=float(largest(self.width)), in_size=weights.in_size,
            out_size=weights.out_size, increasing_stride=weights.increasing_stride, rows=rows,
            least_size=self._least_size(weights))
        return kernel, bias

    def _least_size(self, weights: ButterflyWeights) -> int:
        """Small stacks go together: each would read all rows again."""
        together = weights.size << (weights.n_stacks - 1).bit_length()
        return max(self.config.memory_elements, min(_SMALL, together))

    def _tiled(self, values: np.ndarray) -> np.ndarray:
        """Features of one token, for all tokens where they stand one after the other."""
        return np.tile(values, self.step.source.shape.tokens) if self.step.flat else values

    def _tiled_offset(self) -> np.ndarray | None:
        offset = self.norm_offset()
        return None if offset is None else self._tiled(offset)

    def _copied_scale(self) -> np.ndarray | float:
        scale = self.norm_scale() * self.read_unit
        return self._tiled(scale) if isinstance(scale, np.ndarray) else scale

    def _with_sums(self, tasks: Sequence[Transfer | SumRows]) -> list[Transfer | SumRows]:
        """Sums of the rows of a block in front of the first stack that reads it."""
        found: list[Transfer | SumRows] = []
        matrix, seen = self.source.tensor.rows, set()
        for task in tasks:
            assert isinstance(task, Transfer)
            if task.block.read_at not in seen:
                seen.add(task.block.read_at)
                self._check_statistics(task.block.read_rows)
                found.append(self.sums((task.block.read_at - matrix.base) // matrix.pitch, task.block.read_rows))
            found.append(task)
        return found


class _Dense(_Rows):
    """A dense matrix over the features of each row."""

    def operation(self) -> Operation:
        step, config = self.step, self.config
        source = self.source.tensor.flat if step.flat else self.source.tensor.rows
        normalises = step.norm is not None and not step.flat
        kernel, bias = self._matrix()
        image = dense_image(config, kernel.weights, source)
        place = self.memory.take_beats(len(image))
        self.constants.append(Constant(Stored(place, 1.0), image))
        finish, result = self.finish(kernel.output_unit(1.0), bias)
        transfers = multiply_dense(config, source, result.tensor.rows, place.base, kernel.shift, step.name,
                                   self.rows_at_once if normalises else None)
        tasks = _with_sets(transfers, self.normalise(), finish)
        sums = self.all_sums() if step.flat else []
        if normalises:
            tasks = self._with_sums(tasks)
        return Operation(step, result, tasks, sums, self.constants, source.rows * kernel.weights.size)

    def _matrix(self) -> tuple[DenseKernel, np.ndarray | None]:
        """The kernel for integers, and the bias."""
        layer, config = self.step.layer, self.config
        assert layer is not None and layer.matrix is not None
        columns = self._tiled(np.broadcast_to(self.norm_scale() * self.read_unit, (self.step.source.shape.features,)))
        offset, bias = self._tiled_offset(), layer.bias
        if offset is not None:
            product = layer.matrix @ offset
            bias = product if bias is None else bias + product
        sample = self.read_integers().reshape(-1, layer.matrix.shape[1])
        return compile_dense(layer.matrix * columns, config, _some(sample), by_output=config.vector_lanes > 0), bias


class _Mixing(_Builder):
    """Re(FFT2) of each input."""

    def operation(self) -> Operation:
        step, config = self.step, self.config
        tokens, hidden = step.source.shape
        source = self.source.tensor
        if source.features != source.pitch * config.memory_elements or tokens < 4:
            raise WingbeatError(f"{tokens} tokens x {hidden} features; allowed are powers of two, tokens from 4 on and "
                                f"features from {config.memory_elements} on")
        assert step.layer is not None and isinstance(step.layer.spec, Mixing)
        spec, limit = step.layer.spec, float(largest(self.width))
        x = self.read_integers()
        packed = (x[..., 0::2] + 1j * x[..., 1::2]).swapaxes(1, 2).reshape(-1, tokens)
        columns = compile_fft(tokens, config, scaling=spec.scaling, calibration=_some(packed), input_limit=limit,
                              rows=max(config.engines * config.lanes, self.memory.batch * hidden // 2))
        kept = mixed_rows(tokens)
        between = np.fft.fft(x, axis=1)[:, :kept] / 2.0 ** columns.stacks[0].shift
        split, unit, between = self._between(columns, between)
        rows = compile_fft(hidden, config, scaling=spec.scaling, calibration=_some(between.reshape(-1, hidden)),
                           input_limit=limit)
        middle = self.memory.take(kept, 2 * hidden)
        norm = math.sqrt(tokens * hidden) if spec.norm == "ortho" else 1.0
        finish, result = self.finish(math.ldexp(unit, rows.stacks[0].shift) / norm, None)
        plain = mix_real(columns, rows, source.tokens_down, middle.tokens_down, result.tensor.tokens_down,
                         self.resources.coefficients, step.name, self.memory.batch)
        first = [task for task in plain if task.stage.write_mode is MemoryMode.SPLIT]
        tasks = [*_with_sets(first, self.normalise(), split), *_with_sets(plain[len(first):], None, finish)]
        self.memory.release(middle)
        useful = 4 * (tokens // 2) * (hidden // 2) * (columns.log2_size + rows.log2_size) * self.memory.batch
        return Operation(step, result, tasks, self.all_sums(), self.constants, useful, (columns, rows))

    def _between(self, columns: Kernel, between: np.ndarray) -> tuple[WriteSet | None, float, np.ndarray]:
        """Between the transforms: parameter set, unit, and the calibration inputs in that unit.

        The weight of a norm commutes with the transform over the tokens; its bias is a constant over them, so all of
        it is at token frequency 0.
        """
        unit = math.ldexp(float(self.read_unit), columns.stacks[0].shift)
        if self.step.norm is None:
            return None, unit, between
        tokens, hidden = self.step.source.shape
        beta = self.norm_offset()
        bias = np.zeros(hidden) if beta is None else float(tokens) * beta
        values = between * unit * self.norm_scale()
        values[:, 0] += bias
        needed = power_of_two_unit(peak_of(np.stack([values.real, values.imag])), self.width).exponent
        chosen = Format(self.width, max(needed, self._exponent(bias)) if bias.any() else needed)
        factor, offset = np.broadcast_to(self.norm_scale(), (hidden,)) * unit / chosen.unit, bias / chosen.unit
        try:
            scale, whole, shift = scale_parameters(factor, offset, self.width)
        except ValueError as fault:
            raise WingbeatError(f"{self.step.norm.weights}: {fault}") from fault
        table = np.zeros((2, hidden, 2), dtype=np.int64)  # scale and bias of re and im
        table[0], table[1, :, 0] = scale[:, None], whole
        base = self.resources.channels.place(*table.reshape(2, -1))
        chunks = 2 * hidden // self.config.memory_elements
        return (WriteSet(rescale=True, base=base, chunk_mask=chunks - 1, shift=shift, bias_row=True), chosen.unit,
                values / chosen.unit)


class _Mean(_Builder):
    """The mean over the tokens."""

    def operation(self) -> Operation:
        step, config, tokens = self.step, self.config, self.step.source.shape.tokens
        columns = self.read_integers().swapaxes(1, 2).reshape(-1, tokens)
        elements = self.memory.batch * step.source.shape.features
        kernel = compile_sum(tokens, config, calibration=_some(columns), input_limit=float(largest(self.width)),
                             rows=max(2 * config.engines * config.lanes, elements))
        scale = math.ldexp(1.0, kernel.stacks[0].shift) / tokens * self.norm_scale() * self.read_unit
        finish, result = self.finish(scale, self.norm_offset())
        tasks = transform_columns(kernel, self.source.tensor.tokens_down, result.tensor.tokens_down,
                                  self.resources.coefficients, step.name)
        return Operation(step, result, _with_sets(tasks, self.normalise(), finish), self.all_sums(), self.constants, 0,
                         (kernel,))


def _multiplications(weights: ButterflyWeights) -> int:
    """Of a row: one for each output of each layer, layers of one stride that meet being one."""
    layers = weights.log2_size * weights.twiddle.shape[1] - (weights.twiddle.shape[1] - 1)
    return weights.n_stacks * weights.size * layers


def _some(rows: np.ndarray) -> np.ndarray:
    """At most _ROWS of the rows, evenly taken."""
    return rows[::-(-len(rows) // _ROWS)]


def _with_sets(tasks: Sequence[Transfer], normalise: ReadSet | None,
               finish: WriteSet | None) -> list[Transfer | SumRows]:
    """The tasks with both parameter sets in their stages."""
    stages = {id(task.stage): replace(task.stage, normalise=normalise, finish=finish) for task in tasks}
    return [task._replace(stage=stages[id(task.stage)]) for task in tasks]


def _fold_columns(twiddle: np.ndarray, increasing_stride: bool, scale: np.ndarray) -> np.ndarray:
    """Weights for inputs that are integers times ``scale`` (in_size,): it goes into the columns of the first layer."""
    folded, bits = twiddle.copy(), twiddle.shape[2]
    padded = np.ones(1 << bits)
    padded[:scale.size] = scale
    for side, index in enumerate(pair_indices(padded.size, 0 if increasing_stride else bits - 1)):
        folded[:, 0, 0, :, :, side] *= padded[index][:, None]
    return folded
