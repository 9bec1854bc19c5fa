"""The digits network: data, shipped weights, the float reference and the training."""

import json
from pathlib import Path

import numpy as np
import pytest

from wingbeat.gen import digits
from wingbeat.hw.errors import WingbeatError

NETWORKS = Path(digits.__file__).parent / "networks"


@pytest.fixture(scope="module")
def network():
    return digits.load_network()


@pytest.fixture(scope="module")
def split():
    return digits.load_split()


# --- data and weights ---------------------------------------------------------------------------


def test_split_is_the_one_the_weights_were_trained_with(network, split):
    assert network.record["held_out_sha256"] == split.fingerprint
    assert network.record["held_out_images"] == len(split.held_labels)


def test_split_holds_out_30_percent_of_every_class_and_shares_no_image(split):
    for label in range(10):
        held, trained = (int(np.sum(part == label)) for part in (split.held_labels, split.train_labels))
        assert held == round(0.3 * (held + trained))
    assert len(split.held_labels) + len(split.train_labels) == 1797
    assert len(np.unique(split.held_indices)) == len(split.held_indices)
    # Indices of both parts cover the data: the pixels of all images add up.
    everything = np.concatenate([split.held_images, split.train_images])
    assert len(np.unique(everything.reshape(1797, -1), axis=0)) == 1797


def test_float_accuracy_on_held_out_images(network, split):
    score = digits.accuracy(digits.forward(network, split.held_images), split.held_labels)
    assert score >= 0.97
    assert score == pytest.approx(network.record["held_out_accuracy"], abs=1 / len(split.held_labels))


def test_log_tells_the_same_as_the_record(network):
    log = (NETWORKS / "digits.log").read_text(encoding="utf-8").splitlines()
    assert log[0].startswith(f"seed {network.record['seed']}, {network.record['epochs']} epochs")
    assert f"held-out accuracy {network.record['held_out_accuracy']:.4f}" in log[-1]


def test_weights_that_do_not_fit_the_sizes_are_refused(tmp_path, monkeypatch):
    for name in ("digits.json", "digits.safetensors"):
        (tmp_path / "networks").mkdir(exist_ok=True)
        (tmp_path / "networks" / name).write_bytes((NETWORKS / name).read_bytes())
    record = json.loads((NETWORKS / "digits.json").read_text(encoding="utf-8"))
    record["sizes"]["blocks"] += 1
    (tmp_path / "networks" / "digits.json").write_text(json.dumps(record), encoding="utf-8")
    monkeypatch.setattr(digits.resources, "files", lambda package: tmp_path)
    with pytest.raises(WingbeatError, match="digits.safetensors: butterfly layers"):
        digits.load_network()


# --- the forward pass ---------------------------------------------------------------------------


def test_every_layer_is_called_once_in_order_and_its_result_is_used(network, split):
    calls = []
    reference = digits.float_butterfly(network)

    def butterfly(name, rows):
        calls.append((name, rows.shape[1]))
        return reference(name, rows)

    def fft2(name, x):
        calls.append((name, x.shape[1:]))
        return digits.float_mixing(name, x)

    images, sizes = split.held_images[:6], network.sizes
    logits = digits.forward(network, images, butterfly, fft2)
    expected = {name: n_in for name, n_in, _, _ in sizes.butterflies()}
    expected |= {name: (sizes.tokens, sizes.hidden) for name in sizes.mixings()}
    assert dict(calls) == expected and len(calls) == len(expected)
    np.testing.assert_array_equal(logits, digits.forward(network, images))
    for broken in expected:
        spoilt = digits.forward(network, images,
                                lambda name, rows, b=broken: reference(name, rows) * (name != b),
                                lambda name, x, b=broken: digits.float_mixing(name, x) * (name != b))
        assert not np.allclose(spoilt, logits), broken


# --- the training -------------------------------------------------------------------------------


def test_training_script_computes_the_same_network(network, split):
    torch = pytest.importorskip("torch", reason="TORCH IS NOT INSTALLED: training is not tested")
    from safetensors.torch import load_file

    from wingbeat.gen.train.digits import DigitsNetwork

    trained = DigitsNetwork(network.sizes, torch.Generator())
    trained.load_state_dict(load_file(NETWORKS / "digits.safetensors"))
    trained.eval()
    images = split.held_images[:50]
    with torch.no_grad():
        logits = trained(torch.tensor(images, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(digits.forward(network, images), logits, atol=1e-4)


def test_training_learns_and_writes_what_the_package_loads(tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="TORCH IS NOT INSTALLED: training is not tested")
    from wingbeat.gen.train.digits import main

    main(["-o", str(tmp_path / "networks"), "--epochs", "2", "--hidden", "16", "--blocks", "1"])
    monkeypatch.setattr(digits.resources, "files", lambda package: tmp_path)
    small = digits.load_network()
    assert small.sizes.hidden == 16 and small.record["seed"] == 1
    assert digits.forward(small, np.zeros((1, 8, 8))).shape == (1, 10)
