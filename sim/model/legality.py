"""Which instructions a core can run, by their fields alone: the model of the comparisons in hw/array/checker.py."""

from ...hw.config import CoreConfig
from ...hw.isa.instruction import (OF_RECORDS, OF_RING, OF_SOFTMAX, Destination, Fault, MemoryMode, Opcode,
                                   Softmax)
from ...hw.isa.setup import LENGTHS
from ...hw.isa.sparse import LOG2_GROUPS
from ...hw.isa.walk import SubOrder
from ...hw.numeric import MAC_TERMS
from ...hw.softmax.parameters import state_cycles

__all__ = ["field_fault"]


def field_fault(config: CoreConfig, opcode: Opcode, values: dict[str, int]) -> tuple[Fault | None, str]:
    """The fault that the raw fields ``values`` of an instruction are, and why; None where they are none."""
    if opcode in OF_RING and not config.ring_words:
        return Fault.OPCODE, "ring_words is 0, there is no ring"
    if opcode in OF_SOFTMAX and not config.softmax_pairs:
        return Fault.OPCODE, "softmax_pairs is 0, there is no softmax"
    if opcode in OF_RECORDS and not config.records:
        return Fault.OPCODE, "records is false, there is no player"
    if opcode is Opcode.LOAD and values["plain"] and not (config.sparse and values["window"] == config.lanes - 1):
        return Fault.WALK, "plain words are those of the lowest index bits, and sparse is true"
    if opcode in (Opcode.LOAD, Opcode.STORE) and _leaves_half(config, values):
        return Fault.WALK, "the walk leaves the half"
    if opcode is Opcode.PASS and _leaves_memory(config, values):
        return Fault.PASS, "digit, groups or coefficients leave their memory"
    if opcode is Opcode.MAC and _leaves_regions(config, values):
        return Fault.PASS, "rows leave the half or their row pair, or the ring or the sums are too small"
    if opcode is Opcode.MASK and (values["key"] % config.lanes or values["length"] > LENGTHS):
        return Fault.PASS, f"key {values['key']} is no multiple of {config.lanes}, or length {values['length']} is none"
    if opcode is Opcode.SET and values["value"] >> config.memory_bits:
        return Fault.MEMORY, f"value {values['value']} has more than memory_bits = {config.memory_bits} bits"
    if opcode in (Opcode.READ, Opcode.SUMS, Opcode.FETCH, Opcode.WRITE):
        return _memory_fault(config, opcode, values)
    return None, ""


def _memory_fault(config: CoreConfig, opcode: Opcode, values: dict[str, int]) -> tuple[Fault | None, str]:
    if opcode is Opcode.FETCH:
        return _fetch_fault(config, values)
    most = MemoryMode.SPLIT if opcode is Opcode.WRITE else MemoryMode.PAIRS
    if values["descriptor"] >= config.descriptors or values["mode"] > most:
        return Fault.MEMORY, f"descriptor {values['descriptor']} or mode {values['mode']} is out of range"
    if (values["vector"] or opcode is Opcode.SUMS) and not config.vector_lanes:
        return Fault.MEMORY, f"vector {values['vector']}: vector_lanes is 0, there is no vector unit"
    if values.get("by_id") and (not config.row_ids or values["vector"] or opcode is Opcode.SUMS):
        return Fault.MEMORY, "by_id: allowed with row_ids > 0, of rows that are not normalised"
    return None, ""


def _fetch_fault(config: CoreConfig, values: dict[str, int]) -> tuple[Fault | None, str]:
    destinations = [Destination.SETUP, *([Destination.RING] if config.ring_words else []),
                    *([Destination.PICKS] if config.sparse else []), *([Destination.IDS] if config.row_ids else [])]
    if values["descriptor"] >= config.descriptors or values["destination"] not in destinations or values["by_id"]:
        return Fault.MEMORY, (f"descriptor {values['descriptor']} or destination {values['destination']} is out of "
                              f"range, or by_id {values['by_id']} is not 0")
    if values["destination"] == Destination.IDS and not values["fence"]:
        return Fault.MEMORY, "fence: 0 of a FETCH of ids; allowed is 1"
    return None, ""


def _leaves_half(c: CoreConfig, walk: dict[str, int]) -> bool:
    run = max(1, walk["sub_bits"])
    masks = walk["inner"] | walk["outer"] | walk["window"]
    base = walk.get("base", 0) >> (c.index_bits if c.ring_words else 0)  # of a STORE
    return bool(base or masks >> c.index_bits or walk["last_step"] >> c.row_bits or walk["sub_bits"] > c.sub_bits
                or (walk["sub_order"] != SubOrder.NONE and walk["sub_at"] + run > c.index_bits))


def _leaves_memory(c: CoreConfig, p: dict[str, int]) -> bool:
    return (p["digit"] >= c.index_bits // c.layers or p["last_group"] >= c.bank_rows
            or p["coef_base"] + (1 << p["coef_mask_bits"]) > c.coefficient_words)


def _leaves_regions(c: CoreConfig, p: dict[str, int]) -> bool:
    most = min(c.ring_words // (c.lanes // c.layers), MAC_TERMS // c.lanes)
    rows = [(p["last_pair"] << p[f"log2_{side}_stride"]) + last
            for side, last in (("in", p["last_input"]), ("out", p["last_output"]))]
    return (not 0 < p["last_input"] < most or p["zero"] != 0 or max(*rows, p["out_base"]) >= c.bank_rows
            or p["last_input"] >> p["log2_in_stride"] > 0 or p["last_output"] >> p["log2_out_stride"] > 0
            or (bool(p["merge"] or p["keep"]) and _leaves_sums(c, p)) or _has_no_group(c, p) or _leaves_softmax(c, p))


def _leaves_softmax(c: CoreConfig, p: dict[str, int]) -> bool:
    """Whether a MAC of a softmax has rows that nobody keeps, gives its values faster than a finisher takes them, or
    comes back to a row too soon, or is no such MAC and says what only they do."""
    kind = p["softmax"]
    if kind == Softmax.NONE:
        return bool(p["fresh"])
    engines = c.engines // c.finishers
    groups = (p["last_input"] + 1) * (c.lanes // c.layers)  # between P outputs of a row pair
    return bool(not c.softmax_pairs or kind > Softmax.VALUES or p["last_pair"] >= c.softmax_pairs or p["log2_group"]
                or (kind == Softmax.LOGITS and (p["keep"] or p["merge"])) or (kind == Softmax.VALUES and p["fresh"])
                or groups < 2 * c.lanes * engines or groups * (p["last_pair"] + 1) < state_cycles(c))


def _has_no_group(c: CoreConfig, p: dict[str, int]) -> bool:
    """Whether a group of a MAC is too large, or has fewer members than elements."""
    if not c.sparse:
        return bool(p["last_pick"] or p["log2_group"] or p["log2_apart"])
    return p["log2_group"] > LOG2_GROUPS or p["last_pick"] >> p["log2_group"] > 0


def _leaves_sums(c: CoreConfig, p: dict[str, int]) -> bool:
    """Whether the sums of a MAC, numbers of outputs and row pairs rounded up to powers of two, have no room."""
    sums = c.lanes // c.layers << p["last_output"].bit_length() + p["last_pair"].bit_length()
    return sums > c.partial_words
