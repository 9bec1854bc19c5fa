"""The command line: what is refused costs one line per fault and leaves no trace; what is made is
complete."""

import hashlib
import json
import os
import subprocess
import sys

import pytest

from wingbeat.gen.cli import app as cli
from wingbeat.gen.cli.app import main
from wingbeat.gen.output import core_folder as generator

TINY = ["generate", "--preset", "tiny", "-o", "out"]
FILE = ["generate", "--config", "c.toml", "-o", "out"]


def sets(*settings):
    return [*TINY, *(word for setting in settings for word in ("--set", setting))]


# (arguments, contents of c.toml, a word that each line on standard error contains)
REFUSED = {
    # values out of range, each field on both sides
    "engines 0": (sets("engines=0"), None, ["engines"]),
    "engines negative": (sets("engines=-1"), None, ["engines"]),
    "engines 257": (sets("engines=257"), None, ["engines"]),
    "layers 0": (sets("layers=0"), None, ["layers"]),
    "layers 5": (sets("layers=5"), None, ["layers"]),
    "width 7": (sets("width=7"), None, ["width"]),
    "width 19": (sets("width=19"), None, ["width"]),
    "element_width 7": (sets("element_width=7"), None, ["element_width"]),
    "element_width above width": (sets("element_width=17"), None, ["17 is more than width = 16"]),
    "coefficient_width 7": (sets("coefficient_width=7"), None, ["coefficient_width"]),
    "coefficient_width 19": (sets("coefficient_width=19"), None, ["coefficient_width"]),
    "half_words 3": (sets("half_words=3"), None, ["half_words"]),
    "half_words not a power": (sets("half_words=96"), None, ["half_words: 96 is not a power of two"]),
    "half_words below two rows": (sets("half_words=4"), None, ["half_words"]),
    "half_words too many": (sets("half_words=131072"), None, ["half_words"]),
    "coefficient_words 0": (sets("coefficient_words=0"), None, ["coefficient_words"]),
    "coefficient_words too many": (sets("coefficient_words=65537"), None, ["coefficient_words"]),
    "program_words 16": (sets("program_words=16"), None, ["program_words"]),
    "program_words not a power": (sets("program_words=100"), None, ["program_words"]),
    "program_words too many": (sets("program_words=131072"), None, ["program_words"]),
    "stream_words 0": (sets("stream_words=0"), None, ["stream_words"]),
    "stream_words 3": (sets("stream_words=3"), None, ["stream_words: 3", ]),
    "stream_words beyond the engines": (sets("stream_words=16"), None, ["stream_words"]),
    # wrong types
    "float": (sets("engines=2.0"), None, ["engines"]),
    "boolean": (sets("engines=true"), None, ["engines"]),
    "string": (sets("engines=two"), None, ["engines: 'two'"]),
    "quoted number": (sets("engines='2'"), None, ["engines"]),
    "list": (sets("engines=[2]"), None, ["engines"]),
    "table": (sets("engines={a=1}"), None, ["engines"]),
    "date": (sets("engines=2020-01-01"), None, ["engines"]),
    "nan": (sets("width=nan"), None, ["width"]),
    "huge": (sets("engines=" + "9" * 200), None, ["engines"]),
    "empty value": (sets("engines="), None, ["engines"]),
    "second line": (sets("engines=2\nlayers=1"), None, ["engines"]),
    "unknown target": (sets("target=xilinx"), None, ["target"]),
    "target number": (sets("target=1"), None, ["target"]),
    # names that would reach Verilog and the file system
    "name injection": (sets("name=x;endmodule"), None, ["name"]),
    "name path": (sets("name=../../etc/x"), None, ["name"]),
    "name newline": (sets('name="a\\nb"'), None, ["name"]),
    "name empty": (sets('name=""'), None, ["name"]),
    "name keyword": (sets("name=module"), None, ["name"]),
    "name keyword in capitals": (sets("name=Module"), None, ["name"]),
    "name digit": (sets('name="1a"'), None, ["name"]),
    "name letters": (sets("name=größe"), None, ["name"]),
    "name long": (sets("name=" + "a" * 64), None, ["name"]),
    "name number": (sets("name=5"), None, ["name"]),
    "name terminal codes": (sets("name=\x1b[31mred"), None, ["name"]),
    # fields and several faults at once
    "unknown field": (sets("colour=1"), None, ["colour: 1: no such field; allowed are name, target, pipeline, array"]),
    "two fields": (sets("engines=0", "layers=9"), None, ["engines", "layers"]),
    "three fields": (sets("width=1", "target=x", "colour=1"), None, ["target", "array.width", "colour"]),
    "two relations": (sets("half_words=96", "stream_words=3"), None, ["half_words", "stream_words"]),
    "given twice": (sets("engines=2", "engines=3"), None, ["--set: engines is given twice"]),
    "no value": (sets("engines"), None, ["--set"]),
    "no field": (sets("=2"), None, ["--set"]),
    # files
    "file missing": (FILE, None, ["--config: 'c.toml' cannot be read"]),
    "file is a folder": (["generate", "--config", ".", "-o", "out"], None, ["--config"]),
    "no TOML": (FILE, "engines: 2\n", ["--config: 'c.toml' is not a TOML file"]),
    "half a TOML": (FILE, "engines = ", ["--config"]),
    "twice in TOML": (FILE, "engines = 1\nengines = 2\n", ["--config"]),
    "no text": (FILE, b"\xff\xfe\x00", ["--config"]),
    "nul": (FILE, "engines = 1\0", ["--config"]),
    "table in TOML": (FILE, "[colour]\nengines = 1\n", ["colour"]),
    "field in a section": (FILE, "[array]\ncolour = 1\n",
                           ["array.colour: 1: no such field; allowed are engines, layers"]),
    "bad value in TOML": (FILE, "[array]\nengines = 0\n", ["array.engines: 0"]),
    "version 0.1 in TOML": (FILE, "engines = 0\n", ["warning: a configuration without sections", "array.engines: 0"]),
    "json in TOML": (FILE, '{"engines": 1}', ["--config"]),
    # options
    "nothing": ([], None, ["Missing command"]),
    "unknown command": (["gnerate"], None, ["gnerate"]),
    "command with terminal codes": (["\x1b[2J"], None, ["x1b"]),
    "unknown option": ([*TINY, "--fast"], None, ["--fast"]),
    "stray argument": ([*TINY, "more"], None, ["more"]),
    "no output": (["generate", "--preset", "tiny"], None, ["output"]),
    "output without value": (["generate", "--preset", "tiny", "-o"], None, ["-o"]),
    "no configuration": (["generate", "-o", "out"], None, ["--preset, --config"]),
    "both": ([*TINY, "--config", "c.toml"], "engines = 1\n", ["--preset, --config"]),
    "unknown preset": (["generate", "--preset", "huge", "-o", "out"], None, ["preset: 'huge' is not one of"]),
    "preset path": (["generate", "--preset", "../presets/tiny", "-o", "out"], None, ["preset"]),
    "preset empty": (["generate", "--preset", "", "-o", "out"], None, ["preset"]),
    "output is a file": (["generate", "--preset", "tiny", "-o", "keep.txt"], None, ["--output"]),
    "output below a file": (["generate", "--preset", "tiny", "-o", "keep.txt/x"], None, ["--output"]),
    "output with foreign files": (["generate", "--preset", "tiny", "-o", "."], None, ["--output"]),
    "json is a folder": ([*TINY, "--json", "."], None, ["--json"]),
    "json below a file": ([*TINY, "--json", "keep.txt/a.json"], None, ["--json"]),
    "json is the root": (["presets", "--json", "/"], None, ["--json: '/' cannot be written"]),
    "page": (["demo", "--page", "."], None, ["--page: '.' cannot be written"]),
    "plot": (["bench", "sensitivity", "--preset", "processor-16", "--plot", "keep.txt/x.svg"], None, ["--plot"]),
    "vcd": (["simulate", "--preset", "processor-16", "--vcd", "."], None, ["--vcd: '.' cannot be written"]),
    "presets json": (["presets", "--json", "."], None, ["--json"]),
    "simulator": (["simulate", "--preset", "tiny", "--simulator", "spice"], None, ["--simulator: 'spice'"]),
    "simulate seed": (["simulate", "--preset", "tiny", "--seed", "-1"], None, ["--seed"]),
    "simulate seed text": (["simulate", "--preset", "tiny", "--seed", "x"], None, ["--seed"]),
    "simulate nothing": (["simulate"], None, ["--preset, --config"]),
    "synth target": (["synth", "--preset", "tiny", "--target", "asic"], None, ["target"]),
    "synth device": (["synth", "--preset", "tiny", "--device", "none"], None, ["device"]),
    "synth seeds": (["synth", "--preset", "tiny", "--seeds", "1,,2"], None, ["--seeds"]),
    "synth no seeds": (["synth", "--preset", "tiny", "--seeds", ""], None, ["--seeds"]),
    "synth negative seed": (["synth", "--preset", "tiny", "--seeds=-1"], None, ["--seeds"]),
    "synth frequency": (["synth", "--preset", "tiny", "--frequency", "fast"], None, ["--frequency"]),
    "synth bad field": (["synth", "--preset", "tiny", "--set", "layers=0"], None, ["layers"]),
    "board name": (["board", "de10"], None, ["board: 'de10' is not one of"]),
    "board build without name": (["board", "--build"], None, ["NAME"]),
    "board output is a file": (["board", "ulx3s", "--build", "-o", "keep.txt"], None, ["keep.txt"]),
    "board seed": (["board", "ulx3s", "--build", "--seed", "-1"], None, ["--seed"]),
    "bench without kind": (["bench"], None, ["Missing command"]),
    "bench kind": (["bench", "speed"], None, ["speed"]),
    "bench sizes": (["bench", "kernels", "--preset", "tiny", "--sizes", "64;128"], None, ["--sizes"]),
    "bench size no power": (["bench", "kernels", "--preset", "tiny", "--sizes", "48"], None, ["48"]),
    "bench size too large": (["bench", "kernels", "--preset", "tiny", "--sizes", "4096"], None, ["4096"]),
    "bench size 0": (["bench", "kernels", "--preset", "tiny", "--sizes", "64,0"], None, ["--sizes: 0"]),
    "bench blocks": (["bench", "kernels", "--preset", "tiny", "--blocks", "1"], None, ["--blocks"]),
    "bench kernel": (["bench", "kernels", "--preset", "tiny", "--kernel", "dct"], None, ["--kernel: 'dct'"]),
    "bench scaling": (["bench", "kernels", "--preset", "tiny", "--scaling", "luck"], None, ["luck"]),
    "bench points": (["bench", "accuracy", "--preset", "tiny", "--points", "3"], None, ["3"]),
    "bench preset": (["bench", "kernels", "--preset", "nothing", "--sizes", "64"], None, ["preset"]),
    "processor seed": (["simulate", "--preset", "processor-16", "--seed", "-1"], None, ["--seed: -1; allowed are 0"]),
    "large seed": (["simulate", "--preset", "tiny", "--seed", "4294967296"], None, ["--seed: 4294967296; allowed"]),
    "compile seed": (["compile", "m", "--network", "n", "--preset", "tiny", "-o", "o", "--seed", "-1"], None,
                     ["--seed: -1; allowed are 0"]),
    "program seed": (["program", "--preset", "processor-16", "-o", "out", "--seed", "-1"], None, ["--seed: -1"]),
    "kernels seed": (["bench", "kernels", "--preset", "tiny", "--seed", "-1"], None, ["--seed: -1"]),
    "block seed": (["bench", "fabnet-block", "--preset", "hybrid-16", "--seed", "-1"], None, ["--seed: -1"]),
    "sensitivity seed": (["bench", "sensitivity", "--preset", "processor-16", "--seed", "-1"], None, ["--seed: -1"]),
    "inputs seed": (["bench", "inputs", "--preset", "hybrid-16", "--seed", "-1"], None, ["--seed: -1"]),
    "accuracy seed": (["bench", "accuracy", "--preset", "tiny", "--seed", "-1"], None, ["--seed: -1"]),
    # options that would do nothing
    "sizes alone": (["simulate", "--preset", "tiny", "--sizes", "63"], None, ["--sizes: 63; allowed only with --ker"]),
    "hidden alone": (["simulate", "--preset", "processor-16", "--hidden", "8"], None,
                     ["--hidden: 8; allowed only with --kernel"]),
    "sizes of ffn": (["simulate", "--preset", "processor-16", "--kernel", "ffn", "--sizes", "64"], None,
                     ["--sizes: 64; allowed only with --kernel bpmm or fft"]),
    "tokens of fft": (["program", "--preset", "processor-16", "--kernel", "fft", "--tokens", "64", "-o", "out"], None,
                      ["--tokens: 64; allowed only with --kernel fft2-real, ffn, dense, nm or attention"]),
    "heads of dense": (["program", "--preset", "matrix-16", "--kernel", "dense", "--heads", "2", "-o", "out"], None,
                       ["--heads: 2; allowed only with --kernel attention"]),
    "causal dense": (["program", "--preset", "matrix-16", "--kernel", "dense", "--causal", "-o", "out"], None,
                     ["--causal: True; allowed only with --kernel attention"]),
    "length of dense": (["program", "--preset", "matrix-16", "--kernel", "dense", "--length", "2", "-o", "out"], None,
                        ["--length: 2; allowed only with --kernel attention"]),
    "key heads of dense": (["simulate", "--preset", "matrix-16", "--kernel", "dense", "--key-heads", "2"], None,
                           ["--key-heads: 2; allowed only with --kernel attention"]),
    "attention among kernels": (["bench", "kernels", "--preset", "attention-16", "--kernel", "attention"], None,
                                ["--kernel: 'attention' is measured by `wingbeat bench attention`; allowed are bpmm"]),
    "window of attention": (["bench", "attention", "--preset", "attention-16", "--window", "0"], None,
                            ["--window: 0; allowed are 1..4095"]),
    "attention without softmax": (["bench", "attention", "--preset", "matrix-16", "--search"], None,
                                  ["array.softmax_pairs: 0; allowed are powers of two, for attention"]),
    "heads alone": (["simulate", "--preset", "attention-16", "--heads", "2"], None,
                    ["--heads: 2; allowed only with --kernel"]),
    "too long": (["program", "--preset", "attention-16", "--kernel", "attention", "--tokens", "8", "--length", "9",
                  "-o", "out"], None, ["--length: 9; allowed are 0..8"]),
    "expand of mixing": (["program", "--preset", "processor-16", "--kernel", "fft2-real", "--expand", "2", "-o", "out"],
                         None, ["--expand: 2; allowed only with --kernel ffn"]),
    "tokens of kernels": (["bench", "kernels", "--preset", "tiny", "--tokens", "64"], None, ["--tokens: 64; allowed"]),
    "blocks of ffn": (["bench", "kernels", "--preset", "processor-16", "--kernel", "ffn", "--blocks", "8"], None,
                      ["--blocks: 8; allowed only with --kernel bpmm or fft"]),
    "sensitivity kernel": (["bench", "sensitivity", "--preset", "processor-16", "--kernel", "ffn"], None,
                           ["--kernel: 'ffn' is not one of bpmm, fft"]),
    "seeds alone": (["synth", "--preset", "tiny", "--seeds", "4"], None, ["--seeds: 4; allowed only with --pnr"]),
    "placer alone": (["synth", "--preset", "tiny", "--placer", "sa"], None, ["--placer: sa; allowed only with --pnr"]),
    "frequency alone": (["synth", "--preset", "tiny", "--frequency", "50"], None, ["--frequency: 50.0; allowed only"]),
    "generic pnr": (["synth", "--preset", "tiny", "--target", "generic", "--pnr"], None, ["--pnr: generic has no par"]),
    "board output alone": (["board", "ulx3s", "-o", "out"], None, ["--output: out; allowed only with --build"]),
    "seed and calibration": (["compile", "m", "--network", "n", "--preset", "tiny", "-o", "o", "--calibration", "c.npz",
                              "--seed", "2"], None, ["--seed: 2; allowed only without --calibration"]),
    "demo images": (["demo", "--images", "0"], None, ["--images"]),
    "demo preset": (["demo", "--preset", "nothing"], None, ["preset"]),
}


