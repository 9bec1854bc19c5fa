"""Attention as a workload: what it computes on the integer model, what it counts, what does not fit."""

import pytest

from wingbeat.gen.explore.measure import OperationSize, workloads
from wingbeat.gen.presets.select import load_preset
from wingbeat.gen.workloads.kernels import attention_workload
from wingbeat.hw.errors import WingbeatError
from wingbeat.sim.cycles.estimate import estimate
from wingbeat.sim.reference.metrics import sqnr_db

CONFIG = load_preset("attention-16")


@pytest.mark.parametrize("tokens, heads, features, causal, pairs", [
    (64, 1, 64, False, 64 * 64), (37, 2, 16, True, 37 * 38 // 2), (48, 3, 32, True, 48 * 49 // 2)])
def test_attention(tokens, heads, features, causal, pairs):
    work = attention_workload(CONFIG, tokens, heads, features, causal, 3)
    memory, _ = work.run_model()
    assert sqnr_db(work.reference, work.result(memory)) > 69
    assert work.useful == 2 * pairs * heads * features
    found = estimate(CONFIG, work.program.instructions, work.program.setup, image=work.memory)
    assert work.useful < found.total * CONFIG.n_multipliers


def test_longer_ones_use_more_of_the_array():
    def rate(tokens):
        work = attention_workload(CONFIG, tokens, 1, 64, False, 1)
        return work.useful / estimate(CONFIG, work.program.instructions, work.program.setup, image=work.memory).total
    assert rate(32) < rate(64) < rate(128) < CONFIG.n_multipliers


def test_it_is_a_kernel_of_the_benches():
    [work] = workloads(CONFIG, ["attention"], [], OperationSize(tokens=24, heads=2, features=16, causal=True))
    assert (work.name, work.points, work.rows) == ("attention", 16, 24)


@pytest.mark.parametrize("sizes, line", [
    ((0, 1, 64), "--tokens: 0; allowed are numbers >= 1"), ((8, 0, 64), "--heads: 0; allowed are numbers >= 1"),
    ((8, 1, -1), "--features: -1; allowed are numbers >= 1"),
    ((8, 1, 20), "heads: of 20 features; allowed are multiples of 8, a beat")])
def test_sizes_that_do_not_fit(sizes, line):
    with pytest.raises(WingbeatError) as caught:
        attention_workload(CONFIG, *sizes, False, 1)
    assert str(caught.value) == line
