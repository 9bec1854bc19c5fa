"""Tasks: plain values, keys that follow what the answer depends on, and every kind of answer."""

import json

import pytest

from support.spaces import make_space
from wingbeat.gen.explore.space import task as tasks
from wingbeat.gen.explore.space.task import ESTIMATE, SIMULATION, SYNTHESIS, make_task, answer_task, task_key
from wingbeat.gen.presets.select import load_preset

TINY = load_preset("tiny")


@pytest.fixture
def space(tmp_path):
    return make_space(tmp_path)


@pytest.mark.parametrize("stage", [ESTIMATE, SYNTHESIS, SIMULATION])
def test_tasks_are_plain(space, stage):
    task = make_task(space, TINY, stage)
    assert json.loads(json.dumps(task)) == task


def test_estimate(space):
    task = make_task(space, TINY, ESTIMATE)
    answer = answer_task(task)
    assert json.loads(json.dumps(answer)) == answer and answer == answer_task(task)
    assert {"lut", "ff", "comb", "bram", "dsp", "fmax_mhz", "fmax_low", "fmax_high", "multipliers", "memory_words",
            "fft.cycles"} == set(answer["figures"])


def test_simulation(space):
    estimate, simulation = (answer_task(make_task(space, TINY, stage)) for stage in (ESTIMATE, SIMULATION))
    assert simulation == {"figures": {"fft": {"cycles": estimate["figures"]["fft.cycles"], "mismatches": 0}}}


@pytest.mark.slow
def test_synthesis(space):
    """Nothing in it depends on the day."""
    small = TINY.changed(engines=1, layers=1, half_words=16, coefficient_words=16, stream_words=2, program_words=32)
    answer = answer_task(make_task(space, small, SYNTHESIS))
    assert answer["figures"]["dsp"] == 4 and answer["figures"]["fmax_mhz"] is None and answer["figures"]["fits"]
    assert "seconds" not in answer["figures"] and len(answer["figures"]["verilog_sha256"]) == 64


def test_keys_follow_the_answer(tmp_path, space):
    key = task_key(make_task(space, TINY, ESTIMATE))
    assert task_key(make_task(space, TINY.changed(name="other"), ESTIMATE)) == key
    others = [make_task(space, TINY.changed(half_words=128), ESTIMATE), make_task(space, TINY, SIMULATION),
              make_task(space, TINY, SYNTHESIS), {**make_task(space, TINY, ESTIMATE), "version": "2"},
              make_task(make_space(tmp_path, "points = 16", "points = 8"), TINY, ESTIMATE),
              make_task(make_space(tmp_path, 'device = "25k"\n', ""), TINY, SYNTHESIS),
              make_task(make_space(tmp_path, "[front]", "[front]\npnr = true"), TINY, SYNTHESIS)]
    assert len({key, *map(task_key, others)}) == len(others) + 1
    for change in (('device = "25k"', 'device = "85k"'), ('"comb", ', '"bram", '), ("[1, 2, 4]", "[1]")):
        assert task_key(make_task(make_space(tmp_path, *change), TINY, ESTIMATE)) == key


def test_refused_by_a_workload(tmp_path):
    answer = answer_task(make_task(make_space(tmp_path, "points = 16", "points = 128"), TINY, ESTIMATE))
    assert answer == {"refused": "fft: points: 128; allowed are 2..64 on tiny"}


def test_another_version_does_no_work(space):
    answer = answer_task({**make_task(space, TINY, ESTIMATE), "version": "wingbeat 0"})
    assert list(answer) == ["fault"] and answer["fault"].endswith("the client has wingbeat 0")


def test_bad_configurations_of_others(space):
    task = make_task(space, TINY, ESTIMATE)
    task["configuration"]["array"]["engines"] = 0
    assert answer_task(task) == {"refused": "array.engines: 0: Input should be greater than or equal to 1"}


def test_files_that_are_not_those_of_the_client(tmp_path, networks):
    toml, tensors = networks.write("b16 b8")
    space = make_space(tmp_path, 'kernel = "fft"\npoints = 16', f'network = "{toml}"\ncheckpoint = "{tensors}"')
    task = make_task(space, load_preset("hybrid-16"), ESTIMATE)
    toml.write_text(toml.read_text() + "\n")
    assert answer_task(task) == {"fault": "RuntimeError: workloads.fft: the files of the network are not those of the "
                                       "client"}


@pytest.mark.parametrize("error, kind", [(RuntimeError("queue"), "refused"), (MemoryError("full"), "fault")])
def test_faults_are_words(space, monkeypatch, error, kind):
    """A program that never ends is a fact of the configuration, a full machine is not."""
    def broken(self, config):
        raise error
    monkeypatch.setattr(tasks.AnyWork.__origin__.__args__[0].__origin__, "model_cycles", broken)
    answer = answer_task(make_task(space, TINY, ESTIMATE))
    assert list(answer) == [kind] and str(error) in answer[kind]
