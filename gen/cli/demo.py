"""The demonstration: trained networks on the simulated Verilog of a processor, from their inputs to their logits.

Accuracy in float64, on the bit-exact integer model and on the Verilog; cycles, utilisation and SQNR of every layer;
what a softmax attention in the array looks at; of the first network the accuracy at other widths and the size of its
processor; and all of it as one HTML page with the inputs of the first network and their predictions.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ..compiler.network.compile import CompiledNetwork, compile_network, default_batch
from ..compiler.network.reference import forward
from ..console import out, percent, print_table, progress
from ..cosim.core import Core
from ..cosim.network import NetworkRun, simulate_network
from ..explore.attention_map import AttentionMaps, attention_maps
from ..explore.network import (WIDTHS, LayerFigures, WidthFigures, label_accuracy, classes, layer_figures,
                               total_figures, width_figures)
from ..files import write_json
from ..presets.select import load_preset
from ..report.attention import AttentionMap
from ..report.network import print_layers, print_widths
from ..report.page import AttentionSection, DemoPage, LayerBar, Sample, write_page
from ..report.spans import Table
from ..report.trace import trace_timeline
from ..synth.flow import synthesize
from ..workloads.shipped import Dataset, load_dataset
from .evaluate import default_preset

__all__ = ["IMAGES", "run_demo"]

IMAGES = {"digits": 320, "digits_attention": 160}  # networks, and held-out inputs of each on the simulated Verilog
_MAPPED = 2  # inputs whose attention is shown


@dataclass(frozen=True, eq=False)
class _Part:
    """A network that ran on the Verilog. ``results``: logits of the inputs there, by who computed them; ``maps``: of
    the first inputs, where the network has softmax attention."""

    task: Dataset
    compiled: CompiledNetwork
    run: NetworkRun
    results: dict[str, np.ndarray]
    layers: list[LayerFigures]
    maps: AttentionMaps | None

    @property
    def inputs(self) -> int:
        return len(self.run.results)

    @property
    def scores(self) -> list[dict[str, Any]]:
        """Accuracy by who computed the results."""
        return [{"by": by, "inputs": self.inputs, "accuracy": label_accuracy(found, self.task.labels[:self.inputs])}
                for by, found in self.results.items()]

    @property
    def mismatches(self) -> int:
        """Elements that differ between Verilog and model, in the runs for the maps too."""
        return self.run.mismatches + (self.maps.mismatches if self.maps else 0)

    @property
    def passed(self) -> bool:
        """Whether Verilog, model and cycle model agree."""
        equal = np.array_equal(classes(self.results["integer model"]), classes(self.run.results))
        return self.mismatches == 0 and bool(equal) and self.run.predicted


def run_demo(images: int | None = None, preset: str | None = None, network: str | None = None,
             json: Path | None = None, page: Path | None = None) -> int:
    """Run the demonstration and print its tables; the same numbers go to ``json``, the page to ``page``.

    ``images`` of the held-out inputs of each network, else as many as ``IMAGES`` says, run on the simulated Verilog,
    all those of the first one on the model at every width; its core is what is synthesised. With ``network`` or
    ``preset`` there is one network, else those of ``IMAGES``, each on a preset that runs it. Returns 0, or 1 when the
    Verilog differs from the model or its counters from the cycle model. Raises WingbeatError for a bad number of
    inputs, preset or network.
    """
    first = next(iter(IMAGES))
    names = IMAGES if network is None and preset is None else (network or first,)
    chosen = [(load_dataset(name), load_preset(preset or default_preset(name)),
               images if images is not None else IMAGES.get(name, IMAGES[first])) for name in names]
    for task, _, count in chosen:
        if not 1 <= count <= len(task.inputs):
            raise WingbeatError(f"--images: {count}; allowed are 1..{len(task.inputs)}")
    with progress("demo", 3 * len(chosen) + len(WIDTHS) + 1) as step:
        parts = [_run(task, config, count, step, trace=page is not None and not number)
                 for number, (task, config, count) in enumerate(chosen)]
        widths = _widths(parts[0], step)
        figures = synthesize(parts[0].compiled.config, target="ecp5")
        step("synthesis")
    _print(parts[0])
    print_widths(widths)
    _print_synthesis(parts[0].compiled.config, figures)
    for part in parts[1:]:
        _print(part)
    if page is not None:
        write_page(page, _page(parts))
        out.print(f"page: {page}", markup=False)
    if json is not None:
        write_json(json, {"networks": [_record(part) for part in parts], "widths": [asdict(each) for each in widths],
                          "synthesis": figures})
    return 0 if all(part.passed for part in parts) else 1


def _run(task: Dataset, config: CoreConfig, images: int, step: Callable[[str], None], trace: bool) -> _Part:
    """``images`` inputs of one network on the Verilog; ``step`` is called with the name of what has ended."""
    batch, shown = default_batch(task.network, config), task.inputs[:images]
    compiled = compile_network(task.network, config, task.calibration, batch)
    step(f"program of {task.name}")
    build = Core(config).build()
    step(f"simulator of {config.name} built")
    run = simulate_network(compiled, build, shown, trace=trace)
    has_attention = any(each.step.kind == "attention" for each in compiled.operations)
    maps = attention_maps(compiled, build, shown[:min(_MAPPED, batch)]) if has_attention else None
    step(f"{images} inputs on the Verilog")
    results = {"float64": forward(task.network, shown)[-1][1], "integer model": run.model_results,
               "simulated Verilog": run.results}
    return _Part(task, compiled, run, results, layer_figures(compiled, shown, run.operations), maps)


def _widths(part: _Part, step: Callable[[str], None]) -> list[WidthFigures]:
    """All held-out inputs on the model, at every width."""
    task, compiled = part.task, part.compiled
    return width_figures(task.network, compiled.config, task.calibration, task.inputs, compiled.batch, task.labels,
                         report=step)


# --- the tables -------------------------------------------------------------------------------------------------------

def _summary(part: _Part) -> str:
    config = part.compiled.config
    return (f"{part.task.name} on {config.name}: {config.n_multipliers} multipliers in the array, "
            f"{config.vector_lanes} lanes of the vector unit, {config.width} bits inside, {config.element_width} bits "
            f"in memory; {part.compiled.batch} inputs at once; layers on the host: 0")


def _print(part: _Part) -> None:
    task, run = part.task, part.run
    out.print(_summary(part), markup=False)
    print_table([f"{task.name} classified by", "held-out inputs", "accuracy"],
                [(row["by"], row["inputs"], percent(row["accuracy"])) for row in part.scores])
    print_layers(part.layers, "layer on Verilog, one batch")
    predicted = sum(each.total for each in run.model_cycles)
    out.print(f"{run.batches} batches: {run.total_cycles} cycles on the Verilog; one batch: {run.cycles}, by the cycle "
              f"model {predicted}; {run.mismatches} mismatches with the integer model", markup=False)
    if part.maps:
        out.print(f"{part.maps.layer}: probabilities of {len(part.maps.probabilities)} inputs read off the Verilog, "
                  f"{part.maps.mismatches} mismatches with the integer model, float64 differs by "
                  f"{part.maps.error:.4f} at most", markup=False)


def _print_synthesis(config: CoreConfig, figures: dict[str, Any]) -> None:
    names = {"lut": "LUT", "ff": "FF", "bram": "block RAMs", "dsp": "multipliers"}
    counts = [f"{figures[kind]} {name}" for kind, name in names.items()]
    shares = [f"{100 * share:.0f} % {kind}" for kind, share in figures["utilisation"].items()]
    out.print(f"synthesis of {config.name} for {figures['target']} {figures['device']} by {figures['tools']['yosys']}: "
              f"{', '.join(counts)} ({', '.join(shares)} of the part)", markup=False)


def _record(part: _Part) -> dict[str, Any]:
    config, maps = part.compiled.config, part.maps
    return {"network": part.task.name, "config": config.choices(), "batch": part.compiled.batch,
            "multipliers": config.n_multipliers, "host_layers": 0, "accuracy": part.scores,
            "layers": [asdict(layer) for layer in part.layers], "cycles": part.run.total_cycles,
            "mismatches": part.run.mismatches,
            "attention": maps and {"layer": maps.layer, "mismatches": maps.mismatches, "error": maps.error,
                                   "probabilities": maps.probabilities.tolist()}}


# --- the page ---------------------------------------------------------------------------------------------------------

def _page(parts: list[_Part]) -> DemoPage:
    """The first network with its samples and its timeline, and the first softmax attention of all."""
    first = parts[0]
    columns = [classes(found) for found in first.results.values()]
    samples = [Sample(first.task.picture(x), str(label), tuple(str(each) for each in predicted))
               for x, label, *predicted in zip(first.task.inputs, first.task.labels, *columns)]
    stages = first.compiled.segments[0].program.stages
    timeline = trace_timeline(first.run.runs[0][0], stages,
                              f"{first.task.name}: the first {first.compiled.batch} inputs")
    attention = next((_attention(part, part is first) for part in parts if part.maps), None)
    return DemoPage(f"wingbeat: {', '.join(part.task.name for part in parts)} in simulated Verilog",
                    _page_summary(first), _accuracy(first), tuple(first.results), tuple(samples), _bars(first),
                    timeline, attention)


def _page_summary(part: _Part) -> str:
    return (f"{_summary(part)}. {part.run.total_cycles:,} cycles, utilisation "
            f"{total_figures(part.layers).utilisation:.3f}, {part.run.mismatches} mismatches between Verilog and "
            "integer model.")


def _accuracy(part: _Part) -> Table:
    return Table("Accuracy", ("classified by", "held-out inputs", "accuracy"),
                 tuple((row["by"], row["inputs"], percent(row["accuracy"])) for row in part.scores))


def _bars(part: _Part) -> tuple[LayerBar, ...]:
    return tuple(LayerBar(each.layer, each.cycles, each.utilisation, each.sqnr_db, each.clamped, each.saturated_blocks)
                 for each in part.layers)


def _attention(part: _Part, is_above: bool) -> AttentionSection:
    """The section of the maps; ``is_above``: summary, accuracy and layers stand on the page already."""
    task, maps = part.task, part.maps
    assert maps is not None
    shown = [AttentionMap(task.picture(x), str(label), found, task.grid)
             for x, label, found in zip(task.inputs, task.labels, np.clip(maps.probabilities, 0, 1))]
    origin = (f"Read off the simulated Verilog: it computed queries and keys of these inputs, and its softmax ran on "
              f"them with the rows of an identity matrix as values, so that the rows of the results are the "
              f"probabilities of {maps.layer}; {maps.mismatches} mismatches between Verilog and integer model, and "
              f"float64 differs by {maps.error:.4f} at most.")
    if is_above:
        return AttentionSection(origin, tuple(shown))
    return AttentionSection(origin, tuple(shown), _page_summary(part), _accuracy(part), _bars(part))
