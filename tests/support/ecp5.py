"""ECP5 primitives as gen/cosim/verilog/ecp5.v models them: pins, stimulus, and what Python says must come out.

One line of stimulus holds the pins of a cycle.
"""

from collections.abc import Iterator
from pathlib import Path

from wingbeat.gen.cosim.testbench import simulators

MODELS = Path(simulators.__file__).parents[1] / "verilog" / "ecp5.v"
STAGES = ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT")
DEPTHS = {36: 512, 18: 1024, 9: 2048, 4: 4096, 2: 8192, 1: 16384}


def vector(letter, width, source, start=0):
    """Connections of the bits of a vector whose pins are single."""
    return [f".{letter}{bit}({source}[{start + bit}])" for bit in range(width)]


def parameter_text(parameters):
    """Values of parameters in Verilog."""
    return ", ".join(f'.{name}({value if isinstance(value, int) else chr(34) + value + chr(34)})'
                     for name, value in parameters.items())


# --- multiplier -----------------------------------------------------------------------------------

SIGNED = [".SIGNEDA(1'b1)", ".SIGNEDB(1'b1)", ".SOURCEA(1'b0)", ".SOURCEB(1'b0)"]


def multiplier_pins(seen="seen"):
    return [*vector("A", 18, "now"), *vector("B", 18, "now", 18), *vector("P", 36, seen), ".CLK0(clk)",
            ".CE0(now[36])", ".RST0(now[37])"]


def multiplier_parameters(on):
    return {f"REG_{stage}_CLK": "CLK0" if is_on else "NONE" for stage, is_on in zip(STAGES, on)}


def multiplier_stimulus(rng):
    corners = [0, 1, 0x1FFFF, 0x20000, 0x3FFFF]
    stimulus = [rng.choice(corners) | rng.choice(corners) << 18 | 1 << 36 for _ in range(40)]
    stimulus += [rng.getrandbits(36) | (rng.random() < 0.7) << 36 | (rng.random() < 0.1) << 37 for _ in range(200)]
    stimulus[0] |= 1 << 37  # reset first: the registers wake undefined
    return stimulus


def signed(value, width=18):
    return value - (1 << width) if value >> (width - 1) else value


def _multiply(on, registers, a, b):
    """Product in front of the pipeline register, behind it, and on the pins."""
    full = (registers[0] if on[0] else a) * (registers[1] if on[1] else b)
    middle = registers[2] if on[2] else full
    return full, middle, registers[3] if on[3] else middle


def products(on, stimulus) -> Iterator[int]:
    """What the pins show behind every edge."""
    registers = [0, 0, 0, 0]
    for pins in stimulus:
        a, b = signed(pins & 0x3FFFF), signed(pins >> 18 & 0x3FFFF)
        full, middle, _ = _multiply(on, registers, a, b)
        if pins >> 37 & 1:
            registers = [0, 0, 0, 0]
        elif pins >> 36 & 1:
            registers = [a, b, full, middle]
        yield _multiply(on, registers, a, b)[2]


# --- block RAM ------------------------------------------------------------------------------------

# Pins of one cycle: data, 14 bits of write and of read address (only their ends change), then single bits.
# The data has 18 bits and stands in both halves, the upper one turned over, so that 64 bits are enough.
RAM_PINS = [*vector("DIA", 18, "now"), *(f".DIB{bit}(~now[{bit}])" for bit in range(18)),
            *vector("ADA", 14, "now", 18), *vector("ADB", 14, "now", 32),
            ".CLKA(clk)", ".CLKB(clk)", ".CEA(now[46])", ".CEB(now[47])", ".OCEB(now[48])", ".RSTB(now[49])"]
RAM_FIXED = {"WEA": "1'b1", "WEB": "1'b0", "OCEA": "now[48]", "RSTA": "1'b0",
             **{f"CS{port}{bit}": "1'b0" for port in "AB" for bit in range(3)}}


def ram_connections(width, seen="seen", **changes):
    outputs = vector("DOB", 18, seen, 18 if width == 36 else 0)
    if width == 36:
        outputs += vector("DOA", 18, seen)
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


def ram_words(width, register, stimulus) -> Iterator[int | None]:
    """What the pins show behind every edge; None where a word is read while it is written."""
    low = 14 - (DEPTHS[width].bit_length() - 1)
    memory, read_word, output = {}, 0, 0
    for pins in stimulus:
        data = pins & 0x3FFFF
        data = (data | (~data & 0x3FFFF) << 18) & ((1 << width) - 1)
        w_pins, r_address = pins >> 18 & 0x3FFF, (pins >> 32 & 0x3FFF) >> low
        write, read, out, reset = (pins >> bit & 1 for bit in (46, 47, 48, 49))
        before = read_word
        if read:
            read_word = None if write and w_pins >> low == r_address else memory.get(r_address, 0)
        output = before if out else output
        if reset:
            read_word = output = 0
        if write:
            mask = sum(0x1FF << 9 * lane for lane in range(low) if w_pins >> lane & 1) if width >= 18 else -1
            memory[w_pins >> low] = memory.get(w_pins >> low, 0) & ~mask | data & mask & ((1 << width) - 1)
        yield output if register == "OUTREG" else read_word
