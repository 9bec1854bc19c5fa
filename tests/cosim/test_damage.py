"""Interrupted and hindered commands: no foreign file is lost, nothing half-written is left behind.

A hundred runs with signals at random times, files that may not grow, full and read-only file systems (where we may
mount some) and several processes at once on one folder and one cache.
"""

from contextlib import contextmanager
import hashlib
import json
import os
from pathlib import Path
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from support.campaign import FIRST_SEED

pytestmark = [pytest.mark.campaign, pytest.mark.slow]

COMMANDS = {  # name: arguments, and seconds that it takes at most when nothing disturbs it
    "generate": (["generate", "--preset", "tiny", "-o", "out"], 4.0),
    "program": (["program", "--preset", "tiny", "--sizes", "16", "-o", "out"], 3.0),
    "simulate": (["simulate", "--preset", "tiny", "--json", "out/runs.json"], 25.0),
    "trace": (["simulate", "--preset", "processor-16", "--set", "array.engines=1", "--kernel", "fft", "--sizes", "16",
               "--trace", "out"], 40.0),
    "synth": (["synth", "--preset", "tiny", "--target", "generic", "--keep", "out"], 12.0)}
FOLDERS = [name for name, (arguments, _) in COMMANDS.items() if "out" in arguments]
FOREIGN = {"notes.txt": "mine", "random.py": "raise SystemExit('a file of the user was imported')\n"}
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
CAN_MOUNT = os.geteuid() == 0


class Place:
    """A working directory with files of somebody else around and inside the output, a cache and a temporary folder."""

    def __init__(self, folder, command):
        self.folder, self.arguments = folder, COMMANDS[command][0]
        for name in ("cache", "tmp", "work"):
            (folder / name).mkdir(parents=True)
        self.out = folder / "work" / "out"
        for name, text in FOREIGN.items():
            (folder / "work" / name).write_text(text)

    def start(self, limit=None):
        environment = {**os.environ, "WINGBEAT_CACHE": str(self.folder / "cache"), "TMPDIR": str(self.folder / "tmp")}
        wingbeat = Path(sys.executable).parent / "wingbeat"

        def prepare():
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell that starts us in the background has it ignored
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        return subprocess.Popen([wingbeat, *self.arguments], cwd=self.folder / "work", env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=prepare)

    def check(self, note, before=None):
        """The output is there as a whole or as it was; there is nothing else."""
        assert {name: (self.folder / "work" / name).read_text() for name in FOREIGN} == FOREIGN, note
        beside = {path.name for path in (self.folder / "work").iterdir()} - {"__pycache__"}
        assert beside <= {"notes.txt", "random.py", "out"}, f"{note}: {beside}"
        logs = [path.name for path in (self.folder / "tmp").iterdir()]
        assert all(name.startswith("wingbeat-") and name.endswith(".log") for name in logs), f"{note}: {logs}"
        if before is not None and contents(self.out) == before:
            return
        found = contents(self.out)
        if "manifest.json" in found:
            facts = json.loads((self.out / "manifest.json").read_text())
            assert set(facts["sha256"]) == set(found) - {"manifest.json"}, note
            assert all(found[name] == digest for name, digest in facts["sha256"].items()), note
        else:
            assert set(found) <= {"runs.json"}, f"{note}: {sorted(found)}"

    def works(self, note):
        """What was damaged does not hinder the next run."""
        process = self.start()
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, f"{note}: {errors}"
        left = [path for path in (self.folder / "cache").rglob("partial-*")]
        assert not left, f"{note}: {left}"
        self.check(note)


def contents(folder):
    """Digest of every file below ``folder``, hidden ones too."""
    if not folder.is_dir():
        return {}
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*") if path.is_file()}


def one_line(errors, note):
    lines = [line for line in errors.splitlines() if line.startswith("wingbeat:") and "warning" not in line]
    assert len(lines) <= 1 and "Traceback" not in errors, f"{note}: {errors}"


@pytest.mark.parametrize("number", range(54))
def test_signals(tmp_path, number):
    seed = FIRST_SEED + number
    rng = random.Random(seed)
    command = rng.choice(list(COMMANDS))
    place, sent, before = Place(tmp_path, command), rng.choice(SIGNALS), {}
    note = f"{command}, {sent.name}, seed {seed}"
    if command in FOLDERS and rng.random() < 0.5:  # a folder of an earlier run stands there
        place.works(note)
        before = contents(place.out)
    process = place.start()
    time.sleep(rng.uniform(0.3, COMMANDS[command][1]))
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (0, 128 + sent, 130, -sent), f"{note}: {process.returncode} {errors}"
    one_line(errors, note)
    place.check(note, before)
    if rng.random() < 0.3:
        place.works(note)


@pytest.mark.parametrize("number", range(20))
def test_files_that_may_not_grow(tmp_path, number):
    """As on a disk that is full: from some size on writing fails."""
    seed = FIRST_SEED + number
    rng = random.Random(seed)
    command = rng.choice(list(COMMANDS))
    place, limit = Place(tmp_path, command), rng.choice((0, 1000, 10_000, 100_000))
    note = f"{command}, at most {limit} bytes a file, seed {seed}"
    process = place.start(limit)
    _, errors = process.communicate(timeout=600)
    assert process.returncode in (0, 1, 2), f"{note}: {process.returncode} {errors}"
    one_line(errors, note)
    place.check(note)
    place.works(note)


@contextmanager
def mounted(folder, options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("number", range(10))
def test_file_systems(tmp_path, number):
    """A mount point is filled in place; one that is full or may only be read is refused in a line."""
    if not CAN_MOUNT:
        pytest.fail("this test mounts file systems: run the campaign as root")
    command, size = FOLDERS[number % len(FOLDERS)], ("64M", "24k")[number // len(FOLDERS) % 2]
    place = Place(tmp_path, command)
    place.out.mkdir()
    note = f"{command}, {size}"
    with mounted(place.out, f"size={size}"):
        process = place.start()
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0 if size == "64M" else process.returncode in (0, 1, 2), f"{note}: {errors}"
        one_line(errors, note)
        place.check(note)
        if process.returncode:
            assert not contents(place.out), note
    with mounted(place.out, "size=64M"):
        subprocess.run(["mount", "-o", "remount,ro", str(place.out)], check=True)
        process = place.start()
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 2 and "cannot be written" in errors, f"{note}: {errors}"
        one_line(errors, note)


@pytest.mark.parametrize("number", range(16))
def test_several_at_once(tmp_path, number):
    """Three processes with one folder and one cache, one of them ended in between."""
    seed = FIRST_SEED + number
    rng = random.Random(seed)
    command = rng.choice(list(COMMANDS))
    place, note = Place(tmp_path, command), f"{command}, seed {seed}"
    processes = [place.start() for _ in range(3)]
    time.sleep(rng.uniform(0.2, COMMANDS[command][1]))
    processes[0].send_signal(signal.SIGTERM)
    for process in processes:
        _, errors = process.communicate(timeout=600)
        one_line(errors, note)
        assert process.returncode in (0, 2, 128 + signal.SIGTERM, -signal.SIGTERM), f"{note}: {errors}"
    place.check(note)
    shutil.rmtree(place.out, ignore_errors=True)
    place.works(note)
