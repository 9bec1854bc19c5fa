"""Workloads of an exploration: what they cost in cycles, by the cycle model and on the generated Verilog.

Cycles are those of a row of a kernel of one size, in steady state as `wingbeat bench kernels` has it; of an operation
from its start to its end; of an input of a network, as its part of a batch. They do not depend on the numbers.
"""

from functools import lru_cache
import hashlib
import os
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....sim.cycles.estimate import estimate as estimate_cycles
from ....sim.cycles.memory import MemorySpeed
from ...compiler.kernel.sparse import Pattern
from ...compiler.network.compile import CompiledNetwork, compile_network, default_batch
from ...compiler.network.inputs import random_inputs
from ...compiler.network.load import LoadedNetwork, load_network
from ...cosim.core import Core
from ...cosim.network import predict_network, simulate_network
from ...cosim.timing import MemoryTiming
from ...presets.select import on_native
from ...workloads.kernels import ArrayWorkload, Workload
from ...workloads.shipped import TASKS, load_dataset
from ..measure import (KERNELS, PROGRAMS, OperationSize, array_workloads, bench_kernels, bench_processor, workloads)

__all__ = ["KernelWork", "NetworkWork", "Simulated"]

_SIZES = {"bpmm": {"points"}, "fft": {"points"},
          "fft2-real": {"tokens", "hidden"}, "ffn": {"tokens", "hidden", "expand"},
          "dense": {"tokens", "inputs", "outputs"}, "nm": {"tokens", "inputs", "outputs", "pattern"},
          "attention": {"tokens", "heads", "features", "causal"}}
_SEED = 1
_CALIBRATION = 32  # inputs, as many as the largest batch; more of them change no cycle


class Simulated(NamedTuple):
    """A run on the generated Verilog: cycles for each item, and elements that differ from the integer model."""

    cycles: float
    mismatches: int


def _memory(text: str) -> str:
    MemoryTiming.parse(text)
    return text


def _pattern(text: str) -> str:
    Pattern.parse(text)
    return text


Size = Annotated[int, Field(ge=1, le=1 << 16)]


