"""The demonstration: a trained network on the simulated Verilog of a processor, from its inputs to its logits.

Accuracy in float64, on the bit-exact integer model and on the Verilog; cycles, utilisation and SQNR of every layer; the
size of the processor; and all of it as one HTML page with the inputs and their predictions.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...hw.errors import WingbeatError
from ..compiler.network.compile import CompiledNetwork, compile_network, default_batch
from ..compiler.network.reference import forward
from ..console import out, percent, print_table, progress
from ..cosim.core import Core
from ..cosim.network import NetworkRun, simulate_network
from ..explore.network import LayerFigures, label_accuracy, classes, layer_figures, total_figures, width_figures
from ..files import write_json
from ..presets.select import load_preset
from ..report.network import print_layers, print_widths
from ..report.page import DemoPage, LayerBar, Sample, write_page
from ..report.spans import Table
from ..report.trace import trace_timeline
from ..synth.flow import synthesize
from ..workloads.shipped import Dataset, load_dataset

__all__ = ["PRESET", "NETWORK", "IMAGES", "run_demo"]

PRESET = "hybrid-16"     # a processor with a vector unit for the ECP5-85F of the ULX3S board
NETWORK = "digits"
IMAGES = 320             # held-out inputs on the simulated Verilog


def run_demo(images: int = IMAGES, preset: str = PRESET, network: str = NETWORK, json: Path | None = None,
             page: Path | None = None) -> int:
    """Run the demonstration and print its tables; the same numbers go to ``json``, the page to ``page``.

    ``images`` of the held-out inputs run on the simulated Verilog, all of them on the model. Returns 0, or 1 when the
    Verilog differs from the model or its counters from the cycle model. Raises WingbeatError for a bad number of
    inputs, preset or network.
    """
    task, config = load_dataset(network), load_preset(preset)
    if not 1 <= images <= len(task.inputs):
        raise WingbeatError(f"--images: {images}; allowed are 1..{len(task.inputs)}")
    batch = default_batch(task.network, config)
    shown = task.inputs[:images]
    with progress("demo", 7) as step:
        compiled = compile_network(task.network, config, task.calibration, batch)
        step("program")
        build = Core(config).build()
        step("simulator built")
        run = simulate_network(compiled, build, shown, trace=page is not None)
        step(f"{images} inputs on the Verilog")
        layers = layer_figures(compiled, shown, run.operations)
        widths = width_figures(task.network, config, task.calibration, task.inputs, batch, task.labels, report=step)
        figures = synthesize(config, target="ecp5")
        step("synthesis")
    results = {"float64": forward(task.network, shown)[-1][1], "integer model": compiled.run_model(shown),
               "simulated Verilog": run.results}
    scores = [{"by": by, "inputs": images, "accuracy": label_accuracy(found, task.labels[:images])}
              for by, found in results.items()]
    _print(task, compiled, run, scores, layers, figures)
    print_widths(widths)
    if page is not None:
        write_page(page, _page(task, compiled, run, scores, layers, results))
        out.print(f"page: {page}", markup=False)
    if json is not None:
        write_json(json, {"network": task.name, "config": config.choices(), "batch": batch,
                          "multipliers": config.n_multipliers, "host_layers": 0, "accuracy": scores,
                          "layers": [asdict(layer) for layer in layers], "cycles": run.total_cycles,
                          "mismatches": run.mismatches, "widths": [asdict(width) for width in widths],
                          "synthesis": figures})
    equal = bool(np.array_equal(classes(results["integer model"]), classes(run.results)))
    return 0 if run.mismatches == 0 and equal and run.predicted else 1


def _summary(task: Dataset, compiled: CompiledNetwork) -> str:
    config = compiled.config
    return (f"{task.name} on {config.name}: {config.n_multipliers} multipliers in the array, {config.vector_lanes} "
            f"lanes of the vector unit, {config.width} bits inside, {config.element_width} bits in memory; "
            f"{compiled.batch} inputs at once; layers on the host: 0")


def _print(task: Dataset, compiled: CompiledNetwork, run: NetworkRun, scores: Sequence[dict[str, Any]],
           layers: list[LayerFigures], figures: dict[str, Any]) -> None:
    out.print(_summary(task, compiled), markup=False)
    print_table([f"{task.name} classified by", "held-out inputs", "accuracy"],
                [(row["by"], row["inputs"], percent(row["accuracy"])) for row in scores])
    print_layers(layers, "layer on Verilog, one batch")
    predicted = sum(each.total for each in run.model_cycles)
    out.print(f"{run.batches} batches: {run.total_cycles} cycles on the Verilog; one batch: {run.cycles}, by the cycle "
              f"model {predicted}; {run.mismatches} mismatches with the integer model", markup=False)
    names = {"lut": "LUT", "ff": "FF", "bram": "block RAMs", "dsp": "multipliers"}
    counts = [f"{figures[kind]} {name}" for kind, name in names.items()]
    shares = [f"{100 * share:.0f} % {kind}" for kind, share in figures["utilisation"].items()]
    out.print(f"synthesis for {figures['target']} {figures['device']} by {figures['tools']['yosys']}: "
              f"{', '.join(counts)} ({', '.join(shares)} of the part)", markup=False)


def _page(task: Dataset, compiled: CompiledNetwork, run: NetworkRun, scores: Sequence[dict[str, Any]],
          layers: list[LayerFigures], results: dict[str, np.ndarray]) -> DemoPage:
    columns = [classes(found) for found in results.values()]
    samples = [Sample(task.picture(x), str(label), tuple(str(each) for each in predicted))
               for x, label, *predicted in zip(task.inputs, task.labels, *columns)]
    bars = [LayerBar(each.layer, each.cycles, each.utilisation, each.sqnr_db, each.clamped, each.saturated_blocks)
            for each in layers]
    total = total_figures(layers)
    stages = compiled.segments[0].program.stages
    timeline = trace_timeline(run.runs[0][0], stages, f"{task.name}: the first {compiled.batch} inputs")
    return DemoPage(
        f"wingbeat: {task.name} in simulated Verilog", f"{_summary(task, compiled)}. {run.total_cycles:,} cycles, "
        f"utilisation {total.utilisation:.3f}, {run.mismatches} mismatches between Verilog and integer model.",
        Table("Accuracy", ("classified by", "held-out inputs", "accuracy"),
              tuple((row["by"], row["inputs"], percent(row["accuracy"])) for row in scores)),
        tuple(results), tuple(samples), tuple(bars), timeline)
