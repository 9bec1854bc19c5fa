"""A hybrid butterfly network as operations of a processor: kernels, number formats, parameter sets, tasks.

Each step (gen/compiler/network/lower.py) becomes one operation. What is multiplied is calibrated on what the step sees
in float; the result gets a format in which what was seen fits with headroom (gen/compiler/network/formats.py). The
scales that are left on the outputs of unit-pivot butterflies, bias and the weights of a LayerNorm end in the channel
table or in the next matrix.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
import math

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.instruction import MemoryMode
from ....hw.isa.parameter_set import ReadSet, WriteSet
from ....hw.isa.vector_tables import scale_parameters
from ....hw.numeric import largest
from ....sim.reference.functions import attended
from ....sim.reference.linear import butterfly_multiply
from ..checkpoint import ButterflyWeights
from ..kernel.attention import attention_shifts, mask_slopes
from ..kernel.compile import compile_butterfly, compile_copy, compile_fft, compile_sum
from ..kernel.dense import DenseKernel, compile_dense
from ..kernel.kernel import Kernel
from ..kernel.layers import pair_indices
from ..kernel.sparse import Pattern, find_stride
from ..program.assemble import SumRows, Transfer
from ..program.blocks import Start
from ..program.attention import Attend
from ..program.granularity import Keys, padded_keys
from ..program.dense import DenseProduct
from ..program.embedding import pick_rows
from ..program.matrix import Matrix
from ..program.operations import multiply_butterfly, mix_real, mixed_rows, transform_columns
from ..program.stage import keeps
from .builder import Builder, Constant, Operation, Resources, Stored
from .file import Attention, Mixing
from .formats import Format, least_exponent, own_exponent, peak_of, power_of_two_unit
from .lower import Step
from .tensors import TensorMemory

__all__ = ["build_operation"]

_ROWS = 4096   # rows that calibrate a kernel, at most
_SMALL = 64    # elements up to which stacks are put together


def build_operation(step: Step, config: CoreConfig, stored: dict[int, Stored], memory: TensorMemory,
                    resources: Resources, start: Start) -> Operation:
    """``stored``: where values stand, by id; that of the result is not put there. Raises WingbeatError."""
    try:
        build = {"mixing": _Mixing, "mean": _Mean, "linear": _Dense, "embedding": _Embedding,
                 "attention": _Attention}.get(step.kind, _Butterfly)
        return build(step, config, stored, memory, resources, start).operation()
    except WingbeatError as fault:
        raise WingbeatError(f"{step.name}: {fault}") from fault


class _Rows(Builder):
    """A matrix over the features of each row."""

    @property
    def rows(self) -> Matrix:
        """What the matrix reads."""
        return self.source.tensor.flat if self.step.flat else self.source.tensor.rows

    @property
    def normalises(self) -> bool:
        """Whether each row has statistics of its own, which must stand in the table while a block reads it."""
        return self.step.norm is not None and not self.step.flat

    def columns(self) -> np.ndarray:
        """Factor of each column of the matrix (in_size,): what is read are integers."""
        scale = self.norm_scale() * self.read_unit
        return self._tiled(np.broadcast_to(scale, (self.step.source.shape.features,)))

    def bias(self, own: np.ndarray | None, product: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | None:
        """``own`` bias of the matrix, and its ``product`` with what the norm adds."""
        offset = self._tiled_offset()
        if offset is None:
            return own
        return product(offset) if own is None else own + product(offset)

    def done(self, result: Stored, transfers: Sequence[Transfer], finish: WriteSet | None, useful: int) -> Operation:
        """The operation of ``transfers``, with both parameter sets and the sums they need."""
        tasks = _with_sets(transfers, self.normalise(), finish)
        sums = self.all_sums() if self.step.flat else []
        if self.normalises:
            tasks = self._with_sums(tasks)
        return Operation(self.step, result, tasks, sums, self.constants, useful)

    def _tiled(self, values: np.ndarray) -> np.ndarray:
        """Features of one token, for all tokens where they stand one after the other."""
        return np.tile(values, self.step.source.shape.tokens) if self.step.flat else values

    def _tiled_offset(self) -> np.ndarray | None:
        offset = self.norm_offset()
        return None if offset is None else self._tiled(offset)

    def _with_sums(self, tasks: Sequence[Transfer | SumRows]) -> list[Transfer | SumRows]:
        """Sums of the rows of a block in front of the first stack, tile or chunk that reads some of them."""
        found: list[Transfer | SumRows] = []
        matrix, seen = self.source.tensor.rows, set()
        for task in tasks:
            assert isinstance(task, Transfer)
            first = (task.block.read_at - matrix.base) // matrix.pitch
            if first not in seen:
                seen.add(first)
                self._check_statistics(task.block.read_rows)
                found.append(self.sums(first, task.block.read_rows))
            found.append(task)
        return found


class _Butterfly(_Rows):
    """A butterfly over the features of each row, or a copy."""

    def operation(self) -> Operation:
        source, most = self.rows, self.rows_at_once
        kernel, bias = self._kernel(min(source.rows, 1 << most.bit_length() - 1) if self.normalises else source.rows)
        finish, result = self.finish(kernel.output_scale if self.step.weights else self._copied_scale(), bias)
        transfers = multiply_butterfly(kernel, source, result.tensor.rows, self.resources.coefficients, self.step.name,
                                       self.start, by_stack=self.config.records and source.rows <= most)
        useful = source.rows * _multiplications(self.step.weights) if self.step.weights else 0
        return self.done(result, transfers, finish, useful)

    def _kernel(self, rows: int) -> tuple[Kernel, np.ndarray | None]:
        """The kernel for integers, and the bias."""
        step, weights, config = self.step, self.step.weights, self.config
        if weights is None:
            return compile_copy(step.result.shape.features, config, least_size=config.memory_elements,
                                rows=rows), self._tiled_offset()
        bias = self.bias(weights.bias, lambda offset: butterfly_multiply(weights.twiddle, offset,
                                                                         weights.increasing_stride, weights.out_size))
        sample = self.read_integers().reshape(-1, weights.in_size)
        kernel = compile_butterfly(
            _fold_columns(weights.twiddle, weights.increasing_stride, self.columns()), config,
            calibration=_some(sample), input_limit=float(largest(self.width)), in_size=weights.in_size,
            out_size=weights.out_size, increasing_stride=weights.increasing_stride, rows=rows,
            least_size=self._least_size(weights))
        return kernel, bias

    def _least_size(self, weights: ButterflyWeights) -> int:
        """Small stacks go together: each would read all rows again."""
        together = weights.size << (weights.n_stacks - 1).bit_length()
        return max(self.config.memory_elements, min(_SMALL, together))

    def _copied_scale(self) -> np.ndarray | float:
        scale = self.norm_scale() * self.read_unit
        return self._tiled(scale) if isinstance(scale, np.ndarray) else scale


class _Dense(_Rows):
    """A dense or N:M matrix over the features of each row."""

    def operation(self) -> Operation:
        source = self.rows
        kernel, bias = self._matrix()
        product = DenseProduct(self.config, source, len(kernel.weights), self._pattern(),
                               self.rows_at_once if self.normalises else None)
        image = product.image(kernel.weights)
        place = self.memory.take_beats(len(image))
        self.constants.append(Constant(Stored(place, 1.0), image, is_matrix=True))
        finish, result = self.finish(kernel.output_unit(1.0), bias)
        transfers = product.transfers(result.tensor.rows, place.base, kernel.shift, self.step.name)
        assert self.step.layer is not None and self.step.layer.matrix is not None
        useful = self.step.layer.matrix.size if product.pattern is None else np.count_nonzero(self.step.layer.matrix)
        return self.done(result, transfers, finish, source.rows * int(useful))

    def _pattern(self) -> Pattern | None:
        """That of a sparse layer, with a stride that the weights keep to."""
        layer, config = self.step.layer, self.config
        assert layer is not None and layer.matrix is not None
        if layer.pattern is None or layer.pattern.stride:
            return layer.pattern
        stride = find_stride(layer.matrix, layer.pattern, config.layers, config.lanes)
        return layer.pattern._replace(stride=stride)

    def _matrix(self) -> tuple[DenseKernel, np.ndarray | None]:
        """The kernel for integers, and the bias."""
        layer, config = self.step.layer, self.config
        assert layer is not None and layer.matrix is not None
        matrix = layer.matrix
        sample = self.read_integers().reshape(-1, matrix.shape[1])
        kernel = compile_dense(matrix * self.columns(), config, _some(sample), by_output=config.vector_lanes > 0)
        return kernel, self.bias(layer.bias, lambda offset: matrix @ offset)


class _Embedding(_Rows):
    """Rows of a table by the ids of the tokens."""

    def operation(self) -> Operation:
        step, config = self.step, self.config
        assert step.layer is not None and step.layer.matrix is not None
        table, source = step.layer.matrix, self.source.tensor.rows
        if len(table) > 1 << config.element_width:
            raise WingbeatError(f"vocabulary: {len(table)}; allowed are 1..{1 << config.element_width}, for elements "
                                f"of {config.element_width} bits")
        # All of the table is known, so there is nothing to leave room for.
        unit = power_of_two_unit(peak_of(table), self.width, 1.0)
        unit = Format(self.width, max(unit.exponent, least_exponent(step.result, self.width)))
        place = self.memory.take_table(*table.shape)
        self.constants.append(Constant(Stored(place, unit.unit), unit.integers(table)))
        kernel = compile_copy(table.shape[1], config, least_size=config.memory_elements, rows=source.rows)
        finish, result = self.finish(unit.unit, None)
        transfers = pick_rows(kernel, source, place.rows, result.tensor.rows, self.resources.coefficients, step.name,
                              self.start)
        return self.done(result, transfers, finish, 0)


class _Attention(Builder):
    """Softmax of queries times keys, times values, of all heads of all inputs."""

    def operation(self) -> Operation:
        step, config, memory = self.step, self.config, self.memory
        assert step.layer is not None and isinstance(step.layer.spec, Attention)
        spec, tokens = step.layer.spec, step.source.shape.tokens
        keys, values = (self.stored[id(value)] for value in step.operands)
        (count, features), inputs = step.operands[1].shape, range(memory.batch)
        padded = padded_keys(config, count) // config.memory_elements
        turned = memory.take_beats(memory.batch * features * padded)
        rows = [Matrix(turned.base + number * features * padded, features, padded * config.memory_elements, padded)
                for number in inputs]
        own_rows, key_rows, value_rows = (tuple(tensor.input(number) for number in inputs)
                                          for tensor in (self.source.tensor, keys.tensor, values.tensor))
        attend = Attend(config, own_rows, key_rows, value_rows, tuple(rows), step.layer.heads, count,
                        Keys(spec.causal, spec.window, self._length(count), step.has_lengths, mask_slopes(spec.slopes)))
        own = Format(self.width, max(own_exponent(step, self.width), least_exponent(step.result, self.width)))
        shifts = attention_shifts(config, self.source.format.exponent, keys.format.exponent, values.format.exponent,
                                  own.exponent)
        result = Stored(memory.take(*step.result.shape), replace(own, exponent=shifts.exponent).unit)
        tasks = attend.transfers(tuple(result.tensor.input(number) for number in inputs), shifts.logits, shifts.divide,
                                 step.name)
        useful = 2 * int(attended(tokens, spec.causal, spec.window).sum()) * step.source.shape.features * memory.batch
        return Operation(step, result, [*tasks], [], self.constants, useful)

    def _length(self, keys: int) -> int:
        """Number of the entry that says how many of ``keys`` count, of that of the first input where each has one."""
        if self.step.has_lengths:
            return self.resources.lengths.of_inputs(self.memory.batch, keys)
        return self.resources.lengths.number(keys) if padded_keys(self.config, keys) > keys else 0


class _Mixing(Builder):
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
        return Operation(step, result, tasks, self.all_sums(), self.constants, useful)

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


class _Mean(Builder):
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
        return Operation(step, result, _with_sets(tasks, self.normalise(), finish), self.all_sums(), self.constants, 0)


def _multiplications(weights: ButterflyWeights) -> int:
    """Of a row: one for each output of each layer, layers of one stride that meet being one."""
    layers = weights.log2_size * weights.twiddle.shape[1] - (weights.twiddle.shape[1] - 1)
    return weights.n_stacks * weights.size * layers


def _some(rows: np.ndarray) -> np.ndarray:
    """At most _ROWS of the rows: those whose sums can be largest, and others by chance. Every so many of them would
    always be of the same features."""
    if len(rows) <= _ROWS:
        return rows
    size = np.abs(rows).sum(axis=1)
    largest_ones = np.argpartition(size, -_ROWS // 2)[-_ROWS // 2:]
    others = np.random.default_rng(0).choice(len(rows), _ROWS // 2, replace=False)
    return rows[np.union1d(largest_ones, others)]


def _with_sets(tasks: Sequence[Transfer], normalise: ReadSet | None,
               finish: WriteSet | None) -> list[Transfer | SumRows]:
    """The tasks with both parameter sets in their stages; where sums are kept nothing is finished."""
    stages = {id(task.stage): replace(task.stage, normalise=normalise, finish=None if keeps(task.stage) else finish)
              for task in tasks}
    return [task._replace(stage=stages[id(task.stage)]) for task in tasks]


def _fold_columns(twiddle: np.ndarray, increasing_stride: bool, scale: np.ndarray) -> np.ndarray:
    """Weights for inputs that are integers times ``scale`` (in_size,): it goes into the columns of the first layer."""
    folded, bits = twiddle.copy(), twiddle.shape[2]
    padded = np.ones(1 << bits)
    padded[:scale.size] = scale
    for side, index in enumerate(pair_indices(padded.size, 0 if increasing_stride else bits - 1)):
        folded[:, 0, 0, :, :, side] *= padded[index][:, None]
    return folded
