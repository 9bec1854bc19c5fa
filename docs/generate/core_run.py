"""A small processor that runs a FABNet block, and what its blocks show in every cycle.

The memory after the run is compared with the integer model, so a picture cannot come from a design that is wrong.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

from amaranth.hdl import ClockDomain, Fragment, Module, Value
from amaranth.sim import Simulator
import numpy as np

from wingbeat.gen.compiler.program.assemble import Program
from wingbeat.gen.presets.select import load_preset
from wingbeat.gen.workloads.fabnet import BlockShape, compile_block
from wingbeat.gen.workloads.kernels import dense_workload
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.core.processor import Processor
from wingbeat.hw.isa.encoding import encode
from wingbeat.hw.isa.bit_fields import pack
from wingbeat.hw.isa.setup import CONTROL_START, SETUP, SETUP_CONTROL, SETUP_PROGRAM

from .record import Part, watching

__all__ = ["CoreDesign", "DenseDesign", "PRESET", "SETTINGS", "SHAPE", "DENSE"]

PRESET = "hybrid-16"
SETTINGS = ["array.engines=2", "array.half_words=64", "array.coefficient_words=256", "array.stream_words=8",
            "memory.block_log=16", "memory.records=true", "vector.lanes=4", "vector.statistics_rows=16",
            "vector.channel_beats=16", "target=portable"]
SHAPE = BlockShape(tokens=8, hidden=16, ffn=32)
DENSE = (12, 16, 16)  # rows, elements of a row, elements of a result
_LATENCY, _DEADLINE = 3, 20_000


class CoreDesign:
    """The processor in a clock domain; ``parts`` are the components inside it."""

    settings: Sequence[str] = SETTINGS

    def __init__(self) -> None:
        self.config = load_preset(PRESET, list(self.settings))
        with watching() as found:
            self._processor = Processor(self.config)
            domain, m = ClockDomain("sync"), Module()
            m.domains += domain
            m.submodules.processor = self._processor
            self._fragment = Fragment.get(m, None)
        self.parts: dict[str, list[Part]] = found

    def run(self, probes: Sequence[Value]) -> list[tuple[int, ...]]:
        """Values of the probes in every cycle of the program, from the cycle after the start is accepted."""
        program, before = self.work()
        memory = before.copy()
        words = [(SETUP_PROGRAM, at, word) for at, word in enumerate(encode(program.instructions))]
        samples: list[tuple[int, ...]] = []
        simulator = Simulator(self._fragment)
        simulator.add_clock(1e-6)
        simulator.add_testbench(_control(self._processor, [*program.setup, *words], probes, samples))
        simulator.add_testbench(_serve(self._processor.port, memory, self.config), background=True)
        simulator.run()
        program.run_model(self.config, before)
        assert (memory == before).all(), "the memory after the run differs from the integer model"
        return samples

    def work(self) -> tuple[Program, np.ndarray]:
        """The program, and the memory before."""
        compiled, inputs = compile_block(self.config, SHAPE, 1, 1)
        (segment,) = compiled.segments
        return segment.program, compiled.memory(inputs)[0]


class DenseDesign(CoreDesign):
    """The same processor with a ring, multiplying with a dense matrix."""

    settings = (*SETTINGS, "array.ring_words=64")

    def work(self) -> tuple[Program, np.ndarray]:
        found = dense_workload(self.config, *DENSE, seed=1)
        return found.program, found.memory


def _control(processor: Any, writes: list[tuple[int, int, int]], probes: Sequence[Value],
             samples: list[tuple[int, ...]]) -> Any:
    """Writes the setup, starts the program, and samples the probes until the processor is idle again."""
    async def testbench(ctx: Any) -> None:
        port = processor.i_setup
        for target, address, data in [*writes, (SETUP_CONTROL, 0, CONTROL_START)]:
            ctx.set(Value.cast(port.payload), pack(SETUP, {"target": target, "address": address, "data": data}))
            ctx.set(port.valid, 1)
            while not (await ctx.tick().sample(port.ready))[2]:
                pass
        ctx.set(port.valid, 0)
        was_busy = False
        for _ in range(_DEADLINE):
            _, _, busy, error, *values = await ctx.tick().sample(processor.status.busy, processor.status.error, *probes)
            samples.append(tuple(values))
            assert not error, f"error {error}"
            if was_busy and not busy:
                return
            was_busy = was_busy or bool(busy)
        raise AssertionError("the program did not end")
    return testbench


def _serve(port: Any, memory: np.ndarray, config: CoreConfig) -> Any:
    """The memory: a beat a cycle each way, a few cycles later."""
    width = config.element_width
    mask, sign = (1 << width) - 1, 1 << width - 1

    async def testbench(ctx: Any) -> None:
        reads: deque[tuple[int, int]] = deque()
        writes: deque[int] = deque()
        ctx.set(port.read.ready, 1)
        ctx.set(port.write.ready, 1)
        cycle, offered = 0, False
        async for _, _, asks, number, taken, puts, write in ctx.tick().sample(
                port.read.valid, port.read.payload, port.beats.ready, port.write.valid, port.write.payload):
            cycle += 1
            if offered and taken:
                reads.popleft()
            if asks:
                beat = sum((int(value) & mask) << width * at for at, value in enumerate(memory[number]))
                reads.append((cycle + _LATENCY, beat))
            if puts:
                for at in range(config.memory_elements):
                    if write.strobe >> at & 1:
                        memory[write.address, at] = (int(write.beat.elements[at]) ^ sign) - sign
                writes.append(cycle + _LATENCY)
            is_written = bool(writes) and writes[0] <= cycle
            ctx.set(port.written, is_written)
            if is_written:
                writes.popleft()
            offered = bool(reads) and reads[0][0] <= cycle
            ctx.set(port.beats.valid, offered)
            if offered:
                ctx.set(Value.cast(port.beats.payload), reads[0][1])
    return testbench
