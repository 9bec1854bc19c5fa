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
import sys
from typing import Annotated, Any
import warnings

from pydantic import BaseModel, ValidationError
import typer
from typer.exceptions import TyperException

from ...hw.config import SECTIONS, CoreConfig, MemoryBus
from ...hw.errors import WingbeatError
from ..compiler.kernel.passes import Scaling
from ..console import JsonOption, err, out, print_table, progress
from ..files import write_json
from ..presets import select as configurations

__all__ = ["app", "main", "run", "select_config", "PresetOption", "ConfigOption", "SetOption", "integers"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
                  help="Generate, simulate and measure butterfly arrays.")

PresetOption = Annotated[str | None, typer.Option("--preset", metavar="P", help="see `wingbeat presets`")]
ConfigOption = Annotated[Path | None, typer.Option("--config", metavar="F.toml", help="a configuration file")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="change one field")]


MemoryOption = Annotated[str | None, typer.Option("--memory", metavar="M",
                                                  help="of a processor: ideal or delay:LATENCY,WORDS_PER_CYCLE")]


SizesOption = Annotated[str | None, typer.Option(metavar="64,128", help="points per row; if not given, 64 to the "
                                                                        "largest")]
TokensOption = Annotated[int, typer.Option(metavar="T", help="rows of fft2-real and ffn")]
HiddenOption = Annotated[int, typer.Option(metavar="H", help="elements of these rows")]
ExpandOption = Annotated[int, typer.Option(metavar="X", help="inner layer of ffn, in H")]


def select_config(preset: str | None, config: Path | None, settings: list[str] | None) -> CoreConfig:
    """The configuration that the three options name."""
    if (preset is None) == (config is None):
        raise WingbeatError("--preset, --config: give exactly one of them")
    if preset is not None:
        return configurations.load_preset(preset, settings)
    assert config is not None
    return configurations.load_file(config, settings)


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
    _save(json_file, rows)
    print_table(list(rows[0]), [list(row.values()) for row in rows])


@app.command()
def generate(output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="folder to write")],
             preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
             json_file: JsonOption = None) -> None:
    """Write Verilog, manifest, test bench and README of one array."""
    chosen = select_config(preset, config, settings)
    from ..output.core_folder import generate as write_folder
    facts = write_folder(chosen, output)
    _save(json_file, facts)
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
def simulate(preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
             simulator: Annotated[str, typer.Option(help="verilator or icarus")] = "verilator",
             kernel: Annotated[list[str] | None, typer.Option(
                 help="of a processor: bpmm, fft, fft2-real or ffn instead of small programs")] = None,
             sizes: SizesOption = None, tokens: TokensOption = 1024, hidden: HiddenOption = 1024,
             expand: ExpandOption = 4, memory: MemoryOption = None,
             trace: Annotated[Path | None, typer.Option(metavar="DIR", help="of a processor: timelines of its units, "
                                                                            "SVG and HTML")] = None,
             vcd: Annotated[Path | None, typer.Option(metavar="FILE", help="of a processor: waves")] = None,
             seed: Annotated[int, typer.Option(help="draws weights, data and stalls")] = 1,
             json_file: JsonOption = None) -> int:
    """Run small kernels on the simulated Verilog against the model, under all stalls. Exit code 1 if they
    differ."""
    chosen = select_config(preset, config, settings)
    for name, value in (("--kernel", kernel), ("--memory", memory), ("--trace", trace), ("--vcd", vcd)):
        if value is not None and not chosen.is_processor:
            raise WingbeatError(f"{name}: {chosen.name} has no [memory]; allowed with a processor only")
    from ..explore.measure import Shape, workloads
    from ..cosim.timing import MemoryTiming
    from .simulate import check_core
    shape = Shape(tokens, hidden, expand)
    work = workloads(chosen, kernel, _sizes(chosen, sizes), shape, seed=seed) if kernel else []
    timing = MemoryTiming.parse(memory or "ideal") if memory or work else None
    with progress("simulate", 3) as step:
        runs = check_core(chosen, work, timing, simulator=simulator, seed=seed, trace=trace, vcd=vcd, report=step)
    _save(json_file, {"configuration": chosen.choices(), "simulator": simulator, "seed": seed,
                      "runs": runs})
    print_table(list(runs[0]), [list(run.values()) for run in runs])
    wrong = sum(run["mismatches"] for run in runs)
    out.print(f"{wrong} mismatches in {len(runs)} runs, seed {seed}", markup=False)
    if trace is not None:
        out.print(f"timelines: {trace}", markup=False)
    return 1 if wrong else 0


