"""Workloads of the processor: a program, the memory it starts from, and what must be there afterwards.

What the benchmark measures, the trace shows and the sensitivity study repeats.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
import math

import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ...hw.isa.instruction import Pass
from ...hw.isa.setup import SETUP_LENGTHS
from ...hw.numeric import largest
from ...sim.model.processor import BlockOutcome
from ...sim.reference.functions import alibi_slopes, attended, attention
from ...sim.reference.linear import butterfly_multiply, fft
from ...sim.reference.metrics import sqnr_db
from ..compiler.kernel.attention import attention_shifts, mask_slopes
from ..compiler.kernel.compile import checked_log2, compile_butterfly, compile_fft
from ..compiler.kernel.dense import compile_dense
from ..compiler.kernel.sparse import Pattern, kept_weights
from ..compiler.kernel.kernel import Kernel
from ..compiler.kernel.passes import Scaling
from ..compiler.program.attention import Attend, Heads
from ..compiler.program.assemble import Program, Transfer, assemble
from ..compiler.program.coefficients import CoefficientSpace
from ..compiler.program.dense import DenseProduct
from ..compiler.program.granularity import LARGEST_WINDOW, Keys, Tiles, padded_keys
from ..compiler.program.matrix import Matrix
from ..compiler.program.operations import multiply_butterfly, mix_real, mixed_rows, transform_rows
from ..compiler.program.split import SplitKernel, split_butterfly, split_fft, split_rows

__all__ = ["Workload", "ArrayWorkload", "array_workload", "bpmm_workload", "fft_workload", "mixing_workload",
           "ffn_workload", "dense_workload", "AttentionSize", "attention_workload", "as_elements", "placed",
           "random_rows", "random_twiddle"]


@dataclass(frozen=True, eq=False)
class Workload:
    """One run of a processor.

    ``memory``: beats (n, 2K) before. ``source``: where the input stands in it, integers whose value is ``input_scale``.
    ``target``: where the result stands, integers whose value is ``scale`` (per element or one for all); pairs of
    elements are complex numbers where ``is_complex``. ``reference``: the result in float64. ``useful``:
    multiplications of the transforms' graphs; those of the first block are ``first_useful``. ``block_rows``: rows of
    the result that share the exponent of a block, one block after the other; 0 where there are no exponents.
    """

    name: str
    points: int
    rows: int
    config: CoreConfig
    program: Program = field(repr=False)
    memory: np.ndarray = field(repr=False)
    source: Matrix
    input_scale: float
    target: Matrix
    scale: np.ndarray | float = field(repr=False)
    is_complex: bool
    reference: np.ndarray = field(repr=False)
    useful: int
    first_useful: int
    block_rows: int = 0

    def result(self, memory: np.ndarray, exponents: Sequence[int] = ()) -> np.ndarray:
        """The result in float out of the memory after the run; ``exponents`` of its blocks, where there are any."""
        values = self.target.unpack(memory).astype(np.float64)
        if self.is_complex:
            values = values[:, 0::2] + 1j * values[:, 1::2]
        if self.block_rows:
            values *= np.ldexp(1.0, np.repeat(exponents, self.block_rows)[:len(values)])[:, None]
        return values * self.scale

    def run_model(self) -> tuple[np.ndarray, list[BlockOutcome]]:
        """Memory and reports of the blocks after the run on the integer model."""
        memory = self.memory.copy()
        return memory, self.program.run_model(self.config, memory)


@dataclass(frozen=True, eq=False)
class ArrayWorkload:
    """Rows through one kernel on an array alone: ``x`` (rows, points), ``twiddle`` of a butterfly matrix."""

    name: str
    points: int
    kernel: Kernel
    x: np.ndarray = field(repr=False)
    twiddle: np.ndarray | None = field(repr=False)

    @cached_property
    def reference(self) -> np.ndarray:
        """The result in float64 of the rows as the array sees them."""
        seen = self.kernel.quantised_input(self.x)
        return fft(seen) if self.twiddle is None else butterfly_multiply(self.twiddle, seen)

    def sqnr_db(self, y: np.ndarray) -> float:
        """Of the result ``y`` (rows, points) against the reference."""
        return sqnr_db(self.reference, y)


def array_workload(config: CoreConfig, name: str, points: int, blocks: int, scaling: Scaling,
                   seed: int) -> ArrayWorkload:
    """``blocks`` blocks of random rows of ``points`` elements through 'bpmm' or 'fft'. Raises WingbeatError for sizes
    that do not fit."""
    weights, numbers = _generators(seed, points)
    # Small rows need more of them to show their tails.
    calibration = random_rows(points, max(256, 65536 // points), name == "fft", weights)
    twiddle = None if name == "fft" else random_twiddle(1, checked_log2("--sizes", points), weights)
    kernel = (compile_fft(points, config, scaling=scaling, calibration=calibration) if twiddle is None else
              compile_butterfly(twiddle, config, scaling=scaling, calibration=calibration))
    x = random_rows(points, blocks * kernel.rows_per_block, name == "fft", numbers)
    return ArrayWorkload(name, points, kernel, x, twiddle)


def random_twiddle(stacks: int, log2_size: int, rng: np.random.Generator) -> np.ndarray:
    """Butterfly blocks randn/sqrt2 in torch-butterfly's layout (stacks, 1, n, N/2, 2, 2)."""
    return rng.standard_normal((stacks, 1, log2_size, 1 << log2_size - 1, 2, 2)) / np.sqrt(2)


