"""Explorations with a runner of the test in the place of the workers: what is asked, once, and what is made of it."""

import json

import pytest

from support.spaces import make_space
from wingbeat.gen.explore.space.exploration import explore
from wingbeat.gen.explore.space.journal import open_journal
from wingbeat.hw.errors import WingbeatError

MEASURED = ["synthesis = false", "synthesis = true", "simulation = false", "simulation = true"]


class Workers:
    """Answers: comb = 100 * engines, cycles = 1000 / (engines * layers), in reverse order; ``changes`` by stage are put
    over the figures. Keeps the tasks."""

    def __init__(self, **changes):
        self.tasks, self.changes = [], changes

    def __call__(self, pairs):
        for key, task in list(pairs)[::-1]:
            self.tasks.append(task)
            yield key, self.answer(task)

    def answer(self, task):
        array, stage = task["configuration"]["array"], task["stage"]
        figures = {"comb": 100 * array["engines"], "ff": 1, "bram": 1, "dsp": 1, "lut": 1, "fmax_mhz": 100.0,
                   "fft.cycles": 1000 / (array["engines"] * array["layers"])}
        if stage == "synthesis":
            figures = {"comb": figures["comb"] + 7, "lut": 2, "fmax_mhz": None, "fits": True}
        elif stage == "simulation":
            figures = {"fft": {"cycles": figures["fft.cycles"], "mismatches": 0}}
        change = self.changes.get(stage, lambda array: {})(array)
        return change if "fault" in change or "refused" in change else {"figures": figures | change}

    def count(self, stage):
        return sum(task["stage"] == stage for task in self.tasks)


def run(tmp_path, *changes, workers=None, report=None, space=None):
    workers = workers or Workers()
    with open_journal(tmp_path / "journal.jsonl") as journal:
        return explore(space or make_space(tmp_path, *changes), journal, workers, report), workers


def engines(result, numbers):
    """Of points of two layers."""
    assert {result.points[n].point.config.layers for n in numbers} == {2}
    return [result.points[n].point.config.engines for n in numbers]


def test_front_of_the_estimates(tmp_path):
    """18 combinations, 8 of them illegal. Half_words change no objective: of equal points the first stands for both."""
    result, workers = run(tmp_path)
    assert len(result.points) == workers.count("estimate") == 10 and len(result.illegal) == 8
    assert engines(result, result.front) == [1, 2, 4]
    assert [result.points[n].twins for n in result.front] == [1, 1, 1]
    assert result.whole_front == 3 and workers.count("synthesis") == 0 and result.measured_front == result.front


def test_only_the_front_is_measured(tmp_path):
    result, workers = run(tmp_path, *MEASURED)
    assert workers.count("synthesis") == workers.count("simulation") == 3
    first = result.points[result.front[0]]
    assert first.estimate["comb"] == 100 and first.measured["comb"] == 107 and first.measured["fmax_mhz"] == 100.0
    assert set(first.measured_only) == {"comb", "lut", "fft.cycles", "fft.per_second"}
    assert all(result.points[n].synthesis is None for n in range(10) if n not in result.front)


def test_most_of_the_front(tmp_path):
    result, workers = run(tmp_path, *MEASURED, "[front]", "[front]\nmost = 2")
    assert result.whole_front == 3 and workers.count("synthesis") == 2
    assert engines(result, result.front) == [1, 4]


def test_what_is_measured_can_beat(tmp_path):
    """Two engines turn out to be larger than four: they leave the front. One that no longer keeps a limit, too."""
    workers = Workers(synthesis=lambda array: {"comb": {1: 107, 2: 900, 4: 400}[array["engines"]]})
    result, _ = run(tmp_path, *MEASURED, workers=workers)
    assert engines(result, result.measured_front) == [1, 4]
    workers = Workers(synthesis=lambda array: {"bram": 57 if array["engines"] == 1 else 1})
    (tmp_path / "journal.jsonl").unlink()
    result, _ = run(tmp_path, *MEASURED, workers=workers)
    assert engines(result, result.measured_front) == [2, 4]


def test_limits(tmp_path):
    result, _ = run(tmp_path, 'device = "25k"', 'limits = ["comb <= 250"]')
    assert engines(result, result.front) == [1, 2]
    assert [each.missed for each in result.points if each.point.config.engines == 4] == [["comb <= 250"]] * 4


