"""Files and folders that appear complete or not at all.

Everything is written under a temporary name on the same file system and renamed at the end: a fault in between leaves
what was there before, and nothing new. A folder that exists is filled in place, never replaced: it may be a mount
point, or a shell stands in it. What somebody else has put there is never touched.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import hashlib
import json
import os
from pathlib import Path
import shutil
import tempfile
from typing import Any

from ..hw.errors import WingbeatError

__all__ = ["MANIFEST", "output_folder", "kept_folder", "write_manifest", "output_file", "write_text", "write_json",
           "keep_log"]

MANIFEST = "manifest.json"  # lists all that wingbeat has written into the folder, and is sealed
_ALLOWED = "allowed are a new folder, an empty one and one as wingbeat has written it"


@contextmanager
def output_folder(target: Path, option: str = "--output") -> Iterator[Path]:
    """A temporary folder whose files become those of ``target``, which ``option`` names, when the block ends without an
    exception.

    ``target`` is new, empty, or as :func:`write_manifest` has left it, but for its build folders; of the last kind the
    old files are removed. Raises :class:`WingbeatError` naming the first thing that is not ours, before the block
    begins, or behind it for what has come meanwhile.
    """
    target = Path(os.path.abspath(target))  # a symbolic link is refused, not followed
    _own_entries(target, option)
    with _scratch(target if target.is_dir() else target.parent, target, option) as scratch:
        fresh = scratch / "new"
        fresh.mkdir()
        yield fresh
        if not target.exists():
            os.rename(fresh, target)
            return
        ours = _own_entries(target, option, scratch)
        files = [path.relative_to(fresh) for path in sorted(fresh.rglob("*")) if not path.is_dir()]
        try:
            _move_all([(target / name, scratch / "old" / name) for name in ours]
                      + [(fresh / name, target / name) for name in files])
        finally:
            _remove_empty_folders(target, scratch)


@contextmanager
def kept_folder(target: Path | None, option: str) -> Iterator[Path | None]:
    """As :func:`output_folder`, with a manifest of the files alone; None where there is no ``target``."""
    if target is None:
        yield None
        return
    with output_folder(target, option) as folder:
        yield folder
        write_manifest(folder, {})


def write_manifest(folder: Path, facts: Mapping[str, Any], build_folders: Sequence[str] = ()) -> dict[str, Any]:
    """Write MANIFEST: ``facts``, the SHA-256 of every file below ``folder``, ``build_folders`` in which tools may leave
    what they like, and a seal over all of it, by which :func:`output_folder` knows its own. Returns what it wrote."""
    digests = {path.relative_to(folder).as_posix(): _digest(path.read_bytes())
               for path in sorted(folder.rglob("*")) if path.is_file()}
    sealed = json.loads(json.dumps({**facts, "build_folders": build_folders, "sha256": digests}))  # as it is read back
    sealed["seal"] = _seal(sealed)
    write_json(folder / MANIFEST, sealed)
    return sealed


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _seal(facts: Mapping[str, Any]) -> str:
    return _digest(json.dumps(facts, sort_keys=True).encode())


def _read_manifest(target: Path) -> dict[str, Any]:
    """The manifest of ``target``; empty where it is not ours or was changed."""
    path = target / MANIFEST
    try:
        facts = json.loads(path.read_bytes()) if path.is_file() and not path.is_symlink() else None
    except ValueError:
        return {}
    if not isinstance(facts, dict):
        return {}
    seal = facts.pop("seal", None)
    return facts if seal == _seal(facts) else {}


def _own_entries(target: Path, option: str, scratch: Path | None = None) -> list[Path]:
    """Files of ``target`` that we wrote, and its build folders; WingbeatError naming what else is there."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise WingbeatError(f"{option}: {str(target)!r} is not a folder; {_ALLOWED}")
    if not target.is_dir() or not set(target.iterdir()) - {scratch}:
        return []
    facts = _read_manifest(target)
    digests = {**facts.get("sha256", {}), **({MANIFEST: None} if facts else {})}
    builds = facts.get("build_folders", [])
    folders = {parent.as_posix() for name in (*digests, *builds) for parent in Path(name).parents}
    ours: list[Path] = []

    def visit(folder: Path) -> None:
        for path in sorted(folder.iterdir()):
            relative = path.relative_to(target)
            name = relative.as_posix()
            if path == scratch:
                continue
            if path.is_dir() and not path.is_symlink() and name in builds:
                ours.append(relative)
            elif path.is_dir() and not path.is_symlink() and name in folders:
                visit(path)
            elif path.is_symlink() or not path.is_file() or name not in digests:
                raise WingbeatError(f"{option}: {str(target)!r} holds {name!r}, which is not ours; {_ALLOWED}")
            elif digests[name] not in (None, _digest(path.read_bytes())):
                raise WingbeatError(f"{option}: {str(target)!r} holds {name!r}, which was changed since; {_ALLOWED}")
            else:
                ours.append(relative)

    visit(target)
    return ours


def _move_all(moves: list[tuple[Path, Path]]) -> None:
    """Rename every first path to the second one, or none of them."""
    begun: list[tuple[Path, Path]] = []
    try:
        for source, place in moves:
            begun.append((source, place))
            place.parent.mkdir(parents=True, exist_ok=True)
            os.rename(source, place)
    except BaseException:
        for source, place in reversed(begun):
            if not source.exists():  # the last one may not have moved
                os.rename(place, source)
        raise


def _remove_empty_folders(target: Path, scratch: Path) -> None:
    """Remove the empty folders below ``target``; there were none before our files came or went."""
    for path in map(Path, (name for name, _, _ in os.walk(target, topdown=False))):
        if path != target and not path.is_relative_to(scratch) and not any(path.iterdir()):
            path.rmdir()


@contextmanager
def _scratch(parent: Path, target: Path, option: str) -> Iterator[Path]:
    """A private folder in ``parent``, removed at the end together with the folders above it that were made for it and
    have stayed empty. ``target`` and ``option`` are what a message names."""
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    try:
        parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name[:32]}.", dir=parent))
    except OSError as error:
        raise WingbeatError(f"{option}: {str(target)!r} cannot be written: {error.strerror}") from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


@contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """A temporary path whose file becomes ``path`` when the block ends without an exception.

    A reader sees the old file or the new one. A symbolic link stays and what it names is written; a device or a pipe
    gets the bytes. Raises :class:`WingbeatError` for a folder and for a place that cannot be written.
    """
    path = Path(os.path.abspath(path))
    if path.is_dir():
        raise WingbeatError(f"output: {str(path)!r} is a folder, not a file")
    if path.parts[1:2] == ("dev",) or (path.exists() and not path.is_file()):
        with tempfile.TemporaryDirectory() as temporary:
            fresh = Path(temporary) / "file"
            yield fresh
            with open(path, "wb") as device:
                device.write(fresh.read_bytes())
        return
    path = Path(os.path.realpath(path))
    with _scratch(path.parent, path, "output") as scratch:
        fresh = scratch / path.name
        yield fresh
        os.replace(fresh, path)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in one step; raises as :func:`output_file` does."""
    with output_file(path) as fresh:
        fresh.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON in one step; raises as :func:`output_file` does."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def keep_log(text: str) -> Path:
    """A file with ``text`` in the folder of temporary files, for a message: where it stood will vanish."""
    with tempfile.NamedTemporaryFile("w", prefix="wingbeat-", suffix=".log", encoding="utf-8", delete=False) as file:
        file.write(text)
    return Path(file.name)
