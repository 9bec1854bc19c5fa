"""The search for the granularity of attention on the cycle model, and points of it on the simulated Verilog."""

from fractions import Fraction

import pytest

from support.attention import attention_config

from wingbeat.gen.compiler.program.granularity import Tiles
from wingbeat.gen.cosim.core import Core
from wingbeat.gen.cosim.timing import MemoryTiming
from wingbeat.gen.explore.attention import bench_attention, count_tiles, search_granularity
from wingbeat.gen.explore.measure import run_mismatches, run_workload
from wingbeat.gen.workloads.kernels import AttentionSize, attention_workload
from wingbeat.hw.errors import WingbeatError

SEED = 1
FAST = MemoryTiming(40, Fraction(4))


def size(causal=False, tokens=64, **others):
    return AttentionSize(tokens, 2, 16, causal, **others)


@pytest.mark.thin(3)
@pytest.mark.parametrize("half_words, words, causal", [
    (256, 4, False), (256, Fraction(1, 2), True), (1024, Fraction(1, 2), False), (512, 4, False), (1024, 4, True),
    (512, Fraction(1, 2), False), (512, 4, True), (1024, 4, False), (256, 4, True), (256, Fraction(1, 2), False),
    (512, Fraction(1, 2), True), (1024, Fraction(1, 2), True)])
def test_the_choice_is_next_to_the_best_of_all_points(half_words, words, causal):
    config = attention_config("one engine", half_words=half_words)
    seen = []
    found = search_granularity(config, size(causal), MemoryTiming(40, Fraction(words)), SEED, report=seen.append)
    (chosen,) = (point for point in found if point.chosen)
    assert chosen.cycles <= 1.01 * found[0].cycles and found[0].cycles < 0.8 * found[-1].cycles, f"seed {SEED}"
    assert len(seen) == len(found) == count_tiles(config, size(causal)) > 5


@pytest.mark.parametrize("tiles", [Tiles(1, 64), Tiles(2, 16), Tiles(3, 32)], ids=str)
def test_points_of_the_search_on_the_simulated_verilog(tiles):
    config = attention_config("one engine")
    (point,) = (point for point in search_granularity(config, size(tokens=32), FAST, SEED)
                if (point.rows_of_block, point.keys_of_chunk) == (2 << tiles.row_bits, min(32, tiles.keys)))
    work = attention_workload(config, size(tokens=32), SEED, tiles._replace(keys=min(32, tiles.keys)))
    run = run_workload(Core(config).build(), work, FAST)
    assert run_mismatches(work, run) == 0 and run.counters.total == point.cycles


@pytest.mark.parametrize("case", [size(), size(causal=True), size(tokens=61, window=9)], ids=str)
def test_figures(case):
    config = attention_config("one engine")
    found = bench_attention(config, case, FAST, SEED)
    assert found.mismatches == 0 and found.cycles == found.model_cycles and found.sqnr_db > 60, f"seed {SEED}"
    seen = sum(1 for i in range(case.tokens) for j in range(case.tokens)
               if not (case.causal and j > i) and not (case.window is not None and abs(i - j) > case.window))
    assert found.useful_multiplier_cycles == 2 * 2 * 16 * seen <= found.computed_multiplier_cycles
    assert found.utilisation == found.useful_multiplier_cycles / (found.multipliers * found.cycles)
    padded = -(-case.tokens // 8) * 8  # of a row of the transposed values
    assert found.words_written == 2 * 16 * (case.tokens + padded) // 2
    assert found.words_read >= 2 * 16 * (2 * case.tokens + 2 * padded) // 2  # to be turned; queries, keys, values


def test_figures_of_the_cycle_model_alone():
    config = attention_config("one engine")
    modelled, run = (bench_attention(config, size(), FAST, SEED, simulator=name) for name in (None, "verilator"))
    assert modelled.cycles is modelled.words_read is modelled.mismatches is modelled.sqnr_db is None
    assert (modelled.model_cycles, modelled.utilisation) == (run.cycles, run.utilisation)


def test_tiles_that_the_user_gives():
    config = attention_config("one engine")
    given = bench_attention(config, size(), FAST, SEED, tiles=(8, 32), simulator=None)
    (point,) = (point for point in search_granularity(config, size(), FAST, SEED)
                if (point.rows_of_block, point.keys_of_chunk) == (8, 32))
    assert (given.rows_of_block, given.keys_of_chunk) == (8, 32) and given.model_cycles == point.cycles
    with pytest.raises(WingbeatError, match="^--tiles: 8,33; allowed are .*; 8,32; "):
        bench_attention(config, size(), FAST, SEED, tiles=(8, 33), simulator=None)


def test_a_window_out_of_range():
    with pytest.raises(WingbeatError, match="^--window: 0; allowed are 1..4095$"):
        bench_attention(attention_config("one engine"), size(window=0), FAST, SEED)
