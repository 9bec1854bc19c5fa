"""What stands around a core in simulation.

A harness knows the top module of the simulation, the bench that drives it, what a trial needs in files, and how to read
what a run has left. There is one for each kind of surroundings; core.py chooses.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
import json
from pathlib import Path
import shutil
from typing import Any, ClassVar

from amaranth.lib import data, wiring

from ...hw.config import CoreConfig
from ...hw.sections import ControlBus
from ..rtl.verilog import LICENCE, emit
from .axi_stream import StreamedCore
from .control import DrivenCore
from .job import Run, Trial
from .timing import MemoryTiming, StreamTiming

__all__ = ["Files", "Harness", "Places", "vector_fields"]

Places = Mapping[str, tuple[int, int]]  # lowest bit and number of bits of every field of a flat vector


class Files:
    """The data files of a folder of trials; what several of them share is written once."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._written: dict[Hashable, str] = {}

    def put(self, name: str, key: Hashable, lines: Callable[[], Iterable[str]]) -> str:
        """Name of the file with ``lines``: ``name``, or that of an earlier one with the same ``key``."""
        if key not in self._written:
            (self.folder / name).write_text("".join(f"{line}\n" for line in lines()))
            self._written[key] = name
        return self._written[key]


class Harness(ABC):
    """The surroundings of one core.

    ``benches``: the test module of testbench/ that runs it, and those it imports besides trials.py. ``models``: files
    of verilog/ that it needs. ``needs``: by module, Python packages that the bench needs besides cocotb.
    """

    benches: ClassVar[tuple[str, ...]]
    models: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[Mapping[str, str]] = {}

    def __init__(self, config: CoreConfig, component: wiring.Component):
        self.config = config
        self._around: dict[str, wiring.Component] = {}  # modules around the core by name, the innermost first
        if config.bus.control is not ControlBus.NATIVE:
            self._around["wingbeat_control"] = component = DrivenCore(config, component)
        if config.has_tlast:
            self._around["wingbeat_streams"] = component = StreamedCore(config, component, self.core)
        self._ports = component  # with native streams and a status
        self.status = vector_fields(component, "status")

    @property
    def core(self) -> str:
        """Name of the module with the ports of a core without a bus for control and streams."""
        return [self.config.name, *self._around][-1]

    @property
    def top(self) -> str:
        """Name of the top module of the simulation."""
        return self.core

    @property
    def top_module(self) -> str:
        """Verilog of the module ``top`` around the core; empty where the core itself is the top."""
        return ""

    def write_verilog(self, folder: Path) -> list[str]:
        """Write the Verilog of what stands around the core into ``folder``; names of the files, the top first."""
        around = [f"{name}.v" for name in reversed(self._around)]
        for name, component in self._around.items():
            (folder / f"{name}.v").write_text(emit(component, name))
        if not self.top_module:
            return around
        (folder / f"{self.top}.v").write_text(f"// {LICENCE}\n{self.top_module}")
        for model in self.models:
            shutil.copyfile(Path(__file__).resolve().parent / "verilog" / model, folder / model)
        return [f"{self.top}.v", *self.models, *around]

    def fitted(self, trials: Iterable[Trial]) -> "Harness":
        """This harness, no larger than ``trials`` need."""
        return self

    @abstractmethod
    def check(self, trial: Trial) -> None:
        """Raise ValueError or WingbeatError naming what of ``trial`` does not fit the core."""

    @abstractmethod
    def entry(self, trial: Trial, files: Files) -> dict[str, Any]:
        """Write the data of ``trial``; its entry of trials.json."""

    def contract(self) -> dict[str, Any]:
        """Numbers of the core's contract that the bench needs, for contract.json."""
        return {}

    @abstractmethod
    def lines(self, expected: Any) -> list[str]:
        """What the model gives for a trial, as the bench compares it."""

    @abstractmethod
    def run(self, folder: Path, trial: Trial, report: Mapping[str, Any]) -> Run:
        """What ``trial`` has left in ``folder``; ``report`` is its result.json."""

    def status_of(self, report: Mapping[str, Any]) -> dict[str, int]:
        """Every field of the port ``status``."""
        bits = int(report["status"], 16)
        return {name: bits >> at & (1 << width) - 1 for name, (at, width) in self.status.items()}

    @abstractmethod
    def check_timings(self, seed: int, number: int) -> Mapping[str, StreamTiming | MemoryTiming]:
        """By name, all timings under which `wingbeat simulate` runs a job; ``number`` trials stand before it."""

    @abstractmethod
    def shipped_timings(self, number: int) -> Mapping[str, StreamTiming | MemoryTiming]:
        """By name, the few timings of job ``number`` in the self test of a generated core."""

    def write(self, folder: Path, trials: Sequence[Trial],
              expected: Mapping[str, tuple[str, list[str]]] | None = None) -> None:
        """Files of ``trials`` as the bench reads them.

        ``expected``: by the name of a trial, the name of a file and its lines, where the bench is to compare. Raises
        as :meth:`check` does.
        """
        files, entries = Files(folder), []
        for trial in trials:
            self.check(trial)
            entry = self.entry(trial, files)
            if expected:
                name, lines = expected[trial.name]
                entry["expected"] = files.put(f"{name}.expected.hex", ("expected", name), lines.copy)
            entries.append(entry)
        _write_json(folder / "trials.json", entries)
        if contract := self.contract():
            _write_json(folder / "contract.json", contract)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")


def vector_fields(component: wiring.Component, port: str) -> dict[str, tuple[int, int]]:
    """Lowest bit and number of bits of every field of an output that is a flat vector in Verilog; a field of a field is
    UNIT.FIELD. Empty where there is no such port."""
    members = component.signature.members
    return dict(_places(members[port].shape, "", 0)) if port in members else {}


def _places(layout: data.Layout, prefix: str, base: int) -> Iterator[tuple[str, tuple[int, int]]]:
    for name, place in layout:
        if isinstance(place.shape, data.Layout):
            yield from _places(place.shape, f"{prefix}{name}.", base + place.offset)
        else:
            yield f"{prefix}{name}", (base + place.offset, place.width)