@app.command("compile")
def compile_(model: Annotated[Path, typer.Argument(metavar="MODEL.safetensors", help="the checkpoint")],
             network: Annotated[Path, typer.Option(metavar="NET.toml", help="what its layers are")],
             output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="folder to write")],
             preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
             calibration: Annotated[Path | None, typer.Option(
                 metavar="DATA.npz", help="arrays `inputs` and, if known, `labels`; else random inputs")] = None,
             batch: Annotated[int | None, typer.Option(help="inputs at once, a power of two")] = None,
             seed: Annotated[int, typer.Option(help="of random inputs")] = 1,
             simulate: Annotated[bool, typer.Option("--simulate",
                                                    help="run the golden vectors on the Verilog too")] = False) -> int:
    """Compile a trained network for a processor: program, coefficients, golden vectors, report."""
    chosen = select_config(preset, config, settings)
    from .compile import run_compile
    return run_compile(model, network, chosen, output, calibration=calibration, batch=batch, seed=seed,
                       simulate=simulate)


@app.command()
def program(output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="folder for the files")],
            preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
            kernel: Annotated[list[str] | None, typer.Option(help="bpmm, fft, fft2-real or ffn")] = None,
            sizes: SizesOption = None, tokens: TokensOption = 1024, hidden: HiddenOption = 1024,
            expand: ExpandOption = 4,
            seed: Annotated[int, typer.Option(help="draws weights and data")] = 1) -> None:
    """Compile programs for a processor: words, setup writes, memory image and listing."""
    chosen = select_config(preset, config, settings)
    from ..explore.measure import KERNELS, Shape, workloads
    from ..output.program_files import write_program
    for work in workloads(chosen, kernel or KERNELS, _sizes(chosen, sizes), Shape(tokens, hidden, expand), seed=seed):
        for path in write_program(work, output):
            out.print(str(path), markup=False)


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


bench = typer.Typer(help="Measure cycles and accuracy.")
app.add_typer(bench, name="bench")


@bench.command("kernels")
def bench_kernels(preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
                  sizes: SizesOption = None,
                  kernel: Annotated[list[str] | None, typer.Option(
                      help="bpmm or fft, else both; fft2-real or ffn on a processor")] = None,
                  blocks: Annotated[int, typer.Option(help="blocks per run, the first is not counted")] = 4,
                  scaling: Annotated[Scaling, typer.Option(help="of the layers")] = "static",
                  memory: MemoryOption = None,
                  tokens: TokensOption = 1024, hidden: HiddenOption = 1024, expand: ExpandOption = 4,
                  seed: Annotated[int, typer.Option(help="draws weights and data")] = 1,
                  json_file: JsonOption = None) -> int:
    """Cycles, utilisation and SQNR of kernels on the simulated Verilog: of single transforms in steady state, of
    fft2-real and ffn from start to end. Exit code 1 if a word differs from the model."""
    chosen = _on_native(select_config(preset, config, settings))
    from ..explore.measure import KERNELS, PROGRAMS, Shape, bench_kernels as measure, bench_processor, workloads
    from ..cosim.timing import MemoryTiming
    kernels = tuple(kernel or KERNELS)
    from_memory = chosen.is_processor or memory is not None or bool(set(kernels) & set(PROGRAMS))
    points = _sizes(chosen, sizes)
    if from_memory:
        timing = MemoryTiming.parse(memory or "ideal")
        work = workloads(chosen, kernels, points, Shape(tokens, hidden, expand), blocks=blocks, scaling=scaling,
                         seed=seed)
        with progress("bench", 1 + len(work)) as step:
            rows = bench_processor(chosen, work, timing=timing, report=step)
    else:
        with progress("bench", 1 + len(points) * len(kernels)) as step:
            rows = measure(chosen, points, kernels, blocks=blocks, scaling=scaling, seed=seed, report=step)
    _save(json_file, rows)
    _print_rows(rows, 4)
    return 1 if any(row["mismatches"] for row in rows) else 0


