"""Instructions as 32-bit words: fields, one packer and one decoder.

The hardware builds its instruction layouts from ``FIELDS``; models, compiler, listing, manifest and the corpus of
illegal programs read the same list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from ..numeric import pack_signed, unpack_signed
from .bit_fields import Fields, bits_of_words, pack, unpack, words_of_bits
from .instruction import (Destination, Fetch, Halt, Instruction, Load, Loop, Mac, Mask, MemoryMode, Mode, Opcode, Pass,
                          Read, Set, Softmax, Store, Sums, Unit, Wait, Write)
from .walk import SubOrder, Walk

__all__ = ["FIELDS", "INSTRUCTION_WORDS", "OPCODE_BITS", "LOAD_DECISION", "INDEX_BITS", "REGISTERS", "PROGRAM_WORDS",
           "encode", "decode", "instruction_fields", "loop_target", "patched", "SIGNED", "VALUES"]

LOAD_DECISION = 2      # steps that move between the decision to load a beat and the beat
INSTRUCTION_WORDS = 3  # 32-bit words of one instruction
OPCODE_BITS = 4
INDEX_BITS = 16        # of an index in an instruction, enough for the largest half
_SHIFT_BITS = 3        # of one column in ``shifts`` and ``growth``
_COUNTED = ("input", "output", "pair", "pick")  # of a MAC: it has their numbers, the instruction the last ones

# Every field behind the opcode, least significant first.
_WALK = [("inner", INDEX_BITS), ("outer", INDEX_BITS), ("window", INDEX_BITS), ("rotation", 2), ("reverse", 1),
         ("last_step", INDEX_BITS), ("sub_order", 2), ("sub_at", 4), ("sub_bits", 3)]
_MEMORY = [("descriptor", 6), ("register", 3), ("increment", 32), ("rows", 16), ("mode", 3), ("vector", 4)]
_PASS = [("mode", 2), ("active", 4), ("descending", 1), ("digit", 4), ("last_group", INDEX_BITS),
         ("coef_base", INDEX_BITS), ("coef_shift", 4), ("coef_mask_bits", 5), ("shifts", 4 * _SHIFT_BITS),
         ("block_float", 1), ("growth", 4 * _SHIFT_BITS)]
_MAC = [("last_input", 12), ("last_output", 12), ("last_pair", 10), ("log2_in_stride", 4), ("out_base", INDEX_BITS),
        ("log2_out_stride", 4), ("shift", 5), ("merge", 1), ("keep", 1), ("last_pick", 4), ("log2_group", 3),
        ("log2_apart", 4)]
_BLOCK = [("gap", 8), ("first", 1), ("last", 1)]  # of PASS and MAC, at one place
_READ = [*_MEMORY, ("after", 6), ("after_beats", 16), ("by_id", 1)]
FIELDS: dict[Opcode, list[tuple[str, int]]] = {
    Opcode.HALT: [],
    Opcode.LOAD: [*_WALK, ("overlap", 1), ("lead", 14), ("plain", 1)],
    Opcode.PASS: [*_PASS, *_BLOCK],
    Opcode.STORE: [*_WALK, ("base", INDEX_BITS)],
    Opcode.LOOP: [("target", 12), ("count", 24), ("target_above", 4)],
    Opcode.READ: _READ,
    Opcode.WRITE: [*_MEMORY, ("fold_from", 1), ("fold_rows", 16)],
    Opcode.SET: [("unit", 1), ("register", 3), ("value", 32)],
    Opcode.SUMS: _READ,
    Opcode.FETCH: [*_READ, ("destination", 3), ("fence", 1)],
    Opcode.WAIT: [],
    Opcode.MAC: [*_MAC, ("zero", sum(width for _, width in _PASS) - sum(width for _, width in _MAC)), *_BLOCK,
                 ("softmax", 2), ("fresh", 1)],
    Opcode.MASK: [("key", 16), ("limit", 17), ("upper", 1), ("window", 13), ("length", 7), ("slope", 16)],
}
_TARGET_BITS = dict(FIELDS[Opcode.LOOP])["target"]
PROGRAM_WORDS = 1 << sum(width for name, width in FIELDS[Opcode.LOOP] if name.startswith("target"))  # at most
SIGNED = {"increment", "limit"}  # two's complement; every other field is unsigned
VALUES = f"""
* ``last_group``, ``last_input``, ``last_output``, ``last_pair``, ``last_pick``: the number of groups, row pairs or
  elements, less one.
* ``last_step``: the number of steps that a group of engines takes, less one. A step is 2^``sub_bits`` beats, or two
  where ``sub_order`` is MIRROR.
