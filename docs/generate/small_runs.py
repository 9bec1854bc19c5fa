"""Blocks that the processor of core_run.py does not contain, each alone or in a small design, with a stimulus."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Value
from amaranth.lib import data
import numpy as np

from wingbeat.gen.compiler.beats import pack_beats, pack_setup, start_writes, unpack_beats
from wingbeat.gen.compiler.kernel.compile import compile_fft
from wingbeat.gen.presets.select import load_preset
from wingbeat.hw.array.array import Array
from wingbeat.hw.bus.axi4.burst import AxiParameters
from wingbeat.hw.bus.axi4.master import AxiMaster
from wingbeat.hw.isa.link_frame import Kind, encode_frame
from wingbeat.hw.link.framer import LinkParameters
from wingbeat.hw.link.link import Link
from wingbeat.hw.link.uart import UartParameters, UartReceiver, UartTransmitter
from wingbeat.hw.memory.port import MemoryParameters
from wingbeat.hw.memory.scratchpad import Scratchpad, ScratchpadParameters
from wingbeat.hw.primitives.stream import Downsizer, SkidBuffer, Upsizer
from wingbeat.sim.bench.stream import Bench, Stall
from wingbeat.sim.model.array import ArrayModel

from .record import Part, watching

__all__ = ["DESIGNS", "SmallDesign"]

_SEED = 3


class SmallDesign:
    """One component with its stimulus; ``parts`` are it and the components inside it."""

    cycles = 40

    def __init__(self) -> None:
        with watching() as found:
            self.dut = self.build()
            self.bench = Bench(self.dut, _SEED)
        self.parts: dict[str, list[Part]] = found

    def build(self) -> Any:
        """The component."""
        raise NotImplementedError

    def stimulate(self) -> None:
        """Feeds, sinks and processes of the bench."""

    def run(self, probes: Sequence[Value]) -> list[tuple[int, ...]]:
        """Values of the probes in the first cycles."""
        samples: list[tuple[int, ...]] = []

        async def watch(ctx: Any) -> None:
            for _ in range(self.cycles):
                _, _, *values = await ctx.tick().sample(*probes)
                samples.append(tuple(values))
        self.stimulate()
        self.bench.process(watch)
        self.bench.run(4000)
        self.check()
        return samples

    def check(self) -> None:
        """What came out is right."""


class _Skid(SmallDesign):
    def build(self) -> Any:
        return SkidBuffer(8)

    def stimulate(self) -> None:
        self.bench.feed(self.dut.i, range(1, 13))
        self.bench.sink(self.dut.o, 12, Stall.RANDOM)


class _Upsizer(SmallDesign):
    def build(self) -> Any:
        return Upsizer(_NARROW, 4)

    def stimulate(self) -> None:
        self.bench.feed(self.dut.i, range(1, 13))
        self.bench.sink(self.dut.o, 3, Stall.RANDOM)


class _Downsizer(SmallDesign):
    def build(self) -> Any:
        return Downsizer(_NARROW, 4)

    def stimulate(self) -> None:
        self.bench.feed(self.dut.i, [0x04030201, 0x08070605, 0x0C0B0A09])
        self.bench.sink(self.dut.o, 12, Stall.RANDOM)


_NARROW = data.StructLayout({"words": data.ArrayLayout(8, 1)})
_MEMORY = MemoryParameters(4, 16, 10)


class _Scratchpad(SmallDesign):
    def build(self) -> Any:
        return Scratchpad(ScratchpadParameters(_MEMORY, 64))

    def stimulate(self) -> None:
        writes = [{"address": at, "strobe": 15, "beat": {"elements": [at, 0, 0, 0]}} for at in range(6)]
        self.bench.feed(self.dut.port.write, writes)
        self.bench.feed(self.dut.port.read, range(6), Stall.ALTERNATE)
        self.bench.sink(self.dut.port.beats, 6, Stall.RANDOM)


class _Axi(SmallDesign):
    cycles = 80

    def build(self) -> Any:
        self.parameters = AxiParameters(_MEMORY, 64, longest_burst=4)
        return AxiMaster(self.parameters)

    def stimulate(self) -> None:
        self.bench.feed(self.dut.port.read, [16, 17, 18, 19, 20, 21, 40, 41])
        writes = [{"address": at, "strobe": 15, "beat": {"elements": [at, 0, 0, 0]}} for at in (64, 65, 66, 67, 80)]
        self.bench.feed(self.dut.port.write, writes)
        self.bench.sink(self.dut.port.beats, 8)
        self.bench.process(self._slave, background=True)

    async def _slave(self, ctx: Any) -> None:
        """An AXI memory that answers a burst at a time, a few cycles after its address."""
        dut = self.dut
        ctx.set(dut.base, 0x1000)
        ctx.set(dut.limit, 1024)
        for channel in ("ar", "aw", "w"):
            ctx.set(getattr(dut, f"m_axi_{channel}ready"), 1)
        transfers: list[tuple[int, int]] = []
        answers, now = 0, 0
        while True:
            is_due = bool(transfers) and transfers[0][0] <= now
            ctx.set(dut.m_axi_rvalid, is_due)
            ctx.set(dut.m_axi_rdata, transfers[0][1] if is_due else 0)
            ctx.set(dut.m_axi_bvalid, answers > 0)
            _, _, asks, at, more, last, moved, ready = await ctx.tick().sample(
                dut.m_axi_arvalid, dut.m_axi_araddr, dut.m_axi_arlen, dut.m_axi_wvalid & dut.m_axi_wlast,
                dut.m_axi_rvalid & dut.m_axi_rready, dut.m_axi_bready)
            answers += int(last) - int(answers > 0 and ready)
            if moved:
                transfers.pop(0)
            if asks:
                transfers += [(now + 5 + n, (at - 0x1000) // 8 + n) for n in range(more + 1)]
            now += 1


class _Array(SmallDesign):
    """Two blocks of an FFT with block floating point; the words that come out are those of the model."""

    cycles = 420

    def build(self) -> Any:
        return Array(load_preset("tiny"))

    def stimulate(self) -> None:
        config = load_preset("tiny")
        kernel = compile_fft(64, config, scaling="block")
        real, imaginary = np.random.default_rng(_SEED).uniform(-0.3, 0.3, (2, 2 * kernel.rows_per_block, 64))
        rows = real + 1j * imaginary
        (self._job,) = kernel.jobs(rows)
        writes = [*self._job.setup, *start_writes(self._job.program)]
        beats = pack_beats(self._job.words, config.element_width, config.stream_words)
        self.bench.feed(self.dut.i_setup, [int(word, 16) for word in pack_setup(writes)])
        self.bench.feed(self.dut.i, [int(beat, 16) for beat in beats])
        self._sink = self.bench.sink(self.dut.o, len(beats))

    def check(self) -> None:
        config = load_preset("tiny")
        model = ArrayModel(config)
        for write in self._job.setup:
            model.write_setup(*write)
        expected = np.concatenate([result.words for result in model.run(self._job.program, self._job.words)])
        digits = 2 * -(-len(Value.cast(self.dut.o.payload)) // 8)
        beats = [f"{word:0{digits}x}" for word in self._sink.words]
        assert (unpack_beats(beats, config.element_width, config.stream_words)[0] == expected.reshape(-1, 2)).all()


class _Link(SmallDesign):
    cycles = 90

    def build(self) -> Any:
        return Link(LinkParameters.from_config(load_preset("tiny"), timeout=64))

    def stimulate(self) -> None:
        record = bytes([0x80, 2, 0, 0x11, 0x22, 0x33, 0x44, 0])
        self.bench.feed(self.dut.i, encode_frame(Kind.SETUP, record))
        self.bench.sink(self.dut.o, 6)
        self.bench.sink(self.dut.o_setup, 1)
        self.bench.process(self._results, background=True)

    async def _results(self, ctx: Any) -> None:
        """A beat of the array, for the store of results."""
        port = self.dut.i_results
        ctx.set(Value.cast(port.payload), 0x0123456789ABCDEF)
        ctx.set(port.valid, 1)
        while not (await ctx.tick().sample(port.ready))[2]:
            pass
        ctx.set(port.valid, 0)


class _Receiver(SmallDesign):
    cycles = 60

    def build(self) -> Any:
        return UartReceiver(UartParameters(4))

    def stimulate(self) -> None:
        self.bench.sink(self.dut.o, 1)
        self.bench.process(self._line, background=True)

    async def _line(self, ctx: Any) -> None:
        for bit in [1, 0, *(0xA5 >> at & 1 for at in range(8)), 1]:
            ctx.set(self.dut.rx, bit)
            await ctx.tick().repeat(4)


class _Transmitter(SmallDesign):
    cycles = 60

    def build(self) -> Any:
        return UartTransmitter(UartParameters(4))

    def stimulate(self) -> None:
        self.bench.feed(self.dut.i, [0xA5])


DESIGNS: dict[str, type[SmallDesign]] = {
    "skid": _Skid, "upsizer": _Upsizer, "downsizer": _Downsizer, "scratchpad": _Scratchpad, "array": _Array,
    "axi": _Axi, "link": _Link, "receiver": _Receiver, "transmitter": _Transmitter}
