"""AXI4-Stream in simulation: a module with streams ``i`` and ``o`` around one with ``s_axis_...`` and ``m_axis_...``.

So the bench of all arrays runs on it. It is wires: cycles are the same too.
"""

from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...hw.bus.stream.axi_stream import INPUT_PREFIX, OUTPUT_PREFIX, axi_stream_pins
from ...hw.config import CoreConfig

__all__ = ["StreamedCore"]


class StreamedCore(wiring.Component):
    """The module ``name``, which has the ports of ``component``, with streams: a beat of ``i`` is TDATA and ``last``,
    one of ``o`` is TDATA, TUSER and ``last``."""

    def __init__(self, config: CoreConfig, component: wiring.Component, name: str):
        self._component, self._name, self._pins = component, name, axi_stream_pins(config)
        words, user = self._pins[f"{OUTPUT_PREFIX}tdata"].shape, self._pins[f"{OUTPUT_PREFIX}tuser"].shape
        outer = {port: member for port, member in component.signature.members.items() if port not in self._pins}
        super().__init__({**outer, "i": In(stream.Signature(data.StructLayout({"words": words, "last": 1}))),
                          "o": Out(stream.Signature(data.StructLayout({"words": words, "user": user, "last": 1})))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        ours: dict[Any, Any] = {path: value for path, _, value in self.signature.flatten(self)}
        for prefix, beats in ((INPUT_PREFIX, self.i), (OUTPUT_PREFIX, self.o)):
            fields = {"data": "words", "user": "user", "last": "last"}
            ours |= {(f"{prefix}t{pin}",): beats.payload[field] for pin, field in fields.items()
                     if field in beats.payload.shape().members}
            ours |= {(f"{prefix}tvalid",): beats.valid, (f"{prefix}tready",): beats.ready}
        pins: dict[str, Any] = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        for path, member, _ in self._component.signature.flatten(self._component):
            pins[("i_" if member.flow == In else "o_") + "__".join(map(str, path))] = Value.cast(ours[path])
        m.submodules.core = Instance(self._name, **pins)
        return m
