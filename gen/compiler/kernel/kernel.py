"""A compiled kernel: everything it takes to run one butterfly matrix or Fourier transform on an array.

The compiler (gen/compiler/kernel/compile.py) builds it; simulators, boards and reports run it. A kernel is a list of
parts, one program each; a part runs every block of rows through one or more stacks.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.encoding import INSTRUCTION_WORDS
from ....hw.isa.instruction import Instruction, Load, Mode, Pass, Store
from ....hw.isa.schedule import schedule
from ....hw.isa.walk import walk_indices
from ....hw.numeric import largest
from ....sim.model.array import ArrayModel, BlockResult
from ..quality import Clamped, least_sqnr_db, level_db, warn_clamped, warn_inaccurate

__all__ = ["Kernel", "Stack", "Part", "Job", "KernelRun"]


@dataclass(frozen=True, eq=False)
class Stack:
    """One square butterfly of a kernel: passes, coefficient writes (words, 3) and how to read the result.

    ``shift`` is the sum of the static shifts; ``scale`` (N,) what is left per output element.
    """

    passes: list[Pass]
    image: np.ndarray
    shift: int
    scale: np.ndarray


@dataclass(frozen=True)
class Part:
    """Stacks that share one program and one filling of the coefficient memory."""

    stacks: tuple[Stack, ...]

    @cached_property
    def setup(self) -> list[tuple[int, int, int]]:
        """Coefficient writes (bank, address, data)."""
        image = np.concatenate([stack.image for stack in self.stacks])
        return [(int(bank), int(address), int(data)) for bank, address, data in image]


@dataclass(frozen=True, eq=False)
class Job:
    """One run of the array: write ``setup`` and ``program``, stream ``words``, take ``blocks`` blocks.

    ``setup`` are coefficient writes (bank, address, data); ``words`` is int64 (n, 2).
    """

    setup: list[tuple[int, int, int]]
    program: list[Instruction]
    words: np.ndarray
    blocks: int


@dataclass(frozen=True, eq=False)
class KernelRun:
    """What a run gave: rows ``y`` (rows, out_size), the exponent of every block, what was clamped, and the SQNR against
    float that results of this size are expected to have where nothing was."""

    y: np.ndarray
    exponents: list[int]
    saturated_blocks: int
    clamped_inputs: int
    expected_sqnr_db: float

    @property
    def clamped(self) -> list[Clamped]:
        """The same by place."""
        return [Clamped("inputs", self.clamped_inputs), Clamped("array", 0, self.saturated_blocks, len(self.exponents))]


# Error of a result in units of its last place, as a root of the mean square. Measured over the table of `wingbeat bench
# accuracy`, 64 and 1024 points: 0.2 to 1.4, so that a row of few large results is better than is expected of it.
_TYPICAL_ERROR = 1.2


@dataclass(frozen=True, eq=False)
class Kernel:
    """One butterfly matrix or Fourier transform compiled for one array.

    BPMM kernels take real rows (rows, in_size) two by two as re and im of a word; FFT kernels take
    complex rows. A block holds 2^row_bits words per element in each of E engines. The value of an element
    is its integer times ``input_step``; the result's is integer * 2^exponent * ``output_scale``.
    """

    config: CoreConfig
    mode: Mode
    scaling: str
    log2_size: int                 # n, all dimensions together
    row_bits: int                  # v: 2^v row pairs (complex rows) per engine per block
    in_size: int
    out_size: int
    input_step: float              # value of one unit of an element on the input stream
    load: Load
    store: Store
    load_order: np.ndarray         # (N,) element that index i holds after the load
    parts: tuple[Part, ...]
    n_layers: int                  # layers of one stack, after merging
    bias: np.ndarray | None = None

    # --- sizes --------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """N, elements of one stack."""
        return 1 << self.log2_size

    @property
    def stacks(self) -> tuple[Stack, ...]:
        return tuple(stack for part in self.parts for stack in part.stacks)

    @property
    def rows_per_word(self) -> int:
        """2 for BPMM (a row pair), 1 for FFT (a complex row)."""
        return 2 if self.mode is Mode.BPMM else 1

    @property
    def rows_per_block(self) -> int:
        """Rows of one block: all engines, all row pairs."""
        return self.config.engines * self.rows_per_word << self.row_bits

    def n_blocks(self, rows: int) -> int:
        """Blocks of ``rows`` rows in one stack."""
        return -(-rows // self.rows_per_block)

    @property
    def multiplications_per_row(self) -> int:
        """Useful real multiplications per row: 4 per butterfly of a row pair or a complex row, all stacks."""
        return 4 * self.size // 2 * self.n_layers * len(self.stacks) // self.rows_per_word

    @cached_property
    def output_scale(self) -> np.ndarray:
        """Value of one unit of each output element at exponent 0, (out_size,); what follows can absorb it."""
        scales = [np.ldexp(stack.scale * self.input_step, stack.shift) for stack in self.stacks]
        return np.concatenate(scales)[:self.out_size]

    # --- rows to words and back ---------------------------------------------------------------

    def _rows(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x)
        if np.iscomplexobj(x) and self.mode is Mode.BPMM:
            raise WingbeatError(f"x: dtype {x.dtype}; allowed are real rows for a butterfly matrix")
        if x.ndim != 2 or x.shape[1] != self.in_size or not len(x):
            raise WingbeatError(f"x: shape {x.shape}; allowed is (rows, {self.in_size}) with rows >= 1")
        if not np.all(np.isfinite(x)):
            raise WingbeatError("x: holds NaN or infinity; allowed are finite numbers")
        return x.astype(np.complex128 if self.mode is Mode.FFT else np.float64)

    def quantise(self, x: np.ndarray) -> tuple[np.ndarray, int]:
        """Elements of rows ``x`` as whole floats, real or complex, and how many components were clamped."""
        scaled = self._rows(x) / self.input_step
        bound = largest(self.config.element_width)  # symmetric: the smallest number has no negative
        parts = np.rint(np.stack([scaled.real, scaled.imag]))
        clamped = int(np.count_nonzero(np.abs(parts) > bound))
        parts = np.clip(parts, -bound, bound)
        return (parts[0] if self.mode is Mode.BPMM else parts[0] + 1j * parts[1]), clamped

    def quantised_input(self, x: np.ndarray) -> np.ndarray:
        """Rows as the array sees them, in float: what a reference has to be fed with."""
        return self.quantise(x)[0] * self.input_step

    def pack(self, x: np.ndarray) -> np.ndarray:
        """Stream words int64 (n, 2) of rows ``x`` (rows, in_size) for one stack, padded to whole blocks."""
        return self._stream(self.quantise(x)[0])

    def _stream(self, rows: np.ndarray) -> np.ndarray:
        config = self.config
        blocks, pairs = self.n_blocks(len(rows)), 1 << self.row_bits
        components = 2 // self.rows_per_word
        words = np.zeros((blocks * self.rows_per_block, self.size, components), dtype=np.int64)
        words[:len(rows), :self.in_size, 0] = rows.real
        if self.mode is Mode.FFT:
            words[:len(rows), :self.in_size, 1] = rows.imag
        # Row pairs go to the engines in turn, so that a short last block uses all of them.
        shape = (blocks, pairs, config.engines, self.rows_per_word, self.size, components)
        halves = words[:, self.load_order].reshape(shape)
        block = halves.transpose(0, 2, 1, 4, 3, 5).reshape(blocks, config.engines, pairs * self.size, 2)
        walk = walk_indices(self.load.walk)
        beats = block[:, :, walk].reshape(blocks, config.beat_groups, config.engines_per_beat, *walk.shape, 2)
        return np.ascontiguousarray(beats.transpose(0, 3, 1, 2, 4, 5)).reshape(-1, 2)

    def unpack(self, results: list[BlockResult], rows: int) -> np.ndarray:
        """Rows (rows, out_size) from the blocks of all jobs in order: exponents, scales, truncation, bias."""
        blocks = self.n_blocks(rows)
        if len(results) != blocks * len(self.stacks):
            raise WingbeatError(f"results: {len(results)} blocks; allowed are {blocks * len(self.stacks)}")
        outputs = [np.concatenate([self._block_rows(result) for result in results[at:at + blocks]])
                   for at in range(0, len(results), blocks)]
        y = np.concatenate(outputs, axis=1)[:rows, :self.out_size] * self.output_scale
        return y if self.bias is None else y + self.bias

    def _block_rows(self, result: BlockResult) -> np.ndarray:
        """Rows (rows_per_block, N) of one block in units of ``output_scale``."""
        config, walk = self.config, walk_indices(self.store.walk)
        beats = result.words.reshape(len(walk), config.beat_groups, config.engines_per_beat, config.lanes, 2)
        words = np.empty((config.engines, self.size << self.row_bits, 2))
        words[:, walk] = beats.transpose(1, 2, 0, 3, 4).reshape(config.engines, *walk.shape, 2)
        values = np.ldexp(words, result.exponent).reshape(config.engines, 1 << self.row_bits, self.size, 2)
        rows = values.transpose(1, 0, 3, 2)
        if self.mode is Mode.FFT:
            return (rows[:, :, 0] + 1j * rows[:, :, 1]).reshape(-1, self.size)
        return rows.reshape(-1, self.size)

    def places(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """What every element of the streams of one stack is: (row, element, component), int64 (elements, 3) of the
        stream in and of the stream out; -1 for padding."""
        components = 2 // self.rows_per_word
        numbers = np.arange(1, rows * self.in_size * components + 1, dtype=np.float64).reshape(rows, self.in_size, -1)
        given = numbers[..., 0] + 1j * numbers[..., 1] if components == 2 else numbers[..., 0]
        read = _unfold(self._stream(given).ravel(), self.in_size, components)
        blocks, words = self.n_blocks(rows), len(walk_indices(self.store.walk)) * self.config.beat_groups
        words *= self.config.engines_per_beat * self.config.lanes
        slots = np.arange(2 * blocks * words, dtype=np.int64).reshape(blocks, words, 2)
        found = np.concatenate([self._block_rows(BlockResult(block, 0, False)) for block in slots])
        parts = np.stack([found.real, found.imag][:components], axis=-1)[:rows, :self.out_size].astype(np.int64)
        written = np.full((slots.size, 3), -1, dtype=np.int64)
        written[parts.ravel()] = np.indices(parts.shape).reshape(3, -1).T
        return read, written

    # --- running ------------------------------------------------------------------------------

    def program(self, part: Part, blocks: int) -> list[Instruction]:
        """Program of one part for ``blocks`` blocks per stack."""
        return schedule(self.load, [stack.passes for stack in part.stacks], self.store, blocks)

    def program_words(self, part: Part) -> int:
        """Words of program memory the part needs, whatever the number of rows."""
        return INSTRUCTION_WORDS * len(self.program(part, 3))

    def jobs(self, x: np.ndarray) -> list[Job]:
        """The runs that compute rows ``x`` (rows, in_size), one per part; every stack streams all rows."""
        return self._jobs(self.quantise(x)[0])

    def _jobs(self, rows: np.ndarray) -> list[Job]:
        words, blocks = self._stream(rows), self.n_blocks(len(rows))
        return [Job(part.setup, self.program(part, blocks), np.tile(words, (len(part.stacks), 1)),
                    blocks * len(part.stacks)) for part in self.parts]

    def execute_model(self, x: np.ndarray) -> KernelRun:
        """Run rows ``x`` on the bit-exact model and keep what the array reports beside the rows."""
        elements, clamped = self.quantise(x)
        results: list[BlockResult] = []
        for job in self._jobs(elements):
            model = ArrayModel(self.config)
            for target, address, data in job.setup:
                model.write_setup(target, address, data)
            results += model.run(job.program, job.words)
        return self.gathered(results, len(elements), clamped)

    def gathered(self, results: list[BlockResult], rows: int, clamped_inputs: int) -> KernelRun:
        """What the blocks of all jobs, in order, say of ``rows`` rows."""
        y, exponents = self.unpack(results, rows), [result.exponent for result in results]
        last_places = np.ldexp(1.0, exponents)[:, None] * np.sqrt(np.mean(self.output_scale ** 2))
        error = _TYPICAL_ERROR * float(np.sqrt(np.mean(last_places ** 2) * (2 // self.rows_per_word)))
        return KernelRun(y, exponents, sum(bool(result.saturated) for result in results), clamped_inputs,
                         level_db(y, error))

    def warn(self, run: KernelRun, stacklevel: int = 2) -> None:
        """SaturationWarning on any clamp, else AccuracyWarning where results are small for their format."""
        warn_clamped(run.clamped, stacklevel + 1)
        if not any(run.clamped):
            warn_inaccurate([("results", run.expected_sqnr_db)], least_sqnr_db(self.config.element_width),
                            stacklevel + 1)

    def run_model(self, x: np.ndarray) -> np.ndarray:
        """Rows (rows, out_size) of ``x`` on the bit-exact model; warns as :meth:`warn`."""
        run = self.execute_model(x)
        self.warn(run)
        return run.y


def _unfold(numbers: np.ndarray, size: int, components: int) -> np.ndarray:
    """Row, element and component of numbers that count them from 1 on; -1 for 0."""
    rest, component = np.divmod(numbers - 1, components)
    row, element = np.divmod(rest, size)
    places = np.stack([row, element, component], axis=-1)
    places[numbers == 0] = -1
    return places
