"""The figures of README.md and docs/results.md as they stand there, against the cycle model and the records.

That the cycle model is right is what the other tests of this folder hold. What takes long is part of the campaign.
"""

from fractions import Fraction
from pathlib import Path
import re

import pytest


from wingbeat.gen.cli.demo import IMAGES
from wingbeat.gen.cli.evaluate import default_preset, evaluate_task
from wingbeat.gen.compiler.kernel.sparse import Pattern
from wingbeat.gen.compiler.network.compile import compile_network, default_batch
from wingbeat.gen.compiler.network.reference import forward
from wingbeat.gen.cosim.network import predict_network
from wingbeat.gen.cosim.timing import MemoryTiming
from wingbeat.gen.explore.fabnet import chain_cycles
from wingbeat.gen.explore.network import label_accuracy
from wingbeat.gen.presets.select import load_preset
from wingbeat.gen.workloads.fabnet import BlockShape, compile_block, vector_multipliers
from wingbeat.gen.workloads.kernels import bpmm_workload, dense_workload, ffn_workload, fft_workload, mixing_workload
from wingbeat.gen.workloads.shipped import load_dataset
from wingbeat.sim.cycles.estimate import estimate
from wingbeat.sim.cycles.memory import MemorySpeed

ROOT = Path(__file__).parents[2]
README, RESULTS = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/results.md"))
LONG = pytest.mark.campaign
SLOW_MEMORY = MemoryTiming(40, Fraction(12))
KERNELS = {"bpmm": bpmm_workload, "fft": fft_workload}


def figures(text, pattern):
    """The numbers that ``pattern`` finds, each the one match of a group."""
    [found] = re.findall(pattern, text)
    groups = (found,) if isinstance(found, str) else found
    return [float(number.replace(",", "")) for number in groups]


def row(text, name):
    """Cells of the one row of a table that begins with ``name``."""
    [line] = [line for line in text.split("\n") if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")[1:]]


def block_cycles(preset, timing):
    compiled, _ = compile_block(load_preset(preset), BlockShape(), 1, 1)
    return sum(each.total for each in predict_network(compiled, timing))


# --- Whole blocks -------------------------------------------------------------------------------------------------

def test_numbers_of_the_block_agree_with_each_other():
    [first] = figures(RESULTS, r"\*\*([\d,]+) cycles\*\*")
    [model] = figures(RESULTS, r"the cycle model says ([\d,]+) too")
    [further] = figures(RESULTS, r"takes ([\d,]+) cycles \(cycle model\)")
    twelve, more = figures(RESULTS, r"12 blocks take ([\d,]+) cycles and 24 blocks ([\d,]+)")
    assert first == model and twelve == first + 11 * further and more == first + 23 * further
    config = load_preset("array128-s2")
    multipliers = config.n_multipliers + vector_multipliers(config)
    for text in (README, RESULTS):
        cells = row(text, "**wingbeat `array128-s2`**")
        assert f"{first:,.0f}" in cells and f"{multipliers * first / 1e6:.0f}" in cells


@LONG
def test_cycles_of_a_block():
    [first] = figures(RESULTS, r"\*\*([\d,]+) cycles\*\*")
    [further] = figures(RESULTS, r"takes ([\d,]+) cycles \(cycle model\)")
    assert block_cycles("array128-s2", SLOW_MEMORY) == first
    assert chain_cycles(load_preset("array128-s2"), BlockShape(), SLOW_MEMORY, 1, 2, int(first)).further == further


@LONG
def test_cycles_of_a_block_on_640_multipliers():
    [found] = figures(RESULTS, r"words per multiplier: ([\d,]+) cycles")
    assert block_cycles("fabnet-640", MemoryTiming(40, Fraction(32))) == found


# --- Operations and kernels ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, make", [
    ("`fft2-real`, 1024 x 1024", lambda config: mixing_workload(config, 1024, 1024, 1)),
    pytest.param("`ffn`, 1024 -> 4096 -> 1024, no activation", lambda config: ffn_workload(config, 1024, 1024, 4, 1),
                 marks=LONG)], ids=["fft2-real", "ffn"])
