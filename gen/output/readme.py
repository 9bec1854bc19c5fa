"""READMEs of the output folders, from the templates beside this file."""

from importlib import resources
from typing import Any

import jinja2

from ..rtl.verilog import LICENCE

__all__ = ["render"]


def render(template: str, **facts: Any) -> str:
    """The text of a template (templates/), which names each of ``facts`` that it uses."""
    text = (resources.files(__package__) / "templates" / template).read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(text).render(licence=LICENCE, **facts)
