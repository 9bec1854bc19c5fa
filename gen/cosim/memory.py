"""Generated Verilog of a processor on a simulator, with a memory: builds, trials, results as numpy arrays.

    build = build_processor(config)  # or from the cache
    timing = MemoryTiming.parse("delay:40,12")
    [run] = simulate_processor(build, [ProcessorTrial("fft", setup, program, image, timing)])
    run.memory, run.status, run.blocks, run.cycles

The memory, the setup writes and all that is noted in a cycle are Verilog (gen/cosim/verilog/memory.v, driver.v); Python
only starts a trial and collects it (gen/cosim/testbench/processor_bench.py). So a run costs what the processor costs.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
import json
from pathlib import Path
import re
import tempfile

from amaranth.lib import data, wiring
import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ...hw.isa.instruction import Instruction
from ...hw.isa.setup import SETUP, CONTROL_START, SETUP_CONTROL, SETUP_PROGRAM
from ..compiler.beats import pack_beats, pack_setup, unpack_beats
from .core import Build, Counters, SimulatorError, build_verilog, models, start_writes
from .testbench import simulators

__all__ = ["LARGEST_DEPTH", "STALLS", "BlockReport", "MemoryTiming", "ProcessorBuild", "ProcessorRun",
           "ProcessorTrial", "build_processor", "build_with_memory", "memory_top", "simulate_processor",
           "trial_entries", "vector_fields", "write_lines"]

LARGEST_DEPTH = 1 << 20  # beats of the simulated memory
LONGEST_LATENCY = 400
MOST_WORDS = 256
_CHUNK = 65536  # lines of a log at a time
_MODELS = Path(__file__).resolve().parent / "verilog"
_DELAY = re.compile(r"(?:delay|axi):(\d+),(\d+(?:\.\d+)?)")

# Stalls of read.ready, beats.valid, write.ready and `written`: chance of each in a cycle, and the mean length of the
# runs of equal cycles, a power of two.
STALLS: dict[str, tuple[tuple[float, float, float, float], int]] = {
    "none": ((0, 0, 0, 0), 1),
    "gaps": ((0.4, 0.4, 0.4, 0.4), 1),
    "bursts": ((0.5, 0.5, 0.5, 0.5), 16),
    "slow_reads": ((0.5, 0.7, 0, 0), 4),
    "slow_writes": ((0, 0, 0.5, 0.7), 4),
}


@dataclass(frozen=True)
class MemoryTiming:
    """How fast the memory is.

    ``latency``: cycles, 1..400, from an accepted read to its beat and from an accepted write to ``written``.
    ``words_per_cycle``: what each direction moves on average, at most one beat ahead; 0 is a beat per cycle.
    ``stalls``: a profile of STALLS, random by ``seed``. ``overtaking``: a write shows in reads that were accepted
    before it, which the port allows, too. Raises :class:`WingbeatError` naming the field.
    """

    latency: int = 1
    words_per_cycle: Fraction = Fraction(0)
    stalls: str = "none"
    seed: int = 0
    overtaking: bool = False

    def __post_init__(self):
        if not 1 <= self.latency <= LONGEST_LATENCY:
            raise WingbeatError(f"latency: {self.latency} cycles; allowed are 1..{LONGEST_LATENCY}")
        rate = Fraction(self.words_per_cycle).limit_denominator(1000)
        if self.words_per_cycle and not Fraction(1, 1000) <= rate <= MOST_WORDS:
            raise WingbeatError(f"words_per_cycle: {self.words_per_cycle}; allowed are 0.001..{MOST_WORDS}, "
                                "or 0 for a beat per cycle")
        object.__setattr__(self, "words_per_cycle", rate)
        if self.stalls not in STALLS:
            raise WingbeatError(f"stalls: {self.stalls!r} is not known; allowed are {', '.join(STALLS)}")

    @classmethod
    def parse(cls, text: str, **others) -> "MemoryTiming":
        """Timing of the option ``ideal`` or ``delay:LATENCY,WORDS_PER_CYCLE``; ``others`` are fields it does not name.
        ``axi:`` is the word of version 0.1 for ``delay:``; it is read for one release.

        Raises :class:`WingbeatError` for any other text.
        """
        found = _DELAY.fullmatch(text)
        if text != "ideal" and not (found and float(found[2])):
            raise WingbeatError(f"memory: {text!r}; allowed are ideal and delay:LATENCY,WORDS_PER_CYCLE, "
                                "such as delay:40,12")
        return cls(int(found[1]), Fraction(found[2]), **others) if found else cls(**others)

    def settings(self, stream_words: int) -> dict[str, int]:
        """Inputs of gen/cosim/verilog/memory.v for beats of ``stream_words`` words."""
        rate = self.words_per_cycle or Fraction(stream_words)
        chances, run = STALLS[self.stalls]
        state = np.random.SeedSequence(self.seed).generate_state(1, np.uint64)[0]
        return {"latency": self.latency, "gain": rate.numerator, "cost": stream_words * rate.denominator,
                "overtaking": int(self.overtaking), "holds": run - 1, "seed": int(state) | 1,
                "chances": sum(round(256 * chance) << 8 * n for n, chance in enumerate(chances))}


@dataclass(frozen=True)
class ProcessorBuild(Build):
    """A simulator ready to run: ``depth`` beats of memory, and {field: (lowest bit, bits)} of the flat vectors
    ``status``, ``block`` and ``activity`` (empty where the processor has none); a field of a field is UNIT.FIELD.
    ``vcd``: it can record waves."""

    depth: int
    status: Mapping[str, tuple[int, int]]
    block: Mapping[str, tuple[int, int]]
    activity: Mapping[str, tuple[int, int]]
    vcd: bool = False


@dataclass(frozen=True, eq=False)
class ProcessorTrial:
    """One run of a processor, from reset to the end of its program.

    ``setup`` holds (target, address, data) of each setup write; then ``program``, instructions or their 32-bit words,
    is written and started. ``memory`` is the memory before, int64 (beats, 2K) elements; addresses from ``limit`` on
    (else the number of beats) are refused. It must end within ``deadline`` cycles. With ``trace`` the changes of
    ``activity`` are recorded.
    """

    name: str
    setup: Sequence[tuple[int, int, int]] = field(repr=False)
    program: Sequence[Instruction] | Sequence[int] = field(repr=False)
    memory: np.ndarray = field(repr=False)
    timing: MemoryTiming = MemoryTiming()
    limit: int | None = None
    deadline: int = 1_000_000
    trace: bool = False

    @property
    def setup_writes(self) -> list[tuple[int, int, int]]:
        """``setup``, the program and its start."""
        words = [word for word in self.program if isinstance(word, int)]
        if not words:
            return [*self.setup, *start_writes([i for i in self.program if not isinstance(i, int)])]
        return [*self.setup, *((SETUP_PROGRAM, address, word) for address, word in enumerate(words)),
                (SETUP_CONTROL, 0, CONTROL_START)]


@dataclass(frozen=True)
class BlockReport:
    """One block that has left the array, in ``cycle``."""

    cycle: int
    exponent: int
    saturated: bool


@dataclass(frozen=True, eq=False)
class ProcessorRun:
    """What one trial delivered.

    ``memory``, int64 (beats, 2K), afterwards; ``status``, every field of the port at the end. Cycles are clock edges
    since reset: ``start_cycle``, the start of the program was accepted; ``end_cycle``, the first one in which the
    processor was not busy, or reported an error; ``written_cycle``, the last beat had been written. ``reads`` and
    ``writes`` count beats asked for; ``late_requests`` those asked for after ``end_cycle``, which only an error
    leaves behind, as ``reads_left`` and ``writes_left``, under way in that cycle. ``activity``: int64 (n,) of each
    field, and of ``cycle``, for the first cycle and every change; empty without ``trace``.
    """

    trial: ProcessorTrial
    memory: np.ndarray = field(repr=False)
    status: Mapping[str, int]
    blocks: list[BlockReport] = field(repr=False)
    activity: Mapping[str, np.ndarray] = field(repr=False)
    start_cycle: int
    end_cycle: int
    written_cycle: int
    reads: int
    writes: int
    late_requests: int
    reads_left: int
    writes_left: int

    @property
    def cycles(self) -> int:
        """Cycles from the start of the program to its end."""
        return self.end_cycle - self.start_cycle

    @property
    def error(self) -> int:
        """Error code, 0 for none."""
        return self.status["error"]

    @property
    def tag(self) -> int:
        """Tag of the block in error."""
        return self.status["tag"]

    @property
    def counters(self) -> Counters:
        """The counters that an array has, too."""
        return Counters(**{f.name: self.status[f.name] for f in fields(Counters)})


_COUNTS = ("start_cycle", "end_cycle", "written_cycle", "reads", "writes", "late_requests", "reads_left", "writes_left")


# --- builds -------------------------------------------------------------------------------------


def build_processor(config: CoreConfig, simulator: str = "verilator", depth: int | None = None,
                    vcd: bool = False) -> ProcessorBuild:
    """Generate the Verilog of the processor ``config`` and build it with a memory of ``depth`` beats (else what
    ``memory_bits`` can name, at most LARGEST_DEPTH); with ``vcd`` so that it can record its waves.

    Raises :class:`WingbeatError` when ``config`` is no processor, and as :func:`build_verilog` does.
    """
    if not config.is_processor:
        raise WingbeatError(f"memory: {config.name} has no [memory]; allowed is a processor")
    from ...hw.core.processor import Processor

    return build_with_memory(Processor(config), config, simulator, depth, vcd)


def build_with_memory(processor: wiring.Component, config: CoreConfig, simulator: str = "verilator",
                      depth: int | None = None, vcd: bool = False) -> ProcessorBuild:
    """Build any component with the ports of a processor together with a memory; see :func:`build_processor`."""
    from ..rtl.verilog import emit

    if depth is None:
        depth = min(1 << config.memory_bits, LARGEST_DEPTH)
    if not 1 <= depth <= LARGEST_DEPTH:
        raise WingbeatError(f"depth: {depth} beats; allowed are 1..{LARGEST_DEPTH}")
    status, block, activity = (vector_fields(processor, port) for port in ("status", "block", "activity"))
    top = f"{config.name}_with_memory"
    with tempfile.TemporaryDirectory() as folder:
        source, wrapper = Path(folder) / f"{config.name}.v", Path(folder) / f"{top}.v"
        source.write_text(emit(processor, config.name))
        wrapper.write_text(memory_top(top, config, depth, status, block, activity))
        sources = [wrapper, _MODELS / "memory.v", _MODELS / "driver.v", source, *models(config)]
        build = build_verilog(config, sources, simulator, top, vcd)
    return ProcessorBuild(**vars(build), depth=depth, status=status, block=block, activity=activity, vcd=vcd)


def vector_fields(component: wiring.Component, port: str) -> dict[str, tuple[int, int]]:
    """Lowest bit and number of bits of every field of an output that is a flat vector in Verilog."""
    members = component.signature.members
    return dict(_places(members[port].shape, "", 0)) if port in members else {}


def _places(layout: data.Layout, prefix: str, base: int) -> Iterator[tuple[str, tuple[int, int]]]:
    for name, place in layout:
        if isinstance(place.shape, data.Layout):
            yield from _places(place.shape, f"{prefix}{name}.", base + place.offset)
        else:
            yield f"{prefix}{name}", (base + place.offset, place.width)


def _bits(layout: Mapping[str, tuple[int, int]]) -> int:
    return max(at + width for at, width in layout.values())


def memory_top(name: str, config: CoreConfig, depth: int, status: Mapping[str, tuple[int, int]],
         block: Mapping[str, tuple[int, int]], activity: Mapping[str, tuple[int, int]]) -> str:
    """Top module ``name``: processor, memory and driver. Its ports are what gen/cosim/testbench/processor_bench.py sets
    and reads; the ports of the models keep their names."""
    address, elements, width = config.memory_bits, config.memory_elements, config.element_width
    open_bits = 10
    inputs = {"clk": 1, "rst": 1, "load": 1, "dump": 1, "tracing": 1, "deadline": 32, "beats": 32, "limit": address + 1,
              "latency": 16, "gain": 32, "cost": 32, "overtaking": 1, "chances": 32, "holds": 8, "seed": 64}
    outputs = {"done": 1, "timeout": 1, "fault": 3, "setup_writes": 32, **dict.fromkeys(_COUNTS, 32),
               "reads_left": open_bits, "writes_left": open_bits, "status": _bits(status)}
    streams = {"read": address, "beats": elements * width, "write": address + elements + elements * width}
    wires = {"setup_payload": 64, "setup_valid": 1, "setup_ready": 1, "written": 1, "refused": 1,
             "block": _bits(block), "activity": _bits(activity) if activity else 1,
             "reads_open": open_bits, "writes_open": open_bits}
    for stream, bits in streams.items():
        wires |= {f"{stream}_payload": bits, f"{stream}_valid": 1, f"{stream}_ready": 1}
    handshakes = [f"{stream}_{part}" for stream in streams for part in ("payload", "valid", "ready")]
    processor = {"clk": "clk", "rst": "rst", "status": "status", "block": "block",
                 **{f"i_setup__{part}": f"setup_{part}" for part in ("payload", "valid", "ready")},
                 **{f"port__{wire.replace('_', '__')}": wire for wire in handshakes},
                 "port__written": "written", "port__refused": "refused"}
    if activity:
        processor["activity"] = "activity"
    memory = [*(name for name in inputs if name not in ("tracing", "deadline")), *handshakes, "written", "refused",
              "fault", "reads_open", "writes_open"]
    driver = {name: name for name in (
        "clk", "rst", "load", "dump", "tracing", "deadline", "setup_payload", "setup_valid", "setup_ready", "block",
        "activity", "written", "reads_open", "writes_open", "done", "timeout", "setup_writes", *_COUNTS)}
    error_at, error_bits = status["error"]
    driver |= {"busy": f"status[{status['busy'][0]}]", "failed": f"|status[{error_at} +: {error_bits}]",
               "fault": "|fault", "read_moves": "read_valid && read_ready",
               "write_moves": "write_valid && write_ready"}
    return "\n".join([
        f"module {name} ({', '.join([*inputs, *outputs])});",
        *(f"  {kind} {f'[{bits - 1}:0] ' if bits > 1 else ''}{port};" for kind, ports in
          (("input", inputs), ("output", outputs), ("wire", wires)) for port, bits in ports.items()),
        *([] if activity else ["  assign activity = 0;"]),
        _instance(config.name, {}, "processor", processor),
        _instance("wingbeat_memory", {"ADDRESS_BITS": address, "ELEMENTS": elements, "ELEMENT_WIDTH": width,
                                      "DEPTH": depth, "QUEUE_BITS": open_bits - 1}, "memory", {n: n for n in memory}),
        _instance("wingbeat_driver", {"BLOCK": wires["block"], "BLOCK_VALID": block["valid"][0],
                                      "ACTIVITY": wires["activity"], "OPEN": open_bits,
                                      "TARGET_BITS": dict(SETUP)["target"], "START_TARGET": SETUP_CONTROL},
                  "driver", driver),
        "endmodule", ""])


def _instance(module: str, parameters: Mapping[str, int], name: str, ports: Mapping[str, str]) -> str:
    values, pins = (", ".join(f".{key}({value})" for key, value in items.items()) for items in (parameters, ports))
    return f"  {module} {f'#({values}) ' if values else ''}{name} ({pins});"


# --- runs ---------------------------------------------------------------------------------------


def simulate_processor(build: ProcessorBuild, trials: Sequence[ProcessorTrial],
                       keep: Path | None = None, vcd: Path | None = None) -> list[ProcessorRun]:
    """Run ``trials`` one after the other on one start of the simulator.

    A processor that stops with an error is a result. Raises ValueError for a trial that does not fit the build, and
    :class:`SimulatorError` naming each trial that failed, and why: a missed deadline, a broken rule of the memory
    port, requests left over. ``keep`` is a folder for the files of the run; without it they are deleted. ``vcd`` is a
    file for the waves of all trials, of a build that can record them.
    """
    names = [t.name for t in trials]
    if len(set(names)) < len(names):
        raise ValueError(f"trials: the names {sorted(names)} are not all different")
    if vcd and not build.vcd:
        raise ValueError(f"vcd: {str(vcd)!r} needs a build for waves; allowed is one made with vcd = True")
    if vcd:
        vcd.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        entries = trial_entries(folder, build, trials)
        (folder / "trials.json").write_text(json.dumps(entries, indent=1) + "\n")
        n_tests, n_failed = simulators.run_cocotb(build.folder, build.top, build.simulator, folder, folder,
                                                  "processor_bench", vcd)
        reports = [_report(folder, t) for t in trials]
        errors = [f"{t.name} (latency {t.timing.latency}, stalls {t.timing.stalls}, seed {t.timing.seed}): "
                  f"{report['error']}" for t, report in zip(trials, reports) if report["error"]]
        if errors or n_failed or n_tests != len(trials):
            raise SimulatorError(f"{n_failed} of {n_tests} trials failed on {build.simulator}: " + "; ".join(errors))
        return [_run(folder, t, report, build) for t, report in zip(trials, reports)]


def trial_entries(folder: Path, build: ProcessorBuild, trials: Sequence[ProcessorTrial]) -> list[dict]:
    """Data files of ``trials``, one for each memory image that several of them share, and their entries of
    trials.json."""
    written: dict[int, str] = {}
    entries = []
    for t in trials:
        limit = _check(build, t)
        if id(t.memory) not in written:
            written[id(t.memory)] = f"{t.name}.before.hex"
            write_lines(folder / written[id(t.memory)],
                         pack_beats(t.memory, build.element_width, build.stream_words))
        write_lines(folder / f"{t.name}.setup.hex", pack_setup(t.setup_writes))
        settings = {"beats": len(t.memory), "limit": limit, "deadline": t.deadline,
                    "tracing": int(t.trace), **t.timing.settings(build.stream_words)}
        entries.append({"name": t.name, "setup": f"{t.name}.setup.hex", "memory": written[id(t.memory)],
                        "settings": settings, "error_bits": build.status["error"]})
    return entries


def _check(build: ProcessorBuild, t: ProcessorTrial) -> int:
    """Number of beats that the processor may touch. Raises ValueError naming what does not fit the build."""
    n_elements = 2 * build.stream_words
    if t.memory.ndim != 2 or t.memory.shape[1] != n_elements or not 1 <= len(t.memory) <= build.depth:
        raise ValueError(f"memory: shape {t.memory.shape}; allowed are (1..{build.depth}, {n_elements})")
    limit = len(t.memory) if t.limit is None else t.limit
    if not 0 <= limit <= len(t.memory):
        raise ValueError(f"limit: {limit}; allowed are 0..{len(t.memory)}, the beats of the memory")
    if not 1 <= t.deadline < 1 << 31:
        raise ValueError(f"deadline: {t.deadline} cycles; allowed are 1..{(1 << 31) - 1}")
    if t.trace and not build.activity:
        raise ValueError(f"trace: {build.top} has no port `activity`")
    return limit


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """A file of vectors, one string a line."""
    path.write_text("".join(f"{line}\n" for line in lines))


def _report(folder: Path, t: ProcessorTrial) -> dict:
    path = folder / f"{t.name}.result.json"
    return json.loads(path.read_text()) if path.exists() else {"error": "it left no result"}


def _run(folder: Path, t: ProcessorTrial, report: dict, build: ProcessorBuild) -> ProcessorRun:
    blocks = _read_events(folder / f"{t.name}.blocks.txt", build.block)
    reports = [BlockReport(int(cycle), int(exponent), bool(saturated)) for cycle, exponent, saturated
               in zip(blocks["cycle"], blocks["exponent"], blocks["saturated"])]
    bits = int(report["status"], 16)
    status = {name: bits >> at & (1 << width) - 1 for name, (at, width) in build.status.items()}
    return ProcessorRun(
        t, _read_memory(folder / f"{t.name}.after.hex", t, build), status, reports,
        _read_events(folder / f"{t.name}.activity.txt", build.activity) if t.trace else {},
        **{name: report[name] for name in _COUNTS})


def _read_memory(path: Path, t: ProcessorTrial, build: ProcessorBuild) -> np.ndarray:
    lines = [line for line in path.read_text().split("\n") if line and line[0] != "/"]
    undefined = [number for number, line in enumerate(lines) if not set(line) <= set("0123456789abcdefABCDEF")]
    if undefined:
        raise SimulatorError(f"{t.name}: beat {undefined[0]} has undefined bits: {lines[undefined[0]]}")
    digits = 2 * (2 * build.stream_words * build.element_width // 8 + 2)  # room for the tags of an output beat
    words, *_ = unpack_beats([line.zfill(digits) for line in lines], build.element_width, build.stream_words)
    return words.reshape(len(lines), -1)


def _read_events(path: Path, layout: Mapping[str, tuple[int, int]]) -> dict[str, np.ndarray]:
    """Cycle and fields of every line "cycle bits" of a log; the bits are equally many digits in each."""
    words = path.read_text().split()
    cycles, lines = words[::2], words[1::2]
    events = {"cycle": np.array(cycles, np.int64), **{name: np.empty(len(lines), np.int64) for name in layout}}
    for at in range(0, len(lines), _CHUNK):
        part = lines[at:at + _CHUNK]
        digits = len(part[0]) + len(part[0]) % 2
        octets = np.frombuffer(bytes.fromhex("".join(line.zfill(digits) for line in part)), np.uint8)
        bits = np.unpackbits(octets.reshape(len(part), -1)[:, ::-1], axis=1, bitorder="little")
        for name, (low, width) in layout.items():
            events[name][at:at + _CHUNK] = bits[:, low:low + width] @ (1 << np.arange(width, dtype=np.int64))
    return events
