"""The command `wingbeat explore`: files, refusals, and that nothing is lost or done twice whoever is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from support.dask_cluster import answered, hand_started, local_workers
from support.spaces import MORE, write_space
from wingbeat.gen.cli.app import main

POINTS = 40


def start(tmp_path, *arguments, output="out"):
    # Whoever starts the tests may ignore SIGINT, and children would inherit that.
    program = ("import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
               "from wingbeat.gen.cli.entry import run; run()")
    command = [sys.executable, "-c", program, "explore", "space.toml", "-o", output, *arguments]
    return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(tmp_path, *arguments, output="out"):
    """Standard error of an exploration that ends well."""
    run = start(tmp_path, *arguments, output=output)
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors
    return errors.decode()


def keys(folder):
    return [json.loads(line)["key"] for line in (folder / "journal.jsonl").read_text().splitlines()[1:]]


def wait_for(folder, count):
    """Until the journal has some answers."""
    path = folder / "journal.jsonl"
    for _ in range(3000):
        if path.exists() and path.read_bytes().count(b"\n") > count:
            return
        time.sleep(0.02)
    raise TimeoutError(path)


def caught(tmp_path, disturb, *arguments, count=5):
    """Exit code and standard error of a run that ``disturb(run)`` has ended in the middle, with ``count`` answers or
    more; one that was quicker than we is started anew."""
    for _ in range(5):
        run = start(tmp_path, *arguments)
        wait_for(tmp_path / "out", count)
        disturb(run)
        _, errors = run.communicate(timeout=60)
        if run.returncode:
            return run.returncode, errors
        shutil.rmtree(tmp_path / "out")
    raise AssertionError("it was never caught")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The record and the page of an exploration of 40 points that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    write_space(folder, *MORE)
    errors = finish(folder, "--workers", "2")
    assert errors.count("explore estimate ") == POINTS and len(keys(folder / "out")) == POINTS
    return [(folder / "out" / name).read_bytes() for name in ("explore.json", "explore.html")]


def check(folder, undisturbed):
    """Every point once in the journal, and the same files to the byte."""
    found = keys(folder)
    assert len(found) == len(set(found)) == POINTS
    assert [(folder / name).read_bytes() for name in ("explore.json", "explore.html")] == undisturbed


def test_a_killed_client_goes_on(tmp_path, undisturbed):
    """kill -9: its workers end, the next start asks only for what is missing."""
    write_space(tmp_path, *MORE)
    workers = []

    def kill(run):
        workers[:] = local_workers(run.pid)
        run.kill()
    caught(tmp_path, kill, "--workers", "2", count=8)
    done = len(keys(tmp_path / "out"))
    assert 8 <= done < POINTS and len(workers) == 2
    errors = finish(tmp_path, "--workers", "2")
    assert f"explore estimate {done}/{POINTS}: {done} in the journal" in errors
    assert errors.count("explore estimate ") == 1 + POINTS - done  # each of the missing ones once
    check(tmp_path / "out", undisturbed)
    for _ in range(300):
        if not any(os.path.exists(f"/proc/{pid}") for pid in workers):
            return
        time.sleep(0.1)
    raise TimeoutError("workers outlive their client")


def test_a_killed_worker_is_replaced(tmp_path, undisturbed):
    write_space(tmp_path, *MORE)
    run = start(tmp_path, "--workers", "2")
    wait_for(tmp_path / "out", 5)
    os.kill(local_workers(run.pid)[0], signal.SIGKILL)
    run.communicate(timeout=300)
    assert run.returncode == 0
    check(tmp_path / "out", undisturbed)


def test_workers_started_by_hand_do_the_same(tmp_path, undisturbed):
    """Both of them work; a client that is killed in the middle leaves them to the next one."""
    write_space(tmp_path, *MORE)
    with hand_started(tmp_path) as cluster:
        caught(tmp_path, subprocess.Popen.kill, "--scheduler", cluster.address)
        done = len(keys(tmp_path / "out"))
        assert done < POINTS
        errors = finish(tmp_path, "--scheduler", cluster.address)
        assert errors.count("explore estimate ") == 1 + POINTS - done
        each = answered(cluster.address)
        assert len(each) == 2 and min(each) >= 5 and sum(each) >= POINTS
    check(tmp_path / "out", undisturbed)


def test_ctrl_c_ends_it_quietly(tmp_path, undisturbed):
    write_space(tmp_path, *MORE)
    code, errors = caught(tmp_path, lambda run: run.send_signal(signal.SIGINT), "--workers", "2", count=3)
    assert code == 128 + signal.SIGINT
    assert all(line.startswith(b"explore estimate ") for line in errors.splitlines())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["journal.jsonl"]
    finish(tmp_path, "--workers", "2")
    check(tmp_path / "out", undisturbed)


def test_nothing_is_asked_of_workers_twice(tmp_path, undisturbed):
    """With a whole journal there is no need for a scheduler."""
    write_space(tmp_path, *MORE)
    finish(tmp_path, "--workers", "1")
    before = keys(tmp_path / "out")
    assert finish(tmp_path, "--scheduler", "tcp://127.0.0.1:9") == f"explore estimate {POINTS}/{POINTS}: {POINTS} in " \
                                                                     "the journal\n"
    assert keys(tmp_path / "out") == before
    check(tmp_path / "out", undisturbed)


@pytest.mark.slow
def test_the_front_is_synthesised_and_simulated(tmp_path, capfd, monkeypatch):
    least = 'set = ["width=8", "element_width=8", "coefficient_width=8", "stream_words=2"]'
    write_space(tmp_path, "synthesis = false\nsimulation = false\n", "", "[1, 2, 4]", "[1]", "[1, 2]\n", "[1]\n",
                'device = "25k"', least)
    monkeypatch.chdir(tmp_path)
    assert main(["explore", "space.toml", "-o", "out", "--workers", "2"]) == 0
    record = json.loads((tmp_path / "out" / "explore.json").read_text())
    front = [record["points"][number] for number in record["front"]]
    assert len(front) == 1 and all(each["synthesis"]["comb"] > 0 and each["simulation"]["fft"]["mismatches"] == 0
                         and each["simulation"]["fft"]["cycles"] == each["estimate"]["fft.cycles"] for each in front)
    assert "array.engines\tarray.layers\tarray.half_words\tcomb\tmeasured" in capfd.readouterr().out


SPACE = ["explore", "space.toml", "-o", "out"]
REFUSED = {
    "no TOML": (SPACE, ["[fields]", "[fields"], "space: 'space.toml' is not a TOML file"),
    "unknown field": (SPACE, ["array.engines", "array.motors"], "array.motors: no such field"),
    "unknown objective": (SPACE, ['"comb"', '"area"'], "objectives[0]: 'area' is no figure"),
    "empty space": (SPACE, ["[1, 2, 4]", "[]"], "fields.array.engines: []"),
    "no configuration": (SPACE, ["[64, 100, 128]", "[100]"], "fields: none of 6 combinations is a configuration"),
    "a value of nothing": (SPACE, ["[1, 2, 4]", "[1, 1000]"], "fields: array.engines: 1000: Input should be less"),
    "preset": (SPACE, ['"tiny"', '"small"'], "preset: 'small' is not one of "),
    "workers": ([*SPACE, "--workers", "0"], [], "--workers: 0; allowed are 1..256"),
    "both": ([*SPACE, "--workers", "2", "--scheduler", "tcp://x:1"], [], "--workers: 2; allowed only "),
    "no file": (["explore", "none.toml", "-o", "out"], [], "space: 'none.toml' cannot be read"),
    "output": (["explore", "space.toml", "-o", "space.toml"], [], "journal: "),
}


@pytest.mark.parametrize("arguments, changes, message", REFUSED.values(), ids=REFUSED)
def test_refused_in_one_line(tmp_path, monkeypatch, capfd, arguments, changes, message):
    """Exit code 2; nothing new is there."""
    write_space(tmp_path, *changes)
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    errors = capfd.readouterr().err
    assert errors.startswith(f"wingbeat: {message}") and errors.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["space.toml"]


def test_results_of_others_stay(tmp_path, monkeypatch, capfd):
    write_space(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "explore.json").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert main(SPACE) == 2 and "holds 'explore.json' without 'journal.jsonl'" in capfd.readouterr().err
    assert (tmp_path / "out" / "explore.json").read_text() == "mine"
