"""The digits in patches: their data and their network."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="TORCH IS NOT INSTALLED: training is not tested")

from wingbeat.gen.train import digits, patches  # noqa: E402
from wingbeat.gen.workloads.digits import join_patches  # noqa: E402


def test_the_images_are_those_of_the_digits():
    found, wanted = patches.load_patches(), digits.load_task()
    for part, whole in ((found.training, wanted.training), (found.held, wanted.held)):
        np.testing.assert_array_equal(join_patches(part.inputs.numpy()), whole.inputs.numpy())
        assert torch.equal(part.labels, whole.labels)
    assert found.split["held_out_sha256"] == wanted.split["held_out_sha256"]


def test_random_changes_are_those_of_whole_images():
    task, whole = patches.load_patches(), digits.load_task()
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    changed = task.training.augment(task.training.inputs[:5], generators[0])
    assert changed.dtype == torch.float32
    np.testing.assert_array_equal(join_patches(changed.numpy()),
                                  whole.training.augment(whole.training.inputs[:5], generators[1]).numpy())


def test_the_network_has_one_attention():
    kinds = [inner["kind"] for layer in patches.PATCHES["layers"] for inner in layer.get("layers", ())]
    assert [kind for kind in kinds if kind in ("attention", "mixing")] == ["attention", "mixing"]
