"""Frames of the byte link between a host and an array: kinds, error codes, encoding.

    byte 0      0xA5
    byte 1      kind; a reply has bit 7 set, 0xFF is the error reply
    byte 2, 3   payload length in bytes, low byte first
    payload
    last two    CRC-16 of everything from ``kind`` on (polynomial 0x1021, start 0xFFFF), **high** byte first

The host sends one frame and waits for one reply: ``kind | 0x80``, or an error with a code as its payload.
After an error reply nothing has changed. After a bad frame the link discards bytes until the line has been
quiet for its timeout, then replies.

    kind      payload         reply
    IDENTIFY  none            version (1 byte), element_width (1), stream_words (2), payload limit (2),
                              identity (4)
    SETUP     records         empty, after all records have been written
    START     none            empty; BUSY while a program runs or data wait
    DATA      input beats     empty; the beats go to the array in the background; BUSY while earlier ones wait
    RESULT    none            the output beats that have arrived; they leave the link
    STATUS    none            six 32-bit words: flags (bit 0 busy, 1 saturated, 2 data waiting), computing,
                              waiting_input, waiting_output, waiting_hazard, blocks; the four causes of
                              cycles add up to the total
    RESET     none            empty, then array and link are reset

A record is target (1 byte), address (2), data (5).
All numbers are low byte first. A beat is the stream payload (docs/architecture.md) in whole bytes, padded
with zeros.

A leaf without Amaranth: the host reads the same definitions as the hardware.
"""

import binascii
from enum import IntEnum
import zlib

from ..config import CoreConfig
from ..errors import WingbeatError

__all__ = ["VERSION", "SYNC", "REPLY", "ERROR", "RECORD_BYTES", "STATUS_WORDS", "OVERHEAD", "Kind", "LinkFault",
           "identity", "encode_frame", "decode_frame"]

VERSION = 1
SYNC = 0xA5
REPLY = 0x80
ERROR = 0xFF
RECORD_BYTES = 8
STATUS_WORDS = 6
OVERHEAD = 6  # bytes of a frame besides its payload


class Kind(IntEnum):
    """What a frame asks for."""

    IDENTIFY = 1
    SETUP = 2
    START = 3
    DATA = 4
    RESULT = 5
    STATUS = 6
    RESET = 7


class LinkFault(IntEnum):
    """Payload of an error reply."""

    NO_SYNC = 1   # a byte outside a frame
    KIND = 2      # unknown kind
    TOO_LONG = 3  # longer than the payload limit
    LENGTH = 4    # no length that this kind can have
    TIMEOUT = 5   # the frame broke off
    CRC = 6
    BUSY = 7      # earlier data still wait, or a program runs
    VALUE = 8     # a SETUP record with the control target; START does that


def identity(config: CoreConfig) -> int:
    """32 bits that tell configurations apart: CRC-32 of the JSON text of the configuration."""
    return zlib.crc32(config.model_dump_json().encode())


def encode_frame(kind: int, payload: bytes = b"") -> bytes:
    """One frame."""
    body = bytes([kind]) + len(payload).to_bytes(2, "little") + payload
    return bytes([SYNC]) + body + binascii.crc_hqx(body, 0xFFFF).to_bytes(2, "big")


def decode_frame(frame: bytes) -> tuple[int, bytes]:
    """Kind and payload of exactly one frame. Raises WingbeatError when it is not one."""
    if len(frame) < OVERHEAD or frame[0] != SYNC:
        raise WingbeatError(f"frame: {frame[:8].hex()!r} is shorter than {OVERHEAD} bytes or does not start "
                            f"with {SYNC:02x}")
    length = int.from_bytes(frame[2:4], "little")
    if len(frame) != length + OVERHEAD:
        raise WingbeatError(f"frame: {len(frame)} bytes, its length field asks for {length + OVERHEAD}")
    if binascii.crc_hqx(frame[1:], 0xFFFF):
        raise WingbeatError(f"frame: CRC {frame[-2:].hex()} is wrong")
    return frame[1], frame[4:-2]