* ``sub_order``, ``sub_at``, ``sub_bits``: ``sub`` holds the ``sub_bits`` bits from ``sub_at`` on; with MIRROR
  ``mirror`` is ``sub_at`` + 1.
* ``lead``: the ``lag`` of a LOAD, plus {LOAD_DECISION}.
* ``target`` and ``target_above`` of a LOOP: the number of the first word of that instruction, {INSTRUCTION_WORDS} words
  each, its low and its high bits.
* ``increment``, ``limit``: two's complement.
* ``shifts``, ``growth``: {_SHIFT_BITS} bits for each column, column 0 lowest.
* ``window``, ``inner``, ``outer``: masks of index bits.
* ``rotation``, ``reverse``: lane bit j is the bit of ``window`` whose number modulo S is (rotation + j) mod S, reversed
  (rotation - j) mod S. A rotation of S or more is rotation 0, not reversed.
"""  # how values become fields, for readers of the contract
REGISTERS = 1 << dict(FIELDS[Opcode.SET])["register"]  # address registers of reader and of writer
_KINDS = {Opcode.HALT: Halt, Opcode.LOAD: Load, Opcode.PASS: Pass, Opcode.STORE: Store, Opcode.LOOP: Loop,
          Opcode.READ: Read, Opcode.SUMS: Sums, Opcode.WRITE: Write, Opcode.SET: Set, Opcode.FETCH: Fetch,
          Opcode.WAIT: Wait, Opcode.MAC: Mac, Opcode.MASK: Mask}
_OPCODES = {kind: opcode for opcode, kind in _KINDS.items()}


def _layout(opcode: Opcode) -> Fields:
    """All bits of an instruction, the opcode among them."""
    return [("opcode", OPCODE_BITS), *FIELDS[opcode]]


def encode(program: Sequence[Instruction]) -> list[int]:
    """32-bit words of a program, least significant word of each instruction first.

    Raises ValueError naming the field when a value does not fit it.
    """
    words = []
    for number, instruction in enumerate(program):
        opcode = _OPCODES[type(instruction)]
        try:
            bits = pack(_layout(opcode), {"opcode": opcode, **_values(instruction)})
        except ValueError as error:
            raise ValueError(f"instruction {number} {opcode.name}: {error}") from None
        words += words_of_bits(bits, INSTRUCTION_WORDS)
    return words


def instruction_fields(words: Sequence[int]) -> tuple[Opcode, dict[str, int]]:
    """Opcode and raw fields of one instruction. Raises ValueError when the opcode is unknown."""
    bits = bits_of_words(words)
    code = bits & (1 << OPCODE_BITS) - 1
    if code not in list(Opcode):
        raise ValueError(f"opcode {code} is unknown; allowed are 0..{max(Opcode)}")
    return Opcode(code), unpack(FIELDS[Opcode(code)], bits >> OPCODE_BITS)


def loop_target(values: Mapping[str, int]) -> int:
    """The word that a LOOP with these raw fields jumps to."""
    return values["target"] | values["target_above"] << _TARGET_BITS


def patched(instruction: Instruction, **values: int) -> list[int]:
    """Words of ``instruction`` with some raw fields set to ``values``, cut to their bits.

    Raises ValueError for a field that the instruction does not have.
    """
    opcode, fields_ = instruction_fields(encode([instruction]))
    unknown = set(values) - set(fields_)
    if unknown:
        raise ValueError(f"{sorted(unknown)}: no field of {opcode.name}; allowed are {', '.join(fields_)}")
    cut = {name: values[name] & (1 << width) - 1 for name, width in FIELDS[opcode] if name in values}
    return words_of_bits(pack(_layout(opcode), {"opcode": opcode, **fields_, **cut}), INSTRUCTION_WORDS)


def decode(words: Sequence[int], layers: int) -> list[Instruction]:
    """Inverse of :func:`encode` for an array of ``layers`` layers. Raises ValueError when an opcode is unknown, or a
    window has no place in the banks."""
    return [_instruction(*instruction_fields(words[at:at + INSTRUCTION_WORDS]), layers)
            for at in range(0, len(words), INSTRUCTION_WORDS)]


def _values(instruction: Instruction) -> dict[str, int]:
    """Raw fields of an instruction."""
    values: dict[str, Any] = {f.name: getattr(instruction, f.name) for f in fields(instruction)}
    if isinstance(instruction, Load | Store):
        walk = values.pop("walk")
        values |= {"inner": walk.inner, "outer": walk.outer, "window": walk.window_mask, "rotation": walk.rotation,
                   "reverse": walk.reverse, "last_step": walk.steps - 1, "sub_order": walk.sub_order,
                   "sub_at": walk.sub_at, "sub_bits": walk.step_beats.bit_length() - 1}
        if isinstance(instruction, Load):
            values["lead"] = values.pop("lag") + LOAD_DECISION
    elif isinstance(instruction, Pass):
        values["last_group"] = values.pop("groups") - 1
        for name in ("shifts", "growth"):
            if not all(0 <= bits < 1 << _SHIFT_BITS for bits in values[name]):
                raise ValueError(f"{name}: {values[name]} do not fit {_SHIFT_BITS} bits each")
            values[name] = sum(bits << _SHIFT_BITS * q for q, bits in enumerate(values[name]))
    elif isinstance(instruction, Mac):
        values["zero"] = 0
        for name in _COUNTED:
            values[f"last_{name}"] = values.pop(f"{name}s") - 1
    elif isinstance(instruction, Loop):
        word = values["target"] * INSTRUCTION_WORDS
        if not 0 <= word < PROGRAM_WORDS:
            raise ValueError(f"target: word {word}; allowed are 0..{PROGRAM_WORDS - 1}")
        values["target"], values["target_above"] = word & (1 << _TARGET_BITS) - 1, word >> _TARGET_BITS
    for name, width in FIELDS[_OPCODES[type(instruction)]]:
        if name in SIGNED:
            try:
                values[name] = pack_signed(values[name], width)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    return values


def _instruction(opcode: Opcode, values: dict[str, Any], layers: int) -> Instruction:
    """Inverse of :func:`_values`."""
    if opcode in (Opcode.LOAD, Opcode.STORE):
        values["walk"] = _walk(values, layers)
        if opcode is Opcode.LOAD:
            values["lag"] = values.pop("lead") - LOAD_DECISION
            values |= {name: bool(values[name]) for name in ("overlap", "plain")}
    elif opcode is Opcode.PASS:
        values["groups"] = values.pop("last_group") + 1
        for name in ("shifts", "growth"):
            values[name] = tuple(values[name] >> _SHIFT_BITS * q & (1 << _SHIFT_BITS) - 1 for q in range(layers))
        if not values["block_float"]:
            values["growth"] = ()
        values["mode"] = Mode(values["mode"])
        for name in ("descending", "block_float", "first", "last"):
            values[name] = bool(values[name])
    elif opcode is Opcode.MAC:
        del values["zero"]
        values |= {f"{name}s": values.pop(f"last_{name}") + 1 for name in _COUNTED}
        values |= {name: bool(values[name]) for name in ("merge", "keep", "first", "last", "fresh")}
        values["softmax"] = Softmax(values["softmax"])
    elif opcode is Opcode.MASK:
        values["limit"] = unpack_signed(values["limit"], dict(FIELDS[opcode])["limit"])
        values["upper"] = bool(values["upper"])
    elif opcode is Opcode.LOOP:
        values = {"target": loop_target(values) // INSTRUCTION_WORDS, "count": values["count"]}
    elif opcode in (Opcode.READ, Opcode.SUMS, Opcode.FETCH, Opcode.WRITE):
        values["mode"] = MemoryMode(values["mode"])
        values["increment"] = unpack_signed(values["increment"], dict(FIELDS[opcode])["increment"])
        if opcode is not Opcode.WRITE:
            values["by_id"] = bool(values["by_id"])
        if opcode is Opcode.FETCH:
            values |= {"destination": Destination(values["destination"]), "fence": bool(values["fence"])}
    elif opcode is Opcode.SET:
        values["unit"] = Unit(values["unit"])
    return _KINDS[opcode](**values)


def _walk(values: dict[str, Any], layers: int) -> Walk:
    """Takes the fields of a walk out of ``values``."""
    raw = {name: values.pop(name) for name, _ in _WALK}
    # The window bit with residue r mod S belongs to the lane bit the rotation puts there.
    # A rotation that does not exist is the straight order.
    rotation, sign = (raw["rotation"], -1 if raw["reverse"] else 1) if raw["rotation"] < layers else (0, 1)
    by_residue = {b % layers: b for b in range(INDEX_BITS) if raw["window"] >> b & 1}
    if len(by_residue) < layers or raw["window"].bit_count() > layers:
        raise ValueError(f"window: {raw['window']:#b}; allowed are {layers} index bits, no two with one remainder "
                         f"modulo {layers}")
    window = tuple(by_residue[(rotation + sign * j) % layers] for j in range(layers))
    order, at = raw["sub_order"], raw["sub_at"]
    if order == SubOrder.MIRROR:
        return Walk(window, raw["inner"], raw["outer"], (), at + 1)
    run = tuple(range(at, at + raw["sub_bits"]))
    return Walk(window, raw["inner"], raw["outer"], run[::-1] if order == SubOrder.DOWN else run)
