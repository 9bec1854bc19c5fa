"""The FABNet block of the bench: what it is, what it costs, and the table beside the published figures."""

from dataclasses import replace
import json
from math import erf

import numpy as np
import pytest

from wingbeat.gen.cli import bench as fabnet_bench
from wingbeat.gen.cli.app import main
from wingbeat.gen.compiler.network.reference import forward
from wingbeat.gen.cosim.network import predict_network
from wingbeat.gen.cosim.timing import MemoryTiming
from wingbeat.gen.explore.fabnet import BlockRun, chain_cycles
from wingbeat.gen.presets.select import load_preset
from wingbeat.gen.workloads.fabnet import PUBLISHED, BlockShape, compile_block, fabnet_network, vector_multipliers
from wingbeat.hw.errors import WingbeatError
from wingbeat.sim.reference.linear import butterfly_multiply
from wingbeat.sim.reference.metrics import sqnr_db

SMALL = BlockShape(tokens=16, hidden=64, ffn=128)
CONFIG = load_preset("hybrid-16")


def test_the_block_is_that_of_the_paper():
    """x += Re(FFT2(LN x)); x += W2 GELU(W1 LN x), written out once more."""
    network = fabnet_network(SMALL, 1, 5)
    mixing, ffn = network.layers
    x = np.random.default_rng(5).standard_normal((2, 16, 64))

    def norm(layer, rows):
        centred = rows - rows.mean(axis=-1, keepdims=True)
        return centred / np.sqrt(rows.var(axis=-1, keepdims=True) + 1e-5) * layer.scale + layer.offset

    def matrix(layer, rows):
        (w,) = layer.butterflies
        return butterfly_multiply(w.twiddle, rows, w.increasing_stride, w.out_size) + w.bias

    y = x + np.fft.fft2(norm(mixing.layers[0], x)).real / np.sqrt(16 * 64)
    wide = matrix(ffn.layers[1], norm(ffn.layers[0], y))
    y = y + matrix(ffn.layers[3], wide * np.vectorize(lambda v: (1 + erf(v / np.sqrt(2))) / 2)(wide))
    np.testing.assert_allclose(forward(network, x)[-1][1], y, atol=1e-12)


def test_useful_multiplications():
    """One for each real value and layer: 10 + 10 of the mixing, 10 of four stacks, 12."""
    assert BlockShape().useful == 1024 * 1024 * 20 + 1024 * (4 * 1024 * 10 + 4096 * 12)
    assert SMALL.useful == 16 * 64 * (4 + 6) + 16 * (2 * 64 * 6 + 128 * 7)


@pytest.mark.parametrize("sizes, message", [
    ({"tokens": 1000}, "--tokens: 1000; allowed are powers of two from 4 on"),
    ({"hidden": 2}, "--hidden: 2; allowed are powers of two from 4 on"),
    ({"ffn": 512}, "--ffn: 512; allowed are powers of two from --hidden = 1024 on")])
def test_bad_sizes_are_refused(sizes, message):
    with pytest.raises(WingbeatError, match=f"^{message}$"):
        BlockShape(**sizes)


def test_the_model_is_close_to_float():
    compiled, x = compile_block(CONFIG, SMALL, 1, 2)
    assert sqnr_db(forward(compiled.network, x)[-1][1], compiled.run_model(x)) > 70.4


def test_further_blocks_cost_less_than_the_first():
    """Their sums of rows are read while the block before computes."""
    compiled, _ = compile_block(CONFIG, SMALL, 1, 2)
    first = sum(each.total for each in predict_network(compiled))
    further = chain_cycles(CONFIG, SMALL, MemoryTiming(), 2, 2, first).further
    assert 0.8 * first < further < first


def test_published_figures():
    """405,760 to 420,864 cycles at 640 multipliers: the references; and MLX near four multiplications per block."""
    block, mlx = PUBLISHED
    assert (block.multipliers, block.least_cycles, block.most_cycles) == (640, 405_760, 420_864)
    assert mlx.multipliers == 128 and 2 * 907_000 < mlx.least_cycles < 2 * 907_000 / 0.8
    assert vector_multipliers(CONFIG) == 24


@pytest.fixture
def fake_run(monkeypatch):
    run = BlockRun(1_000_000, 1_000_000, 0, False, 75.0, [], 10)
    monkeypatch.setattr(fabnet_bench, "run_block", lambda *args, **options: fake_run.run)
    fake_run.run = run
    return fake_run


def test_the_comparison_is_printed_and_written(fake_run, tmp_path, capsys):
    path = tmp_path / "block.json"
    assert main(["bench", "fabnet-block", "--preset", "array128-s2", "--json", str(path)]) == 0
    record, text = json.loads(path.read_text(encoding="utf-8")), capsys.readouterr().out
    ours, *others = record["comparison"]
    assert ours["multiplier_cycles"] == (128 + 96) * 1_000_000
    assert [round(other["ratio"], 3) for other in others[:2]] == [2.029, 2.104]
    assert others[0]["multiplier_ratio"] == pytest.approx(640 * 405_760 / 224e6)
    assert "FABNet BE-40" in text and "0 mismatches" in text and "counts" in text


def test_other_sizes_are_compared_with_nobody(fake_run, tmp_path):
    path = tmp_path / "block.json"
    assert main(["bench", "fabnet-block", "--preset", "array128-s2", "--tokens", "64", "--json", str(path)]) == 0
    assert len(json.loads(path.read_text(encoding="utf-8"))["comparison"]) == 1


@pytest.mark.parametrize("change", [{"mismatches": 1}, {"model_cycles": 999_999}])
def test_it_fails_when_something_differs(fake_run, change):
    fake_run.run = replace(fake_run.run, **change)
    assert main(["bench", "fabnet-block", "--preset", "array128-s2"]) == 1


@pytest.mark.parametrize("arguments, line", [
    (["--preset", "array128-s2", "--layers", "0"], "--layers: 0; allowed are 1 and more"),
    (["--preset", "array128-s2", "--memory", "slow"], "memory: 'slow'; allowed are"),
    (["--preset", "processor-16", "--tokens", "16", "--hidden", "64", "--ffn", "128"],
     "vector: processor_16 has no [vector]"),
    (["--preset", "tiny"], "memory: tiny has no [memory]")])
def test_what_cannot_run_is_refused_in_one_line(arguments, line, capsys):
    assert main(["bench", "fabnet-block", *arguments]) == 2
    error = capsys.readouterr().err.splitlines()
    assert line in error[-1] and len([each for each in error if each.startswith("wingbeat:")]) == 1
