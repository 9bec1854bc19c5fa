"""Verilog emission: equal modules once, the same bytes always, memories and primitives intact."""

import os
from pathlib import Path
import re
import shutil
import subprocess
import sys

from amaranth.back import rtlil
from amaranth.hdl import Cat, Instance, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
import pytest

from wingbeat.gen.rtl.merge import merge_modules
from wingbeat.gen.rtl.verilog import LICENCE, emit
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.primitives.shared import once, restarted
from wingbeat.sim.bench.stream import Bench


class Leaf(wiring.Component):
    """A memory, a primitive, a switch and a register."""

    def __init__(self, init=(1, 2, 3)):
        self.init = init
        super().__init__({"a": In(8), "b": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.table = table = memory.Memory(shape=8, depth=16, init=self.init)
        read, write = table.read_port(), table.write_port()
        product = Signal(18)
        m.submodules.multiplier = Instance("MULT18X18D", p_REG_INPUTA_CLK="CLK0",
                                           i_A0=self.a[0], o_P0=product)
        m.d.comb += [read.addr.eq(self.a[:4]), write.addr.eq(self.a[4:]), write.data.eq(product)]
        with m.Switch(self.a[:2]):
            with m.Case(1):
                m.d.comb += write.en.eq(1)
        m.d.sync += self.b.eq(self.a * 3 + read.data)
        return m


class Pair(wiring.Component):
    def __init__(self, second=(1, 2, 3)):
        self.second = second
        super().__init__({"a": In(8), "b": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.x = x = Leaf()
        m.submodules.y = y = Leaf(self.second)
        m.d.comb += [x.a.eq(self.a), y.a.eq(x.b), self.b.eq(y.b)]
        return m


class Row(wiring.Component):
    """``n`` pairs fed from slices, registers and each other, so that the nets of their ports differ."""

    def __init__(self, n, odd_one=()):
        self.n, self.odd_one = n, odd_one
        super().__init__({"a": In(8 * n), "b": Out(8 * n)})

    def elaborate(self, platform):
        m = Module()
        held = Signal(8 * self.n)
        m.d.sync += held.eq(self.a)
        out = []
        for i in range(self.n):
            pair = Pair((7, 7) if i in self.odd_one else (1, 2, 3))
            m.submodules[f"pair_{i}"] = pair
            source = held if i % 2 else self.a
            m.d.comb += pair.a.eq(source[8 * i:8 * i + 8])
            out.append(pair.b)
        m.d.comb += self.b.eq(Cat(out))
        return m


def modules(text):
    return re.findall(r"^module (\S+?)\(", text, re.MULTILINE)


def test_equal_modules_appear_once():
    assert modules(emit(Row(6), "row")) == ["row", "row_pair", "row_x"]


def test_different_memory_contents_stay_apart():
    text = emit(Row(6, odd_one=(4,)), "row")
    assert sorted(modules(text)) == ["row", "row_pair", "row_pair_2", "row_x", "row_y"]
    assert len(re.findall(r"^  row_pair pair_\d \(", text, re.MULTILINE)) == 5
    assert re.findall(r"^  row_pair_2 (pair_\d) \(", text, re.MULTILINE) == ["pair_4"]


def test_lines_do_not_grow_with_equal_engines():
    few, many = (len(emit(Row(n), "row").splitlines()) for n in (8, 40))
    # Only the instances in the top grow: a net, a statement or two, and one line per port.
    assert many - few <= 32 * 16


class Kept(wiring.Component):
    """A register, elaborated once."""

    def __init__(self):
        self.parameters = ()
        super().__init__({"i": In(4), "o": Out(4)})

    @once("parameters")
    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.i)
        return m


class Cleared(wiring.Component):
    """Two of them, one behind the other, which ``restart`` resets."""

    def __init__(self):
        super().__init__({"restart": In(1), "i": In(4), "o": Out(4)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.first, m.submodules.second = first, second = Kept(), Kept()
        m.d.comb += [first.i.eq(self.i), second.i.eq(first.o), self.o.eq(second.o)]
        return restarted(m, self.restart)


def test_a_restart_reaches_blocks_that_are_elaborated_once():
    text = emit(Cleared(), "cleared")
    assert modules(text) == ["cleared", "cleared_kept"]
    resets = re.findall(r"^    \.rst\((\w+)\)", text, re.MULTILINE)
    assert resets == ["restart"] * 2, "a gate stands in front of it"


def test_a_restart_in_simulation():
    bench = Bench(dut := Cleared())

    async def script(ctx):
        ctx.set(dut.i, 5)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.o) == 5
        ctx.set(dut.restart, 1)
        await ctx.tick()
        assert ctx.get(dut.o) == 0

    bench.process(script)
    bench.run(10)


def test_the_top_stays_first():
    text = merge_modules(rtlil.convert(Row(3), name="row", emit_src=False))
    assert re.findall(r"^module \\(\S+)", text, re.MULTILINE) == ["row", "row_pair", "row_x"]


def test_port_names_of_unnamed_nets_are_mapped():
    """Two copies whose input is split over different nets get each other's port names right."""
    a = """module \\t
  wire width 4 input 0 \\i
  wire width 4 \\p
  wire width 4 \\q
  cell \\t.m0 \\m0
    connect \\port$1$0 \\i [3:0]
    connect \\o \\p
  end
  cell \\t.m1 \\m1
    connect \\z \\q
    connect \\port$9$0 \\p [3:0]
  end
end
module \\t.m0
  wire width 4 input 0 \\port$1$0
  wire width 4 output 1 \\o
  connect \\o \\port$1$0 [3:0]
end
module \\t.m1
  wire width 4 output 0 \\z
  wire width 4 input 1 \\port$9$0
  connect \\z \\port$9$0 [3:0]
end
"""
    merged = merge_modules(a)
    assert merged.count("cell \\t_m ") == 2 and merged.count("module ") == 2
    assert "connect \\o \\q" in merged and "connect \\port$1$0 \\p [3:0]" in merged


@pytest.mark.parametrize("one, other", [
    ("output 1 \\o", "input 1 \\o"), ("width 4 input 0", "width 5 input 0"), ("\\i [3:0]\n", "\\i [3:1]\n"),
    ("attribute \\init 4'0001", "attribute \\init 4'0000"), ("parameter \\WIDTH 4", "parameter \\WIDTH 3"),
    ("cell $not", "cell $neg"), ("size 16", "size 17"), ("case 1'1", "case 1'0"),
])
def test_every_difference_keeps_modules_apart(one, other):
    body = """  wire width 4 input 0 \\i
  attribute \\init 4'0001
  wire width 4 output 1 \\o
  memory width 4 size 16 \\m
  wire width 4 $1
  cell $not $2
    parameter \\WIDTH 4
    connect \\A \\i [3:0]
    connect \\Y $1
  end
  process $3
    assign \\o $1
    switch \\i [0]
      case 1'1
        assign \\o 4'0000
    end
  end
end
"""
    assert one in body
    cells = "".join(f"  cell \\t.m{i} \\m{i}\n    connect \\i \\a\n    connect \\o \\b{i}\n  end\n"
                    for i in "01")
    wires = "  wire width 4 input 0 \\a\n  wire width 4 \\b0\n  wire width 4 \\b1\n"
    top = "module \\t\n" + wires + cells + "end\n"
    same = merge_modules(top + "module \\t.m0\n" + body + "module \\t.m1\n" + body)
    apart = merge_modules(top + "module \\t.m0\n" + body + "module \\t.m1\n" + body.replace(one, other))
    assert same.count("module ") == 2
    assert apart.count("module ") == 3


def test_memories_and_primitives_survive():
    text = emit(Row(2), "row")
    assert "[0] = 8'h01" in text and "[2] = 8'h03" in text
    assert "MULT18X18D #(" in text and '.REG_INPUTA_CLK("CLK0")' in text


def test_the_header_is_licence_and_origin_and_names_no_place():
    text = emit(Pair(), "pair")
    assert text.startswith(f"// {LICENCE}\n// pair: generated by wingbeat with Amaranth")
    assert "Yosys" not in text and str(Path.cwd()) not in text and "(* src" not in text


@pytest.mark.parametrize("name", ["x;endmodule", "../../etc/x", "a\nb", "", "1a", "a" * 64, "a b", "é"])
def test_hostile_names_are_refused(name):
    with pytest.raises(WingbeatError, match="^name: "):
        emit(None, name)


def test_same_bytes_elsewhere(tmp_path):
    """Under another hash seed, from another folder, with another Yosys asked for."""
    here = Path(__file__)
    shutil.copy(here, tmp_path / "rows.py")
    program = "import rows, sys; sys.stdout.write(rows.emit(rows.Row(5, odd_one=(2,)), 'row'))"
    for seed in ("1", "2024"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "AMARANTH_USE_YOSYS": "system"}
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path,
                             env=environment, timeout=60, check=True)
        assert run.stdout == emit(Row(5, odd_one=(2,)), "row"), f"PYTHONHASHSEED={seed}"


class Shared(Pair):
    """A pair that Verilog output may take out and elaborate once."""

    elaborated = 0

    @once("second")
    def elaborate(self, platform):
        Shared.elaborated += 1
        return super().elaborate(platform)


class Negation(wiring.Component):
    """A shared block without registers, so without clock and reset."""

    i: In(8)
    o: Out(8)
    kind = "not"

    @once("kind")
    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(~self.i)
        return m


class SharedRow(wiring.Component):
    def __init__(self):
        super().__init__({"a": In(8), "b": Out(8)})

    def elaborate(self, platform):
        m = Module()
        last = self.a
        for i, second in enumerate([(1, 2, 3), (9,), (1, 2, 3), (1, 2, 3)]):
            m.submodules[f"pair{i}"] = pair = Shared(second)
            m.submodules[f"negation{i}"] = negation = Negation()
            m.d.comb += [pair.a.eq(last), negation.i.eq(pair.b)]
            last = negation.o
        m.d.comb += self.b.eq(last)
        return m


def test_shared_blocks_are_elaborated_once_per_parameter():
    Shared.elaborated = 0
    text = emit(SharedRow(), "row")
    assert Shared.elaborated == 2
    assert sorted(modules(text)) == ["row", "row_negation", "row_shared", "row_shared_2", "row_x", "row_y"]
    assert len(re.findall(r"^  row_shared pair\d \(", text, re.MULTILINE)) == 3
    assert ".clk" not in re.search(r"row_negation negation0 \((.*?)\);", text, re.DOTALL)[1]
    assert "(* top" not in text
