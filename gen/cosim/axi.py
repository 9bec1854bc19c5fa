"""A processor with an AXI4 master, on an AXI memory that is not ours: the AxiRam of cocotbext-axi.

The memory is Python (testbench/axi_bench.py), with random pauses on all five channels; what watches the rules of the
bus and what notes the rest is Verilog (verilog/axi_watch.v, driver.v). A run costs some hundred microseconds a cycle.
"""

from fractions import Fraction
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import wiring

from ...hw.bus.axi4.burst import PAGE_BYTES, AxiParameters
from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ...hw.numeric import largest, smallest
from .harness import Files
from .job import Trial
from .memory import OPEN_BITS, MemoryHarness, instance, module
from .timing import MEMORY_STALLS, MemoryTiming, StreamTiming

__all__ = ["AxiHarness"]

_FAULTS = 7          # of verilog/axi_watch.v
_PATIENCE = 4       # deadlines are counted for the native port; AxiRam serves one burst after the other
_PAGES = 5           # the image begins on one of so many pages behind the third


class AxiHarness(MemoryHarness):
    """Processor, driver and watch in one top module whose ports are those of the bus.

    Element i of a beat has the slot in the files that AxiParameters gives it in memory: a line is a beat as it stands
    there, its highest byte first.
    """

    benches = ("axi_bench", "processor_bench")
    models = ("axi_watch.v", "driver.v")
    needs = {"cocotbext.axi": "cocotbext-axi==0.1.28"}

    def __init__(self, config: CoreConfig, component: wiring.Component, depth: int | None = None):
        super().__init__(config, component, depth)
        self.axi = AxiParameters.of(config)
        self._bus = {name: member for name, member in component.signature.members.items() if name.startswith("m_axi_")}

    @property
    def slot_bits(self) -> int:
        return self.axi.slot_bits

    @property
    def top(self) -> str:
        return f"{self.config.name}_on_axi"

    # --- trials -------------------------------------------------------------------------------

    def check(self, trial: Trial) -> None:
        super().check(trial)
        size, width = len(trial.data) * self.axi.beat_bytes, self.axi.address_width
        if size > 1 << width:
            raise WingbeatError(f"bus.address_width: {width} is too small for {len(trial.data)} beats of "
                                f"{self.axi.beat_bytes} bytes; allowed are {(size - 1).bit_length()} and more")
        low, high = smallest(self.config.element_width), largest(self.config.element_width)
        if trial.data.min() < low or trial.data.max() > high:
            raise ValueError(f"memory: {trial.data.min()}..{trial.data.max()} does not fit "
                             f"{self.config.element_width} bits")

    def entry(self, trial: Trial, files: Files) -> dict[str, Any]:
        entry, axi, timing = super().entry(trial, files), self.axi, self._timing(trial)
        room = (1 << axi.address_width) // PAGE_BYTES - -(-len(trial.data) * axi.beat_bytes // PAGE_BYTES)
        entry["settings"] = {"limit": self._limit(trial), "deadline": _PATIENCE * trial.deadline,
                             "tracing": int(trial.trace), "base": PAGE_BYTES * min(3 + timing.seed % _PAGES, room)}
        return {**entry, "memory_beats": len(trial.data), "beat_bytes": axi.beat_bytes, "ram": self.settings(timing)}

    def settings(self, timing: MemoryTiming) -> dict[str, Any]:
        """Cycles before the data or the answer of a burst; data transfers per cycle; chance of a pause in a cycle on
        each channel, and the mean length of runs of equal cycles."""
        beats = Fraction(timing.words_per_cycle) / self.config.stream_words
        rate = min(beats * self.axi.transfers, Fraction(1)) if beats else Fraction(1)
        (ar, r, w, b), run = MEMORY_STALLS[timing.stalls]
        return {"latency": timing.latency - 1, "rate": [rate.numerator, rate.denominator], "run": run,
                "seed": timing.seed, "pauses": {"ar": ar, "r": r, "aw": w, "w": w, "b": b}}

    # --- the top module -----------------------------------------------------------------------

    @property
    def top_module(self) -> str:
        axi, widths = self.axi, {name: Shape.cast(member.shape).width for name, member in self._bus.items()}
        ins = {name: widths[name] for name, member in self._bus.items() if member.flow == wiring.In}
        inputs = {"clk": 1, "rst": 1, "load": 1, "dump": 1, "tracing": 1, "deadline": 32,
                  "base": axi.address_width, "limit": self.config.memory_bits + 1, **self._log_inputs, **ins}
        outputs = {**self._driver_outputs(_FAULTS), **{name: widths[name] for name in widths if name not in ins}}
        wires = {"setup_payload": 64, "setup_valid": 1, "setup_ready": 1, **self._reports, "bus_error": 1,
                 "reads_open": OPEN_BITS, "writes_open": OPEN_BITS}
        watched = ("araddr", "arlen", "arsize", "arvalid", "arready", "awaddr", "awlen", "awsize", "awvalid", "awready",
                   "wdata", "wstrb", "wlast", "wvalid", "wready", "rlast", "rvalid", "rready", "bvalid", "bready")
        shared = ("clk", "rst", "base", "limit", "bus_error", "fault", "reads_open", "writes_open")
        return module(self.top, inputs, outputs, wires, [
            *([] if self.activity else ["assign activity = 0;"]),
            instance(self.core, {}, "processor", {
                **self._processor_pins(), **self._activity_pin(), "base": "base", "limit": "limit",
                "bus_error": "bus_error", **{name: name for name in self._bus}}),
            instance("wingbeat_axi_watch", {
                "ADDRESS": axi.address_width, "DATA": axi.data_width, "LIMIT": self.config.memory_bits + 1,
                "BEAT_BYTES": axi.beat_bytes, "LONGEST": axi.longest_burst, "OPEN": OPEN_BITS}, "watch",
                {**{name: name for name in shared}, **{name: f"m_axi_{name}" for name in watched}}),
            self._driver({"read_moves": "m_axi_arvalid && m_axi_arready", "written": "m_axi_bvalid && m_axi_bready",
                          "write_moves": "m_axi_awvalid && m_axi_awready"})])

    # --- timings ------------------------------------------------------------------------------

    def shipped_timings(self, number: int) -> dict[str, StreamTiming | MemoryTiming]:
        """Without pauses; and twice with pauses on all five channels, once from a slow memory."""
        return {"ideal": MemoryTiming(), "gaps": MemoryTiming(10, stalls="gaps", seed=number),
                "bursts": MemoryTiming(20, Fraction(self.config.stream_words, 2), "bursts", number)}
