"""The folder of a generated processor: complete, the same bytes twice, and nothing at all after a fault."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest

from wingbeat.gen.cosim.selftest import small_programs
from wingbeat.gen.cosim.testbench import simulators
from wingbeat.gen.cosim.timing import MEMORY_STALLS
from wingbeat.gen.output import core_folder as generator
from wingbeat.gen.output.core_folder import generate
from wingbeat.gen.output.manifest import describe_memory_map
from wingbeat.gen.output.schema import CoreFacts
from wingbeat.gen.presets.select import load_preset
from wingbeat.gen.synth.flow import run_yosys
from wingbeat.hw.array.array import Array
from wingbeat.hw.config import CoreConfig, Target
from wingbeat.hw.core.processor import Processor
from wingbeat.hw.core.top import core
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.bit_fields import words_of_bits
from wingbeat.hw.isa.encoding import decode, encode
from wingbeat.hw.isa.instruction import Fault, Halt, MemoryMode, Read
from wingbeat.hw.isa.parameter_set import Activation, WriteSet
from wingbeat.hw.isa.setup import (SETUP_ACTIVATION, SETUP_CHANNELS, SETUP_READ_SETS, SETUP_READER, SETUP_WRITE_SETS,
                                   SETUP_WRITER)

FIELDS = {"engines": 2, "layers": 1, "width": 16, "element_width": 16, "coefficient_width": 16, "half_words": 64,
          "coefficient_words": 256, "program_words": 512, "stream_words": 4, "memory_bits": 12}
PROCESSOR = CoreConfig.of(name="runner", **FIELDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("made") / "runner"
    assert generate(PROCESSOR, target) == json.loads((target / "manifest.json").read_text())
    CoreFacts.model_validate(json.loads((target / "manifest.json").read_text()))
    return target


def test_memory_decides_what_the_core_is():
    assert type(core(PROCESSOR)) is Processor
    assert type(core(load_preset("tiny"))) is Array


def test_files(folder):
    facts = json.loads((folder / "manifest.json").read_text())
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != "manifest.json"} \
        == facts["sha256"]
    bench = json.loads(files["tb/bench.json"])
    assert (bench["top"], bench["bench"]) == ("runner_with_memory", "processor_bench")
    assert {f"tb/{source}" for source in bench["sources"]} - {"tb/../rtl/runner.v"} < files.keys()
    assert {"rtl/runner.v", "rtl/runner.vlt", "tb/run.py", "tb/processor_bench.py", "tb/simulators.py",
            "tb/Makefile"} < files.keys()
    assert "tb/array_bench.py" not in files
    for trial in json.loads(files["tb/vectors/trials.json"]):
        assert {f"tb/vectors/{trial[kind]}" for kind in ("setup", "memory", "expected")} < files.keys()
    assert sum(map(len, files.values())) < 1 << 20


def test_ports_are_those_of_the_verilog(folder):
    verilog = (folder / "rtl" / "runner.v").read_text()
    top = verilog[verilog.index("\nmodule runner("):]
    facts = json.loads((folder / "manifest.json").read_text())
    for port in facts["ports"]:
        width = f"[{port['width'] - 1}:0] " if port["width"] > 1 else ""
        assert f"  {port['direction']} {width}{port['name']};" in top
        assert sum(field["width"] for field in port["fields"]) in (0, port["width"])
    write = next(port for port in facts["ports"] if port["name"] == "port__write__payload")
    assert [(field["name"], field["offset"]) for field in write["fields"]][:3] == [
        ("address", 0), ("strobe", 12), ("beat.elements[0]", 20)]


def test_manifest_tells_what_a_program_needs(folder):
    facts = json.loads((folder / "manifest.json").read_text())
    assert facts["memory"] == {"beats": 4096, "elements": 8, "element_width": 16}
    assert facts["errors"] == {fault.name: fault.value for fault in Fault if fault is not Fault.RECORD}
    tables = [facts["memory_map"][name] for name in ("reader_table", "writer_table")]
    assert [table["target"] for table in tables] == [SETUP_READER, SETUP_WRITER]
    # An instruction put together by the manifest alone is the one that the encoder makes.
    read = Read(5, 3, 1000, MemoryMode.PAIRS, 77, 2, 9)
    layout = facts["memory_map"]["program"]["instructions"]["READ"]
    bits = layout["opcode"] + sum(int(getattr(read, field["name"])) << field["offset"] for field in layout["fields"])
    words = words_of_bits(bits, facts["memory_map"]["program"]["words_per_instruction"])
    assert words == encode([read]) and decode([*words, *encode([Halt()])], PROCESSOR.layers)[0] == read


def test_an_array_has_nothing_of_it():
    places = describe_memory_map(load_preset("tiny"))
    assert list(places["program"]["instructions"]) == ["HALT", "LOAD", "PASS", "STORE", "LOOP"]
    assert "reader_table" not in places


def test_readme(folder):
    text = (folder / "README.md").read_text()
    for word in ("beats* of 8 elements, numbered 0..4095", "`port__refused`", "make -C tb", "address_bits = 12",
                 "no unit has moved for 65536 cycles",
                 *(f"\n| {fault.value} | " for fault in Fault if fault not in (Fault.NONE, Fault.RECORD))):
        assert word in text, word


def test_readme_of_an_array_does_not_mention_a_memory(tmp_path):
    generate(load_preset("tiny", ["engines=1", "layers=1", "stream_words=2"]), tmp_path / "core")
    text = (tmp_path / "core" / "README.md").read_text()
    assert "port__" not in text and "processor" not in text and "\n\n\n" not in text
    assert json.loads((tmp_path / "core" / "tb" / "bench.json").read_text())["bench"] == "array_bench"


def test_programs_cover_kinds_and_timings(folder):
    names = [small.name for small in small_programs(PROCESSOR)]
    assert names == ["butterfly8", "fft8", "mixing8", "butterfly16", "fft16", "mixing16"]
    trials = json.loads((folder / "tb" / "vectors" / "trials.json").read_text())
    assert {trial["name"].split("-")[0] for trial in trials} == {*names, "bpmm64_largest", "fft64_largest"}
    assert {part for trial in trials for part in trial["name"].split("-")[1:]} \
        == {"ideal", "slow", *MEMORY_STALLS} - {"none"}
    for small in small_programs(PROCESSOR):
        assert (small.expected != small.trial.data).any(axis=1).sum() >= len(small.expected) // 4, small.name


def test_primitives_come_with_their_models(tmp_path):
    generate(PROCESSOR.changed(target=Target.ECP5), tmp_path / "core")
    assert "MULT18X18D" in (tmp_path / "core" / "rtl" / "runner.v").read_text()
    assert "ecp5.v" in json.loads((tmp_path / "core" / "tb" / "bench.json").read_text())["sources"]
    assert (tmp_path / "core" / "tb" / "ecp5.v").is_file()


def test_the_same_bytes_again(folder, tmp_path):
    """Under another hash seed, from another folder and into another one."""
    settings = {"name": '"runner"', **FIELDS}
    (tmp_path / "p.toml").write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
    program = "from wingbeat.gen.cli.app import main; raise SystemExit(main())"
    subprocess.run([sys.executable, "-c", program, "generate", "--config", "p.toml", "-o", "core"], cwd=tmp_path,
                   env={**os.environ, "PYTHONHASHSEED": "77"}, check=True, capture_output=True, timeout=120)
    first, second = ({path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*")
                      if path.is_file()} for root in (folder, tmp_path / "core"))
    assert first == second


@pytest.mark.parametrize("field, value", [("memory_bits", 3), ("half_words", 4), ("program_words", 32),
                                          ("coefficient_words", 4)])
def test_too_small_for_any_program(tmp_path, field, value):
    """One line that names a field, and nothing is left behind."""
    config = PROCESSOR.changed(**{field: value})
    name = "memory.address_bits" if field == "memory_bits" else field
    with pytest.raises(WingbeatError, match=f"^{name}: .*allowed are") as caught:
        generate(config, tmp_path / "core")
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


CORES = {"array": load_preset("tiny", ["engines=1"]), "processor": PROCESSOR,
         "axi": load_preset("processor-16", ["bus.memory=axi4"]),
         "controlled": PROCESSOR.changed(bus={"control": "axi4-lite"}),
         "wishbone": load_preset("tiny", ["engines=1", "bus.control=wishbone"]),
         "stream": load_preset("tiny", ["engines=1", "bus.stream=axi4-stream"]),
         "ecp5": PROCESSOR.changed(target=Target.ECP5)}


@pytest.mark.parametrize("kind", [
    kind if kind != "ecp5" else pytest.param(kind, marks=pytest.mark.campaign) for kind in CORES])
def test_a_core_fits_into_somebody_elses_design(tmp_path, kind):
    """Its lint is clean with the waivers beside it, which hold for no other file; the top of the design stays the top;
    every file that can says what its licence is."""
    config, folder = CORES[kind], tmp_path / "a b"
    generate(config, folder)
    for path in folder.rglob("*"):
        if path.suffix in (".v", ".vlt", ".py", ".md") or path.name == "Makefile":
            assert "SPDX-License-Identifier: BSD-2-Clause" in path.read_text(), path
    sources = [folder / "rtl" / f"{config.name}.v", *folder.glob("tb/ecp5.v")]
    assert simulators.lint(sources, config.name, folder / "rtl" / f"{config.name}.vlt") == []
    design = tmp_path / "theirs.v"
    design.write_text(f"module theirs(a, y);\n  input [7:0] a;\n  output y;\n  assign y = a[0];\n"
                      f"  {config.name} core();\nendmodule\n")
    found = simulators.lint([design, *sources], "theirs", folder / "rtl" / f"{config.name}.vlt")
    assert any("UNUSEDSIGNAL" in line and "theirs.v" in line for line in found)
    shutil.copyfile(sources[0], tmp_path / "core.v")
    log = run_yosys("read_verilog core.v theirs.v; hierarchy -auto-top", tmp_path)
    assert "Top module:  \\theirs" in log


def test_programs_that_do_not_fit_are_left_out():
    config = PROCESSOR.changed(descriptors=1)
    assert [small.name for small in small_programs(config)] == ["fft8", "fft16"]


def test_a_fault_keeps_the_core_of_before(tmp_path, monkeypatch):
    generate(PROCESSOR, tmp_path / "core")
    before = {path: path.is_dir() or path.read_bytes() for path in tmp_path.rglob("*")}

    def out_of_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(generator, "write_manifest", out_of_disk)
    with pytest.raises(OSError):
        generate(PROCESSOR, tmp_path / "core")
    assert {path: path.is_dir() or path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_a_vector_unit_brings_its_tables_and_a_network():
    config = load_preset("hybrid-16")
    places = describe_memory_map(config)
    assert [places[name]["target"] for name in ("read_sets", "write_sets", "channels", "activation")] == [
        SETUP_READ_SETS, SETUP_WRITE_SETS, SETUP_CHANNELS, SETUP_ACTIVATION]
    # A set put together by the manifest alone is the one that the hardware takes.
    chosen = WriteSet(rescale=True, base=77, shift=19, activation=Activation.GELU, fall=3, residual=True, offset=5, c=6)
    fields = places["write_sets"]["fields"]
    bits = sum(int(getattr(chosen, field["name"])) << field["offset"] for field in fields)
    assert words_of_bits(bits, places["write_sets"]["words_per_set"]) == chosen.words()
    names = [small.name for small in small_programs(config)]
    assert names[3] == "network8" and names[-1] == "network16"
    assert not any(name.startswith("network") for name in (s.name for s in small_programs(PROCESSOR)))
