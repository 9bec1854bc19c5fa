"""A compiled network: programs of a processor that lead from inputs in memory to logits in memory.

One program, or several one after the other where tables, coefficients or the program memory are too small for all.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.setup import LENGTHS, SetupWrite
from ....sim.reference.metrics import sqnr_db
from ..program.assemble import Program, SumRows, Transfer, assemble, written_beats
from ..program.blocks import Start
from ..program.stream import Streamed, stream
from ..quality import Clamped, least_sqnr_db, level_db, total_clamped, warn_clamped, warn_inaccurate
from .build import build_operation
from .builder import Operation, Resources, Stored
from .formats import Format, least_exponent, quantise
from .inputs import encode_inputs, input_lengths
from .lengths import given_lengths, takes_lengths, write_lengths
from .load import LoadedNetwork
from .lower import Lowered, Value, lower
from .tensors import TensorMemory

__all__ = ["CompiledNetwork", "ProgramSegment", "Records", "OperationRun", "NetworkResult", "MemoryRegion",
           "MemoryRole", "compile_network", "default_batch", "place_sums"]

_MOST_BATCH = 32
_TOLERANCE_DB = 3.0  # what inputs may be worse than those of the calibration
_BEHIND = 2  # blocks between what writes rows and the sums of these rows: by then they stand in memory


class Records(NamedTuple):
    """Setup of a program in memory: its ``beats`` int64 (n, 2K) from beat ``base`` on."""

    base: int
    beats: np.ndarray


@dataclass(frozen=True, eq=False)
class ProgramSegment:
    """Operations that share one program, its ``tasks`` in order, and the writes (target, address, data) beside those of
    the program's own. ``records``: what of its setup the program fetches; None where the host writes all of it."""

    operations: tuple[Operation, ...]
    tasks: tuple[Transfer | SumRows, ...] = field(repr=False)
    program: Program
    setup: list[tuple[int, int, int]] = field(repr=False)
    records: Records | None = None

    def run_model(self, config: CoreConfig, memory: np.ndarray) -> list[Clamped]:
        """Run on the bit-exact model; ``memory`` (beats, 2K) is changed in place. What each operation has clamped."""
        model = self.program.model(config, memory)
        outcomes = model.run(self.program.instructions)
        found, first = [], 0
        owners = {id(piece): number for number, operation in enumerate(self.operations)
                  for piece in (*operation.sums, *operation.tasks) if isinstance(piece, SumRows)}
        in_sums = [0] * len(self.operations)
        pieces = (task for task in self.tasks if isinstance(task, SumRows))
        for piece, clamped in zip(pieces, model.sums_clamped, strict=True):
            in_sums[owners[id(piece)]] += clamped
        for operation, clamped in zip(self.operations, in_sums):
            count = sum(isinstance(task, Transfer) for task in operation.tasks)
            blocks, first = outcomes[first:first + count], first + count
            found.append(Clamped(operation.step.name, clamped + sum(block.clamped for block in blocks),
                                 sum(bool(block.saturated) for block in blocks), count))
        return found


class OperationRun(NamedTuple):
    """What one operation left for a batch: integers (batch, tokens, features); how often an element was clamped between
    memory and array, and how many of its blocks clamped something inside."""

    integers: np.ndarray
    clamped: int
    saturated_blocks: int
    blocks: int


class MemoryRole(StrEnum):
    """Who fills a part of the memory."""

    INPUT = "input"        # the host, before every batch
    CONSTANT = "constant"  # the image, once
    MATRIX = "matrix"      # the image, once: beats as a MAC takes them, docs/reference/processor.md
    OUTPUT = "output"      # the last program; the host reads it
    SCRATCH = "scratch"    # the programs


class MemoryRegion(NamedTuple):
    """A tensor in the memory: ``name`` of the layer that makes or needs it."""

    name: str
    role: MemoryRole
    stored: Stored


class NetworkResult(NamedTuple):
    """``results`` (inputs, tokens, features) in float, and what was ``clamped`` where on the way to them."""

    results: np.ndarray
    clamped: list[Clamped]


