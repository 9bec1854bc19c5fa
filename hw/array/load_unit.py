"""Load unit: stream beats into the half that the store unit is leaving."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..isa.instruction import Opcode
from ..layouts import input_beat, instruction, lanes
from ..primitives.pipeline import delay, optional
from ..primitives.signals import signals
from .address import BankAddress, Walker
from .engine import leading_magnitude
from .shuffle import LaneShuffle, lane_order, permuted, shuffle_reverses, steer

__all__ = ["LoadUnit"]


class LoadUnit(wiring.Component):
    """Runs LOAD instructions: takes one block from the stream, a beat of J engines at a time.

    Beat order, lanes and engine groups: docs/reference/architecture.md. A block may enter a half once it is vacant
    (``vacant``, taken by ``claim``). With ``overlap`` it may also enter step by step behind the store that empties the
    half (``store_steps``). ``magnitude`` is, at ``done``, the OR of the leading magnitude bits of the block. With
    has_tlast ``block_in`` is high where the beat that moves is the last one of its block.

    Format: elements of element_width bits enter as the upper bits of W-bit values; the bits below are zero.
    Latency: config.load_latency cycles from a beat to the write port.
    Throughput: one beat per cycle; load_latency + 4 cycles between the last beat of a block and the first of the next.
    Backpressure: ``i.ready`` is a register.
    Reset: idle, half 0 next.
    Cost: a Walker, a BankAddress, J LaneShuffles, three counters of row_bits.
    Source: docs/decisions/0005-words-enter-in-the-order-the-buffer-frees-them.md; docs/reference/architecture.md, Walks
    and overlap.
    """

    def __init__(self, config: CoreConfig):
        self._config = c = config
        super().__init__({
            "i_command": In(stream.Signature(instruction(Opcode.LOAD))),
            "i": In(stream.Signature(input_beat(c.element_width, c.beat_words))),
            "vacant": In(1), "claim": Out(1), "store_steps": In(c.row_bits + 1),
            "owns": Out(2), "rows": Out(data.ArrayLayout(c.row_bits, c.lanes)),
            "words": Out(data.ArrayLayout(lanes(c.width, c.lanes), c.engines_per_beat)), "en": Out(c.beat_groups),
            "half": Out(1), "magnitude": Out(c.magnitude_bits), "done": Out(1),
            "blocked": Out(1), "idle": Out(1), **({"block_in": Out(1)} if c.has_tlast else {}),
        })

    def elaborate(self, platform):
        m, c = Module(), self._config
        m.submodules.walker = walker = Walker(c.index_bits, c.pipeline, c.sub_bits, mirror=c.is_processor)
        command = Signal.like(self.i_command.payload, name="command")
        running, busy, claimed, accept, accepted, beat, step = signals("running busy claimed accept accepted beat step")
        last, final, sub_final, permit, allowed, has_lead = signals("last final sub_final permit allowed has_lead")
        refused = Signal(name="refused", init=1)  # ``allowed`` for whoever feeds this unit, as in SkidBuffer
        # The store must have passed more steps than this so that the next beat may enter.
        steps_needed = Signal(c.row_bits + 2, name="steps_needed")
        group, steps_left = Signal(range(c.beat_groups), name="group"), Signal(c.row_bits, name="steps_left")
        sub, sub_last = signals("sub sub_last", c.sub_bits)
        deep = int(c.pipeline.is_deep)  # the walker moves when the words have been aligned
        m.d.comb += [
            walker.inner.eq(command.inner), walker.outer.eq(command.outer),
            walker.restart.eq(delay(m, accepted, deep, "restart", reset_less=False)),
            self.i.ready.eq(~refused), beat.eq(self.i.valid & allowed),
            sub_final.eq(self._at_last(m, command, sub, sub_last, beat, accepted)),
            step.eq(beat & sub_final & (group == c.beat_groups - 1)), last.eq(step & final),
            walker.sub_order.eq(command.sub_order), walker.sub_at.eq(command.sub_at), *walker.measure(command),
            walker.sub.eq(delay(m, sub, deep, "sub")),
            walker.step.eq(delay(m, step, deep, "step", reset_less=False)),
            self.idle.eq(~busy), self.i_command.ready.eq(self.idle), accept.eq(self.i_command.valid & self.idle),
            permit.eq(running & ~last & (claimed | self.vacant | has_lead)),
            self.blocked.eq(running & ~allowed), self.claim.eq(running & ~claimed & self.vacant)]

        # Decided two cycles ahead, in which two beats may move. That ``store_steps`` is a cycle old errs on the safe
        # side.
        store_steps = Signal.like(self.store_steps, name="store_steps_before")
        m.d.sync += [store_steps.eq(self.store_steps), has_lead.eq(steps_needed < store_steps),
                     accepted.eq(accept), allowed.eq(permit), refused.eq(~permit)]
        with m.If(~(running & command.overlap)):
            m.d.sync += has_lead.eq(0)
        m.d.sync += claimed.eq(running & (claimed | self.vacant))
        with m.If(allowed):  # until then an instruction waits, while the columns still write into its half
            m.d.sync += self.owns.eq(Cat(~self.half, self.half))
        with m.If(beat):
            m.d.sync += sub.eq(Mux(sub_final, 0, sub + 1))
        with m.If(beat & sub_final):
            m.d.sync += group.eq(group + 1)
        with m.If(step):
            m.d.sync += group.eq(0)
        with m.If(~busy):
            m.d.sync += [command.eq(self.i_command.payload), steps_needed.eq(self.i_command.payload.lead)]
        with m.Elif(step):
            m.d.sync += steps_needed.eq(steps_needed + 1)
        with m.If(accepted):
            m.d.sync += [steps_left.eq(command.last_step), final.eq(command.last_step == 0),
                         sub_last.eq((1 << command.sub_bits) - 1)]
        with m.Elif(step):
            m.d.sync += [steps_left.eq(steps_left - 1), final.eq(steps_left == 1)]
        with m.If(last):
            m.d.sync += running.eq(0)
        with m.If(accept):
            m.d.sync += [running.eq(1), busy.eq(1)]
        with m.If(self.done):
            m.d.sync += [busy.eq(0), self.owns.eq(0), self.half.eq(~self.half)]
        self._end(m, last)
        self._datapath(m, command, walker, beat, group)
        return m

    def _end(self, m, last):
        m.d.comb += self.done.eq(delay(m, last, self._config.load_latency + 1, "last", reset_less=False))
        if self._config.has_tlast:
            m.d.comb += self.block_in.eq(last)

    def _at_last(self, m, command, sub, sub_last, beat, accepted):
        """Whether ``sub`` is at its last: from a register, because much of the control hangs on the end of a step."""
        if not self._config.sub_bits:
            return sub == sub_last
        is_last_sub = Signal(name="is_last_sub")
        with m.If(accepted):
            m.d.sync += is_last_sub.eq(command.sub_bits == 0)
        with m.Elif(beat):
            m.d.sync += is_last_sub.eq(Mux(is_last_sub, sub_last == 0, sub + 1 == sub_last))
        return is_last_sub

    def _datapath(self, m, command, walker, beat, group):
        c, stage = self._config, optional(m, self._config.pipeline)
        words = Signal(self.words.shape(), name="aligned", reset_less=True)
        padding = Const(0, c.width - c.element_width)
        for position in range(c.beat_words):
            word = self.i.payload.words[position]
            aligned = words[position // c.lanes][position % c.lanes]
            stage += [aligned.re.eq(Cat(padding, word.re)), aligned.im.eq(Cat(padding, word.im))]

        order = lane_order(m, command, c.layers)
        m.submodules.bank = bank = BankAddress(c.index_bits, c.layers, c.pipeline)
        m.d.comb += [bank.base.eq(walker.base), bank.window.eq(command.window),
                     self.rows.eq(delay(m, bank.rows, c.layers, "rows"))]
        # Plain words go to the banks of their lanes.
        select = bank.select & ~command.plain.replicate(c.layers) if c.sparse else bank.select
        switches = steer(m, select, shuffle_reverses(order, c.layers), c.layers, to_banks=True)
        for j in range(c.engines_per_beat):
            ordered = Signal(words[j].shape(), name=f"ordered{j}", reset_less=True)
            stage += ordered.eq(permuted(m, words[j], order, c.layers, to_banks=True) if c.layers > 2 else words[j])
            m.submodules[f"shuffle{j}"] = shuffle = LaneShuffle(c.width, c.layers)
            m.d.comb += [shuffle.i.eq(ordered), shuffle.switches.eq(switches), self.words[j].eq(shuffle.o)]
        enable = Signal(c.beat_groups, name="enable")
        m.d.comb += enable.eq(beat << group)
        m.d.comb += self.en.eq(delay(m, enable, c.load_latency - 1, "enable", reset_less=False))
        self._track_magnitude(m, words, delay(m, beat, int(c.pipeline.is_deep), "beat", reset_less=False))

    def _track_magnitude(self, m, words, valid):
        c = self._config
        values = [words[j][lane][part] for j in range(c.engines_per_beat) for lane in range(c.lanes)
                  for part in ("re", "im")]
        beat_magnitude = Signal(c.magnitude_bits, name="beat_magnitude", reset_less=True)
        m.d.sync += beat_magnitude.eq(reduce(or_, (leading_magnitude(v, c.magnitude_bits, c.width) for v in values)))
        valid = delay(m, valid, 1, "magnitude_valid", reset_less=False)
        with m.If(self.done):
            m.d.sync += self.magnitude.eq(0)
        with m.Elif(valid):
            m.d.sync += self.magnitude.eq(self.magnitude | beat_magnitude)
