"""Synthesis figures: counts that are known beforehand, determinism, what is refused."""

import hashlib
import json
from pathlib import Path
import subprocess
import sys

import pytest

from wingbeat.gen.output.core_folder import generate
from wingbeat.gen.presets.select import load_preset
from wingbeat.gen.synth.devices import TARGETS
from wingbeat.gen.synth.flow import run_yosys, synthesize, synthesize_component
from wingbeat.gen.synth.harness import PinHarness
from wingbeat.gen.synth.units import BLOCKS, unit
from wingbeat.hw.config import CoreConfig, Target
from wingbeat.hw.core.top import core
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.primitives.multiplier import Multiplier, MultiplierParameters
from wingbeat.hw.primitives.ram import Ram, RamParameters

TINY = CoreConfig.of(half_words=16, coefficient_words=16, program_words=32, stream_words=1)
PROCESSOR = CoreConfig.of(engines=2, layers=1, width=16, element_width=16, coefficient_width=16, half_words=64,
                          coefficient_words=256, program_words=512, stream_words=4, memory_bits=12)


def multiplier(target=Target.PORTABLE):
    return Multiplier(MultiplierParameters(16, 16, target))


def without_time(result):
    return {key: value for key, value in result.items() if key != "seconds"}


@pytest.mark.parametrize("options, message", [
    ({"target": "stratix"}, "target: 'stratix' is not one of ecp5, ice40, generic"),
    ({"device": "12k"}, "device: '12k' is not one of 85k, 45k, 25k"),
    ({"target": "generic", "device": "85k"}, "device: '85k' is not one of none"),
    ({"speed": 5}, "speed: 5 is not one of 6, 7, 8"),
    ({"placer": "hip"}, "placer: 'hip' is not one of heap, static, sa"),
    ({"seeds": ()}, "seeds: none given; at least one is needed")])
def test_refuses(options, message):
    with pytest.raises(WingbeatError) as fault:
        synthesize_component(multiplier(), "dut", **options)
    assert str(fault.value) == message


@pytest.mark.parametrize("target, hardware, figures", [
    ("ecp5", Target.ECP5, {"lut": 0, "ff": 0, "carry": 0, "bram": 0, "dsp": 1, "comb": 0, "fits": True}),
    ("ice40", Target.PORTABLE, {"lut": 0, "ff": 32, "carry": 0, "bram": 0, "dsp": 1, "fits": True}),
    ("generic", Target.PORTABLE, {"lut": 0, "ff": 96, "dsp": 1, "fits": None, "device": None})])
def test_counts_of_a_multiplier(target, hardware, figures):
    result = synthesize_component(multiplier(hardware), "dut", target=target)
    assert {key: result[key] for key in figures} == figures
    assert result["fmax_mhz"] is None and "nextpnr" not in result["tools"]


def test_what_does_not_fit_is_said_and_not_placed():
    ram = Ram(RamParameters(36, 65536, Target.ECP5))
    result = synthesize_component(ram, "dut", device="25k", pnr=True)
    assert (result["fits"], result["bram"], result["fmax_mhz"]) == (False, 128, None)
    assert result["utilisation"]["bram"] == round(128 / 56, 4)


@pytest.mark.parametrize("target", ["ecp5", pytest.param("ice40", marks=pytest.mark.campaign)])
def test_place_and_route_gives_the_median_of_the_seeds_and_keeps_its_papers(target, tmp_path):
    steps = []
    # The portable output register follows in logic cells: a path that has a frequency.
    ram = Ram(RamParameters(36, 1536, TARGETS[target].hardware))
    result = synthesize_component(ram, "dut", target=target, pnr=True, seeds=(2, 1, 3), keep=tmp_path,
                                  progress=steps.append)
    speeds = result["fmax_per_seed"]
    assert list(speeds) == ["2", "1", "3"] and result["fmax_mhz"] == sorted(speeds.values())[1] > 10
    assert len(steps) == 4 and {"yosys", "nextpnr"} <= result["tools"].keys()
    assert result["utilisation"]["comb"] == round(result["comb"] / {"ecp5": 83640, "ice40": 5280}[target], 4)
    assert {"dut.v", "yosys.log", "seed1.log", "seed1.json"} <= {path.name for path in tmp_path.iterdir()}
    assert json.loads(json.dumps(result)) == result
    again = synthesize_component(ram, "dut", target=target, pnr=True, seeds=(2, 1, 3))
    assert without_time(again) == without_time(result)


@pytest.mark.parametrize("technology", [pytest.param(Target.PORTABLE, marks=pytest.mark.campaign), Target.ECP5])
def test_what_is_measured_is_what_is_generated(tmp_path, technology):
    config = TINY.changed(target=technology)
    result = synthesize(config, target="ecp5")
    assert (result["name"], result["dsp"], result["multipliers"]) == ("wingbeat", 4, TINY.n_multipliers)
    assert 0 < result["comb"] < 5000 and result["fits"] and (result["bram"] > 0) == (technology is Target.ECP5)
    generate(config, tmp_path / "core")
    text = (tmp_path / "core" / "rtl" / "wingbeat.v").read_bytes()
    assert result["technology"] == technology.value
    assert result["verilog_sha256"] == hashlib.sha256(text).hexdigest()