@dataclass(frozen=True, eq=False)
class CompiledNetwork:
    """``network`` for ``batch`` inputs at once on a processor of ``config``. ``error``: root of the mean square error
    of the results and ``sqnr_db`` of them, on the calibration inputs; None where it was not checked."""

    network: LoadedNetwork
    config: CoreConfig
    batch: int
    segments: tuple[ProgramSegment, ...]
    input: Stored
    output: Stored
    beats: int  # of the memory
    error: float | None = None
    sqnr_db: float | None = None

    @property
    def operations(self) -> list[Operation]:
        return [operation for segment in self.segments for operation in segment.operations]

    def memory(self, inputs: Any) -> tuple[np.ndarray, int]:
        """The memory (beats, 2K) with at most ``batch`` inputs in it, and how many of their values were clamped."""
        x, width = encode_inputs(self.network, inputs), self.config.element_width
        if not 1 <= len(x) <= self.batch:
            raise WingbeatError(f"inputs: {len(x)}; allowed are 1..{self.batch}")
        memory, tensor = self.image(), self.input.tensor
        if self.network.takes_ids:  # numbers without sign
            integers, clamped = (x.astype(np.int64) + (1 << width - 1)) % (1 << width) - (1 << width - 1), 0
        else:
            integers, clamped = quantise(x / self.input.unit, width)
        memory[tensor.base:tensor.base + tensor.beats] = tensor.pack(integers)
        lengths = input_lengths(self.network, inputs)
        if lengths is not None:
            for base, beats in self.length_records().values():
                write_lengths(self.config, memory[base:base + len(beats)], lengths)
        return memory, clamped

    def length_records(self) -> dict[int, Records]:
        """Records of the programs, by their numbers, that begin with those of the lengths of the inputs."""
        if not self.network.has_lengths:
            return {}
        return {number: segment.records for number, segment in enumerate(self.segments)
                if segment.records and takes_lengths(segment.setup)}

    def image(self) -> np.ndarray:
        """The memory (beats, 2K) as it must be before the first program, but for the inputs: constants and zeros."""
        memory = np.zeros((self.beats, self.config.memory_elements), dtype=np.int64)
        for operation in self.operations:
            for stored, integers, _ in operation.constants:
                tensor, whole = stored.tensor, np.broadcast_to(integers, (stored.tensor.batch, *integers.shape))
                memory[tensor.base:tensor.base + tensor.beats] = tensor.pack(whole)
        for segment in self.segments:
            if segment.records:
                base, beats = segment.records
                memory[base:base + len(beats)] = beats
        return memory

    def regions(self) -> list[MemoryRegion]:
        """What stands where in the memory. Results between may share places that are free again."""
        found = [MemoryRegion("inputs", MemoryRole.INPUT, self.input)]
        for operation in self.operations:
            for stored, _, is_matrix in operation.constants:
                role = MemoryRole.MATRIX if is_matrix else MemoryRole.CONSTANT
                found.append(MemoryRegion(operation.step.name, role, stored))
            is_last = operation is self.operations[-1]
            role = MemoryRole.OUTPUT if is_last else MemoryRole.SCRATCH
            found.append(MemoryRegion(operation.step.name, role, operation.result))
        return found

    def results(self, memory: np.ndarray, count: int) -> np.ndarray:
        """Results (count, tokens, features) in float out of the memory after the last program."""
        return self.output.tensor.unpack(memory)[:count] * self.output.unit

    def decisions(self, memory: np.ndarray, count: int) -> np.ndarray | None:
        """Number of the largest result (count, tokens) as the hardware has found it; None where a row has no room."""
        tensor = self.output.tensor
        whole = replace(tensor, features=tensor.beat_elements)
        return whole.unpack(memory)[:count, :, -1] if self.output.decided else None

    def batches(self, inputs: Any) -> Iterator[Any]:
        """``inputs`` in parts of at most ``batch``."""
        if not len(inputs):
            raise WingbeatError("inputs: none; allowed are one or more")
        for first in range(0, len(inputs), self.batch):
            yield inputs[first:first + self.batch]

    def execute_model(self, inputs: Any) -> NetworkResult:
        """The bit-exact model, the programs as they are. Raises WingbeatError without an input."""
        if not len(inputs):
            raise WingbeatError("inputs: none; allowed are one or more")
        found, clamped = [], []
        for part in self.batches(inputs):
            memory, outside = self.memory(part)
            clamped.append([Clamped("inputs", outside)])
            clamped += [segment.run_model(self.config, memory) for segment in self.segments]
            found.append(self.results(memory, len(part)))
        return NetworkResult(np.concatenate(found), total_clamped(clamped))

    def run_model(self, inputs: Any) -> np.ndarray:
        """Results of :meth:`execute_model`; warns as :meth:`warn`."""
        run = self.execute_model(inputs)
        self.warn(inputs, run)
        return run.results

    def warn(self, inputs: Any, run: NetworkResult, stacklevel: int = 2) -> None:
        """SaturationWarning on any clamp; else AccuracyWarning where ``inputs`` or results are so small that errors
        as large as on the calibration inputs leave less than was promised then."""
        warn_clamped(run.clamped, stacklevel + 1)
        if run.clamped:
            return
        least, width = least_sqnr_db(self.config.element_width), self.config.element_width
        x, places = encode_inputs(self.network, inputs), []
        if not self.network.takes_ids:
            places.append(("inputs", sqnr_db(x, quantise(x / self.input.unit, width)[0] * self.input.unit)))
        if self.error is not None and self.sqnr_db is not None:
            least = least if self.sqnr_db >= least else self.sqnr_db - _TOLERANCE_DB
            places.append(("results", level_db(run.results, self.error)))
        warn_inaccurate(places, least, stacklevel + 1)

    def program_of(self, operations: Sequence[Operation], inputs: Any) -> ProgramSegment:
        """A program of ``operations`` alone: some of one segment, in their order, with the lengths of ``inputs``. Its
        records stand behind the memory of the network, where :meth:`placed` puts them."""
        [segment] = [each for each in self.segments if operations[0] in each.operations]
        lengths = input_lengths(self.network, inputs)
        setup = segment.setup if lengths is None else given_lengths(segment.setup, lengths)
        return _segment(self.config, operations, setup, self.beats)

    def placed(self, memory: np.ndarray, segment: ProgramSegment) -> np.ndarray:
        """A copy of ``memory`` with the records of a ``segment`` of :meth:`program_of`."""
        behind = segment.records.beats if segment.records else memory[:0]
        return np.concatenate([memory[:self.beats], behind])

    def run_operations(self, inputs: Any) -> list[OperationRun]:
        """One batch on the bit-exact model, one operation after the other; what each left."""
        memory, _ = self.memory(inputs)
        found = []
        for segment in self.segments:
            for operation in segment.operations:
                alone = self.program_of([operation], inputs)
                memory = self.placed(memory, alone)
                model = alone.program.model(self.config, memory)
                blocks = model.run(alone.program.instructions)
                integers = operation.result.tensor.unpack(memory)[:len(inputs)].copy()  # its place may be used again
                saturated = sum(bool(block.saturated) for block in blocks)
                found.append(OperationRun(integers, model.clamped, saturated, len(blocks)))
        return found


