"""Masks of N:M and the way to a pattern, without PyTorch; the pruned networks of the package keep to theirs."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from wingbeat.gen.compiler.kernel.sparse import Pattern
from wingbeat.gen.compiler.network.load import load_network
from wingbeat.gen.compiler.network.reference import forward
from wingbeat.gen.train.pruning import choose_mask, pattern_of, phases, spread, with_pattern
from wingbeat.gen.workloads import digits, shipped

NETWORKS = Path(shipped.__file__).parent / "networks"
PRUNED = {"digits_2of4": "2:4", "digits_1of4": "1:4"}
SERIES = ("digits_dense", *PRUNED)


def members(inputs, m, stride):
    """Inputs of every group, written down one by one."""
    found = {}
    for i in range(inputs):
        found.setdefault((i // (m * stride), i % stride), []).append(i)
    return list(found.values())


@pytest.mark.parametrize("shared", [1, 2, 3, 4])
@pytest.mark.parametrize("n, m, stride, inputs", [(2, 4, 1, 16), (2, 4, 16, 64), (1, 4, 4, 32), (3, 4, 2, 8),
                                                  (1, 2, 8, 16), (3, 8, 2, 48), (4, 16, 1, 32)])
def test_masks_keep_the_largest_n_of_every_group(n, m, stride, inputs, shared):
    weights = np.random.default_rng(1).standard_normal((7, inputs))
    mask = choose_mask(weights, Pattern(n, m, stride), shared)
    assert mask.shape == weights.shape and mask.dtype == bool
    for row in range(0, len(weights), shared):
        rows = slice(row, row + shared)
        assert (mask[rows] == mask[row]).all()
        for group in members(inputs, m, stride):
            assert len(group) == m and {j - i for i, j in zip(group, group[1:])} == {stride}
            size = (weights[rows, group] ** 2).sum(axis=0)
            stays = mask[row, group]
            assert stays.sum() == n and size[stays].min() > size[~stays].max(), "seed 1"


def test_the_sign_does_not_count_and_shared_rows_decide_together():
    weights = np.array([[-9.0, 1, 2, 3], [0, 5, 0, 6]])
    assert choose_mask(weights, Pattern(2, 4, 1), 1).astype(int).tolist() == [[1, 0, 0, 1], [0, 1, 0, 1]]
    assert choose_mask(weights, Pattern(2, 4, 1), 2).astype(int).tolist() == [[1, 0, 0, 1], [1, 0, 0, 1]]


def test_groups_of_zeros_and_of_equals_keep_n_as_well():
    for weights in (np.zeros((2, 8)), np.ones((2, 8), np.float32)):
        assert (choose_mask(weights, Pattern(3, 4, 2), 2).sum(axis=1) == 6).all()


@pytest.mark.parametrize("pattern", [Pattern(2, 4, 0), Pattern(2, 4, 2)])
def test_groups_that_are_not_whole_are_refused(pattern):
    with pytest.raises(ValueError, match="^weights: 12 inputs for 2:4 with a stride of .; allowed are whole groups$"):
        choose_mask(np.ones((2, 12)), pattern, 1)


@pytest.mark.parametrize("target, way", [
    ("2:4", "3:4 2:4"), ("1:4", "3:4 2:4 1:4"), ("3:4", "3:4"), ("1:2", "1:2"), ("1:8", "6:8 4:8 2:8 1:8"),
    ("3:8", "6:8 4:8 3:8"), ("1:16", "12:16 8:16 4:16 2:16 1:16"), ("15:16", "15:16"), ("4:4", "")])
def test_the_way_to_a_pattern(target, way):
    assert " ".join(map(str, phases(Pattern.parse(target)))) == way


def test_no_step_takes_more_than_half():
    for m in (2, 4, 8, 16):
        for n in range(1, m):
            way = [m, *(each.n for each in phases(Pattern(n, m, 4)))]
            assert way[-1] == n and all(after < before <= 2 * after for before, after in zip(way, way[1:]))
            assert all(each.stride == 4 and each.m == m for each in phases(Pattern(n, m, 4)))


def test_the_stride_is_that_of_whole_rows():
    assert spread(Pattern(2, 4), 64) == Pattern(2, 4, 16) and spread(Pattern(1, 8), 8) == Pattern(1, 8, 1)
    for inputs in (2, 10, 24):
        with pytest.raises(ValueError, match=f"^in_features: {inputs} with 2:4; allowed are M times a power of two$"):
            spread(Pattern(2, 4), inputs)


def test_only_linear_layers_of_residuals_get_the_pattern():
    inner = [{"kind": "layernorm", "weights": "n"}, {"kind": "linear", "weights": "a", "out_features": 32},
             {"kind": "gelu"}, {"kind": "linear", "weights": "b", "out_features": 16}]
    description = {"name": "x", "input": {"tokens": 4, "features": 6}, "layers": [
        {"kind": "linear", "weights": "embed", "out_features": 16}, {"kind": "residual", "layers": inner},
        {"kind": "flatten"}, {"kind": "residual", "layers": [{"kind": "linear", "weights": "c", "out_features": 64}]},
        {"kind": "linear", "weights": "head", "out_features": 5}]}
    found = with_pattern(description, Pattern(2, 4), "y")
    assert found["name"] == "y" and description["name"] == "x" and "sparsity" not in inner[1]
    first, last = found["layers"][1]["layers"], found["layers"][3]["layers"]
    assert [layer.get("stride") for layer in (*first, *last)] == [None, 4, None, 8, 16]
    assert [pattern_of(layer) for layer in (found["layers"][0], first[1], found["layers"][4])] \
        == [None, Pattern(2, 4, 4), None]
    assert {layer["sparsity"] for layer in (first[1], first[3], last[0])} == {"2:4"}


# --- the networks of the package --------------------------------------------------------------------------------


def record_of(name):
    return json.loads((NETWORKS / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PRUNED)
def test_weights_of_the_shipped_networks_keep_the_pattern(name):
    tensors, record = load_file(NETWORKS / f"{name}.safetensors"), record_of(name)
    assert (record["sparsity"], record["shared"]) == (PRUNED[name], 2)
    n, m = map(int, PRUNED[name].split(":"))
    for layer in ("block0.w1", "block0.w2", "block1.w1", "block1.w2"):
        used = tensors[f"{layer}.weight"] != 0
        inputs = used.shape[1]
        assert inputs in (64, 256)
        pairs = used[0::2] | used[1::2]
        for group in members(inputs, m, inputs // m):
            assert pairs[:, group].sum(axis=1).max() <= n
        assert used.mean() > 0.99 * n / m
    for layer in ("embed", "head"):
        assert (tensors[f"{layer}.weight"] != 0).all()
    assert record["parameters"] == sum(tensor.size for tensor in tensors.values())
    assert record["nonzero_parameters"] == sum(np.count_nonzero(tensor) for tensor in tensors.values())


@pytest.mark.parametrize("name", SERIES)
def test_shipped_networks_do_what_their_records_say(name):
    network = load_network(NETWORKS / f"{name}.toml", NETWORKS / f"{name}.safetensors")
    patterns = [layer.pattern for outer in network.layers for layer in outer.layers if layer.kind == "linear"]
    wanted = Pattern.parse(PRUNED[name]) if name in PRUNED else None
    assert patterns == [wanted and spread(wanted, inputs) for inputs in (64, 256, 64, 256)]
    record, split = record_of(name), digits.load_split()
    assert record["held_out_sha256"] == split.fingerprint and set(record["beside"]) == set(SERIES) - {name}
    hits = forward(network, split.held_images)[-1][1][:, 0].argmax(1) == split.held_labels
    assert hits.mean() == pytest.approx(record["accuracy"]["float"], abs=1 / len(hits))
    assert f"{record['nonzero_parameters']:,}" in (NETWORKS / f"{name}.log").read_text(encoding="utf-8")
