"""The serial bus in plain bytes: what UARTBone has, and places that do not overlap."""

from wingbeat.hw.isa.registers import MAP_ADDRESS_BITS
from wingbeat.hw.isa.serial_bus import BRIDGE_BASE, COUNTS_FIELDS, MEMORY_BASE, BridgeRegister, Command, encode_command


def test_commands_are_those_of_uartbone():
    assert [int(command) for command in Command] == [0, 1, 2, 3, 4]
    assert encode_command(Command.READ, 0x12345678, 3) == bytes([2, 3, 0x04, 0x8D, 0x15, 0x9E])


def test_places_do_not_overlap():
    assert 1 << MAP_ADDRESS_BITS <= BRIDGE_BASE < max(BridgeRegister) < MEMORY_BASE == 0x80000000
    assert sum(bits for _, bits in COUNTS_FIELDS) <= 32
