"""Dense and N:M products in generated Verilog: every element of the memory and every counter equals the models."""

from fractions import Fraction

import pytest

from wingbeat.gen.compiler.kernel.sparse import Pattern
from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.testbench.simulators import find
from wingbeat.gen.cosim.timing import MEMORY_STALLS, MemoryTiming
from wingbeat.gen.explore.measure import run_mismatches, run_workload
from wingbeat.gen.workloads.kernels import dense_workload
from wingbeat.hw.config import CoreConfig
from wingbeat.sim.cycles.estimate import estimate
from wingbeat.sim.cycles.memory import MemorySpeed
from wingbeat.sim.reference.metrics import sqnr_db

SHAPES = {1: dict(engines=4), 2: dict(engines=2), 4: dict(engines=1, stream_words=16)}
TIMINGS = [MemoryTiming(), MemoryTiming(40, Fraction(3)), MemoryTiming(2, Fraction(1))]
# Tokens, inputs, outputs: one block; rows, tiles and a tail; inputs in chunks; all odd.
SIZES = [(16, 32, 32), (37, 60, 70), (9, 700, 40), (5, 131, 13)]
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


def check(build, works, timing):
    for work in works:
        run, note = run_workload(build, work, timing), f"{work.name} {work.rows} x {work.points}, {timing}"
        assert run_mismatches(work, run) == 0, note
        assert sqnr_db(work.reference, work.result(run.data)) > 75, note
        if timing.stalls == "none":
            speed = MemorySpeed(timing.latency, timing.words_per_cycle)
            found = estimate(work.config, work.program.instructions, work.program.setup, speed, image=work.memory)
            assert run.counters.total == found.total and run.counters.computing == found.computing, note
            assert {name: run.status[name] for name in found.units} == found.units, note


@pytest.mark.parametrize("timing", TIMINGS, ids=lambda timing: f"{timing.latency},{timing.words_per_cycle}")
def test_dense(core, timing):
    config, build = core
    check(build, [dense_workload(config, *size, seed) for seed, size in enumerate(SIZES)], timing)


@pytest.mark.parametrize("timing", TIMINGS, ids=lambda timing: f"{timing.latency},{timing.words_per_cycle}")
def test_sparse(core, timing):
    """All patterns where there are any."""
    config, build = core
    works = [dense_workload(config, *SIZES[number % len(SIZES)], number, Pattern.parse(text))
             for number, text in enumerate(PATTERNS if config.sparse else [])]
    check(build, works, timing)


@pytest.mark.parametrize("stalls", sorted(MEMORY_STALLS))
def test_stalls_change_nothing(core, stalls):
    config, build = core
    patterns = [None, Pattern(2, 4)] if config.sparse else [None]
    works = [dense_workload(config, *size, 7, pattern) for size in SIZES[1:3] for pattern in patterns]
    check(build, works, MemoryTiming(5, Fraction(2), stalls, 3))
