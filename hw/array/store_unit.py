"""Store unit: a computed half to the output stream."""

from contextlib import nullcontext

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.setup import EXPONENT_BITS
from ..layouts import lanes, output_beat, store_command, tlast_flags
from ..primitives.pipeline import optional
from ..primitives.signals import signals
from ..primitives.stream import SkidBuffer
from .address import BankAddress, Walker
from .shuffle import LaneShuffle, lane_order, permuted, shuffle_reverses, steer

__all__ = ["StoreUnit"]

_BEAT = data.StructLayout({"valid": 1, "step": 1, "last": 1})


class StoreUnit(wiring.Component):
    """Runs STORE instructions: sends one block to the stream, a beat of J engines at a time.

    An instruction waits here for ``computed`` and then takes that block (``take``); blocks alternate between the
    halves. ``steps`` counts the steps of the walk that have left the memory, for the load unit that follows; it is zero
    between blocks. ``done`` says that all have. With a ring ``base`` of an instruction adds bits to every index.

    Format: the upper element_width bits of W-bit values, rounded half up and saturated.
    Latency: 2 + config.store_latency cycles from ``take`` to the first beat; a deep pipeline has 1 more in the skid
    buffer.
    Throughput: one beat per cycle; the pipeline empties between two blocks.
    Backpressure: the whole pipeline, RAM output registers included, stops (``en``); the skid buffer cuts ``o.ready``, a
    short pipeline does not.
    Reset: idle, half 0 next.
    Cost: a Walker, a BankAddress, J LaneShuffles behind multiplexers of E/J inputs; where element_width < W 2 * P * J
    incrementers of element_width + 1 bits; a SkidBuffer of a beat (deep).
    Source: docs/decisions/0005-words-enter-in-the-order-the-buffer-frees-them.md; docs/reference/architecture.md, Walks
    and overlap.
    """

    def __init__(self, config: CoreConfig):
        self._config = c = config
        super().__init__({
            "i_command": In(stream.Signature(store_command(bool(c.ring_words)))),
            "o": Out(stream.Signature(output_beat(c.element_width, c.beat_words, c.has_tlast))),
            "computed": In(1), "take": Out(1),
            "exponent": In(EXPONENT_BITS), "saturated": In(1), **({"tlast": In(tlast_flags())} if c.has_tlast else {}),
            "words": In(data.ArrayLayout(lanes(c.width, c.lanes), c.engines)),
            "en": Out(1), "owns": Out(2), "half": Out(1), "rows": Out(data.ArrayLayout(c.row_bits, c.lanes)),
            "steps": Out(c.row_bits + 1), "done": Out(1), "idle": Out(1),
            "block_out": Out(1), "block_saturated": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        c = self._config
        m.submodules.walker = walker = Walker(c.index_bits, c.pipeline, c.sub_bits, mirror=c.is_processor)
        m.submodules.bank = bank = BankAddress(c.index_bits, c.layers, c.pipeline)
        command = Signal.like(self.i_command.payload, name="command")
        waiting, starting, running, busy = signals("waiting starting running busy")
        self._go = control_enable = Signal(name="control_enable")  # like ``en``, for the few gates of the control
        # Between blocks the walker walks on: ``running`` says which beats count, and stays out of its enables.
        group = Signal(range(c.beat_groups), name="group")
        step_end, accept = signals("step_end accept")
        sub, sub_last = signals("sub sub_last", c.sub_bits)
        sub_final = Signal(name="sub_final")
        steps_left = Signal(c.row_bits, name="steps_left")
        final = Signal(name="final")
        m.d.comb += [
            walker.inner.eq(command.inner), walker.outer.eq(command.outer), walker.restart.eq(starting),
            sub_final.eq(sub == sub_last),
            step_end.eq(sub_final & (group == c.beat_groups - 1)), walker.step.eq(control_enable & step_end),
            walker.sub_order.eq(command.sub_order), walker.sub_at.eq(command.sub_at), walker.sub.eq(sub),
            *walker.measure(command),
            bank.en.eq(self.en), bank.base.eq(walker.base | command.base if c.ring_words else walker.base),
            bank.window.eq(command.window), self.rows.eq(bank.rows),
            self.idle.eq(~busy), self.i_command.ready.eq(self.idle), accept.eq(self.i_command.valid & self.idle),
            self.take.eq(waiting & self.computed)]
        with m.If(control_enable):
            m.d.sync += sub.eq(Mux(sub_final, 0, sub + 1))
        with m.If(control_enable & sub_final):
            m.d.sync += group.eq(Mux(step_end, 0, group + 1))
        with m.If(walker.step):
            m.d.sync += [steps_left.eq(steps_left - 1), final.eq(steps_left == 1)]
        with m.If(walker.step & final):
            m.d.sync += running.eq(0)
        with m.If(starting):
            m.d.sync += [running.eq(1), sub.eq(0), group.eq(0), steps_left.eq(command.last_step),
                         final.eq(command.last_step == 0), sub_last.eq((1 << command.sub_bits) - 1)]
        with m.If(~busy):
            m.d.sync += command.eq(self.i_command.payload)
        with m.If(accept):
            m.d.sync += [waiting.eq(1), busy.eq(1)]
        with m.If(self.take):
            m.d.sync += [waiting.eq(0), self.owns.eq(Cat(~self.half, self.half))]
        m.d.sync += starting.eq(self.take)  # the walker returns to the first beat
        with m.If(self.block_out):
            m.d.sync += [busy.eq(0), self.half.eq(~self.half)]

        beat = data.View(_BEAT, Cat(running, running & step_end, running & step_end & final))
        taken = self._delayed(m, beat, c.taken_latency, "taken")
        m.d.comb += self.done.eq(taken.last & control_enable)
        with m.If(self.done):
            m.d.sync += [self.steps.eq(0), self.owns.eq(0)]
        with m.Elif(taken.step & control_enable):
            m.d.sync += self.steps.eq(self.steps + 1)

        self._output(m, *self._datapath(m, command, bank, taken, group))
        return m

    def _delayed(self, m, value, cycles, name):
        """Delay line of the stoppable pipeline."""
        for i in range(cycles):
            register = Signal(value.shape(), name=f"{name}{i + 1}")
            with m.If(self.en):
                m.d.sync += register.eq(value)
            value = register
        return value

    def _datapath(self, m, command, bank, beat, group):
        """Words of a beat in lane order, rounded, with their beat flags."""
        c = self._config
        group = self._delayed(m, group, c.taken_latency, "group")
        outputs, stage = [], optional(m, c.pipeline)
        order = lane_order(m, command, c.layers)
        switches = steer(m, bank.select, shuffle_reverses(order, c.layers), c.layers, to_banks=False)
        switches = self._delayed(m, switches, c.taken_latency, "switches")
        for j in range(c.engines_per_beat):
            chosen = Signal(lanes(c.width, c.lanes), name=f"chosen{j}", reset_less=True)
            with self._moving(m), m.Switch(group):
                for number in range(c.beat_groups):
                    with m.Case(number):
                        stage += chosen.eq(self.words[number * c.engines_per_beat + j])
            m.submodules[f"shuffle{j}"] = shuffle = LaneShuffle(c.width, c.layers)
            m.d.comb += [shuffle.en.eq(self.en), shuffle.i.eq(chosen), shuffle.switches.eq(switches)]
            ordered = shuffle.o
            if c.layers > 2:
                ordered = Signal(chosen.shape(), name=f"ordered{j}", reset_less=True)
                with self._moving(m):
                    stage += ordered.eq(permuted(m, shuffle.o, order, c.layers, to_banks=False))
            outputs += [ordered[lane] for lane in range(c.lanes)]
        beat = self._delayed(m, beat, c.store_latency - c.taken_latency - c.rounding_latency, "beat_ordered")
        if c.element_width == c.width:
            return outputs, beat, Const(0, 1)
        elements, clamped = zip(*(self._round(m, word) for word in outputs))
        return elements, self._delayed(m, beat, c.rounding_latency, "beat_rounded"), Cat(clamped).any()

    def _moving(self, m):
        """The enable of registers that only a deep pipeline has."""
        return m.If(self.en) if self._config.pipeline.is_deep else nullcontext()

    def _round(self, m, word):
        """Round half up to element_width bits; only the largest value can overflow."""
        c = self._config
        flags = []
        element = Signal(self.o.payload.words.shape().elem_shape, name="element")
        cut = c.width - c.element_width
        for part in ("re", "im"):
            rounded = Signal(signed(c.element_width + 1), name=f"rounded_{part}", reset_less=True)
            clamped = Signal(name=f"clamped_{part}", reset_less=True)
            result = Signal(signed(c.element_width), name=f"element_{part}", reset_less=True)
            with m.If(self.en):
                m.d.sync += rounded.eq(word[part][cut:].as_signed() + word[part][cut - 1])
                overflow = rounded[-2] & ~rounded[-1]
                m.d.sync += [result.eq(Cat(rounded[:-2], rounded[-1])), clamped.eq(overflow)]
                with m.If(overflow):  # a set of registers, no logic
                    m.d.sync += result[:-1].eq(-1)
            m.d.comb += element[part].eq(result)
            flags.append(clamped)
        return element, Cat(flags).any()

    def _output(self, m, words, beat, clamped):
        clamped_before, clamped_now = signals("clamped_before clamped_now")
        if self._config.pipeline.is_deep:
            m.submodules.skid = skid = SkidBuffer(self.o.payload.shape(), ("last",))
            out, moving, ready = skid.i, skid.moving, skid.i.ready
            wiring.connect(m, skid.o, wiring.flipped(self.o))
        else:
            out = self.o
            moving = ready = out.ready | ~beat.valid
        payload = out.payload
        m.d.comb += [
            self.en.eq(moving), self._go.eq(ready), out.valid.eq(beat.valid),
            clamped_now.eq(clamped_before | (beat.valid & clamped)),
            payload.exponent.eq(self.exponent), payload.saturated.eq(self.saturated | clamped_now),
            payload.last.eq(beat.last), self.block_out.eq(beat.last & self._go),
            self.block_saturated.eq(self.block_out & payload.saturated)]
        m.d.comb += [payload.words[position].eq(word) for position, word in enumerate(words)]
        if self._config.has_tlast:
            m.d.comb += [payload[name].eq(self.tlast[name]) for name in self.tlast.shape().members]
        with m.If(self.block_out):
            m.d.sync += clamped_before.eq(0)
        with m.Elif(self.en):
            m.d.sync += clamped_before.eq(clamped_now)
