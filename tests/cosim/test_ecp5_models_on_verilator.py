"""The simulation models of ECP5 primitives on Verilator: every kind of multiplier and of block RAM in one build.

A machine without Icarus tests them here; what a four-state simulator shows, undefined bits and refused parameters, is
in test_ecp5_models.py.
"""

import itertools
import os
from pathlib import Path
import random
import shutil
import subprocess

import pytest
from support.ecp5 import (DEPTHS, MODELS, SIGNED, multiplier_parameters, multiplier_pins, multiplier_stimulus,
                          parameter_text, products, ram_connections, ram_parameters, ram_stimulus, ram_words, signed)

from wingbeat.gen.cosim.testbench.simulators import environment, find

SEED = 6
KINDS = {**{"multiplier " + "".join("01"[x] for x in on): on for on in itertools.product((False, True), repeat=4)},
         **{f"ram {width} {register}": (width, register) for width in DEPTHS for register in ("OUTREG", "NOREG")}}

BENCH = """
module bench;
  reg clk = 0; reg [63:0] pins [0:{last}]; reg [63:0] now = 0; wire [35:0] seen; integer at;
  {cell} #({parameters}) dut ({connections});
  initial begin
    $readmemh("{name}.hex", pins);
    for (at = 0; at <= {last}; at = at + 1) begin
      now = pins[at]; #1 clk = 1; #1 clk = 0; #1 $display("{name} %b", seen);
    end
  end
endmodule
"""


def _stimulus(kind):
    rng = random.Random(SEED)
    return multiplier_stimulus(rng) if len(kind) == 4 else ram_stimulus(kind[0], rng)


def _bench(name, kind, last):
    """Module NAME with one primitive, its stimulus and what it prints."""
    is_multiplier = len(kind) == 4
    text = BENCH.format(
        name=name, last=last, cell="MULT18X18D" if is_multiplier else "DP16KD",
        parameters=parameter_text(multiplier_parameters(kind) if is_multiplier else ram_parameters(*kind)),
        connections=", ".join(multiplier_pins() + SIGNED if is_multiplier else ram_connections(kind[0])))
    return text.replace("module bench;", f"module {name};")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """{kind: the 36 bits seen behind every edge}."""
    folder = tmp_path_factory.mktemp("ecp5")
    benches = []
    for number, kind in enumerate(KINDS.values()):
        stimulus = _stimulus(kind)
        (folder / f"b{number}.hex").write_text("".join(f"{line:x}\n" for line in stimulus))
        benches.append(_bench(f"b{number}", kind, len(stimulus) - 1))
    top = "\n".join(f"  b{number} i{number} ();" for number in range(len(KINDS)))
    (folder / "bench.v").write_text("".join(benches) + f"module top;\n{top}\nendmodule\n")
    shutil.copyfile(MODELS, folder / "ecp5.v")
    verilator = find("verilator")
    with environment("verilator"):
        if "VERILATOR_ROOT" in os.environ:  # make takes paths with a blank apart
            (folder / "kit").symlink_to(os.environ["VERILATOR_ROOT"])
            os.environ["VERILATOR_ROOT"], verilator = "kit", Path("kit") / "bin" / verilator.name
        command = [str(verilator), "--binary", "--timing", "-Wno-fatal", "-Wno-lint", "-O1", "-CFLAGS", "-std=gnu++20",
                   "--top", "top", "-Mdir", ".", "-j", "2", "bench.v", "ecp5.v"]
        subprocess.run(command, cwd=folder, check=True, timeout=600, capture_output=True)
    done = subprocess.run([folder / "Vtop"], cwd=folder, check=True, timeout=120, capture_output=True,
                          text=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    return {name: [words[1] for words in lines if words[:1] == [f"b{number}"]] for number, name in enumerate(KINDS)}


@pytest.mark.parametrize("name", KINDS)
def test_primitive(shown, name):
    kind = KINDS[name]
    stimulus, is_multiplier = _stimulus(kind), len(kind) == 4
    wanted = products(kind, stimulus) if is_multiplier else ram_words(*kind, stimulus)
    for number, (want, got) in enumerate(zip(wanted, shown[name], strict=True)):
        value = signed(int(got, 2), 36) if is_multiplier else int(got[-kind[0]:], 2)
        assert want is None or value == want, f"cycle {number}, seed {SEED}"
