"""Which components a design consists of, and what they were made with."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import importlib
import inspect
from pathlib import Path
from typing import Any

from amaranth.lib import wiring

from .text import ROOT

__all__ = ["Part", "component_classes", "watching"]


@dataclass(frozen=True, eq=False)
class Part:
    """A component inside a design: the object, and the arguments that it was made with."""

    component: Any
    arguments: dict[str, Any]


def component_classes(path: Path) -> list[type]:
    """Public components that a file of hw/ defines, in their order."""
    module = importlib.import_module("wingbeat." + ".".join(path.with_suffix("").parts))
    found = [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__
             and issubclass(value, wiring.Component) and not value.__name__.startswith("_")]
    return sorted(found, key=lambda value: inspect.getsourcelines(value)[1])


@contextmanager
def watching() -> Iterator[dict[str, list[Part]]]:
    """Components of designs that are made and elaborated inside: by the name of the class, in order of elaboration."""
    for path in sorted((ROOT / "hw").rglob("*.py")):
        importlib.import_module("wingbeat." + ".".join(path.relative_to(ROOT).with_suffix("").parts))
    found: dict[str, list[Part]] = {}
    arguments: dict[int, dict[str, Any]] = {}
    changed = []
    for kind in {each for each in _classes(wiring.Component) if each.__module__.startswith("wingbeat.")}:
        for name, wrap in (("__init__", _noting), ("elaborate", _entering)):
            if name in vars(kind):
                changed.append((kind, name, vars(kind)[name]))
                setattr(kind, name, wrap(vars(kind)[name], arguments, found))
    try:
        yield found
    finally:
        for kind, name, original in changed:
            setattr(kind, name, original)


def _classes(base: type) -> Iterator[type]:
    for each in base.__subclasses__():
        yield each
        yield from _classes(each)


def _noting(original: Any, arguments: dict[int, dict[str, Any]], found: dict[str, list[Part]]) -> Any:
    signature = inspect.signature(original)

    def init(self: Any, *positional: Any, **named: Any) -> None:
        bound = signature.bind(self, *positional, **named)
        bound.apply_defaults()
        arguments[id(self)] = dict(list(bound.arguments.items())[1:])
        original(self, *positional, **named)
    return init


def _entering(original: Any, arguments: dict[int, dict[str, Any]], found: dict[str, list[Part]]) -> Any:
    def elaborate(self: Any, platform: Any) -> Any:
        found.setdefault(type(self).__name__, []).append(Part(self, arguments.get(id(self), {})))
        return original(self, platform)
    return elaborate
