"""Host of a board with a processor: loads a compiled network over a bus of words, runs it, reads what it says."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..gen.compiler.network.compile import CompiledNetwork, MemoryRole
from ..gen.compiler.beats import start_writes
from ..hw.config import CoreConfig
from ..hw.errors import WingbeatError
from ..hw.isa.bit_fields import WORD_BITS, WORD_BYTES
from ..hw.isa.instruction import Fault
from ..hw.isa.registers import MAGIC, configuration_hash, register_map
from ..hw.isa.serial_bus import MEMORY_BASE, BridgeRegister
from ..hw.isa.setup import SETUP_CONTROL, SetupWrite
from ..hw.memory.port import MemoryParameters

__all__ = ["Bus", "NetworkHost", "NetworkAnswer", "MOST_LOOKS"]

MOST_LOOKS = 100_000  # looks at STATUS before a program counts as stuck; the watchdog of the core is faster


class Bus(Protocol):
    """Words at byte addresses."""

    def read(self, address: int, count: int = 1, /) -> list[int]: ...

    def write(self, address: int, words: list[int], /) -> None: ...

    def write_fixed(self, address: int, words: list[int], /) -> None: ...


@dataclass(frozen=True, eq=False)
class NetworkAnswer:
    """``results`` (inputs, tokens, features) in float; ``cycles`` of all programs of each batch."""

    results: np.ndarray
    cycles: list[int]


class _Run(NamedTuple):
    """Beats of the memory by number, as they were sent last; the program whose setup the core has."""

    sent: np.ndarray
    segment: int | None


class NetworkHost:
    """Talks to the processor ``config`` behind ``bus``. Raises WingbeatError where another core answers."""

    def __init__(self, bus: Bus, config: CoreConfig):
        self._bus, self._config = bus, config
        self._registers = {register.name: register for register in register_map(config)}
        self._memory = MemoryParameters.of(config)
        magic, _, low, high = bus.read(self._registers["MAGIC"].address, 4)
        found, expected = high << WORD_BITS | low, configuration_hash(config)
        if magic != MAGIC or found != expected:
            raise WingbeatError(f"identity: the core answers {magic:#010x}, hash {found:016x}; expected is "
                                f"{MAGIC:#010x}, hash {expected:016x} of {config.name}")
        self._recover()

    # --- registers ----------------------------------------------------------------------------

    def status(self) -> dict[str, int]:
        """Fields of STATUS."""
        [word] = self._bus.read(self._registers["STATUS"].address)
        return {field.name: word >> field.low & (1 << field.bits) - 1 for field in self._registers["STATUS"].fields}

    def counter(self, name: str) -> int:
        """Counter ``name`` of the last program, all of one cycle."""
        self._bus.write(self._registers["COUNTERS"].address, [1])
        low, high = self._bus.read(self._registers[f"{name.upper()}_LOW"].address, 2)
        return high << WORD_BITS | low

    def _control(self, *bits: str) -> None:
        places = {field.name: field.low for field in self._registers["CONTROL"].fields}
        self._bus.write(self._registers["CONTROL"].address, [sum(1 << places[bit] for bit in bits)])

    def _recover(self) -> None:
        """What an earlier host has left: a program that runs is stopped, a fault is cleared."""
        if self.status()["busy"]:
            self._control("abort")
            self._ended()
        if self.status()["fault"]:
            self._control("clear")

    def _ended(self) -> dict[str, int]:
        for _ in range(MOST_LOOKS):
            if not (status := self.status())["busy"]:
                return status
        raise WingbeatError(f"core: its program runs since {MOST_LOOKS} looks at STATUS")

    # --- memory and setup ---------------------------------------------------------------------

    @property
    def memory_beats(self) -> int:
        """Beats of the memory on the board."""
        [size] = self._bus.read(BridgeRegister.SIZE)
        return size // self._memory.beat_bytes

    def _write_beats(self, first: int, beats: np.ndarray) -> None:
        slots = np.ascontiguousarray(beats, dtype=f"<i{self._memory.slot_bits // 8}")
        self._bus.write(MEMORY_BASE + first * self._memory.beat_bytes, slots.view("<u4").ravel().tolist())

    def _read_beats(self, first: int, count: int) -> np.ndarray:
        words = self._bus.read(MEMORY_BASE + first * self._memory.beat_bytes,
                               count * self._memory.beat_bytes // WORD_BYTES)
        slots = np.array(words, dtype="<u4").view(f"<i{self._memory.slot_bits // 8}")
        return slots.reshape(count, self._memory.elements).astype(np.int64)

    def write_setup(self, writes: Iterable[SetupWrite]) -> None:
        """Setup writes, not the start; those to neighbouring places of a table go together."""
        target, high, data = (self._registers[name] for name in ("SETUP_TARGET", "SETUP_HIGH", "SETUP_DATA"))
        places = {field.name: field.low for field in target.fields}
        runs = groupby(enumerate(writes), key=lambda item: (item[1][0], item[1][1] - item[0]))
        for (number, _), run in runs:
            words = [write for _, write in run]
            self._bus.write(target.address, [number << places["target"] | words[0][1] << places["address"]])
            for is_wide, some in groupby((word for *_, word in words), key=lambda word: word >> WORD_BITS != 0):
                if is_wide:
                    for word in some:
                        self._bus.write(high.address, [word >> WORD_BITS, word & (1 << WORD_BITS) - 1])
                else:
                    self._bus.write_fixed(data.address, list(some))

    # --- runs ---------------------------------------------------------------------------------

    def run(self, compiled: CompiledNetwork, inputs: Any,
            report: Callable[[str], None] | None = None) -> NetworkAnswer:
        """All ``inputs``, batch after batch. ``report`` is called after the loading and after every batch.

        Raises WingbeatError where the network does not fit, or where a program is stopped.
        """
        step = report or (lambda name: None)
        if compiled.beats > self.memory_beats:
            raise WingbeatError(f"memory: {compiled.beats} beats with a batch of {compiled.batch}; allowed are "
                                f"{self.memory_beats}, or a smaller batch")
        state: _Run | None = None
        results: list[np.ndarray] = []
        cycles: list[int] = []
        for part in compiled.batches(inputs):
            memory, _ = compiled.memory(part)
            state = self._load(compiled, memory, state)
            if not cycles:
                step("loaded")
            state, total = self._programs(compiled, state)
            cycles.append(total)
            tensor = compiled.output.tensor
            memory[tensor.base:tensor.base + tensor.beats] = self._read_beats(tensor.base, tensor.beats)
            results.append(compiled.results(memory, len(part)))
            step(f"batch {len(cycles)}")
        return NetworkAnswer(np.concatenate(results), cycles)

    def _load(self, compiled: CompiledNetwork, memory: np.ndarray, state: _Run | None) -> _Run:
        """What the programs read and never write: all of it, or what has changed since the last batch."""
        if state is None:
            wanted = np.ones(len(memory), dtype=bool)
            for region in compiled.regions():
                tensor = region.stored.tensor
                if region.role in (MemoryRole.SCRATCH, MemoryRole.OUTPUT):  # a program writes it before it reads it
                    wanted[tensor.base:tensor.base + tensor.beats] = False
        else:
            wanted = (memory != state.sent).any(axis=1)
        edges = np.flatnonzero(np.diff(wanted, prepend=False, append=False))
        for first, end in edges.reshape(-1, 2).tolist():
            self._write_beats(first, memory[first:end])
        return _Run(memory.copy(), state.segment if state else None)

    def _programs(self, compiled: CompiledNetwork, state: _Run) -> tuple[_Run, int]:
        """Every program, and the cycles of all. The setup of a program that the core has is not sent again."""
        total = 0
        for number, segment in enumerate(compiled.segments):
            if state.segment != number:
                writes = [*segment.program.setup, *start_writes(segment.program.instructions)]
                self.write_setup(write for write in writes if write[0] != SETUP_CONTROL)
                state = state._replace(segment=number)
            total += self.start_and_wait(number)
        return state, total

    def start_and_wait(self, number: int) -> int:
        """Cycles of the program that the core has, which faults call ``number``. Raises WingbeatError where it is
        stopped."""
        self._control("start")
        status = self._ended()
        if status["fault"] or not status["done"]:
            raise WingbeatError(f"program {number}: the core stopped with error {status['fault']} "
                                f"({Fault(status['fault']).name}) at block {status['tag']}")
        return self.counter("total")
