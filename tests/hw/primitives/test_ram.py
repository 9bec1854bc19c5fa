"""The RAM: its enabled cycles, frozen reads, and the fewest block RAMs of an ECP5."""

from pathlib import Path
import random
import shutil
import subprocess

from amaranth.back import verilog
from amaranth.sim import Simulator
import pytest

import wingbeat.gen
from wingbeat.gen.synth.flow import cell_counts, run_yosys
from wingbeat.hw.config import Pipeline, Target
from wingbeat.hw.primitives.ram import Ram, RamParameters

MODELS = Path(wingbeat.gen.__path__[0]) / "cosim" / "verilog" / "ecp5.v"
SIZES = [(36, 512), (36, 16), (36, 1536), (36, 1024), (32, 100), (9, 3000), (13, 4096), (1, 40), (40, 700)]
SEED = 7


def accesses(width, depth, seed, cycles=400):
    """Random cycles (w_en, w_addr, w_data, r_en, r_addr), crowded on a few addresses around multiples of 512.

    The word that is written is never read in the same cycle: that is undefined.
    """
    rng = random.Random(seed)
    edges = [a for base in range(0, depth, 512) for a in (base - 1, base, base + 1)] + [depth - 1]
    pool = sorted({a for a in edges if 0 <= a < depth} | {rng.randrange(depth) for _ in range(8)})
    for _ in range(cycles):
        write, read = rng.choice(pool), rng.choice(pool)
        yield rng.random() < 0.6 and write != read, write, rng.getrandbits(width), rng.random() < 0.7, read


def expected(stimulus, latency=2):
    """What ``r_data`` shows after each cycle; None until the first word has come through."""
    memory, stages, shown = {}, [None] * latency, []
    for w_en, w_addr, w_data, r_en, r_addr in stimulus:
        if r_en:
            stages = [memory.get(r_addr, 0), *stages[:-1]]
        if w_en:
            memory[w_addr] = w_data
        shown.append(stages[-1])
    return shown


def simulate(parameters, stimulus):
    dut, shown = Ram(parameters), []
    ports = (dut.w_en, dut.w_addr, dut.w_data, dut.r_en, dut.r_addr)

    async def bench(ctx):
        for values in stimulus:
            for port, value in zip(ports, values, strict=True):
                ctx.set(port, value)
            await ctx.tick()
            shown.append(ctx.get(dut.r_data))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return shown


def compare(shown, stimulus, context, latency=2):
    for cycle, (got, want) in enumerate(zip(shown, expected(stimulus, latency), strict=True)):
        assert want is None or got == want, f"{context}: cycle {cycle}"


@pytest.mark.parametrize("field, width, depth", [("width", 0, 8), ("width", 145, 8), ("depth", 8, 1),
                                                 ("depth", 8, 65537)])
def test_refuses(field, width, depth):
    with pytest.raises(ValueError, match=rf"^{field}: \d+ is out of range; allowed are \d+\.\.\d+$"):
        RamParameters(width, depth)


@pytest.mark.parametrize("pipeline", list(Pipeline))
@pytest.mark.parametrize("width, depth", SIZES)
def test_portable(width, depth, pipeline):
    stimulus, parameters = list(accesses(width, depth, SEED)), RamParameters(width, depth, pipeline=pipeline)
    compare(simulate(parameters, stimulus), stimulus, f"{parameters}, seed {SEED}", parameters.latency)


def test_portable_reads_the_old_word_of_a_write_in_the_same_cycle():
    stimulus = [(1, 3, 5, 0, 0), (1, 3, 9, 1, 3), (0, 0, 0, 1, 0)]
    assert simulate(RamParameters(8, 8), stimulus)[-1] == 5


@pytest.mark.parametrize("pipeline, latency", [(Pipeline.DEEP, 2), (Pipeline.SHORT, 1)])
def test_latency_is_the_one_of_the_configuration(pipeline, latency):
    read = [(0, 0, 0, 1, 6)] + [(0, 0, 0, 1, 0)] * 4
    parameters = RamParameters(8, 8, pipeline=pipeline)
    shown = simulate(parameters, [(1, 6, 77, 0, 0), *read])
    assert shown.index(77) == latency == parameters.latency == pipeline.ram_latency


def test_ice40_block_ram_and_nothing_else(tmp_path):
    """No gates that keep the old word of a write in the same cycle: nobody reads it."""
    parameters = RamParameters(32, 256, pipeline=Pipeline.SHORT)
    (tmp_path / "dut.v").write_text(verilog.convert(Ram(parameters), name="dut", emit_src=False))
    run_yosys("read_verilog dut.v; synth_ice40 -top dut -json dut.json", tmp_path)
    counts = cell_counts(tmp_path / "dut.json", "dut")
    assert counts["SB_RAM40_4K"] == 2 and counts["SB_LUT4"] <= 1 and not any(c.startswith("SB_DFF") for c in counts)


