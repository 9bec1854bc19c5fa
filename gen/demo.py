"""The demonstration: a digits classifier whose butterfly and FFT layers run on one generated array.

Float in numpy, the bit-exact model on all held-out images, the simulated Verilog on some of them: every word
that leaves the Verilog is compared with the model, and cycles come from the hardware's own counters. On the
Verilog the layers run one after the other: what one returns goes, through numpy operations, into the next.

A mixing layer packs two images into one complex row. With Z the transform of a + jb, (Z[k] + Z[-k]) / 2 is
Re A[k] + j Re B[k] (design.md, section 5); that sum is taken in numpy.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..hw.config import ArrayConfig
from ..hw.errors import WingbeatError
from ..sim.cycles import Cycles, estimate
from ..sim.reference import sqnr_db
from . import simulator
from .compiler import compile_butterfly, compile_fft2
from .console import out, print_table, progress
from .digits import (NUMPY_OPERATIONS, Network, Step, accuracy, float_butterfly, float_mixing, forward,
                     load_network, load_split)
from .files import write_json
from .kernel import Job, Kernel
from .presets import load_preset
from .selftest import model_blocks
from .simulate import count_mismatches
from .synth import synthesize

__all__ = ["LayerReport", "compile_network", "pack_images", "unpack_images", "ModelRunner", "VerilogRunner",
           "run_network", "run_demo"]

PRESET = "ulx3s-16"  # the array of the ULX3S board
IMAGES = 256         # held-out images on the simulated Verilog
_IN_NUMPY = (*NUMPY_OPERATIONS, "quantising and scaling at both ends of a layer",
             "separating the two images of a complex FFT row")
_COUNTERS = ("total", "computing", "waiting_input", "waiting_output", "waiting_hazard")


@dataclass(frozen=True)
class LayerReport:
    """One layer on the simulated Verilog, all stacks together.

    ``cycles`` is the hardware counter ``total``, ``computing`` and ``waiting_*`` the counters of those names;
    ``predicted_cycles`` is what the cycle model says, ``predicted`` whether it is right about every counter.
    ``utilization`` is useful multiplications per multiplier and cycle, loading and storing included; columns
    that the last pass leaves over keep it below ``utilization_limit``.
    ``mismatches`` counts raw words, exponents and flags that differ from the model; ``sqnr_db`` compares with
    the float layer on the same input.
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


# --- the network on an array --------------------------------------------------------------------