def test_primitives_of_another_family_are_refused():
    with pytest.raises(WingbeatError, match="^array.target: 'ecp5' of wingbeat has primitives that --target ice40"):
        synthesize(TINY.changed(target=Target.ECP5), target="ice40")


@pytest.mark.campaign
def test_processor_is_synthesised_with_its_memory_units():
    array, processor = (synthesize(config) for config in (PROCESSOR.changed(memory_bits=0), PROCESSOR))
    assert processor["dsp"] == array["dsp"] == processor["multipliers"] == PROCESSOR.n_multipliers
    assert processor["fits"] and processor["bram"] >= array["bram"] + 4  # the tables of reader and writer, queues
    assert 1.5 * array["comb"] < processor["comb"] < 15000


def test_harness_takes_the_ports_of_a_processor():
    """Requests go out, beats come in: the memory port has both directions."""
    harness = PinHarness(core(PROCESSOR))
    beat, address, setup = 8 * 16, 12, 64
    inputs = setup + 1 + beat + 1 + 2 + 3 + 1  # the beats, ready of both requests, what the memory says, abort
    assert len(harness.inputs) == inputs
    assert len(harness.outputs) > 2 * address + 8 + beat


def test_harness_keeps_every_port():
    harness = PinHarness(multiplier())
    assert harness.n_registers == 16 + 16 + 32
    bare, wrapped = (synthesize_component(dut, "dut", target="generic") for dut in (multiplier(), harness))
    assert wrapped["ff"] - bare["ff"] == harness.n_registers
    assert wrapped["dsp"] == 1


def test_tool_that_fails_says_why(tmp_path):
    with pytest.raises(RuntimeError, match=r"^yosys: .*ERROR.*no_such_command.*; see .*\.log$") as caught:
        run_yosys("no_such_command", tmp_path)
    assert "no_such_command" in Path(str(caught.value).rpartition("see ")[2]).read_text()


def never_placed(monkeypatch, seeds):
    """With ``seeds`` nextpnr counts its steps and does nothing else."""
    script = ("from itertools import count\nfor step in count():\n"
              "    print(f'Info: iter={step} steplen=1.5', flush=True)\n")
    popen = subprocess.Popen

    def start(command, **options):
        is_stuck = "nextpnr" in Path(command[0]).name and int(command[command.index("--seed") + 1]) in seeds
        return popen([sys.executable, "-c", script] if is_stuck else command, **options)

    monkeypatch.setattr(subprocess, "Popen", start)


def test_a_placer_that_does_not_end_is_stopped(monkeypatch):
    """Its steps are counted: the same seed stops at the same one on every machine."""
    never_placed(monkeypatch, [3])
    with pytest.raises(RuntimeError, match="nextpnr-ecp5: seed 3 is not placed after 700 steps of --placer static; "):
        synthesize(TINY, pnr=True, seeds=(3,))


def test_a_seed_that_is_not_placed_has_no_clock(monkeypatch):
    never_placed(monkeypatch, [2])
    steps = []
    found = synthesize_component(multiplier(), "dut", target="ecp5", pnr=True, seeds=(1, 2), progress=steps.append)
    assert found["fmax_per_seed"]["2"] is None and found["fmax_mhz"] == found["fmax_per_seed"]["1"] > 10
    assert "seed 2 is not placed" in steps[-1]


def test_blanks_in_paths_and_files_beside_do_nothing(tmp_path, monkeypatch):
    """Yosys hands the names of its temporary files to scripts; Python looks in the working directory first."""
    odd = tmp_path / "t m p"
    odd.mkdir()
    (odd / "random.py").write_text("1 / 0\n")
    monkeypatch.setenv("TMPDIR", str(odd))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(odd)
    result = synthesize_component(multiplier(), "dut", target="ecp5", keep=odd)
    assert result["dsp"] == 1


@pytest.mark.parametrize("name", BLOCKS)
def test_every_unit_alone_is_a_component(name):
    assert unit(name, load_preset("hybrid-16")).signature


def test_one_unit_is_synthesised_alone():
    result = synthesize(load_preset("hybrid-16"), "argmax", target="ecp5")
    assert result["name"] == "argmax" and 100 < result["comb"] < 3000 and result["dsp"] == 0


@pytest.mark.parametrize("name, preset, message", [
    ("shuffle", "hybrid-16", "--unit: 'shuffle' is not one of butterfly, normalise, rescale, residual, argmax, "
                             "readarbiter"),
    ("rescale", "processor-16", "--unit: 'rescale', and processor_16 has no .vector.; allowed is butterfly")])
def test_a_unit_that_is_not_there_is_refused(name, preset, message):
    with pytest.raises(WingbeatError, match=f"^{message}$"):
        unit(name, load_preset(preset))
