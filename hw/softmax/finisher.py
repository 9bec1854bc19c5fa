"""Finisher: probabilities of the logits of a group of engines, and the division of their sums."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.encoding import FIELDS
from ..isa.instruction import Opcode
from ..layouts import instruction
from ..numeric import LATE_SHIFTS, LOGIT_BITS, LOGIT_FRACTION_BITS, RECIPROCAL_BITS, SLOPE_FRACTION_BITS
from ..primitives.multiplier import Multiplier, MultiplierParameters
from ..primitives.pipeline import delay
from ..primitives.saturate import clamp
from ..primitives.signals import signals
from .layouts import row_info
from .exponential import Exponential
from .key_mask import KeyMask
from .parameters import (DISTANCE_BITS, MAXIMUM_BITS, LOGIT_LATENCY, MASK_LATENCY, QUOTIENT_LATENCY, share_bits)
from .reciprocal import Reciprocal, highest_bit
from .row_state import RowState

__all__ = ["Finisher"]


class Finisher(wiring.Component):
    """Serves the engines from number ``first`` on, whose Chains follow one another.

    A MAC begins with ``load``; ``fields``, ``mask``, ``divides`` and ``length`` stay until it has ended. ``begin``: the
    values of all engines enter their chains in this cycle. ``ahead`` comes row_lead cycles before, where they are sums
    to be divided. What comes back goes into the chain of the last engine: ``word``, ``exponent`` and ``info`` with the
    bits of that name in ``control``. ``saturated``: a word or a logit was clamped. ``words_end``, ``infos_end``: the
    last of all engines moves in this cycle.

    Format: ``hw/numeric.py``, softmax. Sums have been shifted right by highest - ``shift``, or not at all where that
    is negative; of ``value`` the sign and the lowest W - 1 bits are theirs.
    Latency: words_latency and infos_latency of ``hw/softmax/parameters.py`` from ``begin`` to ``words_end``,
    ``infos_end``.
    Throughput: a value per cycle; ``begin`` comes 2P cycles for each engine apart or more.
    Backpressure: none.
    Reset: what is inside is forgotten; ``load`` begins.
    Cost: three multipliers, an Exponential, a RowState, a Reciprocal, a KeyMask.
    Source: docs/decisions/0030-softmax-in-the-array.md.
    """

    def __init__(self, config: CoreConfig, first: int = 0):
        self._config, self._first = config, first
        self._engines = config.engines // config.finishers
        mac = dict(FIELDS[Opcode.MAC])
        super().__init__({
            "load": In(1), "divides": In(1), "fresh": In(1), "last_pair": In(mac["last_pair"]),
            "shift": In(mac["shift"]), "mask": In(instruction(Opcode.MASK)), "length": In(16),
            "begin": In(1), "ahead": In(1), "value": In(signed(LOGIT_BITS)), "shifts": Out(1),
            "word": Out(signed(config.width)), "word_moves": Out(1), "words_end": Out(1),
            "exponent": Out(signed(MAXIMUM_BITS)), "exponent_moves": Out(1),
            "info": Out(row_info(config)), "info_moves": Out(1), "infos_end": Out(1), "saturated": Out(1)})

    def elaborate(self, platform):
        m = Module()
        c = self._config
        rows = 2 * self._engines
        moving, lane = self._run(m, self.begin, "values")
        is_first = Signal(name="is_first")
        m.d.comb += [self.shifts.eq(moving), is_first.eq(moving & (lane == 0))]
        m.submodules.state = state = RowState(c, c.softmax_pairs << (rows - 1).bit_length())
        reciprocal, deficit, is_empty = self._reciprocals(m, state)
        logit, allowed, product = self._products(m, moving, reciprocal)
        quotient, has_clamped = self._quotient(m, product, deficit, is_empty)
        p, p_comes, has_limit = self._probabilities(m, moving, is_first, logit, allowed, state)
        division_comes = delay(m, moving & self.divides, QUOTIENT_LATENCY - 1, "division_comes", reset_less=False)
        divided = delay(m, division_comes, 1, "divided", reset_less=False)
        m.d.comb += [self.word.eq(Mux(self.divides, quotient, p)),
                     self.saturated.eq((divided & has_clamped) | has_limit)]
        self._words(m, p_comes | division_comes)
        return m

    def _words(self, m, comes):
        """``comes``: a word moves in the next cycle. Both signals go far, so they are registers."""
        last = 2 * self._engines * self._config.lanes - 1
        words_left = Signal(range(last + 1), name="words_left", init=last)
        word_moves, words_end = signals("word_moves words_end")
        m.d.sync += [word_moves.eq(comes), words_end.eq(comes & (words_left == 0))]
        with m.If(comes):
            m.d.sync += words_left.eq(Mux(words_left == 0, last, words_left - 1))
        with m.If(self.load):
            m.d.sync += words_left.eq(last)
        m.d.comb += [self.word_moves.eq(word_moves), self.words_end.eq(words_end)]

    def _run(self, m, begin, name):
        """High for the values of all engines behind ``begin``, and which of its row each is."""
        values = 2 * self._engines * self._config.lanes
        running = Signal(name=f"{name}_run")
        left = Signal(range(values), name=f"{name}_left")
        lane = Signal(range(self._config.lanes), name=f"{name}_lane")
        m.d.sync += lane.eq(lane + running)
        with m.If(begin):
            m.d.sync += [running.eq(1), left.eq(values - 1), lane.eq(0)]
        with m.Elif(running):
            m.d.sync += [left.eq(left - 1), running.eq(left != 0)]
        return running, lane

    def _count(self, m, step, name):
        """Row of all engines and row pair of what comes with each ``step``, whether it is of the first P outputs, and
        whether it is the last row of all engines."""
        rows = 2 * self._engines
        row = Signal(range(rows), name=f"{name}_row")
        pair = Signal.like(self.last_pair, name=f"{name}_pair")
        is_early = Signal(name=f"{name}_is_early")
        is_last, wraps = Signal(name=f"{name}_is_last"), Signal(name=f"{name}_wraps")
        m.d.comb += [is_last.eq(row == rows - 1), wraps.eq(is_last & (pair == self.last_pair))]
        with m.If(step):
            m.d.sync += row.eq(Mux(is_last, 0, row + 1))
            with m.If(is_last):
                m.d.sync += pair.eq(Mux(wraps, 0, pair + 1))
            with m.If(wraps):
                m.d.sync += is_early.eq(0)
        with m.If(self.load):
            m.d.sync += [row.eq(0), pair.eq(0), is_early.eq(1)]
        return row, pair, is_early, is_last

    def _reciprocals(self, m, state):
        """Of the total of the row whose values are multiplied: its reciprocal, by how much its sums were shifted too
        far, and whether it is 0. They stand for the P values of the row."""
        c = self._config
        running, lane = self._run(m, self.ahead, "totals")
        row, pair, _, _ = self._count(m, running & (lane == c.lanes - 1) & self.divides, "total")
        self._read_row = Cat(row, pair)[:len(state.row)]
        m.submodules.reciprocal = reciprocal = Reciprocal(c)
        m.d.comb += reciprocal.total.eq(state.old.total)
        behind = reciprocal.highest - self.shift
        deficit = Signal(range(LATE_SHIFTS + 1), name="deficit")
        m.d.comb += deficit.eq(Mux(behind < 0, (-behind)[:4], 0))
        return reciprocal.reciprocal, delay(m, deficit, 3, "late_deficit"), delay(
            m, reciprocal.is_empty, QUOTIENT_LATENCY - 1, "late_empty")

    def _products(self, m, moving, reciprocal):
        """A multiplier for both kinds of MACs. Returns logits with what is added for their distance and which of them
        count, LOGIT_LATENCY cycles behind the values, and the products of sums, 4 cycles behind them."""
        c = self._config
        m.submodules.mask = mask = KeyMask(c, 2 * self._engines, 2 * self._first)
        are_logits = delay(m, ~self.divides, 1, "are_logits")  # not shared with the multiplexers
        m.d.comb += [mask.mask.eq(self.mask), mask.last_pair.eq(self.last_pair), mask.length.eq(self.length),
                     mask.load.eq(self.load), mask.step.eq(moving & are_logits)]
        m.submodules.multiplier = multiplier = Multiplier(MultiplierParameters(
            DISTANCE_BITS, RECIPROCAL_BITS + 1, c.target, c.pipeline))
        value = delay(m, self.value, 1, "late_value")
        word = Cat(value[:c.width - 1], value[-1]).as_signed()
        m.d.comb += [multiplier.a.eq(Mux(self.divides, word, mask.distance)),
                     multiplier.b.eq(Mux(self.divides, reciprocal, self.mask.slope))]
        added = multiplier.o >> SLOPE_FRACTION_BITS - LOGIT_FRACTION_BITS
        total = Signal(signed(LOGIT_BITS + 12), name="logit_sum", reset_less=True)
        m.d.sync += total.eq(delay(m, value, c.multiplier_latency, "old_value") + added)
        logit, _ = clamp(m, total, LOGIT_BITS, "logit")
        assert LOGIT_LATENCY == 1 + c.multiplier_latency + 1 + 2
        return logit, delay(m, mask.allowed, LOGIT_LATENCY - MASK_LATENCY, "late_allowed"), multiplier.o

    def _quotient(self, m, product, deficit, is_empty):
        """The word of a product, and whether it was clamped, QUOTIENT_LATENCY cycles behind the value."""
        width = self._config.width
        bits = len(product) + LATE_SHIFTS
        shifted = Signal(signed(bits), name="shifted_product", reset_less=True)
        rounded = Signal(signed(bits - RECIPROCAL_BITS + 2), name="rounded_product", reset_less=True)
        m.d.sync += [shifted.eq(product << deficit),
                     rounded.eq(((shifted >> RECIPROCAL_BITS - 2) + 1) >> 1)]
        word, flag = clamp(m, rounded, width, "quotient")
        result = Signal(signed(width), name="divided_word")
        m.d.comb += result.eq(Mux(is_empty, 0, word))
        assert QUOTIENT_LATENCY == 1 + self._config.multiplier_latency + 2 + 2
        return result, flag & ~is_empty

    def _probabilities(self, m, moving, is_first, logit, allowed, state):
        """Probabilities, and a cycle ahead when they move; whether a logit that counts is one of the ends of its range.
        Their sums go to the row state, and what that says back to the engines."""
        c = self._config
        m.submodules.exponential = exponential = Exponential(c)
        valid = delay(m, moving & ~self.divides, LOGIT_LATENCY, "logit_valid", reset_less=False)
        is_limit = (logit == (1 << LOGIT_BITS - 1) - 1) | (logit == -(1 << LOGIT_BITS - 1))
        m.d.comb += [
            exponential.valid.eq(valid), exponential.logit.eq(logit), exponential.allowed.eq(allowed),
            exponential.first.eq(delay(m, is_first & ~self.divides, LOGIT_LATENCY, "logit_first", reset_less=False)),
            self.exponent.eq(exponential.exponent),
            self.exponent_moves.eq(exponential.o_first & exponential.o_valid)]
        share = Signal(share_bits(c), name="share", reset_less=True)
        lane = Signal(range(c.lanes), name="share_lane")
        is_share = Signal(name="is_share")
        with m.If(exponential.o_valid):
            m.d.sync += [share.eq(Mux(exponential.o_first, 0, share) + exponential.p),
                         lane.eq(Mux(exponential.o_first, 1, lane + 1))]
        last = exponential.o_valid & (Const(c.lanes == 1) | (~exponential.o_first & (lane == c.lanes - 1)))
        m.d.sync += is_share.eq(last)
        exponent = delay(m, exponential.exponent, 1, "share_exponent")
        row, pair, is_early, _ = self._count(m, is_share, "share")
        m.d.comb += [
            state.valid.eq(is_share), state.update.eq(1), state.share.eq(share), state.exponent.eq(exponent),
            state.fresh.eq(is_early & self.fresh),
            state.row.eq(Mux(self.divides, self._read_row, Cat(row, pair)[:len(state.row)]))]
        self._infos(m, state)
        return exponential.p, exponential.o_comes, valid & allowed & is_limit

    def _infos(self, m, state):
        """What the engines keep of every row, a cycle behind the row state."""
        highest, _ = highest_bit(state.o.total)
        moves = delay(m, state.o_valid, 1, "info_moves", reset_less=False)
        _, _, _, is_last = self._count(m, moves, "info")
        m.d.sync += [self.info.maximum.eq(state.o.maximum), self.info.highest.eq(highest)]
        m.d.comb += [self.info_moves.eq(moves), self.infos_end.eq(moves & is_last)]
