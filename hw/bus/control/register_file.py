"""The registers of a core: what a control bus reads and writes becomes setup words, a start and answers."""

from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...config import CoreConfig
from ...isa.bit_fields import WORD_BITS, WORD_BYTES
from ...isa.registers import COUNTER_BASE, MAP_ADDRESS_BITS, Access, Register, counter_names, register_map
from ...isa.setup import CONTROL_CLEAR, CONTROL_START, COUNTER_BITS, SETUP_CONTROL, TLAST_FIELDS
from ...layouts import block_entry, load_command, processor_status, setup, status
from ...primitives.pipeline import delay
from ...primitives.signals import signals
from ...sections import MemoryBus
from .wide_counters import WideCounters

__all__ = ["WORD_ADDRESS_BITS", "register_request", "register_response", "replaced_ports",
           "RegisterFile"]

_BYTE_BITS = WORD_BYTES.bit_length() - 1
WORD_ADDRESS_BITS = MAP_ADDRESS_BITS - _BYTE_BITS
_HALVES = (("LOW", 0), ("HIGH", WORD_BITS))  # of a number in two registers, by the ends of their names
_END_CYCLES = 4  # from the fall of busy to the cycle in which fault and counters of the program are final


def register_request() -> data.StructLayout:
    """An access to a register; ``address`` counts words."""
    return data.StructLayout({"write": 1, "address": WORD_ADDRESS_BITS, "data": WORD_BITS, "strobe": WORD_BYTES})


def register_response() -> data.StructLayout:
    """The answer to it; ``data`` is 0 where ``error`` or behind a write."""
    return data.StructLayout({"data": WORD_BITS, "error": 1})


def replaced_ports(config: CoreConfig) -> dict:
    """The ports in whose place registers stand, as the core of ``config`` has them."""
    c = config
    stop = {"abort_request": In(1), "drained": Out(1)}
    window = {"base": In(c.bus.address_width), "limit": In(c.memory_bits + 1), "bus_error": Out(1),
              "bus_error_write": Out(1), "bus_error_address": Out(c.bus.address_width)}
    log = {"log_address": In(range(c.block_log)), "log_data": Out(block_entry())}
    load = {"load": In(load_command(c)), "loading": Out(1)} if c.has_loader else {}
    told = processor_status() if c.is_processor else status(c.has_tlast)
    return {"i_setup": In(stream.Signature(setup())), "status": Out(told),
            **(stop if c.is_processor else {}), **(window if c.bus.memory is MemoryBus.AXI4 else {}),
            **(log if c.block_log else {}), **load}


