"""What a user reads of a fault: one line each, naming the field, the value and what is allowed."""

from pydantic import BaseModel, ValidationError

from ..hw.config import CoreConfig
from ..hw.sections import SECTIONS

__all__ = ["config_faults", "one_line"]


def config_faults(fault: ValidationError) -> list[str]:
    """One line for each fault of a configuration."""
    lines: list[str] = []
    for entry in fault.errors(include_url=False):
        field = ".".join(map(str, entry["loc"]))
        message = entry["msg"].removeprefix("Value error, ")
        if not field:  # a check of several fields names them itself
            lines += map(one_line, message.split("\n"))
            continue
        if entry["type"] == "extra_forbidden":
            owner: type[BaseModel] = SECTIONS[str(entry["loc"][0])] if len(entry["loc"]) > 1 else CoreConfig
            message = f"no such field; allowed are {', '.join(owner.model_fields)}"
        value = repr(entry["input"])
        lines.append(one_line(f"{field}: {value if len(value) <= 60 else value[:57] + '...'}: {message}"))
    return lines


def one_line(text: str) -> str:
    """``text`` on one line; what a terminal would obey is shown as an escape."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.split()))
