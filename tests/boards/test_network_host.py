"""The host of networks against registers in Python: how setup words travel, and what ends a wait."""

import pytest

from wingbeat.boards import network_host
from wingbeat.boards.network_host import NetworkHost
from wingbeat.gen.presets.select import load_preset
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.registers import MAGIC, configuration_hash, register_map
from wingbeat.hw.isa.setup import SETUP_PROGRAM, SETUP_READER

CONFIG = load_preset("processor-16")
PLACES = {register.name: register.address for register in register_map(CONFIG)}
NAMES = {address: name for name, address in PLACES.items()}


class Registers:
    """A bus with the registers of a core that does nothing. ``statuses``: what STATUS says, one after the other; the
    last one stays."""

    def __init__(self, statuses=(0,)):
        number = configuration_hash(CONFIG)
        self.words = {PLACES["MAGIC"]: MAGIC, PLACES["HASH_LOW"]: number & 0xFFFFFFFF,
                      PLACES["HASH_HIGH"]: number >> 32}
        self.statuses, self.log = list(statuses), []

    def read(self, address, count=1):
        if address == PLACES["STATUS"]:
            return [self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]]
        return [self.words.get(address + 4 * n, 0) for n in range(count)]

    def write(self, address, words):
        self.log.append((NAMES[address], words))

    def write_fixed(self, address, words):
        self.log.append((f"{NAMES[address]} fixed", words))


def test_setup_words_of_one_table_go_together():
    bus = Registers()
    host = NetworkHost(bus, CONFIG)
    bus.log.clear()
    host.write_setup([(SETUP_PROGRAM, 3, 10), (SETUP_PROGRAM, 4, 11), (SETUP_PROGRAM, 5, 3 << 32 | 12),
                      (SETUP_PROGRAM, 6, 13), (SETUP_READER, 7, 14), (SETUP_READER, 9, 15)])
    target = [SETUP_PROGRAM << 16 | 3], [SETUP_READER << 16 | 7], [SETUP_READER << 16 | 9]
    assert bus.log == [
        ("SETUP_TARGET", target[0]), ("SETUP_DATA fixed", [10, 11]), ("SETUP_HIGH", [3, 12]),
        ("SETUP_DATA fixed", [13]), ("SETUP_TARGET", target[1]), ("SETUP_DATA fixed", [14]),
        ("SETUP_TARGET", target[2]), ("SETUP_DATA fixed", [15])]


def test_what_an_earlier_host_has_left_is_stopped_and_cleared():
    bus = Registers([1, 1, 15 << 8, 15 << 8])
    NetworkHost(bus, CONFIG)
    assert bus.log == [("CONTROL", [4]), ("CONTROL", [2])]
    bus = Registers([2])
    NetworkHost(bus, CONFIG)
    assert not bus.log


def test_a_program_that_never_ends_is_told(monkeypatch):
    monkeypatch.setattr(network_host, "MOST_LOOKS", 5)
    host = NetworkHost(bus := Registers([0]), CONFIG)
    bus.statuses = [1]
    with pytest.raises(WingbeatError, match="^core: its program runs since 5 looks at STATUS$"):
        host.start_and_wait(0)


@pytest.mark.parametrize("status, message", [(3 << 8, r"stopped with error 3 \(PASS\) at block 0"),
                                             (0, r"stopped with error 0 \(NONE\) at block 0")])
def test_an_end_that_is_none_is_told(status, message):
    host = NetworkHost(bus := Registers([0]), CONFIG)
    bus.statuses = [1, status]
    with pytest.raises(WingbeatError, match=f"^program 4: the core {message}$"):
        host.start_and_wait(4)
