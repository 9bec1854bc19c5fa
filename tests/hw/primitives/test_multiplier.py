"""The multiplier: exact, registered or not, one product per cycle."""

from collections import Counter
import json
from pathlib import Path
import random
import shutil
import subprocess

from amaranth.back import verilog
from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator
import pytest

import wingbeat.gen
from wingbeat.gen.synth.flow import cell_counts, run_yosys
from wingbeat.hw.config import Pipeline, Target
from wingbeat.hw.primitives.multiplier import Multiplier, MultiplierParameters

MODELS = Path(wingbeat.gen.__path__[0]) / "cosim" / "verilog" / "ecp5.v"
SEED = 20
WIDTHS = [(8, 8), (16, 16), (18, 17), (18, 18), (5, 3)]


def simulate(parameters, operands):
    """Products the portable block shows, one per cycle; a registered one from the cycle after the first operands."""
    dut, m, seen = Multiplier(parameters), Module(), []
    m.domains.sync = ClockDomain()  # which a multiplier without registers does not ask for
    m.submodules.dut = dut

    async def bench(ctx):
        for a, b in operands:
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            if parameters.latency == 0:
                seen.append(ctx.get(dut.o))
            await ctx.tick()
            if parameters.latency:
                seen.append(ctx.get(dut.o))

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


def check(parameters, operands, context):
    late = max(0, parameters.latency - 1)
    seen = simulate(parameters, [*operands, *[(0, 0)] * late])[late:]
    for number, ((a, b), product) in enumerate(zip(operands, seen, strict=True)):
        assert product == a * b, f"{context}: product {number} of {a} and {b}"


def corners_and_random(a_width, b_width):
    generator = random.Random(SEED)
    corners = [[-1 << (w - 1), (1 << (w - 1)) - 1, -1, 0, 1] for w in (a_width, b_width)]
    operands = [(a, b) for a in corners[0] for b in corners[1]]
    return operands + [tuple(generator.randrange(-1 << (w - 1), 1 << (w - 1)) for w in (a_width, b_width))
                       for _ in range(200)]


@pytest.mark.parametrize("field, a, b", [("a_width", 1, 8), ("a_width", 19, 8), ("b_width", 8, 0)])
def test_refuses(field, a, b):
    with pytest.raises(ValueError, match=rf"^{field}: .* allowed are 2\.\.18$"):
        MultiplierParameters(a, b)


def test_exhaustive_at_a_tiny_width():
    values = range(-8, 8)
    check(MultiplierParameters(4, 4), [(a, b) for a in values for b in values], "4 x 4 bits")


@pytest.mark.parametrize("pipeline", list(Pipeline))
@pytest.mark.parametrize("a_width, b_width", WIDTHS)
def test_corners_then_random(a_width, b_width, pipeline):
    parameters = MultiplierParameters(a_width, b_width, pipeline=pipeline)
    check(parameters, corners_and_random(a_width, b_width), f"{parameters}, seed {SEED}")


def test_latency_is_the_one_of_the_configuration():
    parameters = MultiplierParameters(8, 8)
    seen = simulate(parameters, [(3, 5)] + [(0, 0)] * 5)
    assert seen.index(15) + 1 == 3 == parameters.latency == Pipeline.DEEP.multiplier_latency


def netlist(dut, script, folder):
    """Cell types of the synthesised block, its cells, and the log of Yosys."""
    (folder / "dut.v").write_text(verilog.convert(dut, name="dut", emit_src=False))
    log = run_yosys(f"read_verilog dut.v; {script} -top dut -json dut.json", folder)
    cells = json.loads((folder / "dut.json").read_text())["modules"]["dut"]["cells"].values()
    return cell_counts(folder / "dut.json", "dut") - Counter({"$scopeinfo": 1}), cells, log


@pytest.mark.parametrize("a_width, b_width", WIDTHS)
def test_ecp5_is_one_registered_dsp_and_nothing_else(a_width, b_width, tmp_path):
    dut = Multiplier(MultiplierParameters(a_width, b_width, Target.ECP5))
    counts, cells, _ = netlist(dut, "synth_ecp5", tmp_path)
    assert counts == {"MULT18X18D": 1}
    parameters = next(cell["parameters"] for cell in cells if cell["type"] == "MULT18X18D")
    stages = ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT")
    assert [parameters[f"REG_{stage}_CLK"] for stage in stages] == ["CLK0"] * 4


@pytest.mark.parametrize("a_width, b_width", [(16, 16), (12, 10)])
def test_ice40_takes_two_of_the_three_registers_into_its_dsp(a_width, b_width, tmp_path):
    """Absorbing the third as well is what Yosys 0.69 gets wrong: the product becomes constant zero."""
    counts, _, log = netlist(Multiplier(MultiplierParameters(a_width, b_width)), "synth_ice40 -dsp", tmp_path)
    assert counts == {"SB_MAC16": 1, "SB_DFF": a_width + b_width}
    assert "conflict" not in log


def test_ice40_without_registers_is_one_dsp(tmp_path):
    dut = Multiplier(MultiplierParameters(16, 16, pipeline=Pipeline.SHORT))
    assert netlist(dut, "synth_ice40 -dsp", tmp_path)[0] == {"SB_MAC16": 1}


TESTBENCH = """`timescale 1ns / 1ps
module tb;
    reg clk = 0;
    reg signed [{a}:0] a;
    reg signed [{b}:0] b;
    wire signed [{o}:0] o;
    integer file;
    dut dut (.clk(clk), .rst(1'b0), .a(a), .b(b), .o(o));
    initial begin
        file = $fopen("stimulus.txt", "r");
        while ($fscanf(file, "%d %d\\n", a, b) == 2) begin
            #5 clk = 1;
            #5 clk = 0;
            $display("%0d", o);
        end
    end
endmodule
"""


@pytest.mark.skipif(shutil.which("iverilog") is None,
                    reason="Icarus is not installed: the ECP5 multiplier is NOT simulated")
@pytest.mark.parametrize("a_width, b_width", WIDTHS)
def test_ecp5_primitive_multiplies(a_width, b_width, tmp_path):
    parameters = MultiplierParameters(a_width, b_width, Target.ECP5)
    operands = corners_and_random(a_width, b_width)
    source = verilog.convert(Multiplier(parameters), name="dut", emit_src=False)
    (tmp_path / "dut.v").write_text("`timescale 1ns / 1ps\n" + source)
    (tmp_path / "tb.v").write_text(TESTBENCH.format(a=a_width - 1, b=b_width - 1, o=parameters.o_width - 1))
    padded = [*operands, *[(0, 0)] * (parameters.latency - 1)]
    (tmp_path / "stimulus.txt").write_text("".join(f"{a} {b}\n" for a, b in padded))
    build = ["iverilog", "-g2012", "-o", "tb.vvp", "tb.v", "dut.v", str(MODELS)]
    subprocess.run(build, cwd=tmp_path, check=True)
    run = subprocess.run(["vvp", "-n", "tb.vvp"], cwd=tmp_path, check=True, capture_output=True, text=True)
    shown = [int(line) for line in run.stdout.split()[parameters.latency - 1:]]
    assert shown == [a * b for a, b in operands], f"{a_width} x {b_width} bits, seed {SEED}"
