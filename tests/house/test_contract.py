"""What software and hardware agree on is typed once: the setup map, the fields of instructions and tables, their sizes,
the frames of the link, latencies and depths. Every other file imports it.

The homes are hw/isa, hw/numeric.py and the parameters.py of the folders of hw. A copy is found by what it looks like:

* a setup target: a literal in hexadecimal with the value of one, or any literal where a target stands;
* a constant of a module with the name of one of a home, or with its value and a word of its name, or that by its name
  can only be a latency, a number of stages, of places, or a target;
* a list or a layout of two or more fields with names and bits of one list of a home;
* the units or causes of the counters, listed anew;
* words put together or taken apart by shifts of 32 or 18 bits.

Tests of the homes themselves state the numbers once more: tests/hw/isa.
"""

import ast
from pathlib import Path
import re

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("hw", "sim", "gen", "boards", "tests")
HOMES = sorted(p.relative_to(ROOT).as_posix() for p in (
    *(ROOT / "hw" / "isa").glob("*.py"), ROOT / "hw" / "numeric.py", *(ROOT / "hw").rglob("parameters.py")))
EXEMPT = (*HOMES, "tests/hw/isa/")
SOURCES = sorted(p.relative_to(ROOT).as_posix() for part in PARTS for p in (ROOT / part).rglob("*")
                 if p.suffix in (".py", ".v") and not p.relative_to(ROOT).as_posix().startswith(EXEMPT))

# What looks like a copy and is none. May only get shorter.
ALLOWED: dict[str, set[str]] = {
    # Operands of a DSP block and a RAM, which have 18 bits too.
    "tests/support/ecp5.py": {"packed data | (~data & 262143) << 18",
                              "packed rng.choice(corners) | rng.choice(corners) << 18",
                              "packed rng.getrandbits(18) | (write | enables) << 18"},
}
_VAGUE = {"BIT", "WORD", "MOST", "LEAST", "BEAT", "SIZE", "DEPTH", "WIDTH", "LENGTH", "COUNT", "CYCLE", "ELEMENT"}


# --- what stands in the homes ---------------------------------------------------------------------


def number(node: ast.AST | None, names: dict[str, int]) -> int | None:
    """Value of an expression of integers, arithmetic and ``names``; None for anything else."""
    if isinstance(node, ast.Constant):
        return node.value if type(node.value) is int else None
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = number(node.operand, names)
        return None if value is None else -value
    if isinstance(node, ast.BinOp):
        left, right = number(node.left, names), number(node.right, names)
        does = {ast.Add: int.__add__, ast.Sub: int.__sub__, ast.Mult: int.__mul__, ast.LShift: int.__lshift__,
                ast.FloorDiv: int.__floordiv__, ast.Pow: int.__pow__}.get(type(node.op))
        return None if left is None or right is None or does is None else does(left, right)
    return None


def assigned(tree: ast.Module) -> list[tuple[str, ast.expr]]:
    """Names that a module gives a value, and the value."""
    found: list[tuple[str, ast.expr]] = []
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found.append((node.target.id, node.value))
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found.append((target.id, node.value))
                elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    found += [(t.id, v) for t, v in zip(target.elts, node.value.elts) if isinstance(t, ast.Name)]
    return found


def pairs(node: ast.AST, names: dict[str, int]) -> set[tuple[str, int]]:
    """(name, bits) of a list of fields, or of a dictionary of them."""
    if isinstance(node, ast.Dict):
        items = list(zip(node.keys, node.values))
    elif isinstance(node, ast.List | ast.Tuple):
        items = [tuple(e.elts) for e in node.elts if isinstance(e, ast.Tuple) and len(e.elts) == 2]
    else:
        return set()
    found = set()
    for key, value in items:
        bits = number(value, names)
        if isinstance(key, ast.Constant) and isinstance(key.value, str) and bits is not None:
            found.add((key.value, bits))
    return found


def words_of(name: str) -> set[str]:
    """Words of a name that say something, in the singular."""
    singular = {re.sub(r"(?<=SS)ES$|(?<=[^S])S$", "", word) for word in name.upper().strip("_").split("_")}
    return {word for word in singular - _VAGUE if len(word) > 2}


def strings(node: ast.AST) -> tuple[str, ...]:
    if isinstance(node, ast.List | ast.Tuple) and all(
            isinstance(e, ast.Constant) and isinstance(e.value, str) for e in node.elts):
        return tuple(e.value for e in node.elts)
    return ()


