"""Coefficient memory: one bank per butterfly unit of an engine, broadcast to all engines; and the picks beside it."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.instruction import Mode, Opcode
from ..isa.sparse import PICK_BITS
from ..layouts import instruction, ring_write, setup
from ..primitives.pipeline import delay, optional
from ..primitives.ram import Ram, RamParameters
from ..primitives.signals import signals
from .layouts import coefficient, unit_coefficient
from .parameters import COEFFICIENT_ADDRESS_STAGES, COEFFICIENT_GATE_STAGES

__all__ = ["CoefficientMemory", "PickMemory"]


class CoefficientMemory(wiring.Component):
    """Coefficient words of every butterfly unit for a stream of groups.

    Unit k of column q reads bank q*P/2 + k at ``coef_base + ((group >> coef_shift) & (2^coef_mask_bits - 1))``; a
    column outside ``active`` gets zero coefficients and the pivots that make it pass its words on. ``pass_fields`` must
    stay still while groups of the pass come in.

    With a ring there is ``mac``, which stands still as well: unit k of column q then reads its bank at ``ring``, and
    passes its words on. ``ring_write`` writes a word of the ring in all banks, and never comes with a word of the setup
    port for one of them.

    Format: ``o[u]`` is the word of unit u, Q2.(C-2) coefficients (``unit_coefficient`` of hw/array/layouts.py).
    Latency: ``config.read_latency + address_latency + q * config.butterfly_latency`` from ``group`` to column q, when
    the words of the group arrive there.
    Throughput: one group per cycle.
    Backpressure: none on groups; writes are always accepted.
    Reset: contents are kept.
    Cost: n_units RAMs of coefficient_words x (2C + 2) bits.
    Source: docs/design.md section 4, coefficients.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        ring = {"mac": In(1), "ring": In(config.ring_bits), "ring_write_en": In(1),
                "ring_write": In(ring_write(config))}
        super().__init__({
            **(ring if config.ring_words else {}), "group": In(config.row_bits),
            "pass_fields": In(instruction(Opcode.PASS)),
            "write": In(setup()), "write_valid": In(1),
            "o": Out(data.ArrayLayout(unit_coefficient(config.coefficient_width, bool(config.ring_words)),
                                      config.n_units)),
        })

    def elaborate(self, platform):
        m = Module()
        c, fields = self._config, self.pass_fields
        bits = c.coefficient_address_bits
        shifted = Signal(c.row_bits, name="shifted", reset_less=True)
        masked, address = signals("masked address", bits, reset_less=True)
        base = Signal(bits, name="base", reset_less=True)
        mask = Signal(c.row_bits, name="mask", reset_less=True)
        stage, stages, deep = optional(m, c.pipeline), COEFFICIENT_ADDRESS_STAGES[c.pipeline], int(c.pipeline.is_deep)
        group, shift, mask_bits, start_base = (delay(m, value, deep, name) for value, name in (
            (self.group, "group"), (fields.coef_shift, "shift"), (fields.coef_mask_bits, "mask_bits"),
            (fields.coef_base, "start_base")))
        late_base = delay(m, base, deep, "base")
        stage += [
            shifted.eq(group >> shift),
            mask.eq(~(Const(-1, signed(c.row_bits)) << mask_bits)),
            masked.eq(shifted & mask),
            base.eq(start_base)]
        mac = self._ring_address(m, masked) if c.ring_words else Const(0)
        m.d.sync += address.eq(late_base + masked)

        mode, active = fields.mode, fields.active[:c.layers]
        lead = c.read_latency + c.address_latency - stages - c.ram_latency - COEFFICIENT_GATE_STAGES
        address = delay(m, address, lead, "address")
        control_delay = stages + lead + c.ram_latency - 1  # a bank decodes in the last of these cycles
        mode = delay(m, mode, control_delay, "mode")
        active = delay(m, active, control_delay, "active")
        mac = delay(m, mac, control_delay, "mac") if c.ring_words else mac
        for q in range(c.layers):
            column_mode = Signal(Mode, name=f"mode_column{q}")
            m.d.comb += column_mode.eq(Mux(active[q], mode, Mode.PASS))
            for k in range(c.lanes // 2):
                self._bank(m, q * c.lanes // 2 + k, address, column_mode, mac)
            if q + 1 < c.layers:
                address = delay(m, address, c.butterfly_latency, f"address_column{q}")
                mode = delay(m, mode, c.butterfly_latency, f"mode_to_column{q}")
                active = delay(m, active, c.butterfly_latency, f"active_to_column{q}")
                mac = delay(m, mac, c.butterfly_latency, f"mac_to_column{q}") if c.ring_words else mac
        return m

    def _ring_address(self, m, masked):
        """The place in the ring instead of that of the group. Returns ``mac``. The base of a MAC is zero."""
        place = delay(m, self.ring, 2, "ring_place")
        is_mac = delay(m, self.mac, 2, "mac_place")
        with m.If(is_mac):
            m.d.sync += masked.eq(place)
        return self.mac

    def _write(self, m, number):
        """What is written into a bank, a cycle before it is, and the enable then."""
        write, enable = self.write, self.write_valid & (self.write.target == number)
        if not self._config.ring_words:
            return write, enable
        chosen = Signal(setup(), name=f"chosen_write{number}")
        pair = data.View(coefficient(self._config.coefficient_width), Signal(self._config.coefficient_bits,
                                                                             name=f"ring_word{number}"))
        m.d.comb += [pair.c0.eq(self.ring_write.words[number].c0), pair.c1.eq(self.ring_write.words[number].c1),
                     chosen.eq(write)]
        with m.If(self.ring_write_en):
            m.d.comb += [chosen.address.eq(self.ring_write.address), chosen.data.eq(pair)]
        return chosen, enable | self.ring_write_en

    def _bank(self, m, number, address, mode, mac):
        c = self._config
        ram = Ram(RamParameters(c.coefficient_bits, c.coefficient_words, c.target, c.pipeline))
        m.submodules[f"bank{number}"] = ram
        write, write_en = self._write(m, number)
        write = delay(m, write, int(c.pipeline.is_deep), f"write{number}")
        enable = Signal(name=f"write_en{number}")
        m.d.comb += [
            ram.r_en.eq(1), ram.r_addr.eq(address),
            ram.w_en.eq(enable), ram.w_addr.eq(write.address), ram.w_data.eq(write.data)]
        stage = optional(m, c.pipeline)
        stage += enable.eq(write_en)
        read = data.View(coefficient(c.coefficient_width), ram.r_data)
        # What the mode makes of the word is decided a cycle ahead: one gate follows the memory.
        passes, fft, scale = (Signal(name=f"{name}{number}", reset_less=True) for name in ("passes", "fft", "scale"))
        is_pass = (mode == Mode.PASS) & ~mac if c.ring_words else mode == Mode.PASS
        m.d.sync += [passes.eq(is_pass), fft.eq(mode == Mode.FFT), scale.eq(mode == Mode.SCALE)]
        out = Signal(self.o.shape().elem_shape, name=f"unit{number}", reset_less=True)
        m.d.sync += [out.word.eq(read), out.fft.eq(fft), out.no_pivot.eq(scale)]
        with m.If(passes):
            m.d.sync += [out.word.c0.eq(0), out.word.c1.eq(0), out.word.s0.eq(0), out.word.s1.eq(1)]
        with m.If(fft):
            m.d.sync += [out.word.s0.eq(0), out.word.s1.eq(0)]
        with m.If(scale):
            m.d.sync += [out.word.s0.eq(1), out.word.s1.eq(0)]
        if c.ring_words:
            is_mac = Signal(name=f"is_mac{number}", reset_less=True)
            m.d.sync += [is_mac.eq(mac), out.mac.eq(is_mac)]
            with m.If(is_mac):
                m.d.sync += [out.word.s0.eq(0), out.word.s1.eq(1)]
        m.d.comb += self.o[number].eq(out)


class PickMemory(wiring.Component):
    """The picks of the words of the ring, written with them (``write``, ``write_en``) and read by ``place``.

    Format: ``o[l]`` is the member, 0..15, that lane l takes.
    Latency: ram_latency from ``place`` to ``o``; what is written can be read two cycles later.
    Throughput: a read and a write per cycle.
    Backpressure: none.
    Reset: contents are kept.
    Cost: a RAM of ring_words x 4 P bits.
    Source: docs/decisions/0028-sparse-matrices-pick-rows.md.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({"place": In(config.ring_bits), "write": In(ring_write(config)), "write_en": In(1),
                          "o": Out(data.ArrayLayout(PICK_BITS, config.lanes))})

    def elaborate(self, platform):
        m, c = Module(), self._config
        m.submodules.ram = ram = Ram(RamParameters(PICK_BITS * c.lanes, c.ring_words, c.target, c.pipeline))
        m.d.comb += [
            ram.r_en.eq(1), ram.r_addr.eq(self.place), self.o.eq(ram.r_data),
            ram.w_en.eq(delay(m, self.write_en, 1, "enable", reset_less=False)),
            ram.w_addr.eq(delay(m, self.write.address, 1, "address")),
            ram.w_data.eq(delay(m, self.write.picks, 1, "picks"))]
        return m
