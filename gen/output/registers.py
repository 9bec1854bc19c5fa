"""The registers of a core as text for others: SystemRDL, a page, a C header, a Python module; all from
hw/isa/registers.py."""

from collections.abc import Iterator

from ...hw.config import CoreConfig
from ...hw.isa.bit_fields import WORD_BITS
from ...hw.isa.registers import MAP_ADDRESS_BITS, Access, Register, configuration_hash, register_map
from ..rtl.verilog import LICENCE
from .readme import render

__all__ = ["register_files", "system_rdl", "html_page", "c_header", "python_module"]

# Of a field in SystemRDL: what software and hardware do with it.
_RDL = {Access.CONSTANT: "sw = r; hw = na;", Access.READ: "sw = r; hw = w;", Access.WRITE: "sw = w; hw = r;",
        Access.READ_WRITE: "sw = rw; hw = r;", Access.CLEAR: "sw = rw; hw = w; onwrite = woclr;"}
_HAVE_RESET = (Access.CONSTANT, Access.READ_WRITE, Access.CLEAR)


def register_files(config: CoreConfig) -> dict[str, str]:
    """Text of every file of the folder registers/ of a core, by its name; the same configuration, the same text."""
    name = f"{config.name}_registers"
    return {"registers.rdl": system_rdl(config), "registers.html": html_page(config), f"{name}.h": c_header(config),
            f"{name}.py": python_module(config)}


def system_rdl(config: CoreConfig) -> str:
    """SystemRDL 2.0. Names of fields are escaped: some are words of the language."""
    lines = [f"// {LICENCE}", f"addrmap {config.name}_registers {{",
             f'  name = "registers of {config.name}";',
             f"  default regwidth = {WORD_BITS}; default accesswidth = {WORD_BITS};"]
    for register in register_map(config):
        lines += ["  reg {", f'    desc = "{register.text}";']
        for field in register.fields:
            reset = f" reset = {field.bits}'h{field.value:x};" if register.access in _HAVE_RESET else ""
            lines.append(f'    field {{ desc = "{field.text}"; {_RDL[register.access]}{reset} }} '
                         f"\\{field.name}[{field.low + field.bits - 1}:{field.low}];")
        lines.append(f"  }} {register.name} @ 0x{register.address:03x};")
    return "\n".join([*lines, "};", ""])


def html_page(config: CoreConfig) -> str:
    """A page that needs nothing else."""
    return render("registers.html.j2", name=config.name, registers=register_map(config),
                  hash=configuration_hash(config))


def _constants(config: CoreConfig) -> Iterator[tuple[str, int, str]]:
    """Name, value and meaning of every number that software needs."""
    yield "HASH", configuration_hash(config), "of the configuration, as in HASH_LOW and HASH_HIGH"
    yield "SIZE", 1 << MAP_ADDRESS_BITS, "bytes of the map"
    for register in register_map(config):
        yield register.name, register.address, register.text
        for field in register.fields:
            stem = f"{register.name}_{field.name.upper()}"
            yield f"{stem}_SHIFT", field.low, field.text
            yield f"{stem}_MASK", (1 << field.bits) - 1 << field.low, ""
            if register.access is Access.CONSTANT:
                yield f"{stem}_VALUE", field.value, ""


def c_header(config: CoreConfig) -> str:
    """C99. A register is its byte address in the map; a mask stands at the place of its field."""
    guard = f"{config.name.upper()}_REGISTERS_H"
    lines = [f"/* {LICENCE} */", f"#ifndef {guard}", f"#define {guard}", ""]
    for name, value, text in _constants(config):
        suffix = "ULL" if value >> WORD_BITS else "U"
        lines.append(f"#define {config.name.upper()}_{name} 0x{value:X}{suffix}" + (f"  /* {text} */" if text else ""))
    return "\n".join([*lines, "", "#endif", ""])


def python_module(config: CoreConfig) -> str:
    """A module of constants, and ``REGISTERS``: by name the byte address, what a bus may do, and the fields."""
    about = f"Registers of {config.name}: byte addresses, and of fields their lowest bit and mask."
    lines = [f"# {LICENCE}", f'"""{about}"""', ""]
    lines += [f"{name} = 0x{value:X}" + (f"  # {text}" if text else "") for name, value, text in _constants(config)]
    lines += ["", "# name: (byte address, access, {field: (lowest bit, bits)})", "REGISTERS = {"]
    lines += [_entry(register) for register in register_map(config)]
    return "\n".join([*lines, "}", ""])


def _entry(register: Register) -> str:
    fields = {field.name: (field.low, field.bits) for field in register.fields}
    return f"    {register.name!r}: (0x{register.address:X}, {register.access.value!r}, {fields!r}),"
