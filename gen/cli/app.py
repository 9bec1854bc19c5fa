"""The command ``wingbeat``.

Every command does its work in a function of another module that knows nothing of the command line; modules
that pull in Amaranth or a simulator are imported when their command runs. Input that is refused ends in
:func:`main`: one line per fault on standard error, exit code 2, nothing written.

Packages above this one add their commands through the entry-point group ``wingbeat.commands``
(docs/decisions/0001-commands-as-entry-points.md).
"""

from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any
import warnings

from pydantic import ValidationError
import typer
from typer.exceptions import TyperException

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ..compiler.kernel.passes import Scaling
from ..console import JsonOption, err, file_option, out, print_table, progress, refuse_unused
from ..faults import config_faults, one_line
from ..files import kept_folder, output_folder
from ..presets import select as configurations
from .measure import bench
from .options import (CausalOption, ConfigOption, ExpandOption, FeaturesOption, HeadsOption, HiddenOption, InputsOption,
                      KeyHeadsOption, LengthOption, MemoryOption, OutputsOption, PatternOption, PresetOption, SetOption,
                      SizesOption, TokensOption, integers, refuse_unused_sizes, save_json, seed_option, select_config,
                      sizes_of)

__all__ = ["app", "main"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Generate, simulate and measure butterfly arrays.")
app.add_typer(bench, name="bench")

@app.command()
def presets(json_file: JsonOption = None) -> None:
    """List the presets, smallest first."""
    rows = []
    for name in configurations.names():
        config = configurations.load_preset(name)
        rows.append({"preset": name, "multipliers": config.n_multipliers, "engines": config.engines,
                     "layers": config.layers, "width": config.width, "largest_points": 1 << config.largest_n,
                     "stream_words": config.stream_words, "target": config.target.value,
                     "description": configurations.description(name)})
    save_json(json_file, rows)
    print_table(list(rows[0]), [list(row.values()) for row in rows])


@app.command()
def generate(output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="folder to write")],
             preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
             json_file: JsonOption = None) -> None:
    """Write Verilog, manifest, test bench and README of one array."""
    chosen = select_config(preset, config, settings)
    from ..output.core_folder import generate as write_folder
    facts = write_folder(chosen, output)
    save_json(json_file, facts)
    _print_facts(chosen, output)


def _print_facts(config: CoreConfig, folder: Path) -> None:
    """What was made, and whether full-size transforms keep it busy."""
    n = config.largest_n
    need = config.words_per_cycle_needed(n)
    rows = [("folder", folder), ("multipliers", config.n_multipliers),
            ("pipeline latency", f"{config.pipeline_latency} cycles"),
            ("largest transform", f"{1 << n} points"),
            ("bubbles between its passes", "none" if config.zero_bubble(n) else "some"),
            ("stream words it needs", f"{need:.1f} per cycle; there are {config.stream_words}")]
    for name, value in rows:
        out.print(f"{name}: {value}", markup=False)


