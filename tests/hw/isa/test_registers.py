"""The description of the registers: places, fields, what a core has, the hash."""

import re

import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.registers import (COUNTER_BASE, MAP_ADDRESS_BITS, Access, configuration_hash, counter_names,
                                       register_map)
from wingbeat.hw.isa.setup import SETUP_BITS

ARRAY = CoreConfig.of()
PROCESSOR = CoreConfig.of(memory_bits=12, block_log=64)
CONFIGS = {"array": ARRAY, "processor": PROCESSOR, "axi": PROCESSOR.changed(bus={"memory": "axi4"}),
           "stream": ARRAY.changed(bus={"stream": "axi4-stream"}),
           "wide": PROCESSOR.changed(memory_bits=32).changed(bus={"memory": "axi4", "address_width": 64})}


@pytest.mark.parametrize("name", CONFIGS)
def test_places(name):
    """Addresses rise by whole words inside the map; fields are apart, inside their word, and hold their value."""
    registers = register_map(CONFIGS[name])
    addresses = [register.address for register in registers]
    assert addresses == sorted(set(addresses)) and addresses[-1] < 1 << MAP_ADDRESS_BITS
    assert all(address % 4 == 0 for address in addresses)
    assert len({register.name for register in registers}) == len(registers)
    for register in registers:
        taken = 0
        for field in register.fields:
            mask = (1 << field.bits) - 1 << field.low
            assert field.bits > 0 and mask < 1 << 32 and not taken & mask, register.name
            assert 0 <= field.value < 1 << field.bits, f"{register.name}.{field.name}"
            taken |= mask
        assert re.fullmatch("[A-Z][A-Z0-9_]*", register.name) and register.text.endswith(".")
        assert all(re.fullmatch("[a-z][a-z0-9_]*", field.name) for field in register.fields)
        assert register.access is Access.CONSTANT or register.value == 0


def test_a_register_has_one_place_in_all_cores():
    places = {}
    for config in CONFIGS.values():
        for register in register_map(config):
            assert places.setdefault(register.name, register.address) == register.address


def test_registers_follow_the_configuration():
    names = {key: {register.name for register in register_map(config)} for key, config in CONFIGS.items()}
    assert names["processor"] - names["array"] >= {"MEMORY", "LOG_ADDRESS", "LOG_DATA", "WRITER_MOVING_LOW"}
    assert names["axi"] - names["processor"] == {"BASE_LOW", "LIMIT_LOW", "BUS_ERROR_ADDRESS_LOW"}
    assert names["wide"] - names["axi"] == {"BASE_HIGH", "LIMIT_HIGH", "BUS_ERROR_ADDRESS_HIGH"}
    features = {config: next(r for r in register_map(config) if r.name == "FEATURES") for config in CONFIGS.values()}
    assert features[ARRAY].value == 0
    has = {field.name for field in features[CONFIGS["axi"]].fields if field.value}
    assert [field.name for field in features[CONFIGS["stream"]].fields if field.value] == ["axi4_stream"]
    assert has == {"memory", "axi4", "block_log"}


def test_setup_words_fit():
    fields = {r.name: sum(f.bits for f in r.fields) for r in register_map(ARRAY)}
    assert fields["SETUP_TARGET"] + fields["SETUP_HIGH"] + fields["SETUP_DATA"] == SETUP_BITS


def test_counters_stand_side_by_side():
    at = {register.name: register.address for register in register_map(PROCESSOR)}
    for number, name in enumerate(counter_names(PROCESSOR)):
        assert at[f"{name.upper()}_LOW"] == COUNTER_BASE + 8 * number == at[f"{name.upper()}_HIGH"] - 4


def test_hash():
    """It follows every choice, and stays from run to run."""
    others = [ARRAY, ARRAY.changed(name="other"), ARRAY.changed(engines=2), PROCESSOR,
              ARRAY.changed(bus={"control": "wishbone"})]
    assert len({configuration_hash(config) for config in others}) == len(others)
    assert configuration_hash(ARRAY) == configuration_hash(CoreConfig.of())
    halves = {r.name: r.value for r in register_map(ARRAY)}
    assert halves["HASH_HIGH"] << 32 | halves["HASH_LOW"] == configuration_hash(ARRAY) < 1 << 64
