"""The command ``wingbeat compile``: from a checkpoint to a program, its golden vectors and a report."""

from collections.abc import Callable
from pathlib import Path

from ...hw.config import CoreConfig
from ..compiler.network.compile import CompiledNetwork, compile_network, default_batch
from ..compiler.network.load import load_network
from ..console import out, progress
from ..explore.network import layer_figures, width_figures
from ..files import output_folder
from ..output.network_files import Calibration, random_calibration, read_calibration, write_network
from ..report.network import print_layers, print_widths

__all__ = ["run_compile"]

_EVALUATED = 256  # inputs that the widths are compared on, at most


def run_compile(model: Path, description: Path, config: CoreConfig, output: Path, *, calibration: Path | None = None,
                batch: int | None = None, seed: int = 1, simulate: bool = False) -> int:
    """Compile, write ``output`` and print the report. With ``simulate`` the golden vectors also run on the simulated
    Verilog. Returns 0, or 1 when the Verilog differs from the model. Raises WingbeatError; then nothing is written."""
    network = load_network(description, model)
    data = read_calibration(calibration, network) if calibration else random_calibration(network, seed)
    count = default_batch(network, config) if batch is None else batch
    with output_folder(output) as folder, progress("compile", 5 + 2 * simulate) as step:
        compiled = compile_network(network, config, data.inputs, count)
        step("program")
        layers = layer_figures(compiled, data.inputs)
        step("layers")
        widths = width_figures(network, config, data.inputs, data.inputs[:_EVALUATED], count,
                               None if data.labels is None else data.labels[:_EVALUATED], report=step)
        write_network(folder, compiled, data, layers, widths)
        mismatches = _simulated(compiled, data, step) if simulate else 0
    _print_summary(compiled, data)
    print_layers(layers)
    print_widths(widths)
    if simulate:
        out.print(f"golden vectors on the simulated Verilog: {mismatches} mismatches", markup=False)
    out.print(str(output), markup=False)
    return 1 if mismatches else 0


def _simulated(compiled: CompiledNetwork, data: Calibration, step: Callable[[str], None]) -> int:
    from ..cosim.core import Core
    from ..cosim.network import simulate_network

    build = Core(compiled.config).build()
    step("simulator built")
    run = simulate_network(compiled, build, data.inputs[:compiled.batch])
    step("simulated")
    return run.mismatches


def _print_summary(compiled: CompiledNetwork, data: Calibration) -> None:
    config, segments = compiled.config, compiled.segments
    words = sum(3 * len(segment.program.instructions) for segment in segments)
    programs = f"{len(segments)} program{'s' if len(segments) > 1 else ''}"
    out.print(f"{compiled.network.name} for {config.name}: {compiled.batch} inputs at once, {config.element_width} "
              f"bits an element, calibrated with {data.source}; {programs} of {words} words, {compiled.beats} beats of "
              "memory, layers on the host: 0", markup=False)
    for assumption in compiled.network.assumed:
        out.print(f"assumed, as neither network file nor checkpoint says it: {assumption}", markup=False)