def test_cycles_of_an_operation(name, make):
    config = load_preset("array128-s2")
    work = make(config)
    found = estimate(config, work.program.instructions, work.program.setup, MemorySpeed(40, Fraction(12)))
    ideal, *counts, utilisation, _ = row(RESULTS, name)
    assert [int(cell.replace(",", "")) for cell in counts] == [found.total, found.computing, found.waiting_input,
                                                                 found.waiting_output]
    assert int(ideal.replace(",", "")) * config.n_multipliers == work.useful
    assert f"{work.useful / config.n_multipliers / found.total:.3f}" == utilisation


def utilisation(preset, kernel, points):
    """A block may end with its last write a cycle or two earlier than another."""
    config = load_preset(preset)
    work = KERNELS[kernel](config, points, 4, "static", 1)
    out = estimate(config, work.program.instructions, work.program.setup).block_out
    useful, span = work.useful - work.first_useful, out[-1] - out[0]
    return [useful / (config.n_multipliers * (span + more)) for more in range(3)]


SIZES = [int(size) for size in row(RESULTS, "N")[:8]]
CELLS = [(preset, kernel, points) for preset in ("array128-s1", "array128-s2") for kernel in KERNELS
         for points in SIZES]
QUICK = [("array128-s2", kernel, points) for kernel in KERNELS for points in (64, 128, 512, 8192)]


@pytest.mark.parametrize("preset, kernel, points", [
    cell if cell in QUICK else pytest.param(*cell, marks=LONG) for cell in CELLS])
def test_utilisation_of_a_kernel(preset, kernel, points):
    shown = row(RESULTS, f"`{preset}`, {kernel}")[SIZES.index(points)]
    assert shown in {f"{min(1.0, found):.4f}" for found in utilisation(preset, kernel, points)}


def test_both_documents_show_the_same_utilisation():
    [line] = [line for line in README.split("\n") if line.startswith("| N | 64")]
    sizes = [int(cell) for cell in line.strip("| ").split("|")[1:]]
    for kernel, name in (("bpmm", "butterfly matrix"), ("fft", "FFT")):
        assert row(README, name)[:len(sizes)] == [row(RESULTS, f"`array128-s1`, {kernel}")[SIZES.index(size)]
                                                    for size in sizes]


# --- Products -----------------------------------------------------------------------------------------------------

def product_cycles(tokens, inputs, outputs, pattern=None):
    config, pattern = load_preset("matrix-16"), Pattern.parse(pattern) if pattern else None
    work = dense_workload(config, tokens, inputs, outputs, 1, pattern)
    found = estimate(config, work.program.instructions, work.program.setup, MemorySpeed(40, Fraction(4)),
                     image=work.memory)
    return found.total, work.useful / (config.n_multipliers * found.total)


@pytest.mark.parametrize("size", [(17, 64, 64), *(pytest.param(size, marks=LONG) for size in (
    (64, 512, 512), (64, 300, 200), (17, 1000, 1000), (17, 768, 3072), (17, 3072, 768)))], ids=str)
def test_dense_products(size):
    cycles, utilisation = product_cycles(*size)
    cells = row(RESULTS, " | ".join(f"{side:,}" for side in size))[2:]
    assert cells[:2] == [f"{cycles:,}", f"{utilisation:.3f}"]


@LONG
@pytest.mark.parametrize("pattern", ["1:2", "2:4", "4:8", "1:4", "2:8"])
def test_sparse_products(pattern):
    cycles, utilisation = product_cycles(64, 512, 512, pattern)
    dense = int(row(RESULTS, "64 | 512 | 512")[2].replace(",", ""))
    n, m = map(int, pattern.split(":"))
    assert row(RESULTS, pattern)[:3] == [f"{cycles:,}", f"{utilisation:.3f}", f"{dense * n / m / cycles:.4f}"]


# --- Networks -----------------------------------------------------------------------------------------------------

SHOWN = {"digits": "`digits`: two FABNet blocks, mixing",
         "digits_attention": "`digits_attention`: one softmax attention, one mixing"}