@bench.command("fabnet-block")
def bench_fabnet(preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
                 tokens: Annotated[int, typer.Option(metavar="T", help="tokens of the input")] = 1024,
                 hidden: Annotated[int, typer.Option(metavar="H", help="features of a token")] = 1024,
                 ffn: Annotated[int, typer.Option(metavar="F", help="features inside the feed-forward network")] = 4096,
                 layers: Annotated[int, typer.Option(help="blocks, those behind the first by the cycle model")] = 1,
                 memory: MemoryOption = None,
                 seed: Annotated[int, typer.Option(help="draws weights and data")] = 1,
                 json_file: JsonOption = None) -> int:
    """One complete FABNet block on the simulated Verilog, beside what others published. Exit code 1 if an element
    differs from the integer model."""
    chosen = _on_native(select_config(preset, config, settings))
    from .bench import bench_block
    return bench_block(chosen, tokens, hidden, ffn, layers, memory or "delay:40,12", seed, json_file)


@bench.command("sensitivity")
def bench_sensitivity(preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
                      points: Annotated[int, typer.Option(metavar="N", help="points per row")] = 1024,
                      kernel: Annotated[list[str] | None, typer.Option(help="bpmm or fft, else both")] = None,
                      words: Annotated[str | None, typer.Option(metavar="1,2", help="per cycle, each way")] = None,
                      latencies: Annotated[str | None, typer.Option(metavar="1,50", help="of the memory")] = None,
                      seed: Annotated[int, typer.Option(help="draws weights and data")] = 1,
                      plot_file: Annotated[Path | None, typer.Option("--plot", metavar="FILE.svg",
                                                                     help="curves as a picture")] = None,
                      json_file: JsonOption = None) -> None:
    """Utilisation of a processor against words per cycle and latency of its memory, on the simulated Verilog."""
    chosen = _on_native(select_config(preset, config, settings))
    from ..explore.measure import KERNELS
    from ..explore.sensitivity import LATENCIES, WORDS, measure_sensitivity, plot
    rates = integers("--words", words) if words else WORDS
    waits = integers("--latencies", latencies) if latencies else LATENCIES
    kernels = tuple(kernel or KERNELS)
    with progress("sensitivity", 1 + len(kernels) * len(rates) * len(waits)) as step:
        rows = measure_sensitivity(chosen, kernels, points, words=rates, latencies=waits, seed=seed, report=step)
    _save(json_file, rows)
    if plot_file is not None:
        plot(rows, plot_file, f"{chosen.name}: {chosen.n_multipliers} multipliers")
    for name in kernels:
        print_table([f"{name} {points}, words per cycle", *(f"latency {wait}" for wait in waits)],
                    [[rate, *(f"{row['utilisation']:.4f}" for row in rows
                              if row["kernel"] == name and row["words_per_cycle"] == rate)] for rate in rates])