def random_rows(points: int, rows: int, is_complex: bool, rng: np.random.Generator) -> np.ndarray:
    """Normal rows, or uniform complex ones."""
    if is_complex:
        return rng.uniform(-1, 1, (rows, points)) + 1j * rng.uniform(-1, 1, (rows, points))
    return rng.standard_normal((rows, points))


def _generators(seed: int, *numbers: int) -> tuple[np.random.Generator, np.random.Generator]:
    """For weights and calibration, and for the data."""
    return np.random.default_rng([seed, *numbers]), np.random.default_rng([seed, *numbers, 1])


def placed(config: CoreConfig, *shapes: tuple[int, int]) -> list[Matrix]:
    """Matrices of (rows, elements) one behind the other; WingbeatError when the memory is too small for them."""
    matrices: list[Matrix] = []
    for rows, elements in shapes:
        matrices.append(Matrix.at(matrices[-1].end if matrices else 0, rows, elements, config))
    _check_room(config, matrices[-1].end)
    return matrices


def _check_room(config: CoreConfig, beats: int) -> None:
    if beats > 1 << config.memory_bits:
        raise WingbeatError(f"memory.address_bits: {config.memory_bits} are too few for {beats} beats; allowed are "
                            f"{(beats - 1).bit_length()} and more")


def _multiplications(config: CoreConfig, task: Transfer) -> int:
    """Multiplications of a full block."""
    passes = [step for step in task.stage.passes if isinstance(step, Pass)]
    return sum(step.groups * step.active.bit_count() for step in passes) * 2 * config.lanes * config.engines


def as_elements(rows: np.ndarray) -> np.ndarray:
    """Integers of real or complex rows as they stand in memory."""
    parts = np.stack([rows.real, rows.imag], axis=-1) if np.iscomplexobj(rows) else rows[..., None]
    return parts.reshape(len(rows), -1).astype(np.int64)


def _steady(config: CoreConfig, name: str, points: int, kernel: Kernel | SplitKernel, rows: np.ndarray,
            reference: Callable[[np.ndarray], np.ndarray]) -> Workload:
    """Rows through one transform, all blocks full."""
    is_complex = np.iscomplexobj(rows)
    whole = np.rint(rows / kernel.input_step)  # of a complex number: both parts
    shape = (len(rows), points << is_complex)
    coefficients = CoefficientSpace(config)
    if isinstance(kernel, SplitKernel):
        source, *between, target = placed(config, *[shape] * (len(kernel.segments) + 1))
        tasks = split_rows(kernel, source, between, target, coefficients, name)
    else:
        source, target = placed(config, shape, shape)
        operation = transform_rows if is_complex else multiply_butterfly
        tasks = operation(kernel, source, target, coefficients, name, start="steady")
    block_rows = 0 if isinstance(kernel, SplitKernel) or kernel.scaling != "block" else kernel.rows_per_block
    if block_rows and config.block_log < len(tasks):
        count = len(tasks)
        raise WingbeatError(f"--scaling: 'block' gives each of {count} blocks an exponent, and memory.block_log is "
                            f"{config.block_log}; allowed are static, safe, or memory.block_log from {count} on")
    memory = _memory(config, target.end, [(source, as_elements(whole))])
    return Workload(name, points, len(rows), config, assemble(config, tasks), memory, source,
                    kernel.input_step, target, kernel.output_scale,
                    is_complex, reference(whole * kernel.input_step),
                    sum(_multiplications(config, task) for task in tasks), _multiplications(config, tasks[0]),
                    block_rows)


