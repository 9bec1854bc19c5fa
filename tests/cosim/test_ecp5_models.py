"""The simulation models of ECP5 primitives (gen/cosim/verilog/ecp5.v) against Python, cycle by cycle, on Icarus.

A bench in Verilog applies one line of stimulus per cycle to the pins and prints what it sees before the next
edge. The same on Verilator: test_ecp5_models_on_verilator.py.
"""

import itertools
import random
import subprocess

import pytest
from support.ecp5 import (DEPTHS, MODELS, SIGNED, multiplier_parameters, multiplier_pins, multiplier_stimulus,
                          parameter_text, products, ram_connections, ram_parameters, ram_stimulus, ram_words, signed)

from wingbeat.gen.cosim.testbench.simulators import find

SEED = 5

BENCH = """
module bench;
  reg clk = 0; reg [63:0] pins [0:{last}]; reg [63:0] now = 0; wire [35:0] seen; integer at;
  {cell} #({parameters}) dut ({connections});
  initial begin
    $readmemh("pins.hex", pins);
    for (at = 0; at <= {last}; at = at + 1) begin
      now = pins[at]; #1 clk = 1; #1 clk = 0; #1 $display("%b", seen);
    end
    $finish;
  end
endmodule
"""


@pytest.fixture
def simulate(tmp_path, need):
    """Call with cell, parameters, connections and stimulus, numbers or hexadecimal digits: the 36 bits seen after every
    edge, or the error."""
    need("icarus")

    def run(cell, parameters, connections, stimulus):
        (tmp_path / "bench.v").write_text(BENCH.format(last=len(stimulus) - 1, cell=cell,
                                                       parameters=parameter_text(parameters),
                                                       connections=", ".join(connections)))
        (tmp_path / "pins.hex").write_text("".join(f"{line}\n" if isinstance(line, str) else f"{line:x}\n"
                                                    for line in stimulus))
        command = [str(find("icarus")), "-g2005", "-s", "bench", "-o", "bench.vvp", "bench.v", str(MODELS)]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
        done = subprocess.run(["vvp", "-n", "bench.vvp"], cwd=tmp_path, capture_output=True, text=True,
                              timeout=60)
        fatal = [line for line in done.stdout.splitlines() if line.startswith("FATAL")]
        return fatal[0] if fatal else done.stdout.split()[-len(stimulus):]
    return run


# --- multiplier -----------------------------------------------------------------------------------


@pytest.mark.parametrize("on", [*itertools.product((False, True), repeat=4)],
                         ids=lambda on: "".join("01"[x] for x in on))
def test_multiplier(simulate, on):
    stimulus = multiplier_stimulus(random.Random(SEED))
    seen = simulate("MULT18X18D", multiplier_parameters(on), multiplier_pins() + SIGNED, stimulus)
    for number, (want, got) in enumerate(zip(products(on, stimulus), seen, strict=True)):
        assert signed(int(got, 2), 36) == want, f"cycle {number}, registers {on}, seed {SEED}"


@pytest.mark.parametrize("parameters, pins, message", [
    ({"REG_OUTPUT_CLK": "CLK1"}, SIGNED, "REG_*_CLK is not modelled"),
    ({"REG_INPUTA_CE": "CE1"}, SIGNED, "REG_*_CE is not modelled"),
    ({"REG_PIPELINE_RST": "RST1"}, SIGNED, "REG_*_RST is not modelled"),
    ({"RESETMODE": "ASYNC"}, SIGNED, "RESETMODE is not modelled"),
    ({}, [".SIGNEDA(1'b0)", *SIGNED[1:]], "only signed operands"),
    ({}, [*SIGNED[:3], ".SOURCEB(1'b1)"], "only signed operands"),
])
def test_multiplier_refuses(simulate, parameters, pins, message):
    assert message in simulate("MULT18X18D", parameters, multiplier_pins() + pins, [1 << 36] * 4)


# --- block RAM ------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", DEPTHS)
@pytest.mark.parametrize("register", ["OUTREG", "NOREG"])
def test_ram(simulate, width, register):
    stimulus = ram_stimulus(width, random.Random(SEED))
    seen = simulate("DP16KD", ram_parameters(width, register), ram_connections(width), stimulus)
    collisions = 0
    for number, (want, got) in enumerate(zip(ram_words(width, register, stimulus), seen, strict=True)):
        text = got[-width:]
        note = f"cycle {number}, width {width}, {register}, seed {SEED}"
        assert set(text) == {"x"} if want is None else int(text, 2) == want, note
        collisions += want is None
    assert collisions > 10


@pytest.mark.parametrize("parameters, changes, message", [
    ({"DATA_WIDTH_A": 9}, {}, "only equal widths are modelled"),
    ({"DATA_WIDTH_A": 12, "DATA_WIDTH_B": 12}, {}, "allowed are 1, 2, 4, 9, 18, 36"),
    ({"REGMODE_B": "OTHER"}, {}, "allowed are OUTREG and NOREG"),
    ({"CSDECODE_A": "0b001"}, {}, "CSDECODE is not modelled"),
    ({"WRITEMODE_B": "READBEFOREWRITE"}, {}, "WRITEMODE is not modelled"),
    ({"RESETMODE": "ASYNC"}, {}, "RESETMODE is not modelled"),
    ({}, {"CSA1": "1'b1"}, "chip selects must be 0"),
    ({}, {"RSTA": "1'b1"}, "RSTA must be 0"),
    ({}, {"WEA": "1'b0"}, "port A only writes"),
    ({}, {"WEB": "1'b1"}, "port B only reads"),
    ({"DATA_WIDTH_A": 36, "DATA_WIDTH_B": 36, "REGMODE_A": "OUTREG", "REGMODE_B": "OUTREG"}, {"OCEA": "1'b0"},
     "OCEA and OCEB must be equal"),
])
def test_ram_refuses(simulate, parameters, changes, message):
    stimulus = [7 << 46] * 4
    assert message in simulate("DP16KD", parameters, ram_connections(18, **changes), stimulus)


# --- carry chain ------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("digits, bit", [("11x", "1"), ("10x", "0"), ("0x1", "1"), ("0x0", "0"), ("01x", "x")])
def test_adders_ignore_what_their_table_ignores(simulate, part, digits, bit):
    """C ? A : B with an operand that is undefined: registers without reset stand in front of the adders."""
    pins = [f".{name}{part}(now[{4 * at}])" for at, name in enumerate("BAC")]
    pins += [f".D{part}(1'b0)", *(f".{name}{1 - part}(1'b0)" for name in "ABCD"), ".CIN(1'b0)", f".S{part}(seen[0])"]
    parameters = {"INIT0": 0xACAC, "INIT1": 0xACAC} if not part else {"INIT0": 0, "INIT1": 0xACAC}
    seen, = simulate("CCU2C", parameters, pins, [digits])
    assert seen[-1] == bit