@pytest.mark.parametrize("arguments, file, words", REFUSED.values(), ids=REFUSED.keys())
def test_refused(arguments, file, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keep.txt").write_text("mine")
    if file is not None:
        (tmp_path / "c.toml").write_bytes(file if isinstance(file, bytes) else file.encode())
    before = sorted(tmp_path.rglob("*"))
    assert main(arguments) == 2
    caught = capsys.readouterr()
    lines = caught.err.splitlines()
    assert caught.out == ""
    assert all(line.startswith("wingbeat: ") and line.isprintable() for line in lines)
    assert len(lines) == len(words) and all(word in line for word, line in zip(words, lines)), caught.err
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "keep.txt").read_text() == "mine"


def test_enough_refusals():
    assert len(REFUSED) >= 60


def test_generate(tmp_path, capsys):
    folder = tmp_path / "a" / "core"
    assert main(["generate", "--preset", "tiny", "-o", str(folder), "--json", str(tmp_path / "n.json")]) == 0
    facts = json.loads((folder / "manifest.json").read_text())
    assert facts == json.loads((tmp_path / "n.json").read_text())
    assert facts["top"] == "tiny" and facts["derived"]["n_multipliers"] == 32
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert files == set(facts["sha256"]) | {"manifest.json"}
    assert {"rtl/tiny.v", "README.md"} <= files
    for name, digest in facts["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    verilog = (folder / "rtl" / "tiny.v").read_text()
    for port in facts["ports"]:
        width = f"[{port['width'] - 1}:0] " if port["width"] > 1 else ""
        assert f"  {port['direction']} {width}{port['name']};" in verilog
        assert sum(field["width"] for field in port["fields"]) in (0, port["width"])
    assert "32" in capsys.readouterr().out


def test_generate_is_reproducible(tmp_path):
    """The same bytes under another hash seed, from another folder and into another one."""
    digests = []
    for seed in ("0", "77"):
        where = tmp_path / seed
        where.mkdir()
        program = "from wingbeat.gen.cli.app import main; raise SystemExit(main())"
        command = [sys.executable, "-c", program, "generate", "--preset", "tiny", "-o", f"core{seed}"]
        subprocess.run(command, cwd=where, env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
                       capture_output=True, timeout=120)
        digests.append({p.relative_to(where / f"core{seed}").as_posix(): p.read_bytes()
                        for p in where.rglob("*") if p.is_file()})
    assert digests[0] == digests[1]


def test_a_fault_keeps_the_core_of_before(tmp_path, monkeypatch, capsys):
    target = tmp_path / "core"
    assert main(["generate", "--preset", "tiny", "-o", str(target)]) == 0
    before = {path: path.is_dir() or path.read_bytes() for path in tmp_path.rglob("*")}
    capsys.readouterr()

    def out_of_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(generator, "write_testbench", out_of_disk)
    assert main(["generate", "--preset", "tiny", "-o", str(target)]) == 2
    assert capsys.readouterr().err == "wingbeat: system: No space left on device\n"
    assert {path: path.is_dir() or path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_a_folder_with_foreign_files_is_refused_before_any_work(tmp_path, monkeypatch, capsys):
    (tmp_path / "manifest.json").write_text('{"name": "web app"}')
    monkeypatch.setattr(generator, "Core", None)
    for command in (["generate", "--preset", "tiny"], ["program", "--preset", "processor-16"],
                    ["board", "ulx3s", "--build"]):
        assert main([*command, "-o", str(tmp_path)]) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"wingbeat: --output: '{tmp_path}' holds 'manifest")
    assert [path.name for path in tmp_path.rglob("*")] == ["manifest.json"]


def test_presets(tmp_path, capsys):
    assert main(["presets", "--json", str(tmp_path / "p.json")]) == 0
    listed = [row["preset"] for row in json.loads((tmp_path / "p.json").read_text())]
    printed = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert listed == printed and "tiny" in listed


def test_doctor(tmp_path, capsys):
    code = main(["doctor", "--json", str(tmp_path / "d.json")])
    findings = {row["tool"]: row for row in json.loads((tmp_path / "d.json").read_text())}
    assert code == int(any(row["state"] == "missing" for row in findings.values()))
    assert findings["python"]["state"] == "ok" and findings["amaranth"]["found"] == "0.5.10"
    assert all(row["remedy"] for row in findings.values() if row["state"] != "ok")
    assert len(capsys.readouterr().out.splitlines()) == len(findings) + 1


def test_doctor_notices_a_wrong_version(monkeypatch, capsys):
    from wingbeat.gen.cli import doctor
    programs = [("python3", ">=99", True, "wait"), ("no-such-tool", ">=1", False, "x")]
    monkeypatch.setattr(doctor, "PROGRAMS", programs)
    assert main(["doctor"]) == 1
    rows = {line.split("\t")[0]: line.split("\t")[3:] for line in capsys.readouterr().out.splitlines()}
    assert rows["python3"] == ["missing", "wait"] and rows["no-such-tool"] == ["optional", "x"]


def test_doctor_notices_folders_that_cannot_be_written(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WINGBEAT_CACHE", str(tmp_path / "file" / "cache"))
    assert main(["doctor"]) == 1
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["cache"] == [str(tmp_path / "file" / "cache"), "writable", "missing", "export WINGBEAT_CACHE=FOLDER"]
    assert rows["temporary files"][1:] == ["writable", "ok", ""]
    assert main(["simulate", "--preset", "tiny"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("wingbeat: cache: ")


def test_help_and_interrupt(monkeypatch, capsys):
    assert main(["--help"]) == 0
    assert "generate" in capsys.readouterr().out

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.configurations, "names", interrupted)
    assert main(["presets"]) == 130
    assert "Traceback" not in capsys.readouterr().err