def _memory(config: CoreConfig, beats: int, contents: list[tuple[Matrix, np.ndarray]]) -> np.ndarray:
    memory = np.zeros((beats, config.memory_elements), dtype=np.int64)
    for matrix, values in contents:
        memory[matrix.base:matrix.end] = matrix.pack(values, config)
    return memory


def bpmm_workload(config: CoreConfig, points: int, blocks: int, scaling: Scaling, seed: int) -> Workload:
    """A random butterfly matrix on ``blocks`` blocks of real rows; raises WingbeatError for sizes that do not fit."""
    weights, numbers = _generators(seed, points)
    bits = checked_log2("--sizes", points)
    twiddle = random_twiddle(1, bits, weights)
    calibration = random_rows(points, max(256, 65536 // points), False, weights)
    compile_ = compile_butterfly if points <= 1 << config.largest_n else split_butterfly
    compiled = compile_(twiddle, config, scaling=scaling, calibration=calibration)
    rows = random_rows(points, blocks * compiled.rows_per_block, False, numbers)
    return _steady(config, "bpmm", points, compiled, rows, lambda x: butterfly_multiply(twiddle, x))


def fft_workload(config: CoreConfig, points: int, blocks: int, scaling: Scaling, seed: int) -> Workload:
    """A Fourier transform of ``blocks`` blocks of complex rows; raises WingbeatError for sizes that do not fit."""
    weights, numbers = _generators(seed, points)
    calibration = random_rows(points, max(256, 65536 // points), True, weights)
    compile_ = compile_fft if points <= 1 << config.largest_n else split_fft
    compiled = compile_(points, config, scaling=scaling, calibration=calibration)
    rows = random_rows(points, blocks * compiled.rows_per_block, True, numbers)
    return _steady(config, "fft", points, compiled, rows, fft)


def _one_scale(scaling: Scaling) -> None:
    if scaling == "block":
        raise WingbeatError("--scaling: 'block' gives every block an exponent, which the transform behind it would "
                            "have to know; allowed are static, safe where transforms follow each other")


def mixing_workload(config: CoreConfig, tokens: int, hidden: int, seed: int, scaling: Scaling = "static") -> Workload:
    """Re(FFT2(x)) of random real x, tokens x hidden (docs/reference/processor.md). Raises WingbeatError."""
    _one_scale(scaling)
    weights, numbers = _generators(seed, tokens, hidden)
    token_bits, hidden_bits = checked_log2("--tokens", tokens, 4), checked_log2("--hidden", hidden, 4)
    full = float(largest(config.element_width))
    sample = np.rint(weights.uniform(-1, 1, (tokens, hidden)) * full / 1.25)
    packed = (sample[:, 0::2] + 1j * sample[:, 1::2]).T
    columns = compile_fft(tokens, config, scaling=scaling, calibration=packed[:256], input_limit=full,
                          rows=config.engines * config.lanes)
    between = np.fft.fft(sample, axis=0)[:mixed_rows(tokens)] / 2.0 ** columns.stacks[0].shift
    rows = compile_fft(hidden, config, scaling=scaling, calibration=between[:: max(1, len(between) // 256)],
                       input_limit=full)
    x = np.rint(numbers.uniform(-1, 1, (tokens, hidden)) * full / 1.25)
    source, middle, target = placed(config, (tokens, hidden), (mixed_rows(tokens), 2 * hidden), (tokens, hidden))
    tasks = mix_real(columns, rows, source, middle, target, CoefficientSpace(config), "mixing")
    memory = _memory(config, target.end, [(source, x.astype(np.int64))])
    useful = 4 * (tokens // 2) * (hidden // 2) * (token_bits + hidden_bits)
    scale = 2.0 ** (columns.stacks[0].shift + rows.stacks[0].shift)
    return Workload("fft2-real", hidden, tokens, config, assemble(config, tasks), memory, source, 1.0, target, scale,
                    False, np.fft.fft2(x).real, useful, 0)


def _fold_scale(twiddle: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Weights for inputs whose values are integers times ``scale``: it goes into the columns of the first layer."""
    folded = twiddle.copy()
    folded[:, 0, 0, :, :, 0] *= scale[0::2, None]
    folded[:, 0, 0, :, :, 1] *= scale[1::2, None]
    return folded


def ffn_workload(config: CoreConfig, tokens: int, hidden: int, expand: int, seed: int,
                 scaling: Scaling = "static") -> Workload:
    """Two random butterfly layers hidden -> expand * hidden -> hidden without activation. Raises WingbeatError."""
    _one_scale(scaling)
    weights, numbers = _generators(seed, tokens, hidden, expand)
    bits = checked_log2("--hidden", hidden)
    wide_bits = bits + checked_log2("--expand", expand, 1)
    if tokens < 1:
        raise WingbeatError(f"--tokens: {tokens}; allowed are numbers >= 1")
    up, down = random_twiddle(expand, bits, weights), random_twiddle(1, wide_bits, weights)
    sample = random_rows(hidden, 256, False, weights)
    first = compile_butterfly(up, config, scaling=scaling, calibration=sample, in_size=hidden,
                              out_size=expand * hidden, rows=tokens)
    # Between the layers stand integers: the scale that each has left goes into the weights of the second layer.
    inner = butterfly_multiply(up, first.quantised_input(sample)) / first.output_scale
    second = compile_butterfly(_fold_scale(down, first.output_scale), config, scaling=scaling, calibration=inner,
                               input_limit=float(largest(config.element_width)), in_size=expand * hidden,
                               out_size=hidden, rows=tokens)
    x = random_rows(hidden, tokens, False, numbers)
    source, middle, target = placed(config, (tokens, hidden), (tokens, expand * hidden), (tokens, hidden))
    coefficients = CoefficientSpace(config)
    tasks = [*multiply_butterfly(first, source, middle, coefficients, "up"),
             *multiply_butterfly(second, middle, target, coefficients, "down", "steady")]
    memory = _memory(config, target.end, [(source, first.quantise(x)[0].astype(np.int64))])
    reference = butterfly_multiply(down, butterfly_multiply(up, first.quantised_input(x)))[:, :hidden]
    useful = tokens * (first.multiplications_per_row + second.multiplications_per_row)
    return Workload("ffn", hidden, tokens, config, assemble(config, tasks), memory, source, first.input_step, target,
                    second.output_scale, False, reference, useful, 0)


def dense_workload(config: CoreConfig, tokens: int, inputs: int, outputs: int, seed: int,
                   pattern: Pattern | None = None) -> Workload:
    """A random matrix (outputs, inputs) on ``tokens`` rows, dense or pruned to ``pattern``. Raises WingbeatError for
    what does not fit."""
    for name, value in (("--tokens", tokens), ("--in", inputs), ("--out", outputs)):
        if value < 1:
            raise WingbeatError(f"{name}: {value}; allowed are numbers >= 1")
    weights, numbers = _generators(seed, tokens, inputs, outputs)
    matrix = weights.standard_normal((outputs, inputs)) / np.sqrt(inputs)
    if pattern:
        pattern = pattern.fitted(config, inputs)
        matrix *= kept_weights(matrix, pattern, config.layers)
    step = 1 / largest(config.element_width)
    sample, x = (np.rint(rng.uniform(-1, 1, (rows, inputs)) / step).astype(np.int64)
                 for rng, rows in ((weights, 256), (numbers, tokens)))
    kernel = compile_dense(matrix, config, 1.25 * sample, by_output=True)
    source, target = placed(config, (tokens, inputs), (tokens, outputs))
    product = DenseProduct(config, source, outputs, pattern)
    image = product.image(kernel.weights)
    _check_room(config, target.end + len(image))
    name = "nm" if pattern else "dense"
    tasks = product.transfers(target, target.end, kernel.shift, name)
    memory = np.concatenate([_memory(config, target.end, [(source, x)]), image])
    reference = (x * step) @ kernel.weights.T * kernel.weight_unit
    useful = tokens * np.count_nonzero(matrix)
    return Workload(name, inputs, tokens, config, assemble(config, tasks), memory, source, step, target,
                    kernel.output_unit(step), False, reference, int(useful), 0)


@dataclass(frozen=True)
class AttentionSize:
    """``heads`` of ``head_features`` elements, ``key_heads`` of keys and values (None: as many), ``tokens`` of queries
    and of keys. ``causal``: none sees one behind it; ``window``: nor one further away; of the keys the first ``length``
    count, None for all. ``alibi``: logits fall with the distance of their keys; with ``causal``."""

    tokens: int
    heads: int = 1
    head_features: int = 64
    causal: bool = False
    window: int | None = None
    key_heads: int | None = None
    length: int | None = None
    alibi: bool = False

    def checked(self) -> "AttentionSize":
        """Raises WingbeatError for a size that is none."""
        for name, value in (("--tokens", self.tokens), ("--heads", self.heads),
                            ("--head-features", self.head_features)):
            if value < 1:
                raise WingbeatError(f"{name}: {value}; allowed are numbers >= 1")
        if self.window is not None and not 1 <= self.window <= LARGEST_WINDOW:
            raise WingbeatError(f"--window: {self.window}; allowed are 1..{LARGEST_WINDOW}")
        if self.key_heads is not None and (self.key_heads < 1 or self.heads % self.key_heads):
            raise WingbeatError(f"--key-heads: {self.key_heads}; allowed are divisors of {self.heads} heads")
        if self.length is not None and not 0 <= self.length <= self.tokens:
            raise WingbeatError(f"--length: {self.length}; allowed are 0..{self.tokens}")
        if self.alibi and not self.causal:
            raise WingbeatError("--alibi: allowed is --causal beside it")
        return self

    @property
    def slopes(self) -> np.ndarray | None:
        """Of each head, as the reference takes them."""
        return alibi_slopes(self.heads) if self.alibi else None

    def counts(self, config: CoreConfig) -> Keys:
        """Of a single input, whose length is the first one of the table."""
        has_length = self.length is not None or padded_keys(config, self.tokens) > self.tokens
        return Keys(self.causal, self.window, int(has_length), slopes=mask_slopes(self.slopes))


def attention_workload(config: CoreConfig, size: AttentionSize, seed: int, tiles: Tiles | None = None,
                       words_per_cycle: float = 0) -> Workload:
    """Softmax attention of random queries, keys and values (tokens, heads * head_features), the transposes of the
    values included, in ``tiles`` or those that suit a memory of ``words_per_cycle`` (0: a beat). Useful are the
    products of what counts. Raises WingbeatError for what does not fit."""
    tokens, features = size.checked().tokens, size.head_features
    shape = Heads(size.heads, size.key_heads or size.heads, features)
    _, numbers = _generators(seed, tokens, size.heads, features)
    width, padded = size.heads * features, padded_keys(config, tokens)
    key_width = shape.keys * features
    exponent = 3 - config.element_width  # four deviations of normal numbers
    bound = largest(config.element_width)
    scale = math.log2(math.e) / math.sqrt(features)
    own = exponent + math.ceil(math.log2(scale))
    q, k, v = (np.clip(np.rint(numbers.standard_normal((tokens, own_width)) * factor), -bound, bound).astype(np.int64)
               for own_width, factor in ((width, scale * 2.0 ** -own), *[(key_width, 2.0 ** -exponent)] * 2))
    queries, keys, values, turned, target = placed(config, (tokens, width), (padded, key_width), (tokens, key_width),
                                                   (key_width, padded), (tokens, width))
    counts = size.counts(config)
    shifts = attention_shifts(config, own, exponent, exponent, exponent)
    attend = Attend(config, (queries,), (keys,), (values,), (turned,), shape, tokens, counts, tiles, words_per_cycle)
    tasks = attend.transfers((target,), shifts.logits, shifts.divide, "attention")
    counted = tokens if size.length is None else size.length
    setup = [(SETUP_LENGTHS, 0, counted)] if counts.length else []
    given = replace(keys, rows=tokens)
    memory = _memory(config, target.end, [(queries, q), (given, k), (values, v)])
    seen = attended(tokens, size.causal, size.window) & (np.arange(tokens) < counted)
    reference = attention((q * 2.0 ** own / scale)[None], (k * 2.0 ** exponent)[None], (v * 2.0 ** exponent)[None],
                          size.heads, seen, slopes=size.slopes)[0]
    return Workload("attention", features, tokens, config, assemble(config, tasks, setup), memory, queries,
                    2.0 ** own, target, 2.0 ** shifts.exponent, False, reference, 2 * int(seen.sum()) * width, 0)