def default_batch(network: LoadedNetwork, config: CoreConfig) -> int:
    """Inputs at once, a power of two: as many as have room in the table of rows, 32 at most."""
    batch = 1
    while 2 * batch <= min(_MOST_BATCH, config.statistics_rows // network.input.tokens):
        batch *= 2
    return batch


def compile_network(network: LoadedNetwork, config: CoreConfig, inputs: Any, batch: int,
                    report: Callable[[str], None] | None = None, *, check: bool = True) -> CompiledNetwork:
    """``inputs``: calibration inputs as for :func:`~.network.encode`. ``batch``: a power of two.

    ``check``: the first batch of the inputs runs on the bit-exact model. SaturationWarning names the layers that clamp
    some of it, AccuracyWarning those too far from float (gen/compiler/quality.py).

    Raises WingbeatError naming the layer, and the field with which it would fit.
    """
    if not config.is_processor:
        raise WingbeatError(f"memory: {config.name} has no [memory]; allowed is a processor")
    if batch < 1 or batch & (batch - 1):
        raise WingbeatError(f"--batch: {batch}; allowed are powers of two")
    if network.has_lengths and batch > LENGTHS:
        raise WingbeatError(f"--batch: {batch}; allowed are 1..{LENGTHS} for a network that takes lengths")
    lowered = lower(network, inputs)
    compiled = _Compiler(config, batch, lowered, report or (lambda name: None)).run(network)
    return _checked(compiled, lowered, inputs[:batch]) if check else compiled


def _checked(compiled: CompiledNetwork, lowered: Lowered, inputs: Any) -> CompiledNetwork:
    """Warns where ``inputs``, the first of those that were lowered, are clamped or inaccurate. With their error."""
    runs, names = compiled.run_operations(inputs), [step.name for step in lowered.steps]
    warn_clamped((Clamped(name, run.clamped, run.saturated_blocks, run.blocks) for name, run in zip(names, runs)), 3)
    exact = [step.result.floats[:len(inputs)] for step in lowered.steps]
    found = [run.integers * operation.result.unit for run, operation in zip(runs, compiled.operations)]
    accuracies = [sqnr_db(*pair) for pair in zip(exact, found)]
    warn_inaccurate(zip(names, accuracies), least_sqnr_db(compiled.config.element_width), 3)
    error = float(np.sqrt(np.mean((exact[-1] - found[-1]) ** 2)))
    return replace(compiled, error=error, sqnr_db=accuracies[-1])


class _Compiler:
    """First all operations as one program, which is made once. Where that does not fit, one operation after the other
    is put into the program that is open, as long as it fits there."""

    def __init__(self, config: CoreConfig, batch: int, lowered: Lowered, report: Callable[[str], None]):
        self.config, self.batch, self.lowered, self.report = config, batch, lowered, report
        self.reported: set[int] = set()
        self._begin()

    def _begin(self) -> None:
        given, config = self.lowered.input, self.config
        self.memory = TensorMemory(config, self.batch)
        chosen = Format(config.element_width, least_exponent(given, config.element_width))
        self.source = Stored(self.memory.take(*given.shape), 1.0 if self.lowered.takes_ids else chosen.unit)
        self.stored: dict[int, Stored] = {id(given): self.source}
        self.segments: list[ProgramSegment] = []
        self.operations: list[Operation] = []  # of the segment that is open
        self.open: ProgramSegment | None = None
        self.resources = Resources(config)

    def run(self, network: LoadedNetwork) -> CompiledNetwork:
        try:
            self._each(self._added)
            self.open = _segment(self.config, self.operations, self.resources.setup(), self.memory.end)
            end = self.memory.end + (len(self.open.records.beats) if self.open.records else 0)
            self._close()
        except WingbeatError:
            self._begin()
            self._each(self._operation)
            self._close()
            end = self._stream() if self.config.records else self.memory.end
        return CompiledNetwork(network, self.config, self.memory.batch, tuple(self.segments), self.source,
                               self.stored[id(self.lowered.output)], end)

    def _each(self, build: Callable[[int], Operation]) -> None:
        """Builds every step, gives its result a place and takes back the places nobody needs any more."""
        for number, step in enumerate(self.lowered.steps):
            operation = build(number)
            self.stored[id(step.result)] = operation.result
            for value in {id(value): value for value in (step.source, step.added, *step.operands)}.values():
                if isinstance(value, Value) and value is not self.lowered.input and self._last_use(value) == number:
                    self.memory.release(self.stored[id(value)].tensor)
            if number not in self.reported:
                self.report(step.name)
            self.reported.add(number)

    def _stream(self) -> int:
        """The records of every program behind the tensors, whose end is known now. The end of the memory."""
        end = self.memory.end
        for number, segment in enumerate(self.segments):
            streamed = stream(self.config, segment.tasks, segment.setup, end)
            self.segments[number] = replace(segment, program=streamed.program, records=Records(end, streamed.records))
            end += len(streamed.records)
        return end

    def _last_use(self, value: Value) -> int:
        return max(number for number, step in enumerate(self.lowered.steps)
                   if value is step.source or value is step.added or any(value is each for each in step.operands))

    def _operation(self, number: int) -> Operation:
        """Built into the segment that is open, or into a new one where that is full."""
        before = self.memory.copy()
        try:
            return self._build(number)
        except WingbeatError:
            if not self.operations:
                raise
        self._close()
        self.memory = before
        return self._build(number)

    def _build(self, number: int) -> Operation:
        operation = self._next(number)
        operations = [*self.operations, operation]
        try:
            self.open = _segment(self.config, operations, self.resources.setup(), 0)
        except WingbeatError as fault:
            raise WingbeatError(f"{self.lowered.steps[number].name}: {fault}") from fault
        self.operations = operations
        return operation

    def _added(self, number: int) -> Operation:
        self.operations.append(self._next(number))
        return self.operations[-1]

    def _next(self, number: int) -> Operation:
        start: Start = "warm" if self.operations else "cold"
        return build_operation(self.lowered.steps[number], self.config, self.stored, self.memory, self.resources, start)

    def _close(self) -> None:
        """Ends the open segment. The next gets tables of its own: a step that did not fit may have changed these."""
        assert self.open is not None
        self.segments.append(self.open)
        self.operations, self.resources = [], Resources(self.config)


def _segment(config: CoreConfig, operations: Sequence[Operation], setup: list[SetupWrite], base: int) -> ProgramSegment:
    """One program of ``operations``, whose records, if it has any, stand from beat ``base`` on."""
    tasks = place_sums(config, operations)
    program, beats = _made(config, tasks, setup, base)
    records = Records(base, beats) if config.records else None
    return ProgramSegment(tuple(operations), tuple(tasks), program, setup, records)


def _made(config: CoreConfig, tasks: Sequence[Transfer | SumRows], setup: Sequence[SetupWrite],
          base: int) -> Streamed:
    """The program of ``tasks`` and what it fetches from beat ``base`` on: nothing where the host writes the setup."""
    if config.records:
        return stream(config, tasks, setup, base)
    return Streamed(assemble(config, tasks, setup), np.empty((0, config.memory_elements), dtype=np.int64))


def place_sums(config: CoreConfig, operations: Sequence[Operation]) -> list[Transfer | SumRows]:
    """The tasks of all operations in order, with the sums that an operation needs as early as possible.

    Sums stand behind the task that writes their rows: memory is then read for them while the array works. They also
    stand behind every earlier task that needs sums, because rows of both may share an entry of the table.
    """
    tasks: list[Transfer | SumRows] = []
    for operation in operations:
        free = max((number + 1 for number, task in enumerate(tasks) if _needs_sums(task)), default=0)
        places = [(max(free, _behind(config, tasks, piece)), piece) for piece in operation.sums]
        for place, piece in sorted(places, key=lambda found: -found[0]):
            tasks.insert(place, piece)
        tasks += operation.tasks
    return tasks


def _needs_sums(task: Transfer | SumRows) -> bool:
    return isinstance(task, SumRows) or task.stage.normalise is not None


def _behind(config: CoreConfig, tasks: Sequence[Transfer | SumRows], piece: SumRows) -> int:
    """Place in ``tasks`` that is ``_BEHIND`` blocks behind the last block that writes rows of ``piece``."""
    end = piece.at + piece.rows * piece.read.pitch
    blocks = [number for number, task in enumerate(tasks) if isinstance(task, Transfer)]
    for at in range(len(blocks) - 1, -1, -1):
        task = tasks[blocks[at]]
        assert isinstance(task, Transfer)
        written = written_beats(config, task.stage, task.block)
        if np.any((written >= piece.at) & (written < end)):
            behind = at + 1 + _BEHIND
            return blocks[behind] if behind < len(blocks) else len(tasks)
    return 0
