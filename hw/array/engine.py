"""Engine: P = 2^S banks and S columns of P/2 butterfly units."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..layouts import lanes
from ..primitives.pipeline import delay
from ..numeric import LOGIT_BITS
from ..primitives.shared import once
from ..softmax.chain import ValueChain
from ..softmax.layouts import chain_control, row_control, row_info
from ..softmax.parameters import MAXIMUM_BITS
from ..softmax.row_memory import RowMemory
from .butterfly import ButterflyParameters, ButterflyUnit
from .layouts import engine_control, half_control, unit_coefficient
from .mac_column import MacColumn, MacColumnParameters
from .parameters import align_stages, sum_cycle, unit_lanes
from .row_buffer import RowBuffer
from .shuffle import LaneShuffle

__all__ = ["Engine"]


class Engine(wiring.Component):
    """Reads P words per cycle, sends them through S butterfly layers and writes them back in place.

    It holds the data path only: addresses, control and coefficients come from the array and are the same in all
    engines. ``magnitude`` is the OR of the leading magnitude bits of the results, one cycle after they leave the last
    column. ``saturated[q]`` belongs to the results of column q, in the cycle in which they leave it. With a ring
    MacColumns round the products of a MAC; its words are captured and written as those of a pass. ``mac_saturated``
    belongs to a captured value, one cycle later. For a softmax values leave at ``front`` and what a finisher makes of
    them comes in at ``behind_*``, both from and to the engine next to it (``hw/softmax/chain.py``).

    Format: words of W + W bits; see ``hw/numeric.py`` for the rounding of a layer.
    Latency: pipeline_latency from row address to write port.
    Throughput: P words, S layers per cycle.
    Backpressure: none on the columns; ``store_en`` low holds ``store``.
    Reset: no write is in flight afterwards.
    Cost: 4 * S * P/2 multipliers, 2 * P RAMs, two LaneShuffles.
    Source: docs/design.md section 4.
    """

    def __init__(self, config: CoreConfig):
        self._config = c = config
        super().__init__({
            "halves": In(data.ArrayLayout(half_control(c), 2)),
            "control": In(engine_control(c)),
            "coefs": In(data.ArrayLayout(unit_coefficient(c.coefficient_width, bool(c.ring_words)), c.n_units)),
            "load_en": In(1), "load": In(lanes(c.width, c.lanes)),
            "store_half": In(1), "store_en": In(1), "store": Out(lanes(c.width, c.lanes)),
            "magnitude": Out(c.magnitude_bits), "saturated": Out(c.layers),
            **({"mac_saturated": Out(1)} if c.ring_words else {}),
            **(softmax_ports(c) if c.softmax_pairs else {}),
        })

    @once("_config")
    def elaborate(self, platform):
        m = Module()
        c = self._config
        m.submodules.buffer = buffer = RowBuffer(c)
        m.submodules.pre = pre = LaneShuffle(c.width, c.layers)
        m.submodules.post = post = LaneShuffle(c.width, c.layers)
        m.d.comb += [
            buffer.halves.eq(self.halves), buffer.load.eq(self.load), buffer.load_en.eq(self.load_en),
            buffer.store_half.eq(self.store_half), buffer.store_en.eq(self.store_en), self.store.eq(buffer.store),
            buffer.compute_half.eq(self.control.half),
            pre.i.eq(buffer.compute), pre.switches.eq(self.control.pre)]

        words, self._values = pre.o, []
        if c.softmax_pairs:
            self._softmax(m)
        for q in range(c.layers):
            words = self._column(m, q, words)
        self._magnitude(m, words)
        if c.ring_words:
            words = self._results(m, words)

        m.d.comb += [
            post.i.eq(words), post.switches.eq(self.control.post), buffer.result.eq(post.o)]
        assert c.pipeline_latency == c.ram_latency + 1 + c.layers + c.layers * c.butterfly_latency + c.layers + 1
        return m

    def _column(self, m, q, words):
        """Column q pairs the lanes that differ in bit q."""
        c = self._config
        results = Signal(words.shape(), name=f"column{q}")
        flags, units = [], []
        for k in range(c.lanes // 2):
            low, high = unit_lanes(q, k)
            unit = ButterflyUnit(ButterflyParameters.of(c))
            m.submodules[f"unit{q}_{k}"] = unit
            units.append(unit)
            m.d.comb += [
                unit.a.eq(words[low]), unit.b.eq(words[high]), unit.coef.eq(self.coefs[q * c.lanes // 2 + k]),
                unit.shift.eq(self.control.shifts[q]), results[low].eq(unit.y1), results[high].eq(unit.y2)]
            flags.append(unit.saturated)
        m.d.comb += self.saturated[q].eq(Cat(flags).any())
        if c.ring_words:
            self._add_mac_column(m, q, [unit.dots for unit in units])
        return results

    def _add_mac_column(self, m, q, dots):
        """Values of the outputs of a column and whether they were clamped, in step with those of the last column."""
        c, control = self._config, self.control.mac.columns[q]
        m.submodules[f"mac{q}"] = column = MacColumn(MacColumnParameters.of(c))
        m.d.comb += [*(given.eq(taken) for given, taken in zip(column.dots, dots)), column.valid.eq(control.valid),
                     column.first.eq(control.first), column.last.eq(control.last), column.shift.eq(control.shift)]
        if c.partial_words:
            m.d.comb += column.partial.eq(control.partial)
        if c.softmax_pairs:
            m.d.comb += column.softmax.eq(self._rows.columns[q])
        skew = (c.layers - 1 - q) * c.butterfly_latency
        flag = column.saturated & column.o_valid
        self._values.append((delay(m, column.o, skew, f"value{q}"),
                             delay(m, flag, skew, f"clamped{q}", reset_less=False)))

    def _results(self, m, words):
        """What goes to the banks: the words that leave the last column, or P results of a MAC."""
        c, control = self._config, self.control.mac
        bits = LOGIT_BITS if c.softmax_pairs else c.width
        results = Signal(lanes(bits, c.lanes), name="mac_results", reset_less=True)
        for q, (value, _) in enumerate(self._values):
            for step in range(c.lanes // c.layers):
                with m.If(control.capture_re[step]):
                    m.d.sync += results[step * c.layers + q].re.eq(value)
                with m.If(control.capture_im[step]):
                    m.d.sync += results[step * c.layers + q].im.eq(value)
        saturated = Cat(flag for _, flag in self._values).any()
        m.d.sync += self.mac_saturated.eq(saturated & ~control.keeps if c.partial_words else saturated)
        chosen = Signal(words.shape(), name="chosen")
        if not c.softmax_pairs:
            m.d.comb += chosen.eq(Mux(control.result, results, words))
            return chosen
        # A word is the sign and the lowest bits of a value; a finisher takes all of them.
        values = [result[part] for part in ("re", "im") for result in results]
        m.d.comb += [given.eq(value) for given, value in zip(self._chain.values, values)]
        for word, passed, result, finished in zip(chosen, words, results, self._chain.words):
            for part in ("re", "im"):
                own = Cat(result[part][:c.width - 1], result[part][-1])
                m.d.comb += word[part].eq(Mux(control.finished, finished[part], Mux(control.result, own,
                                                                                     passed[part])))
        return chosen

    def _softmax(self, m):
        """Registers in the chain to the finisher, and what is known of the rows."""
        m.submodules.chain = self._chain = chain = ValueChain(self._config)
        m.submodules.rows = self._rows = rows = RowMemory(self._config, [
            sum_cycle(self._config, q) - align_stages(self._config) - self._config.address_latency + 1
            for q in range(self._config.layers)])
        m.d.comb += [
            rows.control.eq(self.rows), rows.exponents.eq(chain.exponents), rows.infos.eq(chain.infos),
            chain.control.eq(self.chain)]
        for name in ("", "_word", "_exponent", "_info"):
            m.d.comb += [getattr(chain, f"i{name}").eq(getattr(self, f"behind{name}")),
                         getattr(self, f"front{name}").eq(getattr(chain, f"o{name}"))]

    def _magnitude(self, m, words):
        bits, width = self._config.magnitude_bits, self._config.width
        values = [words[lane][part] for lane in range(self._config.lanes) for part in ("re", "im")]
        m.d.sync += self.magnitude.eq(reduce(or_, (leading_magnitude(v, bits, width) for v in values)))


def softmax_ports(config: CoreConfig) -> dict[str, wiring.Member]:
    """Control of chain and row memory, and both ends of the chain."""
    ports = {"chain": In(chain_control()), "rows": In(row_control(config))}
    for name, shape in (("", signed(LOGIT_BITS)), ("_word", signed(config.width)),
                        ("_exponent", signed(MAXIMUM_BITS)), ("_info", row_info(config))):
        ports |= {f"behind{name}": In(shape), f"front{name}": Out(shape)}
    return ports


def leading_magnitude(value, bits: int, width: int):
    """The upper ``bits`` magnitude bits of a ``width``-bit value, sign removed by one's complement."""
    return value[width - 1 - bits:width - 1] ^ value[width - 1].replicate(bits)
