"""The simulation models of ECP5 primitives (gen/cosim/verilog/ecp5.v) against Python, cycle by cycle, on Icarus.

A bench in Verilog applies one line of stimulus per cycle to the pins and prints what it sees before the next
edge.
"""

import itertools
from pathlib import Path
import random
import subprocess

import pytest

from wingbeat.gen.cosim.testbench import simulators
from wingbeat.gen.cosim.testbench.simulators import find

SEED = 5
MODELS = Path(simulators.__file__).parents[1] / "models" / "ecp5.v"
DEPTHS = {36: 512, 18: 1024, 9: 2048, 4: 4096, 2: 8192, 1: 16384}

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


def vector(letter, width, source, start=0):
    return [f".{letter}{bit}({source}[{start + bit}])" for bit in range(width)]


@pytest.fixture
def simulate(tmp_path, need):
    """Call with cell, parameters, connections and stimulus: the 36 bits seen after every edge, or the
    error."""
    need("icarus")

    def run(cell, parameters, connections, stimulus):
        values = ", ".join(f'.{name}({value if isinstance(value, int) else chr(34) + value + chr(34)})'
                           for name, value in parameters.items())
        (tmp_path / "bench.v").write_text(BENCH.format(last=len(stimulus) - 1, cell=cell, parameters=values,
                                                       connections=", ".join(connections)))
        (tmp_path / "pins.hex").write_text("".join(f"{line:x}\n" for line in stimulus))
        command = [str(find("icarus")), "-g2005", "-s", "bench", "-o", "bench.vvp", "bench.v", str(MODELS)]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
        done = subprocess.run(["vvp", "-n", "bench.vvp"], cwd=tmp_path, capture_output=True, text=True,
                              timeout=60)
        fatal = [line for line in done.stdout.splitlines() if line.startswith("FATAL")]
        return fatal[0] if fatal else done.stdout.split()[-len(stimulus):]
    return run


# --- multiplier -----------------------------------------------------------------------------------

STAGES = ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT")
MULTIPLIER_PINS = [*vector("A", 18, "now"), *vector("B", 18, "now", 18), *vector("P", 36, "seen"),
                   ".CLK0(clk)", ".CE0(now[36])", ".RST0(now[37])"]
SIGNED = [".SIGNEDA(1'b1)", ".SIGNEDB(1'b1)", ".SOURCEA(1'b0)", ".SOURCEB(1'b0)"]


def signed(value, width=18):
    return value - (1 << width) if value >> (width - 1) else value


def multiply(on, registers, a, b):
    """Product in front of the pipeline register, behind it, and on the pins."""
    full = (registers[0] if on[0] else a) * (registers[1] if on[1] else b)
    middle = registers[2] if on[2] else full
    return full, middle, registers[3] if on[3] else middle


@pytest.mark.parametrize("on", [*itertools.product((False, True), repeat=4)],
                         ids=lambda on: "".join("01"[x] for x in on))
def test_multiplier(simulate, on):
    rng = random.Random(SEED)
    corners = [0, 1, 0x1FFFF, 0x20000, 0x3FFFF]
    stimulus = [rng.choice(corners) | rng.choice(corners) << 18 | 1 << 36 for _ in range(40)]
    stimulus += [rng.getrandbits(36) | (rng.random() < 0.7) << 36 | (rng.random() < 0.1) << 37
                 for _ in range(200)]
    stimulus[0] |= 1 << 37  # reset first: the registers wake undefined
    parameters = {f"REG_{stage}_CLK": "CLK0" if is_on else "NONE" for stage, is_on in zip(STAGES, on)}
    seen = simulate("MULT18X18D", parameters, MULTIPLIER_PINS + SIGNED, stimulus)
    registers = [0, 0, 0, 0]
    for number, (pins, got) in enumerate(zip(stimulus, seen, strict=True)):
        a, b = signed(pins & 0x3FFFF), signed(pins >> 18 & 0x3FFFF)
        full, middle, _ = multiply(on, registers, a, b)
        if pins >> 37 & 1:
            registers = [0, 0, 0, 0]
        elif pins >> 36 & 1:
            registers = [a, b, full, middle]
        want = multiply(on, registers, a, b)[2]
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
    assert message in simulate("MULT18X18D", parameters, MULTIPLIER_PINS + pins, [1 << 36] * 4)


