"""The journal: what survives, what is taken once, and what is refused."""

import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest

from wingbeat.gen.explore.space.journal import open_journal
from wingbeat.hw.errors import WingbeatError

HEAD = '{"journal": "wingbeat explore", "format": 1}\n'


def lines(path):
    return path.read_text().splitlines()


def test_answers_stay(tmp_path):
    path = tmp_path / "new" / "journal.jsonl"
    with open_journal(path) as journal:
        journal.record("a", "estimate", {"figures": {"lut": 1}})
        journal.record("b", "estimate", {"refused": "no room"})
    with open_journal(path) as journal:
        assert len(journal) == 2 and "a" in journal and "c" not in journal
        assert journal.answer("a") == {"figures": {"lut": 1}} and journal.answer("b") == {"refused": "no room"}
    assert json.loads(lines(path)[1]) == {"key": "a", "stage": "estimate", "figures": {"lut": 1}}


def test_a_second_answer_changes_nothing(tmp_path):
    path = tmp_path / "journal.jsonl"
    with open_journal(path) as journal:
        journal.record("a", "estimate", {"figures": {"lut": 1}})
        journal.record("a", "estimate", {"figures": {"lut": 2}})
        assert journal.answer("a") == {"figures": {"lut": 1}}
    assert len(lines(path)) == 2


def test_every_torn_end_is_taken_away(tmp_path):
    """A journal cut after any byte has the whole lines before it, and goes on from there."""
    path = tmp_path / "journal.jsonl"
    with open_journal(path) as journal:
        for key in "abc":
            journal.record(key, "estimate", {"figures": {}})
    data = path.read_bytes()
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        whole = max(0, data[:cut].count(b"\n") - 1)
        with open_journal(path) as journal:
            assert len(journal) == whole
            journal.record("z", "estimate", {"figures": {}})
        with open_journal(path) as journal:
            assert len(journal) == whole + 1 and "z" in journal


def test_zeros_at_the_end(tmp_path):
    """A file system may have the length of a line on the disk before its bytes."""
    path = tmp_path / "journal.jsonl"
    path.write_bytes(HEAD.encode() + b'{"key": "a", "stage": "s", "figures": {}}\n' + b"\0" * 20 + b"\n")
    with open_journal(path) as journal:
        assert len(journal) == 1
    path.write_bytes(HEAD.encode() + b"\0" * 20)
    with open_journal(path) as journal:
        assert len(journal) == 0


@pytest.mark.parametrize("text, message", [
    ("my notes\n", "is not one of wingbeat explore"), ("my notes", "is not one of wingbeat explore"),
    ('{"key": "a"}\n', "does not begin with"), (HEAD.replace("1", "2"), "does not begin with"),
    (HEAD + '{"key": "a"\n{"key": "b"}\n', "line 2 of .* is damaged"),
    (HEAD + '{"kei": "a"}\n{}\n', "line 2 of .* is damaged"),
    (HEAD + '[1]\n{"key": "b"}\n', "line 2 of .* is damaged")])
def test_refused_and_left_as_it_was(tmp_path, text, message):
    path = tmp_path / "journal.jsonl"
    path.write_text(text)
    with pytest.raises(WingbeatError, match=f"^journal: .*{message}"), open_journal(path):
        pass
    assert path.read_text() == text


def test_one_exploration_at_a_time(tmp_path):
    path = tmp_path / "journal.jsonl"
    with open_journal(path), pytest.raises(WingbeatError, match="is in use by another exploration$"):
        with open_journal(path):
            pass
    with open_journal(path):
        pass


def test_without_an_answer_nothing_stays(tmp_path):
    """But what somebody else has put there."""
    with open_journal(tmp_path / "a" / "b" / "journal.jsonl"):
        pass
    assert not list(tmp_path.iterdir())
    with open_journal(tmp_path / "a" / "b" / "journal.jsonl"):
        (tmp_path / "a" / "notes").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "notes"]
    (tmp_path / "journal.jsonl").touch()
    with open_journal(tmp_path / "journal.jsonl"):
        pass
    assert (tmp_path / "journal.jsonl").read_text() == HEAD


def test_no_place_for_it(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WingbeatError, match="^journal: .* cannot be written: "), open_journal(tmp_path / "file" / "j"):
        pass


def test_a_killed_writer_loses_no_line_that_it_has_recorded(tmp_path):
    """It says what it has recorded on a pipe; all of that is in the file."""
    path = tmp_path / "journal.jsonl"
    program = ("import sys; from pathlib import Path\n"
               "from wingbeat.gen.explore.space.journal import open_journal\n"
               "with open_journal(Path(sys.argv[1])) as journal:\n"
               "    for n in range(1 << 30):\n"
               "        journal.record(str(n), 'estimate', {'figures': {'lut': n}}); print(n, flush=True)\n")
    writer = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
    while not path.exists() or path.stat().st_size < 2000:
        time.sleep(0.01)
    os.kill(writer.pid, signal.SIGKILL)
    said = writer.communicate(timeout=60)[0].splitlines()
    with open_journal(Path(path)) as journal:
        assert all(said_key.decode() in journal for said_key in said) and len(journal) <= len(said) + 1
