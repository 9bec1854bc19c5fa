"""FABNet blocks measured: on the simulated Verilog, and further ones by the cycle model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ...hw.config import CoreConfig
from ...hw.isa.encoding import INSTRUCTION_WORDS
from ...sim.reference.metrics import sqnr_db
from ..compiler.network.reference import forward
from ..cosim.core import Core
from ..cosim.network import OperationCycles, predict_network, simulate_network
from ..cosim.timing import MemoryTiming
from ..workloads.fabnet import BlockShape, compile_block

__all__ = ["BlockRun", "Chain", "run_block", "chain_cycles"]


@dataclass(frozen=True)
class BlockRun:
    """A block on the simulated Verilog.

    ``cycles``: counted by the hardware, from an input in memory to the result there; ``model_cycles``: by the cycle
    model. ``mismatches``: elements of the memory that differ from the integer model. ``sqnr_db``: of the result against
    float64 of the same input.
    """

    cycles: int
    model_cycles: int
    mismatches: int
    saturated: bool
    sqnr_db: float
    operations: list[OperationCycles]
    setup_writes: int


def run_block(config: CoreConfig, shape: BlockShape, timing: MemoryTiming, seed: int, *,
              simulator: str = "verilator", report: Callable[[str], None] | None = None) -> BlockRun:
    """Compile, simulate, compare. Raises WingbeatError, or SimulatorError when the simulator fails."""
    step = report or (lambda name: None)
    compiled, x = compile_block(config, shape, 1, seed)
    step("compile")
    build = Core(config).build(simulator)
    step("build")
    run = simulate_network(compiled, build, x, timing, report=step)
    return BlockRun(run.cycles, sum(each.total for each in run.model_cycles), run.mismatches, run.saturated,
                    sqnr_db(forward(compiled.network, x)[-1][1], run.results), run.operations,
                    sum(len(segment.program.setup) for segment in compiled.segments))


class Chain(NamedTuple):
    """``blocks`` blocks one behind the other: cycles of all of them by the cycle model, of each behind the first one,
    setup words that the host writes, words of the programs."""

    blocks: int
    cycles: int
    further: float
    setup_writes: int
    program_words: list[int]


def chain_cycles(config: CoreConfig, shape: BlockShape, timing: MemoryTiming, seed: int, blocks: int,
                 first: int) -> Chain:
    """``blocks`` blocks, at least two, of which one alone takes ``first`` cycles.

    The sums of rows that a block needs are made while the one before stores them. With records every block has weights
    of its own, and all blocks are looked at. Where the host writes the setup all have the same weights, what it takes
    to write them is not in the cycles, and what the second block adds stands for each further one.
    """
    made = blocks if config.records else 2
    compiled, _ = compile_block(config, shape, made, seed)
    found = sum(each.total for each in predict_network(compiled, timing))
    further = (found - first) / (made - 1)
    return Chain(blocks, found if made == blocks else first + (blocks - 1) * round(further), further,
                 sum(len(segment.program.setup) for segment in compiled.segments),
                 [INSTRUCTION_WORDS * len(segment.program.instructions) for segment in compiled.segments])
