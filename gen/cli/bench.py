"""The command ``wingbeat bench fabnet-block``: the run, and the table beside what others published."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ..console import out, print_table, progress
from ..cosim.timing import MemoryTiming
from ..explore.fabnet import BlockRun, chain_cycles, run_block
from ..files import write_json
from ..workloads.fabnet import PUBLISHED, BlockShape, vector_multipliers

__all__ = ["bench_block"]


def bench_block(config: CoreConfig, tokens: int, hidden: int, ffn: int, layers: int, memory: str, seed: int,
                json: Path | None) -> int:
    """Measure, print, write ``json``. Returns 0, or 1 when the Verilog differs from the model or the cycle model from
    the Verilog. Raises WingbeatError for sizes that do not fit."""
    shape, timing = BlockShape(tokens, hidden, ffn), MemoryTiming.parse(memory)
    if layers < 1:
        raise WingbeatError(f"--layers: {layers}; allowed are 1 and more")
    with progress("fabnet-block", 3 + (layers > 1)) as step:
        run = run_block(config, shape, timing, seed, report=step)
        first, chain = run.model_cycles, None
        if layers > 1:
            chain = chain_cycles(config, shape, timing, seed, layers, first)
            step("further blocks")
    _print_run(config, shape, timing, run)
    rows = _comparison(config, shape, run.cycles)
    _print_comparison(rows)
    if chain is not None:
        words = " and ".join(map(str, chain.program_words))
        out.print(f"{layers} blocks by the cycle model: {first} + {layers - 1} x {chain.further:.0f} = {chain.cycles} "
                  "cycles; " + (f"weights of their own, fetched in these cycles; the host writes programs of {words} "
                                f"words and {chain.setup_writes} setup words" if config.records else
                                "the same weights; writing the coefficients of a block, "
                                f"{run.setup_writes} setup writes, is not in it"), markup=False)
    if json is not None:
        write_json(json, {"configuration": config.choices(), "shape": asdict(shape), "memory": memory,
                          "seed": seed, "run": asdict(run), "comparison": rows, "layers": layers,
                          "chain": chain and {"first": first, **chain._asdict()}})
    return 0 if run.mismatches == 0 and run.cycles == run.model_cycles else 1


def _print_run(config: CoreConfig, shape: BlockShape, timing: MemoryTiming, run: BlockRun) -> None:
    rate = timing.words_per_cycle or config.stream_words
    out.print(f"one FABNet block on {config.name}: {shape.tokens} tokens, hidden {shape.hidden}, feed-forward "
              f"{shape.ffn}, {config.element_width} bits; memory: {timing.latency} cycles, {rate} words per cycle each "
              "way", markup=False)
    multipliers = config.n_multipliers
    print_table(["operation", "cycles", "blocks"], [(each.name, each.cycles, each.blocks) for each in run.operations])
    out.print(f"{run.cycles} cycles on the simulated Verilog, {run.model_cycles} by the cycle model; {run.mismatches} "
              f"mismatches; SQNR {run.sqnr_db:.1f} dB{'; something was clamped' if run.saturated else ''}; utilisation "
              f"{shape.useful / (multipliers * run.cycles):.4f}", markup=False)


def _comparison(config: CoreConfig, shape: BlockShape, cycles: int) -> list[dict[str, Any]]:
    """Ours, and the published ones where the block is theirs. Cycles are also scaled to our array's multipliers."""
    ours, every = config.n_multipliers, config.n_multipliers + vector_multipliers(config)
    rows: list[dict[str, Any]] = [{
        "system": f"wingbeat {config.name}", "multipliers": ours, "cycles": cycles, "equal_cycles": cycles,
        "every_multiplier": every, "multiplier_cycles": every * cycles, "ratio": 1.0, "multiplier_ratio": 1.0,
        "counts": "LayerNorm, GELU, residuals, bias, memory; every multiplier of array and vector unit"}]
    if shape != BlockShape():
        return rows
    for other in PUBLISHED:
        for at in dict.fromkeys((other.least_cycles, other.most_cycles)):
            equal = at * other.multipliers // ours
            rows.append({"system": other.name, "multipliers": other.multipliers, "cycles": at, "equal_cycles": equal,
                         "every_multiplier": other.multipliers, "multiplier_cycles": at * other.multipliers,
                         "ratio": equal / cycles, "multiplier_ratio": at * other.multipliers / (every * cycles),
                         "counts": other.counts})
    return rows


def _print_comparison(rows: list[dict[str, Any]]) -> None:
    ours = rows[0]["multipliers"]
    print_table(["system", "array multipliers", "cycles", f"cycles with {ours}", "ours is faster by",
                 "all multipliers", "multiplier cycles", "ours needs less by"],
                [(row["system"], row["multipliers"], row["cycles"], row["equal_cycles"], f"{row['ratio']:.2f}",
                  row["every_multiplier"], row["multiplier_cycles"], f"{row['multiplier_ratio']:.2f}")
                 for row in rows])
    for name, counts in dict.fromkeys((row["system"], row["counts"]) for row in rows):
        out.print(f"{name} counts {counts}", markup=False)
