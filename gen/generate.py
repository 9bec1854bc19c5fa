"""The folder of a generated core: Verilog, manifest, test bench and README."""

from collections.abc import Callable
from importlib import resources
from pathlib import Path

from amaranth.lib import wiring
import jinja2

from ..hw.config import ArrayConfig, Target
from . import verilog
from .files import MANIFEST, output_folder, write_json
from .manifest import file_digests, manifest

__all__ = ["generate"]

Testbench = Callable[[ArrayConfig, Path], None]  # writes its files into an existing folder


def generate(config: ArrayConfig, component: wiring.Component, folder: Path, *,
             testbench: Testbench | None = None) -> dict:
    """Write the core ``component`` made from ``config`` to ``folder`` and return its manifest.

    ``folder`` appears complete or not at all; the same arguments give the same bytes. ``testbench`` fills
    ``tb/``. Raises :class:`~wingbeat.hw.errors.WingbeatError` when ``folder`` cannot be used.
    """
    with output_folder(folder) as root:
        for name in ("rtl", "tb"):
            (root / name).mkdir()
        text = verilog.emit(component, config.name)
        (root / "rtl" / f"{config.name}.v").write_text(text, encoding="utf-8", newline="\n")
        if config.target is Target.ECP5:
            models = resources.files(__package__) / "models" / "ecp5.v"
            (root / "tb" / "ecp5.v").write_bytes(models.read_bytes())
        if testbench is not None:
            testbench(config, root / "tb")
        if not any((root / "tb").iterdir()):
            (root / "tb").rmdir()
        result = manifest(config, component)
        readme = _readme(config, result, testbench is not None)
        (root / "README.md").write_text(readme, encoding="utf-8", newline="\n")
        result["sha256"] = file_digests(root)
        write_json(root / MANIFEST, result)
    return result


def _readme(config: ArrayConfig, facts: dict, testbench: bool) -> str:
    template = (resources.files(__package__) / "templates" / "README.md.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(template).render(
        name=config.name, config=facts["configuration"], derived=facts["derived"], ports=facts["ports"],
        conditions=facts["conditions"], ecp5=config.target is Target.ECP5, testbench=testbench)
