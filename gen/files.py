"""Files and folders that appear complete or not at all.

Everything is written beside its place under a temporary name and renamed at the end: a fault in between
leaves what was there before, and nothing new.
"""

from collections.abc import Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
import shutil
import tempfile
from typing import Any

from ..hw.errors import WingbeatError

__all__ = ["output_folder", "write_text", "write_json", "MANIFEST"]

MANIFEST = "manifest.json"  # a folder that holds one was made by `generate` and may be replaced


@contextmanager
def output_folder(target: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``target`` when the block ends without an exception.

    An empty folder and a folder made by `generate` are replaced. Raises :class:`WingbeatError` before
    anything is written when ``target`` is a file or holds other things.
    """
    target = Path(os.path.abspath(target))  # a symbolic link is replaced, not followed
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise WingbeatError(f"--output: {str(target)!r} is not a folder")
    if target.is_dir() and any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise WingbeatError(f"--output: {str(target)!r} holds files that are not ours; allowed are a "
                            f"new folder, an empty one and one with a {MANIFEST}")
    with _scratch(target) as scratch:
        fresh = scratch / "new"
        fresh.mkdir()
        yield fresh
        if target.exists():
            os.rename(target, scratch / "old")
        try:
            os.rename(fresh, target)
        except OSError:
            if (scratch / "old").exists():
                os.rename(scratch / "old", target)
            raise


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A private folder beside ``target``, on the same file system, removed at the end together with the
    parent folders that were made for it and have stayed empty."""
    made = [p for p in target.parents if not p.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name[:32]}.", dir=target.parent))
    except OSError as error:
        raise WingbeatError(f"--output: {str(target)!r} cannot be written: {error.strerror}") from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)
        for parent in made:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in one step; a reader sees the old file or the new one."""
    path = Path(os.path.abspath(path))
    if path.is_dir():
        raise WingbeatError(f"output: {str(path)!r} is a folder, not a file")
    with _scratch(path) as scratch:
        (scratch / path.name).write_text(text, encoding="utf-8", newline="\n")
        os.replace(scratch / path.name, path)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON in one step."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
