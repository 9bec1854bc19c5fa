"""What both directions of the AXI master share: parameters, gatherer of bursts, burst queue, beat buffer."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ...config import CoreConfig, Target
from ...errors import WingbeatError
from ...memory.port import MemoryParameters
from ...primitives.parameters import RAM_BITS
from ...primitives.ram import Ram, RamParameters
from ...primitives.signals import signals

__all__ = ["PAGE_BYTES", "AxiParameters", "Gatherer", "BurstQueue", "BeatBuffer"]

PAGE_BYTES = 4096  # no burst may cross a multiple of it (AXI4, A3.4.1)


@dataclass(frozen=True)
class AxiParameters:
    """AXI4 side of a memory port.

    ``data_width``: bits of the data channels, a power of two in 8..1024, independent of the beat.
    ``address_width``: bits of a byte address. ``id_width``: bits of the identifiers, which are all 0.
    ``reads``: most beats asked for and not yet delivered. ``writes``: most bursts of writes that wait for
    their answer; one more of each may be under way. ``longest_burst``: most data transfers of one burst, 1..256.
    ``target``: what the buffers are made of.

    Beats lie in memory as MemoryParameters says, beat 0 at ``base``. Raises ValueError naming the field.
    """

    memory: MemoryParameters
    data_width: int
    address_width: int = 32
    id_width: int = 1
    reads: int = 64
    writes: int = 16
    longest_burst: int = 16
    target: Target = Target.PORTABLE

    def __post_init__(self) -> None:
        if not 8 <= self.data_width <= 1024 or self.data_width & (self.data_width - 1):
            raise ValueError(f"data_width: {self.data_width} is not a power of two in 8..1024")
        for name, low, high in (("address_width", 13, 64), ("id_width", 1, 32), ("writes", 2, 1024),
                                ("longest_burst", 1, 256)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}: {value} is not in {low}..{high}")
        if self.beat_bytes > PAGE_BYTES:
            raise ValueError(f"memory: a beat of {self.beat_bytes} bytes is more than a page of {PAGE_BYTES}")
        if self.longest_burst < self.transfers:
            raise ValueError(f"longest_burst: {self.longest_burst} is less than the {self.transfers} transfers of "
                             f"{self.data_width} bits that one beat of {self.beat_bytes} bytes takes")
        if not self.burst_beats <= self.reads <= 65536:
            raise ValueError(f"reads: {self.reads} is not in {self.burst_beats}..65536, from the beats of the "
                             "longest burst on")

    @classmethod
    def of(cls, config: CoreConfig) -> "AxiParameters":
        """The master that section [bus] of a processor asks for. Raises WingbeatError naming the field."""
        bus = config.bus
        try:
            return cls(MemoryParameters.of(config), bus.data_width, bus.address_width, bus.id_width, bus.reads,
                       bus.writes, bus.longest_burst, config.target)
        except ValueError as fault:
            raise WingbeatError(f"bus.{fault}") from None

    @property
    def slot_bits(self) -> int:
        """Bits of memory that one element takes."""
        return self.memory.slot_bits

    @property
    def beat_bytes(self) -> int:
        return self.memory.beat_bytes

    @property
    def data_bytes(self) -> int:
        return self.data_width // 8

    @property
    def transfer_bytes(self) -> int:
        """Bytes of one data transfer: the bus, or a beat where that is less (a narrow transfer)."""
        return min(self.beat_bytes, self.data_bytes)

    @property
    def transfers(self) -> int:
        """Data transfers per beat."""
        return self.beat_bytes // self.transfer_bytes

    @property
    def lanes(self) -> int:
        """Beats side by side on the bus; more than one only with narrow transfers."""
        return self.data_bytes // self.transfer_bytes

    @property
    def page_beats(self) -> int:
        return PAGE_BYTES // self.beat_bytes

    @property
    def burst_beats(self) -> int:
        """Beats of the longest burst."""
        return min(self.longest_burst // self.transfers, self.page_beats)

    @property
    def write_beats(self) -> int:
        """Beats the write buffer holds: a burst that is gathered, one that is sent, and the latency between."""
        return 2 * self.burst_beats + 8

    @property
    def gathered(self) -> data.StructLayout:
        """A run of requests: byte address of the first beat, number of beats less one, and whether they lie
        outside the memory (then the address means nothing)."""
        return data.StructLayout({"address": self.address_width, "more": range(max(2, self.burst_beats)),
                                  "refused": 1})

    @property
    def command(self) -> data.StructLayout:
        """What AW and AR say of a burst; everything else is constant."""
        return data.StructLayout({"address": self.address_width, "len": 8})

    @property
    def place_bits(self) -> int:
        """Bits of the address of a beat above those that are always 0."""
        return self.address_width - (self.beat_bytes.bit_length() - 1)


class Gatherer(wiring.Component):
    """Checks requests against ``base`` and ``limit`` and merges neighbours into bursts.

    ``i``: beat numbers. A number is refused when it is not below ``limit`` or its address does not fit in
    ``address_width`` bits; the low 12 bits of ``base`` are ignored. ``refused`` is high for one cycle for every such
    request. ``waiting`` says that a request stands before ``i``, ready or not.

    ``burst`` with ``final`` is *not* a stream: while nobody takes it (``issue``, allowed only with ``final``) it may
    still grow. It is final when one of these holds: it is as long as can be; the next request does not follow it; there
    is no next request. A request follows when all of these hold: its number is the one before plus one; it does not
    begin a page; the check says the same of both. So a burst never crosses a page, and grows while it waits. Nothing
    enters a burst without ``space``; a burst that could grow waits for it. ``taken`` is high for one cycle for every
    request that has entered a burst and was not refused.

    Format: byte addresses unsigned.
    Latency: 2 cycles from a request to its burst, which waits for requests that follow.
    Throughput: one request per cycle.
    Backpressure: ``issue`` -> ``i.ready`` is **not** cut, nor is ``waiting`` -> ``final``.
    Reset: forgets what is inside.
    Cost: two addresses of registers, two adders and two comparators of a beat number.
    Source: AMBA AXI4, A3.4.1 (burst rules).
    """

    def __init__(self, parameters: AxiParameters):
        self.parameters = parameters
        bits = parameters.memory.address_bits
        super().__init__({
            "base": In(parameters.address_width), "limit": In(bits + 1),
            "i": In(stream.Signature(bits)), "waiting": In(1),
            "burst": Out(parameters.gathered), "final": Out(1), "issue": In(1), "space": In(1),
            "taken": Out(1), "refused": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        checked = Signal(self.parameters.gathered, name="checked")
        valid, follows = signals("valid follows")
        accept, take, extend, full, is_open = signals("accept take extend full is_open")
        longest = self.parameters.burst_beats
        self._check(m, accept, checked, follows)

        m.d.comb += [
            extend.eq(valid & is_open & follows & ~full & (checked.refused == self.burst.refused)),
            # Until an empty check register has taken the request that waits, nobody knows whether it follows.
            self.final.eq(is_open & (full | Mux(valid, ~extend, ~self.waiting))),
            take.eq(valid & self.space & (extend | ~is_open | self.issue)), self.taken.eq(take & ~checked.refused),
            self.i.ready.eq(~valid | take), accept.eq(self.i.valid & self.i.ready),
            self.refused.eq(take & checked.refused)]
        with m.If(self.i.ready):
            m.d.sync += valid.eq(self.i.valid)
        with m.If(take):
            m.d.sync += is_open.eq(1)
        with m.Elif(self.issue):
            m.d.sync += is_open.eq(0)
        with m.If(take & extend):
            m.d.sync += [self.burst.more.eq(self.burst.more + 1), full.eq(self.burst.more == longest - 2)]
        with m.Elif(take):
            m.d.sync += [self.burst.eq(checked), full.eq(longest == 1)]
        return m

    def _check(self, m, accept, checked, follows):
        """Address and verdict of the number on ``i``, into registers."""
        p, number = self.parameters, self.i.payload
        expected = Signal(p.memory.address_bits, name="expected")
        page_bits = p.page_beats.bit_length() - 1
        in_page, frame_bits = number[:page_bits], p.address_width - 12
        offset = Signal(12, name="offset")
        frame = Signal(max(p.memory.address_bits, frame_bits) + 1, name="frame")
        m.d.comb += [offset.eq(in_page << (12 - page_bits)), frame.eq(self.base[12:] + number[page_bits:])]
        with m.If(accept):
            m.d.sync += [
                checked.address.eq(Cat(offset, frame[:frame_bits])), checked.more.eq(0),
                checked.refused.eq((number >= self.limit) | (frame[frame_bits:] != 0)),
                follows.eq((number == expected) & (in_page != 0)), expected.eq(number + 1)]


class BurstQueue(wiring.Component):
    """Bursts go in, their beats come out one by one, in order.

    ``i``: ``more`` (beats less one), ``refused``, and ``lane``, the place of the first beat on the bus. ``o``: one word
    per beat, ``refused``, its own ``lane``, and ``final`` on the final one of a burst. ``with_place``: also ``place``,
    the upper bits of the address of the burst.

    Format: none, control only.
    Latency: 2 cycles.
    Throughput: one beat per cycle, no bubble between bursts. Depth: ``depth`` bursts, at most one more, because
    ``i.ready`` is a register that looks at the level of the cycle before.
    Backpressure: ``o.ready`` is **not** cut from the read enable of the memory.
    Reset: empties the queue.
    Cost: ``depth`` + 2 entries of at most 15 bits and ``place``, a counter.
    Source: own.
    """

    def __init__(self, parameters: AxiParameters, depth: int, with_place: bool = False):
        self._depth, self._with_place = depth, with_place
        lane = range(parameters.lanes)
        more = parameters.gathered.members["more"]
        place = {"place": parameters.place_bits} if with_place else {}
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"more": more, "refused": 1, "lane": lane, **place}))),
            "o": Out(stream.Signature(data.StructLayout({"refused": 1, "lane": lane, "final": 1, **place}))),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=len(self.i.payload.as_value()), depth=self._depth + 2)
        burst = data.View(self.i.payload.shape(), fifo.r_data)
        index = Signal.like(self.i.payload.more, name="index")
        ready = Signal(name="ready", init=1)
        m.d.sync += ready.eq(fifo.level < self._depth)
        m.d.comb += [
            fifo.w_en.eq(self.i.valid & ready), fifo.w_data.eq(self.i.payload), self.i.ready.eq(ready),
            self.o.valid.eq(fifo.r_rdy), self.o.payload.refused.eq(burst.refused),
            self.o.payload.lane.eq(burst.lane + index), self.o.payload.final.eq(index == burst.more),
            fifo.r_en.eq(self.o.ready & self.o.payload.final)]
        if self._with_place:
            m.d.comb += self.o.payload.place.eq(burst.place)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += index.eq(Mux(self.o.payload.final, 0, index + 1))
        return m


class BeatBuffer(wiring.Component):
    """First in, first out: ``depth`` beats of ``width`` bits in block RAMs with their output register.

    Format: none, beats pass unchanged.
    Latency: 3 cycles.
    Throughput: one beat per cycle; but the second beat behind an empty buffer comes a cycle late when the first one has
    waited. Depth: ``depth``, and two more that have left the RAM.
    Backpressure: ``i.ready`` (through a comparator), ``o.valid`` and ``o.payload`` come out of registers; ``o.ready``
    is **not** cut from the read enable of the RAM.
    Reset: empties the buffer.
    Cost: a RAM of depth x width bits, two addresses and a counter.
    Source: own.
    """

    def __init__(self, width: int, depth: int, target: Target):
        self._depth, self._target = depth, target
        super().__init__({"i": In(stream.Signature(width)), "o": Out(stream.Signature(width))})

    def elaborate(self, platform):
        m = Module()
        write, read = signals("write read", range(self._depth))
        level = Signal(range(self._depth + 1), name="level")
        reading = Signal(name="reading")
        accept, step, start = signals("accept step start")
        m.d.comb += [
            self.i.ready.eq(level != self._depth), accept.eq(self.i.valid & self.i.ready),
            step.eq(~self.o.valid | self.o.ready), start.eq(step & (level != 0))]
        for pointer, moves in ((write, accept), (read, start)):
            with m.If(moves):
                m.d.sync += pointer.eq(Mux(pointer == self._depth - 1, 0, pointer + 1))
        m.d.sync += level.eq(level + accept - start)
        with m.If(step):
            m.d.sync += [reading.eq(start), self.o.valid.eq(reading)]

        for low in range(0, len(self.i.payload), RAM_BITS):
            part = slice(low, min(low + RAM_BITS, len(self.i.payload)))
            m.submodules[f"ram{low}"] = ram = Ram(RamParameters(part.stop - low, self._depth, self._target))
            m.d.comb += [ram.w_en.eq(accept), ram.w_addr.eq(write), ram.w_data.eq(self.i.payload[part]),
                         ram.r_en.eq(step), ram.r_addr.eq(read), self.o.payload[part].eq(ram.r_data)]
        return m
