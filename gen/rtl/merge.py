"""RTLIL text in which equal modules appear once, and wires that nobody reads not at all.

Amaranth writes one module per instance, so an array of 32 engines is 32 copies of everything below it. The
copies differ only in their names, in the names Amaranth gives to unnamed port nets and in the order of their
ports. :func:`merge_modules` finds them: it works from the leaves up, gives every module a key in which local
names are numbered in the order of use, and keeps one module per key.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, count
import re

__all__ = ["merge_modules"]


@dataclass
class _Declaration:
    """A wire, port or memory. ``text`` is whole; ``shape`` is what must agree between equal modules."""

    name: str
    kind: str  # wire, port or memory
    text: str
    shape: str


@dataclass
class _Cell:
    """One ``cell`` statement: its ``parameter`` lines and its connections (port, signal)."""

    kind: str
    name: str
    parameters: list[str] = field(default_factory=list)
    connections: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class _Module:
    """One ``module``. A statement that is no cell is the list of lines of a process or a connection."""

    name: str
    attributes: list[str]
    declarations: list[_Declaration] = field(default_factory=list)
    statements: list[_Cell | list[str]] = field(default_factory=list)


@dataclass
class _Class:
    """Equal modules: the final name, and the port of the module that stays for each canonical number."""

    name: str
    ports: dict[int, str]


# --- reading and writing --------------------------------------------------------------------------


def _parse(text: str) -> list[_Module]:
    """Modules of an RTLIL text as Amaranth writes it: one statement a line."""
    modules: list[_Module] = []
    pending: list[str] = []  # attributes wait for the statement they belong to
    lines = iter(text.splitlines())
    module: _Module | None = None
    for line in lines:
        words = line.split()
        if not words:
            continue
        if words[0] == "attribute":
            pending.append(line)
            continue
        if module is None:
            module = _Module(words[1], pending)
            modules.append(module)
        elif words[0] in ("wire", "memory"):
            module.declarations.append(_parse_declaration(line, pending))
        elif words[0] == "cell":
            module.statements.append(_parse_cell(words, lines))
        elif words[0] == "process":
            module.statements.append([line, *_until_end(lines)])
        elif words[0] == "connect":
            module.statements.append([line])
        elif words[0] == "end":
            module = None
        else:
            raise AssertionError(f"RTLIL statement {words[0]!r} is not known here")
        pending = []
    return modules


def _parse_declaration(line: str, attributes: list[str]) -> _Declaration:
    head, name = line.rsplit(None, 1)
    shape, ports = re.subn(r"\b(input|output|inout) \d+", r"\1", head)
    kind = "port" if ports else head.split()[0]
    if kind == "memory":  # cells refer to a memory by a string, so its name must agree
        shape += name
    return _Declaration(name, kind, "\n".join([*attributes, line]), "\n".join([*attributes, shape]))


def _parse_cell(words: list[str], lines: Iterator[str]) -> _Cell:
    cell = _Cell(words[1], words[2])
    for line in _until_end(lines):
        if line.split(None, 1)[0] == "connect":
            _, port, signal = line.split(None, 2)
            cell.connections.append((port, signal))
        elif line.strip() != "end":
            cell.parameters.append(line)
    return cell


def _until_end(lines: Iterator[str]) -> list[str]:
    """Lines up to the ``end`` of the statement that has begun, which is included."""
    depth, body = 1, []
    while depth:
        line = next(lines)
        body.append(line)
        word = line.split(None, 1)[:1]
        depth += (word == ["switch"]) - (word == ["end"])
    return body


def _names(line: str) -> list[str]:
    """Local names in a signal, a connection or a line of a process."""
    return [word for word in line.split() if word[0] in "\\$"]


# --- wires that nobody reads ----------------------------------------------------------------------


def _drop_unread(module: _Module) -> None:
    """Remove wires that only repeat others: Amaranth writes one for every field of every payload."""
    uses: Counter[str] = Counter()
    for statement in module.statements:
        signals = [s for _, s in statement.connections] if isinstance(statement, _Cell) else statement
        uses.update(chain.from_iterable(map(_names, signals)))
    needed = {d.name for d in module.declarations if d.kind != "wire"}

    def unread(statement: _Cell | list[str]) -> bool:
        if isinstance(statement, _Cell):
            return False
        keyword, target, source = statement[0].split()[:3] if len(statement) == 1 else ("process", "", "")
        if keyword != "connect" or source[0] == "[" or target in needed or uses[target] > 1:
            return False
        uses.subtract(_names(statement[0]))
        return True

    size = -1
    while size != len(module.statements):
        size = len(module.statements)
        module.statements = [s for s in reversed(module.statements) if not unread(s)][::-1]
    module.declarations = [d for d in module.declarations if d.name in needed or uses[d.name] > 0]


# --- equal modules --------------------------------------------------------------------------------


class _Numbering:
    """Numbers for the local names of a module in the order of their use."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def of(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))

    def line(self, line: str) -> str:
        """``line`` with every local name replaced by its number. Constants and keywords stay."""
        return " ".join(f"%{self.of(word)}" if word[0] in "\\$" else word for word in line.split())


