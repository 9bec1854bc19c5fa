"""FABNet blocks measured: on the simulated Verilog, and further ones by the cycle model."""

from collections.abc import Callable
from dataclasses import dataclass

from ...hw.config import CoreConfig
from ...sim.reference.metrics import sqnr_db
from ..compiler.network.reference import forward
from ..cosim.core import Core
from ..cosim.network import OperationCycles, predict_network, simulate_network
from ..cosim.timing import MemoryTiming
from ..workloads.fabnet import BlockShape, compile_block

__all__ = ["BlockRun", "run_block", "further_cycles"]


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


def further_cycles(config: CoreConfig, shape: BlockShape, timing: MemoryTiming, seed: int, first: int) -> int:
    """Cycles of each further block behind one that takes ``first`` alone, by the cycle model.

    The sums of rows that a block needs are made while the one before stores them. The weights of all blocks are the
    same, so what it takes to write coefficients is not in it.
    """
    two, _ = compile_block(config, shape, 2, seed)
    return sum(each.total for each in predict_network(two, timing)) - first
