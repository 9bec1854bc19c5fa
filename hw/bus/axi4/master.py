"""AXI4 master behind a memory port."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...memory.port import MemoryPort
from ...primitives.shared import once
from .burst import AxiParameters
from .reader import AxiReader
from .writer import AxiWriter

__all__ = ["AxiMaster"]

_INCREMENTING = 0b01
_CACHE = 0b0011  # normal, not cacheable, bufferable: interconnects may merge and split, reads see our writes


class AxiMaster(wiring.Component):
    """The memory side of a MemoryPort as an AXI4 master.

    ``port``: the memory port; AxiParameters says where its beats stand. ``base``: byte address of beat 0, a multiple of
    4,096 (the low 12 bits are ignored); ``limit``: number of beats allowed. Both must be stable while a request is in
    flight. Every number is checked against them before an address is formed. One that is not below ``limit``, or whose
    address does not fit in ``address_width`` bits, is refused as the port says, in order, and never seen on the bus.
    ``refused`` is high in the cycle of the check; a read and a write that are refused in the same cycle share it.
    ``error`` rises when R or B brings SLVERR or DECERR and stays until reset, as ``port.failed`` does; the beats are
    delivered and reported all the same. ``error_address`` is the byte address at which the first burst with an error
    begins, ``error_write`` says that it was a write; of two that come at once it is the read.

    ``stop`` stays until the reset. From the cycle after it on no burst is issued any more: what was issued is finished,
    other requests bring zeros or are reported as ``written``, without the bus. Issued is what was on AR or AW, and on
    either channel at most one burst that waits behind it. So when every request has its answer, all R have come, all W
    have gone and all B have come.

    AXI: ports ``m_axi_...``. Incrementing bursts of at most ``longest_burst`` transfers that never cross 4 KiB.
    Requests with consecutive numbers become one burst when each comes at most one cycle after the one before, or while
    the burst waits. One identifier, 0, so everything stays in order; reads and writes are independent. A beat wider
    than the bus takes several transfers; a narrower one takes a narrow transfer, so the bus moves one beat per cycle.
    VALID never waits for READY. BREADY is constant, and so is RREADY except as AxiReader says. RLAST, RID and BID are
    not looked at.

    Format: elements in slots of 8, 16 or 32 bits, sign-extended (AxiParameters).
    Latency: 3 cycles from the final request of a burst to AR or AW, 5 to the first W transfer, 4 from the final R
    transfer of a beat to ``port.beats``, 1 from B to ``port.written``. A burst of n beats leaves n - 1 cycles after its
    first request at the earliest: shorter bursts answer sooner.
    Throughput: one transfer per cycle and direction, and one burst per cycle, if two conditions hold. ``reads`` covers
    the latency of the memory, in beats, plus one burst and 8 beats. ``writes`` covers it, from the final transfer to B,
    in bursts plus 5.
    Backpressure: no path from AR or AW to the port; W and the beats are **not** cut from the read enables of their
    buffers.
    Reset: everything in flight is forgotten, so the memory must be reset with it, or every request have its answer.
    Cost: an AxiReader, an AxiWriter and a register of an address.
    Source: AMBA AXI4, A3 (single interface requirements).
    """

    def __init__(self, parameters: AxiParameters):
        self.parameters = p = parameters
        super().__init__({
            "port": In(MemoryPort(p.memory)), "base": In(p.address_width), "limit": In(p.memory.address_bits + 1),
            "error": Out(1), "error_address": Out(p.address_width), "error_write": Out(1), "stop": In(1),
            **_address_channel("aw", p), **_address_channel("ar", p),
            "m_axi_wdata": Out(p.data_width), "m_axi_wstrb": Out(p.data_bytes), "m_axi_wlast": Out(1),
            "m_axi_wvalid": Out(1), "m_axi_wready": In(1),
            "m_axi_bid": In(p.id_width), "m_axi_bresp": In(2), "m_axi_bvalid": In(1), "m_axi_bready": Out(1),
            "m_axi_rid": In(p.id_width), "m_axi_rdata": In(p.data_width), "m_axi_rresp": In(2),
            "m_axi_rlast": In(1), "m_axi_rvalid": In(1), "m_axi_rready": Out(1),
        })

    @once("parameters")
    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = AxiReader(self.parameters)
        m.submodules.writer = writer = AxiWriter(self.parameters)
        stop = Signal(name="stop_now")
        m.d.sync += stop.eq(self.stop)
        for side in (reader, writer):
            m.d.comb += [side.base.eq(self.base), side.limit.eq(self.limit), side.stop.eq(stop)]
        wiring.connect(m, wiring.flipped(self.port.read), reader.read)
        wiring.connect(m, reader.beats, wiring.flipped(self.port.beats))
        wiring.connect(m, wiring.flipped(self.port.write), writer.write)
        m.d.comb += [
            self.port.written.eq(writer.written), self.port.refused.eq(reader.refused | writer.refused),
            self.m_axi_wdata.eq(writer.w.payload.data), self.m_axi_wstrb.eq(writer.w.payload.strobe),
            self.m_axi_wlast.eq(writer.w.payload.last), self.m_axi_wvalid.eq(writer.w.valid),
            writer.w.ready.eq(self.m_axi_wready),
            writer.b.payload.resp.eq(self.m_axi_bresp), writer.b.valid.eq(self.m_axi_bvalid),
            self.m_axi_bready.eq(writer.b.ready),
            reader.r.payload.data.eq(self.m_axi_rdata), reader.r.payload.resp.eq(self.m_axi_rresp),
            reader.r.valid.eq(self.m_axi_rvalid), self.m_axi_rready.eq(reader.r.ready)]
        self._command(m, "aw", writer.aw)
        self._command(m, "ar", reader.ar)
        place = Signal(self.parameters.place_bits, name="place")
        with m.If(~self.error):
            m.d.sync += [self.error.eq(reader.error | writer.error), self.error_write.eq(writer.error & ~reader.error),
                         place.eq(Mux(reader.error, reader.error_place, writer.error_place))]
        m.d.comb += [self.error_address.eq(place << (self.parameters.address_width - self.parameters.place_bits)),
                     self.port.failed.eq(self.error)]
        return m

    def _command(self, m, channel, burst):
        def pin(name) -> Signal:
            return getattr(self, f"m_axi_{channel}{name}")

        size = self.parameters.transfer_bytes.bit_length() - 1
        m.d.comb += [
            pin("valid").eq(burst.valid), burst.ready.eq(pin("ready")), pin("addr").eq(burst.payload.address),
            pin("len").eq(burst.payload.len), pin("size").eq(size), pin("burst").eq(_INCREMENTING),
            pin("cache").eq(_CACHE)]


def _address_channel(channel: str, parameters: AxiParameters) -> dict:
    """Members of AW or AR; ID, LOCK, PROT and QOS are constant 0."""
    widths = {"id": parameters.id_width, "addr": parameters.address_width, "len": 8, "size": 3, "burst": 2, "lock": 1,
              "cache": 4, "prot": 3, "qos": 4, "valid": 1}
    return {**{f"m_axi_{channel}{name}": Out(width) for name, width in widths.items()},
            f"m_axi_{channel}ready": In(1)}
