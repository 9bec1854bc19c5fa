"""Scratchpad: on-chip memory behind the memory port."""

from dataclasses import dataclass

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from ..config import Pipeline, Target
from ..primitives.ram import Ram, RamParameters
from ..primitives.stream import SkidBuffer
from .port import MemoryParameters, MemoryPort

__all__ = ["Scratchpad", "ScratchpadParameters"]


@dataclass(frozen=True)
class ScratchpadParameters:
    """``memory`` as the port names it, ``depth`` beats, technology and pipeline of the RAMs.

    Raises ValueError naming the field.
    """

    memory: MemoryParameters
    depth: int
    target: Target = Target.PORTABLE
    pipeline: Pipeline = Pipeline.DEEP

    def __post_init__(self):
        most = min(1 << self.memory.address_bits, 65536)
        if not 2 <= self.depth <= most:
            raise ValueError(f"depth: {self.depth} is out of range; allowed are 2..{most}")

    @property
    def read_latency(self) -> int:
        """Cycles from an accepted beat number to its beat, when nothing stalls: RAM and skid buffer."""
        return self.pipeline.ram_latency + 1


class Scratchpad(wiring.Component):
    """A RAM for every element of a beat, so that each has a strobe of its own.

    Format: elements of element_width bits, unchanged.
    Latency: ``read_latency`` from a beat number to its beat; two cycles from a write to its ``written``, from which on
    reads that are accepted see it.
    Throughput: one read and one write per cycle.
    Backpressure: reads stop behind ``beats``, ``read.ready`` is a register; writes never wait.
    Reset: forgets reads in flight; the memory is kept.
    Cost: one RAM of depth x element_width bits per element, two registers of a beat.
    Source: docs/reference/processor.md, Memory.
    """

    def __init__(self, parameters: ScratchpadParameters):
        self.parameters = parameters
        super().__init__({"port": In(MemoryPort(parameters.memory))})

    def elaborate(self, platform):
        m = Module()
        p, port = self.parameters, self.port
        m.submodules.skid = skid = SkidBuffer(p.memory.beat)
        wiring.connect(m, skid.o, wiring.flipped(port.beats))
        moving = skid.moving
        read_inside, write_inside = port.read.payload < p.depth, port.write.payload.address < p.depth

        # Whether there is a beat, and whether it is one, travel beside the RAM.
        valid, hit = port.read.valid, read_inside
        for stage in range(p.pipeline.ram_latency):
            valid_here, hit_here = Signal(name=f"valid{stage}"), Signal(name=f"hit{stage}", reset_less=True)
            with m.If(moving):
                m.d.sync += [valid_here.eq(valid), hit_here.eq(hit)]
            valid, hit = valid_here, hit_here

        write = Signal.like(port.write.payload, name="write_now", reset_less=True)
        has_write = Signal(name="has_write")
        strobes = Signal(p.memory.elements, name="strobes")
        writing = port.write.valid & write_inside
        m.d.sync += [write.eq(port.write.payload), has_write.eq(port.write.valid), port.written.eq(has_write),
                     strobes.eq(port.write.payload.strobe & writing.replicate(p.memory.elements)),
                     port.refused.eq((port.read.valid & port.read.ready & ~read_inside)
                                     | (port.write.valid & ~write_inside))]
        m.d.comb += [port.read.ready.eq(moving), port.write.ready.eq(1), skid.i.valid.eq(valid)]
        for number in range(p.memory.elements):
            ram = Ram(RamParameters(p.memory.element_width, p.depth, p.target, p.pipeline))
            m.submodules[f"element{number}"] = ram
            m.d.comb += [
                ram.r_en.eq(moving), ram.r_addr.eq(port.read.payload), ram.w_en.eq(strobes[number]),
                ram.w_addr.eq(write.address), ram.w_data.eq(write.beat.elements[number]),
                skid.i.payload.elements[number].eq(ram.r_data & hit.replicate(p.memory.element_width))]
        return m
