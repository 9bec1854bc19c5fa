"""Normalise unit: sums of rows, and rows of a LayerNorm, on the way from memory to the array.

Contract: docs/reference/vector.md; the formulas: hw/vector/statistics.py; the parameter sets: hw/isa/parameter_set.py.
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Const, Module, Mux, ShapeLike, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.parameter_set import READ_SET, ROW_ADDRESS_BITS, SET_BITS, SET_WORDS, SETS
from ..layouts import table_write
from ..memory.gather import memory_beat
from ..primitives.memory import read_port, write_port
from ..primitives.multiplier import Multiplier, MultiplierParameters
from ..primitives.pipeline import delay
from ..primitives.ram import Ram, RamParameters
from ..primitives.shared import once
from ..primitives.signals import signals
from ..primitives.stream import SkidBuffer
from .parameters import FRACTION, SHIFT_BITS, NormaliseTiming
from .statistics import NormaliseParameters, StatisticsUnit, RowSums, row_entry

__all__ = ["Normalise", "NormaliseLane", "normalise_beat"]

_FINE = 3              # bits of p that the second stage of a shift takes
_WORD_BITS = (SET_WORDS - 1).bit_length()


def normalise_beat(config: CoreConfig, sideband: ShapeLike) -> data.StructLayout:
    """A beat of a row. ``sums``: it goes into the sums of its row, which ``last_chunk`` ends. ``set``: parameter set;
    0: nothing is done. ``keep``: elements that count; in sums and in rows that are normalised the others are 0.
    ``address``: the low bits of its place in memory."""
    return data.StructLayout({"beat": memory_beat(config), "keep": config.memory_elements,
                              "address": ROW_ADDRESS_BITS, "set": SET_BITS, "sums": 1, "last_chunk": 1,
                              "sideband": sideband})


class NormaliseLane(wiring.Component):
    """One element of a cycle: its difference from the mean, shifted, times m, or its square.

    | cycle | port | |
    |---|---|---|
    | 0 | ``element``, ``keep``, ``offset`` | without ``keep`` the result is 0 |
    | 1 | ``up``, ``mask`` | p; the bits of the difference that must equal its sign |
    | 3 | ``operand``; ``square``, ``mantissa`` | the element leaves for the multiplier; the two belong to it |
    | 3 + multiplier_latency | ``product`` | operand * (square ? operand : mantissa) |
    | 4 + multiplier_latency | ``result``, ``clamped`` | rounded and clamped |

    With offset 0 and p = right_shift - F the operand is the element itself.

    Format: hw/vector/statistics.py; ``element`` and ``result`` signed integers of EW bits, ``offset`` with F fraction
    bits.
    Latency: 4 + multiplier_latency cycles from ``element`` to ``result``.
    Throughput: one element per cycle.
    Backpressure: none.
    Reset: none.
    Cost: one multiplier of U x 18 bits, two adders of EW + 2 bits, a shifter of 32 places.
    Source: docs/reference/vector.md, Numbers.
    """

    def __init__(self, parameters: NormaliseParameters):
        self.parameters = p = parameters
        width = p.element_width
        super().__init__({
            "element": In(signed(width)), "keep": In(1), "offset": In(signed(width + FRACTION + 1)),
            "up": In(SHIFT_BITS), "mask": In(width + FRACTION + 1), "square": In(1), "mantissa": In(signed(18)),
            "operand": Out(signed(p.operand_width)), "product": Out(signed(p.operand_width + 18)),
            "result": Out(signed(width)), "clamped": Out(1)})

    @once("parameters")
    def elaborate(self, platform) -> Module:
        m = Module()
        p = self.parameters
        width, latency = p.element_width, p.pipeline.multiplier_latency
        overflow, negative = self._deviate(m)
        m.submodules.multiplier = multiplier = Multiplier(
            MultiplierParameters(p.operand_width, 18, p.target, p.pipeline))
        m.d.comb += [multiplier.a.eq(self.operand), multiplier.b.eq(Mux(self.square, self.operand, self.mantissa)),
                     self.product.eq(multiplier.o)]

        cut = 16 + p.operand_width - width
        rounded = Signal(signed(width + 1), name="rounded", reset_less=True)
        m.d.sync += rounded.eq(((self.product >> (cut - 1)) + 1) >> 1)
        overflow, negative = (delay(m, bit, latency + 1, name)
                              for name, bit in (("overflow", overflow), ("negative", negative)))
        limit = rounded[-1] ^ rounded[-2]
        sign = Signal(name="sign")
        m.d.comb += [self.clamped.eq(overflow | limit), sign.eq(Mux(overflow, negative, rounded[-1])),
                     self.result.eq(Mux(self.clamped, Cat((~sign).replicate(width - 1), sign), rounded))]
        return m

    def _deviate(self, m: Module) -> tuple[Signal, Signal]:
        """The operand; whether the difference does not fit it, and its sign."""
        p = self.parameters
        deviation = Signal(signed(p.element_width + FRACTION + 2), name="deviation", reset_less=True)
        m.d.sync += deviation.eq(Cat(self.offset[:FRACTION], self.element + (self.offset >> FRACTION)))
        keep = delay(m, self.keep, 2, "keep")

        coarse_steps, fine = 1 << (SHIFT_BITS - _FINE), delay(m, self.up[:_FINE], 1, "fine")
        margin = (1 << _FINE) - 1  # bits below the operand that the second stage may still bring up
        shifted = Signal(signed(p.right_shift + p.operand_width + margin), name="shifted")
        m.d.comb += shifted.eq(Cat(Const(0, margin), deviation).as_signed())
        choices = [(shifted << (number << _FINE))[p.right_shift:len(shifted)] for number in range(coarse_steps)]
        coarse = Signal(p.operand_width + margin, name="coarse", reset_less=True)
        strays = deviation[:-1] ^ deviation[-1].replicate(len(deviation) - 1)
        sign = Signal(name="sign", reset_less=True)
        groups = [(strays[at:at + 4] & self.mask[at:at + 4]).any() for at in range(0, len(strays), 4)]
        stray = Signal(len(groups), name="stray", reset_less=True)
        with m.Switch(self.up[_FINE:]):
            for number, choice in enumerate(choices):
                with m.Case(number):
                    m.d.sync += coarse.eq(choice)
        m.d.sync += [stray.eq(Cat(groups)), sign.eq(deviation[-1])]

        overflow, negative = signals("overflow negative", reset_less=True)
        assert p.timing.lane_latency == 3, "difference, coarse, fine"
        m.d.sync += [overflow.eq(stray.any() & keep), negative.eq(sign), self.operand.eq((coarse << fine)[margin:])]
        with m.If(~keep):
            m.d.sync += self.operand.eq(0)
        return overflow, negative


def _either(chosen: Value, values: list[Value]) -> Value:
    """The one of ``values`` whose bit of ``chosen`` is set."""
    return reduce(or_, (value & bit.replicate(len(value)) for bit, value in zip(chosen, values)))


class Normalise(wiring.Component):
    """Normalises rows, adds up rows, and lets all other beats pass.

    ``i``: beats as :func:`normalise_beat`; ``o``: ``beat`` and ``sideband`` of those that go on, in order. ``write``:
    word ``address`` of the table of parameter sets (set * SET_WORDS + word of a ReadSet, hw/isa/parameter_set.py),
    there in the next cycle. A beat belongs to entry address >> chunk_shift of the table of rows, modulo its size.

    | ``sums`` | ``set`` | the beat |
    |---|---|---|
    | 0 | 0 | passes unchanged |
    | 0 | > 0 | waits for ``idle``; its elements are normalised with the entry of their row |
    | 1 | any | does not come out; its elements add to the sums of the row |

    The beat with ``last_chunk`` ends a row of sums: N and E of its set make an entry of them. ``saturated``: one cycle
    for each group of ``lanes`` elements with a clamped one, before its beat is on ``o``, and for each row whose
    variance is too large for the range of its set, before ``idle``. ``idle``: every row that was
    ended is in the table. ``busy``: a beat has not left, or not ``idle``.

    Format: hw/vector/statistics.py.
    Latency: when nothing stalls, 2 cycles for a beat that passes, ``latency`` for one that is normalised. ``settle``
    cycles from the ``last_chunk`` of a row on ``i`` to the cycle in which a beat that waits for ``idle`` leaves the
    input buffer.
    Throughput: one beat per cycle that passes, otherwise one per elements/lanes cycles without a bubble; one row per
    ``period`` cycles (38 / ``units`` or more) where rows end faster. A beat that passes waits until all normalised ones
    have left.
    Backpressure: ``i`` and ``o`` are cut in both directions; results in flight have places in a queue.
    Reset: forgets beats and sums inside; keeps the parameter sets and the table of rows.
    Cost: ``lanes`` multipliers of 18 x 18, RowSums, ``units`` StatisticsUnit (about 700 COMB each), a RAM of ``rows``
    entries of EW + 26 bits, a queue of 16 groups of ``lanes`` elements (32 where a beat has more than two), six
    registers of a beat (five where it is one group).
    Source: docs/reference/vector.md; docs/decisions/0017-what-is-no-matrix-is-a-filter.md.

    Raises ValueError naming the parameter.
    """

    def __init__(self, config: CoreConfig, lanes: int, rows: int, units: int, sideband: ShapeLike):
        self.parameters = NormaliseParameters.of(config, lanes, rows, units)
        beat = memory_beat(config)
        self._output = data.StructLayout({"beat": beat, "sideband": sideband})
        self._held = data.StructLayout({**normalise_beat(config, sideband).members, "chunk_shift": 4, "passes": 1})
        super().__init__({
            "write": In(table_write()), "write_en": In(1),
            "i": In(stream.Signature(normalise_beat(config, sideband))), "o": Out(stream.Signature(self._output)),
            "saturated": Out(1), "idle": Out(1), "busy": Out(1)})

    @property
    def timing(self) -> NormaliseTiming:
        return self.parameters.timing

    @property
    def latency(self) -> int:
        """Cycles from a beat on ``i`` to the same beat, normalised, on ``o``."""
        return self.timing.latency

    @property
    def period(self) -> int:
        """Least cycles between the ends of two rows."""
        return self.timing.period

    @property
    def settle(self) -> int:
        """Cycles from the end of a row on ``i`` to the first in which its entry is used."""
        return self.timing.settle

    def elaborate(self, platform) -> Module:
        m = Module()
        p = self.parameters
        m.submodules.front = front = SkidBuffer(self._held, ("passes", "sums", "last_chunk"))
        m.submodules.out = out = SkidBuffer(self._output, ("sideband",))
        wiring.connect(m, out.o, wiring.flipped(self.o))
        self._enter(m, front.i)
        here = front.o.payload
        take, permit = signals("take permit")
        begins, ends = signals("begins ends")
        m.d.comb += [take.eq(front.o.valid & ~here.passes & permit), begins.eq(take & ~here.sums),
                     ends.eq(take & here.sums & here.last_chunk)]
        free, active = self._pace(m, take)
        ended = delay(m, ends, 1, "ended", reset_less=False)  # for what ``ends`` comes too late for
        spaced = self._settling(m, ends, ended)
        address, sums, last = self._place(m, here, free)
        entry = row_entry(p)
        m.submodules.table = table = Ram(RamParameters(entry.size, p.rows, p.target, p.pipeline))
        m.d.comb += [table.r_en.eq(1), table.r_addr.eq(address)]
        lanes, into_sums, results = self._lanes(m, here, free, active, sums, data.View(entry, table.r_data))
        too_wide = self._statistics(m, lanes, into_sums, last, ended, here.set, address, table)
        m.d.sync += self.saturated.eq(too_wide | (results & Cat(lane.clamped for lane in lanes).any()))

        room, quiet = self._results(m, lanes, results, begins, Value.cast(here.sideband), out.i)
        # ``quiet``: no beat is between here and the output but those that pass.
        m.d.comb += [
            permit.eq(free & Mux(here.sums, spaced | ~here.last_chunk, self.idle & room)),
            front.o.ready.eq(Mux(here.passes, quiet & out.i.ready, permit)),
            self.busy.eq(front.o.valid | active | ~quiet | self.o.valid | ~self.idle)]
        with m.If(quiet):
            m.d.comb += [out.i.valid.eq(front.o.valid & here.passes), out.i.payload.beat.eq(here.beat),
                         out.i.payload.sideband.eq(here.sideband)]
        return m

    def _sets(self, m: Module, number: Value, fields: tuple[str, ...]) -> data.View:
        """``fields``, which follow one another, of parameter set ``number``."""
        layout, chosen = data.StructLayout(dict(READ_SET)), data.StructLayout({f: dict(READ_SET)[f] for f in fields})
        low, word, parts = layout[fields[0]].offset, self.write.address[:_WORD_BITS], []
        high = low + chosen.size
        for at in range(low // 32, -(-high // 32)):
            bits = slice(max(0, low - 32 * at), min(32, high - 32 * at))
            m.submodules[f"sets_{fields[0]}_{at}"] = memory = Memory(shape=bits.stop - bits.start, depth=SETS, init=[])
            write, read = write_port(memory), read_port(memory)
            m.d.comb += [write.en.eq(self.write_en & (word == at) & (self.write.address < SETS * SET_WORDS)),
                         write.addr.eq(self.write.address[_WORD_BITS:]), write.data.eq(self.write.data[bits]),
                         read.addr.eq(number)]
            parts.append(read.data)
        return data.View(chosen, Cat(parts))

    def _enter(self, m: Module, to) -> None:
        """A beat on ``i`` with what its parameter set says about its place."""
        offered, place = self.i.payload, self._sets(m, self.i.payload.set, ("chunk_shift",))
        m.d.comb += [to.valid.eq(self.i.valid), self.i.ready.eq(to.ready),
                     to.payload.passes.eq((offered.set == 0) & ~offered.sums)]
        for name in to.payload.shape().members:
            if name in place.shape().members:
                m.d.comb += to.payload[name].eq(place[name])
            elif name != "passes":
                m.d.comb += to.payload[name].eq(offered[name])

    def _pace(self, m: Module, take: Signal) -> tuple[Value, Signal]:
        """``free``: the lanes can take a beat, from the final piece of the beat before on. ``active``: they have a
        piece."""
        pieces = self.parameters.pieces
        active = Signal(name="active")
        if pieces == 1:
            m.d.sync += active.eq(take)
            return Const(1, 1), active
        rest = Signal(range(pieces), name="rest")
        free = Signal(name="free", init=1)
        following = Mux(take, pieces - 1, rest - (rest != 0))
        m.d.sync += [rest.eq(following), free.eq(~take & (rest <= 1)), active.eq(take | (rest != 0))]
        return free, active

    def _settling(self, m: Module, ends: Signal, ended: Value) -> Signal:
        """Drives ``idle``; returns whether the next row may end."""
        wait = Signal(range(self.settle), name="wait")
        spaced = Signal(name="spaced", init=1)
        idle = Signal(name="idle", init=1)
        with m.If(ended):
            m.d.sync += wait.eq(self.settle - 4)
        with m.Elif(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        is_near = ends | ended
        m.d.sync += [idle.eq((wait == 0) & ~is_near),
                     spaced.eq((wait <= self.settle - 1 - self.period) & ~is_near)]
        m.d.comb += self.idle.eq(idle)
        return spaced

    def _place(self, m: Module, here: data.View, free: Value) -> tuple[Value, Signal, Signal]:
        """Of the beat in the lanes: its place in the table (a cycle later), whether it goes into sums, and whether this
        piece ends the sums."""
        sums, last = signals("sums last")
        coarse = Signal(len(here.address), name="coarse", reset_less=True)
        fine = Signal(2, name="fine_shift", reset_less=True)
        address = Signal(self.parameters.row_bits, name="entry", reset_less=True)
        with m.If(free):
            m.d.sync += [coarse.eq(here.address >> Cat(Const(0, 2), here.chunk_shift[2:])),
                         fine.eq(here.chunk_shift[:2]), sums.eq(here.sums), last.eq(here.last_chunk)]
        m.d.sync += address.eq(coarse >> fine)
        return address, sums, last & free

    def _lanes(self, m: Module, here: data.View, free: Value, active: Signal, sums: Signal,
               entry: data.View) -> tuple[list[NormaliseLane], Value, Value]:
        """Connects the lanes with their elements and the entry of their row. Returns the lanes, the strobe of operands
        that go into sums, and the strobe of results."""
        p, timing = self.parameters, self.timing
        operands = timing.entry_latency + timing.lane_latency
        assert timing.entry_latency == 1 + p.pipeline.ram_latency + 1, "shift of the address, table, gates"
        assert timing.result_latency == 1 + operands + p.pipeline.multiplier_latency + 1, "register, product, rounding"
        elements = self._pieces(m, here.beat.as_value(), p.element_width, free, "elements")
        keep = self._pieces(m, here.keep, 1, free, "keep")
        # Sums take the elements as they are.
        offset = Signal.like(entry.offset, name="offset", reset_less=True)
        shift = Signal(SHIFT_BITS, name="shift", reset_less=True)
        squares = delay(m, sums, timing.entry_latency - 1, "squares")
        m.d.sync += [offset.eq(Mux(squares, 0, entry.offset)),
                     shift.eq(Mux(squares, p.right_shift - FRACTION, entry.up))]
        # Bits of a deviation from 2^(limit - p) on are signs if it fits.
        up, limit = delay(m, shift, 1, "shift_up"), FRACTION + p.element_width + 3
        mask = Signal(p.element_width + FRACTION + 1, name="mask", reset_less=True)
        m.d.sync += mask.eq(Const((1 << limit + len(mask)) - (1 << limit)) >> shift)
        mantissa = delay(m, Cat(entry.mantissa, Const(1, 2)), timing.lane_latency + 1, "mantissa")
        square = delay(m, squares, timing.lane_latency + 1, "square")
        lanes = []
        for number in range(p.lanes):
            m.submodules[f"lane{number}"] = lane = NormaliseLane(p)
            m.d.comb += [
                lane.element.eq(elements.word_select(number, p.element_width)), lane.keep.eq(keep[number]),
                lane.offset.eq(offset), lane.up.eq(up), lane.mask.eq(mask), lane.square.eq(square),
                lane.mantissa.eq(mantissa)]
            lanes.append(lane)
        into_sums = delay(m, active & sums, operands, "into_sums", reset_less=False)
        results = delay(m, active & ~sums, timing.result_latency - 1, "result", reset_less=False)
        return lanes, into_sums, results

    def _pieces(self, m: Module, beat: Value, width: int, free: Value, name: str) -> Value:
        """The piece of ``beat`` for the lanes, ``width`` bits each, in the cycle in which their entry is there."""
        size, register = width * self.parameters.lanes, Signal(len(beat), name=name, reset_less=True)
        m.d.sync += register.eq(Mux(free, beat, register >> size))
        return delay(m, register[:size], self.timing.entry_latency, f"{name}_late")

    def _statistics(self, m: Module, lanes: list[NormaliseLane], valid: Value, last: Value, ended: Value,
                    number: Value, address: Value, table: Ram) -> Value:
        """Sums of the lanes, and their way into the table of rows. Returns whether the shift of a row was clamped."""
        p, operands = self.parameters, self.timing.entry_latency + self.timing.lane_latency
        m.submodules.sums = sums = RowSums(p)
        for lane, element, square in zip(lanes, sums.elements, sums.squares):
            m.d.comb += [element.eq(lane.operand), square.eq(lane.product)]
        m.d.comb += [sums.valid.eq(valid), sums.last.eq(delay(m, last, operands, "last"))]
        late_ended = delay(m, ended, 1, "late_ended", reset_less=False)
        # The units take the rows in turn; what a row will need waits at the unit that gets it.
        ended_set = delay(m, number, 1, "ended_set")
        turn, chosen = self._turns(m, ended), Array(Signal(SET_BITS, name=f"set{n}") for n in range(p.units))
        row_turn, rows = self._turns(m, late_ended), Array(Signal(p.row_bits, name=f"row{n}") for n in range(p.units))
        start_turn = self._turns(m, sums.done)
        with m.If(ended):
            m.d.sync += chosen[turn].eq(ended_set)
        with m.If(late_ended):
            m.d.sync += rows[row_turn].eq(address)
        parameters = self._sets(m, chosen[start_turn], ("n", "epsilon", "range_bits"))
        units = [StatisticsUnit(p) for _ in range(p.units)]
        for at, unit in enumerate(units):
            m.submodules[f"statistics{at}"] = unit
            m.d.comb += [
                unit.start.eq(sums.done & (start_turn == at)), unit.sum.eq(sums.sum),
                unit.squares_sum.eq(sums.squares_sum), unit.n.eq(parameters.n), unit.epsilon.eq(parameters.epsilon),
                unit.range_bits.eq(parameters.range_bits), unit.row.eq(rows[at])]
        # Rows end further apart than the latencies of two units can differ, so one at a time is done.
        done = Cat(unit.done for unit in units)
        m.d.comb += [table.w_en.eq(done.any()),
                     table.w_addr.eq(_either(done, [unit.o_row for unit in units])),
                     table.w_data.eq(_either(done, [unit.entry.as_value() for unit in units]))]
        return (done & Cat(unit.clamped for unit in units)).any()

    def _turns(self, m: Module, moves: Value) -> Value:
        """Number of the unit that the next of ``moves`` concerns."""
        turn = Signal(range(self.parameters.units), name="turn")
        with m.If(moves):
            m.d.sync += turn.eq(Mux(turn == self.parameters.units - 1, 0, turn + 1))
        return turn

    def _results(self, m: Module, lanes: list[NormaliseLane], valid: Value, begins: Signal, sideband: Value,
                 to) -> tuple[Signal, Signal]:
        """Queue of results; a beat goes out when it is whole. Returns ``room``: another beat has places, and ``quiet``:
        no beat is on its way."""
        pieces, depth = self.timing.pieces, self.timing.depth
        begun = delay(m, begins, 1, "begun", reset_less=False)
        head, side, has_piece, pop, final = self._queue(m, lanes, valid, begun, delay(m, sideband, 1, "begun_sideband"))
        held = Signal(len(head) * (pieces - 1), name="held", reset_less=True)
        with m.If(has_piece & ~final):
            m.d.sync += held.eq(Cat(held, head)[len(head):])
        m.d.comb += [
            to.valid.eq(has_piece & final), to.payload.beat.eq(Cat(held, head)),
            Value.cast(to.payload.sideband).eq(side),
            pop.eq(has_piece & (~final | to.ready))]

        places = Signal(range(depth + 1), name="places", init=depth)
        room, quiet = signals("room quiet", init=1)
        # A beat is counted two cycles after it began; ``uncounted`` more may have begun by then.
        uncounted = 2 // pieces
        m.d.sync += [places.eq(places + pop - Mux(begun, pieces, 0)), room.eq(places >= pieces * (1 + uncounted)),
                     quiet.eq((places == depth) & ~begun & ~begins)]
        return room, quiet

    def _queue(self, m: Module, lanes: list[NormaliseLane], valid: Value, begun: Value,
               sideband: Value) -> tuple[Value, Value, Signal, Signal, Value]:
        """The queue. Returns its oldest piece, the sideband of the beat, whether a piece is there, the strobe that
        takes it away, and whether it is the final one of its beat."""
        pieces, depth = self.timing.pieces, self.timing.depth
        results = Cat(lane.result for lane in lanes)
        m.submodules.results = queue = Memory(shape=len(results), depth=depth, init=[])
        m.submodules.sidebands = sides = Memory(shape=len(sideband), depth=depth // pieces, init=[])
        level = Signal(range(depth + 1), name="level")
        has_piece, pop = signals("has_piece pop")
        piece = Signal(range(pieces), name="piece")
        final = piece == pieces - 1
        heads = []
        for memory, push, word, leave in ((queue, valid, results, pop), (sides, begun, sideband, pop & final)):
            write, read = write_port(memory), read_port(memory)
            m.d.comb += [write.en.eq(push), write.data.eq(word)]
            for port, moves in ((write, push), (read, leave)):
                place = Signal.like(port.addr, name="place")
                m.d.comb += port.addr.eq(place)
                m.d.sync += place.eq(place + moves)
            heads.append(read.data)
        m.d.sync += [
            level.eq(level + valid - pop), has_piece.eq(valid | (level > 1) | (has_piece & ~pop)),
            piece.eq(Mux(pop, Mux(final, 0, piece + 1), piece))]
        return *heads, has_piece, pop, final
