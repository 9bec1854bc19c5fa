"""The array: E engines on one broadcast of addresses, control and coefficients. The only file that knows
every block."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..bus.stream.tlast_check import TlastCheck
from ..config import CoreConfig
from ..isa.instruction import Fault, Softmax
from ..isa.setup import CONTROL_START, LENGTHS, SETUP_CONTROL, SETUP_LENGTHS, SETUP_PROGRAM, TAG_BITS
from ..layouts import input_beat, memory_command, output_beat, ring_write, setup, status, unit_activity
from ..primitives.pipeline import delay, optional
from ..primitives.queue import CommandQueue
from ..primitives.ram import Ram, RamParameters
from ..primitives.signals import signals
from ..primitives.stream import Downsizer, Upsizer
from ..softmax.finisher import Finisher
from ..softmax.parameters import LENGTH_LATENCY
from .block_float import BlockFloat
from .coefficients import CoefficientMemory, PickMemory
from .counters import Counters
from .engine import Engine
from .fetch import FetchUnit
from .flow import Flow
from .load_unit import LoadUnit
from .parameters import QUEUE_PLACES
from .row_buffer import HalfPorts
from .sequencer import Sequencer
from .store_unit import StoreUnit

__all__ = ["Array"]


def _processor_ports(config: CoreConfig) -> dict:
    """Commands of the memory units, faults, and what the units do, for the processor around the array. ``plays``: what
    stands on ``i_setup`` is a record, which waits for nothing; ``fetch_ended``: the last beat of a FETCH goes to the
    player, which is idle where ``records_idle``. With a ring its words come in, as in hw/array/coefficients.py and
    hw/array/mac_counter.py; not where ``ring_hold``, as a word of the setup port is written into a bank. ``stop`` ends
    the program, and drops a start.
    ``unread`` is a fault too, hw/array/fetch.py."""
    records = {"plays": In(1), "fetch_ended": In(1), "records_idle": In(1)} if config.records else {}
    count = config.ring_bits + 1
    ring = {"ring_write": In(ring_write(config)),
            "ring_write_en": In(1), "ring_hold": Out(1), "filled": In(count), "released": Out(count), "unread": Out(1)}
    return {**records, **(ring if config.ring_words else {}),
            "o_reader": Out(stream.Signature(memory_command())), "o_writer": Out(stream.Signature(memory_command())),
            "memory_idle": In(1), "stop": In(1), "start": Out(1), "running": Out(1),
            "fault": Out(Fault), "fault_tag": Out(TAG_BITS),
            "activity": Out(data.StructLayout({unit: unit_activity() for unit in ("load", "cal", "store")}))}


class Array(wiring.Component):
    """An array of butterfly engines that runs a program on blocks from its input stream.

    Ports, order of words, setup targets, rounding: docs/reference/architecture.md. In a processor
    (hw/core/processor.py) queues stand between the fetch unit and the others, and more ports lead out. With has_tlast
    beats of ``i`` have ``last``, and TlastCheck says where it stood at another beat than the last one of a block.

    Format: elements of element_width bits on the streams, W bits inside, Q2.(C-2) coefficients; rounding and
    saturation: hw/numeric.py.
    Latency: a block leaves when it has been loaded and computed; ``sim/cycles/estimate.py`` gives the exact cycles.
    Throughput: one group of P words per engine and cycle; in steady state loading, computing and storing overlap.
    Backpressure: every stall on ``i``, ``o`` or ``i_setup`` is honoured; ``i.ready`` and ``o.valid`` come out of
    registers when K >= P.
    Reset: idle; memories keep their contents.
    Cost: n_multipliers multipliers, 2 * P * E bank RAMs, n_units coefficient RAMs, one program RAM.
    Source: docs/design.md sections 4 and 5.
    """

    def __init__(self, config: CoreConfig):
        self._config = c = config
        super().__init__({
            "i": In(stream.Signature(input_beat(c.element_width, c.stream_words, c.has_tlast))),
            "o": Out(stream.Signature(output_beat(c.element_width, c.stream_words, c.has_tlast))),
            "i_setup": In(stream.Signature(setup())),
            "status": Out(status(c.has_tlast)), **(_processor_ports(c) if c.is_processor else {})})

    def elaborate(self, platform):
        m = Module()
        c = self._config
        m.submodules.fetch = fetch = FetchUnit(c)
        m.submodules.load = load = LoadUnit(c)
        m.submodules.store = store = StoreUnit(c)
        m.submodules.sequencer = sequencer = Sequencer(c)
        m.submodules.flow = flow = Flow(c)
        m.submodules.ports = ports = HalfPorts(c)
        m.submodules.coefficients = coefficients = CoefficientMemory(c)
        m.submodules.block_float = block_float = BlockFloat(c)
        queued = self._commands(m, fetch, load, sequencer, store)
        self._streams(m, load, store)
        starting, start = self._setup(m, fetch, coefficients)
        self._tokens(m, load, sequencer, flow, store, fetch, queued)

        m.d.comb += [
            flow.valid.eq(sequencer.valid), flow.start.eq(sequencer.start), flow.finish.eq(sequencer.finish),
            flow.half.eq(sequencer.half), flow.pass_fields.eq(sequencer.pass_fields),
            flow.dynamic_shifts.eq(block_float.shifts),
            coefficients.group.eq(flow.group), coefficients.pass_fields.eq(sequencer.pass_fields),
            ports.read.eq(flow.read), ports.write.eq(flow.write),
            ports.store_rows.eq(store.rows), ports.store_en.eq(store.en), ports.store_owns.eq(store.owns),
            ports.load_rows.eq(load.rows), ports.load_owns.eq(load.owns),
            block_float.pass_fields.eq(sequencer.pass_fields), block_float.half.eq(sequencer.half),
            block_float.start.eq(sequencer.start),
            block_float.load_done.eq(load.done), block_float.load_half.eq(load.half),
            block_float.load_magnitude.eq(load.magnitude),
            block_float.result_valid.eq(flow.result_valid), block_float.result_half.eq(flow.result_half),
            block_float.result_start.eq(flow.result_start), block_float.shift_start.eq(flow.shift_start)]
        if c.ring_words:
            self._mac(m, sequencer, flow, coefficients, block_float, start)
        # The next block of the half may begin while the last beats of this one wait for the output.
        with m.If(store.take):
            m.d.sync += [store.exponent.eq(block_float.exponent[store.half]),
                         store.saturated.eq(block_float.saturated.bit_select(store.half, 1))]
        engines = [self._engine(m, e, flow, ports, coefficients, load, store, block_float) for e in range(c.engines)]
        if c.softmax_pairs:
            self._softmax(m, sequencer, flow, engines, block_float)

        m.submodules.counters = counters = Counters()
        m.d.comb += [
            counters.clear.eq(start), counters.running.eq(fetch.running), counters.computing.eq(sequencer.computing),
            counters.hazard.eq(sequencer.hazard), counters.load_blocked.eq(load.blocked),
            counters.load_idle.eq(load.idle), counters.store_idle.eq(store.idle),
            counters.block_out.eq(store.block_out), counters.saturated.eq(store.block_saturated),
            counters.starting.eq(starting), self.status.eq(counters.status)]
        if c.has_tlast:
            self._tlast(m, load, store, start)
        if c.ring_words:
            with m.If(sequencer.starved):  # operands are an input too, whatever the store unit does
                m.d.comb += [counters.load_blocked.eq(0), counters.store_idle.eq(1)]
        if c.is_processor:
            m.d.comb += [self.start.eq(start), self.running.eq(fetch.running)]
            self._activity(m, load, sequencer, store)
        return m

    def _mac(self, m, sequencer, flow, coefficients, block_float, start):
        """The ring, and what a MAC adds to the way of a group."""
        m.d.comb += [
            flow.mac.eq(sequencer.mac), flow.mac_fields.eq(sequencer.mac_fields), flow.row.eq(sequencer.row),
            flow.step_last.eq(sequencer.step_last), coefficients.mac.eq(sequencer.mac),
            coefficients.ring.eq(sequencer.place), coefficients.ring_write.eq(self.ring_write),
            coefficients.ring_write_en.eq(self.ring_write_en),
            sequencer.filled.eq(self.filled), self.released.eq(sequencer.released), sequencer.clear.eq(start),
            block_float.mac_half.eq(flow.clamped_half)]
        if self._config.softmax_pairs:
            m.d.comb += flow.pair.eq(sequencer.pair)
        if self._config.sparse:
            m.submodules.picks = picks = PickMemory(self._config)
            m.d.comb += [picks.place.eq(sequencer.place), picks.write.eq(self.ring_write),
                         picks.write_en.eq(self.ring_write_en), flow.picks.eq(picks.o)]

    def _commands(self, m, fetch, load, sequencer, store):
        """Connects the fetch unit with the units. Returns whether instructions wait in queues."""
        units = {"load": (fetch.o_load, load.i_command), "pass": (fetch.o_pass, sequencer.i),
                 "store": (fetch.o_store, store.i_command)}
        if not self._config.is_processor:
            for source, sink in units.values():
                wiring.connect(m, source, sink)
            return Const(0)
        units |= {"reader": (fetch.o_reader, wiring.flipped(self.o_reader)),
                  "writer": (fetch.o_writer, wiring.flipped(self.o_writer))}
        if self._config.records:
            m.d.comb += [fetch.fetch_ended.eq(self.fetch_ended), fetch.records_idle.eq(self.records_idle)]
        if self._config.ring_words:
            m.d.comb += [fetch.ring_read.eq(sequencer.is_read), self.unread.eq(fetch.unread)]
        m.d.comb += [fetch.stop.eq(self.stop), self.fault.eq(fetch.fault), self.fault_tag.eq(fetch.fault_tag)]
        queued = Signal(name="queued")
        empty = []
        for name, (source, sink) in units.items():
            m.submodules[f"{name}_queue"] = queue = CommandQueue(source.payload.shape(), QUEUE_PLACES)
            wiring.connect(m, source, queue.i)
            wiring.connect(m, queue.o, sink)
            empty.append(queue.empty)
        m.d.sync += queued.eq(~Cat(*empty).all())
        return queued

    def _activity(self, m, load, sequencer, store):
        """What each unit did in the cycle before, for counters and the trace.

        Valid and ready meet behind their registers: gates shared with this would be drawn away from the units."""
        busy = {"load": Signal(name="load_busy"), "cal": Signal(name="cal_busy"), "store": Signal(name="store_busy")}
        now = {name: Signal(name=f"{name}_now") for name in (
            "i_valid", "i_ready", "o_valid", "o_ready", "blocked", "computing", "hazard", "store_waits")}
        m.d.sync += [
            now["i_valid"].eq(self.i.valid), now["i_ready"].eq(self.i.ready), now["o_valid"].eq(self.o.valid),
            now["o_ready"].eq(self.o.ready), now["blocked"].eq(load.blocked), now["hazard"].eq(sequencer.hazard),
            now["computing"].eq(sequencer.computing), now["store_waits"].eq(~store.idle & ~busy["store"])]
        shown = {unit: self.activity[unit] for unit in busy}
        for unit, begins, ended in (("cal", sequencer.take, sequencer.finish), ("store", store.take, store.block_out)):
            with m.If(ended):
                m.d.sync += busy[unit].eq(0)
            with m.If(begins):
                m.d.sync += busy[unit].eq(1)
            m.d.sync += shown[unit].busy.eq(busy[unit])
        m.d.sync += [busy["load"].eq(~load.idle), *(
            shown[unit].block.eq(shown[unit].block + ended) for unit, ended in (
                ("load", load.done), ("cal", sequencer.finish), ("store", store.block_out)))]
        taking, giving = now["i_valid"] & now["i_ready"], now["o_valid"] & now["o_ready"]
        for unit, moving, no_input, no_output in (
                ("load", taking, busy["load"] & ~now["blocked"] & ~taking, now["blocked"]),
                ("cal", now["computing"], ~now["computing"] & ~now["hazard"], 0),
                ("store", giving, now["store_waits"], now["o_valid"] & ~now["o_ready"])):
            m.d.comb += [shown[unit].moving.eq(moving), shown[unit].waiting_input.eq(no_input),
                         shown[unit].waiting_output.eq(no_output)]
        m.d.comb += shown["load"].busy.eq(busy["load"])

    def _engine(self, m, e, flow, ports, coefficients, load, store, block_float):
        c = self._config
        engine = Engine(c)
        m.submodules[f"engine{e}"] = engine
        group, j = divmod(e, c.engines_per_beat)
        m.d.comb += [
            engine.halves.eq(ports.o), engine.control.eq(flow.control), engine.coefs.eq(coefficients.o),
            engine.load.eq(load.words[j]), engine.load_en.eq(load.en[group]),
            engine.store_half.eq(store.half), engine.store_en.eq(store.en), store.words[e].eq(engine.store),
            block_float.magnitudes[e].eq(engine.magnitude), block_float.saturations[e].eq(engine.saturated)]
        if c.ring_words:
            m.d.comb += block_float.mac_saturations[e].eq(engine.mac_saturated)
        return engine

    def _softmax(self, m, sequencer, flow, engines, block_float):
        """Finishers, each in front of its engines, and the table of lengths."""
        c = self._config
        share = c.engines // c.finishers
        fields, mask = sequencer.mac_fields, sequencer.mask_fields
        is_own = sequencer.mac & (fields.softmax != 0) & ~fields.keep
        length = self._length(m, mask.length)
        divides = delay(m, fields.softmax == Softmax.VALUES, 1, "divides")
        load = delay(m, sequencer.start & is_own, LENGTH_LATENCY, "softmax_start", reset_less=False)
        finishers = []
        for number in range(c.finishers):
            first = number * share
            m.submodules[f"finisher{number}"] = finisher = Finisher(c, first)
            finishers.append(finisher)
            m.d.comb += [
                finisher.load.eq(load), finisher.divides.eq(divides),
                finisher.fresh.eq(fields.fresh), finisher.last_pair.eq(fields.last_pair),
                finisher.shift.eq(fields.shift), finisher.mask.eq(mask), finisher.length.eq(length),
                finisher.begin.eq(flow.softmax.begin), finisher.ahead.eq(flow.softmax.ahead),
                finisher.value.eq(engines[first].front)]
            for engine, behind in zip(engines[first:first + share], [*engines[first + 1:first + share], None]):
                self._chain(m, flow, finisher, engine, behind)
            # All words stand before another pass has a half of its own, so a cycle more does no harm.
            with m.If(delay(m, finisher.saturated, 1, f"finisher_saturated{number}", reset_less=False)):
                m.d.comb += block_float.mac_saturations[first].eq(1)
        info_pair = Signal(flow.rows.info_pair.shape(), name="info_pair")
        infos_ended = delay(m, finishers[0].infos_end, 1, "infos_ended", reset_less=False)
        with m.If(infos_ended):
            m.d.sync += info_pair.eq(Mux(info_pair == fields.last_pair, 0, info_pair + 1))
        with m.If(load):
            m.d.sync += info_pair.eq(0)
        m.d.comb += flow.words_end.eq(finishers[0].words_end)
        for engine in engines:
            m.d.comb += [engine.rows.eq(flow.rows), engine.rows.write_infos.eq(infos_ended),
                         engine.rows.info_pair.eq(info_pair)]

    def _chain(self, m, flow, finisher, engine, behind):
        """An engine between its finisher and the engine ``behind`` it."""
        m.d.comb += [
            engine.chain.load.eq(flow.softmax.begin), engine.chain.shift.eq(finisher.shifts),
            engine.chain.words.eq(finisher.word_moves), engine.chain.exponents.eq(finisher.exponent_moves),
            engine.chain.infos.eq(finisher.info_moves)]
        for name in ("word", "exponent", "info"):
            given = getattr(behind, f"front_{name}") if behind else getattr(finisher, name)
            m.d.comb += getattr(engine, f"behind_{name}").eq(given)
        if behind:
            m.d.comb += engine.behind.eq(behind.front)

    def _length(self, m, number):
        """The number of keys of entry ``number`` - 1, LENGTH_LATENCY cycles later."""
        c, write = self._config, self._setup_write
        m.submodules.lengths = lengths = Ram(RamParameters(16, LENGTHS, c.target, c.pipeline))
        chosen = Signal(number.shape(), name="length_number")
        m.d.sync += chosen.eq(number - 1)
        m.d.comb += [
            lengths.r_en.eq(1), lengths.r_addr.eq(chosen), lengths.w_addr.eq(write.address),
            lengths.w_data.eq(write.data), lengths.w_en.eq(self._setup_valid & (write.target == SETUP_LENGTHS))]
        return lengths.r_data

    def _streams(self, m, load, store):
        """Width converters where a beat of the stream is less than the lanes of one engine."""
        c = self._config
        if c.has_tlast:
            m.submodules.tlast_check = self._check = check = TlastCheck(c)
            wiring.connect(m, wiring.flipped(self.i), check.i)
            wiring.connect(m, check.o, load.i)
        elif c.gearbox == 1:
            wiring.connect(m, wiring.flipped(self.i), load.i)
        else:
            m.submodules.upsizer = upsizer = Upsizer(input_beat(c.element_width, c.stream_words), c.gearbox)
            wiring.connect(m, wiring.flipped(self.i), upsizer.i)
            wiring.connect(m, upsizer.o, load.i)
        if c.gearbox == 1:
            wiring.connect(m, store.o, wiring.flipped(self.o))
            return
        narrow = output_beat(c.element_width, c.stream_words, c.has_tlast)
        m.submodules.downsizer = downsizer = Downsizer(narrow, c.gearbox)
        wiring.connect(m, store.o, downsizer.i)
        wiring.connect(m, downsizer.o, wiring.flipped(self.o))

    def _tlast(self, m, load, store, start):
        """What was wrong with the ends of blocks that came in: in the status, and behind the block that it spoils."""
        check = self._check
        m.d.comb += [check.clear.eq(start), check.block_in.eq(load.block_in), check.loaded.eq(load.done),
                     check.half.eq(load.half)]
        # As the exponent: the next block of the half may begin while the last beats of this one wait.
        with m.If(store.take):
            m.d.sync += store.tlast.eq(check.blocks[store.half])
        m.d.comb += [self.status[name].eq(check.flags[name]) for name in check.flags.shape().members]

    def _setup(self, m, fetch, coefficients):
        """Setup writes pass a register without enable; a start closes the port until the array is idle."""
        payload = self.i_setup.payload
        write = Signal(setup(), name="write")
        accepted, write_valid, write_program = signals("accepted write_valid write_program")
        self._setup_write, self._setup_valid = write, write_valid
        starting, plain, start = signals("starting plain start")
        is_open = ~starting | self.plays if self._config.records else ~starting
        m.d.comb += [
            self.i_setup.ready.eq(is_open), accepted.eq(self.i_setup.valid & is_open),
            start.eq(starting & plain & ~fetch.running & ~(self.stop if self._config.is_processor else 0)),
            fetch.start.eq(start),
            fetch.write.eq(write), fetch.write_en.eq(write_program),
            coefficients.write.eq(write), coefficients.write_valid.eq(write_valid)]
        stage = optional(m, self._config.pipeline)
        stage += [write.eq(payload), write_valid.eq(accepted),
                  write_program.eq(accepted & (payload.target == SETUP_PROGRAM))]
        if self._config.ring_words:  # n_units is a power of two: target < n_units
            stage += self.ring_hold.eq(accepted & ~payload.target[self._config.n_units.bit_length() - 1:].any())
        command = (payload.target == SETUP_CONTROL) & (payload.data[:8] == CONTROL_START)
        # The upper bits are judged a cycle later: if one is set the port was closed for that cycle, and no
        # start.
        m.d.sync += [plain.eq(Mux(starting, plain, payload.data[8:] == 0)),
                     starting.eq(Mux(starting, plain & fetch.running, self.i_setup.valid & command))]
        return starting & plain, start

    def _tokens(self, m, load, sequencer, flow, store, fetch, queued):
        """Hand-over of halves: vacant -> loaded -> computed -> vacant, each counted."""
        # A saturation may reach its flag after the last result has reached its bank.
        finished = delay(m, flow.done, self._config.maximum_tree_latency, "finished", reset_less=False)
        vacant = Signal(2, name="vacant", init=2)
        loaded, computed = signals("loaded computed", 2)
        for tokens, given, taken in ((vacant, store.done, load.claim), (loaded, load.done, sequencer.take),
                                     (computed, finished, store.take)):
            with m.If(given & ~taken):
                m.d.sync += tokens.eq(tokens + 1)
            with m.If(~given & taken):
                m.d.sync += tokens.eq(tokens - 1)
        in_flight = Signal(2, name="in_flight")
        with m.If(sequencer.take & ~finished):
            m.d.sync += in_flight.eq(in_flight + 1)
        with m.If(~sequencer.take & finished):
            m.d.sync += in_flight.eq(in_flight - 1)
        m.d.comb += [
            load.vacant.eq(vacant != 0), sequencer.loaded.eq(loaded != 0), store.computed.eq(computed != 0),
            load.store_steps.eq(store.steps),
            fetch.units_idle.eq(load.idle & sequencer.idle & store.idle & (in_flight == 0) & (computed == 0)
                                & ~queued & (self.memory_idle if self._config.is_processor else 1))]
