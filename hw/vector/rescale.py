"""Rescale unit: scale, bias and activation of the elements that are on their way to memory.

Contract: docs/reference/vector.md. The parameter sets are those of hw/isa/parameter_set.py.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.parameter_set import BELOW_BITS, WIDE_BITS, SET_BITS, SET_WORDS, SETS, WRITE_SET, Activation
from ..isa.setup import SETUP
from ..isa.vector_tables import SCALE_BITS, SEGMENTS
from ..memory.port import MemoryParameters
from ..primitives.adder import SelectAdder, SelectAdderParameters
from ..primitives.memory import read_port, write_port
from ..primitives.multiplier import Multiplier, MultiplierParameters
from ..primitives.pipeline import delay
from ..primitives.ram import Ram, RamParameters
from ..primitives.saturate import clamp
from ..primitives.shared import once
from ..primitives.signals import signals
from ..primitives.stream import SkidBuffer
from .activation import ActivationLane, VectorLaneParameters
from .parameters import CLAMP_LATENCY, RescaleTiming

__all__ = ["Rescale", "RescaleParameters", "ScaleLane"]

_ADDRESS_BITS = dict(SETUP)["address"]


@dataclass(frozen=True)
class RescaleParameters:
    """Beats of ``memory.elements``, of which ``lanes`` (a power of two) are worked on per cycle, and ``channels`` beats
    of the channel table. Raises ValueError naming the field."""

    memory: MemoryParameters
    lane: VectorLaneParameters
    lanes: int
    channels: int

    def __post_init__(self) -> None:
        elements, lanes, channels = self.memory.elements, self.lanes, self.channels
        if not 1 <= lanes <= elements or lanes & (lanes - 1):
            raise ValueError(f"lanes: {lanes} does not divide a beat of {elements} elements; allowed are powers of two "
                             f"up to {elements}")
        most = (1 << _ADDRESS_BITS) // elements
        if not 1 <= channels <= most:
            raise ValueError(f"channels: {channels} beats is not the size of a channel table; allowed are 1..{most}")

    @classmethod
    def of(cls, config: CoreConfig, lanes: int, channels: int) -> "RescaleParameters":
        memory = MemoryParameters.of(config)
        return cls(memory, VectorLaneParameters.of(config), lanes, channels)

    @property
    def timing(self) -> RescaleTiming:
        return RescaleTiming(self.memory.elements, self.lanes, self.lane.pipeline)

    @property
    def steps(self) -> int:
        """Cycles that a beat with work takes."""
        return self.timing.steps

    @property
    def channel_bits(self) -> int:
        return (self.channels - 1).bit_length()

    @property
    def input(self) -> data.StructLayout:
        """A write, whether it stands in row 0 of its block, whether it is the first of it, and its parameter set."""
        return data.StructLayout({"write": self.memory.write, "row0": 1, "first": 1, "set": SET_BITS})

    @property
    def output(self) -> data.StructLayout:
        return data.StructLayout({"write": self.memory.write, "first": 1, "set": SET_BITS})

    @property
    def instructions(self) -> data.StructLayout:
        """A parameter set as the unit keeps it: of ``shift`` what lies above F, of ``fall`` what differs from
        BELOW_BITS. Zeros stand for nothing to do."""
        return data.StructLayout({"rescale": 1, "base": self.channel_bits, "mask": self.channel_bits, "shift": 5,
                                  "bias_row": 1, "wide_bias": 1, "rectify": 1, "gelu": 1, "fall": 3})


class ScaleLane(wiring.Component):
    """``y = sat(half_up(x*scale + bias*2^(R-F), R))``, one element per cycle; sat to WIDE_BITS more than an element.

    ``shift`` is R - F, 0..18; with ``wide`` the bias counts 2^WIDE_BITS times as much; ``clamped``: y was saturated.
    All inputs belong to the same cycle; there is no valid bit.

    Format: ``x`` an integer of element_width bits, ``y`` of WIDE_BITS more, ``scale`` and ``bias`` of 18 bits. One
    rounding half up: the bits that the product loses below the last place of a bias do not decide it.
    Latency: ``latency`` cycles (8, in a short pipeline 5).
    Throughput: one element per cycle.
    Backpressure: none.
    Reset: none.
    Cost: one multiplier of element_width x 18 bits, 23 to 25 bits of two carry chains, two 4:1 multiplexers of 24 to 31
    bits.
    Source: docs/reference/vector.md, Numbers.
    """

    def __init__(self, parameters: VectorLaneParameters):
        self.parameters = parameters
        width = parameters.element_width
        super().__init__({
            "x": In(signed(width)), "scale": In(signed(SCALE_BITS)), "bias": In(signed(SCALE_BITS)), "shift": In(5),
            "wide": In(1), "y": Out(signed(width + WIDE_BITS)), "clamped": Out(1)})

    @property
    def latency(self) -> int:
        """Cycles from ``x`` to ``y``."""
        return self.parameters.timing.scale_latency

    @once("parameters")
    def elaborate(self, platform) -> Module:
        m = Module()
        p = self.parameters
        width, product_latency = p.element_width, p.pipeline.multiplier_latency
        assert self.latency == product_latency + 2 + 1 + CLAMP_LATENCY, "product, shift, sum, clamp"
        fraction = SCALE_BITS - width
        guard = int(not fraction)  # a bit below the bias where it has no fraction: half of the last place
        m.submodules.multiplier = multiplier = Multiplier(
            MultiplierParameters(width, SCALE_BITS, p.target, p.pipeline))
        m.d.comb += [multiplier.a.eq(self.x), multiplier.b.eq(self.scale)]
        shift = delay(m, self.shift, product_latency, "shift")
        product = Cat(Const(0, guard), multiplier.o).as_signed()
        shifted, is_above, is_below, low = self._shift(m, product, shift, SCALE_BITS + WIDE_BITS + 2 + guard)

        # The half that rounding adds, while the product is made.
        half = Signal(signed(SCALE_BITS + WIDE_BITS + 1 + guard), name="half", reset_less=True)
        given = Cat(Const(0, guard), self.bias).as_signed()
        m.submodules.half = adder = SelectAdder(SelectAdderParameters(len(half), p.target))
        m.d.comb += [adder.addend.eq(1 << fraction + guard - 1), adder.a.eq(given), adder.b.eq(given << WIDE_BITS),
                     adder.select.eq(self.wide)]
        m.d.sync += half.eq(adder.o)
        bias = delay(m, half, product_latency + 1, "bias")
        total = Signal(signed(len(shifted) + 1), name="total", reset_less=True)
        m.submodules.sum = adder = SelectAdder(SelectAdderParameters(len(total), p.target))
        m.d.comb += [adder.addend.eq(bias), adder.a.eq(shifted), adder.b.eq(shifted >> 1), adder.select.eq(low)]
        m.d.sync += total.eq(adder.o)

        y, clamped = clamp(m, total[fraction + guard:].as_signed(), width + WIDE_BITS, "y_register",
                           delay(m, is_above, 1, "is_above"), delay(m, is_below, 1, "is_below"))
        m.d.comb += [self.y.eq(y), self.clamped.eq(clamped)]
        return m

    def _shift(self, m, product, shift, width):
        """Shifts the product right by all but the lowest bit of ``shift``, in two cycles. Returns ``width`` + 1 bits of
        it, whether it is above or below what ``width`` bits hold, and the lowest bit of ``shift``."""
        kept = width + 7  # bits that matter when 7 places may be left to go
        coarse = Signal(signed(kept), name="coarse", reset_less=True)
        negative = Signal(name="negative", reset_less=True)
        is_lost = Signal(name="is_lost", reset_less=True)
        rest = Signal(3, name="rest", reset_less=True)
        moved = [product >> 8 * eights for eights in range(3)]
        m.d.sync += [negative.eq(product[-1]), rest.eq(shift), coarse.eq(_choose(moved, shift[3:])),
                     is_lost.eq(_choose([_loses(value, kept) for value in moved], shift[3:]))]

        fine = Signal(signed(width + 1), name="fine", reset_less=True)
        low = Signal(name="low_shift", reset_less=True)
        is_above, is_below = signals("is_above is_below", reset_less=True)
        is_too_large = Signal(name="is_too_large")
        moved = [coarse >> 2 * twos for twos in range(4)]
        m.d.comb += is_too_large.eq(is_lost | _choose([_loses(value, len(fine)) for value in moved], rest[1:]))
        m.d.sync += [fine.eq(_choose(moved, rest[1:])), low.eq(rest[0]), is_above.eq(is_too_large & ~negative),
                     is_below.eq(is_too_large & negative)]
        return fine, is_above, is_below, low


def _choose(values, number):
    """One of up to four values. Bits of ``number`` steer multiplexers: nothing is decoded that lanes would share."""
    pairs = [Mux(number[0], pair[-1], pair[0]) for pair in (values[:2], values[2:])]
    return Mux(number[1], pairs[1], pairs[0])


def _loses(value, width):
    """Whether the signed ``value`` does not fit ``width`` bits."""
    head = value[width - 1:]
    return head.any() & ~head.all() if len(head) > 1 else Const(0, 1)


class Rescale(wiring.Component):
    """Scale, bias and activation of writes, each by the parameter set that it names.

    ``i``: writes, whether each stands in row 0 of its block (``row0``), and their ``set``; ``o``: the same writes, in
    order, with their set and ``first``, which means nothing here. Set 0, and sets without rescale and activation, leave
    the elements as they are. Elements that the strobe leaves out hold anything. ``saturated``: one cycle when an
    element that is written was clamped, not later than its write comes on ``o``; ``busy``: a write is inside.
    ``write``: a word for a table, in use three cycles after the cycle of one of the enables. Words outside the table
    are dropped, those of set 0 too.

    | enable | address | word |
    |---|---|---|
    | ``write_set_en`` | set * 4 + i | word i of a WriteSet (hw/isa/parameter_set.py); 2 and 3 are not for this unit |
    | ``write_channel_en`` | beat of the table * elements + element | scale, bias << 18 |
    | ``write_gelu_en`` | segment, 0..511 | gelu_word of hw/vector/activation.py, for all lanes |

    Format: elements of element_width bits, two's complement; the rounding is that of :class:`ScaleLane` and
    :class:`ActivationLane`.
    Latency: ``latency`` cycles from ``i`` to ``o`` (27, in a short pipeline 20). Where ``steps`` > 1 a write with work
    takes ``steps`` cycles more, one with nothing to do 3 cycles in all.
    Throughput: one write with work every ``steps`` = elements / lanes cycles, without a gap; one with nothing to do per
    cycle.
    Backpressure: the lanes never stop; there are places for all that is inside them, and ``i.ready`` and ``o.valid``
    come out of registers.
    Reset: forgets all writes inside, keeps the tables.
    Cost: lanes * (a multiplier of element_width x 18 bits, one of 10 x (element_width - 9), a RAM of channels * steps x
    36 bits, one of 512 x 28), LUT memories for ``places`` writes.
    Source: docs/reference/vector.md; docs/decisions/0017-what-is-no-matrix-is-a-filter.md.
    """

    def __init__(self, config: CoreConfig, lanes: int, channels: int):
        self.parameters = p = RescaleParameters.of(config, lanes, channels)
        super().__init__({
            "i": In(stream.Signature(p.input)), "o": Out(stream.Signature(p.output)),
            "write": In(data.StructLayout({"address": _ADDRESS_BITS, "data": 2 * SCALE_BITS})),
            "write_set_en": In(1), "write_channel_en": In(1), "write_gelu_en": In(1),
            "saturated": Out(1), "busy": Out(1)})
        self._scale = [ScaleLane(p.lane) for _ in range(lanes)]
        self._activation = [ActivationLane(p.lane) for _ in range(lanes)]

    @property
    def latency(self) -> int:
        """Cycles from ``i`` to ``o`` of a write with work, when nothing stalls."""
        return self.parameters.timing.latency

    @property
    def pass_latency(self) -> int:
        """Cycles from ``i`` to ``o`` of a write with nothing to do that follows no other."""
        return self.parameters.timing.pass_latency

    @property
    def places(self) -> int:
        """Writes inside; enough that the lanes never wait for one to leave."""
        return self.parameters.timing.places

    def elaborate(self, platform):
        m = Module()
        p, timing = self.parameters, self.parameters.timing
        m.submodules.out = out = SkidBuffer(p.output)
        wiring.connect(m, out.o, wiring.flipped(self.o))
        for number in range(p.lanes):
            m.submodules[f"scale{number}"] = self._scale[number]
            m.submodules[f"activation{number}"] = self._activation[number]
        word, enables = self._table_word(m)
        used = Signal(range(self.places + 1), name="used")
        free = Signal(name="free", init=1)
        space = Signal(name="space")
        here, take, waiting = self._enter(m, free)
        chosen = self._chosen(m, word, enables[0], here.set)
        work, stepping = self._pace(m, take, chosen, space, free)
        elements, strobe, beat, row0, step, chosen = self._steps(m, here, chosen, free)
        shift = Mux(chosen.rescale, chosen.shift, 0)
        self._coefficients(m, word, enables[1], chosen, beat, row0, step)
        results, hits = self._lanes(m, elements, strobe, shift, chosen)
        self._write_gelu(m, word, enables[2])

        scaled = delay(m, stepping, timing.scaled + 1, "scaled", reset_less=False)
        finished = delay(m, scaled, timing.lane.activation_latency - 1, "finished", reset_less=False)
        finished_late = delay(m, finished, 1, "finished_late", reset_less=False)
        m.d.sync += self.saturated.eq((scaled & hits[0].any()) | (finished_late & hits[1].any()))

        used_next = self._leave(m, here, take, work, finished, results, used, out.i)
        m.d.sync += used.eq(used_next)
        # The write of this cycle is not counted yet.
        m.d.comb += [space.eq(used < self.places - 1), self.busy.eq((used != 0) | waiting | out.o.valid)]
        return m

    def _table_word(self, m):
        """A word for a table, a cycle later, and an enable for each table: sets, channels, GELU."""
        p = self.parameters
        word = Signal.like(self.write, name="word", reset_less=True)
        enables = Signal(3, name="enables")
        address = self.write.address
        m.d.sync += [word.eq(self.write), enables.eq(Cat(
            self.write_set_en & (address < SETS * SET_WORDS) & (address >= SET_WORDS),
            self.write_channel_en & (address < p.channels * p.memory.elements),
            self.write_gelu_en & (address < SEGMENTS)))]
        return word, enables

    def _enter(self, m, free):
        """The write that may be taken, whether it is taken, and whether a write waits that ``used`` does not count."""
        if self.parameters.steps == 1:
            m.d.comb += self.i.ready.eq(free)
            return self.i.payload, self.i.valid & free, Const(0, 1)
        m.submodules.front = front = SkidBuffer(self.parameters.input)
        wiring.connect(m, wiring.flipped(self.i), front.i)
        m.d.comb += front.o.ready.eq(free)
        return front.o.payload, front.o.valid & free, front.o.valid

    def _chosen(self, m, word, enable, number):
        """The parameter set ``number``. Its words 0 and 1 have memories of their own."""
        p = self.parameters
        fraction, layout = SCALE_BITS - p.memory.element_width, data.StructLayout(dict(WRITE_SET))
        first, second = (data.View(layout, Cat(Const(0, 32 * at), word.data[:32], Const(0, layout.size))[:layout.size])
                         for at in range(2))
        gelu = second.activation == Activation.GELU
        stored = ({"rescale": first.rescale, "base": first.base, "mask": first.chunk_mask},
                  {"shift": second.shift - fraction, "bias_row": second.bias_row, "wide_bias": second.wide_bias,
                   "rectify": second.activation != Activation.NONE, "gelu": gelu,
                   "fall": Mux(gelu, second.fall ^ BELOW_BITS, 0)})
        chosen = Signal(p.instructions, name="chosen_set")
        for at, fields in enumerate(stored):
            shape = data.StructLayout({name: p.instructions.members[name] for name in fields})
            m.submodules[f"sets{at}"] = memory = Memory(shape=shape, depth=SETS, init=[])
            write, read = write_port(memory), read_port(memory)
            m.d.comb += [write.en.eq(enable & (word.address[:2] == at)), write.addr.eq(word.address[2:]),
                         read.addr.eq(number)]
            m.d.comb += [write.data[name].eq(value) for name, value in fields.items()]
            m.d.comb += [chosen[name].eq(read.data[name]) for name in fields]
        return chosen

    def _pace(self, m, take, chosen, space, free):
        """Drives ``free``: the next write may be taken. Returns whether the write here has work, and whether the lanes
        begin a group."""
        steps = self.parameters.steps
        stepping = Signal(name="stepping")
        if steps == 1:
            m.d.sync += [free.eq(space), stepping.eq(take)]
            return Const(1, 1), stepping
        has_work = Signal(name="has_work")
        groups_left = Signal(range(steps), name="groups_left")
        begin = take & has_work
        m.d.comb += has_work.eq(chosen.rescale | chosen.rectify)
        m.d.sync += [stepping.eq(begin | (groups_left != 0)), free.eq(space & ~begin & (groups_left <= 1))]
        with m.If(begin):
            m.d.sync += groups_left.eq(steps - 1)
        with m.Elif(groups_left != 0):
            m.d.sync += groups_left.eq(groups_left - 1)
        return has_work, stepping

    def _steps(self, m, here, chosen, free):
        """Registers of a write. The group of elements whose turn it is stands at the low end; also its number."""
        p = self.parameters
        elements = Signal(p.memory.elements * p.memory.element_width, name="elements", reset_less=True)
        strobe = Signal(p.memory.elements, name="strobe", reset_less=True)
        beat = Signal(p.channel_bits, name="beat", reset_less=True)
        row0 = Signal(name="row0", reset_less=True)
        held = Signal(p.instructions, name="held_set", reset_less=True)
        step = Signal(range(p.steps), name="step", reset_less=True)
        load = [elements.eq(here.write.beat.as_value()), strobe.eq(here.write.strobe), beat.eq(here.write.address),
                row0.eq(here.row0), held.eq(chosen), step.eq(0)]
        if p.steps == 1:
            m.d.sync += load
        else:
            with m.If(free):
                m.d.sync += load
            with m.Else():
                m.d.sync += [elements.eq(elements >> p.lanes * p.memory.element_width), strobe.eq(strobe >> p.lanes),
                             step.eq(step + 1)]
        return elements, strobe, beat, row0, step, held

    def _coefficients(self, m, word, enable, chosen, beat, row0, step):
        """Scale and bias to every lane. The gates are resets of registers."""
        p = self.parameters
        fetched = p.lane.pipeline.ram_latency + 1
        address = Signal(p.channel_bits, name="address", reset_less=True)
        assert p.timing.coefficient_latency == 1 + fetched, "address, RAM, gates"
        one = 1 << SCALE_BITS - p.memory.element_width
        m.d.sync += address.eq(chosen.base + (beat & chosen.mask))
        unscaled = delay(m, ~chosen.rescale, fetched, "unscaled")
        no_bias = delay(m, ~chosen.rescale | (chosen.bias_row & ~row0), fetched, "no_bias")
        step = delay(m, step, 1, "step")
        # Near the RAM, as what it gives is near the multiplier.
        to = Signal.like(word, name="channel_word", reset_less=True)
        m.d.sync += to.eq(word)
        lane_bits = p.lanes.bit_length() - 1
        for number, lane in enumerate(self._scale):
            ram = Ram(RamParameters(2 * SCALE_BITS, max(2, p.channels * p.steps), p.lane.target, p.lane.pipeline))
            m.submodules[f"channels{number}"] = ram
            written = Signal(name=f"channel_en{number}")
            m.d.sync += written.eq(enable & (word.address[:lane_bits] == number))
            m.d.comb += [ram.r_en.eq(1), ram.r_addr.eq(Cat(step, address)), ram.w_en.eq(written),
                         ram.w_addr.eq(to.address[lane_bits:]), ram.w_data.eq(to.data)]
            scale = Signal(signed(SCALE_BITS), name=f"scale{number}", reset_less=True, init=one)
            bias = Signal(signed(SCALE_BITS), name=f"bias{number}", reset_less=True)
            m.d.sync += [scale.eq(ram.r_data[:SCALE_BITS]), bias.eq(ram.r_data[SCALE_BITS:])]
            with m.If(unscaled):
                m.d.sync += scale.eq(one)
            with m.If(no_bias):
                m.d.sync += bias.eq(0)
            m.d.comb += [lane.scale.eq(scale), lane.bias.eq(bias)]

    def _lanes(self, m, elements, strobe, shift, chosen):
        """Sends groups of elements through the lanes. Returns the results, and for each of the two clamps, a cycle
        behind it, the elements that are written and that it has changed."""
        p = self.parameters
        width, timing = p.memory.element_width, p.timing
        elements = delay(m, elements[:p.lanes * width], timing.coefficient_latency, "elements")
        shift = delay(m, shift, timing.coefficient_latency, "shift")
        wide = delay(m, chosen.wide_bias, timing.coefficient_latency, "wide_bias")
        rectify, gelu, fall = (delay(m, chosen[name], timing.scaled, name) for name in ("rectify", "gelu", "fall"))
        scaled = delay(m, strobe[:p.lanes], timing.scaled, "strobe_scaled")
        finished = delay(m, scaled, timing.lane.activation_latency, "strobe_finished")
        hits = [Signal(p.lanes, name=f"hits{n}", reset_less=True) for n in range(2)]
        for number, (scale, activation) in enumerate(zip(self._scale, self._activation)):
            m.d.comb += [
                scale.x.eq(elements.word_select(number, width)), scale.shift.eq(shift), scale.wide.eq(wide),
                activation.y.eq(scale.y), activation.rectify.eq(rectify), activation.gelu.eq(gelu),
                activation.fall.eq(fall ^ BELOW_BITS)]
            m.d.sync += [hits[0][number].eq(scale.clamped & scaled[number]),
                         hits[1][number].eq(activation.clamped & finished[number])]
        return Cat(lane.z for lane in self._activation), hits

    def _write_gelu(self, m, word, enable):
        for lane in self._activation:
            m.d.comb += [lane.write.eq(word.data), lane.write_index.eq(word.address), lane.write_en.eq(enable)]

    def _leave(self, m, here, take, work, finished, results, used, out):
        """Writes and results meet again. Returns how many writes are inside in the next cycle."""
        p = self.parameters
        passes = p.steps > 1
        side = {"address": p.memory.address_bits, "strobe": p.memory.elements, "first": 1, "set": SET_BITS}
        if passes:  # past the lanes
            side |= {"beat": p.memory.beat, "work": 1}
        pop = Signal(name="pop")
        head = Signal(data.StructLayout(side), name="head")
        entry = {"address": here.write.address, "strobe": here.write.strobe, "first": here.first, "set": here.set,
                 "beat": here.write.beat, "work": work}
        has_result, beat = self._results(m, finished, results, pop & (head.work if passes else 1))
        next_used = Signal.like(used, name="next_used")
        has_write = Signal(name="has_write")
        self._queue(m, "side", Cat(entry[name] for name in side), take, pop, head)
        m.d.comb += [
            next_used.eq(used + take - pop), pop.eq(out.valid & out.ready),
            out.valid.eq(has_write & (~head.work | has_result) if passes else has_result),
            out.payload.write.address.eq(head.address), out.payload.write.strobe.eq(head.strobe),
            out.payload.first.eq(head.first), out.payload.set.eq(head.set),
            out.payload.write.beat.eq(Mux(head.work, beat, head.beat.as_value()) if passes else beat)]
        m.d.sync += has_write.eq(next_used != 0)
        return next_used

    def _results(self, m, finished, results, pop):
        """Groups become beats again, in the order of the writes with work; whether there is one, and the first."""
        p = self.parameters
        group = Signal(range(p.steps), name="group")
        final = Signal(name="final")
        level = Signal(range(self.places + 1), name="level")
        has_result = Signal(name="has_result")
        next_level = Signal.like(level, name="next_level")
        beat = Signal(p.memory.elements * p.memory.element_width, name="result")
        m.d.comb += [final.eq(finished & (group == p.steps - 1)), next_level.eq(level + final - pop)]
        m.d.sync += [level.eq(next_level), has_result.eq(next_level != 0)]
        with m.If(finished):
            m.d.sync += group.eq(group + 1)
        for number in range(p.steps):
            self._queue(m, f"results{number}", results, finished & (group == number), pop,
                        beat.word_select(number, len(results)))
        return has_result, beat

    def _queue(self, m, name, entry, push, pop, head):
        """A LUT memory of ``places`` entries; ``head`` shows the first."""
        m.submodules[name] = memory = Memory(shape=len(entry), depth=self.places, init=[])
        write, read = write_port(memory), read_port(memory)
        last, first = Signal(range(self.places), name=f"{name}_last"), Signal(range(self.places), name=f"{name}_first")
        m.d.comb += [write.en.eq(push), write.addr.eq(last), write.data.eq(entry), read.addr.eq(first),
                     head.eq(read.data)]
        m.d.sync += [last.eq(last + push), first.eq(first + pop)]
