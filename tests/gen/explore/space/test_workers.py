"""Workers: local processes and those of a scheduler answer every task once, though some of them die."""

import os
import signal
import sys

import pytest

from support.dask_cluster import hand_started, local_workers
from support.spaces import MORE, make_space
from wingbeat.gen.explore.space.points import SpacePoint, grid_choices, make_point
from wingbeat.gen.explore.space.task import ESTIMATE, make_task, answer_task, task_key
from wingbeat.gen.explore.space.workers import local_count, open_workers
from wingbeat.hw.errors import WingbeatError


@pytest.fixture
def tasks(tmp_path):
    """40 small ones."""
    space = make_space(tmp_path, *MORE)
    points = [make_point(space, choice) for choice in grid_choices(space)]
    made = [make_task(space, point.config, ESTIMATE) for point in points if isinstance(point, SpacePoint)]
    return [(task_key(task), task) for task in made]


def expected(tasks):
    return {key: answer_task(task) for key, task in tasks}


def test_local_processes(tasks):
    """Started with the first task, gone at the end; one that is killed is replaced, its tasks are done by others."""
    with open_workers(2) as run:
        assert local_workers(os.getpid()) == []
        found = {}
        for key, answer in run(tasks):
            assert key not in found
            found[key] = answer
            if len(found) == 5:
                os.kill(local_workers(os.getpid())[0], signal.SIGKILL)
        assert found == expected(tasks) and len(found) == 40
    assert local_workers(os.getpid()) == []


def test_workers_by_hand_of_which_one_dies(tasks, tmp_path):
    with hand_started(tmp_path) as cluster, open_workers(0, cluster.address) as run:
        found = {}
        for key, answer in run(tasks):
            assert key not in found
            found[key] = answer
            if len(found) == 5:
                cluster.workers[0].kill()
        assert found == expected(tasks)


def test_no_scheduler(monkeypatch):
    monkeypatch.setattr("wingbeat.gen.explore.space.workers.CONNECT_SECONDS", 2)
    for address, message in (("tcp://127.0.0.1:9", "does not answer: "), ("nowhere://x", "does not answer: "),
                             ("http://[", "does not answer: ")):
        with open_workers(1, address) as run, pytest.raises(WingbeatError, match=f"^--scheduler: .*{message}"):
            next(run([("a", {})]))


def test_no_worker(monkeypatch, tmp_path):
    monkeypatch.setattr("wingbeat.gen.explore.space.workers.CONNECT_SECONDS", 2)
    with hand_started(tmp_path, workers=0) as cluster, open_workers(1, cluster.address) as run:
        with pytest.raises(WingbeatError, match="^--scheduler: .* has no worker after 2 seconds$"):
            next(run([("a", {})]))


def test_without_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with open_workers(1) as run, pytest.raises(WingbeatError, match=r"^explore: .*pip install 'wingbeat\[explore\]'"):
        next(run([("a", {})]))


def test_local_count():
    assert 1 <= local_count() <= (os.cpu_count() or 1)
