"""The training library against the references that know nothing of PyTorch."""

from dataclasses import replace
import json
import tomllib

import numpy as np
import pytest
from safetensors.numpy import load_file

torch = pytest.importorskip("torch", reason="TORCH IS NOT INSTALLED: training is not tested")

from wingbeat.gen.workloads import listops as listops_data  # noqa: E402
from wingbeat.gen.compiler.kernel.sparse import Pattern  # noqa: E402
from wingbeat.gen.compiler.checkpoint import read_checkpoint  # noqa: E402
from wingbeat.gen.compiler.network.load import load_network  # noqa: E402
from wingbeat.gen.compiler.network.reference import forward  # noqa: E402
from wingbeat.gen.train import digits, listops, task  # noqa: E402
from wingbeat.gen.train.export import toml_text, export_network  # noqa: E402
from wingbeat.gen.train.layers import Attention, Butterfly, Dense, FourierMixing  # noqa: E402
from wingbeat.gen.train.network import Network, fabnet, with_attention, with_linear  # noqa: E402
from wingbeat.gen.train.pruning import with_pattern  # noqa: E402
from wingbeat.gen.train.fake_quantise import FakeQuantise, calibrate, fake_quantise, set_width  # noqa: E402
from wingbeat.gen.train.training import Data, Settings, accuracy, fine_tune, fit, prune  # noqa: E402
from wingbeat.sim.reference.linear import butterfly_multiply, mixing  # noqa: E402


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def small(mixers=("mixing", "attention"), pooling="mean", inputs=None):
    return fabnet("tiny", inputs or {"tokens": 4, "features": 6}, 16, 2, mixers, 5, pooling)


def sparse(pattern, mixers=("mixing",)):
    return with_pattern(with_linear(small(mixers)), Pattern.parse(pattern), "tiny_pruned")


def randomised(network, seed=7):
    """Weights that a layer cannot get wrong unnoticed, biases and LayerNorms included."""
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(torch.randn(value.shape, generator=generator(seed)) * 0.5 + 0.3)
            seed += 1
    return network.eval()


# --- layers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [2, 300])  # factor by factor, and multiplied out
@pytest.mark.parametrize("increasing", [True, False])
@pytest.mark.parametrize("n_blocks", [1, 2, 3])
@pytest.mark.parametrize("in_size, out_size", [(1, 1), (2, 5), (5, 5), (3, 17), (12, 4), (16, 10), (100, 130)])
def test_butterfly_is_the_reference(in_size, out_size, n_blocks, increasing, rows):
    layer = Butterfly(in_size, out_size, generator(), increasing, n_blocks).double()
    layer.bias.data = torch.randn(out_size, generator=generator(2)).double()
    x = np.random.default_rng(3).standard_normal((rows, 2, in_size))
    wanted = butterfly_multiply(layer.twiddle.detach().numpy(), x, increasing, out_size) + layer.bias.detach().numpy()
    np.testing.assert_allclose(layer(torch.tensor(x)).detach().numpy(), wanted, atol=1e-12, err_msg="seeds 1, 2, 3")


