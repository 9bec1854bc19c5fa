"""Beats of the data streams and setup writes as bit patterns, in the order docs/reference/architecture.md gives.

Patterns are hexadecimal text, one beat a string, so that any simulator or link can read them.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from ...hw.isa.bit_fields import field_places, pack, unpack
from ...hw.isa.encoding import encode
from ...hw.isa.instruction import Instruction
from ...hw.isa.setup import CONTROL_START, SETUP, SETUP_CONTROL, SETUP_PROGRAM, SetupWrite, block_fields
from ...hw.numeric import largest, smallest

__all__ = ["BLOCK_BITS", "mark_beats", "pack_beats", "pack_setup", "start_writes", "tag_beats", "unpack_beats"]

BLOCK_BITS = sum(bits for _, bits in block_fields())
_CHUNK = 8192   # beats at a time; bounds the memory of the bit arrays


def pack_beats(words: np.ndarray, element_width: int, stream_words: int) -> list[str]:
    """Input beats of ``words``, int64 (n, 2) = (re, im): word k at bit 2*k*element_width, re below im.

    Raises ValueError when a value does not fit or n is no multiple of ``stream_words``.
    """
    words = np.ascontiguousarray(words, dtype=np.int64).reshape(-1, 2)
    if len(words) % stream_words:
        raise ValueError(f"words: {len(words)} is not a multiple of the {stream_words} words of a beat")
    if words.size and (words.min() < smallest(element_width) or words.max() > largest(element_width)):
        raise ValueError(f"words: {words.min()}..{words.max()} does not fit {element_width} bits")
    values = words.reshape(-1, 2 * stream_words)
    n_bits = 2 * stream_words * element_width
    digits = 2 * -(-n_bits // 8)
    lines: list[str] = []
    for at in range(0, len(values), _CHUNK):
        part = values[at:at + _CHUNK]
        bits = np.zeros((len(part), 4 * digits), np.uint8)
        bits[:, :n_bits] = (part[:, :, None] >> np.arange(element_width) & 1).reshape(len(part), -1)
        text = np.packbits(bits, axis=1, bitorder="little")[:, ::-1].tobytes().hex()
        lines += [text[k:k + digits] for k in range(0, len(text), digits)]
    return lines


def mark_beats(beats: Sequence[str], last: np.ndarray, element_width: int, stream_words: int) -> list[str]:
    """Input beats that say where a block ends: the words of ``beats`` with last of each beat above them."""
    n_bits = 2 * stream_words * element_width
    digits = 2 * -(-(n_bits + 1) // 8)
    return [f"{int(beat, 16) | int(mark) << n_bits:0{digits}x}" for beat, mark in zip(beats, last, strict=True)]


def tag_beats(beats: Sequence[str], exponents: np.ndarray, saturated: np.ndarray, last: np.ndarray,
              element_width: int, stream_words: int, has_tlast: bool = False) -> list[str]:
    """Output beats: the words of ``beats`` with exponent, saturated and last of each beat above them; no flag of a
    tlast is set."""
    n_bits, fields = 2 * stream_words * element_width, block_fields(has_tlast)
    digits = 2 * -(-(n_bits + sum(bits for _, bits in fields)) // 8)
    places = field_places(fields)
    tags = np.zeros(len(beats), dtype=np.int64)
    for name, values in (("exponent", exponents), ("saturated", saturated), ("last", last)):
        tags |= values.astype(np.int64) << places[name][0]
    return [f"{int(beat, 16) | int(tag) << n_bits:0{digits}x}" for beat, tag in zip(beats, tags, strict=True)]


def unpack_beats(beats: Sequence[str], element_width: int, stream_words: int,
                 has_tlast: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Words int64 (n, 2) and, per beat, exponent, saturated and last of output beats."""
    n_bits, fields = 2 * stream_words * element_width, block_fields(has_tlast)
    n_tags = sum(bits for _, bits in fields)
    words = np.empty((len(beats), 2 * stream_words), np.int64)
    tags = np.empty((len(beats), n_tags), np.int64)
    weights = 1 << np.arange(element_width, dtype=np.int64)
    weights[-1] = -weights[-1]
    for at in range(0, len(beats), _CHUNK):
        part = beats[at:at + _CHUNK]
        data = np.frombuffer(bytes.fromhex("".join(part)), np.uint8).reshape(len(part), -1)
        bits = np.unpackbits(data[:, ::-1], axis=1, bitorder="little")
        words[at:at + _CHUNK] = bits[:, :n_bits].reshape(len(part), -1, element_width) @ weights
        tags[at:at + _CHUNK] = bits[:, n_bits:n_bits + n_tags]
    parts = unpack(fields, tags @ (1 << np.arange(n_tags)))
    return words.reshape(-1, 2), parts["exponent"], parts["saturated"].astype(bool), parts["last"].astype(bool)


def pack_setup(writes: Iterable[tuple[int, int, int]]) -> list[str]:
    """Setup writes (target, address, data) as words of the setup port."""
    return [f"{pack(SETUP, {'target': target, 'address': address, 'data': data}):016x}"
            for target, address, data in writes]


def start_writes(program: Sequence[Instruction] | Sequence[int]) -> list[SetupWrite]:
    """Setup writes that load ``program``, instructions or words, and start it."""
    words = [each for each in program if isinstance(each, int)]
    words = words or encode([each for each in program if not isinstance(each, int)])
    return [*((SETUP_PROGRAM, address, word) for address, word in enumerate(words)),
            (SETUP_CONTROL, 0, CONTROL_START)]