def test_no_point_keeps_the_limits(tmp_path):
    result, workers = run(tmp_path, *MEASURED, 'device = "25k"', 'limits = ["comb <= 1"]')
    assert result.front == [] == result.measured_front and workers.count("synthesis") == 0


def test_refused_by_a_workload(tmp_path):
    workers = Workers(estimate=lambda array: {"refused": "fft: no room"} if array["layers"] == 2 else {})
    result, _ = run(tmp_path, workers=workers)
    assert sum(each.refused == "fft: no room" for each in result.points) == 6
    assert {result.points[n].point.config.layers for n in result.front} == {1}


def test_nothing_is_asked_twice(tmp_path):
    first, _ = run(tmp_path, *MEASURED)
    again, workers = run(tmp_path, *MEASURED)
    assert workers.tasks == [] and again.record() == first.record()
    more, workers = run(tmp_path, *MEASURED, "[64, 100, 128]", "[64, 100, 128, 256]")
    assert workers.count("estimate") == 5 and len(more.points) == 15  # the new ones


def test_the_order_of_answers_does_not_show(tmp_path):
    result, workers = run(tmp_path, *MEASURED)
    (tmp_path / "journal.jsonl").unlink()
    other, _ = run(tmp_path, *MEASURED, workers=lambda pairs: ((key, workers.answer(task)) for key, task in pairs))
    assert json.dumps(result.record()) == json.dumps(other.record())


def test_an_exploration_that_ends_early_goes_on(tmp_path):
    class Ends(Workers):
        def __call__(self, pairs):
            for number, pair in enumerate(super().__call__(pairs)):
                if number == 4:
                    raise KeyboardInterrupt
                yield pair
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, workers=Ends())
    result, workers = run(tmp_path)
    assert workers.count("estimate") == 6 and len(result.points) == 10


def test_faults_are_told_and_tried_again(tmp_path):
    """What could not be measured is not in the journal."""
    workers = Workers(estimate=lambda array: {"fault": "killed"} if array["engines"] * array["layers"] == 8 else {},
                      synthesis=lambda array: {"fault": "disk full"} if array["engines"] == 2 else {})
    result, _ = run(tmp_path, *MEASURED, workers=workers)
    assert len(result.points) == 8 and len(result.faults) == 3
    assert result.faults[0].startswith("estimate of array.engines=4 ") and result.faults[0].endswith(": killed")
    assert [note for each in result.points for note in each.notes] == ["synthesis: failed"]
    again, workers = run(tmp_path, *MEASURED)
    assert not again.faults and workers.count("estimate") == 2 and workers.count("synthesis") == 2


def test_many_faults_end_it(tmp_path):
    with pytest.raises(RuntimeError, match="^estimate: no module wingbeat; 5 faults one after the other$"):
        run(tmp_path, workers=Workers(estimate=lambda array: {"fault": "no module wingbeat"}))


def test_verilog_that_differs(tmp_path):
    for change in ({"cycles": 3.0, "mismatches": 0}, {"cycles": 500.0, "mismatches": 1}):
        workers = Workers(simulation=lambda array, change=change: {"fft": change})
        result, _ = run(tmp_path, *MEASURED, workers=workers)
        assert any(each.is_wrong for each in result.points)
        (tmp_path / "journal.jsonl").unlink()
    result, _ = run(tmp_path, *MEASURED)
    assert not any(each.is_wrong for each in result.points)


def test_no_legal_configuration(tmp_path):
    with pytest.raises(WingbeatError, match="^fields: none of 6 combinations is a configuration; the first: arr"):
        run(tmp_path, "[64, 100, 128]", "[100]")


def test_nsga2_estimates_no_point_twice(tmp_path):
    """More trials than points: every point once."""
    result, workers = run(tmp_path, "[front]", '[search]\nmethod = "nsga2"\ntrials = 80\npopulation = 8\n[front]')
    keys = [json.dumps(task, sort_keys=True) for task in workers.tasks]
    assert len(keys) == len(set(keys)) == len(result.points) <= 10
    assert len({each.settings for each in result.illegal}) == len(result.illegal) <= 8
    assert sorted(engines(result, result.front)) == [1, 2, 4]


def test_progress(tmp_path):
    steps = []
    run(tmp_path, report=lambda *step: steps.append(step))
    assert [step[:3] for step in steps] == [("estimate", n, 10) for n in range(1, 11)]
    run(tmp_path, report=lambda *step: steps.append(step))
    assert steps[10:] == [("estimate", 10, 10, "10 in the journal")]
