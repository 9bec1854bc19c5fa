"""The registers of a core with a control bus: where they stand, what their fields mean.

A leaf without Amaranth, and the one description of them: hw/bus/control/register_file.py builds the hardware from it,
gen/output/registers.py writes SystemRDL, a page, a C header and a Python module. A register has the same address in
every core; a core without what it belongs to has not got it. docs/reference/registers.md is the contract.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
import hashlib
import json

from ..config import CoreConfig
from ..sections import MemoryBus
from .bit_fields import WORD_BITS
from .setup import (ARRAY_COUNTERS, COUNTED_CAUSES, COUNTED_UNITS, EXPONENT_BITS, FAULT_BITS, SETUP, TAG_BITS,
                    TLAST_FIELDS)

__all__ = ["MAGIC", "MAP_VERSION", "MAP_ADDRESS_BITS", "COUNTER_BASE", "Access", "RegisterField", "Register",
           "configuration_hash", "counter_names", "register_map"]

MAGIC = 0x7762_7574      # the letters wbut
MAP_VERSION = (1, 1)     # major: a register has changed its meaning; minor: there are more of them
MAP_ADDRESS_BITS = 12    # of a byte address: a page
COUNTER_BASE = 0x140     # of the low word of counter 0
_BYTES = WORD_BITS // 8
_PAGE_BITS = 12          # lowest bits of BASE, which are 0
_PLACES = dict(SETUP)


class Access(str, Enum):
    """What a bus may do with a register; all else is answered with an error and changes nothing."""

    CONSTANT = "constant"      # read, always the same
    READ = "read"              # read
    WRITE = "write"            # written: it does something, and holds nothing
    READ_WRITE = "read_write"  # holds what was written
    CLEAR = "clear"            # read; ones that are written clear their bits

    @property
    def is_readable(self) -> bool:
        return self is not Access.WRITE

    @property
    def is_writable(self) -> bool:
        return self not in (Access.CONSTANT, Access.READ)


@dataclass(frozen=True)
class RegisterField:
    """``bits`` bits from bit ``low`` on; bits without a field read as 0. ``value``: what a constant is, and what others
    are after a reset."""

    name: str
    low: int
    bits: int
    text: str
    value: int = 0


@dataclass(frozen=True)
class Register:
    """32 bits at the byte address ``address``."""

    name: str
    address: int
    access: Access
    text: str
    fields: tuple[RegisterField, ...]

    @property
    def value(self) -> int:
        """All bits of a constant, or after a reset."""
        return sum(field.value << field.low for field in self.fields)


def configuration_hash(config: CoreConfig) -> int:
    """64 bits that tell configurations apart: the first of the SHA-256 of the JSON text of their choices, keys sorted.
    """
    text = json.dumps(config.choices(), sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def counter_names(config: CoreConfig) -> list[str]:
    """Counters of the status of a core, in the order of their registers."""
    units = [f"{unit}_{cause}" for unit in COUNTED_UNITS for cause in COUNTED_CAUSES]
    return [*ARRAY_COUNTERS, *(units if config.is_processor else [])]


@cache
def register_map(config: CoreConfig) -> tuple[Register, ...]:
    """The registers of the core of ``config``, by rising address."""
    parts = (_identity(config), _capabilities(config), _control(config), _setup(), _memory(config), _log(config),
             _counters(config), _programs(config))
    return tuple(register for part in parts for register in part)


def _whole(text: str, value: int = 0, bits: int = WORD_BITS) -> tuple[RegisterField, ...]:
    return (RegisterField("value", 0, bits, text, value),)


def _identity(config: CoreConfig) -> Iterator[Register]:
    major, minor = MAP_VERSION
    number = configuration_hash(config)
    constant = Access.CONSTANT
    yield Register("MAGIC", 0x000, constant, "Tells a core from other things.", _whole("the letters wbut", MAGIC))
    yield Register("VERSION", 0x004, constant, "Of this map.", (
        RegisterField("minor", 0, 16, "grows when there are more registers", minor),
        RegisterField("major", 16, 16, "grows when a register changes its meaning", major)))
    yield Register("HASH_LOW", 0x008, constant, "Hash of the configuration, lower half.", _whole(
        "bits 31 to 0", number & (1 << WORD_BITS) - 1))
    yield Register("HASH_HIGH", 0x00C, constant, "Hash of the configuration, upper half.", _whole(
        "bits 63 to 32", number >> WORD_BITS))


def _capabilities(config: CoreConfig) -> Iterator[Register]:
    c, constant = config, Access.CONSTANT
    has = {"memory": (c.is_processor, "a processor with a memory of its own"),
           "axi4": (c.bus.memory is MemoryBus.AXI4, "the memory stands on an AXI4 bus"),
           "vector": (c.vector_lanes, "a vector unit"), "records": (c.records, "FETCH of records"),
           "mac": (c.ring_words, "MAC passes"), "sparse": (c.sparse, "N:M matrices"),
           "softmax": (c.softmax_pairs, "softmax attention"), "row_ids": (c.row_ids, "rows by id"),
           "block_log": (c.block_log, "a log of blocks"), "loader": (c.has_loader, "programs from memory"),
           "axi4_stream": (c.has_tlast, "the streams of the array are AXI4-Stream")}
    yield Register("FEATURES", 0x010, constant, "What the core has.", tuple(
        RegisterField(name, at, 1, text, int(bool(there))) for at, (name, (there, text)) in enumerate(has.items())))
    yield Register("GEOMETRY", 0x014, constant, "Size of the array.", (
        RegisterField("engines", 0, 16, "engines", c.engines),
        RegisterField("layers", 16, 8, "butterfly layers of a pass", c.layers),
        RegisterField("finishers", 24, 8, "units that make probabilities", c.finishers)))
    yield Register("FORMATS", 0x018, constant, "Bits of numbers.", (
        RegisterField("width", 0, 8, "of a real value inside", c.width),
        RegisterField("element_width", 8, 8, "of an element of streams and memory", c.element_width),
        RegisterField("coefficient_width", 16, 8, "of a coefficient", c.coefficient_width)))
    sizes = (("STREAM_WORDS", c.stream_words, "complex words of a beat"),
             ("HALF_WORDS", c.half_words, "complex words of an engine in one half"),
             ("COEFFICIENT_WORDS", c.coefficient_words, "words of a coefficient bank"),
             ("PROGRAM_WORDS", c.program_words, "words of the program memory"),
             ("RING_WORDS", c.ring_words, "words of the ring; 0: none"))
    for number, (name, value, text) in enumerate(sizes):
        yield Register(name, 0x01C + number * _BYTES, constant, f"Number of {text}.", _whole(text, value))
    if c.is_processor:
        yield Register("MEMORY", 0x030, constant, "The memory units.", (
            RegisterField("address_bits", 0, 8, "of a beat number", c.memory_bits),
            RegisterField("descriptors", 8, 8, "of reader and of writer", c.descriptors)))
        yield Register("ROW_IDS", 0x034, constant, "Number of ids of rows; 0: none.", _whole("ids", c.row_ids))
        yield Register("BLOCK_LOG", 0x038, constant, "Number of blocks in the log; 0: none.", _whole(
            "blocks", c.block_log))


def _control(config: CoreConfig) -> Iterator[Register]:
    clears = "SETUP_TARGET, SETUP_HIGH, INTERRUPT_ENABLE and INTERRUPT_STATE become 0"
    stops = (RegisterField("clear", 1, 1, f"{clears}; a fault goes when the memory is drained"),
             RegisterField("abort", 2, 1, "stops the program that runs, or the load"))
    loads = (RegisterField("load", 3, 1, "sends the records at PROGRAM_ADDRESS as setup words; with start the program "
                                         "starts behind them; refused as start is"),)
    yield Register("CONTROL", 0x040, Access.WRITE, "Bits that are 1 act.", (
        RegisterField("start", 0, 1, "starts the program at instruction 0; refused while busy and after a fault"),
        *(stops if config.is_processor else (RegisterField("clear", 1, 1, clears),)),
        *(loads if config.has_loader else ())))
    has_bus = config.bus.memory is MemoryBus.AXI4
    processor = (
        RegisterField("bus_error", 3, 1, "the AXI4 bus of the memory has answered with an error, until the clear"),
        RegisterField("drained", 4, 1, "the memory owes no answer"),
        RegisterField("bus_error_write", 5, 1, "the first such error was that of a write"),
        RegisterField("fault", 8, FAULT_BITS, "why the program was stopped, 0: it was not; until the clear"),
        RegisterField("tag", 16, TAG_BITS, "block of the fault, or the first one that is not complete"))
    yield Register("STATUS", 0x044, Access.READ, "What the core does.", (
        RegisterField("busy", 0, 1, "a program runs" + (" or is loaded" if config.has_loader else "")),
        RegisterField("done", 1, 1, "the program that was started last has ended without a fault"),
        RegisterField("saturated", 2, 1, "a value was clamped since the start"),
        *(field for field in processor if config.is_processor
          and (has_bus or not field.name.startswith("bus_error"))),
        *(_tlast_flags() if config.has_tlast else ())))
    if has_bus:
        yield from _halves("BUS_ERROR_ADDRESS", 0x048, Access.READ, config.bus.address_width, 0,
                           "Byte address at which the first burst with an error begins.")
    loaded = ", or a load without a start" if config.has_loader else ""
    events = (("done", f"a program has ended without a fault{loaded}"),
              *((("error", "a program was stopped by a fault, or the bus of the memory reported an error"),)
                if config.is_processor else ()),
              *((("error", "a block that came in ended with another beat than the one with tlast"),)
                if config.has_tlast else ()),
              ("refused", "a start or a load was refused" if config.has_loader else "a start was refused"))
    places = {"done": 0, "error": 1, "refused": 2}
    fields = tuple(RegisterField(name, places[name], 1, text) for name, text in events)
    yield Register("INTERRUPT_ENABLE", 0x050, Access.READ_WRITE, "The events that raise irq.", fields)
    yield Register("INTERRUPT_STATE", 0x054, Access.CLEAR,
                   "The events that have come; a 1 that is written clears its bit.", fields)


def _tlast_flags() -> Iterator[RegisterField]:
    texts = ("since the start a tlast has come with a beat that was not the last one of a block",
             "since the start the last beat of a block has come without tlast")
    for at, ((name, bits), text) in enumerate(zip(TLAST_FIELDS, texts, strict=True)):
        yield RegisterField(name, 6 + at, bits, text)


def _setup() -> Iterator[Register]:
    low = min(WORD_BITS, _PLACES["data"])
    yield Register("SETUP_TARGET", 0x060, Access.READ_WRITE, "Where the next setup word goes.", (
        RegisterField("address", 0, _PLACES["address"], "goes up by one with every word"),
        RegisterField("target", _PLACES["address"], _PLACES["target"], "of the setup port")))
    yield Register("SETUP_HIGH", 0x064, Access.READ_WRITE, "Upper bits of the next setup word; 0 behind every word.", (
        RegisterField("data", 0, _PLACES["data"] - low, f"bits {low} and up of its data"),))
    yield Register("SETUP_DATA", 0x068, Access.WRITE,
                   "Sends a setup word. The answer comes when the core has taken it.",
                   (RegisterField("data", 0, low, "lower bits of its data"),))


def _memory(config: CoreConfig) -> Iterator[Register]:
    if config.bus.memory is not MemoryBus.AXI4:
        return
    for name, address, bits, lowest, text in (
            ("BASE", 0x080, config.bus.address_width, _PAGE_BITS, "byte address of beat 0 in memory"),
            ("LIMIT", 0x088, config.memory_bits + 1, 0, "number of beats that the core may reach")):
        yield from _halves(name, address, Access.READ_WRITE, bits, lowest,
                           f"{text[0].upper()}{text[1:]}. Refused while busy and after a fault.")


def _halves(name: str, address: int, access: Access, bits: int, lowest: int, text: str) -> Iterator[Register]:
    """Bits ``lowest`` to ``bits`` - 1 of a number, in one register or two."""
    for at, half in enumerate(("LOW", "HIGH")):
        first, last = max(lowest, WORD_BITS * at), min(bits, WORD_BITS * (at + 1))
        if first < last:
            yield Register(f"{name}_{half}", address + _BYTES * at, access, text, (
                RegisterField("value", first % WORD_BITS, last - first, f"bits {last - 1} to {first}"),))


def _log(config: CoreConfig) -> Iterator[Register]:
    if config.block_log:
        yield Register("LOG_ADDRESS", 0x0A0, Access.READ_WRITE, "Which entry of the log of blocks LOG_DATA is.", (
            RegisterField("entry", 0, (config.block_log - 1).bit_length(), "number of the block modulo BLOCK_LOG"),))
        yield Register("LOG_DATA", 0x0A4, Access.READ, "An entry of the log of blocks.", (
            RegisterField("exponent", 0, EXPONENT_BITS, "of the block"),
            RegisterField("saturated", EXPONENT_BITS, 1, "whether the block clamped a value in the array")))


def _programs(config: CoreConfig) -> Iterator[Register]:
    if not config.has_loader:
        return
    yield Register("PROGRAM_ADDRESS", 0x200, Access.READ_WRITE, "Where the records of a program begin.", _whole(
        "beat of the memory", bits=config.memory_bits))
    yield Register("PROGRAM_BEATS", 0x204, Access.READ_WRITE, "How much is loaded.", _whole(
        "beats of records", bits=config.memory_bits))


def _counters(config: CoreConfig) -> Iterator[Register]:
    yield Register("COUNTERS", 0x100, Access.WRITE, "Copies all counters, of one cycle, to the registers below.", (
        RegisterField("latch", 0, 1, "copies where it is 1"),))
    for number, name in enumerate(counter_names(config)):
        for at, half in enumerate(("LOW", "HIGH")):
            yield Register(f"{name.upper()}_{half}", COUNTER_BASE + (2 * number + at) * _BYTES, Access.READ,
                           f"Counter {name} since the start, as COUNTERS copied it.", _whole(
                               f"bits {WORD_BITS * (at + 1) - 1} to {WORD_BITS * at}"))