@app.command()
def simulate(context: typer.Context, preset: PresetOption = None, config: ConfigOption = None,
             settings: SetOption = None,
             simulator: Annotated[str, typer.Option(help="verilator or icarus")] = "verilator",
             kernel: Annotated[list[str] | None, typer.Option(
                 help="of a processor, instead of small programs: bpmm, fft, fft2-real, ffn, dense, nm or "
                      "attention")] = None,
             sizes: SizesOption = None, tokens: TokensOption = 1024, hidden: HiddenOption = 1024,
             expand: ExpandOption = 4, inputs: InputsOption = 1024,
             outputs: OutputsOption = 1024, pattern: PatternOption = "2:4",
             heads: HeadsOption = 1, features: FeaturesOption = 64, causal: CausalOption = False,
             key_heads: KeyHeadsOption = None, length: LengthOption = None,
             memory: MemoryOption = None,
             trace: Annotated[Path | None, typer.Option(metavar="DIR", help="of a processor: timelines of its units, "
                                                                            "SVG and HTML")] = None,
             vcd: Annotated[Path | None, file_option("--vcd", "FILE", "of a processor: waves")] = None,
             scaling: Annotated[Scaling, typer.Option(help="of the layers")] = "static",
             seed: Annotated[int, seed_option("draws weights, data and stalls")] = 1,
             json_file: JsonOption = None) -> int:
    """Run small kernels on the simulated Verilog against the model, under all stalls. Exit code 1 if they
    differ."""
    chosen = select_config(preset, config, settings)
    for name, value in (("--kernel", kernel), ("--memory", memory), ("--trace", trace), ("--vcd", vcd)):
        if value is not None and not chosen.is_processor:
            raise WingbeatError(f"{name}: {chosen.name} has no [memory]; allowed with a processor only")
    if kernel:
        refuse_unused_sizes(context, kernel)
    else:
        refuse_unused(context, "with --kernel", "sizes", "tokens", "hidden", "expand", "inputs", "outputs", "pattern",
                      "heads", "features", "causal", "key_heads", "length", "scaling")
    from ..explore.measure import OperationSize, workloads
    from ..cosim.timing import MemoryTiming
    from .simulate import check_core
    shape = OperationSize(tokens, hidden, expand, inputs, outputs, pattern, heads, features, causal, key_heads,
                          length)
    work = workloads(chosen, kernel, sizes_of(chosen, sizes), shape, scaling=scaling, seed=seed) if kernel else []
    timing = MemoryTiming.parse(memory or "ideal") if memory or work else None
    with kept_folder(trace, "--trace") as folder, progress("simulate", 3) as step:
        runs = check_core(chosen, work, timing, simulator=simulator, seed=seed, trace=folder, vcd=vcd, report=step)
    save_json(json_file, {"configuration": chosen.choices(), "simulator": simulator, "seed": seed,
                      "runs": runs})
    print_table(list(runs[0]), [list(run.values()) for run in runs])
    wrong = sum(run["mismatches"] for run in runs)
    out.print(f"{wrong} mismatches in {len(runs)} runs, seed {seed}", markup=False)
    if trace is not None:
        out.print(f"timelines: {trace}", markup=False)
    return 1 if wrong else 0


@app.command("compile")
def compile_(context: typer.Context,
             model: Annotated[Path, typer.Argument(metavar="MODEL.safetensors", help="the checkpoint")],
             network: Annotated[Path, typer.Option(metavar="NET.toml", help="what its layers are")],
             output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="folder to write")],
             preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
             calibration: Annotated[Path | None, typer.Option(
                 metavar="DATA.npz", help="arrays `inputs`, `lengths` where the network takes them and, if known, "
                                          "`labels`; else random inputs")] = None,
             batch: Annotated[int | None, typer.Option(help="inputs at once, a power of two")] = None,
             seed: Annotated[int, seed_option("of random inputs")] = 1,
             simulate: Annotated[bool, typer.Option("--simulate",
                                                    help="run the golden vectors on the Verilog too")] = False) -> int:
    """Compile a trained network for a processor: program, coefficients, golden vectors, report."""
    chosen = select_config(preset, config, settings)
    if calibration:
        refuse_unused(context, "without --calibration", "seed")
    from .compile import run_compile
    return run_compile(model, network, chosen, output, calibration=calibration, batch=batch, seed=seed,
                       simulate=simulate)


@app.command()
def program(context: typer.Context,
            output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="folder for the files")],
            preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
            kernel: Annotated[list[str] | None, typer.Option(
                help="bpmm, fft, fft2-real, ffn, dense, nm or attention")] = None,
            sizes: SizesOption = None, tokens: TokensOption = 1024, hidden: HiddenOption = 1024,
            expand: ExpandOption = 4, inputs: InputsOption = 1024,
            outputs: OutputsOption = 1024, pattern: PatternOption = "2:4",
            heads: HeadsOption = 1, features: FeaturesOption = 64, causal: CausalOption = False,
            key_heads: KeyHeadsOption = None, length: LengthOption = None,
            scaling: Annotated[Scaling, typer.Option(help="of the layers")] = "static",
            blocks: Annotated[int, typer.Option(help="blocks of rows")] = 4,
            seed: Annotated[int, seed_option("draws weights and data")] = 1) -> None:
    """Compile programs: words, setup writes, listing, what goes in, what must come out, and what it means."""
    chosen = select_config(preset, config, settings)
    from ..explore.measure import KERNELS, OperationSize, array_workloads, workloads
    from ..output.program_files import write_programs
    refuse_unused_sizes(context, kernel or KERNELS)
    with output_folder(output) as folder:
        points = sizes_of(chosen, sizes)
        if chosen.is_processor:
            size = OperationSize(tokens, hidden, expand, inputs, outputs, pattern, heads, features, causal, key_heads,
                                 length)
            work = workloads(chosen, kernel or KERNELS, points, size, blocks=blocks, scaling=scaling, seed=seed)
            written = write_programs(work, folder)
        else:
            jobs = array_workloads(chosen, kernel or KERNELS, points, blocks=blocks, scaling=scaling, seed=seed)
            written = write_programs(jobs, folder)
    for path in written:
        out.print(str(output / path.name), markup=False)


