"""Row buffer: the banks of one engine in two halves, and the ports that all engines share."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..layouts import lanes, word
from ..primitives.ram import Ram, RamParameters
from ..primitives.signals import signals
from .layouts import half_control

__all__ = ["RowBuffer", "HalfPorts"]


class HalfPorts(wiring.Component):
    """Who reads and writes each half: rows for the banks of both halves, shared by all engines.

    While one half is computed the other is unloaded and loaded. The store unit owns the read port of a half while
    ``store_owns`` of that half is set, the load unit the write port while ``load_owns`` is set; the columns have what
    is left.

    Format: none, rows are unsigned.
    Latency: 1 cycle from rows to ``o``.
    Throughput: one beat per cycle on each port.
    Backpressure: ``store_en`` low holds the read port that the store owns and nothing else.
    Reset: none, nothing here enables a write by itself.
    Cost: 4 * P * row_bits flip-flops, each behind a 2:1 multiplexer.
    Source: docs/design.md section 4, ping-pong.
    """

    def __init__(self, config: CoreConfig):
        rows = data.ArrayLayout(config.row_bits, config.lanes)
        port = data.StructLayout({"valid": 1, "half": 1, "rows": rows})
        super().__init__({
            "read": In(port), "write": In(port),
            "store_rows": In(rows), "store_en": In(1), "store_owns": In(2),
            "load_rows": In(rows), "load_owns": In(2),
            "o": Out(data.ArrayLayout(half_control(config), 2)),
        })

    def elaborate(self, platform):
        m = Module()
        for half in range(2):
            o = self.o[half]
            r_rows = Signal(self.read.rows.shape(), name=f"r_rows{half}", reset_less=True)
            w_rows = Signal(self.read.rows.shape(), name=f"w_rows{half}", reset_less=True)
            r_en = Signal(name=f"r_en{half}")
            m.d.comb += [r_en.eq(~self.store_owns[half] | self.store_en), o.r_en.eq(r_en),
                         o.r_rows.eq(r_rows), o.w_rows.eq(w_rows), o.from_load.eq(self.load_owns[half]),
                         o.compute_en.eq(self.write.valid & (self.write.half == half))]
            with m.If(r_en):
                m.d.sync += r_rows.eq(Mux(self.store_owns[half], self.store_rows, self.read.rows))
            m.d.sync += w_rows.eq(Mux(self.load_owns[half], self.load_rows, self.write.rows))
        return m


class RowBuffer(wiring.Component):
    """P banks in two halves, each bank of each half a RAM of its own with one read and one write port.

    A word must not be read in the cycle in which it is written; the pass gaps and the load lag see to it.

    Format: words of W + W bits in bank order, unchanged.
    Latency: config.ram_latency + 1 from ``halves.r_rows`` to ``compute`` and ``store``; data to write ride one cycle
    ahead of ``halves.w_rows`` into a register.
    Throughput: P words read and P written per half and cycle.
    Backpressure: ``store_en`` holds ``store`` (and through ``r_en`` its RAMs).
    Reset: contents are kept, no write is enabled.
    Cost: 2 * P RAMs of bank_rows x 2W bits, 8 * P * W flip-flops behind 2:1 multiplexers.
    Source: docs/design.md section 4, ping-pong.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        beat = lanes(config.width, config.lanes)
        super().__init__({
            "halves": In(data.ArrayLayout(half_control(config), 2)),
            "compute_half": In(1), "compute": Out(beat), "result": In(beat),
            "store_half": In(1), "store_en": In(1), "store": Out(beat),
            "load_en": In(1), "load": In(beat),
        })

    def elaborate(self, platform):
        m = Module()
        c = self._config
        read = [Signal(self.load.shape(), name=f"read{half}") for half in range(2)]
        for half in range(2):
            control = self.halves[half]
            words = Signal(self.load.shape(), name=f"write{half}", reset_less=True)
            enable = Signal(name=f"write_en{half}")
            m.d.sync += [words.eq(Mux(control.from_load, self.load, self.result)),
                         enable.eq(Mux(control.from_load, self.load_en, control.compute_en))]
            for bank in range(c.lanes):
                ram = Ram(RamParameters(2 * c.width, c.bank_rows, c.target, c.pipeline))
                m.submodules[f"half{half}_bank{bank}"] = ram
                m.d.comb += [
                    ram.r_en.eq(control.r_en), ram.r_addr.eq(control.r_rows[bank]),
                    ram.w_en.eq(enable), ram.w_addr.eq(control.w_rows[bank]), ram.w_data.eq(words[bank]),
                    read[half][bank].eq(data.View(word(c.width), ram.r_data))]
        compute, store = signals("compute_word store_word", self.load.shape(), reset_less=True)
        m.d.sync += compute.eq(Mux(self.compute_half, read[1], read[0]))
        with m.If(self.store_en):
            m.d.sync += store.eq(Mux(self.store_half, read[1], read[0]))
        m.d.comb += [self.compute.eq(compute), self.store.eq(store)]
        return m
