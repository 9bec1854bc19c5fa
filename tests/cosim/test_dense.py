"""Dense and N:M products in generated Verilog: every element of the memory and every counter equals the models."""

from fractions import Fraction

import pytest

from wingbeat.gen.compiler.kernel.sparse import Pattern
from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.job import Trial
from wingbeat.gen.cosim.testbench.simulators import find
from wingbeat.gen.cosim.timing import MEMORY_STALLS, MemoryTiming
from wingbeat.gen.explore.measure import run_deadline, run_mismatches
from wingbeat.gen.workloads.kernels import dense_workload
from wingbeat.hw.config import CoreConfig
from wingbeat.sim.cycles.estimate import estimate
from wingbeat.sim.cycles.memory import MemorySpeed
from wingbeat.sim.reference.metrics import sqnr_db

SHAPES = {1: dict(engines=4), 2: dict(engines=2), 4: dict(engines=1, stream_words=16)}
TIMINGS = [MemoryTiming(), MemoryTiming(20, Fraction(3, 2))]
# Tokens, inputs, outputs: one block; rows, tiles and a tail; inputs in chunks; all odd.
SIZES = [(16, 32, 32), (21, 40, 30), (3, 300, 16), (5, 131, 13)]
PATTERNS = ["1:2", "2:4", "1:4", "2:8", "4:8", "3:16"]


def config_of(layers):
    return CoreConfig.of(**dict(stream_words=4) | SHAPES[layers] | dict(
        layers=layers, width=18, element_width=16, coefficient_width=17, half_words=256 << (layers == 4),
        coefficient_words=128, ring_words=128, partial_words=64, sparse=layers < 4, program_words=2048, memory_bits=15,
        records=True))


@pytest.fixture(scope="module", params=SHAPES, ids=lambda layers: f"{layers} layers")
def core(request):
    """Configuration and build."""
    if find("verilator") is None:
        pytest.skip("verilator is not installed: no product was simulated on it")
    config = config_of(request.param)
    return config, Core(config).build()


def works_of(config):
    """Dense products of all sizes, and all patterns where there are any."""
    works = [dense_workload(config, *size, seed) for seed, size in enumerate(SIZES)]
    patterns = PATTERNS if config.sparse else []
    return works + [dense_workload(config, *SIZES[number % len(SIZES)], number, Pattern.parse(text))
                    for number, text in enumerate(patterns)]


def test_products(core):
    """On memories of every speed, and with all stalls."""
    config, build = core
    works = works_of(config)
    timings = [*TIMINGS, *(MemoryTiming(5, Fraction(2), stalls, 3) for stalls in sorted(MEMORY_STALLS))]
    pairs = {f"{at}-{number}": (work, timing) for at, work in enumerate(works) for number, timing in enumerate(timings)
             if number < 1 or at % 3 == number % 3}
    runs = build.simulate([Trial(name, work.program.setup, work.program.instructions, work.memory, timing,
                                 deadline=run_deadline(work, timing), n_blocks=len(work.program.stages))
                           for name, (work, timing) in pairs.items()])
    for run, (work, timing) in zip(runs, pairs.values(), strict=True):
        note = f"{work.name} {work.rows} x {work.points}, {timing}"
        assert not run.error and run_mismatches(work, run) == 0, note
        assert sqnr_db(work.reference, work.result(run.data)) > 75, note
        if timing.stalls == "none":
            speed = MemorySpeed(timing.latency, timing.words_per_cycle)
            found = estimate(work.config, work.program.instructions, work.program.setup, speed, image=work.memory)
            assert run.counters.total == found.total and run.counters.computing == found.computing, note
            assert {name: run.status[name] for name in found.units} == found.units, note
