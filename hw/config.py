"""Configuration of one array: the user's choices, checked, and every value derived from them.

A leaf without Amaranth: the models (``sim``) and the tools (``gen``) read the same object as the
hardware, so a width or a latency has one home.
"""

from enum import Enum
import re

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["CoreConfig", "Target", "Pipeline"]

# Amaranth hands names to Verilog unchecked, and they become file names too.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_VERILOG_KEYWORDS = frozenset(
    "always and assign automatic begin bit buf bufif0 bufif1 byte case casex casez cell class clk cmos "
    "config const deassign default defparam design disable do edge else end endcase endconfig "
    "endfunction endgenerate endmodule endprimitive endspecify endtable endtask enum event export "
    "final for force forever fork function generate genvar highz0 highz1 if ifnone import incdir "
    "include initial inout input instance int integer interface join large liblist library "
    "localparam logic longint macromodule medium module nand negedge new nmos nor noshowcancelled "
    "not notif0 notif1 null or output package packed parameter pmos posedge primitive priority "
    "program property pull0 pull1 pulldown pullup rcmos real realtime ref reg release repeat return "
    "rnmos rpmos rst rtran rtranif0 rtranif1 scalared shortint signed small specify specparam static "
    "string strong0 strong1 struct super supply0 supply1 table task this time tran tranif0 tranif1 "
    "tri tri0 tri1 triand trior trireg type typedef union unique unsigned use var vectored virtual "
    "void wait wand weak0 weak1 while wire with wor xnor xor".split())


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


class CoreConfig(BaseModel):
    """One array of butterfly engines.

    Raises :class:`pydantic.ValidationError` with one entry per bad field.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: str = Field("wingbeat", description="name of the top module and of the files")
    engines: int = Field(1, ge=1, le=256, description="E, engines that share one coefficient broadcast")
    layers: int = Field(1, ge=1, le=4, description="S, butterfly layers per pass; an engine has 2^S lanes")
    width: int = Field(16, ge=8, le=18, description="W, bits of one real value inside")
    element_width: int = Field(16, ge=8, le=18, description="bits of one real value on the streams, <= width")
    coefficient_width: int = Field(16, ge=8, le=18, description="C, bits of a coefficient, two of them integer")
    half_words: int = Field(256, ge=4, le=65536, description="complex words one engine holds in one buffer half")
    coefficient_words: int = Field(256, ge=4, le=65536, description="words of each coefficient bank")
    program_words: int = Field(512, ge=32, le=4096, description="32-bit words of program memory")
    stream_words: int = Field(2, ge=1, le=256, description="K, complex words per cycle on each data stream")
    memory_bits: int = Field(0, ge=0, le=32, description="bits of a beat number of the memory; 0: no memory units")
    descriptors: int = Field(16, ge=1, le=64, description="descriptors of the reader and of the writer")
    in_flight: int = Field(256, ge=4, le=1024, description="beats between the memory and a processor's array")
    vector_lanes: int = Field(0, ge=0, le=256, description="multipliers of the vector unit on each side; 0: none")
    channel_beats: int = Field(64, ge=1, le=2048, description="beats of the table of scales and biases")
    statistics_rows: int = Field(64, ge=1, le=65536, description="rows of a LayerNorm whose sums are kept")
    statistics_units: int = Field(1, ge=1, le=4, description="rows of a LayerNorm whose statistics are in the making")
    watchdog: int = Field(65536, ge=256, le=1 << 30, description="cycles without a move that stop a program")
    target: Target = Field(Target.PORTABLE, strict=False, description="portable or ecp5")
    pipeline: Pipeline = Field(Pipeline.DEEP, strict=False, description="deep for the clock or short for the area")

    @model_validator(mode="after")
    def _consistent(self) -> "CoreConfig":
        faults = []
        if not _NAME.fullmatch(self.name) or self.name.lower() in _VERILOG_KEYWORDS:
            faults.append(f"name: {self.name!r} is not a module name; allowed are [A-Za-z][A-Za-z0-9_]{{0,62}} "
                          "that are not Verilog keywords")
        if self.element_width > self.width:
            faults.append(f"element_width: {self.element_width} is more than width = {self.width}; "
                          f"allowed are 8..{self.width}")
        if self.half_words & (self.half_words - 1):
            faults.append(f"half_words: {self.half_words} is not a power of two")
        elif self.half_words < 2 * self.lanes:
            faults.append(f"half_words: {self.half_words} is less than 2 rows of {self.lanes} lanes = "
                          f"{2 * self.lanes}")
        if self.program_words & (self.program_words - 1):
            faults.append(f"program_words: {self.program_words} is not a power of two")
        p, k, e = self.lanes, self.stream_words, self.engines
        whole = k % p == 0 and e % (k // p) == 0
        part = k < p and p % k == 0
        if not (whole or part):
            allowed = [d for d in range(1, p) if p % d == 0] + [p * j for j in range(1, e + 1) if e % j == 0]
            faults.append(f"stream_words: {k} does not divide the work of {e} engines of {p} lanes; "
                          f"allowed are {', '.join(map(str, allowed))}")
        elif self.memory_bits and (part or k // p & k // p - 1):
            allowed = [p << j for j in range(8) if e % (1 << j) == 0]
            faults.append(f"stream_words: {k} is not a beat of a memory; allowed are {', '.join(map(str, allowed))}")
        v = self.vector_lanes
        if v and not self.memory_bits:
            faults.append(f"vector_lanes: {v} without a memory; allowed is 0")
        elif v and 2 * k % v:
            allowed = [n for n in range(2 * k + 1) if not n or 2 * k % n == 0]
            faults.append(f"vector_lanes: {v} does not divide the {2 * k} elements of a beat; allowed are "
                          f"{', '.join(map(str, allowed))}")
        rows = self.statistics_rows
        if v and (rows < 2 or rows & (rows - 1)):
            faults.append(f"statistics_rows: {rows} is not the size of a table of rows; allowed are powers of two from "
                          "2 on")
        if faults:
            raise ValueError("\n".join(faults))
        return self

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
        return self.memory_bits > 0

    @property
    def memory_elements(self) -> int:
        """Elements of one beat of the memory."""
        return 2 * self.stream_words

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

    # --- formats ------------------------------------------------------------------------------

    @property
    def coefficient_bits(self) -> int:
        """Bits of a coefficient word: c0, c1 and the two pivot bits."""
        return 2 * self.coefficient_width + 2

    @property
    def coefficient_address_bits(self) -> int:
        return (self.coefficient_words - 1).bit_length()

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