def test_butterfly_learns_the_same_both_ways():
    gradients = []
    for rows in (8, 16):  # the same sum over the rows: 8, and the 8 twice at half weight
        layer = Butterfly(8, 11, generator(), n_blocks=2)
        x = torch.randn((8, 8), generator=generator(2)).repeat(rows // 8, 1)
        (layer(x) ** 2).sum().mul(8 / rows).backward()
        gradients.append(layer.twiddle.grad)
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("norm, factor", [("ortho", 1 / np.sqrt(4 * 8)), ("none", 1)])
def test_mixing_is_the_reference(norm, factor):
    x = np.random.default_rng(4).standard_normal((3, 4, 8))
    got = FourierMixing(norm)(torch.tensor(x)).numpy()
    np.testing.assert_allclose(got, mixing(x) * factor, atol=1e-12, err_msg="seed 4")


def test_dropout_keeps_the_mean_and_rests_outside_training():
    network = Network(small(("mixing",)), 1, dropout=0.5)
    x = torch.randn((1, 4, 6), generator=generator()).expand(2_000, -1, -1)
    residual = next(m for m in network.modules() if hasattr(m, "inner"))
    x = network.layers[:3](x)
    quiet = residual.eval()(x)
    noisy = residual.train()(x)
    assert not torch.equal(noisy[0], noisy[1]) and torch.equal(quiet[0], quiet[1])
    torch.testing.assert_close(noisy.mean(0), quiet[0], atol=0.15, rtol=0.1)


# --- the network and its files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["mean", "flatten"])
@pytest.mark.parametrize("inputs", [{"tokens": 4, "features": 6}, {"tokens": 8, "vocabulary": 5}], ids=str)
@pytest.mark.parametrize("mixers", [("mixing",), ("mixing", "attention")], ids=str)
@pytest.mark.parametrize("described", [lambda each: each, with_linear], ids=["butterfly", "dense"])
def test_files_load_elsewhere_and_compute_the_same(tmp_path, described, mixers, inputs, pooling):
    network = randomised(Network(described(small(mixers, pooling, inputs)), 1))
    name = network.description["name"]
    export_network(tmp_path, network, {"seed": 1}, ["a line"])
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{name}.{end}" for end in ("json", "log", "safetensors",
                                                                                       "toml")]
    if "vocabulary" in inputs:
        x = torch.randint(0, 5, (3, 8), generator=generator())
    else:
        x = torch.randn((3, 4, 6), generator=generator())
    with torch.no_grad():
        logits = network(x).numpy()
    loaded = load_network(tmp_path / f"{name}.toml", tmp_path / f"{name}.safetensors")
    wanted = forward(loaded, x.numpy())[-1][1][:, 0]
    np.testing.assert_allclose(logits, wanted, atol=1e-4 * np.abs(wanted).max(), err_msg="weights of seed 7")


def test_butterflies_of_more_blocks_and_the_other_direction_survive_the_checkpoint(tmp_path):
    description = small()
    network = randomised(Network(description, 1, n_blocks={"block0.w2": 2, "block1.attention.k": 3}))
    export_network(tmp_path, network, {}, [])
    found = read_checkpoint(tmp_path / "tiny.safetensors")
    assert list(found) == sorted(name for name, _ in network.butterflies())
    assert not found["block0.w2"].increasing_stride and found["block0.w1"].increasing_stride
    assert found["block1.attention.k"].twiddle.shape[:2] == (1, 3)
    for name, layer in network.butterflies():
        weights = found[name]
        assert (weights.in_size, weights.out_size) == (layer.in_size, layer.out_size)
        assert np.array_equal(weights.twiddle, layer.twiddle.detach().double().numpy())
        assert np.array_equal(weights.bias, layer.bias.detach().double().numpy())
    x = torch.randn((2, 4, 6), generator=generator())
    loaded = load_network(tmp_path / "tiny.toml", tmp_path / "tiny.safetensors")
    with torch.no_grad():
        np.testing.assert_allclose(network(x).numpy(), forward(loaded, x.numpy())[-1][1][:, 0], rtol=1e-3)


