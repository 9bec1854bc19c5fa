"""Configurations by name or from a TOML file, with single values set on the command line.

A TOML file holds the fields of :class:`~wingbeat.hw.config.CoreConfig`: ``name``, ``target``, ``pipeline`` and the
sections [array], [memory], [vector] and [bus]. ``name`` may be left out of a preset: then it is the preset's name with
``-`` replaced by ``_``. The names of version 0.1, all outside of sections, are read for one release, with a warning.
"""

from importlib import resources
from pathlib import Path
import re
import tomllib
from typing import Any
import warnings

from ...hw.config import NAMES, CoreConfig, in_sections
from ...hw.sections import SECTIONS, ControlBus, MemoryBus
from ...hw.errors import WingbeatError

__all__ = ["names", "load_preset", "load_file", "description", "preset_text", "field_of",
           "on_native"]

_SUFFIX = ".toml"
_OPTIONAL = ("memory", "vector")


def _folder():
    return resources.files(__package__)


def names() -> list[str]:
    """Names of all presets, smallest array first."""
    found = [f.name.removesuffix(_SUFFIX) for f in _folder().iterdir() if f.name.endswith(_SUFFIX)]
    return sorted(found, key=lambda name: (load_preset(name).n_multipliers, name))


def description(name: str) -> str:
    """First sentence of the comment that opens the preset's file."""
    first = preset_text(name).splitlines()[0]
    return re.split(r"[.:](?: |$)", first.removeprefix("#").strip())[0]


def load_preset(name: str, settings: list[str] | None = None) -> CoreConfig:
    """Configuration of preset ``name``, changed by ``settings`` (each ``field=value``).

    Raises :class:`WingbeatError` for an unknown preset and :class:`pydantic.ValidationError` for bad fields.
    """
    values = {"name": name.replace("-", "_"), **tomllib.loads(preset_text(name))}
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


def preset_text(name: str) -> str:
    """The TOML text of a preset. Raises :class:`WingbeatError` naming the presets when there is no such one."""
    known = [f.name.removesuffix(_SUFFIX) for f in _folder().iterdir() if f.name.endswith(_SUFFIX)]
    if name not in known:
        raise WingbeatError(f"preset: {name!r} is not one of {', '.join(sorted(known))}")
    return (_folder() / f"{name}{_SUFFIX}").read_text(encoding="utf-8")


def field_of(key: str) -> str:
    """The field that ``key`` of a setting names, by its full name: ``engines`` is ``array.engines``.

    Raises :class:`WingbeatError` where there is none."""
    section, _, field = key.partition(".")
    if key in NAMES:
        return ".".join(NAMES[key])
    if section in SECTIONS and field in SECTIONS[section].model_fields or key in _OPTIONAL:
        return key
    plain = [name for name in CoreConfig.model_fields if name not in SECTIONS]
    if key in plain:
        return key
    allowed = SECTIONS[section].model_fields if field and section in SECTIONS else [
        *plain, *(f"{name}.FIELD" for name in SECTIONS)]
    raise WingbeatError(f"{key}: no such field; allowed are {', '.join(allowed)}")


def on_native(config: CoreConfig) -> CoreConfig:
    """``config``, whose cycles are to be measured beside those of the cycle model. Raises
    :class:`WingbeatError` for a bus that the model does not know."""
    if config.bus.memory is not MemoryBus.NATIVE:
        raise WingbeatError(f"bus.memory: {config.bus.memory.value!r}; allowed is native, the only port that the cycle "
                            "model knows")
    if config.bus.control is not ControlBus.NATIVE:
        raise WingbeatError(f"bus.control: {config.bus.control.value!r}; allowed is native, the only control that the "
                            "cycle model knows")
    return config


def _build(values: dict[str, Any], settings: list[str]) -> CoreConfig:
    """Configuration of a file's ``values`` with ``settings``. Warns of names outside their sections."""
    flat = [name for name in values if name in NAMES]
    if flat:
        _warn_flat(flat)
        values = in_sections(values)
    given: set[str] = set()
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise WingbeatError(f"--set: {setting!r} is not field=value")
        if key in given:
            raise WingbeatError(f"--set: {key} is given twice")
        given.add(key)
        values = _changed(values, key, _value(text))
    return CoreConfig.model_validate(values)


def _warn_flat(names: list[str]) -> None:
    homes = ", ".join(f"{name} -> {'.'.join(NAMES[name])}" for name in names)
    warnings.warn(f"a configuration without sections is read until version 0.3 only; move {homes}", FutureWarning,
                  stacklevel=4)


def _changed(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """``values`` in sections with field ``key`` set: SECTION.FIELD, a field of the core, or the name that the hardware
    uses for a field of a section. SECTION=none leaves a section out."""
    if key in _OPTIONAL and value == "none":
        return {name: section for name, section in values.items() if name != key}
    if key in NAMES and NAMES[key][1] != key:
        return in_sections({key: value}, values)  # memory_bits, vector_lanes: 0 leaves the section out
    section, dot, field = (".".join(NAMES[key]) if key in NAMES else key).partition(".")
    if not dot:
        return {**values, key: value}
    if "." in field or section not in SECTIONS:
        raise WingbeatError(f"--set: {key} is not a field; the sections are {', '.join(SECTIONS)}")
    return {**values, section: {**values.get(section, {}), field: value}}


def _value(text: str) -> Any:
    """``text`` as a TOML value; what is none (``--set target=ecp5``) is a string."""
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if table.keys() == {"value"} else text
