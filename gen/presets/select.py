"""Configurations by name or from a TOML file, with single values set on the command line.

A TOML file holds the fields of :class:`~wingbeat.hw.config.CoreConfig`. ``name`` may be left out of a
preset: then it is the preset's name with ``-`` replaced by ``_``.
"""

from importlib import resources
from pathlib import Path
import re
import tomllib
from typing import Any

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError

__all__ = ["names", "load_preset", "load_file", "description"]

_SUFFIX = ".toml"


def _folder():
    return resources.files(__package__)


def names() -> list[str]:
    """Names of all presets, smallest array first."""
    found = [f.name.removesuffix(_SUFFIX) for f in _folder().iterdir() if f.name.endswith(_SUFFIX)]
    return sorted(found, key=lambda name: (load_preset(name).n_multipliers, name))


def description(name: str) -> str:
    """First sentence of the comment that opens the preset's file."""
    first = _text(name).splitlines()[0]
    return re.split(r"[.:](?: |$)", first.removeprefix("#").strip())[0]


def load_preset(name: str, settings: list[str] | None = None) -> CoreConfig:
    """Configuration of preset ``name``, changed by ``settings`` (each ``field=value``).

    Raises :class:`WingbeatError` for an unknown preset and :class:`pydantic.ValidationError` for bad fields.
    """
    values = {"name": name.replace("-", "_"), **tomllib.loads(_text(name))}
    return _build(values, settings or [])


def load_file(path: Path, settings: list[str] | None = None) -> CoreConfig:
    """Configuration from a TOML file, changed by ``settings``. Raises as :func:`load_preset` does."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WingbeatError(f"--config: {str(path)!r} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WingbeatError(f"--config: {str(path)!r} is not a TOML file: {error}") from error
    return _build(values, settings or [])


def _text(name: str) -> str:
    known = [f.name.removesuffix(_SUFFIX) for f in _folder().iterdir() if f.name.endswith(_SUFFIX)]
    if name not in known:
        raise WingbeatError(f"preset: {name!r} is not one of {', '.join(sorted(known))}")
    return (_folder() / f"{name}{_SUFFIX}").read_text(encoding="utf-8")


def _build(values: dict[str, Any], settings: list[str]) -> CoreConfig:
    given: set[str] = set()
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise WingbeatError(f"--set: {setting!r} is not field=value")
        if key in given:
            raise WingbeatError(f"--set: {key} is given twice")
        given.add(key)
        values = {**values, key: _value(text)}
    return CoreConfig.model_validate(values)


def _value(text: str) -> Any:
    """``text`` as a TOML value; what is none (``--set target=ecp5``) is a string."""
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if table.keys() == {"value"} else text
