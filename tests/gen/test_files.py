"""Output appears complete or not at all."""

import json

import pytest

from wingbeat.gen.files import MANIFEST, output_folder, write_json, write_text
from wingbeat.hw.errors import WingbeatError


def listing(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def fill(target, text):
    with output_folder(target) as root:
        (root / MANIFEST).write_text(text)
        (root / "rtl").mkdir()
        (root / "rtl" / text).write_text(text)


def test_new_folder_with_parents(tmp_path):
    fill(tmp_path / "a" / "b", "one")
    assert listing(tmp_path) == ["a", "a/b", "a/b/manifest.json", "a/b/rtl", "a/b/rtl/one"]


def test_own_folder_is_replaced_whole(tmp_path):
    fill(tmp_path / "a", "one")
    fill(tmp_path / "a", "two")
    assert listing(tmp_path / "a") == ["manifest.json", "rtl", "rtl/two"]
    assert listing(tmp_path)[0] == "a" and len(list(tmp_path.iterdir())) == 1


def test_empty_folder_is_filled(tmp_path):
    (tmp_path / "a").mkdir()
    fill(tmp_path / "a", "one")
    assert (tmp_path / "a" / "rtl" / "one").read_text() == "one"


@pytest.mark.parametrize("before", [False, True])
def test_a_fault_leaves_what_was_there(tmp_path, before):
    if before:
        fill(tmp_path / "a", "one")
    was = listing(tmp_path)
    with pytest.raises(RuntimeError), output_folder(tmp_path / "a") as root:
        (root / "half").write_text("unfinished")
        raise RuntimeError
    assert listing(tmp_path) == was


def test_a_fault_takes_new_parents_along(tmp_path):
    with pytest.raises(RuntimeError), output_folder(tmp_path / "x" / "y" / "z"):
        raise RuntimeError
    assert listing(tmp_path) == []


def test_foreign_files_are_kept(tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(WingbeatError, match="not ours"), output_folder(tmp_path):
        raise AssertionError("never reached")
    assert (tmp_path / "thesis.tex").read_text() == "years"


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
    assert json.loads(path.read_text()) == {"a": 1}
    write_text(path, "new")
    assert path.read_text() == "new" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(WingbeatError, match="is a folder"):
        write_text(tmp_path, "x")
