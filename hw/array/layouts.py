"""Payload layouts inside the array. Fields are packed from bit 0 in the order listed."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from ..config import CoreConfig
from ..isa.encoding import FIELDS
from ..isa.instruction import Opcode
from ..isa.setup import coefficient_fields

__all__ = ["coefficient", "unit_coefficient", "engine_control", "mac_control", "partial_port", "switches",
           "half_control"]


def coefficient(width: int) -> data.StructLayout:
    """One word of a coefficient bank: two Q2.(C-2) numbers and the pivot bits."""
    shapes = {name: signed(bits) if bits == width else unsigned(bits) for name, bits in coefficient_fields(width)}
    return data.StructLayout(shapes)


def unit_coefficient(width: int, has_mac: bool = False) -> data.StructLayout:
    """What a butterfly unit receives: a coefficient word and what its mode means for the datapath."""
    mac = {"mac": unsigned(1)} if has_mac else {}
    return data.StructLayout({"word": coefficient(width), "fft": unsigned(1), "no_pivot": unsigned(1), **mac})


def engine_control(config: CoreConfig) -> data.StructLayout:
    """What every engine does in the present cycle, each field for the stage that reads it
    (``hw/array/flow.py``)."""
    mac = {"mac": mac_control(config)} if config.ring_words else {}
    return data.StructLayout({
        "half": unsigned(1), "pre": switches(config.layers), "post": switches(config.layers),
        "shifts": data.ArrayLayout(unsigned(config.shift_bits), config.layers), **mac})


def mac_control(config: CoreConfig) -> data.StructLayout:
    """What a MAC does: groups at the columns, the captures of the values of re and, a cycle later, im for each output
    that a column has among P, and when the words of P outputs go to the banks. ``keeps``: those that would be captured
    are no results. ``finished``: the words of P outputs are those of a finisher.
    """
    layers = config.layers
    partial = {"partial": partial_port(config.partial_words)} if config.partial_words else {}
    column = data.StructLayout({"valid": unsigned(1), "first": unsigned(1), "last": unsigned(1),
                                "shift": unsigned(dict(FIELDS[Opcode.MAC])["shift"]), **partial})
    outputs = config.lanes // layers
    keeps = {"keeps": unsigned(1)} if config.partial_words else {}
    if config.softmax_pairs:
        keeps |= {"finished": unsigned(1)}
    return data.StructLayout({"columns": data.ArrayLayout(column, layers), "capture_re": unsigned(outputs),
                              "capture_im": unsigned(outputs), "result": unsigned(1), **keeps})


def partial_port(partial_words: int) -> data.StructLayout:
    """Both ports of the kept sums of a column, of which re and im follow each other; ``merge``: what is read is
    wanted."""
    address = unsigned((2 * partial_words - 1).bit_length())
    return data.StructLayout({"r_addr": address, "merge": unsigned(1), "w_en": unsigned(1), "w_addr": address})


def switches(layers: int) -> data.StructLayout:
    """Controls of a lane shuffle (``hw/array/shuffle.py``)."""
    return data.StructLayout({"folds": data.ArrayLayout(unsigned(2), layers // 2), "swaps": unsigned(layers // 2),
                              "middle": unsigned(layers % 2)})


def half_control(config: CoreConfig) -> data.StructLayout:
    """Ports of the banks of one half, the same in every engine; ``from_load``: the load unit writes, not the
    columns."""
    rows = data.ArrayLayout(unsigned(config.row_bits), config.lanes)
    return data.StructLayout({"r_en": unsigned(1), "r_rows": rows, "w_rows": rows, "from_load": unsigned(1),
                              "compute_en": unsigned(1)})
