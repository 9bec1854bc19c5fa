"""Presets: each loads, says what it is for, and fits the part it names."""

import tomllib

from pydantic import ValidationError
import pytest

from wingbeat.gen.presets import select as presets
from wingbeat.hw.config import CoreConfig, Pipeline, Target
from wingbeat.hw.sections import SECTIONS, MemoryBus
from wingbeat.hw.errors import WingbeatError

MULTIPLIERS = {"tiny": 32, "icebreaker": 8, "ulx3s-25f": 28, "ulx3s-16": 16, "processor-16": 16, "hybrid-16": 16,
               "matrix-16": 16, "attention-16": 16, "ulx3s-processor": 16,
               "ulx3s-85f": 128, "array128-s1": 128, "array128-s2": 128, "attention-128": 128, "fabnet-640": 640}


def block_rams(config, depth, width):
    """Block RAMs of ``depth`` x ``width`` bits that buffers, coefficients and program need."""
    def of(words, bits):
        return -(-words // depth) * -(-bits // width)

    buffers = 2 * config.engines * config.lanes * of(config.bank_rows, 2 * config.width)
    coefficients = config.n_units * of(config.coefficient_words, config.coefficient_bits)
    return buffers + coefficients + of(config.program_words, 32)


def butterfly_words(config, n):
    """Coefficient words of a 2**n-point butterfly matrix with every block different."""
    groups = (1 << n) // config.lanes
    return -(-n // config.layers) * groups


def test_the_list_is_complete_and_sorted():
    assert sorted(presets.names()) == sorted(MULTIPLIERS)
    assert [MULTIPLIERS[name] for name in presets.names()] == sorted(MULTIPLIERS.values())


@pytest.mark.parametrize("name, multipliers", MULTIPLIERS.items())
def test_preset(name, multipliers):
    config = presets.load_preset(name)
    assert config.n_multipliers == multipliers
    assert config.name == name.replace("-", "_")
    assert presets.description(name)


@pytest.mark.parametrize("name", MULTIPLIERS)
def test_every_field_but_the_name_is_written_down(name):
    """A preset does not change when a default does."""
    config = presets.load_preset(name)
    values = tomllib.loads(presets.preset_text(name))
    sections = {section for section in ("array", "memory", "vector") if getattr(config, section)}
    assert values.keys() - {"bus"} == {"target", "pipeline"} | sections
    for section, kind in SECTIONS.items():
        assert section not in values or values[section].keys() == kind.model_fields.keys()


@pytest.mark.parametrize("name, most, depth, width", [
    ("icebreaker", 30 - 4, 256, 16),     # four are left for the serial link
    ("ulx3s-25f", 56, 512, 36),
    ("ulx3s-16", 22, 512, 36),
    ("ulx3s-85f", 208, 512, 36)])
def test_block_rams_fit_the_part(name, most, depth, width):
    assert block_rams(presets.load_preset(name), depth, width) <= most


@pytest.mark.parametrize("name, n", [
    ("tiny", 6), ("icebreaker", 6), ("ulx3s-25f", 10), ("ulx3s-16", 10), ("ulx3s-85f", 10),
    ("array128-s1", 12), ("array128-s2", 12), ("fabnet-640", 12)])
def test_butterfly_coefficients_fit(name, n):
    config = presets.load_preset(name)
    assert n <= config.largest_n
    assert butterfly_words(config, n) <= config.coefficient_words


# fabnet-640 has the 16 words per cycle of the other processors, not the 33 that its multipliers could use.
@pytest.mark.parametrize("name", sorted(set(MULTIPLIERS) - {"tiny", "icebreaker", "fabnet-640"}))
def test_1024_points_run_without_bubbles_at_full_bandwidth(name):
    config = presets.load_preset(name)
    assert config.zero_bubble(10)
    assert config.words_per_cycle_needed(10) <= config.stream_words


def test_ecp5_words_fill_a_ram_word():
    for name in presets.names():
        config = presets.load_preset(name)
        if config.target is Target.ECP5:
            assert (2 * config.width, config.coefficient_bits) == (36, 36)


def test_settings():
    config = presets.load_preset("tiny", ["engines=4", "target=ecp5", 'name="other"'])
    assert (config.engines, config.target, config.name) == (4, Target.ECP5, "other")
    assert presets.load_preset("tiny", ["name=plain"]).name == "plain"


def test_file(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('pipeline = "short"\n[array]\nengines = 3\nlayers = 1\n[memory]\naddress_bits = 9\n')
    config = presets.load_file(path, ["width=17", "memory.descriptors=2"])
    assert (config.engines, config.layers, config.width, config.name) == (3, 1, 17, "wingbeat")
    assert (config.memory_bits, config.descriptors, config.pipeline) == (9, 2, Pipeline.SHORT)


def test_file_of_version_0_1(tmp_path):
    """All names outside of sections: the same configuration, and a warning that says where each of them belongs."""
    path = tmp_path / "a.toml"
    path.write_text("engines = 2\nlayers = 1\nmemory_bits = 9\nin_flight = 8\nvector_lanes = 0\nchannel_beats = 4\n")
    with pytest.warns(FutureWarning, match="memory_bits -> memory.address_bits, in_flight -> memory.in_flight, "):
        config = presets.load_file(path)
    assert config == CoreConfig.of(engines=2, layers=1, memory_bits=9, in_flight=8)
    assert config.vector is None


@pytest.mark.parametrize("settings, memory_bits, vector_lanes", [
    ([], 20, 8), (["vector=none"], 20, 0), (["vector_lanes=0"], 20, 0), (["vector=none", "memory=none"], 0, 0),
    (["memory_bits=12"], 12, 8), (["memory.address_bits=12"], 12, 8), (["vector.lanes=4"], 20, 4)])
def test_settings_of_sections(settings, memory_bits, vector_lanes):
    config = presets.load_preset("hybrid-16", settings)
    assert (config.memory_bits, config.vector_lanes) == (memory_bits, vector_lanes)
    assert config.half_words == 2048


def test_setting_makes_a_section():
    config = presets.load_preset("tiny", ["memory.address_bits=10", "bus.memory=axi4"])
    assert config.is_processor and config.bus.memory is MemoryBus.AXI4


@pytest.mark.parametrize("setting", ["colour.blue=1", "array.engines.more=1"])
def test_setting_outside_the_sections(setting):
    with pytest.raises(WingbeatError, match="^--set: .* is not a field; the sections are array, memory, vector, bus$"):
        presets.load_preset("tiny", [setting])


@pytest.mark.parametrize("setting", ["engines", "=3", "", "engines 3"])
def test_setting_without_value(setting):
    with pytest.raises(WingbeatError, match="--set"):
        presets.load_preset("tiny", [setting])


def test_setting_cannot_smuggle_a_second_field():
    with pytest.raises(ValidationError) as caught:
        presets.load_preset("tiny", ["engines=2\nlayers=1"])
    assert [fault["loc"] for fault in caught.value.errors()] == [("array", "engines")]


def test_unknown_preset_names_the_known():
    with pytest.raises(WingbeatError, match="preset: 'nothing' is not one of .*tiny"):
        presets.load_preset("nothing")


@pytest.mark.parametrize("key, field", [("engines", "array.engines"), ("array.engines", "array.engines"),
                                        ("memory_bits", "memory.address_bits"), ("bus.memory", "bus.memory"),
                                        ("target", "target"), ("memory", "memory"), ("vector_lanes", "vector.lanes")])
def test_names_of_fields(key, field):
    assert presets.field_of(key) == field


@pytest.mark.parametrize("key, message", [
    ("array.motors", "^array.motors: no such field; allowed are engines, layers, "),
    ("motors", "^motors: no such field; allowed are name, target, pipeline, array.FIELD, memory.FIELD, "),
    ("motor.engines", "^motor.engines: no such field; allowed are name, "), ("array", "^array: no such field; "),
    ("", "^: no such field; ")])
def test_names_that_are_no_field(key, message):
    with pytest.raises(WingbeatError, match=message):
        presets.field_of(key)
