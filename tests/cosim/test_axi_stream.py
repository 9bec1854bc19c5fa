"""Arrays behind AXI4-Stream in generated Verilog: on the bench of arrays without, in their own test bench, and between
streams that are not ours (axi_stream_bench.py)."""

from dataclasses import replace
import json

import numpy as np
import pytest

from support.foreign import run_bench

from wingbeat.gen.cli.app import main
from wingbeat.gen.cosim.core import Core, lint_core
from wingbeat.gen.cosim.selftest import small_cases
from wingbeat.gen.cosim.testbench.simulators import run_cocotb
from wingbeat.gen.cosim.timing import StreamTiming
from wingbeat.gen.output.registers import register_files
from wingbeat.gen.presets.select import load_preset
from wingbeat.hw.core.streamed_array import StreamedArray
from wingbeat.hw.isa.setup import TLAST_FIELDS
from wingbeat.hw.numeric import slot_bits
from wingbeat.sim.model.array import block_words

SEED = 23
# Beats as wide as an engine, and narrower ones; elements that fill their slots, and others; both pipelines.
CONFIGS = {"native": ["array.engines=1"],
           "axi4-lite": ["bus.control=axi4-lite", "array.stream_words=1", "array.element_width=12"],
           "wishbone": ["bus.control=wishbone", "array.stream_words=2", "pipeline=short", "array.width=18",
                        "array.element_width=17"],
           "bytes": ["array.element_width=8", "array.stream_words=8"]}
JOBS = ("bpmm32_static_0", "bpmm32_block_0", "fft32_block_0", "fft32_safe_0", "bpmm64_static_0", "fft8_block_0")


def configuration(name):
    return load_preset("tiny", ["bus.stream=axi4-stream", *CONFIGS[name]])


def job_facts(config, case):
    """A job as the bench reads it."""
    words = np.split(case.trial.data, np.cumsum(block_words(config, case.trial.program))[:-1])
    return {"name": case.name, "setup": [list(map(int, write)) for write in case.trial.setup_writes[:-1]],
            "in": [block.reshape(-1).tolist() for block in words],
            "out": [{"elements": block.words.reshape(-1).tolist(), "exponent": int(block.exponent) % 64,
                     "saturated": int(block.saturated)} for block in case.expected]}


@pytest.mark.parametrize("name", [name if name in ("native", "axi4-lite") else
                                  pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS])
def test_between_foreign_streams(need, name, tmp_path, monkeypatch):
    need("verilator")
    pytest.importorskip("cocotbext.axi", reason="cocotbext-axi is not installed: the streams met no foreign models")
    config = configuration(name)
    cases = {case.name: case for case in small_cases(config, SEED)}
    jobs = [job_facts(config, cases[job]) for job in JOBS if job in cases]
    assert len(jobs) >= 4 and {job["name"][:3] for job in jobs} == {"bpm", "fft"}
    assert len({block["exponent"] for job in jobs for block in job["out"]}) > 2
    core = Core(config)
    (tmp_path / "core.v").write_text(core.verilog)
    control = config.bus.control.value
    places = tmp_path / f"{config.name}_registers.py"
    if control != "native":
        places.write_text(register_files(config)[places.name])
    facts = {"control": control, "seed": SEED, "registers": str(places) if places.exists() else "",
             "slot_bytes": slot_bits(config.element_width) // 8, "element_width": config.element_width,
             "beat_elements": config.memory_elements, "flags_at": core.harness.status[TLAST_FIELDS[0][0]][0],
             "start": list(map(int, cases[JOBS[0]].trial.setup_writes[-1])), "jobs": jobs}
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    found, log = run_bench(monkeypatch, "axi_stream_bench", tmp_path / "core.v", config.name, tmp_path,
                           {"AXI_STREAM_FACTS": str(tmp_path / "facts.json")})
    assert found == (3, 0), f"seed {SEED}: {log[-4000:]}"


@pytest.mark.parametrize("name", CONFIGS)
def test_benches_of_other_cores(need, name, compare_counts):
    """The same words, exponents and flags as without, and where the setup is native the same cycles."""
    need("icarus")
    config = configuration(name)
    [case] = [case for case in small_cases(config, SEED) if case.name == "fft8_block_0"]
    stalls = ("none", "both") if config.bus.control.value == "native" else ("both",)
    runs = Core(config).simulate([case.under(StreamTiming(stall, SEED), stall) for stall in stalls], "icarus")
    for run in runs:
        assert case.mismatches(run) == 0 and run.counters.blocks == case.trial.n_blocks, f"seed {SEED}"
        assert not any(run.status[flag] for flag, _ in TLAST_FIELDS)
    if len(runs) > 1:
        compare_counts(config, runs[0], name)


class Wrong(StreamedArray):
    """A core with a fault on its pins."""

    fault = ""

    def elaborate(self, platform):
        m = super().elaborate(platform)
        if self.fault == "signs":
            m.d.comb += self.m_axis_tdata.as_value()[15].eq(0)
        if self.fault == "flag":
            m.d.comb += self.m_axis_tuser.tlast_missing.eq(1)
        return m


@pytest.mark.parametrize("fault", ["signs", "flag"])
def test_a_wrong_core_is_seen(need, tmp_path, monkeypatch, fault):
    """By the bench of a generated folder, which compares."""
    need("icarus")
    monkeypatch.setattr(Wrong, "fault", fault)
    config = load_preset("tiny", ["bus.stream=axi4-stream", "array.element_width=12"])
    [case] = [case for case in small_cases(config, SEED) if case.name == "fft8_block_0"]
    core = Core(config, Wrong(config))
    core.harness.write(tmp_path, [case.trial],
                       {case.trial.name: ("fft8", core.harness.lines(case.expected))})
    tests, failed = run_cocotb(core.build("icarus").entry.folder, core.harness.top, "icarus", tmp_path, tmp_path,
                               core.harness.benches[0])
    assert (tests, failed) == (1, 1)
    assert "output beat" in json.loads((tmp_path / f"{case.trial.name}.result.json").read_text())["error"]


@pytest.mark.parametrize("name", CONFIGS)
def test_lint(need, name, tmp_path):
    need("verilator")
    config = configuration(name)
    source = tmp_path / f"{config.name}.v"
    source.write_text(Core(config).verilog)
    assert lint_core([source], config.name) == []


def test_a_trial_without_a_program_is_refused():
    config = configuration("native")
    trial = replace(next(small_cases(config, SEED)).trial, program=None)
    with pytest.raises(ValueError, match="^program: None; where blocks end is read off the program of a trial$"):
        Core(config).simulate([trial])


@pytest.mark.parametrize("arguments, line", [
    (["--preset", "processor-16", "--set", "bus.stream=axi4-stream"],
     "wingbeat: bus.stream: 'axi4-stream' with a [memory], behind which a core has no streams; allowed is native\n"),
    (["--preset", "tiny", "--set", "bus.stream=axis"],
     "wingbeat: bus.stream: 'axis': Input should be 'native' or 'axi4-stream'\n")])
def test_refused(tmp_path, monkeypatch, capsys, arguments, line):
    monkeypatch.chdir(tmp_path)
    assert main(["generate", *arguments, "-o", "out"]) == 2
    assert capsys.readouterr().err == line and not list(tmp_path.iterdir())
