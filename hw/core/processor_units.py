"""What a processor is made of: the array between a reader and a writer of one memory."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..array.array import Array
from ..config import CoreConfig
from ..isa.instruction import Fault
from ..isa.setup import (
    CONTROL_CLEAR, SETUP_CONTROL, SETUP_READ_SETS, SETUP_READER, SETUP_WRITER, TAG_BITS, UNITS)
from ..layouts import block_entry, block_report, load_command, processor_status, setup, unit_activity
from ..memory.gather import Gather
from ..memory.loader import Loader
from ..memory.outstanding import Outstanding
from ..memory.parameters import PLAYED_CYCLES
from ..memory.player import Player
from ..memory.port import MemoryParameters, MemoryPort
from ..memory.read_arbiter import ReadArbiter
from ..memory.reader import Reader
from ..memory.unpack import Unpack
from ..memory.writer import Writer
from ..primitives.shared import once
from ..primitives.signals import signals
from ..vector.normalise import Normalise
from ..vector.store_filters import VectorStore
from .block_log import BlockLog
from .unit_counters import UnitCounters

__all__ = ["ProcessorUnits"]

_MORE_READS = 32  # than in_flight may be without a beat: registers of the queues that count them


class ProcessorUnits(wiring.Component):
    """Runs a program of tagged blocks on a memory.

    ``port`` is the memory; ``i_setup`` as in the array, and the tables of reader and writer; ``block`` reports each
    block that has left the array; ``activity`` says what each unit did two cycles ago. With block_log the exponents and
    flags of the blocks stand at ``log_address`` in ``log_data``, as in BlockLog.

    ``abort_request`` in a cycle with ``status.busy`` stops the program, as a fault does: no request begins, and beats
    that still come are taken and dropped. ``drained``: the memory owes no answer (Outstanding); ``busy`` does not fall
    before. CONTROL_CLEAR, accepted after a fault, closes the setup port until all is drained; then ``restart`` asks for
    a reset of all this, until it comes. Without a fault CONTROL_CLEAR does nothing.

    Where the core loads programs (``config.has_loader``): ``load`` and ``loading`` as in Loader; a load may begin while
    ``status.busy`` is low and there is no fault, and is ``busy`` from then on.

    Format: elements of element_width bits in memory, W bits inside.
    Latency: depends on the program; ``sim/cycles/estimate.py`` gives the exact cycles.
    Throughput: as that of the array while memory moves its beats; ``sim/cycles/estimate.py``.
    Backpressure: every stall of the memory is honoured. After a fault nothing is asked of the memory but what was
    offered already.
    Reset: idle; memories and tables keep their contents. Where not ``drained`` the memory must be reset too.
    Cost: an Array, Reader, Gather, Writer, UnitCounters, Outstanding; with records a Player; with vector_lanes a
    Normalise, a VectorStore and a ReadArbiter; with block_log a BlockLog; with has_loader a Loader.
    Source: docs/reference/processor.md; docs/decisions/0032-a-stop-drains-before-it-clears.md.
    """

    def __init__(self, config: CoreConfig):
        if not config.is_processor:
            raise ValueError(f"memory_bits: {config.memory_bits}; allowed are 1..32 for a processor")
        self._config = c = config
        self.memory = MemoryParameters.of(c)
        super().__init__({
            "i_setup": In(stream.Signature(setup())), "port": Out(MemoryPort(self.memory)),
            "abort_request": In(1), "drained": Out(1), "restart": Out(1),
            "status": Out(processor_status()), "block": Out(block_report()),
            "activity": Out(data.StructLayout({unit: unit_activity() for unit in UNITS})),
            **({"log_address": In(range(c.block_log)), "log_data": Out(block_entry())} if c.block_log else {}),
            **({"load": In(load_command(c)), "loading": Out(1)} if c.has_loader else {})})

    @once("_config")
    def elaborate(self, platform):
        m = Module()
        c, port = self._config, self.port
        m.submodules.array = array = Array(c)
        m.submodules.reader = reader = Reader(c, c.in_flight)
        m.submodules.gather = gather = Gather(c)
        m.submodules.writer = writer = Writer(c)
        m.submodules.counters = counters = UnitCounters()
        wiring.connect(m, array.o_reader, reader.i_command)
        wiring.connect(m, array.o_writer, writer.i_command)
        wiring.connect(m, gather.o, array.i)
        wiring.connect(m, array.o, writer.i)
        player, beats = self._player(m, array, reader) if c.records else (None, reader.o)
        unpack = self._unpack(m, array, reader, player) if c.ring_words else None
        if c.row_ids:  # which the reader keeps itself
            with m.If(reader.o.payload.ids):
                m.d.comb += [player.i.valid.eq(0), reader.o.ready.eq(1)]
        loader = self._loader(m) if c.has_loader else None
        stopped = self._faults(m, array, reader, writer, player, loader)
        setup_write = self._setup(m, loader.o_setup if loader else self.i_setup, array, reader, writer, player, stopped)
        vector = self._vector(m, reader, beats, gather, writer, loader, stopped, setup_write)
        m.d.comb += [
            writer.written.eq(port.written), reader.completed.eq(writer.completed),
            reader.progress.eq(writer.progress),
            # A beat that LOAD or WRITE left over keeps the program from its end: the watchdog finds it.
            array.memory_idle.eq(reader.idle & gather.empty & writer.idle & ~array.o.valid & ~vector.rows_busy
                                 & (player.idle if player else 1)
                                 & (unpack.idle if unpack else 1)),
            reader.clear.eq(array.start), writer.clear.eq(array.start), counters.clear.eq(array.start),
            counters.activity.eq(self.activity)]
        self._activity(m, array, reader, writer, vector.writes_busy)

        leaving = Signal(block_report(), name="leaving")
        last = array.o.valid & array.o.ready & array.o.payload.last
        m.d.sync += [leaving.valid.eq(last), leaving.exponent.eq(array.o.payload.exponent),
                     leaving.saturated.eq(array.o.payload.saturated)]
        m.d.comb += self.block.eq(leaving)
        if c.block_log:
            m.submodules.log = log = BlockLog(c)
            m.d.comb += [log.clear.eq(array.start), log.block.eq(leaving), log.address.eq(self.log_address),
                         self.log_data.eq(log.data)]
        saturated = Signal(name="saturated")
        m.d.sync += saturated.eq((saturated | writer.saturated | vector.saturated) & ~array.start)
        m.d.comb += [self.status[name].eq(counters.counts[name]) for name in counters.counts.shape().members]
        further = {"saturated": saturated, "busy": ~self.drained | (loader.loading if loader else 0)}
        m.d.comb += [self.status[name].eq(array.status[name] | further.get(name, 0))
                     for name in array.status.shape().members]
        self._outstanding(m, writer)
        return m

    def _outstanding(self, m, writer):
        """What the memory owes. Reads are limited by the reader, or where residuals are read by the arbiter."""
        port = self.port
        m.submodules.outstanding = outstanding = Outstanding(
            (self._config.in_flight + _MORE_READS).bit_length(), writer.count_bits)
        m.d.comb += [getattr(outstanding, name).eq(Cat(getattr(port, name).valid, getattr(port, name).ready))
                     for name in ("read", "beats", "write")]
        m.d.comb += [outstanding.written.eq(port.written), self.drained.eq(outstanding.drained)]

    def _loader(self, m):
        """The loader, between host and setup port and between reads and memory (_reads)."""
        m.submodules.loader = loader = Loader(self._config, (self._config.in_flight + 1).bit_length() - 1)
        wiring.connect(m, wiring.flipped(self.i_setup), loader.i_setup)
        m.d.comb += [loader.load.eq(self.load), self.loading.eq(loader.loading)]
        return loader

    def _player(self, m, array, reader):
        """Records of the memory: beats of a FETCH leave the others for the player, the others wait until it is done.
        Returns the player, and the reader's other beats as a stream."""
        m.submodules.player = player = Player(self._config)
        beats = stream.Signature(reader.o.payload.shape()).create(path=("beats",))
        beat, plays = reader.o.payload, Signal(name="plays")
        m.d.comb += [
            plays.eq(beat.setup & beat.present), player.i.payload.eq(beat.beat),
            player.i.valid.eq(reader.o.valid & plays),
            beats.payload.eq(beat), beats.valid.eq(reader.o.valid & ~beat.setup & player.idle),
            reader.o.ready.eq(Mux(beat.setup, player.i.ready | ~beat.present, beats.ready & player.idle)),
            reader.played.eq(player.idle)]
        m.d.comb += [array.records_idle.eq(player.idle),
                     array.fetch_ended.eq(reader.o.valid & reader.o.ready & beat.setup & beat.last)]
        return player, beats

    def _unpack(self, m, array, reader, player):
        """Beats for the ring go to its unpacker, not to the player. Those that did not come from memory go nowhere."""
        m.submodules.unpack = unpack = Unpack(self._config)
        beat = reader.o.payload
        wanted = Signal(name="wanted")  # the beat is one of a matrix
        m.d.comb += [
            wanted.eq(beat.ring), unpack.i.payload.eq(beat.beat),
            unpack.i.valid.eq(reader.o.valid & wanted & beat.present), unpack.clear.eq(array.start),
            unpack.hold.eq(array.ring_hold), unpack.released.eq(array.released), array.filled.eq(unpack.filled),
            array.ring_write.eq(unpack.write), array.ring_write_en.eq(unpack.write_en)]
        if self._config.sparse:
            # Beats of others begin nothing here: their ready is no matter.
            m.d.comb += [unpack.sparse.eq(beat.picks), unpack.restart.eq(
                reader.o.valid & wanted & beat.last & (unpack.i.ready | ~beat.present))]
        with m.If(wanted):
            m.d.comb += [player.i.valid.eq(0), reader.o.ready.eq(unpack.i.ready | ~beat.present)]
        return unpack

    def _setup(self, m, port, array, reader, writer, player, stopped):
        """What comes at ``port``. The array takes every setup write and ignores those for the tables. Records go first.
        Returns the write, its strobe and, with records, that of the sets of READs, a cycle later."""
        given = array.i_setup
        write, closed = Signal(setup(), name="write"), Signal(name="closed")
        offered = port.valid & ~closed
        if player is None:
            m.d.comb += [given.payload.eq(port.payload), given.valid.eq(offered), port.ready.eq(given.ready & ~closed)]
        else:
            plays = player.write_valid
            m.d.comb += [given.payload.eq(Mux(plays, player.write, port.payload)), given.valid.eq(plays | offered),
                         array.plays.eq(plays), port.ready.eq(given.ready & ~plays & ~closed)]
        m.d.sync += write.eq(given.payload)
        self._clear(m, port, write, closed, stopped)
        for name, unit, target in (("reader", reader, SETUP_READER), ("writer", writer, SETUP_WRITER)):
            wanted = Signal(name=f"write_{name}")
            m.d.sync += wanted.eq(given.valid & given.ready & (given.payload.target == target))
            m.d.comb += [unit.write.address.eq(write.address), unit.write.data.eq(write.data),
                         unit.write_en.eq(wanted)]
        setup_strobe = Signal(name="setup_strobe")
        m.d.sync += setup_strobe.eq(given.valid & given.ready)
        if player is None:
            return write, setup_strobe, None
        writes_sets = Signal(name="write_sets")  # its sets are far away
        m.d.sync += writes_sets.eq(given.valid & given.ready & (given.payload.target == SETUP_READ_SETS))
        return write, setup_strobe, writes_sets

    def _clear(self, m, port, write, closed, stopped):
        """CONTROL_CLEAR closes the setup port, until what came before it is in its place and the memory is drained."""
        is_clear = (port.payload.target == SETUP_CONTROL) & (port.payload.data[:8] == CONTROL_CLEAR)
        settling = Signal(PLAYED_CYCLES, name="settling")  # since the word was accepted
        with m.FSM(name="clear_state"):
            with m.State("Open"):
                with m.If(port.valid & port.ready & is_clear):
                    m.d.sync += closed.eq(1)
                    m.next = "Judge"
            with m.State("Judge"):  # its upper bits, a cycle later as those of a start
                m.d.sync += settling.eq(0)
                with m.If(stopped & (write.data[8:] == 0)):
                    m.next = "Settle"
                with m.Else():
                    m.d.sync += closed.eq(0)
                    m.next = "Open"
            with m.State("Settle"):  # until the restart
                m.d.sync += settling.eq(Cat(1, settling))
                m.d.comb += self.restart.eq(settling[-1] & self.drained)

    def _vector(self, m, reader, beats, gather, writer, loader, stopped, setup_write):
        """The vector unit, or wires, between reader, whose ``beats`` of blocks come in, writer and memory port. Returns
        ``rows_busy``: beats or sums of rows are inside; ``writes_busy``: writes are inside; ``saturated``: a pulse for
        clamped elements."""
        c, port = self._config, self.port
        facts = Signal(data.StructLayout({"rows_busy": 1, "writes_busy": 1, "saturated": 1}), name="vector")
        if not c.vector_lanes:
            self._to_gather(m, beats, gather.i)
            self._reads(m, reader.read, reader.beats, loader, stopped)
            self._gated(m, writer.memory, port.write, stopped)
            return facts
        write, setup_strobe, writes_sets = setup_write
        m.submodules.store = store = VectorStore(c)
        m.submodules.arbiter = arbiter = ReadArbiter(c, c.in_flight)
        m.submodules.normalise = normalise = Normalise(
            c, c.vector_lanes, c.statistics_rows, c.statistics_units,
            data.StructLayout({"mode": 2, "last": 1, "changes": 1}))
        for source, sink in ((writer.memory, store.i), (store.read, arbiter.residual_read),
                             (arbiter.residual_beats, store.beats), (reader.read, arbiter.reader_read),
                             (arbiter.reader_beats, reader.beats)):
            wiring.connect(m, source, sink)
        self._reads(m, arbiter.read, arbiter.beats, loader, stopped)
        self._gated(m, store.o, port.write, stopped)

        rows, beat = normalise.i.payload, beats.payload
        m.d.comb += [
            normalise.i.valid.eq(beats.valid), beats.ready.eq(normalise.i.ready),
            rows.beat.eq(beat.beat), rows.keep.eq(beat.keep), rows.address.eq(beat.vector.address),
            rows.set.eq(beat.vector.set), rows.sums.eq(beat.vector.sums), rows.last_chunk.eq(beat.vector.ends)]
        m.d.comb += [rows.sideband[name].eq(beat[name]) for name in ("mode", "last", "changes")]
        m.d.comb += [
            gather.i.valid.eq(normalise.o.valid), normalise.o.ready.eq(gather.i.ready),
            gather.i.payload.beat.eq(normalise.o.payload.beat)]
        m.d.comb += [gather.i.payload[name].eq(normalise.o.payload.sideband[name])
                     for name in ("mode", "last", "changes")]
        m.d.comb += [
            store.setup.eq(write), store.setup_en.eq(setup_strobe), normalise.write.address.eq(write.address),
            normalise.write.data.eq(write.data),
            normalise.write_en.eq(setup_strobe & (write.target == SETUP_READ_SETS) if writes_sets is None
                                  else writes_sets),
            facts.rows_busy.eq(normalise.busy), facts.writes_busy.eq(store.busy),
            facts.saturated.eq(normalise.saturated | store.saturated)]
        return facts

    def _to_gather(self, m, beats, gathered):
        """The beats of the reader without what nobody asks for behind it."""
        if not self._config.records:
            wiring.connect(m, beats, gathered)
            return
        m.d.comb += [gathered.valid.eq(beats.valid), beats.ready.eq(gathered.ready),
                     *(gathered.payload[name].eq(beats.payload[name]) for name in gathered.payload.shape().members)]

    def _faults(self, m, array, reader, writer, player, loader):
        """Keeps the first fault; whether there is one."""
        code = Signal(Fault, name="code")
        tag = Signal(TAG_BITS, name="tag")
        stopped = Signal(name="stopped")
        completed = Signal(TAG_BITS, name="completed", reset_less=True)
        # 0 where nothing runs; with a reset of its own it would stand behind the gate of the restart
        idle_cycles = Signal(range(self._config.watchdog + 1), name="idle_cycles", reset_less=True)
        # clear: as in hw/array/counters.py
        clear = Signal(name="clear", init=1)
        moved, is_timeout, is_abort = signals("moved is_timeout is_abort")
        moves = [self.activity[unit].moving for unit in UNITS]
        # Many SETs in a row move nothing else.
        moves += [commands.valid & commands.ready for commands in (array.o_reader, array.o_writer)]
        # Beats of a SUMS or FETCH go no further, and may all have been asked for long ago.
        moving = moved
        if self._config.ring_words:  # as in _activity: that ready is late
            offered, taken = signals("beat_offered beat_taken")
            m.d.sync += [offered.eq(reader.o.valid), taken.eq(reader.o.ready)]
            moving = moved | (offered & taken)
        elif self._config.vector_lanes or self._config.records:
            moves.append(reader.o.valid & reader.o.ready)
        m.d.sync += [moved.eq(Cat(*moves, self.port.written).any()),
                     is_timeout.eq(idle_cycles == self._config.watchdog), clear.eq(array.start),
                     is_abort.eq(self.abort_request & self.status.busy)]
        bad_records = [unit.refused for unit in (player, loader) if unit]
        with m.If(moving | ~(array.running | loader.loading if loader else array.running)):
            m.d.sync += idle_cycles.eq(0)
        with m.Elif(~is_timeout):
            m.d.sync += idle_cycles.eq(idle_cycles + 1)
        with m.If(clear):
            m.d.sync += completed.eq(0)
        with m.Elif(writer.completed):
            m.d.sync += completed.eq(completed + 1)
        # A fault of the program is known with its own tag, others with that of the oldest block.
        with m.If(~stopped):
            refused = reduce(or_, bad_records, self.port.refused)
            if self._config.row_ids:
                refused |= reader.bad_id
            m.d.sync += [stopped.eq((array.fault != Fault.NONE) | reader.bad_after | refused | self.port.failed
                                    | is_timeout | is_abort), tag.eq(completed)]
            if self._config.ring_words:
                m.d.sync += code.eq(Fault.NONE)  # as it is: its enable would be the OR of all faults
            with m.If(array.fault != Fault.NONE):
                m.d.sync += [code.eq(array.fault), tag.eq(array.fault_tag)]
            with m.Elif(reader.bad_after):
                m.d.sync += [code.eq(Fault.AFTER), tag.eq(reader.tag)]
            with m.Elif(self.port.refused):
                m.d.sync += code.eq(Fault.REFUSED)
            if bad_records:
                with m.Elif(reduce(or_, bad_records)):
                    m.d.sync += code.eq(Fault.RECORD)
            if self._config.row_ids:
                with m.Elif(reader.bad_id):
                    m.d.sync += code.eq(Fault.ID)
            with m.Elif(self.port.failed):
                m.d.sync += code.eq(Fault.MEMORY_ERROR)
            with m.Elif(is_timeout):
                m.d.sync += code.eq(Fault.WATCHDOG)
            with m.Elif(is_abort):
                m.d.sync += code.eq(Fault.ABORTED)
            if self._config.ring_words:  # it comes late: behind all others
                with m.If(array.unread):
                    m.d.sync += [stopped.eq(1), code.eq(Fault.RING), tag.eq(array.fault_tag)]
        with m.Elif(code == Fault.NONE):  # a register was upset: who has stopped must not look as if it were done
            m.d.sync += code.eq(Fault.WATCHDOG)
        m.d.comb += [array.stop.eq(stopped), self.status.error.eq(code), self.status.tag.eq(tag)]
        if loader:
            m.d.comb += loader.stop.eq(stopped)
        return stopped

    def _reads(self, m, read, beats, loader, stopped):
        """The read side of the port, for those who ask while a program runs and for the loader before it."""
        if loader:
            wiring.connect(m, read, loader.i_read)
            wiring.connect(m, loader.o_beats, beats)
            read, beats = loader.o_read, loader.i_beats
        self._dropped(m, self.port.beats, beats, stopped)
        self._gated(m, read, self.port.read, stopped)

    def _gated(self, m, source, sink, stopped):
        """No new request after a fault; one that is on offer stays until it is taken."""
        offered, passing = signals("offered passing")
        m.d.sync += offered.eq(sink.valid & ~sink.ready)
        m.d.comb += [passing.eq(offered | ~stopped), sink.payload.eq(source.payload),
                     sink.valid.eq(source.valid & passing), source.ready.eq(sink.ready & passing)]

    def _dropped(self, m, source, sink, stopped):
        """Beats that come after a fault are taken, and nobody sees them."""
        m.d.comb += [sink.payload.eq(source.payload), sink.valid.eq(source.valid & ~stopped),
                     source.ready.eq(sink.ready | stopped)]

    def _activity(self, m, array, reader, writer, writes_busy):
        for unit in array.activity.shape().members:
            m.d.sync += self.activity[unit].eq(array.activity[unit])
        # As in the array: valid and ready meet behind registers.
        for name, unit, port in (("reader", reader, self.port.read), ("writer", writer, self.port.write)):
            now, before = self.activity[name], Signal(unit_activity(), name=f"{name}_activity")
            valid, ready, waits = (Signal(name=f"{name}_{part}") for part in ("valid", "ready", "waits"))
            m.d.sync += [valid.eq(port.valid), ready.eq(port.ready), waits.eq(reader.waiting), now.eq(before),
                         before.busy.eq(unit.running | (writes_busy if unit is writer else 0)),
                         before.block.eq(unit.tag)]
            no_input = waits if unit is reader else before.busy & ~valid
            m.d.comb += [before.moving.eq(valid & ready), before.waiting_input.eq(no_input),
                         before.waiting_output.eq(before.busy & ~before.moving & ~no_input)]
