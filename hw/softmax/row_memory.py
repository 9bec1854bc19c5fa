"""Row memory: what an engine knows of the rows of a softmax, and what follows for the sums of its columns."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..numeric import ALIGNMENT_CUT, DEAD_ALIGNMENT
from ..primitives.pipeline import delay
from ..primitives.ram import Ram, RamParameters
from .layouts import column_softmax, row_control, row_info
from .parameters import MAXIMUM_BITS

__all__ = ["RowMemory"]

_SHIFT_TAP = 5  # from the sum of a group at its alignment to the shift of an output that ends with it


class RowMemory(wiring.Component):
    """Keeps the exponents of the groups of probabilities in the banks, and maximum and highest bit of the total of each
    row, for two chunks of keys.

    ``exponents`` and ``infos``: what is written, of re and im. ``columns[q]``: what column q needs, when it does:
    ``taps[q]`` cycles, ram_latency + 2 or more, from ``row`` and ``pair`` of a group to its sum in the column.

    Format: ``hw/numeric.py``, softmax.
    Latency: ``taps[q]`` from ``row`` and ``pair`` to ``align`` and ``merge`` of re; a cycle more to ``merge`` of im;
    five cycles more to ``shifts``.
    Throughput: a group per cycle.
    Backpressure: none.
    Reset: none; the memories are kept.
    Cost: a RAM of a half's rows, two of softmax_pairs, a delay line of 36 bits over the columns.
    Source: docs/decisions/0030-softmax-in-the-array.md.
    """

    def __init__(self, config: CoreConfig, taps: Sequence[int]):
        self._config, self._taps = config, taps
        super().__init__({
            "control": In(row_control(config)),
            "exponents": In(data.ArrayLayout(signed(MAXIMUM_BITS), 2)),
            "infos": In(data.ArrayLayout(row_info(config), 2)),
            "columns": Out(data.ArrayLayout(column_softmax(), config.layers))})

    def elaborate(self, platform):
        m = Module()
        c, control = self._config, self.control
        exponents = data.View(self.exponents.shape(), self._ram(m, "exponents", c.bank_rows, self.exponents,
                                                                control.write, control.write_row, control.row))
        infos = [data.View(self.infos.shape(), self._ram(
            m, f"infos{bank}", max(2, c.softmax_pairs), self.infos, control.write_infos & (control.info_bank == bank),
            control.info_pair, control.pair)) for bank in range(2)]
        bank, weighs = (delay(m, bit, c.ram_latency, name, reset_less=False) for bit, name in (
            (control.bank, "bank"), (control.weighs, "weighs")))
        line = Signal(data.ArrayLayout(data.StructLayout({
            "shift": 6, "is_dead": 1, "merge": 6, "right": 5}), 2), name="line", reset_less=True)
        for part in range(2):
            self._amounts(m, line[part], exponents[part], infos[0][part], infos[1][part], bank, weighs)

        moved, at = line.as_value(), c.ram_latency + 2
        for q, tap in enumerate(self._taps):
            moved, at = delay(m, moved, tap - at, f"line{q}"), tap
            self._column(m, q, data.View(line.shape(), moved))
        return m

    def _ram(self, m, name, depth, written, enable, w_addr, r_addr):
        c = self._config
        m.submodules[name] = ram = Ram(RamParameters(written.shape().size, depth, c.target, c.pipeline))
        m.d.comb += [ram.r_en.eq(1), ram.r_addr.eq(r_addr), ram.w_en.eq(enable), ram.w_addr.eq(w_addr),
                     ram.w_data.eq(written)]
        return ram.r_data

    def _amounts(self, m, out, exponent, info0, info1, bank, weighs):
        """How far the sum of a group, a kept one and one that ends are shifted, two cycles later."""
        own, before = Mux(bank, info1.maximum, info0.maximum), Mux(bank, info0.maximum, info1.maximum)
        highest = Mux(bank, info1.highest, info0.highest)
        distance, rise = (Signal(signed(MAXIMUM_BITS + 1), name=name, reset_less=True) for name in
                          ("distance", "rise"))
        right = Signal(signed(len(highest) + 1), name="right", reset_less=True)
        m.d.sync += [distance.eq(own - exponent), rise.eq(own - before), right.eq(highest - self.control.shift)]
        counts = delay(m, weighs, 1, "counts")
        m.d.sync += [
            out.shift.eq(Mux(counts, distance[:5] + ALIGNMENT_CUT, 0)),
            out.is_dead.eq(counts & (distance >= DEAD_ALIGNMENT)),
            out.merge.eq(Mux(rise > 63, 63, rise[:6]) & counts.replicate(6)),
            out.right.eq(Mux(right[-1], 0, right[:5]))]

    def _column(self, m, q, line):
        control, column = self.control.columns[q], self.columns[q]
        for part in range(2):
            m.d.comb += [column.align[part].shift.eq(line[part].shift),
                         column.align[part].is_dead.eq(line[part].is_dead),
                         column.shifts[part].eq(delay(m, line[part].right, _SHIFT_TAP, f"right{q}_{part}"))]
        late = delay(m, line[1].merge, 1, f"merge_im{q}")
        m.d.comb += [column.merge.eq(Mux(control.merge_im, late, line[0].merge)),
                     column.divides.eq(control.divides), column.is_logit.eq(control.is_logit)]
