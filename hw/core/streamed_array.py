"""An array whose samples come and go over AXI4-Stream."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from ..array.array import Array
from ..bus.stream.axi_stream import AxiStreamPorts, axi_stream_pins, replaced_streams
from ..config import CoreConfig

__all__ = ["StreamedArray"]


class StreamedArray(wiring.Component):
    """An Array with has_tlast whose streams ``i`` and ``o`` are AxiStreamPorts. ``i_setup`` and ``status`` as in Array.

    Format: that of AxiStreamPorts.
    Latency: that of Array.
    Throughput: that of Array.
    Backpressure: that of Array.
    Reset: that of Array; where a block has come in part, its source must be reset too.
    Cost: an Array.
    Source: docs/reference/axi_stream.md.
    """

    def __init__(self, config: CoreConfig):
        self._array, self._ports = Array(config), AxiStreamPorts(config)
        inner = replaced_streams(config)
        own = {name: member for name, member in self._array.signature.members.items() if name not in inner}
        super().__init__({**own, **axi_stream_pins(config)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.array = array = self._array
        m.submodules.ports = ports = self._ports
        wiring.connect(m, ports.o, array.i)
        wiring.connect(m, array.o, ports.i)
        ours = {path: value for path, _, value in self.signature.flatten(self)}
        for block in (array, ports):
            for path, member, value in block.signature.flatten(block):
                if path[0] not in ("i", "o"):
                    m.d.comb += ours[path].eq(value) if member.flow is Out else value.eq(ours[path])
        return m
