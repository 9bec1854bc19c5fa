"""The folder of a generated core: Verilog, registers, drivers, integration, manifest, test bench and README."""

from pathlib import Path

from ...hw.config import CoreConfig, Target
from ...hw.sections import ControlBus
from ..cosim.core import Core, waivers
from ..cosim.selftest import write_testbench
from ..files import output_folder, write_json, write_manifest
from .drivers import driver_files
from .integration import fusesoc_core, integration_files
from .manifest import manifest
from .readme import render
from .registers import register_files
from .schema import SCHEMA, CoreFacts, json_schema

__all__ = ["generate"]

_BUILD_FOLDERS = ("tb/build", "tb/__pycache__")  # of `make -C tb`


def generate(config: CoreConfig, folder: Path) -> dict:
    """Write the core of ``config``, an array or a processor, to ``folder`` and return its manifest.

    ``folder`` appears complete or not at all; the same configuration gives the same bytes. Raises
    :class:`~wingbeat.hw.errors.WingbeatError` when ``folder`` cannot be used, or a processor is too small for every
    program of its self test.
    """
    with output_folder(folder) as root:
        core = Core(config)
        for name in ("rtl", "tb"):
            (root / name).mkdir()
        write_testbench(core, root / "tb")  # first: it is quick to refuse a core that is too small
        _write(root / "rtl" / f"{config.name}.v", core.verilog)
        _write(root / "rtl" / f"{config.name}.vlt", waivers(config.name))
        if config.bus.control is not ControlBus.NATIVE:
            for part, files in (("registers", register_files(config)), ("driver", driver_files(config))):
                (root / part).mkdir()
                for name, text in files.items():
                    _write(root / part / name, text)
        result = manifest(config, core.component)
        _write(root / "README.md", _readme(core, result))
        (root / "constraints").mkdir()
        for name, text in integration_files(config, result).items():
            _write(root / name, text)
        bench = [path.relative_to(root).as_posix() for path in (root / "tb").rglob("*") if path.is_file()]
        _write(root / f"{config.name}.core", fusesoc_core(config, result, bench))
        write_json(root / SCHEMA, json_schema(CoreFacts))
        return write_manifest(root, result, _BUILD_FOLDERS)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _readme(core: Core, facts: dict) -> str:
    config = core.config
    return render(
        "core.md.j2", name=config.name, config=config, choices=facts["configuration"], derived=facts["derived"],
        ports=facts["ports"], conditions=facts["conditions"], ecp5=config.target is Target.ECP5,
        memory_map=facts["memory_map"], errors=facts.get("errors", {}), axi=facts.get("axi4"),
        axis=facts.get("axi4_stream"), control=facts.get("control"), has_loader=config.has_loader,
        top=core.harness.top,
        needs=" ".join(core.harness.needs.values()))
