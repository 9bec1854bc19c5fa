"""Accesses of a host to 32-bit words over bytes: commands, addresses, the registers of the bridge itself.

    byte 0      command: 1 write, 2 read, 3 write and 4 read without counting the address up; 0 between commands is idle
    byte 1      number of words, 1..255
    byte 2..5   address of the first word, its byte address / 4, **high** byte first
    then        the words, each its high byte first: from the host for a write, to the host for a read

These are the bytes of UARTBone of LiteX, so its tools (litex_server, RemoteClient) reach the same words. A write has no
answer.

    0x0000_0000   registers of the core (hw/isa/registers.py)
    0x0000_1000   registers of the bridge, below
    0x8000_0000   memory of the core, as it lies in an AXI4 memory (hw/memory/port.py)

UARTBone has no check sum and no answer that says no. So the bridge counts what went wrong, and keeps the CRC-32 (that
of zlib) of every byte that it has taken and given since CHECK was written: of both directions, in their order.

    COUNTS   0x1000   refused accesses, broken commands, bytes lost on the line; 255 is 255 or more. A write clears
    CHECK    0x1004   the CRC when it is read: its own command is in it, its own bytes are not. A write begins anew
    REFUSED  0x1008   byte address of the first access that was refused since COUNTS was clear
    SIZE     0x100C   bytes of the memory

A refused read brings 0, a refused write changes nothing; the rest of the command is done. A command is *broken* where
its first byte is none of the five, its number of words is 0, or its next byte does not come before the timeout. Behind
it, and behind a byte that was lost, the bridge discards bytes until the line has been quiet for its timeout. What a
broken write has brought in whole words before is written. Bytes that come before that timeout belong to the command:
who has stopped in the middle of one waits before the next.

A leaf without Amaranth: the host reads the same definitions as the hardware.
"""

from enum import IntEnum

from .bit_fields import WORD_BITS, WORD_BYTES, Fields

__all__ = ["Command", "LONGEST_COMMAND", "COUNTS_FIELDS", "BRIDGE_BASE", "MEMORY_BASE", "BridgeRegister",
           "encode_command"]

LONGEST_COMMAND = 255  # words
_ADDRESS_BYTES = 4
BRIDGE_BASE = 0x0000_1000
MEMORY_BASE = 0x8000_0000

COUNTS_FIELDS: Fields = (("refused", 8), ("broken", 8), ("lost", 8))


class Command(IntEnum):
    """First byte of a command."""

    IDLE = 0
    WRITE = 1
    READ = 2
    WRITE_FIXED = 3
    READ_FIXED = 4


class BridgeRegister(IntEnum):
    """Byte addresses of the registers of the bridge."""

    COUNTS = BRIDGE_BASE
    CHECK = BRIDGE_BASE + WORD_BYTES
    REFUSED = BRIDGE_BASE + 2 * WORD_BYTES
    SIZE = BRIDGE_BASE + 3 * WORD_BYTES


def encode_command(command: Command, address: int, count: int) -> bytes:
    """Header of a command for ``count`` words from the byte ``address`` on. Raises ValueError naming the field."""
    if address % WORD_BYTES or not 0 <= address < 1 << WORD_BITS:
        raise ValueError(f"address: {address:#x}; allowed are multiples of {WORD_BYTES} below {1 << WORD_BITS:#x}")
    if not 1 <= count <= LONGEST_COMMAND:
        raise ValueError(f"count: {count} words; allowed are 1..{LONGEST_COMMAND}")
    return bytes([command, count]) + (address // WORD_BYTES).to_bytes(_ADDRESS_BYTES, "big")
