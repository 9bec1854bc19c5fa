"""Exponential: logits of P keys of a row to probabilities relative to the largest of them."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..numeric import (CHORD_BITS, EXPONENT_SEGMENT_BITS, LEAST_LOGIT, LOGIT_BITS, LOGIT_FRACTION_BITS,
                       POWER_BITS, round_half_up, segment_table)
from ..primitives.multiplier import Multiplier, MultiplierParameters
from ..primitives.pipeline import delay
from .parameters import MAXIMUM_BITS, exponential_latency

__all__ = ["Exponential"]

_REST_BITS = LOGIT_FRACTION_BITS - EXPONENT_SEGMENT_BITS


class Exponential(wiring.Component):
    """Takes the P logits of a row in P consecutive cycles, and gives their probabilities as close together.

    ``valid``: there is a logit; ``first``, never without it: it is the first of its row. A logit that is not
    ``allowed`` gets 0. ``o_comes``: ``o_valid`` a cycle ahead. ``o_first``: ``p`` is the first of its row; ``exponent``
    belongs to the row of ``p``: the whole part of the largest allowed logit, LEAST_LOGIT where none is.

    Format: logits of LOGIT_BITS; p = 2^(s - exponent - 1) unsigned with W - 1 fraction bits, ``hw/numeric.py``.
    Latency: exponential_latency cycles from a logit to its probability.
    Throughput: a logit per cycle; rows may follow each other at once.
    Backpressure: none.
    Reset: rows inside are forgotten. Data has no reset.
    Cost: a multiplier, P + 1 registers of a logit, a shifter of W bits, tables of 16 * 32 bits in logic.
    Source: hw/numeric.py, softmax; docs/decisions/0030-softmax-in-the-array.md.
    """

    def __init__(self, config: CoreConfig):
        self._config = config
        super().__init__({
            "valid": In(1), "first": In(1), "allowed": In(1), "logit": In(signed(LOGIT_BITS)),
            "o_comes": Out(1), "o_valid": Out(1), "o_first": Out(1), "p": Out(unsigned(config.width - 1)),
            "exponent": Out(signed(MAXIMUM_BITS))})

    def elaborate(self, platform):
        m = Module()
        c = self._config
        exponent, logit, allowed = self._exponent(m)
        whole, fraction = logit[LOGIT_FRACTION_BITS:], logit[:LOGIT_FRACTION_BITS]

        distance = Signal(MAXIMUM_BITS, name="distance", reset_less=True)  # of a masked logit it means nothing
        inside = Signal(LOGIT_FRACTION_BITS, name="fraction", reset_less=True)
        counts = Signal(name="counts", reset_less=True)
        m.d.sync += [distance.eq(exponent - whole.as_signed()), inside.eq(fraction), counts.eq(allowed)]

        # Half up by W or more leaves nothing of a mantissa.
        shift = Signal(5, name="shift", reset_less=True)
        is_seen = Signal(name="is_seen", reset_less=True)
        m.d.sync += [shift.eq(distance + (POWER_BITS + 1 - c.width)), is_seen.eq(counts & (distance < c.width))]
        mantissa = self._mantissa(m, inside)
        behind = c.multiplier_latency + 1
        p = self._shifted(m, mantissa, delay(m, shift, behind, "mantissa_shift"))
        with m.If(~delay(m, is_seen, behind + 2, "seen")):
            m.d.sync += p.eq(0)

        latency = exponential_latency(c)
        assert latency == c.lanes + 1 + 2 + c.multiplier_latency + 1 + 3
        m.d.comb += [
            self.p.eq(p), self.o_valid.eq(delay(m, self.o_comes, 1, "valid", reset_less=False)),
            self.o_comes.eq(delay(m, self.valid, latency - 1, "comes", reset_less=False)),
            self.o_first.eq(delay(m, self.first & self.valid, latency, "first", reset_less=False)),
            self.exponent.eq(delay(m, exponent, latency - c.lanes - 1, "exponent"))]
        return m

    def _exponent(self, m):
        """The exponent of a row, and its logits and which of them count, which come while it stands."""
        lanes = self._config.lanes
        candidate, top, exponent = (Signal(signed(MAXIMUM_BITS), name=name, reset_less=name != "candidate")
                                    for name in ("candidate", "top", "row_exponent"))
        m.d.comb += candidate.eq(Mux(self.allowed, self.logit[LOGIT_FRACTION_BITS:].as_signed(), LEAST_LOGIT))
        with m.If(self.first | (candidate > top)):
            m.d.sync += top.eq(candidate)
        late = delay(m, self.logit, lanes + 1, "late_logit")
        with m.If(delay(m, self.first & self.valid, lanes, "row_ends", reset_less=False)):
            m.d.sync += exponent.eq(top)
        return exponent, late, delay(m, self.allowed, lanes + 1, "late_allowed")

    def _mantissa(self, m, fraction):
        """2^fraction on its chord, multiplier_latency + 2 cycles later."""
        c = self._config
        segment, rest = fraction[_REST_BITS:], fraction[:_REST_BITS]
        m.submodules.multiplier = multiplier = Multiplier(MultiplierParameters(
            CHORD_BITS + 1, _REST_BITS + 1, c.target, c.pipeline))
        table = segment_table()
        base, slope, inside = (Signal(bits, name=name, reset_less=True) for name, bits in (
            ("base", POWER_BITS), ("slope", CHORD_BITS), ("rest", _REST_BITS)))
        m.d.sync += [base.eq(Array(Const(begin, POWER_BITS) for begin, _ in table)[segment]),
                     slope.eq(Array(Const(rise, CHORD_BITS) for _, rise in table)[segment]), inside.eq(rest)]
        m.d.comb += [multiplier.a.eq(slope), multiplier.b.eq(inside)]
        mantissa = Signal(POWER_BITS, name="mantissa", reset_less=True)
        m.d.sync += mantissa.eq(delay(m, base, c.multiplier_latency, "late_base") + (multiplier.o >> _REST_BITS))
        return mantissa

    def _shifted(self, m, mantissa, shift):
        """The mantissa shifted right by ``shift``, half up, three cycles later."""
        width = self._config.width
        coarse = Signal(POWER_BITS + 1, name="coarse", reset_less=True)
        fine = Signal(width, name="fine", reset_less=True)
        p = Signal(width - 1, name="p_rounded", reset_less=True)
        low = Signal(3, name="low_shift", reset_less=True)
        rounded = (fine + 1)[1:width + 1]
        m.d.sync += [coarse.eq(Cat(Const(0, 1), mantissa) >> (shift[3:] << 3)), low.eq(shift[:3]),
                     fine.eq(coarse >> low), p.eq(rounded)]
        # The largest mantissa rounds up to one where a word has few bits.
        last = (1 << _REST_BITS) - 1
        most = max(begin + (rise * last >> _REST_BITS) for begin, rise in segment_table())
        if round_half_up(most, POWER_BITS + 1 - width) >> width - 1:
            with m.If(rounded[-1]):
                m.d.sync += p.eq(-1)
        return p
