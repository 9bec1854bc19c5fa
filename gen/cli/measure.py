"""The commands ``wingbeat bench ...``: cycles and accuracy."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ...hw.errors import WingbeatError
from ..compiler.kernel.passes import Scaling
from ..console import JsonOption, file_option, out, print_table, progress
from ..presets.select import on_native
from .options import (CausalOption, ConfigOption, ExpandOption, FeaturesOption, HeadsOption, HiddenOption,
                      InputsOption, KeyHeadsOption, LengthOption, MemoryOption, OutputsOption, PatternOption,
                      PresetOption, SetOption, SizesOption, TokensOption, integers, print_rows, refuse_unused_sizes,
                      save_json, seed_option, select_config, sizes_of)

__all__ = ["bench"]

bench = typer.Typer(help="Measure cycles and accuracy.")


@bench.command("kernels")
def bench_kernels(context: typer.Context, preset: PresetOption = None, config: ConfigOption = None,
                  settings: SetOption = None,
                  sizes: SizesOption = None,
                  kernel: Annotated[list[str] | None, typer.Option(
                      help="bpmm or fft, else both; fft2-real, ffn, dense or nm on a processor")] = None,
                  blocks: Annotated[int, typer.Option(help="blocks per run, the first is not counted")] = 4,
                  scaling: Annotated[Scaling, typer.Option(help="of the layers")] = "static",
                  memory: MemoryOption = None,
                  tokens: TokensOption = 1024, hidden: HiddenOption = 1024, expand: ExpandOption = 4,
                  inputs: InputsOption = 1024, outputs: OutputsOption = 1024, pattern: PatternOption = "2:4",
                  seed: Annotated[int, seed_option("draws weights and data")] = 1,
                  json_file: JsonOption = None) -> int:
    """Cycles, utilisation and SQNR of kernels on the simulated Verilog: of single transforms in steady state, of
    fft2-real and ffn from start to end. Exit code 1 if a word differs from the model."""
    chosen = on_native(select_config(preset, config, settings))
    from ..explore.measure import KERNELS, PROGRAMS, OperationSize, bench_kernels as measure, bench_processor, workloads
    from ..cosim.timing import MemoryTiming
    kernels = tuple(kernel or KERNELS)
    if "attention" in kernels:
        raise WingbeatError("--kernel: 'attention' is measured by `wingbeat bench attention`; allowed are bpmm, fft, "
                            "fft2-real, ffn, dense and nm")
    refuse_unused_sizes(context, kernels)
    from_memory = chosen.is_processor or memory is not None or bool(set(kernels) & set(PROGRAMS))
    points = sizes_of(chosen, sizes)
    if from_memory:
        timing = MemoryTiming.parse(memory or "ideal")
        shape = OperationSize(tokens, hidden, expand, inputs, outputs, pattern)
        work = workloads(chosen, kernels, points, shape, blocks=blocks, scaling=scaling, seed=seed)
        with progress("bench", 1 + len(work)) as step:
            rows = bench_processor(chosen, work, timing=timing, report=step)
    else:
        with progress("bench", 1 + len(points) * len(kernels)) as step:
            rows = measure(chosen, points, kernels, blocks=blocks, scaling=scaling, seed=seed, report=step)
    save_json(json_file, rows)
    print_rows(rows, 4)
    return 1 if any(row["mismatches"] for row in rows) else 0


@bench.command("attention")
def bench_softmax(preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
                  tokens: Annotated[int, typer.Option(metavar="N", help="queries, and as many keys")] = 256,
                  heads: HeadsOption = 12, features: FeaturesOption = 64, causal: CausalOption = False,
                  key_heads: KeyHeadsOption = None, length: LengthOption = None,
                  window: Annotated[int | None, typer.Option(metavar="W", help="how far a token sees")] = None,
                  alibi: Annotated[bool, typer.Option("--alibi", help="logits fall with distance")] = False,
                  search: Annotated[bool, typer.Option("--search", help="all tiles on the cycle model")] = False,
                  model: Annotated[bool, typer.Option("--model", help="the cycle model alone")] = False,
                  tiles: Annotated[str | None, typer.Option(
                      metavar="R,K", help="rows of a block, keys of a chunk, else as the compiler chooses")] = None,
                  memory: MemoryOption = None,
                  seed: Annotated[int, seed_option("draws queries, keys and values")] = 1,
                  json_file: JsonOption = None) -> int:
    """Softmax attention on the simulated Verilog, the transposes of its values included; with --search its tiles
    side by side. Exit code 1 if an element differs from the integer model, or the cycles from the cycle model."""
    chosen = on_native(select_config(preset, config, settings))
    from ..cosim.timing import MemoryTiming
    from ..explore.attention import bench_attention, count_tiles, search_granularity
    from ..workloads.kernels import AttentionSize
    size = AttentionSize(tokens, heads, features, causal, window, key_heads, length, alibi).checked()
    timing = MemoryTiming.parse(memory or "delay:40,12")
    wanted = integers("--tiles", tiles) if tiles else ()
    if wanted and (search or len(wanted) != 2):
        raise WingbeatError(f"--tiles: {tiles}; allowed are two numbers, without --search")
    if search:
        with progress("attention", count_tiles(chosen, size)) as step:
            table = search_granularity(chosen, size, timing, seed, report=step)
        save_json(json_file, [asdict(point) for point in table])
        print_rows([asdict(point) for point in table], 4)
        return 0
    with progress("attention", 1 if model else 3) as step:
        figures = bench_attention(chosen, size, timing, seed, tiles=(wanted[0], wanted[1]) if wanted else None,
                                  simulator=None if model else "verilator", report=step)
    save_json(json_file, asdict(figures))
    for name, value in asdict(figures).items():
        out.print(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}", markup=False)
    return 1 if figures.mismatches or figures.cycles not in (None, figures.model_cycles) else 0


@bench.command("networks")
def bench_networks(names: Annotated[list[str], typer.Argument(metavar="NAME...", help="shipped networks")],
                   preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
                   images: Annotated[int, typer.Option(help="held-out inputs of each")] = 32,
                   memory: MemoryOption = None, json_file: JsonOption = None) -> int:
    """Networks side by side on one simulated processor: multiplications, cycles, memory traffic, accuracy. Exit code 1
    if an element differs from the integer model."""
    chosen = on_native(select_config(preset, config, settings))
    from ..cosim.timing import MemoryTiming
    from ..explore.compare import compare_networks
    with progress("bench", 1 + len(names)) as step:
        found = compare_networks(names, chosen, images, MemoryTiming.parse(memory or "ideal"), report=step)
    rows = [asdict(each) for each in found]
    save_json(json_file, rows)
    print_rows(rows, 4)
    return 1 if any(row["mismatches"] for row in rows) else 0


@bench.command("fabnet-block")
def bench_fabnet(preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
                 tokens: Annotated[int, typer.Option(metavar="T", help="tokens of the input")] = 1024,
                 hidden: Annotated[int, typer.Option(metavar="H", help="features of a token")] = 1024,
                 ffn: Annotated[int, typer.Option(metavar="F", help="features inside the feed-forward network")] = 4096,
                 layers: Annotated[int, typer.Option(help="blocks, those behind the first by the cycle model")] = 1,
                 memory: MemoryOption = None,
                 seed: Annotated[int, seed_option("draws weights and data")] = 1,
                 json_file: JsonOption = None) -> int:
    """One complete FABNet block on the simulated Verilog, beside what others published. Exit code 1 if an element
    differs from the integer model."""
    chosen = on_native(select_config(preset, config, settings))
    from .bench import bench_block
    return bench_block(chosen, tokens, hidden, ffn, layers, memory or "delay:40,12", seed, json_file)


@bench.command("sensitivity")
def bench_sensitivity(preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
                      points: Annotated[int, typer.Option(metavar="N", help="points per row")] = 1024,
                      kernel: Annotated[list[str] | None, typer.Option(help="bpmm or fft, else both")] = None,
                      words: Annotated[str | None, typer.Option(metavar="1,2", help="per cycle, each way")] = None,
                      latencies: Annotated[str | None, typer.Option(metavar="1,50", help="of the memory")] = None,
                      seed: Annotated[int, seed_option("draws weights and data")] = 1,
                      plot_file: Annotated[Path | None, file_option("--plot", "FILE.svg", "curves, a picture")] = None,
                      json_file: JsonOption = None) -> None:
    """Utilisation of a processor against words per cycle and latency of its memory, on the simulated Verilog."""
    chosen = on_native(select_config(preset, config, settings))
    from ..explore.measure import KERNELS
    from ..explore.sensitivity import LATENCIES, WORDS, measure_sensitivity, plot
    rates = integers("--words", words) if words else WORDS
    waits = integers("--latencies", latencies) if latencies else LATENCIES
    kernels = tuple(kernel or KERNELS)
    with progress("sensitivity", 1 + len(kernels) * len(rates) * len(waits)) as step:
        rows = measure_sensitivity(chosen, kernels, points, words=rates, latencies=waits, seed=seed, report=step)
    save_json(json_file, rows)
    if plot_file is not None:
        plot(rows, plot_file, f"{chosen.name}: {chosen.n_multipliers} multipliers")
    for name in kernels:
        print_table([f"{name} {points}, words per cycle", *(f"latency {wait}" for wait in waits)],
                    [[rate, *(f"{row['utilisation']:.4f}" for row in rows
                              if row["kernel"] == name and row["words_per_cycle"] == rate)] for rate in rates])


@bench.command("inputs")
def bench_inputs(preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
                 seed: Annotated[int, seed_option("draws weights and data")] = 0,
                 json_file: JsonOption = None) -> None:
    """SQNR of layers and shipped networks for every class of inputs, and what was warned of."""
    chosen = select_config(preset, config, settings)
    from ..explore.input_classes import LAYERS, NETWORKS, class_table
    with progress("inputs", len(LAYERS + NETWORKS)) as step:
        table = class_table(chosen, seed=seed, report=step)
    found = [asdict(row) for row in table]
    save_json(json_file, found)
    print_rows(found, 1)


@bench.command("accuracy")
def bench_accuracy(preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
                   points: Annotated[int, typer.Option(metavar="N", help="points per row")] = 1024,
                   rows: Annotated[int, typer.Option(help="rows measured")] = 512,
                   seed: Annotated[int, seed_option("draws weights and data")] = 0,
                   json_file: JsonOption = None) -> None:
    """SQNR of both kernels, every scaling policy and kind of signal on the integer model."""
    chosen = select_config(preset, config, settings)
    from ..explore.accuracy import KERNELS, SCALINGS, accuracy_table
    table = []
    with progress("accuracy", len(KERNELS) * len(SCALINGS)) as step:
        for name in KERNELS:
            for scaling in SCALINGS:
                table += accuracy_table(chosen, points, rows=rows, seed=seed, kernels=(name,),
                                        scalings=(scaling,))
                step(f"{name} {scaling}")
    found = [asdict(row) for row in table]
    save_json(json_file, found)
    print_rows(found, 1)
