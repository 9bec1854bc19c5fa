"""Bit fields: lists of (name, bits), least significant first, and the one packer and unpacker for them.

Every table word, instruction and setup write of the project is described by such a list; hardware layouts, models,
compiler and manifest read the same lists.
"""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Fields", "WORD_BITS", "WORD_BYTES", "pack", "unpack", "field_places", "bits_of_words", "words_of_bits"]

Fields = Sequence[tuple[str, int]]
WORD_BITS = 32  # of a word of a program or of a table
WORD_BYTES = WORD_BITS // 8


def pack(fields: Fields, values: Mapping[str, int]) -> int:
    """Non-negative integer with every field of ``fields`` in its place, ``values`` unsigned.

    Raises ValueError naming the field when a value does not fit it.
    """
    bits, at = 0, 0
    for name, width in fields:
        value = int(values[name])
        if not 0 <= value < 1 << width:
            raise ValueError(f"{name}: {value} does not fit {width} bits")
        bits |= value << at
        at += width
    return bits


def unpack(fields: Fields, bits: Any) -> dict[str, Any]:
    """Inverse of :func:`pack`; ``bits`` is an integer or an int64 array of them."""
    values, at = {}, 0
    for name, width in fields:
        values[name] = bits >> at & (1 << width) - 1
        at += width
    return values


def field_places(fields: Fields, offset: int = 0) -> dict[str, tuple[int, int]]:
    """(lowest bit, bits) of every field, the first one at bit ``offset``."""
    places, at = {}, offset
    for name, width in fields:
        places[name], at = (at, width), at + width
    return places


def bits_of_words(words: Sequence[int]) -> int:
    """One integer of 32-bit words, the least significant word first."""
    return sum(word << WORD_BITS * at for at, word in enumerate(words))


def words_of_bits(bits: int, count: int) -> list[int]:
    """The lowest ``count`` 32-bit words of ``bits``, the least significant word first."""
    return [bits >> WORD_BITS * at & (1 << WORD_BITS) - 1 for at in range(count)]
