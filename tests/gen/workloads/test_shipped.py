"""The trained networks of the package: they belong to their data, and do what their records say."""

from importlib import resources
import json
from pathlib import Path
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from wingbeat.gen.compiler.network.reference import forward
from wingbeat.gen.explore.network import label_accuracy
from wingbeat.gen.workloads import shipped
from wingbeat.gen.workloads.shipped import TASKS, load_dataset
from wingbeat.hw.errors import WingbeatError

NETWORKS = Path(shipped.__file__).parent / "networks"
SOME = 500  # held-out inputs
LONG = {"listops", "listops_attention", "listops_dense"}  # half a minute and minutes in float


@pytest.fixture(scope="module", params=sorted(TASKS))
def task(request):
    return load_dataset(request.param)


@pytest.mark.parametrize("task", [
    pytest.param(name, marks=pytest.mark.campaign) if name in LONG else name for name in sorted(TASKS)], indirect=True)
def test_float_accuracy_is_that_of_the_record(task):
    """On the first held-out inputs: within three standard deviations of what all of them gave."""
    inputs, labels = task.inputs[:SOME], task.labels[:SOME]
    share, whole = label_accuracy(forward(task.network, inputs)[-1][1], labels), task.record["accuracy"]["float"]
    room = 3 * np.sqrt(whole * (1 - whole) / len(labels)) if len(task.labels) > SOME else 1 / len(labels)
    assert share == pytest.approx(whole, abs=room)


def test_record_has_what_the_table_needs(task):
    record = task.record
    assert record["held_out_inputs"] == len(task.labels) and record["seed"] >= 0
    for row in (record, *record["beside"].values()):
        assert row["parameters"] > 0 and row["multiplications"] > 0
        assert set(row["accuracy"]) == {"float", "16 bits", "12 bits", "8 bits"}
    dense = next((row for name, row in record["beside"].items() if name.endswith("dense")), None)
    if task.name.endswith("_dense"):
        assert dense is None
        return
    assert dense["multiplications"] > record["multiplications"]
    assert dense["parameters"] > record.get("nonzero_parameters", record["parameters"])


def test_log_ends_with_the_table(task):
    log = (NETWORKS / f"{task.name}.log").read_text(encoding="utf-8")
    assert f"seed {task.record['seed']}" in log and f"{task.record['parameters']:,}" in log
    assert f"{task.record['accuracy']['float']:.4f}" in log


def test_calibration_and_held_out_inputs_share_nothing(task):
    together = np.concatenate([task.calibration, task.inputs]).reshape(len(task.calibration) + len(task.inputs), -1)
    assert len(np.unique(together, axis=0)) == len(together)


def test_pictures(task):
    shown = task.picture(task.inputs[0])
    if task.network.vocabulary:
        assert shown.startswith("[") and shown.endswith("]") and "PAD" not in shown and task.grid is None
    else:
        assert np.prod(task.grid) == task.network.input.tokens
        assert shown.dtype == np.uint8 and shown.shape == (8, 8) and shown.min() == 0 and shown.max() == 255


def test_unknown_network_is_refused():
    with pytest.raises(WingbeatError, match=f"^network: 'letters' is not one of {', '.join(TASKS)}$"):
        load_dataset("letters")


def test_weights_of_other_data_are_refused(tmp_path, monkeypatch):
    shutil.copytree(NETWORKS, tmp_path / "networks")
    path = tmp_path / "networks" / "digits.json"
    record = json.loads(path.read_text(encoding="utf-8")) | {"held_out_sha256": "0" * 64}
    path.write_text(json.dumps(record), encoding="utf-8")
    monkeypatch.setattr(shipped, "resources", SimpleNamespace(files=lambda package: tmp_path,
                                                              as_file=resources.as_file))
    with pytest.raises(WingbeatError, match="^digits.json: held_out_sha256 = '0+'; the data have '[0-9a-f]{64}'$"):
        load_dataset("digits")
