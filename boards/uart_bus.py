"""Words of a board over its serial port: the host's end of hw/isa/serial_bus.py.

Any object with ``read(n) -> bytes`` (what came before its timeout, possibly less) and ``write(data)`` is a port.
"""

from collections.abc import Sequence
from typing import Any, Protocol
import zlib

from ..hw.errors import WingbeatError
from ..hw.isa.bit_fields import WORD_BYTES, unpack
from ..hw.isa.serial_bus import COUNTS_FIELDS, LONGEST_COMMAND, BridgeRegister, Command, encode_command

__all__ = ["BusError", "SerialPort", "UartBus"]

_STALE = 1 << 16  # bytes at most that an earlier conversation may have left


class BusError(WingbeatError):
    """The board did not answer, bytes were lost or changed, or an access was refused: then ``address`` is its."""

    def __init__(self, message: str, address: int | None = None):
        super().__init__(message)
        self.address = address


class SerialPort(Protocol):
    """What a bus needs of a port."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; fewer when the timeout has passed."""

    def write(self, data: bytes, /) -> Any:
        """Send all of ``data``."""


class UartBus:
    """32-bit words at byte addresses. The timeout of ``port`` must be longer than that of the bridge.

    Behind every call the counts of the bridge and its CRC of all bytes of both directions are read and compared: a
    call that returns has done what it says. Raises :class:`BusError`; :meth:`synchronise` is the way on after bytes
    were lost.
    """

    def __init__(self, port: SerialPort):
        self._port, self._crc = port, 0
        self.synchronise()

    def synchronise(self) -> None:
        """Wait until the line is quiet, so that the bridge waits for a command, and begin anew."""
        stale = 0
        while (data := self._port.read(1)) and (stale := stale + len(data)) < _STALE:
            pass
        for register in (BridgeRegister.COUNTS, BridgeRegister.CHECK):
            self._send(encode_command(Command.WRITE, register, 1) + bytes(WORD_BYTES))
        self._crc = 0
        self._verify("synchronise")

    def read(self, address: int, count: int = 1) -> list[int]:
        """``count`` words from the byte ``address`` on."""
        words: list[int] = []
        for first in range(0, count, LONGEST_COMMAND):
            some = min(LONGEST_COMMAND, count - first)
            self._send(encode_command(Command.READ, address + first * WORD_BYTES, some))
            words += self._words(some)
        self._verify(f"read of {count} words at {address:#010x}")
        return words

    def write(self, address: int, words: Sequence[int]) -> None:
        """``words`` from the byte ``address`` on."""
        self._write(Command.WRITE, address, words, WORD_BYTES)

    def write_fixed(self, address: int, words: Sequence[int]) -> None:
        """All ``words``, one after the other, to the one at ``address``."""
        self._write(Command.WRITE_FIXED, address, words, 0)

    def _write(self, command: Command, address: int, words: Sequence[int], step: int) -> None:
        for first in range(0, len(words), LONGEST_COMMAND):
            some = words[first:first + LONGEST_COMMAND]
            data = b"".join(int(word).to_bytes(WORD_BYTES, "big") for word in some)
            self._send(encode_command(command, address + first * step, len(some)) + data)
        self._verify(f"write of {len(words)} words at {address:#010x}")

    def _verify(self, what: str) -> None:
        self._send(encode_command(Command.READ, BridgeRegister.COUNTS, 3))
        [counts] = self._words(1)
        expected = self._crc
        found, refused = self._words(2)
        seen = unpack(COUNTS_FIELDS, counts)
        if found != expected or seen["broken"] or seen["lost"]:
            raise BusError(f"{what}: bytes were lost or changed on the line; the board counts {seen['broken']} broken "
                           f"commands, {seen['lost']} lost bytes, CRC {found:08x}; expected is {expected:08x}")
        if seen["refused"]:
            self._send(encode_command(Command.WRITE, BridgeRegister.COUNTS, 1) + bytes(WORD_BYTES))
            raise BusError(f"{what}: the board refused {seen['refused']} accesses, the first at {refused:#010x}",
                           refused)

    def _send(self, data: bytes) -> None:
        self._port.write(data)
        self._crc = zlib.crc32(data, self._crc)

    def _words(self, count: int) -> list[int]:
        data = self._port.read(count * WORD_BYTES)
        if len(data) < count * WORD_BYTES:
            raise BusError(f"port: {len(data)} bytes came before the timeout; expected are {count * WORD_BYTES}")
        self._crc = zlib.crc32(data, self._crc)
        return [int.from_bytes(data[at:at + WORD_BYTES], "big") for at in range(0, len(data), WORD_BYTES)]
