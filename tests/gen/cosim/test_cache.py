"""The cache of builds: entries heal, the oldest go, those in use stay, and nothing half made is left."""

import gc
import os
from pathlib import Path
import subprocess
import sys

import pytest

from wingbeat.gen.cosim import cache as module
from wingbeat.gen.cosim.cache import Cache, cache_folder
from wingbeat.hw.errors import WingbeatError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("WINGBEAT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WINGBEAT_CACHE_LIMIT", raising=False)
    return tmp_path / "cache" / "kind"


class Maker:
    """Writes an entry of ``size`` bytes, and counts."""

    def __init__(self, size=10):
        self.size, self.calls = size, 0

    def __call__(self, folder):
        assert [path.name for path in folder.iterdir()] == ["lock"]
        self.calls += 1
        (folder / "product").write_bytes(b"x" * self.size)


def test_made_once(folder):
    make = Maker()
    entry = Cache("kind").entry("a", make)
    assert entry.folder == folder / "a" and (entry.folder / "product").read_bytes() == b"x" * 10
    assert Cache("kind").entry("a", make).folder == entry.folder and make.calls == 1
    assert [path.name for path in folder.iterdir()] == ["a"]


DAMAGE = {
    "product removed": lambda place: (place / "product").unlink(),
    "product cut": lambda place: (place / "product").write_bytes(b"xx"),
    "product changed": lambda place: (place / "product").write_bytes(b"y" * 10),
    "digests removed": lambda place: (place / "digests.json").unlink(),
    "digests cut": lambda place: (place / "digests.json").write_text('{"pro'),
    "digests of something else": lambda place: (place / "digests.json").write_text("[1]"),
    "a file in its place": lambda place: (place.rename(place.parent / "other"), place.write_text("")),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_what_is_damaged_is_made_again(folder, case):
    make = Maker()
    entry = Cache("kind").entry("a", make)  # in use: it heals all the same
    DAMAGE[case](entry.folder)
    again = Cache("kind").entry("a", make)
    assert make.calls == 2 and (again.folder / "product").read_bytes() == b"x" * 10


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_fault_leaves_nothing(folder, fault):
    def make(place):
        (place / "half").write_text("half")
        raise fault

    with pytest.raises(fault):
        Cache("kind").entry("a", make)
    assert not list(folder.iterdir())


def test_the_oldest_go_and_those_in_use_stay(folder, monkeypatch):
    monkeypatch.setenv("WINGBEAT_CACHE_LIMIT", "1")
    make = Maker(300_000)
    held = Cache("kind").entry("held", make)
    for number, name in enumerate(("old", "new")):
        Cache("kind").entry(name, make)
        os.utime(folder / name / "digests.json", (number, number))
    os.utime(held.folder / "digests.json", (0, 0))
    gc.collect()
    Cache("kind").entry("old", make)  # now it is the newest
    gc.collect()
    Cache("kind").entry("more", make)
    assert sorted(path.name for path in folder.iterdir()) == ["held", "more", "old"]
    del held
    gc.collect()
    os.utime(folder / "held" / "digests.json", (0, 0))
    Cache("kind").entry("most", make)
    assert sorted(path.name for path in folder.iterdir()) == ["more", "most", "old"]


def test_an_entry_of_another_process_stays(folder, monkeypatch):
    monkeypatch.setenv("WINGBEAT_CACHE_LIMIT", "0")
    program = ("import sys; from wingbeat.gen.cosim.cache import Cache\n"
               "entry = Cache('kind').entry('theirs', lambda folder: (folder / 'x').write_text('x'))\n"
               "print('made', flush=True); sys.stdin.read()")
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"made\n"
        Cache("kind").entry("ours", Maker())
        assert (folder / "theirs").exists()
        other.communicate()
    Cache("kind").entry("more", Maker())
    assert not (folder / "theirs").exists()


def test_what_a_killed_process_has_left_goes(folder):
    (folder / "partial-abc").mkdir(parents=True)
    (folder / "partial-abc" / "half").write_text("half")
    Cache("kind").entry("a", Maker())
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_who_comes_first_wins(folder):
    make = Maker()

    def slow(place):
        Cache("kind").entry("a", make)  # another process, meanwhile
        make(place)

    first = Cache("kind").entry("a", slow)
    assert make.calls == 2 and Cache("kind").entry("a", make).folder == first.folder and make.calls == 2
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_a_bad_limit_is_refused(folder, monkeypatch):
    monkeypatch.setenv("WINGBEAT_CACHE_LIMIT", "2G")
    with pytest.raises(WingbeatError, match="^WINGBEAT_CACHE_LIMIT: '2G'; allowed is a whole number of megabytes$"):
        Cache("kind")


def test_a_cache_that_cannot_be_written(folder):
    folder.parent.write_text("a file")
    with pytest.raises(WingbeatError, match="^cache: '.*' cannot be written: .*; WINGBEAT_CACHE names another folder$"):
        Cache("kind").entry("a", Maker())


def test_places(monkeypatch):
    monkeypatch.setenv("WINGBEAT_CACHE", "some where")
    assert cache_folder() == Path.cwd() / "some where"
    monkeypatch.delenv("WINGBEAT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x y")
    assert cache_folder() == Path("/x y/wingbeat")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/h h")
    assert cache_folder() == Path("/h h/.cache/wingbeat")
    assert module.LIMIT == 2000