@app.command()
def check(words: Annotated[Path, typer.Argument(metavar="NAME.hex", help="program words, one a line")],
          preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
          beats: Annotated[int | None, typer.Option(help="beats of the memory, else all it can have")] = None,
          listing: Annotated[bool, typer.Option("--listing", help="print the instructions")] = False) -> None:
    """Check that a processor runs a program to its end; NAME.setup.hex stands beside it. One line says why not."""
    chosen = select_config(preset, config, settings)
    from ..compiler.program.listing import disassemble
    from ..output.program_files import check_program, read_words
    if not chosen.is_processor:
        raise WingbeatError(f"memory: {chosen.name} has no [memory]; allowed is a processor")
    most = 1 << chosen.memory_bits
    if beats is not None and not 1 <= beats <= most:
        raise WingbeatError(f"--beats: {beats}; allowed are 1..{most}")
    numbers = read_words(words, 32)
    if listing:
        for line in disassemble(chosen, numbers):
            out.print(line, markup=False)
    setup = read_words(words.with_suffix(".setup.hex"), 64)
    blocks = check_program(chosen, numbers, setup, beats or min(most, 1 << 20))
    out.print(f"{len(numbers)} words, {blocks} blocks: legal", markup=False)


@app.command()
def synth(context: typer.Context, preset: PresetOption = None, config: ConfigOption = None,
          settings: SetOption = None,
          unit: Annotated[str | None, typer.Option(metavar="U", help="one block alone, such as rescale")] = None,
          target: Annotated[str, typer.Option(metavar="T", help="ecp5, ice40 or generic")] = "ecp5",
          device: Annotated[str | None, typer.Option(metavar="D", help="part of the family")] = None,
          pnr: Annotated[bool, typer.Option("--pnr", help="place and route, once per seed")] = False,
          seeds: Annotated[str, typer.Option(metavar="1,2,3", help="seeds of place and route")] = "1,2,3",
          frequency: Annotated[float | None, typer.Option(metavar="MHZ", help="clock to aim at")] = None,
          placer: Annotated[str | None, typer.Option(metavar="P", help="of nextpnr: heap, static or sa")] = None,
          keep: Annotated[Path | None, typer.Option(metavar="DIR", help="keep netlists and logs")] = None,
          json_file: JsonOption = None) -> None:
    """Area and, with --pnr, clock of one core, or of one of its blocks, with open tools."""
    chosen = select_config(preset, config, settings)
    numbers = integers("--seeds", seeds)
    if not pnr:
        refuse_unused(context, "with --pnr", "seeds", "frequency", "placer")
    from ..synth.flow import synthesize
    with kept_folder(keep, "--keep") as folder, progress("synth", 1 + pnr * len(numbers)) as step:
        figures = synthesize(chosen, unit, target=target, device=device, pnr=pnr, seeds=numbers,
                             frequency=frequency, placer=placer, keep=folder, progress=step)
    save_json(json_file, figures)
    for name, value in figures.items():
        out.print(f"{name}: {value}", markup=False)


@app.command()
def explore(context: typer.Context,
            space: Annotated[Path, typer.Argument(metavar="SPACE.toml", help="fields, objectives, workloads")],
            output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR",
                                                 help="folder of the journal, explore.json and explore.html; started "
                                                      "again with the same folder, an exploration goes on")],
            workers: Annotated[int | None, typer.Option(metavar="N",
                                                        help="local processes, else one a processor")] = None,
            scheduler: Annotated[str | None, typer.Option(
                metavar="ADDRESS", help="of a Dask scheduler that you trust, such as tcp://host:8786")] = None) -> int:
    """Look at a space of configurations: estimates of all, synthesis and simulation of the Pareto front. Exit code 1 if
    something could not be measured, or the Verilog differs from a model."""
    from .explore import run_explore
    if scheduler is not None:
        refuse_unused(context, "without --scheduler", "workers")
    return run_explore(space, output, workers, scheduler)


