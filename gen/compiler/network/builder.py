"""What the operations of a network have in common: where values stand, number formats, both parameter sets."""

from dataclasses import dataclass, replace
from functools import cached_property
import math
from typing import Any, NamedTuple

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.descriptor import Descriptor, Move
from ....hw.isa.parameter_set import ROW_ADDRESS_BITS, WIDE_BITS, Activation, ReadSet, WriteSet
from ....hw.isa.setup import SetupWrite
from ....hw.isa.vector_tables import epsilon_parameter, scale_parameters
from ....hw.numeric import largest
from ..program.assemble import SumRows, Transfer
from ..program.granularity import padded_keys
from ..program.blocks import Start
from ..program.channels import ChannelTables
from ..program.coefficients import CoefficientSpace
from .file import Gelu, LayerNorm
from .formats import (MOST_SHIFT, Format, element_log2, finest_operand, gelu_exponent, least_exponent,
                      most_gelu_exponent, norm_range, own_exponent, peak_of, plan_sum, power_of_two_unit, quantise)
from .lengths import Lengths
from .lower import Step, Value
from .tensors import Tensor, TensorMemory

__all__ = ["Stored", "Constant", "Operation", "Resources", "Builder"]

_MATRICES = ("butterfly", "linear")
_PIECES = 8  # SUMS in front of an operation that needs the sums of all rows: fewer than a queue of commands holds


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
    """A tensor that is the same for every input: its place and unit, and its integers (tokens, features); of a matrix
    its beats."""

    stored: Stored
    integers: np.ndarray
    is_matrix: bool = False


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


class Resources:
    """What the operations of one program share."""

    def __init__(self, config: CoreConfig):
        self.coefficients, self.channels = CoefficientSpace(config), ChannelTables(config)
        self.lengths = Lengths()

    def setup(self) -> list[SetupWrite]:
        """Writes beside those of coefficients, descriptors and parameter sets."""
        return [*self.channels.setup(), *self.lengths.setup()]


class Builder:
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
        tensor = self.memory.take(*step.result.shape, spare=self._spare_tokens())
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

    def _spare_tokens(self) -> int:
        """Keys of an attention are read up to a whole beat of their values."""
        value = self.step.result
        is_key = any(reader.operands and reader.operands[0] is value for reader in value.readers)
        tokens = value.shape.tokens
        return padded_keys(self.config, tokens) - tokens if is_key else 0

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
