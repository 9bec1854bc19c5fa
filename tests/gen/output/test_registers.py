"""The texts of the registers against their description: SystemRDL by a compiler of others, C by a C compiler, Python by
running it, the page by its rows."""

import re
import shutil
import subprocess

import pytest

from wingbeat.gen.output.registers import c_header, html_page, python_module, register_files, system_rdl
from wingbeat.gen.presets.select import load_preset
from wingbeat.hw.isa.registers import Access, configuration_hash, register_map

CONFIGS = {"array": load_preset("tiny", ["bus.control=wishbone"]),
           "stream": load_preset("tiny", ["bus.control=axi4-lite", "bus.stream=axi4-stream"]),
           "axi": load_preset("hybrid-16", ["bus.control=axi4-lite", "bus.memory=axi4", "bus.address_width=40",
                                            "memory.block_log=64"]),
           "reg": load_preset("tiny", ["bus.control=wishbone"]).changed(name="addrmap")}  # a word of SystemRDL
SOFTWARE = {Access.CONSTANT: "r", Access.READ: "r", Access.WRITE: "w", Access.READ_WRITE: "rw", Access.CLEAR: "rw"}


def test_names_of_files():
    assert list(register_files(CONFIGS["array"])) == ["registers.rdl", "registers.html", "tiny_registers.h",
                                                      "tiny_registers.py"]


@pytest.mark.parametrize("name", CONFIGS)
def test_system_rdl(name, tmp_path):
    systemrdl = pytest.importorskip("systemrdl", reason="systemrdl-compiler is not installed: the RDL was not read")
    from systemrdl.node import FieldNode, RegNode
    from systemrdl.rdltypes import OnWriteType
    config, source = CONFIGS[name], tmp_path / "registers.rdl"
    source.write_text(system_rdl(config))
    compiler = systemrdl.RDLCompiler()
    compiler.compile_file(str(source))
    top = compiler.elaborate().top
    assert top.inst_name == f"{config.name}_registers"
    found = {node.inst_name: node for node in top.children() if isinstance(node, RegNode)}
    registers = {register.name: register for register in register_map(config)}
    assert {key: node.absolute_address for key, node in found.items()} == {
        key: register.address for key, register in registers.items()}
    for key, register in registers.items():
        node = found[key]
        assert node.get_property("desc") == register.text and node.get_property("regwidth") == 32
        fields = {child.inst_name: child for child in node.children() if isinstance(child, FieldNode)}
        assert list(fields) == [field.name for field in register.fields]
        for field in register.fields:
            given = fields[field.name]
            assert (given.low, given.width) == (field.low, field.bits), f"{key}.{field.name}"
            assert given.get_property("sw").name == SOFTWARE[register.access]
            assert given.get_property("desc") == field.text
            reset = register.access in (Access.CONSTANT, Access.READ_WRITE, Access.CLEAR)
            assert given.get_property("reset") == (field.value if reset else None)
            clears = given.get_property("onwrite") is OnWriteType.woclr
            assert clears == (register.access is Access.CLEAR)


@pytest.mark.parametrize("name", CONFIGS)
def test_c_header(name, tmp_path):
    """Strict C99 takes it, twice, without a warning, and finds the numbers of the description."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: nobody read the header")
    config, stem = CONFIGS[name], CONFIGS[name].name.upper()
    (tmp_path / "registers.h").write_text(c_header(config))
    wanted = {f"{stem}_HASH": configuration_hash(config), f"{stem}_SIZE": 4096}
    for register in register_map(config):
        wanted[f"{stem}_{register.name}"] = register.address
        for field in register.fields:
            place = f"{stem}_{register.name}_{field.name.upper()}"
            wanted |= {f"{place}_SHIFT": field.low, f"{place}_MASK": (1 << field.bits) - 1 << field.low}
            if register.access is Access.CONSTANT:
                wanted[f"{place}_VALUE"] = field.value
    assert set(re.findall(r"^#define (\w+) 0x", c_header(config), re.MULTILINE)) == set(wanted)
    # Less than nothing is a large number: they are unsigned.
    prints = "".join(f'  printf("%llu %d\\n", (unsigned long long)({key}), ({key}) * 0 - 1 > 0);\n' for key in wanted)
    (tmp_path / "main.c").write_text('#include <stdio.h>\n#include "registers.h"\n#include "registers.h"\n'
                                     f"int main(void) {{\n{prints}  return 0;\n}}\n")
    subprocess.run([compiler, "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion",
                    "-Werror", "-o", "main", "main.c"],
                   cwd=tmp_path, check=True, capture_output=True, timeout=60)
    run = subprocess.run([tmp_path / "main"], check=True, capture_output=True, text=True, timeout=60)
    assert run.stdout.splitlines() == [f"{number} 1" for number in wanted.values()]


@pytest.mark.parametrize("name", CONFIGS)
def test_python_module(name):
    config, module = CONFIGS[name], {}
    exec(compile(python_module(config), "registers", "exec"), module)
    assert module["HASH"] == configuration_hash(config)
    assert module["REGISTERS"] == {
        register.name: (register.address, register.access.value,
                        {field.name: (field.low, field.bits) for field in register.fields})
        for register in register_map(config)}
    for register in register_map(config):
        assert module[register.name] == register.address
        for field in register.fields:
            assert module[f"{register.name}_{field.name.upper()}_MASK"] == (1 << field.bits) - 1 << field.low


@pytest.mark.parametrize("name", CONFIGS)
def test_page(name):
    """Every register and every field has its row, and nothing comes from elsewhere."""
    page = html_page(CONFIGS[name])
    for register in register_map(CONFIGS[name]):
        part = page.split(f'<h2 id="{register.name}">')[1].split("<h2")[0]
        assert f"0x{register.address:03x}" in part
        assert re.findall(r"<td><code>([a-z]\w*)</code>", part) == [field.name for field in register.fields]
    assert "http" not in page and "src=" not in page


def test_the_same_text_again():
    config = CONFIGS["axi"]
    assert register_files(config) == register_files(type(config).model_validate(config.choices()))
