"""Reference of the latencies: what the configuration decides, and the parameters of each folder of hw/."""

from dataclasses import is_dataclass
import importlib
import inspect
from typing import Any

from wingbeat.gen.presets.select import load_preset
from wingbeat.hw.config import CoreConfig, Pipeline

from .text import ROOT, comments, docstring, inline, table

__all__ = ["page", "properties"]

_PAGE, _EXAMPLE = "reference/latencies.md", "hybrid-16"


def page() -> str:
    both = [load_preset(_EXAMPLE, [f"pipeline={member.value}"]) for member in Pipeline]
    parts = ["# Latencies",
             "Cycles between input and output of the blocks, and how much waits in them. Every number has one home; "
             "hardware, cycle model and trace read it there. The columns show preset "
             f"`{_EXAMPLE}` with both values of `pipeline`. The exact cycles of a program are those of "
             "`sim/cycles/estimate.py`.\n",
             "## Of the configuration", "Source: `hw/config.py`.\n",
             _table(CoreConfig, both, lambda name: "latency" in name or name in _OTHERS)]
    for path in sorted((ROOT / "hw").glob("*/parameters.py")):
        module = importlib.import_module(f"wingbeat.hw.{path.parent.name}.parameters")
        parts += [f"## Of {path.parent.name}", f"Source: `{path.relative_to(ROOT).as_posix()}`.\n",
                  docstring(module.__doc__, _PAGE), _constants(module)]
        for name, kind in vars(module).items():
            if is_dataclass(kind) and kind.__module__ == module.__name__ and hasattr(kind, "of"):
                parts += [f"### {name}", docstring(kind.__doc__, _PAGE), _table(kind, [kind.of(c) for c in both])]
    return "\n\n".join(parts) + "\n"


_OTHERS = ("shift_delay", "pass_spacing", "block_float_gap")


def _constants(module: Any) -> str:
    notes = comments(module, _PAGE)
    rows = [(f"`{name}`", value, notes.get(name, "")) for name, value in vars(module).items()
            if name in module.__all__ and isinstance(value, int)]
    return table(["name", "value", "meaning"], rows) if rows else ""


def properties(kind: type) -> dict[str, str]:
    """Documented properties of a class, with their docstrings in one line."""
    found = {}
    for name, value in vars(kind).items():
        read = getattr(value, "fget", None) or getattr(value, "func", None)
        if read is not None and value.__doc__ and not name.startswith("_"):
            found[name] = " ".join(inspect.cleandoc(value.__doc__).split())
    return found


def _table(kind: type, examples: list[Any], wanted: Any = lambda name: True) -> str:
    rows = [(f"`{name}`", *(getattr(each, name) for each in examples), inline(note, _PAGE))
            for name, note in properties(kind).items()
            if wanted(name) and isinstance(getattr(examples[0], name), int)]
    return table(["cycles, or places", *(f"`{member.value}`" for member in Pipeline), "meaning"], rows)