@LONG
@pytest.mark.parametrize("name", IMAGES)
def test_the_demonstration(name):
    """Cycles of a batch, and the accuracies of both documents."""
    task, config = load_dataset(name), load_preset(default_preset(name))
    batch = default_batch(task.network, config)
    compiled = compile_network(task.network, config, task.calibration, batch)
    found = label_accuracy(compiled.run_model(task.inputs[:IMAGES[name]]), task.labels[:IMAGES[name]])
    *_, accuracy, cycles, utilisation = row(RESULTS, SHOWN[name])
    total = sum(each.total for each in predict_network(compiled))
    useful = sum(operation.useful for operation in compiled.operations)
    assert cycles == f"{total:,}" and utilisation == f"{useful / config.n_multipliers / total:.3f}"
    assert accuracy == row(README, f"`{name}`")[-1] == f"{100 * found:.2f} %"


PATCHES = "**digits_attention**: one softmax attention, one mixing, of 16 patches"
ATTENTION = "listops_attention: two mixing, one softmax attention"
DENSE = "listops_dense: three softmax attentions, all matrices dense"


@LONG
@pytest.mark.parametrize("name, title", [("digits", "**digits**: two FABNet blocks, mixing"),
                                         ("digits_attention", PATCHES),
                                         ("listops", "**listops**: three FABNet blocks, mixing"),
                                         ("listops_attention", ATTENTION), ("listops_dense", DENSE)])
def test_accuracies_at_every_width(name, title):
    found = evaluate_task(name, load_preset(default_preset(name)))
    assert row(RESULTS, title)[2:] == [f"{100 * share:.2f} %" for share in found["accuracy"].values()]
    if found["host"]:
        layers, at_16 = found["layers"], found["widths"][0]
        useful, spent = (sum(layer[key] for layer in layers) for key in ("useful", "multiplier_cycles"))
        assert row(RESULTS, f"`{name}`") == [
            str(found["programs"]), f"{useful // found['batch']:,}", f"{sum(layer['cycles'] for layer in layers):,}",
            f"{useful / spent:.3f}", f"{at_16['clamped']:,}", f"{at_16['saturated_blocks']:,}"]


@pytest.mark.parametrize("name", IMAGES)
def test_the_demonstration_in_float(name):
    task, count = load_dataset(name), IMAGES[name]
    found = label_accuracy(forward(task.network, task.inputs[:count])[-1][1], task.labels[:count])
    for cells in (row(README, f"`{name}`"), row(RESULTS, SHOWN[name])[1:]):
        assert cells[:2] == [str(count), f"{100 * found:.2f} %"]


def test_trained_networks_are_those_of_their_records():
    names = {"digits": "**digits**: two FABNet blocks, mixing", "digits, dense": "digits, dense baseline",
             "digits_attention": PATCHES, "digits_attention, dense": "digits_attention, dense baseline",
             "listops": "**listops**: three FABNet blocks, mixing",
             "listops_attention": ATTENTION, "listops_dense": DENSE}
    seen = set()
    for task in map(load_dataset, ("digits", "digits_attention", "listops", "listops_attention",
                                   "listops_dense")):
        for name, record in {task.name: task.record, **task.record["beside"]}.items():
            if name == "listops, dense":  # what listops_dense was before its weights were kept
                assert figures(RESULTS, r"ended at ([\d.]+) %") == [round(100 * record["accuracy"]["float"], 2)]
                continue
            cells = row(RESULTS, names[name])
            assert cells[:2] == [f"{record['parameters']:,}", f"{record['multiplications']:,}"], name
            assert cells[2] == f"{100 * record['accuracy']['float']:.2f} %", name
            seen.add(name)
    assert seen == set(names)
    for share, text in ((100 * task.record["guesses"]["majority class"], "guessing the majority"),
                        (100 * task.record["guesses"]["best guess from the root operator"], "root operator")):
        assert figures(RESULTS, rf"{text} ([\d.]+) %") == [round(share, 2)]