@app.command()
def estimate(context: typer.Context, preset: PresetOption = None, config: ConfigOption = None,
             settings: SetOption = None,
             network: Annotated[str | None, typer.Option(metavar="NET", help="a shipped network, or NET.toml")] = None,
             checkpoint: Annotated[Path | None, typer.Option(metavar="M.safetensors",
                                                             help="weights of NET.toml")] = None,
             batch: Annotated[int | None, typer.Option(help="inputs at once, a power of two")] = None,
             check: Annotated[bool, typer.Option("--check", help="the estimator beside syntheses that it was not "
                                                                 "fitted to")] = False,
             json_file: JsonOption = None) -> int:
    """Area and clock on an ECP5, and what a network costs, without synthesis. With --check exit code 1 if an error is
    larger than it may be."""
    from .estimate import run_check, run_estimate
    if check:
        refuse_unused(context, "without --check", "preset", "config", "settings", "network", "checkpoint", "batch")
        rows, good = run_check()
        save_json(json_file, rows)
        return 0 if good else 1
    if network is None:
        refuse_unused(context, "with --network", "checkpoint", "batch")
    save_json(json_file, run_estimate(select_config(preset, config, settings), network, checkpoint, batch))
    return 0


@app.command()
def demo(images: Annotated[int | None, typer.Option(metavar="N", help="held-out inputs on the Verilog")] = None,
         preset: PresetOption = None,
         network: Annotated[str | None, typer.Option(metavar="NAME", help="one of the shipped networks alone")] = None,
         page: Annotated[Path | None, file_option("--page", "FILE.html", "everything as one page")] = None,
         json_file: JsonOption = None) -> int:
    """Run trained networks on the integer model and on the simulated Verilog: accuracy, cycles, synthesis figures, what
    a softmax attention looks at. With --preset or --network it is one network, digits if none is named."""
    from .demo import run_demo
    return run_demo(images, preset, network, json=json_file, page=page)


@app.command()
def evaluate(network: Annotated[str, typer.Argument(metavar="NAME", help="digits, digits_dense, digits_2of4, "
                                                                        "digits_1of4, digits_attention, listops, "
                                                                        "listops_attention or listops_dense")],
             preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
             images: Annotated[int | None, typer.Option(metavar="N", help="held-out inputs on the Verilog too")] = None,
             json_file: JsonOption = None) -> int:
    """Accuracy of a shipped network on its held-out data: in float and on the integer model at every element width.
    Softmax is left to the host where the core has none. Exit code 1 if the Verilog differs from the model."""
    from .evaluate import default_preset, evaluate_task
    chosen = select_config(preset or (None if config else default_preset(network)), config, settings)
    found = evaluate_task(network, chosen, images)
    save_json(json_file, found)
    return 1 if found["verilog"] and (found["verilog"]["mismatches"] or not found["verilog"]["predicted"]) else 0


@app.command()
def doctor(json_file: JsonOption = None) -> None:
    """Check every tool: version found, version needed, the command that mends it. Exit code 1 if one is
    missing."""
    from .doctor import examine
    findings = examine()
    save_json(json_file, [asdict(finding) | {"state": finding.state} for finding in findings])
    print_table(["tool", "found", "needed", "state", "mend with"],
                [(f.tool, f.found or "-", f.needed or "any", f.state, f.remedy) for f in findings])
    if any(not f.ok and f.required for f in findings):
        raise typer.Exit(1)


def _fault_lines(fault: Exception) -> list[str]:
    """One line per fault: the field, its value, and what is allowed."""
    if isinstance(fault, ValidationError):
        return config_faults(fault)
    return [one_line(fault.format_message() if isinstance(fault, TyperException) else str(fault))]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 for a bad result, 2 for input that is refused."""
    for entry in sorted(metadata.entry_points(group="wingbeat.commands"), key=lambda entry: entry.name):
        if entry.name not in {command.name for command in app.registered_commands}:
            app.command(entry.name)(entry.load())
    warnings.showwarning = _print_warning  # type: ignore[assignment]
    try:
        code = app(args=arguments, prog_name="wingbeat", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (ValidationError, WingbeatError, TyperException) as fault:
        lines = _fault_lines(fault)
    except OSError as fault:
        lines = [f"{fault.filename or 'system'}: {fault.strerror or fault}"]
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except RuntimeError as fault:  # a tool failed; its message names the log
        err.print(f"wingbeat: {one_line(str(fault))}", markup=False)
        return 1
    for line in lines:
        err.print(f"wingbeat: {line}", markup=False)
    return 2


def _print_warning(message: Warning | str, category: type[Warning], *where: Any) -> None:
    """One line on standard error."""
    err.print(f"wingbeat: warning: {one_line(str(message))}", markup=False)