@bench.command("accuracy")
def bench_accuracy(preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
                   points: Annotated[int, typer.Option(metavar="N", help="points per row")] = 1024,
                   rows: Annotated[int, typer.Option(help="rows measured")] = 512,
                   seed: Annotated[int, typer.Option(help="draws weights and data")] = 0,
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
    _save(json_file, found)
    _print_rows(found, 1)


@app.command()
def synth(preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
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
    from ..synth.flow import synthesize
    with progress("synth", 1 + pnr * len(numbers)) as step:
        figures = synthesize(chosen, unit, target=target, device=device, pnr=pnr, seeds=numbers,
                             frequency=frequency, placer=placer, keep=keep, progress=step)
    _save(json_file, figures)
    for name, value in figures.items():
        out.print(f"{name}: {value}", markup=False)


@app.command()
def demo(images: Annotated[int | None, typer.Option(metavar="N", help="held-out inputs on the Verilog")] = None,
         preset: PresetOption = None,
         network: Annotated[str | None, typer.Option(metavar="NAME", help="digits or listops")] = None,
         page: Annotated[Path | None, typer.Option(metavar="FILE.html", help="everything as one page")] = None,
         json_file: JsonOption = None) -> int:
    """Run a trained network on the integer model and on the simulated Verilog: accuracy, cycles, synthesis figures."""
    from .demo import run_demo
    options: dict[str, Any] = {"images": images, "preset": preset, "network": network, "page": page, "json": json_file}
    return run_demo(**{name: value for name, value in options.items() if value is not None})


@app.command()
def evaluate(network: Annotated[str, typer.Argument(metavar="NAME", help="digits, listops or listops_attention")],
             preset: PresetOption = None, config: ConfigOption = None, settings: SetOption = None,
             json_file: JsonOption = None) -> None:
    """Accuracy of a shipped network on its held-out data: in float and on the integer model at every element width."""
    chosen = select_config(preset or (None if config else "hybrid-16"), config, settings)
    from .evaluate import evaluate_task
    _save(json_file, evaluate_task(network, chosen))


@app.command()
def doctor(json_file: JsonOption = None) -> None:
    """Check every tool: version found, version needed, the command that mends it. Exit code 1 if one is
    missing."""
    from .doctor import examine
    findings = examine()
    _save(json_file, [asdict(finding) | {"state": finding.state} for finding in findings])
    print_table(["tool", "found", "needed", "state", "mend with"],
                [(f.tool, f.found or "-", f.needed or "any", f.state, f.remedy) for f in findings])
    if any(not f.ok and f.required for f in findings):
        raise typer.Exit(1)


def integers(option: str, text: str) -> tuple[int, ...]:
    """Non-negative integers separated by commas."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise WingbeatError(f"{option}: {text!r} is not a list of whole numbers such as 1,2,3")
    return tuple(map(int, parts))


def _on_native(config: CoreConfig) -> CoreConfig:
    """``config``, whose cycles are to be measured beside those of the cycle model."""
    if config.bus.memory is not MemoryBus.NATIVE:
        raise WingbeatError(f"bus.memory: {config.bus.memory.value!r}; allowed is native, the only port that the cycle "
                            "model knows")
    return config


def _print_rows(rows: list[dict[str, Any]], digits: int) -> None:
    """A table of equal dictionaries, floats with ``digits`` decimals."""
    print_table(list(rows[0]), [[f"{value:.{digits}f}" if isinstance(value, float) else value
                                 for value in row.values()] for row in rows])


def _sizes(config: CoreConfig, text: str | None) -> tuple[int, ...]:
    """Points per row that a list names, or all from 64 up to the largest; a processor takes larger ones in stages."""
    largest = config.largest_n + config.is_processor
    if text is None:
        return tuple(1 << n for n in range(min(6, largest), largest + 1))
    most = 16 if config.is_processor else largest
    for points in integers("--sizes", text):
        if points < 2 or points & (points - 1) or points > 1 << most:
            raise WingbeatError(f"--sizes: {points}; allowed are powers of two from 2 to {1 << most}")
    return integers("--sizes", text)


def _save(path: Path | None, value: Any) -> None:
    if path is not None:
        write_json(path, value)


def fault_lines(fault: Exception) -> list[str]:
    """One line per fault: the field, its value, and what is allowed."""
    if not isinstance(fault, ValidationError):
        text = fault.format_message() if isinstance(fault, TyperException) else str(fault)
        return [_printable(text)]
    lines: list[str] = []
    for entry in fault.errors(include_url=False):
        field = ".".join(map(str, entry["loc"]))
        message = entry["msg"].removeprefix("Value error, ")
        if not field:  # a check of several fields names them itself
            lines += map(_printable, message.split("\n"))
            continue
        if entry["type"] == "extra_forbidden":
            owner: type[BaseModel] = SECTIONS[str(entry["loc"][0])] if len(entry["loc"]) > 1 else CoreConfig
            message = f"no such field; allowed are {', '.join(owner.model_fields)}"
        value = repr(entry["input"])
        lines.append(_printable(f"{field}: {value if len(value) <= 60 else value[:57] + '...'}: {message}"))
    return lines


def _printable(text: str) -> str:
    """``text`` on one line; what a terminal would obey is shown as an escape."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.split()))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 for a bad result, 2 for input that is refused."""
    for entry in sorted(metadata.entry_points(group="wingbeat.commands"), key=lambda entry: entry.name):
        if entry.name not in {command.name for command in app.registered_commands}:
            app.command(entry.name)(entry.load())
    warnings.showwarning = _print_warning
    try:
        code = app(args=arguments, prog_name="wingbeat", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (ValidationError, WingbeatError, TyperException) as fault:
        lines = fault_lines(fault)
    except OSError as fault:
        lines = [f"{fault.filename or 'system'}: {fault.strerror or fault}"]
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except RuntimeError as fault:  # a tool failed; its message names the log
        err.print(f"wingbeat: {_printable(str(fault))}", markup=False)
        return 1
    for line in lines:
        err.print(f"wingbeat: {line}", markup=False)
    return 2


def _print_warning(message: Warning | str, category: type[Warning], *where: Any) -> None:
    """One line on standard error."""
    err.print(f"wingbeat: warning: {_printable(str(message))}", markup=False)


def run() -> None:
    """Entry point of the installed script."""
    sys.exit(main())
