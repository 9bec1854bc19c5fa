"""The sections of a configuration and their fields: what a user writes.

A leaf without Amaranth. hw/config.py checks them against each other and has what follows from them.
"""

from enum import Enum

from pydantic import BaseModel, ConfigDict, Field

from .isa.encoding import PROGRAM_WORDS

__all__ = ["ArraySection", "MemorySection", "VectorSection", "BusSection", "MemoryBus", "ControlBus", "StreamBus",
           "SECTIONS"]


class _Section(BaseModel):
    """A table of a configuration file. Raises :class:`pydantic.ValidationError` with one entry per bad field."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class ArraySection(_Section):
    """The butterfly array; always built."""

    engines: int = Field(1, ge=1, le=256, description="E, engines that share one coefficient broadcast")
    layers: int = Field(1, ge=1, le=4, description="S, butterfly layers per pass; an engine has 2^S lanes")
    width: int = Field(16, ge=8, le=18, description="W, bits of one real value inside")
    element_width: int = Field(16, ge=8, le=18, description="bits of one real value on the streams, <= width")
    coefficient_width: int = Field(16, ge=8, le=18, description="C, bits of a coefficient, two of them integer")
    half_words: int = Field(256, ge=4, le=65536, description="complex words one engine holds in one buffer half")
    coefficient_words: int = Field(256, ge=4, le=65536, description="words of each coefficient bank")
    ring_words: int = Field(0, ge=0, le=65536, description="lowest words of each coefficient bank, through which the "
                                                           "operands of a MAC stream, a power of two; 0: no MAC")
    partial_words: int = Field(0, ge=0, le=32768, description="sums of two rows that every column keeps from a MAC for "
                                                              "the next, a power of two; 0: inputs in one chunk only")
    sparse: bool = Field(False, description="MACs with N:M matrices, of which the elements that are zero do not stream")
    softmax_pairs: int = Field(0, ge=0, le=1024, description="row pairs of an engine whose softmax is under way, a "
                                                             "power of two; 0: no softmax attention")
    finishers: int = Field(1, ge=1, le=64, description="units that make probabilities of logits; each serves an equal "
                                                       "part of the engines")
    program_words: int = Field(512, ge=32, le=PROGRAM_WORDS, description="32-bit words of program memory")
    stream_words: int = Field(2, ge=1, le=256, description="K, complex words per cycle on each data stream")


class MemorySection(_Section):
    """Memory units around the array, which make it a processor."""

    address_bits: int = Field(20, ge=1, le=32, description="bits of a beat number of the memory")
    descriptors: int = Field(16, ge=1, le=64, description="descriptors of the reader and of the writer")
    in_flight: int = Field(256, ge=4, le=1024, description="beats between the memory and the array")
    watchdog: int = Field(65536, ge=256, le=1 << 30, description="cycles without a move that stop a program")
    records: bool = Field(False, description="FETCH plays records of the memory on the setup port")
    row_ids: int = Field(0, ge=0, le=65536, description="ids of rows, fetched from memory, by which READs find rows of "
                                                        "an embedding, a power of two; 0: none")
    block_log: int = Field(0, ge=0, le=65536, description="blocks of a program whose exponents a host can read "
                                                           "afterwards, a power of two; 0: none")


class VectorSection(_Section):
    """Vector unit on the way to and from the memory."""

    lanes: int = Field(2, ge=1, le=256, description="multipliers on each side")
    channel_beats: int = Field(64, ge=1, le=2048, description="beats of the table of scales and biases")
    statistics_rows: int = Field(64, ge=1, le=65536, description="rows of a LayerNorm whose sums are kept")
    statistics_units: int = Field(1, ge=1, le=4, description="rows of a LayerNorm whose statistics are in the making")


class MemoryBus(str, Enum):
    """What stands behind the memory port of a processor."""

    NATIVE = "native"  # the memory port itself, hw/memory/port.py
    AXI4 = "axi4"      # an AXI4 master, hw/bus/axi4


class ControlBus(str, Enum):
    """How a core is set up, started and asked."""

    NATIVE = "native"        # the stream i_setup and the port status
    AXI4_LITE = "axi4-lite"  # registers behind an AXI4-Lite slave, hw/bus/control
    WISHBONE = "wishbone"    # registers behind a Wishbone slave, hw/bus/control


class StreamBus(str, Enum):
    """What carries the samples of an array that stands alone."""

    NATIVE = "native"            # the streams i and o, hw/array/array.py
    AXI4_STREAM = "axi4-stream"  # AXI4-Stream, hw/bus/stream


class BusSection(_Section):
    """Standard buses in front of the core's own ports. All fields but ``control``, ``stream`` and ``memory`` are those
    of an AXI4 master."""

    control: ControlBus = Field(ControlBus.NATIVE, strict=False, description="native, axi4-lite or wishbone")
    stream: StreamBus = Field(StreamBus.NATIVE, strict=False,
                              description="native, or of an array alone axi4-stream")

    memory: MemoryBus = Field(MemoryBus.NATIVE, strict=False, description="native or axi4")
    data_width: int = Field(64, ge=8, le=1024, description="bits of the data channels, a power of two")
    address_width: int = Field(32, ge=13, le=64, description="bits of a byte address")
    id_width: int = Field(1, ge=1, le=32, description="bits of the identifiers, which are all 0")
    reads: int = Field(64, ge=1, le=65536, description="most beats asked for and not yet delivered")
    writes: int = Field(16, ge=2, le=1024, description="most bursts of writes that wait for their answer")
    longest_burst: int = Field(16, ge=1, le=256, description="most data transfers of one burst")


SECTIONS: dict[str, type[_Section]] = {"array": ArraySection, "memory": MemorySection, "vector": VectorSection,
                                       "bus": BusSection}
