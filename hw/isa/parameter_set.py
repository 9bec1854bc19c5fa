"""Parameter sets of the vector unit: what READs, SUMS and WRITEs name by four bits (docs/reference/vector.md).

A leaf without Amaranth: the hardware builds its layouts from ``READ_SET`` and ``WRITE_SET`` and the models run the same
objects. A table of 16 sets for each side is written as setup, ``SET_WORDS`` words of 32 bits each, low word first; set
0 stands for nothing to do and is not stored.
"""

from dataclasses import dataclass
from enum import IntEnum

from .bit_fields import bits_of_words, pack, unpack, words_of_bits

__all__ = ["Activation", "ReadSet", "WriteSet", "READ_SET", "WRITE_SET", "SETS", "SET_WORDS", "SET_BITS",
           "ROW_ADDRESS_BITS", "EPSILON_BITS", "WIDE_BITS", "BELOW_BITS", "read_set", "write_set"]

SETS = 16
SET_BITS = (SETS - 1).bit_length()  # of the number of a set
SET_WORDS = 4
EPSILON_BITS = 62
WIDE_BITS = 3  # of an element that is scaled but not yet through its activation, above those of an element
BELOW_BITS = 4  # of the activation table's unit, below those of an element
ROW_ADDRESS_BITS = 16  # of the address of a beat: what the rows of a LayerNorm are told apart by


class Activation(IntEnum):
    """What becomes of a rescaled element."""

    NONE = 0
    RELU = 1
    GELU = 2


# (name, bits) of every field, least significant first.
READ_SET = [("chunk_shift", 4), ("n", 17), ("epsilon", EPSILON_BITS), ("range_bits", 3)]
WRITE_SET = [("rescale", 1), ("base", 16), ("chunk_mask", 16), ("shift", 6), ("bias_row", 1), ("wide_bias", 1),
             ("activation", 2), ("fall", 3), ("residual", 1), ("offset", 32), ("a", 3), ("b", 3), ("c", 3),
             ("argmax", 1), ("classes", 9)]


class _Packed:
    """Fields to words and back; a value that does not fit its field is a ValueError that names it."""

    LAYOUT: list[tuple[str, int]]

    def __post_init__(self) -> None:
        pack(self.LAYOUT, vars(self))

    def words(self) -> list[int]:
        """The SET_WORDS words of the set, unsigned."""
        return words_of_bits(pack(self.LAYOUT, vars(self)), SET_WORDS)


@dataclass(frozen=True)
class ReadSet(_Packed):
    """Rows of a LayerNorm: a beat belongs to entry (address mod 2^ROW_ADDRESS_BITS) >> chunk_shift of the table of
    rows, modulo its size. ``n`` elements a row, ``epsilon`` (E of docs/reference/vector.md), and ``range_bits``:
    results of -8*2^range_bits..8*2^range_bits fill the range of an element."""

    LAYOUT = READ_SET

    chunk_shift: int = 15
    n: int = 1
    epsilon: int = 1
    range_bits: int = 0


@dataclass(frozen=True)
class WriteSet(_Packed):
    """What becomes of an element that is written.

    ``rescale``: scale and bias of beat base + (address & chunk_mask) of the channel table, shifted right by ``shift``;
    with ``bias_row`` the bias counts in row 0 only, with ``wide_bias`` 2^WIDE_BITS times as much. Then ``activation``;
    a result has lost ``fall`` of the bits below an element that the table has. ``residual``: the element
    ``offset`` beats behind (mod 2^32) is added, with the shifts a, b, c. ``argmax``: the last element of a beat becomes
    the number of the largest of the first ``classes``.
    """

    LAYOUT = WRITE_SET

    rescale: bool = False
    base: int = 0
    chunk_mask: int = 0xFFFF
    shift: int = 0
    bias_row: bool = False
    wide_bias: bool = False
    activation: Activation = Activation.NONE
    fall: int = BELOW_BITS
    residual: bool = False
    offset: int = 0
    a: int = 0
    b: int = 0
    c: int = 0
    argmax: bool = False
    classes: int = 0


def read_set(words: list[int]) -> ReadSet:
    """Inverse of ``ReadSet.words``."""
    return ReadSet(**unpack(READ_SET, bits_of_words(words)))


def write_set(words: list[int]) -> WriteSet:
    """Inverse of ``WriteSet.words``; raises ValueError for an activation that does not exist."""
    values = unpack(WRITE_SET, bits_of_words(words))
    return WriteSet(**values | {"activation": Activation(values["activation"])})