def pack_images(x: np.ndarray) -> np.ndarray:
    """Real images (count, tokens, hidden) as complex rows (ceil(count/2), tokens * hidden), two in a row."""
    if len(x) % 2:
        x = np.concatenate([x, np.zeros_like(x[:1])])
    return (x[0::2] + 1j * x[1::2]).reshape(len(x) // 2, -1)


def unpack_images(z: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Re(FFT2) of the images that :func:`pack_images` packed, from the transform ``z`` of its rows.

    ``shape`` is (count, tokens, hidden).
    """
    z = z.reshape(-1, *shape[1:])
    mirrored = np.roll(z[:, ::-1, ::-1], (1, 1), axis=(1, 2))  # element -k of both dimensions
    both = (z + mirrored) / 2
    return np.stack([both.real, both.imag], axis=1).reshape(-1, *shape[1:])[:shape[0]]


def compile_network(network: Network, config: ArrayConfig, images: np.ndarray) -> dict[str, Kernel]:
    """A kernel for every butterfly and mixing layer, calibrated on what it sees when ``images`` run in float.

    Butterflies have static shifts, the transforms block floating point. Raises WingbeatError when the array
    is too small for a layer.
    """
    kernels = {}

    def butterfly(name: str, rows: np.ndarray) -> np.ndarray:
        kernels[name] = compile_butterfly(network.butterflies[name], config, calibration=rows)
        return float_butterfly(network)(name, rows)

    def fft2(name: str, x: np.ndarray) -> np.ndarray:
        kernels[name] = compile_fft2(x.shape[1], x.shape[2], config, calibration=pack_images(x))
        return float_mixing(name, x)

    forward(network, images, butterfly, fft2)
    return kernels


def run_network(network: Network, images: np.ndarray, run: Step) -> np.ndarray:
    """Logits (count, classes) with every butterfly and mixing layer done by ``run(name, rows)``."""
    def fft2(name: str, x: np.ndarray) -> np.ndarray:
        return unpack_images(run(name, pack_images(x)), x.shape) / math.sqrt(x.shape[1] * x.shape[2])

    return forward(network, images, run, fft2)


class ModelRunner:
    """Layers on the bit-exact model; ``saturated_blocks`` and ``clamped_inputs`` count what was clamped."""

    def __init__(self, kernels: dict[str, Kernel]):
        self.kernels = kernels
        self.saturated_blocks = 0
        self.clamped_inputs = 0

    def __call__(self, name: str, rows: np.ndarray) -> np.ndarray:
        run = self.kernels[name].execute_model(rows)
        self.saturated_blocks += run.saturated_blocks
        self.clamped_inputs += run.clamped_inputs
        return run.y


class VerilogRunner:
    """Layers on the simulated Verilog, each compared with the model word by word; one report a layer.

    ``announce`` is called with the name of each layer that has run.
    """

    def __init__(self, kernels: dict[str, Kernel], build: simulator.Build, network: Network,
                 announce: Callable[[str], None] = lambda _: None):
        self.kernels, self.build, self.network, self.announce = kernels, build, network, announce
        self.reports: list[LayerReport] = []

    def __call__(self, name: str, rows: np.ndarray) -> np.ndarray:
        kernel = self.kernels[name]
        jobs = kernel.jobs(rows)
        runs = simulator.simulate(self.build, [simulator.trial(f"{name}-{number}", job)
                                               for number, job in enumerate(jobs)])
        blocks = [block for run in runs for block in run.blocks]
        y = kernel.unpack(blocks, len(rows))
        expected = [block for job in jobs for block in model_blocks(kernel.config, job)]
        mismatches = count_mismatches(blocks, expected)
        self.reports.append(self._report(name, rows, y, jobs, runs, mismatches))
        self.announce(name)
        return y

    def _report(self, name: str, rows: np.ndarray, y: np.ndarray, jobs: Sequence[Job],
                runs: Sequence[simulator.Run], mismatches: int) -> LayerReport:
        kernel = self.kernels[name]
        blocks = [block for run in runs for block in run.blocks]
        counters = _counters([run.counters for run in runs])
        predicted = _counters([estimate(kernel.config, job.program) for job in jobs])
        cycles = counters["total"]
        useful = kernel.multiplications_per_row * len(rows)
        return LayerReport(
            layer=name, kernel=kernel.mode.name.lower(), n=kernel.size, stacks=len(kernel.stacks),
            rows=len(rows), blocks=len(blocks), cycles=cycles, predicted_cycles=predicted["total"],
            predicted=predicted == counters, **{key: counters[key] for key in _COUNTERS[1:]},
            utilization=useful / (kernel.config.n_multipliers * cycles),
            utilization_limit=kernel.n_layers / (kernel.config.layers * len(kernel.stacks[0].passes)),
            mismatches=mismatches,
            saturated_blocks=sum(block.saturated for block in blocks),
            sqnr_db=sqnr_db(self._float(name, rows), y))

    def _float(self, name: str, rows: np.ndarray) -> np.ndarray:
        if name in self.network.butterflies:
            return float_butterfly(self.network)(name, rows)
        sizes = self.network.sizes
        return np.fft.fft2(rows.reshape(-1, sizes.tokens, sizes.hidden)).reshape(rows.shape)


def _counters(runs: Sequence[simulator.Counters | Cycles]) -> dict[str, int]:
    return {name: sum(getattr(run, name) for run in runs) for name in _COUNTERS}


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
    kernels = compile_network(network, config, split.train_images)
    with progress("demo", len(kernels) + 3) as step:
        exact = forward(network, held)
        model = run_network(network, held, ModelRunner(kernels))
        step("float and model")
        build = simulator.build_array(config)
        step("simulator built")
        verilog = VerilogRunner(kernels, build, network, step)
        simulated = run_network(network, held[:images], verilog)
        figures = synthesize(config, target="ecp5")
        step("synthesis")
    total = _total(verilog.reports)
    scores = [{"by": by, "images": len(logits), "accuracy": accuracy(logits, labels[:len(logits)])}
              for by, logits in (("float64 in numpy", exact), ("bit-exact model", model),
                                 ("float64 in numpy", exact[:images]), ("bit-exact model", model[:images]),
                                 ("simulated Verilog", simulated))]
    out.print(f"array {config.name}: {config.n_multipliers} multipliers, {config.engines} engines, "
              f"{config.layers} layers per pass, {config.width} bits inside", markup=False)
    _print_accuracy(scores)
    _print_layers(verilog.reports, total)
    _print_synthesis(figures)
    out.print(f"in numpy, not on the array: {', '.join(_IN_NUMPY)}", markup=False)
    if json is not None:
        write_json(json, {"config": config.model_dump(mode="json"), "multipliers": config.n_multipliers,
                          "accuracy": scores, "layers": [asdict(report) for report in verilog.reports],
                          "total": total, "synthesis": figures, "in_numpy": list(_IN_NUMPY)})
    return 0 if total["mismatches"] == 0 and all(report.predicted for report in verilog.reports) else 1
