"""What a design is made of: its registers, operators, multiplexers and cells, counted without synthesis.

The design is elaborated as for Verilog, equal blocks once (hw/primitives/shared.py), and its statements are walked.
Block RAMs and multipliers of an ECP5 are instances that the design asks for by name, so their count is exact; of other
memories Yosys decides.
"""

from collections import Counter
from collections.abc import Hashable
from typing import Any

from amaranth.hdl import Const, Fragment, Instance, Shape, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory

from ...hw.config import Target
from ...hw.primitives.parameters import LUT_PLACES, RAM_BITS
from ...hw.primitives.ram import RamParameters

__all__ = ["Census", "KINDS", "take_census"]

Census = dict[str, int]

# What is counted, in bits but for cells and memories.
KINDS = {
    "bram": "block RAMs",
    "dsp": "multipliers",
    "register": "bits that a clocked statement assigns",
    "carry": "carry cells, two bits each: sums, differences, comparisons by size",
    "equal": "bits compared for equality with a signal",
    "match": "bits compared with a constant",
    "gate": "bits of AND, OR, XOR of signals",
    "reduce": "bits brought to one bit",
    "mux": "bits chosen by a multiplexer",
    "choice": "bits of further assignments to a register",
    "default": "bits of conditional assignments to a signal that is no register",
    "shift": "bits shifted by a variable amount, a stage for each bit of the amount",
    "rom": "bits looked up in a table of constants, 16 entries each",
    "lutram": "LUT memories of 16 words of 4 bits",
    "lutread": "bits read from LUT memories of more than 16 words, for each further 16 words",
}
_CARRIES = ("+", "-", "<", "<=", ">", ">=")
_GATES = ("&", "|", "^")
_REDUCED = ("r|", "r&", "r^", "b")
_CELLS = {"DP16KD": "bram", "MULT18X18D": "dsp", "CCU2C": "carry"}
_LUTRAM_BITS = 4
# Of Yosys, which takes the cheaper kind of memory (its techlibs/lattice).
_BLOCK_COST, _LUTRAM_COST = 128, 4

_known: dict[tuple, tuple[Counter, Counter]] = {}  # (type, parameters): counts of a shared block, its shared blocks


def take_census(component: wiring.Component) -> Census:
    """Counts of all that stands in ``component``, by the names of KINDS."""
    platform = _Platform()
    total, waiting = platform.own(component)
    while waiting:
        key, times = waiting.popitem()
        own, below = platform.block(key)
        for counts, added in ((total, own), (waiting, below)):
            for name, count in added.items():
                counts[name] += times * count
    _known.update(platform.counted)
    return {kind: total[kind] for kind in KINDS}


