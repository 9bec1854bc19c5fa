"""Softmax attention alone: cycles and accuracy on the simulated Verilog, and the search for its granularity.

After Kao et al., FLAT (arXiv 2107.06419): how many rows stay on chip, and how many keys pass at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ...sim.cycles.estimate import estimate
from ...sim.cycles.memory import MemorySpeed
from ...sim.reference.metrics import sqnr_db
from ..compiler.program.granularity import Granularity, Tiles
from ..cosim.core import Core
from ..cosim.timing import MemoryTiming
from ..workloads.kernels import AttentionSize, Workload, attention_workload
from .measure import run_mismatches, run_workload

__all__ = ["AttentionFigures", "GranularityPoint", "bench_attention", "count_tiles", "search_granularity"]


@dataclass(frozen=True)
class AttentionFigures:
    """What one attention did, from the start of its program to its end, the transposes of its values included.

    ``useful_multiplier_cycles``: a multiplication for each feature of each query and each key that counts, twice;
    ``computed_multiplier_cycles``: of all keys of the tiles that are multiplied, those that do not count included. Both
    through multipliers times ``cycles``: ``utilisation``, ``computed_utilisation``. Words, two elements each, are those
    of the memory; ``mismatches``: elements of the memory that differ from the integer model. Where nothing was
    simulated, ``model_cycles`` stand for ``cycles`` in both, and what only a run tells is None.
    """

    tokens: int
    head_features: int
    heads: int
    key_heads: int | None
    causal: bool
    window: int | None
    length: int | None
    rows_of_block: int
    keys_of_chunk: int
    multipliers: int
    cycles: int | None
    model_cycles: int
    useful_multiplier_cycles: int
    utilisation: float
    computed_multiplier_cycles: int
    computed_utilisation: float
    words_read: int | None
    words_written: int | None
    sqnr_db: float | None
    mismatches: int | None


@dataclass(frozen=True)
class GranularityPoint:
    """Tiles, and what they cost: ``granularity`` is "H" where a block holds all queries and a chunk all keys of a head,
    "R" (rows) where not; inputs (B, M) never share a block. ``on_chip``, elements; ``traffic``: elements read and
    written a multiplication that counts; ``estimated`` cycles are those of the formula that chooses."""

    granularity: str
    rows_of_block: int
    keys_of_chunk: int
    on_chip: int
    traffic: float
    estimated: int
    cycles: int
    chosen: bool


def bench_attention(config: CoreConfig, size: AttentionSize, timing: MemoryTiming, seed: int, *,
                    tiles: tuple[int, int] | None = None, simulator: str | None = "verilator",
                    report: Callable[[str], None] | None = None) -> AttentionFigures:
    """Run attention of ``size`` on the simulated Verilog of ``config``, without a ``simulator`` on the cycle model
    alone; ``tiles``: rows of a block and keys of a chunk, where the compiler shall not choose; ``report`` is called
    after the cycle model, the build and the run. Raises WingbeatError for what does not fit."""
    step = report or (lambda name: None)
    grain = _granularity(config, size)
    chosen = grain.best(float(timing.words_per_cycle))
    if tiles:
        chosen = _tiles(grain, tiles)
    workload = _workload(config, size, timing, seed, chosen)
    predicted = _model_cycles(workload, timing)
    step("cycle model")
    run = None
    if simulator is not None:
        build = Core(config).build(simulator)
        step("build")
        run = run_workload(build, workload, timing)
        step("run")
    cycles, computed = run.counters.total if run else predicted, _computed(grain, chosen)
    return AttentionFigures(
        size.tokens, size.head_features, size.heads, size.key_heads, size.causal, size.window, size.length,
        grain.rows_of_block(chosen.row_bits), chosen.keys, config.n_multipliers, cycles if run else None, predicted,
        workload.useful, workload.useful / (config.n_multipliers * cycles),
        computed, computed / (config.n_multipliers * cycles),
        run.reads * config.stream_words if run else None, run.writes * config.stream_words if run else None,
        sqnr_db(workload.reference, workload.result(run.data)) if run else None,
        run_mismatches(workload, run) if run else None)


def search_granularity(config: CoreConfig, size: AttentionSize, timing: MemoryTiming, seed: int, *,
                       report: Callable[[str], None] | None = None) -> list[GranularityPoint]:
    """All tiles of ``size`` on the cycle model, the fastest first; ``report`` is called with a
    line after each. Raises WingbeatError for what does not fit."""
    step = report or (lambda name: None)
    grain, rate, found = _granularity(config, size), float(timing.words_per_cycle), []
    best = grain.best(rate)
    for tiles in grain.choices():
        workload = _workload(config, size, timing, seed, tiles)
        rows = grain.rows_of_block(tiles.row_bits)
        is_whole = rows >= size.tokens and tiles.keys >= grain.padded
        found.append(GranularityPoint(
            "H" if is_whole else "R", rows, tiles.keys, grain.footprint(tiles),
            grain.traffic(tiles) / workload.useful, round(grain.cycles(tiles, rate)), _model_cycles(workload, timing),
            tiles == best))
        step(f"{rows} x {tiles.keys}")
    return sorted(found, key=lambda point: (point.cycles, point.traffic))


def count_tiles(config: CoreConfig, size: AttentionSize) -> int:
    """Of :func:`search_granularity`."""
    return len(list(_granularity(config, size).choices()))


def _granularity(config: CoreConfig, size: AttentionSize) -> Granularity:
    size.checked()
    return Granularity(config, size.heads, size.head_features, size.tokens, size.tokens, size.counts(config))


def _tiles(grain: Granularity, wanted: tuple[int, int]) -> Tiles:
    """Those of ``wanted`` rows of a block and keys of a chunk."""
    found = {(grain.rows_of_block(tiles.row_bits), tiles.keys): tiles for tiles in grain.choices()}
    if wanted not in found:
        raise WingbeatError(f"--tiles: {_pair(wanted)}; allowed are {'; '.join(map(_pair, found))}")
    return found[wanted]


def _pair(tiles: tuple[int, int]) -> str:
    return f"{tiles[0]},{tiles[1]}"


def _workload(config: CoreConfig, size: AttentionSize, timing: MemoryTiming, seed: int, tiles: Tiles) -> Workload:
    return attention_workload(config, size, seed, tiles, float(timing.words_per_cycle))


def _computed(grain: Granularity, tiles: Tiles) -> int:
    """Multiplications of all keys of the tiles."""
    pairs = sum(grain.rows_of_block(bits) * keys for first, rows, bits in grain.blocks(tiles)
                for _, keys in grain.chunks(first, rows, tiles.keys))
    return 2 * pairs * grain.features * grain.heads


def _model_cycles(workload: Workload, timing: MemoryTiming) -> int:
    return estimate(workload.config, workload.program.instructions, workload.program.setup,
                    MemorySpeed(timing.latency, timing.words_per_cycle), image=workload.memory).total
