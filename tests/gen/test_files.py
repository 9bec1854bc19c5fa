"""Output appears complete or not at all, and what is not ours is never touched."""

import json
import os
import stat

import pytest

from wingbeat.gen.files import (MANIFEST, keep_log, kept_folder, output_file, output_folder, write_json, write_manifest,
                                 write_text)
from wingbeat.hw.errors import WingbeatError


def listing(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def contents(folder):
    return {p.relative_to(folder).as_posix(): (os.readlink(p) if p.is_symlink() else p.read_bytes())
            for p in folder.rglob("*") if p.is_symlink() or p.is_file()}


def fill(target, text):
    with output_folder(target) as root:
        (root / "rtl").mkdir()
        (root / "rtl" / text).write_text(text)
        (root / "same").write_text(text)
        write_manifest(root, {"text": text, "by_number": {2: 0.1, 10: None}}, ["tb/build"])


OURS = ["manifest.json", "rtl", "rtl/one", "same"]


def test_new_folder_with_parents(tmp_path):
    fill(tmp_path / "a" / "b", "one")
    assert listing(tmp_path) == ["a", "a/b", *(f"a/b/{name}" for name in OURS)]


def test_own_folder_is_filled_anew(tmp_path):
    fill(tmp_path / "a", "one")
    fill(tmp_path / "a", "two")
    assert listing(tmp_path / "a") == ["manifest.json", "rtl", "rtl/two", "same"]
    assert (tmp_path / "a" / "same").read_text() == "two" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("before", [False, True])
def test_a_folder_that_exists_stays_the_same_folder(tmp_path, monkeypatch, before):
    """It may be a mount point, and a shell may stand in it; nothing is needed of the folder above."""
    target = tmp_path / "a"
    target.mkdir()
    if before:
        fill(target, "zero")
    number = target.stat().st_ino
    monkeypatch.chdir(target)
    with output_folder(".") as root:
        assert list(tmp_path.iterdir()) == [target]
        (root / "x").write_text("x")
        write_manifest(root, {})
    assert target.stat().st_ino == number and sorted(os.listdir(".")) == ["manifest.json", "x"]


def test_own_subfolders_stay_the_same(tmp_path):
    fill(tmp_path, "one")
    number = (tmp_path / "rtl").stat().st_ino
    fill(tmp_path, "two")
    assert (tmp_path / "rtl").stat().st_ino == number


FOREIGN = {
    "file": lambda a: (a / "thesis.tex").write_text("years"),
    "file in a folder of ours": lambda a: (a / "rtl" / "mine.v").write_text("mine"),
    "edited": lambda a: (a / "rtl" / "one").write_text("edited"),
    "edited manifest": lambda a: (a / MANIFEST).write_text((a / MANIFEST).read_text().replace('"one"', '"mine"')),
    "foreign manifest": lambda a: (a / MANIFEST).write_text('{"name": "web app"}'),
    "foreign manifest with digests": lambda a: (a / MANIFEST).write_text('{"sha256": {"same": ""}, "seal": 1}'),
    "no object": lambda a: (a / MANIFEST).write_text("[]"),
    "no JSON": lambda a: (a / MANIFEST).write_bytes(b"\xff\xfe"),
    "no manifest": lambda a: (a / MANIFEST).unlink(),
    "git": lambda a: (a / ".git").mkdir(),
    "empty folder": lambda a: (a / "rtl" / "sub").mkdir(),
    "link": lambda a: (a / "link").symlink_to("/nowhere"),
    "link in place of a file": lambda a: ((a / "rtl" / "one").rename(a.parent / "x"),
                                          (a / "rtl" / "one").symlink_to(a.parent / "x")),
    "link in place of a folder": lambda a: ((a / "rtl").rename(a.parent / "x"), (a / "rtl").symlink_to(a.parent / "x")),
    "link in place of the build": lambda a: ((a / "tb").mkdir(), (a / "tb" / "build").symlink_to(a.parent)),
    "pipe": lambda a: os.mkfifo(a / "pipe"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_is_not_ours_is_refused_before_any_work(tmp_path, case):
    target = tmp_path / "a"
    fill(target, "one")
    FOREIGN[case](target)
    was = listing(tmp_path), contents(tmp_path)
    with pytest.raises(WingbeatError, match=r"^--output: '.*/a' holds '.*', which (is not ours|was changed since); "
                                            "allowed are") as caught, output_folder(target):
        raise AssertionError("never reached")
    assert "\n" not in str(caught.value) and (listing(tmp_path), contents(tmp_path)) == was


def test_what_tools_leave_in_a_build_folder_is_ours(tmp_path):
    fill(tmp_path / "a", "one")
    (tmp_path / "a" / "tb" / "build" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "tb" / "build" / "deep" / "x.o").write_text("made")
    (tmp_path / "a" / "tb" / "build" / "link").symlink_to(tmp_path)
    fill(tmp_path / "a", "two")
    assert listing(tmp_path / "a") == ["manifest.json", "rtl", "rtl/two", "same"]


def test_files_of_ours_may_be_missing(tmp_path):
    fill(tmp_path, "one")
    (tmp_path / "rtl" / "one").unlink()
    (tmp_path / "rtl").rmdir()
    fill(tmp_path, "two")
    assert listing(tmp_path) == ["manifest.json", "rtl", "rtl/two", "same"]


@pytest.mark.parametrize("before", [None, "empty", "one"])
@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_fault_leaves_what_was_there(tmp_path, before, fault):
    if before:
        (tmp_path / "a").mkdir()
    if before == "one":
        fill(tmp_path / "a", "one")
    was = listing(tmp_path), contents(tmp_path)
    with pytest.raises(fault), output_folder(tmp_path / "a") as root:
        (root / "half").write_text("unfinished")
        raise fault
    assert (listing(tmp_path), contents(tmp_path)) == was


def test_a_fault_while_files_move_leaves_what_was_there(tmp_path, monkeypatch):
    fill(tmp_path, "one")
    was, rename = (listing(tmp_path), contents(tmp_path)), os.rename
    for last in range(5):
        calls = []

        def failing(source, place, last=last, calls=calls):
            calls.append(place)
            if len(calls) == last + 1:
                raise OSError(5, "Input/output error")
            rename(source, place)

        with monkeypatch.context() as patch, pytest.raises(OSError):
            patch.setattr(os, "rename", failing)
            fill(tmp_path, "two")
        assert len(calls) > last and (listing(tmp_path), contents(tmp_path)) == was


def test_what_comes_during_the_work_is_kept(tmp_path):
    with pytest.raises(WingbeatError, match="holds 'notes', which is not ours"), output_folder(tmp_path / "a") as root:
        (root / "notes").write_text("ours")
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "notes").write_text("mine")
    assert contents(tmp_path) == {"a/notes": b"mine"}


def test_a_fault_takes_new_parents_along(tmp_path):
    with pytest.raises(RuntimeError), output_folder(tmp_path / "x" / "y" / "z"):
        raise RuntimeError
    assert listing(tmp_path) == []


def test_file_and_link_are_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("file", "link", "file/below"):
        with pytest.raises(WingbeatError), output_folder(tmp_path / name):
            raise AssertionError("never reached")


def test_files_are_replaced_in_one_step(tmp_path):
    path = tmp_path / "n.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    with pytest.raises(KeyboardInterrupt), output_file(path) as fresh:
        fresh.write_text("half")
        raise KeyboardInterrupt
    assert json.loads(path.read_text()) == {"a": 1}
    write_text(path, "new")
    assert path.read_text() == "new" and len(list(tmp_path.iterdir())) == 1


def test_a_link_and_a_pipe_stay_what_they_are(tmp_path):
    """As root a rename would put a file in the place of /dev/null."""
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_text(tmp_path / "pipe", "bytes")
    assert os.read(reader, 99) == b"bytes" and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    os.close(reader)
    write_text("/dev/null", "x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(WingbeatError, match="is a folder"):
        write_text(tmp_path, "x")


def test_a_kept_log_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    kept = keep_log("why\n")
    assert kept.parent == tmp_path and kept.read_text() == "why\n"


def test_a_folder_that_is_kept_belongs_to_us(tmp_path):
    """Without a name there is none; with one what somebody else has put there is refused by the name of the option."""
    with kept_folder(None, "--keep") as folder:
        assert folder is None
    for text in ("first", "second"):
        with kept_folder(tmp_path / "a", "--keep") as folder:
            write_text(folder / "log", text)
        assert (tmp_path / "a" / "log").read_text() == text
    (tmp_path / "a" / "notes").write_text("mine")
    with pytest.raises(WingbeatError, match="^--keep: '.*/a' holds 'notes', which is not ours; allowed are"), \
            kept_folder(tmp_path / "a", "--keep"):
        pass
    assert (tmp_path / "a" / "log").read_text() == "second" and (tmp_path / "a" / "notes").read_text() == "mine"
