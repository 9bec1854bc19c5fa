"""Unpack: beats of a matrix to the words of the coefficient ring."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..array.parameters import unit_lanes
from ..config import CoreConfig
from ..isa.sparse import PICK_BITS, pick_sets
from ..layouts import ring_write
from ..numeric import streamed_coefficient
from ..primitives.signals import signals
from .gather import memory_beat

__all__ = ["Unpack"]


class Unpack(wiring.Component):
    """Writes sets of S beats as wide words to the ring: beat q of a set has the inputs of output o + q, for column q.

    A set makes 2K/P wide words, the lowest inputs first. Unit k of column q, which is bank q*P/2 + k, gets of wide word
    j the inputs j*P + low (c1) and j*P + high (c0), see ``unit_lanes``. ``write_en``: ``write`` is written, unless
    ``hold`` says that the banks are written by somebody else. Addresses go up by one from 0, modulo ring_words.

    Where matrices may be ``sparse``, a beat of picks stands in front of every ``pick_sets`` sets of a sparse one;
    ``restart``: the next beat is the first of a FETCH, which begins with picks. ``write.picks``: for each lane those of
    the word.

    ``filled`` and ``released`` count wide words modulo 2 * ring_words: those written, from the cycle behind their
    ``write_en`` on, and those that nobody reads any more. Their difference never passes ring_words. ``released`` only
    goes up, never past ``filled``, and may come late. ``clear``: as after reset, with ``released`` 0 in the next cycle;
    a beat that is taken and a word that is written in the cycle of ``clear`` do not count. ``idle``: neither a beat
    of a set nor a word is inside; picks may be.

    Format: elements to coefficients by ``streamed_coefficient``.
    Latency: UNPACK_LATENCY, which is one cycle, from the last beat of a set to its first word; one cycle from a
    ``released`` that makes room to the word that has waited for it.
    Throughput: a wide word per cycle, and a set in S cycles at least.
    Backpressure: ``i`` takes all beats of a set but the last one at once; that waits for the last word of the set
    before, so a gate leads there from ``hold``. ``write`` is always taken but for ``hold``.
    Reset: empty.
    Cost: 2S - 1 registers of a beat, S of which have a multiplexer but for their upper P elements; two comparators;
    where matrices may be sparse a register of a beat and one of its picks behind a multiplexer of pick_sets.
    Source: docs/reference/processor.md, Operands.

    Raises ValueError where the configuration has no ring.
    """

    def __init__(self, config: CoreConfig):
        if not config.ring_words:
            raise ValueError("ring_words: 0; an Unpack needs a ring")
        self._config = config
        counter = config.ring_bits + 1
        sparse = {"sparse": In(1), "restart": In(1)} if config.sparse else {}
        super().__init__({
            "i": In(stream.Signature(memory_beat(config))), "write": Out(ring_write(config)), "write_en": Out(1),
            "hold": In(1), **sparse,
            "released": In(counter), "filled": Out(counter), "clear": In(1), "idle": Out(1)})

    def elaborate(self, platform):
        m = Module()
        layers, step = self._config.layers, self._config.lanes * self._config.element_width
        beat = Value.cast(self.i.payload)
        # The beats of a set but the last wait in registers that follow the input while it is their turn. With the last
        # beat, all move to where words leave.
        waiting = [Signal(len(beat), name=f"beat_{q}", reset_less=True) for q in range(layers - 1)]
        leaving = [Signal(len(beat), name=f"leaving_{q}", reset_less=True) for q in range(layers)]
        place = Signal(layers, init=1, name="place")  # of the next beat in its set, one bit each
        left = Signal(len(beat) // step, name="words_left")  # as many ones as words
        # The inverse of left: wide registers hang on it, and a beat that waits on the other.
        is_last_word, has_no_word = signals("is_last_word has_no_word", init=1)
        is_last_beat, is_blocked, is_moving, stalls = signals("is_last_beat is_blocked is_moving stalls")
        ends_set = self.i.valid & place[-1] & ~stalls  # if the beat is not one of picks
        is_picks = self._picks(m, beat, ends_set, is_last_word, is_moving) if self._config.sparse else Const(0)
        m.d.comb += [is_last_beat.eq(place[-1] & ~is_picks), self.idle.eq(place[0] & ~left[0])]

        for register, is_next in zip(waiting, place):
            with m.If(is_next):
                m.d.sync += register.eq(beat)
        with m.If(self.i.valid & self.i.ready & ~is_picks):
            m.d.sync += place.eq(place.rotate_left(1))
        # The enable of these many registers knows nothing of i.valid: what they take without it is no word.
        with m.If(is_moving):
            next_left = Mux(left[1], left >> 1, (self.i.valid & is_last_beat).replicate(len(left)))
            m.d.sync += [left.eq(next_left), is_last_word.eq(~next_left[1]),
                         has_no_word.eq(~next_left[0])]
            for register, source in zip(leaving, [*waiting, beat]):
                rest = Cat(register[step:], source[-step:])  # what is above the last word does not matter
                m.d.sync += register.eq(Mux(is_last_word, source, rest))

        is_full = self._count(m)
        m.d.comb += [
            is_blocked.eq(is_full | self.hold),
            self.write_en.eq(left[0] & ~is_blocked), is_moving.eq(has_no_word | ~is_blocked),
            stalls.eq(left[1] | (left[0] & is_blocked)), self.i.ready.eq(~(is_last_beat & stalls))]
        self._connect(m, leaving)
        with m.If(self.clear):
            m.d.sync += [place.eq(1), left.eq(0), is_last_word.eq(1), has_no_word.eq(1)]
        return m

    def _picks(self, m, beat, ends_set, is_last_word, is_moving):
        """Keeps a beat of picks and sends those of each set along with its words. Returns whether the present beat is
        one of picks."""
        c = self._config
        width, picks, sets = c.element_width, data.ArrayLayout(PICK_BITS, c.memory_elements), pick_sets(c)
        kept = Signal(len(beat), name="kept_picks", reset_less=True)
        leaving = Signal(picks, name="leaving_picks", reset_less=True)
        number = Signal(range(sets), name="set_number")  # of the next set among those that the beat of picks serves
        # Where the matrix is sparse, the next beat is one of picks; and the inverse, as above.
        is_due = Signal(init=1, name="is_due")
        has_picks, is_picks = signals("has_picks is_picks")
        m.d.comb += [is_picks.eq(self.sparse & ~has_picks), self.write.picks.eq(leaving.as_value())]
        step = PICK_BITS * c.lanes
        own = Signal(picks, name="own_picks")  # those of the next set
        with m.Switch(number):
            for at in range(sets):
                with m.Case(at) if at < sets - 1 else m.Default():
                    m.d.comb += own.eq(Cat(kept.word_select(e, width)[PICK_BITS * at:][:PICK_BITS]
                                           for e in range(c.memory_elements)))
        with m.If(is_moving):
            m.d.sync += leaving.eq(Mux(is_last_word, own.as_value(),
                                       Cat(leaving.as_value()[step:], leaving.as_value()[-step:])))
        stays = Signal(name="stays")
        m.d.comb += stays.eq(Mux(has_picks, ~(ends_set & (number == sets - 1)), self.i.valid & self.sparse)
                             & ~(self.restart | self.clear))
        m.d.sync += [is_due.eq(~stays), has_picks.eq(stays)]
        with m.If(is_due):  # follows the input until there are picks
            m.d.sync += [kept.eq(beat), number.eq(0)]
        with m.Elif(ends_set):
            m.d.sync += number.eq(number + 1)
        return is_picks

    def _count(self, m):
        """Counters and address. Returns the flag of a full ring, which falls a cycle late but rises in time."""
        following = Signal.like(self.filled, init=1, name="following")
        is_full = Signal(name="is_full")
        limit = self.released ^ self._config.ring_words
        # Two comparators, so that write_en comes in behind them.
        m.d.sync += is_full.eq(Mux(self.write_en, following == limit, self.filled == limit))
        with m.If(self.write_en):
            m.d.sync += [self.filled.eq(following), following.eq(following + 1)]
        with m.If(self.clear):
            m.d.sync += [self.filled.eq(0), following.eq(1), is_full.eq(0)]
        m.d.comb += self.write.address.eq(self.filled[:-1])
        return is_full

    def _connect(self, m, leaving):
        """The lowest P elements of each beat to the units of its column."""
        width, units = self._config.element_width, self._config.lanes // 2
        for column, beat in enumerate(leaving):
            for k in range(units):
                word = self.write.words[column * units + k]
                for lane, coefficient in zip(unit_lanes(column, k), (word.c1, word.c0)):
                    element = beat.word_select(lane, width).as_signed()
                    m.d.comb += coefficient.eq(
                        streamed_coefficient(element, width, self._config.coefficient_width))