def kept(weights, n, m, shared):
    """Whether of M inputs, spread over the whole row, at most N have weights, ``shared`` outputs taken together."""
    together = (np.asarray(weights) != 0).reshape(-1, shared, m, weights.shape[1] // m).any(axis=1)
    return together.sum(axis=1).max() <= n


def test_pruned_networks_load_elsewhere_keep_their_pattern_and_compute_the_same(tmp_path):
    network = randomised(Network(sparse("2:4"), 1))
    for layer in network.pruned():
        layer.choose(2)
        layer.clear()
    export_network(tmp_path, network, {}, [])
    tensors = load_file(tmp_path / "tiny_pruned.safetensors")
    assert all(kept(tensors[f"block0.{name}.weight"], 2, 4, 2) for name in ("w1", "w2"))
    assert np.count_nonzero(tensors["block0.w1.weight"]) == 32 * 8
    assert network.nonzero_count == network.parameter_count - 2 * 32 * 8
    x = torch.randn((3, 4, 6), generator=generator())
    loaded = load_network(tmp_path / "tiny_pruned.toml", tmp_path / "tiny_pruned.safetensors")
    with torch.no_grad():
        np.testing.assert_allclose(network(x).numpy(), forward(loaded, x.numpy())[-1][1][:, 0], rtol=1e-3)


def test_the_network_file_of_linear_layers():
    text = toml_text(sparse("2:4"))
    assert '[[layers]]\nkind = "linear"\nweights = "embed"\n\n' in text and "out_features" not in text
    assert '    { kind = "linear", weights = "block0.w1", sparsity = "2:4", stride = 4 },\n    { kind = "gelu" },\n' \
        '    { kind = "linear", weights = "block0.w2", sparsity = "2:4", stride = 8 },\n' in text
    dense = toml_text(with_linear(small()))
    assert dense.startswith('name = "tiny_dense"\n') and 'weights = "block0.w1" }' in dense and "sparsity" not in dense
    assert '{ kind = "attention", weights = "block1.attention", heads = 4 }' in dense


@pytest.mark.parametrize("description", [digits.DESCRIPTION, *listops.DESCRIPTIONS], ids=lambda each: each["name"])
def test_the_network_file_is_the_description(description):
    assert tomllib.loads(toml_text(description)) == description


def test_multiplications_counted_by_hand():
    mix, embed, w1, w2, head = 4 * 16 * (2 + 4), 4 * 2 * 8 * 3, 4 * 2 * 16 * 4, 4 * 32 * 5, 16 * 4
    assert Network(small(("mixing",)), 1).multiplications == embed + mix + w1 + w2 + head
    attention = 4 * (4 * 16 * 4) + 2 * 4 * 4 * 16
    assert Network(small(("attention",)), 1).multiplications == embed + attention + w1 + w2 + head
    dense = 4 * 6 * 16 + 4 * (4 * 16 * 16) + 2 * 4 * 4 * 16 + 2 * (4 * 16 * 32) + 16 * 5
    baseline = with_linear(with_attention(small(("mixing",))))
    assert Network(baseline, 1).multiplications == dense
    one_hot = baseline | {"input": {"tokens": 4, "vocabulary": 6}}
    assert Network(one_hot, 1).multiplications == dense - 4 * 6 * 16
    linear = 4 * 6 * 16 + mix + 2 * (4 * 16 * 32) + 16 * 5
    assert Network(with_linear(small(("mixing",))), 1).multiplications == linear
    assert Network(sparse("1:4"), 1).multiplications == linear - 2 * (4 * 16 * 32) * 3 // 4
    # B times a transposed B: the two factors in the middle have the same stride and are one.
    assert Butterfly(8, 8, generator(), n_blocks=2).multiplications == 8 * (2 * 3 - 1)


def test_baseline_has_the_depth_and_the_sizes_of_the_butterflies():
    plain, dense = Network(digits.DESCRIPTION, 1), Network(with_linear(with_attention(digits.DESCRIPTION)), 1)
    shapes = [{name: value.shape for name, value in each.tensors().items() if name.endswith("bias")
               and "attention" not in name} for each in (plain, dense)]
    assert shapes[0] == shapes[1]
    assert sum(isinstance(m, Attention) for m in dense.modules()) == sum(isinstance(m, FourierMixing)
                                                                         for m in plain.modules()) == 2
    assert dense.parameter_count == sum(value.numel() for value in dense.tensors().values())


LAYER = {"kind": "butterfly", "weights": "a", "out_features": 6}
BAD = [
    (lambda: Network({"input": {"tokens": 4, "features": 6}, "layers": [{"kind": "conv"}]}, 1), "kind: 'conv'"),
    (lambda: Network({"input": {"tokens": 4, "features": 6}, "layers": [LAYER, LAYER]}, 1), "'a' stands twice"),
    (lambda: Network({"input": {"tokens": 4, "features": 6},
                      "layers": [{"kind": "residual", "layers": [LAYER | {"out_features": 7}]}]}, 1), "residual: "),
    (lambda: Network({"input": {"tokens": 4, "features": 6}, "layers": [LAYER]}, 1)(torch.zeros((1, 4, 6))),
     "4 tokens are left"),
    (lambda: FourierMixing("forward"), "norm: 'forward'"),
    (lambda: Attention({"q": Butterfly(6, 6, generator())}, 4), "heads: 4 of 6"),
    (lambda: Butterfly(0, 3, generator()), "in_size, out_size, n_blocks: 0, 3, 1"),
    (lambda: small(("fft",)), "mixers: 'fft'"),
]


@pytest.mark.parametrize("call, message", BAD, ids=[message for _, message in BAD])
def test_what_cannot_be_built_is_refused(call, message):
    with pytest.raises(ValueError, match="allowed|become") as caught:
        call()
    assert message in str(caught.value)


# --- fake quantisation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [8, 12, 16])
@pytest.mark.parametrize("limit", [0.5, 8.0])
def test_fake_quantisation_is_half_up_and_saturates(width, limit):
    step = limit / 2 ** (width - 1)
    numerators = np.random.default_rng(5).integers(-5 * 2 ** width, 5 * 2 ** width, 20_000)  # in quarters of a step
    x = torch.tensor(np.append(numerators, [2, -2, 6, -6]) / 4 * step)
    wanted = np.clip((np.append(numerators, [2, -2, 6, -6]) + 2) // 4, -2 ** (width - 1), 2 ** (width - 1) - 1)
    assert np.array_equal(fake_quantise(x, width, limit).numpy() / step, wanted), "seed 5"


def test_gradient_passes_inside_the_range_only():
    x = torch.tensor([-9.0, -8.0, -0.3, 0.01, 7.9, 8.0], requires_grad=True)
    (fake_quantise(x, 8, 8.0) * torch.arange(1, 7)).sum().backward()
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 0]


@pytest.mark.parametrize("peak, limit", [(0.9, 1), (1.0, 1), (1.1, 2), (0.25, 0.25), (100, 128), (0, 1)])
def test_calibration_takes_the_power_of_two_above_the_peak(peak, limit):
    point = FakeQuantise()
    calibrate(torch.nn.Sequential(point), torch.tensor([[0.0], [-peak]]))
    assert point.limit == limit and not point.observing
    fixed = FakeQuantise(8.0)
    calibrate(torch.nn.Sequential(fixed), torch.tensor([[100.0]]))
    assert fixed.limit == 8


def test_every_tensor_that_the_hardware_rounds_is_on_its_grid():
    network = randomised(Network(small(), 1))
    x = torch.randn((30, 4, 6), generator=generator())
    calibrate(network, x)
    with torch.no_grad():
        exact = network(x)
        set_width(network, 8)
        coarse, outputs = network(x), []
        hooks = [point.register_forward_hook(lambda module, _, y: outputs.append((module, y)))
                 for point in network.modules() if isinstance(point, FakeQuantise)]
        network(x)
        set_width(network, None)
        assert torch.equal(network(x), exact)
    # input, embed, position, per block: 2 LayerNorms, mixer, w1 (in front of GELU), GELU, w2, 2 residual sums;
    # LayerNorm, mean, head; q, k, v and context of the attention
    assert len(hooks) == 3 + 2 * 8 + 3 + 4 and 0 < (coarse - exact).abs().max()
    for module, y in outputs[:len(hooks)]:
        steps = y / (module.limit / 128)
        assert torch.equal(steps, steps.round()) and steps.min() >= -128 and steps.max() <= 127
    assert sum(module.fixed == 8 for module, _ in outputs[:len(hooks)]) == 5 + 2


# --- training ---------------------------------------------------------------------------------------------------

QUICK = Settings(epochs=8, averaging=0.9, tuning_epochs=2, batch=32)


def separable(count=512):
    labels = torch.randint(0, 5, (count,), generator=generator(1))
    centres = torch.randn((5, 4, 6), generator=generator(2))
    return Data(centres[labels] + 0.3 * torch.randn((count, 4, 6), generator=generator(3)), labels)


def trained(seed):
    network, lines = Network(small(("mixing",)), seed, dropout=0.1), []
    fit(network, separable(), QUICK, seed, lines.append)
    before = accuracy(network, separable())
    fine_tune(network, separable(), QUICK, seed, lines.append)
    assert len(lines) == QUICK.epochs + QUICK.tuning_epochs
    return network, before


def test_training_learns_is_repeatable_and_keeps_its_accuracy_at_8_bits():
    network, before = trained(1)
    after = accuracy(network, separable())
    set_width(network, 8)
    assert before > 0.9 and after > 0.9 and accuracy(network, separable()) > 0.9
    again, _ = trained(1)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    other, _ = trained(2)
    assert not torch.equal(next(network.parameters()), next(other.parameters()))


@pytest.mark.parametrize("averaging, moves", [(1.0, False), (0.9, True)])
def test_the_moving_average_is_what_is_kept(averaging, moves):
    network, settings = Network(small(("mixing",)), 1), replace(QUICK, epochs=1, averaging=averaging)
    before = [value.detach().clone() for value in network.parameters()]
    fit(network, separable(64), settings, 1, lambda line: None)
    after = list(network.parameters())
    # Average 1.0 never leaves the first weights; any other follows every tensor that learns.
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)) is not moves


