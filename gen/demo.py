"""The demonstration: a digits classifier whose butterfly and FFT layers are programs of one generated processor.

Float in numpy, the bit-exact model on all held-out images, the simulated Verilog on some of them. Every layer reads
its input from the processor's memory and writes its result there; on the Verilog the whole memory and the report of
every block are compared with the model, and cycles come from the hardware's own counters. Between two layers stands
always an operation that is done in numpy, so no two of them share a program.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..hw.config import ArrayConfig
from ..hw.errors import WingbeatError
from ..hw.numeric import largest
from ..sim.cycles import Cycles, estimate
from ..sim.reference import butterfly_multiply, sqnr_db
from .bench import run_mismatches, run_workload
from .checkpoint import ButterflyWeights
from .compiler import compile_butterfly, compile_fft
from .console import out, print_table, progress
from .dataflow import Task, assemble
from .digits import (NUMPY_OPERATIONS, Network, accuracy, float_butterfly, float_mixing, forward, load_network,
                     load_split)
from .files import write_json
from .kernel import Kernel
from .operations import Coefficients, Matrix, butterfly, mix_real, mixed_rows
from .presets import load_preset
from .processor_simulator import MemoryTiming, ProcessorBuild, ProcessorRun, build_processor
from .simulator import Counters
from .synth import synthesize
from .workloads import Workload, placed

__all__ = ["ButterflyLayer", "MixingLayer", "LayerReport", "compile_network", "ModelRunner", "VerilogRunner",
           "run_demo"]

PRESET = "processor-16"  # for the ECP5-85F of the ULX3S board
IMAGES = 256             # held-out images on the simulated Verilog
_IN_NUMPY = (*NUMPY_OPERATIONS, "quantising, scaling and placing at both ends of a layer")
_COUNTERS = ("total", "computing", "waiting_input", "waiting_output", "waiting_hazard")


@dataclass(frozen=True)
class LayerReport:
    """One layer on the simulated Verilog: one program, from its start to its end.

    ``rows`` vectors of ``n`` values went through it, ``stacks`` times. ``cycles`` is the hardware counter ``total``,
    ``computing`` and ``waiting_*`` the counters of those names; ``predicted_cycles`` is what the cycle model says,
    ``predicted`` whether it is right about every counter. ``utilization`` is useful multiplications per multiplier
    and cycle, ``utilization_limit`` per multiplier and cycle of ``computing``: columns that the last pass leaves over
    keep it below 1, and rows that fill up a block.
    ``mismatches`` counts elements of the memory and reports of blocks that differ from the model; ``sqnr_db``
    compares with the float layer on the same input, its bias left out.
    """

    layer: str
    kernel: str
    n: int
    stacks: int
    rows: int
    blocks: int
    cycles: int
    predicted_cycles: int
    predicted: bool
    computing: int
    waiting_input: int
    waiting_output: int
    waiting_hazard: int
    utilization: float
    utilization_limit: float
    mismatches: int
    saturated_blocks: int
    sqnr_db: float


# --- the network on a processor -----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ButterflyLayer:
    """Real rows (rows, in_size) times a butterfly matrix: what ``kernel`` does, out of memory into memory."""

    name: str
    kernel: Kernel
    weights: ButterflyWeights
    mode = "bpmm"

    @property
    def stacks(self) -> int:
        return len(self.kernel.stacks)

    def clamped(self, x: np.ndarray) -> int:
        """How many values of ``x`` lie outside the calibrated range."""
        return self.kernel.quantise(x)[1]

    def workload(self, x: np.ndarray) -> Workload:
        """Program and memory for the rows ``x``. Raises WingbeatError when the processor is too small for them."""
        kernel, config, rows = self.kernel, self.kernel.config, len(x)
        source, target = placed(config, (rows, kernel.in_size), (rows, kernel.out_size))
        tasks = butterfly(kernel, source, target, Coefficients(config), self.name)
        w = self.weights
        reference = butterfly_multiply(w.twiddle, x, w.increasing_stride, w.out_size)
        return _workload(self.name, kernel.size, rows, config, tasks, source, kernel.quantise(x)[0], target,
                         kernel.output_scale, reference, rows * kernel.multiplications_per_row)

    def output(self, work: Workload, memory: np.ndarray) -> np.ndarray:
        """Rows (rows, out_size) out of the memory after the run, with the bias."""
        y = work.result(memory)
        return y if self.kernel.bias is None else y + self.kernel.bias


@dataclass(frozen=True, eq=False)
class MixingLayer:
    """Re(FFT2) of real matrices (count, tokens, hidden), all in one program, with the factor that keeps the power.

    ``columns`` transforms the tokens, ``rows`` what that leaves along hidden. A row of the memory holds one token of
    all matrices (``operations.mix_real``), whose number is filled up to a power of two with zeros.
    """

    name: str
    columns: Kernel
    rows: Kernel
    mode = "fft2-real"
    stacks = 1

    @property
    def scale(self) -> float:
        """Value of one unit of an element of the result."""
        shift = sum(kernel.stacks[0].shift for kernel in (self.columns, self.rows))
        return math.ldexp(self.columns.input_step, shift) / math.sqrt(self.columns.size * self.rows.size)

    def clamped(self, x: np.ndarray) -> int:
        """How many values of ``x`` lie outside the calibrated range."""
        return self.columns.quantise(_packed_columns(x))[1]

    def workload(self, x: np.ndarray) -> Workload:
        """Program and memory for the matrices ``x``. Raises WingbeatError when the processor is too small for them."""
        config, count = self.columns.config, len(x)
        x = np.concatenate([x, np.zeros(((1 << (count - 1).bit_length()) - count, *x.shape[1:]))])
        batch, tokens, hidden = x.shape
        elements = batch * hidden
        source, between, target = placed(config, (tokens, elements), (mixed_rows(tokens), 2 * elements),
                                          (tokens, elements))
        tasks = mix_real(self.columns, self.rows, source, between, target, Coefficients(config), self.name, batch)
        words = self.columns.quantise(_packed_columns(x))[0]
        values = np.stack([words.real, words.imag], axis=1).reshape(elements, tokens).T
        reference = float_mixing(self.name, x).swapaxes(0, 1).reshape(tokens, elements)
        useful = 4 * (tokens // 2) * (hidden // 2) * (self.columns.log2_size + self.rows.log2_size)
        return _workload(self.name, tokens * hidden, count, config, tasks, source, values, target, self.scale,
                         reference, count * useful)

    def output(self, work: Workload, memory: np.ndarray) -> np.ndarray:
        """Matrices (count, tokens, hidden) out of the memory after the run."""
        y = work.result(memory).reshape(self.columns.size, -1, self.rows.size)
        return y.swapaxes(0, 1)[:work.rows]


Layer = ButterflyLayer | MixingLayer


def _packed_columns(x: np.ndarray) -> np.ndarray:
    """Two neighbouring columns of real matrices (count, tokens, hidden) as re and im: rows (.., tokens)."""
    return (x[..., 0::2] + 1j * x[..., 1::2]).swapaxes(1, 2).reshape(-1, x.shape[1])


def _workload(name: str, points: int, rows: int, config: ArrayConfig, tasks: list[Task], source: Matrix,
              values: np.ndarray, target: Matrix, scale: np.ndarray | float, reference: np.ndarray,
              useful: int) -> Workload:
    """``tasks`` on a memory that holds the integer ``values`` in ``source`` and zeros behind them."""
    memory = np.zeros((target.end, config.memory_elements), dtype=np.int64)
    memory[source.base:source.end] = source.pack(values, config)
    return Workload(name, points, rows, config, assemble(config, tasks), memory, target, scale, False, reference,
                    useful, 0)


def _compile_mixing(name: str, config: ArrayConfig, x: np.ndarray) -> MixingLayer:
    """Calibrated on the matrices ``x``: the second transform on what the first one and its shifts leave."""
    _, tokens, hidden = x.shape
    columns = compile_fft(tokens, config, scaling="static", calibration=_packed_columns(x))
    unit = math.ldexp(columns.input_step, columns.stacks[0].shift)
    between = np.fft.fft(x, axis=1)[:, :mixed_rows(tokens)] / unit
    rows = compile_fft(hidden, config, scaling="static", calibration=between.reshape(-1, hidden),
                       input_limit=float(largest(config.element_width)))
    return MixingLayer(name, columns, rows)


def compile_network(network: Network, config: ArrayConfig, images: np.ndarray) -> dict[str, Layer]:
    """Every butterfly and mixing layer for the processor ``config``, with static shifts, calibrated on what the layer
    sees when ``images`` run in float.

    Raises WingbeatError when the processor is too small for a layer, or is none.
    """
    if not config.is_processor:
        raise WingbeatError("memory_bits: 0 is an array without memory units; the demonstration needs a processor, "
                            "allowed are 1..32")
    layers: dict[str, Layer] = {}

    def butterfly(name: str, rows: np.ndarray) -> np.ndarray:
        weights = network.butterflies[name]
        layers[name] = ButterflyLayer(name, compile_butterfly(weights, config, calibration=rows), weights)
        return float_butterfly(network)(name, rows)

    def fft2(name: str, x: np.ndarray) -> np.ndarray:
        layers[name] = _compile_mixing(name, config, x)
        return float_mixing(name, x)

    forward(network, images, butterfly, fft2)
    return layers


class ModelRunner:
    """Layers on the bit-exact model: a step of :func:`digits.forward`, for butterflies and mixing.

    ``saturated_blocks`` and ``clamped_inputs`` count what was clamped.
    """

    def __init__(self, layers: dict[str, Layer]):
        self.layers = layers
        self.saturated_blocks = 0
        self.clamped_inputs = 0

    def __call__(self, name: str, x: np.ndarray) -> np.ndarray:
        layer = self.layers[name]
        work = layer.workload(x)
        memory, outcomes = work.run_model()
        self.saturated_blocks += sum(outcome.saturated for outcome in outcomes)
        self.clamped_inputs += layer.clamped(x)
        return layer.output(work, memory)


class VerilogRunner:
    """Layers on the simulated Verilog, each compared with the model; one report a layer.

    ``announce`` is called with the name of each layer that has run.
    """

    def __init__(self, layers: dict[str, Layer], build: ProcessorBuild,
                 announce: Callable[[str], None] = lambda _: None):
        self.layers, self.build, self.announce = layers, build, announce
        self.reports: list[LayerReport] = []

    def __call__(self, name: str, x: np.ndarray) -> np.ndarray:
        layer = self.layers[name]
        work = layer.workload(x)
        run = run_workload(self.build, work, MemoryTiming())
        self.reports.append(_report(layer, work, run))
        self.announce(name)
        return layer.output(work, run.memory)


def _report(layer: Layer, work: Workload, run: ProcessorRun) -> LayerReport:
    counters = _counters(run.counters)
    predicted = _counters(estimate(work.config, work.program.instructions, work.program.setup))
    per_multiplier = work.useful / work.config.n_multipliers
    return LayerReport(
        layer=layer.name, kernel=layer.mode, n=work.points, stacks=layer.stacks, rows=work.rows,
        blocks=len(run.blocks), cycles=counters["total"], predicted_cycles=predicted["total"],
        predicted=predicted == counters, **{key: counters[key] for key in _COUNTERS[1:]},
        utilization=per_multiplier / counters["total"], utilization_limit=per_multiplier / counters["computing"],
        mismatches=run_mismatches(work, run), saturated_blocks=sum(block.saturated for block in run.blocks),
        sqnr_db=sqnr_db(work.reference, work.result(run.memory)))


def _counters(run: Counters | Cycles) -> dict[str, int]:
    return {name: getattr(run, name) for name in _COUNTERS}


# --- the command --------------------------------------------------------------------------------


def _total(reports: Sequence[LayerReport]) -> dict[str, Any]:
    """Sums over the layers; utilization weighted by cycles."""
    fields = ("cycles", "predicted_cycles", *_COUNTERS[1:], "mismatches")
    total: dict[str, Any] = {field: sum(getattr(r, field) for r in reports) for field in fields}
    return total | {"utilization": sum(r.utilization * r.cycles for r in reports) / total["cycles"]}


def _print_accuracy(rows: Sequence[dict[str, Any]]) -> None:
    print_table(["digits classified by", "held-out images", "accuracy"],
                [(row["by"], row["images"], f"{100 * row['accuracy']:.2f} %") for row in rows])


def _print_layers(reports: Sequence[LayerReport], total: dict[str, Any]) -> None:
    rows: list[tuple] = [(r.layer, r.kernel, r.n, r.stacks, r.rows, r.cycles, r.predicted_cycles,
                          f"{r.utilization:.3f}", f"{r.utilization_limit:.3f}", f"{r.sqnr_db:.1f}",
                          r.saturated_blocks, r.mismatches)
                         for r in reports]
    rows.append(("all layers", "", "", "", "", total["cycles"], total["predicted_cycles"],
                 f"{total['utilization']:.3f}", "", "", "", total["mismatches"]))
    print_table(["layer on Verilog", "kernel", "N", "stacks", "rows", "cycles", "cycle model", "utilization",
                 "at most", "SQNR dB", "saturated blocks", "mismatches"], rows)


def _print_synthesis(figures: dict[str, Any]) -> None:
    names = {"lut": "LUT", "ff": "FF", "bram": "block RAMs", "dsp": "multipliers"}
    counts = [f"{figures[kind]} {name}" for kind, name in names.items()]
    shares = [f"{100 * share:.0f} % {kind}" for kind, share in figures["utilisation"].items()]
    out.print(f"synthesis for {figures['target']} {figures['device']} by {figures['tools']['yosys']}: "
              f"{', '.join(counts)} ({', '.join(shares)} of the part)", markup=False)


def run_demo(images: int = IMAGES, preset: str = PRESET, json: Path | None = None) -> int:
    """Run the demonstration and print its tables; the same numbers go to ``json``.

    ``images`` of the held-out images run on the simulated Verilog, all of them on the model. Returns 0, or 1
    when the Verilog differs from the model or its counters from the cycle model. Raises WingbeatError for a
    bad number of images or preset.
    """
    network, split, config = load_network(), load_split(), load_preset(preset)
    held, labels = split.held_images, split.held_labels
    if not 1 <= images <= len(held):
        raise WingbeatError(f"--images: {images}; allowed are 1..{len(held)}")
    layers = compile_network(network, config, split.train_images)
    with progress("demo", len(layers) + 3) as step:
        exact, on_model = forward(network, held), ModelRunner(layers)
        model = forward(network, held, on_model, on_model)
        step("float and model")
        verilog = VerilogRunner(layers, build_processor(config), step)
        step("simulator built")
        simulated = forward(network, held[:images], verilog, verilog)
        figures = synthesize(config, target="ecp5")
        step("synthesis")
    total = _total(verilog.reports)
    scores = [{"by": by, "images": len(logits), "accuracy": accuracy(logits, labels[:len(logits)])}
              for by, logits in (("float64 in numpy", exact), ("bit-exact model", model),
                                 ("float64 in numpy", exact[:images]), ("bit-exact model", model[:images]),
                                 ("simulated Verilog", simulated))]
    out.print(f"processor {config.name}: {config.n_multipliers} multipliers, {config.engines} engines, "
              f"{config.layers} layers per pass, {config.width} bits inside, {config.memory_elements} elements of "
              f"{config.element_width} bits in a beat of memory", markup=False)
    _print_accuracy(scores)
    _print_layers(verilog.reports, total)
    _print_synthesis(figures)
    out.print(f"in numpy, not on the processor: {', '.join(_IN_NUMPY)}", markup=False)
    if json is not None:
        write_json(json, {"config": config.model_dump(mode="json"), "multipliers": config.n_multipliers,
                          "accuracy": scores, "layers": [asdict(report) for report in verilog.reports],
                          "total": total, "synthesis": figures, "in_numpy": list(_IN_NUMPY)})
    return 0 if total["mismatches"] == 0 and all(report.predicted for report in verilog.reports) else 1
