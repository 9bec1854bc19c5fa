"""Attention as a workload: what it computes on the integer model, what it counts, what does not fit."""

import pytest

from wingbeat.gen.explore.measure import OperationSize, workloads
from wingbeat.gen.presets.select import load_preset
from wingbeat.gen.workloads.kernels import AttentionSize, attention_workload
from wingbeat.hw.errors import WingbeatError
from wingbeat.sim.cycles.estimate import estimate
from wingbeat.sim.reference.metrics import sqnr_db

CONFIG = load_preset("attention-16")


@pytest.mark.parametrize("tokens, heads, features, causal, pairs", [
    (64, 1, 64, False, 64 * 64), (37, 2, 16, True, 37 * 38 // 2), (48, 3, 32, True, 48 * 49 // 2)])
def test_attention(tokens, heads, features, causal, pairs):
    work = attention_workload(CONFIG, AttentionSize(tokens, heads, features, causal), 3)
    memory, _ = work.run_model()
    assert sqnr_db(work.reference, work.result(memory)) > 69
    assert work.useful == 2 * pairs * heads * features
    found = estimate(CONFIG, work.program.instructions, work.program.setup, image=work.memory)
    assert work.useful < found.total * CONFIG.n_multipliers


@pytest.mark.parametrize("causal, key_heads, length, pairs", [
    (False, 1, None, 37 * 37), (True, 2, 20, 20 * 21 // 2 + 17 * 20), (False, 4, 1, 37), (False, None, 37, 37 * 37)])
def test_shared_keys_and_lengths(causal, key_heads, length, pairs):
    work = attention_workload(CONFIG, AttentionSize(37, 4, 16, causal, None, key_heads, length), 3)
    memory, _ = work.run_model()
    assert sqnr_db(work.reference, work.result(memory)) > 69 and work.useful == 2 * pairs * 4 * 16


def test_no_key_gives_zeros():
    work = attention_workload(CONFIG, AttentionSize(12, 1, 16, length=0), 3)
    memory, _ = work.run_model()
    assert not work.result(memory).any() and not work.reference.any() and work.useful == 0


@pytest.mark.parametrize("options, line", [
    ({"key_heads": 3}, "--key-heads: 3; allowed are divisors of 4 heads"),
    ({"key_heads": 0}, "--key-heads: 0; allowed are divisors of 4 heads"),
    ({"alibi": True}, "--alibi: allowed is --causal beside it"),
    ({"length": 9}, "--length: 9; allowed are 0..8"), ({"length": -1}, "--length: -1; allowed are 0..8")])
def test_options_that_do_not_fit(options, line):
    with pytest.raises(WingbeatError) as caught:
        attention_workload(CONFIG, AttentionSize(8, 4, 16, **options), 1)
    assert str(caught.value) == line


def test_longer_ones_use_more_of_the_array():
    def rate(tokens):
        work = attention_workload(CONFIG, AttentionSize(tokens), 1)
        return work.useful / estimate(CONFIG, work.program.instructions, work.program.setup, image=work.memory).total
    assert rate(32) < rate(64) < rate(128) < CONFIG.n_multipliers


def test_it_is_a_kernel_of_the_benches():
    [work] = workloads(CONFIG, ["attention"], [], OperationSize(tokens=24, heads=2, features=16, causal=True,
                                                                   key_heads=1, length=3))
    assert (work.name, work.points, work.rows) == ("attention", 16, 24)
    assert work.useful == 2 * (1 + 2 + 22 * 3) * 2 * 16


@pytest.mark.parametrize("sizes, line", [
    ((0, 1, 64), "--tokens: 0; allowed are numbers >= 1"), ((8, 0, 64), "--heads: 0; allowed are numbers >= 1"),
    ((8, 1, -1), "--head-features: -1; allowed are numbers >= 1"),
    ((8, 1, 20), "heads: of 20 features; allowed are multiples of 8, a beat")])
def test_sizes_that_do_not_fit(sizes, line):
    with pytest.raises(WingbeatError) as caught:
        attention_workload(CONFIG, AttentionSize(*sizes), 1)
    assert str(caught.value) == line