# --- block RAM ------------------------------------------------------------------------------------

# Pins of one cycle: data, 14 bits of write and of read address (only their ends change), then single bits.
# The data has 18 bits and stands in both halves, the upper one turned over, so that 64 bits are enough.
RAM_PINS = [*vector("DIA", 18, "now"), *(f".DIB{bit}(~now[{bit}])" for bit in range(18)),
            *vector("ADA", 14, "now", 18), *vector("ADB", 14, "now", 32),
            ".CLKA(clk)", ".CLKB(clk)", ".CEA(now[46])", ".CEB(now[47])", ".OCEB(now[48])", ".RSTB(now[49])"]
RAM_FIXED = {"WEA": "1'b1", "WEB": "1'b0", "OCEA": "now[48]", "RSTA": "1'b0",
             **{f"CS{port}{bit}": "1'b0" for port in "AB" for bit in range(3)}}


def ram_connections(width, **changes):
    outputs = vector("DOB", 18, "seen", 18 if width == 36 else 0)
    if width == 36:
        outputs += vector("DOA", 18, "seen")
    return RAM_PINS + outputs + [f".{pin}({value})" for pin, value in {**RAM_FIXED, **changes}.items()]


def ram_parameters(width, register="OUTREG"):
    return {"DATA_WIDTH_A": width, "DATA_WIDTH_B": width, "REGMODE_A": register, "REGMODE_B": register}


def ram_stimulus(width, rng, length=400):
    """Few addresses, at both ends of the memory, so that words come back; reset in the first cycle only."""
    low = 14 - (DEPTHS[width].bit_length() - 1)
    addresses = [0, 1, 2, DEPTHS[width] // 2, DEPTHS[width] - 1]
    lines = []
    for _ in range(length):
        enables = rng.getrandbits(low)
        if width < 18:
            enables = 0
        write, read = (rng.choice(addresses) << low for _ in range(2))
        lines.append(rng.getrandbits(18) | (write | enables) << 18 | read << 32 | (rng.random() < 0.6) << 46
                     | (rng.random() < 0.8) << 47 | (rng.random() < 0.8) << 48)
    lines[0] |= 1 << 49
    return lines


@pytest.mark.parametrize("width", DEPTHS)
@pytest.mark.parametrize("register", ["OUTREG", "NOREG"])
def test_ram(simulate, width, register):
    rng = random.Random(SEED)
    stimulus = ram_stimulus(width, rng)
    seen = simulate("DP16KD", ram_parameters(width, register), ram_connections(width), stimulus)
    low = 14 - (DEPTHS[width].bit_length() - 1)
    memory, read_word, output, collisions = {}, 0, 0, 0
    for number, (pins, got) in enumerate(zip(stimulus, seen, strict=True)):
        data = pins & 0x3FFFF
        data = (data | (~data & 0x3FFFF) << 18) & ((1 << width) - 1)
        w_pins, r_address = pins >> 18 & 0x3FFF, (pins >> 32 & 0x3FFF) >> low
        write, read, out, reset = (pins >> bit & 1 for bit in (46, 47, 48, 49))
        before = read_word
        if read:
            collides = write and w_pins >> low == r_address
            collisions += bool(collides)
            read_word = None if collides else memory.get(r_address, 0)
        output = before if out else output
        if reset:
            read_word = output = 0
        if write:
            mask = sum(0x1FF << 9 * lane for lane in range(low) if w_pins >> lane & 1) if width >= 18 else -1
            memory[w_pins >> low] = memory.get(w_pins >> low, 0) & ~mask | data & mask & ((1 << width) - 1)
        want = output if register == "OUTREG" else read_word
        text = got[-width:]
        note = f"cycle {number}, width {width}, {register}, seed {SEED}"
        assert set(text) == {"x"} if want is None else int(text, 2) == want, note
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
