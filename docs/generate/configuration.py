"""Reference of the configuration: every field with its range, the presets, and what follows from a configuration."""

from enum import Enum
from typing import Any, get_args

from pydantic import BaseModel

from wingbeat.gen.presets import select
from wingbeat.hw.config import CoreConfig, Pipeline, Target
from wingbeat.hw.sections import ControlBus, MemoryBus, StreamBus

from .text import docstring, enumeration, inline, table

__all__ = ["page"]

_PAGE = "reference/configuration.md"


def page() -> str:
    parts = ["# Configuration", docstring(CoreConfig.__doc__, _PAGE),
             "A configuration is a TOML file (`--config FILE.toml`) or a preset (`--preset NAME`). "
             "`--set FIELD=VALUE` changes one field of either. A field that is not allowed stops the command with "
             "exit code 2 and one line that names the field, its value and what is allowed.\n"]
    parts += _model(CoreConfig, "")
    parts += ["## Choices", "### target", enumeration(Target, _PAGE), "### pipeline", enumeration(Pipeline, _PAGE),
              _pipelines(),
              "### bus.control", enumeration(ControlBus, _PAGE), "### bus.memory", enumeration(MemoryBus, _PAGE),
              "### bus.stream", enumeration(StreamBus, _PAGE),
              "## Presets", "The comments in `gen/presets/*.toml` say why a preset has its values.\n", _presets(),
              "## Derived values", f"Every property of a configuration, here of preset `{_EXAMPLE}`. "
              "`manifest.json` of a generated core holds them under `derived`.\n", _derived()]
    return "\n\n".join(parts) + "\n"


_EXAMPLE = "hybrid-16"


def _section(annotation: Any) -> type[BaseModel] | None:
    """The model behind the annotation of a field, where it is a section."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _model(model: type[BaseModel], prefix: str) -> list[str]:
    """A table of plain fields, then one part for each section."""
    rows, sections = [], []
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        if section is not None:
            absent = " Without it: not built." if field.default is None else ""
            sections += [f"## Section [{prefix}{name}]".replace("[", "\\[").replace("]", "\\]"),
                         docstring(section.__doc__, _PAGE).rstrip() + absent + "\n",
                         *_model(section, f"{prefix}{name}.")]
            continue
        rows.append((f"`{prefix}{name}`", _allowed(field), _value(field.get_default(call_default_factory=True)),
                     inline(field.description or "", _PAGE)))
    heading = ["## Fields"] if not prefix else []
    return [*heading, table(["field", "allowed", "default", "meaning"], rows), *sections] if rows else sections


def _allowed(field: Any) -> str:
    kind = field.annotation
    kinds = [k for k in (kind, *get_args(kind)) if isinstance(k, type) and issubclass(k, Enum)]
    if kinds:
        return ", ".join(f"`{member.value}`" for member in kinds[0])
    limits = {key: getattr(rule, key) for rule in field.metadata for key in ("ge", "le") if hasattr(rule, key)}
    if limits:
        return f"{limits.get('ge', '')}..{limits.get('le', '')}"
    literals = [str(choice) for choice in get_args(kind) if isinstance(choice, str)]
    return ", ".join(f"`{choice}`" for choice in literals) or getattr(kind, "__name__", "")


def _pipelines() -> str:
    """Latencies of the leaf blocks in both pipelines."""
    rows = [(f"`{name}`", *(getattr(member, name) for member in Pipeline),
             inline(" ".join(value.__doc__.split()), _PAGE))
            for name, value in vars(Pipeline).items() if isinstance(value, property) and value.__doc__]
    return table(["cycles", *(f"`{member.value}`" for member in Pipeline), "meaning"], rows)


def _value(value: Any) -> str:
    if isinstance(value, Enum):
        return f"`{value.value}`"
    return "" if value is None or repr(value) == "PydanticUndefined" else f"`{value}`"


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _presets() -> str:
    names = select.names()
    values = [_flat(select.load_preset(name).model_dump(mode="json")) for name in names]
    fields = [name for name in dict.fromkeys(key for each in values for key in each) if name != "name"]
    overview = table(["preset", "multipliers", "what it is for"],
                     [(f"`{name}`", select.load_preset(name).n_multipliers, inline(select.description(name), _PAGE))
                      for name in names])
    full = table(["field", *(f"`{name}`" for name in names)],
                 [(f"`{field}`", *("" if each.get(field) is None else each[field] for each in values))
                  for field in fields])
    return overview + "\n" + full


def _derived() -> str:
    config, rows = select.load_preset(_EXAMPLE), []
    for name, value in vars(type(config)).items():
        if isinstance(value, property) and value.__doc__:
            text = " ".join((value.__doc__ or "").split())
            rows.append((f"`{name}`", getattr(config, name), inline(text, _PAGE)))
    return table(["property", f"`{_EXAMPLE}`", "meaning"], rows)