def test_scripts_write_all_files_and_compare_with_the_baseline(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(listops, "load_split", lambda: listops_data.load_split(300, 100))
    listops.main(["-o", str(tmp_path), "--epochs", "1", "--tuning-epochs", "1", "--seed", "4"])
    digits.main(["-o", str(tmp_path), "--epochs", "1", "--tuning-epochs", "0", "--no-baseline"])
    names = ("digits", "listops", "listops_attention")
    assert {p.name for p in tmp_path.iterdir()} == {f"{name}.{end}" for name in names
                                                    for end in ("json", "log", "safetensors", "toml")}
    record = json.loads((tmp_path / "listops.json").read_text())
    split = listops_data.load_split(300, 100)
    assert record["seed"] == 4 and record["held_out_sha256"] == split.fingerprint
    assert record["guesses"]["majority class"] == 0.1
    assert set(record["accuracy"]) == {"float", "16 bits", "12 bits", "8 bits"}
    assert set(record["beside"]) == {"listops_attention", "listops, dense"}
    loaded = load_network(tmp_path / "listops.toml", tmp_path / "listops.safetensors")
    hits = forward(loaded, split.held_tokens)[-1][1][:, 0].argmax(1) == split.held_labels
    assert abs(hits.mean() - record["accuracy"]["float"]) <= 0.01
    log = (tmp_path / "listops.log").read_text()
    assert log.startswith("seed 4, 300 training and 100 held-out inputs") and "majority class" in log
    assert log.splitlines()[-1] in capsys.readouterr().out


def test_validation_writes_nothing_and_does_not_look_at_the_held_out_part(tmp_path, monkeypatch, capsys):
    split = listops_data.load_split(300, 100)
    split.held_tokens[:, 1:] = 99  # no token: a network that sees it fails
    monkeypatch.setattr(listops, "load_split", lambda: split)
    listops.main(["-o", str(tmp_path), "--epochs", "1", "--tuning-epochs", "0", "--validate", "--no-baseline"])
    assert not list(tmp_path.iterdir())
    assert "240 training and 60 validation inputs" in capsys.readouterr().out


# --- pruning ----------------------------------------------------------------------------------------------------


def test_weights_outside_of_the_mask_learn_until_it_is_fixed():
    layer, x = Dense(8, 2, generator(), Pattern(1, 4, 2)), torch.randn((5, 8), generator=generator(2))
    assert layer.multiplications == 2 * 2
    dense = layer(x)
    layer.choose(2)
    assert layer.mask.sum() == 2 * 2 and torch.equal(layer.mask[0], layer.mask[1])
    layer(x).sum().backward()
    torch.testing.assert_close(layer.weight.grad, x.sum(0).expand(2, -1))
    assert not torch.equal(layer(x), dense)
    before, layer.weight.grad, layer.is_fixed = layer(x), None, True
    torch.testing.assert_close(layer(x), before)
    layer(x).sum().backward()
    torch.testing.assert_close(layer.weight.grad, x.sum(0) * layer.mask)
    layer.clear()
    assert torch.count_nonzero(layer.weight) == 2 * 2
    torch.testing.assert_close(layer(x), before)


@pytest.mark.parametrize("epochs, share, chosen", [(8, 0.25, 7), (4, 0.5, 3), (1, 0.25, 1), (2, 0.1, 2)])
def test_masks_are_chosen_every_epoch_until_the_last_ones(monkeypatch, epochs, share, chosen):
    network, calls, states = Network(sparse("2:4"), 1), [], []
    choose = Dense.choose

    def counted(layer, shared):
        calls.append(shared)
        choose(layer, shared)

    monkeypatch.setattr(Dense, "choose", counted)
    settings = replace(QUICK, phase_epochs=epochs, fixed_share=share)
    prune(network, separable(64), settings, 2, 1, lambda line: states.append(network.pruned()[0].is_fixed))
    assert calls == [2] * 2 * chosen  # two matrices
    assert states == [False] * (chosen - 1) + [True] * (epochs - chosen + 1)


def test_pruned_networks_learn_and_keep_their_pattern_in_fine_tuning():
    settings = replace(QUICK, phase_epochs=8)
    network = Network(sparse("1:4"), 1)
    fit(network, separable(), settings, 1, lambda line: None)
    prune(network, separable(), settings, 2, 1, lambda line: None)
    masks = [layer.mask.clone() for layer in network.pruned()]
    fine_tune(network, separable(), settings, 1, lambda line: None)
    set_width(network, 8)
    assert accuracy(network, separable()) > 0.9
    for layer, mask in zip(network.pruned(), masks, strict=True):
        assert torch.equal(layer.mask, mask) and torch.equal(layer.weight, layer.weight * mask)
        assert torch.count_nonzero(layer.weight) == mask.sum() and kept(layer.weight.detach().numpy(), 1, 4, 2)


SHORT = ["--epochs", "2", "--tuning-epochs", "1", "--phase-epochs", "1"]


def test_a_series_inherits_and_does_not_depend_on_what_comes_behind(tmp_path, capsys):
    digits.main(["-o", str(tmp_path / "both"), *SHORT, "--matrices", "1:4", "2:4"])
    out = capsys.readouterr().out
    digits.main(["-o", str(tmp_path / "one"), *SHORT, "--matrices", "2:4", "--shared", "2"])
    names = ("digits_dense", "digits_2of4", "digits_1of4")
    assert {p.name for p in (tmp_path / "both").iterdir()} == {f"{name}.{end}" for name in names
                                                               for end in ("json", "log", "safetensors", "toml")}
    for name in names[:2]:
        both, one = (load_file(tmp_path / folder / f"{name}.safetensors") for folder in ("both", "one"))
        assert all(np.array_equal(both[key], one[key]) for key in both)
    record = json.loads((tmp_path / "both" / "digits_1of4.json").read_text())
    assert (record["sparsity"], record["shared"], record["phases"]) == ("1:4", 2, ["3:4", "2:4", "1:4"])
    assert set(record["beside"]) == set(names[:2])
    assert record["nonzero_parameters"] == record["parameters"] - 4 * 64 * 256 * 3 // 4
    lines = [line for line in out.splitlines() if "pattern " in line or "come first" in line]
    assert [line.split(" ", 1)[1] for line in lines] == [
        "2 outputs share a mask; the weights of the dense network come first", "pattern 3:4", "pattern 2:4",
        "2 outputs share a mask; the weights of 2:4 come first", "pattern 1:4"]
    tensors = load_file(tmp_path / "both" / "digits_1of4.safetensors")
    assert all(kept(tensors[f"block{block}.{name}.weight"], 1, 4, 2) for block in (0, 1) for name in ("w1", "w2"))


def test_the_dense_network_of_listops_is_its_baseline(tmp_path, monkeypatch):
    """The baseline beside the butterfly networks and the network of `--matrices dense` are trained alike."""
    monkeypatch.setattr(listops, "load_split", lambda: listops_data.load_split(300, 100))
    short = ["--epochs", "1", "--tuning-epochs", "1"]
    listops.main(["-o", str(tmp_path / "all"), *short])
    listops.main(["-o", str(tmp_path / "dense"), *short, "--matrices", "dense"])
    assert {p.name for p in (tmp_path / "dense").iterdir()} == {f"listops_dense.{end}" for end in
                                                               ("json", "log", "safetensors", "toml")}
    record = json.loads((tmp_path / "dense" / "listops_dense.json").read_text())
    beside = json.loads((tmp_path / "all" / "listops.json").read_text())["beside"]["listops, dense"]
    assert {key: record[key] for key in beside} == beside and record["guesses"]["majority class"] == 0.1
    assert (record["parameters"], record["multiplications"]) == (106_378, 7_864_960)
    tensors = load_file(tmp_path / "dense" / "listops_dense.safetensors")
    assert tensors["block2.attention.out.weight"].shape == (64, 64)
    assert not any("twiddle" in name for name in tensors)
    network = load_network(*(tmp_path / "dense" / f"listops_dense.{end}" for end in ("toml", "safetensors")))
    split = listops_data.load_split(300, 100)
    hits = forward(network, split.held_tokens)[-1][1][:, 0].argmax(1) == split.held_labels
    assert abs(hits.mean() - record["accuracy"]["float"]) <= 0.01


def test_every_step_begins_where_the_one_before_ended(tmp_path, monkeypatch):
    ways = []

    def counting(network, data, settings, shared, seed, log):
        """In the place of a training: each step leaves its number in one weight."""
        weight = network.pruned()[0].weight
        ways.append((str(network.pruned()[0].pattern), seed, [int(value) for value in weight[0, :4].tolist()]))
        with torch.no_grad():
            weight[0, :4] *= 0 if len(ways) == 1 else 1
            weight[0, len(ways) - 1] = len(ways)

    monkeypatch.setattr(task, "prune", counting)
    digits.main(["-o", str(tmp_path), "--epochs", "1", "--tuning-epochs", "1", "--matrices", "1:4", "2:4"])
    assert [(pattern, seed) for pattern, seed, _ in ways] == [("3:4", 3), ("2:4", 4), ("1:4", 5)]
    assert [weights for *_, weights in ways][1:] == [[1, 0, 0, 0], [1, 2, 0, 0]]  # and not what fine-tuning made of it


@pytest.mark.parametrize("words, message", [
    (["butterfly", "2:4"], "butterfly among others; allowed alone"), (["4:4"], "'4:4'; allowed are N below M"),
    (["3:5"], "'3:5'; allowed are N:M with M of"), (["sparse"], "dense and butterfly"),
    (["2:4", "--shared", "5"], "--shared")])
def test_matrices_that_cannot_be_trained_are_refused(tmp_path, capsys, words, message):
    with pytest.raises(SystemExit):
        digits.main(["-o", str(tmp_path), "--matrices", *words])
    assert message in capsys.readouterr().err
