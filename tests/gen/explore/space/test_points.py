"""Points: settings that make them, commands that make them again, and combinations that are none."""

import shlex

import pytest

from support.spaces import make_space
from wingbeat.gen.explore.space.points import Illegal, SpacePoint, check_fields, grid_choices, make_point
from wingbeat.gen.presets.select import load_preset
from wingbeat.hw.errors import WingbeatError


def test_grid(tmp_path):
    space = make_space(tmp_path)
    made = [make_point(space, choice) for choice in grid_choices(space)]
    assert len(made) == 18 and [each.settings[0] for each in made[::6]] == [f"array.engines={n}" for n in (1, 2, 4)]
    illegal = [each for each in made if isinstance(each, Illegal)]
    assert any(each.fault == "array.half_words: 100 is not a power of two" for each in illegal)
    for each in made:
        if isinstance(each, SpacePoint):
            assert each.config == load_preset("tiny", list(each.settings))
            assert each.settings[2] == f"array.half_words={each.config.half_words}"


def test_the_command_makes_the_point(tmp_path):
    space = make_space(tmp_path, 'device = "25k"', 'set = ["sparse=false"]', "array.layers", "target",
                       "[1, 2]\n", '["portable", "ecp5"]\n')
    point = make_point(space, (1, 2, 1))  # tables of the file come together
    words = shlex.split(point.command(space))
    assert words[:4] == ["wingbeat", "generate", "--preset", "tiny"] and words[-2:] == ["-o", "build/core"]
    settings = [word for before, word in zip(words, words[1:]) if before == "--set"]
    assert settings == ["sparse=false", "array.engines=2", "array.half_words=128", "target=ecp5"]
    assert load_preset("tiny", settings) == point.config


def test_of_a_file(tmp_path):
    (tmp_path / "my core.toml").write_text("[array]\nengines = 2\n")
    space = make_space(tmp_path, 'preset = "tiny"', 'config = "my core.toml"', "array.engines = [1, 2, 4]",
                       "array.sparse = [false]")
    point = make_point(space, (0, 0, 0))
    assert point.config.engines == 2 and "array.sparse=false" in point.settings
    assert shlex.split(point.command(space))[2:4] == ["--config", str(tmp_path / "my core.toml")]


@pytest.mark.parametrize("values, message", [
    ("[1, 1000]", "^fields: array.engines: 1000: Input should be less than or equal to 256$"),
    ('["two"]', "^fields: array.engines: 'two': Input should be a valid integer$")])
def test_values_that_a_field_never_takes(tmp_path, values, message):
    with pytest.raises(WingbeatError, match=message):
        check_fields(make_space(tmp_path, "[1, 2, 4]", values))


def test_values_that_others_make_legal(tmp_path):
    check_fields(make_space(tmp_path))  # 100 words are none with any others, but a number of words
    check_fields(make_space(tmp_path, "array.engines = [1, 2, 4]", "vector.lanes = [2]"))