class _Platform:
    """Stands in for that of Verilog output: a shared block becomes a cell, and is counted once by itself."""

    def __init__(self) -> None:
        self.counted: dict[tuple, tuple[Counter, Counter]] = {}
        self._blocks: dict[tuple, wiring.Component] = {}
        self._found: Counter = Counter()   # of the block that is counted
        self._counts: Counter = Counter()
        self._counting: Any = None

    def shared(self, component: wiring.Component, parameters: Hashable) -> Instance | None:
        if component is self._counting:
            return None
        key = (type(component), parameters)
        self._blocks.setdefault(key, component)
        self._found[key] += 1
        return Instance(type(component).__name__)

    def get_memory(self, memory: Memory) -> Instance:
        """A memory that is no block RAM: Amaranth asks for it."""
        bits, readers = Shape.cast(memory.shape).width, len(memory.read_ports)
        banks = -(-memory.depth // LUT_PLACES)
        cells, blocks = banks * -(-bits // _LUTRAM_BITS) * readers, _blocks(memory, bits)
        if blocks is not None and blocks * _BLOCK_COST < cells * _LUTRAM_COST:
            self._counts["bram"] += blocks
            return Instance("Memory")
        self._counts["lutram"] += cells
        self._counts["lutread"] += (banks - 1) * bits * readers
        self._counts["register"] += sum(bits for port in memory.read_ports if port.domain != "comb")
        return Instance("Memory")

    def own(self, component: Any) -> tuple[Counter, Counter]:
        """Counts of ``component`` without the shared blocks in it, and how often each of those stands there."""
        self._counting, self._found, self._counts = component, Counter(), Counter()
        walk = _Walk(self._counts)
        walk.fragment(Fragment.get(component, self))
        return walk.counts, self._found

    def block(self, key: tuple) -> tuple[Counter, Counter]:
        """As :meth:`own` of the shared block ``key``."""
        found = _known.get(key) or self.counted.get(key)
        if found is None:
            found = self.counted[key] = self.own(self._blocks[key])
        return found


def _blocks(memory: Memory, bits: int) -> int | None:
    """Block RAMs for ``memory`` of ``bits`` bits a word; None where it must lie in LUTs."""
    if len(memory.read_ports) > 1 or "ram_style" in memory.attrs or bits > RAM_BITS:
        return None
    if any(port.domain == "comb" for port in memory.read_ports):
        return None
    return RamParameters(bits, memory.depth, Target.ECP5).n_block_rams


class _Walk:
    """Counts what stands in a fragment and all below it. Amaranth exports few classes of its tree, so their names tell
    statements and values apart; the version of Amaranth is pinned."""

    def __init__(self, counts: Counter) -> None:
        self.counts = counts

    def fragment(self, fragment: Fragment) -> None:
        seen: set[int] = set()
        if isinstance(fragment, Instance):
            kind = _CELLS.get(fragment.type)
            if kind:
                self.counts[kind] += 1
            for value, _ in fragment.ports.values():
                if isinstance(value, Value):
                    self._value(value, len(value), seen)
        for domain, statements in fragment.statements.items():
            drivers: dict[Any, _Driver] = {}
            self._statements(statements, drivers, False, seen)
            for driver in drivers.values():
                driver.count(self.counts, domain == "comb")
        for below, _, _ in fragment.subfragments:
            self.fragment(below)

    # --- statements -------------------------------------------------------------------------------

    def _statements(self, statements: Any, drivers: dict, conditional: bool, seen: set[int]) -> None:
        for statement in statements:
            kind = type(statement).__name__
            if kind == "Assign":
                width = len(statement.lhs)
                self._target(statement.lhs, 0, width, isinstance(statement.rhs, Const), drivers, conditional, seen)
                self._value(statement.rhs, width, seen)
            elif kind == "Switch":
                self._test(statement.test, [patterns for patterns, _, _ in statement.cases], seen)
                for _, inner, _ in statement.cases:
                    self._statements(inner, drivers, True, seen)

    def _target(self, lhs: Any, low: int, width: int, is_constant: bool, drivers: dict, conditional: bool,
                seen: set[int]) -> None:
        """Notes an assignment to bits ``low`` to ``low + width`` of ``lhs``."""
        kind = type(lhs).__name__
        if isinstance(lhs, Signal):
            width = min(width, len(lhs) - low)
            if width > 0:
                drivers.setdefault(id(lhs), _Driver()).note(low, width, is_constant, conditional)
        elif kind == "Slice":
            self._target(lhs.value, low + lhs.start, min(width, len(lhs) - low), is_constant, drivers, conditional,
                         seen)
        elif kind == "Concat":
            at = 0
            for part in lhs.parts:
                begin, end = max(low, at), min(low + width, at + len(part))
                if begin < end:
                    self._target(part, begin - at, end - begin, is_constant, drivers, conditional, seen)
                at += len(part)
        elif kind == "Part":
            self._value(lhs.offset, len(lhs.offset), seen)
            self._target(lhs.value, 0, len(lhs.value), is_constant, drivers, True, seen)
        elif kind == "SwitchValue":
            self._test(lhs.test, [patterns for patterns, _ in lhs.cases], seen)
            for _, value in lhs.cases:
                self._target(value, low, min(width, len(value)), is_constant, drivers, True, seen)
        elif kind == "Operator":
            self._target(lhs.operands[0], low, width, is_constant, drivers, conditional, seen)

    def _test(self, test: Value, cases: list, seen: set[int]) -> None:
        self._value(test, len(test), seen)
        if len(test) > 1:
            self.counts["match"] += sum(len(test) - pattern.count("-") for patterns in cases if patterns
                                        for pattern in patterns)

    # --- values -----------------------------------------------------------------------------------

    def _value(self, value: Any, width: int, seen: set[int]) -> None:
        """Counts what makes the lowest ``width`` bits of ``value``; a value that stands in several places once."""
        if isinstance(value, Signal | Const) or id(value) in seen:
            return
        seen.add(id(value))
        width = min(width, len(value))
        kind = type(value).__name__
        if kind == "Operator":
            self._operator(value, width, seen)
        elif kind == "Slice":
            self._value(value.value, value.start + width, seen)
        elif kind == "Concat":
            for part in value.parts:
                if width > 0:
                    self._value(part, min(width, len(part)), seen)
                width -= len(part)
        elif kind == "SwitchValue":
            self._switch_value(value, width, seen)
        elif kind == "Part":
            self._value(value.value, len(value.value), seen)
            self._value(value.offset, len(value.offset), seen)
            self.counts["shift"] += len(value) * len(value.offset)

    def _switch_value(self, value: Any, width: int, seen: set[int]) -> None:
        values = [chosen for _, chosen in value.cases]
        self._value(value.test, len(value.test), seen)
        if len(values) > 2 and all(isinstance(each, Const) for each in values):
            self.counts["rom"] += width * -(-len(values) // LUT_PLACES)
            return
        self.counts["mux"] += width * (len(values) - 1)
        for each in values:
            self._value(each, width, seen)

    def _operator(self, value: Any, width: int, seen: set[int]) -> None:
        name, operands = value.operator, value.operands
        widest = max(map(len, operands))
        varying = [each for each in operands if not isinstance(each, Const)]
        if name in ("+", "-"):
            inner = min(width, widest)
            if len(varying) == 2 or len(operands) == 1 or widest > 1:
                self.counts["carry"] += -(-width // 2)
        else:
            inner = width if name in (*_GATES, "~", "u", "s", "<<") else widest
            if name in _CARRIES:
                self.counts["carry"] += -(-widest // 2)
            elif name in ("==", "!="):
                self.counts["equal" if len(varying) == 2 else "match"] += widest
            elif name in _GATES:
                if len(varying) == 2:
                    self.counts["gate"] += width
            elif name in _REDUCED:
                self.counts["reduce"] += widest
            elif name in ("<<", ">>") and len(varying) == 2:
                self.counts["shift"] += width * len(operands[1])
        for each in operands:
            self._value(each, min(inner, len(each)), seen)


class _Driver:
    """The assignments to a signal."""

    def __init__(self) -> None:
        self.bits = 0       # a one for each bit that is assigned
        self.varying = 0    # bits of all assignments of values that are no constants
        self.constant = 0
        self.conditional = 0

    def note(self, low: int, width: int, is_constant: bool, conditional: bool) -> None:
        self.bits |= ((1 << width) - 1) << low
        if is_constant:
            self.constant += width
        else:
            self.varying += width
        if conditional:
            self.conditional += width

    def count(self, counts: Counter, is_gate: bool) -> None:
        n = self.bits.bit_count()
        if is_gate:
            counts["default"] += self.conditional
            return
        counts["register"] += n
        # The first value takes the enable of a register, the first constant its reset.
        counts["choice"] += max(0, self.varying - n) + max(0, self.constant - n)
