"""A processor with a memory at its native port (verilog/memory.v), and all that works on a memory image.

The memory, the setup writes and all that is noted in a cycle are Verilog (verilog/memory.v, driver.v); Python only
starts a trial and collects it (testbench/processor_bench.py). So a run costs what the processor costs.
"""

from collections.abc import Iterable, Mapping
from copy import copy
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

from amaranth.lib import wiring
import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ...hw.isa.setup import SETUP, SETUP_CONTROL
from ..compiler.beats import pack_beats, pack_setup, unpack_beats
from .control import LOG_CYCLES
from .harness import Files, Harness, Places, vector_fields
from .job import BlockReport, Run, Trial
from .testbench.simulators import SimulatorError
from .timing import MEMORY_STALLS, MemoryTiming, StreamTiming

__all__ = ["LARGEST_DEPTH", "MemoryHarness", "instance", "module"]

LARGEST_DEPTH = 1 << 20  # beats of the simulated memory
OPEN_BITS = 10           # of the counts of requests under way
COUNTS = ("start_cycle", "end_cycle", "written_cycle", "reads", "writes", "late_requests", "reads_left", "writes_left")
_SETUP = {"setup_payload": 64, "setup_valid": 1, "setup_ready": 1}     # wires between driver and core
_OPEN = {"reads_open": OPEN_BITS, "writes_open": OPEN_BITS}            # and between driver and memory
_CHUNK = 65536           # lines of a log at a time
_SLOW = 40               # cycles of latency of the slow memory in the self test


