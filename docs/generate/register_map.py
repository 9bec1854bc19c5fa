"""Reference of the registers of a core with a control bus: places and fields."""

from wingbeat.gen.presets.select import load_preset
from wingbeat.hw.isa.registers import Access, register_map

from .text import enumeration, table

__all__ = ["page"]

_PAGE = "reference/register_map.md"
_PRESET, _SETTINGS = "hybrid-16", ("bus.control=axi4-lite", "bus.memory=axi4", "memory.block_log=64")


def page() -> str:
    registers = register_map(load_preset(_PRESET, list(_SETTINGS)))
    rows = [(f"`0x{register.address:03x}`", f"`{register.name}`", register.access.value.replace("_", " "),
             register.text) for register in registers]
    fields = [(f"`{register.name}`", f"{field.low + field.bits - 1}..{field.low}", f"`{field.name}`", field.text)
              for register in registers if register.fields[0].name != "value" for field in register.fields]
    settings = " ".join(f"--set {setting}" for setting in _SETTINGS)
    return "\n\n".join([
        "# Register map", f"Registers of preset `{_PRESET}` with `{settings}`. A core without an AXI4 memory has no "
        "BASE and LIMIT, one without a log no LOG registers, an array no counters of units. How they behave: "
        "[registers](registers.md).\n",
        "## Addresses", table(["address", "register", "access", ""], rows),
        "## Fields", "A register that is not listed has one field, `value`.\n",
        table(["register", "bits", "field", ""], fields), "## Access", enumeration(Access, _PAGE)]) + "\n"
