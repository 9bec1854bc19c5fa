"""The points of a space: settings as `--set` takes them, and the configurations that they make."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
import shlex
from typing import Any

from pydantic import ValidationError

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ...faults import config_faults
from ...presets.select import load_file, load_preset
from .file import SpaceFile

__all__ = ["SpacePoint", "Illegal", "check_fields", "grid_choices", "make_point"]


@dataclass(frozen=True)
class SpacePoint:
    """A configuration of the space; ``settings`` make it out of the preset or file. ``values`` are those of the
    space's fields."""

    settings: tuple[str, ...]
    values: tuple[Any, ...]
    config: CoreConfig = field(repr=False)

    def command(self, space: SpaceFile) -> str:
        """The command line that writes this core."""
        origin = ["--preset", space.preset] if space.preset else ["--config", str(space.config)]
        words = [*origin, *(word for setting in self.settings for word in ("--set", setting))]
        return shlex.join(["wingbeat", "generate", *map(str, words), "-o", "build/core"])


@dataclass(frozen=True)
class Illegal:
    """Values that are no configuration together, and why."""

    settings: tuple[str, ...]
    fault: str


def make_point(space: SpaceFile, choice: Sequence[int]) -> SpacePoint | Illegal:
    """The point of the values with the numbers ``choice``, one for each field."""
    values = tuple(options[number] for options, number in zip(space.fields.values(), choice))
    settings = (*space.settings, *(_setting(key, value) for key, value in zip(space.fields, values)))
    try:
        return SpacePoint(settings, values, _load(space, settings))
    except ValidationError as fault:
        return Illegal(settings, config_faults(fault)[0])


def grid_choices(space: SpaceFile) -> Iterator[tuple[int, ...]]:
    """Every combination, the last field fastest."""
    return product(*(range(len(values)) for values in space.fields.values()))


def check_fields(space: SpaceFile) -> None:
    """Raise for a value that its field never takes, whatever the others are; a combination may still be none."""
    _single_faults(space, space.settings)
    for key, values in space.fields.items():
        for value in values:
            _single_faults(space, (*space.settings, _setting(key, value)))


def _single_faults(space: SpaceFile, settings: Sequence[str]) -> None:
    try:
        _load(space, settings)
    except ValidationError as fault:
        own = [line for line, entry in zip(config_faults(fault), fault.errors()) if entry["loc"]]
        if own:
            raise WingbeatError(f"fields: {own[0]}") from fault


def _load(space: SpaceFile, settings: Sequence[str]) -> CoreConfig:
    if space.preset is not None:
        return load_preset(space.preset, list(settings))
    return load_file(Path(str(space.config)), list(settings))


def _setting(key: str, value: Any) -> str:
    return f"{key}={str(value).lower() if isinstance(value, bool) else value}"