class RegisterFile(wiring.Component):
    """The registers of hw/isa/registers.py for the core of ``config``, one access at a time.

    ``i``: accesses; ``o``: an answer to each. ``irq``: an event that is enabled has come. To the core goes ``o_setup``,
    from it comes ``i_status``; all other ports are those of the core with the same name.

    A core with a Loader is loaded by ``load``; where CONTROL asks for a start too, its word is sent when all is loaded.

    An access that the register does not allow is answered with an error and changes nothing: an address without a
    register, a write to what is read only, a read of what is written only, a write of less than a word. A setup word
    is answered when the core has taken it.

    Format: 32-bit registers.
    Latency: access to answer 4 cycles; a setup word one more, and the stalls of the core; a copy of the counters as
    WideCounters says.
    Throughput: an access in 5 cycles, without stalls; a setup word in 6.
    Backpressure: ``i.ready`` is low until the answer has been taken.
    Reset: registers as the description says; an access under way is lost.
    Cost: a WideCounters; the registers that hold something; a multiplexer of the readable ones.
    Source: docs/reference/registers.md.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        self._registers = {register.name: register for register in register_map(config)}
        self._has_window = config.bus.memory is MemoryBus.AXI4
        ports = {name: member.flip() for name, member in replaced_ports(config).items()}
        super().__init__({
            "i": In(stream.Signature(register_request())), "o": Out(stream.Signature(register_response())),
            "irq": Out(1), "o_setup": ports.pop("i_setup"), "i_status": ports.pop("status"), **ports})

    def elaborate(self, platform):
        m = Module()
        access, answer = Signal(register_request(), name="access"), Signal(register_response(), name="answer")
        self._waiting = Signal(name="start_waits")  # for a load
        held = {name: self._held(register) for name, register in self._registers.items()
                if register.access in (Access.READ_WRITE, Access.CLEAR)}
        m.submodules.counters = counters = self._counters(m, access)
        chosen, is_counter = self._choose(m, access)
        facts = self._facts(m)
        acts, start_refused, begins, is_begin = signals("acts start_refused begins is_begin")
        asks = self._asks(access)
        found, legal = self._read(m, access, asks, chosen, is_counter, held, facts, counters)
        with m.FSM(name="registers"):
            with m.State("Idle"):
                m.d.comb += self.i.ready.eq(~begins)
                with m.If(begins):
                    m.next = "Begin"
                with m.Elif(self.i.valid):
                    m.d.sync += access.eq(self.i.payload)
                    m.next = "Choose"
            with m.State("Begin"):  # the start that has waited for a load
                m.d.comb += [self.o_setup.valid.eq(1), is_begin.eq(1)]
                with m.If(self.o_setup.ready):
                    m.next = "Idle"
            with m.State("Choose"):
                m.next = "Find"
            with m.State("Find"):
                m.d.sync += [answer.data.eq(Mux(access.write, 0, found)), answer.error.eq(~legal)]
                m.next = "Act"
            with m.State("Act"):
                m.d.comb += [acts.eq(access.write & ~answer.error), start_refused.eq(
                    access.write & answer.error & chosen["CONTROL"] & (asks.start | asks.load))]
                m.next = "Answer"
                self._follow(m, access, acts, asks, chosen)
            with m.State("Send"):
                m.d.comb += self.o_setup.valid.eq(1)
                with m.If(self.o_setup.ready):
                    m.next = "Answer"
            with m.State("Copy"):
                m.d.comb += counters.latch.eq(1)
                with m.If(counters.done):
                    m.next = "Answer"
            with m.State("Answer"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "Idle"
        m.d.comb += self.o.payload.eq(answer)
        self._hold(m, access, acts, chosen, held)
        self._setup(m, access, asks, is_begin, chosen, held, facts, counters)
        loaded = self._load(m, acts & chosen["CONTROL"], asks, begins, is_begin, facts)
        self._events(m, start_refused, loaded, held, facts)
        self._outputs(m, held)
        return m

    def _asks(self, access):
        """The bits of CONTROL in a write to it; 0 for those that the core has not got."""
        places = {field.name: field.low for field in self._registers["CONTROL"].fields}
        return SimpleNamespace(**{name: access.data[places[name]] if name in places else Const(0)
                                  for name in ("start", "clear", "abort", "load")})

    def _held(self, register: Register) -> Signal:
        """What the register holds: its fields, packed at their places."""
        return Signal(data.StructLayout({field.name: field.bits for field in register.fields}),
                      name=register.name.lower())

    def _choose(self, m, access):
        """Registers that say which register ``access`` is, a cycle behind it: one by name, counters as a whole."""
        counters = 2 * len(counter_names(self._config))
        place = access.address - (COUNTER_BASE >> _BYTE_BITS)
        is_counter, chosen = Signal(name="is_counter"), {}
        m.d.sync += is_counter.eq(place[:WORD_ADDRESS_BITS] < counters)
        for name, register in self._registers.items():
            if not COUNTER_BASE <= register.address < COUNTER_BASE + counters * WORD_BYTES:
                chosen[name] = Signal(name=f"is_{name.lower()}")
                m.d.sync += chosen[name].eq(access.address == register.address >> _BYTE_BITS)
        return chosen, is_counter

    def _counters(self, m, access):
        names = counter_names(self._config)
        counters = WideCounters(len(names), COUNTER_BITS)
        m.d.comb += [counters.address.eq(access.address - (COUNTER_BASE >> _BYTE_BITS)),
                     *(counters.counts[at].eq(self.i_status[name]) for at, name in enumerate(names))]
        return counters

    def _facts(self, m):
        """STATUS. A program has ended some cycles after busy has fallen: then everything about it is known."""
        now, is_processor = self.i_status, self._config.is_processor
        fields = self._registers["STATUS"].fields
        facts = Signal(data.StructLayout({field.name: field.bits for field in fields}), name="facts")
        before, ending = signals("busy_before ending")
        m.d.sync += before.eq(now.busy)
        fall = Signal(name="busy_fall")
        self._running = running = Signal(name="is_running")  # a load is busy too
        m.d.comb += fall.eq(before & ~now.busy & running)
        ended = delay(m, fall, _END_CYCLES, "ended", reset_less=False)
        with m.If(fall):
            m.d.sync += ending.eq(1)
        with m.Elif(ended):
            m.d.sync += [ending.eq(0), running.eq(0)]
        self._ended = Signal(name="program_end")
        m.d.comb += [self._ended.eq(ended & (now.error == 0 if is_processor else 1)),
                     facts.busy.eq(now.busy | before | ending | self._waiting), facts.saturated.eq(now.saturated)]
        if is_processor:
            m.d.comb += [facts.fault.eq(now.error), facts.tag.eq(now.tag)]
            m.d.comb += facts.drained.eq(self.drained)
        if self._config.has_tlast:
            m.d.comb += [facts[name].eq(now[name]) for name, _ in TLAST_FIELDS]
        if self._has_window:
            m.d.comb += [facts.bus_error.eq(self.bus_error), facts.bus_error_write.eq(self.bus_error_write)]
        return facts

    def _read(self, m, access, asks, chosen, is_counter, held, facts, counters):
        """What the register that ``access`` names holds, and whether the access is legal."""
        found, legal = Signal(WORD_BITS, name="found"), Signal(name="legal")
        free = ~facts.busy & (facts.fault == 0 if self._config.is_processor else 1)
        conditions = {"SETUP_DATA": held["SETUP_TARGET"].target != SETUP_CONTROL,
                      "CONTROL": ~((asks.start | asks.load) & (~free | asks.clear | asks.abort)),
                      **{name: free for name in held if name.startswith(("BASE", "LIMIT"))}}
        sources = {**held, "STATUS": facts, **({"LOG_DATA": self.log_data} if self._config.block_log else {})}
        if self._has_window:
            sources |= {f"BUS_ERROR_ADDRESS_{half}": {"value": self.bus_error_address[low:low + WORD_BITS]}
                        for half, low in _HALVES}
        readable, writable = [is_counter], []
        bits = [[is_counter & bit] for bit in counters.data]
        for name, choice in chosen.items():
            register = self._registers[name]
            if register.access.is_readable:
                readable.append(choice)
            if register.access.is_writable:
                writable.append(choice & conditions.get(name, Const(1)))
            for field in register.fields if register.access.is_readable else ():
                value = Value.cast(sources[name][field.name]) if name in sources else Const(field.value, field.bits)
                for at in range(field.bits):
                    bits[field.low + at].append(choice & value[at])
        m.d.comb += [found.eq(Cat(Cat(terms).any() for terms in bits)),
                     legal.eq(Mux(access.write, Cat(writable).any() & access.strobe.all(), Cat(readable).any()))]
        return found, legal

    def _follow(self, m, access, acts, asks, chosen):
        """What takes longer than a cycle."""
        # An array has nothing to clear. A start behind a load is sent when all is loaded.
        sends = (asks.start & ~asks.load) | (asks.clear if self._config.is_processor else 0)
        with m.If(acts & (chosen["SETUP_DATA"] | (chosen["CONTROL"] & sends))):
            m.next = "Send"
        with m.If(acts & chosen["COUNTERS"] & access.data[0]):
            m.next = "Copy"

    def _hold(self, m, access, acts, chosen, held):
        """Writes to registers that hold something, and the bit ``clear``."""
        for name, value in held.items():
            fields = self._registers[name].fields
            written = {field.name: access.data[field.low:field.low + field.bits] for field in fields}
            with m.If(acts & chosen[name]):
                m.d.sync += [value[key].eq(value[key] & ~bits if self._registers[name].access is Access.CLEAR else bits)
                             for key, bits in written.items()]
        with m.If(acts & chosen["CONTROL"] & access.data[1]):
            m.d.sync += [held[name].eq(0) for name in ("SETUP_TARGET", "SETUP_HIGH", "INTERRUPT_ENABLE",
                                                       "INTERRUPT_STATE")]

    def _load(self, m, acts, asks, begins, is_begin, facts):
        """Abort and load of a write to CONTROL, and the start that waits for the load. Returns when a load without a
        start has ended."""
        loaded = Signal(name="loaded")
        if not self._config.is_processor:
            return loaded
        if not self._config.has_loader:
            m.d.comb += self.abort_request.eq(acts & asks.abort)
            return loaded
        # An abort between the end of the load and the start behind it stops the program that starts.
        aborts, loading_before = signals("aborts loading_before")
        waiting, has_fault = self._waiting, facts.fault != 0
        m.d.comb += [self.load.valid.eq(acts & asks.load), begins.eq(waiting & ~self.loading & ~has_fault),
                     self.abort_request.eq((acts & asks.abort) | aborts),
                     loaded.eq(loading_before & ~self.loading & ~waiting & ~has_fault)]
        m.d.sync += loading_before.eq(self.loading)
        with m.If(acts & asks.load & asks.start):
            m.d.sync += waiting.eq(1)
        with m.Elif(has_fault | (is_begin & self.o_setup.ready)):
            m.d.sync += waiting.eq(0)
        with m.If(acts & asks.abort & waiting):
            m.d.sync += aborts.eq(1)
        with m.Elif(self.i_status.busy):
            m.d.sync += aborts.eq(0)
        return loaded

    def _setup(self, m, access, asks, is_begin, chosen, held, facts, counters):
        """The word on offer: in state Send that of SETUP_DATA, the start or the clear; in state Begin the start."""
        target, high, word = held["SETUP_TARGET"], held["SETUP_HIGH"], self.o_setup.payload
        is_start, is_control, sent, done = signals("is_start is_control sent done")
        m.d.comb += [
            is_start.eq(is_begin | (chosen["CONTROL"] & asks.start)), is_control.eq(is_begin | chosen["CONTROL"]),
            sent.eq(self.o_setup.valid & self.o_setup.ready),
            word.target.eq(Mux(is_control, SETUP_CONTROL, target.target)),
            word.address.eq(Mux(is_control, 0, target.address)),
            word.data.eq(Mux(is_control, Mux(is_start, CONTROL_START, CONTROL_CLEAR), Cat(access.data, high.data))),
            counters.clear.eq(sent & is_start), facts.done.eq(done)]
        with m.If(self._ended):
            m.d.sync += done.eq(1)
        with m.If(sent):
            with m.If(is_start):
                m.d.sync += [done.eq(0), self._running.eq(1)]
            with m.Elif(chosen["SETUP_DATA"]):
                m.d.sync += [target.address.eq(target.address + 1), high.data.eq(0)]

    def _events(self, m, start_refused, loaded, held, facts):
        """Events set their bits of INTERRUPT_STATE; one that comes with its clearing stays."""
        state, enable = held["INTERRUPT_STATE"], held["INTERRUPT_ENABLE"]
        error, error_before = signals("error error_before")
        with m.If(self._ended | loaded):
            m.d.sync += state.done.eq(1)
        if self._config.is_processor:
            m.d.comb += error.eq((facts.fault != 0) | (facts.bus_error if self._has_window else 0))
        if self._config.has_tlast:
            m.d.comb += error.eq(Cat(facts[name] for name, _ in TLAST_FIELDS).any())
        if "error" in state.shape().members:
            m.d.sync += error_before.eq(error)
            with m.If(error & ~error_before):
                m.d.sync += state.error.eq(1)
        with m.If(start_refused):
            m.d.sync += state.refused.eq(1)
        m.d.sync += self.irq.eq((Cat(state) & Cat(enable)).any())

    def _outputs(self, m, held):
        """Registers that are ports of the core."""
        for name, port in (("BASE", "base"), ("LIMIT", "limit")):
            for half, low in _HALVES:
                for field in self._registers[f"{name}_{half}"].fields if f"{name}_{half}" in held else ():
                    first = low + field.low
                    m.d.comb += getattr(self, port)[first:first + field.bits].eq(held[f"{name}_{half}"][field.name])
        if self._config.has_loader:
            m.d.comb += [self.load.address.eq(held["PROGRAM_ADDRESS"].value),
                         self.load.beats.eq(held["PROGRAM_BEATS"].value)]
        if self._config.block_log:
            m.d.comb += self.log_address.eq(held["LOG_ADDRESS"].entry)
