"""Configuration of one core: the user's choices in sections, checked, and every value derived from them.

A leaf without Amaranth: the models (``sim``) and the tools (``gen``) read the same object as the
hardware, so a width or a latency has one home.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .isa.setup import SETUP_BITS
from .names import ALLOWED_NAMES, is_module_name
from .sections import (SECTIONS, ArraySection, BusSection, ControlBus, MemoryBus, MemorySection, StreamBus,
                       VectorSection)

__all__ = ["CoreConfig", "NAMES", "Target", "Pipeline", "in_sections"]


class Pipeline(str, Enum):
    """How many registers the data path has. It decides all latencies and no value.

    ``deep`` is for the clock; ``short`` keeps only registers that have logic in front of them and so cost
    nothing on a part where every flip-flop has its LUT. The latencies of the leaf blocks, in cycles, stand
    here; the blocks match them and parents sum them.
    """

    DEEP = "deep"
    SHORT = "short"

    @property
    def is_deep(self) -> bool:
        return self is Pipeline.DEEP

    @property
    def multiplier_latency(self) -> int:
        """Input, pipeline and output register of an ECP5 MULT18X18D; or none, the sum behind it has one."""
        return 3 if self.is_deep else 0

    @property
    def address_latency(self) -> int:
        """Group counter to the row address of each bank, see hw/array/address.py."""
        return 3 if self.is_deep else 2

    @property
    def ram_latency(self) -> int:
        """Address register of a block RAM, and its output register."""
        return 2 if self.is_deep else 1

    @property
    def butterfly_latency(self) -> int:
        """Operands to saturated result, see hw/array/butterfly.py."""
        return 11 if self.is_deep else 2

    @property
    def shift_delay(self) -> int:
        """Cycles after its words at which a butterfly unit samples its shift."""
        return 7 if self.is_deep else 1


class Target(str, Enum):
    """What the leaf blocks are made of. Latencies do not depend on it."""

    PORTABLE = "portable"  # plain Verilog, inferred by any tool
    ECP5 = "ecp5"          # MULT18X18D, DP16KD and PDPW16KD with their registers switched on


class _Chosen(property):
    """A field of a section by the name that the hardware uses; the default where the section is absent."""

    def __init__(self, section: str, field: str, absent: int | None = None):
        def get(config: "CoreConfig") -> Any:
            chosen = getattr(config, section)
            if chosen is None:
                return SECTIONS[section].model_fields[field].default if absent is None else absent
            return getattr(chosen, field)

        super().__init__(get)
        self.section, self.field, self.absent = section, field, absent


def _chosen(section: str, field: str, absent: int | None = None) -> Any:
    """As :class:`_Chosen`; type checkers see what the property gives."""
    return _Chosen(section, field, absent)


class CoreConfig(BaseModel):
    """One core: an array of butterfly engines, with memory units a processor. A section that is absent is not built.

    Hardware and models read the fields of the sections by one name each, such as ``engines`` and ``memory_bits``;
    :meth:`of` and :meth:`changed` take the same names. Raises :class:`pydantic.ValidationError` with one entry per bad
    field.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: str = Field("wingbeat", description="name of the top module and of the files")
    target: Target = Field(Target.PORTABLE, strict=False, description="portable or ecp5")
    pipeline: Pipeline = Field(Pipeline.DEEP, strict=False, description="deep for the clock or short for the area")
    array: ArraySection = Field(default_factory=ArraySection, description="the butterfly array")
    memory: MemorySection | None = Field(None, description="memory units; absent: an array fed by streams")
    vector: VectorSection | None = Field(None, description="vector unit; absent: none")
    bus: BusSection = Field(default_factory=BusSection, description="standard buses")

    engines: ClassVar[int] = _chosen("array", "engines")
    layers: ClassVar[int] = _chosen("array", "layers")
    width: ClassVar[int] = _chosen("array", "width")
    element_width: ClassVar[int] = _chosen("array", "element_width")
    coefficient_width: ClassVar[int] = _chosen("array", "coefficient_width")
    half_words: ClassVar[int] = _chosen("array", "half_words")
    coefficient_words: ClassVar[int] = _chosen("array", "coefficient_words")
    ring_words: ClassVar[int] = _chosen("array", "ring_words")
    partial_words: ClassVar[int] = _chosen("array", "partial_words")
    sparse: ClassVar[bool] = _chosen("array", "sparse")
    softmax_pairs: ClassVar[int] = _chosen("array", "softmax_pairs")
    finishers: ClassVar[int] = _chosen("array", "finishers")
    program_words: ClassVar[int] = _chosen("array", "program_words")
    stream_words: ClassVar[int] = _chosen("array", "stream_words")
    memory_bits: ClassVar[int] = _chosen("memory", "address_bits", absent=0)
    descriptors: ClassVar[int] = _chosen("memory", "descriptors")
    in_flight: ClassVar[int] = _chosen("memory", "in_flight")
    watchdog: ClassVar[int] = _chosen("memory", "watchdog")
    records: ClassVar[bool] = _chosen("memory", "records")
    row_ids: ClassVar[int] = _chosen("memory", "row_ids")
    block_log: ClassVar[int] = _chosen("memory", "block_log")
    vector_lanes: ClassVar[int] = _chosen("vector", "lanes", absent=0)
    channel_beats: ClassVar[int] = _chosen("vector", "channel_beats")
    statistics_rows: ClassVar[int] = _chosen("vector", "statistics_rows")
    statistics_units: ClassVar[int] = _chosen("vector", "statistics_units")

    @classmethod
    def of(cls, **values: Any) -> "CoreConfig":
        """Configuration from the names that the hardware uses: ``of(engines=2, memory_bits=12)``. Without
        ``memory_bits`` there is no memory, without ``vector_lanes`` no vector unit; 0 is the same."""
        return cls.model_validate(in_sections(values))

    def changed(self, **values: Any) -> "CoreConfig":
        """This configuration with some fields of the names that the hardware uses changed; ``memory_bits=0`` and
        ``vector_lanes=0`` leave their sections out."""
        own = self.model_dump(exclude_none=True)
        return type(self).model_validate(in_sections(values, own))

    def choices(self) -> dict[str, Any]:
        """The configuration as plain values in sections: what a file holds, and the manifest."""
        return self.model_dump(mode="json", exclude_none=True)

    @model_validator(mode="after")
    def _consistent(self) -> "CoreConfig":
        faults = []
        if not is_module_name(self.name):
            faults.append(f"name: {self.name!r} is not a module name; allowed are {ALLOWED_NAMES}")
        if self.element_width > self.width:
            faults.append(f"array.element_width: {self.element_width} is more than width = {self.width}; "
                          f"allowed are 8..{self.width}")
        if self.half_words & (self.half_words - 1):
            faults.append(f"array.half_words: {self.half_words} is not a power of two")
        elif self.half_words < 2 * self.lanes:
            faults.append(f"array.half_words: {self.half_words} is less than 2 rows of {self.lanes} lanes = "
                          f"{2 * self.lanes}")
        if self.program_words & (self.program_words - 1):
            faults.append(f"array.program_words: {self.program_words} is not a power of two")
        if self.records and self.memory_elements < self.record_elements:
            faults.append(f"memory.records: true, and a beat of {self.memory_elements} elements of "
                          f"{self.element_width} bits is less than a record; allowed is false, or beats of "
                          f"{self.record_elements} elements")
        if self.row_ids and (self.row_ids < 2 or self.row_ids & self.row_ids - 1 or not self.records):
            faults.append(f"memory.row_ids: {self.row_ids}; allowed are 0, and with memory.records powers of two from "
                          "2 on")
        if self.block_log == 1 or self.block_log & self.block_log - 1:
            faults.append(f"memory.block_log: {self.block_log}; allowed are 0 and powers of two from 2 on")
        faults += [*self._stream_faults(), *self._ring_faults(), *self._vector_faults(), *self._bus_faults()]
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _stream_faults(self) -> Iterator[str]:
        p, k, e = self.lanes, self.stream_words, self.engines
        is_whole = k % p == 0 and e % (k // p) == 0
        is_part = k < p and p % k == 0
        if not (is_whole or is_part):
            allowed = [d for d in range(1, p) if p % d == 0] + [p * j for j in range(1, e + 1) if e % j == 0]
            yield (f"array.stream_words: {k} does not divide the work of {e} engines of {p} lanes; allowed are "
                   f"{', '.join(map(str, allowed))}")
        elif self.memory and (is_part or k // p & k // p - 1):
            allowed = [p << j for j in range(8) if e % (1 << j) == 0]
            yield (f"array.stream_words: {k} is not a beat of a memory; allowed are {', '.join(map(str, allowed))}")

    def _ring_faults(self) -> Iterator[str]:
        partial, steps = self.partial_words, self.lanes // self.layers
        if partial and (partial & (partial - 1) or partial < steps or not self.ring_words):
            yield (f"array.partial_words: {partial}; allowed are 0, and with array.ring_words powers of two from "
                   f"{steps} on")
        if self.sparse and (self.layers > 2 or not self.ring_words):
            yield "array.sparse: true; allowed is false, or with array.ring_words 1 or 2 layers"
        pairs = self.softmax_pairs
        if pairs and (pairs & pairs - 1 or not self.partial_words):
            yield f"array.softmax_pairs: {pairs}; allowed are 0, and with array.partial_words powers of two"
        if self.engines % self.finishers:
            yield f"array.finishers: {self.finishers}; allowed are divisors of {self.engines} engines"
        if not self.ring_words:
            return
        least = 2 * max(self.lanes // self.layers, self.memory_elements // self.lanes)
        if self.ring_words & (self.ring_words - 1) or not least <= self.ring_words <= self.coefficient_words:
            yield (f"array.ring_words: {self.ring_words}; allowed are 0 and powers of two from {least} to "
                   f"coefficient_words = {self.coefficient_words}")
        if not self.records:
            yield f"array.ring_words: {self.ring_words} without memory.records; allowed is 0, or records = true"
        if self.layers == 3:
            yield f"array.ring_words: {self.ring_words} with array.layers = 3; allowed is 0, or 1, 2 or 4 layers"
        if not self.pipeline.is_deep:
            yield f"array.ring_words: {self.ring_words} with pipeline = 'short'; allowed is 0, or a deep pipeline"

    def _vector_faults(self) -> Iterator[str]:
        if self.vector is None:
            return
        elements, lanes, rows = 2 * self.stream_words, self.vector.lanes, self.vector.statistics_rows
        if self.memory is None:
            yield "vector: a vector unit without a memory; give [memory] or leave [vector] out"
        elif elements % lanes:
            allowed = [n for n in range(1, elements + 1) if elements % n == 0]
            yield (f"vector.lanes: {lanes} does not divide the {elements} elements of a beat; allowed are "
                   f"{', '.join(map(str, allowed))}")
        if rows < 2 or rows & (rows - 1):
            yield (f"vector.statistics_rows: {rows} is not the size of a table of rows; allowed are powers of two from "
                   "2 on")

    def _bus_faults(self) -> Iterator[str]:
        if self.has_tlast and self.memory:
            yield "bus.stream: 'axi4-stream' with a [memory], behind which a core has no streams; allowed is native"
        if self.bus.memory is MemoryBus.AXI4:
            if self.memory is None:
                yield "bus.memory: 'axi4' without a memory; give [memory], or allowed is native"
            if self.bus.data_width & (self.bus.data_width - 1):
                yield f"bus.data_width: {self.bus.data_width} is not a power of two"

    # --- geometry -----------------------------------------------------------------------------

    @property
    def lanes(self) -> int:
        """P = 2^S lanes and banks of an engine."""
        return 1 << self.layers

    @property
    def n_units(self) -> int:
        """Butterfly units of one engine: S columns of P/2. Also the number of coefficient banks."""
        return self.layers * self.lanes // 2

    @property
    def n_multipliers(self) -> int:
        """Real multipliers of the whole array, four per butterfly unit."""
        return 4 * self.n_units * self.engines

    @property
    def index_bits(self) -> int:
        """Bits of the index of a word in one half of one engine."""
        return self.half_words.bit_length() - 1

    @property
    def bank_rows(self) -> int:
        """Rows of one bank of one half."""
        return self.half_words // self.lanes

    @property
    def row_bits(self) -> int:
        return self.index_bits - self.layers

    @property
    def engines_per_beat(self) -> int:
        """J, engines served by one beat of the data streams."""
        return max(1, self.stream_words // self.lanes)

    @property
    def beat_groups(self) -> int:
        """Beats it takes to serve every engine once."""
        return self.engines // self.engines_per_beat

    @property
    def is_processor(self) -> bool:
        """Whether memory units stand around the array."""
        return self.memory is not None

    @property
    def has_loader(self) -> bool:
        """Whether programs are loaded from memory: a processor whose beats hold whole records, behind registers."""
        return (self.is_processor and self.bus.control is not ControlBus.NATIVE
                and self.memory_elements >= self.record_elements)

    @property
    def memory_elements(self) -> int:
        """Elements of one beat of the memory."""
        return 2 * self.stream_words

    @property
    def record_elements(self) -> int:
        """Elements of a record, a setup write in memory; a power of two, so that a beat holds whole ones."""
        return 1 << (-(-SETUP_BITS // self.element_width) - 1).bit_length()

    @property
    def sub_bits(self) -> int:
        """Index bits of the sub-steps of a walk: the 2J cells of a memory beat."""
        return (self.engines_per_beat - 1).bit_length() + self.is_processor

    @property
    def beat_words(self) -> int:
        """Complex words per internal beat: whole lanes of J engines."""
        return self.engines_per_beat * self.lanes

    @property
    def gearbox(self) -> int:
        """Stream beats that make one internal beat (1 unless stream_words < lanes)."""
        return max(1, self.lanes // self.stream_words)

    @property
    def has_tlast(self) -> bool:
        """Whether the beats that go into an array say where its blocks end: those of an AXI4-Stream do."""
        return self.bus.stream is StreamBus.AXI4_STREAM

    # --- formats ------------------------------------------------------------------------------

    @property
    def coefficient_bits(self) -> int:
        """Bits of a coefficient word: c0, c1 and the two pivot bits."""
        return 2 * self.coefficient_width + 2

    @property
    def coefficient_address_bits(self) -> int:
        return (self.coefficient_words - 1).bit_length()

    @property
    def ring_bits(self) -> int:
        """Bits of an address of the ring."""
        return max(1, self.ring_words).bit_length() - 1

    @property
    def shift_bits(self) -> int:
        """Bits of one column's right shift; wider arrays have more growth to take back in one column."""
        return 2 if self.layers <= 2 else 3

    # --- latencies ----------------------------------------------------------------------------

    @property
    def multiplier_latency(self) -> int:
        return self.pipeline.multiplier_latency

    @property
    def address_latency(self) -> int:
        return self.pipeline.address_latency

    @property
    def ram_latency(self) -> int:
        return self.pipeline.ram_latency

    @property
    def check_latency(self) -> int:
        """A whole instruction to the verdict on it, see hw/array/checker.py; an array alone hands out unchecked."""
        return 4 if self.is_processor else 0

    @property
    def butterfly_latency(self) -> int:
        return self.pipeline.butterfly_latency

    @property
    def shift_delay(self) -> int:
        return self.pipeline.shift_delay

    @property
    def read_latency(self) -> int:
        """Row address at a bank to the same word in its lane: RAM, half select, shuffle."""
        return self.ram_latency + 1 + self.layers

    @property
    def write_latency(self) -> int:
        """Result of the last column to the write port of its bank."""
        return self.layers + 1

    @property
    def load_latency(self) -> int:
        """Beat on the input to the write port of its bank: alignment and lane order (deep only), shuffle,
        write."""
        return (2 if self.pipeline.is_deep else 0) + self.layers + 1

    @property
    def taken_latency(self) -> int:
        """Step of a store to its words outside the memory: row address, RAM, half select."""
        return self.address_latency - 1 + self.ram_latency + 1

    @property
    def rounding_latency(self) -> int:
        """Rounding of a stored word to element_width bits, and its saturation."""
        return 2 if self.element_width < self.width else 0

    @property
    def store_latency(self) -> int:
        """Step of a store to the output buffer: with engine select, and with the lane orders that the shuffle
        does not do, as stages where the pipeline is deep."""
        stages = (2 if self.layers > 2 else 1) if self.pipeline.is_deep else 0
        return self.taken_latency + self.layers + stages + self.rounding_latency

    @property
    def pipeline_latency(self) -> int:
        """L, read address at a bank to the write of the result in the same row."""
        return self.read_latency + self.layers * self.butterfly_latency + self.write_latency

    @property
    def pass_spacing(self) -> int:
        """Least cycles between the first groups of two passes: every stage is told of one pass at a time."""
        return self.address_latency + self.pipeline_latency + 1

    @property
    def magnitude_bits(self) -> int:
        """Leading magnitude bits that block floating point looks at."""
        return min(self.layers + 1, self.width - 1)

    @property
    def maximum_tree_latency(self) -> int:
        """Registers between a saturated result and the largest magnitude over all engines."""
        levels, left = 0, self.engines
        while left > 1:
            left, levels = -(-left // 4), levels + 1
        return 1 + levels

    @property
    def block_float_gap(self) -> int:
        """Idle cycles before a block-floating-point pass so that its first column knows the maximum of the
        pass before."""
        return self.maximum_tree_latency + 4 + self.layers * self.butterfly_latency - self.shift_delay

    # --- the conditions of the design ---------------------------------------------------------

    def pass_gap(self, digit_before: int, digit: int, groups: int) -> int:
        """Idle cycles needed between two passes of one block so that no word is read before it is written.

        ``groups`` is the length of the earlier pass. Zero is the zero-bubble condition of the design:
        groups - (P - 1) * P^(max(digits) - 1) >= L + 1.
        """
        top = max(digit_before, digit)
        reach = 0 if digit_before == digit else (self.lanes - 1) * self.lanes ** (top - 1)
        return max(0, self.pipeline_latency + 1 + reach - groups)

    def zero_bubble(self, n: int) -> bool:
        """Whether full-size blocks of 2**n-point butterflies run without a stall between passes."""
        digits = -(-n // self.layers)
        return digits < 2 or self.pass_gap(digits - 2, digits - 1, self.bank_rows) == 0

    def words_per_cycle_needed(self, n: int) -> float:
        """Stream words per cycle, each way, that keep the butterfly units busy at size 2**n.

        K >= P*E/D / (1 - (L+6)/(D*G)); infinite where the block is too short to hide the latency.
        """
        digits = -(-n // self.layers)
        hidden = 1 - (self.pipeline_latency + 6) / (digits * self.bank_rows)
        return self.lanes * self.engines / digits / hidden if hidden > 0 else float("inf")

    @property
    def largest_n(self) -> int:
        """log2 of the largest transform one half holds; its top digit must be whole."""
        return self.index_bits - self.index_bits % self.layers


# {name that the hardware uses: (section, field)}
NAMES = {name: (chosen.section, chosen.field) for name, chosen in vars(CoreConfig).items()
         if isinstance(chosen, _Chosen)}
_PRESENT = {name: chosen.section for name, chosen in vars(CoreConfig).items()
            if isinstance(chosen, _Chosen) and chosen.absent is not None}  # 0 leaves the section out


def in_sections(values: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """``base``, a configuration in sections, with ``values`` of the names that the hardware uses put into it.

    A section comes into being with the field that makes it, ``memory_bits`` or ``vector_lanes``; without that its
    other fields are dropped, and 0 there leaves it out. Names that are no field stay where they are, so that checking
    refuses them.
    """
    result = {key: dict(value) if isinstance(value, Mapping) else value for key, value in (base or {}).items()}
    for name, value in values.items():
        if name not in NAMES:
            result[name] = value
            continue
        section, field = NAMES[name]
        result.setdefault(section, {})[field] = value
    for name, section in _PRESENT.items():
        field = NAMES[name][1]
        if section in result and (field not in result[section] or result[section][field] == 0):
            del result[section]
    return result
