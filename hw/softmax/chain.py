"""Chain: the values of an engine on their way to a finisher, one after the other, and what it makes of them."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..layouts import lanes
from ..numeric import LOGIT_BITS
from .layouts import chain_control, row_info
from .parameters import MAXIMUM_BITS

__all__ = ["ValueChain"]


class ValueChain(wiring.Component):
    """Registers of an engine in the chain of those that share a finisher; the finisher stands in front of the first.

    ``load`` takes ``values``; with every ``shift`` value after value leaves at ``o``, the P of re and then those of im,
    while those of the engine behind come in at ``i``. Words, exponents and infos come back at ``i_*`` from the engine
    behind, or for the last one from the finisher, in the same order: when those of all engines have been moved on,
    ``words``, ``exponents`` and ``infos`` are those of this one, re first.

    Format: bits; values of LOGIT_BITS, words of W bits.
    Latency: values 1 cycle from ``load``.
    Throughput: one of each per cycle.
    Backpressure: without its control nothing moves.
    Reset: none, the registers hold data only.
    Cost: 2P registers of LOGIT_BITS with a multiplexer, 2P of W bits, 2 exponents, 2 infos.
    Source: docs/decisions/0030-softmax-in-the-array.md.
    """

    def __init__(self, config: CoreConfig):
        self._config = c = config
        info = row_info(c)
        super().__init__({
            "control": In(chain_control()), "values": In(data.ArrayLayout(signed(LOGIT_BITS), 2 * c.lanes)),
            "i": In(signed(LOGIT_BITS)), "o": Out(signed(LOGIT_BITS)),
            "i_word": In(signed(c.width)), "o_word": Out(signed(c.width)),
            "i_exponent": In(signed(MAXIMUM_BITS)), "o_exponent": Out(signed(MAXIMUM_BITS)),
            "i_info": In(info), "o_info": Out(info),
            "words": Out(lanes(c.width, c.lanes)), "exponents": Out(data.ArrayLayout(signed(MAXIMUM_BITS), 2)),
            "infos": Out(data.ArrayLayout(info, 2))})

    def elaborate(self, platform):
        m = Module()
        c, control = self._config, self.control
        count = 2 * c.lanes
        values = [Signal(signed(LOGIT_BITS), name=f"value{n}", reset_less=True) for n in range(count)]
        with m.If(control.load):
            m.d.sync += [value.eq(given) for value, given in zip(values, self.values)]
        with m.Elif(control.shift):
            m.d.sync += [value.eq(behind) for value, behind in zip(values, [*values[1:], self.i])]
        m.d.comb += self.o.eq(values[0])

        words = self._back(m, "word", signed(c.width), count, control.words, self.i_word)
        m.d.comb += [self.o_word.eq(words[0]), *(self.words[lane].re.eq(words[lane]) for lane in range(c.lanes)),
                     *(self.words[lane].im.eq(words[c.lanes + lane]) for lane in range(c.lanes))]
        exponents = self._back(m, "exponent", signed(MAXIMUM_BITS), 2, control.exponents, self.i_exponent)
        infos = self._back(m, "info", row_info(c), 2, control.infos, self.i_info)
        m.d.comb += [self.o_exponent.eq(exponents[0]), self.o_info.eq(infos[0]),
                     *(self.exponents[part].eq(exponents[part]) for part in range(2)),
                     *(self.infos[part].eq(infos[part]) for part in range(2))]
        return m

    def _back(self, m, name, shape, count, moves, given):
        """Registers of what comes back, the newest last."""
        kept = [Signal(shape, name=f"{name}{n}", reset_less=True) for n in range(count)]
        with m.If(moves):
            m.d.sync += [each.eq(behind) for each, behind in zip(kept, [*kept[1:], given])]
        return kept
