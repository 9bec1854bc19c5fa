"""The host's end of the serial bus against a bridge in Python: what it sends, and that every damage is found."""

import zlib

import pytest

from wingbeat.boards.uart_bus import BusError, UartBus
from wingbeat.hw.isa.bit_fields import pack
from wingbeat.hw.isa.serial_bus import COUNTS_FIELDS, LONGEST_COMMAND, BridgeRegister, Command


class Board:
    """A port whose other end is hw/isa/serial_bus.py in Python. ``damage`` changes bytes: those sent, those given."""

    def __init__(self, damage=lambda data: data):
        self.words, self.writes, self.answer, self.crc, self.refused, self.broken = {}, [], b"", 0, [], 0
        self.damage = damage

    def write(self, data):
        data = self.damage(data)
        at = 0
        while at < len(data):
            header, at = data[at:at + 6], at + 6
            command, count, address = header[0], header[1], int.from_bytes(header[2:], "big") * 4
            if not 1 <= command <= 4 or not count or len(header) < 6:
                self.broken += 1
                return
            self.crc = zlib.crc32(header, self.crc)
            for n in range(count):
                place = address + 4 * n * (command <= 2)
                if command in (Command.READ, Command.READ_FIXED):
                    word = self.read_word(place).to_bytes(4, "big")
                    self.answer += self.damage(word)
                else:
                    word, at = data[at:at + 4], at + 4
                self.crc = zlib.crc32(word, self.crc)
                if command in (Command.WRITE, Command.WRITE_FIXED):
                    self.write_word(place, int.from_bytes(word, "big"))

    def read(self, size):
        data, self.answer = self.answer[:size], self.answer[size:]
        return data

    def read_word(self, place):
        if place >= 0x9000_0000:
            self.refused.append(place)
        counts = {"refused": len(self.refused), "broken": self.broken, "lost": 0}
        return {BridgeRegister.COUNTS: pack(COUNTS_FIELDS, counts), BridgeRegister.CHECK: self.crc,
                BridgeRegister.REFUSED: (self.refused or [0])[0]}.get(place, self.words.get(place, 0))

    def write_word(self, place, word):
        if place == BridgeRegister.CHECK:
            self.crc = 0
        elif place == BridgeRegister.COUNTS:
            self.refused, self.broken = [], 0
        elif place >= 0x9000_0000:
            self.refused.append(place)
        else:
            self.words[place] = word
            self.writes.append((place, word))


def test_words_go_and_come():
    board = Board()
    bus = UartBus(board)
    words = [n * 0x00010101 for n in range(LONGEST_COMMAND + 2)]
    bus.write(0x100, words[:200])
    bus.write(0x80000000, [7] + words)
    assert board.writes[:2] == [(0x100, 0), (0x104, 0x00010101)]
    assert bus.read(0x80000000, len(words) + 1) == [7] + words
    board.writes.clear()
    bus.write_fixed(0x68, words)
    assert board.writes == [(0x68, word) for word in words]
    bus.write(0x100, [])
    assert bus.read(0x100, 0) == []


def test_a_refused_access_is_named_and_the_next_one_is_not_blamed():
    board = Board()
    bus = UartBus(board)
    with pytest.raises(BusError, match="^write of 2 words at 0x90000000: the board refused 2 accesses, the first at "
                                       "0x90000000$") as fault:
        bus.write(0x90000000, [1, 2])
    assert fault.value.address == 0x90000000
    bus.write(0x100, [5])
    assert bus.read(0x100) == [5]


def test_stale_bytes_are_thrown_away():
    board = Board()
    board.answer = b"left over"
    assert UartBus(board).read(0x100) == [0]


@pytest.mark.parametrize("at", [0, 1, 3, 6, 9, 20])
def test_a_changed_byte_is_found(at):
    """In what is sent as in what is received: whatever it becomes, no call returns as if nothing had been."""
    board = Board()
    bus, count = UartBus(board), 0

    def damage(data):
        nonlocal count
        begin, count = count, count + len(data)
        return bytes(byte ^ 0x10 * (begin + n == at) for n, byte in enumerate(data))

    board.damage = damage
    with pytest.raises(BusError):
        bus.write(0x100, [1, 2])
        bus.read(0x100, 2)
        bus.read(0x100, 2)
    board.damage = lambda data: data
    bus.synchronise()
    bus.write(0x100, [3])
    assert bus.read(0x100) == [3]


def test_silence_is_told():
    class Silence:
        def write(self, data):
            pass

        def read(self, size):
            return b""

    with pytest.raises(BusError, match="^port: 0 bytes came before the timeout; expected are 4$"):
        UartBus(Silence())