class Contract:
    """Constants, lists of fields and lists of names of ``sources``."""

    def __init__(self, sources: list[str]):
        self.numbers: dict[str, int] = {}
        self.fields: list[set[tuple[str, int]]] = []
        self.names: set[tuple[str, ...]] = set()
        self.twice: set[str] = set()
        for source in sources:
            tree = ast.parse(source)
            for name, value in assigned(tree):
                bits = number(value, self.numbers)
                if bits is not None:
                    self.twice |= {name} & set(self.numbers)
                    self.numbers[name] = bits
                if len(strings(value)) > 2 and name != "__all__":
                    self.names.add(strings(value))
            for node in ast.walk(tree):
                found = {pair for pair in pairs(node, self.numbers) if pair[1] > 1}
                if len(found) > 1:
                    self.fields.append(found)

        self.targets = {value for name, value in self.numbers.items() if name.startswith("SETUP_")}
        self.bare = {name.lstrip("_") for name in self.numbers}
        # What a value is called, and a number of bits. Values of 2 and less could be anything.
        self.words: dict[int, set[str]] = {}
        self.bit_words: dict[int, set[str]] = {}
        of_bits = {(name, value) for name, value in self.numbers.items() if name.endswith("BITS")}
        for table, meanings in ((self.words, set(self.numbers.items()) - of_bits),
                                (self.bit_words, of_bits.union(*self.fields))):
            for name, value in meanings:
                table.setdefault(value, set()).update(words_of(name) if value > 2 else ())

    def knows(self, name: str, value: int) -> bool:
        """Whether a constant stands in a home already: under this name, or with this value under a name like it."""
        known = self.words.get(value, set()) | (self.bit_words.get(value, set()) if "BITS" in name else set())
        return name.lstrip("_") in self.bare or bool(known & words_of(name))


CONTRACT = Contract([(ROOT / path).read_text() for path in HOMES])

# --- what a copy looks like -----------------------------------------------------------------------

_TIMES = re.compile(r"_?(SETUP_\w+|(?!LONGEST_|MOST_)[A-Z]\w*_(LATENCY|STAGES|DELAY|PLACES|TARGET))")
_WORD, _SCALE = CONTRACT.numbers["WORD_BITS"], CONTRACT.numbers["SCALE_BITS"]


def _constants(tree: ast.Module) -> set[str]:
    found = set()
    for name, node in assigned(tree):
        value = number(node, {})
        if value is not None and (CONTRACT.knows(name, value) or _TIMES.fullmatch(name)):
            found.add(f"{name} = {value}")
    return found


def named(node: ast.AST) -> set[str]:
    """Variables and attributes in an expression."""
    return {getattr(n, "id", getattr(n, "attr", "")) for n in ast.walk(node)}


