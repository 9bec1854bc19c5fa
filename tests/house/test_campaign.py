"""`make campaign` in parts: every case once, parts that passed are not run again, those that failed are told."""

from collections import Counter

import pytest

from support import campaign_part
from support.campaign_part import checkout_version, part_key, run_part
from support.campaign_run import collect, parts, run_campaign
from wingbeat.gen.explore.space.journal import open_journal

FILE = "tests/sim/reference/test_linear.py"


@pytest.fixture
def tasks():
    names = [f"tests/a.py::test[{n}]" for n in range(30)] + ["tests/b.py::test"]
    return list(parts(7, names))


def answers(fault=lambda task: None):
    """A runner that keeps what it was asked."""
    asked = []

    def run(pairs):
        for key, task in pairs:
            asked.append(task["tests"])
            yield key, {"fault": fault(task)} if fault(task) else {"passed": "1 passed"}
    return run, asked


def test_every_case_is_in_one_part(tasks):
    cases = Counter(case for task in tasks for case in task["tests"])
    assert len(cases) == 31 and set(cases.values()) == {1}
    assert all(len({case.split("::")[0] for case in task["tests"]}) == 1 for task in tasks)
    assert len({part_key(task) for task in tasks}) == len(tasks) == 4
    assert part_key(tasks[0]) != part_key({**tasks[0], "seed": 8})


def test_what_passed_is_not_run_again(tmp_path, tasks):
    path, steps = tmp_path / "7.jsonl", []
    with open_journal(path) as journal:
        run, asked = answers(lambda task: "it broke" if task["tests"] == ["tests/b.py::test"] else None)
        assert run_campaign(tasks, journal, run, lambda *step: steps.append(step)) == {"tests/b.py::test": "it broke"}
    assert len(asked) == 4 and [step[1:3] for step in steps] == [(n, 4) for n in range(1, 5)]
    with open_journal(path) as journal:
        run, asked = answers()
        assert run_campaign(tasks, journal, run, lambda *step: None) == {}
    assert asked == [["tests/b.py::test"]]


def test_a_part_runs_what_it_names(monkeypatch):
    """Cases that a campaign thins out or not: all that are named; and no others."""
    names = collect(7, [FILE])
    assert len(names) == 14 and all(name.startswith(FILE) for name in names)
    task = {"seed": 7, "version": checkout_version(), "tests": names[:2]}
    assert run_part(task) == {"passed": "2 passed"}
    assert "not found" in run_part({**task, "tests": [f"{FILE}::test_nothing"]})["fault"]
    assert run_part({**task, "version": "other"}) == {"fault": "the checkout of the worker is not that of the client"}


def test_a_failure_is_told_with_the_end_of_its_output(monkeypatch, tmp_path):
    path = tmp_path / "test_it.py"
    path.write_text("def test_it():\n    assert 1 == 2\n")
    monkeypatch.setattr(campaign_part, "ROOT", tmp_path)
    monkeypatch.setattr(campaign_part, "checkout_version", lambda: "v")
    assert "assert 1 == 2" in run_part({"seed": 7, "version": "v", "tests": [str(path)]})["fault"]