class _Work(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    memory: Annotated[str, AfterValidator(_memory)] = "ideal"

    @property
    def timing(self) -> MemoryTiming:
        return MemoryTiming.parse(self.memory)

    @property
    def speed(self) -> MemorySpeed:
        return MemorySpeed(self.timing.latency, self.timing.words_per_cycle)

    def plain(self) -> dict[str, Any]:
        """The workload for another process."""
        return self.model_dump(exclude_unset=True)

    def facts(self) -> dict[str, Any]:
        """What the cycles depend on besides the configuration."""
        return self.model_dump()


class KernelWork(_Work):
    """A kernel of `wingbeat bench kernels` with the sizes that it has."""

    kernel: str
    points: Size = 1024
    tokens: Size = OperationSize.tokens
    hidden: Size = OperationSize.hidden
    expand: Size = OperationSize.expand
    inputs: Size = OperationSize.inputs
    outputs: Size = OperationSize.outputs
    pattern: Annotated[str, AfterValidator(_pattern)] = OperationSize.pattern
    heads: Size = OperationSize.heads
    features: Size = OperationSize.features
    causal: bool = OperationSize.causal

    @model_validator(mode="after")
    def _sizes_are_used(self) -> "KernelWork":
        if self.kernel not in _SIZES:
            raise ValueError(f"{self.kernel!r} is no kernel; allowed are {', '.join((*KERNELS, *PROGRAMS))}")
        unused = sorted(self.model_fields_set - _SIZES[self.kernel] - {"kernel", "memory"})
        if unused:
            raise ValueError(f"{unused[0]} is no size of {self.kernel}; allowed are "
                             f"{', '.join(sorted(_SIZES[self.kernel]))}")
        if "points" in _SIZES[self.kernel] and (self.points < 2 or self.points & self.points - 1):
            raise ValueError(f"points: {self.points}; allowed are powers of two from 2 on")
        return self

    def model_cycles(self, config: CoreConfig) -> float:
        """By the cycle model. Raises WingbeatError where the kernel does not fit."""
        work = self._on(config)
        if isinstance(work, Workload):
            found = estimate_cycles(config, work.program.instructions, work.program.setup, self.speed,
                                    image=work.memory)
            first = work.rows * work.first_useful // work.useful
        else:
            (job,) = work.kernel.jobs(work.x)
            found, first = estimate_cycles(config, job.program), work.kernel.rows_per_block
        if self.kernel not in KERNELS:
            return float(found.total)
        rows = work.rows if isinstance(work, Workload) else len(work.x)
        return (found.block_out[-1] - found.block_out[0]) / (rows - first)  # the first block fills the pipeline

    def simulate(self, config: CoreConfig) -> Simulated:
        """On the generated Verilog. Raises as :meth:`model_cycles`, and SimulatorError."""
        work = self._on(config)
        if isinstance(work, Workload):
            [row] = bench_processor(config, [work], timing=self.timing)
        else:
            [row] = bench_kernels(config, [self.points], [self.kernel], seed=_SEED)
        return Simulated(row["cycles"] / (row["rows"] if self.kernel in KERNELS else 1), row["mismatches"])

    def _on(self, config: CoreConfig) -> Workload | ArrayWorkload:
        on_native(config)
        if config.is_processor:
            size = OperationSize(**{name: getattr(self, name) for name in OperationSize.__dataclass_fields__
                                    if name in type(self).model_fields})
            [work] = workloads(config, [self.kernel], [self.points], size, seed=_SEED)
            return work
        if self.kernel not in KERNELS or self.memory != "ideal":
            raise WingbeatError(f"{self.kernel}, memory {self.memory}: {config.name} has no [memory]; allowed are "
                                f"{', '.join(KERNELS)} without a memory, or a processor")
        if self.points > 1 << config.largest_n:
            raise WingbeatError(f"points: {self.points}; allowed are 2..{1 << config.largest_n} on {config.name}")
        [array_work] = array_workloads(config, [self.kernel], [self.points], seed=_SEED)
        return array_work

class NetworkWork(_Work):
    """A network: one that is shipped, or a network file with its checkpoint. ``batch``: inputs at once, else as many as
    the compiler takes."""

    network: str
    checkpoint: str | None = None
    batch: Annotated[int, Field(ge=1, le=_CALIBRATION)] | None = None

    @model_validator(mode="after")
    def _is_there(self) -> "NetworkWork":
        if (self.checkpoint is not None) != self.network.endswith(".toml"):
            raise ValueError(f"network: {self.network!r} with checkpoint {self.checkpoint!r}; allowed are the name of "
                             "a shipped network, or a file NET.toml and its checkpoint")
        if self.checkpoint is None and self.network not in TASKS:
            raise ValueError(f"network: {self.network!r} is not one of {', '.join(TASKS)}")
        if self.batch is not None and self.batch & self.batch - 1:
            raise ValueError(f"batch: {self.batch}; allowed are powers of two")
        return self

    def plain(self) -> dict[str, Any]:
        """With paths that do not depend on where the process stands."""
        files = {} if self.checkpoint is None else {"network": os.path.abspath(self.network),
                                                    "checkpoint": os.path.abspath(self.checkpoint)}
        return {**super().plain(), **files}

    def facts(self) -> dict[str, Any]:
        """Files count by what is in them."""
        facts = self.model_dump()
        if self.checkpoint is not None:
            facts |= {"network": _digest(self.network), "checkpoint": _digest(self.checkpoint)}
        return facts

    def model_cycles(self, config: CoreConfig) -> float:
        """By the cycle model. Raises WingbeatError where the network does not fit."""
        compiled = self._compiled(config)
        return sum(each.total for each in predict_network(compiled, self.timing)) / compiled.batch

    def simulate(self, config: CoreConfig) -> Simulated:
        """One batch on the generated Verilog. Raises as :meth:`model_cycles`, and SimulatorError."""
        compiled = self._compiled(config)
        _, inputs = self._loaded()
        run = simulate_network(compiled, Core(config).build(), inputs[:compiled.batch], self.timing)
        return Simulated(run.cycles / compiled.batch, run.mismatches)

    def _loaded(self) -> tuple[LoadedNetwork, Any]:
        facts = self.facts()
        return _load(self.network, self.checkpoint, facts["network"], facts["checkpoint"])

    def _compiled(self, config: CoreConfig) -> CompiledNetwork:
        network, inputs = self._loaded()
        batch = self.batch or default_batch(network, config)
        return compile_network(network, on_native(config), inputs, batch, check=False)


@lru_cache(maxsize=8)
def _load(network: str, checkpoint: str | None, *digests: str | None) -> tuple[LoadedNetwork, Any]:
    """A network, and inputs for it; ``digests`` of its files, so that changed ones are read again."""
    if checkpoint is not None:
        loaded = load_network(Path(network), Path(checkpoint))
        return loaded, random_inputs(loaded, _CALIBRATION, _SEED)
    task = load_dataset(network)
    return task.network, task.calibration[:_CALIBRATION]


def _digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise WingbeatError(f"network: {path!r} cannot be read: {error.strerror}") from error