def _targets(tree: ast.Module, source: str) -> set[str]:
    """Literals that stand where a target does, and those in hexadecimal that have the value of one."""
    places: list[ast.AST | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            places += [keyword.value for keyword in node.keywords if keyword.arg == "target"]
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            places += node.args[:1] if "setup" in name else []
        elif isinstance(node, ast.Tuple) and len(node.elts) == 3:  # target, address, data
            places += [node.elts[0]] if isinstance(node.elts[0], ast.Constant) else []
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any("target" in named(side) for side in sides):
                places += [e for side in sides for e in (getattr(side, "elts", None) or [side])]
        elif isinstance(node, ast.For | ast.comprehension) and "target" in named(node.target):
            places += getattr(node.iter, "elts", [])
        elif number(node, {}) in CONTRACT.targets and (ast.get_source_segment(source, node) or "")[:2] in ("0x", "0X"):
            places.append(node)
    return {f"target {value:#x}" for value in (number(place, {}) for place in places) if value in CONTRACT.targets}


def _lists(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        mine = {pair for pair in pairs(node, {}) if pair[1] > 1}
        if any(len(mine & fields) > 1 for fields in CONTRACT.fields):
            found.add("fields " + " ".join(sorted(name for name, _ in mine)))
        if strings(node) in CONTRACT.names:
            found.add("names " + " ".join(strings(node)))
    return found


def _packers(tree: ast.Module) -> set[str]:
    """``word << 32 * i`` and ``scale | bias << 18``."""
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.BinOp):
            continue
        if isinstance(node.op, ast.LShift | ast.RShift) and isinstance(node.right, ast.BinOp) \
                and isinstance(node.right.op, ast.Mult) \
                and _WORD in (number(node.right.left, {}), number(node.right.right, {})):
            found.add(f"shift by {ast.unparse(node.right)}")
        sides = (node.left, node.right)
        if isinstance(node.op, ast.BitOr) and any(isinstance(side, ast.BinOp) and isinstance(side.op, ast.LShift)
                                                  and number(side.right, {}) == _SCALE for side in sides):
            found.add(f"packed {ast.unparse(node)}")
    return found


def _verilog(source: str) -> set[str]:
    found = set()
    for width, digits in re.findall(r"(\d*)'h([0-9a-fA-F_]+)", source):
        if int(digits.replace("_", ""), 16) in CONTRACT.targets and width in ("", "8"):
            found.add(f"target {digits}")
    for name, value in re.findall(r"(?:parameter|localparam)\s+(\w+)\s*=\s*(\d+)\b", source):
        if CONTRACT.knows(name, int(value)) or (_TIMES.fullmatch(name) and int(value)):  # 0: whoever uses it says
            found.add(f"{name} = {value}")
    return found


def copies(source: str, suffix: str = ".py") -> set[str]:
    if suffix == ".v":
        return _verilog(source)
    tree = ast.parse(source)
    return _constants(tree) | _targets(tree, source) | _lists(tree) | _packers(tree)


# --- tests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES)
def test_nothing_is_typed_twice(path):
    assert copies((ROOT / path).read_text(), Path(path).suffix) <= ALLOWED.get(path, set())


@pytest.mark.parametrize("path", ALLOWED)
def test_exceptions_are_needed(path):
    assert copies((ROOT / path).read_text(), Path(path).suffix) == ALLOWED[path]


def test_homes_have_no_twins():
    assert not CONTRACT.twice


def test_homes_are_understood():
    """The numbers were found, those that follow from others too."""
    known = {"SETUP_PROGRAM", "SETUP_ACTIVATION", "INSTRUCTION_WORDS", "DESCRIPTOR_WORDS", "EPSILON_BITS", "GUARD_BITS",
             "TAG_BITS", "REPLY", "LUT_PLACES", "ENDS_ROOM", "EMIT_LATENCY", "CLAMP_LATENCY", "PASS_LATENCY"}
    assert known <= set(CONTRACT.numbers) and len(CONTRACT.targets) == 9
    assert {("classes", 9), ("epsilon", 62), ("increment", 32), ("tail", 16)} <= set.union(*CONTRACT.fields)


@pytest.mark.parametrize("source, found", [
    ("SETUP_PROGRAM, SETUP_CONTROL = 0x80, 0x81", {"SETUP_PROGRAM = 128", "SETUP_CONTROL = 129", "target 0x80",
                                                   "target 0x81"}),
    ("model.write_setup(0x82, 0, 6)", {"target 0x82"}), ("model.write_setup(130, 0, 6)", {"target 0x82"}),
    ("writes = [(133, at, word) for at, word in words]", {"target 0x85"}),
    ("m.d.comb += enable.eq(write.target == 128)", {"target 0x80"}),
    ("if target in (130, 131):\n    pass", {"target 0x82", "target 0x83"}),
    ("words = {target: [] for target in (130, 131)}", {"target 0x82", "target 0x83"}),
    ("mine = [(0x86, 3, 7)]", {"target 0x86"}), ("x = dict(target=135)", {"target 0x87"}),
    ("reply = kind | 0x80", {"target 0x80"}),
    ("_EPSILON_BITS = 62", {"_EPSILON_BITS = 62"}), ("EPSILON_BITS = 60", {"EPSILON_BITS = 60"}),
    ("_CLASS_BITS = 9", {"_CLASS_BITS = 9"}), ("_SET_BITS = 4", {"_SET_BITS = 4"}),
    ("SEGMENTS = 1 << 9", {"SEGMENTS = 512"}),
    ("INSTRUCTION_SIZE = 3", {"INSTRUCTION_SIZE = 3"}), ("MEAN_FRACTION = 4", {"MEAN_FRACTION = 4"}),
    ("_LANE_LATENCY = 7", {"_LANE_LATENCY = 7"}), ("LATENCY = 4", {"LATENCY = 4"}),
    ("QUEUE_PLACES = 16", {"QUEUE_PLACES = 16"}),
    ("SUM_STAGES: int = 5", {"SUM_STAGES = 5"}), ("START_TARGET = 1", {"START_TARGET = 1"}),
    ('layout({"descriptor": 6, "base": bits, "rows": 16})', {"fields descriptor rows"}),
    ('ACTIVATION = [("base", 18), ("slope", 10)]', {"fields base slope"}),
    ('F = (("target", 8), ("address", 16), ("data", 40))', {"fields address data target"}),
    ('for unit in ("reader", "load", "cal", "store", "writer"):\n    pass', {"names reader load cal store writer"}),
    ("bits = sum(word << 32 * i for i, word in enumerate(words))", {"shift by 32 * i"}),
    ("words = [bits >> i * 32 & 0xFFFFFFFF for i in range(3)]", {"shift by i * 32"}),
    ("word = scale & 0x3FFFF | (bias & 0x3FFFF) << 18", {"packed scale & 262143 | (bias & 262143) << 18"}),
])
def test_a_planted_copy_is_found(source, found):
    assert copies(source) == found


@pytest.mark.parametrize("source, found", [
    ("if (setup_payload[7:0] == 8'h81) start <= 1;", {"target 81"}), ("localparam TAG_BITS = 16;", {"TAG_BITS = 16"}),
    ("parameter START_TARGET = 129", {"START_TARGET = 129"}), ("parameter TARGET_BITS = 8", {"TARGET_BITS = 8"}),
])
def test_a_copy_in_verilog_is_found(source, found):
    assert copies(source, ".v") == found


@pytest.mark.parametrize("source", [
    "from wingbeat.hw.isa.setup import SETUP_PROGRAM\nmodel.write_setup(SETUP_PROGRAM, 0, 6)",
    "memory = zeros((128, SIZE))", "DEPTH = 4", "ROWS = 16", "_LATENCY = 40", "TARGET = 30", "SEED = 3",
    "LONGEST_LATENCY = 400", "SHAPE = [1, 1, 2]", "size = 128", "x = (5, 1, 77)", "SETS = {1: ReadSet()}",
    'layout({"mode": 2, "last": 1})', 'names = ("load", "store")', "a = x << 18", "a = x << 2 * n", "COLOUR = 16"])
def test_what_is_no_copy_passes(source):
    assert not copies(source)
