"""Reference of the setup port, of the tables behind it, of the status and of the link."""

from amaranth.hdl import Shape

from wingbeat.hw import layouts
from wingbeat.hw.isa import descriptor, link_frame, parameter_set, setup, vector_tables

from .text import bits, comments, docstring, enumeration, fields, table

__all__ = ["page"]

_PAGE = "reference/setup_map.md"


def page() -> str:
    parts = [
        "# Setup map, status and link",
        "The setup port writes everything that a core holds before a program runs. One write is one word of the "
        "stream `i_setup`:\n", fields(setup.SETUP),
        "## Targets", _targets(),
        "A write to a target that does not exist is accepted and changes nothing. The control register takes "
        f"`data` = {setup.CONTROL_START}: it starts the program at instruction 0.\n",
        "## Coefficient word", docstring(setup.coefficient_fields.__doc__, _PAGE),
        "With C = 17 bits a coefficient:\n", fields(setup.coefficient_fields(17)),
        "## Descriptor", docstring(descriptor.Descriptor.__doc__, _PAGE), _descriptor(),
        "## Parameter sets", docstring(parameter_set.__doc__, _PAGE),
        "### Set of a READ or SUMS", docstring(parameter_set.ReadSet.__doc__, _PAGE), fields(parameter_set.READ_SET),
        "### Set of a WRITE", docstring(parameter_set.WriteSet.__doc__, _PAGE), fields(parameter_set.WRITE_SET),
        "### Activation", enumeration(parameter_set.Activation, _PAGE),
        "## Tables of the vector unit", docstring(vector_tables.__doc__, _PAGE),
        "### Word of the channel table", fields(vector_tables.CHANNEL),
        f"### Word of the activation table ({vector_tables.SEGMENTS} words)", fields(vector_tables.ACTIVATION),
        "## Status of an array", _layout(layouts.status()),
        "## Status of a processor", docstring(layouts.processor_status.__doc__, _PAGE),
        _layout(layouts.processor_status()),
        "## Fields behind the words of an output beat", fields(setup.block_fields()),
        "## Fields behind the words of an output beat, and in tuser", docstring(setup.block_fields.__doc__, _PAGE),
        fields(setup.block_fields(has_tlast=True)),
        "## Link frames", docstring(link_frame.__doc__, _PAGE), "### Error codes of the link",
        enumeration(link_frame.LinkFault, _PAGE)]
    return "\n\n".join(parts) + "\n"


def _targets() -> str:
    notes = comments(setup, _PAGE)
    last = setup.SETUP_PROGRAM - 1
    rows = [(f"0..0x{last:02x}", "", "coefficient banks: bank q\\*P/2 + k is that of unit k in column q")]
    rows += [(f"0x{getattr(setup, name):02x}", f"`{name}`", notes.get(name, "")) for name in vars(setup)
             if name.startswith("SETUP_")]
    return table(["target", "name in `hw/isa/setup.py`", "what it writes"], rows)


def _descriptor() -> str:
    d = descriptor
    entries = [(f"0..{d.SUB_EVENTS - 1}", "bit i of the count of sub-steps rises"),
               (f"{d.GROUP_EVENT}", "the group of engines rises"),
               (f"{d.STEP_EVENT}..{d.STEP_EVENT + d.STEP_EVENTS - 1}", "bit i of the count of steps rises"),
               (f"{d.ORIGIN}", "the origin"), (f"{d.SHAPE}", "shape of the block"),
               (f"{d.OTHER}", "second address of SPLIT and FOLD")]
    return "\n\n".join([
        f"A descriptor has {d.ENTRIES} entries of {d.ENTRY_WORDS} words: word i of entry e of descriptor n stands at "
        f"address (n \\* {d.ENTRIES} + e) \\* {d.ENTRY_WORDS} + i.\n",
        table(["entry", "event, or content"], entries), "An event and the origin hold a difference:\n",
        fields(d.DIFFERENCE), "Shape:\n", fields(d.SHAPE_FIELDS), "Second address:\n", fields(d.OTHER_FIELDS)])


def _layout(layout) -> str:
    rows = []
    for name, member in layout:
        width = Shape.cast(member.shape).width
        rows.append((f"`{name}`", bits(member.offset, width), width))
    return table(["field", "bits", "width"], rows)
