"""Space files: what is read, and every mistake in one line."""

import pytest

from support.spaces import TEXT, make_space, write_space
from wingbeat.gen.explore.space.file import read_space
from wingbeat.hw.errors import WingbeatError


def test_fields_and_defaults(tmp_path):
    space = make_space(tmp_path)
    assert space.fields == {"array.engines": [1, 2, 4], "array.layers": [1, 2], "array.half_words": [64, 100, 128]}
    assert space.combinations == 18 and space.search.method == "grid"
    assert [(goal.name, goal.is_more) for goal in space.goals] == [("comb", False), ("fft.cycles", False)]
    assert [str(bound) for bound in space.bounds] == ["comb <= 24288", "ff <= 24288", "bram <= 56", "dsp <= 28"]


def test_names_as_the_option_set_takes_them(tmp_path):
    space = make_space(tmp_path, "array.engines", '"engines"', 'device = "25k"', 'set = ["target=ecp5"]')
    assert list(space.fields) == ["engines", "array.layers", "array.half_words"] and space.settings == ["target=ecp5"]
    assert str(space.bounds[0]) == "comb <= 83640"


def test_paths_count_from_the_file(tmp_path):
    space = make_space(tmp_path, 'preset = "tiny"', 'config = "core.toml"', 'kernel = "fft"',
                       'network = "net.toml"\ncheckpoint = "net.safetensors"', "points = 16\n", "")
    assert space.config == str(tmp_path / "core.toml")
    work = space.workloads["fft"]
    assert (work.network, work.checkpoint) == (str(tmp_path / "net.toml"), str(tmp_path / "net.safetensors"))


SEVERAL = 'preset = "tiny"\n'
BAD = {
    "no TOML": (["[fields]", "[fields"], "^space: 'space.toml' is not a TOML file: "),
    "no preset": ([SEVERAL, ""], "^preset, config: give exactly one of them$"),
    "both": ([SEVERAL, SEVERAL + 'config = "x.toml"\n'], "^preset, config: give exactly one of them$"),
    "device": (['"25k"', '"99k"'], "^device: '99k' is not one of 85k, 45k, 25k$"),
    "unknown": ([SEVERAL, SEVERAL + "colour = 1\n"], "^colour: no such field; allowed are preset, config, set, "),
    "unknown in front": (["synthesis = false", "fast = true"], "^front.fast: no such field; allowed are most, "),
    "unknown objective": (['"comb"', '"area"'], r"^objectives\[0\]: 'area' is no figure; allowed are .*fft.cycles, "),
    "unknown work": (['"fft.cycles"', '"x.cycles"'], r"^objectives\[1\]: 'x.cycles' is no figure; "),
    "one objective": (['"comb", ', ""], r"^objectives: \['fft.cycles'\]: List should have at least 2 items"),
    "twice": (['"fft.cycles"', '"comb"'], "^objectives: comb, comb; allowed is each once$"),
    "limit": ([SEVERAL, SEVERAL + 'limits = ["bram < 3"]\n'], r"^limits\[0\]: 'bram < 3'; allowed are a figure, "),
    "limit of nothing": ([SEVERAL, SEVERAL + 'limits = ["ram <= 3"]\n'], r"^limits\[0\]: 'ram' is no figure; "),
    "unknown field": (["array.engines", "array.motors"], "^array.motors: no such field; allowed are engines, layers, "),
    "unknown section": (["array.engines", "motor.engines"], "^motor.engines: no such field; allowed are "),
    "name": (["array.engines = [1, 2, 4]", 'name = ["a"]'], "^fields: 'name' is no field to explore$"),
    "alias": (["array.layers", '"engines"'], "^fields: 'engines' is given twice$"),
    "in set": ([SEVERAL, SEVERAL + 'set = ["engines=2"]\n'], "^fields: 'array.engines' is given twice$"),
    "no values": (["[1, 2, 4]", "[]"], r"^fields.array.engines: \[\]; allowed are one or more values$"),
    "float": (["[1, 2, 4]", "[1.5]"], "^fields.array.engines.0.*: 1.5: "),
    "no list": (["[1, 2, 4]", "3"], "^fields.array.engines: 3: Input should be a valid list$"),
    "kernel": (['"fft"\n', '"dct"\n'], "^workloads.fft: 'dct' is no kernel; allowed are bpmm, fft, "),
    "size": (["points = 16", "tokens = 16"], "^workloads.fft: tokens is no size of fft; allowed are points$"),
    "points": (["points = 16", "points = 15"], "^workloads.fft: points: 15; allowed are powers of two"),
    "memory": (["points = 16", 'memory = "fast"'], "^workloads.fft.memory: memory: 'fast'; allowed are ideal and "),
    "network": (['kernel = "fft"\npoints = 16', 'network = "digit"'], "^workloads.fft: network: 'digit' is not one"),
    "checkpoint": (['kernel = "fft"\npoints = 16', 'network = "digits"\ncheckpoint = "a"'], "^workloads.fft: netw"),
    "batch": (['kernel = "fft"\npoints = 16', 'network = "digits"\nbatch = 3'], "batch: 3; allowed are powers of two$"),
    "method": (["[front]", '[search]\nmethod = "luck"\n[front]'], "^search.method: 'luck': Input should be 'grid' or "),
    "seeds": (["[front]", "[front]\nseeds = []"], r"^front.seeds: \[\]: "),
    "too many": (["[64, 100, 128]", str(list(range(20_000)))], "^fields: 120000 combinations; allowed are 100000, or "),
}


@pytest.mark.parametrize("changes, message", BAD.values(), ids=BAD)
def test_refused(tmp_path, changes, message):
    with pytest.raises(WingbeatError, match=message) as fault:
        make_space(tmp_path, *changes)
    assert "\n" not in str(fault.value)


def test_no_fields(tmp_path):
    for text in (TEXT.split("[fields]")[0], TEXT.split("array.engines")[0]):
        with pytest.raises(WingbeatError, match="^fields: "):
            read_space(write_space(tmp_path, text=text))


def test_no_file(tmp_path):
    with pytest.raises(WingbeatError, match="^space: .* cannot be read: No such file"):
        read_space(tmp_path / "space.toml")
    (tmp_path / "space.toml").write_bytes(b"\xff")
    with pytest.raises(WingbeatError, match="^space: 'space.toml' is not a TOML file"):
        read_space(tmp_path / "space.toml")
