"""Reference of the command line, from the commands themselves."""

from importlib import metadata
from typing import Any

import typer

from wingbeat.gen.cli.app import app

from .text import escape, table

__all__ = ["command_tree", "page"]


def command_tree() -> dict[str, Any]:
    """Every command by its full name, `wingbeat bench kernels` for one."""
    root = typer.main.get_command(app)
    found = _walk("wingbeat", root)
    for entry in sorted(metadata.entry_points(group="wingbeat.commands"), key=lambda entry: entry.name):
        own = typer.Typer(add_completion=False)
        own.command(entry.name)(entry.load())
        found[f"wingbeat {entry.name}"] = typer.main.get_command(own)
    return found


def _walk(name: str, command: Any) -> dict[str, Any]:
    inner = getattr(command, "commands", None)
    if not inner:
        return {name: command}
    return {full: each for key, child in inner.items() for full, each in _walk(f"{name} {key}", child).items()}


def page() -> str:
    parts = ["# Command line",
             "Every command ends with exit code 0. Code 1 says that a result is bad: a mismatch, a clock that is not "
             "met. Code 2 says that an input was refused: one line for each fault, and nothing is written. A command "
             "that reports numbers writes them with `--json FILE`.\n"]
    for name, command in command_tree().items():
        arguments = [p for p in command.params if not p.opts[0].startswith("-")]
        words = " ".join(p.metavar or p.name.upper() for p in arguments)
        parts += [f"## {name}", escape(" ".join((command.help or "").split())) + "\n",
                  f"```text\n{name}{' ' if words else ''}{words} [options]\n```"]
        rows = [_row(p) for p in command.params if p.name != "help"]
        if rows:
            parts.append(table(["option", "default", "meaning"], rows))
    return "\n\n".join(parts) + "\n"


def _row(parameter: Any) -> tuple[str, str, str]:
    is_option = parameter.opts[0].startswith("-")
    names = ", ".join(parameter.opts) if is_option else ""
    value = "" if getattr(parameter, "is_flag", False) else (parameter.metavar or parameter.name.upper())
    default = parameter.default
    shown = "" if default is None or default is False or callable(default) or default == [] else \
        f"`{getattr(default, 'value', default)}`"
    required = "required" if getattr(parameter, "required", False) else shown
    return f"`{' '.join(filter(None, (names, value)))}`", required, escape(parameter.help or "")
