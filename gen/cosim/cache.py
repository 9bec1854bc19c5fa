"""What is built once and used again: folders in the user's cache that heal, and that are dropped when they are old.

An entry is a folder with its files and their digests. One that is missing, cut or changed is made anew. Whoever uses an
entry holds a shared lock on it, whoever makes one an exclusive lock on its partial folder: what nobody holds may be
dropped, and the system lets go of the locks of a process that is gone.
"""

from collections.abc import Callable
import fcntl
import hashlib
import json
import os
from pathlib import Path
import shutil
import tempfile
from typing import IO

from ...hw.errors import WingbeatError

__all__ = ["Cache", "Entry", "cache_folder", "LIMIT", "LOCK"]

LIMIT = 2000  # MB of all entries together; $WINGBEAT_CACHE_LIMIT is another one
LOCK = "lock"  # a file of every entry
_DIGESTS, _PARTIAL = "digests.json", "partial-"


def cache_folder() -> Path:
    """Where builds are kept: $WINGBEAT_CACHE, else wingbeat/ in the user's cache folder."""
    own = os.environ.get("WINGBEAT_CACHE")
    return Path(os.path.abspath(own or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wingbeat"))


def _limit() -> int:
    text = os.environ.get("WINGBEAT_CACHE_LIMIT") or str(LIMIT)
    if not (text.isascii() and text.isdigit()):
        raise WingbeatError(f"WINGBEAT_CACHE_LIMIT: {text!r}; allowed is a whole number of megabytes")
    return int(text) * 1_000_000


class Entry:
    """A folder of the cache, which stays there as long as this object."""

    def __init__(self, folder: Path, lock: IO[bytes]):
        self.folder, self._lock = folder, lock


class Cache:
    """The entries of one kind, in a folder of that name below :func:`cache_folder`."""

    def __init__(self, kind: str):
        self.folder, self._limit = cache_folder() / kind, _limit()

    def entry(self, name: str, make: Callable[[Path], None]) -> Entry:
        """The entry ``name``; where it is not intact, ``make`` writes its files into the empty folder it gets.

        What ``make`` raises passes through, and nothing stays. Raises :class:`WingbeatError` when the cache cannot be
        written.
        """
        place = self.folder / name
        if (lock := _locked(place, fcntl.LOCK_SH)) and _is_intact(place):
            os.utime(place / _DIGESTS)  # the time of the last use
            return Entry(place, lock)
        partial = self._partial()
        try:
            lock = _locked(partial, fcntl.LOCK_SH)
            while lock is None:  # taken for one that was left
                partial = self._partial()
                lock = _locked(partial, fcntl.LOCK_SH)
            make(partial)
            digests = {path.name: _digest(path) for path in partial.iterdir() if path.name != LOCK}
            (partial / _DIGESTS).write_text(json.dumps(digests))
            entry = self._publish(partial, place, lock)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._drop_unused()
        return entry

    def _partial(self) -> Path:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.folder))
        except OSError as fault:
            raise WingbeatError(f"cache: {str(self.folder)!r} cannot be written: {fault.strerror}; WINGBEAT_CACHE "
                                "names another folder") from fault

    def _publish(self, partial: Path, place: Path, lock: IO[bytes]) -> Entry:
        """Put a complete entry in its place, or take that of a process that came first; a damaged one goes."""
        for _ in range(10):
            try:
                partial.rename(place)
                return Entry(place, lock)
            except OSError:
                if (other := _locked(place, fcntl.LOCK_SH)) and _is_intact(place):
                    return Entry(place, other)
                self._discard(place)
        raise WingbeatError(f"cache: {str(place)!r} cannot be replaced; delete it")

    def _discard(self, place: Path) -> None:
        trash = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.folder))
        try:
            place.rename(trash / "old")
        except FileNotFoundError:
            pass
        finally:
            shutil.rmtree(trash, ignore_errors=True)

    def _drop_unused(self) -> None:
        """Remove what others have left half made, and the entries that were not used for longest, down to the limit."""
        places = [(_used(path), path, _size(path)) for path in self.folder.iterdir() if path.is_dir()]
        total = sum(size for _, _, size in places)
        for _, path, size in sorted(places):
            is_partial = path.name.startswith(_PARTIAL)
            if (is_partial or total > self._limit) and (lock := _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)):
                total -= size
                shutil.rmtree(path, ignore_errors=True)
                lock.close()


def _locked(place: Path, kind: int) -> IO[bytes] | None:
    """The lock of an entry, which ends when the file is closed; None where there is no entry, or others hold it."""
    try:
        file = open(place / LOCK, "wb")
    except OSError:
        return None
    try:
        fcntl.flock(file, kind)
    except OSError:
        file.close()
        return None
    if os.fstat(file.fileno()).st_nlink:
        return file
    file.close()  # whoever held it has removed the entry
    return None


def _is_intact(place: Path) -> bool:
    try:
        digests = json.loads((place / _DIGESTS).read_bytes())
        return all(_digest(place / name) == digest for name, digest in digests.items())
    except (OSError, ValueError, AttributeError):
        return False


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _used(place: Path) -> float:
    """Time of the last use; of a folder without digests that of its making."""
    for path in (place / _DIGESTS, place):
        try:
            return path.stat().st_mtime
        except OSError:
            continue
    return 0.0


def _size(place: Path) -> int:
    total = 0
    for path in place.rglob("*"):
        try:
            total += path.lstat().st_size
        except OSError:  # it is going
            continue
    return total
