"""AXI4-Stream ports of an array."""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...config import CoreConfig
from ...isa.setup import block_fields
from ...layouts import input_beat, lanes, layout_of, output_beat
from ...numeric import slot_bits

__all__ = ["INPUT_PREFIX", "OUTPUT_PREFIX", "axi_stream_pins", "replaced_streams", "AxiStreamPorts"]

INPUT_PREFIX, OUTPUT_PREFIX = "s_axis_", "m_axis_"


def _tdata(config: CoreConfig) -> data.ArrayLayout:
    return lanes(slot_bits(config.element_width), config.stream_words)


def _tuser() -> data.StructLayout:
    """What stands above the words of a beat but ``last``, which is tlast."""
    return layout_of([(name, bits) for name, bits in block_fields(has_tlast=True) if name != "last"])


def axi_stream_pins(config: CoreConfig) -> dict:
    """Members of AxiStreamPorts that are pins of the bus."""
    sink = {"tdata": In(_tdata(config)), "tlast": In(1), "tvalid": In(1), "tready": Out(1)}
    source = {"tdata": Out(_tdata(config)), "tlast": Out(1), "tuser": Out(_tuser()), "tvalid": Out(1), "tready": In(1)}
    return {f"{prefix}{name}": member for prefix, pins in ((INPUT_PREFIX, sink), (OUTPUT_PREFIX, source))
            for name, member in pins.items()}


def replaced_streams(config: CoreConfig) -> dict:
    """The streams in whose place the pins stand, as an array with has_tlast has them."""
    beat = config.element_width, config.stream_words, True
    return {"i": In(stream.Signature(input_beat(*beat))), "o": Out(stream.Signature(output_beat(*beat)))}


class AxiStreamPorts(wiring.Component):
    """Ports ``s_axis_...`` and ``m_axis_...``. A transfer on the first becomes a beat on ``o``, to the array. A beat on
    ``i``, from the array, becomes a transfer on the second.

    There is no TKEEP, TSTRB, TID or TDEST: all bytes of a transfer count, and there is one stream. TLAST goes with the
    last beat of a block. ``m_axis_tuser`` has what the array says of the block: exponent, ``saturated``, which is final
    with TLAST, and whether TLAST came in at other beats than the last one of a block (TlastCheck).

    Format: word k of a beat in bits 2 * slot * k and up of TDATA, re below im, each in a slot (hw/numeric.py); bits of
    a slot above an element are copies of its sign on the way out, and are not looked at on the way in.
    Latency: none.
    Throughput: one beat per cycle.
    Backpressure: no path is cut; none leads from a ready to a valid, or from a valid to a ready.
    Reset: nothing is kept.
    Cost: wires.
    Source: AMBA AXI4-Stream.
    """

    def __init__(self, config: CoreConfig):
        array = replaced_streams(config)
        super().__init__({**axi_stream_pins(config), "o": array["i"].flip(), "i": array["o"].flip()})

    def elaborate(self, platform):
        m = Module()
        came, leaves = self.o.payload, self.i.payload
        m.d.comb += [
            self.o.valid.eq(self.s_axis_tvalid), self.s_axis_tready.eq(self.o.ready),
            came.last.eq(self.s_axis_tlast), self.m_axis_tlast.eq(leaves.last),
            self.m_axis_tvalid.eq(self.i.valid), self.i.ready.eq(self.m_axis_tready)]
        for number in range(came.words.shape().length):
            for part in ("re", "im"):
                element = came.words[number][part]
                m.d.comb += [element.eq(self.s_axis_tdata[number][part][:len(element)]),
                             self.m_axis_tdata[number][part].eq(leaves.words[number][part])]
        m.d.comb += [self.m_axis_tuser[name].eq(leaves[name]) for name in _tuser().members]
        return m
