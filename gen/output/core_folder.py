"""The folder of a generated core: Verilog, manifest, test bench and README."""

from importlib import resources
from pathlib import Path

import jinja2

from ...hw.config import CoreConfig, Target
from ...hw.core.top import core
from ..cosim.core import models
from ..cosim.selftest import write_testbench
from ..files import MANIFEST, output_folder, write_json
from ..rtl import verilog
from .manifest import file_digests, manifest

__all__ = ["generate"]


def generate(config: CoreConfig, folder: Path) -> dict:
    """Write the core of ``config``, an array or a processor, to ``folder`` and return its manifest.

    ``folder`` appears complete or not at all; the same configuration gives the same bytes. Raises
    :class:`~wingbeat.hw.errors.WingbeatError` when ``folder`` cannot be used, or a processor is too small for every
    program of its self test.
    """
    with output_folder(folder) as root:
        component = core(config)
        for name in ("rtl", "tb"):
            (root / name).mkdir()
        _write(root / "rtl" / f"{config.name}.v", verilog.emit(component, config.name))
        for path in models(config):
            (root / "tb" / path.name).write_bytes(path.read_bytes())
        write_testbench(config, root / "tb", component)
        result = manifest(config, component)
        _write(root / "README.md", _readme(config, result))
        result["sha256"] = file_digests(root)
        write_json(root / MANIFEST, result)
    return result


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _readme(config: CoreConfig, facts: dict) -> str:
    template = (resources.files(__package__) / "templates" / "README.md.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(template).render(
        name=config.name, config=config, choices=facts["configuration"], derived=facts["derived"], ports=facts["ports"],
        conditions=facts["conditions"], ecp5=config.target is Target.ECP5, memory_map=facts["memory_map"],
        errors=facts.get("errors", {}))
