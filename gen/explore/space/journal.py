"""What was measured, kept so that it survives: one line of JSON for each answer, appended and flushed to the disk.

A line has the key of its task (gen/explore/space/task.py) and the answer. The file belongs to the client; workers do
not touch it. A client that was killed leaves at most one torn line at the end, which the next one takes away.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
import fcntl
import json
import os
from pathlib import Path
from typing import Any, IO

from ....hw.errors import WingbeatError

__all__ = ["Journal", "open_journal"]

_HEAD = {"journal": "wingbeat explore", "format": 1}


class Journal:
    """Answers by key. Made by :func:`open_journal`."""

    def __init__(self, file: IO[bytes], answers: dict[str, dict[str, Any]]):
        self._file, self._answers = file, answers

    def __contains__(self, key: str) -> bool:
        return key in self._answers

    def __len__(self) -> int:
        return len(self._answers)

    def answer(self, key: str) -> dict[str, Any]:
        """The answer of a key that is in the journal."""
        return self._answers[key]

    def record(self, key: str, stage: str, answer: Mapping[str, Any]) -> None:
        """Append an answer; it is on the disk afterwards. A second one for a key changes nothing."""
        if key not in self._answers:
            self._answers[key] = dict(answer)
            _append(self._file, {"key": key, "stage": stage, **answer})


@contextmanager
def open_journal(path: Path) -> Iterator[Journal]:
    """The journal at ``path``, made where there is none; nobody else has it meanwhile. A new one that stays empty goes.

    Raises WingbeatError for a file that is no journal, that is damaged before its end, or that another process has.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+b")
    except OSError as error:
        raise WingbeatError(f"journal: {str(path)!r} cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WingbeatError(f"journal: {str(path)!r} is in use by another exploration") from error
        journal = Journal(file, _read(file, path))
        try:
            yield journal
        finally:
            if not journal:
                _remove(made)


def _read(file: IO[bytes], path: Path) -> dict[str, dict[str, Any]]:
    file.seek(0)
    data = file.read()
    lines = data.split(b"\n")
    values = [_parsed(line) for line in lines[:-1]]
    whole = len(data) - len(lines[-1])
    if values and values[-1] is None:  # the length of a file may be on the disk before its bytes
        whole -= len(lines[-2]) + 1
        values.pop()
    if not values and not data.startswith(json.dumps(_HEAD).encode()[:len(data)]):
        raise WingbeatError(f"journal: {str(path)!r} is not one of wingbeat explore; allowed are a new file and such a "
                            "journal")
    if values and values[0] != _HEAD:
        raise WingbeatError(f"journal: {str(path)!r} does not begin with {json.dumps(_HEAD)}")
    answers: dict[str, dict[str, Any]] = {}
    for number, value in enumerate(values[1:], 2):
        if value is None or not isinstance(value.get("key"), str):
            raise WingbeatError(f"journal: line {number} of {str(path)!r} is damaged; take it out")
        answers.setdefault(value["key"], {name: each for name, each in value.items() if name not in ("key", "stage")})
    file.truncate(whole)
    if not values:
        _append(file, _HEAD)
        _flush_folder(path.parent)
    return answers


def _remove(made: list[Path]) -> None:
    """The file and the folders that were made for it, as far as nothing else is in them."""
    for path in made:
        if path.is_file():
            path.unlink()
        elif not any(path.iterdir()):
            path.rmdir()


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _append(file: IO[bytes], value: Mapping[str, Any]) -> None:
    file.write(json.dumps(value, allow_nan=False).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """The name of a new file is on the disk when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
