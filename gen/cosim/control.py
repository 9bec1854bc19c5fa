"""A control bus in simulation: a master that makes accesses to registers of setup words, and a status of what it reads.

Around a core with ``bus.control`` it has the ports of a core without: benches and trials are the same for both.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, ResetSignal, Signal, Value, ValueLike
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...hw.bus.control.axi_lite import axi_lite_pins
from ...hw.bus.control.register_file import register_request, register_response, replaced_ports
from ...hw.bus.control.wishbone import wishbone_pins
from ...hw.config import CoreConfig
from ...hw.isa.bit_fields import WORD_BITS, WORD_BYTES
from ...hw.isa.registers import COUNTER_BASE, counter_names, register_map
from ...hw.isa.setup import FAULT_BITS, SETUP_CONTROL, TLAST_FIELDS
from ...hw.sections import ControlBus

__all__ = ["LOG_CYCLES", "DrivenCore", "AxiLiteMaster", "WishboneMaster"]

LOG_CYCLES = 100  # from an address of the log to its entry
_BYTE_BITS = (WORD_BYTES - 1).bit_length()
_UNUSED = ("abort_request", "drained", "bus_error_write", "bus_error_address")  # by benches of cores without


def _master_ports(pins: dict[str, Any]) -> dict[str, Any]:
    """Ports of a master of the bus whose slave has ``pins``."""
    return {"i": In(stream.Signature(register_request())), "o": Out(stream.Signature(register_response())),
            **{name: member.flip() for name, member in pins.items()}}


class AxiLiteMaster(wiring.Component):
    """Accesses on ``i``, answers on ``o``, one at a time, over AXI4-Lite."""

    def __init__(self) -> None:
        super().__init__(_master_ports(axi_lite_pins()))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        access, answer, s = self.i.payload, self.o.payload, lambda name: getattr(self, f"s_axi_ctrl_{name}")
        sent = {channel: Signal(name=f"{channel}_sent") for channel in ("aw", "w", "ar")}
        for channel, done in sent.items():
            m.d.comb += s(f"{channel}valid").eq(self.i.valid & ~done & (access.write ^ (channel == "ar")))
            m.d.sync += done.eq((done | (s(f"{channel}valid") & s(f"{channel}ready"))) & ~self.i.ready)
        address = Cat(Const(0, _BYTE_BITS), access.address)
        m.d.comb += [
            s("awaddr").eq(address), s("araddr").eq(address), s("wdata").eq(access.data), s("wstrb").eq(access.strobe),
            s("bready").eq(self.o.ready), s("rready").eq(self.o.ready), self.o.valid.eq(s("bvalid") | s("rvalid")),
            self.i.ready.eq(self.o.valid & self.o.ready), answer.data.eq(s("rdata")),
            answer.error.eq(Mux(s("bvalid"), s("bresp"), s("rresp")) != 0)]
        return m


class WishboneMaster(wiring.Component):
    """Accesses on ``i``, answers on ``o``, one at a time, as a classic Wishbone master."""

    def __init__(self) -> None:
        super().__init__(_master_ports(wishbone_pins()))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        access = self.i.payload
        m.d.comb += [
            self.wb_cyc_i.eq(self.i.valid), self.wb_stb_i.eq(self.i.valid), self.wb_we_i.eq(access.write),
            self.wb_adr_i.eq(Cat(Const(0, _BYTE_BITS), access.address)), self.wb_dat_i.eq(access.data),
            self.wb_sel_i.eq(access.strobe), self.o.valid.eq(self.wb_ack_o | self.wb_err_o),
            self.i.ready.eq(self.o.valid), self.o.payload.data.eq(self.wb_dat_o),
            self.o.payload.error.eq(self.wb_err_o)]
        return m


_MASTERS: dict[ControlBus, Any] = {ControlBus.AXI4_LITE: (AxiLiteMaster, axi_lite_pins),
                                   ControlBus.WISHBONE: (WishboneMaster, wishbone_pins)}


class DrivenCore(wiring.Component):
    """The module ``config.name`` behind its control bus, with the ports of a core with ``bus.control`` native.

    Setup words become accesses; a start waits until nothing runs. ``status`` is what was read last: an end and its
    counters show some hundred cycles late, and ``log_data`` LOG_CYCLES behind its address. An access that is answered
    with an error stops everything: the deadline of the trial finds it.
    """

    def __init__(self, config: CoreConfig, component: wiring.Component):
        self._config, self._component = config, component
        self._kind, pins = _MASTERS[config.bus.control]
        outer = {name: member for name, member in component.signature.members.items()
                 if name not in pins() and name != "irq"}
        super().__init__({**{name: port for name, port in replaced_ports(config).items() if name not in _UNUSED},
                          **outer})
        self._places = {register.name: register.address for register in register_map(config)}

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.master = self._master = master = self._kind()
        self._core(m)
        setup, answer = self.i_setup.payload, master.o.payload.data
        running, is_start = Signal(name="running"), Signal(name="is_start")
        m.d.comb += [self.status.busy.eq(running), is_start.eq(setup.target == SETUP_CONTROL), master.o.ready.eq(1)]
        with m.FSM(name="sequence"):
            steps = [*self._window(), "Look"]
            for name, after in zip(steps, steps[1:]):
                with self._access(m, name, self._places[name], self._half(name)):
                    m.next = after
            with m.State("Look"):
                m.next = "STATUS"
                with m.If(self.i_setup.valid & ~is_start):
                    m.next = "SETUP_TARGET"
                with m.If(self.i_setup.valid & is_start & ~running):
                    m.next = "CONTROL"
            with self._access(m, "SETUP_TARGET", self._places["SETUP_TARGET"], Cat(setup.address, setup.target)):
                m.next = "SETUP_HIGH"
            with self._access(m, "SETUP_HIGH", self._places["SETUP_HIGH"], setup.data[WORD_BITS:]):
                m.next = "SETUP_DATA"
            with self._access(m, "SETUP_DATA", self._places["SETUP_DATA"], setup.data[:WORD_BITS]):
                m.d.comb += self.i_setup.ready.eq(1)
                m.next = "Look"
            with self._access(m, "CONTROL", self._places["CONTROL"], Const(1)):
                m.d.comb += self.i_setup.ready.eq(1)
                m.d.sync += running.eq(1)
                m.next = "Look"
            self._status(m, answer, running)
            with m.State("Broken"):
                pass
        return m

    def _core(self, m: Module) -> None:
        """The core, on the pins of the master and on our own ports."""
        own = {path: value for part in (self._master, self) for path, _, value in part.signature.flatten(part)}
        pins: dict[str, Any] = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        for path, member, _ in self._component.signature.flatten(self._component):
            if path in own:
                pins[("i_" if member.flow == In else "o_") + "__".join(map(str, path))] = own[path]
        m.submodules.core = Instance(self._config.name, **pins)

    @contextmanager
    def _access(self, m: Module, name: str, address: ValueLike, data: Value | None = None) -> Iterator[None]:
        """State ``name`` reads the register at ``address``, or writes ``data``; inside the block it has been done."""
        master = self._master
        with m.State(name):
            m.d.comb += [
                master.i.valid.eq(1), master.i.payload.address.eq(Value.cast(address) >> _BYTE_BITS),
                master.i.payload.strobe.eq(-1), master.i.payload.write.eq(data is not None),
                master.i.payload.data.eq(0 if data is None else data)]
            with m.If(master.o.valid):
                with m.If(master.o.payload.error):
                    m.next = "Broken"
                with m.Else():
                    yield

    def _window(self) -> list[str]:
        return [name for name in self._places if name.startswith(("BASE_", "LIMIT_"))]

    def _half(self, name: str) -> Value:
        """The half of ``base`` or ``limit`` that a register takes."""
        port, half = name.lower().split("_")
        value = getattr(self, port)
        return value[WORD_BITS:] if half == "high" else value[:WORD_BITS]

    def _status(self, m: Module, answer: Value, running: Signal) -> None:
        """States that read STATUS, at the end of a program the counters, and else the log."""
        fields = {field.name: answer[field.low:field.low + field.bits]
                  for register in register_map(self._config) if register.name == "STATUS" for field in register.fields}
        names = counter_names(self._config)
        counter, fault = Signal(range(len(names)), name="counter"), Signal(FAULT_BITS, name="fault")
        with self._access(m, "STATUS", self._places["STATUS"]):
            m.d.sync += [self.status.saturated.eq(fields["saturated"]), fault.eq(fields.get("fault", 0))]
            if self._config.has_tlast:
                m.d.sync += [self.status[name].eq(fields[name]) for name, _ in TLAST_FIELDS]
            if "tag" in fields:
                m.d.sync += self.status.tag.eq(fields["tag"])
            if "bus_error" in fields:
                m.d.sync += self.bus_error.eq(fields["bus_error"])
            m.next = "Look"
            with m.If(running & ~fields["busy"]):
                m.next = "COUNTERS"
            if self._config.block_log:
                with m.If(~running):
                    m.next = "LOG_ADDRESS"
        with self._access(m, "COUNTERS", self._places["COUNTERS"], Const(1)):
            m.d.sync += counter.eq(0)
            m.next = "Counter"
        with self._access(m, "Counter", COUNTER_BASE + Cat(Const(0, _BYTE_BITS + 1), counter)):
            with m.Switch(counter):
                for number, name in enumerate(names):
                    with m.Case(number):
                        m.d.sync += self.status[name].eq(answer)
            m.d.sync += counter.eq(counter + 1)
            with m.If(counter == len(names) - 1):
                m.d.sync += running.eq(0)
                if "fault" in fields:
                    m.d.sync += self.status.error.eq(fault)
                m.next = "Look"
        if self._config.block_log:
            with self._access(m, "LOG_ADDRESS", self._places["LOG_ADDRESS"], self.log_address):
                m.next = "LOG_DATA"
            with self._access(m, "LOG_DATA", self._places["LOG_DATA"]):
                m.d.sync += self.log_data.eq(answer)
                m.next = "Look"