def merge_modules(text: str) -> str:
    """RTLIL with the same behaviour in which no two modules are equal.

    The first module stays the top and keeps its name; the others are named after it and after the last part
    of the path of their first instance, without its index. Connections to a clock or reset that the module
    below does not have are dropped.
    """
    modules = _parse(text)
    by_name = {module.name: module for module in modules}
    top = modules[0]
    classes: dict[tuple, _Class] = {}       # canonical key to the module that stays
    members: dict[str, _Class] = {}         # module name to its class
    ports: dict[str, dict[str, int]] = {}   # module name to the canonical number of each of its ports
    taken = {top.name}
    kept: list[_Module] = []

    def visit(module: _Module) -> None:
        if module.name in members:
            return
        for statement in module.statements:
            if isinstance(statement, _Cell) and statement.kind in by_name:
                visit(by_name[statement.kind])
                statement.connections = [(port, signal) for port, signal in statement.connections
                                         if port in ports[statement.kind] or port not in ("\\clk", "\\rst")]
        _drop_unread(module)
        key, numbers = _canonical(module, members, ports)
        ports[module.name] = numbers
        if key not in classes:
            name = top.name if module is top else _unique_name(module.name, top.name, taken)
            classes[key] = _Class(name, {number: port for port, number in numbers.items()})
            kept.append(module)
        members[module.name] = classes[key]

    visit(top)
    return "\n".join(_render(module, members, ports) for module in reversed(kept))


def _canonical(module: _Module, members: dict[str, _Class],
               ports: dict[str, dict[str, int]]) -> tuple[tuple, dict[str, int]]:
    """Key that is equal for equal modules, and the canonical number of each port."""
    numbering = _Numbering()
    body: list = []
    for statement in module.statements:
        if not isinstance(statement, _Cell):
            body.append(tuple(numbering.line(line) for line in statement))
            continue
        child = members.get(statement.kind)
        kind, connections = statement.kind, statement.connections
        if child is not None:
            order = ports[kind]
            connections = sorted((f"{order[port]:06}", signal) for port, signal in connections)
            kind = child.name
        body.append((kind, tuple(statement.parameters),
                     tuple((port, numbering.line(signal)) for port, signal in connections),
                     numbering.of(statement.name)))
    declarations = sorted((numbering.of(d.name), d.shape) for d in module.declarations)
    numbers = {d.name: numbering.of(d.name) for d in module.declarations if d.kind == "port"}
    return (tuple(body), tuple(declarations)), numbers


def _unique_name(path: str, top: str, taken: set[str]) -> str:
    """Top name and as few trailing parts of the path as make it unique, else the last part and a number."""
    stems = (re.sub(r"_?\d*$", "", part) or part for part in path.split(".")[1:])
    parts = [re.sub(r"\W", "_", stem) for stem in stems]
    by_path = ("_".join([top, *parts[-n:]]) for n in range(1, len(parts) + 1))
    by_number = (f"{top}_{parts[-1]}_{number}" for number in count(2))
    name = next(name for name in chain(by_path, by_number) if name not in taken)
    taken.add(name)
    return name


def _render(module: _Module, members: dict[str, _Class], ports: dict[str, dict[str, int]]) -> str:
    """RTLIL text of a module that stays, with its cells pointing at modules that stay."""
    out = [*module.attributes, f"module {members[module.name].name}", *(d.text for d in module.declarations)]
    for statement in module.statements:
        if not isinstance(statement, _Cell):
            out += statement
            continue
        child = members.get(statement.kind)
        kind, connections = statement.kind, statement.connections
        if child is not None:
            connections = [(child.ports[ports[kind][port]], signal) for port, signal in connections]
            kind = child.name
        out += [f"cell {kind} {statement.name}", *statement.parameters]
        out += [f"connect {port} {signal}" for port, signal in connections]
        out.append("end")
    return "\n".join([*out, "end", ""])
