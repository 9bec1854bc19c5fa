"""Which signals a timing picture shows, and from when on: one table for all blocks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Value
from amaranth.lib import stream, wiring

from .core_run import CoreDesign, DenseDesign
from .picture import Row, draw
from .record import Part
from .small_runs import DESIGNS

__all__ = ["Shot", "SHOTS", "NO_PICTURE", "draw_all"]

_CORES = {"core": CoreDesign, "dense": DenseDesign}
_WIDE = 40  # bits; wider words are numbered


@dataclass(frozen=True)
class Shot:
    """A window of a run on one component.

    ``rows``: ports, separated by blanks; the name of a stream stands for its valid, ready and payload. The window
    begins ``before`` cycles in front of a cycle in which ``at`` is not 0 and was 0 before; a stream is 1 while a word
    moves. Of all such windows the one in which most happens is taken. ``design``: a name in small_runs.DESIGNS or
    _CORES. ``instance``: which of equal components.
    """

    component: str
    rows: str
    at: str
    before: int = 2
    cycles: int = 22
    design: str = "core"
    instance: int = 0


# The file of a block below hw/, and its pictures.
SHOTS: dict[str, tuple[Shot, ...]] = {
    "array/address.py": (Shot("GroupAddress", "valid start digit group select rows[0] rows[1]", "start"),),
    "array/array.py": (Shot("Array", "i o status.computing status.blocks", "o", 12, 40, design="array"),),
    "array/block_float.py": (Shot("BlockFloat", "start half result_valid result_half shift_start shifts[0] shifts[1] "
                                  "exponent[0]", "shift_start", 20, 40, design="array"),),
    "array/butterfly.py": (Shot("ButterflyUnit", "a.re b.re coef.word.c0 coef.word.s0 shift y1.re y2.re", "a.re", 2),),
    "array/checker.py": (Shot("Checker", "instruction address taken fault tag looping", "taken", 4),),
    "array/coefficients.py": (Shot("CoefficientMemory", "group pass_fields.coef_base pass_fields.coef_mask_bits "
                                   "o[0].word.c0 o[2].word.c0", "group", 2),),
    "array/counters.py": (Shot("Counters", "starting running computing hazard load_blocked status.computing "
                               "status.waiting_input", "computing", 4),),
    "array/engine.py": (Shot("Engine", "halves[0].compute_en halves[1].compute_en load_en load[0].re store_en "
                             "store[0].re magnitude saturated", "halves[0].compute_en", 4, 40),),
    "array/fetch.py": (Shot("FetchUnit", "running o_reader.valid o_reader.ready o_load.valid o_load.ready o_pass.valid "
                            "o_pass.ready o_store.valid o_writer.valid", "o_pass.valid", 14, 40),),
    "array/flow.py": (Shot("Flow", "valid start finish group half result_valid result_start done", "start", 2, 40),),
    "array/load_unit.py": (Shot("LoadUnit", "i_command.valid vacant claim i en half rows[0] done", "i", 3, 26),),
    "array/mac_column.py": (Shot("MacColumn", "dots[0].re dots[1].re valid first last shift o o_valid", "last", 5, 26,
                                 design="dense"),),
    "array/mac_counter.py": (Shot("MacCounter", "load step row place step_last panel_last opens filled released",
                                  "load", 2, 30, design="dense"),),
    "array/mac_flow.py": (Shot("MacFlow", "start valid step_last control.columns[0].last control.columns[1].last "
                               "control.capture_re control.result write.valid done", "start", 2, 56, design="dense"),),
    "array/row_buffer.py": (Shot("RowBuffer", "load_en load[0].re halves[0].from_load halves[0].compute_en "
                                 "compute[0].re result[0].re", "halves[0].compute_en", 4, 40),),
    "array/sequencer.py": (Shot("Sequencer", "i loaded take valid start finish hazard", "take", 3),),
    "array/shuffle.py": (Shot("LaneShuffle", "en switches i[0].re i[1].re i[2].re i[3].re o[0].re o[1].re", "i[0].re",
                              2),),
    "array/store_unit.py": (Shot("StoreUnit", "i_command.valid computed take steps o done", "take", 2),),
    "bus/axi4/burst.py": (Shot("Gatherer", "i waiting final issue taken burst.address burst.more", "i", 1,
                               design="axi"),),
    "bus/axi4/master.py": (Shot("AxiMaster", "port.read m_axi_arvalid m_axi_araddr m_axi_arlen m_axi_rvalid "
                                "m_axi_rdata port.beats.valid", "port.read", 1, 24, design="axi"),
                           Shot("AxiMaster", "port.write.valid port.write.ready m_axi_awvalid m_axi_awaddr m_axi_awlen "
                                "m_axi_wvalid m_axi_wlast m_axi_bvalid port.written", "port.write", 1, 24,
                                design="axi")),
    "bus/axi4/reader.py": (Shot("AxiReader", "read ar r.valid r.ready beats", "read", 1, 24, design="axi"),),
    "bus/axi4/writer.py": (Shot("AxiWriter", "write aw w b.valid written", "write", 1, 24, design="axi"),),
    "bus/control/axi_lite.py": (),
    "bus/control/register_file.py": (),
    "bus/control/wide_counters.py": (),
    "bus/control/wishbone.py": (),
    "bus/stream/axi_stream.py": (),
    "bus/stream/tlast_check.py": (),
    "core/axi_processor.py": (),
    "core/block_log.py": (Shot("BlockLog", "clear block.valid block.exponent block.saturated address data",
                               "block.valid", 3),),
    "core/controlled_core.py": (),
    "core/processor.py": (),
    "core/processor_units.py": (Shot("ProcessorUnits", "port.read port.beats.valid port.write.valid port.written "
                                     "block.valid status.busy", "port.read", 1, 26),),
    "core/streamed_array.py": (),
    "core/unit_counters.py": (Shot("UnitCounters", "activity.reader.moving activity.load.moving counts.reader_moving "
                                   "counts.load_moving counts.load_waiting_input", "activity.load.moving", 3),),
    "link/framer.py": (Shot("FrameReceiver", "i occupied position write o", "i", 1, 24, design="link"),
                       Shot("FrameSender", "i.valid i.payload o fetch position", "i.valid", 1, 24, design="link")),
    "link/link.py": (Shot("Link", "i o_setup.valid o.valid", "i", 1, 24, design="link"),
                     Shot("Link", "i.valid i.ready o_setup o", "o_setup", 18, 30, design="link")),
    "link/bridge.py": (),
    "link/uart.py": (Shot("UartReceiver", "rx o", "o.valid", 40, 44, design="receiver"),
                     Shot("UartTransmitter", "i tx", "i", 1, 44, design="transmitter")),
    "memory/emit.py": (Shot("Emit", "places i memory issued ended", "i", 3),),
    "memory/gather.py": (Shot("Gather", "i.valid i.ready i.payload.mode i.payload.beat o empty", "i", 1),),
    "memory/read_arbiter.py": (Shot("ReadArbiter", "reader_read.valid reader_read.ready residual_read.valid "
                                    "residual_read.ready read beats.valid reader_beats.valid residual_beats.valid",
                                    "residual_read", 3, 24),),
    "memory/host_access.py": (),
    "memory/loader.py": (),
    "memory/outstanding.py": (),
    "memory/player.py": (Shot("Player", "i.valid i.ready write_valid write.target idle", "i.valid", 2),),
    "memory/unpack.py": (Shot("Unpack", "i.valid i.ready write_en write.address hold filled released idle", "i", 2, 26,
                              design="dense"),),
    "memory/row_ids.py": (),
    "memory/reader.py": (Shot("Reader", "i_command.valid i_command.ready read beats o.valid o.ready waiting",
                              "i_command.valid", 1, 28),),
    "memory/scatter.py": (Shot("Scatter", "i.valid i.ready i.payload.mode i.payload.words o", "i", 1),),
    "memory/scratchpad.py": (Shot("Scratchpad", "port.write.valid port.write.payload.address port.written port.read "
                                  "port.beats", "port.write", 1, design="scratchpad"),),
    "memory/sequence.py": (Shot("BeatSequence", "start o.valid o.ready o.payload.address chunks", "start", 1),),
    "memory/writer.py": (Shot("Writer", "i memory written completed progress running", "i", 1, 30),),
    "primitives/adder.py": (),
    "primitives/multiplier.py": (Shot("Multiplier", "a b o", "a", 2),),
    "primitives/queue.py": (Shot("CommandQueue", "i o empty", "i", 1, 24),),
    "primitives/ram.py": (Shot("Ram", "w_en w_addr r_en r_addr r_data", "r_addr", 2),),
    "primitives/stream.py": (Shot("SkidBuffer", "i o moving", "i", 0, design="skid"),
                             Shot("Upsizer", "i o", "i", 0, design="upsizer"),
                             Shot("Downsizer", "i o", "i", 0, design="downsizer")),
    "primitives/transposer.py": (Shot("Transposer", "i.valid i.ready i.payload.cells i.payload.last o", "i", 1),),
    "softmax/chain.py": (),
    "softmax/exponential.py": (),
    "softmax/finisher.py": (),
    "softmax/key_mask.py": (),
    "softmax/reciprocal.py": (),
    "softmax/row_memory.py": (),
    "softmax/row_state.py": (),
    "vector/activation.py": (Shot("ActivationLane", "y rectify gelu fall z clamped", "gelu", 2),),
    "vector/argmax.py": (Shot("Argmax", "i o busy", "i", 1),),
    "vector/normalise.py": (Shot("Normalise", "i o idle", "o", 6, 24),),
    "vector/rescale.py": (Shot("Rescale", "i o saturated", "i", 1, 36),),
    "vector/residual.py": (Shot("ResidualAdder", "i read beats.valid beats.ready o", "read", 3, 26),),
    "vector/statistics.py": (Shot("RowSums", "valid elements[0] last done sum", "last", 8),
                             Shot("StatisticsUnit", "start row n done o_row", "start", 1, 44)),
    "vector/store_filters.py": (Shot("VectorStore", "i read.valid read.ready beats.valid o", "read", 3, 26),),
}

# Blocks without a picture, and why.
NO_PICTURE = {
    "primitives/adder.py": "The block has no registers: its sum follows its operands in the same cycle.",
    "memory/row_ids.py": "A table: an id is kept three cycles after it comes, a place is there one or two cycles after "
                         "it is asked for.",
    "memory/host_access.py": "Only a board with a processor has it: an access of a host takes the place of a request "
                             "of the core, and its answer that of a beat or of a report.",
    "link/bridge.py": "Only a board with a processor has it: a byte takes ten bits of a serial line, everything else a "
                      "few cycles.",
    "memory/loader.py": "Only a design with a control bus has it: a read leaves a cycle behind the load, a word a "
                        "cycle behind its beat, and words follow one another.",
    "core/processor.py": "One register: the units are reset in the cycle behind the one in which they ask for it.",
    "memory/outstanding.py": "One signal that is low while the memory owes an answer, and three cycles longer.",
    "core/axi_processor.py": "The timing is that of the processor and of the AXI master, each on its own page.",
    "core/controlled_core.py": "The timing is that of the core, of the slave and of the registers, each on its own "
                               "page.",
    "bus/control/axi_lite.py": "Only a design with a control bus has it: an access leaves two cycles behind its "
                               "address, a response one cycle behind its answer.",
    "bus/control/register_file.py": "Only a design with a control bus has it: an answer follows its access by four "
                                    "cycles, that to a setup word waits for the core.",
    "bus/control/wide_counters.py": "Only a design with a control bus has it: counters are caught in one cycle and "
                                    "stored one after the other, three cycles each.",
    "bus/control/wishbone.py": "Only a design with a control bus has it: an access leaves a cycle behind its strobe, "
                               "an acknowledgement a cycle behind its answer.",
    "bus/stream/axi_stream.py": "Wires: what comes in goes out in the same cycle.",
    "core/streamed_array.py": "The timing is that of the array, on its own page.",
    "bus/stream/tlast_check.py": "Only an array with AXI4-Stream has it: a flag follows its beat by a cycle.",
    "softmax/chain.py": "Only a design with softmax has it: every register takes its neighbour's value a cycle behind "
                        "its control.",
    "softmax/exponential.py": "Only a design with softmax has it: logits go in and, after a fixed number of cycles, "
                              "probabilities come out.",
    "softmax/finisher.py": "Only a design with softmax has it; its latencies stand in the list of latencies.",
    "softmax/key_mask.py": "Only a design with softmax has it: a distance follows each step by one cycle, a decision "
                           "by two.",
    "softmax/reciprocal.py": "Only a design with softmax has it: a total goes in, its reciprocal comes out a fixed "
                             "number of cycles later.",
    "softmax/row_memory.py": "Only a design with softmax has it: each column gets its shifts a fixed number of cycles "
                             "behind the row.",
    "softmax/row_state.py": "Only a design with softmax has it: a share goes in, the total of its row is there eight "
                            "cycles later.",
}


def _signal(component: Any, path: str) -> Value:
    """The value behind `o.payload.words[0].re`."""
    found = component
    for part in path.replace("[", ".[").split("."):
        found = found[int(part[1:-1])] if part.startswith("[") else getattr(found, part)
    return Value.cast(found).as_unsigned()


def _is_stream(component: Any, path: str) -> bool:
    found = component
    for part in path.replace("[", ".[").split("."):
        if part.startswith("["):
            return False
        found = getattr(found, part, None)
    return isinstance(getattr(found, "signature", None), stream.Signature | wiring.FlippedSignature)


def _names(component: Any, rows: str) -> list[str]:
    """Row names with the streams spelt out."""
    found = []
    for name in rows.split():
        found += [f"{name}.{part}" for part in ("valid", "ready", "payload")] if _is_stream(component, name) else [name]
    return found


def _probes(part: Part, shot: Shot) -> list[str]:
    """Every port that the picture or its trigger needs."""
    names = _names(part.component, shot.rows)
    names += [f"{shot.at}.valid", f"{shot.at}.ready"] if _is_stream(part.component, shot.at) else [shot.at]
    for name in list(names):  # a payload is drawn by the handshake that it belongs to
        head, is_payload, _ = name.partition(".payload")
        if is_payload:
            names += [f"{head}.valid", f"{head}.ready"]
    return list(dict.fromkeys(names))


def _starts(part: Part, shot: Shot, columns: dict[str, list[int]]) -> list[int]:
    """First cycles of all windows that may be drawn."""
    if _is_stream(part.component, shot.at):
        trigger = [v & r for v, r in zip(columns[f"{shot.at}.valid"], columns[f"{shot.at}.ready"])]
    else:
        trigger = columns[shot.at]
    rises = [k for k, value in enumerate(trigger) if value and not (k and trigger[k - 1])]
    return [max(0, k - shot.before) for k in rises]


def _rows(part: Part, shot: Shot, columns: dict[str, list[int]], first: int) -> list[Row]:
    window, rows = slice(first, first + shot.cycles), []
    for name in _names(part.component, shot.rows):
        values: list[int | None] = list(columns[name][window])
        moves: frozenset[int] = frozenset()
        head, is_payload, _ = name.partition(".payload")
        if is_payload:
            valid, ready = columns[f"{head}.valid"][window], columns[f"{head}.ready"][window]
            values = [value if v else None for value, v in zip(values, valid)]
            moves = frozenset(k for k, (v, r) in enumerate(zip(valid, ready)) if v and r)
        width = len(_signal(part.component, name))
        rows.append(Row(name, width, _numbered(values) if width > _WIDE else values, _is_input(part.component, name),
                        moves))
    return rows


def _happens(rows: Sequence[Row], cycles: int) -> int:
    """How much there is to see: changes of each row, at most a few, and a whole window."""
    changes = [sum(a != b for a, b in zip(row.values, row.values[1:])) for row in rows]
    return sum(min(count, 6) for count in changes) + 3 * sum(count > 0 for count in changes) \
        - (len(rows[0].values) < cycles) * 100


def _picture(part: Part, shot: Shot, columns: dict[str, list[int]]) -> str:
    windows = {first: _rows(part, shot, columns, first) for first in _starts(part, shot, columns)}
    assert windows, f"{shot.component}: {shot.at} never rises"
    best = max(windows, key=lambda first: (_happens(windows[first], shot.cycles), -first))
    return draw(windows[best], best)


def _numbered(values: Sequence[int | None]) -> list[int | None]:
    """Wide words by numbers, in the order in which they appear."""
    seen: dict[int, int] = {}
    return [None if value is None else seen.setdefault(value, len(seen) + 1) for value in values]


def _is_input(component: Any, name: str) -> bool:
    """Whether a port, or the port that this is a part of, is an input."""
    ports = [".".join(map(str, path)) for path, member, _ in component.signature.flatten(component)
             if member.flow == wiring.In]
    return any(name == port or name.startswith((f"{port}.", f"{port}[")) for port in ports)


def _shots(design: str) -> Iterator[tuple[str, int, Shot]]:
    for path, shots in SHOTS.items():
        for number, shot in enumerate(shots):
            if shot.design == design:
                yield path, number, shot


def draw_all() -> dict[tuple[str, int], str]:
    """SVG of every picture, by the file of the block and its number there."""
    found = {}
    for name in dict.fromkeys(shot.design for shots in SHOTS.values() for shot in shots):
        design = _CORES[name]() if name in _CORES else DESIGNS[name]()
        wanted = [(path, number, shot, design.parts[shot.component][shot.instance])
                  for path, number, shot in _shots(name)]
        probes = {(id(part), port): _signal(part.component, port)
                  for *_, shot, part in wanted for port in _probes(part, shot)}
        samples = design.run(list(probes.values()))
        columns = {key: [sample[at] for sample in samples] for at, key in enumerate(probes)}
        for path, number, shot, part in wanted:
            own = {port: columns[id(part), port] for port in _probes(part, shot)}
            found[path, number] = _picture(part, shot, own)
    return found
