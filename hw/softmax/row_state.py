"""Row state: the running maximum of the logits of every row, and the total of its probabilities."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..numeric import LEAST_LOGIT, TOTAL_GUARD_BITS
from ..primitives.pipeline import delay
from ..primitives.ram import Ram, RamParameters
from .parameters import MAXIMUM_BITS, STATE_LATENCY, share_bits, total_bits

__all__ = ["RowState", "row_total"]


def row_total(config: CoreConfig) -> data.StructLayout:
    """``maximum``: whole bits; ``total``: relative to it, W + 1 fraction bits."""
    return data.StructLayout({"maximum": signed(MAXIMUM_BITS), "total": unsigned(total_bits(config))})


class RowState(wiring.Component):
    """Adds the probabilities of one group of keys after the other to the total of their row.

    ``valid``: the group of ``row`` has ``share``, the sum of its probabilities, relative to ``exponent``. With
    ``fresh`` it is the first of its row; without ``update`` the row is only read. ``old``: what the table had of it;
    ``o``, behind an update: what it has now. A row is updated again, or read, state_cycles after an update or later.

    Format: ``hw/numeric.py``, softmax; the total of MAC_TERMS probabilities has room.
    Latency: ``old`` 2 cycles from ``valid``, ``o`` STATE_LATENCY.
    Throughput: a row per cycle.
    Backpressure: none.
    Reset: updates inside are forgotten; the table is kept.
    Cost: a RAM of ``rows`` totals, a shifter and an adder of total_bits.
    Source: hw/numeric.py, softmax; Milakov, Gimelshein: Online normalizer calculation (arXiv 1805.02867).
    """

    def __init__(self, config: CoreConfig, rows: int):
        self._config, self._rows = config, rows
        self._ram = RamParameters(row_total(config).size, rows, config.target, config.pipeline)
        super().__init__({
            "valid": In(1), "update": In(1), "fresh": In(1), "row": In(self._ram.address_bits),
            "share": In(share_bits(config)), "exponent": In(signed(MAXIMUM_BITS)),
            "old": Out(row_total(config)), "o": Out(row_total(config)), "o_valid": Out(1)})

    def elaborate(self, platform):
        m = Module()
        c = self._config
        m.submodules.table = table = Ram(self._ram)
        read = c.ram_latency
        m.d.comb += [table.r_en.eq(1), table.r_addr.eq(self.row), self.old.eq(table.r_data)]
        share, exponent, fresh = (delay(m, value, read, f"late_{name}") for name, value in (
            ("share", self.share), ("exponent", self.exponent), ("fresh", self.fresh)))
        kept = Signal(row_total(c), name="kept")
        with m.If(fresh):
            m.d.comb += [kept.maximum.eq(LEAST_LOGIT), kept.total.eq(0)]
        with m.Else():
            m.d.comb += kept.eq(self.old)

        # The maximum moves, or the share does; never both.
        difference = Signal(signed(MAXIMUM_BITS + 1), name="difference", reset_less=True)
        own, added = (Signal(total_bits(c), name=name, reset_less=True) for name in ("old_total", "added"))
        m.d.sync += [difference.eq(exponent - kept.maximum), own.eq(kept.total), added.eq(share << TOTAL_GUARD_BITS)]
        maximum = delay(m, kept.maximum, 1, "old_maximum")
        newest = delay(m, exponent, 1, "group_exponent")
        is_larger = ~difference[-1]
        stays, moves = (Signal(total_bits(c), name=name, reset_less=True) for name in ("stays", "moves"))
        distance = Signal(MAXIMUM_BITS, name="distance", reset_less=True)
        new_maximum = Signal(signed(MAXIMUM_BITS), name="new_maximum", reset_less=True)
        m.d.sync += [
            moves.eq(Mux(is_larger, own, added)), stays.eq(Mux(is_larger, added, own)),
            distance.eq(Mux(is_larger, difference, -difference)), new_maximum.eq(Mux(is_larger, newest, maximum))]

        total = self._sum(m, stays, moves, distance)
        latency = STATE_LATENCY - read - 2
        valid = delay(m, self.valid & self.update, STATE_LATENCY, "valid", reset_less=False)
        m.d.comb += [
            self.o.total.eq(total), self.o.maximum.eq(delay(m, new_maximum, latency, "late_maximum")),
            self.o_valid.eq(valid), table.w_en.eq(valid), table.w_data.eq(self.o),
            table.w_addr.eq(delay(m, self.row, STATE_LATENCY, "late_row"))]
        return m

    def _sum(self, m, stays, moves, distance):
        """``stays`` and what is left of ``moves``, half up, four cycles later; the last one is a register of its own,
        for the table stands far away."""
        bits = total_bits(self._config)
        is_far = Signal(name="is_far", reset_less=True)
        coarse = Signal(bits + 1, name="coarse", reset_less=True)
        fine = Signal(bits + 1, name="fine", reset_less=True)
        total = Signal(bits, name="total", reset_less=True)
        m.d.sync += [
            coarse.eq(Cat(Const(0, 1), moves) >> (distance[3:6] << 3)), is_far.eq(distance[6:].any()),
            fine.eq(coarse >> delay(m, distance[:3], 1, "low_distance"))]
        far = delay(m, is_far, 1, "was_far")
        rounded = Mux(far, 0, (fine + 1) >> 1)
        m.d.sync += total.eq(delay(m, stays, 2, "late_stays") + rounded)
        return delay(m, total, 1, "new_total")