class MemoryHarness(Harness):
    """Processor, memory of ``depth`` beats (else what ``memory_bits`` can name, at most LARGEST_DEPTH) and driver in
    one top module. Raises :class:`WingbeatError` for a depth that no memory has."""

    benches: ClassVar[tuple[str, ...]] = ("processor_bench",)
    models = ("memory.v", "driver.v")

    def __init__(self, config: CoreConfig, component: wiring.Component, depth: int | None = None):
        super().__init__(config, component)
        self.depth = min(1 << config.memory_bits, LARGEST_DEPTH) if depth is None else depth
        if not 1 <= self.depth <= LARGEST_DEPTH:
            raise WingbeatError(f"depth: {depth} beats; allowed are 1..{LARGEST_DEPTH}")
        self.block, self.activity = vector_fields(component, "block"), vector_fields(component, "activity")
        self.log = vector_fields(self._ports, "log_data")
        self._tied = {"abort_request": "1'b0"} if "abort_request" in self._ports.signature.members else {}

    @property
    def slot_bits(self) -> int:
        """Bits of an element in the files of a memory."""
        return self.config.element_width

    @property
    def top(self) -> str:
        return f"{self.config.name}_with_memory"

    def fitted(self, trials: Iterable[Trial]) -> "MemoryHarness":
        """With a memory just as deep as the largest image."""
        smaller = copy(self)
        smaller.depth = max(len(trial.data) for trial in trials)
        return smaller

    # --- trials -------------------------------------------------------------------------------

    def check(self, trial: Trial) -> None:
        n_elements, shape = self.config.memory_elements, trial.data.shape
        self._timing(trial)
        if len(shape) != 2 or shape[1] != n_elements or not 1 <= shape[0] <= self.depth:
            raise ValueError(f"memory: shape {shape}; allowed are (1..{self.depth}, {n_elements})")
        if not 0 <= self._limit(trial) <= len(trial.data):
            raise ValueError(f"limit: {trial.limit}; allowed are 0..{len(trial.data)}, the beats of the memory")
        if not 1 <= trial.deadline < 1 << 31:
            raise ValueError(f"deadline: {trial.deadline} cycles; allowed are 1..{(1 << 31) - 1}")
        if trial.trace and not self.activity:
            raise ValueError(f"trace: {self.top} has no port `activity`")

    def entry(self, trial: Trial, files: Files) -> dict[str, Any]:
        memory = files.put(f"{trial.name}.before.hex", ("memory", id(trial.data)), lambda: self._pack(trial.data))
        setup = files.put(f"{trial.name}.setup.hex", ("setup", id(trial)), lambda: pack_setup(trial.setup_writes))
        settings = {"beats": len(trial.data), "limit": self._limit(trial), "deadline": trial.deadline,
                    "tracing": int(trial.trace), **self.settings(self._timing(trial))}
        return {"name": trial.name, "setup": setup, "memory": memory, "settings": settings,
                "error_bits": self.status["error"], "blocks_bits": self.status["blocks"], "blocks": trial.n_blocks,
                **({"log": self._log_facts} if self.log else {})}

    @property
    def _log_facts(self) -> dict[str, int]:
        return {"size": self.config.block_log,
                "latency": LOG_CYCLES if self._around else self.config.pipeline.ram_latency,
                "shift": sum(self.block["valid"])}

    def settings(self, timing: MemoryTiming) -> dict[str, int]:
        """What makes the memory as fast as ``timing`` says."""
        return timing.settings(self.config.stream_words)

    def _timing(self, trial: Trial) -> MemoryTiming:
        if not isinstance(trial.timing, MemoryTiming):
            raise WingbeatError(f"memory: {self.config.name} has one; allowed with streams is an array")
        return trial.timing

    @staticmethod
    def _limit(trial: Trial) -> int:
        return len(trial.data) if trial.limit is None else trial.limit

    def _pack(self, memory: np.ndarray) -> list[str]:
        """A memory as lines, one beat each. Raises ValueError for an element that does not fit."""
        return pack_beats(memory, self.slot_bits, self.config.stream_words)

    def lines(self, expected: np.ndarray) -> list[str]:
        """Beats of the memory afterwards."""
        return self._pack(expected)

    def check_timings(self, seed: int, number: int) -> dict[str, StreamTiming | MemoryTiming]:
        return {"ideal": MemoryTiming(), **{name: MemoryTiming(10, stalls=name, seed=seed) for name in MEMORY_STALLS
                                            if name != "none"}}

    def shipped_timings(self, number: int) -> dict[str, StreamTiming | MemoryTiming]:
        """Ideal, slow, and one profile of stalls in turn."""
        profiles = [name for name in MEMORY_STALLS if name != "none"]
        stalls = profiles[number % len(profiles)]
        return {"ideal": MemoryTiming(), "slow": MemoryTiming(_SLOW, Fraction(self.config.stream_words, 2)),
                stalls: MemoryTiming(_SLOW // 4, stalls=stalls, seed=number, overtaking=number % 2 == 1)}

    # --- the top module -----------------------------------------------------------------------

    @property
    def top_module(self) -> str:
        """Processor, memory and driver. Its ports are what the bench sets and reads; those of the models keep their
        names."""
        c = self.config
        address, elements, width = c.memory_bits, c.memory_elements, c.element_width
        inputs = {"clk": 1, "rst": 1, "load": 1, "dump": 1, "tracing": 1, "deadline": 32, "beats": 32,
                  "limit": address + 1, "latency": 16, "gain": 32, "cost": 32, "overtaking": 1, "chances": 32,
                  "holds": 8, "seed": 64, **self._log_inputs}
        streams = {"read": address, "beats": elements * width, "write": address + elements + elements * width}
        wires = {**_SETUP, "written": 1, "refused": 1, **self._reports, **_OPEN}
        for stream, bits in streams.items():
            wires |= {f"{stream}_payload": bits, f"{stream}_valid": 1, f"{stream}_ready": 1}
        handshakes = [f"{stream}_{part}" for stream in streams for part in ("payload", "valid", "ready")]
        processor = {**self._processor_pins(), **{f"port__{wire.replace('_', '__')}": wire for wire in handshakes},
                     "port__written": "written", "port__refused": "refused", "port__failed": "1'b0",
                     **self._activity_pin()}
        others = ("tracing", "deadline", *self._log_inputs)
        memory = [*(name for name in inputs if name not in others), *handshakes, "written", "refused", "fault",
                  "reads_open", "writes_open"]
        return module(self.top, inputs, self._driver_outputs(3), wires, [
            *([] if self.activity else ["assign activity = 0;"]),
            instance(self.core, {}, "processor", processor),
            instance("wingbeat_memory", {"ADDRESS_BITS": address, "ELEMENTS": elements, "ELEMENT_WIDTH": width,
                                         "DEPTH": self.depth, "QUEUE_BITS": OPEN_BITS - 1}, "memory",
                     {n: n for n in memory}),
            self._driver({"read_moves": "read_valid && read_ready", "write_moves": "write_valid && write_ready"})])

    @property
    def _reports(self) -> dict[str, int]:
        return {"block": _bits(self.block), "activity": _bits(self.activity) if self.activity else 1}

    def _driver_outputs(self, faults: int) -> dict[str, int]:
        return {"done": 1, "timeout": 1, "fault": faults, "setup_writes": 32, **dict.fromkeys(COUNTS, 32),
                "reads_left": OPEN_BITS, "writes_left": OPEN_BITS, "status": _bits(self.status),
                **({"log_data": _bits(self.log)} if self.log else {})}

    @property
    def _log_inputs(self) -> dict[str, int]:
        return {"log_address": (self.config.block_log - 1).bit_length()} if self.log else {}

    def _processor_pins(self) -> dict[str, str]:
        log = ("log_address", "log_data") if self.log else ()
        return {**{name: name for name in ("clk", "rst", "status", "block", *log)}, **self._tied,
                **{f"i_setup__{part}": f"setup_{part}" for part in ("payload", "valid", "ready")}}

    def _activity_pin(self) -> dict[str, str]:
        return {"activity": "activity"} if self.activity else {}

    def _driver(self, moves: Mapping[str, str]) -> str:
        """Instance of verilog/driver.v; ``moves`` says when a beat is asked for and when one is written."""
        pins = {name: name for name in (
            "clk", "rst", "load", "dump", "tracing", "deadline", "setup_payload", "setup_valid", "setup_ready", "block",
            "activity", "written", "reads_open", "writes_open", "done", "timeout", "setup_writes", *COUNTS)}
        error_at, error_bits = self.status["error"]
        pins |= {"busy": f"status[{self.status['busy'][0]}]", "failed": f"|status[{error_at} +: {error_bits}]",
                 "fault": "|fault", **moves}
        parameters = {"BLOCK": self._reports["block"], "BLOCK_VALID": self.block["valid"][0],
                      "ACTIVITY": self._reports["activity"], "OPEN": OPEN_BITS,
                      "TARGET_BITS": dict(SETUP)["target"], "START_TARGET": SETUP_CONTROL}
        return instance("wingbeat_driver", parameters, "driver", pins)

    # --- runs ---------------------------------------------------------------------------------

    def run(self, folder: Path, trial: Trial, report: Mapping[str, Any]) -> Run:
        blocks = _read_events(folder / f"{trial.name}.blocks.txt", self.block)
        reports = [BlockReport(int(cycle), int(exponent), bool(saturated)) for cycle, exponent, saturated
                   in zip(blocks["cycle"], blocks["exponent"], blocks["saturated"])]
        activity = _read_events(folder / f"{trial.name}.activity.txt", self.activity) if trial.trace else {}
        return Run(trial, self._read_memory(folder, trial), self.status_of(report), reports, activity=activity,
                   **{name: report[name] for name in COUNTS})

    def _read_memory(self, folder: Path, trial: Trial) -> np.ndarray:
        c, text = self.config, (folder / f"{trial.name}.after.hex").read_text()
        lines = [line for line in text.split("\n") if line and line[0] != "/"]
        undefined = [number for number, line in enumerate(lines) if not set(line) <= set("0123456789abcdefABCDEF")]
        if undefined:
            raise SimulatorError(f"{trial.name}: beat {undefined[0]} has undefined bits: {lines[undefined[0]]}")
        digits = 2 * (2 * c.stream_words * self.slot_bits // 8 + 2)  # room for the tags of an output beat
        words, *_ = unpack_beats([line.zfill(digits) for line in lines], self.slot_bits, c.stream_words)
        return words.reshape(len(lines), -1)


def module(name: str, inputs: Mapping[str, int], outputs: Mapping[str, int], wires: Mapping[str, int],
           body: list[str]) -> str:
    """Verilog of a module; ports and wires with their numbers of bits."""
    declared = (("input", inputs), ("output", outputs), ("wire", wires))
    return "\n".join([
        f"module {name} ({', '.join([*inputs, *outputs])});",
        *(f"  {kind} {f'[{bits - 1}:0] ' if bits > 1 else ''}{signal};" for kind, signals in declared
          for signal, bits in signals.items()),
        *(f"  {line}" for line in body), "endmodule", ""])


def instance(of: str, parameters: Mapping[str, int], name: str, pins: Mapping[str, str]) -> str:
    """Verilog of an instance of the module ``of``."""
    values, ports = (", ".join(f".{key}({value})" for key, value in items.items()) for items in (parameters, pins))
    return f"{of} {f'#({values}) ' if values else ''}{name} ({ports});"


def _bits(places: Places) -> int:
    return max(at + width for at, width in places.values())


def _read_events(path: Path, places: Places) -> dict[str, np.ndarray]:
    """Cycle and fields of every line "cycle bits" of a log; the bits are equally many digits in each."""
    words = path.read_text().split()
    cycles, lines = words[::2], words[1::2]
    events = {"cycle": np.array(cycles, np.int64), **{name: np.empty(len(lines), np.int64) for name in places}}
    for at in range(0, len(lines), _CHUNK):
        part = lines[at:at + _CHUNK]
        digits = len(part[0]) + len(part[0]) % 2
        octets = np.frombuffer(bytes.fromhex("".join(line.zfill(digits) for line in part)), np.uint8)
        bits = np.unpackbits(octets.reshape(len(part), -1)[:, ::-1], axis=1, bitorder="little")
        for name, (low, width) in places.items():
            events[name][at:at + _CHUNK] = bits[:, low:low + width] @ (1 << np.arange(width, dtype=np.int64))
    return events