@pytest.mark.parametrize("width, depth, blocks", [
    (36, 512, 1), (36, 16, 1), (18, 1024, 1), (9, 2048, 1), (4, 4096, 1), (2, 8192, 1), (1, 16384, 1),
    (36, 1536, 3), (36, 513, 2), (36, 1024, 2), (40, 512, 2), (13, 4096, 3), (9, 3000, 2), (18, 1536, 2),
    (36, 4096, 8), (36, 65536, 128), (1, 128, 0), (2, 64, 0), (1, 129, 1)])
def test_fewest_block_rams(width, depth, blocks):
    assert RamParameters(width, depth).n_block_rams == blocks


@pytest.mark.parametrize("width, depth", [(36, 512), (36, 1536), (13, 4096), (1, 512)])
def test_ecp5_uses_the_block_rams_it_announces(width, depth, tmp_path):
    parameters = RamParameters(width, depth, Target.ECP5)
    (tmp_path / "dut.v").write_text(verilog.convert(Ram(parameters), name="dut", emit_src=False))
    run_yosys("read_verilog dut.v; synth_ecp5 -top dut -json dut.json", tmp_path)
    counts = cell_counts(tmp_path / "dut.json", "dut")
    assert counts["DP16KD"] == parameters.n_block_rams
    assert counts["LUT4"] <= (width + 4 if depth > 512 else 0)
    assert counts["TRELLIS_FF"] <= 2


@pytest.mark.parametrize("width, depth, near", [(1, 64, False), (2, 64, False), (1, 128, False), (4, 256, True)])
def test_small_and_near_memories_are_luts(width, depth, near, tmp_path):
    (tmp_path / "dut.v").write_text(
        verilog.convert(Ram(RamParameters(width, depth, Target.ECP5, near=near)), name="dut", emit_src=False))
    run_yosys("read_verilog dut.v; synth_ecp5 -top dut -json dut.json", tmp_path)
    counts = cell_counts(tmp_path / "dut.json", "dut")
    assert counts["DP16KD"] == 0 and counts["TRELLIS_DPR16X4"] == depth // 16 and counts["LUT4"] <= 30 * width


TESTBENCH = """`timescale 1ns / 1ps
module tb;
    reg clk = 0, w_en = 0, r_en = 0;
    reg [{a}:0] w_addr = 0, r_addr = 0;
    reg [{d}:0] w_data = 0;
    wire [{d}:0] r_data;
    integer file, fields;
    dut dut (.clk(clk), .rst(1'b0), .w_en(w_en), .w_addr(w_addr), .w_data(w_data), .r_en(r_en),
             .r_addr(r_addr), .r_data(r_data));
    initial begin
        file = $fopen("stimulus.hex", "r");
        while ($fscanf(file, "%h %h %h %h %h\\n", w_en, w_addr, w_data, r_en, r_addr) == 5) begin
            #5 clk = 1;
            #5 clk = 0;
            $display("%h", r_data);
        end
        $finish;
    end
endmodule
"""


@pytest.mark.skipif(shutil.which("iverilog") is None,
                    reason="Icarus is not installed: the ECP5 RAM is NOT simulated")
@pytest.mark.parametrize("width, depth", SIZES)
def test_ecp5_primitives_behave_like_the_portable_memory(width, depth, tmp_path):
    parameters = RamParameters(width, depth, Target.ECP5)
    stimulus = list(accesses(width, depth, SEED))
    source = verilog.convert(Ram(parameters), name="dut", emit_src=False)
    (tmp_path / "dut.v").write_text("`timescale 1ns / 1ps\n" + source)
    (tmp_path / "tb.v").write_text(TESTBENCH.format(a=parameters.address_bits - 1, d=width - 1))
    rows = [" ".join(f"{value:x}" for value in row) + "\n" for row in stimulus]
    (tmp_path / "stimulus.hex").write_text("".join(rows))
    build = ["iverilog", "-g2012", "-o", "tb.vvp", "tb.v", "dut.v", str(MODELS)]
    subprocess.run(build, cwd=tmp_path, check=True)
    run = subprocess.run(["vvp", "-n", "tb.vvp"], cwd=tmp_path, check=True, capture_output=True, text=True)
    lines = [line for line in run.stdout.split() if "$finish" not in line]
    shown = [int(line, 16) if set(line) <= set("0123456789abcdef") else -1 for line in lines[:len(stimulus)]]
    compare(shown, stimulus, f"{width} x {depth}, seed {SEED}")
